//! `cargo xtask vm`: mmtrace on other kernels, in virtual machines.

pub(crate) mod coverage;
mod debian;
mod image;
mod judge;
mod machine;
pub(crate) mod probes;
mod table;

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use mmtrace_model::{examined_kernels::ExaminedKernel, kernel_version::KernelVersion};
use serde_json::Value;

use crate::workspace::Workspace;
use debian::Apt;
use image::Programs;
pub(crate) use machine::{Accelerator, QEMU};
use machine::{Machine, Remains};
use probes::Drift;

/// The kernels that CI boots.
pub(crate) fn kernels() -> Vec<KernelVersion> {
    ExaminedKernel::virtual_ones().map(|kernel| kernel.version).collect()
}

/// Longest time that a machine may take beside its steps: booting, and writing results.
const BESIDE_STEPS: Duration = Duration::from_secs(60);

/// Run mmtrace on other kernels, in virtual machines
///
/// The kernels are Debian's cloud kernels, the newest of each series, from the mirror that this machine's apt uses;
/// nothing is installed. Each boots in QEMU with two CPUs, two NUMA nodes and 2 GiB, with KVM where it works, and runs
/// the tests of xtask/src/vm/table.rs. No root is needed.
///
/// Results stay in target/vm/KERNEL: console, and per test what it printed and the captures. Exit status 1 if
/// anything is wrong, or a kernel could not be had.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Series of kernels, such as 6.12
    #[arg(value_name = "KERNEL", default_values_t = kernels(), value_parser = series)]
    kernels: Vec<KernelVersion>,

    /// Write what the probes are resolved to into testdata/probes/, instead of comparing it, and what was evaluated into
    /// testdata/coverage/
    #[arg(long, conflicts_with = "mmtrace")]
    write_probes: bool,

    /// Arguments of one mmtrace to run instead of the tests, such as: -- workload compaction
    #[arg(last = true, value_name = "ARGS")]
    mmtrace: Vec<String>,
}

/// Takes a series, and no single release of it: the newest one is booted.
fn series(text: &str) -> Result<KernelVersion, String> {
    let version = text.parse::<KernelVersion>().ok().filter(|version| version.to_string() == text);
    version.ok_or_else(|| "a major and a minor number, such as 6.12".to_owned())
}

/// The work to do with a kernel.
#[derive(Clone, Copy)]
pub(crate) enum Task<'a> {
    /// The tests of the table.
    Test,
    /// The same, and what the probes are resolved to becomes what is expected.
    WriteProbes,
    /// One command of the user's.
    Command(&'a [String]),
}

/// The results of all kernels.
#[derive(Default)]
pub(crate) struct Session {
    /// Kernels with nothing wrong.
    pub(crate) passed: Vec<String>,
    /// Findings that are not accepted, each with its kernel.
    pub(crate) wrong: Vec<String>,
    /// Kernels that could not be booted, with the reason.
    pub(crate) not_run: Vec<String>,
}

/// Runs the command.
pub(crate) fn command(args: &Args) -> Result<bool> {
    let task = match (&args.mmtrace[..], args.write_probes) {
        ([], false) => Task::Test,
        ([], true) => Task::WriteProbes,
        (args, _) => Task::Command(args),
    };
    let session = run(&Workspace::find()?, &args.kernels, task)?;
    for reason in &session.not_run {
        say!("not run: {reason}");
    }
    for wrong in &session.wrong {
        say!("wrong: {wrong}");
    }
    if session.passed.is_empty() && session.wrong.is_empty() {
        bail!("no kernel was booted, so nothing is known");
    }
    Ok(session.wrong.is_empty() && session.not_run.is_empty())
}

/// Boots one kernel after the other.
pub(crate) fn run(workspace: &Workspace, kernels: &[KernelVersion], task: Task<'_>) -> Result<Session> {
    let mut session = Session::default();
    if let Err(why) = machine::qemu() {
        session.not_run.push(why);
        return Ok(session);
    }
    let apt = Apt::open(workspace)?;
    let mut programs = None;
    let mut accelerator = Accelerator::best();
    for &series in kernels {
        match apt.kernel(series)? {
            Err(why) => session.not_run.push(format!("{series}: {why}")),
            Ok(kernel) => {
                let programs = match &mut programs {
                    Some(programs) => programs,
                    none => none.insert(Programs::build(workspace)?),
                };
                let wrong = boot(workspace, series, &kernel, programs, &mut accelerator, task)?;
                if wrong.is_empty() {
                    session.passed.push(format!("{series} ({})", kernel.version));
                }
                session.wrong.extend(wrong.into_iter().map(|what| format!("{series}: {what}")));
            }
        }
    }
    Ok(session)
}

/// One kernel: says what came of it, and returns what is wrong.
fn boot(
    workspace: &Workspace,
    series: KernelVersion,
    kernel: &debian::Kernel,
    programs: &Programs,
    accelerator: &mut Accelerator,
    task: Task<'_>,
) -> Result<Vec<String>> {
    let folder = workspace.target.join("vm").join(series.to_string());
    let (initramfs, results) = (folder.join("initramfs"), folder.join("results"));
    debian::remove(&results)?;
    fs::create_dir_all(&results).with_context(|| format!("cannot make the folder {}", results.display()))?;
    let plan = match task {
        Task::Test | Task::WriteProbes => table::plan(series),
        Task::Command(args) => table::single(args),
    };
    programs.pack(&plan, &initramfs)?;
    let limit = BESIDE_STEPS + Duration::from_secs(plan.steps.iter().map(|step| step.limit).sum());
    let start = Instant::now();
    say!("{series}: booting {}", kernel.version);
    let machine = Machine { folder: &folder, vmlinuz: &kernel.vmlinuz, initramfs: &initramfs, limit };
    let mut remains = machine.run(accelerator)?;
    let mut with = *accelerator;
    if machine::is_stale_breakpoint(&remains.console, with) {
        say!(
            "  again       the emulator executed a breakpoint that the kernel had removed (see machine.rs), which says \
             nothing of mmtrace; with one thread it cannot"
        );
        with = Accelerator::TcgOneThread;
        remains = machine.run(&mut with)?;
    }
    fs::remove_file(&initramfs)?;
    judge::store(&remains.results, &results)?;
    let wrong = tell(workspace, series, &remains, task)?;
    say!(
        "{series}: {} in {:.1} s with {}; {}",
        if wrong.is_empty() { "nothing wrong" } else { "something wrong" },
        start.elapsed().as_secs_f64(),
        with.name(),
        workspace.shown(&folder)
    );
    Ok(wrong)
}

/// Says what is known of a machine, and returns what is wrong.
fn tell(workspace: &Workspace, series: KernelVersion, remains: &Remains, task: Task<'_>) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    wrong.extend(remains.trouble.iter().cloned());
    wrong.extend(machine::alarms(&remains.console).into_iter().map(|line| format!("the kernel says: {line}")));
    if let Task::Command(_) = task {
        wrong.extend(judge::show(&remains.results, table::COMMAND));
    } else {
        let mut judgement = judge::judge(&remains.results, series);
        for line in &judgement.told {
            say!("  {line}");
        }
        wrong.append(&mut judgement.wrong);
        // Without a capture it is not known what was attached; that there is none is wrong enough.
        if let (Some(doctor), Some(manifest)) = (&judgement.doctor, &judgement.manifest) {
            let table = probes::table(doctor, manifest);
            wrong.extend(compare(workspace, series, &table, matches!(task, Task::WriteProbes))?);
            if matches!(task, Task::WriteProbes) && wrong.is_empty() {
                say!("  {:<15} written to {}", "coverage", judgement.coverage.write(workspace, series)?);
            }
        }
    }
    for what in &wrong {
        say!("  wrong: {what}");
    }
    Ok(wrong)
}

/// Compares what the probes are resolved to with what is known; returns what is wrong.
fn compare(workspace: &Workspace, series: KernelVersion, table: &Value, write_probes: bool) -> Result<Option<String>> {
    if write_probes {
        say!("  probes          written to {}", probes::write(workspace, series, table)?);
        return Ok(None);
    }
    let write = format!("cargo xtask vm --write-probes {series}");
    Ok(match probes::compare(workspace, series, table)? {
        Drift::None => {
            say!("  probes          resolved as before");
            None
        }
        Drift::New => {
            say!("  probes          nothing to compare with: {write}");
            None
        }
        Drift::Some { lines, lost } => {
            say!("  probes          resolved otherwise than before; if that is right, {write}");
            for line in lines {
                say!("    {line}");
            }
            (!lost.is_empty()).then(|| format!("no longer attached: {}", lost.join(", ")))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_two_numbers() {
        assert!(kernels().into_iter().all(|kernel| series(&kernel.to_string()) == Ok(kernel)));
        for text in ["6", "6.", "six.one", "6.1.0", "../6.1", ""] {
            assert!(series(text).is_err(), "{text}");
        }
    }
}
