//! Standard output and standard error, which may be closed, full, or read by nobody.

use std::{
    env,
    fmt::Display,
    fs::File,
    io::{self, IsTerminal as _, Write},
    os::fd::AsFd as _,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mmtrace_model::{report::Style, untrusted::clean};

use crate::outlet::{Outlet, write_what_fits};

/// Bytes of messages that wait for a terminal that is not read; more are dropped.
const MOST: usize = 1 << 16;

/// Writer to standard error, once nobody may wait for it.
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
pub(crate) fn tell(message: &str) {
    complain_at_length(message);
}

/// Says something on standard error, in one line. It may be gone with the terminal: that is no reason not to end well.
pub fn complain(message: impl Display) {
    put(&format!("mmtrace: {}\n", clean(&message.to_string())));
}

/// As [`complain`], in as many lines as the message has: for one in which only what users typed may have line ends.
pub fn complain_at_length(message: &str) {
    let lines: Vec<_> = message.lines().map(clean).collect();
    put(&format!("mmtrace: {}\n", lines.join("\n")));
}

/// Returns the style of standard output: colours on a terminal, unless `NO_COLOR` is set to anything.
#[must_use]
pub fn style_of_stdout() -> Style {
    style(io::stdout().is_terminal())
}

/// Returns the style of standard error.
#[must_use]
pub(crate) fn style_of_stderr() -> Style {
    style(io::stderr().is_terminal())
}

fn style(terminal: bool) -> Style {
    let plain = env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    Style::new(terminal && !plain && env::var_os("TERM").is_none_or(|t| t != "dumb"))
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
