//! Every workload, each in a process of its own.

use super::outcome::{Outcome, PathOutcome};
use super::process::{die_with_parent, reap, terminate};
use super::tally::Tally;
use super::{Job, WorkloadArgs, table};
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Makes the command that runs a workload with these arguments (those after `mmtrace workload`).
pub(super) type Launch<'a> = &'a dyn Fn(&[OsString]) -> io::Result<Command>;

/// Longest time for a child that was told to end to undo its changes.
const GRACE: Duration = Duration::from_secs(5);

/// The program that is running now.
pub(super) fn this_program(args: &[OsString]) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("workload").args(args);
    Ok(command)
}

/// Runs each one alone for a slice of half of the time, then all of them at once for the other half. Returns what failed.
pub(super) fn run(job: &Job<'_>, args: &WorkloadArgs, launch: Launch<'_>, tally: &Tally) -> Vec<String> {
    let names: Vec<_> = table::parts().collect();
    let left = || job.end.saturating_duration_since(Instant::now());
    let slice = left() / 2 / names.len() as u32;
    let mut failures = Vec::new();
    for name in &names {
        phase(job, args, launch, (tally, &mut failures), &[name], slice);
    }
    phase(job, args, launch, (tally, &mut failures), &names, left());
    failures
}

/// Runs these at once for at most `length`.
fn phase(
    job: &Job<'_>,
    args: &WorkloadArgs,
    launch: Launch<'_>,
    (tally, failures): (&Tally, &mut Vec<String>),
    names: &[&'static str],
    length: Duration,
) {
    if !job.go() {
        return;
    }
    let end = Instant::now() + length;
    // Starting a process and giving memory back take their time as well.
    let seconds = (length.as_secs_f64() * 0.9).max(0.05);
    let memory = job.memory as u64 / names.len() as u64;
    let mut children = Vec::new();
    for name in names {
        let mut words: Vec<OsString> = vec![(*name).into(), "--json".into()];
        words.extend(["--seconds".into(), format!("{seconds:.3}").into()]);
        words.extend(["--memory".into(), memory.to_string().into()]);
        words.extend(["--threads".into(), job.threads.to_string().into()]);
        if args.allow_swap {
            words.push("--allow-swap".into());
        }
        match launch(&words).and_then(|mut command| start(&mut command)) {
            Ok(child) => children.push((*name, child)),
            Err(error) => failures.push(format!("cannot start {name}: {error}")),
        }
    }
    // A child ends by itself. One that does not, or that runs when this workload is stopped, is told to end.
    let alive = |children: &mut Vec<(&str, Child)>| children.iter_mut().any(|(_, c)| matches!(c.try_wait(), Ok(None)));
    while job.go() && Instant::now() < end && alive(&mut children) {
        std::thread::sleep(Duration::from_millis(10));
    }
    for (_, child) in &mut children {
        if matches!(child.try_wait(), Ok(None)) {
            terminate(child);
        }
    }
    let patience = Instant::now() + GRACE;
    for (name, mut child) in children {
        match finish(&mut child, patience) {
            Ok(Ok(outcome)) => {
                outcome.paths.into_iter().for_each(|path| tally.merge(path));
                // One reason stands for both phases.
                for failure in outcome.failures {
                    if !failures.contains(&failure) {
                        failures.push(failure);
                    }
                }
            }
            Ok(Err(reason)) => {
                let workload = name.to_owned();
                let note = Some(reason);
                tally.merge(PathOutcome { workload, path: "process".to_owned(), note, ..PathOutcome::default() });
            }
            Err(reason) => failures.push(format!("{name} {reason}")),
        }
    }
}

fn start(command: &mut Command) -> io::Result<Child> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    die_with_parent(command, libc::SIGTERM).spawn()
}

/// Reaps a child and reads what it did, or why it did nothing that counts, which is no failure. Its output fits into
/// the pipes, so it never waits for this process.
fn finish(child: &mut Child, patience: Instant) -> Result<Result<Outcome, String>, String> {
    let status = reap(child, patience).map_err(|error| format!("cannot be waited for: {error}"))?;
    let Some(status) = status else {
        return Ok(Err(format!("did not end within {} s of its time, and was killed", GRACE.as_secs())));
    };
    if status.signal() == Some(libc::SIGTERM) {
        // On a slow machine it is told to end before it has begun to listen.
        return Ok(Err("had not begun when its time was over".to_owned()));
    }
    let (mut printed, mut errors) = (String::new(), String::new());
    if let Some(pipe) = &mut child.stdout {
        pipe.read_to_string(&mut printed).map_err(|error| error.to_string())?;
    }
    if let Some(pipe) = &mut child.stderr {
        pipe.read_to_string(&mut errors).map_err(|error| error.to_string())?;
    }
    let outcome = printed.lines().find_map(|line| serde_json::from_str(line).ok());
    outcome.map(Ok).ok_or_else(|| match errors.trim() {
        "" => format!("ended with {status}, and printed no outcome"),
        errors => format!("ended with {status}: {}", errors.trim_start_matches("mmtrace: ")),
    })
}
