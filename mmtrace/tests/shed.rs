//! What a recording sheds never makes a rule cry: captures of real kernels from which optional events end at some time, as
//! `--max-overhead` ends them.

#[path = "common/golden.rs"]
mod golden;

use mmtrace::commands::{
    InfoArgs, info,
    replay::{self, ReplayArgs},
};
use mmtrace_capture::{CaptureWriter, FinalInfo, WriterOptions};
use mmtrace_common::{Column, Kind, Record, View as _, event};
use mmtrace_model::{
    context::Context,
    optional_events::{OPTIONAL_EVENTS, OptionalEvents},
    replay::Engine,
    report::{Output, Report, Style},
    verdict::{RULES, Verdict},
};
use mmtrace_testing::judging::{broken, judge};

use golden::{Golden, goldens};

const LIMIT: u32 = 500;
const SECOND: u64 = 1_000_000_000;

fn shed(kind: Kind, ts: u64) -> Record {
    let mut record = Record { ts, ..Record::default() };
    let event = event::EventsShed {
        shed_kind: kind as u64,
        cpus_ns: 2 * SECOND,
        programs_ns: 120_000_000,
        mmtrace_ns: 40_000_000,
        max_overhead: LIMIT,
    };
    event.write(&mut record);
    record
}

fn cost(ts: u64, percent: u64) -> Record {
    let mut record = Record { ts, ..Record::default() };
    let (cpus_ns, programs_ns, mmtrace_ns) = (2 * SECOND, percent * 10_000_000, percent * 10_000_000);
    event::RecordingCost { cpus_ns, programs_ns, mmtrace_ns, max_overhead: LIMIT }.write(&mut record);
    record
}

/// The stream without the events of these groups after their times, and with the records that say so.
fn without(golden: &Golden, groups: &[(&OptionalEvents, u64)]) -> Vec<Record> {
    let end_of = |kind: Kind| groups.iter().find(|(group, _)| group.kinds.contains(&kind)).map(|(_, ts)| *ts);
    let goes_on = |r: &&Record| r.kind().and_then(end_of).is_none_or(|end| r.ts <= end);
    let mut records: Vec<Record> = golden.records.iter().filter(goes_on).copied().collect();
    for (group, ts) in groups {
        let at = records.partition_point(|r| r.ts <= *ts);
        let recorded = group.kinds.iter().filter(|kind| golden.context.has(**kind));
        records.splice(at..at, recorded.map(|kind| shed(*kind, *ts)));
    }
    records
}

/// Times in a stream: its beginning, its end, and some between.
fn times(golden: &Golden, n: usize) -> impl Iterator<Item = u64> {
    let last = golden.records.len() - 1;
    (0..=n).map(move |i| golden.records[last * i / n].ts)
}

/// Rules that were evaluated to the end, or that do not say that they were not, though events that they need ended.
fn overconfident(engine: &Engine, kinds: &[Kind]) -> Vec<&'static str> {
    let sink = engine.sink().expect("it judges");
    let concerned = RULES.iter().filter(|r| sink.is_open(r.id) && r.needs.iter().any(|kind| kinds.contains(kind)));
    let says_so = |r: &mmtrace_model::verdict::Rule| {
        sink.verdict(r.id) == Verdict::Unknown && sink.reason(r.id).is_some_and(|why| why.contains("--max-overhead 5"))
    };
    concerned.filter(|r| !says_so(r)).map(|r| r.name).collect()
}

fn recorded(golden: &Golden, groups: &[(&OptionalEvents, u64)]) -> Vec<Kind> {
    let kinds = groups.iter().flat_map(|(group, _)| group.kinds).copied();
    kinds.filter(|kind| golden.context.has(*kind)).collect()
}

#[test]
fn a_group_that_ends_at_any_time_is_no_violation_and_its_rules_say_so() {
    let mut tried = 0;
    for golden in goldens() {
        for group in OPTIONAL_EVENTS {
            for ts in times(golden, 4) {
                let groups = [(group, ts)];
                if recorded(golden, &groups).is_empty() {
                    continue;
                }
                let engine = judge(&golden.context, without(golden, &groups));
                assert_eq!(broken(&engine), [], "{} without {} from {ts} on", golden.name, group.name);
                let wrong = overconfident(&engine, &recorded(golden, &groups));
                assert_eq!(wrong, [""; 0], "{} without {} from {ts} on", golden.name, group.name);
                tried += 1;
            }
        }
    }
    assert!(tried > 200, "{tried}");
}

#[test]
fn groups_that_end_one_after_the_other_are_no_violation() {
    let number = OPTIONAL_EVENTS.len();
    for golden in goldens() {
        let times: Vec<u64> = times(golden, 4 * number).collect();
        for from in (0..3 * number).step_by(5) {
            // One by one, and every other one all at once.
            let one_by_one: Vec<_> = OPTIONAL_EVENTS.iter().zip(times[from..].iter().copied()).collect();
            let at_once: Vec<_> = OPTIONAL_EVENTS.iter().skip(from % 2).step_by(2).map(|g| (g, times[from])).collect();
            for groups in [one_by_one, at_once] {
                let engine = judge(&golden.context, without(golden, &groups));
                assert_eq!(broken(&engine), [], "{} from {from}", golden.name);
                assert_eq!(overconfident(&engine, &recorded(golden, &groups)), [""; 0], "{} from {from}", golden.name);
            }
        }
    }
}

/// Rules that need what ended are evaluated as often as in the part before.
#[test]
fn nothing_is_evaluated_after_the_events_that_it_needs_ended() {
    for golden in goldens() {
        for group in OPTIONAL_EVENTS {
            let ts = golden.records[golden.records.len() / 2].ts;
            if recorded(golden, &[(group, ts)]).is_empty() {
                continue;
            }
            let whole = judge(&golden.context, without(golden, &[(group, ts)]));
            let mut before = Engine::new(golden.context.clone(), true);
            golden.records.iter().take_while(|r| r.ts <= ts).for_each(|r| before.apply(r));
            let (whole, before) = (whole.sink().expect("it judges"), before.sink().expect("it judges"));
            let kinds = recorded(golden, &[(group, ts)]);
            for rule in RULES.iter().filter(|r| r.needs.iter().any(|kind| kinds.contains(kind))) {
                assert_eq!(whole.evaluations(rule.id), before.evaluations(rule.id), "{}: {}", golden.name, rule.name);
            }
        }
    }
}

/// Rules do rest on the record: events that end without one break some.
#[test]
fn events_that_end_unsaid_would_be_violations() {
    let mut cries = std::collections::BTreeSet::new();
    for golden in goldens() {
        for group in OPTIONAL_EVENTS {
            let ts = golden.records[golden.records.len() / 2].ts;
            let mut records = without(golden, &[(group, ts)]);
            records.retain(|r| r.kind() != Some(Kind::EventsShed));
            cries.extend(broken(&judge(&golden.context, records)).into_iter().map(|(rule, _)| rule));
        }
    }
    eprintln!("{cries:?}");
    assert!(!cries.is_empty());
}

/// The record that says what ended may lie in a part that cannot be read.
#[test]
fn a_gap_may_hide_the_end_of_every_optional_event() {
    for golden in goldens() {
        let context = Context { max_overhead: Some(LIMIT), ..golden.context.clone() };
        let groups: Vec<_> =
            OPTIONAL_EVENTS.iter().map(|group| (group, golden.records[golden.records.len() / 3].ts)).collect();
        let mut records = without(golden, &groups);
        for record in records.iter_mut().filter(|r| r.kind() == Some(Kind::EventsShed)) {
            *record = Record { ts: record.ts, kind: Kind::Gap as u16, ..Record::default() };
            record.set(Column::Until, record.ts);
        }
        assert_eq!(broken(&judge(&context, &records)), [], "{}", golden.name);
    }
}

#[test]
fn the_report_and_info_say_what_was_shed_when_and_why() {
    let golden = goldens().iter().find(|golden| golden.name == "6.18-faults").expect("it is there");
    let start = golden.context.start;
    let faults = OPTIONAL_EVENTS.last().expect("there are groups");
    let ts = golden.records[golden.records.len() / 2].ts;
    let context = Context { max_overhead: Some(LIMIT), ..golden.context.clone() };
    let mut records = without(golden, &[(faults, ts)]);
    let at = records.partition_point(|r| r.ts < ts);
    records.insert(at, cost(ts, 8));
    let last = records.last().expect("a record").ts;
    // It still costs too much, and nothing is left to shed.
    records.extend([cost(last, 6), cost(last, 1)]);

    let engine = judge(&context, &records);
    let text = |output| {
        let mut text = Vec::new();
        Report::new(&engine).print(output, Style::plain(), &mut text).expect("printed");
        String::from_utf8(text).expect("UTF-8")
    };
    let report = text(Output::Text);
    let seconds = (ts - start) as f64 / 1e9;
    for line in [
        "recording cost 5.0 % of 2 CPUs: programs 2.5 %, mmtrace 2.5 %; most in a second 8.0 %; limit 5 % (--max-overhead)"
            .to_owned(),
        format!("  shed at {seconds:.1} s: page_fault_user, page_fault_kernel; rules and figures that need them cover the time before"),
    ] {
        assert!(report.lines().any(|l| l == line), "{line}\n{report}");
    }
    let json: serde_json::Value = serde_json::from_str(&text(Output::Json)).expect("JSON");
    let cost = &json["recording_cost"];
    assert_eq!(cost["shed"][0]["events"], serde_json::json!(["page_fault_user", "page_fault_kernel"]));
    assert_eq!((&cost["seconds"], &cost["seconds_above"]), (&3.into(), &1.into()));
    let rule = json["rules"].as_array().expect("rules").iter().find(|rule| rule["id"] == "L05").expect("a rule");
    assert_eq!((&rule["verdict"], &rule["judged_until_ns"]), (&"unknown".into(), &(ts - start).into()));
    let text_of_rule =
        format!("judged only in the first {seconds:.1} s: then page_fault_user was shed (--max-overhead 5)");
    assert_eq!(rule["reason"], text_of_rule);
    // The number of faults after that is not known.
    assert_eq!(json["faults_coverage"]["or_more"], true);

    // The same from disk.
    let temp = tempfile::tempdir().expect("a folder");
    let dir = temp.path().join("c");
    let mut writer = CaptureWriter::create(&dir, &context, vec![], WriterOptions::default()).expect("created");
    records.iter().for_each(|record| writer.append(record).expect("appended"));
    writer.finish(FinalInfo { end_ts: last }).expect("finished");
    let mut replayed = Vec::new();
    let args = ReplayArgs {
        dir: dir.clone(),
        from: None,
        to: None,
        json: false,
        rules: false,
        min_judged: None,
        tui: false,
        dashboard: String::new(),
        jumps: None,
    };
    replay::run(&args, None, &mut replayed, Style::plain()).expect("replayed");
    assert_eq!(String::from_utf8(replayed).expect("UTF-8"), report);
    // From later on, what ended before is known all the same.
    let mut late = Vec::new();
    let from = Some(format!("{}ms", (last - start) / 1_000_000 - 1).parse().expect("a time"));
    replay::run(&ReplayArgs { from, ..args }, None, &mut late, Style::plain()).expect("replayed");
    let late = String::from_utf8(late).expect("UTF-8");
    assert!(late.contains("page_fault_user was shed"), "{late}");

    let mut shown = Vec::new();
    info(&InfoArgs { dir, json: false }, &mut shown).expect("shown");
    let shown = String::from_utf8(shown).expect("UTF-8");
    let line = format!("shed       at {seconds:.1} s: page_fault_user, page_fault_kernel");
    assert!(shown.lines().any(|l| l == line), "{shown}");
}
