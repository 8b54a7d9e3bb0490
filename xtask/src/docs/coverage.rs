//! docs/coverage.md

use std::{collections::BTreeMap, fmt::Write as _, fs};

use anyhow::{Context as _, Result};
use mmtrace_common::SPECS;
use mmtrace_model::{
    examined_kernels::{EXAMINED_KERNELS, ExaminedKernel, Machine, Probes, listed},
    kernel_version::KernelVersion,
    verdict::{RULES, Severity},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::markdown::{code, head, table};
use crate::{
    vm::{
        coverage::{self, Coverage, Evaluated},
        probes,
    },
    workspace::Workspace,
};

/// The start of the page.
fn intro() -> String {
    format!(
        "
What each kernel shows of each rule and each probe. {} are Debian's cloud kernels in virtual machines, on
which `cargo xtask vm` runs the workloads of xtask/src/vm/table.rs; the numbers are those of one such run, written by
`cargo xtask vm --write-probes`. {} is a machine on which security policy forbids programs on functions; its numbers
are the sums over the captures in testdata/.
",
        listed(ExaminedKernel::virtual_ones()),
        listed(ExaminedKernel::real_ones()),
    )
}

/// Returns the table of what was examined of each kernel.
fn examined() -> String {
    let rows = EXAMINED_KERNELS.iter().map(|kernel| {
        let read = if kernel.has_rules_read { "yes" } else { "no" };
        let probes = match kernel.probes {
            Probes::All => "on tracepoints and functions",
            Probes::Tracepoints => "on tracepoints",
        };
        let machine = match kernel.machine {
            Machine::Virtual { suite } => format!("a virtual machine (`cargo xtask vm {}`, {suite})", kernel.version),
            Machine::Real => "a real machine".to_owned(),
        };
        vec![kernel.version.to_string(), read.to_owned(), probes.to_owned(), machine]
    });
    table(&["kernel", "sources of the rules read", "probes attached", "recorded on"], rows)
}

/// The page.
///
/// # Errors
/// A table cannot be read.
pub(super) fn page(workspace: &Workspace) -> Result<String> {
    let kernels = kernels(workspace)?;
    let mut text = head("Coverage", "testdata/coverage/ and testdata/probes/");
    text.push_str(&intro());
    let names: Vec<String> = kernels.keys().map(KernelVersion::to_string).collect();
    let names = || names.iter().map(String::as_str);

    text.push_str("\n## Kernels\n\n");
    text.push_str(&examined());

    text.push_str("\n## Recordings\n\n");
    text.push_str(&table(
        &["kernel", "events", "lost", "events missed", "calls compared", "divergences"],
        kernels.iter().map(|(series, c)| {
            let walker = |n: u64| if c.compared == 0 { "-".to_owned() } else { n.to_string() };
            vec![
                format!("{series} ({})", c.release),
                c.events.values().sum::<u64>().to_string(),
                c.lost.to_string(),
                c.missed.to_string(),
                walker(c.compared),
                walker(c.divergences),
            ]
        }),
    ));
    text.push_str(
        "\nAn event is missed if the kernel skips the program that would have recorded it, because that program is \
         already running on\nthe CPU. It runs there for a task that was preempted in it, or beneath an interrupt \
         (`tlb_flush`, which no rule needs).\nSince 7.0 a task can be preempted in a tracepoint program too. The runs \
         on 7.2 have two standby programs, which an\nemulated machine with some dozens of busy threads on two CPUs \
         exhausts at times. A rule that needs a missed event is\nunknown, and still counts its evaluations.\n",
    );

    text.push_str(
        "\n## Rules\n\nA cell has the number of evaluations and, after a stroke, how often a hazard was met or a rule was \
         violated. Only L25\nwas violated, by the bugs of [findings.md](findings.md).\n\n",
    );
    let columns: Vec<&str> = ["rule", "title"].into_iter().chain(names()).collect();
    let mut notes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let rows = RULES.iter().map(|rule| {
        let cells = kernels.iter().map(|(series, c)| {
            let Some(evaluated) = c.rules.get(rule.name) else { return "?".to_owned() };
            if let Some(reason) = &evaluated.reason {
                notes.entry(reason.clone()).or_default().push(format!("{} on {series}", rule.name));
                return "-".to_owned();
            }
            match (evaluated.evaluations, evaluated.violations) {
                (n, 0) => n.to_string(),
                (n, violations) => format!("{n} / {violations}"),
            }
        });
        let link = format!("{}{}", rule.name, if rule.severity == Severity::Hazard { " (hazard)" } else { "" });
        [link, rule.title.to_owned()].into_iter().chain(cells).collect()
    });
    text.push_str(&table(&columns, rows.collect::<Vec<_>>().into_iter()));
    text.push_str("\n`-` marks a rule that is not observable there, for this reason:\n\n");
    for (reason, rules) in notes {
        let _ = writeln!(text, "- {reason}: {}", rules.join(", "));
    }

    text.push_str(
        "\n## Probes\n\nThe table says how each program is attached, and how long a run of it took, in nanoseconds, as the \
         kernel counts it\n(`kernel.bpf_stats_enabled`). These machines are emulated and some tens of times slower than real \
         ones, so compare the\nnumbers only with each other.\n\n",
    );
    let probes = probes(workspace)?;
    let resolved = || kernels.iter().filter(|(series, _)| probes.contains_key(series));
    let columns: Vec<String> =
        std::iter::once("probe".to_owned()).chain(resolved().map(|(series, _)| series.to_string())).collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let rows = SPECS.iter().filter(|s| !s.kind.is_synthetic()).map(|spec| {
        let key = format!("{}:{}", spec.site.system, spec.name);
        let cells = resolved().map(|(series, c)| {
            let Some(form) = probes[series]["probes"][&key]["form"].as_str() else { return "-".to_owned() };
            c.ns.get(spec.name).map_or_else(|| form.to_owned(), |ns| format!("{form} {ns}"))
        });
        std::iter::once(code(&key)).chain(cells).collect()
    });
    text.push_str(&table(&columns, rows));
    text.push_str("\n`-` marks a program that is not attached. testdata/probes/ says why, for each kernel.\n");
    Ok(text)
}

/// Returns the coverage of each examined kernel.
fn kernels(workspace: &Workspace) -> Result<BTreeMap<KernelVersion, Coverage>> {
    let of = |kernel: &ExaminedKernel| match kernel.machine {
        Machine::Virtual { .. } => read(workspace, coverage::FOLDER, kernel.version),
        Machine::Real => captured(workspace, kernel.version),
    };
    EXAMINED_KERNELS.iter().map(|kernel| Ok((kernel.version, of(kernel)?))).collect()
}

/// Reads the table of a kernel that `cargo xtask vm --write-probes` has written.
fn read<T: DeserializeOwned>(workspace: &Workspace, folder: &str, series: KernelVersion) -> Result<T> {
    let path = workspace.path(folder).join(format!("{series}.json"));
    let text = fs::read(&path)
        .with_context(|| format!("cannot read {}: cargo xtask vm {series} --write-probes", path.display()))?;
    serde_json::from_slice(&text).with_context(|| path.display().to_string())
}

/// The sums over the captures of a kernel.
fn captured(workspace: &Workspace, series: KernelVersion) -> Result<Coverage> {
    let prefix = format!("{series}-");
    let mut sum = Coverage::default();
    for entry in fs::read_dir(workspace.path("testdata"))? {
        let path = entry?.path().join("report.json");
        let name = path.parent().and_then(|p| p.file_name()).unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with(&prefix) || !path.exists() {
            continue;
        }
        let report: Value = serde_json::from_slice(&fs::read(&path)?).with_context(|| path.display().to_string())?;
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        sum.release = report["kernel"]["release"].as_str().unwrap_or_default().to_owned();
        sum.events.insert(name, number(&report["events"]["total"]));
        sum.lost += number(&report["lost"]);
        sum.missed += number(&report["missed"]);
        for rule in report["rules"].as_array().into_iter().flatten() {
            let entry: &mut Evaluated =
                sum.rules.entry(rule["id"].as_str().unwrap_or_default().to_owned()).or_default();
            entry.evaluations += number(&rule["evaluations"]);
            entry.violations += number(&rule["violations"]);
        }
    }
    // The reports leave out the rules that nothing in them is about: mmtrace/tests/golden.rs.
    let path = workspace.path("testdata/unevaluated.json");
    let rules: BTreeMap<String, BTreeMap<String, Vec<String>>> =
        serde_json::from_slice(&fs::read(&path)?).with_context(|| path.display().to_string())?;
    for (rule, reasons) in rules {
        for (reason, captures) in reasons {
            if captures.iter().any(|name| name.starts_with(&prefix)) {
                let entry: &mut Evaluated = sum.rules.entry(rule.clone()).or_default();
                let reason = reason.strip_prefix("not_observable: ").map(str::to_owned);
                entry.reason = reason.or_else(|| entry.reason.take());
            }
        }
    }
    Ok(sum)
}

/// Returns the resolved probes of each kernel in a virtual machine, by series.
fn probes(workspace: &Workspace) -> Result<BTreeMap<KernelVersion, Value>> {
    let of = |kernel: &ExaminedKernel| Ok((kernel.version, read(workspace, probes::FOLDER, kernel.version)?));
    ExaminedKernel::virtual_ones().map(of).collect()
}
