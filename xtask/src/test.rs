//! `cargo xtask test`: the tests, and their sums in one line.

use std::{
    fmt,
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use anyhow::{Context as _, Result};

use crate::{
    process,
    workspace::{Workspace, cargo},
};

/// Run the tests; stable Rust is all it needs
///
/// Those of the whole workspace. The last line is "N passed, N failed, N skipped"; the exit status is 0
/// if and only if none failed.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Further arguments for `cargo test`: `-- NAME` runs the tests of that name,
    /// `-- -p mmtrace` those of one package, `-- -- --ignored` gives `--ignored` to the tests
    #[arg(last = true)]
    args: Vec<String>,
}

/// The numbers of tests, by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

impl Sums {
    /// Adds one of cargo test's `test result:` lines; other lines add nothing.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line.split_once("test result: ") else { return };
        let counts = counts.split_once(". ").map_or(counts, |(_, counts)| counts);
        for count in counts.split(';') {
            let Some((number, word)) = count.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }
}

/// Runs the command.
pub(crate) fn command(args: &Args) -> Result<bool> {
    let sums = run(&Workspace::find()?, &args.args)?;
    say!("{sums}");
    Ok(sums.failed == 0)
}

/// Runs the tests, shows their output, and sums up.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<Sums> {
    let mut cargo = process::command(cargo(), &workspace.root);
    cargo.args(["test", "--no-fail-fast"]).stdout(Stdio::piped());
    let own = args.iter().take_while(|a| *a != "--").any(|a| a.starts_with("-p") || a.starts_with("--package"));
    if !own {
        cargo.arg("--workspace");
    }
    cargo.args(args);
    let what = process::typed(&cargo);
    let mut child = cargo.spawn().with_context(|| format!("cannot run {what}"))?;
    let mut sums = Sums::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.with_context(|| format!("cannot read what {what} prints"))?;
            let line = String::from_utf8_lossy(&line);
            say!("{line}");
            sums.add(&line);
        }
    }
    let status = child.wait()?;
    if !status.success() && sums.failed == 0 {
        say!("{what} failed ({status}) without a test that failed: it did not build, or a test ended the process");
        sums.failed = 1;
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_add_up() {
        let mut sums = Sums::default();
        for line in [
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1.50s",
            "test capture::a_test ... ok",
            "",
        ] {
            sums.add(line);
        }
        assert_eq!(sums, Sums { passed: 15, failed: 2, skipped: 1 });
        assert_eq!(sums.to_string(), "15 passed, 2 failed, 1 skipped");
    }
}
