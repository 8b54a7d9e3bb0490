//! docs/threads/: a page for each mailing-list thread, one for the scenarios that come from none, and their index.

use std::fmt::Write as _;

use anyhow::Result;
use mmtrace_explore::{
    Expect, Found, Limits, Live, Order, Scenario, Variant,
    mailing_list::{MailingListThread, THREADS},
    scenarios, schedule, search, view,
};
use mmtrace_model::report::{Style, grouped};

use super::markdown::{code, head, table};

/// The folder of the pages.
pub(super) const FOLDER: &str = "docs/threads";
/// The source of the pages.
const OF: &str = "runs of every scenario in mmtrace-explore";
/// The page of the scenarios that come from no thread.
const NO_THREAD: &str = "no_thread.md";
const NO_THREAD_TITLE: &str = "Scenarios that come from no thread: the VMA lock, the mmap_lock, TLBs";

const INTRO: &str = "
Five mailing-list threads discuss how the kernel may use page tables and VMAs. mmtrace turns each question into a
*scenario*: a few threads of execution do the kernel's work, step by step, in every order in which they can run. A
variant is *safe* if none of these orders breaks an [invariant](../../mmtrace-model/src/model/invariant.rs). Otherwise
the page shows the shortest order that breaks one. `mmtrace explore SC-4.1` runs a scenario. States and steps are those
of the breadth-first search without reduction.

Memory is sequentially consistent in these models, so they say nothing about barriers.
";

/// Returns every page with its path.
///
/// # Errors
///
/// A scenario that does not fit into memory.
pub(super) fn pages() -> Result<Vec<(String, String)>> {
    let mut pages = vec![(format!("{FOLDER}/README.md"), index())];
    for thread in THREADS {
        let mut text = head(&title(thread), OF);
        let _ =
            writeln!(text, "\n{}. This is number {} of the [five threads](README.md).", thread.posted, thread.number);
        let _ = writeln!(text, "\n**Question.** {}\n\n**Answer.** {}", thread.question, thread.merged);
        sections(Some(thread), &mut text)?;
        pages.push((format!("{FOLDER}/{}", file(thread)), text));
    }
    let mut text = head(NO_THREAD_TITLE, OF);
    text.push_str("\nThese scenarios are about objects that several of the [five threads](README.md) rely on.\n");
    sections(None, &mut text)?;
    pages.push((format!("{FOLDER}/{NO_THREAD}"), text));
    Ok(pages)
}

fn title(thread: &MailingListThread) -> String {
    thread.subject.replace('|', "\\|")
}

fn file(thread: &MailingListThread) -> String {
    format!("{}.md", thread.name)
}

fn index() -> String {
    let mut text = head("The five threads, and what the explorer found", OF);
    text.push_str(INTRO);
    for thread in THREADS {
        let _ = writeln!(text, "\n## [{}]({})\n\n{}.\n", title(thread), file(thread), thread.posted);
        list(Some(thread), &file(thread), &mut text);
    }
    let _ = writeln!(text, "\n## [{NO_THREAD_TITLE}]({NO_THREAD})\n");
    list(None, NO_THREAD, &mut text);
    text
}

fn of(thread: Option<&'static MailingListThread>) -> impl Iterator<Item = &'static Scenario> {
    scenarios::all().filter(move |s| s.thread == thread)
}

fn list(thread: Option<&'static MailingListThread>, file: &str, text: &mut String) {
    for scenario in of(thread) {
        let _ = writeln!(text, "- [{}]({file}#{}) {}", scenario.id, anchor(scenario), scenario.title);
    }
}

/// The anchor that Markdown viewers give the heading of a scenario's section.
fn anchor(scenario: &Scenario) -> String {
    heading(scenario)
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c => (c.is_alphanumeric() || c == '-' || c == '_').then_some(c),
        })
        .collect()
}

fn heading(scenario: &Scenario) -> String {
    format!("{} {}", scenario.id, scenario.title)
}

fn sections(thread: Option<&'static MailingListThread>, text: &mut String) -> Result<()> {
    for scenario in of(thread) {
        section(scenario, text)?;
    }
    Ok(())
}

fn section(scenario: &Scenario, text: &mut String) -> Result<()> {
    let _ = writeln!(text, "\n## {}\n\n{}\n\nSource: {}.", heading(scenario), scenario.question, scenario.source);
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
    Ok(search(&variant.world(), Order::Breadth, &mut Limits::default())?)
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
        Live::Rule(rule) => format!("[{rule}](../rules.md)"),
        Live::Unseen(why) => format!("not seen: {why}"),
    }
}

fn counterexample(variant: &Variant, found: &Found, text: &mut String) -> Result<()> {
    let Some((moves, broken)) = &found.broken else { return Ok(()) };
    let world = variant.world();
    let execution = schedule::run(&world, moves)?;
    let table = view::table(&world, &execution, Style::plain(), view::WIDTH);
    let _ = write!(
        text,
        "\n<details><summary>{}: how it breaks {}</summary>\n\n```text\n{table}\n{}: {}\nschedule: {}\n```\n\n</details>\n",
        code(variant.id),
        broken.property.id,
        broken.property.id,
        broken.why,
        schedule::print(&world, moves),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_has_every_scenario() {
        let index = index();
        for scenario in scenarios::all() {
            assert!(index.contains(&format!("- [{}](", scenario.id)), "{}", scenario.id);
        }
        assert!(index.contains("(retract.md#sc-41-"), "{index}");
    }
}
