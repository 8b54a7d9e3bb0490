//! Paths of this repository that pages and doc comments name: whether they exist.

use std::fs;

use anyhow::{Context as _, Result};

use crate::{process, workspace::Workspace};

/// A path that begins with one of these is of this repository, however it ends.
const TOP: [&str; 5] = ["mmtrace", "xtask", "docs", "testdata", "dashboards"];
/// A path that ends so may be of this repository.
const ENDINGS: [&str; 5] = [".rs", ".md", ".toml", ".json", "/"];
/// A path that begins with one of these is the kernel's, unless it is here.
const KERNEL: [&str; 12] =
    ["mm", "include", "arch", "fs", "Documentation", "kernel", "lib", "tools", "drivers", "net", "rust", "scripts"];
/// Paths that are of neither, and may be named all the same: those of other programs, or made while mmtrace runs.
const EXCEPTIONS: &[&str] = &[
    // In the results of `cargo xtask vm`.
    "kept/",
];

/// A path that is named and does not exist.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// The file that names it, by its path from the top.
    pub(super) file: String,
    /// The line there, from 1.
    pub(super) line: usize,
    /// The path as it is named, with braces expanded.
    pub(super) path: String,
}

/// Returns the paths that Markdown files and doc comments name and that do not exist.
///
/// # Errors
///
/// Git does not list the files, or one cannot be read.
pub(super) fn missing(workspace: &Workspace) -> Result<Vec<Missing>> {
    let mut git = process::command("git", &workspace.root);
    let listed = process::output(git.args(["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    let files: Vec<String> = String::from_utf8_lossy(&listed)
        .lines()
        .filter(|file| fs::symlink_metadata(workspace.path(file)).is_ok())
        .map(str::to_owned)
        .collect();
    let tree = Tree::new(&files);
    let mut missing = Vec::new();
    for file in files.iter().filter(|f| f.ends_with(".md") || f.ends_with(".rs")) {
        let text = fs::read_to_string(workspace.path(file)).with_context(|| format!("cannot read {file}"))?;
        let named = if file.ends_with(".md") { in_markdown(&text) } else { in_doc_comments(&text) };
        for (line, path) in named.into_iter().flat_map(|(line, path)| expand(path).into_iter().map(move |p| (line, p)))
        {
            if !tree.has(&path) && !is_foreign(&path) {
                missing.push(Missing { file: file.clone(), line, path });
            }
        }
    }
    Ok(missing)
}

/// The files, each with a slash before it and its folders, which have one after them too.
struct Tree(Vec<String>);

impl Tree {
    fn new(files: &[String]) -> Self {
        let mut all: Vec<String> = Vec::new();
        for file in files {
            let file = format!("/{file}");
            all.extend(file.match_indices('/').skip(1).map(|(at, _)| file[..=at].to_owned()));
            all.push(file);
        }
        all.sort();
        all.dedup();
        Self(all)
    }

    /// Returns whether there is such a path, from the top or from a folder: `protocol/layout.rs` is that of a crate.
    fn has(&self, path: &str) -> bool {
        let end = format!("/{path}");
        // A folder may be named without the slash after it.
        self.0.iter().any(|there| ends_with(there, &end) || there.strip_suffix('/').is_some_and(|t| ends_with(t, &end)))
    }
}

/// Returns whether `text` ends with `end`, where each `*` stands for anything within a name.
fn ends_with(text: &str, end: &str) -> bool {
    match end.rsplit_once('*') {
        None => text.ends_with(end),
        Some((before, after)) => text.strip_suffix(after).is_some_and(|rest| {
            let name = rest.rfind('/').map_or(0, |slash| slash + 1);
            (name..=rest.len()).any(|at| rest.is_char_boundary(at) && ends_with(&rest[..at], before))
        }),
    }
}

fn is_foreign(path: &str) -> bool {
    let first = path.split('/').next().unwrap_or(path);
    KERNEL.contains(&first) || EXCEPTIONS.contains(&path)
}

/// Returns the paths that a page names in backticks, with their lines. Blocks of code name none.
fn in_markdown(text: &str) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            found.extend(spans(line).filter_map(path_in).map(|path| (number + 1, path)));
        }
    }
    found
}

/// Returns the paths that doc comments name: in backticks, or bare ones that begin with a folder at the top.
fn in_doc_comments(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let Some(line) = line.strip_prefix("//!").or_else(|| line.strip_prefix("///")) else { continue };
        found.extend(spans(line).filter_map(path_in).map(|path| (number + 1, path)));
        // Text between spans: every second piece.
        let bare = line.split('`').step_by(2).flat_map(str::split_whitespace);
        let bare = bare.map(|word| word.trim_matches(|c: char| !c.is_alphanumeric() && c != '/'));
        found.extend(bare.filter(|word| begins_at_top(word)).filter_map(path_in).map(|path| (number + 1, path)));
    }
    found
}

/// Returns what stands in backticks.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    // An odd piece is closed only if another one follows.
    let pieces = line.split('`').collect::<Vec<_>>();
    let closed = pieces.len().saturating_sub(1);
    pieces.into_iter().take(closed).skip(1).step_by(2)
}

/// Returns the path, if this looks like one of this repository; without the line or the function named after a colon.
fn path_in(text: &str) -> Option<&str> {
    let path = text.split(':').next().unwrap_or(text);
    let is_path_char = |c: char| c.is_ascii_alphanumeric() || "_-./{},*+".contains(c);
    // The name of a source file needs no folder.
    let relative = (path.contains('/') || path.ends_with(".rs"))
        && !path.starts_with(['/', '.', '-', '*'])
        && path.chars().all(is_path_char);
    (relative && (begins_at_top(path) || ENDINGS.iter().any(|ending| path.ends_with(ending)))).then_some(path)
}

fn begins_at_top(path: &str) -> bool {
    path.split_once('/').is_some_and(|(first, _)| TOP.contains(&first) || first.starts_with("mmtrace-"))
}

/// Expands lists in braces: `docs/{rules,events}.md` names two pages.
fn expand(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let Some((list, after)) = rest.split_once('}') else { return vec![path.to_owned()] };
    list.split(',').flat_map(|name| expand(&format!("{before}{name}{after}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_in_backticks_and_outside_code() {
        let page = "see `docs/a.md` and docs/b.md\n```sh\ncat `docs/c.md`\n```\n`mm/memory.c`, `x/y.rs:12`, `a / b/`, `no`d/e.rs`\n";
        assert_eq!(in_markdown(page), [(1, "docs/a.md"), (5, "x/y.rs")]);
    }

    #[test]
    fn doc_comments_name_paths_bare_if_they_begin_at_the_top() {
        let code = "//! Models: testdata/promela, and mm/rmap.c.\n    /// `a/{b,c}.rs`\nlet x = \"docs/no.md\"; // docs/no.md\n";
        assert_eq!(in_doc_comments(code), [(1, "testdata/promela"), (2, "a/{b,c}.rs")]);
    }

    #[test]
    fn what_is_no_path_of_ours_is_left_alone() {
        for text in [
            "/proc/self/maps.json",
            "~/.cargo/config.toml",
            "SC-4.1",
            "a b/c.rs",
            "mmtrace",
            "x.json",
            "*.rs",
            "<dir>/x.json",
            "../x.md",
        ] {
            assert_eq!(path_in(text), None, "{text}");
        }
        assert_eq!(path_in("mmtrace-ebpf/src/standby"), Some("mmtrace-ebpf/src/standby"));
        assert_eq!(path_in("search.rs:fn"), Some("search.rs"));
    }

    #[test]
    fn a_path_may_begin_at_any_folder_and_have_stars() {
        let tree = Tree::new(&["a/src/b/c.rs".to_owned(), "docs/t/x.md".to_owned()]);
        for path in ["a/src/b/c.rs", "b/c.rs", "src/b/", "a/src", "docs/*.md", "docs/t/*.md", "b/*.rs", "docs/*/x.md"] {
            assert_eq!(tree.has(path), path != "docs/*.md", "{path}");
        }
        assert!(!tree.has("c/b.rs") && !tree.has("/c.rs/") && !tree.has("b/c"));
    }

    #[test]
    fn lists_in_braces_are_expanded() {
        assert_eq!(expand("a/{b,c}/{d,e}.rs"), ["a/b/d.rs", "a/b/e.rs", "a/c/d.rs", "a/c/e.rs"]);
        assert_eq!(expand("a/{b"), ["a/{b"]);
    }

    #[test]
    fn a_kernel_folder_is_foreign() {
        assert!(is_foreign("include/linux/") && is_foreign("mm/") && !is_foreign("protocol/seeds.rs"));
    }
}
