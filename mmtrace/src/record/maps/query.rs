//! One mapping of a process, which the kernel is asked for: `PROCMAP_QUERY` (include/uapi/linux/fs.h), since 6.11.
//!
//! The call takes the mmap_lock of the process for read. Newer kernels take the lock of the VMA, and the mmap_lock only if
//! that is being written (fs/proc/task_mmu.c:query_vma_setup; "execute PROCMAP_QUERY ioctl under per-vma locks", 2025).

use std::{fs::File, io, os::fd::AsRawFd as _};

use mmtrace_model::model::mappings::VM_SHARED;

use super::{Line, PAGE_SHIFT, vm_flags_of_name};

/// `struct procmap_query`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Query {
    size: u64,
    query_flags: u64,
    query_addr: u64,
    vma_start: u64,
    vma_end: u64,
    vma_flags: u64,
    vma_page_size: u64,
    vma_offset: u64,
    inode: u64,
    dev_major: u32,
    dev_minor: u32,
    vma_name_size: u32,
    build_id_size: u32,
    vma_name_addr: u64,
    build_id_addr: u64,
}

/// `_IOWR(PROCFS_IOCTL_MAGIC, 17, struct procmap_query)`
const PROCMAP_QUERY: u64 = 3 << 30 | (size_of::<Query>() as u64) << 16 | (b'f' as u64) << 8 | 17;
/// `PROCMAP_QUERY_VMA_SHARED`; the lower ones are those of `vm_flags`: read 1, write 2, execute 4.
const QUERY_SHARED: u64 = 8;
/// Bytes of a name that the kernel may write: it asks for `PATH_MAX` at most.
const NAME_MAX: usize = 4096;

/// A mapping.
#[derive(Debug)]
pub(super) struct Found {
    query: Query,
    name: Vec<u8>,
}

/// Whether the error says that the kernel has no such call: before 6.11.
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOTTY | libc::EINVAL))
}

/// Asks for the mapping at an address of the process whose /proc/PID/maps this is; `None`: there is none.
///
/// # Errors
/// The kernel has no such call ([`is_missing`]), or the process has ended.
pub(super) fn mapping_at(maps: &File, addr: u64) -> io::Result<Option<Found>> {
    let mut name = vec![0; NAME_MAX];
    let mut query = Query {
        size: size_of::<Query>() as u64,
        query_addr: addr,
        vma_name_size: NAME_MAX as u32,
        vma_name_addr: name.as_mut_ptr().expose_provenance() as u64,
        ..Query::default()
    };
    // SAFETY: the number tells the kernel the size of the struct, which outlives the call. The kernel writes a name of at
    // most `vma_name_size` bytes to `vma_name_addr`, which are those of `name`.
    let result = unsafe { libc::ioctl(maps.as_raw_fd(), PROCMAP_QUERY, &raw mut query) };
    if result != 0 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::ENOENT) { Ok(None) } else { Err(error) };
    }
    // With the NUL at its end.
    name.truncate((query.vma_name_size as usize).saturating_sub(1));
    Ok(Some(Found { query, name }))
}

impl Found {
    /// Returns it as the line that /proc/PID/maps has of it. The path of a file is as it is, while the text has an escape
    /// for a line end.
    pub(super) fn line(&self) -> Line<'_> {
        let Query { vma_start, vma_end, vma_flags, vma_offset, inode, dev_major, dev_minor, .. } = self.query;
        let shared = if vma_flags & QUERY_SHARED != 0 { VM_SHARED } else { 0 };
        Line {
            start: vma_start,
            end: vma_end.saturating_sub(1),
            vm_flags: vma_flags & 7 | shared | vm_flags_of_name(&self.name),
            pgoff: vma_offset >> PAGE_SHIFT,
            dev: dev_major << 20 | dev_minor,
            ino: inode,
            name: &self.name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::maps::{parse, with_line_ends};

    #[test]
    fn the_number_is_that_of_the_header() {
        assert_eq!((PROCMAP_QUERY, size_of::<Query>()), (0xc068_6611, 104));
    }

    /// Both ways give the same mappings.
    #[test]
    fn a_query_says_what_the_text_says() {
        // A file with a strange name, and memory with a name.
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a\nb c");
        std::fs::write(&path, vec![1; 8192]).expect("written");
        let file = File::open(&path).expect("open");
        let map = |len, flags, fd| {
            // SAFETY: a new mapping, where the kernel finds room; it stays.
            let at = unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ, flags, fd, 0) };
            assert_ne!(at, libc::MAP_FAILED);
            at
        };
        let of_file = map(8192, libc::MAP_SHARED, file.as_raw_fd());
        let named = map(4096, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1);
        /// `PR_SET_VMA`, with `PR_SET_VMA_ANON_NAME` (include/uapi/linux/prctl.h)
        const PR_SET_VMA: i32 = 0x5356_4d41;
        // SAFETY: the name is a C string; where the kernel has no such names, it refuses them.
        unsafe { libc::prctl(PR_SET_VMA, 0, named, 4096, c"mmtrace test".as_ptr()) };
        let text = std::fs::read("/proc/self/maps").expect("maps");
        let maps = File::open("/proc/self/maps").expect("maps");
        let (mut same, mut seen) = (0, 0);
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line = parse(line).expect("a line");
            // Other threads of this test's process map and unmap meanwhile; [vsyscall] is no VMA.
            let found = match mapping_at(&maps, line.start) {
                Err(error) if is_missing(&error) => return,
                found => found.expect("asked"),
            };
            let Some(found) = found.filter(|found| found.query.vma_start == line.start) else { continue };
            let name = with_line_ends(line.name);
            let expected = Line { name: &name, ..line };
            for at in [of_file, named] {
                if line.start == at.addr() as u64 {
                    assert_eq!(found.line(), expected);
                    seen += 1;
                }
            }
            same += usize::from(found.line() == expected);
        }
        assert!(seen == 2 && same >= 10, "{seen} of 2, {same} in all");
        assert!(mapping_at(&maps, 0).expect("asked").is_none(), "nothing is mapped at 0");
    }
}
