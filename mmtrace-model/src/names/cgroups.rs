//! Cgroups: in which cgroup v2 a task is, and what cgroups are called.

use mmtrace_common::{Column, Kind, Record, View as _, event};
use rustc_hash::FxHashMap;

use super::place::Place;
use crate::{
    context::Context,
    texts::{Assembly, Words, parts},
    untrusted::escaped_bytes,
};

/// Cgroups that are told apart. All later ones are [`CgroupId::BEYOND`].
pub const CGROUPS_MAX: usize = 1 << 12;
/// Processes whose cgroups are known. Those that have exited are forgotten first.
const PROCESSES_MAX: usize = 1 << 16;
/// Threads in another cgroup than their process that are known.
const THREADS_MAX: usize = 1 << 12;
/// Cgroups whose paths are to be asked for at a time.
const ASKED_MAX: usize = 64;
/// The inode of the root of a hierarchy (fs/kernfs/mount.c).
const ROOT: u64 = 1;

/// A cgroup: a number from 0 on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CgroupId(u32);

impl CgroupId {
    /// Stands for the cgroup of a task of which none is known.
    pub const UNKNOWN: Self = Self(0);
    /// Stands for all cgroups that were met after the first [`CGROUPS_MAX`].
    pub const BEYOND: Self = Self(u32::MAX);

    /// Whether it is one cgroup.
    #[must_use]
    pub(crate) fn is_known(self) -> bool {
        self != Self::UNKNOWN && self != Self::BEYOND
    }
}

/// What a cgroup is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupName {
    /// Its path below the hierarchy's root, fit for a terminal; `cgroup 4711`, by its id, if the path is not known.
    pub path: String,
    /// Its container or service, in a few words: `docker 3f2a9c1b04d7`, `sshd.service`; else the last part of the path.
    pub label: String,
    /// It is a container, a pod or a machine.
    pub is_container: bool,
}

impl CgroupName {
    /// Whether it is the root of the hierarchy, which holds whatever is nowhere else.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.path == "/"
    }

    /// Returns its label, if it is a container.
    #[must_use]
    pub fn container(&self) -> Option<&str> {
        self.is_container.then_some(self.label.as_str())
    }
}

/// One cgroup.
#[derive(Clone, Debug)]
struct Cgroup {
    /// Its kernfs node's number.
    id: u64,
    /// The path as records carry it; empty: not known.
    path: Box<[u8]>,
    name: CgroupName,
}

impl Cgroup {
    fn new(id: u64) -> Self {
        let path = if id == ROOT { "/".to_owned() } else { format!("cgroup {id}") };
        let known = if id == ROOT { Box::from(&b"/"[..]) } else { Box::default() };
        Self { id, path: known, name: CgroupName { label: path.clone(), path, is_container: false } }
    }
}

/// A process, or a thread that is elsewhere than its process.
#[derive(Clone, Copy, Debug)]
struct Member {
    /// The process's id.
    tgid: u32,
    cgroup: CgroupId,
    exited: bool,
}

/// The cgroups of all tasks of a stream, as of the last event.
///
/// A cgroup comes from the list of tasks that a recording begins with, from a fork (which says where the child is), and
/// from `cgroup_attach_task`. A task that was born out of a filter's sight is in none until somebody asks the kernel for
/// it. The cgroup v2 of a process is that of all its threads, except where one was moved by itself (threaded cgroups).
#[derive(Clone, Debug)]
pub struct Cgroups {
    numbers: FxHashMap<u64, CgroupId>,
    cgroups: Vec<Cgroup>,
    processes: FxHashMap<u32, Member>,
    /// Threads that are elsewhere than their process.
    threads: FxHashMap<u32, Member>,
    /// Counts what changed the cgroup of a task that may have been met before.
    changes: u32,
    /// Cgroups whose paths were asked for, or need not be.
    asked: usize,
    assembly: Assembly<u64>,
    /// Forks say where the child is, and moves are recorded. Without them a cgroup may be an earlier one.
    is_told: bool,
}

impl Default for Cgroups {
    fn default() -> Self {
        let (numbers, processes, threads) = <(FxHashMap<_, _>, FxHashMap<_, _>, FxHashMap<_, _>)>::default();
        let cgroups = vec![Cgroup::new(0)];
        let assembly = Assembly::default();
        Self { numbers, cgroups, processes, threads, changes: 0, asked: 1, assembly, is_told: true }
    }
}

impl Cgroups {
    /// Knows nothing yet. No task is in a cgroup if `context` lacks an event that tells.
    #[must_use]
    pub(crate) fn new(context: &Context) -> Self {
        let is_told = context.carries(Kind::Fork, Column::CgroupId)
            && [Kind::CgroupAttachTask, Kind::Exec].iter().all(|kind| context.has(*kind));
        Self { is_told, ..Self::default() }
    }

    /// Whether the stream tells in which cgroup a task is.
    #[must_use]
    pub const fn is_told(&self) -> bool {
        self.is_told
    }

    /// Learns from an event. Those that tell nothing are left out by [`super::Tasks`].
    #[cold]
    pub(super) fn apply(&mut self, kind: Kind, record: &Record) {
        if !self.is_told {
            return;
        }
        match kind {
            Kind::TaskCgroup => {
                let cgroup = self.number(event::TaskCgroup::of(record).cgroup_id);
                self.answer(record.tid, record.tgid, cgroup);
            }
            Kind::Fork => {
                let fork = event::Fork::of(record);
                let cgroup = self.number(fork.cgroup_id);
                self.born(fork.child_tid.cast_unsigned(), fork.child_pid.cast_unsigned(), cgroup);
            }
            Kind::CgroupAttachTask => {
                let moved = event::CgroupAttachTask::of(record);
                let cgroup = self.number(moved.cgroup_id);
                let (tid, tgid) = (moved.of_tid.cast_unsigned(), moved.of_pid.cast_unsigned());
                self.changes = self.changes.wrapping_add(1);
                if moved.threadgroup {
                    self.threads.retain(|_, thread| thread.tgid != tgid);
                    self.put_process(tgid, cgroup);
                } else {
                    self.put_thread(tid, tgid, cgroup);
                }
            }
            Kind::Exec => {
                let old = event::Exec::of(record).old_pid.cast_unsigned();
                if old != record.tid {
                    // The thread that execs goes on under the process's id, in its own cgroup.
                    self.changes = self.changes.wrapping_add(1);
                    match self.threads.remove(&old) {
                        Some(thread) => drop(self.threads.insert(record.tid, thread)),
                        None => drop(self.threads.remove(&record.tid)),
                    }
                }
            }
            Kind::Exit => {
                if let Some(process) = self.processes.get_mut(&record.tgid) {
                    process.exited |= event::Exit::of(record).group_dead;
                }
                if let Some(thread) = self.threads.get_mut(&record.tid) {
                    thread.exited = true;
                }
            }
            Kind::CgroupPath => self.named(&event::CgroupPath::of(record)),
            // Moves may be among what is missing.
            Kind::Loss | Kind::Missed
                if record.get(Column::LostKind).is_some_and(|of| of == Kind::CgroupAttachTask as u64) =>
            {
                self.forget();
            }
            Kind::Gap | Kind::Foreign => self.forget(),
            _ => {}
        }
    }

    fn forget(&mut self) {
        self.processes.clear();
        self.threads.clear();
        self.changes = self.changes.wrapping_add(1);
    }

    /// Returns the number of a cgroup by its id in the kernel.
    fn number(&mut self, id: u64) -> CgroupId {
        if let Some(number) = self.numbers.get(&id) {
            return *number;
        }
        if id == 0 {
            return CgroupId::UNKNOWN;
        }
        if !self.has_room() {
            return CgroupId::BEYOND;
        }
        let number = CgroupId(self.cgroups.len() as u32);
        self.cgroups.push(Cgroup::new(id));
        self.numbers.insert(id, number);
        number
    }

    /// Whether one more cgroup is told apart. The first of the list is none.
    const fn has_room(&self) -> bool {
        self.cgroups.len() <= CGROUPS_MAX
    }

    /// The kernel was asked for a task.
    fn answer(&mut self, tid: u32, tgid: u32, cgroup: CgroupId) {
        if self.of(tid, tgid) == cgroup {
            return;
        }
        self.changes = self.changes.wrapping_add(1);
        if tid == tgid {
            self.put_process(tgid, cgroup);
            self.threads.remove(&tid);
        } else {
            self.put_thread(tid, tgid, cgroup);
        }
    }

    fn born(&mut self, tid: u32, tgid: u32, cgroup: CgroupId) {
        self.threads.remove(&tid);
        if tid == tgid {
            self.put_process(tgid, cgroup);
        } else if self.of(tid, tgid) != cgroup {
            self.put_thread(tid, tgid, cgroup);
        }
    }

    fn put_process(&mut self, tgid: u32, cgroup: CgroupId) {
        if self.processes.len() >= PROCESSES_MAX && !self.processes.contains_key(&tgid) {
            self.processes.retain(|_, process| !process.exited);
            if self.processes.len() > PROCESSES_MAX / 2 {
                self.forget();
            }
        }
        self.processes.insert(tgid, Member { tgid, cgroup, exited: false });
    }

    fn put_thread(&mut self, tid: u32, tgid: u32, cgroup: CgroupId) {
        if self.threads.len() >= THREADS_MAX && !self.threads.contains_key(&tid) {
            self.threads.retain(|_, thread| !thread.exited);
            if self.threads.len() > THREADS_MAX / 2 {
                // Whoever was elsewhere would now count as being where its process is.
                self.forget();
            }
        }
        self.threads.insert(tid, Member { tgid, cgroup, exited: false });
    }

    /// A part of a cgroup's path.
    fn named(&mut self, e: &event::CgroupPath) {
        let words = [e.name, e.name_2, e.name_3, e.name_4, e.name_5];
        let Some(path) = self.assembly.take(e.cgroup_id, e.part, words) else { return };
        let number = self.number(e.cgroup_id);
        let Some(cgroup) = self.cgroups.get_mut(number.0 as usize).filter(|_| number.is_known()) else { return };
        let text = escaped_bytes(&path);
        let Place { label, is_container } = Place::of(&text);
        cgroup.name = CgroupName { path: text, label, is_container };
        cgroup.path = path.into();
    }

    /// Returns the cgroup that a task is in now.
    #[must_use]
    pub fn of(&self, tid: u32, tgid: u32) -> CgroupId {
        if !self.threads.is_empty()
            && let Some(thread) = self.threads.get(&tid).filter(|thread| thread.tgid == tgid)
        {
            return thread.cgroup;
        }
        self.processes.get(&tgid).map_or(CgroupId::UNKNOWN, |process| process.cgroup)
    }

    /// Returns what a cgroup is called; nothing of [`CgroupId::UNKNOWN`] and [`CgroupId::BEYOND`].
    #[must_use]
    pub fn name(&self, cgroup: CgroupId) -> Option<&CgroupName> {
        self.cgroups.get(cgroup.0 as usize).filter(|_| cgroup.is_known()).map(|cgroup| &cgroup.name)
    }

    /// Returns the ids of cgroups that these records are the first to mention, each once; 64 at most.
    #[must_use]
    pub fn unmet(&self, records: &[Record]) -> Vec<u64> {
        const MENTIONING: [Kind; 3] = [Kind::Fork, Kind::CgroupAttachTask, Kind::TaskCgroup];
        let mut unmet = Vec::new();
        let has_room = self.is_told && self.has_room();
        let told = records.iter().filter(|_| has_room);
        for record in told.filter(|record| MENTIONING.iter().any(|kind| *kind as u16 == record.kind)) {
            let id = record.get(Column::CgroupId).unwrap_or(0);
            if id != 0 && !self.numbers.contains_key(&id) && !unmet.contains(&id) && unmet.len() < ASKED_MAX {
                unmet.push(id);
            }
        }
        unmet
    }

    /// Returns how often a task that may have been met before was found in another cgroup.
    pub(super) const fn changes(&self) -> u32 {
        self.changes
    }

    /// Takes cgroups whose paths are not known, by their ids in the kernel: a recorder looks for them.
    pub(super) fn nameless(&mut self) -> Vec<u64> {
        let from = self.asked.min(self.cgroups.len());
        let to = self.cgroups.len().min(from + ASKED_MAX);
        self.asked = to;
        self.cgroups[from..to].iter().filter(|cgroup| cgroup.path.is_empty()).map(|cgroup| cgroup.id).collect()
    }

    /// Returns what is known, as records of the time `ts`: the paths of cgroups, and where living tasks are.
    pub(super) fn records(&self, ts: u64) -> Vec<Record> {
        let named = self.cgroups.iter().filter(|cgroup| cgroup.id != 0 && !cgroup.path.is_empty());
        let mut records: Vec<Record> =
            named.flat_map(|cgroup| cgroup_path_records(cgroup.id, &cgroup.path, ts)).collect();
        let tasks =
            self.processes.iter().chain(&self.threads).filter(|(_, task)| !task.exited && task.cgroup.is_known());
        records.extend(tasks.filter_map(|(tid, task)| {
            let cgroup = self.cgroups.get(task.cgroup.0 as usize)?;
            Some(task_cgroup_record(*tid, task.tgid, cgroup.id, ts))
        }));
        records
    }
}

/// Returns the record that says in which cgroup v2 a task is, by the cgroup's id in the kernel.
#[must_use]
pub fn task_cgroup_record(tid: u32, tgid: u32, cgroup_id: u64, ts: u64) -> Record {
    let mut record = Record { ts, tid, tgid, ..Record::default() };
    event::TaskCgroup { cgroup_id }.write(&mut record);
    record
}

/// Returns the records that say what a cgroup's path is, by the cgroup's id in the kernel.
#[must_use]
pub fn cgroup_path_records(cgroup_id: u64, path: &[u8], ts: u64) -> Vec<Record> {
    let record = |(part, [name, name_2, name_3, name_4, name_5]): (usize, Words)| {
        let mut record = Record { ts, ..Record::default() };
        event::CgroupPath { cgroup_id, name, name_2, name_3, name_4, name_5, part: part as u32 }.write(&mut record);
        record
    };
    parts(path).into_iter().enumerate().map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(tid: u32, tgid: u32, event: impl FnOnce(&mut Record)) -> Record {
        let mut record = Record { tid, tgid, ..Record::default() };
        event(&mut record);
        record
    }

    fn take(cgroups: &mut Cgroups, records: impl IntoIterator<Item = Record>) {
        records.into_iter().for_each(|record| cgroups.apply(record.kind().expect("made here"), &record));
    }

    fn is_in(tid: u32, tgid: u32, cgroup_id: u64) -> Record {
        task_cgroup_record(tid, tgid, cgroup_id, 0)
    }

    fn fork(child: (i32, i32), cgroup_id: u64) -> Record {
        let (child_pid, child_tid) = child;
        record(1, 1, |r| event::Fork { child_pid, child_tid, cgroup_id }.write(r))
    }

    fn moves(of: (i32, i32), cgroup_id: u64, threadgroup: bool) -> Record {
        let (of_pid, of_tid) = of;
        record(1, 1, |r| event::CgroupAttachTask { of_tid, of_pid, cgroup_id, threadgroup }.write(r))
    }

    /// The kernel's id of a task's cgroup; 0: not known.
    fn id(cgroups: &Cgroups, tid: u32, tgid: u32) -> u64 {
        cgroups.cgroups[cgroups.of(tid, tgid).0 as usize].id
    }

    #[test]
    fn a_child_is_where_the_fork_says_and_threads_are_where_their_process_is() {
        let mut cgroups = Cgroups::default();
        // The second child was born by clone3() with CLONE_INTO_CGROUP.
        take(&mut cgroups, [is_in(10, 10, 7), fork((11, 11), 7), fork((12, 12), 9), fork((10, 13), 7)]);
        assert_eq!([(10, 10), (11, 11), (12, 12), (13, 10)].map(|(tid, tgid)| id(&cgroups, tid, tgid)), [7, 7, 9, 7]);
        assert!(cgroups.threads.is_empty(), "threads take no room");
        assert_eq!(id(&cgroups, 14, 14), 0, "nobody said");
    }

    #[test]
    fn a_process_moves_with_all_threads_and_a_thread_may_move_alone() {
        let mut cgroups = Cgroups::default();
        take(&mut cgroups, [is_in(10, 10, 7), fork((10, 11), 7), fork((10, 12), 7), moves((10, 11), 8, false)]);
        assert_eq!([10, 11, 12].map(|tid| id(&cgroups, tid, 10)), [7, 8, 7]);
        take(&mut cgroups, [moves((10, 10), 9, true)]);
        assert_eq!([10, 11, 12].map(|tid| id(&cgroups, tid, 10)), [9, 9, 9]);
        // The first thread alone: the process is not there.
        take(&mut cgroups, [moves((10, 10), 5, false)]);
        assert_eq!([10, 11].map(|tid| id(&cgroups, tid, 10)), [5, 9]);
    }

    #[test]
    fn an_exec_by_another_thread_takes_its_cgroup_along() {
        let mut cgroups = Cgroups::default();
        take(&mut cgroups, [is_in(10, 10, 7), fork((10, 11), 7), moves((10, 11), 8, false)]);
        take(&mut cgroups, [record(10, 10, |r| event::Exec { old_pid: 11 }.write(r))]);
        assert_eq!(id(&cgroups, 10, 10), 8);
    }

    #[test]
    fn an_exited_process_stays_where_it_was_until_its_id_is_used_again() {
        let mut cgroups = Cgroups::default();
        take(&mut cgroups, [is_in(10, 10, 7), record(10, 10, |r| event::Exit { group_dead: true }.write(r))]);
        assert_eq!(id(&cgroups, 10, 10), 7);
        take(&mut cgroups, [fork((10, 10), 9)]);
        assert_eq!(id(&cgroups, 10, 10), 9);
    }

    #[test]
    fn nothing_is_known_after_moves_were_lost() {
        for missing in [
            record(0, 0, |r| event::Loss { lost_kind: Kind::CgroupAttachTask as u64, count: 1, until: 9 }.write(r)),
            record(0, 0, |r| event::Gap { count: 0, until: 9 }.write(r)),
        ] {
            let mut cgroups = Cgroups::default();
            take(&mut cgroups, [is_in(10, 10, 7)]);
            let before = cgroups.changes();
            take(&mut cgroups, [missing]);
            assert_eq!(id(&cgroups, 10, 10), 0);
            assert_ne!(cgroups.changes(), before, "whoever was met is met again, and asked for");
        }
        let mut cgroups = Cgroups::default();
        let other = record(0, 0, |r| event::Loss { lost_kind: Kind::Released as u64, count: 1, until: 9 }.write(r));
        take(&mut cgroups, [is_in(10, 10, 7), other]);
        assert_eq!(id(&cgroups, 10, 10), 7);
    }

    #[test]
    fn a_path_names_a_cgroup_and_is_asked_for_once() {
        let mut cgroups = Cgroups::default();
        take(&mut cgroups, [is_in(10, 10, 7), is_in(1, 1, ROOT)]);
        assert_eq!(cgroups.nameless(), [7]);
        assert_eq!(cgroups.nameless(), [0; 0]);
        let new = [fork((11, 11), 7), fork((12, 12), 9), moves((11, 11), 9, true), is_in(13, 13, 8), fork((14, 14), 0)];
        assert_eq!(cgroups.unmet(&new), [9, 8]);
        let name = |cgroups: &Cgroups, tgid| cgroups.name(cgroups.of(tgid, tgid)).cloned().expect("a cgroup");
        assert_eq!((name(&cgroups, 10).path, name(&cgroups, 1).path), ("cgroup 7".to_owned(), "/".to_owned()));
        let path = format!("/docker/{}/\u{1b}[31m", "3f2a9c1b".repeat(8));
        take(&mut cgroups, cgroup_path_records(7, path.as_bytes(), 0));
        let name = name(&cgroups, 10);
        assert_eq!((name.label.as_str(), name.is_container), ("docker 3f2a9c1b3f2a", true));
        assert!(name.path.ends_with("/\\u{1b}[31m"), "{}", name.path);
        assert_eq!(cgroups.name(CgroupId::UNKNOWN), None);
        // All of it comes back from the records that a segment begins with.
        let mut again = Cgroups::default();
        take(&mut again, cgroups.records(5));
        assert_eq!(again.name(again.of(10, 10)).map(|name| &name.label), Some(&name.label));
        assert_eq!(id(&again, 1, 1), ROOT);
    }

    #[test]
    fn tables_are_bounded() {
        let mut cgroups = Cgroups::default();
        for n in 1..=PROCESSES_MAX as u32 + 9 {
            take(&mut cgroups, [is_in(n, n, u64::from(n) + 9)]);
        }
        assert!(cgroups.cgroups.len() == 1 + CGROUPS_MAX && cgroups.processes.len() <= PROCESSES_MAX);
        let last = PROCESSES_MAX as u32 + 9;
        assert_eq!(cgroups.of(last, last), CgroupId::BEYOND, "one too many is not another one");
        assert_eq!(cgroups.name(CgroupId::BEYOND), None);
        for n in 1..=THREADS_MAX as u32 + 9 {
            take(&mut cgroups, [moves((1, n as i32), 12, false)]);
        }
        assert!(cgroups.threads.len() <= THREADS_MAX);
        let asked = cgroups.nameless();
        assert_eq!(asked.len(), ASKED_MAX);
        assert_ne!(cgroups.nameless(), asked, "the others come next");
    }

    #[test]
    fn an_older_capture_tells_nothing() {
        let mut context = Context::with_every_probe(crate::context::Kernel::default());
        assert!(Cgroups::new(&context).is_told());
        let fork = context.probes.iter_mut().find(|probe| probe.event == Kind::Fork.name()).expect("it has all");
        fork.absent.push(Column::CgroupId.name().to_owned());
        let mut cgroups = Cgroups::new(&context);
        assert!(!cgroups.is_told());
        take(&mut cgroups, [is_in(10, 10, 7)]);
        assert_eq!(cgroups.of(10, 10), CgroupId::UNKNOWN);
    }
}
