//! Mappings: a file, the heap, a stack, other anonymous memory.

use mmtrace_common::{Call, VmaFacts, event};

use super::files::FileId;
use crate::texts::NameId;

/// The bits of an offset within a base page.
const PAGE_SHIFT: u32 = 12;
/// `VM_SHARED` (include/linux/mm.h): writes go to the file, or to the others who share the memory.
pub const VM_SHARED: u64 = 0x8;
/// `VM_GROWSDOWN`: the kernel extends the mapping downwards where it is faulted below: a stack.
pub const VM_GROWSDOWN: u64 = 0x100;
/// `VM_UFFD_MISSING` and `VM_UFFD_WP`. `VM_UFFD_MINOR` has another bit on each series, and is not asked for.
const VM_UFFD: u64 = 0x200 | 0x1000;
/// `VM_HUGETLB`: huge pages from a pool.
const VM_HUGETLB: u64 = 0x40_0000;

/// A mapping's number: that of a VMA, and of those that it was split into or extended to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MappingId(pub(super) u64);

impl MappingId {
    /// Returns the number.
    pub(crate) const fn number(self) -> u64 {
        self.0
    }
}

/// Memory behind a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Backing {
    /// Private anonymous memory.
    Anonymous,
    /// Private anonymous memory that `brk()` mapped.
    Heap,
    /// Private anonymous memory that grows downwards.
    Stack,
    /// A file; memory that is shared without a file has one too, in the kernel's own tmpfs.
    File(FileId),
    /// Neither a file nor anonymous memory: `[vdso]`, `[vvar]`, `[uprobes]`.
    Special,
}

/// One mapping, as its VMA describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Its number.
    pub(crate) id: MappingId,
    /// The memory behind it.
    pub(crate) backing: Backing,
    /// `vm_flags`. Of a mapping that only /proc/PID/maps has shown: read 1, write 2, execute 4, and [`VM_SHARED`] and
    /// [`VM_GROWSDOWN`] alone.
    pub(crate) vm_flags: u64,
    /// Offset in the file that address 0 would have, bytes, modulo 2^64: see [`Mapping::offset`].
    pub(super) base: u64,
    /// The VMA, as a kernel pointer; 0: only /proc/PID/maps has shown it.
    pub(crate) vma: u64,
    /// The name in /proc/PID/maps of a mapping that is no file's, and when the reading of that began.
    pub(super) name: Option<(NameId, u64)>,
}

impl Mapping {
    /// Whether the two may be one mapping, before and after a split, a growth or an mprotect.
    pub(super) fn continues(&self, other: &Self) -> bool {
        self.backing == other.backing && (self.vm_flags ^ other.vm_flags) & VM_SHARED == 0
    }

    /// Returns the offset in the file of an address, bytes. It stays the same when the mapping is split.
    #[must_use]
    pub(crate) const fn offset(&self, addr: u64) -> u64 {
        self.base.wrapping_add(addr)
    }

    /// Whether writes are seen by others.
    #[must_use]
    pub(crate) const fn is_shared(&self) -> bool {
        self.vm_flags & VM_SHARED != 0
    }

    /// Whether its pages come from a pool of huge pages.
    #[must_use]
    pub(crate) const fn is_hugetlb(&self) -> bool {
        self.vm_flags & VM_HUGETLB != 0
    }

    /// Whether it is registered with userfaultfd.
    #[must_use]
    pub(crate) const fn has_userfaultfd(&self) -> bool {
        self.vm_flags & VM_UFFD != 0
    }

    /// Returns what decides how its faults are handled. Access and userfaultfd are as they were when it was stored; whether
    /// its file is one of tmpfs is not known.
    pub(in crate::model) const fn facts(&self) -> VmaFacts {
        let (has_ops, has_file) = match self.backing {
            Backing::Anonymous | Backing::Heap | Backing::Stack => (false, false),
            Backing::File(_) => (true, true),
            Backing::Special => (true, false),
        };
        VmaFacts::new(self.vm_flags, has_ops, has_file, 0)
    }

    /// Takes over the registration with userfaultfd from flags that a VMA is about to have.
    pub(super) const fn register(&mut self, vm_flags: u64) {
        self.vm_flags = self.vm_flags & !VM_UFFD | vm_flags & VM_UFFD;
    }
}

/// Returns the memory behind a mapping that has no name; `file` is its file, if it has one.
pub(super) const fn backing(anonymous: bool, file: Option<FileId>, vm_flags: u64) -> Backing {
    match file {
        Some(file) => Backing::File(file),
        None if !anonymous => Backing::Special,
        None if vm_flags & VM_GROWSDOWN != 0 => Backing::Stack,
        None => Backing::Anonymous,
    }
}

/// The file of an event, as device and inode; `None` if it has none.
pub(super) const fn file_of(dev: u32, ino: u64) -> Option<(u32, u64)> {
    if dev == 0 && ino == 0 { None } else { Some((dev, ino)) }
}

/// Work of a call on mappings once it takes the mmap_lock for write, as far as that decides what a mapping is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// `brk()`: what it stores is the heap.
    Heap,
    /// It changes mappings, and splits or merges them: what was the heap stays the heap.
    Changes,
    /// As [`Doing::Changes`], and it may give anonymous memory another name: `prctl(PR_SET_VMA)`.
    Names,
    /// It copies an address space.
    Forks,
    /// Anything else.
    Other,
}

impl Doing {
    /// The system calls that matter, by their numbers on x86-64 and on i386; those of x32 are x86-64's.
    const CALLS: [(Self, u16, u16); 16] = [
        (Self::Heap, 12, 45),
        (Self::Changes, 10, 125),
        (Self::Changes, 28, 219),
        (Self::Changes, 149, 150),
        (Self::Changes, 150, 151),
        (Self::Changes, 151, 152),
        (Self::Changes, 152, 153),
        (Self::Changes, 237, 274),
        (Self::Changes, 325, 376),
        (Self::Changes, 329, 380),
        (Self::Changes, 440, 440),
        (Self::Names, 157, 172),
        (Self::Forks, 56, 120),
        (Self::Forks, 57, 2),
        (Self::Forks, 58, 190),
        (Self::Forks, 435, 435),
    ];

    /// Returns the work of a task that came into the kernel by this call.
    pub(super) fn of(call: Call) -> Self {
        let found = match call {
            Call::System(number) | Call::X32(number) => Self::CALLS.iter().find(|(_, here, _)| *here == number),
            Call::Compat(number) => Self::CALLS.iter().find(|(.., compat)| *compat == number),
            _ => None,
        };
        found.map_or(Self::Other, |(doing, ..)| *doing)
    }
}

/// Returns the offset that address 0 would have, of a mapping that begins at `start` with base page `pgoff` of its file.
pub(super) const fn base(pgoff: u64, start: u64) -> u64 {
    (pgoff << PAGE_SHIFT).wrapping_sub(start)
}

/// The mapping that an event stores, before it has a number.
pub(super) fn stored(event: &event::MaWrite, file: Option<FileId>) -> Mapping {
    Mapping {
        id: MappingId(0),
        backing: backing(event.anonymous, file, event.vm_flags),
        vm_flags: event.vm_flags,
        base: base(event.pgoff, event.addr),
        vma: event.vma,
        name: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::call_name;

    #[test]
    fn both_numbers_of_a_call_have_one_name() {
        for (_, system, compat) in Doing::CALLS {
            let name = call_name(Call::System(system));
            assert_eq!(format!("{name} (32-bit)"), call_name(Call::Compat(compat)));
        }
        assert_eq!(Doing::of(Call::System(12)), Doing::Heap);
        assert_eq!(Doing::of(Call::X32(157)), Doing::Names);
        assert_eq!(Doing::of(Call::UserTrap), Doing::Other);
    }
}
