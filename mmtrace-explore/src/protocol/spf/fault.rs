//! `handle_speculative_fault()`, with its switches.

use mmtrace_model::model::{
    invariant::Invariant,
    locks::exclusion::Mode,
    page_tables::entry::{Pmd, Pte},
};

use super::{SpfMm, SpfVma};
use crate::protocol::{
    Cell, Flow, Guard, Kernel, Label, Local, Program, Protection, Slot, Table, nolock::set_pte_seen,
};

/// The moments at which a fault tests whether its VMA is erased from the tree (`q.dead`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dead {
    /// Each time that it tests the sequence: `vma_has_changed()`.
    Final,
    /// Once, after the sequence is read.
    EarlyAfter,
    /// Once, before the sequence is read.
    EarlyBefore,
    /// Never.
    Never,
}

/// The function that takes the PTL (`q.ptl`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PtlBy {
    /// `spin_lock()` with interrupts off: patch 8 of v5.
    Spin,
    /// `spin_trylock()`: patch 9 of v5 and later.
    Try,
}

/// The moment at which the entries are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadEntry {
    /// After `local_irq_enable()`, through the pointer to the PMD entry: v5.
    Outside,
    /// In the first section with interrupts off: later postings.
    Inside,
}

/// The PMD value by which the PTL is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockOf {
    /// The value that the walk has read.
    Remembered,
    /// A value that `pte_lockptr(mm, vmf->pmd)` reads once more.
    Reread,
}

/// The switches of a fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Switches {
    /// `q.dead`.
    pub(crate) dead: Dead,
    /// `q.ptl`.
    pub(crate) ptl: PtlBy,
    /// The moment at which the entries are read.
    pub(crate) read: ReadEntry,
    /// `pmd_same()` before the PTL is taken: later postings, with THP.
    pub(crate) pmd_same: bool,
    /// The PMD value by which the PTL is found.
    pub(crate) lock_of: LockOf,
}

impl Switches {
    /// As the last version posted, v12, except that the PTL is that of the PMD value that was read.
    pub(crate) const V12: Self = Self {
        dead: Dead::Final,
        ptl: PtlBy::Try,
        read: ReadEntry::Inside,
        pmd_same: true,
        lock_of: LockOf::Remembered,
    };
    /// As the former, without a PMD value to compare: the sequence and the tree alone decide.
    pub(crate) const SEQUENCE: Self = Self { pmd_same: false, ..Self::V12 };
}

/// A fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spf {
    /// The mm.
    pub(crate) mm: SpfMm,
    /// The VMA that the lookup finds.
    pub(crate) vma: SpfVma,
    /// The page that faults.
    pub(crate) addr: u8,
    /// The index that its page must get, if that is checked (I-IDX).
    pub(crate) index: Option<u8>,
    /// Its entry in the table.
    pub(crate) entry: u8,
    /// Whether it writes.
    pub(crate) write: bool,
    /// The switches.
    pub(crate) switches: Switches,
    /// The *sometimes* properties that it reaches, by number: the page is mapped; the fault gives up; it gives up
    /// although VMA and tables are as they were.
    pub(crate) shows: [u8; 3],
    /// Whether an odd sequence without a writer is a violation (G-SPEC).
    pub(crate) ask_spec: bool,
}

#[derive(Clone, Copy)]
struct Vmf {
    seq: Local,
    pmd: Local,
    orig_pmd: Local,
    pgoff: Local,
}

/// `srcu_read_lock(&vma_srcu)`. It is a protection.
fn srcu_read_lock(p: &mut Program, srcu: Cell) -> Guard {
    let guard = p.protect(Protection::Rcu, "idx = srcu_read_lock(&vma_srcu)");
    if guard.is_active() {
        p.run("idx = srcu_read_lock(&vma_srcu)", move |k| {
            let readers = k.get(srcu);
            k.set(srcu, readers | 1 << k.me());
        });
    }
    guard
}

/// `srcu_read_unlock(&vma_srcu, idx)`: a VMA no longer waits for this thread.
fn srcu_read_unlock(p: &mut Program, f: Spf, guard: Guard) {
    p.release(guard, "srcu_read_unlock(&vma_srcu, idx)", move |k| {
        let me = 1 << k.me();
        let readers = k.get(f.mm.srcu);
        k.set(f.mm.srcu, readers & !me);
        let grace = k.get(f.vma.grace);
        k.set(f.vma.grace, grace & !me);
    });
}

/// A section with interrupts off, which keeps the page tables. It is a protection.
fn irq_disable(p: &mut Program, nth: &str) -> Guard {
    let text = format!("local_irq_disable(){nth}");
    let guard = p.protect(Protection::Rcu, &text);
    if guard.is_active() {
        p.run(text, |k| k.irq_disable());
    }
    guard
}

fn irq_enable(p: &mut Program, guard: Guard) {
    p.release(guard, "local_irq_enable()", |k| k.irq_enable());
}

/// `handle_speculative_fault()`: takes no mmap_sem, and gives up if anything changes.
pub(crate) fn speculative_fault(p: &mut Program, f: Spf) {
    let (v, q) = (f.vma, f.switches);
    let vmf = Vmf {
        seq: p.local("seq", 0),
        pmd: p.local("vmf.pmd", 0),
        orig_pmd: p.local("vmf.orig_pmd", 0),
        pgoff: p.local("vmf.pgoff", 0),
    };
    p.function("handle_speculative_fault", |p| {
        let (unlock, changed, out) = (p.label(), p.label(), p.label());
        let srcu = srcu_read_lock(p, f.mm.srcu);
        p.step(format!("{} = find_vma_srcu(mm, address)", v.name), move |k| {
            if k.get(v.erased) == 0 { Flow::Next } else { Flow::Goto(unlock) }
        });
        if q.dead == Dead::EarlyBefore || q.dead == Dead::Final {
            dead(p, v, "RB_EMPTY_NODE(&vma->vm_rb), before the sequence", unlock);
        }
        read_sequence(p, f, vmf, unlock);
        if q.dead == Dead::EarlyAfter {
            dead(p, v, "RB_EMPTY_NODE(&vma->vm_rb), after the sequence", unlock);
        }
        bounds(p, f, unlock);
        p.recheck("!read_seqcount_retry(&vma->vm_sequence, seq)", changed, move |k| {
            v.read(k, v.seq, "vm_sequence") == k.local(vmf.seq)
        });
        walk(p, f, vmf, unlock);
        p.function("handle_pte_fault", |p| {
            if q.read == ReadEntry::Outside {
                read_entries(p, f, vmf, unlock);
            }
            p.function("do_anonymous_page", |p| map(p, f, vmf, changed));
        });
        p.goto("return 0", out);
        p.bind(changed);
        p.run("return VM_FAULT_RETRY", move |k| false_abort(k, f, vmf));
        p.bind(unlock);
        p.run("ret = VM_FAULT_RETRY", move |k| k.reach(f.shows[1]));
        p.bind(out);
        srcu_read_unlock(p, f, srcu);
    });
}

fn dead(p: &mut Program, v: SpfVma, text: &'static str, unlock: Label) {
    p.recheck(text, unlock, move |k| v.read(k, v.erased, "erased") == 0);
}

fn read_sequence(p: &mut Program, f: Spf, vmf: Vmf, unlock: Label) {
    let v = f.vma;
    p.step("seq = raw_read_seqcount(&vma->vm_sequence), odd: out", move |k| {
        let seq = v.read(k, v.seq, "vm_sequence");
        k.set_local(vmf.seq, seq);
        if seq.is_multiple_of(2) {
            return Flow::Next;
        }
        if f.ask_spec && k.get(v.writers) == 0 {
            k.violate(Invariant::Spec, "the sequence is odd and nobody writes: every fault here is refused for ever");
        }
        Flow::Goto(unlock)
    });
}

fn bounds(p: &mut Program, f: Spf, unlock: Label) {
    let v = f.vma;
    p.step("address < vma->vm_start: out", move |k| {
        if f.addr < v.read(k, v.start, "vm_start") { Flow::Goto(unlock) } else { Flow::Next }
    });
    p.step("vma->vm_end <= address: out", move |k| {
        if v.read(k, v.end, "vm_end") <= f.addr { Flow::Goto(unlock) } else { Flow::Next }
    });
    if f.write {
        p.step("!(vma->vm_flags & VM_WRITE): out", move |k| {
            if v.read(k, v.write, "VM_WRITE") == 0 { Flow::Goto(unlock) } else { Flow::Next }
        });
    }
}

/// The walk to the PMD entry with interrupts off, as in gup-fast. No table is allocated.
fn walk(p: &mut Program, f: Spf, vmf: Vmf, unlock: Label) {
    let v = f.vma;
    let out_walk = p.label();
    let irq = irq_disable(p, ", for the walk");
    p.step("pud_none(*pud): out", move |k| {
        if k.get(f.mm.pud) == 0 {
            return Flow::Goto(out_walk);
        }
        k.set_local(vmf.pmd, f.mm.pmd.table.number());
        Flow::Next
    });
    if f.switches.read == ReadEntry::Inside {
        read_entries(p, f, vmf, out_walk);
    } else {
        p.step("pmd_none(*pmd): out", move |k| match k.pmd(f.mm.pmd) {
            Pmd::Table(_) => Flow::Next,
            _ => Flow::Goto(out_walk),
        });
    }
    p.run("vmf.pgoff = (address - vma->vm_start) >> PAGE_SHIFT", move |k| {
        let start = v.read(k, v.start, "vm_start");
        k.set_local(vmf.pgoff, f.addr.wrapping_sub(start));
    });
    p.run("vmf.pgoff += vma->vm_pgoff", move |k| {
        let pgoff = v.read(k, v.pgoff, "vm_pgoff");
        k.set_local(vmf.pgoff, k.local(vmf.pgoff).wrapping_add(pgoff));
    });
    irq_enable(p, irq);
    let walked = p.label();
    p.goto("handle_pte_fault(&vmf)", walked);
    p.bind(out_walk);
    irq_enable(p, irq);
    p.goto("goto unlock", unlock);
    p.bind(walked);
}

/// `vmf.orig_pmd` and `vmf.orig_pte`: only an empty entry of a table is filled here.
fn read_entries(p: &mut Program, f: Spf, vmf: Vmf, none: Label) {
    p.step("vmf.orig_pmd = READ_ONCE(*pmd), none: out", move |k| {
        let pmd = k.pmd(f.mm.pmd);
        k.set_local(vmf.orig_pmd, pmd.encode());
        if matches!(pmd, Pmd::Table(_)) { Flow::Next } else { Flow::Goto(none) }
    });
    p.step("vmf.orig_pte = READ_ONCE(*pte), present: out", move |k| {
        let Some(table) = Pmd::decode(k.local(vmf.orig_pmd)).map() else { return Flow::Goto(none) };
        let slot = Slot { table: k.table(table), index: f.entry };
        if k.pte(slot).is_none() { Flow::Next } else { Flow::Goto(none) }
    });
}

/// `vma_has_changed()`.
fn unchanged(k: &mut Kernel<'_>, f: Spf, vmf: Vmf) -> bool {
    let v = f.vma;
    let erased = f.switches.dead == Dead::Final && v.read(k, v.erased, "erased") != 0;
    !erased && v.read(k, v.seq, "vm_sequence") == k.local(vmf.seq)
}

fn table_of(k: &Kernel<'_>, vmf: Vmf) -> Table {
    k.table(Pmd::decode(k.local(vmf.orig_pmd)).map().unwrap_or_default())
}

/// `pte_map_lock()` and what follows under the PTL.
fn map(p: &mut Program, f: Spf, vmf: Vmf, changed: Label) {
    let q = f.switches;
    let (fail, fail_locked) = (p.label(), p.label());
    let ptl = p.function("pte_map_lock", |p| {
        let irq = irq_disable(p, ", for the lock");
        p.recheck("!vma_has_changed(vmf), before the PTL", fail, move |k| unchanged(k, f, vmf));
        if q.pmd_same {
            p.recheck("pmd_same(READ_ONCE(*vmf->pmd), vmf->orig_pmd)", fail, move |k| {
                k.pmd(f.mm.pmd).encode() == k.local(vmf.orig_pmd)
            });
        }
        if q.lock_of == LockOf::Reread {
            p.run("ptl = pte_lockptr(vmf->vma->vm_mm, vmf->pmd)", move |k| {
                if !matches!(k.pmd(f.mm.pmd), Pmd::Table(_)) {
                    k.violate(Invariant::BadPmd, "the PTL is looked for in what a cleared PMD entry points to");
                }
            });
        }
        let ptl = spin(p, q.ptl, vmf, fail);
        p.recheck("!vma_has_changed(vmf), under the PTL", fail_locked, move |k| unchanged(k, f, vmf));
        irq_enable(p, irq);
        let mapped = p.label();
        p.goto("return true", mapped);
        p.bind(fail_locked);
        p.release(ptl, "pte_unmap_unlock(pte, ptl)", move |k| k.unlock(k.ptl(table_of(k, vmf))));
        p.bind(fail);
        irq_enable(p, irq);
        p.goto("return false", changed);
        p.bind(mapped);
        ptl
    });
    let present = p.label();
    p.recheck("pte_none(*vmf->pte)", present, move |k| {
        let table = table_of(k, vmf);
        k.pte(Slot { table, index: f.entry }).is_none()
    });
    p.run("set_pte_at(vma->vm_mm, vmf->address, vmf->pte, entry)", move |k| {
        k.reach(f.shows[0]);
        let table = table_of(k, vmf);
        if f.index.is_some_and(|index| index != k.local(vmf.pgoff)) {
            k.violate(Invariant::Idx, "the page gets an index that its VMA does not imply");
        }
        if f.write && k.get(f.mm.denied) != 0 {
            k.violate(Invariant::Prot, "a writable entry is made after mprotect has denied writing and returned");
        }
        set_pte_seen(k, Slot { table, index: f.entry }, 0, Pte::Present { page: 1, write: f.write, uffd_wp: false });
    });
    p.bind(present);
    p.release(ptl, "pte_unmap_unlock(vmf->pte, vmf->ptl)", move |k| k.unlock(k.ptl(table_of(k, vmf))));
}

fn spin(p: &mut Program, by: PtlBy, vmf: Vmf, fail: Label) -> Guard {
    match by {
        PtlBy::Spin => p.lock("spin_lock(ptl)", move |k| {
            let table = table_of(k, vmf);
            k.access(table, "the lock is taken");
            k.lock(k.ptl(table), Mode::Write)
        }),
        PtlBy::Try => {
            let guard = p.protect(Protection::Lock, "spin_trylock(ptl)");
            if guard.is_active() {
                p.step("spin_trylock(ptl)", move |k| {
                    let table = table_of(k, vmf);
                    k.access(table, "the lock is tried");
                    if k.trylock(k.ptl(table), Mode::Write) { Flow::Next } else { Flow::Goto(fail) }
                });
            }
            guard
        }
    }
}

/// The fault gives up. Notes whether VMA and tables are as they were, so that it need not have.
fn false_abort(k: &mut Kernel<'_>, f: Spf, vmf: Vmf) {
    let v = f.vma;
    let same = k.get(v.erased) == 0
        && k.get(v.start) <= f.addr
        && f.addr < k.get(v.end)
        && (!f.write || k.get(v.write) != 0)
        && k.get(f.mm.pud) != 0
        && matches!(k.pmd(f.mm.pmd), Pmd::Table(_));
    if same && k.get(v.seq) != k.local(vmf.seq) {
        k.reach(f.shows[2]);
    }
}
