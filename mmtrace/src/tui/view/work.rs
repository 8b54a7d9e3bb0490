//! khugepaged, MADV_COLLAPSE, migration, compaction.

use std::collections::BTreeMap;

use ratatui::{Frame, layout::Rect};

use super::{
    Drawn, Show, Tone,
    listing::{self, Cell, Column, Row, left, rest, right},
};
use crate::{context::Context, report::duration, tui::state::State, verdict::RuleId};

/// The columns.
pub const COLUMNS: &[Column] = &[left("what", 21), right("times", 9), rest("result", 8)];

/// Draws the view.
pub fn draw(frame: &mut Frame<'_>, area: Rect, show: &Show<'_>, state: &State) -> Drawn {
    let (Some(stats), Some(model)) = (show.engine.stats(), show.engine.model()) else { return Drawn::default() };
    let work = &stats.work;
    let context = show.engine.context();
    let mut rows = Vec::new();
    let mut add = |what: &str, result: String, n: u64, tone: Tone| {
        let cells = vec![Cell::text(what), Cell::number(n), Cell::text(result).tone(tone)];
        rows.push(Row { key: rows.len() as u64, cells });
    };
    let results: [(&str, &str, &BTreeMap<u64, u64>); 5] = [
        ("scans, anonymous", "scan_result", &work.scans),
        ("collapses, anonymous", "scan_result", &work.collapses),
        ("scans, files", "scan_result", &work.file_scans),
        ("collapses, files", "scan_result", &work.file_collapses),
        ("migrate_pages()", "migrate_reason", &work.migrations),
    ];
    for (what, values, counts) in results {
        for (value, n) in counts {
            let name = name(context, values, *value);
            let tone = if name == "SCAN_SUCCEED" { Tone::Good } else { Tone::Plain };
            add(what, name, *n, tone);
        }
        if counts.is_empty() {
            add(what, "none yet".to_owned(), 0, Tone::Dim);
        }
    }
    add("pages migrated", String::new(), work.migrated, Tone::Plain);
    add("pages not migrated", String::new(), work.failed, Tone::Plain);
    add("entries set", String::new(), work.set, Tone::Plain);
    add("entries removed", String::new(), work.removed, Tone::Plain);
    add("entries now, as seen", String::new(), model.outstanding() as u64, Tone::Plain);
    add("zones compacted", String::new(), work.compactions, Tone::Plain);
    for (rule, what) in [(RuleId::M05, "write hold, collapse"), (RuleId::M06, "entries stood")] {
        if let Some(d) = model.measures().distribution(rule) {
            let text = format!("p50 {}, p99 {}, max {}", duration(d.p50_ns), duration(d.p99_ns), duration(d.max_ns));
            add(what, text, d.count, Tone::Plain);
        }
    }
    listing::draw(frame, area, show, COLUMNS, rows, state.current())
}

fn name(context: &Context, values: &str, value: u64) -> String {
    let of = context.enums.get(values);
    let found = of.and_then(|e| e.iter().find(|(_, v)| **v as u64 == value).map(|(n, _)| n.clone()));
    found.unwrap_or_else(|| value.to_string())
}
