//! The mmap_lock itself: two downgraded holds.

use crate::{
    protocol::{
        World,
        mm::{Mm, mmap_read_lock, mmap_read_unlock, mmap_write_downgrade, mmap_write_lock, mmap_write_unlock},
    },
    scenario::{
        Expect::{Breaks, Safe},
        Live, Scenario, Setup, Variant,
    },
};
use mmtrace_model::model::invariant::Invariant;

/// The variants of a downgrade.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Downgrade {
    /// As in the kernel.
    Right,
    /// The downgrade releases the lock.
    LetsGo,
    /// A reader does the downgrade.
    ByReader,
}

/// Two threads unmap, each after a fault in user mode and an mmap() of its own.
fn sc_x_5(s: &Setup<'_>, downgrade: Downgrade) -> World {
    let mut w = World::default();
    let mm = Mm::new(&mut w, 1, "");
    let inside = w.cell("who frees tables", 0);
    for (number, name) in [(0, "U"), (1, "V")] {
        let by_reader = downgrade == Downgrade::ByReader && number == 1;
        let mut p = s.program();
        if by_reader {
            p.function("exc_page_fault", |p| p.run("a fault in user mode", move |k| mm.user_fault(k)));
            p.function("vm_mmap_pgoff", |p| {
                let guard = mmap_write_lock(p, mm);
                mmap_write_unlock(p, mm, guard);
            });
        }
        p.function("vms_complete_munmap_vmas", |p| {
            let guard = if by_reader { mmap_read_lock(p, mm) } else { mmap_write_lock(p, mm) };
            if downgrade == Downgrade::LetsGo {
                p.release(guard, "mmap_write_downgrade(mm) lets go of the lock", move |k| {
                    mm.downgrade_now(k);
                    k.unlock(mm.mmap_lock);
                });
            } else {
                mmap_write_downgrade(p, mm, guard);
            }
            p.run("unmap_region(): tables are freed", move |k| {
                let others = k.get(inside);
                k.require(others == 0, Invariant::Down, "two threads free tables under a downgraded mmap_lock");
                k.set(inside, others | 1 << k.me());
                k.reach(number);
            });
            p.release(guard, "mmap_read_unlock(mm)", move |k| {
                let all = k.get(inside);
                k.set(inside, all & !(1 << k.me()));
                if downgrade == Downgrade::LetsGo { mm.says_released(k) } else { mm.read_unlock_now(k) }
            });
        });
        w.thread(name, p);
    }
    let mut p = s.program();
    p.function("do_user_addr_fault", |p| {
        let guard = mmap_read_lock(p, mm);
        p.run("handle_mm_fault(vma, …)", move |k| {
            if k.get(inside) != 0 {
                k.reach(2);
            }
        });
        mmap_read_unlock(p, mm, guard);
    });
    w.thread("R", p);
    w
}

/// The scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    id: "SC-X.5",
    thread: None,
    title: "two downgraded holds of one mmap_lock",
    question: "U and V take the mmap_lock for write, downgrade it and free page tables. Do they ever do so at the same \
               time?",
    source: "include/linux/mmap_lock.h:mmap_write_downgrade; Documentation/mm/process_addrs.rst, mmap_lock",
    sometimes: &["U frees tables", "V frees tables", "R faults meanwhile"],
    variants: &[
        Variant {
            id: "m.downgrade",
            status: "6.1 to 7.2",
            expect: Safe,
            why: "a downgraded hold was a write hold, so the second one cannot begin before the first has ended",
            never: &[],
            live: Live::Quiet,
            build: |s| sc_x_5(s, Downgrade::Right),
        },
        Variant {
            id: "m.downgrade-lets-go",
            status: "negative test",
            expect: Breaks(Invariant::Down),
            why: "the lock is free after the downgrade, so the second writer comes in",
            never: &[],
            live: Live::Rule("L03"),
            build: |s| sc_x_5(s, Downgrade::LetsGo),
        },
        Variant {
            id: "m.downgrade-by-reader",
            status: "negative test",
            expect: Breaks(Invariant::Own),
            why: "the thread holds the lock for read, so there is nothing to downgrade",
            never: &[],
            live: Live::Rule("L08"),
            build: |s| sc_x_5(s, Downgrade::ByReader),
        },
    ],
}];
