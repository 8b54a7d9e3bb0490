//! The tests that are run in every machine. A further test is a further row.

use mmtrace_model::kernel_version::KernelVersion;
use xtask::guest::{Plan, Step};

use super::image::MMTRACE;

/// One command inside, and what must come of it.
pub(super) struct Test {
    /// Its name, and that of its folder in the results.
    pub(super) name: &'static str,
    /// First kernel that it is for; `None`: every one.
    pub(super) since: Option<KernelVersion>,
    /// Arguments of mmtrace.
    pub(super) args: &'static [&'static str],
    /// Settings during the test: file, value.
    pub(super) settings: &'static [(&'static str, &'static str)],
    /// Seconds after which it counts as hung.
    pub(super) limit: u64,
    /// Folders and files that come back, into `kept/` of the results.
    pub(super) keep: &'static [&'static str],
    /// The expected result.
    pub(super) expect: Expect,
}

/// The expected result of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// `doctor --json`: recording is possible, and what the probes are resolved to is that of `testdata/probes/`.
    Doctor,
    /// `record --json`: nothing lost, nothing violated. Rules may be unknown only where events were missed.
    Recording,
    /// `record --json` of a bug that this kernel has: the rule of this name is violated, no other, and nothing is lost.
    /// Its exit status is 1.
    Caught(&'static str),
    /// The same of a bug that takes a race: wherever the workload saw that an entry was lost, the rule must have seen
    /// it too; and if the rule is violated, no other is.
    CaughtIfSeen(&'static str),
    /// `record --json` of the workload of this name, whose culprit is known: as a recording, and the report says what the
    /// workload counted.
    Case(&'static str),
    /// It prints, byte for byte, what the test of this name printed.
    Same(&'static str),
}

impl Expect {
    /// The rule that may be violated.
    pub(super) const fn rule(self) -> Option<&'static str> {
        match self {
            Self::Caught(rule) | Self::CaughtIfSeen(rule) => Some(rule),
            Self::Doctor | Self::Recording | Self::Case(_) | Self::Same(_) => None,
        }
    }
}

const STATS: (&str, &str) = ("/proc/sys/kernel/bpf_stats_enabled", "1");
const THP: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// Values that most tests have.
const TEST: Test = Test {
    name: "",
    since: None,
    args: &[],
    settings: &[(THP, "madvise")],
    limit: 120,
    keep: &[],
    expect: Expect::Recording,
};

/// The tests, in order.
pub(super) const TESTS: &[Test] = &[
    Test { name: "doctor", args: &["doctor", "--json"], settings: &[], limit: 60, expect: Expect::Doctor, ..TEST },
    Test {
        name: "record",
        args: &["record", "--seconds", "20", "--workload", "all", "--json", "-o", "/run/record"],
        settings: &[(THP, "madvise"), STATS],
        keep: &["/run/record"],
        ..TEST
    },
    Test {
        name: "replay",
        args: &["replay", "--json", "/run/record"],
        settings: &[],
        expect: Expect::Same("record"),
        ..TEST
    },
    Test {
        name: "record-thp",
        args: &["record", "--seconds", "10", "--workload", "all", "--json", "-o", "/run/record-thp"],
        settings: &[(THP, "always")],
        ..TEST
    },
    Test {
        name: "migrate",
        args: &["record", "--seconds", "6", "--workload", "migrate", "--json", "-o", "/run/migrate"],
        keep: &["/run/migrate"],
        ..TEST
    },
    Test {
        name: "hugetlb",
        args: &["record", "--seconds", "5", "--workload", "hugetlb", "--json", "-o", "/run/hugetlb"],
        keep: &["/run/hugetlb"],
        ..TEST
    },
    Test {
        name: "swap",
        args: &["record", "--seconds", "4", "--workload", "swap", "--json", "-o", "/run/swap"],
        keep: &["/run/swap"],
        ..TEST
    },
    Test {
        name: "case-contend",
        args: &["record", "--seconds", "4", "--workload", "case-contend", "--json", "--no-capture"],
        expect: Expect::Case("case-contend"),
        ..TEST
    },
    Test {
        name: "case-populate",
        args: &["record", "--seconds", "4", "--workload", "case-populate", "--json", "--no-capture"],
        expect: Expect::Case("case-populate"),
        ..TEST
    },
    // The whole family of maps, those that are off by themselves too.
    Test {
        name: "maps",
        since: Some(KernelVersion::new(6, 5)),
        args: &[
            "record",
            "-e",
            "+pte_offset_map,+pte_offset_map_lock_enter",
            // An emulated reader is slow.
            "--buffer",
            "128",
            "--seconds",
            "5",
            "--workload",
            "collapse-file",
            "--json",
            "-o",
            "/run/maps",
        ],
        ..TEST
    },
    // docs/findings.md, F1 to F3.
    Test {
        name: "poison-collapse",
        since: Some(KernelVersion::new(6, 6)),
        args: &["record", "--seconds", "3", "--workload", "poison-collapse", "--json", "-o", "/run/poison-collapse"],
        keep: &["/run/poison-collapse"],
        expect: Expect::Caught("L25"),
        ..TEST
    },
    Test {
        name: "guard-collapse",
        since: Some(KernelVersion::new(6, 15)),
        args: &["record", "--seconds", "10", "--workload", "guard-collapse", "--json", "-o", "/run/guard-collapse"],
        expect: Expect::CaughtIfSeen("L25"),
        ..TEST
    },
    Test {
        name: "poison-pte",
        since: Some(KernelVersion::new(6, 6)),
        args: &["record", "--seconds", "10", "--workload", "poison-pte-collapse", "--json", "-o", "/run/poison-pte"],
        expect: Expect::CaughtIfSeen("L25"),
        ..TEST
    },
];

/// The tests that are for a kernel.
pub(super) fn tests(kernel: KernelVersion) -> impl Iterator<Item = &'static Test> {
    TESTS.iter().filter(move |test| test.since.is_none_or(|since| kernel >= since))
}

/// The table as the first process takes it.
pub(super) fn plan(kernel: KernelVersion) -> Plan {
    let owned = |words: &[&str]| words.iter().map(|&w| w.to_owned()).collect::<Vec<_>>();
    // In an emulated machine a task's time slice is over in the middle of what takes microseconds elsewhere.
    let command = |test: &Test| match test.args {
        ["record", rest @ ..] if kernel.preempts_tracepoints() => {
            [owned(&[MMTRACE, "record", "--standby", "2"]), owned(rest)].concat()
        }
        all => [owned(&[MMTRACE]), owned(all)].concat(),
    };
    let step = |test: &Test| Step {
        name: test.name.to_owned(),
        settings: test.settings.iter().map(|&(path, value)| (path.to_owned(), value.to_owned())).collect(),
        command: command(test),
        limit: test.limit,
        keep: owned(test.keep),
    };
    Plan { steps: tests(kernel).map(step).collect() }
}

/// Seconds that a command of the user's may take.
const COMMAND_LIMIT: u64 = 600;
/// The name of its step.
pub(super) const COMMAND: &str = "command";

/// A plan for one command of the user's.
pub(super) fn single(args: &[String]) -> Plan {
    let step = Step {
        name: COMMAND.to_owned(),
        settings: Vec::new(),
        command: [&[MMTRACE.to_owned()], args].concat(),
        limit: COMMAND_LIMIT,
        keep: vec![format!("/root/{}", mmtrace::record::DEFAULT_DIR)],
    };
    Plan { steps: vec![step] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_those_that_are_referred_to_come_before() {
        for (at, test) in TESTS.iter().enumerate() {
            let before = &TESTS[..at];
            assert!(before.iter().all(|t| t.name != test.name), "{}", test.name);
            match test.expect {
                Expect::Same(other) => assert!(before.iter().any(|t| t.name == other), "{}", test.name),
                Expect::Case(workload) => assert!(crate::cases::case(workload).is_some(), "{workload}"),
                _ => {}
            }
        }
    }
}
