//! Every rule with its verdict.

use mmtrace_model::{
    model::measures::Measures,
    report::{Story, StoryLine, grouped, wrap},
    verdict::{RULES, Rule, Severity, Sink, Verdict, Violation},
};
use ratatui::{Frame, layout::Rect, text::Line};

use super::{
    listing::{self, Cell, Row, cut},
    scene::Scene,
    text::{seconds, text},
};
use crate::tui::{
    column::{Column, left, rest, right},
    drawn::Drawn,
    state::State,
    tone::Tone,
};

/// The columns. A hazard is not broken but met.
pub(crate) const COLUMNS: &[Column] = &[
    left("rule", 5),
    left("verdict", 14),
    right("evaluated", 11),
    right("broken", 9),
    right("last", 12),
    rest("title", 30),
];

/// Draws the view.
pub(crate) fn draw(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>, state: &State) -> Drawn {
    let Some(sink) = scene.engine.sink() else { return Drawn::default() };
    let how = state.current();
    if let Some(rule) = how.inside.and_then(|i| RULES.get(i as usize)) {
        return text(frame, [(area, inside(scene, sink, rule, usize::from(area.width)))], state);
    }
    let start = scene.engine.span().map_or(0, |s| s.0);
    // Broken rules come first, then the hazards that were met.
    let mut rules: Vec<_> = RULES.iter().enumerate().collect();
    rules.sort_by_key(|(_, rule)| match sink.verdict(rule.id) {
        Verdict::Violated => 0,
        _ if rule.severity == Severity::Hazard && sink.violations(rule.id) > 0 => 1,
        _ => 2,
    });
    let rows = rules.into_iter().map(|(i, rule)| {
        let verdict = sink.verdict(rule.id);
        let last = sink.last(rule.id);
        Row {
            key: i as u64,
            cells: vec![
                Cell::text(rule.name),
                Cell::text(verdict.name().replace('_', " ")).tone(tone(verdict)),
                Cell::known((verdict != Verdict::NotObservable).then(|| sink.evaluations(rule.id))),
                broken(sink, rule),
                Cell {
                    text: if last == 0 { "-".to_owned() } else { seconds(last.saturating_sub(start)) },
                    order: last,
                    tone: Tone::Dim,
                },
                Cell::text(rule.title),
            ],
        }
    });
    listing::draw(frame, area, scene, COLUMNS, rows.collect(), how)
}

const fn tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Held => Tone::Good,
        Verdict::Violated => Tone::Bad,
        Verdict::Unknown => Tone::Doubt,
        Verdict::NotObservable => Tone::Dim,
    }
}

/// Returns the number of times that a rule was broken or a hazard met.
fn broken(sink: &Sink, rule: &Rule) -> Cell {
    let n = sink.violations(rule.id);
    match rule.severity {
        _ if sink.verdict(rule.id) == Verdict::NotObservable => Cell::none(),
        Severity::Measure => Cell::none(),
        Severity::Hazard if n > 0 => Cell { text: format!("met {}", grouped(n)), order: n, tone: Tone::Doubt },
        _ => Cell::number(n),
    }
}

fn inside(scene: &Scene<'_>, sink: &Sink, rule: &Rule, width: usize) -> Vec<Line<'static>> {
    let verdict = sink.verdict(rule.id);
    let mut lines = vec![Line::from(vec![
        scene.span(format!("{} {}  ", rule.name, rule.title), Tone::Strong),
        scene.span(verdict.name().replace('_', " "), tone(verdict)),
        scene.span(format!("  evaluations: {}", grouped(sink.evaluations(rule.id))), Tone::Plain),
    ])];
    let say = |lines: &mut Vec<Line<'static>>, text: &str, tone| {
        lines.extend(wrap(text, width.max(8)).into_iter().map(|line| Line::from(scene.span(line, tone))));
    };
    say(&mut lines, rule.statement, Tone::Plain);
    if let Some(reason) = sink.reason(rule.id) {
        say(&mut lines, &reason, Tone::Doubt);
    } else if let Some(judged) = sink.judged(rule.id) {
        say(&mut lines, &judged.text(), Tone::Dim);
    }
    if let Some(model) = scene.engine.model().filter(|_| rule.severity == Severity::Measure)
        && let Some(text) = model.coverage(rule.id).text(Measures::covered(rule.id))
    {
        say(&mut lines, &format!("measured: {text}"), Tone::Doubt);
    }
    let kept: Vec<&Violation> = sink.kept().filter(|v| v.rule == rule.id).collect();
    let all = sink.violations(rule.id);
    if all > kept.len() as u64 {
        say(&mut lines, &format!("the first {} of {} times are told", kept.len(), grouped(all)), Tone::Dim);
    }
    for violation in &kept {
        lines.push(Line::default());
        lines.extend(told(scene, violation, rule, width));
    }
    // The violations are why the user looks here; the grounds of the rule stand below them.
    if !kept.is_empty() {
        lines.push(Line::default());
    }
    for text in
        [format!("why: {}", rule.why), format!("source: {}", rule.source), format!("no false alarm: {}", rule.sound)]
    {
        say(&mut lines, &text, Tone::Dim);
    }
    lines
}

/// Returns the events that led to a violation, with a column for each task that took part and one for all others.
fn told(scene: &Scene<'_>, violation: &Violation, rule: &Rule, width: usize) -> Vec<Line<'static>> {
    /// Time and CPU.
    const FRONT: usize = 17;
    let story = Story::new(violation, scene.engine.context());
    let (word, tone) = if rule.severity == Severity::Hazard { ("met", Tone::Doubt) } else { ("VIOLATED", Tone::Bad) };
    let title = format!("{word} at {:.6} s: {}", story.seconds, story.what);
    let mut lines: Vec<Line<'_>> =
        wrap(&title, width.max(8)).into_iter().map(|line| Line::from(scene.span(line, tone))).collect();
    let columns = story.tids.len() + 1;
    let column = (width.saturating_sub(FRONT) / columns).max(10);
    let head = story.tids.iter().map(|tid| format!("task {tid}")).chain(["others".to_owned()]);
    let head: String = head.map(|h| format!("{:<column$}", cut(&h, column - 1))).collect();
    lines.push(Line::from(scene.span(format!("{:>12} {:>3} {head}", "ns before", "cpu"), Tone::Strong)));
    let before = |ns: i64| grouped((-ns).max(0).unsigned_abs());
    for line in story.lines() {
        let event = match line {
            StoryLine::Event(event) => event,
            StoryLine::Aside { from, what } => {
                let text = format!(
                    "{:>12}     {}",
                    before(from.ns),
                    cut(&format!("... {what}"), width.saturating_sub(FRONT).max(1))
                );
                lines.push(Line::from(scene.span(text, Tone::Dim)));
                continue;
            }
        };
        let at = story.tids.iter().position(|t| *t == event.tid).unwrap_or(columns - 1);
        let who = if at == columns - 1 { format!("{}: ", event.tid) } else { String::new() };
        // Beyond its column it may go on as long as nothing stands there.
        let text = cut(&format!("{who}{}", event.event), width.saturating_sub(FRONT + at * column).max(1));
        lines.push(Line::from(format!(
            "{:>12} {:>3} {:indent$}{text}",
            before(event.ns),
            event.cpu,
            "",
            indent = at * column
        )));
    }
    lines
}
