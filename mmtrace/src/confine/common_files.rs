//! Files that every confined process may read, whatever it is for.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
};

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
    let zones = zone(env::var_os("TZ"), env::var_os("TZDIR"));
    let fixed = TIME_ZONES.into_iter().chain(BACKTRACE).chain([MEMORY]).map(PathBuf::from);
    fixed.chain(zones).chain(env::current_exe()).map(|path| (path, Access::Read))
}

/// Returns the file of the time zone that the environment names, if it is one: a folder would open all that is in it.
fn zone(zone: Option<OsString>, folder: Option<OsString>) -> Option<PathBuf> {
    let zone = zone?;
    // POSIX lets a path begin with a colon.
    let zone = zone.as_encoded_bytes();
    let zone = PathBuf::from(OsStr::from_bytes(zone.strip_prefix(b":").unwrap_or(zone)));
    // An absolute path takes the place of the folder.
    let path = folder.map_or_else(PathBuf::new, PathBuf::from).join(zone);
    path.is_file().then_some(path)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_environment_opens_the_file_of_a_time_zone_and_no_folder() {
        let temp = tempfile::tempdir().expect("a folder");
        let (folder, file) = (temp.path().to_path_buf(), temp.path().join("Zone"));
        std::fs::write(&file, "TZif").expect("written");
        let of = |tz: &Path, dir: Option<&Path>| zone(Some(tz.into()), dir.map(Into::into));
        assert_eq!(of(&file, None), Some(file.clone()));
        assert_eq!(of(Path::new("Zone"), Some(&folder)), Some(file.clone()));
        assert_eq!(zone(Some(format!(":{}", file.display()).into()), None), Some(file));
        for folder_or_nothing in
            [of(&folder, None), of(Path::new(""), Some(&folder)), of(Path::new("no"), Some(&folder))]
        {
            assert_eq!(folder_or_nothing, None);
        }
        assert_eq!(of(Path::new("/dev/null"), None), None);
        assert_eq!(zone(None, Some(folder.into())), None);
    }
}
