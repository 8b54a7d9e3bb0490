//! The first process of a test machine: mounts what a system has, runs the steps of the plan, and ends the machine.
//!
//! Not for use elsewhere: it kills every other process and writes to a bare disk.

mod system;

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use xtask::guest::{DONE, Done, KEPT, PLAN, Plan, RESULTS, STDERR, STDOUT, SWAP, Step, VOICE, archive::Writer};

/// Time between two looks at a step.
const TICK: Duration = Duration::from_millis(20);
/// Longest time that the disks may take to appear.
const DISK_PATIENCE: Duration = Duration::from_secs(20);

fn main() {
    if std::process::id() != 1 {
        eprintln!("mmtrace-guest is the first process of a test machine, which cargo xtask vm starts");
        std::process::exit(2);
    }
    // Without the kernel's log there is nobody to tell; the host sees the lack of results.
    let troubles = system::mounts();
    for trouble in troubles {
        say(&trouble);
    }
    if let Err(error) = run() {
        say(&format!("cannot go on: {error:#}"));
    }
    say("end");
    system::power_off();
}

/// A line in the kernel's log, among what the kernel says.
fn say(text: &str) {
    if let Ok(mut log) = OpenOptions::new().write(true).open("/dev/kmsg") {
        // A line that the log does not take is lost; the results do not depend on it.
        let _ = log.write_all(format!("<4>{VOICE} {text}\n").as_bytes());
    }
}

fn run() -> Result<()> {
    let plan = fs::read(Path::new("/").join(PLAN)).context("there is no plan")?;
    let plan: Plan = serde_json::from_slice(&plan).context("the plan cannot be understood")?;
    let patience = Instant::now() + DISK_PATIENCE;
    let disk = find(RESULTS, patience)?;
    let file = OpenOptions::new().write(true).open(&disk);
    let mut results = Writer::new(file.with_context(|| format!("cannot write to the disk {}", disk.display()))?);
    let swap = find(SWAP, patience)?;
    system::swap_on(&swap).with_context(|| format!("cannot swap to {}", swap.display()))?;
    for step in &plan.steps {
        say(&format!("begin {}", step.name));
        let done =
            perform(step).unwrap_or_else(|error| Done { trouble: Some(format!("{error:#}")), ..Done::default() });
        say(&format!("done {} {:?} {:?}", step.name, done.status, done.trouble));
        store(step, &done, &mut results).with_context(|| format!("cannot store the results of {}", step.name))?;
    }
    results.finish()?.sync_all()?;
    Ok(())
}

/// The disk with this serial number, which may not be there yet.
fn find(serial: &str, patience: Instant) -> Result<PathBuf> {
    loop {
        if let Some(disk) = system::disk(serial) {
            return Ok(disk);
        }
        if Instant::now() > patience {
            bail!("there is no disk with the serial number {serial}");
        }
        thread::sleep(TICK);
    }
}

fn output(name: &str) -> String {
    format!("/run/{name}")
}

/// Runs a step to its end, and makes sure that nothing of it is left.
fn perform(step: &Step) -> Result<Done> {
    let mut before = Vec::new();
    for (path, value) in &step.settings {
        let old = fs::read_to_string(path).with_context(|| format!("cannot read the setting {path}"))?;
        fs::write(path, value).with_context(|| format!("cannot set {path} to {value}"))?;
        before.push((path, current(&old)));
    }
    let Some((program, args)) = step.command.split_first() else { bail!("it has no command") };
    let start = Instant::now();
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .envs([("PATH", "/bin"), ("HOME", "/root"), ("TMPDIR", "/tmp")])
        .current_dir("/root")
        .stdin(Stdio::null())
        .stdout(File::create(output(STDOUT))?)
        .stderr(File::create(output(STDERR))?)
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let limit = Duration::from_secs(step.limit);
    let mut trouble = None;
    let ended: Option<ExitStatus> = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if start.elapsed() > limit {
            trouble = Some(format!("had not ended after {} s, so it was killed", step.limit));
            system::tell_what_hangs();
            break None;
        }
        thread::sleep(TICK);
    };
    let seconds = start.elapsed().as_secs_f64();
    system::kill_all_others();
    for (path, value) in before {
        fs::write(path, &value).with_context(|| format!("cannot set {path} back to {value}"))?;
    }
    if let Some(signal) = ended.and_then(|status| status.signal()) {
        trouble = Some(format!("was ended by signal {signal}"));
    }
    Ok(Done { status: ended.and_then(|status| status.code()), trouble, seconds })
}

/// The value of a setting as it is written: of `always [madvise] never` the one in brackets.
fn current(text: &str) -> String {
    let chosen = text.split_once('[').and_then(|(_, rest)| Some(rest.split_once(']')?.0));
    chosen.unwrap_or(text).trim().to_owned()
}

/// Writes what came of a step to the disk, so that it is there whatever comes next.
fn store(step: &Step, done: &Done, results: &mut Writer<File>) -> Result<()> {
    for name in [STDOUT, STDERR] {
        // A step that did not begin has printed nothing.
        let printed = fs::read(output(name)).unwrap_or_default();
        results.file(&format!("{}/{name}", step.name), &printed)?;
        if !printed.is_empty() {
            fs::remove_file(output(name))?;
        }
    }
    for path in &step.keep {
        let path = Path::new(path);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        keep(path, &format!("{}/{KEPT}/{name}", step.name), results)
            .with_context(|| format!("cannot keep {}", path.display()))?;
    }
    results.file(&format!("{}/{DONE}", step.name), &serde_json::to_vec(done)?)?;
    results.get_ref().sync_all()?;
    Ok(())
}

/// A file, or a folder with what is in it; nothing where there is none.
fn keep(path: &Path, name: &str, results: &mut Writer<File>) -> Result<()> {
    if path.is_dir() {
        results.folder(name)?;
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            keep(&entry.path(), &format!("{name}/{}", entry.file_name().to_string_lossy()), results)?;
        }
    } else if path.is_file() {
        results.file(name, &fs::read(path)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_written_back_as_it_was() {
        assert_eq!(current("always [madvise] never\n"), "madvise");
        assert_eq!(current("10000\n"), "10000");
    }
}
