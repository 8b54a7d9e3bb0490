//! Spin, the model checker that the explorer is held against, and the models that it has of the
//! same protocols: testdata/promela.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    process,
    workspace::{Workspace, program},
};

/// Packages that give Spin and a compiler for what it generates.
pub(crate) const PACKAGES: [&str; 3] = ["spin", "gcc", "libc6-dev"];
/// No search may take longer.
const LIMIT: Duration = Duration::from_secs(900);
/// Steps of a path: more than any model here has.
const DEPTH: u32 = 100_000;

/// A scenario of the explorer that has a model in Promela.
pub(crate) struct Model {
    /// The scenario.
    pub(crate) scenario: &'static str,
    /// The file in testdata/promela.
    pub(crate) file: &'static str,
    /// Each variant, with what is defined for it.
    pub(crate) variants: &'static [(&'static str, &'static [&'static str])],
}

/// The scenarios, all variants of each.
pub(crate) const MODELS: &[Model] = &[
    Model {
        scenario: "SC-1.1",
        file: "sc-1.1.pml",
        variants: &[
            ("m.rw+none", &[]),
            ("m.rw+pte", &["RECHECK_PTE"]),
            ("m.rw+pmd", &["RECHECK_PMD"]),
            ("m.rw+pte+pmd", &["RECHECK_PTE", "RECHECK_PMD"]),
            ("m.legacy", &["RECHECK_PTE", "KEEP_TABLES"]),
            ("m.legacy+reclaim", &["RECHECK_PTE"]),
        ],
    },
    Model {
        scenario: "SC-4.1",
        file: "sc-4.1.pml",
        variants: &[
            ("r.trylock", &["TRYLOCK"]),
            ("r.posted", &[]),
            ("r.6.6", &["RECHECK_VMA"]),
            ("r.7.2", &["RECHECK_VMA", "RECHECK_PMD"]),
        ],
    },
    Model {
        scenario: "SC-X.1",
        file: "sc-x.1.pml",
        variants: &[
            ("v.7.2", &["V7_2"]),
            ("v.7.2-2-readers", &["V7_2", "READERS=2"]),
            ("v.6.12", &[]),
            ("v.6.12-2-readers", &["READERS=2"]),
            ("v.7.2-no-second-test", &["V7_2", "NO_SECOND_TEST"]),
            ("v.6.12-no-second-test", &["NO_SECOND_TEST"]),
            ("v.7.2-no-wait", &["V7_2", "NO_WAIT"]),
            ("v.6.12-no-wait", &["NO_WAIT"]),
        ],
    },
];

/// An enlarged scenario (`mmtrace explore --enlarged`) that has a model in Promela.
pub(crate) struct Enlarged {
    /// Its name.
    pub(crate) name: &'static str,
    /// The file in testdata/promela.
    pub(crate) file: &'static str,
    /// Macros that are defined for it.
    pub(crate) defines: &'static [&'static str],
}

/// The enlarged scenarios, all of which have one.
pub(crate) const ENLARGED: &[Enlarged] = &[
    Enlarged { name: "fill-3-3-1", file: "sc-1.1-enlarged.pml", defines: &["WRITERS=3", "SLOTS=3", "TABLES=1"] },
    Enlarged { name: "fill-4-4-1", file: "sc-1.1-enlarged.pml", defines: &["WRITERS=4", "SLOTS=4", "TABLES=1"] },
    Enlarged { name: "vma-lock-3-3", file: "sc-x.1.pml", defines: &["V7_2", "READERS=3", "WRITERS=3"] },
    Enlarged { name: "vma-lock-4-2", file: "sc-x.1.pml", defines: &["V7_2", "READERS=4", "WRITERS=2"] },
    Enlarged { name: "vma-lock-5-1", file: "sc-x.1.pml", defines: &["V7_2", "READERS=5", "WRITERS=1"] },
    Enlarged { name: "retract-3", file: "sc-4.1.pml", defines: &["RECHECK_VMA", "FIRST=3", "ENTRIES=2"] },
    Enlarged { name: "retract-2-1", file: "sc-4.1.pml", defines: &["RECHECK_VMA", "FIRST=2", "SECOND=1", "ENTRIES=2"] },
];

/// The kind of search that a generated verifier makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    /// Every interleaving.
    Full,
    /// With partial-order reduction.
    Reduced,
    /// Level by level, every interleaving: the shortest counterexample.
    Shortest,
}

impl Search {
    const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Reduced => "reduced",
            Self::Shortest => "shortest",
        }
    }
}

/// The effort with which a verifier is compiled.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Compile {
    /// In no time: for models that take none.
    Quickly,
    /// As its makers advise, for measuring.
    Well,
}

/// Spin and a compiler.
pub(crate) struct Spin {
    spin: PathBuf,
    gcc: PathBuf,
    models: PathBuf,
    folder: PathBuf,
}

/// The result of a verifier.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Answer {
    /// The invariant that is broken.
    pub(crate) broken: Option<String>,
    /// Steps of the counterexample.
    pub(crate) length: u64,
    /// Distinct states.
    pub(crate) states: u64,
    /// Steps taken.
    pub(crate) transitions: u64,
    /// MiB for states and hash table.
    pub(crate) memory: f64,
}

impl Spin {
    /// Finds them.
    ///
    /// # Errors
    ///
    /// `spin` or `gcc` is not on PATH.
    pub(crate) fn find(workspace: &Workspace) -> Result<Self, String> {
        let find = |name: &str| program(name, &[]).ok_or_else(|| format!("there is no {name} on PATH"));
        Ok(Self {
            spin: find("spin")?,
            gcc: find("gcc")?,
            models: workspace.path("testdata/promela"),
            folder: workspace.target.join("spin"),
        })
    }

    /// Returns the line that `spin -V` prints.
    pub(crate) fn version(&self) -> String {
        process::line(process::command(&self.spin, &self.models).arg("-V")).unwrap_or_else(|| "spin".to_owned())
    }

    /// Generates and compiles the verifier of a model.
    pub(crate) fn pan(&self, file: &str, defines: &[&str], search: Search, compile: Compile) -> Result<PathBuf> {
        let name = [&[file.trim_end_matches(".pml")], defines, &[search.name()]].concat().join(",");
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        // Optimisations that forget variables or merge steps: off, or its states are not ours.
        let mut spin = process::command(&self.spin, &folder);
        spin.args(["-a", "-o1", "-o2", "-o3"]).args(defines.iter().map(|d| format!("-D{d}")));
        if search == Search::Shortest {
            spin.arg("-DSHORTEST");
        }
        let said = process::output(spin.arg(self.models.join(file)))?;
        let said = String::from_utf8_lossy(&said);
        if said.contains("Error") {
            bail!("spin -a {file}: {}", said.trim());
        }
        let mut gcc = process::command(&self.gcc, &folder);
        gcc.args(["-w", "-DSAFETY", "-DMEMLIM=16000"]);
        gcc.arg(match compile {
            Compile::Quickly => "-O0",
            Compile::Well => "-O2",
        });
        match search {
            Search::Full => gcc.arg("-DNOREDUCE"),
            Search::Reduced => &mut gcc,
            Search::Shortest => gcc.args(["-DNOREDUCE", "-DBFS"]),
        };
        process::output(gcc.args(["-o", "pan", "pan.c"]))?;
        Ok(folder.join("pan"))
    }
}

/// Runs a verifier, with a hash table of this many bits for the number of its slots.
pub(crate) fn run(pan: &Path, bits: u32) -> Result<Answer> {
    let folder = pan.parent().unwrap_or(pan);
    let mut command = process::command(pan, folder);
    command.args([format!("-m{DEPTH}"), format!("-w{bits}"), "-n".to_owned()]);
    let finished = process::within(LIMIT, &mut command)?;
    let said = String::from_utf8_lossy(&finished.stdout);
    parse(&said).with_context(|| format!("{} ended with {}", pan.display(), finished.status))
}

/// Parses the output of a verifier.
fn parse(said: &str) -> Result<Answer> {
    if said.contains("max search depth too small") || said.contains("out of memory") {
        bail!("the search was cut short: {}", said.trim());
    }
    let number = |what: &str| {
        let line = said.lines().find(|l| l.contains(what))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    let count = |what: &str| number(what).map(|n| n as u64).with_context(|| format!("pan does not tell its {what}"));
    let mut answer = Answer {
        states: count("states, stored")?,
        // The first state is no step.
        transitions: count("transitions (= stored+matched)")?.saturating_sub(1),
        memory: number("actual memory usage for states").unwrap_or(0.0)
            + number("memory used for hash table").unwrap_or(0.0),
        ..Answer::default()
    };
    if let Some(line) = said.lines().find(|l| l.starts_with("pan:1:")) {
        let name = line.split("!(").nth(1).and_then(|rest| rest.split(')').next());
        answer.broken = Some(match name {
            Some(name) => name.replace('_', "-"),
            None if line.contains("invalid end state") => "G-DEAD".to_owned(),
            None => bail!("not understood: {line}"),
        });
        let depth = line.split("(at depth ").nth(1).and_then(|rest| rest.trim_end_matches(')').parse::<u64>().ok());
        // The depth of the state that the last step was taken from.
        answer.length = depth.with_context(|| format!("not understood: {line}"))? + 1;
    }
    let errors = said.split("errors: ").nth(1).and_then(|rest| rest.split_whitespace().next());
    if errors != Some(if answer.broken.is_some() { "1" } else { "0" }) {
        bail!("not understood: {}", said.trim());
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_verifier_prints_is_understood() {
        let safe = "State-vector 44 byte, depth reached 34, errors: 0\n      353 states, stored\n      269 states, matched\n      \
                    622 transitions (= stored+matched)\n        0 atomic steps\n\n    0.023\tequivalent memory usage for states \
                    (stored*(State-vector + overhead))\n    0.281\tactual memory usage for states\n    2.000\tmemory used for hash table (-w18)\n";
        let answer = parse(safe).expect("it is understood");
        let expected = Answer { broken: None, length: 0, states: 353, transitions: 621, memory: 2.281 };
        assert_eq!(answer, expected);
        let broken = "pan:1: assertion violated  !(I_LOST) (at depth 17)\npan: wrote sc-1.1.pml.trail\n\
                      State-vector 44 byte, depth reached 17, errors: 1\n      199 states, stored\n      326 transitions (= stored+matched)\n";
        let answer = parse(broken).expect("it is understood");
        assert_eq!((answer.broken.as_deref(), answer.length), (Some("I-LOST"), 18));
    }

    #[test]
    fn a_search_that_was_cut_short_is_no_answer() {
        let cut =
            "error: max search depth too small\nerrors: 0\n 3 states, stored\n 4 transitions (= stored+matched)\n";
        assert!(parse(cut).is_err());
        assert!(parse("").is_err());
        let unknown =
            "pan:1: something else (at depth 3)\nerrors: 1\n 3 states, stored\n 4 transitions (= stored+matched)\n";
        assert!(parse(unknown).is_err());
    }
}
