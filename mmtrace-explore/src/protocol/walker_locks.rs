//! The lock that a page-table walker holds, so that the VMA and the upper tables stay
//! (Documentation/mm/process_addrs.rst, 7.2: "walking page tables").

use mmtrace_model::model::locks::exclusion::Mode;

use super::{
    Lock, Program,
    mm::{Mm, drop, mmap_read_lock, mmap_read_unlock, take},
    vma::{Flavour, Vma, lock_vma_under_rcu, vma_end_read},
};

/// The lock that a walker holds, of those that Documentation/mm/process_addrs.rst allows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WalkerLocks {
    /// None that is modelled: no thread of the scenario removes the VMA or the upper tables.
    Unmodelled,
    /// `mmap_read_lock()`.
    Mmap(Mm),
    /// The VMA lock for read, or the mmap_lock for read if that fails.
    Vma(Vma, Flavour),
    /// The VMA's anon_vma for read: an rmap walk.
    AnonVma(Lock),
}

/// Runs `body` under the lock.
pub(crate) fn under(p: &mut Program, locks: WalkerLocks, body: impl Fn(&mut Program)) {
    match locks {
        WalkerLocks::Unmodelled => body(p),
        WalkerLocks::Mmap(mm) => {
            let guard = mmap_read_lock(p, mm);
            body(p);
            mmap_read_unlock(p, mm, guard);
        }
        WalkerLocks::Vma(vma, flavour) => {
            let (fail, done) = (p.label(), p.label());
            lock_vma_under_rcu(p, vma, flavour, fail);
            body(p);
            vma_end_read(p, vma);
            p.goto("done under the VMA lock", done);
            p.bind(fail);
            let guard = mmap_read_lock(p, vma.mm);
            body(p);
            mmap_read_unlock(p, vma.mm, guard);
            p.bind(done);
        }
        WalkerLocks::AnonVma(lock) => {
            let guard = take(p, "anon_vma_lock_read(anon_vma)", lock, Mode::Read);
            body(p);
            drop(p, "anon_vma_unlock_read(anon_vma)", lock, guard);
        }
    }
}
