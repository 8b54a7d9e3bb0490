//! gup-fast: a walk of the page tables with interrupts off and no lock held (mm/gup.c, 6.12 and 7.2).

use mmtrace_model::model::{invariant::Invariant, page_tables::entry::Pte};

use super::{Flow, Program, Protection, Slot, anon_collapse::Page, unmap};

/// The address that gup-fast walks to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GupFast {
    /// The PMD entry.
    pub(crate) pmd: Slot,
    /// The entry in the table.
    pub(crate) index: u8,
    /// Whether the PMD is read again once there is a reference, as since 6.1.
    pub(crate) recheck_pmd: bool,
    /// The page.
    pub(crate) page: Page,
    /// Bits of [`super::Kernel::reach`] for "a page is returned" and "it backs off from one it had a reference to".
    pub(crate) reach: [u8; 2],
}

/// `gup_fast()`.
pub(crate) fn gup_fast(p: &mut Program, g: GupFast) {
    p.function("gup_fast", |p| {
        let (table, pte) = (p.local("pmd", 0), p.local("pte", 0));
        let (out, put) = (p.label(), p.label());
        let irqs = p.protect(Protection::Rcu, "local_irq_save(flags)");
        p.release(irqs, "local_irq_save(flags)", |k| k.irq_disable());
        p.function("gup_fast_pmd_range", |p| {
            p.step("pmd = pmdp_get_lockless(pmdp)", move |k| match k.pmd(g.pmd).map() {
                Some(number) => {
                    k.set_local(table, number);
                    Flow::Next
                }
                None => Flow::Goto(out),
            });
        });
        p.function("gup_fast_pte_range", |p| {
            let at = move |k: &super::Kernel<'_>| Slot { table: k.table(k.local(table)), index: g.index };
            p.step("pte = ptep_get_lockless(ptep)", move |k| {
                let at = at(k);
                let value = k.pte(at);
                k.set_local(pte, value.encode());
                if matches!(value, Pte::Present { .. }) { Flow::Next } else { Flow::Goto(out) }
            });
            p.step("folio = try_grab_folio_fast(page, 1, flags)", move |k| {
                if k.get(g.page.state) == Page::FREED {
                    return Flow::Goto(out);
                }
                let pins = k.get(g.page.pins);
                k.set(g.page.pins, pins | 1 << k.me());
                Flow::Next
            });
            if g.recheck_pmd {
                p.recheck("pmd_val(pmd) == pmd_val(*pmdp)", put, move |k| {
                    let now = k.pmd(g.pmd).map();
                    now == Some(k.local(table))
                });
            }
            p.recheck("pte_val(pte) == pte_val(ptep_get(ptep))", put, move |k| {
                let at = at(k);
                k.pte(at).encode() == k.local(pte)
            });
            p.run("pages[*nr] = page", move |k| {
                k.reach(g.reach[0]);
                match k.get(g.page.state) {
                    Page::MAPPED => {}
                    Page::REUSED => k.violate(Invariant::Pin, "gup-fast returns a page that belongs to others by now"),
                    _ => k.violate(
                        Invariant::Pin,
                        "gup-fast returns a page whose contents are already being moved to the new folio",
                    ),
                }
            });
            p.goto("ret = 1", out);
            p.bind(put);
            p.run("gup_put_folio(folio, 1, flags)", move |k| {
                k.reach(g.reach[1]);
                let pins = k.get(g.page.pins) & !(1 << k.me());
                k.set(g.page.pins, pins);
            });
        });
        p.bind(out);
        p.release(irqs, "local_irq_restore(flags)", |k| k.irq_enable());
    });
}

/// MADV_DONTNEED of the page. It is freed if there is no other reference, and allocated again (`reused`).
pub(crate) fn zap_and_reuse(p: &mut Program, pmd: Slot, page: Page, reused: u8) {
    p.function("madvise_dontneed_single_vma", |p| {
        unmap::zap_pte_range(p, pmd, 0);
        p.function("tlb_finish_mmu", |p| {
            p.run("free_pages_and_swap_cache(): the last reference", move |k| {
                if k.get(page.pins) == 0 {
                    k.set(page.state, Page::FREED);
                }
            });
        });
    });
    p.function("alloc_pages", |p| {
        p.run("the page is somebody else's", move |k| {
            if k.get(page.state) == Page::FREED {
                k.set(page.state, Page::REUSED);
                k.reach(reused);
            }
        });
    });
}
