//! A stream of events that goes through the model: live, from a capture, or made up. No code here can tell which.

use std::{collections::BTreeMap, sync::Arc};

use mmtrace_common::{Column, Kind, LOST_KINDS, Record};

use self::{
    marks::Marks,
    overhead::{Cost, Overhead, Shed},
    standby::{Standby, StandbyAttached},
};
use crate::{
    context::Context,
    model::{Model, effect::What, locks::exclusion::Mode},
    names::Tasks,
    optional_events::OPTIONAL_EVENTS,
    stats::{
        Stats,
        callers::{Callers, OpenHold},
        charges::Charges,
        functions::{Asked, FunctionFaults},
        mappings::MappedFaults,
        open_calls::OpenCalls,
    },
    verdict::{Ended, Sink},
};

pub mod marks;
pub mod overhead;
pub mod recent;
pub mod source;
pub mod standby;
pub mod timeline;

/// Callers that a checkpoint keeps, of each table.
pub const CALLERS_KEPT: usize = 256;

/// Judges a stream. A copy is a checkpoint from which the stream can go on later.
#[derive(Clone, Debug)]
pub struct Engine {
    context: Arc<Context>,
    /// `None` if events are only counted.
    judge: Option<Box<Judge>>,
    tasks: Tasks,
    marks: Marks,
    overhead: Overhead,
    standby: Standby,
    counts: [u64; LOST_KINDS],
    lost: u64,
    missed: u64,
    gaps: u64,
    foreign: u64,
    span: Option<(u64, u64)>,
}

#[derive(Clone, Debug)]
struct Judge {
    model: Model,
    sink: Sink,
    calls: OpenCalls,
    /// Trimmed in what is made of a checkpoint.
    charges: Charges,
    /// Statistics, which are kept only on request.
    stats: Option<Box<Stats>>,
}

/// Returns the holds that go on of the lock that somebody has just given up waiting for; `None` if nobody has.
#[inline]
fn open_holds(model: &Model, calls: &OpenCalls, tasks: &Tasks) -> Option<Vec<OpenHold>> {
    /// A trylock that fails takes less, nanoseconds.
    const WAIT_NS: u64 = 10_000;
    let effect = model.effect();
    let What::LockRefused { waited: Some(waited), .. } = effect.what else { return None };
    if effect.since(waited.since) < WAIT_NS {
        return None;
    }
    let holds = model.holders().filter(|(mm, _)| *mm == effect.mm);
    let open = holds.map(|(mm, hold)| {
        let write = hold.mode == Mode::Write;
        let (tgid, call) = (tasks.tgid_of(hold.tid).unwrap_or(0), calls.holds(hold.tid, mm, write));
        OpenHold { tid: hold.tid, tgid, write, since: hold.since, call }
    });
    Some(open.collect())
}

impl Engine {
    /// Starts with the context of the stream.
    #[must_use]
    pub fn new(context: Context, validate: bool) -> Self {
        let judge = validate.then(|| {
            let model = Model::new(&context);
            let charges = Charges::new(model.mappings());
            let (mut sink, calls) = (Sink::new(&context), OpenCalls::new(&context));
            sink.set_enough_of(&context);
            Box::new(Judge { model, sink, calls, charges, stats: None })
        });
        let (tasks, marks, counts) = (Tasks::new(&context), Marks::default(), [0; LOST_KINDS]);
        let overhead = Overhead::new(&context);
        Self {
            context: Arc::new(context),
            judge,
            tasks,
            marks,
            overhead,
            standby: Standby::default(),
            counts,
            lost: 0,
            missed: 0,
            gaps: 0,
            foreign: 0,
            span: None,
        }
    }

    /// Returns a copy to go on from later. Of callers it has the [`CALLERS_KEPT`] first ones of each table, without quantiles;
    /// it lacks the tables of faults by mapping and by function, which only the closing report needs. These tables are large.
    #[must_use]
    pub fn checkpoint(&self) -> Self {
        let judge = self.judge.as_deref().map(|judge| {
            let Judge { model, sink, calls, charges, stats } = judge;
            Box::new(Judge {
                model: model.clone(),
                sink: sink.clone(),
                calls: calls.clone(),
                charges: charges.trimmed(CALLERS_KEPT),
                stats: stats.clone(),
            })
        });
        let Self { context, tasks, marks, overhead, standby, .. } = self;
        let (context, tasks, marks, overhead) = (context.clone(), tasks.clone(), marks.clone(), overhead.clone());
        Self { context, tasks, marks, overhead, standby: standby.clone(), judge, ..*self }
    }

    /// Sets the share, 0 to 1, of its evaluations and of the time that must have been judged for a rule to be held, in
    /// place of the one that the recording was asked for.
    #[must_use]
    pub fn with_min_judged(mut self, share: f64) -> Self {
        if let Some(judge) = &mut self.judge {
            judge.sink.set_enough(share);
        }
        self
    }

    /// Keeps statistics from now on.
    #[must_use]
    pub fn with_stats(mut self) -> Self {
        if let Some(judge) = &mut self.judge {
            judge.stats = Some(Box::default());
        }
        self
    }

    /// Takes the `gap` record of what was left out on purpose, before the part that is judged: the model knows nothing of
    /// it, as at the start of a recording. No verdict and no figure counts it as missing.
    pub fn begin_late(&mut self, skipped: &Record) {
        if let Some(judge) = &mut self.judge {
            judge.model.apply(skipped, &mut judge.sink);
            judge.model.count_from_here();
            judge.sink.begin_again(&self.context);
        }
    }

    /// Counts callers and faults by mapping and function from here on. A hold or wait that began before, and ends later, counts.
    pub fn count_from_here(&mut self) {
        if let Some(judge) = &mut self.judge {
            judge.charges.count_from_here();
        }
    }

    /// Learns from a record what tasks are called, what is mapped and which events are not recorded any more, and nothing
    /// else: for records before those that are judged.
    pub fn learn_names(&mut self, record: &Record) {
        self.tasks.apply(record);
        if let Some(judge) = &mut self.judge {
            judge.model.mappings_mut().apply(record);
        }
        if record.kind() == Some(Kind::EventsShed) {
            let shed = self.overhead.shed(record);
            self.without_unjudged(shed);
        }
    }

    /// Returns what tasks are called.
    #[must_use]
    pub const fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Returns the labels that users put on the time line.
    #[must_use]
    pub(crate) const fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Returns what recording itself cost, if that was limited.
    #[must_use]
    pub const fn overhead(&self) -> &Overhead {
        &self.overhead
    }

    /// Returns the standby programs that were attached during the recording, in the order in which they were.
    #[must_use]
    pub fn standby_attached(&self) -> &[StandbyAttached] {
        self.standby.all()
    }

    /// Returns who took locks and faulted; `None` when only counting.
    #[must_use]
    pub fn callers(&self) -> Option<&Callers> {
        self.judge.as_ref().map(|judge| &judge.charges.callers)
    }

    /// Returns by which calls tasks hold and await mmap_locks; `None` when only counting.
    #[must_use]
    pub fn open_calls(&self) -> Option<&OpenCalls> {
        self.judge.as_ref().map(|judge| &judge.calls)
    }

    /// Returns faults by mapping; `None` when only counting, and if no event tells what is mapped.
    #[must_use]
    pub(crate) fn mapped_faults(&self) -> Option<&MappedFaults> {
        self.judge.as_ref().and_then(|judge| judge.charges.mapped.as_ref())
    }

    /// Returns faults by function; `None` when only counting, and if no event tells what is mapped.
    #[must_use]
    pub(crate) fn function_faults(&self) -> Option<&FunctionFaults> {
        self.judge.as_ref().and_then(|judge| judge.charges.functions.as_ref())
    }

    /// Takes the instructions whose functions are to be found in the files that they are in.
    pub fn asked_functions(&mut self) -> Vec<Asked> {
        let functions = self.judge.as_mut().and_then(|judge| judge.charges.functions.as_mut());
        functions.map_or_else(Vec::new, FunctionFaults::asked)
    }

    /// Takes the mms whose mappings are to be read from /proc/PID/maps, each with a process that runs on it.
    pub fn asked_mappings(&mut self) -> Vec<(u32, u64)> {
        self.judge.as_mut().map_or_else(Vec::new, |judge| judge.model.mappings_mut().asked())
    }

    /// Takes the single mappings that are to be read again, each with a process that runs on its mm.
    pub fn asked_single_mappings(&mut self) -> Vec<crate::model::mappings::AskedMapping> {
        self.judge.as_mut().map_or_else(Vec::new, |judge| judge.model.mappings_mut().asked_ones())
    }

    /// Takes the tasks that were met without a name or a cgroup.
    pub fn nameless_tasks(&mut self) -> Vec<(u32, u32)> {
        self.tasks.nameless()
    }

    /// Takes the cgroups that were met without a path, by their ids in the kernel.
    pub fn nameless_cgroups(&mut self) -> Vec<u64> {
        self.tasks.nameless_cgroups()
    }

    /// Statistics; `None` unless they were asked for.
    #[must_use]
    pub fn stats(&self) -> Option<&Stats> {
        self.judge.as_ref().and_then(|j| j.stats.as_deref())
    }

    /// Takes the next event.
    #[inline]
    pub fn apply(&mut self, record: &Record) {
        self.tasks.apply(record);
        self.marks.apply(record);
        let missing = record.kind().is_some_and(Kind::is_synthetic);
        match self.counts.get_mut(usize::from(record.kind)) {
            Some(count) if !missing => {
                *count += 1;
                let span = self.span.get_or_insert((record.ts, record.ts));
                span.0 = span.0.min(record.ts);
                span.1 = span.1.max(record.ts);
            }
            _ => self.count_missing(record),
        }
        if let Some(judge) = &mut self.judge {
            let Judge { model, sink, calls, charges, stats } = &mut **judge;
            model.apply(record, sink);
            let (effect, mappings) = (model.effect(), model.mappings());
            let via = calls.apply(effect);
            if let Some(holds) = open_holds(model, calls, &self.tasks) {
                charges.callers.go_on(holds);
            }
            charges.apply(effect, via, mappings, &mut self.tasks);
            if let Some(stats) = stats {
                stats.apply(record, effect, via.call, mappings);
            }
        }
    }

    fn count_missing(&mut self, record: &Record) {
        let count = record.get(Column::Count).unwrap_or(0);
        match record.kind() {
            Some(Kind::Loss) => self.lost = self.lost.saturating_add(count),
            Some(Kind::Missed) => {
                self.missed = self.missed.saturating_add(count);
                self.standby.missed(record);
            }
            Some(Kind::StandbyAttached) => self.standby.attached(record),
            Some(Kind::Gap) => self.gaps += 1,
            Some(Kind::Foreign) => self.foreign = self.foreign.saturating_add(count),
            _ => {}
        }
        if matches!(record.kind(), Some(Kind::RecordingCost | Kind::EventsShed | Kind::Gap)) {
            self.overhead_changes(record);
        }
    }

    /// Takes a record that tells of the cost of the recording, or behind which that is not known.
    #[cold]
    fn overhead_changes(&mut self, record: &Record) {
        match record.kind() {
            Some(Kind::RecordingCost) => self.overhead.measured(record),
            Some(Kind::EventsShed) => {
                let shed = self.overhead.shed(record);
                self.without(shed);
            }
            // The record that says so may be in the part that cannot be read.
            Some(Kind::Gap) if self.context.max_overhead.is_some() => {
                for kind in OPTIONAL_EVENTS.iter().flat_map(|group| group.kinds) {
                    if self.context.has(*kind) {
                        let shed = self.overhead.end(Shed { kind: *kind, ts: record.ts, cost: Cost::default() });
                        self.without_unjudged(shed);
                    }
                }
            }
            _ => {}
        }
    }

    /// As [`Self::without`], where the model does not take the record that says so.
    fn without_unjudged(&mut self, shed: Option<Shed>) {
        if let (Some(Shed { kind, .. }), Some(judge)) = (shed, &mut self.judge) {
            judge.model.without(kind);
        }
        self.without(shed);
    }

    /// Concludes nothing any more from what is not seen of events that are no longer recorded.
    fn without(&mut self, shed: Option<Shed>) {
        let (Some(Shed { kind, ts, .. }), Some(judge)) = (shed, &mut self.judge) else { return };
        let at_ns = ts.saturating_sub(self.context.start);
        judge.sink.end(Ended { at_ns, kind, max_overhead: self.overhead.limit().unwrap_or(0) });
        judge.calls.without(kind);
    }

    /// Takes the end of the stream.
    pub fn finish(&mut self) {
        let end = self.span.map_or(0, |s| s.1);
        if let Some(judge) = &mut self.judge {
            judge.model.finish(end, &mut judge.sink);
            let faults = judge.model.finish_faults();
            let (charges, mappings) = (&mut judge.charges, judge.model.mappings());
            faults.iter().for_each(|fault| charges.fault(fault, None, mappings, &mut self.tasks));
            if let Some(stats) = &mut judge.stats {
                stats.count(&faults, judge.model.mappings());
            }
        }
    }

    /// The context of the stream.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Findings so far; `None` if events are only counted.
    #[must_use]
    pub fn sink(&self) -> Option<&Sink> {
        self.judge.as_ref().map(|j| &j.sink)
    }

    /// The model; `None` if events are only counted.
    #[must_use]
    pub fn model(&self) -> Option<&Model> {
        self.judge.as_ref().map(|j| &j.model)
    }

    /// Number of events of every kind, without loss records.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Events by name. A kind that did not happen is absent.
    #[must_use]
    pub fn by_kind(&self) -> BTreeMap<&'static str, u64> {
        let kinds = self.counts.iter().enumerate().filter(|(_, n)| **n > 0);
        kinds.filter_map(|(k, n)| Some((Kind::from_u16(k as u16)?.name(), *n))).collect()
    }

    /// Events for which the rings had no room.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Events that are missing because the kernel skipped the program's run.
    #[must_use]
    pub const fn missed(&self) -> u64 {
        self.missed
    }

    /// Places where a capture could not be read.
    #[must_use]
    pub const fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Records in the rings that no program of mmtrace can have written.
    #[must_use]
    pub const fn foreign(&self) -> u64 {
        self.foreign
    }

    /// Time of the first and the last event, nanoseconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub const fn span(&self) -> Option<(u64, u64)> {
        self.span
    }
}
