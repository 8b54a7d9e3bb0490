//! The command as a user meets it: what it prints, where, and its exit status.

#[path = "common/golden.rs"]
mod golden;

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use mmtrace::workload::WORKLOADS;
use mmtrace_capture::{CaptureWriter, FinalInfo, WriterOptions};
use mmtrace_common::{Column, Kind, Record, SPECS};
use mmtrace_model::{
    context::Context,
    report::{Output as Form, Report, Style},
    verdict::RULES,
};
use mmtrace_testing::judging::{broken, judge};
use tempfile::TempDir;

use golden::{TESTDATA, goldens};

/// The commands that read a capture.
const READERS: [&str; 3] = ["replay", "info", "dump"];
const SUBCOMMANDS: [&str; 14] = [
    "record", "top", "stat", "mark", "replay", "report", "tables", "info", "dump", "doctor", "rules", "explain",
    "explore", "workload",
];
/// Neither root nor anybody.
const NOBODY: u32 = 65_534;

fn mmtrace() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mmtrace"));
    command.stdin(Stdio::null()).env("RUST_BACKTRACE", "1");
    command
}

fn run(args: &[&str]) -> Output {
    mmtrace().args(args).output().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// It says what is wrong, once, to a person, and where errors go.
fn assert_refused(output: &Output, what: &str, says: &str) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(2), "{what}: {output:?}");
    assert_eq!(out, "", "{what}");
    assert_eq!(err.lines().count(), 1, "{what}: {err}");
    assert!(err.starts_with("mmtrace: "), "{what}: {err}");
    assert!(err.contains(says), "{what}: {err:?} does not say {says:?}");
    assert_for_people(&err, what);
}

/// Nothing of how it is made shows.
fn assert_for_people(shown: &str, what: &str) {
    for inside in ["panicked", "backtrace", "Error:", "Error {", "Os {", "Some(", "kind:", "\x1b"] {
        assert!(!shown.contains(inside), "{what}: {inside:?} in {shown}");
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(TESTDATA).join(name).join("capture")
}

/// A copy that may be damaged.
fn copy(name: &str) -> (TempDir, PathBuf) {
    let temp = tempfile::tempdir().expect("a folder");
    let to = temp.path().join("capture");
    fs::create_dir(&to).expect("a folder");
    for entry in fs::read_dir(golden(name)).expect("a capture") {
        let entry = entry.expect("a file");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
    (temp, to)
}

/// Any capture will do.
fn a_golden() -> &'static str {
    &goldens().iter().min_by_key(|g| g.records.len()).expect("captures").name
}

fn write(dir: &Path, context: &Context, records: &[Record]) {
    let mut writer =
        CaptureWriter::create(dir, context, vec!["mmtrace".to_owned()], WriterOptions::default()).expect("create");
    for record in records {
        writer.append(record).expect("append");
    }
    writer.finish(FinalInfo { end_ts: records.last().map_or(0, |r| r.ts) }).expect("finish");
}

#[test]
fn what_is_no_capture_is_refused_in_one_sentence() {
    let temp = tempfile::tempdir().expect("a folder");
    let missing = temp.path().join("missing");
    let empty = temp.path().join("empty");
    fs::create_dir(&empty).expect("a folder");
    let file = temp.path().join("file");
    fs::write(&file, "text").expect("a file");
    let other = temp.path().join("other");
    fs::create_dir(&other).expect("a folder");
    fs::write(other.join("notes.txt"), "text").expect("a file");
    let foreign = temp.path().join("foreign");
    fs::create_dir(&foreign).expect("a folder");
    fs::write(foreign.join("manifest.json"), r#"{"name": "an app", "icons": []}"#).expect("a file");
    for command in READERS {
        for dir in [&missing, &empty, &file, &other, &foreign] {
            let what = format!("{command} {}", dir.file_name().expect("a name").to_string_lossy());
            assert_refused(&run(&[command, path(dir)]), &what, "is not a capture");
        }
    }
}

#[test]
fn a_newer_format_names_the_version_that_reads_it() {
    let (_temp, dir) = copy(a_golden());
    let manifest = dir.join("manifest.json");
    let mut newer: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).expect("a manifest")).expect("JSON");
    newer["version"]["major"] = 99.into();
    newer["tool"] = "7.8.9".into();
    // Not even the rest is as it was.
    newer["context"] = "elsewhere".into();
    fs::write(&manifest, newer.to_string()).expect("written");
    for command in READERS {
        let output = run(&[command, path(&dir)]);
        assert_refused(&output, command, "99");
        assert_refused(&output, command, "7.8.9");
    }
}

#[test]
fn a_damaged_manifest_is_refused() {
    let (_temp, dir) = copy(a_golden());
    let manifest = dir.join("manifest.json");
    let whole = fs::read(&manifest).expect("a manifest");
    for cut in [0, 1, whole.len() / 2, whole.len() - 3] {
        fs::write(&manifest, &whole[..cut]).expect("written");
        for command in READERS {
            assert_refused(&run(&[command, path(&dir)]), &format!("{command}, {cut} bytes"), "manifest.json");
        }
    }
    fs::remove_file(&manifest).expect("removed");
    for command in READERS {
        assert_refused(&run(&[command, path(&dir)]), command, "no manifest.json");
    }
}

/// The segment that is cut off is named, once; what it held is a gap; nothing is called right
/// that rests on it; and no script takes that for success.
#[test]
fn a_truncated_capture_is_named_and_nothing_held() {
    let (_temp, dir) = copy(a_golden());
    let segment = dir.join("segment-000001.parquet");
    let whole = fs::read(&segment).expect("a segment");
    for cut in [0, 7, whole.len() / 2, whole.len() - 1] {
        fs::write(&segment, &whole[..cut]).expect("written");
        for command in READERS {
            let output = run(&[command, path(&dir)]);
            let what = format!("{command}, {cut} of {} bytes", whole.len());
            let said = text(&output.stderr) + &text(&output.stdout);
            assert_for_people(&said, &what);
            assert!(said.contains("segment-000001.parquet"), "{what}: {said}");
            let told = said.lines().filter(|l| l.contains("segment-000001.parquet")).count();
            assert_eq!(told, 1, "{what}: {said}");
            if command != "info" {
                assert!(text(&output.stderr).starts_with("mmtrace: "), "{what}: {output:?}");
            }
            assert_eq!(output.status.code(), Some(2), "{what}: {said}");
        }
        let output = run(&["replay", "--json", path(&dir)]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
        assert_eq!(report["verdict"], "unknown", "{cut} bytes");
        assert_eq!(report["gaps"], 1, "{cut} bytes");
    }
}

#[test]
fn a_golden_replays_to_its_report_and_success() {
    let name = a_golden();
    let dir = golden(name);
    let output = run(&["replay", "--json", path(&dir)]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let golden = goldens().iter().find(|golden| golden.name == name).expect("it is one of them");
    let mut report = Vec::new();
    let engine = judge(&golden.context, &golden.records);
    Report::new(&engine).print(Form::Json, Style::plain(), &mut report).expect("to memory");
    assert_eq!(text(&output.stdout), text(&report));
    assert_eq!(text(&output.stderr), "");
    for command in READERS {
        let output = run(&[command, path(&dir)]);
        assert_eq!(output.status.code(), Some(0), "{command}: {output:?}");
        assert_eq!(text(&output.stderr), "", "{command}");
        assert!(!output.stdout.is_empty(), "{command}");
    }
}

#[test]
fn a_violation_is_exit_status_1_and_says_which() {
    let golden = &goldens()[0];
    let mut records = golden.records.clone();
    // A write release by somebody else, on an mm whose holders have been known for a while.
    let release = |r: &Record| r.kind() == Some(Kind::Released) && r.get(Column::Write) == Some(1);
    let known = |i: usize| {
        let earlier = records[..i].iter().rev().take_while(|r| r.ts + 10_000_000 > records[i].ts);
        earlier.filter(|r| r.mm == records[i].mm && release(r)).count() > 4
    };
    let spot = (0..records.len()).find(|i| release(&records[*i]) && known(*i)).expect("a busy mm");
    records[spot].tid = 4_194_300;
    let found = broken(&judge(&golden.context, &records));
    assert_eq!(found.iter().map(|(rule, _)| *rule).collect::<Vec<_>>(), ["L04"]);

    let temp = tempfile::tempdir().expect("a folder");
    let dir = temp.path().join("capture");
    write(&dir, &golden.context, &records);
    let output = run(&["replay", path(&dir)]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let out = text(&output.stdout);
    assert!(out.contains("L04 violated"), "{out}");
    assert!(out.contains("4194300"), "the task is not named: {out}");
    assert_for_people(&out, "replay");
    let output = run(&["replay", "--json", path(&dir)]);
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(report["verdict"], "violated");
    assert_eq!(report["violations"][0]["rule"], "L04");
}

/// Whatever is in a capture, reading it ends with an exit status.
#[test]
fn a_capture_of_nonsense_is_read_without_a_panic() {
    let golden = &goldens()[0];
    let edges = [0, 1, u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1, u64::from(u32::MAX), 0xfff];
    let mut bits = 1u64;
    let mut number = || {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        edges[(bits >> 61) as usize]
    };
    let records: Vec<Record> = (0..4000)
        .map(|i| Record {
            ts: number(),
            mm: number(),
            tgid: number() as u32,
            tid: number() as u32,
            kind: SPECS[i % SPECS.len()].kind as u16,
            cpu: number() as u16,
            aux: number() as u32,
            args: std::array::from_fn(|_| number()),
        })
        .collect();
    let temp = tempfile::tempdir().expect("a folder");
    for start in [0, u64::MAX] {
        let dir = temp.path().join(format!("capture-{start}"));
        write(&dir, &Context { start, ..golden.context.clone() }, &records);
        let dir = path(&dir);
        for args in [
            &["replay", dir][..],
            &["replay", dir, "--json"],
            &["replay", dir, "--from", "1", "--to", "2"],
            &["info", dir],
            &["info", dir, "--json"],
            &["dump", dir],
            &["dump", dir, "--json"],
            &["dump", dir, "--csv"],
        ] {
            let output = run(args);
            let err = text(&output.stderr);
            assert!(matches!(output.status.code(), Some(0..=2)), "{args:?}: {output:?}");
            assert!(!err.contains("panicked"), "{args:?}: {err}");
        }
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_success() {
    for args in [&["dump"][..], &["dump", "--json"], &["dump", "--csv"]] {
        let mut child = mmtrace()
            .args(args)
            .arg(golden(a_golden()))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        BufReader::with_capacity(64, child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        assert!(!line.is_empty());
        // The pipe is closed now.
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        assert_eq!(text(&output.stderr), "", "{args:?}");
    }
}

#[test]
fn no_escape_codes_where_nobody_wants_them() {
    let dir = golden(a_golden());
    for args in
        [&["replay", path(&dir)][..], &["info", path(&dir)], &["rules"], &["explain", "L01"], &["doctor"], &["--help"]]
    {
        for no_color in [false, true] {
            let mut command = mmtrace();
            command.args(args).env("TERM", "xterm-256color").env_remove("NO_COLOR");
            if no_color {
                command.env("NO_COLOR", "1");
            }
            let output = command.output().expect("it starts");
            assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{args:?}: {output:?}");
        }
    }
}

#[test]
fn help_is_there_for_everything() {
    let help = |args: &[&str]| {
        let output = run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        assert_eq!(text(&output.stderr), "", "{args:?}");
        let out = text(&output.stdout);
        assert!(out.contains("Usage:"), "{args:?}: {out}");
        out
    };
    let top = help(&["--help"]);
    for command in SUBCOMMANDS {
        assert!(top.contains(command), "{command} is not in the help");
        help(&[command, "--help"]);
        help(&[command, "-h"]);
    }
    // And there is no other.
    let commands = top.split("Commands:").nth(1).and_then(|t| t.split("Options:").next()).expect("commands");
    let listed = commands.lines().filter(|l| l.starts_with("  ") && !l.starts_with("   "));
    let listed: Vec<&str> = listed.filter_map(|l| l.split_whitespace().next()).filter(|c| *c != "help").collect();
    assert_eq!(listed, SUBCOMMANDS);
}

#[test]
fn wrong_arguments_are_exit_status_2() {
    for args in [
        &[][..],
        &["no-such-command"],
        &["replay", "--no-such-option"],
        &["explain"],
        &["workload", "no-such-workload"],
        &["workload", "faults", "--seconds", "-1"],
        &["record", "--buffer", "3"],
        &["record", "--ring", "100K"],
        &["record", "--ring", "1G", "--no-capture"],
        &["record", "--dump-on", "violation"],
        &["record", "-p", "0"],
        &["record", "-p", "-5"],
        &["record", "-p", "bash"],
        &["record", "-p", "1,2"],
        &["record", "--comm", ""],
        &["record", "--workload", "no-such-workload"],
        &["top", "--workload", "faluts"],
        &["record", "--metrics", "no-such-address"],
        &["dump", "x", "--json", "--csv"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
        let err = text(&output.stderr);
        assert!(!err.contains("panicked") && !err.is_empty(), "{args:?}: {err}");
    }
    let dir = golden(a_golden());
    assert_refused(&run(&["dump", path(&dir), "--filter", "no_such_column == 1"]), "filter", "no_such_column");
}

#[test]
fn every_rule_is_listed_and_explained() {
    let listed = run(&["rules"]);
    assert_eq!(listed.status.code(), Some(0));
    let listed = text(&listed.stdout);
    let json: serde_json::Value = serde_json::from_slice(&run(&["rules", "--json"]).stdout).expect("JSON");
    assert_eq!(json.as_array().expect("a list").len(), RULES.len());
    for rule in RULES {
        assert!(listed.contains(rule.name), "{}", rule.name);
        for name in [rule.name.to_owned(), rule.name.to_lowercase()] {
            let output = run(&["explain", &name]);
            assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
            let explained = text(&output.stdout);
            assert!(explained.contains(rule.name), "{name}");
            assert!(explained.ends_with("\nTerms: docs/glossary.md\n"), "{name}: {explained}");
        }
        let output = run(&["explain", "--json", rule.name]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(json["id"], rule.name);
    }
}

/// `explain` refers to it.
#[test]
fn the_glossary_is_there_and_in_alphabetical_order() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/glossary.md");
    let page = fs::read_to_string(page).expect("docs/glossary.md is part of the repository");
    let terms: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .map(|term| term.replace(['`', ','], "").to_lowercase())
        .collect();
    assert!(terms.is_sorted(), "{terms:?}");
    assert!(terms.iter().any(|term| term == "held violated unknown not observable"), "{terms:?}");
}

#[test]
fn an_unknown_rule_is_exit_status_2() {
    let output = run(&["explain", "L99"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(said.contains("L99"), "{said}");
    assert_for_people(&said, "explain L99");
    assert_eq!(text(&output.stdout), "", "an error belongs on standard error");
}

#[test]
fn every_workload_is_listed() {
    let output = run(&["workload", "--list"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let out = text(&output.stdout);
    for workload in WORKLOADS {
        assert!(out.contains(workload.name), "{}", workload.name);
    }
    let output = run(&["workload", "--list", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json.as_array().expect("a list").len(), WORKLOADS.len());
}

/// A folder with a capture in it, which must still be there afterwards.
fn assert_refused_before_anything_moves(args: &[&str], says: &str) {
    let (temp, capture) = copy(a_golden());
    let before = fs::read(capture.join("manifest.json")).expect("a capture");
    let output = mmtrace().arg("record").args(["-o", path(&capture)]).args(args).output().expect("it starts");
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
    assert!(err.contains(says), "{args:?}: {err:?} does not say {says:?}");
    assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
    assert_for_people(&err, &args.join(" "));
    assert_eq!(fs::read(capture.join("manifest.json")).expect("still there"), before, "{args:?}");
    assert_eq!(fs::read_dir(temp.path()).expect("listed").count(), 1, "{args:?}: something was left beside it");
}

#[test]
fn what_cannot_be_recorded_leaves_an_earlier_capture_where_it_is() {
    let temp = tempfile::tempdir().expect("a folder");
    let text_file = temp.path().join("text");
    fs::write(&text_file, "no program").expect("a file");
    let itself = std::process::id().to_string();
    for (args, says) in [
        (&["--workload", "nosuch"][..], "invalid value 'nosuch'"),
        (&["--workload", "faluts"], "faults"),
        (&["--workload", "all", "--seconds", "100000"], "a day at most"),
        (&["--", "nosuchcmd"], "cannot run nosuchcmd: there is no such command in PATH"),
        (&["--", "/no/such/cmd"], "/no/such/cmd does not exist"),
        (&["--", "/proc"], "is a folder"),
        (&["--", path(&text_file)], "may not be executed"),
        (&["-a", "--", "nosuchcmd"], "cannot run nosuchcmd"),
        (&["--", ""], "the name of the command is empty"),
        (&["-p", "4294967295"], "there is no process 4294967295"),
        (&["-p", &itself, "-p", "4294967295", "-p", "4294967294"], "4294967295; there is no process 4294967294"),
        (&["-e", "only:no_such_event"], "no event or trace system"),
    ] {
        assert_refused_before_anything_moves(args, says);
    }
}

#[test]
fn what_has_ended_and_mmtrace_itself_are_no_targets() {
    let mut child = Command::new("true").spawn().expect("started");
    let pid = child.id().to_string();
    // It stays a zombie until it is waited for.
    while !fs::read_to_string(format!("/proc/{pid}/stat")).expect("a zombie").contains(") Z ") {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_refused_before_anything_moves(&["-p", &pid], "has ended and waits for its parent");
    child.wait().expect("ended");
    let itself = format!("exec {} record --no-capture -p $$", env!("CARGO_BIN_EXE_mmtrace"));
    let output = Command::new("sh").args(["-c", &itself]).stdin(Stdio::null()).output().expect("it starts");
    assert_refused(&output, "itself", "is mmtrace itself");
}

/// Without privileges it says which are missing, and leaves nothing behind. Only root can try.
#[test]
fn record_without_privileges_names_what_is_missing() {
    let me = fs::metadata("/proc/self").expect("Linux").uid();
    let temp = tempfile::tempdir().expect("a folder");
    fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o777)).expect("mine");
    // Where tests are built, nobody else may look.
    let program = temp.path().join("mmtrace");
    // By another process: what other tests fork meanwhile would hold a copy of ours open for writing.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_mmtrace")).arg(&program).status().expect("cp runs");
    assert!(copied.success(), "{copied}");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("mine");
    let mut command = Command::new(&program);
    command.args(["record", "--seconds", "0.1", "-o", "capture"]).current_dir(temp.path()).stdin(Stdio::null());
    if me == 0 {
        command.uid(NOBODY).gid(NOBODY);
    } else {
        eprintln!("not root: as the user that runs the tests");
    }
    let output = loop {
        match command.output() {
            // Another test's child has inherited the descriptor that the copy was written through, until its exec.
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            output => break output.expect("it starts"),
        }
    };
    let err = text(&output.stderr);
    if me != 0 && output.status.success() {
        eprintln!("this user may record");
        return;
    }
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    assert!(err.starts_with("mmtrace: cannot record here: "), "{err}");
    assert!(err.contains("CAP_BPF") || err.contains("CAP_SYS_ADMIN"), "{err}");
    assert_for_people(&err, "record");
    assert!(!temp.path().join("capture").exists(), "a capture of nothing was left behind");
}

/// A command whose descriptors the shell has redirected.
fn redirected(redirections: &str, args: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec \"$0\" \"$@\" {redirections}"), env!("CARGO_BIN_EXE_mmtrace")]).args(args);
    command.stdin(Stdio::null()).env("RUST_BACKTRACE", "1").output().expect("it starts")
}

#[test]
fn standard_output_that_cannot_be_written_is_said_and_exit_status_2() {
    let dir = golden(a_golden());
    let dir = path(&dir);
    for to in [">/dev/full", ">&-"] {
        for args in
            [&["replay", dir][..], &["replay", "--json", dir], &["info", dir], &["rules"], &["doctor"], &["--help"]]
        {
            let output = redirected(to, args);
            let err = text(&output.stderr);
            assert_for_people(&err, to);
            if args == ["--help"] && to == ">&-" {
                // Printed by the library that reads arguments, into what the runtime has put there.
                continue;
            }
            assert_eq!(output.status.code(), Some(2), "{to} {args:?}: {err}");
            if args != ["--help"] {
                assert!(err.starts_with("mmtrace: ") && err.contains("os error"), "{to} {args:?}: {err}");
            }
        }
    }
}

#[test]
fn standard_error_that_cannot_be_written_changes_no_exit_status() {
    let (_temp, dir) = copy(a_golden());
    let segment = dir.join("segment-000001.parquet");
    fs::write(&segment, "no segment").expect("damaged");
    for to in ["2>/dev/full", "2>&-", "2>&1 >/dev/full"] {
        for args in [
            &["replay", path(&dir)][..],
            &["dump", path(&dir)],
            &["explain", "L99"],
            &["replay", "/nowhere"],
            &["no-such-command"],
            &["workload", "faults", "--memory", "1K"],
        ] {
            let output = redirected(to, args);
            assert_eq!(output.status.code(), Some(2), "{to} {args:?}: {output:?}");
            assert_for_people(&text(&output.stdout), to);
        }
    }
}

#[test]
fn names_that_are_no_text_are_taken_as_they_are() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let (temp, dir) = copy(a_golden());
    let odd = temp.path().join(OsStr::from_bytes(b"capture-\xff\xfe"));
    fs::rename(&dir, &odd).expect("renamed");
    for command in READERS {
        let output = mmtrace().arg(command).arg(&odd).output().expect("it starts");
        assert_eq!(output.status.code(), Some(0), "{command}: {output:?}");
    }
    // Written, with the name in the manifest.
    let rendered = temp.path().join(OsStr::from_bytes(b"rendered-\xff"));
    let args = ["explore", "SC-1.1", "--variant", "m.rw+none", "--render"];
    let output = mmtrace().args(args).arg(&rendered).output().expect("it starts");
    assert!(!text(&output.stderr).contains("panicked"), "{output:?}");
    assert!(rendered.join("manifest.json").exists(), "{output:?}");
}

/// A limit of file sizes is met like a full disk: a signal would end the process without a word.
#[test]
fn a_limit_of_file_sizes_is_an_error_and_no_signal() {
    let temp = tempfile::tempdir().expect("a folder");
    let out = temp.path().join("out");
    let dir = golden(a_golden());
    let mut command = Command::new("sh");
    let script = "ulimit -f 1; exec \"$0\" dump \"$1\" > \"$2\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_mmtrace")]).arg(&dir).arg(&out);
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("cannot write the output"), "{output:?}");
}
