//! A VMA and its per-VMA lock (6.12: include/linux/mm.h and mm/memory.c; 7.2:
//! include/linux/mmap_lock.h and mm/mmap_lock.c).

use mmtrace_common::{Column, Kind};
use mmtrace_model::model::{invariant::Invariant, locks::exclusion::Mode};

use super::{
    Cell, Flow, Guard, Label, Lock, Program, Protection, World,
    event::{Event, PAGE, START},
    kernel::Kernel,
    mm::Mm,
    rcu,
};

/// The kernel whose per-VMA lock is modelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// 6.12: a rwsem `vm_lock`, the `detached` flag; RCU frees VMAs.
    Rwsem,
    /// 7.2: `vm_refcnt` with its exclude bit; the memory of a VMA is reused at once.
    Refcount,
}

/// A test that `lock_vma_under_rcu()` makes once it has the lock word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    /// `vm_lock_seq` is not `mm_lock_seq`, tested for the second time.
    Sequence,
    /// 7.2: `vma->vm_mm == mm`.
    Mm,
    /// The address is in the VMA.
    Range,
    /// 6.12: `!vma->detached`.
    Detached,
}

/// Whether a thread that writes or detaches waits for the readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// As the kernel does.
    ForReaders,
    /// It does not wait. No kernel does so.
    ForNobody,
}

/// An acquisition of the VMA lock for read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The kernel whose lock it is.
    pub(crate) flavour: Flavour,
    /// The address, in pages.
    pub(crate) addr: u8,
    /// A test that is left out. No kernel does so.
    pub(crate) without: Option<Test>,
}

impl Reading {
    /// Takes the lock for address 0, as the kernel does.
    #[must_use]
    pub(crate) const fn new(flavour: Flavour) -> Self {
        Self { flavour, addr: 0, without: None }
    }

    /// Leaves out this test.
    #[must_use]
    pub(crate) const fn without(flavour: Flavour, test: Test) -> Self {
        Self { flavour, addr: 0, without: Some(test) }
    }
}

/// A VMA. A scenario that needs its flags has a cell for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vma {
    /// The mm that the thread with this handle takes the VMA to be of.
    pub(crate) mm: Mm,
    /// `vm_mm`: the number of the mm it is part of now.
    pub(crate) owner: Cell,
    /// `vm_start`, in pages.
    pub(crate) start: Cell,
    /// `vm_end`, in pages.
    pub(crate) end: Cell,
    /// Readers: `vm_lock` (6.12), or the references in `vm_refcnt` (7.2).
    pub(crate) lock: Lock,
    /// Readers that were granted the lock and rely on it, bit by thread. No kernel has this.
    pub(crate) granted: Cell,
    /// `vm_lock_seq`: equal to `mm_lock_seq` while it is write-locked.
    pub(crate) lock_seq: Cell,
    /// 7.2: a writer waits for the readers (`VM_REFCNT_EXCLUDE_READERS_FLAG` in `vm_refcnt`).
    pub(crate) exclude: Cell,
    /// Attached (1), detached (0): 6.12's `detached` flag, 7.2's own reference in `vm_refcnt`.
    pub(crate) attached: Cell,
    /// In the mm's tree (`mm_mt`).
    pub(crate) in_tree: Cell,
    /// In the rmap trees (i_mmap, anon_vma).
    pub(crate) in_rmap: Cell,
    /// Freed: its memory can be anything, except to the readers in [`Vma::grace`].
    pub(crate) freed: Cell,
    /// RCU readers for whom a freed VMA is still a VMA, this one or (7.2) another one.
    pub(crate) grace: Cell,
}

impl Vma {
    /// Adds an attached VMA of one page at address 0, in the mm's tree and the rmap tree.
    pub(crate) fn new(w: &mut World, mm: Mm, name: &str) -> Self {
        Self {
            mm,
            owner: w.cell(format!("{name}.vm_mm"), mm.id),
            start: w.cell(format!("{name}.vm_start"), 0),
            end: w.cell(format!("{name}.vm_end"), 1),
            lock: w.lock(format!("{name} lock"), None),
            granted: w.cell(format!("{name}.granted"), 0),
            lock_seq: w.cell(format!("{name}.vm_lock_seq"), 0),
            exclude: w.cell(format!("{name}.exclude"), 0),
            attached: w.cell(format!("{name}.attached"), 1),
            in_tree: w.cell(format!("{name}.in_tree"), 1),
            in_rmap: w.cell(format!("{name}.in_rmap"), 1),
            freed: w.cell(format!("{name}.freed"), 0),
            grace: w.grace(format!("{name}.grace")),
        }
    }

    /// Returns its address, for events. All handles of one VMA have the same.
    #[must_use]
    pub(crate) const fn address(self) -> u64 {
        0xffff_8880_8000_0000 + 0x100 * self.freed.0 as u64
    }

    /// Returns an event about the VMA and its mm.
    pub(crate) fn event(self, kind: Kind) -> Event {
        Event { kind, mm: Some(self.mm.id), fields: vec![(Column::Vma, self.address())] }
    }

    /// Emits that `lock_vma_under_rcu()` returns the VMA.
    fn say_granted(self, k: &mut Kernel<'_>, addr: u8) {
        if !k.is_logged() {
            return;
        }
        let at = |page: u8| START + PAGE * u64::from(page);
        let (start, end, same) = (k.get(self.start), k.get(self.end), self.is_of_mm(k));
        k.emit(|| {
            let mut event = self.event(Kind::LockVmaUnderRcu);
            event.fields.extend([
                (Column::Addr, at(addr)),
                (Column::VmaStart, at(start)),
                (Column::VmaEnd, at(end)),
                (Column::SameMm, u64::from(same)),
            ]);
            event
        });
    }

    /// Returns the same VMA, as a thread of another mm sees it.
    #[must_use]
    pub(crate) const fn of(self, mm: Mm) -> Self {
        Self { mm, ..self }
    }

    /// Checks that it is not freed (I-UAF-VMA).
    pub(crate) fn access(self, k: &mut Kernel<'_>, what: &str) {
        if k.get(self.freed) != 0 && k.get(self.grace) & 1 << k.me() == 0 {
            k.violate(Invariant::UafVma, format!("{what} of a VMA that is freed"));
        }
    }

    /// Returns whether it is write-locked.
    pub(crate) fn is_write_locked(self, k: &mut Kernel<'_>) -> bool {
        let seq = k.get(self.mm.lock_seq);
        seq % 2 == 1 && k.get(self.lock_seq) == seq
    }

    /// Returns whether it covers this address, in pages.
    pub(crate) fn covers(self, k: &mut Kernel<'_>, addr: u8) -> bool {
        (k.get(self.start)..k.get(self.end)).contains(&addr)
    }

    /// Returns whether it is of the handle's mm. If not, it is another VMA in the same memory.
    pub(crate) fn is_of_mm(self, k: &mut Kernel<'_>) -> bool {
        k.get(self.owner) == self.mm.id
    }

    /// `find_vma()`, `vma_lookup()`: with the mmap_lock held (I-STATE).
    pub(crate) fn find(self, k: &mut Kernel<'_>, addr: u8) -> bool {
        k.needs(self.mm.mmap_lock, "the tree of VMAs is walked");
        self.is_found(k, addr)
    }

    /// Enters or leaves the mm's tree.
    pub(crate) fn set_in_tree(self, k: &mut Kernel<'_>, inside: bool) {
        k.needs_write(self.mm.mmap_lock, "the tree of VMAs is changed");
        k.set(self.in_tree, u8::from(inside));
    }

    /// Returns whether a walk of the rmap tree under this lock finds it.
    pub(crate) fn is_in_rmap(self, k: &mut Kernel<'_>, lock: Lock) -> bool {
        k.needs(lock, "the rmap tree is walked");
        k.get(self.in_rmap) != 0
    }

    /// Enters or leaves the rmap tree under this lock.
    pub(crate) fn set_in_rmap(self, k: &mut Kernel<'_>, lock: Lock, inside: bool) {
        k.needs_write(lock, "the rmap tree is changed");
        k.set(self.in_rmap, u8::from(inside));
    }

    /// Returns whether a walk of the mm's tree finds it at this address.
    pub(crate) fn is_found(self, k: &mut Kernel<'_>, addr: u8) -> bool {
        k.get(self.in_tree) != 0 && self.is_of_mm(k) && self.covers(k, addr)
    }

    /// Grants the lock to this thread. Checks that the VMA is attached, of this mm and at this address (I-VID), and that no
    /// writer has it (I-VEXCL).
    fn grant(self, k: &mut Kernel<'_>, addr: u8) {
        self.say_granted(k, addr);
        if !self.is_of_mm(k) {
            k.violate(Invariant::Vid, "a reader is granted the lock of a VMA of another mm");
        } else if !self.covers(k, addr) {
            k.violate(Invariant::Vid, "a reader is granted the lock of a VMA that is elsewhere");
        } else if k.get(self.attached) == 0 {
            k.violate(Invariant::Vid, "a reader is granted the lock of a VMA that is detached");
        }
        if self.is_write_locked(k) {
            k.violate(Invariant::Vexcl, "a reader is granted the VMA lock while a writer has it");
        }
        self.access(k, "the lock");
        let granted = k.get(self.granted);
        k.set(self.granted, granted | 1 << k.me());
    }

    /// Returns whether this thread was granted the lock.
    pub(crate) fn is_granted(self, k: &mut Kernel<'_>) -> bool {
        k.get(self.granted) & 1 << k.me() != 0
    }

    /// `vma_end_read()`, as part of a step. The thread cannot use the VMA after it.
    pub(crate) fn end_read_now(self, k: &mut Kernel<'_>) {
        self.access(k, "vma_end_read()");
        let granted = k.get(self.granted);
        if granted & 1 << k.me() == 0 {
            k.violate(Invariant::Dbl, "the VMA lock is released, and this thread does not hold it");
            return;
        }
        k.set(self.granted, granted & !(1 << k.me()));
        self.put_now(k);
    }

    /// Gives back a reference, or the rwsem, that was never granted.
    fn put_now(self, k: &mut Kernel<'_>) {
        self.access(k, "the lock word");
        // If the protection is left out, no reference was taken.
        if k.holds(self.lock).is_some() {
            k.unlock(self.lock);
        }
    }

    /// Returns whether `vm_refcnt` is 0: the VMA is detached, and no thread has a reference.
    fn is_unreferenced(self, k: &mut Kernel<'_>) -> bool {
        k.get(self.attached) == 0 && k.readers(self.lock) == 0 && k.get(self.exclude) == 0
    }

    /// `vm_area_free()`, as part of a step. Threads that are in an RCU section can still read the VMA: 6.12 frees it after a
    /// grace period, and 7.2's slab keeps the memory a VMA.
    pub(crate) fn free_now(self, k: &mut Kernel<'_>) {
        k.emit(|| self.event(Kind::VmAreaFree));
        k.set(self.freed, 1);
        rcu::begin_grace(k, self.grace);
    }

    /// Returns whether `vm_area_alloc()` can return this memory: in 7.2 as soon as it is freed, in 6.12 after the grace
    /// period.
    pub(crate) fn is_free(self, k: &mut Kernel<'_>, flavour: Flavour) -> bool {
        k.get(self.freed) != 0 && (flavour == Flavour::Refcount || k.get(self.grace) == 0)
    }

    /// `vm_area_alloc()` returns this memory for the mm of this handle, and `vma_set_range()` gives it one page.
    pub(crate) fn reuse_now(self, k: &mut Kernel<'_>, start: u8) {
        k.set(self.freed, 0);
        k.set(self.grace, 0);
        k.set(self.owner, self.mm.id);
        k.set(self.start, start);
        k.set(self.end, start + 1);
        // vma_init_lock() sets a sequence that no mm has.
        k.set(self.lock_seq, 0);
    }
}

/// `lock_vma_under_rcu(mm, addr)`: takes the VMA lock for read, or goes to `fail`.
pub(crate) fn lock_vma_under_rcu(p: &mut Program, v: Vma, flavour: Flavour, fail: Label) {
    lock_vma_under_rcu_with(p, v, Reading::new(flavour), fail);
}

/// [`lock_vma_under_rcu`] of any address, with or without each of its tests.
pub(crate) fn lock_vma_under_rcu_with(p: &mut Program, v: Vma, r: Reading, fail: Label) {
    p.function("lock_vma_under_rcu", |p| match r.flavour {
        Flavour::Rwsem => lock_6_12(p, v, r, fail),
        Flavour::Refcount => lock_7_2(p, v, r, fail),
    });
}

/// `rcu_read_unlock()`, then a branch.
fn leave(p: &mut Program, rcu: Guard, to: Label) {
    let text = if rcu.is_active() { "rcu_read_unlock()" } else { "return" };
    p.step(text, move |k| {
        if rcu.is_active() {
            k.rcu_read_unlock();
        }
        Flow::Goto(to)
    });
}

fn look_up(p: &mut Program, v: Vma, r: Reading, inval: Label) {
    p.step("vma = mas_walk(&mas)", move |k| if v.is_found(k, r.addr) { Flow::Next } else { Flow::Goto(inval) });
    p.function("vma_start_read", |p| {
        // The loads are not ordered here: a stale value leads to a failure that was not necessary, and to nothing else.
        p.branch("vma->vm_lock_seq == mm->mm_lock_seq: give up early", inval, move |k| {
            v.access(k, "vm_lock_seq");
            k.get(v.lock_seq) == k.get(v.mm.lock_seq)
        });
    });
}

fn test(
    p: &mut Program,
    r: Reading,
    test: Test,
    text: &'static str,
    otherwise: Label,
    holds: impl Fn(&mut Kernel<'_>) -> bool + Send + Sync + 'static,
) {
    if r.without != Some(test) {
        p.recheck(text, otherwise, holds);
    }
}

fn is_unlocked(v: Vma) -> impl Fn(&mut Kernel<'_>) -> bool + Send + Sync + 'static {
    move |k| {
        v.access(k, "vm_lock_seq");
        k.get(v.lock_seq) != k.get(v.mm.lock_seq)
    }
}

fn lock_6_12(p: &mut Program, v: Vma, r: Reading, fail: Label) {
    let (out, inval, end_read, locked, isolated) = (p.label(), p.label(), p.label(), p.label(), p.label());
    let rcu = p.rcu_read_lock();
    let retry = p.mark();
    look_up(p, v, r, inval);
    p.function("vma_start_read", |p| {
        let text = "down_read_trylock(&vma->vm_lock->lock)";
        if p.protect(Protection::Lock, text).is_active() {
            p.branch(text, inval, move |k| {
                v.access(k, "vm_lock");
                !k.trylock(v.lock, Mode::Read)
            });
        }
        test(p, r, Test::Sequence, "vma->vm_lock_seq != mm->mm_lock_seq, under the lock", locked, is_unlocked(v));
    });
    test(p, r, Test::Detached, "!vma->detached", isolated, move |k| k.get(v.attached) != 0);
    let addr = r.addr;
    test(p, r, Test::Range, "vma->vm_start <= address < vma->vm_end", end_read, move |k| v.covers(k, addr));
    p.step("rcu_read_unlock(); return vma", move |k| {
        if rcu.is_active() {
            k.rcu_read_unlock();
        }
        v.grant(k, addr);
        Flow::Goto(out)
    });
    p.bind(isolated);
    p.step("vma_end_read(vma), and look it up again", move |k| {
        v.put_now(k);
        Flow::Goto(retry)
    });
    p.bind(locked);
    p.bind(end_read);
    p.run("up_read(&vma->vm_lock->lock)", move |k| v.put_now(k));
    p.bind(inval);
    leave(p, rcu, fail);
    p.bind(out);
}

fn lock_7_2(p: &mut Program, v: Vma, r: Reading, fail: Label) {
    let (out, inval, locked, unstable, again, end_read) =
        (p.label(), p.label(), p.label(), p.label(), p.label(), p.label());
    let retry = p.mark();
    let rcu = p.rcu_read_lock();
    look_up(p, v, r, inval);
    p.function("vma_start_read", |p| {
        let text = "refcount_inc_not_zero(&vma->vm_refcnt)";
        if p.protect(Protection::Lock, text).is_active() {
            p.step(text, move |k| {
                v.access(k, "vm_refcnt");
                if v.is_unreferenced(k) {
                    return Flow::Goto(again);
                }
                if k.get(v.exclude) == 0 && k.trylock(v.lock, Mode::Read) { Flow::Next } else { Flow::Goto(inval) }
            });
        }
        test(p, r, Test::Mm, "vma->vm_mm == mm", unstable, move |k| v.is_of_mm(k));
        test(p, r, Test::Sequence, "vma->vm_lock_seq != mm->mm_lock_seq, with the reference", locked, is_unlocked(v));
    });
    p.rcu_read_unlock(rcu);
    let addr = r.addr;
    test(p, r, Test::Range, "vma->vm_start <= address < vma->vm_end", end_read, move |k| v.covers(k, addr));
    p.step("return vma", move |k| {
        v.grant(k, addr);
        Flow::Goto(out)
    });
    p.bind(again);
    leave(p, rcu, retry);
    p.bind(unstable);
    // The other mm is pinned, because its writer can be waiting for this reference.
    p.rcu_read_unlock(rcu);
    p.bind(end_read);
    p.step("vma_refcount_put(vma)", move |k| {
        v.put_now(k);
        Flow::Goto(fail)
    });
    p.bind(locked);
    p.run("vma_refcount_put(vma)", move |k| v.put_now(k));
    p.bind(inval);
    leave(p, rcu, fail);
    p.bind(out);
}

/// `vma_end_read(vma)`.
pub(crate) fn vma_end_read(p: &mut Program, v: Vma) {
    p.run("vma_end_read(vma)", move |k| v.end_read_now(k));
}

/// `vma_start_write(vma)`: waits for the readers, with the mmap_lock held for write.
pub(crate) fn vma_start_write(p: &mut Program, v: Vma, flavour: Flavour) {
    vma_start_write_with(p, v, flavour, Waits::ForReaders);
}

/// [`vma_start_write`] that waits or does not.
pub(crate) fn vma_start_write_with(p: &mut Program, v: Vma, flavour: Flavour, waits: Waits) {
    p.function("vma_start_write", |p| {
        let done = p.label();
        p.branch("vma->vm_lock_seq == mm->mm_lock_seq: it is locked already", done, move |k| {
            if k.holds(v.mm.mmap_lock) != Some(Mode::Write) {
                k.violate(Invariant::State, "a VMA is write-locked without the mmap_lock held for write");
            }
            let locked = k.get(v.lock_seq) == k.get(v.mm.lock_seq);
            // 6.12 inlines the whole function, so it has no event.
            if !locked && flavour == Flavour::Refcount {
                k.emit(|| v.event(Kind::VmaStartWrite));
            }
            locked
        });
        let entered = move |k: &mut Kernel<'_>| {
            let seq = k.get(v.mm.lock_seq);
            k.set(v.lock_seq, seq);
            if flavour == Flavour::Refcount && waits == Waits::ForNobody {
                k.emit(|| v.event(Kind::VmaStartWriteReturn));
            }
            if k.get(v.granted) != 0 && k.get(v.attached) != 0 {
                k.violate(Invariant::Vexcl, "a writer gets the VMA lock while a reader has it");
            }
        };
        let store = "vma->vm_lock_seq = mm->mm_lock_seq";
        match (flavour, waits) {
            (Flavour::Rwsem, Waits::ForReaders) => {
                let guard = p.lock("down_write(&vma->vm_lock->lock)", move |k| k.lock(v.lock, Mode::Write));
                p.run(store, entered);
                p.release(guard, "up_write(&vma->vm_lock->lock)", move |k| k.unlock(v.lock));
            }
            (Flavour::Refcount, Waits::ForReaders) => {
                let detached = p.label();
                exclude_readers(p, v, detached);
                p.run(store, entered);
                let end = "refcount_sub(EXCLUDE, &vma->vm_refcnt)";
                p.step(end, move |k| {
                    k.emit(|| v.event(Kind::VmaStartWriteReturn));
                    k.set(v.exclude, 0);
                    Flow::Goto(done)
                });
                p.bind(detached);
                p.run(store, move |k| {
                    k.emit(|| v.event(Kind::VmaStartWriteReturn));
                    entered(k);
                });
            }
            (_, Waits::ForNobody) => p.run(store, entered),
        }
        p.bind(done);
    });
}

/// `refcount_add_not_zero()` of the exclude bit, then the wait for the threads that have a reference. Goes to `zero` if the
/// count is 0.
fn exclude_readers(p: &mut Program, v: Vma, zero: Label) {
    let add = "refcount_add_not_zero(EXCLUDE, &vma->vm_refcnt)";
    p.step(add, move |k| {
        if v.is_unreferenced(k) {
            return Flow::Goto(zero);
        }
        k.set(v.exclude, 1);
        Flow::Next
    });
    let wait = "rcuwait_wait_event(no readers)";
    if p.protect(Protection::Wait, wait).is_active() {
        p.step(wait, move |k| if k.readers(v.lock) == 0 { Flow::Next } else { Flow::Block });
    }
}

/// `vma_mark_detached(vma)`: no thread can take the lock any more. 7.2 waits for the threads that have a reference.
pub(crate) fn vma_mark_detached(p: &mut Program, v: Vma, flavour: Flavour) {
    vma_mark_detached_with(p, v, flavour, Waits::ForReaders);
}

/// [`vma_mark_detached`] that waits or does not.
pub(crate) fn vma_mark_detached_with(p: &mut Program, v: Vma, flavour: Flavour, waits: Waits) {
    p.function("vma_mark_detached", |p| match (flavour, waits) {
        (Flavour::Rwsem, _) => p.run("vma->detached = true", move |k| k.set(v.attached, 0)),
        (Flavour::Refcount, Waits::ForNobody) => {
            p.run("refcount_dec(&vma->vm_refcnt)", move |k| k.set(v.attached, 0));
        }
        (Flavour::Refcount, Waits::ForReaders) => {
            let done = p.label();
            p.branch("refcount_dec_and_test(&vma->vm_refcnt)", done, move |k| {
                k.set(v.attached, 0);
                v.is_unreferenced(k)
            });
            exclude_readers(p, v, done);
            let end = "refcount_sub_and_test(EXCLUDE, &vma->vm_refcnt)";
            p.run(end, move |k| k.set(v.exclude, 0));
            p.bind(done);
        }
    });
}

/// `vma_mark_attached(vma)`: readers can get the lock from now on, if the sequences differ.
pub(crate) fn vma_mark_attached(p: &mut Program, v: Vma, flavour: Flavour) {
    let text = match flavour {
        Flavour::Rwsem => "vma->detached = false",
        Flavour::Refcount => "refcount_set_release(&vma->vm_refcnt, 1)",
    };
    p.function("vma_mark_attached", |p| p.run(text, move |k| k.set(v.attached, 1)));
}
