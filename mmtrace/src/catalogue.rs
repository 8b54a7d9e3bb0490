//! `mmtrace rules` and `mmtrace explain`: the rules, and why they hold.

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
#[command(after_help = "\
Examples:
  mmtrace rules                                      one line for each rule
  mmtrace rules --json | jq '.[] | select(.id == \"L25\")'
  mmtrace explain L25                                everything about one rule")]
pub struct RulesArgs {
    /// Print an array of JSON objects, one for each rule
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `mmtrace explain`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mmtrace explain L25         what the rule says, why it holds, and what a violation means
  mmtrace explain L25 --json

docs/glossary.md defines the terms. `mmtrace rules` lists the rules.")]
pub struct ExplainArgs {
    /// Name of the rule, such as L01
    #[arg(value_name = "RULE")]
    pub(crate) rule: String,
    /// Print one JSON object
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
    writeln!(out, "\n`mmtrace explain RULE` explains one rule.")
}

/// Explains one rule. `Ok(false)`: there is no such rule, and the sentence is on standard error.
///
/// # Errors
/// `out` cannot be written.
pub fn explain(args: &ExplainArgs, out: &mut dyn Write, style: Style) -> io::Result<bool> {
    let Some(rule) = Rule::find(&args.rule) else {
        let names: Vec<&str> = RULES.iter().map(|r| r.name).collect();
        complain(format_args!("there is no rule {}; the rules are {}", clean(&args.rule), names.join(", ")));
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
    let meaning = if rule.severity.can_fail() { "If violated" } else { "What it tells" };
    writeln!(out, "{}", style.bold(&format!("{}  {}", rule.name, rule.title)))?;
    for (label, text) in [
        ("Rule", row.statement),
        ("Why", row.why),
        ("Source", row.source),
        ("No false alarm", row.sound),
        (meaning, row.meaning),
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
