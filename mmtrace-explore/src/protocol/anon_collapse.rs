//! Collapsing anonymous memory: `collapse_huge_page()` (mm/khugepaged.c, 6.12 and 7.2).
//!
//! The first part, under the mmap_lock for read (swapping in, the first look at the PMD), is left out, because everything is
//! looked at again under the write lock.

use mmtrace_common::Kind;
use mmtrace_model::model::{
    invariant::Invariant,
    locks::exclusion::Mode,
    page_tables::{
        entry::{Pmd, Pte},
        lifecycle::{TableState, Unlinker},
    },
};

use super::{
    Cell, Flow, Guard, Label, Local, Lock, Program, Protection, Slot, Table, World,
    kernel::Kernel,
    mm::{drop, mmap_write_lock, mmap_write_unlock, take},
    unmap::TableFree,
    vma::{Flavour, Vma, vma_start_write},
};

/// The order in which the PMD is looked at again and the VMA is locked, both under the mmap_lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// `check_pmd_still_valid()`, then `vma_start_write()`: 6.12.
    CheckThenLock,
    /// `vma_start_write()`, then `check_pmd_still_valid()`: 6.18, 7.2.
    LockThenCheck,
}

/// The locks that keep every other walker away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heavy {
    /// The VMA. Its mm is locked for write, and it is as well if `vma_write` is set.
    pub(crate) vma: Vma,
    /// The kernel whose VMA lock it has.
    pub(crate) flavour: Flavour,
    /// Whether the VMA is locked for write. If not, that it needs to be is not checked.
    pub(crate) vma_write: bool,
    /// A cell that says whether the VMA spans the whole PMD; `None` if that is not checked.
    pub(crate) spans: Option<Cell>,
    /// The lock of its rmap tree.
    pub(crate) anon_vma: Lock,
    /// The order in which the PMD is looked at and the VMA is locked.
    pub(crate) order: Order,
}

/// The locks under which the PMD is cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clear {
    /// Under PML, which is then released.
    Pml,
    /// Under PML and PTL, which are both held until the table is linked again. No kernel does so.
    PmlAndPtl,
}

/// The fate of the unlinked table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// PMD order: a huge PMD is set and the table deposited under it.
    Deposit,
    /// PMD order: a huge PMD is set and the table freed.
    Free(TableFree),
    /// A smaller order (7.2): the table is linked again with entries for the new folio.
    Relink,
}

/// The page that the table maps, as far as gup-fast is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    /// The threads that have a reference besides the mapping's, bit by thread.
    pub(crate) pins: Cell,
    /// [`Page::MAPPED`], [`Page::REPLACED`], [`Page::FREED`] or [`Page::REUSED`].
    pub(crate) state: Cell,
}

impl Page {
    /// The page is mapped.
    pub(crate) const MAPPED: u8 = 0;
    /// Collapse has found no reference but its own, and goes on to copy it.
    pub(crate) const REPLACED: u8 = 1;
    /// The last reference is gone.
    pub(crate) const FREED: u8 = 2;
    /// The memory is another page now, to which others have references.
    pub(crate) const REUSED: u8 = 3;

    /// Adds a page that is mapped.
    pub(crate) fn new(w: &mut World) -> Self {
        Self { pins: w.cell("page.refs", 0), state: w.cell("page.state", Self::MAPPED) }
    }
}

/// A collapse of one PMD.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnonCollapse {
    /// The PMD entry.
    pub(crate) pmd: Slot,
    /// Its lock.
    pub(crate) pml: Lock,
    /// The locks against walkers. With `None`, the question is whether they are needed: I-UNLINK is not checked.
    pub(crate) heavy: Option<Heavy>,
    /// The locks under which the PMD is cleared.
    pub(crate) clear: Clear,
    /// The fate of the unlinked table.
    pub(crate) then: Then,
    /// Whether it waits for gup-fast (`tlb_remove_table_sync_one()`).
    pub(crate) sync: bool,
    /// The mapped page, if references to it are modelled; `None` if isolating can fail for other reasons.
    pub(crate) page: Option<Page>,
    /// Bits of [`Kernel::reach`] for "it succeeds" and "it fails, and the table is linked again".
    pub(crate) reach: [u8; 2],
}

/// The new folio's number in entries.
const NEW: u8 = 2;

/// The guards of one collapse.
#[derive(Clone, Copy)]
struct Held {
    heavy: Option<(Heavy, Guard, Guard)>,
    table: Local,
}

/// `collapse_huge_page()`.
pub(crate) fn collapse_huge_page(p: &mut Program, c: AnonCollapse) {
    p.function("collapse_huge_page", |p| {
        let (up_write, failed, done) = (p.label(), p.label(), p.label());
        let table = p.local("_pmd", 0);
        let mmap = c.heavy.map(|h| (h, mmap_write_lock(p, h.vma.mm)));
        if let Some((h, _)) = mmap {
            revalidate(p, c.pmd, h, up_write);
        } else {
            check_pmd_still_valid(p, c.pmd, up_write);
        }
        let heavy =
            mmap.map(|(h, mmap)| (h, mmap, take(p, "anon_vma_lock_write(vma->anon_vma)", h.anon_vma, Mode::Write)));
        let held = Held { heavy, table };
        match c.clear {
            Clear::Pml => under_pml(p, c, held, failed),
            Clear::PmlAndPtl => under_both(p, c, held),
        }
        p.goto("result = SCAN_SUCCEED", done);
        if c.clear == Clear::Pml {
            p.bind(failed);
            pmd_lock(p, c, "spin_lock(pmd_ptl)", |p| {
                p.run("BUG_ON(!pmd_none(*pmd)); pmd_populate(mm, pmd, pmd_pgtable(_pmd))", move |k| {
                    k.reach(c.reach[1]);
                    relink(k, c.pmd, held.table);
                });
            });
            if let Some((h, _, anon_vma)) = heavy {
                drop(p, "anon_vma_unlock_write(vma->anon_vma)", h.anon_vma, anon_vma);
            }
        }
        p.bind(up_write);
        p.bind(done);
        if let Some((h, mmap)) = mmap {
            mmap_write_unlock(p, h.vma.mm, mmap);
        }
    });
}

fn revalidate(p: &mut Program, pmd: Slot, h: Heavy, up_write: Label) {
    if let Some(spans) = h.spans {
        p.function("hugepage_vma_revalidate", |p| {
            p.recheck("thp_vma_suitable_order(vma, address, PMD_ORDER)", up_write, move |k| k.get(spans) != 0);
        });
    }
    if h.order == Order::CheckThenLock {
        check_pmd_still_valid(p, pmd, up_write);
    }
    if h.vma_write {
        let guard = p.protect(Protection::Lock, "vma_start_write(vma)");
        if guard.is_active() {
            vma_start_write(p, h.vma, h.flavour);
        }
    }
    if h.order == Order::LockThenCheck {
        check_pmd_still_valid(p, pmd, up_write);
    }
}

fn check_pmd_still_valid(p: &mut Program, pmd: Slot, up_write: Label) {
    p.function("check_pmd_still_valid", |p| {
        p.recheck("find_pmd_or_thp_or_none(mm, address, &new_pmd)", up_write, move |k| k.pmd(pmd).map().is_some());
    });
}

fn pmd_lock(p: &mut Program, c: AnonCollapse, text: &'static str, body: impl FnOnce(&mut Program)) {
    let pml = take(p, text, c.pml, Mode::Write);
    body(p);
    drop(p, "spin_unlock(pmd_ptl)", c.pml, pml);
}

/// Unlinks the table that the PMD points to. I-UNLINK is checked if the locks are meant to be held.
fn flush(k: &mut Kernel<'_>, c: AnonCollapse, to: Local) {
    let Some(number) = Pmd::decode(k.read_entry(c.pmd)).map() else {
        k.violate(
            Invariant::BadPmd,
            "the PMD that was found to point to a table does not any more: nothing to collapse",
        );
        return;
    };
    k.set_local(to, number);
    // The live rules know only what some kernel does.
    if c.clear == Clear::Pml {
        k.say(Kind::CollapseHugePageEnter);
        k.say_flush(c.pmd, None);
    }
    if let Some(h) = c.heavy {
        let vma_write = !h.vma_write || h.vma.is_write_locked(k);
        let by = Unlinker {
            pml: k.holds(c.pml).is_some(),
            ptl: false,
            mmap_write: k.holds(h.vma.mm.mmap_lock) == Some(Mode::Write),
            vma_write,
            rmap_write: k.holds(h.anon_vma) == Some(Mode::Write),
            torn_down: false,
        };
        k.unlink(c.pmd, by);
    } else {
        let table = k.table(number);
        k.access(table, "the unlinking");
        k.pmd(c.pmd);
        k.set_pmd(c.pmd, Pmd::None);
        k.set_table_state(table, TableState::Unlinked);
    }
}

/// Checks that the PMD is still none (I-CLOBBER): `VM_WARN_ON_ONCE(!pmd_none(*pmd))`.
fn expect_none(k: &mut Kernel<'_>, pmd: Slot) {
    let now = k.pmd(pmd);
    k.require(now == Pmd::None, Invariant::Clobber, "the PMD was cleared by the collapse, and is not none any more");
}

fn relink(k: &mut Kernel<'_>, pmd: Slot, table: Local) {
    expect_none(k, pmd);
    let table = k.table(k.local(table));
    k.access(table, "the table is linked again");
    k.set_table_state(table, TableState::Linked);
    k.set_pmd(pmd, Pmd::Table(table.number()));
}

fn own_table(k: &Kernel<'_>, held: Held) -> Table {
    k.table(k.local(held.table))
}

fn pte_lock(p: &mut Program, held: Held, text: &'static str) -> Guard {
    p.lock(text, move |k| {
        let ptl = k.ptl(own_table(k, held));
        k.lock(ptl, Mode::Write)
    })
}

fn pte_unlock(p: &mut Program, held: Held, guard: Guard) {
    p.release(guard, "spin_unlock(pte_ptl)", move |k| {
        let ptl = k.ptl(own_table(k, held));
        k.unlock(ptl);
    });
}

fn clear_entries(k: &mut Kernel<'_>, held: Held) {
    let table = own_table(k, held);
    for index in 0..k.entries(table) {
        k.clear_own(Slot { table, index });
    }
}

fn tlb_remove_table_sync_one(p: &mut Program) {
    p.function("tlb_remove_table_sync_one", |p| {
        let asked = p.local("cpus with irqs off", 0);
        let guard = p.protect(Protection::Wait, "smp_call_function(tlb_remove_table_smp_sync)");
        if guard.is_active() {
            p.run("smp_call_function(tlb_remove_table_smp_sync)", move |k| {
                let off = k.irqs_off();
                k.set_local(asked, off);
            });
            p.step(
                "wait for the CPUs",
                move |k| {
                    if k.irqs_off() & k.local(asked) == 0 { Flow::Next } else { Flow::Block }
                },
            );
        }
    });
}

fn under_pml(p: &mut Program, c: AnonCollapse, held: Held, failed: Label) {
    pmd_lock(p, c, "pmd_ptl = pmd_lock(mm, pmd)", |p| {
        p.run("_pmd = pmdp_collapse_flush(vma, address, pmd)", move |k| flush(k, c, held.table));
    });
    if c.sync {
        tlb_remove_table_sync_one(p);
    }
    isolate(p, c, held, failed);
    if let (Then::Deposit | Then::Free(_), Some((h, _, anon_vma))) = (c.then, held.heavy) {
        drop(p, "anon_vma_unlock_write(vma->anon_vma)", h.anon_vma, anon_vma);
    }
    copy(p, c, held);
    pmd_lock(p, c, "spin_lock(pmd_ptl)", |p| {
        if c.then == Then::Relink {
            let ptl = p.function("spin_lock_nested", |p| pte_lock(p, held, "spin_lock_nested(pte_ptl)"));
            p.run("BUG_ON(!pmd_none(*pmd)); pmd_populate(mm, pmd, pmd_pgtable(_pmd))", move |k| {
                relink(k, c.pmd, held.table);
            });
            p.run("map_anon_folio_pte_nopf(folio, pte, vma, start_addr)", move |k| map_new(k, c, held));
            pte_unlock(p, held, ptl);
        } else {
            p.run("BUG_ON(!pmd_none(*pmd)); pgtable_trans_huge_deposit(mm, pmd, pgtable); set_pmd_at(mm, address, pmd, _pmd)", move |k| {
                k.reach(c.reach[0]);
                expect_none(k, c.pmd);
                let table = own_table(k, held);
                k.set_table_state(table, TableState::Deposited);
                k.set_pmd(c.pmd, Pmd::Huge(NEW));
            });
        }
    });
    match c.then {
        Then::Free(TableFree::Immediately) => p.run("pte_free(mm, pgtable)", move |k| {
            let table = own_table(k, held);
            k.free_now(table);
        }),
        Then::Free(TableFree::Rcu) => p.run("pte_free_defer(mm, pgtable)", move |k| {
            let table = own_table(k, held);
            k.free_rcu(table);
        }),
        Then::Relink | Then::Deposit => {}
    }
    if let (Then::Relink, Some((h, _, anon_vma))) = (c.then, held.heavy) {
        drop(p, "anon_vma_unlock_write(vma->anon_vma)", h.anon_vma, anon_vma);
    }
}

fn map_new(k: &mut Kernel<'_>, c: AnonCollapse, held: Held) {
    k.reach(c.reach[0]);
    let table = own_table(k, held);
    for index in 0..k.entries(table) {
        k.set_pte(Slot { table, index }, Pte::present(NEW));
    }
}

/// `__collapse_huge_page_isolate()`: fails if another thread has a reference to a page.
fn isolate(p: &mut Program, c: AnonCollapse, held: Held, failed: Label) {
    let fail = p.label();
    let ptl = p.function("pte_offset_map_lock", |p| {
        pte_lock(p, held, "pte = pte_offset_map_lock(mm, &_pmd, address, &pte_ptl)")
    });
    let out = p.label();
    p.function("__collapse_huge_page_isolate", |p| match c.page {
        Some(page) => p.branch("!is_refcount_suitable(folio): SCAN_PAGE_COUNT", fail, move |k| {
            let pinned = k.get(page.pins) != 0;
            if !pinned {
                k.set(page.state, Page::REPLACED);
            }
            pinned
        }),
        None => p.choice("result", 2, move |k| {
            if k.choice() == 0 {
                k.note(|| "SCAN_SUCCEED".to_owned());
                Flow::Next
            } else {
                k.note(|| "SCAN_PAGE_COUNT: a page has other references".to_owned());
                Flow::Goto(fail)
            }
        }),
    });
    pte_unlock(p, held, ptl);
    p.goto("result == SCAN_SUCCEED", out);
    p.bind(fail);
    pte_unlock(p, held, ptl);
    p.goto("result != SCAN_SUCCEED", failed);
    p.bind(out);
}

/// `__collapse_huge_page_copy()`, then the release of the old pages.
fn copy(p: &mut Program, c: AnonCollapse, held: Held) {
    p.function("__collapse_huge_page_copy", |p| {
        let ptl = pte_lock(p, held, "spin_lock(ptl)");
        p.run("ptep_clear(vma->vm_mm, address, _pte)", move |k| clear_entries(k, held));
        pte_unlock(p, held, ptl);
        if let Some(page) = c.page {
            p.run("free_folio_and_swap_cache(src)", move |k| {
                if k.get(page.pins) == 0 {
                    k.set(page.state, Page::FREED);
                }
            });
        }
    });
}

/// The whole collapse with PML and PTL held: no thread that takes either sees the table unlinked.
fn under_both(p: &mut Program, c: AnonCollapse, held: Held) {
    pmd_lock(p, c, "pmd_ptl = pmd_lock(mm, pmd)", |p| {
        p.run("_pmd = *pmd", move |k| {
            if let Some(number) = k.pmd(c.pmd).map() {
                k.set_local(held.table, number);
            }
        });
        let ptl = pte_lock(p, held, "spin_lock_nested(pte_ptl)");
        p.run("_pmd = pmdp_collapse_flush(vma, address, pmd)", move |k| flush(k, c, held.table));
        p.run("ptep_clear(vma->vm_mm, address, _pte)", move |k| clear_entries(k, held));
        p.run("BUG_ON(!pmd_none(*pmd)); pmd_populate(mm, pmd, pmd_pgtable(_pmd))", move |k| {
            relink(k, c.pmd, held.table);
        });
        p.run("map_anon_folio_pte_nopf(folio, pte, vma, start_addr)", move |k| map_new(k, c, held));
        pte_unlock(p, held, ptl);
    });
}
