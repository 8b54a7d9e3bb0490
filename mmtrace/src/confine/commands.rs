//! What each command needs that reads a capture. A command that is not here reads none, or is the recorder.

use std::{env, ffi::OsString, path::PathBuf};

use mmtrace_capture::{User, effective_uid};

use super::{
    Need,
    folders::{self, Access},
    rights,
    system_calls::Group,
};
use crate::cli::Command;

/// Reads a capture, and prints.
const READER: &[Group] = &[Group::Run, Group::Read];
/// Also writes beside it.
const WRITER: &[Group] = &[Group::Run, Group::Read, Group::Write, Group::Owner];
/// Also shows a dashboard, which can save what it shows.
const DASHBOARD: &[Group] = &[Group::Run, Group::Read, Group::Write, Group::Owner, Group::Terminal];

/// Time zones, which times of the day are read and shown by (tzset(3)).
const TIME_ZONES: [&str; 4] = ["/etc/localtime", "/etc/timezone", "/usr/share/zoneinfo", "/usr/share/lib/zoneinfo"];
/// What a panic is told from: names of functions and lines.
const BACKTRACE: [&str; 2] = ["/proc/self/maps", "/usr/lib/debug/.build-id"];
/// What the C library asks before it gives memory back.
const MEMORY: &str = "/proc/sys/vm/overcommit_memory";
/// The terminal of a process, whatever it is called.
pub const TERMINAL: &str = "/dev/tty";

/// Returns what a command needs that reads a capture; `None` for another one.
#[must_use]
pub fn need(command: &Command) -> Option<Need> {
    let (dir, groups, mut paths) = match command {
        Command::Replay(args) if args.tui => {
            let layout = (PathBuf::from(&args.dashboard), Access::Read);
            // `P` saves into the current folder.
            let saves = (PathBuf::from("."), Access::Write);
            (&args.dir, DASHBOARD, vec![layout, saves, (PathBuf::from(TERMINAL), Access::Terminal)])
        }
        Command::Replay(args) => (&args.dir, READER, Vec::new()),
        Command::Report(args) => (&args.dir, READER, Vec::new()),
        Command::Info(args) => (&args.dir, READER, Vec::new()),
        Command::Dump(args) => (&args.dir, READER, Vec::new()),
        Command::Tables(args) => (&args.dir, WRITER, vec![(args.dir.clone(), Access::Write)]),
        _ => return None,
    };
    paths.push((dir.clone(), Access::Read));
    let capabilities = capabilities(&paths, groups.contains(&Group::Owner));
    paths.extend(everybody());
    Some(Need { paths, groups, capabilities })
}

/// Returns the files that every command may read.
pub fn everybody() -> impl Iterator<Item = (PathBuf, Access)> {
    let zone = |name| env::var_os(name).filter(|path: &OsString| path.as_encoded_bytes().contains(&b'/'));
    let zones = ["TZ", "TZDIR"].into_iter().filter_map(zone).map(|path| {
        // POSIX lets a path begin with a colon.
        let path = path.as_encoded_bytes();
        PathBuf::from(String::from_utf8_lossy(path.strip_prefix(b":").unwrap_or(path)).into_owned())
    });
    let fixed = TIME_ZONES.into_iter().chain(BACKTRACE).chain([MEMORY]).map(PathBuf::from);
    fixed.chain(zones).chain(env::current_exe()).map(|path| (path, Access::Read))
}

/// Returns the capabilities without which these paths would be closed. `owner`: files are made with the rights of who
/// called sudo.
fn capabilities(paths: &[(PathBuf, Access)], owner: bool) -> u64 {
    const READ: u64 = 1 << 2;
    const WRITE: u64 = 1 << 1;
    const GROUPS_AND_USERS: u64 = 1 << 6 | 1 << 7;
    let is_closed = |(path, access): &(PathBuf, Access)| {
        let beneath = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        std::iter::once(path.clone()).chain(beneath).any(|path| !folders::is_open(&path, *access))
    };
    let closed = |access| {
        let of = || paths.iter().filter(|(_, of)| *of == access).any(is_closed);
        // A folder that cannot be listed without a capability is closed itself.
        rights::without(of).unwrap_or(true)
    };
    let mut kept = 0;
    kept |= if closed(Access::Read) { READ } else { 0 };
    if owner {
        let is_another = matches!(User::invoking(), Ok(Some(user)) if user.uid != effective_uid());
        kept |= if is_another { GROUPS_AND_USERS } else { 0 };
        kept |= if closed(Access::Write) { WRITE } else { 0 };
    }
    kept
}
