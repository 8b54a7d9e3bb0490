//! The report for people: who, which call, how long; then what was judged; tables of everything when asked for.

use std::io::{self, Write};

use super::{
    Report, Style, answers,
    callers::{LockRow, Times, causes},
    duration, functions, grouped, held_before,
    mappings::known,
    rules_text, standby, unfinished,
};
use crate::{
    coverage::Coverage,
    model::faults::address_space::Cause,
    untrusted::clean,
    verdict::{Rule, Severity, Verdict},
};

/// Rows of each table of callers.
const ROWS: usize = 5;
/// Holders that are named below a row of waits.
const BEHIND: usize = 2;

/// Writes it; with every rule and every kind of event if `all`.
pub(super) fn print(report: &Report, all: bool, style: Style, out: &mut dyn Write) -> io::Result<()> {
    verdict(report, style, out)?;
    stream(report, style, out)?;
    stories(report, style, out)?;
    answers::print(report, style, out)?;
    waited(report, style, out)?;
    held(report, style, out)?;
    held_before::print(&report.held_before, style, out)?;
    unfinished::print(&report.unfinished, style, out)?;
    faults(report, style, out)?;
    mapped(report, style, out)?;
    by_function(report, style, out)?;
    if all {
        kinds(report, out)?;
        walker(report, out)?;
    }
    if report.verdict.is_none() {
        return Ok(());
    }
    if all {
        return rules_text::table(report, style, out);
    }
    writeln!(out, "\n{}", style.bold("Rules"))?;
    rules_text::summary(report, style, out)
}

/// Writes the verdict and how many rules it is made of.
fn verdict(report: &Report, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let Some(verdict) = report.verdict else {
        return writeln!(out, "not validated: --no-validate was given");
    };
    let count = |v| report.rules.iter().filter(|r| r.severity != Severity::Measure && r.verdict == v).count();
    writeln!(
        out,
        "{}: {} {} held, {} violated, {} unknown, {} not observable here",
        style.verdict(verdict, verdict.name()),
        count(Verdict::Held),
        if count(Verdict::Held) == 1 { "rule" } else { "rules" },
        count(Verdict::Violated),
        count(Verdict::Unknown),
        count(Verdict::NotObservable)
    )
}

/// Writes what the report was made of, and what is missing.
fn stream(report: &Report, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let missing = |count: u64, what: &str| {
        let text = format!("{} {what}", grouped(count));
        if count > 0 { style.bad(&text) } else { text }
    };
    write!(
        out,
        "Linux {}, {} CPUs: {} events in {:.1} s, {}, {}",
        clean(&report.kernel.release),
        report.kernel.cpus,
        grouped(report.events.total),
        report.seconds,
        missing(report.lost, "lost"),
        missing(report.missed, "missed")
    )?;
    if report.gaps > 0 {
        write!(
            out,
            ", {}",
            missing(
                report.gaps,
                if report.gaps == 1 { "part that cannot be read" } else { "parts that cannot be read" }
            )
        )?;
    }
    if report.foreign > 0 {
        // No program of mmtrace wrote these: a record was damaged, or something else writes into the rings.
        let what = "records that no program of mmtrace wrote (events may be missing)";
        write!(out, ", {}", missing(report.foreign, what))?;
    }
    writeln!(out)?;
    if let Some(part) = report.part {
        let before = "what began before is in progress when the part begins, and in no figure";
        writeln!(out, "{}; {before}", part.text())?;
    }
    if let Some(filter) = &report.filter {
        writeln!(out, "only {}", clean(filter))?;
    }
    if let Some(cost) = &report.recording_cost {
        cost.print(report.kernel.cpus, style, out)?;
    }
    standby::print(&report.standby_attached, style, out)
}

/// Writes the violations.
fn stories(report: &Report, style: Style, out: &mut dyn Write) -> io::Result<()> {
    for story in &report.violations {
        writeln!(out)?;
        story.print(style, out)?;
    }
    for rule in report.rules.iter().filter(|r| r.severity.can_fail()) {
        let shown = report.violations.iter().filter(|story| story.rule == rule.id).count();
        if rule.violations > shown as u64 {
            let all = grouped(rule.violations);
            let text = format!("{}: the report shows the first {shown} of {all} violations", rule.id);
            writeln!(out, "\n{}", style.dim(&text))?;
        }
    }
    Ok(())
}

/// Writes who held mmap_locks longest in all.
fn held(report: &Report, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let rows: Vec<_> = report.callers.locks.iter().filter_map(|row| Some((row, row.held?))).collect();
    locks("Held mmap_locks", "held", &rows, whole(report, report.callers.holds_seen(), "holds"), style, out)
}

/// Writes who waited for mmap_locks longest in all.
fn waited(report: &Report, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let mut rows: Vec<_> = report.callers.locks.iter().filter_map(|row| Some((row, row.contended?))).collect();
    rows.sort_by_key(|(_, times)| std::cmp::Reverse(times.sum_ns));
    locks("Waited for mmap_locks", "waited", &rows, whole(report, report.callers.waits_seen(), "waits"), style, out)
}

/// Says how many intervals a table is made of, if they are not all.
fn whole(report: &Report, seen: Coverage, what: &str) -> Option<String> {
    let why = report.part.map_or("", |_| "; the others were in progress when the part begins, or are when it ends");
    seen.text(what).map(|part| format!("{part} were seen whole{why}"))
}

fn locks(
    title: &str,
    verb: &str,
    rows: &[(&LockRow, Times)],
    part: Option<String>,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let total = rows.iter().fold(0u64, |sum, (_, times)| sum.saturating_add(times.sum_ns));
    let head = format!("{title}: {} in all", duration(total));
    writeln!(out, "\n{}", style.bold(&head))?;
    if let Some(part) = part {
        writeln!(out, "  {}", style.dim(&part))?;
    }
    writeln!(out, "  {}", style.dim(&format!("{verb:>9} {:>9} {:>9} {:>9}  by", "times", "p99", "longest")))?;
    for (row, times) in rows.iter().take(ROWS) {
        writeln!(
            out,
            "  {:>9} {:>9} {:>9} {:>9}  {}",
            duration(times.sum_ns),
            grouped(times.count),
            times.p99_ns.map_or_else(|| "-".to_owned(), duration),
            duration(times.longest_ns),
            row.who.caller(Some(row.mode())),
        )?;
        if verb == "waited" {
            for behind in row.behind_text(BEHIND) {
                writeln!(out, "  {:41}{}", "", style.dim(&behind))?;
            }
        }
    }
    more(rows.len(), style, out)
}

/// Says that there are more rows.
fn more(rows: usize, style: Style, out: &mut dyn Write) -> io::Result<()> {
    if rows > ROWS {
        writeln!(out, "  {}", style.dim(&format!("and {} more", grouped((rows - ROWS) as u64))))?;
    }
    Ok(())
}

/// What the figures of faults do not cover.
const NOT_GUP: &str = "pages that get_user_pages() brings in raise no fault, and are not among these: mlock, MAP_POPULATE, \
                       ptrace, process_vm_readv, io_uring";

/// Writes whose faults there were, and why.
fn faults(report: &Report, style: Style, out: &mut dyn Write) -> io::Result<()> {
    if !report.faults.is_empty() {
        let total = grouped(report.faults.values().sum());
        writeln!(
            out,
            "\n{}",
            style.bold(&format!("Page faults: {total}: {}", causes(&report.faults, Cause::ALL.len())))
        )?;
        writeln!(out, "  {}", style.dim(NOT_GUP))?;
        for row in report.callers.faults.iter().take(ROWS) {
            writeln!(out, "  {:>9}  {}", grouped(row.count), row.text())?;
        }
        more(report.callers.faults.len(), style, out)?;
    }
    if let Some(text) = report.faults_coverage.and_then(|coverage| coverage.text("faults")) {
        let before = if report.faults.is_empty() { "\n" } else { "" };
        writeln!(out, "{before}  {}", style.bad(&format!("causes are those of {text}")))?;
    }
    Ok(())
}

/// Writes in which mappings the faults were.
fn mapped(report: &Report, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let rows = &report.mappings;
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{}", style.bold("Page faults by mapping"))?;
    if let Some(part) = known(rows).text("faults") {
        writeln!(out, "  {}", style.dim(&format!("the mapping of {part} is known")))?;
    }
    for row in rows.iter().take(ROWS) {
        writeln!(out, "  {:>9}  {}", grouped(row.count), row.text())?;
    }
    more(rows.len(), style, out)
}

/// Writes by which functions the faults were.
fn by_function(report: &Report, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let rows = &report.functions;
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{}", style.bold("Page faults by function"))?;
    if let Some(part) = functions::known(rows).text("faults by code in files or unknown mappings") {
        writeln!(out, "  {}", style.dim(&format!("the function of {part} is known")))?;
    }
    for row in rows.iter().take(ROWS) {
        writeln!(out, "  {:>9}  {}", grouped(row.count), row.text())?;
    }
    more(rows.len(), style, out)
}

/// Writes how many events there were of each kind.
fn kinds(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out)?;
    let mut kinds: Vec<_> = report.events.by_kind.iter().collect();
    kinds.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), **name));
    for (name, count) in kinds {
        writeln!(out, "  {:>14}  {name}", grouped(*count))?;
    }
    Ok(())
}

/// Writes what was seen of page tables.
fn walker(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let Some(walker) = &report.walker else { return Ok(()) };
    // A count of 0 divergences says something only if something was compared.
    let compared = walker.counts.compared > 0;
    let counts = walker.counts.named().into_iter();
    let counts = counts.filter(|(name, n, _)| *n > 0 || *name == "divergences" && compared);
    let counts: Vec<String> = counts.map(|(name, n, _)| format!("{name} {}", grouped(n))).collect();
    writeln!(out, "\nwalker: {}", counts.join(", "))?;
    for (hazard, n) in walker.hazards.iter().filter(|(_, n)| **n > 0) {
        let title = Rule::find(hazard).map_or("", |r| r.title);
        writeln!(out, "  {:>14}  {hazard} {title}", grouped(*n))?;
    }
    Ok(())
}
