//! A violation as a story: the rule that was broken, the tasks, and the events that led to it, one column per task.

use std::io::{self, Write};

use mmtrace_common::{Call, Column, Field, FieldType, Kind, Record, VmaFacts, Walk, spec};
use serde::Serialize;

use super::Style;
use crate::{
    context::Context,
    names::{Comm, call_name},
    untrusted::{clean, escaped_bytes},
    verdict::Violation,
};

/// Characters of one task's column.
const COLUMN: usize = 44;
/// A longer run of events that the rule does not need is summed up in one line.
const ASIDE: usize = 3;

/// A violation with its events.
#[derive(Debug, Serialize)]
pub struct Story {
    /// The rule's name.
    pub rule: &'static str,
    /// The rule's statement.
    pub statement: &'static str,
    /// The violation, in one sentence.
    pub what: String,
    /// Time when it happened, seconds after recording began.
    pub seconds: f64,
    /// The mm, as a kernel pointer; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mm: Option<String>,
    /// The tasks that took part.
    pub tids: Vec<u32>,
    /// The events that led to it, oldest first.
    pub events: Vec<Effect>,
}

/// One event of a story.
#[derive(Debug, Serialize)]
pub struct Effect {
    /// Time relative to the event that showed the violation, nanoseconds; negative before it.
    pub ns: i64,
    /// CPU.
    pub cpu: u16,
    /// Task.
    pub tid: u32,
    /// Process.
    pub pid: u32,
    /// The event with its values.
    pub event: String,
    /// The rule needs events of this kind.
    #[serde(skip)]
    asked: bool,
}

impl Effect {
    /// The name of the event's kind.
    fn name(&self) -> &str {
        self.event.split([' ', '(']).next().unwrap_or_default()
    }
}

/// A line of a story for people.
#[derive(Debug)]
pub enum Line<'a> {
    /// An event.
    Event(&'a Effect),
    /// A run of events that the rule does not need.
    Aside {
        /// The first of them.
        from: &'a Effect,
        /// Their number, and their kinds.
        what: String,
    },
}

impl Story {
    /// Makes the story of a violation.
    #[must_use]
    pub fn new(violation: &Violation, context: &Context) -> Self {
        let rule = violation.rule.rule();
        Self {
            rule: rule.name,
            statement: rule.statement,
            what: violation.what.clone(),
            seconds: violation.ts.saturating_sub(context.start) as f64 / 1e9,
            mm: (violation.mm != 0).then(|| format!("{:#x}", violation.mm)),
            tids: violation.tids.clone(),
            events: violation
                .events
                .iter()
                .map(|r| Effect {
                    ns: r.ts.wrapping_sub(violation.ts) as i64,
                    cpu: r.cpu,
                    tid: r.tid,
                    pid: r.tgid,
                    event: describe(r, context),
                    asked: r.ts == violation.ts || r.kind().is_some_and(|kind| rule.needs.contains(&kind)),
                })
                .collect(),
        }
    }

    /// The events for people. A long run of events that the rule does not need becomes one line.
    #[must_use]
    pub fn lines(&self) -> Vec<Line<'_>> {
        let mut lines = Vec::new();
        for run in self.events.chunk_by(|one, next| one.asked == next.asked) {
            if run[0].asked || run.len() <= ASIDE {
                lines.extend(run.iter().map(Line::Event));
                continue;
            }
            let mut names: Vec<&str> = run.iter().map(Effect::name).collect();
            names.sort_unstable();
            names.dedup();
            let what = format!("{} events of other kinds: {}", run.len(), names.join(", "));
            lines.push(Line::Aside { from: &run[0], what });
        }
        lines
    }

    /// Writes it for people.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub(crate) fn print(&self, style: Style, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{} at {:.6} s: {}",
            style.bad(&format!("{} violated", self.rule)),
            self.seconds,
            clean(&self.what)
        )?;
        writeln!(out, "  rule: {}", self.statement)?;
        if self.events.is_empty() {
            return Ok(());
        }
        let mut head = format!("  {:>14}  {:>3}", "ns before", "cpu");
        for tid in &self.tids {
            head.push_str(&format!("  {:<COLUMN$}", format!("task {tid}")));
        }
        writeln!(out, "{}", style.bold(&format!("{head}  others")))?;
        for line in self.lines() {
            let told = match line {
                Line::Event(told) => told,
                Line::Aside { from, what } => {
                    writeln!(out, "  {:>14}       {}", from.ns, style.dim(&format!("... {}", clean(&what))))?;
                    continue;
                }
            };
            let column = self.tids.iter().position(|t| *t == told.tid).unwrap_or(self.tids.len());
            let indent = column * (COLUMN + 2);
            let who = if column == self.tids.len() { format!("task {}: ", told.tid) } else { String::new() };
            writeln!(out, "  {:>14}  {:>3}  {:indent$}{who}{}", told.ns, told.cpu, "", clean(&told.event))?;
        }
        writeln!(out, "  {}", style.dim(&format!("mmtrace explain {}", self.rule)))
    }
}

/// Formats an event with its values, short.
#[must_use]
pub fn describe(record: &Record, context: &Context) -> String {
    let Some(kind) = record.kind() else { return format!("event {}", record.kind) };
    let name = kind.name().trim_start_matches("mmap_lock_");
    let mut text = name.to_owned();
    if let (Some(head), Some(tail)) = (record.get(Column::Comm), record.get(Column::CommTail)) {
        let of = record.get(Column::OfTid).map_or_else(String::new, |tid| format!(" of_tid={tid}"));
        return format!("{name}{of} comm={}", Comm::of_words(head, tail));
    }
    if matches!(kind, Kind::StartLocking | Kind::AcquireReturned | Kind::Released) {
        text.push_str(if record.get(Column::Write) == Some(1) { "(W)" } else { "(R)" });
        if record.get(Column::Success) == Some(0) {
            text.push_str(" failed");
        }
        return text;
    }
    for (column, value) in fields(record, context) {
        text.push_str(&format!(" {}={value}", column.name()));
    }
    text
}

/// Lists the values of an event, formatted for people.
#[must_use]
pub fn fields(record: &Record, context: &Context) -> Vec<(Column, String)> {
    let Some(kind) = record.kind() else { return Vec::new() };
    // A value that this kernel does not have is left out, because 0 would be wrong.
    let fields = spec(kind).fields.iter().filter(|field| {
        context.probe(kind).is_none_or(|probe| probe.absent.iter().all(|absent| absent != field.column.name()))
    });
    let whole = fields.filter(|field| !TAILS.contains(&field.column));
    let shown = |field| text_of(field, record).unwrap_or_else(|| value(field, record, context));
    whole.map(|field| (field.column, shown(field))).collect()
}

/// Columns that continue the text of another one.
pub const TAILS: [Column; 5] = [Column::CommTail, Column::Name2, Column::Name3, Column::Name4, Column::Name5];

/// Returns the text that begins in the column of `field`, fit for a terminal: the name that an event gives a task, a file
/// or a mapping.
#[must_use]
pub fn text_of(field: &Field, record: &Record) -> Option<String> {
    let tails: &[Column] = match field.column {
        Column::Comm => &TAILS[..1],
        Column::Name => &TAILS[1..],
        _ => return None,
    };
    let words = [field.column].into_iter().chain(tails.iter().copied()).filter_map(|column| record.get(column));
    let bytes: Vec<u8> = words.flat_map(u64::to_ne_bytes).take_while(|byte| *byte != 0).collect();
    Some(escaped_bytes(&bytes))
}

/// Formats the value of a field for people.
fn value(field: &Field, record: &Record, context: &Context) -> String {
    let raw = field.get(record);
    match field.column.ty() {
        FieldType::Hex => format!("{raw:#x}"),
        FieldType::Int => (raw as u32 as i32).to_string(),
        FieldType::Bool => (raw != 0).to_string(),
        FieldType::Enum(name) => context.enumerator(name, raw as i64).map_or_else(|| format!("#{raw}"), str::to_owned),
        FieldType::Kind => Kind::from_u16(raw as u16).map_or_else(|| format!("#{raw}"), |k| k.name().to_owned()),
        FieldType::Uint if field.column == Column::Pages && raw == u64::MAX => "all".to_owned(),
        FieldType::Uint | FieldType::Time => raw.to_string(),
        FieldType::Call => call_name(Call::of_number(raw)).into_owned(),
        FieldType::Walk => walk_text(raw),
        FieldType::VmaFacts => vma_facts_text(raw),
        FieldType::Text => Comm::of_words(raw, 0).to_string(),
    }
}

/// Returns in words what the number of a walk of page tables says.
#[must_use]
pub fn walk_text(raw: u64) -> String {
    match u32::try_from(raw).ok().map(|number| (number, Walk::of_number(number))) {
        Some((_, Some(walk))) => walk.to_string(),
        Some((Walk::NOT_WALKED, None)) => "not walked".to_owned(),
        _ => format!("#{raw}"),
    }
}

/// Returns in words what the number of facts about a VMA says.
#[must_use]
pub fn vma_facts_text(raw: u64) -> String {
    let facts = u32::try_from(raw).ok().and_then(VmaFacts::of_number);
    facts.map_or_else(|| if raw == 0 { "unknown".to_owned() } else { format!("#{raw}") }, |facts| facts.to_string())
}
