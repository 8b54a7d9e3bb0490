//! The command or workload that runs while recording.

use std::{
    os::fd::AsFd as _,
    process::{ExitStatus, Stdio},
};

use anyhow::{Context as _, Result};
use tokio::process::{Child, Command};

use super::{RecordArgs, user};

/// A process of ours that is recorded.
pub(super) struct Recorded {
    child: Child,
    name: String,
}

impl Recorded {
    /// Starts what the arguments ask for, if they do.
    pub(super) fn start(args: &RecordArgs) -> Result<Option<Self>> {
        let (mut command, name) = if let Some(workload) = &args.watch.workload {
            let own = std::env::current_exe().context("cannot find mmtrace's own file to run the workload")?;
            let mut command = Command::new(own);
            command.arg("workload").arg(workload);
            if let Some(seconds) = args.watch.seconds {
                command.arg("--seconds").arg(seconds.to_string());
            }
            // The report is on standard output, and what the workload did belongs beside it, not into it; nor on a
            // dashboard.
            let account = match std::io::stderr().as_fd().try_clone_to_owned() {
                Ok(stderr) if !args.tui => Stdio::from(stderr),
                _ => Stdio::null(),
            };
            command.stdout(account).stdin(Stdio::null());
            (command, format!("workload {workload}"))
        } else if let Some((program, rest)) = args.watch.command.split_first() {
            let mut command = Command::new(program);
            command.args(rest);
            user::keep_rights_from_children()?;
            if let Some(user) = user::wanted(args)? {
                user::run_as(&mut command, &user);
            }
            (command, program.clone())
        } else {
            return Ok(None);
        };
        command.kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("cannot run {name}"))?;
        Ok(Some(Self { child, name }))
    }

    /// Waits for its end.
    pub(super) async fn ended(&mut self) -> ExitStatus {
        match self.child.wait().await {
            Ok(status) => status,
            // It is not ours to wait for any more; nothing will come.
            Err(_) => std::future::pending().await,
        }
    }

    /// What to call it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Asks it to end, and makes it end.
    pub(super) async fn end(mut self) {
        let Some(pid) = self.child.id() else { return };
        // SAFETY: a signal to a child that has not been waited for: the id is still its own.
        unsafe { libc::kill(pid as libc::pid_t, libc::SIGTERM) };
        let patience = std::time::Duration::from_secs(5);
        if tokio::time::timeout(patience, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}
