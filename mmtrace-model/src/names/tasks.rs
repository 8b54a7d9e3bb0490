//! What tasks are called.

use mmtrace_common::{Kind, Record, View as _, event};
use rustc_hash::FxHashMap;

use super::Comm;

/// Thread ids whose names are known. Those of tasks that have exited are forgotten first.
const KNOWN_MAX: usize = 1 << 17;
/// Names that figures are kept by; whoever comes after these is [`ThreadId::OTHERS`].
const THREADS_MAX: usize = 1 << 16;
/// Tasks whose names are to be asked for at a time.
const NAMELESS_MAX: usize = 64;

/// All threads of one process that have one name: what figures are kept by. It is a number from 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ThreadId(u32);

impl ThreadId {
    /// Stands for all threads that came when [`Tasks`] knew too many names.
    pub const OTHERS: Self = Self(0);
}

/// The threads of one process that have one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thread {
    /// The process's id.
    pub tgid: u32,
    /// The name of the process's first thread; `None` if it was not seen.
    pub process: Option<Comm>,
    /// The name; `None` if it was not seen.
    pub comm: Option<Comm>,
    /// The thread id of one of them; of the only one if the name was not seen.
    pub tid: u32,
}

/// What a thread id stands for now.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Its process; 0 if no event said.
    tgid: u32,
    comm: Option<Comm>,
    thread: Option<ThreadId>,
    exited: bool,
    /// It was named since its birth or its last exec.
    renamed: bool,
}

/// The tasks of a stream of events, with their names as of the last event.
///
/// A name comes from the list of tasks that a recording begins with, from a fork (the child is called as its parent), and
/// from `task_rename`. A task that was born out of a filter's sight has none until somebody asks the kernel for it: see
/// [`Tasks::nameless`].
#[derive(Clone, Debug)]
pub struct Tasks {
    known: FxHashMap<u32, Known>,
    /// Threads by number.
    threads: Vec<Thread>,
    /// How many tasks each of those was.
    tasks: Vec<u32>,
    /// The first thread of each one's process.
    processes: Vec<ThreadId>,
    numbers: FxHashMap<Thread, ThreadId>,
    nameless: Vec<(u32, u32)>,
}

impl Default for Tasks {
    fn default() -> Self {
        let others = Thread { tgid: 0, process: None, comm: None, tid: 0 };
        let (known, numbers, nameless) = <(FxHashMap<_, _>, FxHashMap<_, _>, Vec<_>)>::default();
        Self { known, threads: vec![others], tasks: vec![0], processes: vec![ThreadId::OTHERS], numbers, nameless }
    }
}

impl Tasks {
    /// Learns from an event: names, births, ends.
    #[inline]
    pub fn apply(&mut self, record: &Record) {
        match record.kind() {
            Some(Kind::TaskName) => {
                let name = event::TaskName::of(record);
                self.rename(record.tid, record.tgid, Comm::of_words(name.comm, name.comm_tail));
            }
            Some(Kind::TaskRename) => {
                let name = event::TaskRename::of(record);
                let of = name.of_tid.cast_unsigned();
                let tgid = if of == record.tid { record.tgid } else { 0 };
                self.rename(of, tgid, Comm::of_words(name.comm, name.comm_tail));
            }
            Some(Kind::Fork) => {
                let fork = event::Fork::of(record);
                let comm = self.comm(record.tid);
                let tgid = fork.child_pid.cast_unsigned();
                self.insert(fork.child_tid.cast_unsigned(), Known { tgid, comm, ..Known::default() });
            }
            // An exec names the task first; if that was not seen, the name is another program's.
            Some(Kind::Exec) => {
                if let Some(known) = self.known.get_mut(&record.tid)
                    && !std::mem::take(&mut known.renamed)
                {
                    (known.comm, known.thread) = (None, None);
                }
            }
            Some(Kind::Exit) => {
                if let Some(known) = self.known.get_mut(&record.tid) {
                    known.exited = true;
                }
            }
            _ => {}
        }
    }

    /// Returns the thread behind the ids of an event.
    #[inline]
    pub fn of(&mut self, record: &Record) -> ThreadId {
        match self.known.get(&record.tid) {
            Some(Known { thread: Some(thread), tgid, .. }) if *tgid == record.tgid => *thread,
            _ => self.meet(record.tid, record.tgid),
        }
    }

    #[cold]
    fn meet(&mut self, tid: u32, tgid: u32) -> ThreadId {
        // Of another process: the thread id is used again, and the birth was not seen.
        let known = self.known.get(&tid).copied().filter(|known| known.tgid == tgid || known.tgid == 0);
        let known = Known { tgid, ..known.unwrap_or_default() };
        if known.comm.is_none() && self.nameless.len() < NAMELESS_MAX {
            self.nameless.push((tid, tgid));
        }
        let process = self.comm(tgid);
        let first = self.number(Thread { tgid, process, comm: process, tid: tgid }, None);
        let thread = self.number(Thread { tgid, process, comm: known.comm, tid }, Some(first));
        self.tasks[thread.0 as usize] += 1;
        self.insert(tid, Known { thread: Some(thread), ..known });
        thread
    }

    /// Returns the number of a thread. Threads of one name are told apart by nothing.
    fn number(&mut self, thread: Thread, process: Option<ThreadId>) -> ThreadId {
        let key = Thread { tid: thread.comm.map_or(thread.tid, |_| 0), ..thread };
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        if self.threads.len() >= THREADS_MAX {
            return ThreadId::OTHERS;
        }
        let number = ThreadId(self.threads.len() as u32);
        self.threads.push(thread);
        self.tasks.push(0);
        self.processes.push(process.unwrap_or(number));
        self.numbers.insert(key, number);
        number
    }

    /// Returns what is known of a thread. A name that was found after the thread was met is there.
    #[must_use]
    pub fn thread(&self, id: ThreadId) -> Thread {
        let thread = self.threads.get(id.0 as usize).unwrap_or(&self.threads[0]);
        let later = |name: Option<Comm>, tid| name.or_else(|| self.comm(tid));
        Thread { process: later(thread.process, thread.tgid), comm: later(thread.comm, thread.tid), ..*thread }
    }

    /// Returns the number that stands for all threads of a thread's process. Its [`Tasks::thread`] has the process's name.
    #[must_use]
    pub fn process(&self, id: ThreadId) -> ThreadId {
        self.processes.get(id.0 as usize).copied().unwrap_or(ThreadId::OTHERS)
    }

    /// Returns how many tasks a thread's name stood for.
    #[must_use]
    pub fn tasks(&self, id: ThreadId) -> u32 {
        self.tasks.get(id.0 as usize).copied().unwrap_or(0)
    }

    /// Returns what the task of a thread id is called now.
    #[must_use]
    pub fn comm(&self, tid: u32) -> Option<Comm> {
        self.known.get(&tid).and_then(|known| known.comm)
    }

    /// Takes the tasks that were met without a name, as thread id and process id: a recorder asks the kernel for them.
    pub fn nameless(&mut self) -> Vec<(u32, u32)> {
        std::mem::take(&mut self.nameless)
    }

    fn rename(&mut self, tid: u32, tgid: u32, comm: Comm) {
        let same = |known: &&Known| !known.exited && (tgid == 0 || known.tgid == 0 || known.tgid == tgid);
        let before = self.known.get(&tid).filter(same);
        let tgid = before.map_or(tgid, |known| known.tgid.max(tgid));
        // A thread that had no name keeps its number, and gets the name; one that had another is another thread now.
        let thread =
            before.filter(|known| known.comm.is_none() || known.comm == Some(comm)).and_then(|known| known.thread);
        self.insert(tid, Known { tgid, comm: Some(comm), thread, exited: false, renamed: true });
    }

    fn insert(&mut self, tid: u32, known: Known) {
        if self.known.len() >= KNOWN_MAX && !self.known.contains_key(&tid) {
            self.known.retain(|_, known| !known.exited);
            if self.known.len() > KNOWN_MAX / 2 {
                self.known.clear();
            }
        }
        self.known.insert(tid, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comm(text: &str) -> Comm {
        let mut bytes = [0; 16];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Comm::new(bytes)
    }

    fn record(tid: u32, tgid: u32, event: impl FnOnce(&mut Record)) -> Record {
        let mut record = Record { tid, tgid, ..Record::default() };
        event(&mut record);
        record
    }

    fn name(tid: u32, tgid: u32, text: &str) -> Record {
        let [comm, comm_tail] = comm(text).words();
        record(tid, tgid, |r| event::TaskName { comm, comm_tail }.write(r))
    }

    fn rename(tid: u32, tgid: u32, of: i32, text: &str) -> Record {
        let [comm, comm_tail] = comm(text).words();
        record(tid, tgid, |r| event::TaskRename { of_tid: of, comm, comm_tail }.write(r))
    }

    fn fork(tid: u32, tgid: u32, child: (i32, i32)) -> Record {
        record(tid, tgid, |r| event::Fork { child_pid: child.0, child_tid: child.1 }.write(r))
    }

    fn fault(tid: u32, tgid: u32) -> Record {
        record(tid, tgid, |r| event::PageFaultUser::default().write(r))
    }

    #[test]
    fn a_child_is_called_as_its_parent_until_it_gets_another_name() {
        let mut tasks = Tasks::default();
        for event in [name(10, 10, "bash"), fork(10, 10, (11, 11))] {
            tasks.apply(&event);
        }
        let before = tasks.of(&fault(11, 11));
        tasks.apply(&rename(11, 11, 11, "cat"));
        let after = tasks.of(&fault(11, 11));
        assert_eq!(tasks.thread(before).comm, Some(comm("bash")), "what it did before stays with the old name");
        assert_eq!(
            tasks.thread(after),
            Thread { tgid: 11, process: Some(comm("cat")), comm: Some(comm("cat")), tid: 11 }
        );
    }

    #[test]
    fn threads_of_one_name_in_one_process_are_one_and_counted() {
        let mut tasks = Tasks::default();
        for event in [name(10, 10, "contend"), fork(10, 10, (10, 12)), fork(10, 10, (10, 13))] {
            tasks.apply(&event);
        }
        for tid in [12, 13] {
            tasks.apply(&rename(tid as u32, 10, tid, "fault-worker"));
        }
        let [one, other] = [12, 13].map(|tid| tasks.of(&fault(tid, 10)));
        assert_eq!(one, other);
        assert_eq!(tasks.tasks(one), 2);
        assert_eq!(tasks.thread(one).process, Some(comm("contend")));
        assert_ne!(tasks.of(&fault(10, 10)), one);
    }

    #[test]
    fn a_task_without_a_name_is_asked_for_once_and_gets_the_answer_afterwards() {
        let mut tasks = Tasks::default();
        let met = tasks.of(&fault(21, 20));
        assert_eq!(tasks.of(&fault(21, 20)), met);
        assert_eq!(tasks.nameless(), [(21, 20)]);
        assert_eq!(tasks.nameless(), []);
        assert_eq!(tasks.thread(met).comm, None);
        tasks.apply(&name(21, 20, "cat"));
        assert_eq!(tasks.thread(met).comm, Some(comm("cat")));
        assert_eq!(tasks.of(&fault(21, 20)), met, "nothing was split");
    }

    #[test]
    fn a_thread_id_that_is_used_again_is_another_task() {
        let mut tasks = Tasks::default();
        tasks.apply(&name(30, 30, "first"));
        let first = tasks.of(&fault(30, 30));
        tasks.apply(&record(30, 30, |r| event::Exit { group_dead: true }.write(r)));
        tasks.apply(&fork(1, 1, (30, 30)));
        let second = tasks.of(&fault(30, 30));
        assert_ne!(first, second);
        assert_eq!(tasks.thread(first).comm, Some(comm("first")));
        assert_eq!(tasks.thread(second).comm, None, "its parent's name was not seen");
    }

    #[test]
    fn names_beyond_the_limit_go_to_the_others() {
        let mut tasks = Tasks::default();
        for tid in 1..=THREADS_MAX as u32 {
            tasks.of(&fault(tid, tid));
        }
        assert_eq!(tasks.of(&fault(1 << 20, 1 << 20)), ThreadId::OTHERS);
        assert!(tasks.nameless().len() <= NAMELESS_MAX);
    }
}
