//! A search and an execution as text.

use std::{fmt::Write as _, time::Duration};

use mmtrace_model::report::{Style, grouped, wrap};
use serde_json::{Value, json};

use super::{
    protocol::World,
    scenario::{Expect, Scenario, Variant},
    schedule::{self, Execution},
    search::Found,
};
use crate::system::{Broken, Move, Protocol, System, Tid};

/// Columns that a table takes when the width of the terminal is not known.
pub const WIDTH: usize = 120;
/// Narrowest useful column.
const COLUMN: usize = 18;

/// Returns an execution as a table: time goes down, each thread that takes a step has a column, and the last column has what
/// the threads hold.
#[must_use]
pub fn table<P: Protocol>(system: &System<P>, execution: &Execution<P::Event>, style: Style, width: usize) -> String {
    let threads: Vec<Tid> =
        (0..system.threads() as Tid).filter(|t| execution.lines.iter().any(|l| l.tid == *t)).collect();
    let columns = threads.len() + 1;
    let each = (width.saturating_sub(5 + 2 * columns) / columns).max(COLUMN);
    let mut out = String::new();
    let head: Vec<String> =
        threads.iter().map(|t| system.thread_name(*t).to_owned()).chain(["held".to_owned()]).collect();
    let head: Vec<String> = head.iter().map(|h| format!("{h:<each$}")).collect();
    let _ = writeln!(out, "{}", style.bold(format!("  #  {}", head.join("  ")).trim_end()));
    let mut function: Vec<&str> = vec![""; system.threads()];
    for (number, line) in execution.lines.iter().enumerate() {
        let mut cell = Vec::new();
        if function[usize::from(line.tid)] != line.function {
            function[usize::from(line.tid)] = line.function;
            cell.extend(fit(&format!("{}:", line.function), each));
        }
        cell.extend(fit(&line.text, each.saturating_sub(1)).into_iter().map(|l| format!(" {l}")));
        cell.extend(line.notes.iter().flat_map(|n| fit(n, each.saturating_sub(5))).map(|n| format!("   > {n}")));
        let held = line.held.iter().map(|(t, locks)| format!("{}: {}", system.thread_name(*t), locks.join(", ")));
        let held = fit(&held.collect::<Vec<_>>().join("; "), each);
        let column = threads.iter().position(|t| *t == line.tid).unwrap_or(0);
        for row in 0..cell.len().max(held.len()) {
            let number = if row == 0 { format!("{:>3}", number + 1) } else { "   ".to_owned() };
            let mut text = format!("{number}  ");
            for at in 0..threads.len() {
                let part = if at == column { cell.get(row).map_or("", String::as_str) } else { "" };
                let _ = write!(text, "{part:<each$}  ");
            }
            text.push_str(held.get(row).map_or("", String::as_str));
            let _ = writeln!(out, "{}", text.trim_end());
        }
    }
    out
}

/// Returns the text as lines that fit into a column. A longer name goes on in the next line, after a `_` or `(`.
fn fit(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in wrap(text, width) {
        let mut rest = line.as_str();
        while let Some((limit, _)) = rest.char_indices().nth(width) {
            let end = rest[..limit].rfind(['_', '(']).map_or(limit, |at| at + 1);
            let (part, next) = rest.split_at(end);
            lines.push(part.to_owned());
            rest = next;
        }
        lines.push(rest.to_owned());
    }
    lines
}

/// Returns what happened, and the property that it breaks.
#[must_use]
pub fn broken(broken: &Broken, style: Style) -> String {
    let property = broken.property;
    let rule = wrap(&format!("the rule: {} ({})", property.statement, property.source), WIDTH - 2);
    format!("{} broken: {}\n  {}\n", style.bad(property.id), broken.why, rule.join("\n  "))
}

/// Returns a duration with its unit.
#[must_use]
pub fn took(elapsed: Duration) -> String {
    mmtrace_model::report::duration(elapsed.as_nanos() as u64)
}

/// Returns the expected verdict in a word: `safe`, or the id of an invariant.
#[must_use]
pub fn expected(expect: Expect) -> String {
    match expect {
        Expect::Safe => "safe".to_owned(),
        Expect::Breaks(invariant) => invariant.id().to_owned(),
    }
}

/// Returns the verdict of a search in a word: `safe`, or the id of the property that is broken.
#[must_use]
pub fn verdict(found: &Found) -> String {
    found.broken.as_ref().map_or_else(|| "safe".to_owned(), |(_, b)| b.property.id.to_owned())
}

/// Returns the result of a search for scripts.
#[must_use]
pub fn json(scenario: &Scenario, variant: &Variant, world: &World, found: &Found, as_expected: bool) -> Value {
    let mut value = json!({
        "scenario": scenario.id,
        "variant": variant.id,
        "verdict": verdict(found),
        "expected": expected(variant.expect),
        "as_expected": as_expected,
        "why": variant.why,
        "states": found.states,
        "transitions": found.transitions,
        "depth": found.depth,
        "seconds": found.elapsed.as_secs_f64(),
    });
    if let Some((moves, broken)) = &found.broken {
        value["broken"] = json!({
            "invariant": broken.property.id,
            "statement": broken.property.statement,
            "why": broken.why,
        });
        value["schedule"] = json!(schedule::print(world, moves));
        value["steps"] = steps(world, moves);
    }
    value
}

fn steps(world: &World, moves: &[Move]) -> Value {
    let Ok(execution) = schedule::run(world, moves) else { return Value::Null };
    let lines = execution.lines.iter().map(|line| {
        let held: serde_json::Map<String, Value> =
            line.held.iter().map(|(t, locks)| (world.thread_name(*t).to_owned(), json!(locks))).collect();
        json!({
            "thread": world.thread_name(line.tid),
            "function": line.function,
            "text": line.text,
            "notes": line.notes,
            "held": held,
        })
    });
    Value::Array(lines.collect())
}

/// Returns how much a search looked at, and for how long.
#[must_use]
pub fn effort(found: &Found) -> String {
    format!(
        "{} states, {} transitions, depth {}, {}",
        grouped(found.states as u64),
        grouped(found.transitions as u64),
        found.depth,
        took(found.elapsed)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_its_column() {
        assert_eq!(fit("spin_lock(ptl) of A", 14), ["spin_lock(ptl)", "of A"]);
        let long = fit("mmu_notifier_invalidate_range_start(&range)", 20);
        assert_eq!(long, ["mmu_notifier_", "invalidate_range_", "start(&range)"]);
        assert_eq!(fit("ABCDEFGHIJ", 4), ["ABCD", "EFGH", "IJ"]);
    }
}
