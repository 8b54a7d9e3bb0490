//! The VMA lock itself: readers and writers, a VMA whose memory becomes another one, and detaching.

use crate::{
    protocol::{
        Flow, Kernel, Program, World,
        mm::{Mm, mmap_read_lock, mmap_read_unlock, mmap_write_downgrade, mmap_write_lock, mmap_write_unlock},
        vma::{
            Flavour, Reading, Test, Vma, Waits, lock_vma_under_rcu_with, vma_mark_attached, vma_mark_detached_with,
            vma_start_write, vma_start_write_with,
        },
    },
    scenario::{
        Expect::{Breaks, Safe},
        Live, Scenario, Setup, Variant,
    },
};
use mmtrace_model::model::invariant::Invariant;

/// The locks of a fault: it takes the VMA lock, or else the mmap_lock, and uses the VMA in between. `reached`, and the
/// number after it, are the *sometimes* properties for the two.
fn fault(p: &mut Program, v: Vma, r: Reading, reached: u8) {
    p.function("do_user_addr_fault", |p| {
        let (mmap, done, bad) = (p.label(), p.label(), p.label());
        lock_vma_under_rcu_with(p, v, r, mmap);
        p.run("handle_mm_fault(vma, …, FAULT_FLAG_VMA_LOCK)", move |k| {
            k.reach(reached);
            v.access(k, "handle_mm_fault()");
            if v.is_write_locked(k) {
                k.violate(Invariant::Vexcl, "a reader uses the VMA while a writer has it");
            }
        });
        p.step("vma_end_read(vma)", move |k| {
            v.end_read_now(k);
            Flow::Goto(done)
        });
        p.bind(mmap);
        let guard = mmap_read_lock(p, v.mm);
        p.branch("vma = find_vma(mm, addr): none", bad, move |k| !v.find(k, r.addr));
        p.run("handle_mm_fault(vma, …)", move |k| {
            k.reach(reached + 1);
            v.access(k, "handle_mm_fault()");
            if v.is_write_locked(k) {
                k.violate(Invariant::Vexcl, "a reader uses the VMA while a writer has it");
            }
        });
        p.bind(bad);
        mmap_read_unlock(p, v.mm, guard);
        p.bind(done);
        p.run("return to user mode", |_| {});
    });
}

/// The locks of mprotect().
fn mprotect(p: &mut Program, v: Vma, flavour: Flavour, waits: Waits) {
    p.function("mprotect_fixup", |p| {
        let guard = mmap_write_lock(p, v.mm);
        vma_start_write_with(p, v, flavour, waits);
        p.run("vm_flags_reset_once(vma, newflags)", move |k| change(k, v));
        mmap_write_unlock(p, v.mm, guard);
    });
}

fn change(k: &mut Kernel<'_>, v: Vma) {
    if k.get(v.granted) != 0 {
        k.violate(Invariant::Vexcl, "a writer changes the VMA while a reader has it");
    }
    if !v.is_write_locked(k) {
        k.violate(Invariant::State, "the VMA changes and is not write-locked");
    }
}

/// Names of threads.
const READERS: [&str; 5] = ["R", "R2", "R3", "R4", "R5"];
const WRITERS: [&str; 3] = ["W", "W2", "W3"];

fn sc_x_1(s: &Setup<'_>, r: Reading, waits: Waits, readers: usize, writers: usize) -> World {
    let mut w = World::default();
    let mm = Mm::new(&mut w, 1, "");
    let vma = Vma::new(&mut w, mm, "vma");
    for name in READERS.iter().take(readers) {
        let mut p = s.program();
        fault(&mut p, vma, r, 0);
        w.thread(name, p);
    }
    for name in WRITERS.iter().take(writers) {
        let mut p = s.program();
        mprotect(&mut p, vma, r.flavour, waits);
        w.thread(name, p);
    }
    w
}

/// SC-X.1 (`v.7.2`) with more threads, to measure the search: up to 5 `readers` fault on one VMA and up to 3 `writers`
/// change it, 6 threads in all at most. It is safe, and the search visits all of its states:
///
/// | readers | writers | states | transitions | states, reduced |
/// |---|---|---|---|---|
/// | 3 | 2 | 77,632 | 260,866 | 50,068 |
/// | 3 | 3 | 228,341 | 782,472 | 160,117 |
/// | 4 | 1 | 304,103 | 1,233,377 | 131,041 |
/// | 4 | 2 | 1,178,130 | 4,948,574 | 649,935 |
/// | 5 | 1 | 4,736,991 | 23,258,230 | 1,485,293 |
#[must_use]
pub(crate) fn enlarged(readers: usize, writers: usize) -> World {
    sc_x_1(&Setup::default(), Reading::new(Flavour::Refcount), Waits::ForReaders, readers, writers)
}

/// The next use of the memory of an unmapped VMA.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reuse {
    /// A VMA of another mm, at the same address.
    OtherMm,
    /// A VMA of the same mm, at another address.
    Elsewhere,
}

/// The part of munmap() that concerns the VMA.
fn munmap(p: &mut Program, v: Vma, flavour: Flavour, waits: Waits) {
    p.function("do_vmi_munmap", |p| {
        let guard = mmap_write_lock(p, v.mm);
        vma_start_write(p, v, flavour);
        vma_mark_detached_with(p, v, flavour, waits);
        p.run("vma_iter_clear_gfp(&vmi)", move |k| v.set_in_tree(k, false));
        mmap_write_downgrade(p, v.mm, guard);
        p.run("vm_area_free(vma)", move |k| v.free_now(k));
        mmap_read_unlock(p, v.mm, guard);
    });
}

/// mmap() into the memory of the VMA, if the slab hands it out.
fn mmap(p: &mut Program, v: Vma, flavour: Flavour, start: u8) {
    p.function("__mmap_new_vma", |p| {
        let other = p.label();
        let guard = mmap_write_lock(p, v.mm);
        p.branch("vma = vm_area_alloc(mm): other memory", other, move |k| {
            if !v.is_free(k, flavour) {
                return true;
            }
            if k.get(v.grace) != 0 {
                k.reach(2);
            }
            v.reuse_now(k, start);
            false
        });
        vma_start_write(p, v, flavour);
        vma_mark_attached(p, v, flavour);
        p.run("vma_iter_store_new(&vmi, vma)", move |k| v.set_in_tree(k, true));
        p.bind(other);
        mmap_write_unlock(p, v.mm, guard);
    });
}

fn sc_x_2(s: &Setup<'_>, r: Reading, reuse: Reuse) -> World {
    let mut w = World::default();
    let mm = Mm::new(&mut w, 1, "");
    let vma = Vma::new(&mut w, mm, "vma");
    let mut p = s.program();
    fault(&mut p, vma, r, 0);
    w.thread("R", p);
    let mut p = s.program();
    munmap(&mut p, vma, r.flavour, Waits::ForReaders);
    match reuse {
        Reuse::Elsewhere => {
            mmap(&mut p, vma, r.flavour, 1);
            w.thread("U", p);
        }
        Reuse::OtherMm => {
            w.thread("U", p);
            let other = Mm::new(&mut w, 2, "other ");
            let mut p = s.program();
            mmap(&mut p, vma.of(other), r.flavour, 0);
            w.thread("X", p);
        }
    }
    w
}

fn sc_x_3(s: &Setup<'_>, r: Reading, waits: Waits) -> World {
    let mut w = World::default();
    let mm = Mm::new(&mut w, 1, "");
    let vma = Vma::new(&mut w, mm, "vma");
    let mut p = s.program();
    fault(&mut p, vma, r, 0);
    w.thread("R", p);
    let mut p = s.program();
    munmap(&mut p, vma, r.flavour, waits);
    w.thread("U", p);
    w
}

const REFCOUNT: Reading = Reading::new(Flavour::Refcount);
const RWSEM: Reading = Reading::new(Flavour::Rwsem);

const UNSEEN_INLINE: &str = "before 6.15 the write lock of a VMA is taken inline, and no event shows it";
const UNSEEN_YET: &str = "L19 judges a reader when its fault ends, which is not reached here";
const UNSEEN_DETACHED: &str = "detaching is inline; L22 judges a reader when its fault ends, which is not reached here";

/// The scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "SC-X.1",
        thread: None,
        title: "the VMA lock: readers and a writer",
        question: "R faults with the VMA lock. W holds the mmap_lock for write and write-locks the VMA. Do R and W \
                   ever hold the VMA at the same time?",
        source: "6.12: include/linux/mm.h:vma_start_read, vma_start_write; 7.2: include/linux/mmap_lock.h, \
                 mm/mmap_lock.c:__vma_start_write",
        sometimes: &["the fault has the VMA lock", "the fault has the mmap_lock"],
        variants: &[
            Variant {
                id: "v.7.2",
                status: "7.2",
                expect: Safe,
                why: "W waits for a reader that has its reference before W excludes readers. A later reader finds the \
                      sequences equal and gives up",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_x_1(s, REFCOUNT, Waits::ForReaders, 1, 1),
            },
            Variant {
                id: "v.7.2-2-readers",
                status: "7.2",
                expect: Safe,
                why: "as for v.7.2",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_x_1(s, REFCOUNT, Waits::ForReaders, 2, 1),
            },
            Variant {
                id: "v.6.12",
                status: "6.4 to 6.14",
                expect: Safe,
                why: "as for v.7.2, with a rwsem that W holds only while it stores the sequence",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_x_1(s, RWSEM, Waits::ForReaders, 1, 1),
            },
            Variant {
                id: "v.6.12-2-readers",
                status: "6.4 to 6.14",
                expect: Safe,
                why: "as for v.6.12",
                never: &[],
                live: Live::Quiet,
                build: |s| sc_x_1(s, RWSEM, Waits::ForReaders, 2, 1),
            },
            Variant {
                id: "v.7.2-no-second-test",
                status: "negative test",
                expect: Breaks(Invariant::Vexcl),
                why: "W excludes readers only for a moment. A reader that passes the early test before that and takes \
                      its reference afterwards notices nothing",
                never: &[],
                live: Live::Rule("L20"),
                build: |s| sc_x_1(s, Reading::without(Flavour::Refcount, Test::Sequence), Waits::ForReaders, 1, 1),
            },
            Variant {
                id: "v.6.12-no-second-test",
                status: "negative test",
                expect: Breaks(Invariant::Vexcl),
                why: "as for v.7.2-no-second-test",
                never: &[],
                live: Live::Unseen(UNSEEN_INLINE),
                build: |s| sc_x_1(s, Reading::without(Flavour::Rwsem, Test::Sequence), Waits::ForReaders, 1, 1),
            },
            Variant {
                id: "v.7.2-no-wait",
                status: "negative test",
                expect: Breaks(Invariant::Vexcl),
                why: "W does not wait for the reader that holds the VMA",
                never: &[],
                live: Live::Unseen(UNSEEN_YET),
                build: |s| sc_x_1(s, REFCOUNT, Waits::ForNobody, 1, 1),
            },
            Variant {
                id: "v.6.12-no-wait",
                status: "negative test",
                expect: Breaks(Invariant::Vexcl),
                why: "W stores the sequence without the rwsem while a reader holds the VMA",
                never: &[],
                live: Live::Unseen(UNSEEN_INLINE),
                build: |s| sc_x_1(s, RWSEM, Waits::ForNobody, 1, 1),
            },
        ],
    },
    Scenario {
        id: "SC-X.2",
        thread: None,
        title: "the VMA lock: the memory becomes another VMA",
        question: "R has found the VMA and stalls. U unmaps it, and its memory becomes another VMA. Does R notice?",
        source: "7.2: include/linux/mmap_lock.h:vma_start_read, mm/mmap_lock.c:lock_vma_under_rcu (SLAB_TYPESAFE_BY_RCU)",
        sometimes: &[
            "the fault has the VMA lock",
            "the fault has the mmap_lock",
            "the memory is another VMA while R looks at it",
        ],
        variants: &[
            Variant {
                id: "i.7.2-other-mm",
                status: "7.2",
                expect: Safe,
                why: "R's reference keeps the VMA as it is, and R checks its mm again",
                never: &[1],
                live: Live::Quiet,
                build: |s| sc_x_2(s, REFCOUNT, Reuse::OtherMm),
            },
            Variant {
                id: "i.7.2-elsewhere",
                status: "7.2",
                expect: Safe,
                why: "R's reference keeps the VMA as it is, and R checks its range again",
                never: &[1],
                live: Live::Quiet,
                build: |s| sc_x_2(s, REFCOUNT, Reuse::Elsewhere),
            },
            Variant {
                id: "i.6.12-other-mm",
                status: "6.4 to 6.14",
                expect: Safe,
                why: "the VMA is freed after a grace period, so R has found this VMA or a detached one",
                never: &[1, 2],
                live: Live::Quiet,
                build: |s| sc_x_2(s, RWSEM, Reuse::OtherMm),
            },
            Variant {
                id: "i.6.12-elsewhere",
                status: "6.4 to 6.14",
                expect: Safe,
                why: "as for i.6.12-other-mm",
                never: &[1, 2],
                live: Live::Quiet,
                build: |s| sc_x_2(s, RWSEM, Reuse::Elsewhere),
            },
            Variant {
                id: "i.7.2-no-mm-test",
                status: "negative test",
                expect: Breaks(Invariant::Vid),
                why: "the sequences of the two mms are unrelated, and the address fits",
                never: &[],
                live: Live::Rule("L12"),
                build: |s| sc_x_2(s, Reading::without(Flavour::Refcount, Test::Mm), Reuse::OtherMm),
            },
            Variant {
                id: "i.7.2-no-range-test",
                status: "negative test",
                expect: Breaks(Invariant::Vid),
                why: "the mm is the same and the VMA is unlocked, but it is at another address",
                never: &[],
                live: Live::Rule("L12"),
                build: |s| sc_x_2(s, Reading::without(Flavour::Refcount, Test::Range), Reuse::Elsewhere),
            },
        ],
    },
    Scenario {
        id: "SC-X.3",
        thread: None,
        title: "the VMA lock: detaching under a reader's temporary reference",
        question: "R has taken its reference and has not yet checked the sequence again. U detaches the VMA and \
                   downgrades the mmap_lock, which ends every VMA write lock. Can R still get the lock?",
        source: "7.2: mm/mmap_lock.c:__vma_exclude_readers_for_detach; 6.12: mm/memory.c:lock_vma_under_rcu",
        sometimes: &["the fault has the VMA lock", "the fault has the mmap_lock"],
        variants: &[
            Variant {
                id: "d.7.2",
                status: "7.2",
                expect: Safe,
                why: "U waits until nobody has a reference, and nobody gets a reference to a VMA that has none",
                never: &[1],
                live: Live::Quiet,
                build: |s| sc_x_3(s, REFCOUNT, Waits::ForReaders),
            },
            Variant {
                id: "d.6.12",
                status: "6.4 to 6.14",
                expect: Safe,
                why: "R checks the detached flag once it has the lock",
                never: &[1],
                live: Live::Quiet,
                build: |s| sc_x_3(s, RWSEM, Waits::ForReaders),
            },
            Variant {
                id: "d.7.2-no-wait",
                status: "negative test",
                expect: Breaks(Invariant::Vid),
                why: "the sequences differ after the downgrade, so a reader that already had a reference passes the \
                      second test. It gets the lock of a VMA whose tables are being freed",
                never: &[],
                live: Live::Unseen(UNSEEN_DETACHED),
                build: |s| sc_x_3(s, REFCOUNT, Waits::ForNobody),
            },
            Variant {
                id: "d.6.12-no-detached-test",
                status: "negative test",
                expect: Breaks(Invariant::Vid),
                why: "the rwsem is free and the sequences differ after the downgrade, so only the flag shows that the \
                      VMA is detached",
                never: &[],
                live: Live::Unseen(UNSEEN_DETACHED),
                build: |s| sc_x_3(s, Reading::without(Flavour::Rwsem, Test::Detached), Waits::ForReaders),
            },
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::enlarged;
    use crate::search::{Limits, Order, search};

    #[test]
    fn the_large_world_is_as_large_as_it_says() {
        let mut limits = Limits::default();
        let found = search(&enlarged(3, 2), Order::Breadth, &mut limits).expect("enough memory");
        assert!(found.broken.is_none());
        assert_eq!((found.states, found.transitions), (77_632, 260_866));
    }
}
