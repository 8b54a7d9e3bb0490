//! Filter of a recording: the tasks that are wanted, and with them their mms.

use std::fmt;

use mmtrace_common::Kind;

use super::tasks::Task;
use crate::environment::cgroup::Cgroup;

/// A process that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its id in this process's pid namespace.
    pub(crate) pid: u32,
    /// Its id in the initial pid namespace, which the programs compare and events carry.
    pub(crate) tgid: u32,
}

/// Filters of one recording; a task that matches any of them is wanted, and with it its mm.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Processes; their children join at fork.
    pub(crate) pids: Vec<Process>,
    /// A cgroup and everything below it.
    pub(crate) cgroup: Option<Cgroup>,
    /// Command name, at most 15 bytes.
    pub(crate) comm: Option<String>,
    /// A command that is about to be started; what it is called in reports. Its
    /// process is wanted through its parent, mmtrace itself.
    pub(crate) command: Option<String>,
}

/// Bits of the eBPF side's `FILTER`.
const BY_PID: u32 = 1;
const BY_CGROUP: u32 = 2;
const BY_COMM: u32 = 4;

/// Longest command name that the kernel keeps, bytes.
pub(crate) const COMM_MAX: usize = 15;

/// An event that a filter needs, and what is wrong with the filter without it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    /// The event.
    pub(crate) kind: Kind,
    /// The consequence if it cannot be attached, a clause.
    pub(crate) without: &'static str,
}

/// The events that every filter needs.
const NEEDS: &[Need] = &[
    Need { kind: Kind::Fork, without: "children join late, or not at all" },
    Need {
        kind: Kind::Exec,
        without: "what others do to a new program's memory is recorded only after its own first event",
    },
    Need { kind: Kind::ExitMmap, without: "whoever gets the address of memory that was given up is recorded too" },
    Need { kind: Kind::Released, without: "whoever gets the address of memory that was given up is recorded too" },
    // Last, since only a filter by process id needs it.
    Need { kind: Kind::Exit, without: "whoever gets the process id of a process that ended is recorded too" },
];

impl Filter {
    /// The bits for the programs; 0 takes everything.
    #[must_use]
    pub(crate) fn bits(&self) -> u32 {
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

    /// Returns the events that this filter needs, whichever were selected; none if everything is recorded.
    #[must_use]
    pub(crate) fn needs(&self) -> &'static [Need] {
        match self.bits() {
            0 => &[],
            bits if bits & BY_PID != 0 => NEEDS,
            _ => &NEEDS[..NEEDS.len() - 1],
        }
    }

    /// The command name as the kernel holds it: 16 bytes, padded with zeros.
    #[must_use]
    pub(crate) fn comm_bytes(&self) -> [u8; 16] {
        let mut bytes = [0u8; 16];
        for (to, from) in bytes.iter_mut().take(COMM_MAX).zip(self.comm.as_deref().unwrap_or("").bytes()) {
            *to = from;
        }
        bytes
    }

    /// The command name as two words.
    #[must_use]
    pub(crate) fn comm_words(&self) -> [u64; 2] {
        let bytes = self.comm_bytes();
        let (words, _) = bytes.as_chunks::<8>();
        [u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1])]
    }

    /// Whether it wants this task by its process id or its command name; cgroups are not looked at.
    #[must_use]
    pub fn names(&self, task: &Task) -> bool {
        self.pids.iter().any(|process| process.tgid == task.tgid)
            || self.comm.is_some() && task.comm == self.comm_bytes()
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(command) = &self.command {
            parts.push(format!("the command {command} and its children"));
        }
        if !self.pids.is_empty() {
            let told = |process: &Process| match *process {
                Process { pid, tgid } if pid == tgid => pid.to_string(),
                Process { pid, tgid } => format!("{pid} (host: {tgid})"),
            };
            let pids: Vec<String> = self.pids.iter().map(told).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(filter: &Filter) -> Vec<Kind> {
        filter.needs().iter().map(|need| need.kind).collect()
    }

    #[test]
    fn a_filter_lives_by_events_and_no_filter_by_none() {
        assert!(kinds(&Filter::default()).is_empty());
        let command = Filter { command: Some("true".to_owned()), ..Filter::default() };
        let pid = Filter { pids: vec![Process { pid: 2, tgid: 2 }], ..Filter::default() };
        let comm = Filter { comm: Some("bash".to_owned()), ..Filter::default() };
        for filter in [&command, &pid] {
            assert_eq!(kinds(filter), [Kind::Fork, Kind::Exec, Kind::ExitMmap, Kind::Released, Kind::Exit]);
        }
        assert_eq!(kinds(&comm), [Kind::Fork, Kind::Exec, Kind::ExitMmap, Kind::Released]);
    }

    #[test]
    fn a_process_is_told_by_both_of_its_ids_where_they_differ() {
        let pids = vec![Process { pid: 7, tgid: 53_211 }, Process { pid: 9, tgid: 9 }];
        let filter = Filter { pids, ..Filter::default() };
        assert_eq!(filter.to_string(), "pid 7 (host: 53211), 9 and its children");
    }

    #[test]
    fn a_name_is_compared_as_the_kernel_cuts_it() {
        let filter = Filter { comm: Some("a-very-long-command".to_owned()), ..Filter::default() };
        let task = |comm: &[u8; 16]| Task { tid: 1, tgid: 1, mm: 0, comm: *comm, cgroup: 0 };
        assert!(filter.names(&task(b"a-very-long-com\0")));
        assert!(!filter.names(&task(b"a-very-long\0\0\0\0\0")));
        assert!(!Filter::default().names(&task(&[0; 16])));
    }
}
