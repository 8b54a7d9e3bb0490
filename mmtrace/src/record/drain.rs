//! The end of a recording: what lies in the rings is taken, for a bounded time.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{
    closing::Closing,
    live::{Live, Pace},
    session::{PASS_EVERY, Session, rest},
    signals::Signals,
};
use crate::{
    console::tell,
    probe::{rings::Rings, skips::Avoidable, standby, sys},
};

/// Longest wait, from the end of the recording, for a record that is still being written.
const PATIENCE: Duration = Duration::from_secs(1);
/// Longest wait, from the end of the recording, for names of functions.
const NAMING: Duration = Duration::from_secs(1);
/// Longest time for which the rings are read after a signal. The records left in them are lost.
const DRAIN_TOLD: Duration = Duration::from_secs(5);
/// The same when nobody waits, because the time is over or the command has ended.
const DRAIN: Duration = Duration::from_secs(8);
/// Lowest reading rate to allow for, MiB/s, if the user has asked for more rings than are read in [`DRAIN`].
const DRAIN_MIB: u32 = 32;
/// Longest time for which the records left in them are counted.
const COUNT: Duration = Duration::from_millis(500);

/// Ends the recording: no event counts from now on. What lies in the rings is taken, for a bounded time; the rest
/// is lost, and said to be.
pub(super) async fn drain(session: Session<'_>) -> Closing<'_> {
    let Session { args, mut signals, mut live, mut rings, object, diagnostics, mut child, news, .. } = session;
    let Session { target, silence, report, cost, overhead, helper, failed: unfinished, .. } = session;
    if let Some(mut overhead) = overhead {
        overhead.finish(&mut rings);
    }
    rings.stop();
    let cost = cost.text(&rings);
    let begun = Instant::now();
    if let Some(child) = &mut child {
        child.ask();
    }
    let saving = live.face.close();
    news.iter().for_each(|news| tell(news));
    diagnostics.abort();
    let costs = if sys::measures_programs() { rings.costs() } else { Vec::new() };
    // First the counters, which say nothing of use once probes come off; then the probes, so that nobody pays for
    // them while the rest is read.
    let settled = settle(&mut live, &mut rings, begun, &mut signals).await;
    let detaching = object.detach();
    let size = args.watch.buffer.unwrap_or(0) * rings.number() as u32;
    let unhurried = DRAIN.max(Duration::from_secs((size / DRAIN_MIB).into()));
    let drained = empty(&mut live, &mut rings, begun, unhurried, &mut signals).await;
    if !drained || !settled {
        let lost = live.give_up(&mut rings, settled, Instant::now() + COUNT);
        tell(&format!(
            "mmtrace stopped reading {:.1} s after the end of the recording, before it had read all events: {lost} \
             events count as lost, and rules that need them are unknown; select fewer events with -e",
            begun.elapsed().as_secs_f64()
        ));
    }
    tell_of_missed(rings.avoidable());
    tell(&cost);
    for (kind, runs, ns) in costs {
        tell(&format!("the probe of {} ran {runs} times, for {} ns each time", kind.name(), ns / runs.max(1)));
    }
    let silent = silence.explain(&live.engine, &target);
    let (engine, capture, failed) = live.into_parts(rings.watermark());
    Closing { args, signals, engine, capture, failed, unfinished, silent, report, child, helper, detaching, saving }
}

/// Reads the counters until they tell all that is missing up to the stop. Returns whether they do.
async fn settle(live: &mut Live, rings: &mut Rings, begun: Instant, signals: &mut Signals) -> bool {
    let mut settled = false;
    while !settled && begun.elapsed() < PATIENCE && Signals::count() < 2 {
        settled = live.settle(rings);
        tokio::select! {
            () = sleep(PASS_EVERY) => {}
            () = signals.beyond(1) => {}
        }
    }
    settled
}

/// Takes what is in the rings, for `unhurried` at most and for a shorter time once a signal came. Returns whether that
/// was all.
async fn empty(live: &mut Live, rings: &mut Rings, begun: Instant, unhurried: Duration, signals: &mut Signals) -> bool {
    let mut end = begun + if Signals::count() > 0 { DRAIN_TOLD } else { unhurried };
    let mut hurried = Signals::count() > 0;
    let mut drained = false;
    while !drained && Instant::now() < end && Signals::count() < 2 {
        if !hurried && Signals::count() > 0 {
            hurried = true;
            end = end.min(Instant::now() + DRAIN_TOLD);
        }
        let pause = match live.step(rings) {
            Pace::Busy => None,
            Pace::Waiting if live.is_held() && begun.elapsed() >= PATIENCE => break,
            Pace::Waiting if live.is_behind() || live.is_held() => Some(PASS_EVERY),
            Pace::Waiting | Pace::Idle if live.ask_functions() && begun.elapsed() < NAMING => Some(PASS_EVERY),
            Pace::Waiting | Pace::Idle => {
                drained = true;
                None
            }
        };
        tokio::select! {
            biased;
            () = signals.beyond(Signals::count()) => {}
            () = rest(pause) => {}
        }
    }
    drained
}

/// Says which option covers more, where mmtrace could not see to it by itself.
fn tell_of_missed(avoidable: Avoidable) {
    let Avoidable { without_standby, despite_standby } = avoidable;
    if despite_standby > 0 {
        tell(&format!(
            "{despite_standby} events are missing because the kernel skipped a program and its standby program; fewer are \
             missed with --standby {}",
            standby::MOST
        ));
    }
    if without_standby > 0 {
        tell(&format!(
            "{without_standby} events are missing because the kernel skipped programs that were running already: an interrupt \
             on top of them, such as a profiler's, did what they trace; nearly all are recorded with --standby 1"
        ));
    }
}
