//! docs/rules.md

use std::fmt::Write as _;

use mmtrace_model::{
    examined_kernels::{EXAMINED_KERNELS, listed},
    verdict::{RULES, Rule, Severity},
};

use super::markdown::{code, head, table};

const INTRO: &str = "
mmtrace checks the events of a kernel against these rules. `mmtrace rules` lists them, and `mmtrace explain L01` prints
one. A rule that was never evaluated is *unknown*, not *held*. A rule whose events the kernel does not have is *not
observable*. [events.md](events.md) describes the events, and [glossary.md](glossary.md) the terms.

| severity | what breaking the rule means |
| --- | --- |
| violation | The kernel did what its own rules forbid. The run fails (exit status 1). |
| consistency | Events contradict each other: the kernel, the probes or the model is wrong. The run fails. |
| hazard | Something happened that is allowed and worth knowing. mmtrace counts it, and the run does not fail. |
| measure | Such a rule cannot be broken. mmtrace measures a distribution. |
";

/// The page.
pub(super) fn page() -> String {
    let mut text = head("Rules", "`mmtrace_model::verdict::RULES`, mmtrace-model/src/verdict/rules.rs");
    text.push_str(INTRO);
    let read = listed(EXAMINED_KERNELS.iter().filter(|kernel| kernel.has_rules_read));
    let _ = writeln!(text, "\nThe sources that the rules name were read in Linux {read}.\n");
    text.push_str(&table(
        &["rule", "severity", "title", "kernels"],
        RULES.iter().map(|rule| {
            let link = format!("[{}](#{})", rule.name, anchor(&format!("{} {}", rule.name, rule.title)));
            vec![link, rule.severity.name().to_owned(), rule.title.to_owned(), kernels(rule)]
        }),
    ));
    for rule in RULES {
        section(rule, &mut text);
    }
    text
}

fn section(rule: &Rule, text: &mut String) {
    let needs: Vec<String> = rule.needs.iter().map(|kind| code(kind.name())).collect();
    let _ = writeln!(text, "\n## {} {}", rule.name, rule.title);
    let mut add = |label: &str, what: &str| {
        let _ = writeln!(text, "\n**{label}.** {what}");
    };
    let example = rule.example.replace('`', "'");
    let mut limits = vec![kernels(rule)];
    if rule.x86_64 {
        limits.push("x86-64 only: it reads page-table entries".to_owned());
    }
    if rule.whole_system {
        limits
            .push("not with a filter (`--pid`, `--cgroup`, `--comm`): it needs the events of every process".to_owned());
    }
    let broken = match rule.severity {
        Severity::Violation | Severity::Consistency => "If violated",
        Severity::Hazard | Severity::Measure => "What it tells",
    };
    add("Rule", rule.statement);
    add("Why", rule.why);
    add("Source", rule.source);
    add("No false alarm", rule.sound);
    add(broken, rule.meaning);
    add("Example", &format!("`{example}`"));
    add("Severity", rule.severity.name());
    add("Observable", &format!("{}.", limits.join("; ")));
    add("Needs", &format!("{}.", needs.join(", ")));
}

fn kernels(rule: &Rule) -> String {
    match rule.before {
        Some(before) => format!("Linux {} to before {before}", rule.since),
        None => format!("Linux {} and later", rule.since),
    }
}

/// The anchor that Markdown renderers give a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_those_of_renderers() {
        assert_eq!(anchor("L01 mmap_lock: one writer at a time"), "l01-mmap_lock-one-writer-at-a-time");
    }
}
