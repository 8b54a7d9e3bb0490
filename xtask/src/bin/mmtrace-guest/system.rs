//! Actions of the first process on the machine as a whole.

use std::{
    ffi::CString,
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// File systems: type, folder, options. Those that a kernel does not have are told, and no more.
const MOUNTS: &[(&str, &str, &str)] = &[
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devtmpfs", "/dev", ""),
    ("tmpfs", "/run", "size=1g"),
    ("tmpfs", "/tmp", "size=512m"),
    ("tmpfs", "/dev/shm", "size=256m"),
    ("hugetlbfs", "/dev/hugepages", ""),
    ("debugfs", "/sys/kernel/debug", ""),
    ("tracefs", "/sys/kernel/tracing", ""),
    ("securityfs", "/sys/kernel/security", ""),
    ("cgroup2", "/sys/fs/cgroup", ""),
    ("bpf", "/sys/fs/bpf", ""),
];

/// Mounts them all; says what could not be done.
pub(crate) fn mounts() -> Vec<String> {
    let mut troubles = Vec::new();
    for (kind, folder, options) in MOUNTS {
        // Folders of sysfs are there, or cannot be made.
        let _ = fs::create_dir_all(folder);
        if let Err(error) = mount(kind, folder, options) {
            troubles.push(format!("cannot mount {kind} on {folder}: {error}"));
        }
    }
    troubles
}

fn mount(kind: &str, folder: &str, options: &str) -> io::Result<()> {
    let text = |s: &str| CString::new(s).map_err(io::Error::other);
    let (kind, folder, options) = (text(kind)?, text(folder)?, text(options)?);
    // SAFETY: four strings that end with 0 and outlive the call; the kernel copies them.
    let done = unsafe { libc::mount(kind.as_ptr(), folder.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The disk with this serial number, if it has been found and its node is there.
pub(crate) fn disk(serial: &str) -> Option<PathBuf> {
    let disks = fs::read_dir("/sys/block").ok()?.flatten();
    let has = |name: &Path| {
        let told = fs::read_to_string(Path::new("/sys/block").join(name).join("device/serial"));
        told.is_ok_and(|told| told.trim() == serial)
    };
    let name = disks.map(|disk| PathBuf::from(disk.file_name())).find(|name| has(name))?;
    Some(Path::new("/dev").join(name)).filter(|node| node.exists())
}

/// Swaps to a disk that was made for it.
pub(crate) fn swap_on(disk: &Path) -> io::Result<()> {
    let path = CString::new(disk.as_os_str().as_bytes())?;
    // SAFETY: a string that ends with 0 and outlives the call.
    if unsafe { libc::swapon(path.as_ptr(), 0) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Kills every process but this, and waits until they are gone, at most for some seconds.
pub(crate) fn kill_all_others() {
    for _ in 0..250 {
        // SAFETY: no memory is involved. For the first process, -1 means all others.
        unsafe { libc::kill(-1, libc::SIGKILL) };
        // Whoever loses its parent becomes a child of the first process, so without children there is nobody.
        // SAFETY: a null status is allowed. No other thread waits for children.
        while match unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } {
            0 => false,
            -1 => return,
            _ => true,
        } {}
        thread::sleep(Duration::from_millis(20));
    }
}

/// Makes the kernel log what every CPU does, and which tasks wait for something that does not come.
pub(crate) fn tell_what_hangs() {
    for key in ["l", "w"] {
        // Only a help to whoever looks for the cause.
        let _ = fs::write("/proc/sysrq-trigger", key);
    }
    thread::sleep(Duration::from_secs(1));
}

/// Ends the machine.
pub(crate) fn power_off() -> ! {
    loop {
        // SAFETY: no memory is involved. The machine restarts, and whoever started it takes that for its end.
        unsafe {
            libc::sync();
            libc::reboot(libc::RB_AUTOBOOT);
        }
        thread::sleep(Duration::from_secs(1));
    }
}
