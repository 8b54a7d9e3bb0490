//! The sentences of pages written by hand that name the examined kernels.

use std::fs;

use anyhow::{Context as _, Result};
use mmtrace_model::examined_kernels::{EXAMINED_KERNELS, ExaminedKernel, FIRST_EXAMINED, listed};

use crate::{
    vm::{coverage, probes},
    workspace::Workspace,
};

/// Each file that names kernels, with the words that the table makes true.
fn sentences() -> Vec<(&'static str, String)> {
    let (all, machines) = (listed(EXAMINED_KERNELS), listed(ExaminedKernel::real_ones()));
    let virtual_ones = listed(ExaminedKernel::virtual_ones());
    vec![
        ("README.md", format!("Linux {FIRST_EXAMINED} or later with BTF")),
        ("README.md", format!("mmtrace is tested on Linux {machines} (x86-64).")),
        ("README.md", format!("`cargo xtask vm` tests it on {virtual_ones} under QEMU.")),
        ("CONTRIBUTING.md", format!("runs the live tests on Debian's {virtual_ones}, in QEMU")),
        ("mmtrace-common/src/spec/events.rs", format!("Signatures are those of {all}, where they differ.")),
    ]
}

/// Returns what contradicts the table of examined kernels: sentences that name others, and tables of `cargo xtask vm` for
/// others.
pub(super) fn contradictions(workspace: &Workspace) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (file, sentence) in sentences() {
        let text = fs::read_to_string(workspace.path(file)).with_context(|| format!("cannot read {file}"))?;
        if !says(&text, &sentence) {
            wrong.push(format!("{file}: does not say \"{sentence}\", as the examined kernels want"));
        }
    }
    for folder in [coverage::FOLDER, probes::FOLDER] {
        for entry in fs::read_dir(workspace.path(folder)).with_context(|| format!("cannot list {folder}"))? {
            let path = entry?.path();
            let series = path.file_stem().unwrap_or_default().to_string_lossy().parse();
            if series.ok().and_then(ExaminedKernel::find).is_none() {
                wrong.push(format!("{}: of no examined kernel", workspace.shown(&path)));
            }
        }
    }
    let captures = fs::read_dir(workspace.path("testdata")).context("cannot list testdata")?;
    let captures: Vec<String> =
        captures.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    for kernel in EXAMINED_KERNELS {
        if !captures.iter().any(|name| name.starts_with(&format!("{}-", kernel.version))) {
            wrong.push(format!("testdata: has no capture of Linux {}", kernel.version));
        }
    }
    Ok(wrong)
}

/// Whether a text has these words, wherever its lines end.
fn says(text: &str, sentence: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    words(text).contains(&words(sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_found_across_lines_and_only_with_the_same_kernels() {
        let text = "mmtrace is tested on\nLinux 6.18 (x86-64). `cargo xtask\nvm` tests";
        assert!(says(text, "mmtrace is tested on Linux 6.18 (x86-64)."));
        assert!(!says(text, "mmtrace is tested on Linux 6.19 (x86-64)."));
    }
}
