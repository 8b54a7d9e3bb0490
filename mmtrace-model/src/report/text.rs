//! The report for people.

use std::io::{self, Write};

use super::{Report, RuleReport, Style, duration, grouped};
use crate::{
    model::{faults::address_space::Cause, measures::Measures},
    untrusted::clean,
    verdict::{Rule, Severity, Verdict},
};

/// Writes it.
pub(super) fn print(report: &Report, style: Style, out: &mut dyn Write) -> io::Result<()> {
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
        write!(out, ", {}", missing(report.gaps, "gaps in the capture"))?;
    }
    if report.foreign > 0 {
        // No program of ours: a record was damaged, or something else writes into the rings.
        write!(
            out,
            ", {}",
            missing(report.foreign, "records that no program of mmtrace wrote (events may be missing)")
        )?;
    }
    writeln!(out)?;
    if let Some(filter) = &report.filter {
        writeln!(out, "only {}", clean(filter))?;
    }
    writeln!(out)?;
    let mut kinds: Vec<_> = report.events.by_kind.iter().collect();
    kinds.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), **name));
    for (name, count) in kinds {
        writeln!(out, "  {:>14}  {name}", grouped(*count))?;
    }
    if !report.faults.is_empty() {
        let mut causes: Vec<_> = report.faults.iter().collect();
        causes.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), **name));
        let causes: Vec<String> = causes.iter().map(|(n, c)| format!("{} {}", grouped(**c), in_words(n))).collect();
        writeln!(out, "\nfaults: {}", causes.join(", "))?;
    }
    if let Some(text) = report.faults_coverage.and_then(|coverage| coverage.text("faults")) {
        let before = if report.faults.is_empty() { "\n" } else { "" };
        writeln!(out, "{before}  {}", style.bad(&format!("causes are those of {text}")))?;
    }
    if let Some(walker) = &report.walker {
        // That nothing diverges says something only where something was compared.
        let compared = walker.counts.compared > 0;
        let counts = walker.counts.named().into_iter();
        let counts = counts.filter(|(name, n, _)| *n > 0 || *name == "divergences" && compared);
        let counts: Vec<String> = counts.map(|(name, n, _)| format!("{name} {}", grouped(n))).collect();
        writeln!(out, "\nwalker: {}", counts.join(", "))?;
        for (hazard, n) in walker.hazards.iter().filter(|(_, n)| **n > 0) {
            let title = Rule::find(hazard).map_or("", |r| r.title);
            writeln!(out, "  {:>14}  {hazard} {title}", grouped(*n))?;
        }
    }
    let Some(verdict) = report.verdict else {
        return writeln!(out, "\nnot validated: --no-validate was given");
    };
    rules(report, style, out)?;
    for story in &report.violations {
        writeln!(out)?;
        story.print(style, out)?;
    }
    for rule in report.rules.iter().filter(|r| r.severity.can_fail()) {
        let told = report.violations.iter().filter(|story| story.rule == rule.id).count();
        if rule.violations > told as u64 {
            let text = format!("{}: the first {told} of {} violations are told", rule.id, grouped(rule.violations));
            writeln!(out, "\n{}", style.dim(&text))?;
        }
    }
    let count = |v| report.rules.iter().filter(|r| r.severity != Severity::Measure && r.verdict == v).count();
    writeln!(
        out,
        "\n{}: {} rules held, {} violated, {} unknown, {} not observable here",
        style.verdict(verdict, verdict.name()),
        count(Verdict::Held),
        count(Verdict::Violated),
        count(Verdict::Unknown),
        count(Verdict::NotObservable)
    )
}

/// A cause of faults for people.
fn in_words(cause: &str) -> &str {
    Cause::ALL.iter().find(|c| c.name() == cause).map_or(cause, |c| c.words())
}

fn rules(report: &Report, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let head = format!("  {:<4} {:<14} {:>13} {:>10}  ", "rule", "verdict", "evaluated", "violated");
    writeln!(out, "\n{}", style.bold(&head))?;
    for rule in report.rules.iter().filter(|r| r.severity != Severity::Measure) {
        let verdict = format!("{:<14}", rule.verdict.name().replace('_', " "));
        let title = Rule::find(rule.id).map_or("", |r| r.title);
        write!(
            out,
            "  {:<4} {} {:>13} {:>10}  {title}",
            rule.id,
            style.verdict(rule.verdict, &verdict),
            grouped(rule.evaluations),
            grouped(rule.violations)
        )?;
        match (&rule.reason, rule.severity) {
            (Some(reason), _) => writeln!(out, " {}", style.dim(&format!("({})", clean(reason))))?,
            (None, Severity::Hazard) => writeln!(out, " {}", style.dim("(counted; breaks nothing)"))?,
            (None, _) => writeln!(out)?,
        }
    }
    let part = |r: &RuleReport| r.coverage.is_some_and(|coverage| !coverage.is_whole());
    let measured: Vec<_> = report.rules.iter().filter(|r| r.measured.is_some() || part(r)).collect();
    if measured.is_empty() {
        return Ok(());
    }
    let head = format!("  {:<4} {:>13} {:>10} {:>10} {:>10}  ", "", "count", "median", "p99", "longest");
    writeln!(out, "\n{}", style.bold(&head))?;
    for rule in measured {
        let found = Rule::find(rule.id);
        let title = found.map_or("", |r| r.title);
        let count = grouped(rule.measured.map_or(0, |m| m.count));
        let times = rule.measured.map(|m| [m.p50_ns, m.p99_ns, m.max_ns].map(duration));
        let [p50, p99, max] = times.unwrap_or_else(|| ["-"; 3].map(str::to_owned));
        write!(out, "  {:<4} {count:>13} {p50:>10} {p99:>10} {max:>10}  {title}", rule.id)?;
        match rule.coverage.zip(found).and_then(|(coverage, r)| coverage.text(Measures::covered(r.id))) {
            Some(text) => writeln!(out, " {}", style.bad(&format!("({text})")))?,
            None => writeln!(out)?,
        }
        for o in &rule.worst {
            let held = if o.vma == 0 { "the mmap_lock".to_owned() } else { format!("VMA {:#x}", o.vma) };
            writeln!(
                out,
                "       {:>10}  task {} held {held} of mm {:#x} and waited for a migration at {:#x}; task {} waited for it",
                duration(o.ns),
                o.waiter,
                o.mm,
                o.addr,
                o.writer
            )?;
        }
    }
    Ok(())
}
