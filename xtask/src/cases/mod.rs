//! Situations with a known culprit: what a report must say of them, by the situations' own count.
//!
//! Each is a workload of mmtrace (mmtrace/src/workload/cases/), which measures itself. A further case is a further row.

mod judge;
mod truth;

pub(crate) use judge::judge;
pub(crate) use truth::Truth;

/// A thread's name and its call.
type Caller = (&'static str, &'static str);

/// One situation.
pub(crate) struct Case {
    /// The name of the workload.
    pub(crate) workload: &'static str,
    /// Seconds that it is to last.
    pub(crate) seconds: &'static str,
    /// Words that stand in one of the first ten lines of the report.
    pub(crate) told: &'static [&'static [&'static str]],
    /// Statements about the figures.
    pub(crate) figures: &'static [Figure],
}

/// A figure of the report, which must agree with the workload's own count.
#[derive(Debug)]
pub(crate) enum Figure {
    /// Acquisitions by a caller in this mode are as many as its calls: within 5 %, and [`judge::FEW`] of its beginning and
    /// end.
    Calls(Caller, Mode),
    /// The holds of these callers have the shares that the CPU time in their calls has, within 5 points.
    Holds(&'static [(Caller, Mode)]),
    /// A caller waited for as much of the run as its long calls took, within 5 points.
    Waits(Caller),
    /// Of a caller's waits, at least so many percent were behind a holder, who is the first one named.
    Behind(Caller, u64, Caller),
    /// The threads' faults have the shares that they have by the kernel's count, within 5 points.
    Faults(&'static [&'static str]),
    /// A thread has at least as many faults of these kinds as it counted under this name, and at most 5 % more.
    Kinds(&'static str, &'static [&'static str], &'static str),
    /// As many faults of a thread were told as "read from disk" as the kernel counts major ones of it, within 5 %: where the
    /// report knows when faults end, and the kernel has VMA locks.
    Read(&'static str),
    /// A mapping, by its name, has the faults of this thread, within 5 %.
    Mapping(&'static str, &'static str),
    /// A thread whose counts are at this path is shown under this name, with its faults.
    Name(&'static str, &'static str),
    /// At least as many events of this kind as the thread counted under this name.
    Events(&'static str, Caller),
}

/// Mode of holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Write,
    /// Both together: a hold for write, and after its downgrade for read.
    Both,
}

use Figure::{Behind, Calls, Events, Faults, Holds, Kinds, Mapping, Name, Read, Waits};
use Mode::{Both, Write};

const ANONYMOUS: &[&str] = &["anonymous_first_touch"];
/// Where the ends of faults are not recorded, a file's page is neither told as cached nor as read from the disk.
const OF_FILE: &[&str] = &["file_page", "cache_hit", "major"];

/// The cases.
pub(crate) const CASES: &[Case] = &[
    Case {
        workload: "case-turns",
        seconds: "2.5",
        told: &[&["Holds"], &["protector", "mprotect (write)"]],
        figures: &[
            Calls(("protector", "mprotect"), Write),
            Calls(("populater", "munmap"), Write),
            Calls(("forker", "clone"), Write),
            Holds(&[
                (("protector", "mprotect"), Write),
                (("populater", "mmap"), Both),
                (("populater", "munmap"), Both),
                (("forker", "clone"), Write),
            ]),
        ],
    },
    Case {
        workload: "case-contend",
        seconds: "2",
        told: &[
            &["Waits", "fault-worker", "(write)"],
            &["fault-worker", "munmap"],
            &["jit-protector", "mprotect (write)"],
            &["Faults", "fault-worker", "anonymous first touch"],
        ],
        figures: &[
            Calls(("fault-worker", "munmap"), Write),
            Calls(("fault-worker", "mmap"), Write),
            Calls(("jit-protector", "mprotect"), Write),
            Faults(&["fault-worker", "jit-protector", "maps-poller"]),
            Kinds("fault-worker", ANONYMOUS, "pages touched"),
        ],
    },
    Case {
        workload: "case-monitor",
        seconds: "2",
        told: &[&["Waits", "db-mapper", "mmap (write)"], &["behind", "smaps-monitor", "read smaps_rollup (read)"]],
        figures: &[
            Calls(("db-mapper", "mmap"), Write),
            Waits(("db-mapper", "mmap")),
            Behind(("db-mapper", "mmap"), 30, ("smaps-monitor", "read smaps_rollup")),
        ],
    },
    Case {
        workload: "case-populate",
        seconds: "2",
        told: &[
            &["Waits", "small-mapper", "mmap (write)"],
            &["behind", "map-writer", "mmap (read)"],
            &["Holds", "map-writer", "mmap (read)"],
        ],
        figures: &[
            Calls(("map-writer", "munmap"), Write),
            Calls(("small-mapper", "munmap"), Write),
            Waits(("small-mapper", "mmap")),
            Behind(("small-mapper", "mmap"), 30, ("map-writer", "mmap")),
        ],
    },
    Case {
        workload: "case-snapshot",
        seconds: "2.5",
        told: &[
            &["Waits", "db-client", "mmap (write)"],
            &["behind", "snapshot-db", "clone (write)"],
            &["Holds", "snapshot-db", "clone (write)"],
            &["Faults", "snapshot-db", "copy-on-write"],
            &["most in", "anonymous", "160 MiB", "copy-on-write"],
        ],
        figures: &[
            Calls(("snapshot-db", "clone"), Write),
            Waits(("db-client", "mmap")),
            Behind(("db-client", "mmap"), 30, ("snapshot-db", "clone")),
            Kinds("snapshot-db", &["copy_on_write"], "pages copied"),
            Kinds("snapshot-db", ANONYMOUS, "pages touched"),
        ],
    },
    Case {
        workload: "case-arena",
        seconds: "2",
        told: &[&["Waits", "heap-"], &["heap-scavenger", "madvise (write)"], &["heap-grower", "mprotect (write)"]],
        figures: &[Calls(("heap-grower", "mprotect"), Write), Calls(("heap-grower", "munmap"), Write)],
    },
    Case {
        workload: "case-cold-file",
        seconds: "2",
        told: &[&["Faults", "cold-reader", "read from disk"], &["mmtrace-case-cold.data"]],
        figures: &[
            Kinds("cold-reader", OF_FILE, "faults"),
            Read("cold-reader"),
            Mapping("mmtrace-case-cold.data", "cold-reader"),
        ],
    },
    Case {
        workload: "case-handler",
        seconds: "3",
        told: &[&["Faults", "guest-vcpu", "userfaultfd"], &["most in", "anonymous", "userfaultfd"]],
        figures: &[Kinds("guest-vcpu", &["userfaultfd"], "pages awaited")],
    },
    Case {
        workload: "case-names",
        seconds: "1",
        told: &[&["Faults", r"\u{1b}[31mred\u{1b}[0m"]],
        figures: &[
            Name("lines", r"a\nb\tc"),
            Name("escape sequence", r"\u{1b}[31mred\u{1b}[0m"),
            Name("no UTF-8", r"\xff\xfe\xfd"),
            Name("quote and backslash", r#"quote"back\\sl"#),
            Name("cut character", r"cut-\xe2\x80"),
            Name("text of an escape", r"\\x1b[31m"),
            Name("SQL", "'; DROP--"),
            Name("controls", r"\u{1}\u{2}\u{7f}"),
            Name("wide", "日本語プ"),
            Name("right to left", r"\u{202e}gnp.exe"),
            Name("columns", ",,;=,"),
            Name("JSON", r#"{"a":1}"#),
        ],
    },
    Case {
        workload: "case-short",
        seconds: "2",
        told: &[&["Holds", "true", "processes"], &["Faults", "true", "processes"]],
        figures: &[
            Events("sched_process_fork", ("spawner", "processes")),
            Events("sched_process_exec", ("spawner", "processes")),
            Events("sched_process_exit", ("spawner", "processes")),
        ],
    },
];

/// The case of a workload.
pub(crate) fn case(workload: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.workload == workload)
}
