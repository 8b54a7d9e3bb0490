//! Migration entries and the calls that set and remove them.
//!
//! The events name neither the mm nor the folio. Only one task within one call of `migrate_pages()` allows sound
//! conclusions: it removes only entries that it has set, unless another task copies entries (fork) or moves them
//! (mremap), or a huge PMD is split into migration entries without an event.

use mmtrace_common::Record;
use rustc_hash::FxHashMap;

/// Addresses followed in one call.
const ADDRESSES_MAX: usize = 1 << 14;

/// Entries followed over all calls.
const OUTSTANDING_MAX: usize = 1 << 16;

/// One call of `migrate_pages()`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bracket {
    /// Time when it began, nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) since: u64,
    /// `enum migrate_reason`, as the kernel numbers it.
    pub(crate) reason: u64,
    /// Write acquisitions seen anywhere when it began.
    pub(crate) writes_before: u64,
    /// A write hold of some mm was open when it began.
    pub(crate) writers_at_start: bool,
    /// Entries set minus entries removed, by address.
    balance: FxHashMap<u64, i32>,
    /// Entries that were set, over all addresses.
    pub(crate) set: u64,
    /// Entries removed.
    pub(crate) removed: u64,
    /// The first removal too many: address and time.
    pub(crate) surplus: Option<(u64, u64)>,
    /// There were more addresses than can be followed.
    overflow: bool,
}

impl Bracket {
    /// A call begins.
    #[must_use]
    pub(crate) fn new(since: u64, reason: u64, writes_before: u64, writers_at_start: bool) -> Self {
        Self { since, reason, writes_before, writers_at_start, ..Self::default() }
    }

    /// An entry has been set.
    pub(crate) fn set(&mut self, addr: u64) {
        self.set += 1;
        if self.balance.len() == ADDRESSES_MAX && !self.balance.contains_key(&addr) {
            self.overflow = true;
            return;
        }
        *self.balance.entry(addr).or_default() += 1;
    }

    /// An entry has been removed. If none was set at its address, another task made it or moved it there.
    pub(crate) fn remove(&mut self, record: &Record, addr: u64) {
        self.removed += 1;
        let Some(balance) = self.balance.get_mut(&addr) else { return };
        *balance -= 1;
        if *balance < 0 && self.surplus.is_none() {
            self.surplus = Some((addr, record.ts));
        }
    }

    /// Whether the addresses are complete.
    #[must_use]
    pub(crate) const fn is_complete(&self) -> bool {
        !self.overflow
    }
}

/// Entries that were set and not removed, by address. This is only a hint, because the events do not name the mm.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outstanding {
    entries: FxHashMap<u64, (u32, u64)>,
}

impl Outstanding {
    /// An entry has been set.
    pub(crate) fn set(&mut self, addr: u64, ts: u64) {
        if self.entries.len() == OUTSTANDING_MAX {
            // Zapped entries are never removed, so the list starts anew.
            self.entries.clear();
        }
        let entry = self.entries.entry(addr).or_insert((0, ts));
        entry.0 += 1;
    }

    /// An entry has been removed; says since when it was there, if that is known.
    pub(crate) fn remove(&mut self, addr: u64) -> Option<u64> {
        let entry = self.entries.get_mut(&addr)?;
        entry.0 -= 1;
        let since = entry.1;
        if entry.0 == 0 {
            self.entries.remove(&addr);
        }
        Some(since)
    }

    /// Whether an entry may be at this address.
    #[must_use]
    pub(crate) fn contains(&self, addr: u64) -> bool {
        !self.entries.is_empty() && self.entries.contains_key(&addr)
    }

    /// Returns the number of entries.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}

/// Migration entries that stand, as far as is known.
#[derive(Clone, Debug, Default)]
pub(in crate::model) struct Standing {
    entries: Outstanding,
    /// Nothing is learned from events up to this time.
    blind_until: u64,
}

impl Standing {
    pub(in crate::model) const fn entries(&self) -> &Outstanding {
        &self.entries
    }

    /// An entry was set.
    pub(in crate::model) fn set(&mut self, addr: u64, ts: u64) {
        if ts > self.blind_until {
            self.entries.set(addr & !0xfff, ts);
        }
    }

    /// An entry was removed; says since when it stood, if that is known.
    pub(in crate::model) fn removed(&mut self, addr: u64, ts: u64) -> Option<u64> {
        if ts > self.blind_until { self.entries.remove(addr & !0xfff) } else { None }
    }

    /// Events are missing up to a time.
    pub(in crate::model) fn lost(&mut self, until: u64) {
        self.entries.clear();
        self.blind_until = self.blind_until.max(until);
    }
}

/// Meaning of an x86-64 entry, as far as no kernel configuration matters (arch/x86/include/asm/pgtable_types.h,
/// pgtable_64.h).
pub mod x86_64 {
    const PRESENT: u64 = 1 << 0;
    const PROTNONE: u64 = 1 << 8;

    /// Present to the kernel (`pte_present()`).
    #[must_use]
    pub(crate) const fn is_present(entry: u64) -> bool {
        entry & (PRESENT | PROTNONE) != 0
    }

    /// Swap type of a non-present entry (`__swp_type()`). The numbers that mean
    /// migration depend on the kernel's configuration.
    #[must_use]
    pub(crate) const fn swap_type(entry: u64) -> u8 {
        (entry >> 59) as u8
    }
}
