//! The metrics lane: Prometheus reads what mmtrace exports.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use mmtrace::export::metrics::METRICS;
use serde_json::Value;

use super::{Outcome, Run, lanes, live};
use crate::{process, workspace, workspace::program};

/// The rules, and what Grafana draws.
const RULES: &str = "dashboards/prometheus-rules.yml";
const GRAFANA: &str = "dashboards/grafana.json";
/// Recording is to last so long, at most.
const SECONDS: u64 = 60;
/// By then Prometheus must have scraped everything twice.
const PATIENCE: Duration = Duration::from_secs(45);
/// No command may take longer.
const LIMIT: Duration = Duration::from_secs(30);

/// Checks the rules, lets Prometheus scrape a recording, and asks it for everything that the dashboards ask for.
pub(super) fn lane(run: &mut Run) -> Result<Outcome> {
    let root = &run.workspace.root;
    let (Some(prometheus), Some(promtool)) = (program("prometheus", &[]), program("promtool", &[])) else {
        let step = run.setup.as_ref().map(|s| &s.prometheus);
        return Ok(match step {
            Some(step) if run.ci && lanes::is_failed(step) => Outcome::Failed(format!("setup {step}")),
            Some(step) => Outcome::NotRun(format!("no prometheus: {step}")),
            None => Outcome::NotRun("no prometheus: cargo xtask setup".to_owned()),
        });
    };
    if !process::succeeds(process::command(&promtool, root).args(["check", "rules", RULES]))? {
        return Ok(Outcome::Failed(format!("promtool does not accept {RULES}")));
    }
    let mmtrace = workspace::build(&run.workspace, "mmtrace")?;
    if let Some(reason) = live::refusal(&mmtrace, root)? {
        return Ok(Outcome::NotRun(format!("promtool accepts the rules; nothing to scrape: {reason}")));
    }
    let folder = run.workspace.target.join("ci/prometheus");
    let asked = expressions(&fs::read_to_string(run.workspace.path(GRAFANA))?)?;
    let scraped = Scraped::start(&mmtrace, &prometheus, promtool, root, &folder)?;
    let said = || format!("what prometheus said is in {}", folder.join("log").display());
    if let Some(lacking) = scraped.await_answers(&asked).with_context(said)? {
        return Ok(Outcome::Failed(lacking));
    }
    if !scraped.query("ALERTS{alertname=\"MmtraceRuleViolated\"}")?.is_empty() {
        return Ok(Outcome::Failed("the alert of a violated rule is raised, and nothing was planted".to_owned()));
    }
    Ok(Outcome::Passed(format!(
        "{} metrics scraped from a recording, {} expressions of {GRAFANA} answered, {RULES} evaluated",
        METRICS.len(),
        asked.len()
    )))
}

/// Whether Prometheus has it: a histogram is three series.
fn is_among(name: &str, names: &BTreeSet<String>) -> bool {
    names.contains(name) || names.contains(&format!("{name}_bucket"))
}

/// A recording, and Prometheus that scrapes it. Both end with it.
struct Scraped {
    recorder: Child,
    prometheus: Child,
    promtool: PathBuf,
    server: String,
}

impl Scraped {
    fn start(mmtrace: &Path, prometheus: &Path, promtool: PathBuf, root: &Path, folder: &Path) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let (exporter, server) = (free_address()?, free_address()?);
        let config = folder.join("prometheus.yml");
        let rules = root.join(RULES);
        fs::write(
            &config,
            format!(
                "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files: [{}]\nscrape_configs:\n  \
                 - job_name: mmtrace\n    static_configs:\n      - targets: [\"{exporter}\"]\n",
                serde_json::to_string(&rules)?
            ),
        )?;
        say!("mmtrace record --metrics {exporter}, scraped by prometheus every second");
        let seconds = SECONDS.to_string();
        let recorder = process::command(mmtrace, root)
            .args(["record", "--no-capture", "--json", "--seconds", &seconds, "--workload", "all", "--metrics"])
            .arg(&exporter)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run mmtrace")?;
        let log = fs::File::create(folder.join("log"))?;
        let started = process::command(prometheus, root)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={server}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot run prometheus");
        let prometheus = match started {
            Ok(child) => child,
            Err(error) => {
                end(recorder);
                return Err(error);
            }
        };
        Ok(Self { recorder, prometheus, promtool, server: format!("http://{server}") })
    }

    /// Waits until Prometheus has every metric and answers every expression, and returns what it still lacks when the
    /// patience ends. A series appears with its first value, and a rate needs two scrapes of it.
    fn await_answers(&self, asked: &[String]) -> Result<Option<String>> {
        let start = Instant::now();
        loop {
            // A server that does not listen yet fails the query.
            let lacking = self.lacking(asked);
            match lacking {
                Ok(None) => return Ok(None),
                other if start.elapsed() > PATIENCE => return other,
                _ => thread::sleep(Duration::from_secs(1)),
            }
        }
    }

    /// Returns the first thing that Prometheus lacks now; `None` if it has everything.
    fn lacking(&self, asked: &[String]) -> Result<Option<String>> {
        let names = self.names()?;
        let absent: Vec<&str> = METRICS.iter().map(|m| m.name).filter(|name| !is_among(name, &names)).collect();
        if !absent.is_empty() {
            return Ok(Some(format!("Prometheus has no {}", absent.join(", "))));
        }
        for expression in asked {
            let samples = self.query(expression).with_context(|| format!("{GRAFANA} asks for {expression}"))?;
            if samples.is_empty() {
                return Ok(Some(format!("{GRAFANA} asks for {expression}, and nothing answers")));
            }
        }
        let recorded = "instance:page_faults:rate1m";
        let evaluated = !self.query(recorded)?.is_empty();
        Ok((!evaluated).then(|| format!("the rules were not evaluated: there is no {recorded}")))
    }

    /// The names of the metrics that Prometheus has.
    fn names(&self) -> Result<BTreeSet<String>> {
        let samples = self.query("count by (__name__) ({job=\"mmtrace\"})")?;
        let name = |s: &Value| s["metric"]["__name__"].as_str().map(str::to_owned);
        Ok(samples.iter().filter_map(name).collect())
    }

    /// The samples that an expression gives now.
    fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let mut query = Command::new(&self.promtool);
        query.args(["query", "instant", "--format=json", &self.server, expression]).stdin(Stdio::null());
        query.stderr(Stdio::null());
        let finished = process::within(LIMIT, &mut query)?;
        if !finished.status.success() {
            bail!("promtool query ended with {}", finished.status);
        }
        Ok(serde_json::from_slice::<Option<Vec<Value>>>(&finished.stdout)
            .context("what promtool printed is no JSON")?
            .unwrap_or_default())
    }
}

impl Drop for Scraped {
    fn drop(&mut self) {
        for child in [&mut self.recorder, &mut self.prometheus] {
            // SIGTERM through kill(1): the recorder takes its probes off.
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let _ = child.wait();
        }
    }
}

fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// An address of this machine that nobody listens at.
fn free_address() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on this machine")?;
    Ok(listener.local_addr()?.to_string())
}

/// Returns the expressions that the dashboard asks Prometheus for, with its variables filled in.
fn expressions(grafana: &str) -> Result<Vec<String>> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(expression)) = fields.get("expr") {
                    found.push(expression.replace("$__rate_interval", "1m").replace("$instance", ".*"));
                }
                fields.values().for_each(|v| collect(v, found));
            }
            Value::Array(values) => values.iter().for_each(|v| collect(v, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(&serde_json::from_str(grafana).context("the dashboard is no JSON")?, &mut found);
    if found.is_empty() {
        bail!("the dashboard asks for nothing");
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dashboard_asks_for_is_found_and_filled_in() {
        let text = r#"{"panels": [{"targets": [{"expr": "rate(a{instance=~\"$instance\"}[$__rate_interval])"}]}]}"#;
        assert_eq!(expressions(text).expect("JSON"), ["rate(a{instance=~\".*\"}[1m])"]);
        assert!(expressions("{}").is_err());
    }

    #[test]
    fn a_histogram_is_known_by_its_buckets() {
        let names = BTreeSet::from(["a_total".to_owned(), "b_seconds_bucket".to_owned()]);
        assert!(is_among("a_total", &names) && is_among("b_seconds", &names) && !is_among("c", &names));
    }
}
