//! The rules of a report, in three lines or as a table.

use std::io::{self, Write};

use super::{Report, RuleReport, Style, duration, grouped};
use crate::{
    model::measures::Measures,
    untrusted::clean,
    verdict::{Rule, Severity, Verdict},
};

/// Writes which rules held, and why others are unknown.
pub(super) fn summary(report: &Report, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let rules = report.rules.iter().filter(|r| r.severity != Severity::Measure);
    let of = |verdict| rules.clone().filter(move |r| r.verdict == verdict);
    let names = |verdict| of(verdict).map(|r| r.id).collect::<Vec<_>>().join(" ");
    for verdict in [Verdict::Violated, Verdict::Held] {
        let names = names(verdict);
        if !names.is_empty() {
            writeln!(out, "  {:<9} {names}", style.verdict(verdict, &format!("{:<9}", verdict.name())).trim_end())?;
        }
    }
    let held = of(Verdict::Held).filter_map(|rule| Some((rule.judged?.text(), rule.id)));
    for (text, names) in by_text(held) {
        writeln!(out, "            {}: {}", names.join(" "), style.dim(&text))?;
    }
    let unknown = of(Verdict::Unknown)
        .map(|rule| (rule.reason.clone().unwrap_or_else(|| "it was not evaluated".to_owned()), rule.id));
    for (reason, names) in by_text(unknown) {
        writeln!(out, "  {:<9} {}: {}", Verdict::Unknown.name(), names.join(" "), clean(&reason))?;
    }
    let unseen = of(Verdict::NotObservable).count();
    if unseen > 0 {
        let text = format!("{unseen} rules are not observable here: mmtrace doctor says why, --rules lists all");
        writeln!(out, "  {}", style.dim(&text))?;
    }
    Ok(())
}

/// The rules that the same is said of.
fn by_text<'a>(rules: impl Iterator<Item = (String, &'a str)>) -> Vec<(String, Vec<&'a str>)> {
    let mut texts: Vec<(String, Vec<&str>)> = Vec::new();
    for (text, name) in rules {
        match texts.iter_mut().find(|(known, _)| *known == text) {
            Some((_, names)) => names.push(name),
            None => texts.push((text, vec![name])),
        }
    }
    texts
}

/// Writes every rule, and every measurement.
pub(super) fn table(report: &Report, style: Style, out: &mut dyn Write) -> io::Result<()> {
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
            (None, _) if rule.judged.is_some() => {
                let text = rule.judged.map_or_else(String::new, |judged| judged.text());
                writeln!(out, " {}", style.dim(&format!("({text})")))?;
            }
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
