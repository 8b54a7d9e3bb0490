//! `mmtrace mark TEXT`: puts a label on the time line of a recording.

use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Write},
    os::unix::net::UnixDatagram,
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use mmtrace_model::replay::marks::MARK_MAX;

use crate::record::MARKS_FOLDER;

/// Arguments of `mmtrace mark`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo mmtrace mark deploy of build 1234 begins  every recording on this machine gets the label
  sudo mmtrace mark -p 4711 restart              only the recording whose mmtrace is process 4711

The report and `mmtrace dump --filter 'kind == mark'` show the labels. A label stands at most some 20 ms late.
Exit status: 0 the label is in the recordings, 2 error")]
pub struct MarkArgs {
    /// The recording of this mmtrace process [default: every recording]
    #[arg(short = 'p', long = "pid", value_name = "PID")]
    pid: Option<u32>,
    /// What the label says, at most 319 bytes
    #[arg(value_name = "TEXT", required = true)]
    text: Vec<String>,
}

/// Puts the label into the recordings that run.
///
/// # Errors
/// No recording takes it, or the label is too long.
pub fn run(args: &MarkArgs, out: &mut dyn Write) -> Result<()> {
    let marked = send(Path::new(MARKS_FOLDER), args)?;
    writeln!(out, "marked {}", marked.join(", ")).context("cannot print which recordings were marked")
}

/// Returns which recordings were marked, in words.
fn send(folder: &Path, args: &MarkArgs) -> Result<Vec<String>> {
    let text = args.text.join(" ");
    if text.is_empty() || text.len() > MARK_MAX {
        bail!("a label has 1 to {MARK_MAX} bytes, and this one has {}", text.len());
    }
    let none = "no recording takes marks here; to start one: sudo mmtrace record";
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(none),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            bail!("only the user who records can mark a recording; run it as root: sudo mmtrace mark")
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
    };
    let socket = UnixDatagram::unbound().context("cannot make a socket")?;
    socket.set_nonblocking(true).context("cannot make a socket")?;
    let (mut marked, mut failed) = (Vec::new(), BTreeMap::<String, Vec<u32>>::new());
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        let pid = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".mark")?.parse::<u32>().ok());
        let Some(pid) = pid.filter(|pid| args.pid.is_none_or(|of| of == *pid)) else { continue };
        match socket.send_to(text.as_bytes(), &path) {
            Ok(_) => marked.push(format!("the recording of process {pid}")),
            // A recorder that was killed leaves its socket.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => drop(fs::remove_file(&path)),
            // One that does not keep up leaves the others theirs.
            Err(error) => failed.entry(error.to_string()).or_default().push(pid),
        }
    }
    if !failed.is_empty() {
        let others = if marked.is_empty() { String::new() } else { format!("; marked {}", marked.join(", ")) };
        let failed: Vec<String> = failed.iter().map(|(why, of)| not_marked(of, why)).collect();
        bail!("{}{others}", failed.join("; "));
    }
    match (marked.is_empty(), args.pid) {
        (false, _) => Ok(marked),
        (true, Some(pid)) => bail!("no recording of process {pid} takes marks; without -p, every recording is marked"),
        (true, None) => bail!(none),
    }
}

/// Says which recordings could not be marked for one reason.
fn not_marked(of: &[u32], why: &str) -> String {
    match of {
        [pid] => format!("cannot mark the recording of process {pid}: {why}"),
        [first, .., last] => format!("cannot mark {} recordings, of processes {first} to {last}: {why}", of.len()),
        [] => why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> MarkArgs {
        MarkArgs { pid: None, text: vec![text.to_owned()] }
    }

    #[test]
    fn every_recording_gets_the_mark_and_dead_ones_are_forgotten() {
        let temp = tempfile::tempdir().expect("a folder");
        assert!(send(temp.path(), &args("deploy")).is_err());
        let dead = temp.path().join("7.mark");
        drop(UnixDatagram::bind(&dead).expect("bound"));
        let living = UnixDatagram::bind(temp.path().join("8.mark")).expect("bound");
        assert_eq!(send(temp.path(), &args("deploy")).expect("sent"), ["the recording of process 8"]);
        let mut text = [0; 64];
        let len = living.recv(&mut text).expect("received");
        assert_eq!(&text[..len], b"deploy");
        assert!(!dead.exists());
        assert!(send(temp.path(), &args("")).is_err() && send(temp.path(), &args(&"x".repeat(320))).is_err());
        assert!(send(&temp.path().join("none"), &args("deploy")).is_err());
        let of_another = MarkArgs { pid: Some(9), ..args("deploy") };
        assert!(send(temp.path(), &of_another).is_err());
    }
}
