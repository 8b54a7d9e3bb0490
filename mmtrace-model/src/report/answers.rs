//! The first lines of the report: who waited most, who held most, whose faults there were.

use std::{
    cmp::Reverse,
    io::{self, Write},
};

use super::{
    FaultLatency, Report, Style,
    callers::{LockRow, Times, share},
    duration, grouped,
};

/// Callers that an answer names.
const NAMED: usize = 2;
/// Width of the first column.
const WIDTH: usize = 8;
/// Marks that are shown; the last ones.
const MARKS: usize = 10;

/// Said where the ends of faults are not recorded.
const NOT_TIMED: &str = "how long they took is not observable here: mmtrace doctor";
/// Answers that are set apart from the head of the report. Of more, the last one would not be among its first ten.
const APART: usize = 6;

/// Writes them; nothing about what did not happen.
pub(super) fn print(report: &Report, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let mut lines = Vec::new();
    lines.extend(lock_lines(report, "Waits", |row| row.contended));
    lines.extend(lock_lines(report, "Holds", |row| row.held));
    lines.extend(in_vain_lines(report));
    lines.extend(held_before_lines(report));
    lines.extend(unfinished_lines(report));
    lines.extend(fault_lines(report));
    let latency = report.fault_latency.as_ref().map(FaultLatency::text);
    let of_times = |text: &str| text == NOT_TIMED || latency.as_deref() == Some(text);
    let answers = lines.iter().filter(|(_, text)| !of_times(text)).count();
    lines.extend(mark_lines(report));
    if lines.is_empty() {
        return Ok(());
    }
    if answers <= APART {
        writeln!(out)?;
    }
    for (title, text) in lines {
        writeln!(out, "{}{text}", style.bold(&format!("{title:WIDTH$}")))?;
    }
    Ok(())
}

/// A title, empty below the first line, and what is said.
type Line = (&'static str, String);

fn lock_lines(report: &Report, title: &'static str, times: impl Fn(&LockRow) -> Option<Times>) -> Vec<Line> {
    let mut rows: Vec<_> = report.callers.locks.iter().filter_map(|row| Some((row, times(row)?))).collect();
    let in_exit = |row: &LockRow| title == "Holds" && row.is_in_exit();
    rows.sort_by_key(|(row, times)| (in_exit(row), Reverse(times.sum_ns)));
    let sum = |of: &dyn Fn(&LockRow) -> bool| {
        rows.iter().filter(|(row, _)| of(row)).fold(0u64, |sum, (_, times)| sum.saturating_add(times.sum_ns))
    };
    let (total, exits) = (sum(&|_| true), sum(&in_exit));
    let most = if exits > 0 && rows.first().is_some_and(|(row, times)| !in_exit(row) && times.sum_ns < exits) {
        format!("{} of mmap_locks, {} of that by tasks that exit; most else: ", duration(total), duration(exits))
    } else {
        format!("{} of mmap_locks; most: ", duration(total))
    };
    let mut lines = Vec::new();
    for (n, (row, times)) in rows.iter().take(NAMED).enumerate() {
        let who = row.who.caller(Some(row.mode()));
        let (sum, longest) = (duration(times.sum_ns), duration(times.longest_ns));
        let (title, head) = if n == 0 { (title, &*most) } else { ("", "then: ") };
        let share = share(times.sum_ns, total);
        lines.push((title, format!("{head}{who}, {share}: {sum}, longest {longest}")));
        if title == "Waits" {
            let behind = row.behind_text(1);
            if !behind.is_empty() {
                lines.push(("", format!("of that {}", behind.join(", "))));
            }
        }
    }
    lines
}

/// Who tried often, and never got a lock: whoever holds it may have taken it before the recording, and shows in no other line.
fn in_vain_lines(report: &Report) -> Option<Line> {
    const OFTEN: u64 = 10;
    let in_vain = |row: &&LockRow| row.acquired == 0 && row.refused - row.given_up.min(row.refused) >= OFTEN;
    let row = report.callers.locks.iter().filter(in_vain).max_by_key(|row| row.refused)?;
    let (who, tries) = (row.who.caller(Some(row.mode())), grouped(row.refused));
    Some((
        "In vain",
        format!("{who}: tried {tries} times to get an mmap_lock, and never did: somebody held it each time"),
    ))
}

/// What began before the recording has no length that a sum could have.
fn held_before_lines(report: &Report) -> Option<Line> {
    let (first, more) = report.held_before.split_first()?;
    let more = if more.is_empty() { String::new() } else { format!("; and {} more", grouped(more.len() as u64)) };
    Some(("Before", format!("{}{more}; in no sum", first.text())))
}

/// What went on when the stream ended is in none of the sums above.
fn unfinished_lines(report: &Report) -> Option<Line> {
    let (first, more) = report.unfinished.split_first()?;
    let more = if more.is_empty() { String::new() } else { format!("; and {} more", grouped(more.len() as u64)) };
    Some(("At end", format!("{}{more}; in no sum", first.text())))
}

fn fault_lines(report: &Report) -> Vec<Line> {
    let total: u64 = report.callers.faults.iter().map(|row| row.count).sum();
    let most = report.callers.faults.first();
    let mut lines: Vec<Line> =
        most.map(|row| ("Faults", format!("{}; most: {}", grouped(total), row.text_of(total)))).into_iter().collect();
    if let Some(row) = report.mappings.first().filter(|_| !lines.is_empty()) {
        lines.push(("", format!("most in: {} {}", grouped(row.count), row.text_of(total))));
    }
    if let Some(row) = report.functions.first().filter(|_| !lines.is_empty()) {
        let share = share(row.count, total);
        lines.push(("", format!("most by: {} {}, {share}", grouped(row.count), row.text())));
    }
    if !lines.is_empty() {
        let times = match &report.fault_latency {
            Some(latency) => Some(latency.text()),
            None => report.fault_ends.is_none().then(|| NOT_TIMED.to_owned()),
        };
        lines.extend(times.map(|text| ("", text)));
    }
    lines
}

fn mark_lines(report: &Report) -> Vec<Line> {
    let earlier = report.marks.len().saturating_sub(MARKS);
    let mut lines: Vec<Line> = Vec::new();
    if earlier > 0 {
        lines.push(("", format!("{} earlier ones", grouped(earlier as u64))));
    }
    let shown = report.marks.iter().skip(earlier);
    lines.extend(shown.map(|mark| ("", format!("at {:.3} s: {}", mark.at_ns as f64 / 1e9, mark.text))));
    if report.marks_omitted > 0 {
        let more = grouped(report.marks_omitted);
        lines.push(("", format!("{more} later ones: mmtrace dump --filter 'kind == mark'")));
    }
    if let Some(first) = lines.first_mut() {
        first.0 = "Marks";
    }
    lines
}
