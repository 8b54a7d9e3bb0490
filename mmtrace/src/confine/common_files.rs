//! Files that every confined process may read, whatever it is for.

use std::{env, ffi::OsString, path::PathBuf};

use super::folders::Access;

/// Time zones, which times of the day are read and shown by (tzset(3)).
const TIME_ZONES: [&str; 4] = ["/etc/localtime", "/etc/timezone", "/usr/share/zoneinfo", "/usr/share/lib/zoneinfo"];
/// What a panic is told from: names of functions and lines.
const BACKTRACE: [&str; 2] = ["/proc/self/maps", "/usr/lib/debug/.build-id"];
/// What the C library asks before it gives memory back.
const MEMORY: &str = "/proc/sys/vm/overcommit_memory";
/// The terminal of a process, whatever it is called.
pub const TERMINAL: &str = "/dev/tty";

/// Returns the files that every confined process may read.
pub fn common_files() -> impl Iterator<Item = (PathBuf, Access)> {
    let zone = |name| env::var_os(name).filter(|path: &OsString| path.as_encoded_bytes().contains(&b'/'));
    let zones = ["TZ", "TZDIR"].into_iter().filter_map(zone).map(|path| {
        // POSIX lets a path begin with a colon.
        let path = path.as_encoded_bytes();
        PathBuf::from(String::from_utf8_lossy(path.strip_prefix(b":").unwrap_or(path)).into_owned())
    });
    let fixed = TIME_ZONES.into_iter().chain(BACKTRACE).chain([MEMORY]).map(PathBuf::from);
    fixed.chain(zones).chain(env::current_exe()).map(|path| (path, Access::Read))
}
