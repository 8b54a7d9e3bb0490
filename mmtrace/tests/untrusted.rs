//! Records and captures that no recorder writes: nothing panics, nothing hangs, memory stays bounded, and nothing of
//! them reaches the terminal raw.

#[path = "common/golden.rs"]
mod golden;

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use mmtrace::{
    export::metrics,
    tui::{layout::Layout, picture, state::State, view::Place},
};
use mmtrace_capture::{CaptureWriter, FinalInfo, WriterOptions};
use mmtrace_common::{Kind, Record, SPECS};
use mmtrace_model::{
    context::Context,
    replay::Engine,
    report::{Output as Form, Report, Style},
    untrusted::is_harmful,
};
use proptest::prelude::*;
use proptest::sample::select;

use golden::{TESTDATA, goldens};

/// Words that are at the edge of something, or mean something together.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => select(vec![0, 1, 2, 3, 7, 0xfff, 0x1000, 0x20_0000, 0x7f00_0000_0000, 0xffff_8881_0000_0000]),
        2 => select(vec![u64::MAX, u64::MAX - 1, i64::MAX as u64, 1 << 63, u64::from(u32::MAX), 1 << 31, 0x8000_0000_0000]),
        1 => (0..64u32).prop_map(|bit| (1u64 << bit).wrapping_sub(1)),
        1 => any::<u64>(),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let kinds: Vec<u16> = SPECS.iter().map(|s| s.kind as u16).collect();
    let kind = prop_oneof![30 => select(kinds), 1 => any::<u16>()];
    let small = prop_oneof![4 => 0..3u32, 1 => any::<u32>()];
    let aux = prop_oneof![3 => 0..8u32, 1 => any::<u32>()];
    (word(), kind, word(), (small.clone(), small), any::<u16>(), aux, prop::array::uniform6(word()))
        .prop_map(|(ts, kind, mm, (tgid, tid), cpu, aux, args)| Record { ts, kind, mm, tgid, tid, cpu, aux, args })
}

/// Everything that is made of an engine's state.
fn look(engine: &Engine) {
    let report = Report::new(engine);
    for json in [true, false] {
        report
            .print(if json { Form::Json } else { Form::All }, Style::plain(), &mut std::io::sink())
            .expect("nothing is refused");
    }
    assert!(!metrics::text(engine).is_empty());
    let layout = Layout::default();
    for view in 0..layout.views.len() {
        for (width, height) in [(40, 12), (160, 50)] {
            let place = Place::Capture { playing: false, speed: 1.0, at: u64::MAX, of: Some(u64::MAX) };
            let (text, _) = picture(engine, place, &layout, &State { view, ..State::default() }, width, height);
            assert!(!text.is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_record_makes_anything_panic(
        records in prop::collection::vec(record(), 1..400),
        which in 0..usize::MAX,
        start in word(),
    ) {
        let golden = &goldens()[which % goldens().len()];
        let context = Context { start, ..golden.context.clone() };
        let mut engine = Engine::new(context, true).with_stats();
        for record in &records {
            engine.apply(record);
        }
        look(&engine);
        engine.finish();
        look(&engine);
    }

    #[test]
    fn no_change_of_a_real_stream_makes_anything_panic(
        which in 0..usize::MAX,
        from in 0..usize::MAX,
        changes in prop::collection::vec((0..2000usize, record(), 0..9u8), 1..60),
    ) {
        let golden = &goldens()[which % goldens().len()];
        let from = from % golden.records.len();
        let mut records: Vec<Record> = golden.records[from..].iter().take(2000).copied().collect();
        for (at, wild, what) in changes {
            let at = at % records.len();
            let record = &mut records[at];
            match what {
                0 => record.ts = wild.ts,
                1 => record.mm = wild.mm,
                2 => record.tid = wild.tid,
                3 => record.aux = wild.aux,
                4 => record.kind = wild.kind,
                what => record.args[usize::from(what - 5)] = wild.args[0],
            }
        }
        let mut engine = Engine::new(golden.context.clone(), true).with_stats();
        for record in &records {
            engine.apply(record);
        }
        engine.finish();
        look(&engine);
    }
}

#[test]
fn counts_that_are_as_large_as_can_be_are_added_up() {
    let mut engine = Engine::new(goldens()[0].context.clone(), true).with_stats();
    for spec in SPECS {
        for ts in [0, u64::MAX, 0] {
            engine.apply(&Record {
                ts,
                kind: spec.kind as u16,
                mm: 1,
                aux: u32::MAX,
                args: [u64::MAX; 6],
                ..Record::default()
            });
        }
    }
    engine.finish();
    look(&engine);
    let work = &engine.stats().expect("kept").work;
    assert_eq!((work.migrated, engine.lost()), (u64::MAX, u64::MAX));
}

#[test]
fn results_that_are_made_up_without_end_are_counted_together() {
    let mut engine = Engine::new(goldens()[0].context.clone(), true).with_stats();
    for n in 0..10_000 {
        let kind = Kind::ScanPmd as u16;
        engine.apply(&Record { ts: n, kind, aux: n as u32, args: [n; 6], ..Record::default() });
    }
    let scans = &engine.stats().expect("kept").work.scans;
    assert!(scans.len() <= 257, "{}", scans.len());
    assert_eq!(scans.values().sum::<u64>(), 10_000);
}

/// What a name may be, to do harm.
const WICKED: &str = "x\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\u{200b}\u{2028}\u{7f}\nmmtrace: held";

/// Longest that any command may take on any capture here.
const PATIENCE: Duration = Duration::from_secs(60);

/// Address space of a command, KiB: room for 300 MiB of memory beside the program itself.
const ROOM_KIB: u32 = 512 << 10;

/// Runs mmtrace in so much room: who wants more is ended by a signal.
fn run(args: &[&str], dir: &Path) -> Output {
    let mut command = Command::new("sh");
    let mut child = command
        .args(["-c", &format!("ulimit -v {ROOM_KIB}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_mmtrace")])
        .args(args)
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let read = |mut from: Box<dyn std::io::Read + Send>| {
            let mut all = Vec::new();
            from.read_to_end(&mut all).expect("a pipe");
            all
        };
        let (out, err) = (scope.spawn(move || read(Box::new(out))), scope.spawn(move || read(Box::new(err))));
        while child.try_wait().expect("waited").is_none() {
            if begun.elapsed() > PATIENCE {
                child.kill().expect("killed");
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = child.wait().expect("waited");
        assert_eq!(status.signal(), None, "{args:?} {} ended by a signal, or not in time", dir.display());
        Output { status, stdout: out.join().expect("read"), stderr: err.join().expect("read") }
    })
}

const READERS: [&[&str]; 7] = [
    &["replay"],
    &["replay", "--json"],
    &["info"],
    &["info", "--json"],
    &["dump"],
    &["dump", "--json"],
    &["dump", "--csv"],
];

/// A copy of a real capture, and its manifest changed.
fn changed(change: impl FnOnce(&mut serde_json::Value, &Path)) -> tempfile::TempDir {
    let temp = tempfile::tempdir().expect("a folder");
    let from = Path::new(TESTDATA).join("6.18-mmap/capture");
    for entry in fs::read_dir(&from).expect("listed") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), temp.path().join(entry.file_name())).expect("copied");
    }
    let name = temp.path().join("manifest.json");
    let mut manifest = serde_json::from_slice(&fs::read(&name).expect("read")).expect("JSON");
    change(&mut manifest, temp.path());
    fs::write(name, serde_json::to_vec(&manifest).expect("JSON")).expect("written");
    temp
}

fn mkfifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo runs").success());
}

/// The exit status of every reader, after a look at what it printed.
fn statuses(dir: &Path) -> Vec<Option<i32>> {
    let run = |args: &&[&str]| {
        let output = run(args, dir);
        for (stream, bytes) in [("output", &output.stdout), ("errors", &output.stderr)] {
            let text = String::from_utf8(bytes.clone()).expect("text");
            let found: Vec<char> = text.chars().filter(|c| *c != '\n' && is_harmful(*c)).collect();
            assert!(found.is_empty(), "{args:?}: {found:?} in its {stream}");
            assert!(!text.contains("\nmmtrace: held"), "{args:?}: a name begins a line of its {stream}");
            assert!(!text.contains("panicked"), "{args:?}: {text}");
        }
        output.status.code()
    };
    READERS.iter().map(run).collect()
}

#[test]
fn names_of_strangers_reach_no_terminal_as_they_are() {
    let temp = changed(|manifest, _| {
        let context = &mut manifest["context"];
        for name in ["release", "version", "machine"] {
            context["kernel"][name] = WICKED.into();
        }
        context["filter"] = WICKED.into();
        for probe in context["probes"].as_array_mut().expect("a list") {
            probe["reason"] = WICKED.into();
            probe["absent"] = vec![WICKED].into();
        }
        for of in context["enums"].as_object_mut().expect("enums").values_mut() {
            let values: Vec<_> = of.as_object().expect("an enum").values().cloned().collect();
            let named = values.into_iter().enumerate().map(|(i, value)| (format!("{WICKED}{i}"), value));
            *of = named.collect::<serde_json::Map<_, _>>().into();
        }
        manifest["tool"] = WICKED.into();
        manifest["command_line"] = vec![WICKED, WICKED].into();
        manifest["clock"]["name"] = WICKED.into();
        manifest["segments"][0]["kinds"][WICKED] = 1.into();
    });
    assert_eq!(statuses(temp.path())[2..4], [Some(0), Some(0)]);
    let json: serde_json::Value = serde_json::from_slice(&run(&["info", "--json"], temp.path()).stdout).expect("JSON");
    assert_eq!(json["manifest"]["context"]["kernel"]["release"], WICKED);
    assert_eq!(json["manifest"]["tool"], WICKED);
    let json: serde_json::Value =
        serde_json::from_slice(&run(&["replay", "--json"], temp.path()).stdout).expect("JSON");
    assert_eq!(json["kernel"]["release"], WICKED);
}

#[test]
fn names_in_errors_reach_no_terminal_as_they_are() {
    let missing = changed(|manifest, _| manifest["segments"][0]["file"] = WICKED.into());
    assert_eq!(statuses(missing.path()), [Some(2); 7]);
    let state = changed(|manifest, _| manifest["state"] = WICKED.into());
    assert_eq!(statuses(state.path()), [Some(2); 7]);
    let newer = changed(|manifest, _| {
        manifest["version"]["major"] = 99.into();
        manifest["tool"] = WICKED.into();
    });
    assert_eq!(statuses(newer.path()), [Some(2); 7]);
    assert_eq!(statuses(Path::new(WICKED)), [Some(2); 7]);
    for args in [["explain"], ["nosuch"]] {
        let output = run(&args, Path::new(WICKED));
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8(output.stderr).expect("text");
        assert!(!text.chars().any(|c| c != '\n' && is_harmful(c)), "{text:?}");
    }
}

#[test]
fn what_is_no_regular_file_is_named_and_nothing_waits() {
    let fifo = changed(|_, _| {});
    fs::remove_file(fifo.path().join("manifest.json")).expect("removed");
    mkfifo(&fifo.path().join("manifest.json"));
    assert_eq!(statuses(fifo.path()), [Some(2); 7]);
    let errors = String::from_utf8(run(&["info"], fifo.path()).stderr).expect("text");
    assert!(errors.contains("a FIFO, not a regular file"), "{errors}");

    for (number, form) in [(1, "parquet"), (2, "parquet"), (2, "arrows")] {
        let fifo = changed(|_, _| {});
        let segment = fifo.path().join(format!("segment-{number:06}.{form}"));
        let _ = fs::remove_file(&segment);
        mkfifo(&segment);
        assert_eq!(statuses(fifo.path()), [Some(2); 7], "{}", segment.display());
        let errors = String::from_utf8(run(&["replay"], fifo.path()).stderr).expect("text");
        assert!(errors.contains("a FIFO"), "{errors}");
    }

    let linked = changed(|_, _| {});
    for target in ["/dev/zero", "manifest.json", "."] {
        let name = linked.path().join("manifest.json");
        fs::remove_file(&name).expect("removed");
        std::os::unix::fs::symlink(target, &name).expect("linked");
        assert_eq!(statuses(linked.path()), [Some(2); 7], "{target}");
    }

    let temp = tempfile::tempdir().expect("a folder");
    let fifo = temp.path().join("capture");
    mkfifo(&fifo);
    assert_eq!(statuses(&fifo), [Some(2); 7]);
}

#[test]
fn a_sparse_file_is_not_read_through() {
    let huge = |path: &Path| {
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path).expect("opened");
        file.set_len(1 << 42).expect("a sparse file");
    };
    for name in ["manifest.json", "segment-000001.parquet", "segment-000002.parquet", "segment-000002.arrows"] {
        let temp = changed(|manifest, _| {
            if name.contains("1") {
                manifest["segments"][0]["bytes"] = (1u64 << 42).into();
            }
        });
        huge(&temp.path().join(name));
        assert_eq!(statuses(temp.path()), [Some(2); 7], "{name}");
    }
}

#[test]
fn a_hundred_thousand_missing_segments_are_told_within_seconds() {
    let temp = changed(|manifest, _| {
        let entry = manifest["segments"][0].clone();
        let segments = manifest["segments"].as_array_mut().expect("a list");
        segments.extend((2..100_002).map(|n| {
            let mut entry = entry.clone();
            entry["file"] = format!("segment-{n:06}.parquet").into();
            entry["kinds"] = serde_json::json!({});
            entry
        }));
    });
    let begun = Instant::now();
    for args in [&["replay"][..], &["info"], &["info", "--json"], &["dump"]] {
        assert_eq!(run(args, temp.path()).status.code(), Some(2));
    }
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
}

#[test]
fn lists_that_no_recorder_writes_are_refused() {
    let refused = |change: fn(&mut serde_json::Value)| {
        let temp = changed(|manifest, _| change(manifest));
        assert_eq!(run(&["info"], temp.path()).status.code(), Some(2));
    };
    refused(|m| m["command_line"] = vec![""; 100_000].into());
    refused(|m| m["context"]["probes"] = vec![m["context"]["probes"][0].clone(); 2000].into());
    refused(|m| m["context"]["probes"][0]["absent"] = vec![""; 300].into());
    refused(|m| m["context"]["kernel"]["release"] = "6".repeat(1 << 20).into());
    let many = |n: u64| (0..n).map(|i| (i.to_string(), i.into())).collect::<serde_json::Map<_, _>>();
    let enums = many(2000);
    let temp = changed(|m, _| m["context"]["enums"]["scan_result"] = enums.into());
    assert_eq!(run(&["info"], temp.path()).status.code(), Some(2));
    let temp = changed(|m, _| m["segments"][0]["kinds"] = many(600).into());
    assert_eq!(run(&["info"], temp.path()).status.code(), Some(2));
}

#[test]
fn small_files_that_become_large_and_flipped_bits_are_damage() {
    let hostile = Path::new(TESTDATA).join("hostile");
    for (name, statuses_of) in [
        // Whose large column is one that records have.
        ("bomb-dict", [Some(2); 7]),
        // Whose large columns are not: they are not read.
        ("bomb-utf8", [Some(0); 7]),
        ("flipped-1838", [Some(2); 7]),
        ("flipped-1974", [Some(2); 7]),
    ] {
        assert_eq!(statuses(&hostile.join(name)), statuses_of, "{name}");
    }
}

/// The bounds leave room for the largest that a recorder writes: a segment of as many rows, of random numbers.
#[test]
fn the_largest_segment_of_a_recorder_is_read() {
    let temp = tempfile::tempdir().expect("a folder");
    let dir = temp.path().join("capture");
    let golden = goldens().iter().find(|g| g.name == "6.18-mmap").expect("it is there");
    let options = WriterOptions::default();
    let rows = options.segment_rows;
    let mut writer = CaptureWriter::create(&dir, &golden.context, Vec::new(), options).expect("created");
    let mut bits = 1u64;
    let first = golden.records[0].ts;
    for (n, record) in (0..rows).zip(golden.records.iter().cycle()) {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut record = Record { ts: first + 1000 * n, ..*record };
        if n % 4 == 0 {
            record.args[0] ^= bits >> 12;
            record.args[1] ^= bits >> 20;
        }
        writer.append(&record).expect("appended");
    }
    writer.finish(FinalInfo { end_ts: first + 1000 * rows }).expect("finished");
    let output = run(&["info", "--json"], &dir);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let info: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&info["totals"]["events"], &info["condition"]), (&rows.into(), &"complete".into()));
}
