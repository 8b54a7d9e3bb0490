//! Names of tasks.

use mmtrace_common::{Kind, Record, View as _, event};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{CgroupId, Cgroups, Comm, recent::Recent};
use crate::context::Context;

/// Thread ids whose names are known. Those of tasks that have exited are forgotten first. A hash table is seven eighths
/// full at most: one more would double it.
const KNOWN_MAX: usize = (1 << 17) / 8 * 7;
/// Threads that figures are kept by. Those that come later are told apart by name alone.
const THREADS_MAX: usize = 1 << 15;
/// Names of those.
const NAMES_MAX: usize = 1 << 13;
/// Tasks that are counted: as many as a table of that size takes.
const COUNTED_MAX: usize = (1 << 17) / 8 * 7;
/// Processes with threads whose cgroup is not known yet, and such threads of one process, that are noted.
const UNPLACED_MAX: usize = 1 << 8;
/// Tasks whose names are to be asked for at a time.
const NAMELESS_MAX: usize = 64;
/// Processes whose names before the last rename are known; all are forgotten beyond that.
const REPLACED_MAX: usize = 1 << 10;

/// All threads of one process that have one name: what figures are kept by. It is a number from 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ThreadId(u32);

impl ThreadId {
    /// Stands for all threads that came when [`Tasks`] knew too many names.
    pub(crate) const OTHERS: Self = Self(0);

    #[inline]
    pub(crate) const fn number(self) -> u64 {
        self.0 as u64
    }
}

/// The threads of one process that have one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread {
    /// The process's id; 0 stands for all processes of this name that came when too many were known.
    pub(crate) tgid: u32,
    /// The name of the process's first thread; `None` if it was not seen.
    pub(crate) process: Option<Comm>,
    /// The name; `None` if it was not seen.
    pub(crate) comm: Option<Comm>,
    /// The thread id of one of them; of the only one if the name was not seen.
    pub(crate) tid: u32,
    /// The cgroup that they were in. Threads that moved are other ones from then on.
    pub(crate) cgroup: CgroupId,
}

/// Key that tells threads apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// A process, from its birth or last exec on.
    Process { first: u32, number: u32 },
    /// Threads of a process that have a name, in one cgroup.
    Named(ThreadId, Comm, CgroupId),
    /// A thread of a process that has none.
    Nameless(ThreadId, u32, CgroupId),
    /// By the names of process and thread, and the cgroup, alone.
    OfNames(Option<Comm>, Option<Comm>, CgroupId),
}

/// The task that a thread id stands for now.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Its process; 0 if no event said.
    tgid: u32,
    comm: Option<Comm>,
    thread: Option<ThreadId>,
    /// Of a process's first thread: the process.
    process: Option<ThreadId>,
    exited: bool,
    /// It was named since its birth or its last exec.
    renamed: bool,
    /// [`Cgroups::changes`] when `thread` was found.
    changes: u32,
}

/// The tasks of a stream of events, with their names as of the last event.
///
/// A name comes from the list of tasks that a recording begins with, from a fork (the child is called as its parent), and
/// from `task_rename`. A task that was born out of a filter's sight has none until somebody asks the kernel for it: see
/// [`Engine::nameless_tasks`](crate::replay::Engine::nameless_tasks).
#[derive(Clone, Debug)]
pub struct Tasks {
    known: FxHashMap<u32, Known>,
    recent: Recent<ThreadId>,
    /// Threads by number.
    threads: Vec<Thread>,
    /// The process of each of those.
    processes: Vec<ThreadId>,
    numbers: FxHashMap<Key, ThreadId>,
    /// Tasks that were counted as each of those: its number, and the task's thread id.
    counted: FxHashSet<(ThreadId, u32)>,
    nameless: Vec<(u32, u32)>,
    cgroups: Cgroups,
    /// Numbers whose cgroup is not known, by process: they get it if the kernel says it before anything moves.
    unplaced: FxHashMap<u32, Vec<ThreadId>>,
    /// Names of processes before their last rename, by id. An exec names the task first: that name is the new program's.
    replaced: FxHashMap<u32, Option<Comm>>,
    /// Births, execs and renames are recorded. Without them a name may be another program's.
    is_told: bool,
}

/// Whether an event tells of names, births, ends and cgroups, or that such events may be missing.
#[inline]
const fn is_about_tasks(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::TaskName
            | Kind::TaskRename
            | Kind::TaskCgroup
            | Kind::CgroupPath
            | Kind::CgroupAttachTask
            | Kind::Fork
            | Kind::Exec
            | Kind::Exit
    ) || kind.is_missing()
}

impl Default for Tasks {
    fn default() -> Self {
        let others = Thread { tgid: 0, process: None, comm: None, tid: 0, cgroup: CgroupId::UNKNOWN };
        let (known, numbers) = <(FxHashMap<_, _>, FxHashMap<_, _>)>::default();
        let (threads, processes) = (vec![others], vec![ThreadId::OTHERS]);
        let (counted, nameless) = (FxHashSet::default(), Vec::new());
        let (cgroups, unplaced) = (Cgroups::default(), FxHashMap::default());
        let (recent, replaced) = (Recent::default(), FxHashMap::default());
        Self {
            known,
            recent,
            threads,
            processes,
            numbers,
            counted,
            nameless,
            cgroups,
            unplaced,
            replaced,
            is_told: true,
        }
    }
}

impl Tasks {
    /// Knows nobody yet. No task has a name if `context` lacks an event that names tasks.
    #[must_use]
    pub(crate) fn new(context: &Context) -> Self {
        let is_told = [Kind::TaskRename, Kind::Fork, Kind::Exec].iter().all(|kind| context.has(*kind));
        Self { is_told, ..Self::default() }.with_cgroups_of(context)
    }

    /// No task is in a cgroup if `context` lacks an event that tells.
    #[must_use]
    pub fn with_cgroups_of(self, context: &Context) -> Self {
        Self { cgroups: Cgroups::new(context), ..self }
    }

    /// Learns from an event: names, births, ends, moves between cgroups.
    #[inline]
    pub fn apply(&mut self, record: &Record) {
        if let Some(kind) = record.kind()
            && is_about_tasks(kind)
        {
            self.take(kind, record);
        }
    }

    #[cold]
    fn take(&mut self, kind: Kind, record: &Record) {
        match kind {
            Kind::TaskCgroup => self.found(record),
            Kind::Fork | Kind::Exec | Kind::Exit | Kind::CgroupPath => self.cgroups.apply(kind, record),
            Kind::CgroupAttachTask => {
                self.unplaced.remove(&event::CgroupAttachTask::of(record).of_pid.cast_unsigned());
                self.cgroups.apply(kind, record);
            }
            kind if kind.is_missing() => {
                let before = self.cgroups.changes();
                self.cgroups.apply(kind, record);
                if self.cgroups.changes() != before {
                    self.unplaced.clear();
                }
            }
            _ => {}
        }
        if self.is_told {
            self.learn(kind, record);
        }
    }

    /// Learns names, births and ends.
    fn learn(&mut self, kind: Kind, record: &Record) {
        match kind {
            Kind::TaskName => {
                let name = event::TaskName::of(record);
                self.rename(record.tid, record.tgid, Comm::of_words(name.comm, name.comm_tail));
            }
            Kind::TaskRename => {
                let name = event::TaskRename::of(record);
                let of = name.of_tid.cast_unsigned();
                let tgid = if of == record.tid { record.tgid } else { 0 };
                self.rename(of, tgid, Comm::of_words(name.comm, name.comm_tail));
            }
            Kind::Fork => {
                let fork = event::Fork::of(record);
                let comm = self.comm(record.tid);
                let tgid = fork.child_pid.cast_unsigned();
                self.insert(fork.child_tid.cast_unsigned(), Known { tgid, comm, ..Known::default() });
            }
            // An exec names the task first; if that was not seen, the name is another program's.
            Kind::Exec => {
                self.recent.forget(record.tid);
                let replaced = self.replaced.remove(&record.tid);
                if let Some(known) = self.known.get_mut(&record.tid) {
                    let renamed = std::mem::take(&mut known.renamed);
                    if !renamed {
                        known.comm = None;
                    }
                    // What the process did before it ran this program stays under the name that it had.
                    if let (true, Some(process), Some(name)) = (renamed, known.process, replaced) {
                        self.threads[process.0 as usize].process = name;
                    }
                    (known.thread, known.process) = (None, None);
                }
            }
            Kind::Exit => {
                if let Some(known) = self.known.get_mut(&record.tid) {
                    known.exited = true;
                }
            }
            _ => {}
        }
    }

    /// Returns the thread behind the ids of an event.
    #[inline]
    pub(crate) fn of(&mut self, record: &Record) -> ThreadId {
        self.of_ids(record.tid, record.tgid)
    }

    /// Returns the thread behind a thread id and a process id.
    #[inline]
    pub(crate) fn of_ids(&mut self, tid: u32, tgid: u32) -> ThreadId {
        let now = self.cgroups.changes();
        if let Some(thread) = self.recent.get(tid, tgid, now) {
            return thread;
        }
        let thread = match self.known.get(&tid) {
            Some(Known { thread: Some(thread), tgid: of, changes, .. }) if *of == tgid && *changes == now => *thread,
            _ => self.meet(tid, tgid),
        };
        self.recent.put(tid, tgid, now, thread);
        thread
    }

    #[cold]
    fn meet(&mut self, tid: u32, tgid: u32) -> ThreadId {
        let process = self.process_of(tgid);
        let known = self.known_as(tid, tgid);
        let cgroup = self.cgroups.of(tid, tgid);
        if tid != tgid {
            self.miss(known.comm, cgroup, tid, tgid);
        }
        let name = self.threads[process.0 as usize].process;
        let new = Thread { tgid, process: name, comm: known.comm, tid, cgroup };
        let key = key(process, &new);
        let thread = self.number(key, new, Some(process));
        self.unplaced(thread);
        if self.counted.len() < COUNTED_MAX {
            self.counted.insert((thread, tid));
        }
        self.insert(tid, Known { thread: Some(thread), changes: self.cgroups.changes(), ..known });
        thread
    }

    /// Notes a task that the kernel is to be asked for, if its name or its cgroup is not known.
    fn miss(&mut self, comm: Option<Comm>, cgroup: CgroupId, tid: u32, tgid: u32) {
        let misses = (comm.is_none() && self.is_told) || (cgroup == CgroupId::UNKNOWN && self.cgroups.is_told());
        if misses && self.nameless.len() < NAMELESS_MAX {
            self.nameless.push((tid, tgid));
        }
    }

    /// The kernel has said in which cgroup a task is. If nobody knew, it was there since it was met.
    fn found(&mut self, record: &Record) {
        let (tid, tgid) = (record.tid, record.tgid);
        let was = self.cgroups.of(tid, tgid);
        self.cgroups.apply(Kind::TaskCgroup, record);
        if was != CgroupId::UNKNOWN {
            return;
        }
        let cgroup = self.cgroups.of(tid, tgid);
        let known = self.known.get(&tid).filter(|known| known.tgid == tgid).and_then(|known| known.thread);
        let of_process = if tid == tgid { self.unplaced.remove(&tgid) } else { None };
        for number in of_process.into_iter().flatten().chain(known) {
            let process = self.process(number);
            let Some(thread) = self.threads.get_mut(number.0 as usize) else { continue };
            if thread.tgid == tgid && thread.cgroup == CgroupId::UNKNOWN {
                thread.cgroup = cgroup;
                if number != process {
                    let key = key(process, thread);
                    self.numbers.entry(key).or_insert(number);
                }
            }
        }
    }

    /// Notes a number whose cgroup is not known.
    fn unplaced(&mut self, number: ThreadId) {
        let Some(Thread { tgid, cgroup, .. }) = self.threads.get(number.0 as usize).copied() else { return };
        if tgid == 0 || cgroup != CgroupId::UNKNOWN || !self.cgroups.is_told() {
            return;
        }
        if self.unplaced.len() < UNPLACED_MAX || self.unplaced.contains_key(&tgid) {
            let of = self.unplaced.entry(tgid).or_default();
            if of.len() < UNPLACED_MAX && !of.contains(&number) {
                of.push(number);
            }
        }
    }

    /// Returns what is known of a task, if it is of this process: else the thread id is used again, and the birth was
    /// not seen.
    fn known_as(&self, tid: u32, tgid: u32) -> Known {
        let known = self.known.get(&tid).copied().filter(|known| known.tgid == tgid || known.tgid == 0);
        Known { tgid, ..known.unwrap_or_default() }
    }

    /// The number of a process.
    fn process_of(&mut self, tgid: u32) -> ThreadId {
        let known = self.known_as(tgid, tgid);
        if let Some(process) = known.process {
            return process;
        }
        let cgroup = self.cgroups.of(tgid, tgid);
        self.miss(known.comm, cgroup, tgid, tgid);
        let new = Thread { tgid, process: known.comm, comm: known.comm, tid: tgid, cgroup };
        let key = Key::Process { first: tgid, number: self.threads.len() as u32 };
        let process = self.number(key, new, None);
        self.unplaced(process);
        self.insert(tgid, Known { process: Some(process), ..known });
        process
    }

    fn number(&mut self, key: Key, new: Thread, process: Option<ThreadId>) -> ThreadId {
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let (mut key, mut new) = (key, new);
        if self.threads.len() >= THREADS_MAX {
            (key, new) = (Key::OfNames(new.process, new.comm, new.cgroup), Thread { tgid: 0, tid: 0, ..new });
            if let Some(number) = self.numbers.get(&key) {
                return *number;
            }
            if self.threads.len() >= THREADS_MAX + NAMES_MAX {
                return ThreadId::OTHERS;
            }
        }
        let number = ThreadId(self.threads.len() as u32);
        self.threads.push(new);
        self.processes.push(process.filter(|_| new.tgid != 0).unwrap_or(number));
        self.numbers.insert(key, number);
        number
    }

    /// Returns the number that stands for every thread of these names in one cgroup, whatever its process: for figures that have no room
    /// for another thread.
    pub(crate) fn of_names(&mut self, id: ThreadId) -> ThreadId {
        let Thread { process, comm, cgroup, .. } = self.thread(id);
        let key = Key::OfNames(process, comm, cgroup);
        if !self.numbers.contains_key(&key) && self.threads.len() >= THREADS_MAX + NAMES_MAX {
            return ThreadId::OTHERS;
        }
        self.number(key, Thread { tgid: 0, process, comm, tid: 0, cgroup }, None)
    }

    /// Returns what is known of a thread. A name that was found after the thread was met is there, and the process has the
    /// last name that its first thread had before the process ran another program.
    #[must_use]
    pub(crate) fn thread(&self, id: ThreadId) -> Thread {
        let thread = self.threads.get(id.0 as usize).unwrap_or(&self.threads[0]);
        if thread.tgid == 0 {
            return *thread;
        }
        let process = self.threads[self.processes[id.0 as usize].0 as usize].process;
        let later = |name: Option<Comm>, tid| name.or_else(|| self.comm(tid));
        Thread { process: later(process, thread.tgid), comm: later(thread.comm, thread.tid), ..*thread }
    }

    /// Returns the number that stands for all threads of a thread's process. Its [`Tasks::thread`] has the process's name.
    #[must_use]
    pub(crate) fn process(&self, id: ThreadId) -> ThreadId {
        self.processes.get(id.0 as usize).copied().unwrap_or(ThreadId::OTHERS)
    }

    /// Returns the thread ids that each thread stood for.
    #[must_use]
    pub(crate) fn tids(&self) -> FxHashMap<ThreadId, Vec<u32>> {
        let mut tids: FxHashMap<ThreadId, Vec<u32>> = FxHashMap::default();
        self.counted.iter().for_each(|(thread, tid)| tids.entry(*thread).or_default().push(*tid));
        tids
    }

    /// Returns what the task of a thread id is called now.
    #[must_use]
    pub fn comm(&self, tid: u32) -> Option<Comm> {
        self.known.get(&tid).and_then(|known| known.comm)
    }

    /// Returns the process of a thread id; `None` if no event said.
    #[must_use]
    pub fn tgid_of(&self, tid: u32) -> Option<u32> {
        self.known.get(&tid).map(|known| known.tgid).filter(|tgid| *tgid != 0)
    }

    /// Returns the task of a thread id as views show it: `jit-protector 11643`, or the id alone if the name is not known.
    #[must_use]
    pub fn label(&self, tid: u32) -> String {
        self.comm(tid).map_or_else(|| tid.to_string(), |comm| format!("{comm} {tid}"))
    }

    /// Returns the cgroups of the tasks.
    #[must_use]
    pub const fn cgroups(&self) -> &Cgroups {
        &self.cgroups
    }

    /// Returns the name and the cgroup of every living task, and the paths of cgroups, as records of the time `ts`.
    #[must_use]
    pub fn names(&self, ts: u64) -> Vec<Record> {
        let living = self.known.iter().filter(|(_, known)| !known.exited && known.tgid != 0);
        let named = living.filter_map(|(tid, known)| Some((*tid, known.tgid, known.comm?)));
        let mut names: Vec<Record> = named.map(|(tid, tgid, comm)| comm.named(tid, tgid, ts)).collect();
        names.extend(self.cgroups.records(ts));
        names
    }

    /// Takes the tasks that were met without a name or a cgroup, as thread id and process id: a recorder asks the kernel
    /// for them.
    pub(crate) fn nameless(&mut self) -> Vec<(u32, u32)> {
        std::mem::take(&mut self.nameless)
    }

    /// Takes the cgroups that were met without a path, by their ids in the kernel: a recorder looks for them.
    pub(crate) fn nameless_cgroups(&mut self) -> Vec<u64> {
        self.cgroups.nameless()
    }

    fn rename(&mut self, tid: u32, tgid: u32, comm: Comm) {
        let same = |known: &&Known| !known.exited && (tgid == 0 || known.tgid == 0 || known.tgid == tgid);
        let before = self.known.get(&tid).filter(same).copied().unwrap_or_default();
        // A thread that had no name keeps its number, and gets the name; one that had another is another thread now.
        let thread = before.thread.filter(|_| before.comm.is_none_or(|old| old == comm));
        if let Some(process) = before.process.and_then(|process| self.threads.get_mut(process.0 as usize)) {
            if self.replaced.len() >= REPLACED_MAX {
                self.replaced.clear();
            }
            self.replaced.insert(tid, process.process.replace(comm));
        }
        let known = Known { tgid: before.tgid.max(tgid), comm: Some(comm), thread, renamed: true, ..before };
        self.insert(tid, known);
    }

    fn insert(&mut self, tid: u32, known: Known) {
        self.recent.forget(tid);
        if self.known.len() >= KNOWN_MAX && !self.known.contains_key(&tid) {
            self.known.retain(|_, known| !known.exited);
            if self.known.len() > KNOWN_MAX / 2 {
                self.known.clear();
            }
        }
        self.known.insert(tid, known);
    }
}

/// Key of a thread by its name and cgroup.
fn key(process: ThreadId, thread: &Thread) -> Key {
    let Thread { comm, tid, cgroup, .. } = *thread;
    comm.map_or(Key::Nameless(process, tid, cgroup), |comm| Key::Named(process, comm, cgroup))
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
        record(tid, tgid, |r| event::Fork { child_pid: child.0, child_tid: child.1, cgroup_id: 0 }.write(r))
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
            Thread {
                tgid: 11,
                process: Some(comm("cat")),
                comm: Some(comm("cat")),
                tid: 11,
                cgroup: CgroupId::UNKNOWN
            }
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
        assert_eq!(tasks.tids()[&one].len(), 2);
        assert_eq!(tasks.thread(one).process, Some(comm("contend")));
        assert_ne!(tasks.of(&fault(10, 10)), one);
    }

    #[test]
    fn a_task_without_a_name_is_asked_for_once_and_gets_the_answer_afterwards() {
        let mut tasks = Tasks::default();
        let met = tasks.of(&fault(21, 20));
        assert_eq!(tasks.of(&fault(21, 20)), met);
        assert_eq!(tasks.nameless(), [(20, 20), (21, 20)]);
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
    fn threads_beyond_the_limit_are_told_apart_by_name_alone() {
        let mut tasks = Tasks::default();
        for tid in 1..=THREADS_MAX as u32 {
            tasks.of(&fault(tid, tid));
        }
        assert!(tasks.nameless().len() <= NAMELESS_MAX);
        let late = |tasks: &mut Tasks, tid, text| {
            tasks.apply(&name(tid, tid, text));
            tasks.of(&fault(tid, tid))
        };
        let [one, other, third] =
            [(1 << 20, "cat"), (1 << 21, "cat"), (1 << 22, "dog")].map(|(tid, text)| late(&mut tasks, tid, text));
        assert_eq!(one, other);
        assert_ne!(one, third);
        let cat = Some(comm("cat"));
        let cats = Thread { tgid: 0, process: cat, comm: cat, tid: 0, cgroup: CgroupId::UNKNOWN };
        assert_eq!(tasks.thread(one), cats);
    }

    #[test]
    fn a_process_is_one_whatever_its_first_thread_calls_itself() {
        let mut tasks = Tasks::default();
        for event in [name(10, 10, "lead"), fork(10, 10, (10, 11)), rename(11, 10, 11, "worker")] {
            tasks.apply(&event);
        }
        let [before, worker] = [10, 11].map(|tid| tasks.of(&fault(tid, 10)));
        tasks.apply(&rename(10, 10, 10, "java-main"));
        let after = tasks.of(&fault(10, 10));
        assert_ne!(before, after);
        let [one, other, third] = [before, worker, after].map(|thread| tasks.process(thread));
        assert!(one == other && other == third);
        assert_eq!(tasks.thread(worker).process, Some(comm("java-main")));
    }

    #[test]
    fn an_exec_whose_new_name_was_not_seen_leaves_none() {
        let mut tasks = Tasks::default();
        tasks.apply(&name(10, 10, "bash"));
        let bash = tasks.of(&fault(10, 10));
        let exec = record(10, 10, |r| event::Exec { old_pid: 10 }.write(r));
        // The list of tasks may have been made between the new name and the end of the exec.
        tasks.apply(&exec);
        assert_eq!(tasks.comm(10), Some(comm("bash")));
        tasks.apply(&exec);
        assert_eq!(tasks.comm(10), None);
        for event in [rename(10, 10, 10, "cat"), exec] {
            tasks.apply(&event);
        }
        let cat = tasks.of(&fault(10, 10));
        assert_ne!(tasks.process(bash), tasks.process(cat));
        assert_eq!(tasks.thread(cat).process, Some(comm("cat")));
        assert_eq!(tasks.thread(bash).process, Some(comm("bash")));
    }

    fn is_in(tid: u32, tgid: u32, cgroup_id: u64) -> Record {
        crate::names::task_cgroup_record(tid, tgid, cgroup_id, 0)
    }

    #[test]
    fn a_process_that_moves_is_another_thread_from_then_on_and_the_same_process() {
        let mut tasks = Tasks::default();
        for event in [name(10, 10, "worker"), is_in(10, 10, 7)] {
            tasks.apply(&event);
        }
        let before = tasks.of(&fault(10, 10));
        let to = event::CgroupAttachTask { of_tid: 10, of_pid: 10, cgroup_id: 8, threadgroup: true };
        tasks.apply(&record(1, 1, |r| to.write(r)));
        let after = tasks.of(&fault(10, 10));
        assert_ne!(tasks.thread(before).cgroup, tasks.thread(after).cgroup);
        assert_eq!(tasks.process(before), tasks.process(after));
        assert_eq!(tasks.of(&fault(10, 10)), after, "it is met once");
        tasks.apply(&record(1, 1, |r| event::CgroupAttachTask { cgroup_id: 7, ..to }.write(r)));
        assert_eq!(tasks.of(&fault(10, 10)), before, "it is back");
        assert!(tasks.nameless().is_empty());
    }

    #[test]
    fn a_task_that_was_met_before_its_cgroup_was_known_was_there_all_along() {
        let mut tasks = Tasks::default();
        for event in [name(20, 20, "worker"), name(21, 20, "worker")] {
            tasks.apply(&event);
        }
        let met = tasks.of(&fault(20, 20));
        assert_eq!((tasks.nameless(), tasks.of(&fault(21, 20))), (vec![(20, 20)], met));
        tasks.apply(&is_in(20, 20, 7));
        assert!(tasks.thread(met).cgroup.is_known());
        assert_eq!([20, 21].map(|tid| tasks.of(&fault(tid, 20))), [met, met], "nothing was split");
        // The answer for a process is one for all its threads.
        for event in [name(40, 40, "lead"), name(41, 40, "worker")] {
            tasks.apply(&event);
        }
        let worker = tasks.of(&fault(41, 40));
        tasks.apply(&is_in(40, 40, 7));
        assert!(tasks.thread(worker).cgroup.is_known());
        assert_eq!(tasks.of(&fault(41, 40)), worker);
        // One that moved before the answer came was not there.
        let late = tasks.of(&fault(30, 30));
        let to = event::CgroupAttachTask { of_tid: 30, of_pid: 30, cgroup_id: 8, threadgroup: true };
        tasks.apply(&record(1, 1, |r| to.write(r)));
        tasks.apply(&is_in(30, 30, 8));
        assert!(!tasks.thread(late).cgroup.is_known());
        let moved = tasks.of(&fault(30, 30));
        assert!(tasks.thread(moved).cgroup.is_known());
    }

    #[test]
    fn without_forks_that_say_where_the_child_is_nobody_is_asked_for_and_nothing_is_known() {
        let mut context = Context::with_every_probe(crate::context::Kernel::default());
        context.probes.retain(|probe| probe.event != Kind::CgroupAttachTask.name());
        let mut tasks = Tasks::new(&context);
        for event in [name(10, 10, "worker"), is_in(10, 10, 7)] {
            tasks.apply(&event);
        }
        let met = tasks.of(&fault(10, 10));
        assert!(!tasks.thread(met).cgroup.is_known() && tasks.nameless().is_empty());
    }
}
