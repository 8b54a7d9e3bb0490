//! Standard output and standard error, which may be closed, full, or read by nobody.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd as _,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    outlet::{Outlet, write_what_fits},
    untrusted::complain_at_length,
};

/// Bytes of messages that wait for a terminal that is not read; more are dropped.
const MOST: usize = 1 << 16;

/// Who writes to standard error once nobody may wait for it.
enum Voice {
    Thread(Outlet),
    /// No thread can be had.
    Careful(File),
    /// Nor a descriptor.
    None,
}

static VOICE: OnceLock<Voice> = OnceLock::new();

/// Says something on standard error, in as many lines as it has. It may be gone with the terminal: that is no reason not
/// to end well.
pub fn tell(message: &str) {
    complain_at_length(message);
}

/// Writes text to standard error as it is.
pub(crate) fn put(text: &str) {
    match VOICE.get() {
        Some(Voice::Thread(outlet)) => drop(outlet.put(text.as_bytes())),
        Some(Voice::Careful(to)) => write_what_fits(to, text.as_bytes()),
        Some(Voice::None) => {}
        None => drop(io::stderr().write_all(text.as_bytes())),
    }
}

/// From now on no message waits for a terminal or pipe that is not read.
pub(crate) fn never_wait() {
    VOICE.get_or_init(|| {
        let copy = || io::stderr().as_fd().try_clone_to_owned().map(File::from);
        let outlet = copy().and_then(|to| Outlet::new("messages", to, MOST));
        match (outlet, copy()) {
            (Ok(outlet), _) => Voice::Thread(outlet),
            (Err(_), Ok(to)) => Voice::Careful(to),
            (Err(_), Err(_)) => Voice::None,
        }
    });
}

/// Whether all that was said has been written.
pub(crate) fn is_idle() -> bool {
    !matches!(VOICE.get(), Some(Voice::Thread(outlet)) if !outlet.is_idle())
}

/// Waits until all that was said has been written, at most so long.
pub fn settle(most: Duration) {
    if let Some(Voice::Thread(outlet)) = VOICE.get() {
        outlet.wait(most);
    }
}

/// Standard output, as a descriptor of its own.
///
/// # Errors
///
/// It was closed when this process began, or no descriptor is left.
pub fn stdout() -> io::Result<File> {
    if STDOUT_CLOSED.load(Ordering::Relaxed) {
        // Rust's runtime has put /dev/null in its place, where a report would vanish without a word.
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    io::stdout().as_fd().try_clone_to_owned().map(File::from)
}

static STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

/// Called before Rust's runtime opens /dev/null in the place of standard descriptors that are closed.
extern "C" fn look_at_stdout() {
    // SAFETY: asks about a number, whether it is a descriptor or not.
    let closed = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) } < 0;
    STDOUT_CLOSED.store(closed, Ordering::Relaxed);
}

#[used]
#[unsafe(link_section = ".init_array")]
static LOOK_AT_STDOUT: extern "C" fn() = look_at_stdout;
