//! Occasions that `--dump-on` can wait for.

use std::{fmt, str::FromStr};

use mmtrace_common::Kind;
use mmtrace_model::{
    context::{Context, FaultEnds},
    model::effect::{Effect, What},
    report::duration,
    verdict::{RULES, Rule, Severity},
    when::When,
};

/// Duration that can be too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// A wait for an mmap_lock.
    Wait,
    /// A hold of an mmap_lock.
    Hold,
    /// A page fault in user mode.
    Fault,
}

/// A measure, its name, what a task did in it, and the events that it is measured from.
const MEASURES: [(Measure, &str, &str, &[Kind]); 3] = [
    (Measure::Wait, "wait", "waited for an mmap_lock for", &[Kind::StartLocking, Kind::AcquireReturned]),
    (Measure::Hold, "hold", "held an mmap_lock for", &[Kind::AcquireReturned, Kind::Released]),
    (
        Measure::Fault,
        "fault",
        "was in a page fault for",
        &[Kind::PageFaultUser, Kind::HandleMmFault, Kind::HandleMmFaultReturn],
    ),
];

impl Measure {
    const fn row(self) -> &'static (Self, &'static str, &'static str, &'static [Kind]) {
        &MEASURES[self as usize]
    }

    /// As it is typed.
    pub(super) const fn name(self) -> &'static str {
        self.row().1
    }

    /// Returns what a task did, in words that a duration follows.
    pub(super) const fn verb(self) -> &'static str {
        self.row().2
    }

    /// Returns the measure that an event has ended, if it has ended one, and its length in nanoseconds.
    #[inline]
    pub(super) fn of(effect: &Effect) -> Option<(Self, u64)> {
        match effect.what {
            What::Locked { waited: Some(waited), .. } => Some((Self::Wait, effect.since(waited.since))),
            What::Unlocked { ended: Some(ended), .. } | What::Locked { ended: Some(ended), .. } => {
                Some((Self::Hold, effect.since(ended.since)))
            }
            _ => effect.ended_fault().map(|since| (Self::Fault, effect.since(since))),
        }
    }
}

/// The occasion on which the flight recorder's events are saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// A rule is violated.
    Violation,
    /// A rule is violated, or a hazard occurs.
    Hazard,
    /// Something took longer than so many nanoseconds.
    Longer(Measure, u64),
}

impl Occasion {
    /// Whether it is about this rule.
    pub(super) fn covers(self, rule: &Rule) -> bool {
        match self {
            Self::Violation => rule.severity.can_fail(),
            Self::Hazard => rule.severity.can_fail() || rule.severity == Severity::Hazard,
            Self::Longer(..) => false,
        }
    }

    /// Whether this is what it waits for. `ns`: how long it took, nanoseconds.
    #[inline]
    pub(super) fn is_exceeded(self, measure: Measure, ns: u64) -> bool {
        matches!(self, Self::Longer(of, than) if of == measure && ns > than)
    }

    /// Returns the reason why it can never happen with these probes, if there is one.
    pub(super) fn hindrance(self, context: &Context) -> Option<String> {
        match self {
            Self::Longer(measure, _) => {
                // Software events show the end of a fault too.
                let counted = measure == Measure::Fault && context.fault_ends() == Some(FaultEnds::SoftwareEvents);
                let needs = if counted { &[Kind::PageFaultUser] } else { measure.row().3 };
                let lacking = needs.iter().find(|kind| !context.has(**kind))?;
                Some(format!("it is measured from the event {}, which is not recorded here", lacking.name()))
            }
            _ if RULES.iter().any(|rule| self.covers(rule) && rule.blocked(context).is_none()) => None,
            _ => Some("no rule that it waits for can be observed with the selected events".to_owned()),
        }
    }
}

impl fmt::Display for Occasion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation => f.write_str("violation"),
            Self::Hazard => f.write_str("hazard"),
            Self::Longer(measure, ns) => write!(f, "'{} > {}'", measure.name(), duration(*ns)),
        }
    }
}

impl FromStr for Occasion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "violation" => return Ok(Self::Violation),
            "hazard" => return Ok(Self::Hazard),
            _ => {}
        }
        let unknown = || {
            format!("`{text}` is no occasion; violation, hazard, 'wait > 50ms', 'hold > 10ms' and 'fault > 100ms' are")
        };
        let (what, than) = text.split_once('>').ok_or_else(unknown)?;
        let measure = MEASURES.iter().find(|row| row.1 == what.trim()).ok_or_else(unknown)?.0;
        let than: String = than.split_whitespace().collect();
        if !than.ends_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(format!("`{than}` has no unit; 50ms, 200us and 1.5s have one"));
        }
        Ok(Self::Longer(measure, than.parse::<When>()?.after(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn occasions_are_read_as_people_type_them() {
        let longer = |measure, ns| Ok(Occasion::Longer(measure, ns));
        assert_eq!("wait > 50ms".parse(), longer(Measure::Wait, 50_000_000));
        assert_eq!("hold>200us".parse(), longer(Measure::Hold, 200_000));
        assert_eq!(" fault >1.5 s ".parse(), longer(Measure::Fault, 1_500_000_000));
        assert_eq!("violation".parse(), Ok(Occasion::Violation));
        for text in ["", "wait", "wait > 50", "wait > ", "sleep > 1s", "wait < 1s", "hold > 5 parsec", "wait > -1ms"] {
            assert!(text.parse::<Occasion>().is_err(), "{text}");
        }
        for (row, measure) in MEASURES.iter().zip([Measure::Wait, Measure::Hold, Measure::Fault]) {
            assert_eq!((row.0, measure.name()), (measure, row.1));
        }
    }

    #[test]
    fn an_occasion_whose_events_are_not_recorded_cannot_happen() {
        let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/6.18-mmap/capture");
        let mut context = mmtrace_capture::Capture::open(&golden).expect("a capture").context().clone();
        let all = ["violation", "hazard", "wait > 1ms", "hold > 1ms"];
        let hindered =
            |text: &str, context: &Context| text.parse::<Occasion>().expect("an occasion").hindrance(context).is_some();
        assert!(!all.iter().any(|text| hindered(text, &context)));
        context.probes.iter_mut().filter(|probe| probe.event != "tlb_flush").for_each(|probe| probe.form = None);
        assert!(all.iter().all(|text| hindered(text, &context)));
    }
}
