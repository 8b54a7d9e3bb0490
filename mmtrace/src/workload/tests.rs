//! Every workload runs for a moment and leaves no trace.

use super::*;
use clap::Parser;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::process::Command;
use std::sync::Mutex;

/// The workloads share the machine's settings and memory: one at a time.
static ONE: Mutex<()> = Mutex::new(());
const CHILD: &str = "MMTRACE_TEST_WORKLOAD";

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: WorkloadArgs,
}

fn parse(words: &str) -> WorkloadArgs {
    Cli::try_parse_from(std::iter::once("mmtrace").chain(words.split_whitespace())).unwrap().args
}

fn settings() -> BTreeMap<String, String> {
    let folder = "/sys/kernel/mm/transparent_hugepage";
    ["khugepaged/scan_sleep_millisecs", "khugepaged/alloc_sleep_millisecs", "khugepaged/pages_to_scan", "shmem_enabled"]
        .map(|name| format!("{folder}/{name}"))
        .into_iter()
        .chain(["/proc/sys/vm/nr_hugepages".to_owned()])
        .map(|path| (path.clone(), fs::read_to_string(&path).unwrap_or_default()))
        .collect()
}

fn try_out(words: &str) -> Outcome {
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let before = settings();
    let mut printed = Vec::new();
    let outcome = run(&parse(words), &AtomicBool::new(false), &mut printed).unwrap();
    assert_eq!(before, settings(), "{words}");
    let lines = String::from_utf8(printed).unwrap();
    assert_eq!(lines.lines().count(), outcome.paths.len() + 1, "{lines}");
    assert!(outcome.seconds < 15.0, "{lines}");
    outcome
}

/// Seconds to run a workload for. A busy machine needs longer until each of its tasks has had its turn.
const TRIES: [&str; 3] = ["0.3", "2", "6"];

/// The outcome of the first run of `words` in which each `(path, count)` is above zero, or whose path notes what the
/// kernel lacks.
fn counts(words: &str, wanted: &[(&str, &str)]) -> Outcome {
    let mut missing = Vec::new();
    for seconds in TRIES {
        let done = try_out(&format!("{words} --seconds {seconds}"));
        missing = wanted.iter().filter(|(path, what)| !counted(&done, path, what)).collect();
        if missing.is_empty() {
            return done;
        }
    }
    panic!("{words}: not counted: {missing:?}");
}

fn counted(outcome: &Outcome, path: &str, what: &str) -> bool {
    let found = outcome.paths.iter().find(|p| p.path == path).unwrap_or_else(|| panic!("no {path} in {outcome:#?}"));
    found.note.is_some() || found.counts.get(what).is_some_and(|n| *n > 0)
}

fn count(outcome: &Outcome, path: &str, what: &str) -> u64 {
    outcome.paths.iter().find(|p| p.path == path).and_then(|p| p.counts.get(what)).copied().unwrap_or(0)
}

#[test]
fn faults() {
    let done = counts(
        "faults --memory 32M",
        &[
            ("anonymous", "pages filled"),
            ("kernel", "bytes read into untouched pages"),
            ("file", "pages copied from the file"),
        ],
    );
    let pages = count(&done, "anonymous", "pages filled");
    assert!(count(&done, "process", "page faults by the kernel's own count") >= pages, "{done:#?}");
}

#[test]
fn mmap() {
    counts(
        "mmap --memory 32M",
        &[("map", "mmap and munmap"), ("replace", "mmap over a mapping"), ("fault", "pages filled")],
    );
}

#[test]
fn khugepaged() {
    counts("khugepaged --memory 32M", &[("collapse anonymous", "pages filled"), ("collapse shmem", "pages filled")]);
}

#[test]
fn compaction() {
    counts("compaction --memory 32M", &[("compact", "pages scattered"), ("compact", "pages touched meanwhile")]);
}

#[test]
fn fork() {
    counts(
        "fork --memory 32M",
        &[
            ("fork", "children that copied and exited"),
            ("exec", "fork and exec"),
            ("mremap", "pages read after the move"),
        ],
    );
}

/// Asserts that `what`, which must not happen on any kernel, was not counted. Passes if this kernel could not be asked.
fn never(outcome: &Outcome, what: &str) {
    let found: u64 = outcome.paths.iter().filter_map(|p| p.counts.get(what)).sum();
    assert_eq!(found, 0, "{what}: {outcome:#?}");
}

#[test]
fn fork_storm() {
    let done = counts("fork-storm --memory 32M", &[("fork", "children")]);
    never(&done, "children that did not get to their end");
}

#[test]
fn migrate() {
    counts("migrate --memory 32M", &[("fault", "pages touched"), ("change", "mprotect")]);
}

#[test]
fn collapse_file() {
    let done = counts(
        "collapse-file --memory 32M",
        &[("other processes", "rounds of faults and unmapping"), ("read", "bytes by read")],
    );
    never(&done, "pages with wrong contents");
}

#[test]
fn uffd_wp() {
    let done = counts("uffd-wp --memory 32M", &[("protect", "pages filled")]);
    never(&done, "markers_lost");
}

#[test]
fn mremap() {
    let done = counts("mremap --memory 32M", &[("move", "moves")]);
    never(&done, "pages with wrong contents");
}

#[test]
fn gup() {
    let done = counts("gup --memory 32M", &[("vmsplice", "bytes")]);
    never(&done, "pages with wrong contents");
}

/// Without huge pages, or the right to have some, they say so.
#[test]
fn hugetlb() {
    let done = try_out("hugetlb --seconds 0.3 --memory 32M");
    never(&done, "sigbus");
    never(&done, "huge pages with wrong contents");
    let child = try_out("hugetlb-child --seconds 0.3 --memory 32M");
    for outcome in [done, child] {
        let noted = outcome.paths.iter().any(|p| p.note.is_some());
        assert!(noted || outcome.paths.iter().any(|p| p.counts.contains_key("MADV_DONTNEED")), "{outcome:#?}");
    }
}

/// Each workload sets markers, or notes what the kernel lacks. Whether it finds them lost is the kernel's affair.
#[test]
fn lost_markers() {
    for (name, path, what) in [
        ("poison-collapse", "poison", "pages poisoned"),
        ("poison-pte-collapse", "poison", "pages poisoned"),
        ("guard-collapse", "guard", "guards installed"),
    ] {
        counts(&format!("{name} --memory 32M"), &[(path, what)]);
    }
}

/// Each case counts what a report is compared with, or notes what the kernel lacks.
#[test]
fn cases_count_what_happens_in_them() {
    for (name, path, what) in [
        ("case-turns", "protector", "mprotect"),
        ("case-turns", "forker", "clone cpu ns"),
        ("case-contend", "fault-worker", "munmap"),
        ("case-monitor", "smaps-monitor", "readings"),
        ("case-populate", "small-mapper", "mmap cpu ns"),
        ("case-snapshot", "snapshot-db", "pages copied"),
        ("case-arena", "heap-scavenger", "madvise"),
        ("case-cold-file", "cold-reader", "faults"),
        ("case-handler", "guest-vcpu", "pages awaited"),
        ("case-names", "escape sequence", "pages touched"),
        ("case-short", "spawner", "processes"),
    ] {
        counts(&format!("{name} --memory 256M"), &[(path, what)]);
    }
}

#[test]
fn what_is_run_by_name_only_is_not_part_of_all() {
    let parts: Vec<_> = table::parts().collect();
    assert_eq!(parts.len(), 10);
    for name in ["poison-collapse", "guard-collapse", "poison-pte-collapse", "hugetlb", "hugetlb-child", "fork-storm"] {
        assert!(!parts.contains(&name), "{name}");
    }
    assert!(parse("all --memory 160M").memory >= parts.len() as u64 * args::MEMORY_MIN);
}

/// Not a test of its own: `all` starts it as its child process.
#[test]
fn child_process() {
    if let Ok(words) = std::env::var(CHILD) {
        // As the command does: a child that is told to stop still says what it did.
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGTERM, std::sync::Arc::clone(&stop)).unwrap();
        run(&parse(&words), &stop, &mut io::stdout()).unwrap();
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of a launcher")]
fn launch(args: &[OsString]) -> io::Result<Command> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["--exact", "workload::tests::child_process", "--nocapture", "--quiet"]);
    command.env(CHILD, args.join(std::ffi::OsStr::new(" ")));
    Ok(command)
}

#[test]
fn all_has_every_workload_in_its_own_process() {
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let before = settings();
    let args = parse("all --seconds 6 --memory 160M");
    let done = execute(&args, &AtomicBool::new(false), &launch).unwrap();
    assert_eq!(before, settings());
    for name in table::parts() {
        let own: Vec<_> = done.paths.iter().filter(|p| p.workload == name).collect();
        assert!(own.iter().any(|p| p.counts.values().any(|n| *n > 0)), "{name}: {done:#?}");
        assert!(own.iter().all(|p| p.path != "process" || p.note.is_none()), "{name}: {done:#?}");
    }
}

/// A shell command in place of a workload's process.
fn shell(script: &'static str) -> impl Fn(&[OsString]) -> io::Result<Command> {
    move |_| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Ok(command)
    }
}

#[test]
fn a_process_that_fails_makes_all_incomplete() {
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let run = |script| {
        let args = parse("all --seconds 0.5 --memory 160M");
        execute(&args, &AtomicBool::new(false), &shell(script)).unwrap()
    };
    let refused = "echo '{\"workload\":\"fork\",\"seconds\":1,\"interrupted\":false,\"paths\":[],\
                   \"failures\":[\"the system refused to start 3 threads\"]}'; exit 2";
    assert_eq!(run(refused).failures, ["the system refused to start 3 threads"]);
    let failed = run("echo 'mmtrace: no memory' >&2; exit 2").failures;
    assert_eq!(failed[0], "faults ended with exit status: 2: no memory");
    let mut printed = Vec::new();
    run("exit 2").print(false, &mut printed).unwrap();
    assert!(String::from_utf8(printed).unwrap().starts_with("all: incomplete after "));
}

#[test]
fn stops_when_told() {
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let stop = AtomicBool::new(false);
    let done = std::thread::scope(|scope| {
        let running = scope.spawn(|| execute(&parse("all --seconds 60 --memory 160M"), &stop, &launch).unwrap());
        std::thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        running.join().unwrap()
    });
    assert!(done.interrupted && done.seconds < 8.0, "{done:#?}");
}

#[test]
fn arguments() {
    assert_eq!(parse("faults --memory 1G").memory, 1 << 30);
    assert_eq!(parse("faults --memory 64MiB").memory, 64 << 20);
    for wrong in
        ["faults --memory 1M", "faults --memory x", "faults --seconds 0", "faults --seconds nan", "nothing", ""]
    {
        let words = std::iter::once("mmtrace").chain(wrong.split_whitespace());
        assert!(Cli::try_parse_from(words).is_err(), "{wrong}");
    }
    assert!(parse("--list").list);
}

#[test]
fn the_list_names_every_tracepoint_and_is_json_too() {
    let print = |words: &str| {
        let mut out = Vec::new();
        run(&parse(words), &AtomicBool::new(false), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let text = print("--list");
    for spec in mmtrace_common::SPECS.iter().filter(|s| !s.kind.is_synthetic() && !s.site.at.is_function()) {
        assert!(text.contains(spec.name), "no workload provokes {}", spec.name);
    }
    let rows: Vec<serde_json::Value> = serde_json::from_str(&print("--list --json")).unwrap();
    assert_eq!(rows.len(), WORKLOADS.len());
}
