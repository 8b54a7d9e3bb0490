//! The metrics, from the engine's state.

use std::fmt;

use mmtrace_model::{
    coverage::Coverage,
    model::faults::address_space::Cause,
    names::CgroupId,
    replay::Engine,
    stats::cgroups::{self, CgroupUse},
    untrusted::clean,
    verdict::{RULES, RuleId, Severity, Verdict},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// As Prometheus has it, with its unit and `_total`.
    pub name: &'static str,
    /// Its description.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
}

const fn metric(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Metric {
    Metric { name, help, labels }
}

/// Every metric.
pub const METRICS: &[Metric] = &[
    metric("mmtrace_info", "what is recorded: always 1", &["version", "kernel"]),
    metric("mmtrace_events_total", "events, by kind", &["kind"]),
    metric("mmtrace_lost_events_total", "events that the rings had no room for", &[]),
    metric("mmtrace_missed_runs_total", "events that are missing because the kernel skipped the probe's run", &[]),
    metric(
        "mmtrace_foreign_records_total",
        "records in the rings that no program of mmtrace can have written: each may stand for an event that is missing",
        &[],
    ),
    metric(
        "mmtrace_figure_counted",
        "events or intervals that a figure is made of: page faults by cause, or what a measuring rule measures",
        &["figure"],
    ),
    metric(
        "mmtrace_figure_of",
        "all that there were: those that were seen, and those known to be missing",
        &["figure"],
    ),
    metric("mmtrace_figure_or_more", "1 where more are missing than anybody can tell", &["figure"]),
    metric("mmtrace_rule_evaluations_total", "how often a rule was evaluated", &["rule"]),
    metric(
        "mmtrace_rule_unjudged_total",
        "how often a rule applied and could not be judged, since too little was known",
        &["rule"],
    ),
    metric("mmtrace_rule_unjudged_seconds_total", "time when events that a rule needs are missing", &["rule"]),
    metric(
        "mmtrace_rule_violations_total",
        "how often a rule was broken; of a hazard, how often it was met",
        &["rule", "severity"],
    ),
    metric("mmtrace_rule_verdict", "1 for the verdict that a rule has", &["rule", "verdict"]),
    metric("mmtrace_faults_total", "page faults, by cause", &["cause"]),
    metric(
        "mmtrace_cgroup_faults_total",
        "page faults, by cgroup v2: its path, `other` for those beyond the first 32, `unknown`",
        &["cgroup"],
    ),
    metric(
        "mmtrace_cgroup_mmap_lock_wait_seconds_total",
        "time of contended waits for mmap_locks, by cgroup v2 and mode",
        &["cgroup", "mode"],
    ),
    metric(
        "mmtrace_cgroup_mmap_lock_hold_seconds_total",
        "time that mmap_locks were held, by cgroup v2 and mode",
        &["cgroup", "mode"],
    ),
    metric("mmtrace_mmap_lock_wait_seconds", "time that the mmap_lock was waited for", &[]),
    metric("mmtrace_mmap_lock_write_hold_seconds", "time that the mmap_lock was held for write", &[]),
    metric("mmtrace_collapse_hold_seconds", "time that the mmap_lock was held for write by a collapse", &[]),
    metric("mmtrace_migration_entry_seconds", "time that a migration entry stood", &[]),
];

/// Histograms, and the rules that measure them.
const HISTOGRAMS: [(&str, RuleId); 4] = [
    ("mmtrace_mmap_lock_wait_seconds", RuleId::M08),
    ("mmtrace_mmap_lock_write_hold_seconds", RuleId::M04),
    ("mmtrace_collapse_hold_seconds", RuleId::M05),
    ("mmtrace_migration_entry_seconds", RuleId::M06),
];

/// Upper bounds of the buckets, nanoseconds: a microsecond to ten seconds.
pub(crate) const BOUNDS_NS: [u64; 8] =
    [1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000];

/// Cgroups that have samples of their own.
const CGROUPS_MAX: usize = 32;

const VERDICTS: [Verdict; 4] = [Verdict::Held, Verdict::Violated, Verdict::Unknown, Verdict::NotObservable];

/// The metrics as text, in the format that Prometheus scrapes.
#[must_use]
pub fn text(engine: &Engine) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot::new(engine)));
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = encode(&mut text, &registry);
    text
}

/// One sample: labels and value.
type Sample = (Vec<(&'static str, String)>, u64);

/// The state, copied: a collector may outlive what it was made from.
#[derive(Debug)]
struct Snapshot {
    counters: Vec<(&'static str, Vec<Sample>)>,
    /// Counters of time, nanoseconds.
    times: Vec<(&'static str, Vec<Sample>)>,
    gauges: Vec<(&'static str, Vec<Sample>)>,
    histograms: Vec<(&'static str, Vec<u64>, u64, u64)>,
}

impl Snapshot {
    fn new(engine: &Engine) -> Self {
        let context = engine.context();
        let info = vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("kernel", clean(&context.kernel.release).into_owned()),
        ];
        let mut counters = vec![
            (
                "mmtrace_events_total",
                engine.by_kind().into_iter().map(|(k, n)| (vec![("kind", k.to_owned())], n)).collect(),
            ),
            ("mmtrace_lost_events_total", vec![(Vec::new(), engine.lost())]),
            ("mmtrace_missed_runs_total", vec![(Vec::new(), engine.missed())]),
            ("mmtrace_foreign_records_total", vec![(Vec::new(), engine.foreign())]),
        ];
        let mut gauges = vec![("mmtrace_info", vec![(info, 1)])];
        let mut histograms = Vec::new();
        let mut times = Vec::new();
        if let Some(sink) = engine.sink() {
            let rule = |r: &mmtrace_model::verdict::Rule| ("rule", r.name.to_owned());
            let evaluations = RULES.iter().map(|r| (vec![rule(r)], sink.evaluations(r.id)));
            counters.push(("mmtrace_rule_evaluations_total", evaluations.collect()));
            let unjudged = RULES.iter().map(|r| (vec![rule(r)], sink.not_judged(r.id)));
            counters.push(("mmtrace_rule_unjudged_total", unjudged.collect()));
            let unjudged = RULES.iter().map(|r| {
                let time = sink.judged(r.id).map(|judged| judged.time).unwrap_or_default();
                (vec![rule(r)], time.of - time.counted)
            });
            times.push(("mmtrace_rule_unjudged_seconds_total", unjudged.collect()));
            let violations = RULES
                .iter()
                .map(|r| (vec![rule(r), ("severity", r.severity.name().to_owned())], sink.violations(r.id)));
            counters.push(("mmtrace_rule_violations_total", violations.collect()));
            let verdicts = RULES.iter().flat_map(|r| {
                VERDICTS.iter().map(move |v| {
                    (vec![rule(r), ("verdict", v.name().to_owned())], u64::from(sink.verdict(r.id) == *v))
                })
            });
            gauges.push(("mmtrace_rule_verdict", verdicts.collect()));
        }
        if let Some(model) = engine.model() {
            let causes = Cause::ALL.iter().zip(model.causes());
            let causes = causes.map(|(cause, n)| (vec![("cause", cause.name().to_owned())], *n)).collect();
            counters.push(("mmtrace_faults_total", causes));
            let mut figures = vec![("faults", model.fault_coverage())];
            let measuring = RULES.iter().filter(|r| r.severity == Severity::Measure);
            let measuring = measuring.filter(|r| engine.sink().is_some_and(|sink| sink.is_open(r.id)));
            figures.extend(measuring.map(|r| (r.name, model.coverage(r.id))));
            let of = |value: fn(&Coverage) -> u64| -> Vec<Sample> {
                let samples =
                    figures.iter().map(|(name, coverage)| (vec![("figure", (*name).to_owned())], value(coverage)));
                samples.collect()
            };
            gauges.push(("mmtrace_figure_counted", of(|coverage| coverage.counted)));
            gauges.push(("mmtrace_figure_of", of(|coverage| coverage.of)));
            gauges.push(("mmtrace_figure_or_more", of(|coverage| u64::from(coverage.or_more))));
            for (name, rule) in HISTOGRAMS {
                if let Some(durations) = model.measures().durations(rule) {
                    histograms.push((name, durations.up_to(&BOUNDS_NS), durations.sum(), durations.count()));
                }
            }
        }
        let cgroups = by_cgroup(engine);
        let samples = |value: fn(&CgroupUse) -> [u64; 2]| -> Vec<Sample> {
            let modes = cgroups.iter().flat_map(|(cgroup, sums)| {
                let labels = |mode: &str| vec![("cgroup", cgroup.clone()), ("mode", mode.to_owned())];
                ["read", "write"].map(labels).into_iter().zip(value(sums))
            });
            modes.collect()
        };
        times.push(("mmtrace_cgroup_mmap_lock_wait_seconds_total", samples(|sums| sums.waited_ns)));
        times.push(("mmtrace_cgroup_mmap_lock_hold_seconds_total", samples(|sums| sums.held_ns)));
        let faults = cgroups.iter().map(|(cgroup, sums)| (vec![("cgroup", cgroup.clone())], sums.faults));
        counters.push(("mmtrace_cgroup_faults_total", faults.collect()));
        Self { counters, times, gauges, histograms }
    }
}

/// The sums of cgroups by label. Those that came first keep their own: a counter must not go down.
fn by_cgroup(engine: &Engine) -> Vec<(String, CgroupUse)> {
    let tasks = engine.tasks();
    let Some(callers) = engine.callers().filter(|_| tasks.cgroups().is_told()) else { return Vec::new() };
    let mut rows: Vec<(String, CgroupUse)> = Vec::new();
    let (mut other, mut own) = (None, 0);
    for sums in cgroups::by_cgroup(callers, tasks) {
        match tasks.cgroups().name(sums.cgroup) {
            None if sums.cgroup == CgroupId::UNKNOWN => put(&mut rows, "unknown", sums),
            // A service that is started again has a new cgroup of the same path.
            Some(name) if rows.iter().any(|(path, _)| *path == name.path) => put(&mut rows, &name.path, sums),
            Some(name) if own < CGROUPS_MAX => {
                own += 1;
                rows.push((name.path.clone(), sums));
            }
            // Beyond 32, or beyond those that are told apart at all.
            Some(_) | None => match &mut other {
                Some(all) => add(all, &sums),
                None => other = Some(sums),
            },
        }
    }
    rows.extend(other.map(|sums| ("other".to_owned(), sums)));
    rows
}

fn add(to: &mut CgroupUse, of: &CgroupUse) {
    let sums = to.waited_ns.iter_mut().chain(&mut to.held_ns).zip(of.waited_ns.iter().chain(&of.held_ns));
    sums.for_each(|(to, of)| *to += of);
    to.faults += of.faults;
}

/// Adds sums to the row of a label.
fn put(rows: &mut Vec<(String, CgroupUse)>, label: &str, sums: CgroupUse) {
    match rows.iter_mut().find(|(of, _)| of == label) {
        Some((_, all)) => add(all, &sums),
        None => rows.push((label.to_owned(), sums)),
    }
}

/// Labels as the text format has them: the encoder writes values as they are.
fn escaped(labels: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
    let value = |text: &String| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    labels.iter().map(|(name, text)| (*name, value(text))).collect()
}

fn help(name: &str) -> &'static str {
    METRICS.iter().find(|m| m.name == name).map_or("", |m| m.help)
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, samples) in &self.counters {
            // The encoder adds `_total` itself.
            let bare = name.strip_suffix("_total").unwrap_or(name);
            let mut family = encoder.encode_descriptor(bare, help(name), None, MetricType::Counter)?;
            for (labels, value) in samples {
                ConstCounter::new(*value).encode(family.encode_family(&escaped(labels))?)?;
            }
        }
        for (name, samples) in &self.times {
            let bare = name.strip_suffix("_total").unwrap_or(name);
            let mut family = encoder.encode_descriptor(bare, help(name), None, MetricType::Counter)?;
            for (labels, ns) in samples {
                ConstCounter::new(*ns as f64 / 1e9).encode(family.encode_family(&escaped(labels))?)?;
            }
        }
        for (name, samples) in &self.gauges {
            let mut family = encoder.encode_descriptor(name, help(name), None, MetricType::Gauge)?;
            for (labels, value) in samples {
                ConstGauge::new(*value as i64).encode(family.encode_family(&escaped(labels))?)?;
            }
        }
        for (name, buckets, sum, count) in &self.histograms {
            // And the unit.
            let bare = name.strip_suffix("_seconds").unwrap_or(name);
            let mut one = encoder.encode_descriptor(bare, help(name), Some(&Unit::Seconds), MetricType::Histogram)?;
            let mut before = 0;
            let mut each: Vec<(f64, u64)> = Vec::new();
            for (bound, upto) in BOUNDS_NS.iter().zip(buckets) {
                each.push((*bound as f64 / 1e9, upto.saturating_sub(before)));
                before = *upto;
            }
            each.push((f64::MAX, count.saturating_sub(before)));
            one.encode_histogram::<NoLabelSet>(*sum as f64 / 1e9, *count, &each, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmtrace_common::{Record, View as _, event};
    use mmtrace_model::{
        context::Context,
        names::{cgroup_path_records, task_cgroup_record},
    };

    #[test]
    fn labels_are_escaped_as_the_text_format_wants_it() {
        let labels = [("cgroup", "/q\\\\\"{}=,\n".to_owned())];
        assert_eq!(escaped(&labels), [("cgroup", "/q\\\\\\\\\\\"{}=,\\n".to_owned())]);
    }

    /// Names with `mmtrace_` in a text.
    fn names(text: &str) -> Vec<String> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        text.split(|c: char| !is_name(c)).filter(|w| w.starts_with("mmtrace_")).map(str::to_owned).collect()
    }

    #[test]
    fn every_metric_is_exported_under_its_name() {
        let text = text(&Engine::new(Context::default(), true));
        for metric in METRICS.iter().filter(|m| !HISTOGRAMS.iter().any(|(name, _)| *name == m.name)) {
            assert!(
                names(&text).iter().any(|n| n == metric.name)
                    || metric.name == "mmtrace_events_total"
                    || metric.labels.contains(&"cgroup"),
                "{}",
                metric.name
            );
        }
    }

    /// A fault in each of so many cgroups.
    fn faults_in(cgroups: u32) -> String {
        let kernel = mmtrace_model::context::Kernel::default();
        let mut engine = Engine::new(Context::with_every_probe(kernel), true);
        for n in 1..=cgroups {
            let path = format!("/system.slice/s{n}.service");
            cgroup_path_records(n.into(), path.as_bytes(), 1).iter().for_each(|record| engine.apply(record));
            engine.apply(&task_cgroup_record(n, n, n.into(), 1));
            let mut fault = Record { ts: u64::from(n) + 10, tid: n, tgid: n, mm: 8, ..Record::default() };
            event::PageFaultUser::default().write(&mut fault);
            engine.apply(&fault);
        }
        engine.finish();
        text(&engine)
    }

    #[test]
    fn cgroups_are_labels_of_a_bounded_number() {
        let samples = |text: &str| {
            let of = text.lines().filter(|line| line.starts_with("mmtrace_cgroup_faults_total"));
            of.map(str::to_owned).collect::<Vec<_>>()
        };
        let few = samples(&faults_in(2));
        let sample = |n: u32| format!("mmtrace_cgroup_faults_total{{cgroup=\"/system.slice/s{n}.service\"}} 1");
        assert_eq!(few, [sample(1), sample(2)]);
        let many = samples(&faults_in(40));
        assert_eq!(many[..CGROUPS_MAX], (1..=CGROUPS_MAX as u32).map(sample).collect::<Vec<_>>());
        assert_eq!(many[CGROUPS_MAX..], ["mmtrace_cgroup_faults_total{cgroup=\"other\"} 8"]);
        assert!(samples(&text(&Engine::new(Context::default(), true))).is_empty(), "nothing tells cgroups there");
    }

    #[test]
    fn the_name_of_a_kernel_is_a_label_without_controls() {
        let mut context = Context::default();
        context.kernel.release = "6.18\u{1b}[31m\u{9b}\u{202e}\n# x".to_owned();
        let text = text(&Engine::new(context, true));
        assert!(!text.chars().any(|c| c != '\n' && mmtrace_model::untrusted::is_harmful(c)), "{text:?}");
        assert!(text.lines().all(|line| !line.starts_with("# x")), "{text}");
    }

    #[test]
    fn dashboards_and_alerts_name_only_what_there_is() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards");
        for file in ["grafana.json", "prometheus-rules.yml"] {
            let text = std::fs::read_to_string(dir.join(file)).expect("it is part of the repository");
            let found = names(&text);
            assert!(found.len() > 3, "{file}");
            for name in found {
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s)).unwrap_or(&name);
                assert!(METRICS.iter().any(|m| m.name == base), "{file}: there is no metric {name}");
            }
        }
        let grafana = std::fs::read_to_string(dir.join("grafana.json")).expect("it is there");
        serde_json::from_str::<serde_json::Value>(&grafana).expect("it is JSON");
    }
}
