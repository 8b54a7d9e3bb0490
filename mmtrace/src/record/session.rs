//! A recording that has begun, until there is a reason to end it.

use std::{process::ExitStatus, sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use super::{
    RecordArgs,
    child::Recorded,
    cost::Cost,
    detaching::Held,
    helper::Helper,
    live::{Live, Pace},
    overhead::Overhead,
    report_file::ReportFile,
    signals::Signals,
    silence::Silence,
    standby,
    target::Target,
    tasks,
};
use crate::probe::{object::Object, rings::Rings};

/// While events come, how long a pass waits for more of them.
pub(super) const PASS_EVERY: Duration = Duration::from_millis(10);
/// While none come, how often they are looked for: programs wake nobody. The smallest ring by default, 8 MiB, takes a
/// hundred thousand events, which is more than a CPU brings forth in this time.
const IDLE_EVERY: Duration = Duration::from_millis(20);

/// A recording that has begun.
pub(super) struct Session<'a> {
    pub(super) args: &'a RecordArgs,
    pub(super) signals: Signals,
    pub(super) live: Live,
    pub(super) rings: Rings,
    pub(super) object: Held<Object>,
    /// The task that prints what the programs say.
    pub(super) diagnostics: JoinHandle<()>,
    pub(super) child: Option<Recorded>,
    pub(super) deadline: Option<Instant>,
    /// Woken by the keyboard.
    pub(super) wake: Arc<Notify>,
    pub(super) target: Target,
    pub(super) silence: Silence,
    /// File for the closing report; `None` for standard output.
    pub(super) report: Option<ReportFile>,
    /// Cost of the recording.
    pub(super) cost: Cost,
    /// Present if the cost is limited.
    pub(super) overhead: Option<Overhead>,
    /// `None` if none could be started.
    pub(super) helper: Option<Helper>,
    /// Reason why the recording ended, to be told once the terminal is given back.
    pub(super) news: Option<String>,
    /// Message about the workload's failure, if it failed.
    pub(super) failed: Option<String>,
}

impl Session<'_> {
    /// Takes events until there is a reason to end. Nothing that it does keeps it from seeing that there is one.
    pub(super) async fn run(&mut self) {
        while !self.live.has_seen_enough() {
            self.limit_cost();
            self.attach_standby();
            if let Some(message) = self.helper.as_mut().and_then(|helper| helper.loss(tasks::is_stopped)) {
                self.live.face.say(&message);
            }
            let pause = match self.live.step(&mut self.rings) {
                Pace::Busy => None,
                Pace::Waiting => Some(PASS_EVERY),
                Pace::Idle => Some(IDLE_EVERY),
            };
            tokio::select! {
                biased;
                () = self.signals.beyond(0) => break,
                () = until(self.deadline) => break,
                status = ended(self.child.as_mut()) => {
                    let child = self.child.take().filter(|_| !status.success());
                    self.news = child.map(|child| format!("{} ended with {status}", child.name()));
                    self.failed = self.news.clone().filter(|_| self.args.watch.workload.is_some());
                    break;
                }
                why = self.target.over(self.object.get()) => {
                    self.news = Some(format!("{why}, so the recording ends"));
                    break;
                }
                () = rest(pause) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// Attaches standby programs where the kernel has skipped runs.
    fn attach_standby(&mut self) {
        let short = self.rings.short_of_standby();
        if !short.is_empty() {
            let started = self.rings.start();
            let (records, message) = standby::attach(self.object.get(), &mut self.rings, &short, started);
            records.into_iter().for_each(|record| self.rings.put(record));
            self.live.face.say(&message);
        }
    }

    /// Sheds events if recording costs more than it may.
    fn limit_cost(&mut self) {
        let Some(overhead) = &mut self.overhead else { return };
        if let Some(message) = overhead.tick(&mut self.rings) {
            self.live.face.say(&message);
        }
        if let Some((ts, kinds)) = self.live.ended(&mut self.rings) {
            let (records, message) = overhead.shed(ts, &kinds);
            records.into_iter().for_each(|record| self.rings.put(record));
            self.live.face.say(&message);
            self.object.release(|object| object.detach_events(&kinds));
        }
    }
}

/// Waits, or only lets others see what has come.
pub(super) async fn rest(pause: Option<Duration>) {
    match pause {
        Some(pause) => sleep(pause).await,
        None => tokio::task::yield_now().await,
    }
}

async fn ended(child: Option<&mut Recorded>) -> ExitStatus {
    match child {
        Some(child) => child.ended().await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_is_seen_while_there_is_always_more_to_do() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let deadline = Some(Instant::now() + Duration::from_millis(50));
            let begun = Instant::now();
            loop {
                tokio::select! {
                    biased;
                    () = until(deadline) => break,
                    () = rest(None) => {}
                }
                assert!(begun.elapsed() < Duration::from_secs(20), "the clock is not looked at");
            }
        });
    }
}
