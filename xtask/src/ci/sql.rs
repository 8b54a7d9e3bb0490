//! The sql lane: captures are read without us, and their tables joined.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use mmtrace::record::DEFAULT_DIR;
use mmtrace_capture::{Capture, write_tables};

use super::{Outcome, Run, lanes};
use crate::{process, setup::python_versions};

/// The capture that the examples run over, unless their mark names another one: it has names, cgroups and mappings.
const CAPTURE: &str = "6.18-cgroups";
/// The rows that they give.
const EXPECTED: &str = include_str!("sql_rows.txt");
/// The line before an example in README.md, without the folder in testdata/ of the capture that it runs over.
const MARK: (&str, &str) = ("<!-- test: sql", "-->");
/// Runs the queries and counts the rows.
const SCRIPT: &str = include_str!("sql.py");

/// Runs the SQL of README.md, and counts the rows of a capture.
pub(super) fn lane(run: &mut Run) -> Result<Outcome> {
    let workspace = &run.workspace;
    let readme = fs::read_to_string(workspace.path("README.md")).unwrap_or_default();
    let queries = queries(&readme);
    if queries.is_empty() {
        return Ok(Outcome::Failed(format!("README.md has no ```sql block after a line {} {}", MARK.0, MARK.1)));
    }
    let Some(versions) = python_versions(workspace) else {
        let step = run.setup.as_ref().map(|s| &s.python);
        return Ok(match step {
            Some(step) if run.ci && lanes::is_failed(step) => Outcome::Failed(format!("setup {step}")),
            Some(step) => Outcome::NotRun(format!("no duckdb and pyarrow: {step}")),
            None => Outcome::NotRun("no duckdb and pyarrow: cargo xtask setup".to_owned()),
        });
    };
    say!("{versions}");
    let path = |name: &str| workspace.path(&format!("testdata/{name}/capture"));
    let events = events(&path(CAPTURE))?;
    let folder = workspace.target.join("sql");
    let mut copies = BTreeMap::new();
    for name in queries.iter().map(|(name, _)| name.as_str()).chain([CAPTURE]) {
        if !copies.contains_key(name) {
            let copy = with_tables(&path(name), &folder.join(name))?;
            copies.insert(name, copy.to_string_lossy().into_owned());
        }
    }
    let mut python = process::command(workspace.venv().join("bin/python"), &workspace.root);
    python.args(["-c", SCRIPT, &copies[CAPTURE], &events.to_string(), EXPECTED]);
    python.args(queries.iter().map(|(name, query)| query.replace(DEFAULT_DIR, &copies[name.as_str()])));
    let finished = process::within(Duration::from_secs(300), &mut python)?;
    say!("{}", String::from_utf8_lossy(&finished.stdout).trim_end());
    Ok(if finished.status.success() {
        Outcome::Passed(format!("{} of README.md over {CAPTURE}; {events} rows", plural(queries.len())))
    } else {
        Outcome::Failed(format!("the SQL of README.md, or the rows of {CAPTURE}: see above"))
    })
}

/// Copies a capture, and writes its tables into the copy. Returns the copy.
fn with_tables(capture: &Path, copy: &Path) -> Result<PathBuf> {
    let failed = || format!("cannot copy {} to {}", capture.display(), copy.display());
    if copy.exists() {
        fs::remove_dir_all(copy).with_context(failed)?;
    }
    fs::create_dir_all(copy).with_context(failed)?;
    for entry in fs::read_dir(capture).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        fs::copy(entry.path(), copy.join(entry.file_name())).with_context(failed)?;
    }
    write_tables(&Capture::open(copy)?, |_| false)?;
    Ok(copy.to_path_buf())
}

fn plural(queries: usize) -> String {
    if queries == 1 { "1 query".to_owned() } else { format!("{queries} queries") }
}

/// Returns the number of events that the capture's manifest promises.
fn events(capture: &Path) -> Result<u64> {
    let manifest = capture.join("manifest.json");
    let text = fs::read(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    let manifest: serde_json::Value = serde_json::from_slice(&text)?;
    manifest["totals"]["events"].as_u64().with_context(|| format!("{CAPTURE}/manifest.json has no totals.events"))
}

/// The fenced SQL blocks that follow the mark, each with the name of its capture.
fn queries(readme: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = readme.lines();
    let marked = |line: &str| {
        let name = line.trim().strip_prefix(MARK.0)?.strip_suffix(MARK.1)?.trim();
        Some(if name.is_empty() { CAPTURE } else { name }.to_owned())
    };
    while let Some(name) = lines.find_map(marked) {
        let mut block = lines.by_ref().skip_while(|line| line.trim().is_empty());
        if block.next().is_some_and(|line| line.trim() == "```sql") {
            let query: Vec<&str> = block.take_while(|line| line.trim() != "```").collect();
            found.push((name, query.join("\n")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_blocks_are_found_and_others_are_not() {
        let readme = "# x\n```sql\nno\n```\n<!-- test: sql -->\n```sql\nSELECT 1\nFROM a\n```\ntext\n\
                      <!-- test: sql 6.18-x -->\n\n```sql\nSELECT 2\n```\n<!-- test: sql -->\n```sh\nno\n```\n";
        let expected = [(CAPTURE, "SELECT 1\nFROM a"), ("6.18-x", "SELECT 2")];
        assert_eq!(queries(readme), expected.map(|(name, query)| (name.to_owned(), query.to_owned())));
        assert!(queries("").is_empty());
    }
}
