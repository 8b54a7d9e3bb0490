//! TLBs (mm/mmu_gather.c; arch/x86/mm/tlb.c; 6.12 and 7.2).
//!
//! A CPU that runs a thread of the mm can keep a translation until it is flushed. A load through the translation reads no
//! table and takes no lock.

use mmtrace_model::model::{invariant::Invariant, page_tables::entry::Pte};

use super::{Cell, Flow, Kernel, Program, Protection, Slot, World, unmap::zap_pte_range};

/// One page, and the CPUs that can reach it through a translation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tlb {
    /// CPUs with a translation, bit by the thread that runs there.
    cpus: Cell,
    /// The page is freed.
    freed: Cell,
}

impl Tlb {
    /// Adds a page that is mapped, and of which no CPU has a translation.
    pub(crate) fn new(w: &mut World) -> Self {
        Self { cpus: w.cell("TLB", 0), freed: w.cell("page freed", 0) }
    }

    fn has(self, k: &mut Kernel<'_>) -> bool {
        k.get(self.cpus) & 1 << k.me() != 0
    }
}

/// A read of the page in user mode. Reaches `reach` if it goes through a translation that the CPU has kept.
pub(crate) fn user_reads(p: &mut Program, pmd: Slot, index: u8, tlb: Tlb, reach: u8) {
    p.function("user mode", |p| {
        let fault = p.label();
        p.step("a load: the CPU walks the tables", move |k| {
            let Some(number) = k.pmd(pmd).map() else { return Flow::Goto(fault) };
            let table = k.table(number);
            if !matches!(k.pte(Slot { table, index }), Pte::Present { .. }) {
                return Flow::Goto(fault);
            }
            let cpus = k.get(tlb.cpus);
            k.set(tlb.cpus, cpus | 1 << k.me());
            Flow::Next
        });
        p.branch("a load: nothing is kept, so it faults", fault, move |k| !tlb.has(k));
        p.run("the load, through the TLB", move |k| {
            if tlb.has(k) {
                k.reach(reach);
                let freed = k.get(tlb.freed) != 0;
                k.require(!freed, Invariant::Tlb, "a page is read that is freed");
            }
        });
        p.bind(fault);
        p.run("another mm runs on this CPU", move |k| {
            let cpus = k.get(tlb.cpus);
            k.set(tlb.cpus, cpus & !(1 << k.me()));
        });
    });
}

/// The moment at which a gathered page is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Free {
    /// After the flush.
    Flushed,
    /// Before it.
    Unflushed,
}

/// `MADV_DONTNEED` of the page: zaps, flushes and frees it. Reaches `reach` if a CPU had kept a translation.
pub(crate) fn madvise_dontneed(p: &mut Program, pmd: Slot, tlb: Tlb, free: Free, reach: u8) {
    p.function("madvise_dontneed_single_vma", |p| zap_pte_range(p, pmd, 0));
    p.function("tlb_finish_mmu", |p| {
        if free == Free::Unflushed {
            free_page(p, tlb);
        }
        let flush = "tlb_flush_mmu_tlbonly(tlb): every CPU of the mm has answered";
        if p.protect(Protection::Wait, flush).is_active() {
            p.run(flush, move |k| {
                if k.get(tlb.cpus) != 0 {
                    k.reach(reach);
                }
                k.set(tlb.cpus, 0);
            });
        }
        if free == Free::Flushed {
            free_page(p, tlb);
        }
    });
}

fn free_page(p: &mut Program, tlb: Tlb) {
    p.run("tlb_batch_pages_flush(tlb): the page is freed", move |k| {
        let kept = k.get(tlb.cpus) != 0;
        k.require(!kept, Invariant::Tlb, "the page is freed, and a CPU has a translation to it");
        k.set(tlb.freed, 1);
    });
}
