//! Findings that wait for what may explain them.

use mmtrace_common::Record;

use super::Model;
use crate::model::clock_skew::EPSILON_NS;
use crate::verdict::{RuleId, Sink};

/// Findings that wait at once; more are not taken.
const SUSPECTS_MAX: usize = 64;

/// A finding that an event with an earlier time on another CPU may still explain: clocks differ.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    pub(super) rule: RuleId,
    pub(super) record: Record,
    /// Goes away when this VMA's life, or the write hold of this number, turns out to have ended before.
    pub(super) vma: u64,
    pub(super) section: Option<u64>,
    /// The other task, if there is one.
    pub(super) other: Option<u32>,
    pub(super) what: String,
}

/// All of them, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Suspects(Vec<Suspect>);

impl Suspects {
    pub(super) fn add(&mut self, suspect: Suspect) {
        if self.0.len() < SUSPECTS_MAX {
            self.0.push(suspect);
        }
    }
}

impl Model {
    /// Reports what nothing has explained in time.
    #[inline]
    pub(super) fn settle_suspects(&mut self, ts: u64, sink: &mut Sink) {
        if self.functions.suspects.0.is_empty() {
            return;
        }
        let old = |s: &Suspect| ts > s.record.ts.saturating_add(EPSILON_NS);
        let mut at = 0;
        while let Some(suspect) = self.functions.suspects.0.get(at) {
            if !old(suspect) {
                at += 1;
                continue;
            }
            let Suspect { rule, record, vma, other, what, .. } = self.functions.suspects.0.remove(at);
            let tids: Vec<u32> = [Some(record.tid), other].into_iter().flatten().collect();
            // One fault is not reported twice.
            self.functions.vmas.forget(vma);
            self.functions.dead.forget(record.mm);
            sink.violated(rule, &record, record.mm, &tids, what);
        }
    }

    /// Drops the suspects that `explained` accepts, such as those of one VMA, write hold or dead mm.
    pub(super) fn explain(&mut self, explained: impl Fn(&Suspect) -> bool) {
        if !self.functions.suspects.0.is_empty() {
            self.functions.suspects.0.retain(|s| !explained(s));
        }
    }
}
