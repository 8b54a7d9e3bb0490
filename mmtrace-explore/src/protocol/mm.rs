//! An mm and its mmap_lock (include/linux/mmap_lock.h, 6.1 to 7.2).

use mmtrace_common::{Column, Kind};
use mmtrace_model::model::locks::exclusion::{Mode, Rank};

use super::{Cell, Flow, Guard, Label, Lock, Program, Protection, World, event::Event, kernel::Kernel};

/// An mm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mm {
    /// Its number, for events.
    pub(crate) id: u8,
    /// `mmap_lock`.
    pub(crate) mmap_lock: Lock,
    /// `mm_lock_seq`: odd while the mmap_lock is held for write.
    pub(crate) lock_seq: Cell,
}

impl Mm {
    /// Adds an mm.
    pub(crate) fn new(w: &mut World, id: u8, name: &str) -> Self {
        let mmap_lock = w.lock(format!("{name}mmap_lock"), Some(Rank::MmapLock));
        w.has_mm(id);
        Self { id, mmap_lock, lock_seq: w.cell(format!("{name}mm_lock_seq"), 2) }
    }

    fn event(self, kind: Kind, write: bool, success: Option<bool>) -> Event {
        let mut fields = vec![(Column::Write, u64::from(write))];
        fields.extend(success.map(|s| (Column::Success, u64::from(s))));
        Event { kind, mm: Some(self.id), fields }
    }

    fn took(self, k: &mut Kernel<'_>, write: bool) {
        k.emit(|| self.event(Kind::StartLocking, write, None));
        k.emit(|| self.event(Kind::AcquireReturned, write, Some(true)));
        if write {
            self.bump(k);
        }
    }

    /// Increments the sequence, by which every VMA write lock of this mm ends, or can begin.
    fn bump(self, k: &mut Kernel<'_>) {
        let seq = k.get(self.lock_seq);
        k.set(self.lock_seq, seq.wrapping_add(1));
    }

    /// Emits the event of a read release that does not happen, for negative tests.
    pub(crate) fn says_released(self, k: &mut Kernel<'_>) {
        k.emit(|| self.event(Kind::Released, false, None));
    }

    /// Emits a fault in user mode, where no lock is held.
    pub(crate) fn user_fault(self, k: &mut Kernel<'_>) {
        k.emit(|| Event { kind: Kind::PageFaultUser, mm: Some(self.id), fields: Vec::new() });
    }

    /// `mmap_write_downgrade()`, as part of a step.
    pub(crate) fn downgrade_now(self, k: &mut Kernel<'_>) {
        k.emit(|| self.event(Kind::AcquireReturned, false, Some(true)));
        self.bump(k);
        k.downgrade(self.mmap_lock);
    }

    /// `mmap_read_unlock()`, as part of a step.
    pub(crate) fn read_unlock_now(self, k: &mut Kernel<'_>) {
        k.emit(|| self.event(Kind::Released, false, None));
        k.unlock(self.mmap_lock);
    }

    /// Takes the mmap_lock for read if it is free, as part of a step.
    pub(crate) fn try_read_now(self, k: &mut Kernel<'_>) -> bool {
        let free = k.trylock(self.mmap_lock, Mode::Read);
        if free {
            self.took(k, false);
        } else {
            k.emit(|| self.event(Kind::StartLocking, false, None));
            k.emit(|| self.event(Kind::AcquireReturned, false, Some(false)));
        }
        free
    }
}

/// `mmap_read_lock(mm)`.
pub(crate) fn mmap_read_lock(p: &mut Program, mm: Mm) -> Guard {
    p.lock("mmap_read_lock(mm)", move |k| {
        let free = k.lock(mm.mmap_lock, Mode::Read);
        if free {
            mm.took(k, false);
        }
        free
    })
}

/// `mmap_read_unlock(mm)`.
pub(crate) fn mmap_read_unlock(p: &mut Program, mm: Mm, guard: Guard) {
    p.release(guard, "mmap_read_unlock(mm)", move |k| mm.read_unlock_now(k));
}

/// `mmap_write_lock(mm)`.
pub(crate) fn mmap_write_lock(p: &mut Program, mm: Mm) -> Guard {
    p.lock("mmap_write_lock(mm)", move |k| {
        let free = k.lock(mm.mmap_lock, Mode::Write);
        if free {
            mm.took(k, true);
        }
        free
    })
}

/// `mmap_write_trylock(mm)` (until 6.5): goes to `busy` if it fails.
pub(crate) fn mmap_write_trylock(p: &mut Program, mm: Mm, busy: Label) -> Guard {
    let guard = p.protect(Protection::Lock, "mmap_write_trylock(mm)");
    if guard.is_active() {
        p.step("mmap_write_trylock(mm)", move |k| {
            if k.trylock(mm.mmap_lock, Mode::Write) {
                mm.took(k, true);
                return Flow::Next;
            }
            k.emit(|| mm.event(Kind::StartLocking, true, None));
            k.emit(|| mm.event(Kind::AcquireReturned, true, Some(false)));
            Flow::Goto(busy)
        });
    }
    guard
}

/// `mmap_write_unlock(mm)`: ends every VMA write lock (`vma_end_write_all`).
pub(crate) fn mmap_write_unlock(p: &mut Program, mm: Mm, guard: Guard) {
    p.release(guard, "mmap_write_unlock(mm)", move |k| {
        k.emit(|| mm.event(Kind::Released, true, None));
        mm.bump(k);
        k.unlock(mm.mmap_lock);
    });
}

/// `mmap_write_downgrade(mm)`: ends every VMA write lock, and goes on for read. It is
/// released by [`mmap_read_unlock`].
pub(crate) fn mmap_write_downgrade(p: &mut Program, mm: Mm, guard: Guard) {
    p.release(guard, "mmap_write_downgrade(mm)", move |k| mm.downgrade_now(k));
}

/// A lock that is taken and released by name: rmap, folio, PML.
pub(crate) fn take(p: &mut Program, text: &'static str, lock: Lock, mode: Mode) -> Guard {
    p.lock(text, move |k| k.lock(lock, mode))
}

/// Releases a lock by name.
pub(crate) fn drop(p: &mut Program, text: &'static str, lock: Lock, guard: Guard) {
    p.release(guard, text, move |k| k.unlock(lock));
}
