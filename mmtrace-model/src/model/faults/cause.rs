//! Why faults happen: address spaces, and what is known of them whatever is missing of locks.

use mmtrace_common::{Kind, Record, View as _, event};

use crate::coverage::Coverage;
use crate::model::{
    Model, SPACE_MAX,
    faults::address_space::{Cause, Space},
    locks::mmap_lock::EPSILON_NS,
};

/// Until when events are missing that address spaces are learned from, nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::model) struct Blind {
    /// What is mapped cannot be learned.
    mapped: u64,
    /// That a page was not touched cannot be concluded.
    touched: u64,
    /// That nothing was unmapped cannot be concluded.
    unmapped: u64,
}

impl Model {
    /// Whatever its cause, every fault that is seen is counted.
    pub(in crate::model) fn cause(&mut self, record: &Record) -> Cause {
        // The two kinds of faults have these in common; the field that only one has is not read here.
        let event::PageFaultUser { addr, error_code, .. } = event::PageFaultUser::of(record);
        let code = u64::from(error_code);
        let cause = if self.is_disabled(record) {
            Cause::PagefaultDisabled
        } else if self.standing.entries().contains(addr & !0xfff) {
            Cause::Migration
        } else if record.ts <= self.blind.mapped {
            Space::default().fault(addr, code)
        } else {
            self.with_space(record.mm, |space| space.fault(addr, code))
        };
        self.causes[cause as usize] += 1;
        cause
    }

    /// The fault was taken in a `pagefault_disable()` section: none of the task's pages is faulted in.
    pub(in crate::model) fn is_disabled(&self, record: &Record) -> bool {
        self.tells_disabled
            && record.kind() == Some(Kind::PageFaultKernel)
            && event::PageFaultKernel::of(record).pagefault_disabled
    }

    /// How much of all faults the causes cover.
    #[must_use]
    pub fn fault_coverage(&self) -> Coverage {
        let counted = self.causes.iter().sum();
        self.measures.of_events(counted, &[Kind::PageFaultUser, Kind::PageFaultKernel])
    }

    /// Works on an mm's address space within the memory that all of them may use.
    #[inline]
    fn with_space<T>(&mut self, mm: u64, work: impl FnOnce(&mut Space) -> T) -> T {
        let space = &mut self.mm(mm).space;
        let before = space.len();
        let result = work(space);
        let after = space.len();
        self.space = (self.space + after).saturating_sub(before);
        if self.space > SPACE_MAX {
            for mm in self.mms.values_mut() {
                mm.space = Space::default();
            }
            self.space = 0;
        }
        result
    }

    /// A VMA is stored in the tree of an mm.
    pub(in crate::model) fn vma_stored(&mut self, record: &Record) {
        let blind = self.blind;
        if record.ts <= blind.mapped {
            return;
        }
        let event::MaWrite { addr: start, end, vma } = event::MaWrite::of(record);
        self.with_space(record.mm, |space| {
            space.store(start, end, vma);
            if record.ts <= blind.touched {
                space.doubt_touched(start, end);
            }
            if record.ts <= blind.unmapped {
                space.unmapped();
            }
        });
    }

    /// `exit_mmap()`: nothing is mapped any more.
    pub(in crate::model) fn all_unmapped(&mut self, mm: u64) {
        let gone = std::mem::take(&mut self.mm(mm).space).len();
        self.space = self.space.saturating_sub(gone);
    }

    /// An exec has made this mm.
    pub(in crate::model) fn mapped_from_now(&mut self, record: &Record) {
        if record.mm != 0 && record.ts > self.blind.mapped {
            // What it has mapped by now was not all seen.
            self.mm(record.mm).space.begin();
        }
    }

    /// Stores are missing, or whole lives of mms.
    pub(in crate::model) fn forget_spaces(&mut self, until: u64) {
        self.blind.mapped = self.blind.mapped.max(until.saturating_add(EPSILON_NS));
        for mm in self.mms.values_mut() {
            mm.space = Space::default();
        }
        self.space = 0;
    }

    /// Faults are missing: a page that was not seen to be touched may have been.
    pub(in crate::model) fn doubt_touched(&mut self, until: u64) {
        self.blind.touched = self.blind.touched.max(until.saturating_add(EPSILON_NS));
        for mm in self.mms.values_mut() {
            mm.space.doubt_touched(0, u64::MAX);
        }
    }

    /// Downgrades are missing: something may have been unmapped.
    pub(in crate::model) fn doubt_mapped(&mut self, until: u64) {
        self.blind.unmapped = self.blind.unmapped.max(until.saturating_add(EPSILON_NS));
        for mm in self.mms.values_mut() {
            mm.space.unmapped();
        }
    }
}
