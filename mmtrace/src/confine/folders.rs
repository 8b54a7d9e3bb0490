//! Files and folders that stay open to a process: landlock (Documentation/userspace-api/landlock.rst).

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, OwnedFd, RawFd},
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, Scope, path_beneath_rules,
};

/// The newest version of the interface whose restrictions are known here. The kernel gets those that it has.
const KNOWN: ABI = ABI::V9;
/// `LANDLOCK_CREATE_RULESET_VERSION`
const ASK_VERSION: u32 = 1;

/// What a process does with the files beneath a folder, or with one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Lists folders and reads files.
    Read,
    /// Also makes, writes, renames and removes files and folders.
    Write,
    /// Lists folders.
    List,
    /// Makes folders, puts there what was written elsewhere, and removes empty folders.
    Publish,
    /// Removes files.
    Remove,
    /// Opens a terminal.
    Terminal,
}

impl Access {
    fn rights(self) -> BitFlags<AccessFs> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        match self {
            Self::Read => read,
            Self::List => AccessFs::ReadDir.into(),
            Self::Publish => AccessFs::MakeDir | AccessFs::Refer | AccessFs::RemoveDir,
            Self::Remove => AccessFs::RemoveFile.into(),
            Self::Write => {
                let make = AccessFs::MakeDir | AccessFs::MakeReg | AccessFs::WriteFile | AccessFs::Truncate;
                read | make | AccessFs::RemoveFile | AccessFs::RemoveDir | AccessFs::Refer
            }
            Self::Terminal => read | AccessFs::WriteFile | AccessFs::IoctlDev,
        }
    }
}

/// Rules that a thread can be held to.
pub(super) struct Rules {
    /// Version of the kernel's interface.
    version: u32,
    ruleset: OwnedFd,
}

impl Rules {
    /// Makes the rules: nothing but these paths can be opened, no TCP port bound or connected to, and no socket outside of
    /// the process be reached by an abstract name.
    ///
    /// # Errors
    /// The kernel has no landlock, or refuses, for this reason.
    pub(super) fn new(paths: &[(PathBuf, Access)], held: &[(OwnedFd, Access)]) -> Result<Self, String> {
        let version = version()?;
        let failed = |error: landlock::RulesetError| error.to_string();
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(KNOWN))
            .and_then(|rules| rules.handle_access(AccessNet::from_all(KNOWN)))
            .and_then(|rules| rules.scope(Scope::AbstractUnixSocket))
            .and_then(Ruleset::create)
            .map_err(failed)?;
        for (path, access) in paths {
            ruleset = ruleset.add_rules(path_beneath_rules([path], access.rights())).map_err(failed)?;
        }
        for (folder, access) in held {
            ruleset = ruleset.add_rule(PathBeneath::new(folder.as_fd(), access.rights())).map_err(failed)?;
        }
        let ruleset = Option::<OwnedFd>::from(ruleset).ok_or("the kernel has no landlock")?;
        Ok(Self { version, ruleset })
    }

    /// The rules as landlock_restrict_self(2) takes them.
    pub(super) fn ruleset(&self) -> RawFd {
        self.ruleset.as_raw_fd()
    }

    /// The version of the kernel's interface.
    pub(super) const fn version(&self) -> u32 {
        self.version
    }

    /// Holds the calling thread, and those that it starts from now on, to the rules. Returns the version of the kernel's
    /// interface. It makes one system call, which takes `no_new_privs`.
    ///
    /// # Errors
    /// The kernel refuses, for this reason.
    pub(super) fn enter(&self) -> Result<u32, String> {
        // SAFETY: takes numbers only.
        let entered = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.ruleset.as_raw_fd(), 0) };
        if entered != 0 {
            return Err(io::Error::last_os_error().to_string());
        }
        Ok(self.version)
    }
}

/// Returns the version of the kernel's interface.
///
/// # Errors
/// The kernel has no landlock, for this reason.
pub(super) fn version() -> Result<u32, String> {
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: with this flag the kernel reads nothing.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0, ASK_VERSION) };
    if version > 0 {
        return Ok(version as u32);
    }
    let error = io::Error::last_os_error();
    Err(match error.raw_os_error() {
        Some(libc::ENOSYS) => "the kernel was built without CONFIG_SECURITY_LANDLOCK".to_owned(),
        Some(libc::EOPNOTSUPP) => "landlock is not among the kernel's lsm=".to_owned(),
        _ => error.to_string(),
    })
}

/// Whether a file or folder can be opened as it is meant to be, with the rights that this process has just now. One that
/// does not exist can.
#[must_use]
pub fn is_open(path: &Path, access: Access) -> bool {
    use rustix::fs::{Access as Mode, AtFlags, CWD, accessat};
    let mode = match access {
        Access::Read | Access::List => Mode::READ_OK,
        Access::Publish | Access::Remove => Mode::WRITE_OK,
        Access::Write | Access::Terminal => Mode::READ_OK | Mode::WRITE_OK,
    };
    let mode = if path.is_dir() { mode | Mode::EXEC_OK } else { mode };
    !matches!(accessat(CWD, path, mode, AtFlags::EACCESS), Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM))
}
