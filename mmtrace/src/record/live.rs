//! The recording as it goes: events are taken from the rings, judged and written.

use std::time::{Duration, Instant};

use anyhow::Error;
use mmtrace_capture::CaptureWriter;
use mmtrace_common::{Column, Kind, LOST_KINDS, Record};
use mmtrace_model::{replay::Engine, report::grouped};

use super::{
    closing::Capture,
    dump::Dumps,
    functions::FunctionReader,
    maps::MapsReader,
    marks::{FOLDER as MARKS_FOLDER, MarkSocket},
    names::TaskNames,
    status::Face,
};
use crate::{
    console::tell,
    export::offer::Offer,
    probe::rings::{self, Pass, Rings},
};

/// Records that are judged before signals, the clock and the child are looked at: 20 ms where a recorder has a tenth
/// of a CPU.
const SLICE: usize = 1 << 10;
/// Time between two flushes of a half-filled batch to disk: a killed recorder loses no more than that.
const FLUSH_EVERY: Duration = Duration::from_millis(250);

/// Work that a step of the recording leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// There is more: come back at once.
    Busy,
    /// There may be more soon.
    Waiting,
    /// There was nothing.
    Idle,
}

/// Sources of names that no event tells: of tasks, of mappings, of functions.
pub(super) type Sources = (TaskNames, MapsReader, FunctionReader);

/// The recording as it goes.
pub(super) struct Live {
    pub(super) engine: Engine,
    writer: Option<CaptureWriter>,
    dumps: Option<Dumps>,
    pub(super) face: Face,
    metrics: Option<Offer>,
    names: TaskNames,
    maps: MapsReader,
    functions: FunctionReader,
    /// `None` if no socket can be had.
    marks: Option<MarkSocket>,
    /// The segment that all names were last written to.
    named: u64,
    /// Records of the last pass.
    batch: Vec<Record>,
    /// Records of it that have been judged.
    judged: usize,
    pass: Pass,
    flushed: Instant,
    /// Error for which the recording has to end.
    failed: Option<Error>,
}

impl Live {
    pub(super) fn new(
        engine: Engine,
        writer: Option<CaptureWriter>,
        dumps: Option<Dumps>,
        face: Face,
        metrics: Option<Offer>,
        (mut names, maps, functions): Sources,
    ) -> Self {
        if !engine.tasks().cgroups().is_told() {
            names.leave_out_cgroups();
        }
        let (batch, flushed) = (Vec::new(), Instant::now());
        let (judged, pass, failed) = (0, Pass::Drained, None);
        let marks = MarkSocket::new()
            .map_err(|why| tell(&format!("mmtrace mark will not reach this recording: {MARKS_FOLDER}: {why}")))
            .ok();
        Self {
            engine,
            writer,
            dumps,
            face,
            metrics,
            names,
            maps,
            functions,
            marks,
            named: 1,
            batch,
            judged,
            pass,
            flushed,
            failed,
        }
    }

    /// Whether the kernel answers about tasks.
    pub(super) fn is_answered(&self) -> bool {
        self.names.is_answered()
    }

    /// Begins with the names and cgroups of the tasks that exist. `ts` is the start of the recording, nanoseconds.
    pub(super) fn begin(&mut self, ts: u64) {
        self.batch = self.names.all(ts);
        self.face.keep(&self.engine, &self.batch);
    }

    /// The user has closed the dashboard, or something is wrong.
    pub(super) fn has_seen_enough(&self) -> bool {
        self.failed.is_some() || matches!(&self.face, Face::Dashboard(watch) if watch.is_over())
    }

    /// Whether the writer has more to do than may wait.
    pub(super) fn is_behind(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| !writer.has_room())
    }

    /// Whether a record is waited for that is still being written.
    pub(super) fn is_held(&self) -> bool {
        self.pass == Pass::Held
    }

    /// Has the names of functions looked for. Returns whether some are still to come.
    pub(super) fn ask_functions(&mut self) -> bool {
        let asked = self.engine.asked_functions();
        if let Some(model) = self.engine.model() {
            self.functions.ask(asked, model.mappings());
        }
        self.functions.is_busy()
    }

    fn fail(&mut self, error: Error) {
        self.failed.get_or_insert(error);
    }

    /// Takes some of what has arrived: judges it, writes it.
    pub(super) fn step(&mut self, rings: &mut Rings) -> Pace {
        if self.judged == self.batch.len() {
            self.batch.clear();
            // Each question is a system call: a recorder that is behind has no time for it.
            if self.pass == Pass::Drained {
                let nameless = self.engine.nameless_tasks();
                self.batch.extend(self.names.of(&nameless, rings.watermark()));
                self.batch.extend(self.names.paths(&self.engine.nameless_cgroups(), rings.watermark()));
                self.maps.ask(self.engine.asked_mappings());
                self.maps.ask_ones(self.engine.asked_single_mappings());
                self.batch.extend(self.maps.records(rings.watermark()));
                self.ask_functions();
                self.batch.extend(self.functions.records(rings.watermark()));
            }
            self.batch.extend(self.marks.iter().flat_map(|marks| marks.records(rings.watermark())));
            self.judged = 0;
            match rings.pass(&mut self.batch) {
                Ok(pass) => self.pass = pass,
                Err(error) => {
                    self.pass = Pass::Held;
                    self.fail(Error::from(error).context("cannot read how many events the probes have lost"));
                }
            }
            self.name_cgroups();
            self.face.keep(&self.engine, &self.batch);
        }
        let idle = self.batch.is_empty();
        let behind = self.is_behind();
        if !behind {
            let slice = self.judged..self.batch.len().min(self.judged + SLICE);
            self.judge(slice);
        }
        self.look_around();
        match self.pass {
            _ if behind => Pace::Waiting,
            _ if self.judged < self.batch.len() => Pace::Busy,
            Pass::More => Pace::Busy,
            Pass::Drained if idle => Pace::Idle,
            Pass::Held | Pass::Drained => Pace::Waiting,
        }
    }

    /// Judges records of the batch, and writes them. A capture that cannot be written any more ends the recording, but
    /// what was recorded is worth a verdict.
    fn judge(&mut self, slice: std::ops::Range<usize>) {
        self.judged = slice.end;
        let batch = std::mem::take(&mut self.batch);
        let mut rest = &batch[slice];
        while !rest.is_empty() {
            // What is behind the capture's batch may go into the next segment, which begins with names.
            let room = self.writer.as_ref().map_or(rest.len(), CaptureWriter::batch_room);
            let (records, behind) = rest.split_at(room.min(rest.len()));
            self.judge_all(records);
            rest = behind;
        }
        self.batch = batch;
    }

    /// Judges these records, and writes them.
    fn judge_all(&mut self, records: &[Record]) {
        for record in records {
            self.engine.apply(record);
            if let Some(dumps) = &mut self.dumps {
                dumps.see(&self.engine, record);
            }
        }
        if let Some(Err(error)) = self.writer.as_mut().map(|writer| writer.append_all(records)) {
            self.writer = None;
            self.failed.get_or_insert(error.into());
        }
        if let Some(last) = records.last() {
            self.name_again(last.ts);
        }
    }

    /// Puts the paths of cgroups that the batch is the first to mention in front of it: a filter of `dump` then knows them
    /// from the first event on. Later, a cgroup may have been removed.
    fn name_cgroups(&mut self) {
        let Some(ts) = self.batch.first().map(|record| record.ts) else { return };
        let paths = self.names.paths(&self.engine.tasks().cgroups().unmet(&self.batch), ts);
        self.batch.splice(0..0, paths);
    }

    /// A flight recorder gives up its oldest segments, and the names with them: each segment begins with all names of
    /// tasks, and with what is known of mappings.
    fn name_again(&mut self, ts: u64) {
        let Some(writer) = self.writer.as_mut().filter(|writer| writer.is_flight_recorder()) else { return };
        if writer.segments() == self.named {
            return;
        }
        self.named = writer.segments();
        let mut names = self.engine.tasks().names(ts);
        names.extend(self.engine.model().map_or_else(Vec::new, |model| model.mappings().records(ts)));
        names.extend(self.engine.overhead().records(ts));
        if let Some(Err(error)) = names.iter().map(|name| writer.append(name)).find(Result::is_err) {
            self.writer = None;
            self.fail(error.into());
        }
    }

    /// Does the periodic work: flushes, saves, draws, renews the metrics.
    fn look_around(&mut self) {
        if self.flushed.elapsed() >= FLUSH_EVERY
            && let Some(writer) = self.writer.as_mut().filter(|writer| writer.has_room())
        {
            self.flushed = Instant::now();
            if let Err(error) = writer.flush() {
                self.writer = None;
                self.fail(error.into());
            }
        }
        if let (Some(dumps), Some(writer)) = (&mut self.dumps, self.writer.as_mut().filter(|writer| writer.has_room()))
        {
            match dumps.tick(&self.engine, writer) {
                Ok(message) => message.iter().for_each(|message| self.face.say(message)),
                Err(error) => {
                    self.writer = None;
                    self.fail(error.into());
                }
            }
        }
        if let Err(error) = self.face.tick(&self.engine) {
            self.fail(error);
        }
        if let Some(metrics) = &mut self.metrics {
            metrics.tick(&self.engine);
        }
    }

    /// Ends the kinds of events that are to end, if that can be now: see [`Rings::ended()`].
    pub(super) fn ended(&mut self, rings: &mut Rings) -> Option<(u64, Vec<Kind>)> {
        let known = self.batch.len();
        match rings.ended(&mut self.batch) {
            Ok(ended) => {
                self.face.keep(&self.engine, &self.batch[known..]);
                ended
            }
            Err(error) => {
                self.fail(Error::from(error).context("cannot read how many events the probes have lost"));
                None
            }
        }
    }

    /// Adds what is known to be missing up to the stop. Returns whether that is all.
    pub(super) fn settle(&mut self, rings: &mut Rings) -> bool {
        // Another pass is due, whatever the last one found.
        self.pass = Pass::More;
        match rings.settle(&mut self.batch) {
            Ok(settled) => settled,
            Err(error) => {
                self.fail(Error::from(error).context("cannot read how many events the probes have lost"));
                false
            }
        }
    }

    /// Takes what was not read, or not judged, as lost. Returns how many events that are, in words.
    pub(super) fn give_up(&mut self, rings: &mut Rings, settled: bool, end: Instant) -> String {
        let rest = rings.rest(end);
        let unjudged = self.batch.split_off(self.judged);
        let from = unjudged.first().map_or(rest.from, |record| record.ts);
        let mut missing = given_up(&unjudged, rest.counts, from, rings.stopped());
        missing.extend(&rest.synthetic);
        let lost: u64 =
            missing.iter().filter(|r| r.kind() == Some(Kind::Loss)).filter_map(|r| r.get(Column::Count)).sum();
        let more = rest.more || !settled;
        if more {
            missing.push(rings::gap(from, rings.stopped()));
        }
        self.batch.extend(missing);
        self.judge(self.judged..self.batch.len());
        format!("{}{}", grouped(lost), if more { " and more" } else { "" })
    }

    /// Asks for the names of what was met since the last pass: in a short recording that may be most.
    fn name_last(&mut self, ts: u64) {
        self.batch = self.names.of(&self.engine.nameless_tasks(), ts);
        self.judge(0..self.batch.len());
        let paths = self.names.paths(&self.engine.nameless_cgroups(), ts);
        self.batch.extend(paths);
        self.judge(self.judged..self.batch.len());
    }

    /// Takes it apart at the end; `end_ts` is in nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) fn into_parts(mut self, end_ts: u64) -> (Engine, Option<Capture>, Option<Error>) {
        self.name_last(end_ts);
        self.engine.finish();
        let Self { engine, writer, dumps, failed, .. } = self;
        (engine, writer.map(|writer| Capture { writer, dumps, end_ts }), failed)
    }
}

/// Loss records instead of records that were not judged, and of those in `counts`, by kind. What those tell of losses
/// stays.
fn given_up(unjudged: &[Record], mut counts: [u64; LOST_KINDS], from: u64, until: u64) -> Vec<Record> {
    let mut missing = Vec::new();
    for record in unjudged {
        match counts.get_mut(usize::from(record.kind)) {
            Some(count) if !record.kind().is_some_and(Kind::is_synthetic) => *count += 1,
            _ => missing.push(*record),
        }
    }
    let counts = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    let kinds = counts.filter_map(|(kind, count)| Some((Kind::from_u16(kind as u16)?, *count)));
    missing.extend(kinds.map(|(kind, count)| rings::unread(kind, count, from, until)));
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmtrace_common::{View as _, event, spec};
    use mmtrace_model::{
        context::Context,
        verdict::{RULES, Verdict},
    };

    fn at(ts: u64, kind: Kind) -> Record {
        Record { ts, kind: kind as u16, ..Record::default() }
    }

    #[test]
    fn what_is_given_up_is_lost_by_kind_and_what_was_lost_before_stays_told() {
        let before = rings::unread(Kind::MaWrite, 5, 10, 20);
        let unjudged = [before, at(21, Kind::Released), at(22, Kind::Released), at(23, Kind::MaWrite)];
        let mut counts = [0; LOST_KINDS];
        counts[Kind::MaWrite as usize] = 7;
        let missing = given_up(&unjudged, counts, 21, 99);
        let told: Vec<_> = missing.iter().map(|r| (r.ts, event::Loss::of(r))).collect();
        let loss = |kind: Kind, count, until| event::Loss { lost_kind: kind as u64, count, until };
        let expected =
            [(10, loss(Kind::MaWrite, 5, 20)), (21, loss(Kind::MaWrite, 8, 99)), (21, loss(Kind::Released, 2, 99))];
        for one in expected {
            assert!(told.contains(&one), "{one:?} in {told:?}");
        }
        assert_eq!(told.len(), 3, "{told:?}");
    }

    /// A live recording may end with a gap, as a capture that was read may hold one.
    #[test]
    fn what_is_given_up_without_a_count_makes_every_rule_unknown() {
        let mut engine = Engine::new(Context::default(), true);
        engine.apply(&rings::gap(5, 9));
        assert_eq!(engine.gaps(), 1);
        let sink = engine.sink().expect("it judges");
        assert!(RULES.iter().all(|r| matches!(sink.verdict(r.id), Verdict::Unknown | Verdict::NotObservable)));
        assert_eq!(spec(Kind::Gap).fields.len(), 2);
    }
}
