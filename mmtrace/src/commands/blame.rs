//! `mmtrace report --blame`: what waits for mmap_locks are charged to.

use std::io::{self, Write};

use mmtrace_model::report::{
    Style,
    blame::{BlameRow, Part},
    callers::Who,
    duration, grouped,
};

use super::cells::{cell, more, names};

/// Victims, and writers in between, that are named below a row.
const NAMED: usize = 3;

/// Prints the first `limit` rows for people; all if it is 0. `seen`: what share of the waits was seen whole, if not all were.
pub(super) fn print(
    title: &str,
    rows: &[BlameRow],
    seen: Option<String>,
    limit: usize,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    let total = rows.iter().fold(0u64, |sum, row| sum.saturating_add(row.charged.sum_ns));
    writeln!(out, "{title}: {} in all", duration(total))?;
    if let Some(seen) = seen {
        writeln!(out, "  {}", style.dim(&format!("{seen} were seen whole")))?;
    }
    if rows.is_empty() {
        return writeln!(out, "  no contended wait ended");
    }
    let head = format!("{:>9} {:>6} {:>9} {:>9} {:>9} {:>10}  for", "waited", "share", "times", "p99", "longest", "at");
    writeln!(out, "  {}", style.dim(&head))?;
    let shown = if limit == 0 { rows.len() } else { limit };
    for row in rows.iter().take(shown) {
        let times = &row.charged;
        writeln!(
            out,
            "  {:>9} {:>5.1}% {:>9} {:>9} {:>9} {:>8.3} s  {}",
            duration(times.sum_ns),
            100.0 * times.sum_ns as f64 / total.max(1) as f64,
            grouped(times.count),
            times.p99_ns.map_or_else(|| "-".to_owned(), duration),
            duration(times.longest_ns),
            times.longest_at_ns as f64 / 1e9,
            row.text(),
        )?;
        for text in row.victims_text(NAMED).iter().chain(&row.via_text(NAMED)) {
            writeln!(out, "  {:62}{}", "", style.dim(text))?;
        }
    }
    more(rows.len(), shown, style, out)
}

/// A row for each pair of a culprit and a victim.
pub(super) fn csv(rows: &[BlameRow], out: &mut dyn Write) -> io::Result<()> {
    let columns = |of: &str| {
        ["pid", "process", "thread", "threads", "tid", "call", "mode"].map(|column| format!("{of}{column}")).join(",")
    };
    writeln!(out, "table,kind,{},{},total_ns,times,longest_ns,cgroup,victim_cgroup", columns(""), columns("victim_"))?;
    let mode = |write: bool| if write { "write" } else { "read" };
    for row in rows {
        let who = row.who.as_ref().map_or_else(|| ",,,,,".to_owned(), names);
        let held = row.write.map_or("", mode);
        let cgroup = |who: &Who| cell(who.cgroup.as_deref().unwrap_or_default());
        for Part { who: victim, write, ns, count, longest_ns } in &row.victims {
            write!(out, "blame,{},{who},{held},{},{},", row.kind.name(), names(victim), mode(*write))?;
            let of = row.who.as_ref().map_or_else(String::new, cgroup);
            writeln!(out, "{ns},{count},{longest_ns},{of},{}", cgroup(victim))?;
        }
    }
    Ok(())
}
