//! What is run in every machine. A further test is a further row.

use mmtrace_guest::{Plan, Step};

use super::{image::MMTRACE, machine::DISK};

/// One command inside, and what must come of it.
pub(super) struct Test {
    /// Its name, and that of its folder in the results.
    pub(super) name: &'static str,
    /// Arguments of mmtrace.
    pub(super) args: &'static [&'static str],
    /// Settings during the test: file, value.
    pub(super) settings: &'static [(&'static str, &'static str)],
    /// Seconds after which it counts as hung.
    pub(super) limit: u64,
    /// Folders and files that come back, into `kept/` of the results.
    pub(super) keep: &'static [&'static str],
    /// What must come of it.
    pub(super) expect: Expect,
}

/// What must come of a test. Its exit status must be 0 in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// `doctor --json`: recording is possible, and what the probes are resolved to is that of `testdata/probes/`.
    Doctor,
    /// `record --json`: nothing lost, nothing violated. Rules may be unknown only where probe runs were missed.
    Recording,
    /// It prints, byte for byte, what the test of this name printed.
    Same(&'static str),
}

const THP: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// The tests, in order.
pub(super) const TESTS: &[Test] = &[
    Test { name: "doctor", args: &["doctor", "--json"], settings: &[], limit: 30, keep: &[], expect: Expect::Doctor },
    Test {
        name: "record",
        args: &["record", "--seconds", "20", "--workload", "all", "--json", "-o", "/run/record"],
        settings: &[(THP, "madvise")],
        limit: 120,
        keep: &["/run/record"],
        expect: Expect::Recording,
    },
    Test {
        name: "replay",
        args: &["replay", "--json", "/run/record"],
        settings: &[],
        limit: 120,
        keep: &[],
        expect: Expect::Same("record"),
    },
    Test {
        name: "record-thp",
        args: &["record", "--seconds", "10", "--workload", "all", "--json", "-o", "/run/record-thp"],
        settings: &[(THP, "always")],
        limit: 120,
        keep: &["/run/record-thp"],
        expect: Expect::Recording,
    },
    Test {
        name: "replay-thp",
        args: &["replay", "--json", "/run/record-thp"],
        settings: &[],
        limit: 120,
        keep: &[],
        expect: Expect::Same("record-thp"),
    },
];

/// The table as the first process takes it.
pub(super) fn plan() -> Plan {
    let owned = |words: &[&str]| words.iter().map(|&w| w.to_owned()).collect::<Vec<_>>();
    let step = |test: &Test| Step {
        name: test.name.to_owned(),
        settings: test.settings.iter().map(|&(path, value)| (path.to_owned(), value.to_owned())).collect(),
        command: [owned(&[MMTRACE]), owned(test.args)].concat(),
        limit: test.limit,
        keep: owned(test.keep),
    };
    Plan { disk: DISK.to_owned(), steps: TESTS.iter().map(step).collect() }
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
    Plan { disk: DISK.to_owned(), steps: vec![step] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_those_that_are_referred_to_come_before() {
        for (at, test) in TESTS.iter().enumerate() {
            let before = &TESTS[..at];
            assert!(before.iter().all(|t| t.name != test.name), "{}", test.name);
            if let Expect::Same(other) = test.expect {
                assert!(before.iter().any(|t| t.name == other), "{}", test.name);
            }
        }
    }
}
