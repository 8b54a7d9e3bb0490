//! `cargo xtask record`: from a clone to a first report.

use std::{convert::Infallible, env, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    process,
    workspace::{Workspace, cargo, program},
};

/// Build mmtrace and record this kernel, with sudo if need be
///
/// The exit status is that of `mmtrace record`: 0 nothing violated, 1 something was, 2 error.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Arguments of `mmtrace record`, such as: --seconds 10 --workload all
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Builds, and becomes `mmtrace record`.
pub(crate) fn command(args: &Args) -> Result<Infallible> {
    let workspace = Workspace::find()?;
    let build = ["build", "--release", "--package", "mmtrace", "--bin", "mmtrace"];
    process::run(process::command(cargo(), &workspace.root).args(build))?;
    let mmtrace = workspace.target.join("release/mmtrace");
    let uid = process::line(process::command("id", &workspace.root).arg("-u"));
    // In the caller's folder, with the caller's input: sudo may ask, and a command may be recorded.
    let mut record = if uid.as_deref() == Some("0") {
        Command::new(&mmtrace)
    } else if let Some(sudo) = program("sudo", &[]) {
        eprintln!("not root: running {} record with sudo", mmtrace.display());
        let mut command = Command::new(sudo);
        command.arg(&mmtrace);
        command
    } else {
        bail!("recording needs root, and there is no sudo here: as root, run {} record", mmtrace.display());
    };
    record.arg("record").args(&args.args);
    let error = record.exec();
    let folder = env::current_dir().unwrap_or_default();
    Err(error).with_context(|| format!("cannot run {} in {}", process::typed(&record), folder.display()))
}
