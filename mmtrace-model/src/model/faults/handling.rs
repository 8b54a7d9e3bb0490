//! Calls of `handle_mm_fault()` (mm/memory.c), and the locks that a task holds during them.
//!
//! A fault comes with the VMA lock (VMA mode) or the mmap_lock (mmap mode). A fault that returns RETRY or COMPLETED has
//! released the lock; any other result means that the task still has it. The caller acts on the result. Inlined code
//! releases the VMA lock, so no event shows the release. The mmap_lock goes through its tracepoints.
//!
//! A BPF program on top of the task may try to take the task's mmap_lock in an interrupt. It releases the lock later,
//! perhaps on top of another task (kernel/bpf/mmap_unlock_work.h). An acquisition or a release by a task may therefore
//! not be its own. Each rule below says why it is.

use mmtrace_common::{Record, View as _, event};

use crate::model::{
    Model,
    effect::{Handling, Outcome, Under, What},
    locks::{mmap_lock::LockStep, vma_lock::Intrusion},
};
use crate::{
    recent_map::RecentMap,
    verdict::{RuleId, Sink},
};

/// Tasks that are followed. All of them are forgotten beyond that number.
const CALLERS_MAX: usize = 1 << 14;
/// VMAs granted to a task that are remembered.
const GRANTS: usize = 4;
/// Read holds of one task that are followed.
const READS: usize = 4;

/// `enum fault_flag` (include/linux/mm_types.h).
mod flag {
    pub(in crate::model) const ALLOW_RETRY: u32 = 1 << 2;
    pub(in crate::model) const RETRY_NOWAIT: u32 = 1 << 3;
    pub(in crate::model) const TRIED: u32 = 1 << 5;
    pub(in crate::model) const USER: u32 = 1 << 6;
    pub(in crate::model) const REMOTE: u32 = 1 << 7;
    pub(in crate::model) const VMA_LOCK: u32 = 1 << 12;
}

/// `vm_fault_t`.
const RETRY: u32 = 0x400;
const COMPLETED: u32 = 0x4000;
const SIGSEGV: u32 = 0x40;
const MAJOR: u32 = 0x4;
/// Whether `handle_mm_fault()` has succeeded, by its result: this task or another one has filled the entry.
pub(in crate::model) const fn is_success(result: u32) -> bool {
    result & (RETRY | COMPLETED | ERROR) == 0
}

/// `VM_FAULT_ERROR`: OOM, SIGBUS, HWPOISON, HWPOISON_LARGE, SIGSEGV, FALLBACK.
const ERROR: u32 = 0x1 | 0x2 | 0x10 | 0x20 | SIGSEGV | 0x800;

/// A call that is open.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct Call {
    pub(in crate::model) mm: u64,
    pub(in crate::model) vma: u64,
    addr: u64,
    since: u64,
    under: Under,
    flags: u32,
    /// It handles a fault of the task itself.
    in_trap: bool,
    /// Time when the VMA lock was granted, in VMA mode, nanoseconds; otherwise unknown.
    granted: Option<u64>,
    /// Releases of the mmap_lock for read by the task, and whether each can only have been its own.
    releases: u8,
    own: bool,
    /// The task acquired the mmap_lock for read: an interrupt on top of it, or a driver.
    nested: bool,
    /// It was about to sleep for the mmap_lock.
    contended: bool,
    /// A folio was locked and the lock was dropped, so the fault must be retried.
    must_retry: bool,
}

impl Call {
    const fn has(&self, flags: u32) -> bool {
        self.flags & flags == flags
    }

    /// Whether the call runs under the VMA lock.
    pub(in crate::model) const fn in_vma_mode(&self) -> bool {
        self.has(flag::VMA_LOCK)
    }

    const fn handling(&self) -> Handling {
        let Self { mm, vma, addr, under, since, granted, .. } = *self;
        Handling { mm, vma, addr, under, since, granted }
    }
}

/// Since the task was last seen in user mode.
#[derive(Clone, Copy, Debug, Default)]
struct Trap {
    /// The following fields are complete, and are about a fault in user mode.
    known: bool,
    /// Time when it began, nanoseconds.
    since: u64,
    /// Whether it was handled under the VMA lock, and under the mmap_lock.
    tried: [bool; 2],
    /// Time when the VMA lock was refused, or given up with RETRY, nanoseconds.
    fell_back: Option<u64>,
}

/// A VMA that was granted to a task for read.
#[derive(Clone, Copy, Debug, Default)]
struct Grant {
    vma: u64,
    mm: u64,
    ts: u64,
}

/// A read hold of an mmap_lock.
#[derive(Clone, Copy, Debug, Default)]
struct Read {
    mm: u64,
    /// The task slept for the lock, so the hold is its own: an interrupt only tries.
    slept: bool,
}

/// The current work of a task.
#[derive(Clone, Debug, Default)]
struct Caller {
    call: Option<Call>,
    /// The task was seen where it has no open call and no VMA granted for one.
    known: bool,
    grants: [Grant; GRANTS],
    granted: usize,
    trap: Trap,
    /// Since it was last in user mode.
    reads: [Read; READS],
    reading: usize,
    /// The task is about to sleep for its mm's mmap_lock.
    sleeps: bool,
}

impl Caller {
    fn grant(&mut self, vma: u64, record: &Record) {
        self.grants[self.granted % GRANTS] = Grant { vma, mm: record.mm, ts: record.ts };
        self.granted += 1;
    }

    /// Takes out the last grant of this VMA, and returns its time, nanoseconds.
    fn granted(&mut self, vma: u64, mm: u64) -> Option<u64> {
        let newest = (self.granted.saturating_sub(GRANTS)..self.granted).rev();
        let at = newest.map(|n| n % GRANTS).find(|at| self.grants[*at].vma == vma && self.grants[*at].mm == mm)?;
        Some(std::mem::take(&mut self.grants[at]).ts)
    }

    fn forget_grants(&mut self) {
        if self.granted > 0 {
            self.grants = [Grant::default(); GRANTS];
            self.granted = 0;
        }
    }

    /// Adds an mmap_lock that the task got for read.
    fn acquired(&mut self, mm: u64) {
        if self.reading == READS {
            self.reading = 0;
        }
        self.reads[self.reading] = Read { mm, slept: std::mem::take(&mut self.sleeps) };
        self.reading += 1;
    }

    /// Whether the task holds this mm's lock after it slept to get it.
    fn has_slept_for(&self, mm: u64) -> bool {
        self.reads[..self.reading].iter().any(|r| r.mm == mm && r.slept)
    }

    /// Removes the last hold of this mm's lock.
    fn released(&mut self, mm: u64) {
        if let Some(at) = self.reads[..self.reading].iter().rposition(|r| r.mm == mm) {
            self.reads.copy_within(at + 1..self.reading, at);
            self.reading -= 1;
        }
    }

    /// The open call, if it is about this mm.
    fn call_on(&mut self, mm: u64) -> Option<&mut Call> {
        self.call.as_mut().filter(|c| c.mm == mm)
    }
}

/// Tasks, by their id.
#[derive(Clone, Debug, Default)]
pub(in crate::model) struct Callers(RecentMap<u32, Caller>);

impl Callers {
    #[inline]
    fn of(&mut self, tid: u32) -> &mut Caller {
        self.0.or_default_within(tid, CALLERS_MAX, RecentMap::clear)
    }

    /// Returns the current work of the task, if it is followed.
    #[inline]
    fn get(&mut self, tid: u32) -> Option<&mut Caller> {
        self.0.get_mut(tid)
    }

    pub(in crate::model) fn forget_task(&mut self, tid: u32) {
        self.0.remove(tid);
    }
}

impl Model {
    /// The task is in user mode, and about to handle a fault.
    pub(in crate::model) fn enters_trap(&mut self, record: &Record) {
        let caller = self.functions.callers.of(record.tid);
        caller.call = None;
        caller.known = true;
        caller.forget_grants();
        caller.reading = 0;
        caller.sleeps = false;
        caller.trap = Trap { known: true, since: record.ts, ..Trap::default() };
    }

    /// A fault in the kernel: later calls are not only about the last fault in user mode.
    pub(in crate::model) fn enters_kernel_trap(&mut self, record: &Record) {
        if let Some(caller) = self.functions.callers.get(record.tid) {
            caller.trap = Trap::default();
        }
    }

    /// `lock_vma_under_rcu()` has returned; 0 means that it granted no VMA.
    pub(in crate::model) fn granted(&mut self, record: &Record, vma: u64) {
        let caller = self.functions.callers.of(record.tid);
        if vma != 0 {
            caller.grant(vma, record);
            caller.trap.fell_back = None;
        } else if caller.trap.known {
            caller.trap.fell_back.get_or_insert(record.ts);
        }
    }

    /// `handle_mm_fault()` is entered.
    pub(in crate::model) fn fault_begins(&mut self, record: &Record, sink: &mut Sink) {
        self.alive(record, sink);
        let event::HandleMmFault { vma, addr, fault_flags, in_trap } = event::HandleMmFault::of(record);
        let mut call = Call {
            mm: record.mm,
            vma,
            addr,
            since: record.ts,
            under: Under::Vma,
            flags: fault_flags,
            in_trap,
            granted: None,
            releases: 0,
            own: true,
            nested: false,
            contended: false,
            must_retry: false,
        };
        let filtered = self.functions.filtered;
        let caller = self.functions.callers.of(record.tid);
        // A call inside a call, or the end of the last one was not recorded. A filter takes the
        // end by the task's own mm, and the begin by the VMA's.
        let whole = caller.call.take().is_none() && !(filtered && call.has(flag::REMOTE));
        if !whole {
            caller.known = false;
            caller.trap.known = false;
            return;
        }
        let known = std::mem::replace(&mut caller.known, false);
        if !call.in_vma_mode() {
            call.under = match caller.trap {
                // Only faults in user mode try the VMA lock.
                _ if !call.has(flag::USER) || !call.in_trap => Under::Mmap,
                Trap { known: false, .. } => Under::Unknown,
                Trap { fell_back: Some(_), .. } => Under::FellBack,
                Trap { .. } => Under::Mmap,
            };
            caller.call = Some(call);
            self.effect.what = What::Handles(call.handling());
            self.in_mmap_mode(addr, record, sink);
            self.in_trap(call, record, sink);
            return;
        }
        call.granted = caller.granted(vma, record.mm);
        let slept = caller.trap.known && caller.has_slept_for(record.mm);
        let overflown = caller.granted > GRANTS;
        if call.granted.is_some() {
            sink.held(RuleId::L10, record.ts);
        } else if known && !overflown && sink.is_open(RuleId::L10) {
            let what = format!(
                "task {} handles a fault at {addr:#x} under the lock of VMA {vma:#x}, which was not granted to it",
                record.tid
            );
            sink.violated(RuleId::L10, record, record.mm, &[record.tid], what);
            return;
        } else {
            sink.unjudged(RuleId::L10);
        }
        let task = self.tasks.get(record.tid);
        let writes = task.is_some_and(|t| t.writes.contains(&record.mm));
        if (writes || slept) && sink.is_open(RuleId::L16) {
            self.mm(record.mm).lock.taint();
            self.forget_writes(record.mm);
            let how = if writes { "write" } else { "read" };
            let what = format!(
                "task {} handles a fault at {addr:#x} under the VMA lock while it holds the mmap_lock of mm {:#x} for {how}",
                record.tid, record.mm
            );
            sink.violated(RuleId::L16, record, record.mm, &[record.tid], what);
            return;
        }
        if task.is_some_and(|t| t.anchored) {
            sink.held(RuleId::L16, record.ts);
        } else {
            sink.unjudged(RuleId::L16);
        }
        self.functions.callers.of(record.tid).call = Some(call);
        self.effect.what = What::Handles(call.handling());
        self.in_trap(call, record, sink);
    }

    /// A call under the mmap_lock: some task must hold it.
    fn in_mmap_mode(&mut self, addr: u64, record: &Record, sink: &mut Sink) {
        self.settle(record, sink);
        let lock = &mut self.mm(record.mm).lock;
        if lock.is_held() {
            sink.held(RuleId::L13, record.ts);
        } else if lock.is_complete() && sink.is_open(RuleId::L13) {
            lock.taint();
            self.forget_writes(record.mm);
            self.functions.callers.of(record.tid).call = None;
            let what = format!(
                "task {} handles a fault at {addr:#x} in mm {:#x} while no task holds its mmap_lock",
                record.tid, record.mm
            );
            sink.violated(RuleId::L13, record, record.mm, &[record.tid], what);
        } else {
            sink.unjudged(RuleId::L13);
        }
    }

    /// Counts the attempts at a fault in user mode.
    fn in_trap(&mut self, call: Call, record: &Record, sink: &mut Sink) {
        if !call.in_trap || !call.has(flag::USER) {
            return;
        }
        let trap = &mut self.functions.callers.of(record.tid).trap;
        if !trap.known {
            sink.unjudged(RuleId::L18);
            return;
        }
        let again = std::mem::replace(&mut trap.tried[usize::from(!call.in_vma_mode())], true);
        if !again || (!call.in_vma_mode() && call.has(flag::TRIED)) {
            sink.held(RuleId::L18, record.ts);
            return;
        }
        trap.known = false;
        let how = if call.in_vma_mode() { "under the VMA lock" } else { "under the mmap_lock, without TRIED," };
        let what = format!("task {} handles one fault at {:#x} {how} for the second time", record.tid, call.addr);
        sink.violated(RuleId::L18, record, record.mm, &[record.tid], what);
    }

    /// `handle_mm_fault()` has returned.
    pub(in crate::model) fn fault_ends(&mut self, record: &Record, sink: &mut Sink) {
        // A wait is over by now, even if its end was not seen.
        self.functions.waiting.forget_wait(record.tid);
        let caller = self.functions.callers.of(record.tid);
        let open = caller.call.take();
        caller.known = true;
        let event::HandleMmFaultReturn { vma, addr, fault_result: result } = event::HandleMmFaultReturn::of(record);
        let Some(call) = open.filter(|c| c.vma == vma && c.addr == addr) else { return };
        let dropped = result & (RETRY | COMPLETED) != 0;
        let outcome = match () {
            () if result & RETRY != 0 => Outcome::Retry,
            () if result & COMPLETED != 0 => Outcome::Completed,
            () if result & ERROR != 0 => Outcome::Error,
            () => Outcome::Done,
        };
        let ends_trap = call.in_trap && call.has(flag::USER) && caller.trap.known && outcome != Outcome::Retry;
        let trap = ends_trap.then_some(caller.trap.since);
        let (handling, major) = (call.handling(), result & MAJOR != 0);
        self.effect.what = What::Handled { call: handling, outcome, major, trap, fell_back: None };
        if call.has(flag::VMA_LOCK | flag::RETRY_NOWAIT) {
            if result & SIGSEGV != 0 {
                sink.held(RuleId::L11, record.ts);
            } else {
                let what = format!(
                    "handle_mm_fault() of task {} at {addr:#x} accepted both VMA_LOCK and RETRY_NOWAIT, and returned {result:#x}",
                    record.tid
                );
                sink.violated(RuleId::L11, record, call.mm, &[record.tid], what);
            }
            return;
        }
        if call.in_vma_mode() {
            sink.held(RuleId::L11, record.ts);
        }
        if call.must_retry {
            if result & RETRY != 0 {
                sink.held(RuleId::L34, record.ts);
            } else {
                let what = format!(
                    "task {} met a locked folio at {addr:#x} and dropped its lock, but handle_mm_fault() returned {result:#x} instead of RETRY",
                    record.tid
                );
                sink.violated(RuleId::L34, record, call.mm, &[record.tid], what);
                return;
            }
        }
        if call.in_vma_mode() {
            if result & RETRY != 0 && caller.trap.known {
                caller.trap.fell_back.get_or_insert(record.ts);
            }
            if !dropped {
                self.vma_was_kept(call, record, sink);
            }
            return;
        }
        if call.in_trap
            && result & RETRY == 0
            && let Some(since) = caller.trap.fell_back.take()
        {
            self.effect.what = What::Handled { call: handling, outcome, major, trap, fell_back: Some(since) };
        }
        self.lock_was_kept_or_dropped(call, result, record, sink);
    }

    /// The task held the VMA for read from the grant until now.
    fn vma_was_kept(&mut self, call: Call, record: &Record, sink: &mut Sink) {
        if call.contended {
            let what = format!(
                "task {} slept for the mmap_lock of mm {:#x} while it held VMA {:#x} for read",
                record.tid, call.mm, call.vma
            );
            sink.violated(RuleId::L17, record, call.mm, &[record.tid], what);
        } else {
            sink.held(RuleId::L17, record.ts);
        }
        let Some(since) = call.granted else { return };
        let Intrusion { written, freed } = self.functions.vmas.intrusion(call.vma, record.tid, since, record.ts);
        // A freed VMA is the graver finding. It comes first, and the other finding's sentence names it too.
        let locked = |(ts, tid)| format!("task {tid} locked it for write {} ns after it was granted", ts - since);
        let gone = |(ts, tid)| format!("task {tid} freed it {} ns after it was granted", ts - since);
        let both = match (written.map(locked), freed.map(gone)) {
            (Some(written), Some(freed)) => format!("{written}, and {freed}"),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => String::new(),
        };
        for (rule, intruder) in [(RuleId::L22, freed), (RuleId::L19, written)] {
            let Some((_, tid)) = intruder else {
                sink.held(rule, record.ts);
                continue;
            };
            self.functions.vmas.forget(call.vma);
            let what = format!("task {} held VMA {:#x} for read, and {both}", record.tid, call.vma);
            sink.violated(rule, record, call.mm, &[record.tid, tid], what);
        }
    }

    fn lock_was_kept_or_dropped(&mut self, call: Call, result: u32, record: &Record, sink: &mut Sink) {
        let dropped = result & (RETRY | COMPLETED) != 0;
        if dropped && (!call.has(flag::ALLOW_RETRY) || call.has(flag::RETRY_NOWAIT)) {
            // Callers differ in whether the lock is dropped then.
            return;
        }
        let rule = if dropped { RuleId::L14 } else { RuleId::L15 };
        let right = if dropped { call.releases > 0 } else { call.releases == 0 };
        if call.nested || (!right && !dropped && !call.own) {
            sink.unjudged(rule);
        } else if right {
            sink.held(rule, record.ts);
        } else if sink.is_open(rule) {
            self.mm(call.mm).lock.taint();
            self.forget_writes(call.mm);
            let how = if dropped { "without having released" } else { "after it released" };
            let what = format!(
                "handle_mm_fault() of task {} at {:#x} returned {result:#x} {how} the mmap_lock of mm {:#x}",
                record.tid, call.addr, call.mm
            );
            sink.violated(rule, record, call.mm, &[record.tid], what);
        }
    }

    /// `migration_entry_wait()` is entered.
    pub(in crate::model) fn wait_begins(&mut self, record: &Record, sink: &mut Sink) {
        let Some(call) = self.functions.callers.of(record.tid).call_on(record.mm).copied() else { return };
        let vma = if call.in_vma_mode() { call.vma } else { 0 };
        let event::MigrationEntryWait { addr, .. } = event::MigrationEntryWait::of(record);
        self.functions.waiting.begins(record.tid, record.mm, vma, addr, record.ts);
        if call.in_vma_mode() {
            return;
        }
        if call.releases == 0 {
            sink.held(RuleId::L33, record.ts);
        } else if call.nested || !call.own || !sink.is_open(RuleId::L33) {
            sink.unjudged(RuleId::L33);
        } else {
            self.mm(call.mm).lock.taint();
            self.forget_writes(call.mm);
            self.functions.callers.of(record.tid).call = None;
            let what = format!(
                "task {} waits for a migration at {addr:#x} after it released the mmap_lock of mm {:#x}",
                record.tid, record.mm
            );
            sink.violated(RuleId::L33, record, record.mm, &[record.tid], what);
        }
    }

    /// `__folio_lock_or_retry()` has returned.
    pub(in crate::model) fn folio_lock(&mut self, record: &Record) {
        let event::FolioLockOrRetry { fault_flags, fault_result } = event::FolioLockOrRetry::of(record);
        let first = fault_flags & (flag::ALLOW_RETRY | flag::RETRY_NOWAIT | flag::TRIED) == flag::ALLOW_RETRY;
        if first
            && fault_result as u32 & RETRY != 0
            && let Some(call) = self.functions.callers.get(record.tid).and_then(|c| c.call.as_mut())
        {
            call.must_retry = true;
        }
    }

    /// An event of an mmap_lock, before the lock's own state takes it.
    pub(in crate::model) fn follow_lock(&mut self, step: LockStep, write: bool, record: &Record, sink: &mut Sink) {
        match (step, write) {
            (LockStep::Starts, true) => {
                self.functions.waiting.lock_writer(record);
                self.locks_in_retract(record, sink);
            }
            (LockStep::Failed, true) => self.lock_writer_ends(record, sink),
            (LockStep::Acquired, true) => {
                self.lock_writer_ends(record, sink);
                self.vma_writes_end(record.mm);
                self.functions.vmas.section_begins(record);
            }
            (LockStep::Acquired, false) => {
                // No task can have it for write, or this is a downgrade.
                self.vma_writes_end(record.mm);
                if let Some(caller) = self.functions.callers.get(record.tid) {
                    caller.acquired(record.mm);
                    if let Some(call) = caller.call_on(record.mm) {
                        call.nested = true;
                    }
                }
            }
            (LockStep::Released, true) => {
                self.vma_writes_end(record.mm);
                self.delay_ends(record, sink);
                self.functions.retracting.released(record);
            }
            (LockStep::Released, false) => {
                self.delay_ends(record, sink);
                self.read_released(record);
            }
            (LockStep::Starts | LockStep::Failed, false) => {}
        }
    }

    fn read_released(&mut self, record: &Record) {
        let Some(caller) = self.functions.callers.get(record.tid) else { return };
        caller.released(record.mm);
        if let Some(call) = caller.call_on(record.mm) {
            // Only one reader is left, so the release cannot be on behalf of another.
            let lock = self.mms.get(record.mm).map(|mm| &mm.lock);
            let own = lock.is_some_and(|l| {
                l.is_complete() && l.only_reader().is_some_and(|r| r.tid == record.tid) && l.writer().is_none()
            });
            call.own &= own;
            call.releases = call.releases.saturating_add(1);
        }
    }

    /// The task is about to sleep for its mm's mmap_lock.
    pub(in crate::model) fn follow_contention(&mut self, record: &Record, sink: &mut Sink) {
        self.locks_in_retract(record, sink);
        if let Some(caller) = self.functions.callers.get(record.tid) {
            caller.sleeps = true;
            if let Some(call) = caller.call_on(record.mm) {
                call.contended = true;
            }
        }
    }
}
