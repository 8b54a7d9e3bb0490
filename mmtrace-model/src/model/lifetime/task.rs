//! One task: its locks, and the calls that it is in.

use crate::model::migration::entries::Bracket;

/// Acquisitions that a task can have in flight: its own, and those of interrupts on top of it.
const PENDING_MAX: usize = 8;

/// A task (thread), followed by its id from its first event on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Task {
    /// Acquisitions that have started and not returned: mm and whether for write.
    /// Interrupts may start one within another.
    pending: Vec<(u64, bool)>,
    /// The mms whose mmap_lock the task was seen to take for write and not to release.
    pub(crate) writes: Vec<u64>,
    /// Since recording began, the task was seen at a place where it can hold no mmap_lock for write and have no
    /// acquisition in flight: in user mode, or at the end of a khugepaged scan. From then on, all its holds are known.
    pub(crate) anchored: bool,
    /// It released a write hold since it was last seen in user mode.
    pub(crate) wrote: bool,
    /// Open calls of `migrate_pages()`, outermost first.
    pub(crate) brackets: Vec<Bracket>,
    /// Depth of open calls of `compact_zone()`.
    pub(crate) compacting: u8,
    /// Whether `compacting` is known.
    pub(crate) compaction_known: bool,
    /// The collapse that it is doing.
    pub(crate) collapse: Collapse,
    /// Its last user-mode fault: page address and time.
    pub(crate) last_fault: (u64, u64),
    /// The mm that it was last seen to run on, by a fork, an exec or a fault in user mode; 0: not
    /// seen. A task leaves its mm only by an exec or its exit.
    pub(crate) runs_on: u64,
}

/// The part of a task's current collapse that the events have shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Collapse {
    /// Pages were isolated while it held this mm's mmap_lock for write.
    pub(crate) isolated: Option<u64>,
    /// Pages were isolated while the task was not seen to hold an mmap_lock for write, and whether all its holds were
    /// known. The end of the collapse decides, because its event names the mm: mmtrace's own mm is not recorded, and
    /// khugepaged may be working on it.
    pub(crate) alone: Option<bool>,
    /// A collapse ended since its last scan ended.
    pub(crate) ended: bool,
    /// The fields above are complete: an earlier scan or collapse of this task was seen to end.
    pub(crate) known: bool,
    /// `collapse_huge_page()` was entered: for which address, and when.
    pub(crate) begun: Option<(u64, u64)>,
}

impl Task {
    /// Returns a task that has just been forked: it holds nothing and will run on this mm.
    #[must_use]
    pub(crate) fn newborn(mm: u64) -> Self {
        Self { anchored: true, runs_on: mm, ..Self::default() }
    }

    /// An acquisition starts. Returns `false` if there are more than a task can have.
    pub(crate) fn start(&mut self, mm: u64, write: bool) -> bool {
        if self.pending.len() == PENDING_MAX {
            self.pending.clear();
            self.anchored = false;
            return false;
        }
        self.pending.push((mm, write));
        // No lock is taken between the isolation and the end of a collapse.
        self.collapse.alone = None;
        true
    }

    /// An acquisition returns. Returns `false` if no such acquisition had started.
    pub(crate) fn returned(&mut self, mm: u64, write: bool) -> bool {
        match self.pending.iter().rposition(|p| *p == (mm, write)) {
            Some(index) => {
                self.pending.remove(index);
                true
            }
            None => false,
        }
    }

    /// The task begins to compact a zone, or has ended that.
    pub(crate) const fn compacts(&mut self, begins: bool) {
        self.compacting = if begins { self.compacting.saturating_add(1) } else { self.compacting.saturating_sub(1) };
        self.compaction_known = true;
    }

    /// The task is seen in user mode.
    pub(crate) fn in_user_mode(&mut self) {
        self.anchored = true;
        self.wrote = false;
        if !self.pending.is_empty() {
            self.pending.clear();
        }
        self.collapse = Collapse { known: true, ..Collapse::default() };
        self.compacting = 0;
        self.compaction_known = true;
        if !self.brackets.is_empty() {
            self.brackets.clear();
        }
    }

    /// The task no longer holds this mm's lock for write.
    pub(crate) fn wrote(&mut self, mm: u64) {
        if let Some(index) = self.writes.iter().rposition(|m| *m == mm) {
            self.writes.swap_remove(index);
        }
        self.wrote = true;
    }

    /// Whether nothing would be lost if this entry were forgotten.
    #[must_use]
    pub(crate) fn is_idle(&self) -> bool {
        self.writes.is_empty() && self.brackets.is_empty() && self.pending.is_empty()
    }
}
