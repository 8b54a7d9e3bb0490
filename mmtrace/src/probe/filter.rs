//! Whose events are recorded.

use std::fmt;

use crate::environment::cgroup::Cgroup;

/// Filters of one recording; a task that matches any of them is wanted, and with it its mm.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Processes; their children join at fork.
    pub pids: Vec<u32>,
    /// A cgroup and everything below it.
    pub cgroup: Option<Cgroup>,
    /// Command name, at most 15 bytes.
    pub comm: Option<String>,
    /// A command that is about to be started; what it is called in reports. Its
    /// process is wanted through its parent, mmtrace itself.
    pub command: Option<String>,
}

/// Bits of the eBPF side's `FILTER`.
const BY_PID: u32 = 1;
const BY_CGROUP: u32 = 2;
const BY_COMM: u32 = 4;

impl Filter {
    /// The bits for the programs; 0 takes everything.
    #[must_use]
    pub fn bits(&self) -> u32 {
        let mut bits = 0;
        if !self.pids.is_empty() || self.command.is_some() {
            bits |= BY_PID;
        }
        if self.cgroup.is_some() {
            bits |= BY_CGROUP;
        }
        if self.comm.is_some() {
            bits |= BY_COMM;
        }
        bits
    }

    /// The command name as the kernel holds it: 16 bytes, padded with zeros, as two words.
    #[must_use]
    pub fn comm_words(&self) -> [u64; 2] {
        let mut bytes = [0u8; 16];
        for (to, from) in bytes.iter_mut().take(15).zip(self.comm.as_deref().unwrap_or("").bytes()) {
            *to = from;
        }
        let (words, _) = bytes.as_chunks::<8>();
        [u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1])]
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(command) = &self.command {
            parts.push(format!("the command {command} and its children"));
        }
        if !self.pids.is_empty() {
            let pids: Vec<String> = self.pids.iter().map(u32::to_string).collect();
            parts.push(format!("pid {} and its children", pids.join(", ")));
        }
        if let Some(cgroup) = &self.cgroup {
            parts.push(format!("cgroup {}", cgroup.path.display()));
        }
        if let Some(comm) = &self.comm {
            parts.push(format!("command {comm}"));
        }
        f.write_str(&parts.join(", or "))
    }
}
