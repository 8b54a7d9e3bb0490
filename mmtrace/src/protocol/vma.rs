//! A VMA and its per-VMA lock (6.12: include/linux/mm.h and mm/memory.c; 7.2:
//! include/linux/mmap_lock.h and mm/mmap_lock.c).

use crate::model::{exclusion::Mode, invariant::Invariant};

use super::{
    kernel::Kernel,
    mm::Mm,
    program::{Flow, Label, Program, Protection},
    state::Cell,
    world::{Lock, World},
};

/// Which kernel's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// 6.12: a rwsem `vm_lock`, the `detached` flag, VMAs freed by RCU.
    Rwsem,
    /// 7.2: `vm_refcnt` with its exclude bit, VMAs reused at once.
    Refcount,
}

/// A VMA. Flags that only some scenarios need are cells of theirs.
#[derive(Clone, Copy, Debug)]
pub struct Vma {
    /// The mm that it belongs to: the number in [`Vma::owner`].
    pub mm: Mm,
    /// `vm_mm`: the number of the mm it is part of now.
    pub owner: Cell,
    /// Readers: `vm_lock` (6.12), or the references in `vm_refcnt` (7.2).
    pub lock: Lock,
    /// Readers that were granted the lock, bit by thread: those who rely on it. Ghost.
    pub granted: Cell,
    /// `vm_lock_seq`: equal to `mm_lock_seq` while it is write-locked.
    pub lock_seq: Cell,
    /// 7.2: a writer waits for the readers (`VMA_LOCK_OFFSET`, `VM_REFCNT_EXCLUDE_READERS_FLAG`).
    pub exclude: Cell,
    /// Attached (1), detached (0).
    pub attached: Cell,
    /// In the mm's tree (`mm_mt`).
    pub in_tree: Cell,
    /// In the rmap trees (i_mmap, anon_vma).
    pub in_rmap: Cell,
    /// Freed: what is there may be anything.
    pub freed: Cell,
}

impl Vma {
    /// An attached one, in tree and rmap.
    pub fn new(w: &mut World, mm: Mm, name: &str) -> Self {
        Self {
            mm,
            owner: w.cell(format!("{name}.vm_mm"), mm.id),
            lock: w.lock(format!("{name} lock"), None),
            granted: w.cell(format!("{name}.granted"), 0),
            lock_seq: w.cell(format!("{name}.vm_lock_seq"), 0),
            exclude: w.cell(format!("{name}.exclude"), 0),
            attached: w.cell(format!("{name}.attached"), 1),
            in_tree: w.cell(format!("{name}.in_tree"), 1),
            in_rmap: w.cell(format!("{name}.in_rmap"), 1),
            freed: w.cell(format!("{name}.freed"), 0),
        }
    }

    /// Looks at it: it must be there (I-UAF-VMA).
    pub fn access(self, k: &mut Kernel<'_>, what: &str) {
        if k.get(self.freed) != 0 {
            k.violate(Invariant::UafVma, format!("{what} of a VMA that is freed"));
        }
    }

    /// Whether it is write-locked now.
    pub fn is_write_locked(self, k: &mut Kernel<'_>) -> bool {
        let seq = k.get(self.mm.lock_seq);
        seq % 2 == 1 && k.get(self.lock_seq) == seq
    }

    /// The lock was granted to this thread: nobody may be writing (I-VEXCL), and it must be
    /// attached and of this mm (I-VID).
    pub fn grant(self, k: &mut Kernel<'_>) {
        self.access(k, "the lock");
        if self.is_write_locked(k) {
            k.violate(Invariant::Vexcl, "a reader is granted the VMA lock while a writer has it");
        }
        if k.get(self.attached) == 0 || k.get(self.owner) != self.mm.id {
            k.violate(Invariant::Vid, "a reader is granted the lock of a VMA that is no longer part of its mm");
        }
        let granted = k.get(self.granted);
        k.set(self.granted, granted | 1 << k.me());
    }

    /// Whether this thread was granted the lock.
    pub fn is_granted(self, k: &mut Kernel<'_>) -> bool {
        k.get(self.granted) & 1 << k.me() != 0
    }

    /// `vma_end_read()`, as part of a step. After it the VMA must not be touched.
    pub fn end_read_now(self, k: &mut Kernel<'_>) {
        self.access(k, "vma_end_read()");
        let granted = k.get(self.granted);
        k.set(self.granted, granted & !(1 << k.me()));
        k.unlock(self.lock);
    }
}

/// `lock_vma_under_rcu(mm, addr)`: the VMA lock for read, or else goes to `fail`.
/// `addr` is taken to be in the VMA as long as that is in the tree.
pub fn lock_vma_under_rcu(p: &mut Program, v: Vma, flavour: Flavour, fail: Label) {
    p.function("lock_vma_under_rcu", |p| {
        let out = p.label();
        let retry = p.mark();
        let rcu = p.rcu_read_lock();
        let leave = move |k: &mut Kernel<'_>| {
            if rcu.is_active() {
                k.rcu_read_unlock();
            }
        };
        p.step("vma = mas_walk(&mas)", move |k| {
            if k.get(v.in_tree) != 0 {
                return Flow::Next;
            }
            leave(k);
            Flow::Goto(fail)
        });
        p.step("vma->vm_lock_seq == mm->mm_lock_seq, before", move |k| {
            v.access(k, "vm_lock_seq");
            // A stale value may only lead to a false failure: neither side is ordered here.
            if k.get(v.lock_seq) != k.get(v.mm.lock_seq) {
                return Flow::Next;
            }
            leave(k);
            Flow::Goto(fail)
        });
        let text = match flavour {
            Flavour::Rwsem => "down_read_trylock(&vma->vm_lock->lock)",
            Flavour::Refcount => "__refcount_inc_not_zero_limited_acquire(&vma->vm_refcnt)",
        };
        p.step(text, move |k| {
            v.access(k, "the lock word");
            if flavour == Flavour::Refcount && k.get(v.attached) == 0 {
                leave(k);
                return Flow::Goto(retry);
            }
            let excluded = flavour == Flavour::Refcount && k.get(v.exclude) != 0;
            if !excluded && k.trylock(v.lock, Mode::Read) {
                return Flow::Next;
            }
            leave(k);
            Flow::Goto(fail)
        });
        let undo = move |k: &mut Kernel<'_>| {
            k.unlock(v.lock);
            leave(k);
        };
        if flavour == Flavour::Refcount {
            p.recheck("vma->vm_mm == mm", fail, move |k| {
                let same = k.get(v.owner) == v.mm.id;
                if !same {
                    undo(k);
                }
                same
            });
        }
        p.recheck("vma->vm_lock_seq != mm->mm_lock_seq, after", fail, move |k| {
            let unlocked = k.get(v.lock_seq) != k.get(v.mm.lock_seq);
            if !unlocked {
                undo(k);
            }
            unlocked
        });
        if flavour == Flavour::Rwsem {
            p.recheck("!vma->detached", retry, move |k| {
                let attached = k.get(v.attached) != 0;
                if !attached {
                    undo(k);
                }
                attached
            });
        }
        p.run("return vma", move |k| {
            leave(k);
            v.grant(k);
        });
        p.bind(out);
    });
}

/// `vma_end_read(vma)`.
pub fn vma_end_read(p: &mut Program, v: Vma) {
    p.run("vma_end_read(vma)", move |k| v.end_read_now(k));
}

/// `vma_start_write(vma)`: waits for the readers. The mmap_lock is held for write (PA-1).
pub fn vma_start_write(p: &mut Program, v: Vma, flavour: Flavour) {
    p.function("vma_start_write", |p| {
        let done = p.label();
        p.branch("vma->vm_lock_seq == mm->mm_lock_seq", done, move |k| {
            if k.holds(v.mm.mmap_lock) != Some(Mode::Write) {
                k.violate(Invariant::State, "a VMA is write-locked without the mmap_lock held for write");
            }
            k.get(v.lock_seq) == k.get(v.mm.lock_seq)
        });
        let entered = move |k: &mut Kernel<'_>| {
            let seq = k.get(v.mm.lock_seq);
            k.set(v.lock_seq, seq);
            if k.get(v.granted) != 0 {
                k.violate(Invariant::Vexcl, "a writer gets the VMA lock while a reader has it");
            }
        };
        match flavour {
            Flavour::Rwsem => {
                let guard = p.lock("down_write(&vma->vm_lock->lock)", move |k| k.lock(v.lock, Mode::Write));
                p.run("vma->vm_lock_seq = mm->mm_lock_seq", entered);
                p.release(guard, "up_write(&vma->vm_lock->lock)", move |k| k.unlock(v.lock));
            }
            Flavour::Refcount => {
                p.run("refcount_add_not_zero(VM_REFCNT_EXCLUDE_READERS_FLAG)", move |k| {
                    // A detached VMA has no readers that could be granted anything.
                    if k.get(v.attached) != 0 {
                        k.set(v.exclude, 1);
                    }
                });
                let wait = "rcuwait_wait_event(no readers)";
                if p.protect(Protection::Wait, wait).is_active() {
                    p.step(wait, move |k| if k.readers(v.lock) == 0 { Flow::Next } else { Flow::Block });
                }
                p.run("vma->vm_lock_seq = mm->mm_lock_seq", entered);
                p.run("refcount_sub(VM_REFCNT_EXCLUDE_READERS_FLAG)", move |k| k.set(v.exclude, 0));
            }
        }
        p.bind(done);
    });
}

/// `vma_mark_detached(vma)`: nobody can get the lock any more. 7.2 waits for those who hold a
/// reference for a moment.
pub fn vma_mark_detached(p: &mut Program, v: Vma, flavour: Flavour) {
    p.function("vma_mark_detached", |p| match flavour {
        Flavour::Rwsem => p.run("vma->detached = true", move |k| k.set(v.attached, 0)),
        Flavour::Refcount => {
            let wait = "refcount_dec_and_test(&vma->vm_refcnt), or wait for temporary readers";
            let guard = p.protect(Protection::Wait, wait);
            if guard.is_active() {
                p.run("refcount_dec(&vma->vm_refcnt), exclude readers", move |k| k.set(v.exclude, 1));
                p.step(wait, move |k| {
                    if k.readers(v.lock) != 0 {
                        return Flow::Block;
                    }
                    k.set(v.exclude, 0);
                    k.set(v.attached, 0);
                    Flow::Next
                });
            } else {
                p.run("refcount_dec(&vma->vm_refcnt)", move |k| k.set(v.attached, 0));
            }
        }
    });
}
