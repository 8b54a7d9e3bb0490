//! The command or workload that runs while recording.

use std::{
    ffi::{CStr, OsStr},
    io,
    os::{fd::AsFd, unix::process::ExitStatusExt},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::process::{Child, Command};

use super::{
    RecordArgs,
    helper::{Connection, Ending, Request},
    limits,
    signals::Signals,
    target::pidfd,
    tasks::{Process, tell_of_stuck},
    user,
};
use crate::console::tell;

/// Time that the process gets to end after SIGTERM.
const ASKED: Duration = Duration::from_secs(5);
/// Time that it gets to end after SIGKILL.
const KILLED: Duration = Duration::from_secs(2);

/// A process of ours that is recorded.
pub(super) struct Recorded {
    child: Child,
    name: String,
    /// Who ends it once the recorder is confined; `None`: nobody.
    helper: Option<Connection>,
    /// Time of the request to end, with the process and its descendants at that time.
    asked: Option<(Instant, Vec<Process>)>,
}

impl Recorded {
    /// Starts what the arguments ask for, if they do.
    pub(super) fn start(args: &RecordArgs, helper: Option<Connection>) -> Result<Option<Self>> {
        let (mut command, name) = if let Some(workload) = &args.watch.workload {
            let own = std::env::current_exe()
                .context("cannot run the workload, because mmtrace cannot find its own program file")?;
            let mut command = Command::new(own);
            command.arg("workload").arg(workload);
            if let Some(seconds) = args.watch.seconds {
                command.arg("--seconds").arg(seconds.to_string());
            }
            // The report is on standard output, and what the workload did belongs beside it, not into it; nor on a
            // dashboard.
            let account = match io::stderr().as_fd().try_clone_to_owned() {
                Ok(stderr) if !args.tui => Stdio::from(stderr),
                _ => Stdio::null(),
            };
            command.stdout(account).stdin(Stdio::null());
            end_with_us(&mut command);
            (command, format!("workload {workload}"))
        } else if let Some((program, rest)) = args.watch.command.split_first() {
            let mut command = Command::new(program);
            command.args(rest);
            user::keep_rights_from_children()?;
            if let Some(user) = user::wanted(args)? {
                user::run_as(&mut command, &user);
            }
            (command, OsStr::to_string_lossy(program).into_owned())
        } else {
            return Ok(None);
        };
        limits::give_back(&mut command);
        call_itself(&mut command);
        command.kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("cannot run {name}"))?;
        let process = child.id().and_then(pidfd);
        // Without a descriptor it is ended by this process, or not at all.
        let helper = helper.filter(|helper| {
            helper.ask_with(&Request::Command, process.as_ref().map(AsFd::as_fd)).is_ok() && process.is_some()
        });
        Ok(Some(Self { child, name, helper, asked: None }))
    }

    /// Waits for its end.
    pub(super) async fn ended(&mut self) -> ExitStatus {
        match self.child.wait().await {
            Ok(status) => status,
            // It is not ours to wait for any more; nothing will come.
            Err(_) => std::future::pending().await,
        }
    }

    /// Returns its name for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Asks it to end.
    pub(super) fn ask(&mut self) {
        let Some(pid) = self.child.id() else { return };
        if self.asked.is_none() {
            // Once it has died, its children are not to be told from others'.
            self.asked = Some((Instant::now(), Process::of(pid).map_or_else(Vec::new, Process::tree)));
            // SAFETY: signals to a child that has not been waited for: the id is still its own. A stopped one does not
            // see the first before the second.
            let refused = unsafe {
                let sent = libc::kill(pid.cast_signed(), libc::SIGTERM);
                libc::kill(pid.cast_signed(), libc::SIGCONT);
                sent != 0
            };
            if let Some(helper) = self.helper.as_ref().filter(|_| refused) {
                // If it has ended, that is what was wanted.
                let _ = helper.ask(&Request::End(Ending::Asked));
            }
        }
    }

    /// Sees to its end, and says where it is stuck if it does not come: nothing ends a task in uninterruptible sleep.
    pub(super) async fn end(mut self, signals: &mut Signals) {
        self.ask();
        let Some((asked, tree)) = self.asked.take() else { return };
        let (killed, pid) = (Process::of(self.child.id().unwrap_or(0)), self.child.id().unwrap_or(0));
        let left = (asked + ASKED).saturating_duration_since(Instant::now());
        let hurried = tokio::select! {
            _ = self.child.wait() => false,
            () = tokio::time::sleep(left) => true,
            () = signals.beyond(1) => true,
        };
        if !hurried {
            for stuck in tell_of_stuck(tree, None, self.helper.clone()) {
                tell(&format!("{} has ended, but a process that it started has not: {stuck}", self.name));
            }
            return;
        }
        let refused = self.child.start_kill().is_err();
        let killed_it =
            !refused || self.helper.as_ref().is_some_and(|helper| helper.ask(&Request::End(Ending::Killed)).is_ok());
        match tokio::time::timeout(KILLED, self.child.wait()).await {
            Ok(Ok(status)) if status.signal() == Some(libc::SIGKILL) => {
                tell(&format!(
                    "mmtrace killed {}, which had not ended {} s after it was asked to",
                    self.name,
                    ASKED.as_secs()
                ));
            }
            Ok(_) => {}
            Err(_) if !killed_it => {
                tell(&format!(
                    "{} (process {pid}) does not end, and mmtrace may not kill it, and the helper that could is gone; to end it: sudo kill -9 {pid}",
                    self.name
                ));
            }
            Err(_) => {
                tell(&format!(
                    "{} (process {pid}) does not end: mmtrace killed it {} s ago, and the kernel has not ended it; mmtrace \
                     leaves it behind",
                    self.name,
                    KILLED.as_secs()
                ));
                for stuck in tell_of_stuck(tree, killed, self.helper.clone()) {
                    tell(&stuck);
                }
            }
        }
    }
}

/// What the child is called until its exec: what it does before is mmtrace's doing, not the command's.
const BEFORE_EXEC: &CStr = c"mmtrace's child";

/// Gives the child a name of its own, until it becomes the command.
fn call_itself(command: &mut Command) {
    // SAFETY: the closure runs in the forked child and makes one system call.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_NAME, BEFORE_EXEC.as_ptr());
            Ok(())
        });
    }
}

/// Has the process asked to end when the thread that starts it ends, which is the one that records: so that a workload
/// puts back what it changed also when the recorder is killed.
fn end_with_us(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: the closure runs in the forked child and makes two system calls; it allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
            // The recorder may have died before the call above.
            if libc::getppid().cast_unsigned() == parent { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
        });
    }
}
