//! `cargo xtask docs`: the reference pages, from the tables in the code.

mod coverage;
mod dashboard;
mod events;
mod kernels;
mod markdown;
mod paths;
mod protections;
mod report;
mod rules;
mod stale;
mod threads;

use std::fs;

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;

/// The command that writes them.
const COMMAND: &str = "cargo xtask docs";
/// Write docs/*.md from the tables in the code, or check that they are up to date
///
/// rules.md from mmtrace_model::verdict::RULES, events.md from mmtrace_common::SPECS, report.md from the
/// fields of the report, threads/*.md and protections.md from runs of the explorer, coverage.md, dashboard.md and the
/// screen in README.md from testdata/.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail if a page is not what would be written, if a page written by hand names other kernels than those
    /// that were examined, or if a path that pages and comments name is not there
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub(crate) fn command(args: &Args) -> Result<bool> {
    let workspace = Workspace::find()?;
    if args.check {
        return check(&workspace);
    }
    fs::create_dir_all(workspace.path(threads::FOLDER))
        .with_context(|| format!("cannot make the folder {}", threads::FOLDER))?;
    let pages = pages(&workspace)?;
    for (path, text) in &pages {
        fs::write(workspace.path(path), text).with_context(|| format!("cannot write {path}"))?;
        say!("{path}: {} lines", text.lines().count());
    }
    for path in stale::pages(&workspace, &pages)? {
        fs::remove_file(workspace.path(&path)).with_context(|| format!("cannot remove {path}"))?;
        say!("{path}: removed; no table makes it any more");
    }
    Ok(true)
}

/// Returns whether every page is what would be written, names the examined kernels, and every path that pages and doc
/// comments name exists; says what is not so.
pub(crate) fn check(workspace: &Workspace) -> Result<bool> {
    let mut same = true;
    let pages = pages(workspace)?;
    for (path, text) in &pages {
        match fs::read_to_string(workspace.path(path)) {
            Ok(there) if there == *text => say!("{path}: up to date"),
            Ok(there) => {
                let line = there.lines().zip(text.lines()).take_while(|(a, b)| a == b).count() + 1;
                say!("{path}: not what the tables in the code say, from line {line} on. Write it anew: {COMMAND}");
                same = false;
            }
            Err(error) => {
                say!("{path}: cannot be read ({error}). Write it: {COMMAND}");
                same = false;
            }
        }
    }
    for path in stale::pages(workspace, &pages)? {
        say!("{path}: no table makes it any more. Remove it: {COMMAND}");
        same = false;
    }
    for wrong in kernels::contradictions(workspace)? {
        say!("{wrong} (mmtrace-model/src/examined_kernels.rs)");
        same = false;
    }
    for missing in paths::missing(workspace)? {
        say!("{}:{}: there is no {}", missing.file, missing.line, missing.path);
        same = false;
    }
    Ok(same)
}

/// Returns every page that is generated, with its path.
fn pages(workspace: &Workspace) -> Result<Vec<(String, String)>> {
    let mut pages = threads::pages()?;
    let others = [
        ("docs/rules.md", rules::page()),
        ("docs/events.md", events::page()),
        ("docs/report.md", report::page()),
        ("docs/coverage.md", coverage::page(workspace)?),
        ("docs/protections.md", protections::page()?),
        ("docs/dashboard.md", dashboard::page(workspace)?),
        ("README.md", dashboard::readme(workspace)?),
    ];
    pages.extend(others.into_iter().map(|(path, text)| (path.to_owned(), text)));
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_every_rule_and_event() {
        let (rules, events) = (rules::page(), events::page());
        for rule in mmtrace_model::verdict::RULES {
            assert!(rules.contains(&format!("## {} ", rule.name)), "{}", rule.name);
        }
        for spec in mmtrace_common::SPECS {
            assert!(events.contains(&format!("### {}\n", spec.name)), "{}", spec.name);
        }
    }
}
