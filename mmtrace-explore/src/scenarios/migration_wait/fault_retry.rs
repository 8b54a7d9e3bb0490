//! The results by which a fault tells its caller that it has dropped its lock (VM_FAULT_RETRY, VM_FAULT_COMPLETED):
//! SC-2.5, SC-2.6, SC-2.7 and SC-2.9.

use super::{Area, UNSEEN_INLINE};
use crate::{
    mailing_list::MIGRATION_WAIT,
    protocol::{
        Flow, Lock, Program, World,
        fault::{
            Convention, Fault, FaultLock, Flags, MigrationWait, Promise, Release, Retry, Signal, do_user_addr_fault,
            do_user_addr_fault_mmap, handle_mm_fault, vm_fault,
        },
        mm::{
            Mm, drop, mmap_read_lock, mmap_read_unlock, mmap_write_downgrade, mmap_write_lock, mmap_write_unlock, take,
        },
        rcu,
        unmap::TableFree,
        vma::{Flavour, Vma, lock_vma_under_rcu, vma_end_read, vma_mark_detached, vma_start_write},
    },
    scenario::{
        Expect::{Breaks, Safe},
        Live, Scenario, Setup, Variant,
    },
};
use mmtrace_model::model::{
    invariant::Invariant,
    locks::exclusion::{Mode, Rank},
    page_tables::entry::Pte,
};

const FLAVOUR: Flavour = Flavour::Refcount;

/// The convention of 6.4.
const HELD: Convention = Convention { promise: Promise::Held, retry: Retry::Keeps, release: Release::Always };
/// The convention of versions 1 and 2 of the series.
const UNLOCKED: Convention =
    Convention { promise: Promise::Unlocked, retry: Retry::Drops, release: Release::UnlessUnlocked };
/// The architecture's code was not changed.
const STALE_ARCH: Convention = Convention { release: Release::Always, ..Convention::MERGED };
/// The convention is changed only in the architecture's code.
const NAIVE: Convention = Convention { release: Release::UnlessRetryOrCompleted, ..HELD };
/// One producer was not changed.
const ONE_LEFT: Convention = Convention { retry: Retry::Keeps, ..Convention::MERGED };

/// Reads in the folio, which is locked from the beginning. The read may take longer than the munmap.
pub(super) fn io(s: &Setup<'_>, w: &mut World, area: Area, after_munmap: bool) {
    let mut p = s.program();
    p.function("end_swap_bio_read", |p| {
        p.step("folio_unlock(folio)", move |k| {
            if after_munmap && k.get(area.vma.freed) == 0 {
                return Flow::Block;
            }
            area.folio.unlock_now(k);
            Flow::Next
        });
    });
    let tid = w.thread("IO", p);
    area.folio.locked_by(w, tid);
}

fn fault(s: &Setup<'_>, f: Fault) -> Program {
    let mut p = s.program();
    do_user_addr_fault(&mut p, f);
    p
}

/// A fault on a swap entry or (`entry`) a migration entry, munmap, and the thread that has locked the folio.
fn sc_2_5(s: &Setup<'_>, entry: Pte, convention: Convention) -> World {
    let mut w = World::default();
    let area = Area::new(&mut w, entry);
    w.thread("T", fault(s, area.fault(FLAVOUR, MigrationWait::DropUnderPtl, convention)));
    w.thread("U", area.unmap(s, FLAVOUR, TableFree::Rcu));
    io(s, &mut w, area, false);
    rcu::grace_periods(&mut w);
    w
}

fn sc_2_5_stale(s: &Setup<'_>, munmap: bool) -> World {
    let mut w = World::default();
    let area = Area::new(&mut w, Pte::Swap(0));
    w.thread("T", fault(s, area.fault(FLAVOUR, MigrationWait::Hold, STALE_ARCH)));
    if munmap {
        w.thread("U", area.unmap(s, FLAVOUR, TableFree::Rcu));
    }
    io(s, &mut w, area, munmap);
    if munmap {
        rcu::grace_periods(&mut w);
    }
    w
}

/// The same with the mmap_lock. T has made the mapping.
fn sc_2_5_mmap(s: &Setup<'_>) -> World {
    let mut w = World::default();
    let area = Area::new(&mut w, Pte::Swap(0));
    let mut p = s.program();
    p.function("vm_mmap_pgoff", |p| {
        let guard = mmap_write_lock(p, area.mm);
        mmap_write_unlock(p, area.mm, guard);
    });
    do_user_addr_fault_mmap(&mut p, area.fault(FLAVOUR, MigrationWait::Hold, STALE_ARCH));
    w.thread("T", p);
    io(s, &mut w, area, false);
    w
}

fn sc_2_6(s: &Setup<'_>, convention: Convention, signal: Signal) -> World {
    let mut w = World::default();
    let area = Area::new(&mut w, Pte::Swap(0));
    let f = Fault { signal, ..area.fault(FLAVOUR, MigrationWait::Hold, convention) };
    match signal {
        Signal::Pending => {
            w.thread("T", fault(s, f));
        }
        Signal::None => {
            w.daemon("T", fault(s, Fault { stays: true, ..f }));
            w.thread("U", area.unmap(s, FLAVOUR, TableFree::Immediately));
        }
    }
    io(s, &mut w, area, false);
    w
}

/// The place at which a hugetlb fault gives up the VMA lock because it needs an anon_vma and cannot get the mmap_lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Drops {
    /// In the helper, `vmf_anon_prepare()`: before its own locks.
    InHelper,
    /// In `hugetlb_fault()`, after its own locks.
    Last,
}

fn sc_2_7(s: &Setup<'_>, drops: Drops, owner: bool) -> World {
    let mut w = World::default();
    let mm = Mm::new(&mut w, 1, "");
    let vma = Vma::new(&mut w, mm, "vma");
    let mutex = w.lock("hugetlb_fault_mutex", Some(Rank::HugetlbFaultMutex));
    let resv = owner.then(|| w.lock("resv_map.rw_sema", Some(Rank::HugetlbVmaLock)));
    let mut p = s.program();
    p.function("do_user_addr_fault", |p| {
        let (mmap, done) = (p.label(), p.label());
        let retry = p.local("VM_FAULT_RETRY", 0);
        lock_vma_under_rcu(p, vma, FLAVOUR, mmap);
        hugetlb_fault(p, HugetlbFault { mm, vma, mutex, resv, drops }, retry);
        p.branch("if (fault & VM_FAULT_RETRY): with the mmap_lock", mmap, move |k| k.local(retry) != 0);
        vma_end_read(p, vma);
        p.goto("return", done);
        p.bind(mmap);
        let guard = mmap_read_lock(p, mm);
        p.run("vma = find_vma(mm, addr)", |_| {});
        mmap_read_unlock(p, mm, guard);
        p.bind(done);
        p.run("return to user mode", |_| {});
    });
    w.thread("T", p);
    let mut p = s.program();
    p.function("do_vmi_munmap", |p| {
        let mmap = mmap_write_lock(p, mm);
        vma_start_write(p, vma, FLAVOUR);
        vma_mark_detached(p, vma, FLAVOUR);
        p.run("vma_iter_clear_gfp(&vmi)", move |k| vma.set_in_tree(k, false));
        mmap_write_downgrade(p, mm, mmap);
        p.function("__hugetlb_zap_begin", |p| {
            if let Some(resv) = resv {
                let guard = take(p, "down_write(&resv_map->rw_sema)", resv, Mode::Write);
                drop(p, "up_write(&resv_map->rw_sema)", resv, guard);
            }
        });
        p.run("vm_area_free(vma)", move |k| vma.free_now(k));
        mmap_read_unlock(p, mm, mmap);
    });
    w.thread("U", p);
    w
}

#[derive(Clone, Copy)]
struct HugetlbFault {
    mm: Mm,
    vma: Vma,
    mutex: Lock,
    resv: Option<Lock>,
    drops: Drops,
}

fn hugetlb_fault(p: &mut Program, f: HugetlbFault, retry: crate::protocol::Local) {
    let HugetlbFault { mm, vma, mutex, resv, drops } = f;
    p.function("hugetlb_fault", |p| {
        let out = p.label();
        let fault_mutex = take(p, "mutex_lock(&hugetlb_fault_mutex_table[hash])", mutex, Mode::Write);
        let resv_guard = p.lock("hugetlb_vma_lock_read(vma)", move |k| {
            vma.access(k, "hugetlb_vma_lock_read()");
            resv.is_none_or(|resv| k.lock(resv, Mode::Read))
        });
        p.function("vmf_anon_prepare", |p| {
            p.step("mmap_read_trylock(vma->vm_mm)", move |k| {
                vma.access(k, "vm_mm");
                if mm.try_read_now(k) {
                    return Flow::Next;
                }
                k.set_local(retry, 1);
                if drops == Drops::InHelper {
                    vma.end_read_now(k);
                    k.note(|| "not to be had: vma_end_read(vma)".to_owned());
                } else {
                    k.note(|| "not to be had".to_owned());
                }
                k.reach(0);
                Flow::Goto(out)
            });
            p.run("__anon_vma_prepare(vma); mmap_read_unlock(vma->vm_mm)", move |k| {
                vma.access(k, "anon_vma");
                mm.read_unlock_now(k);
                k.reach(1);
            });
        });
        p.bind(out);
        p.release(resv_guard, "hugetlb_vma_unlock_read(vma)", move |k| {
            vma.access(k, "hugetlb_vma_unlock_read()");
            if let Some(resv) = resv {
                k.unlock(resv);
            }
        });
        if drops == Drops::Last {
            p.run("if (ret & VM_FAULT_RETRY) vma_end_read(vma)", move |k| {
                if k.local(retry) != 0 {
                    vma.end_read_now(k);
                }
            });
        }
        drop(p, "mutex_unlock(&hugetlb_fault_mutex_table[hash])", mutex, fault_mutex);
    });
}

/// The conclusion that a caller of get_user_pages with FOLL_NOWAIT draws from VM_FAULT_RETRY.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Caller {
    Gup,
    TakesRetryForDropped,
}

fn sc_2_9(s: &Setup<'_>, caller: Caller) -> World {
    let mut w = World::default();
    let area = Area::new(&mut w, Pte::Swap(0));
    let mut p = s.program();
    p.function("__get_user_pages_locked", |p| {
        let (fault, done) = (p.local("ret", 0), p.label());
        let guard = mmap_read_lock(p, area.mm);
        let gone = p.label();
        p.branch("vma = gup_vma_lookup(mm, start): none", gone, move |k| !area.vma.find(k, 0));
        let flags = Flags { lock: FaultLock::Mmap(guard), tried: None, nowait: true };
        handle_mm_fault(p, area.fault(FLAVOUR, MigrationWait::Hold, Convention::MERGED), flags, fault);
        if caller == Caller::TakesRetryForDropped {
            p.branch("if (ret & VM_FAULT_RETRY) *locked = 0", done, move |k| k.local(fault) & vm_fault::RETRY != 0);
        }
        p.bind(gone);
        mmap_read_unlock(p, area.mm, guard);
        p.bind(done);
        p.run("return", |_| {});
    });
    w.thread("G", p);
    io(s, &mut w, area, false);
    w
}

/// `FAULT_FLAG_RETRY_NOWAIT` in a fault that has the VMA lock.
fn sc_2_9_vma(s: &Setup<'_>, sanitized: bool) -> World {
    let mut w = World::default();
    let area = Area::new(&mut w, Pte::Swap(0));
    let mut p = s.program();
    p.function("do_user_addr_fault", |p| {
        let (fault, done) = (p.local("fault", 0), p.label());
        lock_vma_under_rcu(p, area.vma, FLAVOUR, done);
        let f = area.fault(FLAVOUR, MigrationWait::Hold, Convention::MERGED);
        let flags = Flags { lock: FaultLock::Vma, tried: None, nowait: true };
        handle_mm_fault(p, Fault { sanitized, ..f }, flags, fault);
        p.run("if (!(fault & (VM_FAULT_RETRY | VM_FAULT_COMPLETED))) vma_end_read(vma)", move |k| {
            if k.local(fault) & (vm_fault::RETRY | vm_fault::COMPLETED) == 0 {
                area.vma.end_read_now(k);
            }
            if k.local(fault) & vm_fault::SIGSEGV != 0 {
                k.reach(0);
            }
        });
        p.bind(done);
        p.run("return", |_| {});
    });
    w.thread("T", p);
    io(s, &mut w, area, false);
    w
}

/// The scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "SC-2.5",
        thread: Some(MIGRATION_WAIT),
        title: "how a fault says that the VMA lock is dropped",
        question: "T's fault needs a folio that is locked. It drops the VMA lock, waits and returns. Does the \
                   architecture's code know that there is nothing left to release?",
        source: "the thread; mm/filemap.c:__folio_lock_or_retry, arch/x86/mm/fault.c:do_user_addr_fault (6.4 to 7.2)",
        sometimes: &["the fault waits for the folio", "(not here)", "munmap is through and the fault still sleeps"],
        variants: &[
            Variant {
                id: "f.held",
                status: "6.4 and 6.5",
                expect: Safe,
                why: "no fault drops the VMA lock, even if it returns VM_FAULT_RETRY. The caller that took the lock \
                      releases it. The wait happens under the mmap_lock",
                never: &[1],
                live: Live::Quiet,
                build: |s| sc_2_5(s, Pte::Swap(0), HELD),
            },
            Variant {
                id: "f.unlocked",
                status: "versions 1 and 2 of the series",
                expect: Safe,
                why: "an extra bit, VM_FAULT_VMA_UNLOCKED, says that the lock is dropped",
                never: &[1],
                live: Live::Quiet,
                build: |s| sc_2_5(s, Pte::Swap(0), UNLOCKED),
            },
            Variant {
                id: "f.rc",
                status: "merged for 6.6; 6.12, 7.2",
                expect: Safe,
                why: "every VM_FAULT_RETRY and every VM_FAULT_COMPLETED means that the lock is dropped, and no other \
                      result means it",
                never: &[1],
                live: Live::Quiet,
                build: |s| sc_2_5(s, Pte::Swap(0), Convention::MERGED),
            },
            Variant {
                id: "f.completed",
                status: "version 3 of the series, with the lock dropped under the PTL",
                expect: Safe,
                why: "a migration wait that dropped the lock returns VM_FAULT_COMPLETED, so the caller neither retries \
                      nor releases",
                never: &[1],
                live: Live::Quiet,
                build: |s| sc_2_5(s, Pte::migration(0), Convention::MERGED),
            },
            Variant {
                id: "f.stale-arch",
                status: "negative test: an architecture that was not changed",
                expect: Breaks(Invariant::Dbl),
                why: "the handler drops the lock and returns VM_FAULT_RETRY, and the architecture's code releases it \
                      again",
                never: &[],
                live: Live::Unseen(UNSEEN_INLINE),
                build: |s| sc_2_5_stale(s, false),
            },
            Variant {
                id: "f.stale-arch+munmap",
                status: "negative test: as f.stale-arch, and the wait outlasts an munmap",
                expect: Breaks(Invariant::UafVma),
                why: "the VMA is freed before its lock is released a second time",
                never: &[],
                live: Live::Unseen(UNSEEN_INLINE),
                build: |s| sc_2_5_stale(s, true),
            },
            Variant {
                id: "f.stale-arch+mmap",
                status: "negative test: as f.stale-arch, with the mmap_lock",
                expect: Breaks(Invariant::Dbl),
                why: "__folio_lock_or_retry() releases the mmap_lock, and the architecture's code releases it again",
                never: &[],
                live: Live::Rule("L06"),
                build: sc_2_5_mmap,
            },
        ],
    },
    Scenario {
        id: "SC-2.6",
        thread: Some(MIGRATION_WAIT),
        title: "VM_FAULT_RETRY with the VMA lock held",
        question: "The architecture's code takes VM_FAULT_RETRY for \"dropped\", as a one-line proposal did. A swap \
                   fault returns it with the lock held. Who releases the lock?",
        source: "the thread, the one-line proposal; mm/memory.c:do_swap_page (6.4)",
        sometimes: &["the fault waits for the folio"],
        variants: &[
            Variant {
                id: "f.rc-naive",
                status: "proposed, taken literally",
                expect: Breaks(Invariant::Dead),
                why: "nobody releases the VMA lock. The next writer of that VMA waits for ever, with the mmap_lock \
                      held",
                never: &[],
                live: Live::Unseen(UNSEEN_INLINE),
                build: |s| sc_2_6(s, NAIVE, Signal::None),
            },
            Variant {
                id: "f.rc-naive+signal",
                status: "proposed, taken literally; a signal is pending",
                expect: Breaks(Invariant::HeldForever),
                why: "the task goes back to user mode with the VMA lock held",
                never: &[],
                live: Live::Unseen(UNSEEN_INLINE),
                build: |s| sc_2_6(s, NAIVE, Signal::Pending),
            },
            Variant {
                id: "f.rc-one-left",
                status: "negative test: one producer was not changed",
                expect: Breaks(Invariant::Flag),
                why: "the result is a promise about the lock. One producer that returns VM_FAULT_RETRY with the lock \
                      held breaks it",
                never: &[],
                live: Live::Unseen(UNSEEN_INLINE),
                build: |s| sc_2_6(s, ONE_LEFT, Signal::Pending),
            },
            Variant {
                id: "f.rc",
                status: "merged for 6.6; 6.12, 7.2",
                expect: Safe,
                why: "every producer of VM_FAULT_RETRY drops the lock first, so munmap goes on",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_2_6(s, Convention::MERGED, Signal::None),
            },
            Variant {
                id: "f.rc+signal",
                status: "merged for 6.6; 6.12, 7.2",
                expect: Safe,
                why: "a task that goes back to user mode without a retry holds nothing",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_2_6(s, Convention::MERGED, Signal::Pending),
            },
        ],
    },
    Scenario {
        id: "SC-2.7",
        thread: Some(MIGRATION_WAIT),
        title: "hugetlb drops the VMA lock before its own",
        question: "T's hugetlb fault needs an anon_vma and cannot get the mmap_lock, so it has to drop the VMA lock. \
                   It still has to release a lock that it finds through the VMA. In which order must it release the \
                   two?",
        source: "mm/hugetlb.c:hugetlb_fault, mm/memory.c:__vmf_anon_prepare; fixed before 6.12",
        sometimes: &["the mmap_lock cannot be acquired", "the anon_vma is prepared"],
        variants: &[
            Variant {
                id: "f.huge-early",
                status: "before 6.12: vmf_anon_prepare() drops the VMA lock",
                expect: Breaks(Invariant::UafVma),
                why: "the VMA, a private one in a fork child, has no hugetlb lock. Nothing delays munmap once the VMA \
                      lock is dropped, and hugetlb_vma_unlock_read() reads a freed VMA to see whether there is a lock",
                never: &[],
                live: Live::Unseen("the kernel reads the VMA's flags, and no event shows that"),
                build: |s| sc_2_7(s, Drops::InHelper, false),
            },
            Variant {
                id: "f.huge-early+resv",
                status: "before 6.12, in the task that owns the reservation",
                expect: Safe,
                why: "munmap waits in __hugetlb_zap_begin() for the reservation's lock, so the VMA stays until T has \
                      released that lock",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_2_7(s, Drops::InHelper, true),
            },
            Variant {
                id: "f.huge",
                status: "6.12, 7.2",
                expect: Safe,
                why: "__vmf_anon_prepare() leaves the VMA lock alone, and hugetlb_fault() drops it after the hugetlb \
                      lock",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_2_7(s, Drops::Last, false),
            },
            Variant {
                id: "f.huge+resv",
                status: "6.12, 7.2, in the task that owns the reservation",
                expect: Safe,
                why: "as for f.huge",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_2_7(s, Drops::Last, true),
            },
        ],
    },
    Scenario {
        id: "SC-2.9",
        thread: Some(MIGRATION_WAIT),
        title: "VM_FAULT_RETRY without waiting",
        question: "With FAULT_FLAG_RETRY_NOWAIT, a fault returns VM_FAULT_RETRY and drops nothing. Do its callers know \
                   that? Is it safe if the fault has the VMA lock?",
        source: "mm/filemap.c:__folio_lock_or_retry, mm/gup.c:faultin_page, mm/memory.c:sanitize_fault_flags (6.6 to 7.2)",
        sometimes: &["the fault returns without waiting"],
        variants: &[
            Variant {
                id: "n.gup",
                status: "6.12, 7.2",
                expect: Safe,
                why: "faultin_page() treats the mmap_lock as dropped only without FAULT_FLAG_RETRY_NOWAIT",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_2_9(s, Caller::Gup),
            },
            Variant {
                id: "n.dropped",
                status: "negative test",
                expect: Breaks(Invariant::Bal),
                why: "a caller that takes every VM_FAULT_RETRY for \"dropped\" never releases the mmap_lock",
                never: &[],
                live: Live::Unseen("another context may release a read hold, so a read hold that stays proves nothing"),
                build: |s| sc_2_9(s, Caller::TakesRetryForDropped),
            },
            Variant {
                id: "n.vma-lock",
                status: "6.6 to 7.2",
                expect: Safe,
                why: "under the VMA lock, VM_FAULT_RETRY must mean \"dropped\", and sanitize_fault_flags() refuses the \
                      pair of flags",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_2_9_vma(s, true),
            },
            Variant {
                id: "n.vma-lock-unchecked",
                status: "negative test",
                expect: Breaks(Invariant::Flag),
                why: "the handler returns VM_FAULT_RETRY with the VMA lock held, and nobody releases it",
                never: &[],
                live: Live::Rule("L11"),
                build: |s| sc_2_9_vma(s, false),
            },
        ],
    },
];
