//! What each command needs that reads a capture. A command that is not here reads none, or is the recorder.

use std::path::PathBuf;

use mmtrace_capture::{User, effective_uid};

use crate::{
    cli::Command,
    confine::{self, Access, Group, Need, TERMINAL},
};

/// Reads a capture, and prints.
const READER: &[Group] = &[Group::Run, Group::Read];
/// Also writes beside it.
const WRITER: &[Group] = &[Group::Run, Group::Read, Group::Write, Group::Owner];
/// Also shows a dashboard, which can save what it shows.
const DASHBOARD: &[Group] = &[Group::Run, Group::Read, Group::Write, Group::Owner, Group::Terminal];

/// Returns what a command needs that reads a capture; `None` for another one.
#[must_use]
pub fn of(command: &Command) -> Option<Need> {
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
    paths.extend(confine::common_files());
    Some(Need { paths, groups, capabilities, command: None })
}

/// Returns the capabilities without which these paths would be closed. `owner`: files are made with the rights of who
/// called sudo.
fn capabilities(paths: &[(PathBuf, Access)], owner: bool) -> u64 {
    const READ: u64 = 1 << 2;
    const WRITE: u64 = 1 << 1;
    const GROUPS_AND_USERS: u64 = 1 << 6 | 1 << 7;
    let is_closed = |(path, access): &(PathBuf, Access)| {
        let beneath = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        std::iter::once(path.clone()).chain(beneath).any(|path| !confine::is_open(&path, *access))
    };
    // A folder that cannot be listed without a capability is closed itself.
    let closed = |access| !confine::works_without(|| !paths.iter().filter(|(_, of)| *of == access).any(is_closed));
    let mut kept = 0;
    kept |= if closed(Access::Read) { READ } else { 0 };
    if owner {
        let is_another = matches!(User::invoking(), Ok(Some(user)) if user.uid != effective_uid());
        kept |= if is_another { GROUPS_AND_USERS } else { 0 };
        kept |= if closed(Access::Write) { WRITE } else { 0 };
    }
    kept
}
