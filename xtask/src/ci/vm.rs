//! The vm lane: other kernels, in virtual machines.

use anyhow::Result;

use super::{Outcome, Run, lanes};
use crate::vm;

/// Boots the kernels of CI.
pub(super) fn lane(run: &mut Run) -> Result<Outcome> {
    let session = vm::run(&run.workspace, &vm::kernels(), vm::Task::Test)?;
    if !session.wrong.is_empty() {
        return Ok(Outcome::Failed(session.wrong.join("; ")));
    }
    let not_run = session.not_run.join("; ");
    if session.passed.is_empty() {
        return Ok(match run.setup.as_ref().map(|setup| &setup.qemu) {
            Some(step) if run.ci && lanes::is_failed(step) => Outcome::Failed(format!("no {}: setup {step}", vm::QEMU)),
            _ => Outcome::NotRun(not_run),
        });
    }
    let passed = session.passed.join(", ");
    Ok(Outcome::Passed(if not_run.is_empty() { passed } else { format!("{passed}; not run: {not_run}") }))
}
