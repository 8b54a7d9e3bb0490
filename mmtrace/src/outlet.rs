//! A descriptor that is written by a thread of its own.
//!
//! A terminal that is stopped (Ctrl-S) and a pipe that nobody reads keep whoever writes to them for as long as they like.
//! A recorder has rings to empty and signals to see meanwhile: it hands its bytes to this thread and goes on.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, ErrorKind, Write},
    os::fd::AsRawFd as _,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Bytes that one write(2) is given at most, so that progress can be seen.
const CHUNK: usize = 1 << 16;

/// State that the thread and its user share.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<u8>,
    /// Bytes of a write that has not returned yet.
    writing: usize,
    written: u64,
    error: Option<i32>,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the module. What is queued when it is dropped is still written, for as long as the process lives.
pub(crate) struct Outlet {
    shared: Arc<Shared>,
    most: usize,
}

impl Outlet {
    /// Starts the thread. At most `most` bytes wait.
    ///
    /// # Errors
    ///
    /// No thread can be had.
    pub(crate) fn new(name: &str, to: File, most: usize) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        thread::Builder::new().name(name.to_owned()).spawn(move || write_all(&theirs, to))?;
        Ok(Self { shared, most })
    }

    /// Takes the bytes to be written, all of them or, when too many wait already, none.
    pub(crate) fn put(&self, bytes: &[u8]) -> bool {
        let mut state = self.shared.lock();
        let waiting = state.queue.len() + state.writing;
        if waiting > 0 && waiting + bytes.len() > self.most {
            return false;
        }
        state.queue.extend(bytes);
        drop(state);
        self.shared.changed.notify_all();
        true
    }

    /// Whether all that was taken has been written, or could not be.
    #[must_use]
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.shared.lock();
        state.queue.is_empty() && state.writing == 0
    }

    /// Bytes written so far.
    #[must_use]
    pub(crate) fn written(&self) -> u64 {
        self.shared.lock().written
    }

    /// Returns the error of the write that failed, if one did.
    #[must_use]
    pub(crate) fn error(&self) -> Option<io::Error> {
        self.shared.lock().error.map(io::Error::from_raw_os_error)
    }

    /// Waits until all is written, at most so long. Returns whether it is.
    pub(crate) fn wait(&self, most: Duration) -> bool {
        let end = Instant::now() + most;
        let mut state = self.shared.lock();
        while !state.queue.is_empty() || state.writing > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

/// The thread.
fn write_all(shared: &Shared, mut to: File) {
    let mut chunk = Vec::with_capacity(CHUNK);
    loop {
        let mut state = shared.lock();
        while state.queue.is_empty() {
            if state.closed {
                return;
            }
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let size = state.queue.len().min(CHUNK);
        chunk.clear();
        chunk.extend(state.queue.drain(..size));
        state.writing = size;
        drop(state);
        let mut at = 0;
        while at < size {
            match to.write(&chunk[at..]) {
                Ok(n) => {
                    at += n;
                    let mut state = shared.lock();
                    state.writing = size - at;
                    state.written += n as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Somebody who shares it has made it so: not ours to change.
                Err(error) if error.kind() == ErrorKind::WouldBlock => drop(poll(&to, -1)),
                Err(error) => {
                    let mut state = shared.lock();
                    state.error = Some(error.raw_os_error().unwrap_or(libc::EIO));
                    state.queue.clear();
                    break;
                }
            }
        }
        shared.lock().writing = 0;
        shared.changed.notify_all();
    }
}

/// A pipe that can be written takes so much without waiting (`PIPE_BUF`).
const PIECE: usize = 4096;

/// Writes the beginning of the bytes, if something can be written now: for those who can have no other thread. Returns
/// how much; a terminal may still hold it up, if it is stopped in the midst of it.
///
/// # Errors
///
/// It cannot be written.
pub(crate) fn write_a_piece(mut to: &File, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() || poll(to, 0) <= 0 {
        return Ok(0);
    }
    match to.write(&bytes[..bytes.len().min(PIECE)]) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
        other => other,
    }
}

/// Writes what can be written now, and drops the rest.
pub(crate) fn write_what_fits(to: &File, mut bytes: &[u8]) {
    while let Ok(n @ 1..) = write_a_piece(to, bytes) {
        bytes = &bytes[n..];
    }
}

fn poll(to: &File, timeout: i32) -> i32 {
    let mut poll = libc::pollfd { fd: to.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one entry, which outlives the call.
    unsafe { libc::poll(&raw mut poll, 1, timeout) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{PipeReader, Read, pipe};

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(50);

    fn outlet(most: usize) -> (PipeReader, Outlet) {
        let (from, to) = pipe().expect("a pipe");
        (from, Outlet::new("test", File::from(std::os::fd::OwnedFd::from(to)), most).expect("a thread"))
    }

    #[test]
    fn nobody_waits_for_a_reader_that_does_not_read() {
        let (mut from, outlet) = outlet(1 << 20);
        let page = [b'x'; 4096];
        let start = Instant::now();
        let taken = (0..1000).filter(|_| outlet.put(&page)).count();
        assert!(start.elapsed() < LONG);
        assert!((256..1000).contains(&taken), "{taken} of 1000 pages");
        assert!(!outlet.wait(SHORT) && !outlet.is_idle());
        // The reader comes back: what was taken arrives, whole.
        drop(thread::spawn(move || {
            let mut bytes = vec![0; taken * page.len()];
            from.read_exact(&mut bytes).expect("all of it");
            thread::sleep(LONG);
        }));
        assert!(outlet.wait(LONG) && outlet.error().is_none());
        assert_eq!(outlet.written(), (taken * page.len()) as u64);
    }

    #[test]
    fn what_cannot_be_written_is_an_error_and_no_end() {
        let (from, outlet) = outlet(1 << 20);
        drop(from);
        assert!(outlet.put(b"text") && outlet.wait(LONG));
        assert_eq!(outlet.error().map(|e| e.kind()), Some(ErrorKind::BrokenPipe));
        let full = File::options().write(true).open("/dev/full").expect("opened");
        let outlet = Outlet::new("test", full, 100).expect("a thread");
        assert!(outlet.put(&[0; 1000]) && outlet.wait(LONG), "one piece may be larger than what may wait");
        assert_eq!(outlet.error().map(|e| e.kind()), Some(ErrorKind::StorageFull));
    }

    #[test]
    fn without_a_thread_what_fits_is_written() {
        let (mut from, to) = pipe().expect("a pipe");
        let to = File::from(std::os::fd::OwnedFd::from(to));
        let start = Instant::now();
        write_what_fits(&to, &vec![b'x'; 1 << 20]);
        assert!(start.elapsed() < LONG);
        assert_eq!(write_a_piece(&to, b"text").expect("no error"), 0, "it is full");
        let mut bytes = [0; 8192];
        from.read_exact(&mut bytes).expect("some of it");
        assert_eq!(write_a_piece(&to, b"text").expect("no error"), 4);
        drop(from);
        assert!(write_a_piece(&to, b"text").is_err());
    }
}
