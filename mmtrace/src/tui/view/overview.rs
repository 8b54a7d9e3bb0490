//! The overview: rates of events, verdicts, causes and latency of faults, locks.

use mmtrace_common::{Class, Kind};
use mmtrace_model::{
    context::FaultEnds,
    coverage::Coverage,
    durations::Durations,
    model::{faults::address_space::Cause, measures::Measures},
    report::{
        callers::{LockRow, Times},
        duration, grouped,
    },
    stats::rates,
    verdict::{RULES, RuleId, Severity, Verdict},
};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::Line,
    widgets::Paragraph,
};

use super::{
    callers::{Alike, tables},
    faults::has_faults,
    listing::cut,
    scene::Scene,
    text::{bars, text},
};
use crate::tui::{drawn::Drawn, state::State, tone::Tone};

/// A part of the overview.
pub(crate) struct Panel {
    /// In layouts.
    pub(crate) name: &'static str,
    /// It takes the whole width.
    wide: bool,
    lines: fn(&Scene<'_>, Rect) -> Vec<Line<'static>>,
}

/// Every part.
pub(crate) const PANELS: [Panel; 6] = [
    Panel { name: "rates", wide: true, lines: rates },
    Panel { name: "verdicts", wide: false, lines: verdicts },
    Panel { name: "callers", wide: false, lines: callers },
    Panel { name: "causes", wide: false, lines: causes },
    Panel { name: "latency", wide: false, lines: latency },
    Panel { name: "locks", wide: false, lines: locks },
];

/// Width at which verdicts are counted side by side.
const COUNTS: usize = 36;
/// Below this height not everything can have a line.
const SMALL: u16 = 12;
/// Width from which there are two columns.
const TWO: u16 = 60;
/// Height from which there is room for what does not happen.
const ROOMY: u16 = 24;

/// Text for a value that no probe shows in this recording.
const NOT_HERE: &str = "not observable here";

/// Locks that are shown.
const LOCKS: usize = 4;

/// Callers that are shown, of those that waited and of those that held.
const CALLERS: usize = 2;

/// Draws the view.
pub(crate) fn draw(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>, state: &State) -> Drawn {
    let names = &scene.layout.view(scene.view).panels;
    let chosen: Vec<&Panel> = if names.is_empty() {
        PANELS.iter().collect()
    } else {
        names.iter().filter_map(|name| PANELS.iter().find(|p| p.name == *name)).collect()
    };
    let mut left = area;
    let mut take = |lines: usize| {
        let [top, bottom] = Layout::vertical([Constraint::Length(lines as u16), Constraint::Min(0)]).areas(left);
        left = bottom;
        top
    };
    for panel in chosen.iter().filter(|p| p.wide) {
        let lines = (panel.lines)(scene, area);
        let place = take(lines.len() + usize::from(area.height >= ROOMY));
        frame.render_widget(Paragraph::new(lines), place);
    }
    // The others fill two columns, each the one that is shorter by then, as the first has the left one.
    let narrow: Vec<&&Panel> = chosen.iter().filter(|p| !p.wide).collect();
    let [one, other] = if area.width < TWO {
        [left, Rect { width: 0, ..left }]
    } else {
        Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]).spacing(2).areas(left)
    };
    let mut columns: [Vec<Line<'_>>; 2] = Default::default();
    for panel in narrow {
        let to = usize::from(other.width > 0 && columns[1].len() < columns[0].len());
        let lines = (panel.lines)(scene, if to == 0 { one } else { other });
        // A line between two, where that does not cost one.
        if !columns[to].is_empty() && columns[to].len() + lines.len() < usize::from(left.height) {
            columns[to].push(Line::default());
        }
        columns[to].extend(lines);
    }
    let [first, second] = columns;
    text(frame, [(one, first), (other, second)], state)
}

fn rates(scene: &Scene<'_>, area: Rect) -> Vec<Line<'static>> {
    let Some(stats) = scene.engine.stats() else { return Vec::new() };
    let room = usize::from(area.width).saturating_sub(26);
    let names = &scene.layout.view(scene.view).rates;
    let chosen = Class::ALL.iter().filter(|c| names.is_empty() || names.iter().any(|n| n == c.name()));
    let context = scene.engine.context();
    chosen
        .map(|class| (class, stats.rates.last(*class, room)))
        // Of what is missing, the first line says the sum; gaps and foreign records are rare.
        .filter(|(class, last)| {
            (area.height >= ROOMY && !matches!(class, Class::Gap | Class::Foreign)) || last.iter().any(|n| *n > 0)
        })
        // On the smallest screens the verdicts are worth more than what stands below.
        .take(if area.height < SMALL { usize::from(area.height / 2) } else { usize::MAX })
        .map(|(class, last)| {
            if !rates::is_observable(*class, context) {
                let text = format!("{:<12}{:>10}   {NOT_HERE}", class.name(), "-");
                return Line::from(scene.span(text, Tone::Dim));
            }
            let now = stats.rates.now(*class);
            let tone = match class {
                _ if class.is_missing() && last.iter().any(|n| *n > 0) => Tone::Bad,
                _ if now == 0 => Tone::Dim,
                _ => Tone::Plain,
            };
            Line::from(vec![
                scene.span(format!("{:<12}", class.name()), tone),
                scene.span(format!("{:>10}/s ", grouped(now)), tone),
                scene.span(bars(&last), tone),
            ])
        })
        .collect()
}

fn verdicts(scene: &Scene<'_>, area: Rect) -> Vec<Line<'static>> {
    let width = usize::from(area.width);
    let Some(sink) = scene.engine.sink() else { return vec![Line::from("not judged")] };
    let [held, violated, unknown, blind] = sink.counts();
    let count =
        |n: usize, what: &str, tone| scene.span(format!("{n:>4} {what:<10}"), if n > 0 { tone } else { Tone::Dim });
    let counts = [
        [count(held, "held", Tone::Good), count(unknown, "unknown", Tone::Doubt)],
        [count(violated, "violated", Tone::Bad), count(blind, "not observable", Tone::Dim)],
    ];
    let mut lines = vec![Line::from(scene.span("Rules", Tone::Strong))];
    if width >= COUNTS {
        lines.extend(counts.map(|pair| Line::from(pair.to_vec())));
    } else {
        let [[held, unknown], [violated, blind]] = counts;
        lines.extend([held, violated, unknown, blind].map(Line::from));
    }
    for rule in RULES.iter().filter(|r| sink.verdict(r.id) == Verdict::Violated) {
        let times = grouped(sink.violations(rule.id));
        let text = format!("{} VIOLATED {times} times: {}", rule.name, rule.title);
        lines.push(Line::from(scene.span(cut(&text, width), Tone::Bad)));
    }
    for rule in RULES.iter().filter(|r| r.severity == Severity::Hazard && sink.violations(r.id) > 0) {
        let text = format!("{} met {} times: {}", rule.name, grouped(sink.violations(rule.id)), rule.title);
        lines.push(Line::from(scene.span(cut(&text, width), Tone::Plain)));
    }
    // One line for each reason why rules are unknown.
    let mut causes: Vec<(String, Tone, Vec<&str>)> = Vec::new();
    for rule in RULES.iter().filter(|r| r.severity != Severity::Measure && sink.verdict(r.id) == Verdict::Unknown) {
        let (why, tone) = match sink.reason(rule.id).as_deref() {
            None => ("nothing happened".to_owned(), Tone::Dim),
            Some(why) if why.starts_with("never evaluated: nothing") => ("nothing happened".to_owned(), Tone::Dim),
            Some(why) if why.starts_with("not judged for") => ("events are missing".to_owned(), Tone::Doubt),
            Some(why) if why.ends_with("before recording") => ("it began before recording".to_owned(), Tone::Doubt),
            Some(why) => (why.to_owned(), Tone::Doubt),
        };
        match causes.iter_mut().find(|(known, ..)| *known == why) {
            Some((_, _, names)) => names.push(rule.name),
            None => causes.push((why, tone, vec![rule.name])),
        }
    }
    let held = RULES.iter().filter(|r| r.severity != Severity::Measure && sink.verdict(r.id) == Verdict::Held);
    let partly: Vec<&str> = held.filter(|r| sink.judged(r.id).is_some()).map(|r| r.name).collect();
    if !partly.is_empty() {
        let text = format!("held, and a part not judged: {}", partly.join(" "));
        lines.extend(
            mmtrace_model::report::wrap(&text, width.max(8))
                .into_iter()
                .map(|line| Line::from(scene.span(line, Tone::Doubt))),
        );
    }
    // Those that nothing happened to are of least interest.
    causes.sort_by_key(|(_, tone, _)| *tone == Tone::Dim);
    for (why, tone, names) in causes {
        let text = format!("unknown, as {why}: {}", names.join(" "));
        let text =
            if text.chars().count() > 3 * width { format!("unknown, as {why}: {} rules", names.len()) } else { text };
        lines.extend(
            mmtrace_model::report::wrap(&text, width.max(8)).into_iter().map(|l| Line::from(scene.span(l, tone))),
        );
    }
    lines
}

/// Returns who waited for mmap_locks longest in all and behind whom, and who held them; nothing if nobody did.
fn callers(scene: &Scene<'_>, area: Rect) -> Vec<Line<'static>> {
    let width = usize::from(area.width);
    let tables = tables(scene);
    let alike = Alike::of(&tables);
    let mut lines = Vec::new();
    let first = |times: &dyn Fn(&LockRow) -> Option<Times>| {
        let mut rows: Vec<_> = tables.locks.iter().filter_map(|row| Some((row, times(row)?.sum_ns))).collect();
        // Nobody waits for the last user of an mm, which its exit unmaps.
        rows.sort_by_key(|(row, ns)| (row.is_in_exit(), std::cmp::Reverse(*ns)));
        rows.truncate(CALLERS);
        rows
    };
    let (waited, held) = (first(&|row| row.contended), first(&|row| row.held));
    for (title, rows) in [("Waited for mmap_locks", waited), ("Held mmap_locks", held)] {
        if !rows.is_empty() {
            lines.push(Line::from(scene.span(title, Tone::Strong)));
        }
        for (row, ns) in rows {
            lines.push(Line::from(cut(&format!("{:>8} {}", duration(ns), alike.short(row)), width)));
            if title.starts_with("Waited")
                && let Some(behind) = alike.behind(row)
            {
                lines.push(Line::from(cut(&format!("  behind {behind}"), width)));
            }
        }
    }
    lines
}

/// Room for the name of a kind of fault.
const NAME_WIDTH: usize = 30;

fn causes(scene: &Scene<'_>, area: Rect) -> Vec<Line<'static>> {
    let width = usize::from(area.width);
    let mut lines = vec![Line::from(scene.span("Why pages are faulted", Tone::Strong))];
    if let Some(model) = scene.engine.model() {
        let total: u64 = model.causes().iter().sum::<u64>().max(1);
        let digits = model.causes().iter().map(|n| grouped(*n).len()).max().unwrap_or(0);
        for (cause, n) in Cause::ALL.iter().zip(model.causes()).filter(|(_, n)| **n > 0) {
            let name = if *cause == Cause::PagefaultDisabled { "not handled" } else { cause.words() };
            let figures = format!(" {:>digits$} {:>5.1}%", grouped(*n), *n as f64 * 100.0 / total as f64);
            // The name gives way: a figure that is cut off is another figure.
            let room = width.saturating_sub(figures.chars().count()).clamp(1, NAME_WIDTH);
            lines.push(Line::from(format!("{:<room$}{figures}", cut(name, room))));
        }
        lines.extend(partly(scene, model.fault_coverage(), "faults", width));
    }
    if lines.len() == 1 {
        let seen = has_faults(scene.engine.context());
        lines.push(Line::from(scene.span(if seen { "none yet" } else { NOT_HERE }, Tone::Dim)));
    }
    lines
}

/// A line that says which part a figure is made of, unless that is all.
fn partly(scene: &Scene<'_>, coverage: Coverage, what: &str, width: usize) -> Option<Line<'static>> {
    let text = coverage.text(what)?;
    Some(Line::from(scene.span(cut(&text, width), Tone::Doubt)))
}

/// Returns the latency of faults, by the lock that they are handled under.
fn latency(scene: &Scene<'_>, area: Rect) -> Vec<Line<'static>> {
    let width = usize::from(area.width);
    let dim = |text: &str| -> Vec<Line<'static>> {
        let lines = mmtrace_model::report::wrap(text, width.max(8)).into_iter();
        lines.map(|line| Line::from(scene.span(line, Tone::Dim))).collect()
    };
    let ends = scene.engine.context().fault_ends();
    if ends.is_none() {
        return dim(if scene.has_functions() {
            "fault latency: not observable here, handle_mm_fault() has no probe"
        } else {
            "fault latency: not observable by tracepoints: none is at a fault's end"
        });
    }
    let title = format!("{:<15}{:>8}{:>8}{:>8}", "Fault latency", "p50", "p99", "max");
    let mut lines = vec![Line::from(scene.span(cut(&title, width), Tone::Strong))];
    let Some(stats) = scene.engine.stats() else { return lines };
    let [vma, fell_back, mmap, unknown] = &stats.faults.took;
    let rows = [
        ("whole, user", &stats.faults.whole),
        ("under VMA lock", vma),
        ("after fallback", fell_back),
        ("mmap_lock", mmap),
        ("lock not known", unknown),
    ];
    for (name, d) in rows.into_iter().filter(|(_, d)| d.count() > 0) {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|q| duration(d.quantile(q)));
        lines.push(Line::from(cut(&format!("{name:<15}{p50:>8}{p99:>8}{max:>8}"), width)));
    }
    if lines.len() == 1 {
        lines.push(Line::from(scene.span("none yet", Tone::Dim)));
    }
    if ends == Some(FaultEnds::SoftwareEvents) {
        lines.extend(dim("until the kernel counts them; failed ones are not timed"));
        let coverage = scene.engine.callers().map(|callers| callers.fault_times().coverage());
        lines.extend(partly(scene, coverage.unwrap_or_default(), "faults", width));
    } else if let Some(model) = scene.engine.model() {
        let missing = model.measures().of_events(stats.faults.followed, &[Kind::HandleMmFaultReturn]);
        let coverage = missing.and(stats.faults.unpaired);
        lines.extend(partly(scene, coverage, "calls", width));
    }
    lines
}

fn locks(scene: &Scene<'_>, area: Rect) -> Vec<Line<'static>> {
    let width = usize::from(area.width);
    let vmas = scene.engine.context().has(Kind::VmaStartWriteReturn);
    let last = if vmas { format!("{:>8}", "VMA W") } else { String::new() };
    let room = width.saturating_sub(16 + last.len()).clamp(15, NAME_WIDTH);
    let title = format!("{:<room$}{:>8}{:>8}{last}", "Lock waits, p99", "R", "W");
    let mut lines = vec![Line::from(scene.span(cut(&title, width), Tone::Strong))];
    if !scene.engine.context().has(Kind::AcquireReturned) {
        lines.push(Line::from(scene.span(NOT_HERE, Tone::Dim)));
    }
    let Some(stats) = scene.engine.stats() else { return lines };
    let mut locks: Vec<_> = stats.locks.iter().collect();
    locks.sort_by_key(|(mm, lock)| (std::cmp::Reverse(lock.pressure()), *mm));
    for (_, lock) in locks.iter().take(LOCKS) {
        let wait = |d: &Durations| if d.count() == 0 { "-".to_owned() } else { duration(d.quantile(0.99)) };
        let (read, write) = (wait(&lock.read_wait), wait(&lock.write_wait));
        let of_vmas = lock.vmas.as_ref().map_or_else(|| "-".to_owned(), |v| wait(&v.write_wait));
        let last = if vmas { format!("{of_vmas:>8}") } else { String::new() };
        let name = scene.engine.tasks().label(lock.tgid);
        lines.push(Line::from(cut(&format!("{:<room$}{read:>8}{write:>8}{last}", cut(&name, room - 1)), width)));
    }
    if let Some(model) = scene.engine.model() {
        lines.extend(partly(scene, model.coverage(RuleId::M08), Measures::covered(RuleId::M08), width));
    }
    lines
}
