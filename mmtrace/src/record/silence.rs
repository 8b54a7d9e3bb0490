//! What to check when nothing was recorded.

use std::collections::BTreeSet;

use mmtrace_model::{context::ProbeState, replay::Engine, report::grouped};

use super::{
    WatchArgs,
    target::{Target, exists},
};
use crate::probe::{filter::COMM_MAX, plan::Plan};

/// What was asked for, to be compared with what came.
pub(super) struct Silence {
    /// Events that were asked for and attached, by name.
    attached: BTreeSet<String>,
    /// How many were asked for.
    asked: usize,
    /// `-e`, as typed.
    events: Option<String>,
}

impl Silence {
    /// `probes` is what became of the plan's.
    pub(super) fn new(watch: &WatchArgs, plan: &Plan, probes: &[ProbeState]) -> Self {
        let attached = plan.asked(probes).filter(|p| p.form.is_some()).map(|p| p.event.clone()).collect();
        let events = watch.events.as_ref().and_then(|events| events.text()).map(str::to_owned);
        Self { attached, asked: plan.asked(probes).count(), events }
    }

    /// Events that were asked for and can be observed.
    pub(super) fn attached(&self) -> usize {
        self.attached.len()
    }

    /// What to say of a recording in which nothing happened that was asked for; nothing of any other.
    pub(super) fn explain(&self, engine: &Engine, target: &Target) -> Vec<String> {
        let by_kind = engine.by_kind();
        if by_kind.keys().any(|name| self.attached.contains(*name)) {
            return Vec::new();
        }
        let lost = engine.lost().saturating_add(engine.missed());
        let mut told = vec![match engine.total() {
            0 => "not one event was recorded. To check:".to_owned(),
            n => format!(
                "none of the events that were asked for was recorded, only {} that the filter needs. To check:",
                grouped(n)
            ),
        }];
        if lost > 0 {
            told.push(format!("- {} events came and were lost or missed: --buffer, --standby", grouped(lost)));
        }
        let Self { attached, asked, events } = self;
        told.push(match events {
            Some(events) => format!(
                "- {} of {asked} events were observed, by -e {events}: do others come without it?",
                attached.len()
            ),
            None => format!("- {} of {asked} events were observed: mmtrace doctor", attached.len()),
        });
        told.extend(target.silent());
        told
    }
}

impl Target {
    /// What to check of the filter when it has let nothing through.
    fn silent(&self) -> Vec<String> {
        let mut told = Vec::new();
        let filter = &self.filter;
        let now = self.wanted();
        for process in &filter.pids {
            let pid = process.pid;
            told.push(if now.iter().any(|task| task.tgid == process.tgid && task.mm != 0) {
                format!(
                    "- process {pid} lives: was it idle? Children that it had before are not recorded; -p, -G or --comm \
                     for them"
                )
            } else if exists(pid) {
                format!("- process {pid} has no memory (it has ended, or is a kernel thread), or this host hides it from BPF")
            } else {
                format!("- process {pid} has ended")
            });
        }
        if let Some(comm) = &filter.comm {
            let called = now.iter().filter(|task| task.comm == filter.comm_bytes()).count();
            told.push(match called {
                0 => format!("- no task is called {comm:?} now; /proc/PID/comm has the names"),
                n => format!("- {n} tasks are called {comm:?} now: were they idle, or kernel threads?"),
            });
            if comm.len() > COMM_MAX {
                told.push(format!("- of a command name the kernel keeps {COMM_MAX} bytes: {:?}", cut(comm)));
            }
            if let Some((_, name)) = comm.rsplit_once('/') {
                told.push(format!("- a command name is no path: --comm {name}"));
            }
        }
        if let Some(cgroup) = &filter.cgroup {
            let path = cgroup.path.display();
            told.push(match cgroup.processes().len() {
                0 => format!("- no process is in cgroup {path} now"),
                n => format!("- {n} processes are in cgroup {path} now: were they idle?"),
            });
        }
        if let Some(command) = &filter.command {
            told.push(format!("- did {command} hand its work to a process that ran already? -a records everything"));
        }
        told.push(
            "- some hosts hide processes from BPF programs; what is seen without a filter: mmtrace record".to_owned(),
        );
        told
    }
}

/// As much of a name as the kernel keeps.
fn cut(comm: &str) -> String {
    String::from_utf8_lossy(&comm.as_bytes()[..COMM_MAX.min(comm.len())]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::filter::{Filter, Process};
    use mmtrace_common::{Kind, Record};
    use mmtrace_model::context::Context;

    fn explained(kinds: &[Kind], filter: Filter) -> String {
        let silence = Silence {
            attached: [Kind::PageFaultUser.name().to_owned()].into(),
            asked: 2,
            events: Some("only:exceptions".to_owned()),
        };
        let mut engine = Engine::new(Context::default(), false);
        for kind in kinds {
            engine.apply(&Record { ts: 1, kind: *kind as u16, ..Record::default() });
        }
        silence.explain(&engine, &Target::unasked(filter)).join("\n")
    }

    #[test]
    fn a_recording_of_nothing_says_what_to_check() {
        let told = explained(&[], Filter::default());
        assert!(told.starts_with("not one event was recorded"), "{told}");
        assert!(told.contains("1 of 2 events were observed, by -e only:exceptions"), "{told}");
        let told = explained(&[Kind::Fork, Kind::Exit], Filter::default());
        assert!(told.starts_with("none of the events that were asked for was recorded, only 2"), "{told}");
        assert_eq!(explained(&[Kind::Fork, Kind::PageFaultUser], Filter::default()), "");
    }

    #[test]
    fn each_filter_is_named_with_what_is_wrong_with_it() {
        let comm = |name: &str| explained(&[], Filter { comm: Some(name.to_owned()), ..Filter::default() });
        let told = comm("a-command-of-many-letters");
        assert!(told.contains("keeps 15 bytes: \"a-command-of-ma\""), "{told}");
        let told = comm("/usr/bin/bash");
        assert!(told.contains("is no path: --comm bash"), "{told}");
        let gone = Process { pid: 4_294_967_295, tgid: 4_294_967_295 };
        let told = explained(&[], Filter { pids: vec![gone], ..Filter::default() });
        assert!(told.contains("process 4294967295 has ended"), "{told}");
        let told = explained(&[], Filter { command: Some("cc".to_owned()), ..Filter::default() });
        assert!(told.contains("did cc hand its work"), "{told}");
    }
}
