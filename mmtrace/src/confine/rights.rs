//! Capabilities, and that no program can give any.

use std::io;

/// Capabilities that the kernel may know (include/uapi/linux/capability.h); it says of later ones that there are none.
const CAPABILITIES: libc::c_ulong = 64;
/// `_LINUX_CAPABILITY_VERSION_3`: two words of each set.
const VERSION: u32 = 0x2008_0522;

/// `struct __user_cap_header_struct`
#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

/// `struct __user_cap_data_struct`
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Keeps these of the calling thread's capabilities, and gives up the others for good. Makes system calls only, so that it
/// can run in the handler of a signal.
///
/// # Errors
/// The kernel refuses.
pub(super) fn keep(wanted: u64) -> io::Result<()> {
    let mut sets = read()?;
    // The bounding set takes CAP_SETPCAP. Without it, no_new_privs does the same: no program gives a capability.
    for capability in (0..CAPABILITIES).filter(|capability| wanted >> capability & 1 == 0) {
        // SAFETY: takes numbers only.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    for (half, set) in sets.iter_mut().enumerate() {
        let wanted = (wanted >> (32 * half)) as u32;
        set.permitted &= wanted;
        *set = Sets { effective: set.permitted, inheritable: 0, ..*set };
    }
    write(&sets)?;
    // SAFETY: takes numbers only.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Closes the memory and the descriptors of this process to others of its user, who could otherwise trace it and use what it
/// still has (ptrace(2), `PTRACE_MODE_ATTACH`).
pub(super) fn close_memory() {
    // SAFETY: takes numbers only. It cannot fail with this value.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
}

fn read() -> io::Result<[Sets; 2]> {
    let (header, mut sets) = (Header { version: VERSION, pid: 0 }, [Sets::default(); 2]);
    // SAFETY: the kernel reads the header and writes two sets, which outlive the call.
    if unsafe { libc::syscall(libc::SYS_capget, &raw const header, &raw mut sets) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(sets)
}

fn write(sets: &[Sets; 2]) -> io::Result<()> {
    let header = Header { version: VERSION, pid: 0 };
    // SAFETY: the kernel reads the header and two sets, which outlive the call.
    if unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Does something without any capability, and takes them again.
///
/// # Errors
/// The kernel refuses; nothing was done then.
pub(super) fn without<T>(work: impl FnOnce() -> T) -> io::Result<T> {
    let before = read()?;
    write(&before.map(|sets| Sets { effective: 0, ..sets }))?;
    let done = work();
    // What is permitted can be had.
    write(&before)?;
    Ok(done)
}
