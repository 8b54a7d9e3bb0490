//! docs/seeds.md

use std::fmt::Write as _;

use anyhow::Result;
use mmtrace_explore::{
    scenario::{Expect, Live, Scenario, Variant, scenarios},
    schedule,
    search::{Found, Limits, MEMORY, Order, search},
    seeds::SEEDS,
    view,
};
use mmtrace_model::report::{Style, grouped};

use super::{code, head, table};

const INTRO: &str = "
Five mailing-list threads argued about how page tables and VMAs may be used. Each question is a *scenario* here: a few
threads that do what the kernel does, step by step, in every order in which they could. A variant is *safe* if none of
these orders breaks an [invariant](../mmtrace-model/src/model/invariant.rs); or else the shortest order that does is shown.
Try them: `mmtrace explore SC-4.1`. States and steps below are of the search breadth-first and without reduction.

Memory is sequentially consistent in these models: they say nothing about barriers.
";

/// The page.
///
/// # Errors
///
/// A scenario that does not fit into memory.
pub(super) fn page() -> Result<String> {
    let mut text = head("The five threads, and what the explorer found", "runs of every scenario in mmtrace-explore");
    text.push_str(INTRO);
    for seed in SEEDS {
        let _ = writeln!(text, "\n## Seed {}: {}\n\n{}.", seed.number, seed.subject.replace('|', "\\|"), seed.thread);
        let _ = writeln!(text, "\n**Asked.** {}\n\n**Merged.** {}", seed.question, seed.merged);
        for scenario in scenarios().filter(|s| s.seed == Some(seed.number)) {
            section(scenario, &mut text)?;
        }
    }
    text.push_str("\n## Beyond the threads: the VMA lock, and what belongs to several\n");
    for scenario in scenarios().filter(|s| s.seed.is_none()) {
        section(scenario, &mut text)?;
    }
    Ok(text)
}

fn section(scenario: &Scenario, text: &mut String) -> Result<()> {
    let _ = writeln!(
        text,
        "\n### {} {}\n\n{}\n\nSource: {}.",
        scenario.id, scenario.title, scenario.question, scenario.source
    );
    let mut rows = Vec::new();
    let mut shown = None;
    for variant in scenario.variants {
        let found = run(variant)?;
        let steps = found.broken.as_ref().map_or_else(String::new, |(moves, _)| moves.len().to_string());
        rows.push(vec![
            code(variant.id),
            variant.status.to_owned(),
            verdict(variant.expect),
            grouped(found.states as u64),
            steps,
            variant.why.to_owned(),
            live(variant.live),
        ]);
        if shown.is_none() && found.broken.is_some() {
            shown = Some((variant, found));
        }
    }
    text.push('\n');
    text.push_str(&table(&["variant", "status", "verdict", "states", "steps", "why", "live rules"], rows.into_iter()));
    if let Some((variant, found)) = shown {
        counterexample(variant, &found, text)?;
    }
    Ok(())
}

fn run(variant: &Variant) -> Result<Found> {
    Ok(search(&variant.world(), Order::Breadth, &mut Limits { memory: MEMORY, progress: &mut |_, _| {} })?)
}

fn verdict(expect: Expect) -> String {
    match expect {
        Expect::Safe => "safe".to_owned(),
        Expect::Breaks(invariant) => format!("**{}**", invariant.id()),
    }
}

fn live(live: Live) -> String {
    match live {
        Live::Quiet => "quiet".to_owned(),
        Live::Rule(rule) => format!("[{rule}](rules.md)"),
        Live::Unseen(why) => format!("not seen: {why}"),
    }
}

fn counterexample(variant: &Variant, found: &Found, text: &mut String) -> Result<()> {
    let Some((moves, broken)) = &found.broken else { return Ok(()) };
    let world = variant.world();
    let execution = schedule::run(&world, moves)?;
    let table = view::table(&world, &execution, Style::plain(), view::WIDTH);
    let statement = broken.invariant.statement();
    let _ = write!(
        text,
        "\n<details><summary>{}: how it breaks {}</summary>\n\n```text\n{table}\n{}: {}\nschedule: {}\n```\n\n</details>\n",
        code(variant.id),
        statement.id,
        statement.id,
        broken.why,
        schedule::print(&world, moves),
    );
    Ok(())
}
