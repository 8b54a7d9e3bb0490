//! `mmtrace rules` and `mmtrace explain`: what is checked, and why.

use std::io::{self, Write};

use clap::Args;
use mmtrace_model::{
    report::{Style, wrap},
    untrusted::{clean, json},
    verdict::{RULES, Rule, Severity},
};
use serde::Serialize;

use crate::console::complain;

/// The page that defines the terms of the rules.
const GLOSSARY: &str = "docs/glossary.md";

/// Arguments of `mmtrace rules`.
#[derive(Args, Debug)]
pub struct RulesArgs {
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `mmtrace explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// A rule, such as L01
    #[arg(value_name = "RULE")]
    pub rule: String,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Row {
    id: &'static str,
    title: &'static str,
    severity: Severity,
    statement: &'static str,
    why: &'static str,
    source: &'static str,
    sound: &'static str,
    meaning: &'static str,
    example: &'static str,
    needs: Vec<&'static str>,
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    whole_system: bool,
}

impl Row {
    fn new(rule: &'static Rule) -> Self {
        Self {
            id: rule.name,
            title: rule.title,
            severity: rule.severity,
            statement: rule.statement,
            why: rule.why,
            source: rule.source,
            sound: rule.sound,
            meaning: rule.meaning,
            example: rule.example,
            needs: rule.needs.iter().map(|k| k.name()).collect(),
            since: rule.since.to_string(),
            before: rule.before.map(|before| before.to_string()),
            whole_system: rule.whole_system,
        }
    }
}

/// Lists the rules.
///
/// # Errors
/// `out` cannot be written.
pub fn list(args: &RulesArgs, out: &mut dyn Write, style: Style) -> io::Result<()> {
    if args.json {
        json(&RULES.iter().map(Row::new).collect::<Vec<_>>(), out)?;
        return writeln!(out);
    }
    for rule in RULES {
        writeln!(out, "{}  {:<12} {}", style.bold(&format!("{:<4}", rule.name)), rule.severity.name(), rule.title)?;
    }
    writeln!(out, "\nmmtrace explain RULE tells what each is about.")
}

/// Explains one rule. `Ok(false)`: there is no such rule, and the sentence is on standard error.
///
/// # Errors
/// `out` cannot be written.
pub fn explain(args: &ExplainArgs, out: &mut dyn Write, style: Style) -> io::Result<bool> {
    let Some(rule) = Rule::find(&args.rule) else {
        let names: Vec<&str> = RULES.iter().map(|r| r.name).collect();
        complain(format_args!("there is no rule {}; there are {}", clean(&args.rule), names.join(", ")));
        return Ok(false);
    };
    let row = Row::new(rule);
    if args.json {
        json(&row, out)?;
        writeln!(out)?;
        return Ok(true);
    }
    let kernels = match &row.before {
        Some(before) => format!("{} to before {before}", row.since),
        None => format!("{} and later", row.since),
    };
    writeln!(out, "{}", style.bold(&format!("{}  {}", rule.name, rule.title)))?;
    for (label, text) in [
        ("Rule", row.statement),
        ("Why", row.why),
        ("Source", row.source),
        ("No false alarm", row.sound),
        ("If violated", row.meaning),
        ("Example", row.example),
        ("Severity", rule.severity.name()),
        ("Kernels", &kernels),
        ("Needs", &row.needs.join(", ")),
        ("With a filter", if rule.whole_system { "not observable" } else { "observable" }),
    ] {
        writeln!(out, "\n{}", style.bold(label))?;
        for line in wrap(text, 78) {
            writeln!(out, "  {line}")?;
        }
    }
    writeln!(out, "\nTerms: {GLOSSARY}")?;
    Ok(true)
}
