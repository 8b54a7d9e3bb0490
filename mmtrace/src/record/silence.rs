//! Possible reasons why nothing was recorded.

use std::collections::BTreeSet;

use mmtrace_common::Kind;
use mmtrace_model::{context::ProbeState, replay::Engine, report::grouped};

use super::{
    WatchArgs,
    target::{Target, exists},
};
use crate::probe::{filter::COMM_MAX, plan::Plan};

/// The selected events, to be compared with those that came.
pub(super) struct Silence {
    /// Events that were asked for and attached, by name.
    attached: BTreeSet<String>,
    /// Number of events that were asked for.
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

    /// Returns possible reasons if none of the selected events was recorded; nothing if one was.
    pub(super) fn explain(&self, engine: &Engine, target: &Target) -> Vec<String> {
        let by_kind = engine.by_kind();
        // Names and cgroups of tasks are recorded whatever the filter: they are no sign that it lets anything through.
        let names = [Kind::TaskRename, Kind::CgroupAttachTask].map(Kind::name);
        let counts = |event: &str| !names.contains(&event) || self.attached.len() == 1;
        if by_kind.keys().any(|event| self.attached.contains(*event) && counts(event)) {
            return Vec::new();
        }
        let lost = engine.lost().saturating_add(engine.missed());
        let mut told = vec![match engine.total() {
            0 => "mmtrace recorded no event. Possible reasons:".to_owned(),
            n => format!(
                "mmtrace recorded none of the selected events, only {} that the filter or the names of tasks need. Possible reasons:",
                grouped(n)
            ),
        }];
        if lost > 0 {
            told.push(format!("- {} events were lost or missed: use a larger --buffer, or --standby 2", grouped(lost)));
        }
        let Self { attached, asked, events } = self;
        told.push(match events {
            Some(events) => format!(
                "- with -e {events}, {} of {asked} kinds of event could be recorded: try without -e",
                attached.len()
            ),
            None => {
                format!("- {} of {asked} kinds of event could be recorded: `mmtrace doctor` says why", attached.len())
            }
        });
        told.extend(target.silent());
        told
    }
}

impl Target {
    /// Returns possible reasons why the filter let nothing through.
    fn silent(&self) -> Vec<String> {
        let mut told = Vec::new();
        let filter = &self.filter;
        let now = self.wanted();
        for process in &filter.pids {
            let pid = process.pid;
            told.push(if now.iter().any(|task| task.tgid == process.tgid && task.mm != 0) {
                format!(
                    "- process {pid} runs, but may have been idle; children that it had before are recorded only if -p, \
                     -G or --comm selects them"
                )
            } else if exists(pid) {
                format!(
                    "- process {pid} has no memory (it has ended, or is a kernel thread), or this host hides it from BPF \
                     programs"
                )
            } else {
                format!("- process {pid} has ended")
            });
        }
        if let Some(comm) = &filter.comm {
            let called = now.iter().filter(|task| task.comm == filter.comm_bytes()).count();
            told.push(match called {
                0 => format!("- no task has the command name {comm:?} now; to list the names: cat /proc/*/comm"),
                n => format!("- {n} tasks have the command name {comm:?} now, but may be idle, or kernel threads"),
            });
            if comm.len() > COMM_MAX {
                told.push(format!("- the kernel keeps {COMM_MAX} bytes of a command name: {:?}", cut(comm)));
            }
            if let Some((_, name)) = comm.rsplit_once('/') {
                told.push(format!("- a command name is not a path: try --comm {name}"));
            }
        }
        if let Some(cgroup) = &filter.cgroup {
            let path = cgroup.path.display();
            told.push(match cgroup.processes().len() {
                0 => format!("- the cgroup {path} has no process now"),
                n => format!("- the cgroup {path} has {n} processes now, which may have been idle"),
            });
        }
        if let Some(command) = &filter.command {
            told.push(format!(
                "- {command} may have handed its work to a process that ran already: -a records everything"
            ));
        }
        told.push(
            "- this host may hide processes from BPF programs: try without a filter (sudo mmtrace record)".to_owned(),
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
        assert!(told.starts_with("mmtrace recorded no event"), "{told}");
        assert!(told.contains("with -e only:exceptions, 1 of 2 kinds of event could be recorded"), "{told}");
        let told = explained(&[Kind::Fork, Kind::Exit], Filter::default());
        assert!(told.starts_with("mmtrace recorded none of the selected events, only 2"), "{told}");
        assert_eq!(explained(&[Kind::Fork, Kind::PageFaultUser], Filter::default()), "");
    }

    #[test]
    fn each_filter_is_named_with_what_is_wrong_with_it() {
        let comm = |name: &str| explained(&[], Filter { comm: Some(name.to_owned()), ..Filter::default() });
        let told = comm("a-command-of-many-letters");
        assert!(told.contains("keeps 15 bytes of a command name: \"a-command-of-ma\""), "{told}");
        let told = comm("/usr/bin/bash");
        assert!(told.contains("is not a path: try --comm bash"), "{told}");
        let gone = Process { pid: 4_294_967_295, tgid: 4_294_967_295 };
        let told = explained(&[], Filter { pids: vec![gone], ..Filter::default() });
        assert!(told.contains("process 4294967295 has ended"), "{told}");
        let told = explained(&[], Filter { command: Some("cc".to_owned()), ..Filter::default() });
        assert!(told.contains("cc may have handed its work"), "{told}");
    }
}
