//! One index of a file's page cache while the range is collapsed (mm/khugepaged.c:
//! `collapse_file`, mm/shmem.c, mm/filemap.c; 6.6 to 7.2).

use mmtrace_model::model::{
    invariant::Invariant,
    locks::exclusion::{Mode, Rank},
};

use super::{
    Cell, Flow, Lock, Program, World,
    file::{Access, At, FileVma, Mapping, PAGE, finish_fault, migrate, try_to_unmap},
    kernel::Kernel,
    khugepaged::{Retract, retract_page_tables},
    mm::{drop, mmap_read_lock, mmap_read_unlock, take},
    uffd::RETURNS_SUCCESS,
};

/// The value of an index without a folio.
pub(crate) const HOLE: u8 = 0;
/// The value of an index with a small folio.
pub(crate) const SMALL: u8 = 1;
/// The value of an index with `XA_RETRY_ENTRY`.
const RETRY: u8 = 2;
/// The value of an index with the new huge folio.
const HUGE: u8 = 3;

/// The index: its value, and the locks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageCache {
    slot: Cell,
    /// `i_pages.xa_lock`.
    xa_lock: Lock,
    /// The lock of the small folio.
    small: Lock,
    mapping: Mapping,
}

impl PageCache {
    /// `xas_store()`, which needs xa_lock (I-WLOCK).
    fn store(self, k: &mut Kernel<'_>, value: u8) {
        let locked = k.holds(self.xa_lock).is_some();
        k.require(locked, Invariant::Wlock, "the page cache is changed without xa_lock");
        k.set(self.slot, value);
    }

    /// Adds an index with this first value: [`HOLE`] or [`SMALL`].
    pub(crate) fn new(w: &mut World, mapping: Mapping, slot: u8) -> Self {
        Self {
            slot: w.cell("page cache", slot),
            xa_lock: w.lock("xa_lock", None),
            small: w.lock("small folio lock", Some(Rank::FolioLock)),
            mapping,
        }
    }
}

/// The ways in which `collapse_file()` keeps the page cache as it found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holes {
    /// Holes are marked by `XA_RETRY_ENTRY` until the new folio is there.
    pub(crate) retry: bool,
    /// Holes are counted again under xa_lock.
    pub(crate) count: bool,
    /// xa_lock is held from there until the new folio is there.
    pub(crate) xa_lock: bool,
    /// Old folios are locked.
    pub(crate) lock_old: bool,
}

impl Holes {
    /// As 6.6 to 7.2 do.
    pub(crate) const MERGED: Self = Self { retry: true, count: true, xa_lock: true, lock_old: true };
}

/// `collapse_file()` of a range with one index that matters. The new folio is locked.
pub(crate) fn collapse_file(
    p: &mut Program,
    cache: PageCache,
    at: At,
    rules: Holes,
    retract: Retract,
    areas: &[FileVma],
) {
    let mapping = cache.mapping;
    p.function("collapse_file", |p| {
        let (out, hole, store, unlock) = (p.label(), p.label(), p.label(), p.label());
        let old = p.local("old folio", 0);
        p.branch("folio = xas_load(&xas): a hole, nr_none++", hole, move |k| k.get(cache.slot) == HOLE);
        if rules.lock_old {
            p.step("folio_trylock(folio), else SCAN_PAGE_LOCK", move |k| {
                if !k.trylock(cache.small, Mode::Write) {
                    return Flow::Goto(out);
                }
                k.set_local(old, 1);
                Flow::Next
            });
        }
        try_to_unmap(p, at, PAGE);
        let lock = p.lock("xas_lock_irq(&xas)", move |k| k.lock(cache.xa_lock, Mode::Write));
        p.goto("the old folio is in hand", store);
        p.bind(hole);
        p.step("xas_lock_irq(&xas), after i_mmap_lock_read(mapping)", move |k| {
            if !lock.is_active() || k.lock(cache.xa_lock, Mode::Write) { Flow::Next } else { Flow::Block }
        });
        if rules.retry {
            p.run("if (!xas_next(&xas)) xas_store(&xas, XA_RETRY_ENTRY)", move |k| {
                if k.get(cache.slot) == HOLE {
                    cache.store(k, RETRY);
                }
            });
        }
        if rules.count {
            p.recheck("nr_none == nr_none_check", unlock, move |k| k.get(cache.slot) != SMALL);
        }
        if !rules.xa_lock {
            p.release(lock, "xas_unlock_irq(&xas)", move |k| k.unlock(cache.xa_lock));
            let _again = p.lock("xas_lock_irq(&xas), again", move |k| k.lock(cache.xa_lock, Mode::Write));
        }
        p.bind(store);
        p.run("xas_store(&xas, new_folio)", move |k| cache.store(k, HUGE));
        p.run("xas_unlock_irq(&xas)", move |k| {
            if k.holds(cache.xa_lock).is_some() {
                k.unlock(cache.xa_lock);
            }
        });
        retract_page_tables(p, retract, mapping, areas);
        p.goto("the collapse has succeeded", out);
        p.bind(unlock);
        p.release(lock, "xas_unlock_irq(&xas): SCAN_PAGE_FILLED", move |k| k.unlock(cache.xa_lock));
        p.bind(out);
        p.run("folio_unlock(new_folio), folio_unlock(folio)", move |k| {
            k.unlock(mapping.folio);
            if k.local(old) != 0 {
                k.unlock(cache.small);
            }
        });
    });
}

/// A read fault that fills a hole of the file.
pub(crate) fn shmem_fault(p: &mut Program, cache: PageCache, at: At) {
    let mm = at.area.vma.mm;
    let folio = cache.mapping.folio;
    let mmap = p.function("do_user_addr_fault", |p| mmap_read_lock(p, mm));
    p.function("shmem_get_folio_gfp", |p| {
        let (fill, small, done) = (p.label(), p.label(), p.label());
        let repeat = p.mark();
        p.step("folio = filemap_get_entry(mapping, index), again while it is XA_RETRY_ENTRY", move |k| {
            match k.get(cache.slot) {
                RETRY => Flow::Block,
                HOLE => Flow::Goto(fill),
                SMALL => Flow::Goto(small),
                _ => Flow::Next,
            }
        });
        let huge = take(p, "folio_lock(folio)", folio, Mode::Write);
        finish_fault(p, at, Access::Read);
        drop(p, "folio_unlock(folio)", folio, huge);
        p.goto("the page is mapped", done);
        p.bind(small);
        let lock = take(p, "folio_lock(folio)", cache.small, Mode::Write);
        let gone = p.label();
        p.recheck("folio->mapping == inode->i_mapping", gone, move |k| k.get(cache.slot) == SMALL);
        p.run("vmf->page = folio_file_page(folio, vmf->pgoff)", move |k| {
            let current = k.get(cache.slot) == SMALL;
            k.require(current, Invariant::Stale, "a page is mapped that is no longer in the page cache");
        });
        finish_fault(p, at, Access::Read);
        drop(p, "folio_unlock(folio)", cache.small, lock);
        p.goto("the page is mapped", done);
        p.bind(gone);
        drop(p, "folio_unlock(folio)", cache.small, lock);
        p.goto("goto repeat", repeat);
        p.bind(fill);
        p.function("shmem_add_to_page_cache", |p| {
            let exists = p.label();
            let xa = p.lock("xas_lock_irq(&xas)", move |k| k.lock(cache.xa_lock, Mode::Write));
            p.recheck("no conflict: the slot is empty, else -EEXIST", exists, move |k| k.get(cache.slot) == HOLE);
            p.run("xas_store(&xas, folio): new, and locked", move |k| {
                cache.store(k, SMALL);
                k.trylock(cache.small, Mode::Write);
            });
            drop(p, "xas_unlock_irq(&xas)", cache.xa_lock, xa);
            finish_fault(p, at, Access::Read);
            p.run("folio_unlock(folio)", move |k| {
                k.reach(RETURNS_SUCCESS);
                k.unlock(cache.small);
            });
            p.goto("the page is mapped", done);
            p.bind(exists);
            drop(p, "xas_unlock_irq(&xas)", cache.xa_lock, xa);
            p.goto("goto repeat", repeat);
        });
        p.bind(done);
    });
    p.function("do_user_addr_fault", |p| mmap_read_unlock(p, mm, mmap));
}

/// Migration of the small folio.
pub(crate) fn migrate_small(p: &mut Program, cache: PageCache, at: At) {
    p.function("migrate_folio_unmap", |p| {
        let out = p.label();
        let lock = take(p, "folio_lock(src)", cache.small, Mode::Write);
        p.branch("!folio_mapping(src)", out, move |k| k.get(cache.slot) != SMALL);
        migrate(p, at, PAGE);
        p.run("migrate_pages() is done", |k| k.reach(RETURNS_SUCCESS));
        p.bind(out);
        drop(p, "folio_unlock(src)", cache.small, lock);
    });
}
