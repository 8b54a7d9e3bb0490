//! Whether modules that stand side by side import each other in a circle.
//!
//! A module and the modules below it are one noun, and may use each other. To its siblings it is one thing: if something
//! below `tui` uses something below `record`, nothing below `record` may use something below `tui`, not by way of others
//! either. Tests are left out: they come after all modules.
//!
//! The uses of a module are read from its text: its `use` declarations, and paths that begin with `crate`, `super`,
//! `self`, a module below it, or a module that it has imported. A name that another module only re-exports leads to the
//! module that has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;

/// Folders of a package that hold tests, examples and benchmarks.
const TESTS: [&str; 3] = ["tests", "examples", "benches"];

/// A module's place: its crate's name, then the names of modules.
type Place = Vec<String>;

/// The children, the imports and the paths in one module's text.
#[derive(Debug, Default)]
struct Module {
    /// Modules below it that have a file.
    children: Vec<String>,
    /// `use` declarations: the path, the name that it gets here, how many inline modules it stands in.
    uses: Vec<(Vec<String>, String, usize)>,
    /// Paths in the code, and how many inline modules each stands in.
    paths: Vec<(Vec<String>, usize)>,
}

/// The modules of one library, program or test, and the files that they are in.
#[derive(Debug, Default)]
struct Tree {
    /// Those that are not for tests only.
    modules: BTreeMap<Place, Module>,
    /// All.
    files: BTreeSet<PathBuf>,
}

/// Returns a line for each circle in any crate of the workspace.
pub(crate) fn circles(workspace: &Workspace) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for root in roots(workspace)? {
        let of_test = root.strip_prefix(&workspace.root).is_ok_and(is_of_test);
        if !of_test {
            found.extend(circles_among(&Tree::of(workspace, &root)?.modules));
        }
    }
    Ok(found)
}

/// Returns a line for each source file that is no module of anything: the compiler does not read it, and its tests do not
/// run.
pub(crate) fn unlisted(workspace: &Workspace) -> Result<Vec<String>> {
    let (mut sources, mut listed) = (BTreeSet::new(), BTreeSet::new());
    for root in roots(workspace)? {
        listed.extend(Tree::of(workspace, &root)?.files);
    }
    for package in fs::read_dir(&workspace.root).context("cannot list the workspace")? {
        let package = package?.path();
        for folder in ["src"].iter().chain(&TESTS) {
            source_files(&package.join(folder), &mut sources);
        }
    }
    let unlisted = sources.difference(&listed);
    Ok(unlisted.map(|file| format!("{} is in no `mod` declaration", workspace.shown(file))).collect())
}

/// Adds the Rust files in a folder and those below it. A folder that cannot be listed has none.
fn source_files(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            source_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.insert(path);
        }
    }
}

/// Whether a root file, as its path in the workspace, is a test's, an example's or a benchmark's.
fn is_of_test(root: &Path) -> bool {
    root.components().any(|part| TESTS.iter().any(|name| part.as_os_str() == *name))
}

impl Tree {
    fn of(workspace: &Workspace, root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        let folder = root.parent().context("a file is in a folder")?;
        tree.read(root, folder, vec![workspace.shown(root).to_string()], false)?;
        Ok(tree)
    }

    /// Reads a module's file and those below it; the latter are in `folder`.
    fn read(&mut self, file: &Path, folder: &Path, place: Place, for_tests: bool) -> Result<()> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let all = tokens(&text);
        let module = parse(&without_tests(&all));
        for child in parse(&all).children {
            let below = folder.join(&child);
            let file =
                [folder.join(format!("{child}.rs")), below.join("mod.rs")].into_iter().find(|file| file.is_file());
            if let Some(file) = file {
                let place = place.iter().chain([&child]).cloned().collect();
                self.read(&file, &below, place, for_tests || !module.children.contains(&child))?;
            }
        }
        // Only tests have modules in files of other names.
        for elsewhere in text.lines().filter_map(|line| line.trim().strip_prefix("#[path = \"")?.strip_suffix("\"]")) {
            let file = file.parent().context("a file is in a folder")?.join(elsewhere);
            let below = file.with_extension("");
            let place = place.iter().cloned().chain([elsewhere.to_owned()]).collect();
            self.read(&file, &below, place, true)?;
        }
        self.files.insert(file.to_owned());
        if !for_tests {
            self.modules.insert(place, module);
        }
        Ok(())
    }
}

/// Returns the root file of every library, program, test, example and benchmark in the workspace.
fn roots(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let mut roots = Vec::new();
    for entry in fs::read_dir(&workspace.root).context("cannot list the workspace")? {
        let package = entry?.path();
        let src = package.join("src");
        roots.extend([src.join("lib.rs"), src.join("main.rs"), package.join("build.rs")]);
        for folder in [src.join("bin")].into_iter().chain(TESTS.map(|name| package.join(name))) {
            for program in fs::read_dir(folder).into_iter().flatten() {
                let path = program?.path();
                roots.push(if path.is_dir() { path.join("main.rs") } else { path });
            }
        }
    }
    roots.retain(|root| root.is_file() && root.extension().is_some_and(|extension| extension == "rs"));
    roots.sort();
    Ok(roots)
}

/// Splits code into names, `::` and single characters; comments, strings and characters are left out.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let name = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.find("*/").map_or(rest.len(), |end| end + 4)
        } else if first == '"' {
            string(rest)
        } else if first == '\'' {
            character(rest)
        } else if name > 0 {
            let raw = rest[name..].trim_start_matches('#');
            let hashes = rest.len() - name - raw.len();
            if matches!(&rest[..name], "r" | "br") && raw.starts_with('"') {
                let end = format!("\"{}", "#".repeat(hashes));
                raw[1..].find(&end).map_or(rest.len(), |at| name + hashes + 1 + at + end.len())
            } else {
                tokens.push(rest[..name].to_owned());
                name
            }
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of the string that the text begins with.
fn string(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// The length of the character that the text begins with; of a lifetime, that of its quote.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => chars.skip(1).find(|(_, c)| *c == '\'').map_or(text.len(), |(at, _)| at + 1),
        Some(_) if chars.next().is_some_and(|(_, c)| c == '\'') => {
            text.char_indices().nth(3).map_or(text.len(), |(at, _)| at)
        }
        _ => 1,
    }
}

/// Takes out items that are for tests only.
fn without_tests(tokens: &[String]) -> Vec<String> {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut rest = tokens;
    while let Some((first, more)) = rest.split_first() {
        if rest.len() < TEST.len() || rest.iter().zip(TEST).any(|(token, wanted)| token != wanted) {
            kept.push(first.clone());
            rest = more;
            continue;
        }
        let mut depth = 0;
        let end = rest[TEST.len()..].iter().position(|token| {
            match token.as_str() {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            depth == 0 && matches!(token.as_str(), ";" | "}")
        });
        rest = end.map_or(&[][..], |end| &rest[TEST.len() + end + 1..]);
    }
    kept
}

/// Reads declarations and paths from a file's tokens.
fn parse(tokens: &[String]) -> Module {
    let mut module = Module::default();
    let token = |at: usize| tokens.get(at).map_or("", String::as_str);
    let is_name = |at: usize| token(at).starts_with(|c: char| c.is_alphabetic() || c == '_');
    // The depth of braces, and at which depth each inline module began.
    let (mut depth, mut inline) = (0, Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        match token(at) {
            "mod" if token(at + 2) == ";" => {
                module.children.push(token(at + 1).to_owned());
                at += 2;
            }
            "mod" if token(at + 2) == "{" => {
                inline.push(depth);
                depth += 1;
                at += 2;
            }
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                inline.pop_if(|began| *began == depth);
            }
            "use" if is_name(at + 1) => {
                let end = tokens[at..].iter().position(|token| token == ";").map_or(tokens.len(), |end| at + end);
                tree(&tokens[at + 1..end], &[], &mut |path, name| module.uses.push((path, name, inline.len())));
                at = end;
            }
            _ if is_name(at) && token(at + 1) == "::" => {
                let mut path = vec![token(at).to_owned()];
                while token(at + 1) == "::" && is_name(at + 2) {
                    path.push(token(at + 2).to_owned());
                    at += 2;
                }
                module.paths.push((path, inline.len()));
            }
            _ => {}
        }
        at += 1;
    }
    module
}

/// Calls `found` with each path of a `use` declaration's tree, and the name that it gets. Returns how many tokens that
/// were.
fn tree(tokens: &[String], before: &[String], found: &mut dyn FnMut(Vec<String>, String)) -> usize {
    let mut path = before.to_vec();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.as_str() {
            "{" => {
                while tokens.get(at).is_some_and(|token| token != "}") {
                    at += tree(&tokens[at..], &path, found);
                    at += usize::from(tokens.get(at).is_some_and(|token| token == ","));
                }
                return at + 1;
            }
            "::" => {}
            "as" => {
                found(path, tokens.get(at).cloned().unwrap_or_default());
                return at + 1;
            }
            "," | "}" => {
                at -= 1;
                break;
            }
            "self" if !path.is_empty() => {}
            _ => path.push(token.clone()),
        }
    }
    if let Some(name) = path.last().cloned() {
        path.retain(|name| name != "*");
        found(path, name);
    }
    at
}

/// The place that a path means in a module, as far as it can be told; it may lead beyond a module's name.
fn absolute(modules: &BTreeMap<Place, Module>, place: &Place, path: &[String], inline: usize) -> Option<Place> {
    let module = &modules[place];
    let first = path.first()?;
    let (base, rest) = match first.as_str() {
        "crate" => (&place[..1], &path[1..]),
        "self" => (&place[..], &path[1..]),
        "super" => {
            let up = path.iter().take_while(|name| *name == "super").count();
            (&place[..place.len().checked_sub(up.saturating_sub(inline))?], &path[up..])
        }
        _ if module.children.contains(first) => (&place[..], path),
        _ => {
            let (imported, ..) = module.uses.iter().find(|(used, name, _)| name == first && used != path)?;
            let base = absolute(modules, place, imported, 0).filter(|base| modules.contains_key(base))?;
            return Some(base.into_iter().chain(path[1..].iter().cloned()).collect());
        }
    };
    Some(base.iter().chain(rest).cloned().collect())
}

/// The module that has what a place names: by way of those that re-export it.
fn owner(modules: &BTreeMap<Place, Module>, mut target: Place) -> Option<Place> {
    // So often at most; nothing is re-exported along a longer way.
    for _ in 0..8 {
        let known = (1..=target.len()).rev().find(|length| modules.contains_key(&target[..*length]))?;
        let (module, rest) = (target[..known].to_vec(), target[known..].to_vec());
        let Some(name) = rest.first() else { return Some(module) };
        let uses = &modules[&module].uses;
        let passed_on = uses.iter().find(|(path, as_name, inline)| as_name == name && *inline == 0 && path.len() > 1);
        match passed_on.and_then(|(path, ..)| absolute(modules, &module, path, 0)) {
            Some(next) => target = next.into_iter().chain(rest[1..].iter().cloned()).collect(),
            None => return Some(module),
        }
    }
    None
}

/// Returns a line for each circle among modules with the same parent.
fn circles_among(modules: &BTreeMap<Place, Module>) -> Vec<String> {
    // For each parent, which child uses which, and by which path of which module.
    let mut graphs: BTreeMap<Place, BTreeMap<String, BTreeMap<String, String>>> = BTreeMap::new();
    for (place, module) in modules {
        let uses = module.uses.iter().map(|(path, _, inline)| (path, *inline));
        for (path, inline) in uses.chain(module.paths.iter().map(|(path, inline)| (path, *inline))) {
            let target = absolute(modules, place, path, inline).and_then(|target| owner(modules, target));
            let Some(target) = target else { continue };
            let common = place.iter().zip(&target).take_while(|(a, b)| a == b).count();
            if let (Some(from), Some(to)) = (place.get(common), target.get(common)) {
                let graph = graphs.entry(place[..common].to_vec()).or_default();
                let why = format!("{} uses {}", place[common..].join("::"), path.join("::"));
                graph.entry(from.clone()).or_default().entry(to.clone()).or_insert(why);
            }
        }
    }
    let mut lines = Vec::new();
    for (parent, graph) in &graphs {
        let mut told = BTreeSet::new();
        for start in graph.keys() {
            let Some(circle) = circle(graph, start).filter(|circle| circle.iter().all(|name| !told.contains(name)))
            else {
                continue;
            };
            let steps = circle.iter().zip(circle.iter().cycle().skip(1));
            let why: Vec<&str> = steps.map(|(from, to)| graph[from][to].as_str()).collect();
            lines.push(format!("{}: {}: {}", parent.join("::"), circle.join(" -> "), why.join("; ")));
            told.extend(circle);
        }
    }
    lines
}

/// Returns the shortest way from a module back to itself, if there is one.
fn circle(graph: &BTreeMap<String, BTreeMap<String, String>>, start: &String) -> Option<Vec<String>> {
    let mut ways = vec![vec![start.clone()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let next = graph.get(way.last()?).into_iter().flat_map(BTreeMap::keys);
            for name in next {
                if name == start {
                    return Some(way);
                }
                if seen.insert(name.clone()) {
                    longer.push(way.iter().chain([name]).cloned().collect());
                }
            }
        }
        ways = longer;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(files: &[(&str, &str)]) -> BTreeMap<Place, Module> {
        let place = |path: &str| path.split("::").map(str::to_owned).collect();
        files.iter().map(|(path, text)| (place(path), parse(&without_tests(&tokens(text))))).collect()
    }

    #[test]
    fn a_circle_of_siblings_is_found_through_folders_and_re_exports() {
        let found = circles_among(&modules(&[
            ("x", "pub mod a; pub mod b; pub mod c; pub use c::C;"),
            ("x::a", "use super::b::{self, inner::B};"),
            ("x::b", "pub mod inner;"),
            ("x::b::inner", "fn f() { let _ = crate::C::new(); }"),
            ("x::c", "use super::a;\nfn f() { a::g() }"),
        ]));
        let why = "a uses super::b; b::inner uses crate::C::new; c uses super::a";
        assert_eq!(found, [format!("x: a -> b -> c: {why}")]);
    }

    #[test]
    fn a_module_and_those_below_it_may_use_each_other() {
        let files = [("x", "mod a;"), ("x::a", "mod b; use b::B; struct A;"), ("x::a::b", "use super::A; struct B;")];
        assert_eq!(circles_among(&modules(&files)), [""; 0]);
    }

    #[test]
    fn comments_strings_and_tests_use_nothing() {
        let a = r##"
            //! See [`crate::b::B`].
            /* crate::b */
            const A: &str = "crate::b \" crate::b";
            const R: &str = r#"crate::b " "#;
            const C: [char; 3] = ['"', '\'', '{'];
            fn f<'a>(_: &'a str) {}
            #[cfg(test)]
            mod tests { use crate::b::B; }
        "##;
        let files = [("x", "mod a; mod b;"), ("x::a", a), ("x::b", "use crate::a::A;")];
        assert_eq!(circles_among(&modules(&files)), [""; 0]);
    }

    #[test]
    fn paths_in_inline_modules_count_from_the_file() {
        let a = "mod inline { use super::super::b::B; }";
        let found = circles_among(&modules(&[("x", "mod a; mod b;"), ("x::a", a), ("x::b", "use crate::a::A as C;")]));
        assert_eq!(found, ["x: a -> b: a uses super::super::b::B; b uses crate::a::A"]);
    }
}
