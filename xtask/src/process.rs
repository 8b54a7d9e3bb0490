//! Running other programs.

use std::{
    env,
    ffi::OsStr,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// A command that reads no input.
pub(crate) fn command(program: impl AsRef<OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// The command as one would type it, without its environment.
pub(crate) fn typed(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}

/// Runs it with our own output. `Ok(false)`: it failed, and has said why.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool> {
    let status = command.status().with_context(|| format!("cannot run {}", typed(command)))?;
    Ok(status.success())
}

/// Runs it with our own output.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", typed(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", typed(command));
    }
    Ok(())
}

/// Runs it and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("cannot run {}", typed(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed ({}): {}", typed(command), output.status, said.trim());
    }
    Ok(output.stdout)
}

/// Runs it and returns the first line it printed; `None` where there is no such program or it fails.
pub(crate) fn line(command: &mut Command) -> Option<String> {
    let text = output(command).ok()?;
    Some(String::from_utf8_lossy(&text).lines().next()?.trim().to_owned())
}

/// Runs it, shows what it says on standard error, and returns that as well.
pub(crate) fn shown(command: &mut Command) -> Result<(ExitStatus, String)> {
    let what = typed(command);
    let mut child = command.stderr(Stdio::piped()).spawn().with_context(|| format!("cannot run {what}"))?;
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).split(b'\n') {
            let line = line.with_context(|| format!("cannot read what {what} says"))?;
            let line = String::from_utf8_lossy(&line);
            eprintln!("{line}");
            said.push_str(&line);
            said.push('\n');
        }
    }
    Ok((child.wait()?, said))
}

/// The result of a program with a time limit.
pub(crate) struct Finished {
    /// Its exit status.
    pub(crate) status: ExitStatus,
    /// Its standard output.
    pub(crate) stdout: Vec<u8>,
}

/// Runs it, at most so long, and returns what it printed. Its standard error is ours.
pub(crate) fn within(limit: Duration, command: &mut Command) -> Result<Finished> {
    let what = typed(command);
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {what}"))?;
    let pipe = child.stdout.take();
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut bytes)).map(|_| bytes)
    });
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!("{what} had not ended after {} s, so it was killed", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(20));
    };
    let stdout = match reader.join() {
        Ok(read) => read.with_context(|| format!("cannot read what {what} printed"))?,
        Err(_) => bail!("the thread that read what {what} printed has panicked"),
    };
    Ok(Finished { status, stdout })
}

/// Removes from the command's environment what the cargo that runs xtask has put there, and what would
/// change a build: another toolchain's cargo would take it for its own. Where to download from, and the
/// homes of cargo and rustup, stay.
pub(crate) fn as_from_a_shell(command: &mut Command) {
    const KEPT: [&str; 7] =
        ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_SOURCE_", "CARGO_TERM_", "RUSTUP_HOME"];
    for (name, _) in env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let ours = ["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN", "RUST_RECURSION_COUNT"]
            .iter()
            .any(|p| name.starts_with(p));
        if ours && !KEPT.iter().any(|p| name.starts_with(p)) {
            command.env_remove(name);
        }
    }
    // `cargo run` puts its own libraries first: not for another compiler's process.
    if let Some(paths) = env::var_os("LD_LIBRARY_PATH") {
        let own = |folder: &Path| {
            folder.components().any(|c| c.as_os_str() == "toolchains")
                || folder.ends_with("deps")
                || folder.join("deps").is_dir()
        };
        let kept: Vec<_> = env::split_paths(&paths).filter(|p| !own(p)).collect();
        match env::join_paths(kept) {
            Ok(kept) if !kept.is_empty() => command.env("LD_LIBRARY_PATH", kept),
            _ => command.env_remove("LD_LIBRARY_PATH"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_end_is_killed() {
        let mut sleep = command("sleep", Path::new("/"));
        let start = Instant::now();
        let error = within(Duration::from_millis(100), sleep.arg("60")).err().expect("it must not end well");
        assert!(error.to_string().contains("sleep 60 had not ended"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_failing_program_is_named_with_what_it_said() {
        let mut shell = command("sh", Path::new("/"));
        let error = output(shell.args(["-c", "echo broken >&2; exit 3"])).expect_err("it exits with 3");
        assert!(error.to_string().contains("broken") && error.to_string().contains('3'), "{error}");
    }
}
