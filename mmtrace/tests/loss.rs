//! What is missing never makes a rule cry: captures of real kernels with holes, begun in the
//! middle, cut off, with clocks that differ; and streams that no kernel makes.

#[path = "common/golden.rs"]
mod golden;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use mmtrace_common::{Column, Kind, Record, SPECS};
use mmtrace_model::{
    context::Context,
    model::locks::mmap_lock::EPSILON_NS,
    replay::Engine,
    report::{Output, Report, Style},
    verdict::{RULES, RuleId},
};
use mmtrace_testing::{
    holes::{Hole, Holed, Which, told},
    judging::{broken, judge},
    random::Random,
};
use proptest::{
    prelude::{Just, Strategy, any, prop_oneof},
    test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};

use golden::{Golden, TESTDATA, captures, goldens};

/// As a pass of the recorder: losses are reported at the head of what arrived in so long.
const PASS_NS: u64 = 10_000_000;
/// Within this time, half of the holes are followed by an evaluation of each rule that can be broken, but for those that
/// are evaluated once for each process that ends.
const AGAIN_NS: u64 = 1_000_000_000;
const ONCE_PER_PROCESS: [RuleId; 2] = [RuleId::L09, RuleId::L43];

/// Rules that need what is missing and do not say that something is.
fn overconfident(engine: &Engine, lost: impl Fn(Kind) -> bool) -> Vec<&'static str> {
    let sink = engine.sink().expect("it judges");
    let concerned = RULES.iter().filter(|r| sink.is_open(r.id) && r.needs.iter().any(|k| lost(*k)));
    concerned.filter(|r| sink.judged(r.id).is_none()).map(|r| r.name).collect()
}

/// Every capture with many holes, one after another: after each the model starts from what
/// it sees then. Returns how many holes there were.
fn many_holes(tells: Kind, rounds: u64) -> u64 {
    let mut holes = 0;
    for golden in goldens() {
        for round in 0..rounds {
            let mut random = Random(round);
            let mut holed = Holed::new(&golden.records);
            let spacing = random.pick(&[300, 1000, 3000]);
            let wide = random.below(4) > 0;
            let mut at = random.index(2 * spacing);
            while at < golden.records.len() {
                let kinds = [Which::All, Which::OfCpu(random.below(2) as u16), Which::Scattered, Which::OfKind];
                let which = random.pick(&kinds);
                let edge = |random: &mut Random| {
                    let most = random.pick(&[1, 1000, 100_000, PASS_NS / 2]);
                    if wide { random.below(most) } else { 0 }
                };
                let (before, after) = (edge(&mut random), edge(&mut random));
                let len = 1 + random.index(if tells == Kind::Gap { 3000 } else { 200 });
                let seed = random.number();
                holed.make(Hole { at, len, which, told: tells, before, after, seed });
                at += len + 1 + random.index(2 * spacing);
            }
            let engine = judge(&golden.context, holed.stream());
            assert_eq!(broken(&engine), [], "{}, round {round}", golden.name);
            // A short capture may have got no hole.
            let any = tells == Kind::Gap && holed.holes > 0;
            let wrong = overconfident(&engine, |kind| any || holed.lost.contains_key(&kind));
            assert_eq!(wrong, [""; 0], "{}, round {round}: {:?}", golden.name, holed.lost);
            let sum: u64 = holed.lost.values().sum();
            match tells {
                Kind::Loss => assert_eq!(engine.lost(), sum),
                Kind::Missed => assert_eq!(engine.missed(), sum),
                _ => assert_eq!(engine.gaps(), holed.holes),
            }
            holes += holed.holes;
        }
    }
    eprintln!("{tells:?}: {holes} holes");
    holes
}

#[test]
fn many_losses_are_no_violation() {
    assert!(many_holes(Kind::Loss, 20) > 5000);
}

#[test]
fn many_skipped_probes_are_no_violation() {
    assert!(many_holes(Kind::Missed, 20) > 5000);
}

#[test]
fn many_gaps_are_no_violation() {
    assert!(many_holes(Kind::Gap, 12) > 500);
}

/// Each rule is judged again soon after a hole. Prints how soon, over all captures and over the capture that has missed
/// events by itself.
#[test]
fn a_rule_is_judged_again_soon_after_a_hole() {
    let mut medians: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    let missed = captures(&Path::new(TESTDATA).join("missed"));
    let mut add = |engine: &Engine| {
        let sink = engine.sink().expect("it judges");
        for rule in RULES.iter().filter(|rule| rule.severity.can_fail()) {
            let next = sink.judged(rule.id).and_then(|judged| judged.median_to_next_ns);
            if let Some(next) = next {
                medians.entry(rule.name).or_default().push(next);
            }
        }
    };
    for golden in &missed {
        add(&judge(&golden.context, &golden.records));
    }
    for golden in goldens() {
        for seed in 0..8 {
            let mut random = Random(seed);
            let mut holed = Holed::new(&golden.records);
            let mut at = random.index(2000);
            while at < golden.records.len() {
                let len = 1 + random.index(100);
                let (which, told) = (random.pick(&[Which::All, Which::Scattered]), Kind::Missed);
                holed.make(Hole { at, len, which, told, before: 0, after: 0, seed: random.number() });
                at += len + 5_000 + random.index(10_000);
            }
            add(&judge(&golden.context, holed.stream()));
        }
    }
    eprintln!("from the beginning of a hole to the next evaluation, median of each stream: shortest, median, longest");
    let mut slow = Vec::new();
    for (rule, mut all) in medians {
        all.sort_unstable();
        let median = all[all.len() / 2];
        let [low, middle, high] = [all[0], median, all[all.len() - 1]].map(|ns| ns as f64 / 1e6);
        eprintln!("  {rule} {low:9.3} ms {middle:9.3} ms {high:9.3} ms  ({} streams)", all.len());
        if median > AGAIN_NS && !ONCE_PER_PROCESS.iter().any(|once| once.rule().name == rule) {
            slow.push(format!("{rule}: {middle} ms"));
        }
    }
    assert!(slow.is_empty(), "{slow:?}");
}

fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// Some events around a place, and that place in them.
fn around(golden: &Golden, place: u64, before: usize, after: usize) -> (&[Record], usize) {
    let at = ((u128::from(place) * golden.records.len() as u128) >> 64) as usize;
    let from = at.saturating_sub(before);
    (&golden.records[from..golden.records.len().min(at + after)], at - from)
}

/// One hole in some thousand events. Which kinds are missing is then few, so that it is seen
/// whether just the rules that need them say so; and a failure shrinks to the smallest hole.
fn one_hole(tells: Kind, cases: u32) {
    let edge = prop_oneof![3 => Just(0), 1 => 0..100_000u64, 1 => 0..PASS_NS / 2];
    let which =
        prop_oneof![Just(Which::All), (0..2u16).prop_map(Which::OfCpu), Just(Which::Scattered), Just(Which::OfKind)];
    let goldens = goldens();
    let strategy = (0..goldens.len(), any::<u64>(), 1..200usize, which, (edge.clone(), edge), any::<u64>());
    let result = runner(cases).run(&strategy, |(golden, place, len, which, (before, after), seed)| {
        let golden = &goldens[golden];
        let (records, at) = around(golden, place, 2000, 8000);
        let mut holed = Holed::new(records);
        holed.make(Hole { at, len, which, told: tells, before, after, seed });
        let engine = judge(&golden.context, holed.stream());
        let fail = |what: String| Err(TestCaseError::fail(format!("{}: {what}", golden.name)));
        let broken = broken(&engine);
        if !broken.is_empty() {
            return fail(format!("{broken:?}"));
        }
        let any = tells == Kind::Gap && holed.holes > 0;
        let wrong = overconfident(&engine, |kind| any || holed.lost.contains_key(&kind));
        if wrong.is_empty() { Ok(()) } else { fail(format!("{wrong:?} without {:?}", holed.lost)) }
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn a_loss_is_no_violation() {
    one_hole(Kind::Loss, 1200);
}

#[test]
fn a_skipped_probe_is_no_violation() {
    one_hole(Kind::Missed, 1200);
}

#[test]
fn a_gap_is_no_violation() {
    one_hole(Kind::Gap, 600);
}

/// Recording begins where a stream is cut: what was in flight is not known.
#[test]
fn a_start_in_the_middle_is_no_violation() {
    let mut random = Random(7);
    for golden in goldens() {
        for round in 0..300 {
            let from = random.index(golden.records.len());
            // Few to the end of the capture, most for as long as what was in flight lasts.
            let length = if round < 10 { usize::MAX } else { 12_000 };
            let records = &golden.records[from..golden.records.len().min(from.saturating_add(length))];
            let context = Context { start: records[0].ts, ..golden.context.clone() };
            assert_eq!(broken(&judge(&context, records)), [], "{} from {from}", golden.name);
        }
    }
}

/// The end comes anywhere: what is open then is not broken. Taking the end changes nothing as
/// long as it finds nothing, so one stream may end many times.
/// An mmap_lock event of one mm.
fn lock(kind: Kind, ts: u64, tid: u32, cpu: u16, aux: u32) -> Record {
    Record { ts, mm: 0x1000, tgid: tid, tid, kind: kind as u16, cpu, aux, ..Record::default() }
}

/// A recording that began at 1 ms.
fn recorded() -> Context {
    Context { start: 1_000_000, ..goldens()[0].context.clone() }
}

/// A writer that comes and goes, and a reader whose acquisition is missing: it came after the writer, and
/// another CPU's clock puts it before `from`, where nothing is known.
fn reader_that_seems_early(from: u64) -> [Record; 4] {
    [
        lock(Kind::StartLocking, from + 400, 1, 0, 1),
        lock(Kind::AcquireReturned, from + 500, 1, 0, 3),
        lock(Kind::Released, from + 700, 1, 0, 1),
        lock(Kind::Released, from + 10_000, 2, 1, 0),
    ]
}

#[test]
fn a_reader_that_a_clock_puts_before_the_start_is_no_violation() {
    let context = recorded();
    assert_eq!(broken(&judge(&context, reader_that_seems_early(context.start))), []);
}

#[test]
fn a_reader_that_a_clock_puts_into_a_gap_is_no_violation() {
    let context = recorded();
    let until = context.start + 50_000_000;
    let gap = told(Kind::Gap, &[(Column::Count, 1), (Column::Until, until)], until - 1_000_000, 0);
    let records = std::iter::once(gap).chain(reader_that_seems_early(until));
    assert_eq!(broken(&judge(&context, records)), []);
}

#[test]
fn a_release_on_behalf_of_a_new_reader_is_no_violation() {
    let context = recorded();
    let t = context.start + 50_000_000;
    let records = [
        lock(Kind::StartLocking, t, 1, 0, 1),
        lock(Kind::AcquireReturned, t + 100, 1, 0, 3),
        lock(Kind::Released, t + 300, 1, 0, 1),
        lock(Kind::StartLocking, t + 400, 2, 0, 0),
        lock(Kind::AcquireReturned, t + 500, 2, 0, 2),
        // By irq_work, which runs on top of another task (mmap_read_unlock_non_owner).
        lock(Kind::Released, t + 900, 3, 0, 0),
        lock(Kind::StartLocking, t + 10_000, 4, 1, 1),
        lock(Kind::AcquireReturned, t + 10_100, 4, 1, 3),
        lock(Kind::Released, t + 90_000, 4, 1, 1),
    ];
    assert_eq!(broken(&judge(&context, records)), []);
}

#[test]
fn an_end_in_the_middle_is_no_violation() {
    let mut random = Random(8);
    for golden in goldens() {
        let mut engine = Engine::new(golden.context.clone(), true);
        let mut next = 0;
        for (i, record) in golden.records.iter().enumerate() {
            engine.apply(record);
            if i == next {
                engine.finish();
                let sink = engine.sink().expect("it judges");
                assert!(!sink.any_violated(), "{} up to {i}: {:?}", golden.name, broken(&engine));
                next = i + 1 + random.index(80);
            }
        }
        for _ in 0..10 {
            let to = random.index(golden.records.len());
            assert_eq!(broken(&judge(&golden.context, &golden.records[..to])), [], "{} up to {to}", golden.name);
        }
    }
}

/// Whether each task's events are still in the order in which it made them.
fn causal(before: &[Record], after: &[Record]) -> bool {
    let order = |records: &[Record]| {
        let mut tasks: BTreeMap<u32, Vec<(u16, u64, [u64; 6])>> = BTreeMap::new();
        for r in records {
            tasks.entry(r.tid).or_default().push((r.kind, r.mm, r.args));
        }
        tasks
    };
    order(before) == order(after)
}

/// The clocks of two CPUs differ, by less than the model allows for.
#[test]
fn clocks_that_differ_are_no_violation() {
    let mut tried = 0;
    for golden in goldens() {
        for skew in [40, 150, 300, 600, 900, 1200, 1500, 1800, EPSILON_NS - 1] {
            for cpu in 0..2 {
                let mut records = golden.records.clone();
                for record in records.iter_mut().filter(|r| r.cpu == cpu) {
                    record.ts += skew;
                }
                records.sort_by_key(|r| r.ts);
                // A task that has just moved would seem to go back in time: no clocks differ so much
                // that this could be seen.
                if !causal(&golden.records, &records) {
                    continue;
                }
                tried += 1;
                let found = broken(&judge(&golden.context, &records));
                assert_eq!(found, [], "{}: CPU {cpu} is {skew} ns ahead", golden.name);
            }
        }
    }
    eprintln!("{tried} skews");
    assert!(tried > 20);
}

/// One CPU is late for a while, just where another one takes the lock that it has released
/// (or downgraded): the release seems to come after the acquisition.
#[test]
fn a_release_that_seems_late_is_no_violation() {
    let mut moved = 0;
    for golden in goldens() {
        let all = &golden.records;
        let mut handovers = Vec::new();
        for (i, release) in all.iter().enumerate() {
            let lets_go = match release.kind() {
                Some(Kind::Released) => true,
                Some(Kind::AcquireReturned) => {
                    release.get(Column::Write) == Some(0) && release.get(Column::Success) == Some(1)
                }
                _ => false,
            };
            if !lets_go {
                continue;
            }
            let near = all[i + 1..].iter().take_while(|r| r.ts < release.ts + EPSILON_NS - 2);
            let taken = near
                .filter(|r| r.mm == release.mm && r.cpu != release.cpu && r.tid != release.tid)
                .find(|r| r.kind() == Some(Kind::AcquireReturned) && r.get(Column::Success) == Some(1));
            handovers.extend(taken.map(|taken| (i, taken.ts - release.ts)));
        }
        for round in 0..12 {
            let mut random = Random(round);
            let mut records = all.clone();
            let mut free = 0;
            for (i, apart) in &handovers {
                let late = apart + 1 + random.below(EPSILON_NS - 2 - apart);
                // All that its CPU does until it pauses for longer than that is late.
                let cpu = all[*i].cpu;
                let mut last = *i;
                for (j, r) in all.iter().enumerate().skip(i + 1).filter(|(_, r)| r.cpu == cpu) {
                    if r.ts > all[last].ts + late || j > i + 400 {
                        break;
                    }
                    last = j;
                }
                if *i < free || last >= i + 400 || random.below(3) == 0 {
                    continue;
                }
                free = last + 100;
                let window = *i..(last + 100).min(all.len());
                for r in records[window.start..=last].iter_mut().filter(|r| r.cpu == cpu) {
                    r.ts += late;
                }
                records[window.clone()].sort_by_key(|r| r.ts);
                if causal(&all[window.clone()], &records[window.clone()]) {
                    moved += 1;
                } else {
                    records[window.clone()].copy_from_slice(&all[window]);
                }
            }
            records.sort_by_key(|r| r.ts);
            assert_eq!(broken(&judge(&golden.context, &records)), [], "{}, round {round}", golden.name);
        }
        eprintln!("{}: {} handovers", golden.name, handovers.len());
    }
    eprintln!("{moved} late releases");
    assert!(moved > 1000);
}

/// Events that say nothing of locks may come twice, and change places.
#[test]
fn noise_beside_the_locks_is_no_violation() {
    for golden in goldens() {
        let mut random = Random(9);
        let mut records = Vec::with_capacity(golden.records.len() * 2);
        for record in &golden.records {
            records.push(*record);
            let harmless = matches!(
                record.kind(),
                Some(Kind::PageFaultUser | Kind::PageFaultKernel | Kind::ContentionEnd | Kind::CompactionEnd)
            );
            let failed = record.kind() == Some(Kind::AcquireReturned) && record.get(Column::Success) == Some(0);
            if (harmless || failed) && random.below(4) == 0 {
                records.push(*record);
            }
            if random.below(8) == 0 {
                let flush = Record { kind: Kind::TlbFlush as u16, mm: 0, aux: 1, args: [1; 6], ..*record };
                records.push(flush);
            }
        }
        assert_eq!(broken(&judge(&golden.context, &records)), [], "{}", golden.name);
    }
}

/// Numbers on which arithmetic fails.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    3,
    0xfff,
    0x1000,
    0x1fff,
    1 << 31,
    u32::MAX as u64,
    1 << 62,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX - EPSILON_NS,
    u64::MAX - 0xfff,
    u64::MAX - 1,
    u64::MAX,
];

fn hostile(random: &mut Random, narrow: bool, ts: &mut u64) -> Record {
    let kind = match random.below(64) {
        0 => random.number() as u16,
        1..=3 => random.pick(&[Kind::Loss, Kind::Missed, Kind::Gap]) as u16,
        // Rarely, or nothing is ever known.
        _ => SPECS[random.index(SPECS.len() - 3)].kind as u16,
    };
    let word = |random: &mut Random| match random.below(3) {
        0 => random.pick(&EDGES),
        1 => random.below(8) << 12,
        _ => random.number(),
    };
    *ts = match random.below(if narrow { 200 } else { 4 }) {
        0 => word(random),
        1 => ts.wrapping_sub(random.below(5000)),
        _ => ts.wrapping_add(random.below(3000)),
    };
    let (tid, mm) =
        if narrow { (random.below(3) as u32, random.below(2)) } else { (word(random) as u32, word(random)) };
    let aux = if narrow { random.below(4) as u32 } else { word(random) as u32 };
    let args = std::array::from_fn(|_| word(random));
    Record { ts: *ts, mm, tgid: tid, tid, kind, cpu: random.number() as u16, aux, args }
}

/// A capture can hold anything: it may come from anywhere.
#[test]
fn no_stream_makes_it_panic() {
    let golden = &goldens()[0];
    for round in 0..40 {
        let mut random = Random(round);
        let mut ts = random.pick(&EDGES);
        let mut engine = Engine::new(golden.context.clone(), true);
        for _ in 0..20_000 {
            engine.apply(&hostile(&mut random, round % 2 == 0, &mut ts));
        }
        engine.finish();
        let report = Report::new(&engine);
        report.print(Output::Json, Style::plain(), &mut std::io::sink()).expect("nowhere");
        report.print(Output::All, Style::plain(), &mut std::io::sink()).expect("nowhere");
    }
}

/// The same, short and from numbers at the edges, so that it shrinks.
#[test]
fn no_short_stream_makes_it_panic() {
    let golden = &goldens()[0];
    let number = || prop_oneof![2 => 0..4u64, 1 => proptest::sample::select(EDGES.as_slice()), 1 => any::<u64>()];
    let kind = proptest::sample::select(SPECS.iter().map(|s| s.kind as u16).collect::<Vec<_>>());
    let args = proptest::array::uniform6(number());
    let record = (number(), number(), 0..3u32, kind, any::<u16>(), 0..4u32, args)
        .prop_map(|(ts, mm, tid, kind, cpu, aux, args)| Record { ts, mm, tgid: tid, tid, kind, cpu, aux, args });
    let result = runner(3000).run(&proptest::collection::vec(record, 1..60), |records| {
        let engine = judge(&golden.context, &records);
        let _ = Report::new(&engine);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// An endless stream of one kind of record.
type Flood = fn(u64) -> Record;

fn event(kind: Kind, n: u64) -> Record {
    Record { ts: n, kind: kind as u16, tid: 1, mm: 1, ..Record::default() }
}

/// After the recording's start: what is from before teaches nothing.
fn function(kind: Kind, n: u64) -> Record {
    Record { ts: (1 << 60) + n, ..event(kind, n) }
}

/// Streams each of which makes the model remember something for ever, if it lets itself.
const FLOODS: &[(&str, Flood)] = &[
    ("calls that never end", |n| event(Kind::MigratePagesStart, n)),
    ("write holds that never end", |n| Record { aux: 3, ..event(Kind::AcquireReturned, n) }),
    ("write holds of ever new mms", |n| Record { aux: 3, mm: n, ..event(Kind::AcquireReturned, n) }),
    ("write holds of ever new tasks", |n| Record { aux: 3, mm: n, tid: n as u32, ..event(Kind::AcquireReturned, n) }),
    ("read holds that never end", |n| Record { aux: 2, ..event(Kind::AcquireReturned, n) }),
    ("acquisitions that never return", |n| Record { mm: n, ..event(Kind::StartLocking, n) }),
    ("acquisitions of ever new tasks", |n| Record { tid: n as u32, ..event(Kind::StartLocking, n) }),
    ("entries that are never removed", |n| Record { args: [n << 12; 6], ..event(Kind::SetMigrationPte, n) }),
    ("entries set in one call", |n| {
        let kind = if n == 0 { Kind::MigratePagesStart } else { Kind::SetMigrationPte };
        Record { args: [n << 12; 6], ..event(kind, n) }
    }),
    ("ever new VMAs", |n| Record { args: [n << 13, (n << 13) | 0xfff, n | 1, 0, 0, 0], ..event(Kind::MaWrite, n) }),
    ("faults all over", |n| Record { args: [(n << 21) & (u64::MAX >> 1); 6], ..event(Kind::PageFaultUser, n) }),
    ("faults of ever new tasks", |n| Record { tid: n as u32, mm: n, ..event(Kind::PageFaultUser, n) }),
    ("mappings of ever new mms", |n| Record {
        mm: n,
        args: [n << 13, n << 13 | 0xfff, n, 3, 0, n],
        ..event(Kind::Mapping, n)
    }),
    ("readings of ever new mms", |n| Record { mm: n, args: [n; 6], aux: 1, ..event(Kind::MapsRead, n) }),
    ("names of ever new files", |n| Record { args: [n; 6], ..event(Kind::FileName, n) }),
    ("paths of ever new files", |n| Record { args: [n; 6], ..event(Kind::FilePath, n) }),
    ("names of ever new mappings", |n| Record { mm: n, args: [n; 6], ..event(Kind::MappingName, n) }),
    ("functions of ever new files", |n| Record { args: [n, n << 4, 16, n | 1, 1, 1], ..event(Kind::FunctionName, n) }),
    ("builds of ever new files", |n| Record { args: [n, 20, n, n, n, 0], ..event(Kind::BuildId, n) }),
    ("instructions all over", |n| Record {
        args: [(n << 12) & (u64::MAX >> 1), (n << 4) & (u64::MAX >> 1), 0, 0, 0, 0],
        ..event(Kind::PageFaultUser, n)
    }),
    ("code of ever new files", |n| match n % 2 {
        0 => Record { args: [n << 13, n << 13 | 0xfff, n | 1, 5, 0, n | 1], aux: 1, ..event(Kind::MaWrite, n) },
        _ => Record { args: [n << 13, (n - 1) << 13, 0, 0, 0, 0], ..event(Kind::PageFaultUser, n) },
    }),
    ("marks without end", |n| Record { args: [n | 1; 6], ..event(Kind::Mark, n) }),
    ("holds that somebody waits for", |n| {
        let kinds = [Kind::StartLocking, Kind::StartLocking, Kind::AcquireReturned, Kind::Released];
        Record { tid: n as u32 % 4, aux: 3, mm: n / 4096, ..event(kinds[n as usize % 4], n) }
    }),
    ("mms that are born and never die", |n| Record { mm: n, args: [n; 6], ..event(Kind::Fork, n) }),
    ("violations without end", |n| Record { args: [n, 1, 0, 0, 0, 0], ..event(Kind::SetMigrationPte, n) }),
    ("calls of ever new tasks", |n| Record { tid: n as u32, ..function(Kind::HandleMmFault, n) }),
    ("VMAs granted for ever", |n| Record { args: [0, n, 0, 1, 0, 0], ..function(Kind::LockVmaUnderRcu, n) }),
    ("ever new VMAs written", |n| Record { args: [n; 6], ..function(Kind::VmaStartWriteReturn, n) }),
    ("writers that never get their VMA", |n| Record { tid: n as u32, ..function(Kind::VmaStartWrite, n) }),
    ("ever new VMAs given back", |n| Record { args: [n; 6], ..function(Kind::VmAreaFree, n) }),
    ("ever new VMAs registered", |n| Record { args: [n, 1, 0x1000, 0, 0, 0], ..function(Kind::UserfaultfdSetCtx, n) }),
    ("mms that die and are never given back", |n| Record { mm: n, ..function(Kind::ExitMmap, n) }),
    ("retracts that never end", |n| Record { tid: n as u32, ..function(Kind::RetractPageTables, n) }),
    ("ever new PTE tables", |n| Record {
        mm: n % 7,
        args: [n << 3, (n << 12) | 0x67, 0, 0, 0, 0],
        aux: 1,
        ..function(Kind::PmdInstall, n)
    }),
    ("maps of ever new PMD entries by ever new tasks", |n| Record {
        mm: n,
        tid: n as u32,
        args: [n << 3, 0, n << 12, 0x67, 0x67, 0],
        ..function(Kind::PteOffsetMapRwNolock, n)
    }),
    ("tables that are never freed", |n| Record { args: [n; 6], ..function(Kind::PteFreeDefer, n) }),
    ("collapses that never end", |n| {
        let kind = if n % 2 == 0 { Kind::AcquireReturned } else { Kind::PmdpCollapseFlush };
        Record { tid: n as u32 / 2, mm: n / 2, aux: 3, args: [n; 6], ..function(kind, n) }
    }),
    ("hugetlb locks that are never released", |n| Record {
        tid: n as u32,
        mm: n,
        args: [n << 6, n << 4, 0x80, 0, 0, 0],
        ..function(Kind::HugetlbVmaLockRead, n)
    }),
    ("one hugetlb lock that is taken for ever", |n| Record {
        tid: n as u32,
        args: [n << 6, 16, 0x80, 0, 0, 0],
        ..function(Kind::HugetlbVmaLockWrite, n)
    }),
    ("walks that never end", |n| Record { tid: n as u32, ..function(Kind::VmaPgtableWalkBegin, n) }),
    ("waits that never end", |n| {
        let kind = if n % 2 == 0 { Kind::HandleMmFault } else { Kind::MigrationEntryWait };
        Record { tid: n as u32 / 2, ..function(kind, n) }
    }),
];

/// How much a flood may add.
const FLOOD_MIB: u64 = 96;
const FLOOD_EVENTS: u64 = 4_000_000;
const FLOOD_VARIABLE: &str = "MMTRACE_TEST_FLOOD";

fn resident_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).expect("a number of KiB") >> 10
}

/// One flood, in a process of its own: its memory is nobody else's.
#[test]
fn memory_is_bounded() {
    if let Some(number) = std::env::var(FLOOD_VARIABLE).ok().and_then(|n| n.parse::<usize>().ok()) {
        let (what, flood) = FLOODS[number];
        let context = Context::with_every_probe(goldens()[0].context.kernel.clone());
        let before = resident_mib();
        let mut engine = Engine::new(context, true);
        for n in 0..FLOOD_EVENTS {
            engine.apply(&flood(n));
        }
        engine.finish();
        let added = resident_mib() - before;
        assert!(added <= FLOOD_MIB, "{what}: {added} MiB for {FLOOD_EVENTS} events");
        return;
    }
    let mut grown = BTreeSet::new();
    for (number, (what, _)) in FLOODS.iter().enumerate() {
        let mut test = Command::new(std::env::current_exe().expect("this test"));
        test.args(["--exact", "memory_is_bounded", "--nocapture"]).env(FLOOD_VARIABLE, number.to_string());
        let output = test.output().expect("it starts");
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            let line = errors.lines().find(|l| l.contains(" MiB for ")).unwrap_or(&errors);
            grown.insert(format!("{what}: {line}"));
        }
    }
    assert!(grown.is_empty(), "{grown:#?}");
}
