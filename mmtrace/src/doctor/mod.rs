//! `mmtrace doctor`: what would work here, what not, why, and what to do about it.
//! Programs are shown to the kernel's verifier where that is allowed. Nothing is attached.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use clap::Args;
use mmtrace_capture::effective_uid;
use mmtrace_common::{Kind, SPECS};
use mmtrace_model::{
    context::{Context, Form, ProbeState},
    report::{Style, wrap},
    untrusted::{clean, json},
    verdict::RULES,
};
use serde::Serialize;

use crate::{
    btf::Btf,
    environment::{Environment, Finding, Status, Tracefs},
    probe::{
        filter::Filter,
        object::{self, Object},
        plan::{Plan, Planned},
        refusal::Refusal,
        selection::Selection,
        standby::Standby,
        symbols::Symbols,
    },
    record, workload,
};

/// Width of the column that explains a fact.
const WIDTH: usize = 86;
/// Beginning of the reason of an event that is not selected.
const OFF: &str = "off unless asked for: -e +";
/// Text between the form of a program and the reason why the kernel refused it.
const REFUSED: &str = " refused: ";
/// Rings are not used here: a page each.
const RING_BYTES: u32 = 4096;

/// Arguments of `mmtrace doctor`.
#[derive(Args, Debug)]
#[command(after_help = "\
doctor attaches no program. As root it has the kernel's verifier check each program and unloads it again.

Examples:
  sudo mmtrace doctor         what works, what does not, and how to fix it
  mmtrace doctor              the same for this user, who may lack capabilities
  sudo mmtrace doctor --json | jq '.probes[] | select(.form == null) | {event, reason}'

Exit status: 0 this machine can record, 2 it cannot")]
pub struct DoctorArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// The diagnosis that `mmtrace doctor` prints.
#[derive(Debug, Serialize)]
struct Diagnosis {
    /// Whether `mmtrace record` would work.
    can_record: bool,
    kernel: mmtrace_model::context::Kernel,
    environment: Vec<Finding>,
    probes: Vec<ProbeLine>,
    /// Struct offsets that the programs would use, in bytes, as `struct.member`.
    offsets: BTreeMap<String, u32>,
    rules_off: Vec<RuleOff>,
}

#[derive(Debug, Serialize)]
struct ProbeLine {
    system: &'static str,
    event: String,
    /// Form in which it would be attached.
    form: Option<Form>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Parameters that are read, with their positions.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    arguments: BTreeMap<&'static str, u8>,
    /// Values that this kernel's event does not have.
    absent: Vec<String>,
    /// Rules that need it.
    feeds: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct RuleOff {
    id: &'static str,
    reason: String,
}

/// Examines and prints. Returns whether recording would work.
///
/// # Errors
/// `out` cannot be written.
pub fn run(args: &DoctorArgs, out: &mut dyn Write, style: Style) -> io::Result<bool> {
    let diagnosis = examine();
    if args.json {
        json(&diagnosis, out)?;
        writeln!(out)?;
    } else {
        print(&diagnosis, style, out)?;
    }
    Ok(diagnosis.can_record)
}

fn examine() -> Diagnosis {
    let symbols = Symbols::from_kernel();
    let mut environment = Environment::examine_all(symbols.are_shown(), object::takes());
    environment.findings.extend(left_changed());
    let tracefs = Tracefs::open();
    let plan = Btf::from_kernel().map(|btf| Plan::new(&btf, &symbols, &Selection::default()));
    let mut context = Context { kernel: record::running_kernel(), ..Context::default() };
    match &plan {
        Ok(plan) => {
            context.enums.clone_from(&plan.enums);
            context.offsets = object::offsets(plan);
            context.probes = verified(plan, &environment).unwrap_or_else(|| {
                let on_paper = |p: &Planned| match p.state() {
                    state if state.reason.is_some() => state,
                    state => ProbeState { form: Form::of(p.spec.site.at).first().copied(), ..state },
                };
                let states: Vec<ProbeState> = plan.probes.iter().map(on_paper).collect();
                let attached = |kind: Kind| states.iter().any(|s| s.event == kind.name() && s.form.is_some());
                let spared = |(probe, state): (&Planned, &ProbeState)| match probe.spared(attached) {
                    Some(why) if state.form.is_some() => ProbeState { form: None, reason: Some(why), ..state.clone() },
                    _ => state.clone(),
                };
                plan.probes.iter().zip(&states).map(spared).collect()
            });
            for (state, probe) in context.probes.iter_mut().zip(&plan.probes) {
                if let Err(refusal @ Refusal::NoEvent(_)) = &probe.positions
                    && tracefs.has(probe.spec.site.system, probe.spec.name) == Some(true)
                {
                    // BTF and tracefs are two witnesses; say so when they differ.
                    state.reason = Some(format!(
                        "{refusal} in its BTF, although tracefs lists it: mmtrace cannot find its arguments"
                    ));
                }
            }
        }
        Err(error) => {
            let probed = SPECS.iter().filter(|s| !s.kind.is_synthetic());
            context.probes = probed
                .map(|s| ProbeState {
                    event: s.name.to_owned(),
                    form: None,
                    absent: Vec::new(),
                    reason: Some(error.to_string()),
                })
                .collect();
        }
    }
    let spec_of = |state: &ProbeState| SPECS.iter().find(|spec| spec.name == state.event);
    let probes = context
        .probes
        .iter()
        .filter_map(|state| Some((state, spec_of(state)?)))
        .map(|(state, spec)| ProbeLine {
            system: spec.site.system,
            event: state.event.clone(),
            form: state.form,
            reason: state.reason.clone(),
            arguments: plan.as_ref().map_or_else(|_| BTreeMap::new(), |plan| plan.arguments(spec.kind)),
            absent: state.absent.clone(),
            feeds: RULES.iter().filter(|r| r.needs.contains(&spec.kind)).map(|r| r.name).collect(),
        })
        .collect();
    let rules_off = RULES.iter().filter_map(|r| Some(RuleOff { id: r.name, reason: r.blocked(&context)? })).collect();
    Diagnosis {
        can_record: environment.blocking().is_none() && context.probes.iter().any(|p| p.form.is_some()),
        kernel: context.kernel,
        environment: environment.findings,
        probes,
        offsets: context.offsets,
        rules_off,
    }
}

/// Returns the kernel settings that a killed workload left changed, if there are any.
fn left_changed() -> Option<Finding> {
    let left = workload::left_changed().ok().filter(|left| !left.is_empty())?;
    let names: Vec<String> = left.iter().map(|path| path.display().to_string()).collect();
    Some(Finding {
        name: "settings",
        status: Status::Warn,
        value: format!("a killed workload left these changed: {}", names.join(", ")),
        consequence: Some("The kernel collapses or keeps huge pages in another way than configured.".to_owned()),
        fix: Some("sudo mmtrace workload --restore".to_owned()),
    })
}

/// Returns how the kernel's verifier answers to each program; `None` if this process may not load programs.
fn verified(plan: &Plan, environment: &Environment) -> Option<Vec<ProbeState>> {
    environment.blocking().is_none().then_some(())?;
    let mut object = Object::load(plan, &Filter::default(), Some(RING_BYTES), Standby::default()).ok()?;
    object.verify(plan).ok()
}

fn print(diagnosis: &Diagnosis, style: Style, out: &mut dyn Write) -> io::Result<()> {
    answer(diagnosis, style, out)?;
    writeln!(out, "\n{}", style.bold("Environment"))?;
    for finding in &diagnosis.environment {
        let word = format!("{:<8}", finding.status.name());
        let word = match finding.status {
            Status::Ok => style.good(&word),
            Status::Warn | Status::Unknown => style.doubtful(&word),
            Status::Fail => style.bad(&word),
        };
        writeln!(out, "  {word} {:<22} {}", finding.name, clean(&finding.value))?;
        let means = finding.consequence.as_deref().map_or_else(String::new, |text| format!("means: {}", clean(text)));
        // A fix stays on its line: it is there to be copied.
        let fix = finding.fix.as_deref().map(|text| format!("fix: {}", clean(text)));
        for line in wrap(&means, WIDTH).into_iter().chain(fix) {
            writeln!(out, "{:34}{line}", "")?;
        }
    }
    writeln!(out, "\n{}", style.bold("Probes: how mmtrace would attach each, and the rules that need it"))?;
    for probe in &diagnosis.probes {
        let Some(form) = probe.form else { continue };
        let how = style.good(&format!("{:<8}", form.name()));
        write!(out, "  {how} {:<46}", format!("{}:{}", probe.system, probe.event))?;
        if !probe.absent.is_empty() {
            write!(out, " without {}, which cannot be had here;", probe.absent.join(", "))?;
        }
        match &probe.reason {
            Some(reason) => writeln!(out, " {}", clean(reason))?,
            None => writeln!(out, "{}", style.dim(&format!(" {}", probe.feeds.join(" "))))?,
        }
    }
    refused(diagnosis, style, out)?;
    if diagnosis.rules_off.is_empty() {
        writeln!(out, "\nThis machine can show every rule.")?;
    } else {
        writeln!(out, "\n{}", style.bold("Rules that this machine cannot show, and why"))?;
        for rule in &diagnosis.rules_off {
            writeln!(out, "  {:<4} {}", rule.id, clean(&rule.reason))?;
        }
    }
    Ok(())
}

/// Writes whether this machine can record, and how much of it.
fn answer(diagnosis: &Diagnosis, style: Style, out: &mut dyn Write) -> io::Result<()> {
    if diagnosis.can_record {
        let events = diagnosis.probes.iter().filter(|probe| probe.form.is_some()).count();
        let rules = RULES.len() - diagnosis.rules_off.len();
        return writeln!(
            out,
            "{} {events} of {} events, and judge {rules} of {} rules: {}",
            style.good("This machine can record"),
            diagnosis.probes.len(),
            RULES.len(),
            style.bold(if effective_uid() == 0 { "sudo mmtrace record" } else { "mmtrace record" })
        );
    }
    let what = style.bad("Recording is not possible here");
    match diagnosis.environment.iter().find(|f| f.status == Status::Fail) {
        Some(finding) => writeln!(out, "{what}: fix \"{}\" below first", finding.name),
        None => writeln!(out, "{what}: the reason stands at the events below"),
    }
}

/// Writes which events cannot be recorded: each reason once, and the events that it is about.
fn refused(diagnosis: &Diagnosis, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for probe in diagnosis.probes.iter().filter(|probe| probe.form.is_none()) {
        let reason = probe.reason.as_deref().unwrap_or("the reason is not known");
        // Reasons name the event, or how its program would be attached.
        let reason = match reason.split_once(REFUSED) {
            _ if reason.starts_with(OFF) => "off unless asked for: -e +NAME",
            Some((_, why)) => why,
            None => reason,
        };
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, events)) => events.push(&probe.event),
            None => reasons.push((reason, vec![&probe.event])),
        }
    }
    if reasons.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{}", style.bold("Events that are not recorded, and why"))?;
    for (reason, events) in reasons {
        let number = if events.len() == 1 { "1 event".to_owned() } else { format!("{} events", events.len()) };
        writeln!(out, "  {} {}", style.bad(&format!("{number}:")), clean(reason))?;
        for line in wrap(&events.join(" "), WIDTH) {
            writeln!(out, "      {line}")?;
        }
    }
    Ok(())
}
