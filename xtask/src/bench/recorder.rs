//! The recorders that watch a storm, and how each is started and ended.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    process,
    workspace::{Workspace, cargo, program},
};

/// A recorder that watches a storm, or nobody.
pub(super) struct Recorder {
    pub(super) name: &'static str,
    pub(super) start: fn(&Bench) -> Result<Option<Child>>,
    /// Rates, in faults per second.
    pub(super) rates: Vec<f64>,
}

pub(super) struct Bench {
    pub(super) mmtrace: PathBuf,
    pub(super) perf: Option<PathBuf>,
    pub(super) folder: PathBuf,
}

const REPORT: &str = "report.json";

impl Bench {
    /// Builds what is measured.
    pub(super) fn prepare() -> Result<Self> {
        let workspace = Workspace::find()?;
        if process::line(process::command("id", &workspace.root).arg("-u")).as_deref() != Some("0") {
            bail!("recording needs root: sudo -E cargo xtask bench");
        }
        let build = ["build", "--quiet", "--release", "--package", "mmtrace", "--bin", "mmtrace"];
        process::run(process::command(cargo(), &workspace.root).args(build))?;
        let folder = workspace.target.join("bench");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(Self { mmtrace: workspace.target.join("release/mmtrace"), perf: program("perf", &[]), folder })
    }

    /// Returns the report of the last recording.
    pub(super) fn report(&self) -> Result<Value> {
        let report = fs::read(self.folder.join(REPORT))?;
        serde_json::from_slice(&report).context("what mmtrace record printed is no JSON")
    }

    pub(super) fn mmtrace(&self, args: &[&str]) -> Result<Option<Child>> {
        let report = fs::File::create(self.folder.join(REPORT))?;
        let mut command = Command::new(&self.mmtrace);
        command.args(["record", "--json", "-o"]).arg(self.folder.join("capture")).args(args);
        spawn(command.stdout(report))
    }
}

pub(super) fn spawn(command: &mut Command) -> Result<Option<Child>> {
    let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
    child.map(Some).with_context(|| format!("cannot run {}", process::typed(command)))
}

/// Ctrl-C, as a user would.
pub(super) fn stop(child: &mut Child) -> Result<()> {
    process::run(Command::new("kill").args(["-INT", &child.id().to_string()]))?;
    child.wait()?;
    Ok(())
}

pub(super) fn median(rates: &mut [f64]) -> Option<f64> {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied()
}
