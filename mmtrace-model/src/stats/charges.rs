//! Whom holds, waits and faults are charged to: callers, mappings, functions.

use super::{callers::Callers, functions::FunctionFaults, mappings::MappedFaults, open_calls::Via};
use crate::{
    model::{
        effect::{Effect, Fault},
        mappings::Mappings,
    },
    names::Tasks,
};

/// The tables that effects are charged to.
#[derive(Clone, Debug)]
pub(crate) struct Charges {
    /// Holds, waits and faults by caller.
    pub(crate) callers: Callers,
    /// Faults by mapping; `None` if no event tells what is mapped, and in what is made of a checkpoint.
    pub(crate) mapped: Option<MappedFaults>,
    /// Faults by function; `None` likewise.
    pub(crate) functions: Option<FunctionFaults>,
}

impl Charges {
    /// Returns empty tables: those that the events of these mappings can fill.
    pub(crate) fn new(mappings: &Mappings) -> Self {
        let is_told = mappings.is_told();
        Self {
            callers: Callers::default(),
            mapped: is_told.then(MappedFaults::default),
            functions: is_told.then(FunctionFaults::default),
        }
    }

    /// Returns a copy for a checkpoint, with at most `most` callers in each of their tables, and without the tables that only
    /// the closing report needs. These are large.
    pub(crate) fn trimmed(&self, most: usize) -> Self {
        Self { callers: self.callers.trimmed(most), mapped: None, functions: None }
    }

    /// Forgets what was counted, but not what goes on.
    pub(crate) fn count_from_here(&mut self) {
        self.callers.count_from_here();
        if let Some(mapped) = &mut self.mapped {
            *mapped = MappedFaults::default();
        }
        if let Some(functions) = &mut self.functions {
            functions.count_from_here();
        }
    }

    /// Takes what an event came to. `via` is the call of it, and `names` says who did it.
    #[inline]
    pub(crate) fn apply(&mut self, effect: &Effect, via: Via, mappings: &Mappings, names: &mut Tasks) {
        for fault in effect.faults.iter().flatten() {
            let took = effect.took(fault);
            self.callers.timed(fault, took);
            self.fault(fault, took, mappings, names);
        }
        self.callers.apply(effect, via, names);
        if let Some(mapped) = &mut self.mapped {
            mapped.apply(effect, mappings, names);
        }
        if let Some(functions) = &mut self.functions {
            functions.apply(effect, mappings, names);
        }
    }

    /// Counts a fault whose kind is settled. `ns`: how long it took, if that was seen.
    pub(crate) fn fault(&mut self, fault: &Fault, ns: Option<u64>, mappings: &Mappings, names: &mut Tasks) {
        let thread = names.of_ids(fault.tid, fault.tgid);
        self.callers.fault(fault, thread, names);
        if let Some(mapped) = &mut self.mapped {
            mapped.fault(fault, thread, mappings, names);
        }
        if let Some(functions) = &mut self.functions {
            functions.fault(fault, ns, thread, mappings, names);
        }
    }
}
