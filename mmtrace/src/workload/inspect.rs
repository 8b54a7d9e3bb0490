//! Looking at memory without the risk that a touch ends the process.

use super::sys::{Mapping, PAGE, memfd};
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

/// Entry of /proc/PID/pagemap: nothing but a marker is there, or a page in swap (Documentation/admin-guide/mm/pagemap.rst).
const SWAP: u64 = 1 << 62;
/// The page is there.
const PRESENT: u64 = 1 << 63;
/// The page, or the marker in its place, is write-protected by userfaultfd.
const UFFD_WP: u64 = 1 << 57;

/// A page's entry in `/proc/PID/pagemap`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry(u64);

impl Entry {
    /// Nothing is mapped, and the entry is not empty: a marker, in memory that cannot be swapped out.
    pub(super) fn is_marker(self) -> bool {
        self.0 & (SWAP | PRESENT) == SWAP
    }

    /// Write-protected by userfaultfd, present or not.
    pub(super) fn is_uffd_wp(self) -> bool {
        self.0 & UFFD_WP != 0
    }
}

/// /proc/PID/pagemap
#[derive(Debug)]
pub(super) struct Pagemap(File);

impl Pagemap {
    /// This process' own.
    pub(super) fn own() -> io::Result<Self> {
        File::open("/proc/self/pagemap").map(Self)
    }

    /// That of another process.
    pub(super) fn of(pid: libc::pid_t) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/pagemap")).map(Self)
    }

    /// Entries of some pages at the mapping's addresses. Fewer if the process has no such addresses.
    pub(super) fn entries(&self, memory: &Mapping, first: usize, pages: usize) -> io::Result<Vec<Entry>> {
        let mut bytes = vec![0; pages * size_of::<u64>()];
        let at = memory.range(first * PAGE, pages * PAGE).addr() / PAGE * size_of::<u64>();
        let got = self.0.read_at(&mut bytes, at as u64)?;
        let (words, _) = bytes[..got].as_chunks::<8>();
        Ok(words.iter().map(|word| Entry(u64::from_ne_bytes(*word))).collect())
    }

    /// Entry of one page.
    pub(super) fn entry(&self, memory: &Mapping, page: usize) -> io::Result<Entry> {
        self.entries(memory, page, 1)?.first().copied().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// Reads pages by a fault in kernel mode, which fails where one in user mode would end the process.
#[derive(Debug)]
pub(super) struct Peek(File);

impl Peek {
    pub(super) fn new() -> io::Result<Self> {
        memfd(PAGE).map(Self)
    }

    /// A page's first byte; nothing if the page cannot be read.
    pub(super) fn read(&self, memory: &Mapping, page: usize) -> io::Result<Option<u8>> {
        let at = memory.range(page * PAGE, 1);
        // SAFETY: the kernel reads one byte of our range.
        if unsafe { libc::pwrite(self.0.as_raw_fd(), at.cast(), 1, 0) } != 1 {
            let error = io::Error::last_os_error();
            // EHWPOISON where the kernel looks the page up before it copies.
            let unreadable = matches!(error.raw_os_error(), Some(libc::EFAULT | libc::EHWPOISON));
            return if unreadable { Ok(None) } else { Err(error) };
        }
        let mut byte = [0];
        self.0.read_exact_at(&mut byte, 0)?;
        Ok(Some(byte[0]))
    }
}

fn moved(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn piece(memory: &Mapping, offset: usize, len: usize) -> libc::iovec {
    libc::iovec { iov_base: memory.range(offset, len).cast(), iov_len: len }
}

/// process_vm_readv(2): copies what `pid` has at the addresses of `memory` to the start of `into`. The number of bytes.
pub(super) fn copy_from(
    pid: libc::pid_t,
    memory: &Mapping,
    offset: usize,
    len: usize,
    into: &Mapping,
) -> io::Result<usize> {
    let (local, remote) = (piece(into, 0, len), piece(memory, offset, len));
    // SAFETY: the kernel writes at most `len` bytes into our range, to which no references exist.
    moved(unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) })
}

/// process_vm_writev(2): copies the start of `from` to the addresses of `memory` in `pid`, which is this process or a
/// forked child that has the same there. The number of bytes.
pub(super) fn copy_to(
    pid: libc::pid_t,
    memory: &Mapping,
    offset: usize,
    len: usize,
    from: &Mapping,
) -> io::Result<usize> {
    let (local, remote) = (piece(from, 0, len), piece(memory, offset, len));
    // SAFETY: in this process the kernel writes into our range, to which no references exist.
    moved(unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) })
}

/// vmsplice(2) of part of a mapping into a pipe, and out again: for that time the pages have one more reference.
/// The number of bytes; less than `len` if the pipe is full.
pub(super) fn splice(
    memory: &Mapping,
    offset: usize,
    len: usize,
    pipe: &mut (PipeReader, PipeWriter),
) -> io::Result<usize> {
    let part = piece(memory, offset, len);
    let flags = libc::SPLICE_F_NONBLOCK;
    // SAFETY: the pages stay the mapping's; what is in the pipe is read below, whatever others write meanwhile.
    let got = moved(unsafe { libc::vmsplice(pipe.1.as_raw_fd(), &raw const part, 1, flags) })?;
    let mut bytes = vec![0; got];
    pipe.0.read_exact(&mut bytes)?;
    Ok(got)
}

/// write(2) of part of a mapping to the start of a file.
pub(super) fn write_to(memory: &Mapping, offset: usize, len: usize, file: &File) -> io::Result<usize> {
    let at = memory.range(offset, len);
    // SAFETY: the kernel reads `len` bytes of our range.
    moved(unsafe { libc::pwrite(file.as_raw_fd(), at.cast(), len, 0) })
}

/// mincore(2): how many pages of the part are in memory.
pub(super) fn resident(memory: &Mapping, offset: usize, len: usize) -> io::Result<u64> {
    let mut bytes = vec![0_u8; len.div_ceil(PAGE)];
    let at = memory.range(offset, len);
    // SAFETY: there is a byte for every page.
    if unsafe { libc::mincore(at.cast(), len, bytes.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(bytes.iter().filter(|byte| **byte & 1 == 1).count() as u64)
}

#[cfg(test)]
mod tests {
    use super::super::sys::{Advice, Backing};
    use super::*;

    #[test]
    fn memory_is_seen_from_everywhere() {
        let memory = Mapping::new(4 * PAGE, Backing::Anon).unwrap();
        let buffer = Mapping::new(4 * PAGE, Backing::Anon).unwrap();
        memory.write(1, 7);
        let pid = std::process::id().cast_signed();
        assert_eq!(copy_from(pid, &memory, PAGE, PAGE, &buffer).unwrap(), PAGE);
        assert_eq!(buffer.read(0), 7);
        buffer.write(0, 8);
        assert_eq!(copy_to(pid, &memory, 2 * PAGE, PAGE, &buffer).unwrap(), PAGE);
        let peek = Peek::new().unwrap();
        assert_eq!([0, 1, 2].map(|page| peek.read(&memory, page).unwrap()), [Some(0), Some(7), Some(8)]);
        assert_eq!(splice(&memory, 0, 2 * PAGE, &mut io::pipe().unwrap()).unwrap(), 2 * PAGE);
        assert_eq!(write_to(&memory, 0, PAGE, &memfd(PAGE).unwrap()).unwrap(), PAGE);
        assert_eq!(resident(&memory, PAGE, PAGE).unwrap(), 1);
        let entries = Pagemap::own().unwrap().entries(&memory, 0, 4).unwrap();
        assert!(entries.len() == 4 && entries.iter().all(|e| !e.is_marker() && !e.is_uffd_wp()), "{entries:?}");
        assert!(Pagemap::of(pid).unwrap().entry(&memory, 1).is_ok());
    }

    #[test]
    fn a_peek_survives_a_guard() {
        let memory = Mapping::new(PAGE, Backing::Anon).unwrap();
        // Kernels before 6.13 have no guard regions.
        if memory.advise(Advice::Guard).is_ok() {
            let peek = Peek::new().unwrap();
            assert_eq!(peek.read(&memory, 0).unwrap(), None);
            memory.advise(Advice::Unguard).unwrap();
            assert_eq!(peek.read(&memory, 0).unwrap(), Some(0));
        }
    }
}
