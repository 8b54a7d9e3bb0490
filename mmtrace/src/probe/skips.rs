//! Runs that the kernel skipped, and which of them are events that no program recorded.
//!
//! A program that still runs on the same CPU is not entered again. Where it has standby programs, one of them took the
//! event over, and counted that before it wrote the record. So the program's skipped runs less what its standby
//! programs took are the events that are missing, since each skipped run is followed by the entry of the standby
//! programs for the same event.
//!
//! Followed, not accompanied: a task can be preempted between the two. Until they agree again, what came after the last
//! time that they did must not be judged, since it may depend on the record that is still to come.

use std::{io, os::fd::AsFd};

use aya::{
    maps::{MapData, PerCpuArray},
    programs::ProgramFd,
};
use mmtrace_common::{Kind, spec};
use mmtrace_model::context::Kernel;

use super::{
    object::{Attached, Lost},
    standby::MOST,
    sys,
};

/// Longest wait for an overdue record of a standby program. A task that was preempted comes on again sooner, but for
/// the most crowded machines; if the standby programs were skipped too, there is none.
const PATIENCE_NS: u64 = 500_000_000;
/// For this long, a late record could cancel a genuinely missing one in the balance. Any run of that event that is
/// skipped meanwhile counts as missing.
const DOUBT_NS: u64 = 10_000_000_000;

/// Most readings of the counters at the start, until two of them agree. If none do, the recording begins with a report
/// of it.
const ATTEMPTS: u32 = 20;

/// Compares the kernel's counters with those of the standby programs.
pub(super) struct Skips {
    programs: Vec<Attached>,
    accounts: Vec<Account>,
    taken_over: PerCpuArray<MapData, Lost>,
    /// The last time at which no record was to come.
    agreed: u64,
    /// A task can be preempted between a program and its standby program.
    preemptible: bool,
    /// Kinds whose program was skipped, and that have a standby program in reserve.
    short: Vec<Kind>,
    /// Events that are missing and that more standby programs would have recorded.
    avoidable: Avoidable,
    /// Time that programs ran which are no longer attached, nanoseconds.
    ended_ns: u64,
}

/// Events that are missing, and for which the object has standby programs that were not in reserve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Avoidable {
    /// Their program had no standby program.
    pub(crate) without_standby: u64,
    /// Their program had fewer than there are.
    pub(crate) despite_standby: u64,
}

/// The balance of one program.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    /// It has standby programs.
    has_standby: bool,
    /// It has had them only since the last balance, and no record that was due then can come later.
    is_new: bool,
    /// Its skipped runs stand for no events.
    idle: bool,
    /// Events known to be missing: skipped runs less what standby programs took.
    missing: i64,
    /// Skipped runs when the balance was last drawn.
    skipped: u64,
    /// Time since which a record has been due.
    due: Option<u64>,
    /// Time until which the balance is in doubt.
    doubt: u64,
}

/// Result of comparing the counters of one program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Balance {
    /// Nothing new.
    Even,
    /// A record may still come.
    Open,
    /// This many events are missing, or were recorded twice.
    Off(u64),
}

impl Account {
    fn of(attached: &Attached, kernel: &Kernel) -> Self {
        Self {
            has_standby: !attached.standby.is_empty(),
            idle: is_of_other_locks(attached.kind, kernel.preempts_tracepoints()),
            ..Self::default()
        }
    }

    /// From now on.
    fn begin(&mut self, skipped: u64, taken: u64) {
        self.missing = skipped as i64 - taken as i64;
        self.skipped = skipped;
    }

    /// `taken`: what standby programs had taken before the skipped runs were counted, and after.
    fn balance(&mut self, now: u64, skipped: u64, taken: (u64, u64)) -> Balance {
        if self.idle {
            return Balance::Even;
        }
        let (most, least) = (skipped as i64 - taken.0 as i64, skipped as i64 - taken.1 as i64);
        // What was skipped before the kernel had the standby program in its list is missing, and nothing to wait for.
        if std::mem::take(&mut self.is_new) && least > self.missing {
            let new = least.abs_diff(self.missing);
            (self.missing, self.skipped) = (least, skipped);
            return Balance::Off(new);
        }
        if self.has_standby {
            if most == self.missing {
                self.due = None;
                let more = skipped != std::mem::replace(&mut self.skipped, skipped);
                return if more && now < self.doubt { Balance::Off(1) } else { Balance::Even };
            }
            let late = now.saturating_sub(*self.due.get_or_insert(now)) > PATIENCE_NS;
            if (least < most || most > self.missing) && !(late && least > self.missing) {
                return Balance::Open;
            }
            self.due = None;
            self.doubt = now + DOUBT_NS;
        }
        let new = least.abs_diff(self.missing);
        (self.missing, self.skipped) = (least, skipped);
        if new == 0 { Balance::Even } else { Balance::Off(new) }
    }
}

impl Skips {
    pub(super) fn new(programs: Vec<Attached>, taken_over: PerCpuArray<MapData, Lost>, kernel: &Kernel) -> Self {
        let accounts = programs.iter().map(|p| Account::of(p, kernel)).collect();
        let preemptible = kernel.preempts_tracepoints();
        let (short, avoidable) = (Vec::new(), Avoidable::default());
        Self { programs, accounts, taken_over, preemptible, short, avoidable, agreed: 0, ended_ns: 0 }
    }

    /// From now on: what was skipped, and taken over, while programs were attached one by one, says nothing.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        for _ in 0..ATTEMPTS {
            let before = self.taken()?;
            for (attached, account) in self.programs.iter().zip(&mut self.accounts) {
                let skipped = sys::counts(attached.program.as_fd())?.recursion_misses;
                account.begin(skipped, of(&before, attached.kind));
            }
            let after = self.taken()?;
            if self.programs.iter().all(|p| of(&before, p.kind) == of(&after, p.kind)) {
                break;
            }
        }
        Ok(())
    }

    /// Tells of events that nobody wrote, by kind and number, and up to when no record is to come any more.
    /// `now` is a time before the call.
    pub(super) fn read(&mut self, now: u64, mut report: impl FnMut(Kind, u64)) -> io::Result<u64> {
        // The events taken over are counted first: runs skipped and taken over meanwhile must not pass for a balance.
        let before = self.taken()?;
        let mut skipped = Vec::with_capacity(self.programs.len());
        for attached in &self.programs {
            skipped.push(sys::counts(attached.program.as_fd())?.recursion_misses);
        }
        // And again, where it matters: this thread may have been off meanwhile.
        let even = |((attached, account), skipped): ((&Attached, &Account), &u64)| {
            *skipped as i64 - of(&before, attached.kind) as i64 == account.missing
        };
        let after = match self.programs.iter().zip(&self.accounts).zip(&skipped).all(even) {
            true => before.clone(),
            false => self.taken()?,
        };
        let mut agree = true;
        for ((attached, account), skipped) in self.programs.iter().zip(&mut self.accounts).zip(skipped) {
            let taken = (of(&before, attached.kind), of(&after, attached.kind));
            match account.balance(now, skipped, taken) {
                Balance::Even => {}
                Balance::Open => agree = false,
                Balance::Off(count) => {
                    if attached.reserve.is_some() {
                        self.short.push(attached.kind);
                    } else if !attached.standby.is_empty() && attached.standby.len() < MOST as usize {
                        self.avoidable.despite_standby += count;
                    } else if attached.standby.is_empty() && attached.can_have_standby {
                        self.avoidable.without_standby += count;
                    }
                    report(attached.kind, count);
                }
            }
        }
        if agree {
            self.agreed = now;
        }
        Ok(self.agreed)
    }

    /// Counts no more for programs of these kinds, which are about to be detached one by one.
    pub(super) fn end(&mut self, kinds: &[Kind]) {
        self.ended_ns += self.programs.iter().filter(|p| kinds.contains(&p.kind)).map(run_ns).sum::<u64>();
        let mut goes_on = self.programs.iter().map(|p| !kinds.contains(&p.kind)).collect::<Vec<_>>().into_iter();
        self.accounts.retain(|_| goes_on.next().unwrap_or(true));
        self.programs.retain(|p| !kinds.contains(&p.kind));
    }

    /// Returns the events that standby programs took over, by kind, for each CPU.
    fn taken(&self) -> io::Result<Vec<Lost>> {
        if !self.accounts.iter().any(|a| a.has_standby) {
            return Ok(Vec::new());
        }
        Ok(self.taken_over.get(&0, 0).map_err(io::Error::other)?.to_vec())
    }

    /// Takes the kinds that need a standby program and have one in reserve, and which number it gets: those whose program
    /// was skipped, and the others of their trace system. An interrupt that tries to acquire a lock brings forth all events
    /// of the lock, and each that is missed first is another gap.
    pub(super) fn short(&mut self) -> Vec<(Kind, u32)> {
        let short = std::mem::take(&mut self.short);
        let needs = |p: &&Attached| p.reserve.is_some() && short.iter().any(|kind| is_of_one_system(*kind, p.kind));
        self.programs.iter().filter(needs).map(|p| (p.kind, p.standby.len() as u32 + 1)).collect()
    }

    /// The standby program of this kind that was in reserve is attached, or was refused.
    pub(super) fn stand_by(&mut self, kind: Kind, is_attached: bool) {
        for (program, account) in self.programs.iter_mut().zip(&mut self.accounts).filter(|(p, _)| p.kind == kind) {
            let Some(reserve) = program.reserve.take().filter(|_| is_attached) else { continue };
            program.standby.push(reserve);
            account.is_new = !self.preemptible;
            account.has_standby = true;
        }
    }

    /// Returns the events that are missing and that more standby programs would have recorded.
    pub(super) const fn avoidable(&self) -> Avoidable {
        self.avoidable
    }

    /// Returns the time that all programs ran, as far as the kernel measured it, nanoseconds.
    pub(super) fn run_ns(&self) -> u64 {
        self.ended_ns + self.programs.iter().map(run_ns).sum::<u64>()
    }

    /// Returns each program's number of runs and their total time in nanoseconds, its standby programs' time included;
    /// nothing unless the kernel counts it (sysctl `kernel.bpf_stats_enabled`).
    pub(super) fn costs(&self) -> Vec<(Kind, u64, u64)> {
        let counts = |attached: &Attached| {
            let of = |program: &ProgramFd| sys::counts(program.as_fd()).unwrap_or_default();
            let first = of(&attached.program);
            let standby: u64 = attached.standby.iter().map(|program| of(program).run_ns).sum();
            (first.run_ns > 0).then_some((attached.kind, first.runs, first.run_ns + standby))
        };
        self.programs.iter().filter_map(counts).collect()
    }
}

/// Returns the time that a program and its standby programs ran, as far as the kernel measured it, nanoseconds.
fn run_ns(attached: &Attached) -> u64 {
    let all = std::iter::once(&attached.program).chain(&attached.standby);
    all.map(|program| sys::counts(program.as_fd()).unwrap_or_default().run_ns).sum()
}

/// Returns how many events of a kind standby programs took over.
fn of(taken: &[Lost], kind: Kind) -> u64 {
    taken.iter().map(|cpu| cpu.0[kind as usize]).sum()
}

/// Whether two kinds are events of one trace system.
fn is_of_one_system(one: Kind, other: Kind) -> bool {
    spec(one).site.system == spec(other).site.system
}

/// Whether skipped runs of this kind's program can have been about no event of ours. The programs of `contention_*`
/// are entered for every lock of the kernel, and write what is about an mmap_lock that is slept for. Where they cannot
/// be preempted, only an interrupt can have met them running, and no interrupt sleeps for a lock.
const fn is_of_other_locks(kind: Kind, preemptible: bool) -> bool {
    !preemptible && matches!(kind, Kind::ContentionBegin | Kind::ContentionEnd)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A time, and one at which nothing due before is waited for any more.
    const NOW: u64 = 1_000_000_000;
    const LATE: u64 = NOW + PATIENCE_NS + 1;

    fn with_standby() -> Account {
        Account { has_standby: true, ..Account::default() }
    }

    #[test]
    fn without_standby_each_skipped_run_is_a_missing_event_at_once() {
        let mut account = Account::default();
        assert_eq!(account.balance(NOW, 0, (0, 0)), Balance::Even);
        assert_eq!(account.balance(NOW, 3, (0, 0)), Balance::Off(3));
        assert_eq!(account.balance(NOW, 3, (0, 0)), Balance::Even);
        assert_eq!(account.balance(LATE, 4, (0, 0)), Balance::Off(1));
    }

    #[test]
    fn what_a_standby_program_took_is_not_missing_and_is_waited_for() {
        let mut account = with_standby();
        account.begin(7, 4);
        assert_eq!(account.balance(NOW, 12, (7, 7)), Balance::Open);
        assert_eq!(account.balance(LATE, 13, (10, 10)), Balance::Even);
        // The standby programs were skipped too.
        assert_eq!(account.balance(LATE, 16, (12, 12)), Balance::Open);
        assert_eq!(account.balance(LATE + PATIENCE_NS, 16, (12, 12)), Balance::Open);
        assert_eq!(account.balance(LATE + PATIENCE_NS + 1, 16, (12, 12)), Balance::Off(1));
    }

    #[test]
    fn what_changes_while_it_is_read_is_not_taken_for_missing() {
        let mut account = with_standby();
        assert_eq!(account.balance(NOW, 1, (0, 0)), Balance::Open);
        // The reader was off between the first look and the second: hundreds were skipped and taken meanwhile.
        assert_eq!(account.balance(LATE, 420, (20, 420)), Balance::Open);
        assert_eq!(account.balance(LATE, 420, (20, 430)), Balance::Open);
        // Five runs are missing even by the later look.
        assert_eq!(account.balance(LATE, 450, (430, 445)), Balance::Off(5));
    }

    #[test]
    fn what_comes_after_it_was_given_up_and_what_was_written_twice_is_told() {
        let mut account = with_standby();
        assert_eq!(account.balance(NOW, 2, (0, 0)), Balance::Open);
        assert_eq!(account.balance(LATE, 2, (0, 0)), Balance::Off(2));
        assert_eq!(account.balance(LATE, 2, (1, 1)), Balance::Off(1));
        assert_eq!(account.balance(LATE, 2, (3, 3)), Balance::Off(2));
    }

    #[test]
    fn what_comes_late_does_not_make_up_for_what_never_comes() {
        let mut account = with_standby();
        assert_eq!(account.balance(NOW, 1, (0, 0)), Balance::Open);
        assert_eq!(account.balance(LATE, 1, (0, 0)), Balance::Off(1));
        assert_eq!(account.balance(LATE, 1, (0, 0)), Balance::Even);
        // The first comes, and another does not: the sum is what it was.
        assert_eq!(account.balance(LATE, 2, (1, 1)), Balance::Off(1));
        // Nor if it was not there when the other was seen to be due.
        assert_eq!(account.balance(LATE, 3, (1, 1)), Balance::Open);
        assert_eq!(account.balance(LATE, 3, (2, 2)), Balance::Off(1));
        assert_eq!(account.balance(LATE, 3, (2, 2)), Balance::Even);
        assert_eq!(account.balance(LATE + DOUBT_NS, 4, (3, 3)), Balance::Even);
    }

    #[test]
    fn a_standby_program_that_comes_later_loses_no_miss() {
        let mut account = Account::default();
        account.begin(3, 0);
        assert_eq!(account.balance(NOW, 4, (0, 0)), Balance::Off(1));
        // It was attached; two runs were skipped before the kernel had it in its list, and one after.
        (account.has_standby, account.is_new) = (true, true);
        assert_eq!(account.balance(NOW, 7, (1, 1)), Balance::Off(2));
        assert_eq!(account.balance(NOW, 9, (3, 3)), Balance::Even);
        assert_eq!(account.balance(NOW, 10, (3, 3)), Balance::Open);
        assert_eq!(account.balance(LATE, 10, (3, 3)), Balance::Off(1));
    }

    #[test]
    fn a_standby_program_that_comes_where_tasks_are_preempted_is_waited_for() {
        let mut account = Account::default();
        account.begin(3, 0);
        account.has_standby = true;
        // Its task may have been preempted before it was entered.
        assert_eq!(account.balance(NOW, 4, (0, 0)), Balance::Open);
        assert_eq!(account.balance(NOW, 4, (1, 1)), Balance::Even);
    }

    #[test]
    fn runs_for_other_locks_are_neither_missing_nor_waited_for() {
        for has_standby in [false, true] {
            let mut account = Account { has_standby, idle: true, ..Account::default() };
            assert_eq!(account.balance(NOW, 7, (0, 0)), Balance::Even);
        }
        assert!(is_of_other_locks(Kind::ContentionBegin, false));
        assert!(!is_of_other_locks(Kind::ContentionBegin, true));
        assert!(!is_of_other_locks(Kind::StartLocking, false));
    }
}
