//! Faults planted into streams made up, and holes in them.

use mmtrace_common::{Kind, Record};
use mmtrace_model::{
    model::locks::mmap_lock::EPSILON_NS,
    verdict::{RULES, RuleId, Severity, Verdict},
};
use mmtrace_testing::{
    judging::{broken, judge},
    kernel::{MM, Made, Random, context, without},
};

/// A stream for one rule: `true` plants the fault in it.
pub(crate) type Plant = fn(&mut Made, bool);

/// The rule, a name, and the stream.
pub(crate) type Fault = (RuleId, &'static str, Plant);

/// Faults, and what is tried with each of them.
macro_rules! faults {
    ($($rule:ident $name:ident = $plant:expr;)*) => {
        const FAULTS: &[$crate::planting::Fault] = &[$((RuleId::$rule, stringify!($name), $plant)),*];

        #[test]
        fn planted_faults_are_caught_and_nothing_else_cries() {
            $crate::planting::faults_are_caught(FAULTS);
        }

        #[test]
        fn each_rule_that_this_test_is_to_plant_a_fault_for_has_one() {
            let of_this_test = mmtrace_testing::planted::PLANTED_IN_MODEL.iter();
            let planned = of_this_test.filter(|(test, _)| *test == env!("CARGO_CRATE_NAME")).flat_map(|(_, rules)| *rules);
            let mut planned: Vec<_> = planned.map(|rule| rule.rule().name).collect();
            let mut planted: Vec<_> = FAULTS.iter().map(|(rule, ..)| rule.rule().name).collect();
            planned.sort_unstable();
            planted.sort_unstable();
            planted.dedup();
            assert_eq!(planted, planned, "mmtrace-testing/src/planted.rs lists them");
        }

        #[test]
        fn rules_that_lack_a_probe_are_not_observable() {
            $crate::planting::a_missing_probe_is_not_observable(FAULTS);
        }

        #[test]
        fn a_missing_event_raises_nothing_else() {
            $crate::planting::a_missing_event_raises_nothing_else(FAULTS);
        }
    };
}

/// Does one thing in a sound stream, another in one with a fault.
pub(crate) fn either(fault: bool, sound: u64, wrong: u64) -> u64 {
    if fault { wrong } else { sound }
}

pub(crate) fn stream(plant: Plant, fault: bool) -> Vec<Record> {
    let mut made = Made::begun();
    plant(&mut made, fault);
    ended(&mut made).to_vec()
}

/// What was made; the end of the stream is as far away as clocks can differ.
pub(crate) fn ended(made: &mut Made) -> &[Record] {
    made.later(EPSILON_NS).at(4, Kind::PageFaultUser, MM + 0x10_0000, &[]);
    &made.records
}

/// What a sound kernel does raises nothing and is evaluated; one planted fault raises its rule and no other.
pub(crate) fn faults_are_caught(faults: &[Fault]) {
    let mut wrong = Vec::new();
    for (rule, name, plant) in faults {
        let sound = judge(&context(), stream(*plant, false));
        if !broken(&sound).is_empty() {
            wrong.push(format!("{name}, sound: {:?}", broken(&sound)));
        }
        if sound.sink().expect("it judges").evaluations(*rule) == 0 {
            wrong.push(format!("{name}, sound: never evaluated"));
        }
        let faulty = broken(&judge(&context(), stream(*plant, true)));
        let rules: Vec<_> = faulty.iter().map(|(rule, _)| *rule).collect();
        if rules != [rule.rule().name] {
            wrong.push(format!("{name}: {faulty:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each of the events that a rule needs is needed: a rule that lacks a probe says so, and is quiet.
pub(crate) fn a_missing_probe_is_not_observable(faults: &[Fault]) {
    for (rule, name, plant) in faults {
        for needed in rule.rule().needs {
            let engine = judge(&without(&[*needed]), stream(*plant, true));
            let sink = engine.sink().expect("it judges");
            assert_eq!(sink.verdict(*rule), Verdict::NotObservable, "{name} without {}", needed.name());
        }
    }
}

/// A stream with a fault, with every one of its events missing in turn, and told to be: only an
/// event that the fault does not rest on leaves a violation, and that of the same rule.
pub(crate) fn a_missing_event_raises_nothing_else(faults: &[Fault]) {
    for (rule, name, plant) in faults {
        for fault in [false, true] {
            let records = stream(*plant, fault);
            for gone in 0..records.len() {
                for told in [Kind::Loss, Kind::Missed, Kind::Gap] {
                    let engine = judge(&context(), hole(&records, gone, told));
                    let rules: Vec<_> = broken(&engine).iter().map(|(rule, _)| *rule).collect();
                    // Of two releases one is too many, whoever says so first; and what is locked though it
                    // waits to be freed contradicts the PMD entry too.
                    let same = fault
                        && (rules == [rule.rule().name]
                            || rules == ["L06"]
                            || (*rule == RuleId::L48 && rules == ["L47"]));
                    assert!(rules.is_empty() || same, "{name} without {gone}: {rules:?}");
                    let kind = records[gone].kind().expect("a known kind");
                    let sink = engine.sink().expect("it judges");
                    for rule in RULES.iter().filter(|r| told == Kind::Gap || r.needs.contains(&kind)) {
                        let verdict = sink.verdict(rule.id);
                        let known = !rules.contains(&rule.name) && verdict != Verdict::Unknown;
                        assert!(!known || verdict == Verdict::NotObservable, "{name} {gone}: {}", rule.name);
                    }
                }
            }
        }
    }
}

/// Runs of these probes are missing, at any moment: what a fault rests on is not touched by that.
pub(crate) fn what_is_missing_elsewhere_hides_nothing(faults: &[Fault], elsewhere: &[Kind]) {
    for (rule, name, plant) in faults {
        let records = stream(*plant, true);
        for kind in elsewhere.iter().filter(|k| !rule.rule().needs.contains(k)) {
            for at in 1..records.len() {
                let (ts, mut holed) = (records[at - 1].ts, records.clone());
                let args = [*kind as u64, 1, ts, 0, 0, 0];
                holed.insert(at, Record { ts, kind: Kind::Missed as u16, cpu: u16::MAX, args, ..Record::default() });
                let faulty = broken(&judge(&context(), holed));
                let rules: Vec<_> = faulty.iter().map(|(rule, _)| *rule).collect();
                assert_eq!(rules, [rule.rule().name], "{name}, {} missing at {at}", kind.name());
            }
        }
    }
}

/// How often a hazard was met, or something measured, where nothing is broken.
pub(crate) fn met(records: &[Record], rule: RuleId) -> u64 {
    let engine = judge(&context(), records);
    assert_eq!(broken(&engine), []);
    let sink = engine.sink().expect("it judges");
    if rule.rule().severity == Severity::Hazard { sink.violations(rule) } else { sink.evaluations(rule) }
}

/// The stream without one event, and a record that says so in its place.
pub(crate) fn hole(records: &[Record], gone: usize, told: Kind) -> Vec<Record> {
    let mut stream = records.to_vec();
    let (missing, from) = (records[gone], gone.checked_sub(1).map_or(0, |i| records[i].ts));
    let args = match told {
        Kind::Gap => [1, missing.ts, 0, 0, 0, 0],
        _ => [u64::from(missing.kind), 1, missing.ts, 0, 0, 0],
    };
    stream[gone] = Record { ts: from, kind: told as u16, cpu: missing.cpu, args, ..Record::default() };
    stream
}

/// The stream with holes of all kinds: runs, one CPU, one kind, here and there; told where it is
/// known that something is missing.
pub(crate) fn holes(records: &[Record], seed: u64) -> Vec<Record> {
    let mut random = Random(!seed);
    let mut stream: Vec<Record> = Vec::new();
    let mut at = 0;
    while at < records.len() {
        let keep = random.below(150) as usize;
        stream.extend(&records[at..records.len().min(at + keep)]);
        at += keep;
        let reach = records.len().min(at + 1 + random.below(30) as usize);
        let Some(first) = records.get(at).copied() else { break };
        let which = random.below(4);
        let gone = |r: &Record, random: &mut Random| match which {
            0 => true,
            1 => r.cpu == first.cpu,
            2 => r.kind == first.kind,
            _ => random.below(3) == 0,
        };
        let told = [Kind::Loss, Kind::Missed, Kind::Gap][random.below(3) as usize];
        let (mut kept, mut missing) = (Vec::new(), Vec::new());
        for record in &records[at..reach] {
            if gone(record, &mut random) { missing.push(*record) } else { kept.push(*record) }
        }
        if let Some(until) = missing.last().map(|r| r.ts) {
            let ts = at.checked_sub(1).map_or(0, |i| records[i].ts);
            let mut kinds: Vec<u16> = missing.iter().map(|r| r.kind).collect();
            kinds.dedup();
            for kind in kinds.iter().take(if told == Kind::Gap { 1 } else { usize::MAX }) {
                let args =
                    if told == Kind::Gap { [1, until, 0, 0, 0, 0] } else { [u64::from(*kind), 1, until, 0, 0, 0] };
                stream.push(Record { ts, kind: told as u16, args, ..Record::default() });
            }
        }
        stream.extend(kept);
        at = reach;
    }
    stream
}
