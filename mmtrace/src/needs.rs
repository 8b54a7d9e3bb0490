//! What each command needs that reads a capture. A command that is not here reads none, or is the recorder.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use mmtrace_capture::{MANIFEST, Staging, User, effective_uid};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, openat, statat};

use crate::{
    cli::Command,
    confine::{self, Access, Confined, Group, Need, TERMINAL},
    tui::player::SAVED,
};

/// Reads a capture, and prints.
const READER: &[Group] = &[Group::Run, Group::Read];
/// Also writes beside it.
const WRITER: &[Group] = &[Group::Run, Group::Read, Group::Write, Group::Owner];
/// Also shows a dashboard, which can save what it shows.
const DASHBOARD: &[Group] = &[Group::Run, Group::Read, Group::Write, Group::Owner, Group::Terminal];

/// What a command needs that reads a capture.
pub struct Needs {
    need: Need,
    /// With whose rights it works on files, if not its own.
    owner: Option<User>,
    /// Where its dashboard saves, if it has one and can.
    pub staging: Option<Staging>,
}

/// Returns what a command needs that reads a capture; `None` for another one.
#[must_use]
pub fn of(command: &Command) -> Option<Needs> {
    let (dir, groups, mut paths) = match command {
        Command::Replay(args) if args.tui => {
            let layout = (PathBuf::from(&args.dashboard), Access::Read);
            (&args.dir, DASHBOARD, vec![layout, (PathBuf::from(TERMINAL), Access::Terminal)])
        }
        Command::Replay(args) => (&args.dir, READER, Vec::new()),
        Command::Report(args) => (&args.dir, READER, Vec::new()),
        Command::Info(args) => (&args.dir, READER, Vec::new()),
        Command::Dump(args) => (&args.dir, READER, Vec::new()),
        Command::Tables(args) => (&args.dir, WRITER, Vec::new()),
        _ => return None,
    };
    let writes = matches!(command, Command::Tables(_));
    // `P` saves into the current folder.
    let mut staging = (groups == DASHBOARD).then(|| Staging::beside(Path::new(SAVED)).ok()).flatten();
    let owner = groups.contains(&Group::Owner).then(User::invoking).and_then(Result::ok).flatten();
    let owner = owner.filter(|user| user.uid != effective_uid());
    let mut held = held(dir, if writes { Access::Write } else { Access::Read });
    if let Some(staging) = &mut staging {
        confine::publish_apart(staging, SAVED.as_ref());
        held.extend(staging.held().ok().map(|(inside, _)| (inside, Access::Write)));
    }
    let mut looked_at = vec![(dir.clone(), Access::Read)];
    looked_at.extend(writes.then(|| (dir.clone(), Access::Write)));
    looked_at.extend(paths.iter().cloned());
    // Whoever takes another user's rights has no others.
    let capabilities = if owner.is_some() { 0 } else { capabilities(&looked_at) };
    paths.extend(confine::common_files());
    let need = Need { paths, held, groups, capabilities };
    Some(Needs { need, owner, staging })
}

impl Needs {
    /// Gives up everything else, in the only thread.
    pub fn enter(&mut self) -> Confined {
        match self.owner.take() {
            None => self.need.enter(),
            owner => self.need.enter_everywhere(owner),
        }
    }
}

/// Opens the folder of a capture, so that no other one can be put in its place. What is no capture can be listed, to say so.
fn held(dir: &Path, access: Access) -> Vec<(OwnedFd, Access)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(folder) = openat(CWD, dir, flags, Mode::empty()) else { return Vec::new() };
    let access = if is_capture(&folder) { access } else { Access::List };
    vec![(folder, access)]
}

/// Whether a folder has a manifest that is not a stranger's. Anybody may put one into /tmp.
fn is_capture(folder: &OwnedFd) -> bool {
    const WRITABLE_BY_ALL: u32 = 0o002;
    let (Ok(around), Ok(manifest)) = (fstat(folder), statat(folder, MANIFEST, AtFlags::SYMLINK_NOFOLLOW)) else {
        return false;
    };
    let is_file = FileType::from_raw_mode(manifest.st_mode) == FileType::RegularFile;
    is_file && (around.st_mode & WRITABLE_BY_ALL == 0 || around.st_uid == manifest.st_uid)
}

/// Returns the capabilities without which these paths would be closed.
fn capabilities(paths: &[(PathBuf, Access)]) -> u64 {
    const READ: u64 = 1 << 2;
    const WRITE: u64 = 1 << 1;
    let is_closed = |(path, access): &(PathBuf, Access)| {
        let beneath = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        std::iter::once(path.clone()).chain(beneath).any(|path| !confine::is_open(&path, *access))
    };
    // A folder that cannot be listed without a capability is closed itself.
    let closed = |access| !confine::works_without(|| !paths.iter().filter(|(_, of)| *of == access).any(is_closed));
    let read = if closed(Access::Read) { READ } else { 0 };
    read | if closed(Access::Write) { WRITE } else { 0 }
}
