//! Faults whose kind is not settled yet: from the exception to the end of their handling.
//!
//! A fault is one exception: it is counted once, however often `handle_mm_fault()` has to try. Its kind is settled when
//! that function has returned something other than RETRY, when no VMA was found, or when the task is seen to be elsewhere:
//! it faults again, or exits.
//!
//! Where no program sits on that function, the kernel's own count of handled faults ends them: a software event with the
//! fault's address (mm/memory.c:mm_account_fault). A fault that fails has no such event, and the kernel skips the event's
//! program now and then without counting that. So a fault without this end is not called failed: how it ended is not known.

use std::collections::hash_map::Entry;

use mmtrace_common::{Call, Column, Kind, Record, View as _, Walk, event};
use rustc_hash::FxHashMap;

use super::kind::{End, Exception, Kinds, Mapped, Seen, SwapTypes, kind};
use crate::context::{Context, FaultEnds};
use crate::examined_kernels::EXAMINED_KERNELS;
use crate::kernel_version::KernelVersion;
use crate::model::{
    Model,
    clock_skew::EPSILON_NS,
    effect::{Fault, What},
    fault_cause::Cause,
    mappings::At,
};

/// Faults that are open at once. Another one is settled when it happens.
const OPEN_MAX: usize = 1 << 14;

/// `VM_FAULT_MAJOR` (include/linux/mm_types.h).
const MAJOR: u32 = 0x4;
/// `VM_FAULT_RETRY`.
const RETRY: u32 = 0x400;
/// `VM_FAULT_FALLBACK`: no huge page.
const FALLBACK: u32 = 0x800;
/// `VM_FAULT_ERROR`: OOM, SIGBUS, HWPOISON, HWPOISON_LARGE, SIGSEGV, FALLBACK.
const ERROR: u32 = 0x1 | 0x2 | 0x10 | 0x20 | 0x40 | FALLBACK;

/// A fault that is being handled.
#[derive(Clone, Copy, Debug)]
struct Open {
    fault: Fault,
    seen: Seen,
    /// `handle_mm_fault()` was called for it.
    called: bool,
    /// `lock_mm_and_find_vma()` has returned for it.
    looked: bool,
    /// How often the task has acquired its mm's mmap_lock since; `None`: an acquisition may be missing.
    locked: Option<u8>,
    /// Every event since the exception was seen that tells of its handling.
    whole: bool,
}

/// Events that show the end of a fault's handling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ends {
    /// None.
    #[default]
    Unseen,
    /// The kernel's count of handled faults.
    Counted(Counted),
    /// The entry of `handle_mm_fault()` and its return.
    Functions,
}

/// The kernel's count of a handled fault as minor or major, and `VM_FAULT_MAJOR`, which is what names a kind.
///
/// The kernel counts a fault as major if the last call of `handle_mm_fault()` for it returned `VM_FAULT_MAJOR`, or had
/// `FAULT_FLAG_TRIED` (mm/memory.c:mm_account_fault). That flag is set for a call after one that returned RETRY: always if
/// the earlier one was under the mmap_lock; if it was under the VMA lock, only where it returned `VM_FAULT_MAJOR` too, and
/// before 6.8 never (arch/x86/mm/fault.c:do_user_addr_fault). Each call under the mmap_lock follows an acquisition of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    /// The above was read in this kernel's series or in later ones.
    known: bool,
    /// The same, and acquisitions of the mmap_lock are seen.
    locks: bool,
    /// A call under the VMA lock that has read the page is told from others by what the fault is counted as.
    minor: bool,
    /// Faults in user mode are first tried under the lock of their VMA.
    vma_locks: bool,
}

impl Counted {
    fn new(context: &Context) -> Self {
        let series = context
            .kernel
            .series()
            .filter(|series| EXAMINED_KERNELS.last().is_some_and(|last| *series <= last.version));
        let tried = |series: KernelVersion| !series.has_vma_locks() || series >= KernelVersion::new(6, 8);
        Self {
            known: series.is_some(),
            locks: series.is_some() && context.has(Kind::AcquireReturned),
            minor: series.is_some_and(tried),
            vma_locks: series.is_none_or(KernelVersion::has_vma_locks),
        }
    }

    /// Whether `handle_mm_fault()` was called only once for a handled fault in which the mmap_lock was acquired so often.
    fn at_once(self, user: bool, locked: Option<u8>) -> bool {
        let most = u8::from(!(user && self.vma_locks));
        self.locks && locked.is_some_and(|locked| locked <= most)
    }

    /// Whether a call of `handle_mm_fault()` returned `VM_FAULT_MAJOR` for a fault in which the mmap_lock was acquired so
    /// often; `None`: not known.
    fn was_read(self, major: bool, locked: Option<u8>) -> Option<bool> {
        let at_most = |most| self.locks && locked.is_some_and(|locked| locked <= most);
        match major {
            // Without a second call under the mmap_lock, none under it was to be tried again.
            true if at_most(1) => Some(true),
            // The one call was under the VMA lock.
            false if self.minor || at_most(0) => Some(false),
            _ => None,
        }
    }
}

/// Parts of a fault's handling that the recorded events show.
#[derive(Clone, Copy, Debug, Default)]
struct Tells {
    /// Faults come with a walk of the page tables.
    walk: bool,
    ends: Ends,
    /// `lock_mm_and_find_vma()` is seen.
    look: bool,
    userfaultfd: bool,
}

/// Faults that are being handled, by task.
#[derive(Clone, Debug, Default)]
pub(in crate::model) struct OpenFaults {
    open: FxHashMap<u32, Open>,
    tells: Tells,
    /// Where the kernel's count ends faults: faults may be missing up to this time, nanoseconds.
    blind_until: u64,
    /// Acquisitions of mmap_locks may be missing up to this time, nanoseconds.
    locks_blind_until: u64,
    old_swap_types: bool,
    kinds: Kinds,
}

impl OpenFaults {
    pub(in crate::model) fn new(context: &Context) -> Self {
        let ends = match context.fault_ends() {
            Some(FaultEnds::Functions) => Ends::Functions,
            Some(FaultEnds::SoftwareEvents) => Ends::Counted(Counted::new(context)),
            None => Ends::Unseen,
        };
        let tells = Tells {
            walk: context.carries(Kind::PageFaultUser, Column::Walk),
            ends,
            look: context.has(Kind::LockMmAndFindVma),
            userfaultfd: context.has(Kind::HandleUserfault),
        };
        // "mm: use pte markers for swap errors" (6.2) left one type fewer.
        let old_swap_types = context.kernel.series().is_some_and(|series| series < KernelVersion::new(6, 2));
        let blind = context.start.saturating_add(EPSILON_NS);
        let (open, kinds) = (FxHashMap::default(), Kinds::default());
        Self { open, tells, blind_until: blind, locks_blind_until: blind, old_swap_types, kinds }
    }

    /// Number of faults that are not settled.
    pub(in crate::model) fn len(&self) -> usize {
        self.open.len()
    }

    /// Events are missing up to a time, of all kinds unless `of` says which: those that were to tell of the open faults may
    /// be among them.
    ///
    /// Where the kernel's count ends a fault, only a missing fault matters: the end that is seen could be that one's. An end
    /// comes before the task's next fault.
    pub(in crate::model) fn lost(&mut self, of: Option<Kind>, until: u64) {
        let counted = matches!(self.tells.ends, Ends::Counted(_));
        let is_any = |kinds: &[Kind]| of.is_none_or(|of| kinds.contains(&of));
        if is_any(&[Kind::StartLocking, Kind::AcquireReturned]) {
            self.locks_blind_until = self.locks_blind_until.max(until);
            self.open.values_mut().for_each(|open| open.locked = None);
        }
        if !counted || is_any(&[Kind::PageFaultUser, Kind::PageFaultKernel]) {
            self.blind_until = self.blind_until.max(until);
            self.open.values_mut().for_each(|open| open.whole = false);
        }
    }

    /// Whether the end of a fault that happens at this time will be known. `functions`: the model learns from function
    /// events of this time.
    const fn follows(&self, ts: u64, functions: bool) -> bool {
        match self.tells.ends {
            Ends::Unseen => false,
            Ends::Counted(_) => ts > self.blind_until,
            Ends::Functions => functions,
        }
    }

    /// Events of a kind are no longer recorded.
    pub(in crate::model) fn without(&mut self, kind: Kind) {
        let tells = &mut self.tells;
        match (kind, tells.ends) {
            (Kind::HandleMmFault | Kind::HandleMmFaultReturn, Ends::Functions)
            | (Kind::PageFaultsMin | Kind::PageFaultsMaj, Ends::Counted(_)) => tells.ends = Ends::Unseen,
            (Kind::LockMmAndFindVma, _) => tells.look = false,
            (Kind::HandleUserfault, _) => tells.userfaultfd = false,
            _ => {}
        }
    }

    /// A task has acquired an mmap_lock.
    #[inline]
    pub(in crate::model) fn locked(&mut self, tid: u32, mm: u64) {
        if let Ends::Counted(_) = self.tells.ends
            && let Some(open) = self.open.get_mut(&tid).filter(|open| open.fault.mm == mm)
        {
            open.locked = open.locked.map(|locked| locked.saturating_add(1));
        }
    }

    /// The open fault of a task, if it is about this page.
    fn at(&mut self, tid: u32, addr: u64) -> Option<&mut Open> {
        self.open.get_mut(&tid).filter(|open| open.fault.addr >> 12 == addr >> 12)
    }
}

impl Model {
    /// Returns the fault of a task that was not seen to be handled yet.
    #[must_use]
    pub fn open_fault(&self, tid: u32) -> Option<&Fault> {
        self.open_faults.open.get(&tid).map(|open| &open.fault)
    }

    fn swap_types(&self) -> SwapTypes {
        let migration = self.migration_types;
        if self.open_faults.old_swap_types {
            SwapTypes { marker: 30, poison: Some(31), migration }
        } else {
            SwapTypes { marker: 31, poison: None, migration }
        }
    }

    /// Returns the VMA at the address of the fault, by the mappings that are known: for faults at which the tree of
    /// VMAs could not be read.
    fn mapped(&self, addr: u64) -> Mapped {
        match self.mappings.faulted() {
            At::Unknown => Mapped::Unknown,
            At::Mapping(found) if self.mappings.is_doubtful(&found.mapping) => Mapped::Unknown,
            // Below a stack: whether it may grow so far is not known here.
            At::Mapping(found) if addr < found.start => Mapped::Unknown,
            At::Mapping(found) => Mapped::Stored(found.mapping.facts()),
            At::Outside => Mapped::Nothing,
        }
    }

    /// A page fault, in user mode or not. `history`: what is known of its page from before. `functions`: the model learns
    /// from function events of this time.
    pub(in crate::model) fn fault_opens(
        &mut self,
        record: &Record,
        history: Cause,
        user: bool,
        call: Option<Call>,
        functions: bool,
    ) {
        /// x86 page-fault error code: the access was a write.
        const WRITE: u32 = 2;
        // Both kinds of fault have these fields. This function does not read the fields that only one kind has.
        let event::PageFaultUser { addr, ip, error_code, walk, .. } = event::PageFaultUser::of(record);
        let vma_facts = match record.kind() {
            Some(Kind::PageFaultUser) => event::PageFaultUser::of(record).vma_facts,
            _ => event::PageFaultKernel::of(record).vma_facts,
        };
        let Record { ts, mm, tgid, tid, .. } = *record;
        let write = error_code & WRITE != 0;
        // The program's reading of the tree of VMAs comes first: an munmap stores nothing there that an event would
        // show.
        let at = match (Mapped::of_number(vma_facts), self.mappings.faulted()) {
            (Mapped::Nothing, _) => At::Outside,
            (Mapped::BelowStack, _) => self.mappings.stack_above(mm, addr).unwrap_or(At::Unknown),
            (Mapped::Unknown, At::Mapping(found)) if addr < found.start => At::Unknown,
            (_, at) => *at,
        };
        let fault = Fault { tid, tgid, mm, ts, addr, ip, write, user, call, at, cause: history };
        let tells = self.open_faults.tells;
        // One that is not handled leaves what the task is in the middle of as it is.
        let followed = tells.walk || matches!(tells.ends, Ends::Counted(_));
        if !followed || matches!(history, Cause::KernelAddress | Cause::PagefaultDisabled) {
            self.settled(fault, history);
            return;
        }
        self.fault_left(tid);
        let follows = self.open_faults.follows(ts, functions) && self.open_faults.open.len() < OPEN_MAX;
        let (types, tells_userfaultfd) = (self.swap_types(), tells.userfaultfd && functions);
        let exception = Exception { walk, code: error_code, vma_facts, tells_userfaultfd, types, history };
        if !follows && let Some(cause) = self.open_faults.kinds.kept(&exception) {
            self.settled(fault, cause);
            return;
        }
        let read = Mapped::of_number(vma_facts);
        let seen = Seen {
            walk: Walk::of_number(walk).filter(|_| tells.walk),
            code: error_code,
            mapped: if read == Mapped::Unknown { self.mapped(addr) } else { read },
            end: End::Unseen,
            major: None,
            met_migration: false,
            met_userfaultfd: false,
            tells_userfaultfd,
            at_once: false,
            counted_major: false,
            grew: false,
            huge: false,
        };
        if follows {
            let locked = (ts > self.open_faults.locks_blind_until).then_some(0);
            let open = Open { fault, seen, called: false, looked: false, locked, whole: true };
            self.open_faults.open.insert(tid, open);
        } else {
            // Its end is not seen.
            let cause = self.open_faults.kinds.of(&seen, types, history);
            if read != Mapped::Unknown {
                self.open_faults.kinds.keep(exception, cause);
            }
            self.settled(fault, cause);
        }
    }

    /// The task is seen where the fault that it had open is over, though its end was not seen.
    #[inline]
    pub(in crate::model) fn fault_left(&mut self, tid: u32) {
        if !self.open_faults.open.is_empty() {
            self.open_fault_left(tid);
        }
    }

    fn open_fault_left(&mut self, tid: u32) {
        let Some(open) = self.open_faults.open.remove(&tid) else { return };
        if !open.whole || open.called || self.open_faults.tells.ends != Ends::Functions {
            // A signal has ended it before it was tried again, or an event is missing.
            self.settle_fault(&open, End::Unseen);
        } else if open.fault.user || open.looked {
            self.settle_fault(&open, End::Failed);
        } else if self.open_faults.tells.look {
            // Neither looked up nor handled: the kernel was not allowed to sleep (`faulthandler_disabled()`).
            self.settled(open.fault, Cause::PagefaultDisabled);
        } else {
            self.settle_fault(&open, End::Unseen);
        }
    }

    /// `lock_mm_and_find_vma()` has returned; without a VMA, the access fails.
    pub(in crate::model) fn fault_looked(&mut self, record: &Record) {
        let event::LockMmAndFindVma { addr, vma } = event::LockMmAndFindVma::of(record);
        let Some(open) = self.open_faults.at(record.tid, addr) else { return };
        open.looked = true;
        if vma == 0
            && open.whole
            && !open.called
            && let Some(open) = self.open_faults.open.remove(&record.tid)
        {
            self.settle_fault(&open, End::Failed);
        }
    }

    /// `handle_mm_fault()` is entered.
    pub(in crate::model) fn fault_called(&mut self, record: &Record) {
        let event::HandleMmFault { addr, in_trap, .. } = event::HandleMmFault::of(record);
        if in_trap && let Some(open) = self.open_faults.at(record.tid, addr) {
            open.called = true;
        }
    }

    /// `handle_mm_fault()` has returned.
    pub(in crate::model) fn fault_returned(&mut self, record: &Record) {
        let event::HandleMmFaultReturn { addr, fault_result, .. } = event::HandleMmFaultReturn::of(record);
        let Some(open) = self.open_faults.at(record.tid, addr).filter(|open| open.called) else { return };
        open.seen.major = Some(open.seen.major == Some(true) || fault_result & MAJOR != 0);
        if fault_result & RETRY == 0
            && let Some(open) = self.open_faults.open.remove(&record.tid)
        {
            self.settle_fault(&open, if fault_result & ERROR == 0 { End::Handled } else { End::Failed });
        }
    }

    /// The kernel has counted a fault at this address as handled.
    ///
    /// It is the open one if that is at the same address: one that fails is not counted, and each fault of the task has
    /// closed the one before it.
    pub(in crate::model) fn fault_accounted(&mut self, record: &Record, addr: u64, major: bool) {
        let Ends::Counted(counted) = self.open_faults.tells.ends else { return };
        self.effect.what = What::Accounted { since: None, user: false };
        let Entry::Occupied(open) = self.open_faults.open.entry(record.tid) else { return };
        if open.get().fault.addr != addr {
            return;
        }
        let mut open = open.remove();
        if open.whole {
            open.seen.major = counted.was_read(major, open.locked);
            open.seen.at_once = counted.at_once(open.fault.user, open.locked);
            open.seen.counted_major = major && counted.known;
            self.effect.what = What::Accounted { since: Some(open.fault.ts), user: open.fault.user };
        }
        self.settle_fault(&open, End::Handled);
    }

    /// A fault meets a migration entry. The address may be that of a huge page.
    pub(in crate::model) fn fault_met_migration(&mut self, tid: u32) {
        if let Some(open) = self.open_faults.open.get_mut(&tid).filter(|open| open.called) {
            open.seen.met_migration = true;
        }
    }

    /// `handle_userfault()` is entered.
    pub(in crate::model) fn fault_met_userfaultfd(&mut self, record: &Record) {
        if let Some(open) = self.open_faults.open.get_mut(&record.tid).filter(|open| open.called) {
            open.seen.met_userfaultfd = true;
        }
    }

    /// `do_huge_pmd_anonymous_page()` has returned.
    pub(in crate::model) fn fault_huge(&mut self, record: &Record) {
        let event::HugePmdAnonymous { fault_result, .. } = event::HugePmdAnonymous::of(record);
        if fault_result & (ERROR | RETRY) == 0
            && let Some(open) = self.open_faults.open.get_mut(&record.tid).filter(|open| open.called)
        {
            open.seen.huge = true;
        }
    }

    /// A stack was to grow down.
    pub(in crate::model) fn fault_grew(&mut self, record: &Record) {
        let event::ExpandStack { addr, ret, .. } = event::ExpandStack::of(record);
        if ret == 0
            && let Some(open) = self.open_faults.at(record.tid, addr)
        {
            open.seen.grew = true;
        }
    }

    #[inline]
    fn settle_fault(&mut self, open: &Open, end: End) {
        let seen = Seen { end: if open.whole { end } else { End::Unseen }, ..open.seen };
        let types = self.swap_types();
        let cause = self.open_faults.kinds.of(&seen, types, open.fault.cause);
        self.settled(open.fault, cause);
    }

    /// Counts a fault, which is of this kind.
    #[inline]
    fn settled(&mut self, fault: Fault, cause: Cause) {
        self.causes[cause as usize] += 1;
        let [first, second] = &mut self.effect.faults;
        *(if first.is_none() { first } else { second }) = Some(Fault { cause, ..fault });
    }

    /// Takes the end of the stream: returns the faults that are still open, oldest first, with the kinds that they have as
    /// far as they were seen.
    pub(crate) fn finish_faults(&mut self) -> Vec<Fault> {
        let mut left: Vec<Open> = self.open_faults.open.drain().map(|(_, open)| open).collect();
        left.sort_unstable_by_key(|open| (open.fault.ts, open.fault.tid));
        let types = self.swap_types();
        let faults: Vec<Fault> = left
            .into_iter()
            .map(|open| Fault { cause: kind(&open.seen, types, open.fault.cause), ..open.fault })
            .collect();
        faults.iter().for_each(|fault| self.causes[fault.cause as usize] += 1);
        faults
    }
}

#[cfg(test)]
mod tests {
    use mmtrace_common::VmaFacts;
    use mmtrace_testing::random::Random;

    use super::*;
    use crate::context::Kernel;
    use crate::verdict::Sink;

    #[test]
    fn a_kind_that_was_kept_is_that_of_the_table() {
        let mut context = Context::with_every_probe(Kernel { release: "6.12.0".to_owned(), ..Kernel::default() });
        // Nothing shows the end of a fault.
        let ends =
            [Kind::HandleMmFault, Kind::HandleMmFaultReturn, Kind::PageFaultsMin, Kind::PageFaultsMaj].map(Kind::name);
        context.probes.retain(|probe| !ends.contains(&probe.event.as_str()));
        let (mut model, mut sink) = (Model::new(&context), Sink::new(&context));
        let (mut plain, mut other) = (model.clone(), sink.clone());
        let mut random = Random(5);
        for ts in 0..20_000 {
            let mut record = Record { ts: (1 << 40) + ts * 1000, mm: 4096, tgid: 7, tid: 7, ..Record::default() };
            let (addr, walk) = (random.below(4) << 12, random.pick(&[0, 8 | 1, 8 | 2, 8 | 3, 8 | 4]));
            let facts = [0x73, 0x273, 0xfb].map(|flags| VmaFacts::new(flags, false, false, 0).number());
            let vma_facts = random.pick(&[0, facts[0], facts[1], facts[2]]);
            let error_code = random.pick(&[4, 6, 7, 20]);
            event::PageFaultUser { addr, ip: 1, error_code, walk, vma_facts }.write(&mut record);
            let faults = model.apply(&record, &mut sink).faults;
            plain.open_faults.kinds = Kinds::default();
            assert_eq!(faults, plain.apply(&record, &mut other).faults, "{record:?}");
        }
        assert!(format!("{:?}", model.open_faults.kinds).contains("Exception"), "nothing was kept");
    }
}
