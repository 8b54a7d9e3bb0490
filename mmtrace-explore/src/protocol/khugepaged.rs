//! The removal of page tables by khugepaged and `MADV_COLLAPSE` (mm/khugepaged.c; until 6.5, 6.6 to 6.12, 7.2).

use mmtrace_common::Kind;
use mmtrace_model::model::{
    invariant::Invariant,
    locks::exclusion::Mode,
    page_tables::entry::{Pmd, Pte},
};

use super::{
    Flow, Guard, Label, Local, Lock, Program, Slot, Table,
    file::{FileVma, MAYBE_GUARD, MAYBE_POISON, Mapping, PAGE, UFFD_ARMED, UFFD_WP},
    kernel::Kernel,
    mm::{mmap_read_lock, mmap_write_trylock, mmap_write_unlock},
    walk::{Mapped, pte_offset_map, pte_offset_map_lock, pte_unmap, pte_unmap_unlock},
};

/// *Sometimes*: the table is removed.
pub(crate) const REMOVED: u8 = 0;
/// *Sometimes*: the remover gives up once it holds the locks.
pub(crate) const GAVE_UP: u8 = 3;

/// The properties of a VMA that keep its table from being removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tests {
    /// `vma->anon_vma`.
    pub(crate) anon_vma: bool,
    /// One of these VMA flags.
    pub(crate) vm_flags: u8,
}

impl Tests {
    /// Nothing.
    pub(crate) const NONE: Self = Self { anon_vma: false, vm_flags: 0 };
    /// 6.6: anon_vma and uffd-wp.
    pub(crate) const WP: Self = Self { anon_vma: true, vm_flags: UFFD_WP };
    /// 7.2: the guard flag as well.
    pub(crate) const GUARD: Self = Self { anon_vma: true, vm_flags: UFFD_WP | MAYBE_GUARD };
    /// Any userfaultfd mode.
    pub(crate) const ARMED: Self = Self { anon_vma: true, vm_flags: UFFD_ARMED | MAYBE_GUARD };
    /// A flag for poison as well, which no kernel has.
    pub(crate) const POISON: Self = Self { anon_vma: true, vm_flags: UFFD_WP | MAYBE_GUARD | MAYBE_POISON };

    fn pass(self, k: &mut Kernel<'_>, area: FileVma) -> bool {
        !(area.flag(k, self.vm_flags) || self.anon_vma && area.has_anon_vma(k))
    }

    fn text(self) -> &'static str {
        match (self.anon_vma, self.vm_flags) {
            (true, UFFD_WP) => "!(vma->anon_vma || userfaultfd_wp(vma))",
            (false, UFFD_WP) => "!userfaultfd_wp(vma)",
            (false, UFFD_ARMED) => "!userfaultfd_armed(vma)",
            (false, MAYBE_GUARD) => "!(vma->vm_flags & VM_MAYBE_GUARD)",
            (true, 0) => "!vma->anon_vma",
            _ => "file_backed_vma_is_retractable(vma)",
        }
    }
}

/// The moment at which `retract_page_tables()` tests whether every entry of the table is none. No kernel does so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    /// Never.
    Never,
    /// Before it takes any lock of the tables.
    Unlocked,
    /// With the PML, before the PTL is taken.
    UnderPml,
    /// With the PTL, before the PML is taken. The PTL nests inside the PML, and is dropped in between.
    UnderPtl,
    /// Removes the table with PML and PTL held.
    UnderBoth,
}

/// The locks and tests with which `retract_page_tables()` removes a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retract {
    /// Whether mmap_lock and VMA are locked for write, by trylock. If not, PML and PTL are taken.
    pub(crate) mmap_trylock: bool,
    /// Tests before any lock of the tables.
    pub(crate) early: Tests,
    /// Tests once PML and PTL (or mmap_lock) are held.
    pub(crate) under: Tests,
    /// Whether the PMD must still point to a table once PML is held.
    pub(crate) check_pmd: bool,
    /// Whether the table is looked into.
    pub(crate) scan: Scan,
    /// Whether the PTL is taken only if it is not the PML, which it is where page-table locks are not split.
    pub(crate) if_split: bool,
}

impl Retract {
    /// As until 6.5.
    pub(crate) const TRYLOCK: Self = Self {
        mmap_trylock: true,
        early: Tests { anon_vma: true, vm_flags: 0 },
        under: Tests::WP,
        check_pmd: false,
        scan: Scan::Never,
        if_split: true,
    };
    /// As posted in May 2023.
    pub(crate) const POSTED: Self = Self {
        mmap_trylock: false,
        early: Tests::WP,
        under: Tests::NONE,
        check_pmd: false,
        scan: Scan::Never,
        if_split: true,
    };
    /// As 6.6 to 6.12 do.
    pub(crate) const V6_6: Self = Self { under: Tests::WP, ..Self::POSTED };
    /// 7.2.
    pub(crate) const V7_2: Self = Self { early: Tests::GUARD, under: Tests::GUARD, check_pmd: true, ..Self::POSTED };
}

fn put(k: &mut Kernel<'_>, lock: Lock) {
    if k.holds(lock).is_some() {
        k.unlock(lock);
    }
}

/// `if (ptl != pml) spin_unlock(ptl)`.
fn put_ptl(k: &mut Kernel<'_>, area: FileVma, table: Local) {
    let lock = k.ptl(k.table(k.local(table)));
    if lock != area.pml {
        put(k, lock);
    }
}

/// `spin_unlock()` of those of the two that are held.
fn unlock_both(p: &mut Program, area: FileVma, table: Local, ptl: Guard, pml: Guard) {
    p.release(ptl, "spin_unlock(ptl)", move |k| put_ptl(k, area, table));
    p.release(pml, "spin_unlock(pml)", move |k| put(k, area.pml));
}

/// `ptl = pte_lockptr(mm, pmd); spin_lock_nested(ptl)`, which assumes that the PMD points to a table.
fn lock_nested(p: &mut Program, rules: Retract, area: FileVma, table: Local) -> Guard {
    p.run("ptl = pte_lockptr(mm, pmd)", move |k| match k.pmd(area.pmd).map() {
        Some(number) => k.set_local(table, number),
        None => k.violate(Invariant::BadPmd, "the lock of a table is looked up, and the PMD does not point to one"),
    });
    p.lock("spin_lock_nested(ptl, SINGLE_DEPTH_NESTING)", move |k| {
        let table = k.table(k.local(table));
        k.access(table, "the lock is taken");
        let ptl = k.ptl(table);
        // if (ptl != pml)
        rules.if_split && ptl == area.pml || k.lock(ptl, Mode::Write)
    })
}

fn scan(p: &mut Program, pmd: Slot, otherwise: Label) {
    p.recheck("every entry of the table is none", otherwise, move |k| {
        k.pmd(pmd).map().is_some_and(|number| k.all_none(k.table(number)))
    });
}

fn flush(k: &mut Kernel<'_>, area: FileVma, removed: Local) {
    let Some(number) = Pmd::decode(k.read_entry(area.pmd)).map() else {
        k.violate(Invariant::BadPmd, "pmdp_collapse_flush() of a PMD that does not point to a table");
        return;
    };
    k.say_flush(area.pmd, Some((area.vma, area.vm_flags)));
    let rights = area.rights(k, k.table(number));
    k.unlink(area.pmd, rights);
    k.set_local(removed, number);
    k.reach(REMOVED);
}

/// `retract_page_tables(mapping, pgoff)`: removes the table of each of these VMAs, which
/// stand in this order in the rmap tree. The new folio is locked.
pub(crate) fn retract_page_tables(p: &mut Program, rules: Retract, mapping: Mapping, areas: &[FileVma]) {
    p.function("retract_page_tables", |p| {
        let (mode, lock, unlock) = if rules.mmap_trylock {
            (Mode::Write, "i_mmap_lock_write(mapping)", "i_mmap_unlock_write(mapping)")
        } else {
            (Mode::Read, "i_mmap_lock_read(mapping)", "i_mmap_unlock_read(mapping)")
        };
        // Until 6.5 the protocol is another one, with the mmap_lock, and emits no events here.
        let told = !rules.mmap_trylock;
        let i_mmap = p.lock(lock, move |k| {
            let free = k.lock(mapping.i_mmap, mode);
            if free && told {
                k.say_of_none(Kind::RetractPageTables);
            }
            free
        });
        let (table, removed) = (p.local("ptl", 0), p.local("pgt_pmd", 0));
        for area in areas {
            let next = p.label();
            let area = *area;
            p.branch("vma_interval_tree_foreach(vma, &mapping->i_mmap)", next, move |k| {
                !area.vma.is_in_rmap(k, mapping.i_mmap)
            });
            early(p, rules, area, next);
            if rules.mmap_trylock {
                retract_exclusively(p, rules, area, removed, next);
            } else {
                retract_one(p, rules, area, table, removed, next);
            }
            p.bind(next);
        }
        p.release(i_mmap, unlock, move |k| {
            k.unlock(mapping.i_mmap);
            if told {
                k.say_of_none(Kind::RetractPageTablesReturn);
            }
        });
    });
}

fn early(p: &mut Program, rules: Retract, area: FileVma, next: Label) {
    let find = |p: &mut Program| {
        p.branch("if (find_pmd_or_thp_or_none(mm, addr, &pmd) != SCAN_SUCCEED) continue", next, move |k| {
            k.pmd(area.pmd).map().is_none()
        });
    };
    // 7.2 has made one function of the two tests.
    if rules.check_pmd {
        find(p);
        let early = rules.early;
        p.branch("if (!file_backed_vma_is_retractable(vma)) continue", next, move |k| !early.pass(k, area));
    } else {
        p.branch("if (READ_ONCE(vma->anon_vma)) continue", next, move |k| area.has_anon_vma(k));
        find(p);
        let flags = rules.early.vm_flags;
        if flags != 0 {
            p.branch("if (userfaultfd_wp(vma)) continue", next, move |k| area.flag(k, flags));
        }
    }
    if rules.scan == Scan::Unlocked {
        scan(p, area.pmd, next);
    }
    if rules.scan == Scan::UnderPtl {
        p.function("the scan", |p| {
            let mapped = Mapped::new(p);
            let locked = pte_offset_map_lock(p, area.pmd, mapped, next);
            let (full, on) = (p.label(), p.label());
            scan(p, area.pmd, full);
            pte_unmap_unlock(p, locked);
            p.goto("go on", on);
            p.bind(full);
            pte_unmap_unlock(p, locked);
            p.goto("continue", next);
            p.bind(on);
        });
    }
}

/// Removes the table with PML and PTL held.
fn retract_one(p: &mut Program, rules: Retract, area: FileVma, table: Local, removed: Local, next: Label) {
    let (skip, drop_pml) = (p.label(), p.label());
    let pml = p.lock("pml = pmd_lock(mm, pmd)", move |k| k.lock(area.pml, Mode::Write));
    if rules.check_pmd {
        p.recheck("check_pmd_state(pmd) == SCAN_SUCCEED", drop_pml, move |k| k.pmd(area.pmd).map().is_some());
    }
    if rules.scan == Scan::UnderPml {
        scan(p, area.pmd, drop_pml);
    }
    let ptl = lock_nested(p, rules, area, table);
    if rules.under != Tests::NONE {
        p.recheck(rules.under.text(), skip, move |k| rules.under.pass(k, area));
    }
    if rules.scan == Scan::UnderBoth {
        scan(p, area.pmd, skip);
    }
    p.run("pgt_pmd = pmdp_collapse_flush(vma, addr, pmd)", move |k| flush(k, area, removed));
    unlock_both(p, area, table, ptl, pml);
    p.step("pte_free_defer(mm, pmd_pgtable(pgt_pmd))", move |k| {
        let freed = k.table(k.local(removed));
        k.say_freed(Kind::PteFreeDefer, freed);
        k.free_rcu(freed);
        k.set_local(removed, 0);
        k.set_local(table, 0);
        Flow::Goto(next)
    });
    p.bind(skip);
    p.release(ptl, "spin_unlock(ptl), and give up", move |k| {
        k.reach(GAVE_UP);
        put_ptl(k, area, table);
        k.set_local(table, 0);
    });
    p.bind(drop_pml);
    p.release(pml, "spin_unlock(pml)", move |k| put(k, area.pml));
}

/// Removes the table with the mmap_lock and the VMA locked for write, both by trylock, and no page-table lock held.
fn retract_exclusively(p: &mut Program, rules: Retract, area: FileVma, removed: Local, next: Label) {
    let unlock_next = p.label();
    let mmap = mmap_write_trylock(p, area.vma.mm, next);
    p.step("vma_try_start_write(vma)", move |k| {
        if k.readers(area.vma.lock) != 0 {
            return Flow::Goto(unlock_next);
        }
        let seq = k.get(area.vma.mm.lock_seq);
        k.set(area.vma.lock_seq, seq);
        Flow::Next
    });
    p.recheck(rules.under.text(), unlock_next, move |k| rules.under.pass(k, area));
    p.function("collapse_and_free_pmd", |p| {
        p.run("pmd = pmdp_collapse_flush(vma, addr, pmdp)", move |k| flush(k, area, removed));
        p.run("tlb_remove_table_sync_one(); pte_free(mm, pmd_pgtable(pmd))", move |k| {
            k.free_now(k.table(k.local(removed)));
            k.set_local(removed, 0);
        });
    });
    p.bind(unlock_next);
    mmap_write_unlock(p, area.vma.mm, mmap);
}

/// The end of `collapse_file()`: the new folio is in the page cache, and locked since before.
pub(crate) fn collapse_file(p: &mut Program, rules: Retract, mapping: Mapping, areas: &[FileVma]) {
    p.function("collapse_file", |p| {
        retract_page_tables(p, rules, mapping, areas);
        p.run("folio_unlock(new_folio)", move |k| k.unlock(mapping.folio));
    });
}

/// The VMAs for which `collapse_pte_mapped_thp()` takes the PML before the second scan, and so keeps the PTL until the
/// table is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PmlFirst {
    /// For private VMAs with a userfaultfd, as merged.
    UffdPrivate,
    /// For every VMA with a userfaultfd.
    Uffd,
    /// Always.
    Always,
}

/// The test that `collapse_pte_mapped_thp()` makes once it has taken both locks for the removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// Nothing but the PMD.
    Nothing,
    /// Flags of the VMA.
    Tests(Tests),
    /// Whether the table is still empty.
    Scan,
}

/// The locks and tests with which `collapse_pte_mapped_thp()` removes a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CollapsePte {
    /// Whether it reads the PMD again each time it has taken the locks, and stays in the RCU section, as 7.2 does.
    pub(crate) pmd_same: bool,
    /// The VMAs for which the PML is taken before the PTL.
    pub(crate) pml_first: PmlFirst,
    /// The test that is made with both locks held.
    pub(crate) last: Last,
    /// Whether the PML is tried with the PTL held, instead of dropping the PTL first.
    pub(crate) trylock: bool,
}

impl CollapsePte {
    /// 6.12.
    pub(crate) const V6_12: Self =
        Self { pmd_same: false, pml_first: PmlFirst::UffdPrivate, last: Last::Nothing, trylock: false };
    /// 7.2.
    pub(crate) const V7_2: Self = Self { pmd_same: true, ..Self::V6_12 };
}

/// `collapse_pte_mapped_thp(mm, addr, install_pmd: false)`: the page cache has a huge folio, the
/// table maps its pages.
pub(crate) fn collapse_pte_mapped_thp(p: &mut Program, rules: CollapsePte, area: FileVma) {
    let mm = area.vma.mm;
    let mmap = p.function("madvise_collapse", |p| mmap_read_lock(p, mm));
    let name = if rules.pmd_same { "try_collapse_pte_mapped_thp" } else { "collapse_pte_mapped_thp" };
    p.function(name, |p| {
        let (out, drop_folio) = (p.label(), p.label());
        p.branch("vma = vma_lookup(mm, haddr), else SCAN_VMA_CHECK", out, move |k| {
            let found = area.vma.find(k, 0);
            k.say(Kind::CollapsePteMappedThp);
            !found
        });
        p.branch("if (userfaultfd_wp(vma)) return SCAN_PTE_UFFD_WP", out, move |k| area.flag(k, UFFD_WP));
        let folio = p.lock("filemap_lock_folio(mapping, pgoff)", move |k| k.lock(area.mapping.folio, Mode::Write));
        p.branch(
            "if (find_pmd_or_thp_or_none(mm, haddr, &pmd) != SCAN_SUCCEED) goto drop_folio",
            drop_folio,
            move |k| k.pmd(area.pmd).map().is_none(),
        );
        first_scan(p, area, drop_folio);
        let work = Work { rules, area, mapped: Mapped::new(p), pml: p.local("pml", 0), drop_folio };
        second_scan(p, work);
        p.bind(drop_folio);
        p.release(folio, "folio_unlock(folio)", move |k| k.unlock(area.mapping.folio));
        p.bind(out);
    });
    p.function("madvise_collapse", |p| {
        p.release(mmap, "mmap_read_unlock(mm)", move |k| {
            k.say(Kind::CollapsePteMappedThpReturn);
            mm.read_unlock_now(k);
        });
    });
}

/// Returns whether every entry is none or maps the folio.
fn of_folio(k: &mut Kernel<'_>, table: Table) -> bool {
    (0..k.entries(table)).all(|index| {
        matches!(k.pte(Slot { table, index }), Pte::None | Pte::Present { page: PAGE, uffd_wp: false, .. })
    })
}

fn first_scan(p: &mut Program, area: FileVma, drop_folio: Label) {
    let (mapped, abort, on) = (Mapped::new(p), p.label(), p.label());
    let locked = pte_offset_map_lock(p, area.pmd, mapped, drop_folio);
    p.branch("step 1: every PTE is none or maps the folio, else abort", abort, move |k| {
        let table = k.table(k.local(mapped.table));
        !of_folio(k, table)
    });
    pte_unmap_unlock(p, locked);
    p.goto("mmu_notifier_invalidate_range_start(&range)", on);
    p.bind(abort);
    pte_unmap_unlock(p, locked);
    p.goto("goto drop_folio", drop_folio);
    p.bind(on);
}

#[derive(Clone, Copy)]
struct Work {
    rules: CollapsePte,
    area: FileVma,
    mapped: Mapped,
    /// The PML was taken first.
    pml: Local,
    drop_folio: Label,
}

fn second_scan(p: &mut Program, w: Work) {
    let Work { rules, area, mapped, pml, drop_folio } = w;
    let (abort, unmap) = (p.label(), p.label());
    let first = match rules.pml_first {
        PmlFirst::UffdPrivate => "if (userfaultfd_armed(vma) && !VM_SHARED) pml = pmd_lock(mm, pmd)",
        PmlFirst::Uffd => "if (userfaultfd_armed(vma)) pml = pmd_lock(mm, pmd)",
        PmlFirst::Always => "pml = pmd_lock(mm, pmd)",
    };
    // Only the locks that are held are released at the end.
    let _pml = p.lock(first, move |k| {
        let wanted = match rules.pml_first {
            PmlFirst::UffdPrivate => !area.shared && area.flag(k, UFFD_ARMED),
            PmlFirst::Uffd => area.flag(k, UFFD_ARMED),
            PmlFirst::Always => true,
        };
        if !wanted {
            k.note(|| "not so: PML is not taken yet".to_owned());
            return true;
        }
        k.set_local(pml, 1);
        k.lock(area.pml, Mode::Write)
    });
    let rcu = pte_offset_map(p, area.pmd, mapped, abort);
    let ptl = p.lock("spin_lock(ptl)", move |k| lock_mapped(k, mapped));
    if rules.pmd_same {
        pmd_same(p, w, unmap);
    }
    p.step("step 2: ptep_clear() of every PTE that maps the folio, else abort", move |k| {
        let table = k.table(k.local(mapped.table));
        if !of_folio(k, table) {
            return Flow::Goto(unmap);
        }
        for index in 0..k.entries(table) {
            let slot = Slot { table, index };
            if !k.pte(slot).is_none() {
                k.set_pte(slot, Pte::None);
            }
        }
        Flow::Next
    });
    // 6.12 has left the RCU section by now.
    let late = if rules.pmd_same { unmap } else { abort };
    if !rules.pmd_same {
        pte_unmap(p, rcu);
    }
    let (locked, flush_it) = (p.label(), p.label());
    if rules.pml_first == PmlFirst::Always {
        // Both are held since before the scan.
    } else if rules.trylock {
        p.branch("if (pml)", locked, move |k| k.local(pml) != 0);
        p.step("pmd_trylock(mm, pmd), else abort", move |k| {
            if k.trylock(area.pml, Mode::Write) { Flow::Next } else { Flow::Goto(late) }
        });
    } else {
        p.branch("if (pml)", flush_it, move |k| k.local(pml) != 0);
        p.release(ptl, "spin_unlock(ptl)", move |k| {
            let lock = k.ptl(k.table(k.local(mapped.table)));
            put(k, lock);
        });
        let _pml = p.lock("step 4: pml = pmd_lock(mm, pmd)", move |k| k.lock(area.pml, Mode::Write));
        let _ptl = p.lock("spin_lock_nested(ptl, SINGLE_DEPTH_NESTING)", move |k| lock_mapped(k, mapped));
        if rules.pmd_same {
            pmd_same(p, w, unmap);
        }
        match rules.last {
            Last::Nothing => {}
            Last::Tests(tests) => p.recheck(tests.text(), late, move |k| tests.pass(k, area)),
            Last::Scan => scan(p, area.pmd, late),
        }
    }
    p.bind(flush_it);
    p.bind(locked);
    let removed = p.local("pgt_pmd", 0);
    p.run("pgt_pmd = pmdp_collapse_flush(vma, haddr, pmd)", move |k| flush(k, area, removed));
    p.run("spin_unlock(ptl)", move |k| {
        let lock = k.ptl(k.table(k.local(mapped.table)));
        put(k, lock);
    });
    if rules.pmd_same {
        pte_unmap(p, rcu);
    }
    p.run("spin_unlock(pml)", move |k| put(k, area.pml));
    p.step("pte_free_defer(mm, pmd_pgtable(pgt_pmd))", move |k| {
        let freed = k.table(k.local(removed));
        k.say_freed(Kind::PteFreeDefer, freed);
        k.free_rcu(freed);
        Flow::Goto(drop_folio)
    });
    p.bind(unmap);
    pte_unmap(p, rcu);
    p.bind(abort);
    p.run("abort: spin_unlock(ptl), spin_unlock(pml) as far as they are held", move |k| {
        k.reach(GAVE_UP);
        let lock = k.ptl(k.table(k.local(mapped.table)));
        put(k, lock);
        put(k, area.pml);
    });
}

fn lock_mapped(k: &mut Kernel<'_>, mapped: Mapped) -> bool {
    let table = k.table(k.local(mapped.table));
    k.access(table, "the lock is taken");
    let ptl = k.ptl(table);
    k.lock(ptl, Mode::Write)
}

fn pmd_same(p: &mut Program, w: Work, abort: Label) {
    p.recheck("pmd_same(pgt_pmd, pmdp_get_lockless(pmd))", abort, move |k| {
        k.pmd(w.area.pmd).encode() == k.local(w.mapped.pmdval)
    });
}
