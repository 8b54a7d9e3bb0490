//! Memory system calls behind safe functions.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, Ordering};

/// Bytes of a page on every kernel that mmtrace traces (x86-64).
pub(super) const PAGE: usize = 4096;
/// Bytes that one PMD entry maps.
pub(super) const HUGE: usize = 2 << 20;
/// Bytes that one PUD entry maps, and the range whose page table processes may share in a hugetlb mapping.
pub(super) const GIGANTIC: usize = 1 << 30;
/// Make pages fault with SIGSEGV, and undo it (include/uapi/asm-generic/mman-common.h); not in every libc crate.
const MADV_GUARD_INSTALL: i32 = 102;
const MADV_GUARD_REMOVE: i32 = 103;
/// Move pages that only this process maps (include/uapi/linux/mempolicy.h); not in every libc crate.
pub(super) const MPOL_MF_MOVE: i32 = 2;
/// Move pages that others map too (root).
pub(super) const MPOL_MF_MOVE_ALL: i32 = 4;

/// Access that a mapping permits. Without any, a touch would end the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// `PROT_READ`
    Read,
    /// `PROT_READ | PROT_WRITE`
    Write,
}

impl Access {
    fn bits(self) -> i32 {
        match self {
            Self::Read => libc::PROT_READ,
            Self::Write => libc::PROT_READ | libc::PROT_WRITE,
        }
    }
}

/// Advice for madvise(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// Give the pages back; the next touch faults again.
    DontNeed,
    /// Never a transparent huge page here.
    NoHugePage,
    /// Transparent huge pages wanted; registers the mm with khugepaged.
    HugePage,
    /// Collapse into a huge page now.
    Collapse,
    /// Reclaim the pages, to swap if there is one.
    PageOut,
    /// Punch a hole into the file behind the mapping.
    Remove,
    /// Fault every page in for writing, and say if one cannot be.
    Populate,
    /// A touch would end the process with SIGSEGV from now on (6.13, files 6.15).
    Guard,
    /// Undo [`Advice::Guard`].
    Unguard,
    /// Read nothing ahead.
    Random,
}

impl Advice {
    fn bits(self) -> i32 {
        match self {
            Self::DontNeed => libc::MADV_DONTNEED,
            Self::NoHugePage => libc::MADV_NOHUGEPAGE,
            Self::HugePage => libc::MADV_HUGEPAGE,
            Self::Collapse => libc::MADV_COLLAPSE,
            Self::PageOut => libc::MADV_PAGEOUT,
            Self::Remove => libc::MADV_REMOVE,
            Self::Populate => libc::MADV_POPULATE_WRITE,
            Self::Guard => MADV_GUARD_INSTALL,
            Self::Unguard => MADV_GUARD_REMOVE,
            Self::Random => libc::MADV_RANDOM,
        }
    }
}

/// Memory or file that backs a mapping.
#[derive(Clone, Copy, Debug)]
pub(super) enum Backing<'a> {
    /// Private anonymous memory.
    Anon,
    /// The file's own pages.
    Shared(&'a File),
    /// Copies of the file's pages on write.
    Private(&'a File),
    /// Private memory of huge pages that are reserved for it. Without enough of them, it cannot be mapped.
    Huge,
}

/// Memory mapped by this object and unmapped with it.
///
/// The contents are only ever accessed as relaxed atomic bytes or by the kernel, so sharing one between threads is
/// sound whatever they write.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and its bytes are accessed atomically.
unsafe impl Send for Mapping {}
// SAFETY: as above; no method hands out a reference to the mapped bytes.
unsafe impl Sync for Mapping {}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn map(at: *mut u8, len: usize, access: Access, backing: Backing<'_>) -> io::Result<NonNull<u8>> {
    let anon = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let (kind, fd) = match backing {
        Backing::Anon => (anon | libc::MAP_NORESERVE, -1),
        Backing::Shared(file) => (libc::MAP_SHARED | libc::MAP_NORESERVE, file.as_raw_fd()),
        Backing::Private(file) => (libc::MAP_PRIVATE | libc::MAP_NORESERVE, file.as_raw_fd()),
        Backing::Huge => (anon | libc::MAP_HUGETLB | libc::MAP_HUGE_2MB, -1),
    };
    let fixed = if at.is_null() { 0 } else { libc::MAP_FIXED };
    // SAFETY: without an address the kernel picks unused addresses; with one, the caller passes part of its own
    // `Mapping`, to which no references exist.
    let got = unsafe { libc::mmap(at.cast(), len, access.bits(), kind | fixed, fd, 0) };
    if got == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(got.cast()).ok_or_else(|| io::Error::other("mmap returned address 0"))
}

impl Mapping {
    /// Maps `len` bytes, rounded up to pages, readable and writable.
    pub(super) fn new(len: usize, backing: Backing<'_>) -> io::Result<Self> {
        let len = len.next_multiple_of(PAGE);
        Ok(Self { start: map(ptr::null_mut(), len, Access::Write, backing)?, len })
    }

    /// Maps `len` bytes of anonymous memory, and has the kernel fill every page at once.
    pub(super) fn populated(len: usize) -> io::Result<Self> {
        let len = len.next_multiple_of(PAGE);
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        // SAFETY: without an address the kernel picks unused addresses.
        let got = unsafe { libc::mmap(ptr::null_mut(), len, access, kind, -1, 0) };
        if got == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(got.cast()).ok_or_else(|| io::Error::other("mmap returned address 0"))?;
        Ok(Self { start, len })
    }

    /// Anonymous memory that gets no huge pages.
    pub(super) fn of_small_pages(len: usize) -> io::Result<Self> {
        let memory = Self::new(len, Backing::Anon)?;
        memory.advise(Advice::NoHugePage)?;
        Ok(memory)
    }

    /// Maps `len` bytes, rounded up to 2 MiB and starting on a 2 MiB boundary.
    pub(super) fn aligned(len: usize, backing: Backing<'_>) -> io::Result<Self> {
        Self::aligned_to(HUGE, len, backing)
    }

    /// Maps `len` bytes, rounded up to `unit` and starting on a boundary of as much.
    pub(super) fn aligned_to(unit: usize, len: usize, backing: Backing<'_>) -> io::Result<Self> {
        let len = len.next_multiple_of(unit);
        let mut room = Self::new(len + unit, Backing::Anon)?;
        let head = room.start.as_ptr().addr().next_multiple_of(unit) - room.start.as_ptr().addr();
        let kept = Self { start: map(room.at(head), len, Access::Write, backing)?, len };
        let tail = head + len;
        // The rest of `room` lies before and behind `kept`.
        if tail < room.len {
            let behind = NonNull::new(room.at(tail)).ok_or_else(|| io::Error::other("address overflow"))?;
            drop(Self { start: behind, len: room.len - tail });
        }
        room.len = head;
        drop(room);
        Ok(kept)
    }

    fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset <= self.len, "offset {offset} in a mapping of {} bytes", self.len);
        self.start.as_ptr().wrapping_add(offset)
    }

    /// Returns the address of a part of the mapping, for system calls that read or write it.
    pub(super) fn range(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(len <= self.len && offset <= self.len - len, "{offset}+{len} in a mapping of {} bytes", self.len);
        self.at(offset)
    }

    /// Bytes mapped.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Pages mapped.
    pub(super) fn pages(&self) -> usize {
        self.len / PAGE
    }

    fn byte(&self, page: usize) -> &AtomicU8 {
        let at = self.range(page * PAGE, PAGE);
        // SAFETY: the byte is mapped and readable as long as `self` lives, and every access to it is atomic.
        unsafe { AtomicU8::from_ptr(at) }
    }

    /// Reads a page's first byte.
    pub(super) fn read(&self, page: usize) -> u8 {
        self.byte(page).load(Ordering::Relaxed)
    }

    /// Writes a page's first byte. A page that is [`Access::Read`] only ends the process with SIGSEGV.
    pub(super) fn write(&self, page: usize, value: u8) {
        self.byte(page).store(value, Ordering::Relaxed);
    }

    /// Writes every `step`th page; returns how many.
    pub(super) fn fill(&self, step: usize, value: u8) -> u64 {
        (0..self.pages()).step_by(step).for_each(|page| self.write(page, value));
        self.pages().div_ceil(step) as u64
    }

    /// Reads every `step`th page; returns how many.
    pub(super) fn scan(&self, step: usize) -> u64 {
        for page in (0..self.pages()).step_by(step) {
            std::hint::black_box(self.read(page));
        }
        self.pages().div_ceil(step) as u64
    }

    /// madvise(2) over the whole mapping.
    pub(super) fn advise(&self, advice: Advice) -> io::Result<()> {
        self.advise_range(0, self.len, advice)
    }

    /// madvise(2) over part of the mapping; `offset` on a page boundary.
    pub(super) fn advise_range(&self, offset: usize, len: usize, advice: Advice) -> io::Result<()> {
        let at = self.range(offset, len);
        // SAFETY: the range is ours, and each `Advice` leaves it mapped with bytes that may change to zero only; a
        // guarded page ends the process when it is touched.
        check(unsafe { libc::madvise(at.cast(), len, advice.bits()) })
    }

    /// mprotect(2) over part of the mapping; `offset` on a page boundary.
    pub(super) fn protect(&self, offset: usize, len: usize, access: Access) -> io::Result<()> {
        let at = self.range(offset, len);
        // SAFETY: the range is ours and stays readable.
        check(unsafe { libc::mprotect(at.cast(), len, access.bits()) })
    }

    /// Replaces part of the mapping by fresh anonymous memory, at once; `offset` on a page boundary.
    pub(super) fn replace(&self, offset: usize, len: usize) -> io::Result<()> {
        map(self.range(offset, len), len, Access::Write, Backing::Anon).map(drop)
    }

    /// Maps a file over the whole mapping, at once; `file` as long as the mapping, or a touch would end the process.
    pub(super) fn renew(&self, file: &File) -> io::Result<()> {
        map(self.range(0, self.len), self.len, Access::Write, Backing::Shared(file)).map(drop)
    }

    /// munmap(2), then the same file at the same place.
    ///
    /// # Safety
    /// Between the two the addresses are anybody's: this process must have one thread only.
    pub(super) unsafe fn unmap_and_renew(&self, file: &File) -> io::Result<()> {
        // SAFETY: the range is ours and nothing refers to it; the one thread of this process maps it again at once.
        check(unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) })?;
        self.renew(file)
    }

    /// Moves the pages to the addresses of `target`, which takes over their place: mremap(2).
    pub(super) fn move_to(self, target: Self) -> io::Result<Self> {
        let len = self.len.min(target.len);
        // SAFETY: both ranges are ours, and both objects are consumed, so nothing refers to the old addresses.
        let got = unsafe {
            libc::mremap(
                self.start.as_ptr().cast(),
                len,
                len,
                libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
                target.start.as_ptr().cast::<libc::c_void>(),
            )
        };
        if got == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // The old addresses are free for others now: what is left of them is behind the part that moved.
        let mut old = self;
        if len == old.len {
            old.len = 0;
        } else {
            old = Self { len: old.len - len, start: NonNull::new(old.at(len)).unwrap_or(old.start) };
        }
        drop(old);
        Ok(target)
    }

    /// read(2) from the start of `file` into part of the mapping: the kernel takes the faults.
    pub(super) fn read_from(&self, file: &File, offset: usize, len: usize) -> io::Result<usize> {
        let at = self.range(offset, len);
        // SAFETY: the kernel writes at most `len` bytes into our range, to which no references exist.
        let got = unsafe { libc::pread(file.as_raw_fd(), at.cast(), len, 0) };
        usize::try_from(got).map_err(|_| io::Error::last_os_error())
    }

    /// move_pages(2) of this process' pages to a node: how many are there afterwards. `step` in pages.
    pub(super) fn move_pages(&self, step: usize, node: i32) -> io::Result<u64> {
        self.move_some((0..self.pages()).step_by(step), node, MPOL_MF_MOVE)
    }

    /// As [`Mapping::move_pages`], of these pages, with [`MPOL_MF_MOVE`] or [`MPOL_MF_MOVE_ALL`].
    pub(super) fn move_some(&self, pages: impl Iterator<Item = usize>, node: i32, how: i32) -> io::Result<u64> {
        let pages: Vec<*mut libc::c_void> = pages.map(|page| self.at(page * PAGE).cast()).collect();
        let nodes = vec![node; pages.len()];
        let mut status = vec![-1_i32; pages.len()];
        // SAFETY: the three arrays have the length that is passed; pid 0 is this process.
        let result = unsafe {
            libc::syscall(
                libc::SYS_move_pages,
                0,
                pages.len(),
                pages.as_ptr(),
                nodes.as_ptr(),
                status.as_mut_ptr(),
                how,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(status.iter().filter(|s| **s == node).count() as u64)
    }

    /// mbind(2) to one node below 64, moving the pages that are elsewhere.
    pub(super) fn bind(&self, node: u32) -> io::Result<()> {
        let mask = 1_u64 << node;
        // SAFETY: the mask is one word of 64 bits, of which the kernel reads `maxnode - 1`.
        let result = unsafe {
            libc::syscall(
                libc::SYS_mbind,
                self.start.as_ptr(),
                self.len,
                libc::MPOL_BIND,
                &raw const mask,
                65_usize,
                MPOL_MF_MOVE,
            )
        };
        check(result as i32)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: the range is ours and nothing borrows from it. A failure could only leave it mapped.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
        }
    }
}

/// A file in memory of `len` bytes, gone with its last user.
pub(super) fn memfd(len: usize) -> io::Result<File> {
    memory_file(len, 0)
}

/// A file of huge pages of `len` bytes, gone with its last user. None is reserved: a touch beyond those that are free
/// would end the process with SIGBUS.
pub(super) fn huge_memfd(len: usize) -> io::Result<File> {
    memory_file(len, libc::MFD_HUGETLB | libc::MFD_HUGE_2MB)
}

fn memory_file(len: usize, flags: u32) -> io::Result<File> {
    // SAFETY: the name is a C string; flags are the documented ones.
    let fd = unsafe { libc::memfd_create(c"mmtrace-workload".as_ptr(), libc::MFD_CLOEXEC | flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(len as u64)?;
    Ok(file)
}

/// Takes a file's pages out of the page cache: posix_fadvise(2). They must be on disk.
pub(super) fn forget_cached(file: &File) -> io::Result<()> {
    // SAFETY: no pointers; the descriptor is open.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Has the kernel read a byte at an address where nothing is mapped, into a file; whether it says EFAULT.
pub(super) fn fails_in_kernel(file: &File) -> bool {
    // Below vm.mmap_min_addr, where a process has nothing.
    let nowhere = ptr::without_provenance::<libc::c_void>(16);
    // SAFETY: the kernel reads the byte, and checks the address.
    let result = unsafe { libc::pwrite(file.as_raw_fd(), nowhere, 1, 0) };
    result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

/// Page faults of this process so far, minor and major.
pub(super) fn fault_count() -> u64 {
    faults_of(libc::RUSAGE_SELF)
}

/// As [`fault_count`], of the calling thread.
pub(super) fn thread_fault_count() -> u64 {
    faults_of(libc::RUSAGE_THREAD)
}

/// The faults of the calling thread that the kernel counts as major.
pub(super) fn thread_major_fault_count() -> u64 {
    usage_of(libc::RUSAGE_THREAD).map_or(0, |usage| usage.ru_majflt.unsigned_abs())
}

/// CPU time of the calling thread so far, nanoseconds.
pub(super) fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills the struct that is passed.
    if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0 {
        return 0;
    }
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

fn faults_of(whose: i32) -> u64 {
    usage_of(whose).map_or(0, |usage| (usage.ru_minflt + usage.ru_majflt).unsigned_abs())
}

fn usage_of(whose: i32) -> Option<libc::rusage> {
    // SAFETY: an all-zero rusage is a valid one.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills the struct that is passed.
    (unsafe { libc::getrusage(whose, &raw mut usage) } == 0).then_some(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_mappings_are_aligned_and_move() {
        let a = Mapping::aligned(HUGE, Backing::Anon).unwrap();
        assert_eq!(a.at(0).addr() % HUGE, 0);
        assert_eq!(a.fill(8, 7), 64);
        let b = Mapping::new(HUGE, Backing::Anon).unwrap();
        let b = a.move_to(b).unwrap();
        assert_eq!((b.read(8), b.read(9)), (7, 0));
    }

    #[test]
    #[should_panic(expected = "in a mapping of")]
    fn no_touch_outside() {
        Mapping::new(PAGE, Backing::Anon).unwrap().write(1, 0);
    }
}
