//! Moving page tables (mm/mremap.c; 6.12 and 7.2).

use mmtrace_model::model::{
    invariant::Invariant,
    locks::exclusion::Mode,
    page_tables::entry::{Marker, Pmd, Pte},
};

use super::{
    ExpectedMarker, Guard, Program, Slot,
    alloc::{Fresh, pte_alloc},
    file::{FileVma, MAYBE_GUARD},
    kernel::Kernel,
    mm::{drop, mmap_write_lock, mmap_write_unlock, take},
    uffd::RETURNS_SUCCESS,
    vma::{Flavour, vma_start_write},
    walk::{Mapped, pte_offset_map, pte_offset_map_lock, pte_unmap, pte_unmap_unlock},
};

/// *Sometimes*: something was moved.
pub(crate) const MOVED: u8 = RETURNS_SUCCESS;

/// A VMA and the one that it moves to, which is not in the trees yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Move {
    /// The VMA whose pages move.
    pub(crate) old: FileVma,
    /// The VMA that they move to.
    pub(crate) new: FileVma,
}

/// The protections with which `move_pgt_entry()` moves the PMD entry of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MovePmd {
    /// The rmap locks are taken, as every kernel here does.
    pub(crate) rmap_locks: bool,
    /// The old PMD is read again under its lock, as since 6.12.
    pub(crate) recheck: bool,
}

/// `copy_vma()`, and the beginning of `move_vma()`. userfaultfd modes do not move without `UFFD_FEATURE_EVENT_REMAP`.
fn begin(p: &mut Program, m: Move) -> Guard {
    let mmap = mmap_write_lock(p, m.old.vma.mm);
    vma_start_write(p, m.old.vma, Flavour::Refcount);
    p.function("copy_vma", |p| {
        let i_mmap = take(p, "i_mmap_lock_write(mapping)", m.old.mapping.i_mmap, Mode::Write);
        p.run("vma_link(mm, new_vma)", move |k| {
            if m.old.flag(k, MAYBE_GUARD) {
                m.new.set_flag(k, MAYBE_GUARD);
            }
            m.new.vma.set_in_tree(k, true);
            m.new.vma.set_in_rmap(k, m.new.mapping.i_mmap, true);
        });
        drop(p, "i_mmap_unlock_write(mapping)", m.old.mapping.i_mmap, i_mmap);
    });
    mmap
}

/// `mremap()` of a whole table: `move_pgt_entry(NORMAL_PMD)`.
pub(crate) fn move_normal_pmd(p: &mut Program, m: Move, rules: MovePmd) {
    let (old, new) = (m.old, m.new);
    p.function("move_vma", |p| {
        let mmap = begin(p, m);
        p.function("move_page_tables", |p| {
            let done = p.label();
            p.branch("old_pmd = get_old_pmd(mm, old_addr), or continue", done, move |k| k.pmd(old.pmd).map().is_none());
            let rmap = rules.rmap_locks.then(|| {
                p.function("take_rmap_locks", |p| {
                    take(p, "i_mmap_lock_write(mapping)", old.mapping.i_mmap, Mode::Write)
                })
            });
            p.function("move_normal_pmd", |p| {
                let unlock = p.label();
                let ptl = p.lock("old_ptl = pmd_lock(mm, old_pmd)", move |k| k.lock(old.pml, Mode::Write));
                if rules.recheck {
                    p.recheck("pmd_present(*old_pmd) && !pmd_leaf(*old_pmd)", unlock, move |k| {
                        k.pmd(old.pmd).map().is_some()
                    });
                }
                p.run("pmd_clear(old_pmd); pmd_populate(mm, new_pmd, pmd_pgtable(pmd))", move |k| {
                    let pmd = k.pmd(old.pmd);
                    if pmd.map().is_none() {
                        k.violate(Invariant::BadPmd, "a table is moved, and the PMD does not point to one");
                    }
                    k.set_pmd(old.pmd, Pmd::None);
                    k.set_pmd(new.pmd, pmd);
                    k.reach(MOVED);
                });
                p.bind(unlock);
                p.release(ptl, "spin_unlock(old_ptl)", move |k| k.unlock(old.pml));
            });
            if let Some(rmap) = rmap {
                drop(p, "drop_rmap_locks(vma)", old.mapping.i_mmap, rmap);
            }
            p.bind(done);
        });
        mmap_write_unlock(p, old.vma.mm, mmap);
    });
}

/// The protections with which `move_ptes()` moves single entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MovePtes {
    /// The rmap locks are taken, as the kernel does only where rmap walks meet the new VMA before the old one.
    pub(crate) rmap_locks: bool,
    /// The new PMD is looked at again under the new PTL. No kernel does so.
    pub(crate) pmd_same: bool,
}

/// `mremap()` entry by entry: `move_ptes()`. uffd-wp does not move, other markers do.
pub(crate) fn move_ptes(p: &mut Program, m: Move, fresh: Fresh, rules: MovePtes, expected: Option<ExpectedMarker>) {
    let (old, new) = (m.old, m.new);
    p.function("move_vma", |p| {
        let (moved, had) = (p.label(), p.local("was expected", 0));
        let mmap = begin(p, m);
        p.function("move_page_tables", |p| {
            let (from, to) = (Mapped::new(p), Mapped::new(p));
            let again = p.mark();
            p.branch("old_pmd = get_old_pmd(mm, old_addr), or continue", moved, move |k| {
                k.pmd(old.pmd).map().is_none()
            });
            pte_alloc(p, new.pmd, new.pml, fresh);
            p.function("move_ptes", |p| {
                let rmap = rules.rmap_locks.then(|| take(p, "take_rmap_locks(vma)", old.mapping.i_mmap, Mode::Write));
                let (no_old, no_new, changed) = (p.label(), p.label(), p.label());
                let locked = pte_offset_map_lock(p, old.pmd, from, no_old);
                let rcu = p.function("pte_offset_map_rw_nolock", |p| pte_offset_map(p, new.pmd, to, no_new));
                let ptl = p.lock("spin_lock_nested(new_ptl, SINGLE_DEPTH_NESTING)", move |k| {
                    let table = k.table(k.local(to.table));
                    k.access(table, "the lock is taken");
                    k.lock(k.ptl(table), Mode::Write)
                });
                if rules.pmd_same {
                    p.recheck("pmd_same(new_pmdval, pmdp_get_lockless(new_pmd))", changed, move |k| {
                        k.pmd(new.pmd).encode() == k.local(to.pmdval)
                    });
                }
                p.run("set_ptes(mm, new_addr, new_ptep, pte, 1) of every entry", move |k| {
                    if let Some(expected) = expected
                        && k.withdraw_marker(expected)
                    {
                        k.set_local(had, 1);
                    }
                    move_entries(k, k.local(from.table), k.local(to.table));
                });
                let leave = |p: &mut Program| {
                    p.release(ptl, "spin_unlock(new_ptl)", move |k| {
                        let lock = k.ptl(k.table(k.local(to.table)));
                        k.unlock(lock);
                    });
                    pte_unmap(p, rcu);
                    pte_unmap_unlock(p, locked);
                    if let Some(rmap) = rmap {
                        drop(p, "drop_rmap_locks(vma)", old.mapping.i_mmap, rmap);
                    }
                };
                leave(p);
                p.goto("return 0", moved);
                p.bind(changed);
                leave(p);
                p.goto("return -EAGAIN", again);
                p.bind(no_new);
                pte_unmap_unlock(p, locked);
                p.bind(no_old);
                if let Some(rmap) = rmap {
                    drop(p, "drop_rmap_locks(vma)", old.mapping.i_mmap, rmap);
                }
                p.goto("return -EAGAIN", again);
            });
        });
        p.bind(moved);
        mmap_write_unlock(p, old.vma.mm, mmap);
        p.run("mremap() returns new_addr", move |k| {
            k.reach(MOVED);
            if k.local(had) != 0
                && let Some(expected) = expected
            {
                k.expect_marker(expected, 1);
            }
        });
    });
}

fn move_entries(k: &mut Kernel<'_>, from: u8, to: u8) {
    let (from, to) = (k.table(from), k.table(to));
    for index in 0..k.entries(from) {
        let slot = Slot { table: from, index };
        let pte = k.pte(slot);
        if pte.is_none() {
            continue;
        }
        k.set_pte(slot, Pte::None);
        // need_clear_uffd_wp
        if pte != Pte::Marker(Marker::UFFD_WP) {
            k.set_pte(Slot { table: to, index }, pte);
        }
    }
}
