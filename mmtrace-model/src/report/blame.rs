//! What waits for mmap_locks are charged to, by the names of those who were in the way.

use std::{cmp::Reverse, collections::BTreeMap};

use serde::Serialize;

use super::{
    callers::{By, Held, Times, Who, several_cgroups},
    folding::Folding,
    members::Members,
};
use crate::{
    names::Tasks,
    stats::{
        blame::Victim,
        blockers::{Culprit, HeldAs},
        caller::Caller,
        callers::Callers,
        intervals::Intervals,
    },
};

/// What a row of blame is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BlameKind {
    /// Holds of a caller in a mode.
    Hold,
    /// No hold in the way was seen, while another task got the lock first afterwards: the lock was handed to that task, or
    /// it waited for a CPU.
    HandOverAhead,
    /// No hold in the way was seen until the waiter had the lock: it was handed to it, or it waited for a CPU.
    HandOver,
    /// Who was in the way is not known: events are missing, or somebody may have held the lock since before the recording.
    NotKnown,
    /// Culprits that came when there were too many to tell apart.
    Others,
}

impl BlameKind {
    const fn of(culprit: Culprit) -> Self {
        match culprit {
            Culprit::Hold { .. } => Self::Hold,
            Culprit::HandOverAhead => Self::HandOverAhead,
            Culprit::HandOver => Self::HandOver,
            Culprit::Unknown => Self::NotKnown,
            Culprit::Others => Self::Others,
        }
    }

    /// Returns its name in JSON and CSV.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::HandOverAhead => "hand_over_ahead",
            Self::HandOver => "hand_over",
            Self::NotKnown => "not_known",
            Self::Others => "others",
        }
    }

    /// Returns it in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Hold => "holds",
            Self::HandOverAhead => "no hold that was seen: a hand-over to another waiter, or that one waited for a CPU",
            Self::HandOver => "no hold that was seen: a hand-over, or a wait for a CPU",
            Self::NotKnown => "not known: events are missing, or a holder came before the recording",
            Self::Others => "others",
        }
    }
}

/// Time of waits that one party has, as a part of a row.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// Who.
    #[serde(flatten)]
    pub who: Who,
    /// The party waited for write, and else for read.
    pub write: bool,
    /// Time of the waits, nanoseconds.
    pub ns: u64,
    /// Number of charges.
    pub count: u64,
    /// The longest of them, nanoseconds.
    pub longest_ns: u64,
}

impl Part {
    /// Returns the names and ids, call and mode.
    #[must_use]
    pub fn text(&self) -> String {
        self.who.caller(Some(if self.write { Held::Write } else { Held::Read }))
    }
}

/// What some waits are charged to.
#[derive(Clone, Debug, Serialize)]
pub struct BlameRow {
    /// What the row is about.
    pub kind: BlameKind,
    /// The holder; absent if the row is not about holds.
    #[serde(flatten)]
    pub who: Option<Who>,
    /// It held the lock for write; absent likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write: Option<bool>,
    /// The holder held it since before the recording; absent if it did not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub since_before: bool,
    /// Every hold of that holder for read is one that it downgraded.
    #[serde(skip)]
    pub downgraded: bool,
    /// Parts of waits that are charged to it. All parts of one wait count as one, unless the row puts several culprits
    /// together. The longest is that of the wait with this begin and thread.
    pub charged: Times,
    /// Whose waits these are, longest first.
    pub victims: Vec<Part>,
    /// Writers in the queue that the waiters were behind while those waited for this holder, longest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub via: Vec<Part>,
}

impl BlameRow {
    /// Returns what the row is about, in words: the holder with its call and mode, or that no hold was seen.
    #[must_use]
    pub fn text(&self) -> String {
        match &self.who {
            Some(who) => who.caller(self.held()),
            None => self.kind.words().to_owned(),
        }
    }

    /// Everybody whom the row names.
    fn names(&self) -> impl Iterator<Item = &Who> {
        self.who.iter().chain(self.victims.iter().chain(&self.via).map(|part| &part.who))
    }

    fn held(&self) -> Option<Held> {
        let write = self.write?;
        Some(if self.since_before { Held::WriteBefore } else { Held::of(write, self.downgraded) })
    }

    /// Returns the victims, at most `limit` or one more if that names all, each with its share of the row.
    #[must_use]
    pub fn victims_text(&self, limit: usize) -> Vec<String> {
        texts(&self.victims, limit, self.charged.sum_ns, "waited by")
    }

    /// Returns the writers in between, likewise.
    #[must_use]
    pub fn via_text(&self, limit: usize) -> Vec<String> {
        texts(&self.via, limit, self.charged.sum_ns, "in the queue behind")
    }
}

fn texts(parts: &[Part], limit: usize, of: u64, words: &str) -> Vec<String> {
    let share = |ns: u64| (100.0 * ns as f64 / of.max(1) as f64).round();
    // Where the others are one, it has a name.
    let named = if parts.len() == limit.saturating_add(1) { parts.len() } else { limit };
    let shown = parts.iter().take(named).filter(|part| share(part.ns) >= 1.0);
    let mut lines: Vec<String> = shown.map(|part| format!("{} % {words} {}", share(part.ns), part.text())).collect();
    let others: u64 = parts.iter().skip(named).map(|part| part.ns).sum();
    if share(others) >= 1.0 {
        let n = parts.len().saturating_sub(named);
        lines.push(format!("{} % {words} {} others", share(others), super::grouped(n as u64)));
    }
    lines
}

/// Rows and parts while they are put together.
#[derive(Default)]
struct Sums {
    charged: Intervals,
    victims: BTreeMap<Victim, Intervals>,
    via: BTreeMap<Caller, Intervals>,
}

/// The part of a culprit that rows are told apart by.
type Key = (BlameKind, Option<(Caller, HeldAs)>);

/// Returns what the contended waits are charged to, longest first. The rows add up to them to the nanosecond.
/// `start`: when the recording began.
#[must_use]
pub fn rows(callers: &Callers, tasks: &Tasks, by: By, start: u64) -> Vec<BlameRow> {
    let blame = callers.blame();
    let tids = tasks.tids();
    let all = || callers.locks().map(|(caller, ..)| caller).chain(blame.holders_before());
    // As in the tables of callers, so that a row has the same name in both.
    let foldable = all().chain(callers.faults().map(|(caller, _)| caller));
    let folding = match by {
        By::Cgroup => Folding::by_cgroup(foldable, tasks),
        _ => Folding::new(foldable, tasks, |caller| by.key(caller, tasks)),
    };
    let key = |caller: Caller| folding.row(by.key(caller, tasks));
    let mut members: BTreeMap<Caller, Members> = BTreeMap::new();
    let mut downgraded: BTreeMap<Caller, bool> = BTreeMap::new();
    for caller in all() {
        members.entry(key(caller)).or_default().add(caller.thread, &tids, tasks);
    }
    for (caller, _, used) in callers.locks().filter(|(_, write, _)| !write) {
        let all_are = used.downgraded > 0 && used.acquired == 0;
        downgraded.entry(key(caller)).and_modify(|all| *all &= all_are).or_insert(all_are);
    }
    let mut sums: BTreeMap<Key, Sums> = BTreeMap::new();
    for (culprit, (waiter, write), charged) in blame.rows() {
        let (holder, via) = match culprit {
            Culprit::Hold { by, held, via } => (Some((key(by), held)), via.map(key)),
            _ => (None, None),
        };
        let row = sums.entry((BlameKind::of(culprit), holder)).or_default();
        row.charged.merge(charged);
        row.victims.entry((key(waiter), write)).or_default().merge(charged);
        if let Some(via) = via {
            row.via.entry(via).or_default().merge(charged);
        }
    }
    let none = Members::default();
    let who = |caller: Caller| by.who(caller, members.get(&caller).unwrap_or(&none), tasks, &folding);
    let part = |caller: Caller, write: bool, charged: &Intervals| {
        let longest_ns = charged.longest().map_or(0, |longest| longest.ns);
        Part { who: who(caller), write, ns: charged.sum(), count: charged.count(), longest_ns }
    };
    let rows = sums.iter().filter_map(|((kind, holder), sums)| {
        let mut victims: Vec<Part> =
            sums.victims.iter().map(|((caller, write), charged)| part(*caller, *write, charged)).collect();
        let mut via: Vec<Part> = sums.via.iter().map(|(caller, charged)| part(*caller, true, charged)).collect();
        for parts in [&mut victims, &mut via] {
            parts.sort_by(|one, other| other.ns.cmp(&one.ns).then_with(|| one.who.cmp(&other.who)));
        }
        Some(BlameRow {
            kind: *kind,
            who: holder.map(|(caller, _)| who(caller)),
            write: holder.map(|(_, held)| held.is_write()),
            since_before: holder.is_some_and(|(_, held)| held == HeldAs::WriteBefore),
            downgraded: holder.is_some_and(|(caller, _)| downgraded.get(&caller).copied().unwrap_or(false)),
            charged: Times::new(&sums.charged, start)?,
            victims,
            via,
        })
    });
    let mut rows: Vec<BlameRow> = rows.collect();
    rows.sort_by(|one, other| {
        let order = |row: &BlameRow| (Reverse(row.charged.sum_ns), row.kind);
        order(one).cmp(&order(other)).then_with(|| (&one.who, one.write).cmp(&(&other.who, other.write)))
    });
    if !several_cgroups(&mut rows.iter().flat_map(BlameRow::names)) {
        for row in &mut rows {
            let parts = row.victims.iter_mut().chain(&mut row.via).map(|part| &mut part.who);
            row.who.iter_mut().chain(parts).for_each(Who::placeless);
        }
    }
    rows
}
