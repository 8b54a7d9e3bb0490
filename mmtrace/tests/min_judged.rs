//! `--min-judged` of a recording: its replay judges by the same share.

use mmtrace::commands::replay::{self, ReplayArgs};
use mmtrace_capture::{CaptureWriter, FinalInfo, WriterOptions};
use mmtrace_common::Kind;
use mmtrace_model::{
    context::Context,
    replay::Engine,
    report::{Output, Report, Style},
};
use mmtrace_testing::kernel::{Made, context};

/// A third of the time, and of the holds, is behind a loss.
fn lossy() -> Made {
    let mut m = Made { step: 1_000, ..Made::begun() };
    for _ in 0..20 {
        m.lock(2, true).unlock(2, true);
    }
    m.later(10_000_000).lose(Kind::Loss, Kind::AcquireReturned, 1).later(5_000_000);
    for _ in 0..10 {
        m.lock(2, false).unlock(2, false);
    }
    m
}

/// The verdicts of a report: its first line, and its table of rules. Events that were made up have no values in some
/// columns, and what is read back has none of those.
fn verdicts(report: &[u8]) -> String {
    let text = std::str::from_utf8(report).expect("UTF-8");
    let first = text.lines().next().expect("a line");
    let (_, rules) = text.split_once("\n  rule ").expect("the rules");
    format!("{first}\n{rules}")
}

/// What a recording with this share says of the rules.
fn printed(m: &Made, context: &Context) -> String {
    let mut engine = Engine::new(context.clone(), true);
    m.records.iter().for_each(|record| engine.apply(record));
    engine.finish();
    let mut text = Vec::new();
    Report::new(&engine).print(Output::All, Style::plain(), &mut text).expect("to memory");
    verdicts(&text)
}

#[test]
fn replay_judges_as_the_recording_did_unless_told_otherwise() {
    let m = lossy();
    let of = |min_judged| Context { min_judged, ..context() };
    let [lenient, strict] = [Some(1), Some(10_000)].map(|share| printed(&m, &of(share)));
    assert_ne!(lenient, strict, "the share decides something");
    // A capture of a stranger's may have any number.
    for no_share in [None, Some(0), Some(u32::MAX)] {
        assert_eq!(printed(&m, &of(no_share)), printed(&m, &of(Some(9_900))), "{no_share:?}");
    }
    let temp = tempfile::tempdir().expect("a folder");
    for (name, share, expected) in [("lenient", 1, &lenient), ("strict", 10_000, &strict)] {
        let dir = temp.path().join(name);
        let mut writer =
            CaptureWriter::create(&dir, &of(Some(share)), vec![], WriterOptions::default()).expect("created");
        m.records.iter().for_each(|record| writer.append(record).expect("appended"));
        writer.finish(FinalInfo { end_ts: m.now }).expect("finished");
        let replayed = |min_judged: Option<&str>| {
            let args = ReplayArgs {
                dir: dir.clone(),
                from: None,
                to: None,
                json: false,
                rules: true,
                min_judged: min_judged.map(|percent| percent.parse().expect("a percentage")),
                tui: false,
                dashboard: String::new(),
                jumps: None,
            };
            let mut text = Vec::new();
            replay::run(&args, None, &mut text, Style::plain()).expect("replayed");
            verdicts(&text)
        };
        assert_eq!(replayed(None), *expected, "{name}");
        assert_eq!(replayed(Some("0.01")), lenient, "{name}");
        assert_eq!(replayed(Some("100")), strict, "{name}");
    }
}
