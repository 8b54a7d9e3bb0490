//! Judges a capture: `cargo run -p mmtrace-capture --example judge -- testdata/7.2-uffd-wp/capture`

use std::{env, error::Error, path::Path, process::ExitCode};

use mmtrace_capture::Capture;
use mmtrace_model::{
    replay::Engine,
    verdict::{RULES, Verdict},
};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let folder = env::args_os().nth(1).ok_or("which capture? name its folder")?;
    let capture = Capture::open(Path::new(&folder))?;
    let mut engine = Engine::new(capture.manifest().context.clone(), true);
    capture.records().for_each(|record| engine.apply(&record));
    engine.finish();
    let sink = engine.sink().ok_or("an engine that validates has findings")?;
    for verdict in [Verdict::Held, Verdict::Violated, Verdict::Unknown, Verdict::NotObservable] {
        let rules: Vec<&str> =
            RULES.iter().filter(|rule| sink.verdict(rule.id) == verdict).map(|rule| rule.name).collect();
        println!("{}: {}", verdict.name(), rules.join(" "));
    }
    // Hazards are kept as well: they break no rule.
    let violations = || sink.kept().filter(|found| found.rule.rule().severity.can_fail());
    violations().for_each(|violation| println!("{}: {}", violation.rule.rule().name, violation.what));
    Ok(if violations().next().is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
