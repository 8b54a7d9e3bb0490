//! The tasks of a process and of its descendants, and where those are stuck that do not end.
//!
//! Nothing here takes the mmap_lock of another process (`cmdline`, `maps`): what keeps a task may hold it.

use std::{
    fmt, fs, io,
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use super::helper::{Connection, Request};

/// Lines of a stack that are shown.
const STACK: usize = 12;
/// Threads that are told of; more are counted.
const SHOWN: usize = 8;
/// Descendants that are followed.
const MOST: usize = 4096;
/// Longest wait for an answer from /proc.
const PATIENCE: Duration = Duration::from_secs(1);

/// A process, which its start tells from a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pid: u32,
    start: u64,
}

/// The part of `/proc/TID/stat` that is used here.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stat {
    comm: String,
    state: char,
    start: u64,
}

impl Stat {
    fn read(folder: &str) -> Option<Self> {
        Self::parse(&String::from_utf8_lossy(&fs::read(format!("{folder}/stat")).ok()?))
    }

    /// The name stands in parentheses, and may hold some itself.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once('(')?;
        let (comm, rest) = rest.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        let state = fields.next()?.chars().next()?;
        // Field 22 of proc_pid_stat(5); the state is the third.
        Some(Self { comm: comm.to_owned(), state, start: fields.nth(18)?.parse().ok()? })
    }

    /// Whether it is in uninterruptible sleep.
    fn is_uninterruptible(&self) -> bool {
        self.state == 'D'
    }

    /// Whether it is gone but for its parent, which has not asked.
    fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// Whether a process was stopped by a signal, or by who traces it.
pub(super) fn is_stopped(pid: u32) -> bool {
    Stat::read(&format!("/proc/{pid}")).is_some_and(|stat| matches!(stat.state, 'T' | 't'))
}

impl Process {
    /// The process of this number now.
    pub(super) fn of(pid: u32) -> Option<Self> {
        Stat::read(&format!("/proc/{pid}")).map(|stat| Self { pid, start: stat.start })
    }

    fn is_there(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// This one, and those that it and its children have started, as far as they have not been left behind.
    pub(super) fn tree(self) -> Vec<Self> {
        let mut tree = vec![self];
        let mut at = 0;
        while let Some(process) = tree.get(at).copied() {
            at += 1;
            for tid in threads(process.pid) {
                let text = fs::read_to_string(format!("/proc/{}/task/{tid}/children", process.pid)).unwrap_or_default();
                let children = text.split_whitespace().filter_map(|pid| pid.parse().ok()).filter_map(Self::of);
                tree.extend(children.take(MOST.saturating_sub(at)));
            }
            tree.truncate(MOST);
        }
        tree
    }
}

fn threads(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    threads.flatten().filter_map(|thread| thread.file_name().to_str()?.parse().ok()).collect()
}

/// A task that does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stuck {
    tid: u32,
    pid: u32,
    comm: String,
    state: char,
    wchan: String,
    stack: Result<Vec<String>, String>,
}

impl Stuck {
    fn read(pid: u32, tid: u32, stat: Stat, helper: Option<&Connection>) -> Self {
        let folder = format!("/proc/{pid}/task/{tid}");
        let wchan = match helper.map(|helper| helper.ask(&Request::Waits { pid, tid })) {
            Some(Ok(answer)) => String::from_utf8_lossy(&answer.bytes).into_owned(),
            _ => fs::read_to_string(format!("{folder}/wchan")).unwrap_or_default(),
        };
        let stack = fs::read_to_string(format!("{folder}/stack"))
            .map(|text| text.lines().take(STACK).map(str::to_owned).collect())
            .map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => format!("to see its stack in the kernel: sudo cat {folder}/stack"),
                _ => format!("mmtrace cannot read its stack: {error}"),
            });
        Self { tid, pid, comm: stat.comm, state: stat.state, wchan, stack }
    }
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comm: String = self.comm.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        write!(f, "task {} ({comm}) of process {} is in state {}", self.tid, self.pid, self.state)?;
        if !matches!(self.wchan.as_str(), "" | "0") {
            write!(f, " in {}", self.wchan)?;
        }
        match &self.stack {
            Ok(lines) if lines.is_empty() => Ok(()),
            Ok(lines) => lines.iter().try_for_each(|line| write!(f, "\n    {line}")),
            Err(why) => write!(f, "; {why}"),
        }
    }
}

/// Tasks of these processes that are in uninterruptible sleep; of `killed`, all that still are.
fn stuck(tree: &[Process], killed: Option<Process>, helper: Option<&Connection>) -> Vec<Stuck> {
    let mut found = Vec::new();
    for process in tree.iter().filter(|p| p.is_there()) {
        for tid in threads(process.pid) {
            let Some(stat) = Stat::read(&format!("/proc/{}/task/{tid}", process.pid)) else { continue };
            let does_not_die = killed == Some(*process) && !stat.is_dead();
            if does_not_die || stat.is_uninterruptible() {
                found.push(Stuck::read(process.pid, tid, stat, helper));
            }
        }
    }
    // Those that nothing can end first.
    found.sort_by_key(|task| (task.state != 'D', task.tid));
    found
}

/// Says which tasks of these processes are stuck, and where; what /proc does not say in time is left out. `helper`: who
/// may look at tasks of other users.
pub(super) fn tell_of_stuck(tree: Vec<Process>, killed: Option<Process>, helper: Option<Connection>) -> Vec<String> {
    let (send, answer) = channel();
    // To read a stack may take as long as the task is stuck.
    let asked = thread::Builder::new()
        .name("stuck".to_owned())
        .spawn(move || drop(send.send(stuck(&tree, killed, helper.as_ref()))));
    let found = match asked.map(|_| answer.recv_timeout(PATIENCE)) {
        Ok(Ok(found)) => found,
        Ok(Err(RecvTimeoutError::Timeout)) => {
            return vec!["mmtrace cannot tell where it is stuck: /proc did not answer within 1 s".to_owned()];
        }
        Ok(Err(RecvTimeoutError::Disconnected)) => return Vec::new(),
        Err(error) => {
            return vec![format!("mmtrace cannot tell where it is stuck: it cannot start a thread ({error})")];
        }
    };
    let more = found.len().saturating_sub(SHOWN);
    let mut told: Vec<String> = found.iter().take(SHOWN).map(ToString::to_string).collect();
    if more > 0 {
        told.push(format!("{more} more of its tasks are stuck"));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_name_with_parentheses_is_read_whole() {
        let rest = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        let stat = Stat::parse(&format!("17 (a) (D b) S {rest}")).expect("a task");
        assert_eq!(stat, Stat { comm: "a) (D b".to_owned(), state: 'S', start: 4711 });
        for text in ["", "17", "17 (a", "17 (a) S 1 2"] {
            assert_eq!(Stat::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn grandchildren_are_found_and_one_that_does_not_die_is_told_with_its_place() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 100 & sleep 100; true"]).stdin(Stdio::null());
        let mut child = command.spawn().expect("a shell");
        let process = Process::of(child.id()).expect("it runs");
        let sleeps =
            |process: &Process| Stat::read(&format!("/proc/{}", process.pid)).is_some_and(|stat| stat.state == 'S');
        // A program that still waits for its pages to be read from disk is in state D, and would be told of first.
        let start = std::time::Instant::now();
        let mut tree = process.tree();
        while !(tree.len() == 3 && tree.iter().all(sleeps)) && start.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(5));
            tree = process.tree();
        }
        assert_eq!(tree.len(), 3, "{tree:?}");
        let told = tell_of_stuck(tree.clone(), Some(process), None);
        assert!(told.first().is_some_and(|t| t.starts_with(&format!("task {} (sh)", child.id()))), "{told:?}");
        assert!(told[0].contains("is in state S"), "{told:?}");
        child.kill().and_then(|()| child.wait()).expect("killed");
        assert_eq!(tell_of_stuck(tree.clone(), Some(process), None), [""; 0], "who is dead is not stuck");
        for left in &tree[1..] {
            // SAFETY: no memory is involved; the processes are the shell's children of just now.
            unsafe { libc::kill(left.pid.cast_signed(), libc::SIGKILL) };
        }
    }
}
