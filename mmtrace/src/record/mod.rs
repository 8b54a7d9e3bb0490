//! `mmtrace record`, in four phases: `prepare` attaches the probes, `Session::run` judges and
//! writes events as they come (`live`), `drain` takes the probes off and reads what is left, and
//! `Closing::close` prints the report.

mod answers;
mod args;
mod child;
mod closing;
mod confinement;
mod cost;
mod detaching;
mod drain;
mod dump;
mod executable;
mod functions;
mod helper;
mod kernel;
mod limits;
mod live;
mod maps;
mod marks;
mod names;
mod occasion;
mod overhead;
mod prepare;
mod report_file;
mod session;
mod signals;
mod silence;
mod size;
mod standby;
mod status;
mod target;
mod tasks;
mod terminal_input;
mod user;

use anyhow::{Context as _, Result};
use mmtrace_model::report::Style;

use crate::console;
pub use args::{DASHBOARD, DEFAULT_DIR, RecordArgs, StatArgs, TopArgs, WatchArgs};
pub use kernel::running as running_kernel;
pub use marks::FOLDER as MARKS_FOLDER;
pub use occasion::Occasion;
pub use signals::survive_file_limit;
pub use size::Size;

/// Records, and prints the report on standard output. Returns whether anything was violated.
///
/// # Errors
/// The environment does not allow it, the kernel refuses the programs, the capture cannot be written, or the report
/// cannot be printed.
pub fn run(args: &RecordArgs, style: Style) -> Result<bool> {
    limits::raise()?;
    // While there is one thread. Without a helper, names are missing that take a capability, and nothing else.
    let helper = match helper::Helper::start(
        !args.watch.command.is_empty() || args.watch.workload.is_some(),
        answers::HelperAnswers::new,
    ) {
        Ok(helper) => Some(helper),
        Err(why) => {
            console::tell(&format!(
                "mmtrace cannot start its helper ({why}), so mappings that are older than the recording and functions in \
                 other users' files may have no names; if /proc is not mounted: sudo mount -t proc proc /proc"
            ));
            None
        }
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot set up the event loop")?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        // From the first moment on, so that Ctrl-C never leaves half a capture behind.
        let signals = signals::Signals::watch()?;
        console::never_wait();
        let mut session = prepare::prepare(args, signals, helper).await?;
        session.run().await;
        drain::drain(session).await.close(style).await
    })
}
