//! The helper: a process that keeps the few capabilities which a recording needs after it has begun.
//!
//! The recorder decodes strangers' files and prints strangers' strings, so it gives up its capabilities once its probes are
//! attached. What still takes one is asked of the helper, which knows the questions of `protocol` and no others. It opens a
//! file and hands over the descriptor; what is in the file is decoded by the recorder.

mod protocol;
mod serve;
mod socket;

use std::{
    fs::File,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

pub(super) use protocol::{Ending, MESSAGE_MAX, Request};
pub(super) use serve::Answers;

/// Longest wait for an answer where the recorder itself waits; its other threads may wait as long as a process keeps them.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time between two looks whether the helper is stopped.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for the end of the helper.
const END: Duration = Duration::from_secs(1);
/// First byte of an answer.
const DONE: u8 = 1;

/// An answer: bytes, a descriptor, or neither.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    pub(super) descriptor: Option<OwnedFd>,
}

impl From<File> for Answer {
    fn from(file: File) -> Self {
        Self { bytes: Vec::new(), descriptor: Some(file.into()) }
    }
}

/// The helper, as the recorder knows it.
pub(super) struct Helper {
    pid: libc::pid_t,
    lost: Arc<AtomicBool>,
    /// It was said that it is gone.
    is_told: bool,
    /// It was said that it is stopped.
    is_stopped: bool,
    /// Last look at it.
    looked: Instant,
    /// Of the recorder itself, of the reader of mappings, and of that of functions.
    recorder: Connection,
    maps: Connection,
    functions: Connection,
}

/// A way to ask the helper; one question at a time.
#[derive(Clone)]
pub(super) struct Connection {
    end: Arc<Mutex<OwnedFd>>,
    lost: Arc<AtomicBool>,
}

impl Helper {
    /// Starts the helper, from the only thread of this process. `ends`: there will be a command to end. `answers` is called in
    /// it.
    ///
    /// # Errors
    /// No process can be had, or there are other threads.
    pub(super) fn start<A: Answers>(ends: bool, answers: impl FnOnce() -> A) -> io::Result<Self> {
        if std::fs::read_dir("/proc/self/task")?.count() != 1 {
            return Err(io::Error::other("other threads may hold locks"));
        }
        let (pairs, recorder) = ([socket::pair()?, socket::pair()?, socket::pair()?], std::process::id());
        // SAFETY: there is no other thread, so the child may do whatever this process may; it does not return.
        let pid = match unsafe { libc::fork() } {
            -1 => return Err(io::Error::last_os_error()),
            0 => serve::run(pairs.map(|(ours, theirs)| drop_first(ours, theirs)), recorder, ends, answers),
            pid => pid,
        };
        let lost = Arc::<AtomicBool>::default();
        let connection =
            |(ours, _): (OwnedFd, OwnedFd)| Connection { end: Arc::new(Mutex::new(ours)), lost: Arc::clone(&lost) };
        let [recorder, maps, functions] = pairs.map(connection);
        socket::set_patience(&recorder.end.lock().unwrap_or_else(PoisonError::into_inner), PATIENCE)?;
        Ok(Self { pid, lost, is_told: false, is_stopped: false, looked: Instant::now(), recorder, maps, functions })
    }

    /// For the thread that records.
    pub(super) fn recorder(&self) -> Connection {
        self.recorder.clone()
    }

    /// For the thread that reads mappings.
    pub(super) fn maps(&self) -> Connection {
        self.maps.clone()
    }

    /// For the thread that reads functions.
    pub(super) fn functions(&self) -> Connection {
        self.functions.clone()
    }

    /// Returns a message, once, if the helper is gone or stopped. `is_stopped` looks at a process.
    pub(super) fn loss(&mut self, is_stopped: impl Fn(u32) -> bool) -> Option<String> {
        if let Some(message) = self.stop(is_stopped) {
            return Some(message);
        }
        let is_new = self.lost.load(Ordering::Relaxed) && !std::mem::replace(&mut self.is_told, true);
        is_new.then(|| {
            format!(
                "the helper (process {}) does not answer, so the recording goes on without it: from now on, mappings that \
                 are older than the recording and functions in files that were not read yet have no names, and mmtrace \
                 cannot end the recorded command; to have them again, end this recording and start \
                 another",
                self.pid
            )
        })
    }

    /// Returns a message when the helper was stopped, and when it goes on: nobody sees that names are missing meanwhile.
    fn stop(&mut self, is_stopped: impl Fn(u32) -> bool) -> Option<String> {
        if self.looked.elapsed() < LOOK_EVERY {
            return None;
        }
        self.looked = Instant::now();
        let stopped = is_stopped(self.pid.cast_unsigned());
        if std::mem::replace(&mut self.is_stopped, stopped) == stopped {
            return None;
        }
        Some(if stopped {
            format!(
                "the helper (process {pid}) is stopped: until it goes on, mappings that are older than the recording and \
                 functions in files have no names; to let it go on: kill -CONT {pid}",
                pid = self.pid
            )
        } else {
            format!("the helper (process {}) goes on", self.pid)
        })
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        for connection in [&self.recorder, &self.maps, &self.functions] {
            connection.close();
        }
        let begun = Instant::now();
        // SAFETY: the process is our child, and nobody else waits for it; nothing is written.
        while unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), libc::WNOHANG) } == 0 && begun.elapsed() < END {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn drop_first<T>(first: T, second: T) -> T {
    drop(first);
    second
}

impl Connection {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// The helper could not do it, or is gone.
    pub(super) fn ask(&self, request: &Request<'_>) -> io::Result<Answer> {
        self.ask_with(request, None)
    }

    /// As [`Connection::ask`], with a descriptor that goes with the question.
    ///
    /// # Errors
    /// The helper could not do it, or is gone.
    pub(super) fn ask_with(&self, request: &Request<'_>, descriptor: Option<BorrowedFd<'_>>) -> io::Result<Answer> {
        let message = request.message().ok_or(io::ErrorKind::InvalidInput)?;
        if self.lost.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answer = [0; MESSAGE_MAX];
        let answered = socket::send(&end, &message, descriptor).and_then(|()| socket::receive(&end, &mut answer));
        match answered {
            Ok((length @ 1.., descriptor)) if answer[0] == DONE => {
                Ok(Answer { bytes: answer[1..length].to_vec(), descriptor })
            }
            Ok((1.., _)) => Err(io::ErrorKind::NotFound.into()),
            // An answer that comes later would be taken for that to another question.
            Ok((0, _)) => Err(self.lose(io::ErrorKind::NotConnected.into())),
            Err(error) => Err(self.lose(error)),
        }
    }

    /// As [`Connection::ask`], for a question whose answer is a file.
    ///
    /// # Errors
    /// The helper could not do it, or is gone.
    pub(super) fn file(&self, request: &Request<'_>) -> io::Result<File> {
        Ok(self.ask(request)?.descriptor.ok_or(io::ErrorKind::NotFound)?.into())
    }

    fn lose(&self, error: io::Error) -> io::Error {
        self.lost.store(true, Ordering::Relaxed);
        error
    }

    /// Lets the helper see that nothing more comes. A thread that waits for an answer goes on waiting, and is given one.
    fn close(&self) {
        if let Ok(end) = self.end.try_lock() {
            // SAFETY: the descriptor is open, and stays so.
            unsafe { libc::shutdown(std::os::fd::AsRawFd::as_raw_fd(&end.as_fd()), libc::SHUT_WR) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers some questions, in a thread.
    struct OfSome;

    impl Answers for OfSome {
        fn answer(&self, request: &Request<'_>, sent: Option<OwnedFd>) -> io::Result<Answer> {
            match request {
                Request::Maps { .. } => Ok(File::open("/proc/self/maps")?.into()),
                Request::Cgroup { id } => Ok(Answer { bytes: id.to_string().into_bytes(), descriptor: None }),
                Request::Symbols { .. } => Ok(Answer { bytes: vec![b'x'; 2 * MESSAGE_MAX], descriptor: None }),
                Request::Command => sent.map(|_| Answer::default()).ok_or(io::ErrorKind::InvalidInput.into()),
                _ => Err(io::ErrorKind::PermissionDenied.into()),
            }
        }
    }

    fn connected() -> (Connection, thread::JoinHandle<()>) {
        let (ours, theirs) = socket::pair().expect("a pair");
        let server = thread::spawn(move || serve::answer_all(&theirs, &OfSome));
        (Connection { end: Arc::new(Mutex::new(ours)), lost: Arc::default() }, server)
    }

    #[test]
    fn answers_bring_bytes_and_descriptors_and_are_bounded() {
        let (connection, server) = connected();
        assert_eq!(connection.ask(&Request::Cgroup { id: 4711 }).expect("answered").bytes, b"4711");
        let maps = connection.file(&Request::Maps { pid: 1 }).expect("a descriptor");
        assert!(io::read_to_string(maps).expect("read").contains("[stack]"));
        assert!(connection.file(&Request::Cgroup { id: 1 }).is_err(), "there is no file in it");
        assert!(connection.ask(&Request::Symbols { build_id: b"" }).is_err(), "the answer would be too long");
        assert!(connection.ask(&Request::Waits { pid: 1, tid: 1 }).is_err());
        assert!(connection.ask(&Request::Command).is_err(), "no descriptor came with it");
        let file = File::open("/proc/self/maps").expect("open");
        assert!(connection.ask_with(&Request::Command, Some(file.as_fd())).is_ok());
        connection.close();
        server.join().expect("it ends");
        assert!(connection.ask(&Request::Cgroup { id: 1 }).is_err() && connection.lost.load(Ordering::Relaxed));
    }

    #[test]
    fn what_is_no_question_is_refused_and_the_next_one_answered() {
        let (connection, server) = connected();
        let mut answer = [0; MESSAGE_MAX];
        for message in [&[][..], &[0], &[1], &[200; 100], &[3; MESSAGE_MAX], &[3; 3 * MESSAGE_MAX]] {
            let end = connection.end.lock().expect("mine");
            // An empty message is the end of all.
            if !message.is_empty() {
                socket::send(&end, message, None).expect("sent");
                let (length, descriptor) = socket::receive(&end, &mut answer).expect("answered");
                assert!(length == 1 && answer[0] != DONE && descriptor.is_none() || message.len() == MESSAGE_MAX);
            }
        }
        assert!(connection.ask(&Request::Cgroup { id: 1 }).is_ok());
        connection.close();
        server.join().expect("it ends");
    }
}
