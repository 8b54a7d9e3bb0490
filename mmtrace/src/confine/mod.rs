//! Confinement: what a process can still do once it reads what strangers wrote.
//!
//! A capture may come from anybody, and a report shows what strangers' programs are called. A process that decodes it gives
//! up before that what decoding does not need: capabilities, new privileges, all files but those of its command, and most
//! system calls. What the kernel does not have is left out; the command goes on, and `mmtrace doctor` says so.

mod commands;
mod folders;
mod rights;
mod system_calls;

pub use commands::need;
pub use folders::Access;
pub use system_calls::Group;

use std::path::PathBuf;

/// What a process needs from now on. It gives up everything else.
#[derive(Debug)]
pub struct Need {
    /// Folders and files, with what is done beneath them. One that does not exist is left out.
    pub paths: Vec<(PathBuf, Access)>,
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
        let rules = folders::Rules::new(&self.paths);
        let rights = rights::keep(self.capabilities).map_err(|error| error.to_string());
        let folders = rules.and_then(|rules| rules.enter());
        // Last, since the calls above are refused from then on.
        Confined { rights, folders, system_calls: system_calls::allow(self.groups) }
    }
}

/// What this kernel offers: the version of landlock's ABI, and whether system calls can be filtered. The reason otherwise.
#[must_use]
pub fn offered() -> Confined {
    Confined { rights: Ok(()), folders: folders::version(), system_calls: system_calls::is_offered() }
}
