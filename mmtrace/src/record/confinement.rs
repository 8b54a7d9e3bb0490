//! What a recording needs once its probes are attached, its capture is created and its command runs.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use mmtrace_capture::{User, effective_uid};

use super::{MARKS_FOLDER, RecordArgs, limits};
use crate::{
    confine::{self, Access, Group, Need},
    console::tell,
};

/// `CAP_BPF` and `CAP_PERFMON`: before Linux 5.19 every call of bpf(2) takes them, also one on what is loaded.
const LOADED: u64 = 1 << 39 | 1 << 38;
/// `CAP_DAC_READ_SEARCH` and `CAP_DAC_OVERRIDE`
const READ: u64 = 1 << 2;
const WRITE: u64 = 1 << 1;

/// Files that a recorder opens after that, at most, beside connections and the links of standby programs: those of the
/// capture, of one that is saved and of tables, `/proc`, iterators, and programs whose functions are read.
const BESIDE: u64 = 64;

const LINE: &[Group] = &[Group::Run, Group::Read, Group::Write, Group::Owner, Group::Record];
const DASHBOARD: &[Group] = &[Group::Run, Group::Read, Group::Write, Group::Owner, Group::Record, Group::Terminal];

/// Confines every thread of the recorder. `held`: the folders that it writes into. `is_answered`: whether the kernel answers about what is loaded. `cgroups`: where
/// the hierarchy is mounted. `files`: how many more will be open than are now, beside those of [`BESIDE`].
pub(super) fn enter(
    args: &RecordArgs,
    held: Vec<(OwnedFd, Access)>,
    is_answered: impl FnOnce() -> bool,
    cgroups: Option<&Path>,
    files: u64,
) {
    let owner = User::invoking().ok().flatten().filter(|user| user.uid != effective_uid());
    let mut capabilities = if confine::works_without(is_answered) { 0 } else { LOADED };
    if owner.is_none() {
        // Root may record into a folder that it could not enter without a capability.
        let written = written(args);
        let is_closed = |path: &PathBuf, access| !confine::is_open_without(path, access);
        capabilities |= if written.iter().any(|path| is_closed(path, Access::Read)) { READ } else { 0 };
        capabilities |= if written.iter().any(|path| is_closed(path, Access::Write)) { WRITE } else { 0 };
    }
    // Where the command is stuck, and which CPUs are online.
    let mut paths = Vec::from(["/proc", "/sys/devices/system/cpu"].map(|path| (PathBuf::from(path), Access::Read)));
    paths.extend(cgroups.map(|path| (path.to_path_buf(), Access::Read)));
    paths.push((PathBuf::from(MARKS_FOLDER), Access::Remove));
    if args.tui {
        paths.push((PathBuf::from(confine::TERMINAL), Access::Terminal));
    }
    paths.extend(confine::common_files());
    limits::lower(files + BESIDE);
    let groups = if args.tui { DASHBOARD } else { LINE };
    let confined = Need { paths, held, groups, capabilities }.enter_everywhere(owner);
    // `doctor` tells what the kernel lacks.
    if let Err(why) = confined.rights {
        tell(&format!(
            "mmtrace keeps rights that it does not need any more: {why}; it records all the same. If /proc is that of other \
             processes, or is missing: sudo mount -t proc proc /proc"
        ));
    }
}

/// The folders into which the recording writes.
fn written(args: &RecordArgs) -> Vec<PathBuf> {
    let mut written = Vec::new();
    if !args.no_capture {
        written.push(args.output.clone());
        // What is saved is a folder beside that of the capture.
        let beside = args.output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        written.extend((!args.dump_on.is_empty()).then(|| beside.to_path_buf()));
    }
    // `P` saves into the current folder.
    written.extend(args.tui.then(|| PathBuf::from(".")));
    written
}
