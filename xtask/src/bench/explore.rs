//! `cargo xtask bench explore`: the explorer beside Spin, and beside stateright.

use std::{fs, path::PathBuf, process::Command, time::Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    process,
    spin::{self, Compile, ENLARGED, Enlarged, Search, Spin},
    workspace::{Workspace, cargo},
};

/// Measure the explorer beside Spin, on models of the same protocols with the same number of states
///
/// Enlarged scenarios (`mmtrace explore --enlarged`) and their models in testdata/promela, one core each, round after
/// round: every interleaving, and with partial-order reduction. What Spin generates is compiled with -O2, without
/// compression of states, its hash table made for their number. With --stateright, vma-lock-4-2 is also run as a
/// model for the library of that name, which is downloaded; it keeps 64-bit fingerprints instead of states.
///
/// Rates are per second of processor time, of the best round: others on the machine do not count.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Enlarged scenarios; those with about a million states and more unless said
    #[arg(value_name = "NAME", default_values = ["fill-4-4-1", "vma-lock-4-2", "retract-2-1"])]
    names: Vec<String>,
    /// How often everything is run in turn
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: u32,
    /// Run vma-lock-4-2 with stateright as well
    #[arg(long)]
    stateright: bool,
}

/// Clock ticks of a second, as /proc counts processor time (`USER_HZ`).
const TICKS: f64 = 100.0;

/// One run.
struct Once {
    states: u64,
    transitions: u64,
    /// Bytes for all states, with what they are found by; 0: unknown.
    bytes: f64,
}

/// One program on one model, and its best round.
struct Row {
    name: &'static str,
    run: Box<dyn Fn() -> Result<Once>>,
    best: Option<(Once, f64, f64)>,
}

impl Row {
    fn new(name: &'static str, run: impl Fn() -> Result<Once> + 'static) -> Self {
        Self { name, run: Box::new(run), best: None }
    }

    /// Another round.
    fn round(&mut self) -> Result<()> {
        let (start, before) = (Instant::now(), processor_time()?);
        let once = (self.run)()?;
        let (wall, processor) = (start.elapsed().as_secs_f64(), (processor_time()? - before).max(1.0 / TICKS));
        let (best_wall, best) =
            self.best.as_ref().map_or((wall, processor), |(_, w, p)| (wall.min(*w), processor.min(*p)));
        self.best = Some((once, best_wall, best));
        Ok(())
    }
}

/// Processor time, in seconds, of our children that have ended.
fn processor_time() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat").context("cannot read /proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // Fields 16 and 17 of proc_pid_stat(5), counted from the third one.
    let ticks = [13, 14].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok());
    Ok(ticks.sum::<f64>() / TICKS)
}

/// Runs everything and prints the table.
pub(crate) fn command(args: &Args) -> Result<bool> {
    let workspace = Workspace::find()?;
    let spin = Spin::find(&workspace).map_err(|why| anyhow::anyhow!("{why}: cargo xtask setup"))?;
    let build = ["build", "--quiet", "--release", "--package", "mmtrace", "--bin", "mmtrace"];
    process::run(process::command(cargo(), &workspace.root).args(build))?;
    let mmtrace = workspace.target.join("release/mmtrace");
    say!("{}", spin.version());
    let mut same = true;
    for name in &args.names {
        let Some(model) = ENLARGED.iter().find(|m| m.name == name) else {
            let names: Vec<&str> = ENLARGED.iter().map(|m| m.name).collect();
            bail!("there is no model {name}; there are {}", names.join(", "));
        };
        let mut rows = rows(&spin, &mmtrace, model)?;
        if args.stateright && name == "vma-lock-4-2" {
            let program = stateright(&workspace)?;
            rows.push(Row::new("stateright, depth-first", move || {
                let mut command = Command::new(&program);
                let value: Value = serde_json::from_slice(&process::output(command.args(["4", "2"]))?)?;
                Ok(Once { states: number(&value, "states")?, transitions: number(&value, "transitions")?, bytes: 0.0 })
            }));
        }
        for round in 1..=args.rounds {
            say!("{name}: round {round} of {}", args.rounds);
            for row in &mut rows {
                row.round()?;
            }
        }
        same &= print(model, &rows);
    }
    Ok(same)
}

fn number(value: &Value, field: &str) -> Result<u64> {
    value[field].as_u64().with_context(|| format!("there is no {field} in {value}"))
}

fn explore(mmtrace: &PathBuf, name: &str, order: &str) -> Result<Once> {
    let mut command = Command::new(mmtrace);
    command.args(["explore", "--enlarged", name, "--json", "--memory", "16000", "--search", order]);
    let value: Value = serde_json::from_slice(&process::output(&mut command)?)?;
    Ok(Once {
        states: number(&value, "states")?,
        transitions: number(&value, "transitions")?,
        bytes: number(&value, "bytes")? as f64,
    })
}

fn rows(spin: &Spin, mmtrace: &PathBuf, model: &'static Enlarged) -> Result<Vec<Row>> {
    let ours = |name, order: &'static str| {
        let mmtrace = mmtrace.clone();
        Row::new(name, move || explore(&mmtrace, model.name, order))
    };
    // As many slots as states, or a few more.
    let states = explore(mmtrace, model.name, "depth")?.states;
    let bits = states.next_power_of_two().ilog2();
    let theirs = |name, search| -> Result<Row> {
        let pan = spin.pan(model.file, model.defines, search, Compile::Well)?;
        Ok(Row::new(name, move || {
            let answer = spin::run(&pan, bits)?;
            if let Some(broken) = answer.broken {
                bail!("Spin finds {} broken: {broken}", model.name);
            }
            Ok(Once { states: answer.states, transitions: answer.transitions, bytes: answer.memory * 1024.0 * 1024.0 })
        }))
    };
    Ok(vec![
        ours("mmtrace, depth", "depth"),
        theirs("Spin, no reduction", Search::Full)?,
        ours("mmtrace, reduced", "reduced"),
        theirs("Spin, reduction", Search::Reduced)?,
    ])
}

/// Builds the model for stateright, which is no part of the workspace.
fn stateright(workspace: &Workspace) -> Result<PathBuf> {
    let target = workspace.target.join("stateright");
    let mut build = process::command(cargo(), &workspace.path("xtask/stateright"));
    build.args(["build", "--quiet", "--release", "--locked", "--target-dir"]).arg(&target);
    process::run(&mut build)?;
    Ok(target.join("release/stateright-vma-lock"))
}

/// Prints the table of one model. Whether all who look at every interleaving find as many states.
fn print(model: &Enlarged, rows: &[Row]) -> bool {
    let best = |name: &str| rows.iter().find(|r| r.name == name).and_then(|r| r.best.as_ref());
    say!("\n{}: {} {}", model.name, model.file, model.defines.join(" "));
    say!(
        "{:<24} {:>10} {:>11} {:>8} {:>8} {:>13} {:>10} {:>8} {:>8}",
        "",
        "states",
        "transitions",
        "wall s",
        "CPU s",
        "transitions/s",
        "states/s",
        "B/state",
        "to Spin"
    );
    let mut same = true;
    for row in rows {
        let Some((once, wall, processor)) = &row.best else { continue };
        let peer = if row.name.contains("reduc") && !row.name.contains("no reduc") {
            best("Spin, reduction")
        } else {
            same &= best("mmtrace, depth").is_none_or(|(ours, ..)| ours.states == once.states);
            best("Spin, no reduction")
        };
        let ratio = peer.map_or(0.0, |(_, _, spin)| processor / spin);
        let bytes = if once.bytes > 0.0 { format!("{:.1}", once.bytes / once.states as f64) } else { "?".to_owned() };
        say!(
            "{:<24} {:>10} {:>11} {wall:>8.2} {processor:>8.2} {:>13.0} {:>10.0} {bytes:>8} {ratio:>8.2}",
            row.name,
            once.states,
            once.transitions,
            once.transitions as f64 / processor,
            once.states as f64 / processor
        );
    }
    if !same {
        say!("They do NOT find the same number of states.");
    }
    say!("\"to Spin\": processor time as a multiple of Spin's, with and without reduction each.\n");
    same
}
