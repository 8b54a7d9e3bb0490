//! Hugetlb page tables: the vma lock, walks, and PMD tables that several VMAs share
//! (mm/hugetlb.c, mm/rmap.c, mm/pagewalk.c; 6.12 and 7.2).
//!
//! A PUD entry is a cell: 0, or the number of its PMD table plus 1. The entries of a shared table P are the huge pages, under
//! P's lock.

pub(crate) mod fault;
pub(crate) mod unmap;

use mmtrace_common::Kind;
use mmtrace_model::model::{
    invariant::Invariant,
    locks::exclusion::{Mode, Rank},
    page_tables::{entry::Pte, lifecycle::TableState},
};

use super::{
    Cell, Flow, Guard, Label, Layout, Local, Lock, Program, Protection, Slot, Table, World,
    kernel::Kernel,
    mm::{Mm, drop, mmap_read_lock, mmap_read_unlock, take},
};
use crate::system::Look;

/// `struct hugetlb_vma_lock`, which is freed with its last reference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VmaLock {
    /// `rw_sema`.
    pub(crate) sem: Lock,
    /// `refs`.
    pub(crate) refs: Cell,
    /// `vma`: 0 once the lock is detached.
    pub(crate) vma: Cell,
}

impl VmaLock {
    /// Adds a lock that is attached, with this many references besides the VMA's own.
    pub(crate) fn new(w: &mut World, name: &str, others: u8) -> Self {
        Self {
            sem: w.lock(format!("vma_lock({name})"), Some(Rank::HugetlbVmaLock)),
            refs: w.cell(format!("vma_lock({name}).refs"), 1 + others),
            vma: w.cell(format!("vma_lock({name}).vma"), 1),
        }
    }

    /// Checks that it is not freed (I-UAF-HL).
    pub(crate) fn access(self, k: &mut Kernel<'_>, what: &str) {
        if k.get(self.refs) == 0 {
            k.violate(Invariant::UafHl, format!("{what} of a hugetlb vma_lock that is freed"));
        }
    }

    /// `kref_put(&vma_lock->refs, hugetlb_vma_lock_release)`.
    pub(crate) fn put(self, k: &mut Kernel<'_>) {
        self.access(k, "a reference");
        let refs = k.get(self.refs);
        k.set(self.refs, refs.saturating_sub(1));
        if refs == 1 {
            k.note(|| "vma_lock is freed".to_owned());
        }
    }
}

/// The lock that `hugetlb_vma_lock_*()` of a VMA takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Serial {
    /// Of a `VM_MAYSHARE` VMA: the vma_lock, as long as it is attached.
    Shareable(VmaLock),
    /// Of the owner of a private reservation: `resv_map->rw_sema`.
    Reservation(Lock),
    /// Of a private VMA without a reservation: none.
    Nothing,
}

/// A hugetlb VMA.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HugeVma {
    /// Its name in the steps.
    pub(crate) name: &'static str,
    /// Its lock.
    pub(crate) lock: Serial,
    /// Whether `vm_private_data` is set.
    pub(crate) private_data: Cell,
    /// `*pud` of its range.
    pub(crate) pud: Cell,
    /// Whether it is in the mm's tree.
    pub(crate) in_tree: Cell,
    /// Whether it is in the file's interval tree.
    pub(crate) in_rmap: Cell,
    /// Whether it is freed.
    pub(crate) freed: Cell,
}

impl HugeVma {
    /// Adds a VMA that maps `table`, if any.
    pub(crate) fn new(w: &mut World, name: &'static str, lock: Serial, table: Option<Table>) -> Self {
        Self {
            name,
            lock,
            private_data: w.cell(format!("{name}.vm_private_data"), u8::from(!matches!(lock, Serial::Nothing))),
            pud: w.cell(format!("pud({name})"), table.map_or(0, |t| t.number() + 1)),
            in_tree: w.cell(format!("{name}.in_tree"), 1),
            in_rmap: w.cell(format!("{name}.in_rmap"), 1),
            freed: w.cell(format!("{name}.freed"), 0),
        }
    }

    /// Adds a shareable VMA.
    pub(crate) fn shareable(w: &mut World, name: &'static str, table: Option<Table>) -> Self {
        let lock = VmaLock::new(w, name, 0);
        Self::new(w, name, Serial::Shareable(lock), table)
    }

    /// Returns the lock that it has now: `__vma_shareable_lock()`, `__vma_private_lock()`.
    fn resolve(self, k: &mut Kernel<'_>, what: &str) -> Option<Lock> {
        if k.get(self.private_data) == 0 {
            return None;
        }
        match self.lock {
            Serial::Shareable(lock) => {
                lock.access(k, what);
                Some(lock.sem)
            }
            Serial::Reservation(lock) => Some(lock),
            Serial::Nothing => None,
        }
    }

    fn lock_now(self, k: &mut Kernel<'_>, mode: Mode) -> bool {
        self.resolve(k, "rw_sema").is_none_or(|sem| k.lock(sem, mode))
    }

    fn unlock_now(self, k: &mut Kernel<'_>) {
        if let Some(sem) = self.resolve(k, "rw_sema") {
            k.unlock(sem);
        }
    }

    /// Returns the table that `*pud` points to.
    pub(crate) fn table(self, k: &mut Kernel<'_>) -> Option<Table> {
        if k.get(self.freed) != 0 {
            k.violate(Invariant::UafVma, format!("a walk in VMA {}, which is freed", self.name));
        }
        let pud = k.get(self.pud);
        let table = (pud != 0).then(|| k.table(pud - 1));
        let name = table.map_or_else(|| "none".to_owned(), |t| k.table_name(t));
        k.note(|| format!("*pud({}) = {name}", self.name));
        table
    }

    /// `find_vma()`, `vma_lookup()`: with the mmap_lock held (I-STATE).
    pub(crate) fn find(self, k: &mut Kernel<'_>, mm: Mm) -> bool {
        k.needs(mm.mmap_lock, "the tree of VMAs is walked");
        k.get(self.in_tree) != 0
    }

    /// Returns whether a walk of the file's interval tree finds it.
    fn is_in_rmap(self, k: &mut Kernel<'_>, s: Sharing) -> bool {
        k.needs(s.i_mmap, "the rmap tree is walked");
        k.get(self.in_rmap) != 0
    }

    /// Sets `*pud`.
    pub(crate) fn set_table(self, k: &mut Kernel<'_>, table: Option<Table>) {
        let name = table.map_or_else(|| "none".to_owned(), |t| k.table_name(t));
        k.note(|| format!("*pud({}) := {name}", self.name));
        k.set(self.pud, table.map_or(0, |t| t.number() + 1));
    }
}

/// A file whose VMAs share PMD tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sharing {
    /// `mapping->i_mmap_rwsem`.
    pub(crate) i_mmap: Lock,
    /// The table that is shared.
    pub(crate) table: Table,
    /// Its `pt_share_count`: the PUD entries that point to it, less one.
    pub(crate) count: Cell,
    /// PUD entries that may point to it.
    pub(crate) puds: [Option<Cell>; 2],
    /// `huge_pmd_unshare()` waits for gup-fast before it gives up its use of the table.
    pub(crate) sync: bool,
}

impl Sharing {
    /// Counts the PUD entries that point to the table.
    fn entries(self, mut get: impl FnMut(Cell) -> u8) -> u8 {
        let mut n = 0;
        for pud in self.puds.into_iter().flatten() {
            n += u8::from(get(pud) == self.table.number() + 1);
        }
        n
    }

    /// Checks that the count is the number of entries (I-SHARE). That is so when every thread is done.
    pub(crate) fn check_count(self, layout: &Layout, look: &mut Look<'_>) {
        if TableState::decode(look.get(layout.state_of(self.table))) == TableState::Linked {
            let entries = self.entries(|pud| look.get(pud));
            let users = look.get(self.count) + 1;
            look.require(entries == users, Invariant::Share, "the share count is not the number of PUD entries");
        }
    }
}

/// `hugetlb_vma_lock_read(vma)`, or `…_write`.
fn vma_lock(p: &mut Program, v: HugeVma, mode: Mode) -> Guard {
    vma_lock_in(p, v, mode, None)
}

/// As [`vma_lock`], at the end of a function whose return is an event.
fn vma_lock_in(p: &mut Program, v: HugeVma, mode: Mode, returns: Option<Kind>) -> Guard {
    let (rw, kind) = match mode {
        Mode::Write => ("write", Kind::HugetlbVmaLockWrite),
        _ => ("read", Kind::HugetlbVmaLockRead),
    };
    p.lock(format!("hugetlb_vma_lock_{rw}({})", v.name), move |k| {
        let free = v.lock_now(k, mode);
        if free {
            k.say_hugetlb(kind, v, None);
            if let Some(kind) = returns {
                k.say_hugetlb(kind, v, None);
            }
        }
        free
    })
}

fn vma_unlock(p: &mut Program, v: HugeVma, mode: Mode, guard: Guard) {
    vma_unlock_in(p, v, mode, guard, None);
}

/// The release, at the beginning of a function whose entry is an event.
fn vma_unlock_in(p: &mut Program, v: HugeVma, mode: Mode, guard: Guard, enters: Option<Kind>) {
    let (rw, kind) = match mode {
        Mode::Write => ("write", Kind::HugetlbVmaUnlockWrite),
        _ => ("read", Kind::HugetlbVmaUnlockRead),
    };
    p.release(guard, format!("hugetlb_vma_unlock_{rw}({})", v.name), move |k| {
        if let Some(kind) = enters {
            k.say_hugetlb(kind, v, None);
        }
        k.say_hugetlb(kind, v, None);
        v.unlock_now(k);
    });
}

/// `hugetlb_vma_trylock_write(vma)` of a shareable VMA: goes to `busy` if it fails. It succeeds for a VMA without a vma_lock.
fn vma_trylock_write(p: &mut Program, v: HugeVma, busy: Label) -> (Guard, Local) {
    p.function("hugetlb_vma_trylock_write", |p| {
        let vma_lock = p.local("vma_lock", 0);
        let text = format!("down_write_trylock(&vma_lock({})->rw_sema)", v.name);
        let guard = p.protect(Protection::Lock, &text);
        if let (true, Serial::Shareable(lock)) = (guard.is_active(), v.lock) {
            p.run(format!("vma_lock = {}->vm_private_data", v.name), move |k| {
                let data = k.get(v.private_data);
                k.set_local(vma_lock, data);
            });
            p.step(text, move |k| {
                let got = k.local(vma_lock) == 0 || {
                    lock.access(k, "rw_sema");
                    k.trylock(lock.sem, Mode::Write)
                };
                k.say_hugetlb(Kind::HugetlbVmaTrylockWrite, v, Some(got));
                if got { Flow::Next } else { Flow::Goto(busy) }
            });
        }
        (guard, vma_lock)
    })
}

fn vma_unlock_tried(p: &mut Program, v: HugeVma, (guard, vma_lock): (Guard, Local)) {
    let Serial::Shareable(lock) = v.lock else { return };
    p.release(guard, format!("hugetlb_vma_unlock_write({})", v.name), move |k| {
        k.say_hugetlb(Kind::HugetlbVmaUnlockWrite, v, None);
        if k.local(vma_lock) != 0 {
            lock.access(k, "rw_sema");
            k.unlock(lock.sem);
        }
    });
}

/// `huge_pte_lock(h, mm, ptep)` of the table in a variable.
fn huge_pte_lock(p: &mut Program, text: &'static str, ptep: Local) -> Guard {
    p.lock(text, move |k| {
        let table = k.table(k.local(ptep));
        k.access(table, "the lock is taken");
        let ptl = k.ptl(table);
        k.lock(ptl, Mode::Write)
    })
}

fn huge_pte_unlock(p: &mut Program, ptep: Local, guard: Guard) {
    p.release(guard, "spin_unlock(ptl)", move |k| {
        let table = k.table(k.local(ptep));
        k.access(table, "the lock is released");
        let ptl = k.ptl(table);
        k.unlock(ptl);
    });
}

/// `hugetlb_walk(vma, addr, sz)`: gives the table's number, or goes to `none`.
fn hugetlb_walk(p: &mut Program, text: &'static str, v: HugeVma, ptep: Local, none: Label) {
    p.step(format!("{text}({})", v.name), move |k| match v.table(k) {
        Some(table) => {
            k.set_local(ptep, table.number());
            Flow::Next
        }
        None => Flow::Goto(none),
    });
}

/// Reaches a *sometimes* property, if the scenario has it.
fn show(k: &mut Kernel<'_>, number: Option<u8>) {
    if let Some(number) = number {
        k.reach(number);
    }
}

fn first(k: &Kernel<'_>, ptep: Local) -> Slot {
    Slot { table: k.table(k.local(ptep)), index: 0 }
}

/// The lock that a walk holds besides the mmap_lock for read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hold {
    /// Nothing.
    Nothing,
    /// The hugetlb lock of its VMA: `vma_pgtable_walk_begin()`.
    Own,
    /// `i_mmap_rwsem`.
    Immap(Mode),
    /// The vma_lock of another VMA, to which the walk has a reference.
    Other(&'static str, VmaLock),
}

/// `folio_walk_start()` and `folio_walk_end()` of one huge page. Reaches `walked`. With `stale`, checks that the page is still
/// mapped by its VMA (I-STALE), and reaches `stale` if it is not.
pub(crate) fn folio_walk(p: &mut Program, v: HugeVma, s: Sharing, hold: Hold, stale: bool, shows: [u8; 2]) {
    p.function("folio_walk_start", |p| {
        let (none, ptep) = (p.label(), p.local("pmdp", 0));
        let held = match hold {
            Hold::Nothing => None,
            Hold::Own => Some(p.function("vma_pgtable_walk_begin", |p| {
                vma_lock_in(p, v, Mode::Read, Some(Kind::VmaPgtableWalkBegin))
            })),
            Hold::Immap(Mode::Write) => Some(take(p, "i_mmap_lock_write(mapping)", s.i_mmap, Mode::Write)),
            Hold::Immap(_) => Some(take(p, "i_mmap_lock_read(mapping)", s.i_mmap, Mode::Read)),
            Hold::Other(name, lock) => Some(p.lock(format!("down_read(&vma_lock({name})->rw_sema)"), move |k| {
                lock.access(k, "rw_sema");
                k.lock(lock.sem, Mode::Read)
            })),
        };
        hugetlb_walk(p, "pmdp = pmd_offset(pudp_get(pudp))", v, ptep, none);
        p.branch("pmd_none(pmdp_get_lockless(pmdp))", none, move |k| k.pte(first(k, ptep)).is_none());
        let ptl = huge_pte_lock(p, "ptl = pmd_lock(vma->vm_mm, pmdp)", ptep);
        p.run("pmd = pmdp_get(pmdp)", move |k| {
            if k.pte(first(k, ptep)).is_none() {
                return;
            }
            k.reach(shows[0]);
            if k.get(v.pud) != k.local(ptep) + 1 {
                k.reach(shows[1]);
                if stale {
                    k.violate(Invariant::Stale, "the walk uses a page of a table that its VMA no longer points to");
                }
            }
        });
        p.function("folio_walk_end", |p| huge_pte_unlock(p, ptep, ptl));
        p.bind(none);
        match (hold, held) {
            (Hold::Own, Some(g)) => p.function("vma_pgtable_walk_end", |p| {
                vma_unlock_in(p, v, Mode::Read, g, Some(Kind::VmaPgtableWalkEnd));
            }),
            (Hold::Immap(Mode::Write), Some(g)) => drop(p, "i_mmap_unlock_write(mapping)", s.i_mmap, g),
            (Hold::Immap(_), Some(g)) => drop(p, "i_mmap_unlock_read(mapping)", s.i_mmap, g),
            (Hold::Other(name, lock), Some(g)) => {
                p.release(g, format!("up_read(&vma_lock({name})->rw_sema)"), move |k| {
                    lock.access(k, "rw_sema");
                    k.unlock(lock.sem);
                });
            }
            _ => {}
        }
    });
}

/// `gup_fast()` of one huge page of the shared table, with interrupts off and no lock held. Checks that the page is the
/// file's, which is page 1 (I-PIN).
pub(crate) fn gup_fast(p: &mut Program, v: HugeVma, shows: u8) {
    p.function("gup_fast", |p| {
        let (out, pmdp, pmd) = (p.label(), p.local("pmdp", 0), p.local("pmd", 0));
        let irq = p.protect(Protection::Rcu, "local_irq_save(flags)");
        if irq.is_active() {
            p.run("local_irq_save(flags)", |k| k.irq_disable());
        }
        p.function("gup_fast_pud_range", |p| hugetlb_walk(p, "pud = READ_ONCE(*pudp)", v, pmdp, out));
        p.function("gup_fast_pmd_leaf", |p| {
            p.step("pmd = pmdp_get_lockless(pmdp)", move |k| {
                let pte = k.pte(first(k, pmdp));
                k.set_local(pmd, pte.encode());
                if pte.is_none() { Flow::Goto(out) } else { Flow::Next }
            });
            p.recheck("pmd_val(pmd) == pmd_val(*pmdp), folio grabbed", out, move |k| {
                k.pte(first(k, pmdp)).encode() == k.local(pmd)
            });
            p.run("folio_set_referenced(folio)", move |k| {
                k.reach(shows);
                if k.local(pmd) != Pte::present(1).encode() {
                    k.violate(Invariant::Pin, "gup-fast returns a page that was never mapped in its mm");
                }
            });
        });
        p.bind(out);
        p.release(irq, "local_irq_restore(flags)", |k| k.irq_enable());
    });
}

/// A fault that takes and releases its VMA's hugetlb lock, and does nothing under it.
pub(crate) fn hold_vma_lock(p: &mut Program, mm: Mm, v: HugeVma) {
    p.function("hugetlb_fault", |p| {
        let out = p.label();
        let mmap = mmap_read_lock(p, mm);
        p.branch("find_vma(mm, address): none", out, move |k| !v.find(k, mm));
        let lock = vma_lock(p, v, Mode::Read);
        vma_unlock(p, v, Mode::Read, lock);
        p.bind(out);
        mmap_read_unlock(p, mm, mmap);
    });
}

/// The pool of huge pages, and the pages that are about to be freed to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pool {
    /// `h->free_huge_pages`.
    pub(crate) free: Cell,
    /// Pages on the gather batch: unmapped, not freed yet.
    pub(crate) batch: Cell,
}
