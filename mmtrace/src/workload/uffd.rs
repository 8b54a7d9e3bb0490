//! userfaultfd(2) behind safe functions. Numbers and structs are those of include/uapi/linux/userfaultfd.h.

use super::sys::Mapping;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `UFFD_API`
const API: u64 = 0xAA;
/// `UFFD_USER_MODE_ONLY`: what a process without privilege may ask for (5.11).
const USER_MODE_ONLY: i32 = 1;

/// `UFFD_FEATURE_PAGEFAULT_FLAG_WP` (5.7)
pub(super) const PAGEFAULT_WP: u64 = 1 << 0;
/// `UFFD_FEATURE_MINOR_SHMEM` (5.14)
pub(super) const MINOR_SHMEM: u64 = 1 << 10;
/// `UFFD_FEATURE_WP_HUGETLBFS_SHMEM` (5.19)
pub(super) const WP_SHMEM: u64 = 1 << 12;
/// `UFFD_FEATURE_POISON` (6.6)
pub(super) const POISON: u64 = 1 << 14;

/// `_IOWR(UFFDIO, nr, …)` of include/uapi/asm-generic/ioctl.h
const fn iowr(nr: u64, size: usize) -> u64 {
    3 << 30 | (size as u64) << 16 | API << 8 | nr
}

/// `UFFDIO_API`
const IOCTL_API: u64 = iowr(0x3f, size_of::<Api>());
/// `UFFDIO_REGISTER`
const IOCTL_REGISTER: u64 = iowr(0x00, size_of::<Register>());
/// `UFFDIO_UNREGISTER`, which is an `_IOR`
const IOCTL_UNREGISTER: u64 = iowr(0x01, size_of::<Range>()) ^ 1 << 30;
/// `UFFDIO_COPY`
const IOCTL_COPY: u64 = iowr(0x03, size_of::<Copied>());
/// `UFFDIO_WRITEPROTECT`
const IOCTL_WRITEPROTECT: u64 = iowr(0x06, size_of::<WriteProtect>());
/// `UFFDIO_CONTINUE`
const IOCTL_CONTINUE: u64 = iowr(0x07, size_of::<Continued>());
/// `UFFDIO_POISON`
const IOCTL_POISON: u64 = iowr(0x08, size_of::<Poison>());

/// `struct uffdio_api`
#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_range`
#[repr(C)]
#[derive(Clone, Copy)]
struct Range {
    start: u64,
    len: u64,
}

/// `struct uffdio_register`
#[repr(C)]
struct Register {
    range: Range,
    mode: u64,
    ioctls: u64,
}

/// `struct uffdio_copy`
#[repr(C)]
struct Copied {
    dst: u64,
    src: u64,
    len: u64,
    mode: u64,
    copy: i64,
}

/// `struct uffdio_writeprotect`
#[repr(C)]
struct WriteProtect {
    range: Range,
    mode: u64,
}

/// `struct uffdio_continue`
#[repr(C)]
struct Continued {
    range: Range,
    mode: u64,
    mapped: i64,
}

/// `struct uffdio_poison`
#[repr(C)]
struct Poison {
    range: Range,
    mode: u64,
    updated: i64,
}

/// Mode in which a range is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// `UFFDIO_REGISTER_MODE_MISSING`: pages that are not there.
    Missing,
    /// `UFFDIO_REGISTER_MODE_WP`: writes to marked pages.
    Wp,
    /// `UFFDIO_REGISTER_MODE_MINOR`: pages that the file has and the mapping has not.
    Minor,
}

/// A userfaultfd. Dropping it unregisters its ranges.
#[derive(Debug)]
pub(super) struct Uffd(OwnedFd);

impl Uffd {
    /// userfaultfd(2) with these features.
    pub(super) fn open(features: u64) -> io::Result<Self> {
        let fd = create(0).or_else(|error| match error.raw_os_error() {
            Some(libc::EPERM) => create(USER_MODE_ONLY),
            _ => Err(error),
        });
        let uffd = Self(fd.map_err(|error| io::Error::other(format!("userfaultfd: {error}")))?);
        let mut api = Api { api: API, features, ioctls: 0 };
        uffd.ioctl(IOCTL_API, &mut api).map_err(|error| {
            io::Error::other(format!("this kernel's userfaultfd lacks a feature of {features:#x}: {error}"))
        })?;
        Ok(uffd)
    }

    fn ioctl<T>(&self, request: u64, argument: &mut T) -> io::Result<()> {
        // SAFETY: `T` is the struct that the request's number tells the size of, and outlives the call. The kernel
        // changes entries of ranges that a `Mapping` of this process owns.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), request, std::ptr::from_mut(argument)) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Registers a whole mapping.
    pub(super) fn register(&self, memory: &Mapping, mode: Mode) -> io::Result<()> {
        let mode = match mode {
            Mode::Missing => 1 << 0,
            Mode::Wp => 1 << 1,
            Mode::Minor => 1 << 2,
        };
        self.ioctl(IOCTL_REGISTER, &mut Register { range: range(memory, 0, memory.len()), mode, ioctls: 0 })
    }

    /// Unregisters it. Write protection goes with it, poison stays.
    pub(super) fn unregister(&self, memory: &Mapping) -> io::Result<()> {
        self.ioctl(IOCTL_UNREGISTER, &mut range(memory, 0, memory.len()))
    }

    /// Puts a copy of `page` into a mapping where there is none yet.
    pub(super) fn copy(&self, memory: &Mapping, offset: usize, page: &Mapping) -> io::Result<()> {
        let [dst, src] = [memory.range(offset, page.len()), page.range(0, page.len())].map(|at| at.addr() as u64);
        self.ioctl(IOCTL_COPY, &mut Copied { dst, src, len: page.len() as u64, mode: 0, copy: 0 })
    }

    /// Maps the pages that the file has into part of a mapping where there are none yet.
    pub(super) fn map(&self, memory: &Mapping, offset: usize, len: usize) -> io::Result<()> {
        self.ioctl(IOCTL_CONTINUE, &mut Continued { range: range(memory, offset, len), mode: 0, mapped: 0 })
    }

    /// Write-protects part of a mapping, or makes it writable again.
    pub(super) fn write_protect(&self, memory: &Mapping, offset: usize, len: usize, on: bool) -> io::Result<()> {
        let mode = u64::from(on);
        self.ioctl(IOCTL_WRITEPROTECT, &mut WriteProtect { range: range(memory, offset, len), mode })
    }

    /// Poisons part of a mapping: a touch would end the process with SIGBUS from now on.
    pub(super) fn poison(&self, memory: &Mapping, offset: usize, len: usize) -> io::Result<()> {
        self.ioctl(IOCTL_POISON, &mut Poison { range: range(memory, offset, len), mode: 0, updated: 0 })
    }
}

fn create(flags: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the flags are the documented ones.
    let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn range(memory: &Mapping, offset: usize, len: usize) -> Range {
    Range { start: memory.range(offset, len).addr() as u64, len: len as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_header() {
        let numbers = [IOCTL_API, IOCTL_REGISTER, IOCTL_UNREGISTER, IOCTL_WRITEPROTECT, IOCTL_POISON, IOCTL_COPY];
        let header = [0xc018_aa3f, 0xc020_aa00, 0x8010_aa01, 0xc018_aa06, 0xc020_aa08, 0xc028_aa03];
        assert_eq!(numbers, header);
        assert_eq!(IOCTL_CONTINUE, 0xc020_aa07);
    }
}
