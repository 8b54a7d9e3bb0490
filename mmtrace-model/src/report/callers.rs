//! Holds of mmap_locks, waits for them, and faults, by the names of callers.

use std::{borrow::Cow, collections::BTreeMap};

use mmtrace_common::Call;
use serde::Serialize;

use super::{folding::Folding, grouped, members::Members};

use crate::{
    coverage::Coverage,
    model::faults::address_space::Cause,
    names::{CGROUPS_MAX, CgroupName, Comm, Tasks, ThreadId, call_name},
    stats::{
        blockers::HeldAs,
        caller::Caller,
        callers::{Callers, Causes, LockUse},
        intervals::Intervals,
    },
};

/// A caller with its names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Who {
    /// The process's id; 0 stands for callers that came when there were too many.
    pub pid: u32,
    /// The process's name; absent if it was not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// The thread's name; absent if it was not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    /// Number of processes that the row is about, if it is about several of one name; their `pid` is 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
    /// Number of threads that the row is about; 0 if they came when too many were known.
    pub threads: u32,
    /// Id of the thread, or of the first one.
    pub tid: u32,
    /// The system call or other entry into the kernel; absent if the events do not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The path of the cgroup v2 that they were in; absent if it is not known, and if they were in several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// The container, pod or machine that this cgroup belongs to; absent if it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Number of cgroups that they were in, if they were in several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroups: Option<u32>,
    /// Number of cgroups that are told apart, if they were in a cgroup that came later; absent if they were not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_beyond: Option<u64>,
    /// What is said of the cgroup beside the names: only where there are several in the tables.
    #[serde(skip)]
    place: Option<String>,
    /// What the row is called, if it stands for a cgroup.
    #[serde(skip)]
    group: Option<String>,
}

impl Who {
    /// `members`: the tasks that the row is about.
    fn new(caller: Caller, members: &Members, tasks: &Tasks) -> Self {
        let thread = tasks.thread(caller.thread);
        let text = |comm: Option<Comm>| comm.map(|comm| comm.to_string());
        let (cgroup, cgroups) = (members.cgroup(tasks), members.cgroups());
        let cgroup_beyond = members.are_beyond().then_some(CGROUPS_MAX as u64);
        let beyond = cgroup_beyond.map(|first| format!("cgroups beyond the first {}", grouped(first)));
        let place = cgroup.filter(|cgroup| !cgroup.is_root()).map(|cgroup| cgroup.label.clone()).or(beyond);
        Self {
            pid: thread.tgid,
            processes: None,
            process: text(thread.process),
            thread: text(thread.comm),
            threads: members.threads(),
            tid: thread.tid,
            call: caller.call.map(|call| call_name(call).into_owned()),
            cgroup: cgroup.map(|cgroup| cgroup.path.clone()),
            container: cgroup.and_then(CgroupName::container).map(str::to_owned),
            cgroups,
            cgroup_beyond,
            place: place.or_else(|| cgroups.map(|n| format!("{n} cgroups"))),
            group: None,
        }
    }

    /// The same for a row that stands for a cgroup.
    fn of_cgroup(members: &Members, tasks: &Tasks) -> Self {
        let who = Self::new(Caller { thread: ThreadId::OTHERS, call: None }, members, tasks);
        let group = match (&who.place, &who.cgroup) {
            (Some(label), _) => label.clone(),
            (None, Some(root)) => format!("{root} (root cgroup)"),
            (None, None) => "cgroup not known".to_owned(),
        };
        Self { processes: members.processes(), place: None, group: Some(group), ..who }
    }

    /// Leaves out what is said of the cgroup for people.
    pub(super) fn placeless(&mut self) {
        self.place = None;
    }

    /// Returns the names and ids in one line: `contend 11641 · jit-protector 11643`; with the container or service where
    /// there are several: `contend 11641 · jit-protector 11643 · docker 3f2a9c1b04d7`.
    #[must_use]
    pub fn name(&self) -> String {
        let processes =
            |n: u32| if n == 1 { "1 process".to_owned() } else { format!("{} processes", grouped(n.into())) };
        match (&self.group, &self.place) {
            (Some(group), _) => match self.processes {
                Some(n) => format!("{group} · {}", processes(n)),
                None => group.clone(),
            },
            (None, Some(place)) => format!("{} · {place}", self.names()),
            (None, None) => self.names(),
        }
    }

    /// Returns the names and ids of process and thread.
    fn names(&self) -> String {
        if self.is_anybody() {
            return "others".to_owned();
        }
        let process = match &self.process {
            Some(process) if self.processes.is_some() => {
                let process = visible(process);
                format!("{process} ({} processes)", grouped(self.processes.unwrap_or_default().into()))
            }
            None if self.processes.is_some() => {
                format!("{} processes without a name", grouped(self.processes.unwrap_or_default().into()))
            }
            Some(process) if self.pid == 0 => format!("{} (several processes)", visible(process)),
            Some(process) => format!("{} {}", visible(process), self.pid),
            None => format!("process {}", self.pid),
        };
        let of_many = || format!("({} threads)", self.threads);
        match (&self.thread, self.threads) {
            (Some(thread), _) if self.pid == 0 && self.process.as_ref() == Some(thread) => process,
            (Some(thread), _) if self.pid == 0 => format!("{process} · {}", visible(thread)),
            (Some(thread), threads) if threads > 1 => format!("{process} · {} {}", visible(thread), of_many()),
            (Some(thread), _) if self.tid == self.pid && self.process.as_ref() == Some(thread) => process,
            (Some(thread), _) => format!("{process} · {} {}", visible(thread), self.tid),
            (None, _) if self.tid == self.pid || self.pid == 0 => process,
            (None, _) => format!("{process} · task {}", self.tid),
        }
    }
}

/// A name as people see it: in quotes if it is empty, or has a space at an end.
fn visible(name: &str) -> Cow<'_, str> {
    if name.is_empty() || name.starts_with(' ') || name.ends_with(' ') {
        format!("\"{name}\"").into()
    } else {
        name.into()
    }
}

impl Who {
    /// Whether the row is about no process: it is put together by call, or of callers that came when there were too many.
    const fn is_anybody(&self) -> bool {
        self.pid == 0 && self.process.is_none() && self.thread.is_none() && self.tid == 0 && self.group.is_none()
    }

    /// Returns the names, ids and call: `contend 11641 · jit-protector 11643: mprotect (write)`.
    #[must_use]
    pub fn caller(&self, held: Option<Held>) -> String {
        let mode = held.map_or_else(String::new, |held| format!(" ({})", held.word()));
        match &self.call {
            Some(call) if self.is_anybody() => format!("{call}{mode}"),
            Some(call) => format!("{}: {call}{mode}", self.name()),
            None => format!("{}{mode}", self.name()),
        }
    }
}

/// Mode in which a caller holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// For read.
    Read,
    /// For write.
    Write,
    /// For read, after it held it for write: all holds of the caller for read are such.
    Downgraded,
    /// For write, since before the recording.
    WriteBefore,
}

impl Held {
    /// Returns the word that stands behind a caller.
    #[must_use]
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Downgraded => "downgraded",
            Self::WriteBefore => "write, held since before the recording",
        }
    }

    pub(super) const fn of(write: bool, downgraded: bool) -> Self {
        match (write, downgraded) {
            (true, _) => Self::Write,
            (false, true) => Self::Downgraded,
            (false, false) => Self::Read,
        }
    }
}

/// Intervals in a few numbers.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Times {
    /// Number of intervals.
    pub count: u64,
    /// All together.
    pub sum_ns: u64,
    /// 99 of 100 were not longer; absent if there were too many rows to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ns: Option<u64>,
    /// The longest.
    pub longest_ns: u64,
    /// Time when the longest began, nanoseconds from the start of the recording.
    pub longest_at_ns: u64,
    /// Thread id of the task with the longest interval.
    pub longest_tid: u32,
}

impl Times {
    pub(super) fn new(intervals: &Intervals, start: u64) -> Option<Self> {
        let longest = intervals.longest()?;
        Some(Self {
            count: intervals.count(),
            sum_ns: intervals.sum(),
            p99_ns: intervals.quantile(0.99),
            longest_ns: longest.ns,
            longest_at_ns: longest.since.saturating_sub(start),
            longest_tid: longest.tid,
        })
    }
}

/// Time that waits spent behind one holder.
#[derive(Clone, Debug, Serialize)]
pub struct BehindRow {
    /// The holder of the lock.
    #[serde(flatten)]
    pub who: Who,
    /// For write.
    pub write: bool,
    /// The holder held it since before the recording; absent if it did not.
    #[serde(skip_serializing_if = "is_false")]
    pub since_before: bool,
    /// Every hold of that holder for read is downgraded, as the `downgraded` of its own row says.
    #[serde(skip)]
    pub downgraded: bool,
    /// Time behind that holder, nanoseconds.
    pub ns: u64,
}

impl BehindRow {
    /// Returns the mode of the holder.
    #[must_use]
    pub const fn held(&self) -> Held {
        if self.since_before { Held::WriteBefore } else { Held::of(self.write, self.downgraded) }
    }
}

/// Use of mmap_locks by one caller, in one mode.
#[derive(Clone, Debug, Serialize)]
pub struct LockRow {
    /// The caller.
    #[serde(flatten)]
    pub who: Who,
    /// For write.
    pub write: bool,
    /// Acquisitions.
    pub acquired: u64,
    /// Holds for write that it downgraded; stands in the row for read.
    #[serde(skip_serializing_if = "is_zero")]
    pub downgraded: u64,
    /// Failed trylocks, and waits that were killed.
    #[serde(skip_serializing_if = "is_zero")]
    pub refused: u64,
    /// The waits among them that a signal ended. They are among the waits.
    #[serde(skip_serializing_if = "is_zero")]
    pub given_up: u64,
    /// Holds that were seen whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<Times>,
    /// Waits that were seen whole: from the wish to the acquisition, or to the signal that ended them, however short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waited: Option<Times>,
    /// The waits among them that were behind somebody: another task held the lock in the way, or this one was queued and
    /// blocked, or it took 10 us and more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contended: Option<Times>,
    /// Holders that the contended waits were behind, longest first; the first [`BEHIND_MAX`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub behind: Vec<BehindRow>,
    /// Behind other holders, nanoseconds. What is left of the contended waits is the hand-over of the lock, and holds that
    /// were not seen.
    #[serde(skip_serializing_if = "is_zero")]
    pub behind_others_ns: u64,
    /// Contended waits in which events are missing that may have told whom they were behind, nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub behind_unknown_ns: u64,
}

/// Holders that a row of a report names.
pub const BEHIND_MAX: usize = 8;

impl LockRow {
    /// Whether the task exits. Nobody can wait for its holds once it is the last user of its mm (mm/mmap.c:exit_mmap).
    #[must_use]
    pub fn is_in_exit(&self) -> bool {
        self.who.call.as_deref() == Some(&*call_name(Call::Exiting))
    }

    /// Returns the mode of the row.
    #[must_use]
    pub const fn mode(&self) -> Held {
        Held::of(self.write, self.downgraded > 0 && self.acquired == 0)
    }

    /// Returns the holders that most of the waiting was behind, at most `limit` or one more if that names all, and the
    /// share that no hold explains, as `61 % behind contend 11641 · jit-protector 11643: mprotect (write)`.
    #[must_use]
    pub fn behind_text(&self, limit: usize) -> Vec<String> {
        let Some(contended) = self.contended else { return Vec::new() };
        let share = |ns: u64| (100.0 * ns as f64 / contended.sum_ns.max(1) as f64).round();
        let beyond = |shown: usize| {
            self.behind.iter().skip(shown).fold(self.behind_others_ns, |sum, row| sum.saturating_add(row.ns))
        };
        // Where the others are one, it has a name.
        let named = if share(beyond(limit.saturating_add(1))) < 1.0 { limit.saturating_add(1) } else { limit };
        let rows = self.behind.iter().take(named).filter(|row| share(row.ns) >= 1.0);
        let mut lines: Vec<String> =
            rows.map(|row| format!("{} % behind {}", share(row.ns), row.who.caller(Some(row.held())))).collect();
        let others = beyond(named);
        if share(others) >= 1.0 {
            lines.push(format!("{} % behind others", share(others)));
        }
        if share(self.behind_unknown_ns) >= 1.0 {
            lines.push(format!("{} % behind nobody knows whom: events are missing", share(self.behind_unknown_ns)));
        }
        let free = share(self.behind_nobody_ns());
        if free >= 1.0 {
            lines.push(format!("{free} % behind no hold that was seen: a hand-over, or a wait for a CPU"));
        }
        match self.given_up {
            0 => {}
            1 => lines.push("1 of the waits was ended by a signal".to_owned()),
            n => lines.push(format!("{} of the waits were ended by a signal", grouped(n))),
        }
        lines
    }

    /// Returns the time for which contended waits went on while no hold in the way was seen, nanoseconds.
    #[must_use]
    pub fn behind_nobody_ns(&self) -> u64 {
        let known = self.behind.iter().fold(self.behind_others_ns, |sum, row| sum.saturating_add(row.ns));
        let explained = known.saturating_add(self.behind_unknown_ns);
        self.contended.map_or(0, |contended| contended.sum_ns.saturating_sub(explained))
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_false(is: &bool) -> bool {
    !*is
}

/// Number of kinds of faults that a row names.
pub(super) const KINDS: usize = 4;

/// The faults of one caller.
#[derive(Clone, Debug, Serialize)]
pub struct FaultRow {
    /// The caller.
    #[serde(flatten)]
    pub who: Who,
    /// Number of faults.
    pub count: u64,
    /// Their causes: the kinds of the faults.
    pub causes: BTreeMap<&'static str, u64>,
    /// The kind that the row is about; absent unless rows are put together by kind. The caller is then the one with most
    /// faults of the kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// Number of faults of the kind by that caller; absent likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most: Option<u64>,
}

impl FaultRow {
    /// Returns the caller, its call, and the kinds of the faults, in one line.
    #[must_use]
    pub fn text(&self) -> String {
        self.text_with("")
    }

    /// The same with the share of `total` behind the caller.
    pub(super) fn text_of(&self, total: u64) -> String {
        self.text_with(&format!(", {}", share(self.count, total)))
    }

    fn text_with(&self, share_of_all: &str) -> String {
        if let (Some(kind), Some(most)) = (self.kind, self.most) {
            let words = Cause::ALL.iter().find(|cause| cause.name() == kind).map_or(kind, |cause| cause.words());
            return format!("{words}: {} by {}", share(most, self.count), self.who_text());
        }
        if self.who.is_anybody() {
            return format!("{}{share_of_all}: {}", self.who.caller(None), causes(&self.causes, KINDS));
        }
        format!("{}{share_of_all}: {}", self.who_text(), causes(&self.causes, KINDS))
    }

    /// Returns the caller and its call, in words.
    fn who_text(&self) -> String {
        let call = self.who.call.as_deref().filter(|call| *call != call_name(Call::UserTrap));
        let in_call = call.map_or_else(String::new, |call| format!(" in {call}"));
        format!("{}{in_call}", self.who.name())
    }
}

/// Kinds of faults with their shares, most frequent first; the rare ones of more than `most` are put together.
pub(super) fn causes(counts: &BTreeMap<&'static str, u64>, most: usize) -> String {
    let total: u64 = counts.values().sum();
    let mut causes: Vec<_> = counts.iter().collect();
    causes.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), **name));
    let words = |name: &str| {
        Cause::ALL.iter().find(|c| c.name() == name).map_or_else(|| name.to_owned(), |c| c.words().to_owned())
    };
    let shown = if causes.len() > most + 1 { most } else { causes.len() };
    let rest: u64 = causes.iter().skip(shown).map(|(_, count)| **count).sum();
    if let [(name, _)] = *causes {
        return words(name);
    }
    let named = causes.iter().take(shown).map(|(name, count)| format!("{} {}", words(name), share(**count, total)));
    let rest = (rest > 0).then(|| format!("{} other kinds {}", causes.len() - shown, share(rest, total)));
    named.chain(rest).collect::<Vec<_>>().join(", ")
}

/// A share in percent. One of more than nothing is never 0 %, and one of less than all never 100 %.
pub(super) fn share(of: u64, total: u64) -> String {
    let percent = (100.0 * of as f64 / total.max(1) as f64).round() as u64;
    match percent {
        0 if of > 0 => "<1 %".to_owned(),
        100 if of < total => ">99 %".to_owned(),
        percent => format!("{percent} %"),
    }
}

/// Tables of callers.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tables {
    /// Users of mmap_locks; those that held them longest in all come first.
    #[serde(rename = "lock_users")]
    pub locks: Vec<LockRow>,
    /// Callers with faults; those with most come first.
    #[serde(rename = "faults_by")]
    pub faults: Vec<FaultRow>,
}

/// Rows of callers, as a row for each kind of fault with its most frequent callers.
fn by_kind(callers: &[FaultRow]) -> Vec<FaultRow> {
    let kinds = Cause::ALL.iter().filter_map(|cause| {
        let mut of: Vec<(&Who, u64)> =
            callers.iter().filter_map(|row| Some((&row.who, *row.causes.get(cause.name())?))).collect();
        of.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(other.0)));
        let count = of.iter().map(|(_, count)| *count).sum();
        let (most, _) = of.first()?;
        Some(FaultRow {
            who: (*most).clone(),
            count,
            causes: BTreeMap::from([(cause.name(), count)]),
            most: Some(of[0].1),
            kind: Some(cause.name()),
        })
    });
    kinds.collect()
}

/// `rows`: what was seen whole, and the number of all.
fn seen(rows: impl Iterator<Item = (Option<Times>, u64)>) -> Coverage {
    let (counted, all) = rows.fold((0u64, 0u64), |(counted, all), (times, of)| {
        (counted.saturating_add(times.map_or(0, |times| times.count)), all.saturating_add(of))
    });
    Coverage::of(counted, all.saturating_sub(counted))
}

/// Property that the callers or faults of one row share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// Process, thread's name and call.
    #[default]
    Caller,
    /// Process and thread's name.
    Thread,
    /// Process.
    Process,
    /// Call.
    Call,
    /// Kind of fault. Holds and waits have none: they are put together by caller.
    Kind,
    /// Cgroup v2.
    Cgroup,
}

impl By {
    /// Names a row: what rows are not told apart by is absent.
    pub(super) fn who(self, caller: Caller, members: &Members, tasks: &Tasks, folding: &Folding) -> Who {
        if self == Self::Cgroup {
            return Who::of_cgroup(members, tasks);
        }
        let mut who = Who::new(caller, members, tasks);
        if let Some(processes) = folding.processes(caller.thread) {
            who = Who { pid: 0, tid: 0, processes, ..who };
        }
        match self {
            Self::Caller | Self::Thread | Self::Kind | Self::Cgroup => who,
            Self::Process => Who { thread: None, ..who },
            Self::Call => Who {
                thread: None,
                cgroup: None,
                container: None,
                cgroups: None,
                cgroup_beyond: None,
                place: None,
                ..who
            },
        }
    }

    /// The part of a caller that rows are told apart by.
    pub(super) fn key(self, caller: Caller, tasks: &Tasks) -> Caller {
        match self {
            Self::Caller | Self::Kind => caller,
            Self::Thread | Self::Cgroup => Caller { call: None, ..caller },
            Self::Process => Caller { thread: tasks.process(caller.thread), call: None },
            Self::Call => Caller { thread: ThreadId::OTHERS, ..caller },
        }
    }
}

impl Tables {
    /// Returns how many of the holds were seen whole. The others began before the recording, go on at its end, or have lost
    /// events in them.
    #[must_use]
    pub fn holds_seen(&self) -> Coverage {
        seen(self.locks.iter().map(|row| (row.held, row.acquired.saturating_add(row.downgraded))))
    }

    /// Returns how many of the acquisitions had a wait that was seen whole.
    #[must_use]
    pub fn waits_seen(&self) -> Coverage {
        seen(self.locks.iter().map(|row| (row.waited, row.acquired.saturating_add(row.given_up))))
    }

    /// Puts rows together. `start`: when the recording began.
    #[must_use]
    pub fn new(callers: &Callers, tasks: &Tasks, by: By, start: u64) -> Self {
        let tids = tasks.tids();
        let before = |used: &LockUse| {
            let held = used.behind.callers().filter(|(_, held, _)| *held == HeldAs::WriteBefore);
            held.map(|(caller, ..)| caller).collect::<Vec<_>>()
        };
        let lockers = callers.locks().flat_map(|(caller, _, used)| [vec![caller], before(used)].concat());
        let all = lockers.chain(callers.faults().map(|(caller, _)| caller));
        let folding = match by {
            By::Cgroup => Folding::by_cgroup(all, tasks),
            _ => Folding::new(all, tasks, |caller| by.key(caller, tasks)),
        };
        let key = |caller: Caller| folding.row(by.key(caller, tasks));
        let mut locks: BTreeMap<(Caller, bool), (LockUse, Members)> = BTreeMap::new();
        let mut holders: BTreeMap<Caller, Members> = BTreeMap::new();
        for (caller, write, used) in callers.locks() {
            let (row, members) = locks.entry((key(caller), write)).or_default();
            row.merge(used, key);
            members.add(caller.thread, &tids, tasks);
            // What held a lock since before the recording may never have acquired one in it.
            for holder in [vec![caller], before(used)].concat() {
                holders.entry(key(holder)).or_default().add(holder.thread, &tids, tasks);
            }
        }
        let none = Members::default();
        let row_of = |(holder, held, ns): (Caller, HeldAs, u64)| {
            let (write, since_before) = (held.is_write(), held == HeldAs::WriteBefore);
            let members = holders.get(&holder).unwrap_or(&none);
            let used = locks.get(&(holder, write)).map(|(used, _)| used);
            let downgraded = used.is_some_and(|used| used.downgraded > 0 && used.acquired == 0);
            BehindRow { who: by.who(holder, members, tasks, &folding), write, since_before, downgraded, ns }
        };
        let mut locks: Vec<LockRow> = locks
            .iter()
            .map(|((caller, write), (used, members))| {
                let mut behind: Vec<BehindRow> = used.behind.callers().map(row_of).collect();
                behind.sort_by(|one, other| {
                    let order = other.ns.cmp(&one.ns).then_with(|| one.who.cmp(&other.who));
                    order.then(one.write.cmp(&other.write)).then(one.since_before.cmp(&other.since_before))
                });
                let rest = behind.split_off(behind.len().min(BEHIND_MAX));
                let others = rest.iter().fold(used.behind.others(), |sum, row| sum.saturating_add(row.ns));
                LockRow {
                    who: by.who(*caller, members, tasks, &folding),
                    write: *write,
                    acquired: used.acquired,
                    downgraded: used.downgraded,
                    refused: used.refused,
                    given_up: used.given_up,
                    held: Times::new(&used.holds, start),
                    waited: Times::new(&used.waits, start),
                    contended: Times::new(&used.contended, start),
                    behind,
                    behind_others_ns: others,
                    behind_unknown_ns: used.behind.unknown(),
                }
            })
            .collect();
        let sum = |times: &Option<Times>| times.map_or(0, |times| times.sum_ns);
        locks.sort_by(|one, other| {
            let order = |row: &LockRow| (sum(&row.held), sum(&row.waited), row.acquired);
            order(other).cmp(&order(one)).then_with(|| one.who.cmp(&other.who)).then(one.write.cmp(&other.write))
        });
        let mut faults: BTreeMap<Caller, (Causes, Members)> = BTreeMap::new();
        for (caller, causes) in callers.faults() {
            let (row, members) = faults.entry(key(caller)).or_default();
            members.add(caller.thread, &tids, tasks);
            row.iter_mut().zip(causes).for_each(|(sum, n)| *sum += n);
        }
        let mut faults: Vec<FaultRow> = faults
            .iter()
            .map(|(caller, (causes, members))| FaultRow {
                who: by.who(*caller, members, tasks, &folding),
                count: causes.iter().sum(),
                causes: Cause::ALL.iter().map(|c| c.name()).zip(*causes).filter(|(_, n)| *n > 0).collect(),
                kind: None,
                most: None,
            })
            .collect();
        if by == By::Kind {
            faults = by_kind(&faults);
        }
        faults.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.who.cmp(&other.who)));
        let mut tables = Self { locks, faults };
        if !tables.has_several_cgroups() {
            tables.callers_mut().for_each(Who::placeless);
        }
        tables
    }

    /// Every caller that a row names.
    fn callers_mut(&mut self) -> impl Iterator<Item = &mut Who> {
        let locks = self.locks.iter_mut().flat_map(|row| {
            let behind = row.behind.iter_mut().map(|behind| &mut behind.who);
            std::iter::once(&mut row.who).chain(behind)
        });
        locks.chain(self.faults.iter_mut().map(|row| &mut row.who))
    }

    /// Whether the callers are known to have been in more than one cgroup.
    fn has_several_cgroups(&self) -> bool {
        several_cgroups(&mut self.locks.iter().map(|row| &row.who).chain(self.faults.iter().map(|row| &row.who)))
    }
}

/// Whether callers are known to have been in more than one cgroup.
pub(super) fn several_cgroups(all: &mut dyn Iterator<Item = &Who>) -> bool {
    let mut first: Option<&str> = None;
    for who in all {
        first = first.or(who.cgroup.as_deref());
        let other = who.cgroup.is_some() && who.cgroup.as_deref() != first;
        if other || who.cgroups.is_some() || who.cgroup_beyond.is_some() {
            return true;
        }
    }
    false
}
