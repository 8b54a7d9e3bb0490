//! The oracle lane: another model checker, with models of its own, comes to the same.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Outcome, Run, lanes};
use crate::{
    process,
    spin::{self, Compile, MODELS, Model, Search, Spin},
    workspace::{self, Workspace},
};

/// No scenario may take longer.
const LIMIT: Duration = Duration::from_secs(300);
/// Slots of a verifier's hash table, as a power of two: enough for the scenarios.
const BITS: u32 = 18;

/// Runs both on every variant and compares.
pub(super) fn lane(run: &mut Run) -> Result<Outcome> {
    let spin = match Spin::find(&run.workspace) {
        Ok(spin) => spin,
        Err(why) => {
            return Ok(match run.setup.as_ref().map(|s| &s.spin) {
                Some(step) if run.ci && lanes::is_failed(step) => Outcome::Failed(format!("{why}: setup {step}")),
                Some(step) => Outcome::NotRun(format!("{why}: {step}")),
                None => Outcome::NotRun(format!("{why}: cargo xtask setup")),
            });
        }
    };
    say!("{}", spin.version());
    let mmtrace = workspace::build(&run.workspace, "mmtrace")?;
    let (mut wrong, mut variants, mut states) = (Vec::new(), 0, 0);
    for model in MODELS {
        let ours = Ours::explore(&run.workspace, &mmtrace, model)?;
        let known = ours.depth.iter().filter_map(|r| r["variant"].as_str());
        for unknown in known.filter(|id| !model.variants.iter().any(|(v, _)| v == id)) {
            wrong.push(format!("{} {unknown} has no model in Promela", model.scenario));
        }
        for (variant, defines) in model.variants {
            let name = format!("{} {variant}", model.scenario);
            let (found, problems) = compare(&spin, model, variant, defines, &ours)?;
            variants += 1;
            states += found;
            for problem in &problems {
                say!("  {name}: {problem}");
            }
            wrong.extend(problems.into_iter().map(|p| format!("{name}: {p}")));
        }
    }
    Ok(if wrong.is_empty() {
        Outcome::Passed(format!(
            "{variants} variants: Spin finds the same verdicts, the same {states} states of the safe ones, and \
             counterexamples as short"
        ))
    } else {
        Outcome::Failed(wrong.join("; "))
    })
}

/// The explorer's results for a scenario, by search order.
struct Ours {
    depth: Vec<Value>,
    reduced: Vec<Value>,
    breadth: Vec<Value>,
}

impl Ours {
    fn explore(workspace: &Workspace, mmtrace: &Path, model: &Model) -> Result<Self> {
        let search = |order: &str| -> Result<Vec<Value>> {
            let mut mmtrace = process::command(mmtrace, &workspace.root);
            mmtrace.args(["explore", model.scenario, "--json", "--search", order]);
            let finished = process::within(LIMIT, &mut mmtrace)?;
            let report: Value = serde_json::from_slice(&finished.stdout)
                .with_context(|| format!("mmtrace explore {} ended with {}", model.scenario, finished.status))?;
            Ok(report["results"].as_array().cloned().unwrap_or_default())
        };
        Ok(Self { depth: search("depth")?, reduced: search("reduced")?, breadth: search("breadth")? })
    }
}

/// The states of a safe variant, and what differs.
fn compare(spin: &Spin, model: &Model, variant: &str, defines: &[&str], ours: &Ours) -> Result<(u64, Vec<String>)> {
    let of = |results: &[Value]| results.iter().find(|r| r["variant"] == variant).cloned();
    let (Some(depth), Some(reduced), Some(breadth)) = (of(&ours.depth), of(&ours.reduced), of(&ours.breadth)) else {
        return Ok((0, vec!["mmtrace does not know it".to_owned()]));
    };
    let run =
        |search| -> Result<spin::Answer> { spin::run(&spin.pan(model.file, defines, search, Compile::Quickly)?, BITS) };
    let (full, less) = (run(Search::Full)?, run(Search::Reduced)?);
    let mut wrong = Vec::new();
    let mut differ = |what: &str, ours: &Value, theirs: &str| {
        let ours = ours.as_str().map_or_else(|| ours.to_string(), str::to_owned);
        if ours != theirs {
            wrong.push(format!("{what}: {ours}, Spin {theirs}"));
        }
    };
    let word = |broken: &Option<String>| broken.clone().unwrap_or_else(|| "safe".to_owned());
    if full.broken.is_none() && depth["verdict"] == "safe" {
        differ("states", &depth["states"], &full.states.to_string());
        differ("steps", &depth["transitions"], &full.transitions.to_string());
        differ("verdict with reduction", &reduced["verdict"], &word(&less.broken));
        differ("verdict level by level", &breadth["verdict"], "safe");
        say!("  {} {variant}: safe, {} states, {} steps", model.scenario, full.states, full.transitions);
        return Ok((full.states, wrong));
    }
    let shortest = run(Search::Shortest)?;
    let steps = breadth["steps"].as_array().map_or(0, Vec::len) as u64;
    differ("verdict", &breadth["verdict"], &word(&shortest.broken));
    differ("steps of the shortest counterexample", &Value::from(steps), &shortest.length.to_string());
    // Path by path, whichever comes first is found.
    let is_broken = |broken: bool| if broken { "broken" } else { "safe" };
    for (what, ours, theirs) in [("every interleaving", &depth, &full), ("reduction", &reduced, &less)] {
        let ours = Value::from(is_broken(ours["verdict"] != "safe"));
        differ(&format!("verdict with {what}"), &ours, is_broken(theirs.broken.is_some()));
    }
    say!("  {} {variant}: {} in {} steps", model.scenario, word(&shortest.broken), shortest.length);
    Ok((0, wrong))
}
