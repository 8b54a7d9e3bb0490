//! The system calls of the checks, each wrapped into something safe.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

// include/uapi/linux/mount.h
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const MOUNT_ATTR_RDONLY: libc::c_uint = 1;
const MOUNT_ATTR_NOSUID: libc::c_uint = 2;
const MOUNT_ATTR_NODEV: libc::c_uint = 4;
const MOUNT_ATTR_NOEXEC: libc::c_uint = 8;

// include/uapi/linux/bpf.h
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_MAP_TYPE_RINGBUF: u32 = 27;
const BPF_PROG_TYPE_RAW_TRACEPOINT: u32 = 17;

fn new_fd(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(result).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A read-only mount of a pseudo filesystem that is attached nowhere: only its
/// descriptor leads to it, and closing that ends it. Needs `CAP_SYS_ADMIN`.
pub(super) fn mount_detached(filesystem: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: reads one NUL-terminated string that outlives the call.
    let context = new_fd(unsafe { libc::syscall(libc::SYS_fsopen, filesystem.as_ptr(), FSOPEN_CLOEXEC) })?;
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: this command takes no key and no value.
    if unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, none, none, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    // SAFETY: takes numbers only.
    new_fd(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, attributes) })
}

/// Opens `path` below a directory. `flags` are those of open(2), `O_CLOEXEC` is added.
pub(super) fn open_at(directory: BorrowedFd<'_>, path: &CStr, flags: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: reads one NUL-terminated string that outlives the call; no mode is needed without O_CREAT.
    let fd = unsafe { libc::openat(directory.as_raw_fd(), path.as_ptr(), flags | libc::O_CLOEXEC) };
    new_fd(libc::c_long::from(fd))
}

/// Opens the directory of a cgroup v2 by the cgroup's id, as a place only. `hierarchy` is any directory of the hierarchy's
/// mount. Needs `CAP_DAC_READ_SEARCH`.
pub(super) fn open_cgroup(hierarchy: BorrowedFd<'_>, id: u64) -> io::Result<OwnedFd> {
    /// `struct file_handle` with the handle of a kernfs node.
    #[repr(C)]
    struct Handle {
        bytes: libc::c_uint,
        kind: libc::c_int,
        id: u64,
    }
    // include/linux/exportfs.h
    const FILEID_KERNFS: libc::c_int = 0xfe;
    let mut handle = Handle { bytes: size_of::<u64>() as libc::c_uint, kind: FILEID_KERNFS, id };
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: reads the handle, whose length it says itself, and which outlives the call.
    new_fd(unsafe { libc::syscall(libc::SYS_open_by_handle_at, hierarchy.as_raw_fd(), &raw mut handle, flags) })
}

/// `RLIMIT_MEMLOCK`'s soft limit in bytes; `u64::MAX` is unlimited.
pub(super) fn memlock_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes the one struct that it is given.
    if unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

/// `RLIMIT_NOFILE`'s hard limit.
pub(super) fn open_files_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes the one struct that it is given.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_max)
}

/// The head of `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

fn bpf<T>(command: libc::c_int, attr: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of `attr`; both callers pass a
    // plain C struct whose pointers, if any, lead to memory that outlives the call.
    new_fd(unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) })
}

/// Creates a ring buffer of one page.
pub(super) fn create_ring_buffer() -> io::Result<OwnedFd> {
    // SAFETY: takes a number only.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let max_entries = u32::try_from(page).map_err(io::Error::other)?;
    bpf(BPF_MAP_CREATE, &MapCreate { map_type: BPF_MAP_TYPE_RINGBUF, max_entries, ..MapCreate::default() })
}

/// A raw tracepoint program that does nothing: `r0 = 0; exit`.
pub(super) const IDLE: &[u64] = &[0xb7, 0x95];

/// One that reads 8 bytes of kernel memory: `r1 = r10; r1 += -8; r2 = 8; r3 = 0;
/// bpf_probe_read_kernel(r1, r2, r3); r0 = 0; exit`. The kernel leaves that helper
/// out under lockdown=confidentiality, and then refuses the program.
pub(super) const READER: &[u64] = &[0xa1bf, 0xffff_fff8_0000_0107, 0x8_0000_02b7, 0x3b7, 113 << 32 | 0x85, 0xb7, 0x95];

/// Has the kernel verify a raw tracepoint program. It is attached to nothing and never runs.
pub(super) fn load_program(instructions: &[u64]) -> io::Result<OwnedFd> {
    let attr = ProgLoad {
        prog_type: BPF_PROG_TYPE_RAW_TRACEPOINT,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        ..ProgLoad::default()
    };
    bpf(BPF_PROG_LOAD, &attr)
}
