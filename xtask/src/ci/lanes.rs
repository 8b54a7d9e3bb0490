//! The lanes that run one tool each.

use std::{process::Command, time::Duration};

use anyhow::Result;

use super::{Outcome, Run};
use crate::{
    api::{self, Comparison},
    docs as pages,
    ebpf::{self, Rebuild, toolchain::Compiler},
    imports, process,
    setup::{self as install, Step},
    test as tester,
    workspace::cargo,
};

/// Returns the outcome of a lane that needs this subcommand of cargo; `None` if the subcommand is installed.
fn missing(run: &Run, component: &str, subcommand: &str) -> Option<Outcome> {
    if install::has_subcommand(&run.workspace, subcommand) {
        return None;
    }
    Some(match run.setup.as_ref().map(|setup| &setup.lints) {
        Some(step) if run.ci && is_failed(step) => Outcome::Failed(format!("no cargo {subcommand}: setup {step}")),
        Some(step) => Outcome::NotRun(format!("no cargo {subcommand}: {step}")),
        None => Outcome::NotRun(format!("no cargo {subcommand}: rustup component add {component}")),
    })
}

/// rustfmt.
pub(super) fn fmt(run: &mut Run) -> Result<Outcome> {
    if let Some(outcome) = missing(run, "rustfmt", "fmt") {
        return Ok(outcome);
    }
    let root = &run.workspace.root;
    let own = process::succeeds(process::command(cargo(), root).args(["fmt", "--all", "--check"]))?;
    let ebpf = ["fmt", "--manifest-path", "mmtrace-ebpf/Cargo.toml", "--check"];
    let ebpf = process::succeeds(process::command(cargo(), root).args(ebpf))?;
    Ok(match (own, ebpf) {
        (true, true) => Outcome::Passed(String::new()),
        (false, _) => Outcome::Failed("not formatted: cargo fmt --all".to_owned()),
        (true, false) => Outcome::Failed("not formatted: cargo fmt --manifest-path mmtrace-ebpf/Cargo.toml".to_owned()),
    })
}

/// Runs `cargo xtask setup`. It fails no lane by itself: the lane that needs a thing says what its lack means.
pub(super) fn setup(run: &mut Run) -> Outcome {
    let setup = install::run(&run.workspace);
    let lacking: Vec<&str> =
        setup.steps().into_iter().filter(|(_, step)| !step.is_there()).map(|(name, _)| name).collect();
    run.setup = Some(setup);
    if lacking.is_empty() {
        Outcome::Passed(String::new())
    } else {
        Outcome::NotRun(format!("without {}; the reasons stand above", lacking.join(", ")))
    }
}

/// Clippy, with warnings as errors; before it, what clippy has no lint for.
pub(super) fn clippy(run: &mut Run) -> Result<Outcome> {
    let circles = imports::circles(&run.workspace)?;
    circles.iter().for_each(|circle| say!("modules import each other in a circle: {circle}"));
    if !circles.is_empty() {
        return Ok(Outcome::Failed(format!("{} circles of imports; each is named above", circles.len())));
    }
    let unlisted = imports::unlisted(&run.workspace)?;
    unlisted.iter().for_each(|file| say!("the compiler does not read a source file: {file}"));
    if !unlisted.is_empty() {
        return Ok(Outcome::Failed(format!("{} files are modules of nothing; each is named above", unlisted.len())));
    }
    if let Some(outcome) = missing(run, "clippy", "clippy") {
        return Ok(outcome);
    }
    let mut own = process::command(cargo(), &run.workspace.root);
    own.args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    let own = process::succeeds(&mut own)?;
    let ebpf = match Compiler::find(&run.workspace.root) {
        Ok(compiler) if compiler.clippy().is_some() => {
            if process::succeeds(ebpf_clippy(run, &compiler).args(["--", "-D", "warnings"]))? {
                Outcome::Passed("mmtrace-ebpf too".to_owned())
            } else {
                Outcome::Failed("mmtrace-ebpf has warnings".to_owned())
            }
        }
        Ok(compiler) => not_linted(run, &format!("{} came without clippy", compiler.rustc.display())),
        Err(why) => not_linted(run, &why),
    };
    Ok(match ebpf {
        ebpf if own => ebpf,
        Outcome::Failed(ebpf) => Outcome::Failed(format!("the workspace has warnings; {ebpf}")),
        _ => Outcome::Failed("the workspace has warnings".to_owned()),
    })
}

fn ebpf_clippy(run: &Run, compiler: &Compiler) -> Command {
    let mut cargo = ebpf::build::cargo(&run.workspace, compiler);
    // cargo finds its subcommands, and clippy its driver, on PATH: rustup's would come first.
    let mut folders: Vec<_> = compiler.cargo.parent().map(Into::into).into_iter().collect();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    if let Ok(path) = std::env::join_paths(folders) {
        cargo.env("PATH", path);
    }
    cargo.args(["clippy", "--quiet", "--release"]);
    cargo
}

fn not_linted(run: &Run, why: &str) -> Outcome {
    let failed = run.setup.as_ref().and_then(|s| [&s.compiler, &s.clippy].into_iter().find(|s| is_failed(s)));
    match failed {
        Some(step) if run.ci => Outcome::Failed(format!("mmtrace-ebpf not linted: setup {step}")),
        _ => Outcome::Passed(format!("without mmtrace-ebpf: {why} (cargo xtask setup)")),
    }
}

/// Whether setup began to install it and could not.
pub(super) const fn is_failed(step: &Step) -> bool {
    matches!(step, Step::Failed(_))
}

/// The tests.
pub(super) fn test(run: &mut Run) -> Result<Outcome> {
    let sums = tester::run(&run.workspace, &[])?;
    run.sums = Some(sums);
    if sums.failed > 0 {
        return Ok(Outcome::Failed(sums.to_string()));
    }
    for (name, argument, status, says) in EXAMPLES {
        // Built with the tests.
        let mut example = process::command(run.workspace.target.join("debug/examples").join(name), &run.workspace.root);
        let ran = process::within(EXAMPLE_LIMIT, example.arg(argument))?;
        let said = String::from_utf8_lossy(&ran.stdout);
        if ran.status.code() != Some(*status) || !said.contains(says) {
            return Ok(Outcome::Failed(format!("{sums}; example {name} {argument} ended with {}: {said}", ran.status)));
        }
    }
    Ok(Outcome::Passed(format!("{sums}; {} runs of examples", EXAMPLES.len())))
}

/// Runs of examples: the program, its argument, the exit status, and a part of what it prints.
const EXAMPLES: &[(&str, &str, i32, &str)] = &[
    ("judge", "testdata/6.18-mmap/capture", 0, "held: L01 L02"),
    ("judge", "testdata/bugs/6.12-poison-collapse/capture", 1, "violated: L25"),
    ("futex", "1", 0, "EXCLUSION broken"),
    ("futex", "2", 0, "mutex2: safe"),
    ("futex", "3", 0, "mutex3: safe"),
];
/// An example does not take longer.
const EXAMPLE_LIMIT: Duration = Duration::from_secs(60);

/// The eBPF object is what its sources give.
pub(super) fn ebpf(run: &mut Run) -> Result<Outcome> {
    let recorded = ebpf::check(&run.workspace)?;
    let rebuild = ebpf::rebuild(&run.workspace)?;
    if !recorded {
        return Ok(Outcome::Failed(format!("sources or object are not those recorded: {}", ebpf::COMMAND)));
    }
    Ok(match rebuild {
        Rebuild::Equal => Outcome::Passed("rebuilt, and equal".to_owned()),
        Rebuild::Differs { other_tools } if other_tools.is_empty() => {
            Outcome::Failed(format!("rebuilt, and different: {}", ebpf::COMMAND))
        }
        Rebuild::Differs { other_tools } => Outcome::Passed(format!(
            "as recorded; rebuilt and different, which says nothing: {}",
            other_tools.join("; ")
        )),
        Rebuild::NotDone(why) => {
            let steps = run.setup.as_ref().map(|s| [&s.compiler, &s.linker]);
            match steps.into_iter().flatten().find(|s| is_failed(s)) {
                Some(step) if run.ci => Outcome::Failed(format!("not rebuilt: setup {step}")),
                _ => Outcome::NotRun(format!("as recorded, and not rebuilt: {why}")),
            }
        }
    })
}

/// The pages are what the tables say.
pub(super) fn docs(run: &mut Run) -> Result<Outcome> {
    Ok(if pages::check(&run.workspace)? {
        Outcome::Passed(String::new())
    } else {
        Outcome::Failed("not up to date: cargo xtask docs".to_owned())
    })
}

/// rustdoc has no warnings, and the public APIs are those that are checked in.
pub(super) fn rustdoc(run: &mut Run) -> Result<Outcome> {
    let mut doc = process::command(cargo(), &run.workspace.root);
    doc.args(["doc", "--quiet", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
    if !process::succeeds(&mut doc)? {
        return Ok(Outcome::Failed("rustdoc has warnings: cargo doc --workspace --no-deps".to_owned()));
    }
    Ok(match api::check(&run.workspace)? {
        Comparison::Same(libraries) => Outcome::Passed(format!("the public APIs of {libraries} libraries")),
        Comparison::Differs(which) => {
            Outcome::Failed(format!("other public APIs: {}; to accept them, {}", which.join(", "), api::COMMAND))
        }
        Comparison::NotDone(why) => match run.setup.as_ref().map(|setup| &setup.rustdoc) {
            Some(step) if run.ci && is_failed(step) => Outcome::Failed(format!("no public APIs: setup {step}")),
            _ => Outcome::NotRun(format!("rustdoc has no warnings; public APIs not compared: {why}")),
        },
    })
}

/// The profile of the workspace, which packages do not have: with it, dependencies are those that the tests were built with.
const PROFILE: [&str; 3] =
    ["profile.dev.opt-level = 1", "profile.dev.debug = 'line-tables-only'", "profile.dev.package.'*'.debug = false"];

/// Each published package builds from what is in it.
pub(super) fn package(run: &mut Run) -> Result<Outcome> {
    let mut package = process::command(cargo(), &run.workspace.root);
    // Without a target folder named, each package would have one of its own.
    package.env("CARGO_TARGET_DIR", &run.workspace.target);
    // The default members: those that are published.
    package.args(["package", "--quiet", "--allow-dirty"]);
    package.args(PROFILE.into_iter().flat_map(|setting| ["--config", setting]));
    Ok(if process::succeeds(&mut package)? {
        Outcome::Passed(String::new())
    } else {
        Outcome::Failed("a package does not build from what is in it: cargo package".to_owned())
    })
}
