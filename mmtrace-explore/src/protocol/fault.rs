//! A page fault on an entry that is not present, and what it does with the lock that its caller took
//! (arch/x86/mm/fault.c, mm/memory.c, mm/filemap.c; 6.4 to 7.2).

use mmtrace_common::{Column, Kind};
use mmtrace_model::model::{invariant::Invariant, locks::exclusion::Mode, page_tables::entry::Pte};

use super::{
    Flow, Guard, Label, Local, Program, Protection, Slot,
    event::{Event, START},
    kernel::Kernel,
    migrate::{EntryWait, Folio, Until, folio_unlock, io_schedule, is_migration, migration_entry_wait, wait_event},
    mm::{Mm, mmap_read_lock, mmap_read_unlock},
    nolock::set_pte_seen,
    vma::{Flavour, Vma, lock_vma_under_rcu},
    walk::{self, Mapped, pte_offset_map_lock, pte_unmap_unlock},
};

/// The `VM_FAULT_*` bits that steps here test. The numbers are not the kernel's.
pub(crate) mod vm_fault {
    /// `VM_FAULT_RETRY`.
    pub(crate) const RETRY: u8 = 1;
    /// `VM_FAULT_COMPLETED`.
    pub(crate) const COMPLETED: u8 = 2;
    /// `VM_FAULT_VMA_UNLOCKED` of versions 1 and 2 of the series.
    pub(crate) const VMA_UNLOCKED: u8 = 4;
    /// `VM_FAULT_SIGSEGV`.
    pub(crate) const SIGSEGV: u8 = 8;

    /// The kernel's numbers.
    #[must_use]
    pub(crate) fn number(bits: u8) -> u64 {
        let set = |bit: u8, number: u64| if bits & bit != 0 { number } else { 0 };
        set(RETRY, 0x400) | set(COMPLETED, 0x4000) | set(VMA_UNLOCKED, 0x8000) | set(SIGSEGV, 0x40)
    }

    /// Returns the names of the bits.
    #[must_use]
    pub(crate) fn names(bits: u8) -> String {
        let all = [
            (RETRY, "VM_FAULT_RETRY"),
            (COMPLETED, "VM_FAULT_COMPLETED"),
            (VMA_UNLOCKED, "VM_FAULT_VMA_UNLOCKED"),
            (SIGSEGV, "VM_FAULT_SIGSEGV"),
        ];
        let names: Vec<&str> = all.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
        if names.is_empty() { "0".to_owned() } else { names.join(" | ") }
    }
}

/// The moment at which a fault that waits for a migration drops the VMA lock (`w.…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MigrationWait {
    /// It is held.
    Hold,
    /// It is dropped before `migration_entry_wait()`.
    DropEarly,
    /// It is dropped once the PTL is held and the entry seen.
    DropUnderPtl,
    /// It is dropped early, within an RCU section that lasts until the PTL is held, or until the PTL is dropped.
    DropUnderRcu(Until),
}

/// The promise about the VMA lock that the result of a fault makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// It is held at the end, whatever the result (6.4).
    Held,
    /// It is dropped iff `VM_FAULT_VMA_UNLOCKED` is set (versions 1 and 2 of the series).
    Unlocked,
    /// It is dropped iff `VM_FAULT_RETRY` or `VM_FAULT_COMPLETED` is set (from 6.6 on).
    RetryOrCompleted,
}

/// The results of `handle_mm_fault()` after which the architecture's code releases the VMA lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// In any case.
    Always,
    /// Unless `VM_FAULT_VMA_UNLOCKED`.
    UnlessUnlocked,
    /// Unless `VM_FAULT_RETRY` or `VM_FAULT_COMPLETED`.
    UnlessRetryOrCompleted,
}

/// Whether a fault that returns `VM_FAULT_RETRY` keeps the VMA lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// It returns `VM_FAULT_RETRY` at once, with the lock held (`do_swap_page()` of 6.4).
    Keeps,
    /// It drops the lock and waits for the folio.
    Drops,
}

/// The continuation of a fault in user mode after a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// It is tried again.
    None,
    /// It returns to user mode, because a signal is pending.
    Pending,
}

/// The convention by which a fault signals that it has dropped the lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Convention {
    /// The promise that the result makes.
    pub(crate) promise: Promise,
    /// Whether a fault that returns `VM_FAULT_RETRY` keeps the lock.
    pub(crate) retry: Retry,
    /// The results after which the architecture's code releases the lock.
    pub(crate) release: Release,
}

impl Convention {
    /// As merged for 6.6.
    pub(crate) const MERGED: Self =
        Self { promise: Promise::RetryOrCompleted, retry: Retry::Drops, release: Release::UnlessRetryOrCompleted };
}

/// A fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// The mm.
    pub(crate) mm: Mm,
    /// The VMA that the address is in.
    pub(crate) vma: Vma,
    /// The kernel whose VMA lock it has.
    pub(crate) flavour: Flavour,
    /// The PMD entry.
    pub(crate) pmd: Slot,
    /// The folio that the entry is about.
    pub(crate) folio: Folio,
    /// The moment at which it drops the VMA lock if it waits for a migration.
    pub(crate) wait: MigrationWait,
    /// The convention by which it signals that it has dropped the lock.
    pub(crate) convention: Convention,
    /// The continuation after a retry.
    pub(crate) signal: Signal,
    /// Bit of [`Kernel::reach`] for "it waits for the folio".
    pub(crate) waits: u8,
    /// Whether the task can stay in user mode for ever. Then the question is who waits for a lock that it left held.
    pub(crate) stays: bool,
    /// Whether `sanitize_fault_flags()` refuses `FAULT_FLAG_VMA_LOCK` with `FAULT_FLAG_RETRY_NOWAIT`.
    pub(crate) sanitized: bool,
}

/// The lock that a fault runs under.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FaultLock {
    /// `FAULT_FLAG_VMA_LOCK`.
    Vma,
    /// The mmap_lock for read.
    Mmap(Guard),
}

/// `FAULT_FLAG_*` of one attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flags {
    /// `FAULT_FLAG_VMA_LOCK`, or not.
    pub(crate) lock: FaultLock,
    /// The variable that is set with `FAULT_FLAG_TRIED`; `None` if that is never set.
    pub(crate) tried: Option<Local>,
    /// `FAULT_FLAG_RETRY_NOWAIT`.
    pub(crate) nowait: bool,
}

impl Fault {
    /// Emits that `handle_mm_fault()` is entered: by a fault in user mode, or by gup (`FAULT_FLAG_RETRY_NOWAIT`).
    fn begins(self, flags: Flags, retried: bool) -> Event {
        let mut event = self.vma.event(Kind::HandleMmFault);
        let bits = [
            (true, 0x4),
            (flags.nowait, 0x8),
            (retried, 0x20),
            (!flags.nowait, 0x40),
            (matches!(flags.lock, FaultLock::Vma), 0x1000),
        ];
        let number = bits.iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum();
        event.fields.extend([
            (Column::Addr, START),
            (Column::FaultFlags, number),
            (Column::InTrap, u64::from(!flags.nowait)),
        ]);
        event
    }

    /// Emits that `handle_mm_fault()` returns.
    fn ends(self, fault: u8) -> Event {
        let mut event = self.vma.event(Kind::HandleMmFaultReturn);
        event.fields.extend([(Column::Addr, START), (Column::FaultResult, vm_fault::number(fault))]);
        event
    }

    fn is_held(self, k: &mut Kernel<'_>, lock: FaultLock) -> bool {
        match lock {
            FaultLock::Vma => self.vma.is_granted(k),
            // If the protection is left out, there is no lock to say anything about.
            FaultLock::Mmap(guard) => !guard.is_active() || k.holds(self.mm.mmap_lock).is_some(),
        }
    }

    /// Checks that the result says whether the lock was dropped (I-FLAG).
    fn check_flag(self, k: &mut Kernel<'_>, flags: Flags, fault: u8) {
        if let FaultLock::Mmap(guard) = flags.lock
            && !guard.is_active()
        {
            return;
        }
        let held = self.is_held(k, flags.lock);
        let retry = vm_fault::RETRY | vm_fault::COMPLETED;
        let dropped = match (flags.lock, self.convention.promise) {
            (FaultLock::Mmap(_), _) if flags.nowait => fault & vm_fault::COMPLETED != 0,
            (FaultLock::Mmap(_), _) | (_, Promise::RetryOrCompleted) => fault & retry != 0,
            (_, Promise::Held) => false,
            (_, Promise::Unlocked) => fault & vm_fault::VMA_UNLOCKED != 0,
        };
        if held == dropped {
            let what = if held { "held" } else { "dropped" };
            let why = format!("handle_mm_fault() returns {} with the lock {what}", vm_fault::names(fault));
            k.violate(Invariant::Flag, why);
        }
    }

    /// Returns the result of a wait that has dropped the lock, if the fault need not be tried again.
    const fn completed(self) -> u8 {
        match self.convention.promise {
            Promise::Unlocked => vm_fault::VMA_UNLOCKED,
            _ => vm_fault::COMPLETED,
        }
    }

    /// Returns the result of a retry that has dropped the lock.
    const fn retry(self, lock: FaultLock) -> u8 {
        match (lock, self.convention.promise) {
            (FaultLock::Vma, Promise::Unlocked) => vm_fault::RETRY | vm_fault::VMA_UNLOCKED,
            _ => vm_fault::RETRY,
        }
    }

    const fn keeps(self, k: u8) -> bool {
        match self.convention.release {
            Release::Always => false,
            Release::UnlessUnlocked => k & vm_fault::VMA_UNLOCKED != 0,
            Release::UnlessRetryOrCompleted => k & (vm_fault::RETRY | vm_fault::COMPLETED) != 0,
        }
    }
}

/// `do_user_addr_fault()` of a fault in user mode: with the VMA lock, then with the mmap_lock.
pub(crate) fn do_user_addr_fault(p: &mut Program, f: Fault) {
    p.function("do_user_addr_fault", |p| {
        let (mmap, done) = (p.label(), p.label());
        let fault = p.local("fault", 0);
        lock_vma_under_rcu(p, f.vma, f.flavour, mmap);
        handle_mm_fault(p, f, Flags { lock: FaultLock::Vma, tried: None, nowait: false }, fault);
        let text = match f.convention.release {
            Release::Always => "vma_end_read(vma)",
            Release::UnlessUnlocked => "if (!(fault & VM_FAULT_VMA_UNLOCKED)) vma_end_read(vma)",
            Release::UnlessRetryOrCompleted => {
                "if (!(fault & (VM_FAULT_RETRY | VM_FAULT_COMPLETED))) vma_end_read(vma)"
            }
        };
        p.run(text, move |k| {
            if f.keeps(k.local(fault)) {
                k.note(|| "left to handle_mm_fault()".to_owned());
            } else {
                f.vma.end_read_now(k);
            }
        });
        let text = match f.signal {
            Signal::None => "if (!(fault & VM_FAULT_RETRY)) return",
            Signal::Pending => "fault_signal_pending(fault, regs): return",
        };
        p.branch(text, done, move |k| f.signal == Signal::Pending || k.local(fault) & vm_fault::RETRY == 0);
        p.bind(mmap);
        with_mmap_lock(p, f, fault, done, Release::UnlessRetryOrCompleted);
        p.bind(done);
        back_to_user(p, f);
    });
}

/// [`do_user_addr_fault`] with the mmap_lock alone, which the convention is then about.
pub(crate) fn do_user_addr_fault_mmap(p: &mut Program, f: Fault) {
    p.function("do_user_addr_fault", |p| {
        let (fault, done) = (p.local("fault", 0), p.label());
        with_mmap_lock(p, f, fault, done, f.convention.release);
        p.bind(done);
        back_to_user(p, f);
    });
}

fn with_mmap_lock(p: &mut Program, f: Fault, fault: Local, done: Label, release: Release) {
    let tried = p.local("FAULT_FLAG_TRIED", 0);
    let retry = p.mark();
    let (found, out) = (p.label(), p.label());
    let guard = p.function("lock_mm_and_find_vma", |p| {
        let guard = mmap_read_lock(p, f.mm);
        p.branch("vma = find_vma(mm, addr)", found, move |k| f.vma.find(k, 0));
        // If there is no VMA, the task gets SIGSEGV.
        p.step("mmap_read_unlock(mm); return NULL", move |k| {
            if guard.is_active() {
                f.mm.read_unlock_now(k);
            }
            Flow::Goto(done)
        });
        guard
    });
    p.bind(found);
    handle_mm_fault(p, f, Flags { lock: FaultLock::Mmap(guard), tried: Some(tried), nowait: false }, fault);
    if release != Release::Always {
        p.branch("if (fault & VM_FAULT_COMPLETED) return", done, move |k| k.local(fault) & vm_fault::COMPLETED != 0);
        p.step("if (fault & VM_FAULT_RETRY) { flags |= FAULT_FLAG_TRIED; goto retry }", move |k| {
            if k.local(fault) & vm_fault::RETRY == 0 {
                return Flow::Next;
            }
            k.set_local(tried, 1);
            Flow::Goto(retry)
        });
    }
    p.bind(out);
    mmap_read_unlock(p, f.mm, guard);
}

fn back_to_user(p: &mut Program, f: Fault) {
    p.run("return to user mode", move |k| {
        if f.vma.is_granted(k) && !f.stays {
            k.violate(Invariant::HeldForever, "the VMA lock is still held, and nobody is there to release it");
        }
    });
}

/// `handle_mm_fault()`: its result is in `fault`.
pub(crate) fn handle_mm_fault(p: &mut Program, f: Fault, flags: Flags, fault: Local) {
    p.function("handle_mm_fault", |p| {
        let out = p.label();
        p.run("handle_mm_fault(vma, addr, flags, regs)", move |k| {
            k.set_local(fault, 0);
            let retried = flags.tried.is_some_and(|tried| k.local(tried) != 0);
            k.emit(|| f.begins(flags, retried));
            f.vma.access(k, "handle_mm_fault()");
        });
        if f.sanitized && flags.nowait && matches!(flags.lock, FaultLock::Vma) {
            p.function("sanitize_fault_flags", |p| {
                let text = "FAULT_FLAG_VMA_LOCK with FAULT_FLAG_RETRY_NOWAIT: VM_FAULT_SIGSEGV";
                p.recheck(text, out, move |k| {
                    k.set_local(fault, vm_fault::SIGSEGV);
                    false
                });
            });
        }
        handle_pte_fault(p, f, flags, fault, out);
        p.bind(out);
        p.run("return ret", move |k| {
            let ret = k.local(fault);
            k.note(|| vm_fault::names(ret));
            k.emit(|| f.ends(ret));
            f.check_flag(k, flags, ret);
        });
    });
}

fn handle_pte_fault(p: &mut Program, f: Fault, flags: Flags, fault: Local, out: Label) {
    let orig = p.local("orig_pte", 0);
    p.function("handle_pte_fault", |p| {
        let to = Mapped::new(p);
        let rcu = walk::pte_offset_map(p, f.pmd, to, out);
        p.run("vmf->orig_pte = ptep_get_lockless(vmf->pte)", move |k| {
            let pte = k.pte(Slot { table: k.table(k.local(to.table)), index: 0 });
            k.set_local(orig, pte.encode());
        });
        walk::pte_unmap(p, rcu);
        p.branch("pte_none() or pte_present(vmf->orig_pte): nothing to wait for", out, move |k| {
            matches!(Pte::decode(k.local(orig)), Pte::None | Pte::Present { .. })
        });
    });
    p.function("do_swap_page", |p| {
        let swap = p.label();
        p.branch("!is_migration_entry(entry)", swap, move |k| {
            let migrates = is_migration(Pte::decode(k.local(orig)));
            if migrates {
                k.emit(|| wait_event(Kind::MigrationEntryWait, f.mm.id));
            }
            !migrates
        });
        wait_for_migration(p, f, flags, fault);
        p.goto("goto out", out);
        p.bind(swap);
        swap_in(p, f, flags, fault, orig, out);
    });
}

fn wait_for_migration(p: &mut Program, f: Fault, flags: Flags, fault: Local) {
    let mut wait = EntryWait { pmd: f.pmd, folio: f.folio, end_read: None, rcu: None, reached: f.waits, mm: f.mm.id };
    // The series did not change the mmap_lock's convention.
    if matches!(flags.lock, FaultLock::Vma) {
        match f.wait {
            MigrationWait::Hold => {}
            MigrationWait::DropUnderPtl => wait.end_read = Some((f.vma, fault, f.completed())),
            MigrationWait::DropEarly | MigrationWait::DropUnderRcu(_) => {
                if let MigrationWait::DropUnderRcu(until) = f.wait {
                    wait.rcu = Some((p.rcu_read_lock(), until));
                }
                p.run("vma_end_read(vma)", move |k| {
                    f.vma.end_read_now(k);
                    k.set_local(fault, f.completed());
                });
            }
        }
    }
    migration_entry_wait(p, wait);
}

fn swap_in(p: &mut Program, f: Fault, flags: Flags, fault: Local, orig: Local, out: Label) {
    let vma_mode = matches!(flags.lock, FaultLock::Vma);
    if vma_mode && f.convention.retry == Retry::Keeps {
        p.step("if (vmf->flags & FAULT_FLAG_VMA_LOCK) ret = VM_FAULT_RETRY", move |k| {
            k.set_local(fault, vm_fault::RETRY);
            Flow::Goto(out)
        });
        return;
    }
    let (locked, again) = (p.label(), p.label());
    let folio = f.folio;
    let guard =
        p.function("folio_lock_or_retry", |p| {
            let text = "folio_trylock(folio)";
            let guard = p.protect(Protection::Lock, text);
            if guard.is_active() {
                p.branch(text, locked, move |k| k.trylock(folio.lock, Mode::Write));
                p.function("__folio_lock_or_retry", |p| {
                    if let Some(tried) = flags.tried {
                        p.branch("!fault_flag_allow_retry_first(flags)", again, move |k| k.local(tried) != 0);
                    }
                    if flags.nowait {
                        p.step("FAULT_FLAG_RETRY_NOWAIT: return VM_FAULT_RETRY", move |k| {
                            k.reach(f.waits);
                            k.set_local(fault, vm_fault::RETRY);
                            Flow::Goto(out)
                        });
                        return;
                    }
                    p.run("release_fault_lock(vmf)", move |k| {
                        match flags.lock {
                            FaultLock::Vma => f.vma.end_read_now(k),
                            FaultLock::Mmap(guard) if guard.is_active() => f.mm.read_unlock_now(k),
                            FaultLock::Mmap(_) => {}
                        }
                        k.set_local(fault, f.retry(flags.lock));
                    });
                    p.function("folio_wait_locked", |p| {
                        p.run("__add_wait_queue_entry_tail(q, wait)", move |k| {
                            folio.enqueue(k);
                            k.reach(f.waits);
                        });
                        io_schedule(p, folio);
                    });
                    p.goto("return VM_FAULT_RETRY", out);
                    p.bind(again);
                    p.step("__folio_lock(folio)", move |k| {
                        if k.lock(folio.lock, Mode::Write) { Flow::Next } else { Flow::Block }
                    });
                });
            }
            guard
        });
    p.bind(locked);
    let (to, null, nomap) = (Mapped::new(p), p.label(), p.label());
    let pte = pte_offset_map_lock(p, f.pmd, to, null);
    let at = move |k: &Kernel<'_>| Slot { table: k.table(k.local(to.table)), index: 0 };
    p.recheck("pte_same(ptep_get(vmf->pte), vmf->orig_pte)", nomap, move |k| k.pte(at(k)).encode() == k.local(orig));
    p.run("set_pte_at(vmf->pte)", move |k| set_pte_seen(k, at(k), k.local(orig), Pte::present(0)));
    p.bind(nomap);
    pte_unmap_unlock(p, pte);
    p.bind(null);
    folio_unlock(p, folio, guard);
}
