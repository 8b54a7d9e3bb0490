//! The causes of faults. A missing lock event does not change what is known of address spaces.

use mmtrace_common::{Kind, Record, View as _, event};

use crate::coverage::Coverage;
use crate::model::{
    Model, SPACE_MAX,
    clock_skew::EPSILON_NS,
    faults::address_space::{Cause, Space},
};

/// Times up to which events are missing from which address spaces are learned, nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::model) struct Blind {
    /// The model cannot know which ranges are mapped.
    mapped: u64,
    /// The model cannot conclude that a page was not touched.
    touched: u64,
    /// The model cannot conclude that nothing was unmapped.
    unmapped: u64,
}

impl Model {
    /// Returns what the history of the page tells of a fault, and remembers that the page was touched.
    pub(in crate::model) fn cause(&mut self, record: &Record) -> Cause {
        // Both kinds of fault have these fields. This function does not read the field that only one kind has.
        let event::PageFaultUser { addr, error_code, .. } = event::PageFaultUser::of(record);
        let code = u64::from(error_code);
        if self.is_disabled(record) {
            Cause::PagefaultDisabled
        } else if self.standing.entries().contains(addr & !0xfff) {
            Cause::Migration
        } else if record.ts <= self.blind.mapped {
            Space::default().fault(addr, code)
        } else {
            self.with_space(record.mm, |space| space.fault(addr, code))
        }
    }

    /// The fault was taken in a `pagefault_disable()` section, so none of the task's pages is faulted in.
    pub(in crate::model) fn is_disabled(&self, record: &Record) -> bool {
        self.tells_disabled
            && record.kind() == Some(Kind::PageFaultKernel)
            && event::PageFaultKernel::of(record).pagefault_disabled
    }

    /// The share of all faults whose cause was counted, or will be when they have been handled.
    #[must_use]
    pub fn fault_coverage(&self) -> Coverage {
        let counted = self.causes.iter().sum::<u64>() + self.open_faults.len() as u64;
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
        let event::MaWrite { addr: start, end, vma, .. } = event::MaWrite::of(record);
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
            // The model did not see every mapping that the exec has made by now.
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

    /// Faults are missing, so a page that was not seen to be touched may have been touched.
    pub(in crate::model) fn doubt_touched(&mut self, until: u64) {
        self.blind.touched = self.blind.touched.max(until.saturating_add(EPSILON_NS));
        for mm in self.mms.values_mut() {
            mm.space.doubt_touched(0, u64::MAX);
        }
    }

    /// Downgrades are missing, so something may have been unmapped.
    pub(in crate::model) fn doubt_mapped(&mut self, until: u64) {
        self.blind.unmapped = self.blind.unmapped.max(until.saturating_add(EPSILON_NS));
        for mm in self.mms.values_mut() {
            mm.space.unmapped();
        }
    }
}
