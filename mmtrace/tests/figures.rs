//! What figures are made of where real captures have holes, and what metrics say of that.

#[path = "common/golden.rs"]
mod golden;

use golden::goldens;
use mmtrace::export::metrics;
use mmtrace_common::{Column, Kind, Record};
use mmtrace_model::{coverage::Coverage, durations::Distribution, replay::Engine, verdict::RuleId};
use mmtrace_testing::{
    judging::{broken, judge},
    kernel::{self, Made, Random, START},
};

const LOCKS: [Kind; 3] = [Kind::StartLocking, Kind::AcquireReturned, Kind::Released];

fn measured(engine: &Engine, rule: RuleId) -> (Option<Distribution>, Coverage) {
    let model = engine.model().expect("it judges");
    (model.measures().distribution(rule), model.coverage(rule))
}

#[test]
fn metrics_tell_of_foreign_records() {
    let mut m = Made::new();
    m.user(1, START);
    let values = [(Column::Count, 3), (Column::Until, m.now + 1)];
    m.at(0, Kind::Foreign, 0, &values);
    let metrics = metrics::text(&judge(&kernel::context(), &m.records));
    let line = metrics.lines().find(|line| line.starts_with("mmtrace_foreign_records_total"));
    assert!(line.is_some_and(|line| line.ends_with(" 3")), "{line:?}");
}

#[test]
fn metrics_say_what_share_they_are_of() {
    let mut m = Made::new();
    m.user(1, START).write_lock(1);
    for kind in LOCKS {
        m.lose(Kind::Loss, kind, 1);
    }
    m.later(30_000).unlock(1, true);
    let metrics = metrics::text(&judge(&kernel::context(), &m.records));
    for line in [
        "mmtrace_figure_counted{figure=\"M04\"} 0",
        "mmtrace_figure_of{figure=\"M04\"} 2",
        "mmtrace_figure_or_more{figure=\"M04\"} 0",
        "mmtrace_figure_of{figure=\"faults\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

/// Real captures with holes: nothing is measured longer than it was, nor more of it than there was, and what share it is
/// of is never overstated.
#[test]
fn what_is_missing_makes_figures_smaller_and_never_larger() {
    let mut partly = 0;
    for golden in goldens() {
        let whole = judge(&golden.context, &golden.records);
        for seed in 0..12 {
            let mut random = Random(seed);
            let told = if random.below(2) == 0 { Kind::Loss } else { Kind::Missed };
            let kinds: &[Kind] = [&LOCKS[..], &[Kind::AcquireReturned, Kind::PageFaultUser]][random.below(2) as usize];
            // Skipped runs before 7.0 are an interrupt's: no such thing is in these captures.
            if told == Kind::Missed && !golden.context.kernel.preempts_tracepoints() {
                continue;
            }
            let mut stream: Vec<Record> = Vec::new();
            let mut at = 0;
            while at < golden.records.len() {
                let clean = at + 200 + random.below(2_000) as usize;
                let hole = clean + 1 + random.below(300) as usize;
                let (clean, hole) = (clean.min(golden.records.len()), hole.min(golden.records.len()));
                stream.extend(&golden.records[at..clean]);
                let inside = &golden.records[clean..hole];
                for kind in kinds {
                    let count = inside.iter().filter(|r| r.kind() == Some(*kind)).count() as u64;
                    let (Some(first), Some(last)) = (inside.first(), inside.last()) else { continue };
                    if count > 0 {
                        let args = [*kind as u64, count, last.ts, 0, 0, 0];
                        stream.push(Record { ts: first.ts, kind: told as u16, args, ..Record::default() });
                    }
                }
                stream.extend(inside.iter().filter(|r| kinds.iter().all(|kind| r.kind() != Some(*kind))));
                at = hole;
            }
            let engine = judge(&golden.context, &stream);
            assert_eq!(broken(&engine), [], "{}", golden.name);
            for rule in [RuleId::M04, RuleId::M05, RuleId::M06, RuleId::M08] {
                let ((then, all), (now, coverage)) = (measured(&whole, rule), measured(&engine, rule));
                let of = |d: Option<Distribution>| d.map_or((0, 0, 0), |d| (d.count, d.max_ns, d.sum_ns));
                let ((count, max, sum), (less, shorter, smaller)) = (of(then), of(now));
                let what = format!("{} seed {seed} {rule:?}: {now:?} of {then:?}, {coverage:?}", golden.name);
                assert!(less <= count && shorter <= max && smaller <= sum, "{what}");
                assert!(coverage.of >= all.of && coverage.counted == less, "{what}, {all:?}");
                partly += u64::from(!coverage.is_whole());
            }
            let (now, then) = (engine.model(), whole.model());
            let (now, then) = (now.expect("it judges").fault_coverage(), then.expect("it judges").fault_coverage());
            assert_eq!(now.of, then.of, "{} seed {seed}", golden.name);
        }
    }
    assert!(partly > 50, "{partly}");
}
