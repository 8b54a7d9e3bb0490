//! Confinement: what a process can still do once it reads what strangers wrote.
//!
//! A capture may come from anybody, and a report shows what strangers' programs are called. A process that decodes it gives
//! up before that what decoding does not need: capabilities, new privileges, all files but those of its command, and most
//! system calls. What the kernel does not have is left out; the command goes on, and `mmtrace doctor` says so.

mod common_files;
mod folders;
mod publisher;
mod rights;
mod system_calls;
mod threads;

pub use common_files::{TERMINAL, common_files};
pub use folders::{Access, is_open};
pub use publisher::publish_apart;
pub use system_calls::{Filter, Group};

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use mmtrace_capture::User;

/// What a process needs from now on. It gives up everything else.
#[derive(Debug)]
pub struct Need {
    /// Folders and files, with what is done beneath them. One that does not exist is left out.
    pub paths: Vec<(PathBuf, Access)>,
    /// The same for folders that are held: their paths may lead elsewhere by now.
    pub held: Vec<(OwnedFd, Access)>,
    /// Groups of system calls.
    pub groups: &'static [Group],
    /// Capabilities that stay permitted, by their bits.
    pub capabilities: u64,
}

/// What the kernel has put into force, or the reason why it has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confined {
    /// No capability is permitted beyond those that were asked for, and no program can give any.
    pub rights: Result<(), String>,
    /// Files beyond those that were named are closed: the version of landlock's ABI.
    pub folders: Result<u32, String>,
    /// Other system calls are refused.
    pub system_calls: Result<(), String>,
}

impl Need {
    /// Confines the calling thread to this, and with it all threads that it starts from now on. There is no way back.
    #[must_use]
    pub fn enter(&self) -> Confined {
        // First the folders: to name them may take a capability.
        let rules = folders::Rules::new(&self.paths, &self.held);
        rights::close_memory();
        let rights = rights::keep(self.capabilities).map_err(|error| error.to_string());
        let folders = rules.and_then(|rules| rules.enter());
        // Last, since the calls above are refused from then on.
        Confined { rights, folders, system_calls: system_calls::allow(self.groups) }
    }

    /// As [`Need::enter`], but leaves all files open: for a process that has to look into others, which landlock forbids.
    #[must_use]
    pub fn enter_with_all_files(&self) -> Confined {
        rights::close_memory();
        let rights = rights::keep(self.capabilities).map_err(|error| error.to_string());
        let folders = Err("not asked for".to_owned());
        Confined { rights, folders, system_calls: system_calls::allow(self.groups) }
    }

    /// Confines all threads of this process, once. `owner`: files are worked on with the rights of this user from then on.
    #[must_use]
    pub fn enter_everywhere(&self, owner: Option<User>) -> Confined {
        let rules = folders::Rules::new(&self.paths, &self.held);
        rights::close_memory();
        let ruleset = rules.as_ref().ok().map(folders::Rules::ruleset);
        let rights = threads::everywhere(threads::Work { owner, capabilities: self.capabilities, ruleset });
        let folders = rules.and_then(|rules| rights.clone().map(|()| rules.version()));
        Confined { rights, folders, system_calls: system_calls::allow(self.groups) }
    }
}

/// Gives up every capability of the calling thread, and closes its memory and descriptors to others. Makes system calls only.
pub(crate) fn give_up_all() {
    rights::close_memory();
    // What the kernel does not take is no worse than before.
    let _ = rights::keep(0);
}

/// Whether something works without any capability.
pub(crate) fn works_without(work: impl FnOnce() -> bool) -> bool {
    rights::without(work).unwrap_or(false)
}

/// Whether a file or folder can be opened for this without any capability. One that does not exist can.
pub(crate) fn is_open_without(path: &Path, access: Access) -> bool {
    works_without(|| is_open(path, access))
}

/// What this kernel offers: the version of landlock's ABI, and whether system calls can be filtered. The reason otherwise.
#[must_use]
pub fn offered() -> Confined {
    Confined { rights: Ok(()), folders: folders::version(), system_calls: system_calls::is_offered() }
}
