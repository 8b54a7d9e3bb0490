//! A VMA and its per-VMA lock (6.12: include/linux/mm.h and mm/memory.c; 7.2:
//! include/linux/mmap_lock.h and mm/mmap_lock.c).

use mmtrace_common::{Column, Kind};
use mmtrace_model::model::{invariant::Invariant, locks::exclusion::Mode};

use super::{
    event::{Event, PAGE, START},
    kernel::Kernel,
    layout::Lock,
    mm::Mm,
    program::{Flow, Guard, Label, Program, Protection},
    rcu,
    state::Cell,
    world::World,
};

/// Which kernel's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// 6.12: a rwsem `vm_lock`, the `detached` flag, VMAs freed by RCU.
    Rwsem,
    /// 7.2: `vm_refcnt` with its exclude bit, VMAs reused at once.
    Refcount,
}

/// Something that `lock_vma_under_rcu()` looks at again once it has the lock word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// `vm_lock_seq` against `mm_lock_seq`, for the second time.
    Sequence,
    /// 7.2: `vma->vm_mm == mm`.
    Mm,
    /// The address is in the VMA.
    Range,
    /// 6.12: `!vma->detached`.
    Detached,
}

/// Whether a writer, or who detaches, waits for the readers before it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// As the kernel does.
    ForReaders,
    /// Negative test.
    ForNobody,
}

/// How a reader takes the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Which kernel's lock.
    pub flavour: Flavour,
    /// The address, in pages.
    pub addr: u8,
    /// Negative test: this is left out.
    pub without: Option<Test>,
}

impl Reading {
    /// As the kernel does, of address 0.
    #[must_use]
    pub const fn new(flavour: Flavour) -> Self {
        Self { flavour, addr: 0, without: None }
    }

    /// Without this test.
    #[must_use]
    pub const fn without(flavour: Flavour, test: Test) -> Self {
        Self { flavour, addr: 0, without: Some(test) }
    }
}

/// A VMA. Flags that only some scenarios need are cells of theirs.
#[derive(Clone, Copy, Debug)]
pub struct Vma {
    /// The mm that whoever holds this handle takes it to be of.
    pub mm: Mm,
    /// `vm_mm`: the number of the mm it is part of now.
    pub owner: Cell,
    /// `vm_start`, in pages.
    pub start: Cell,
    /// `vm_end`, in pages.
    pub end: Cell,
    /// Readers: `vm_lock` (6.12), or the references in `vm_refcnt` (7.2).
    pub lock: Lock,
    /// Readers that were granted the lock, bit by thread: those who rely on it. Ghost.
    pub granted: Cell,
    /// `vm_lock_seq`: equal to `mm_lock_seq` while it is write-locked.
    pub lock_seq: Cell,
    /// 7.2: a writer waits for the readers (`VM_REFCNT_EXCLUDE_READERS_FLAG` in `vm_refcnt`).
    pub exclude: Cell,
    /// Attached (1), detached (0): 6.12's `detached` flag, 7.2's own reference in `vm_refcnt`.
    pub attached: Cell,
    /// In the mm's tree (`mm_mt`).
    pub in_tree: Cell,
    /// In the rmap trees (i_mmap, anon_vma).
    pub in_rmap: Cell,
    /// Freed: what is there may be anything, except for those in [`Vma::grace`].
    pub freed: Cell,
    /// RCU readers for whom a freed VMA is still a VMA, this one or (7.2) another one.
    pub grace: Cell,
}

impl Vma {
    /// An attached one of one page at 0, in tree and rmap.
    pub fn new(w: &mut World, mm: Mm, name: &str) -> Self {
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

    /// Its address, for events: the same for all who see it.
    #[must_use]
    pub const fn address(self) -> u64 {
        0xffff_8880_8000_0000 + 0x100 * self.freed.0 as u64
    }

    /// An event about it and its mm.
    pub fn event(self, kind: Kind) -> Event {
        Event { kind, mm: Some(self.mm.id), fields: vec![(Column::Vma, self.address())] }
    }

    /// `lock_vma_under_rcu()` returns it. What is only told is no part of the step.
    fn say_granted(self, k: &mut Kernel<'_>, addr: u8) {
        if !k.is_told() {
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

    /// The same object, as a thread of another mm sees it.
    #[must_use]
    pub const fn of(self, mm: Mm) -> Self {
        Self { mm, ..self }
    }

    /// Looks at it: it must be there (I-UAF-VMA).
    pub fn access(self, k: &mut Kernel<'_>, what: &str) {
        if k.get(self.freed) != 0 && k.get(self.grace) & 1 << k.me() == 0 {
            k.violate(Invariant::UafVma, format!("{what} of a VMA that is freed"));
        }
    }

    /// Whether it is write-locked now.
    pub fn is_write_locked(self, k: &mut Kernel<'_>) -> bool {
        let seq = k.get(self.mm.lock_seq);
        seq % 2 == 1 && k.get(self.lock_seq) == seq
    }

    /// Whether it covers this address, in pages.
    pub fn covers(self, k: &mut Kernel<'_>, addr: u8) -> bool {
        (k.get(self.start)..k.get(self.end)).contains(&addr)
    }

    /// Whether it is the one of this mm, or another one in the same memory.
    pub fn is_of_mm(self, k: &mut Kernel<'_>) -> bool {
        k.get(self.owner) == self.mm.id
    }

    /// `find_vma()`, `vma_lookup()`: with the mmap_lock held (I-STATE).
    pub fn find(self, k: &mut Kernel<'_>, addr: u8) -> bool {
        k.needs(self.mm.mmap_lock, "the tree of VMAs is walked");
        self.is_found(k, addr)
    }

    /// Enters or leaves the mm's tree.
    pub fn set_in_tree(self, k: &mut Kernel<'_>, inside: bool) {
        k.needs_write(self.mm.mmap_lock, "the tree of VMAs is changed");
        k.set(self.in_tree, u8::from(inside));
    }

    /// Whether a walk of the rmap tree under this lock finds it.
    pub fn is_in_rmap(self, k: &mut Kernel<'_>, lock: Lock) -> bool {
        k.needs(lock, "the rmap tree is walked");
        k.get(self.in_rmap) != 0
    }

    /// Enters or leaves the rmap tree under this lock.
    pub fn set_in_rmap(self, k: &mut Kernel<'_>, lock: Lock, inside: bool) {
        k.needs_write(lock, "the rmap tree is changed");
        k.set(self.in_rmap, u8::from(inside));
    }

    /// Whether a walk of the mm's tree finds it at this address.
    pub fn is_found(self, k: &mut Kernel<'_>, addr: u8) -> bool {
        k.get(self.in_tree) != 0 && self.is_of_mm(k) && self.covers(k, addr)
    }

    /// The lock was granted to this thread: it must be attached and of this mm (I-VID), and
    /// nobody may be writing (I-VEXCL).
    pub fn grant(self, k: &mut Kernel<'_>) {
        self.grant_at(k, None);
    }

    fn grant_at(self, k: &mut Kernel<'_>, addr: Option<u8>) {
        if let Some(addr) = addr {
            self.say_granted(k, addr);
        }
        if !self.is_of_mm(k) {
            k.violate(Invariant::Vid, "a reader is granted the lock of a VMA of another mm");
        } else if addr.is_some_and(|addr| !self.covers(k, addr)) {
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

    /// Whether this thread was granted the lock.
    pub fn is_granted(self, k: &mut Kernel<'_>) -> bool {
        k.get(self.granted) & 1 << k.me() != 0
    }

    /// `vma_end_read()`, as part of a step. After it the VMA must not be touched.
    pub fn end_read_now(self, k: &mut Kernel<'_>) {
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
        // Without the protection there is nothing to give back.
        if k.holds(self.lock).is_some() {
            k.unlock(self.lock);
        }
    }

    /// `vm_refcnt == 0`: detached, and nobody looks.
    fn is_unreferenced(self, k: &mut Kernel<'_>) -> bool {
        k.get(self.attached) == 0 && k.readers(self.lock) == 0 && k.get(self.exclude) == 0
    }

    /// `vm_area_free()`, as part of a step. RCU readers of before may go on looking: 6.12 frees
    /// after a grace period, 7.2's slab keeps the memory a VMA.
    pub fn free_now(self, k: &mut Kernel<'_>) {
        k.emit(|| self.event(Kind::VmAreaFree));
        k.set(self.freed, 1);
        rcu::begin_grace(k, self.grace);
    }

    /// Whether `vm_area_alloc()` may return this memory: 7.2 as soon as it is freed, 6.12 after the grace period.
    pub fn is_free(self, k: &mut Kernel<'_>, flavour: Flavour) -> bool {
        k.get(self.freed) != 0 && (flavour == Flavour::Refcount || k.get(self.grace) == 0)
    }

    /// `vm_area_alloc()` returns this memory, for the mm of this handle; `vma_set_range()` of one page.
    pub fn reuse_now(self, k: &mut Kernel<'_>, start: u8) {
        k.set(self.freed, 0);
        k.set(self.grace, 0);
        k.set(self.owner, self.mm.id);
        k.set(self.start, start);
        k.set(self.end, start + 1);
        // vma_init_lock(): a sequence that no mm has.
        k.set(self.lock_seq, 0);
    }
}

/// `lock_vma_under_rcu(mm, addr)`: the VMA lock for read, or else goes to `fail`.
pub fn lock_vma_under_rcu(p: &mut Program, v: Vma, flavour: Flavour, fail: Label) {
    lock_vma_under_rcu_with(p, v, Reading::new(flavour), fail);
}

/// [`lock_vma_under_rcu`] of some address, perhaps without one of its tests.
pub fn lock_vma_under_rcu_with(p: &mut Program, v: Vma, r: Reading, fail: Label) {
    p.function("lock_vma_under_rcu", |p| match r.flavour {
        Flavour::Rwsem => lock_6_12(p, v, r, fail),
        Flavour::Refcount => lock_7_2(p, v, r, fail),
    });
}

/// `rcu_read_unlock()`, and goes on elsewhere.
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
        // A stale value may only lead to a false failure: neither side is ordered here.
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
        v.grant_at(k, Some(addr));
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
        v.grant_at(k, Some(addr));
        Flow::Goto(out)
    });
    p.bind(again);
    leave(p, rcu, retry);
    p.bind(unstable);
    // The other mm is pinned for this moment: the reference may be what its writer waits for.
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
pub fn vma_end_read(p: &mut Program, v: Vma) {
    p.run("vma_end_read(vma)", move |k| v.end_read_now(k));
}

/// `vma_start_write(vma)`: waits for the readers. The mmap_lock is held for write (PA-1).
pub fn vma_start_write(p: &mut Program, v: Vma, flavour: Flavour) {
    vma_start_write_with(p, v, flavour, Waits::ForReaders);
}

/// [`vma_start_write`] that may not wait.
pub fn vma_start_write_with(p: &mut Program, v: Vma, flavour: Flavour, waits: Waits) {
    p.function("vma_start_write", |p| {
        let done = p.label();
        p.branch("vma->vm_lock_seq == mm->mm_lock_seq: it is locked already", done, move |k| {
            if k.holds(v.mm.mmap_lock) != Some(Mode::Write) {
                k.violate(Invariant::State, "a VMA is write-locked without the mmap_lock held for write");
            }
            let locked = k.get(v.lock_seq) == k.get(v.mm.lock_seq);
            // 6.12 has all of it inline.
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

/// `refcount_add_not_zero()` of the exclude bit, and the wait for those who have a reference.
/// Goes to `zero` if there is nobody and nothing.
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

/// `vma_mark_detached(vma)`: nobody can get the lock any more. 7.2 waits for those who hold a
/// reference for a moment.
pub fn vma_mark_detached(p: &mut Program, v: Vma, flavour: Flavour) {
    vma_mark_detached_with(p, v, flavour, Waits::ForReaders);
}

/// [`vma_mark_detached`] that may not wait.
pub fn vma_mark_detached_with(p: &mut Program, v: Vma, flavour: Flavour, waits: Waits) {
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
pub fn vma_mark_attached(p: &mut Program, v: Vma, flavour: Flavour) {
    let text = match flavour {
        Flavour::Rwsem => "vma->detached = false",
        Flavour::Refcount => "refcount_set_release(&vma->vm_refcnt, 1)",
    };
    p.function("vma_mark_attached", |p| p.run(text, move |k| k.set(v.attached, 1)));
}
