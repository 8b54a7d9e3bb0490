//! Events that a running kernel would have emitted for what a step does to page tables and hugetlb locks, with the
//! values that a recording would have. Nothing here is part of a step: cells are read outside the footprint, and only
//! when a schedule is replayed with its events.

use mmtrace_common::{Column, Kind};
use mmtrace_model::model::page_tables::entry::{Pmd, Pte};

use super::{
    Cell, Lock, Slot, Table,
    event::{Event, START},
    file::UFFD_WP,
    hugetlb::{HugeVma, Serial},
    kernel::Kernel,
    vma::Vma,
};

/// The addresses of PMD entries and of PTE tables in the direct map.
const PMDS: u64 = 0xffff_8881_0000_0000;
const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;
/// Frame of the first table.
const FRAMES: u64 = 0x10_0000;
/// Bytes that a PMD entry maps.
const PMD_SIZE: u64 = 1 << 21;
/// The addresses of hugetlb VMAs and of their locks.
const HUGE_VMAS: u64 = 0xffff_8880_9000_0000;
const HUGE_LOCKS: u64 = 0xffff_8880_a000_0000;
/// `VM_MAYSHARE`
const VM_MAYSHARE: u64 = 0x80;
/// `VM_UFFD_WP`
const VM_UFFD_WP: u64 = 0x1000;

const fn frame(number: u8) -> u64 {
    FRAMES + number as u64
}

const fn pmdp(slot: Slot) -> u64 {
    PMDS + slot.table.0 as u64 * 0x1000 + slot.index as u64 * 8
}

const fn address(slot: Slot) -> u64 {
    START + slot.index as u64 * PMD_SIZE
}

const fn lock_object(lock: Lock) -> u64 {
    HUGE_LOCKS + lock.0 as u64 * 0x100
}

/// A PMD entry as x86-64 has it.
const fn pmd_bits(pmd: Pmd) -> u64 {
    match pmd {
        Pmd::None => 0,
        Pmd::Table(number) => frame(number) << 12 | 0x67,
        Pmd::Huge(_) | Pmd::Invalid(_) => 0xe7,
        // A swap entry.
        Pmd::Migration(_) => 30 << 59,
    }
}

/// A PTE as x86-64 has it, in the bits that events have.
const fn pte_bits(pte: Pte) -> u64 {
    match pte {
        Pte::None => 0,
        Pte::Present { page, .. } => (page as u64 + 1) << 12 | 0x67,
        Pte::Marker(marker) => (!(marker.0 as u64) << 14 >> 5) | 31 << 59,
        Pte::Swap(_) => 1 << 59,
        Pte::Migration { .. } => 30 << 59,
        Pte::Hwpoison => 28 << 59,
    }
}

impl Kernel<'_> {
    fn entry_now(&self, slot: Slot) -> u8 {
        self.peek(Cell(self.protocol.tables[usize::from(slot.table.0)].entries.0 + slot.index))
    }

    fn pmd_now(&self, slot: Slot) -> Pmd {
        Pmd::decode(self.entry_now(slot))
    }

    fn of_mm(&self, kind: Kind, fields: Vec<(Column, u64)>) -> Event {
        Event { kind, mm: Some(self.protocol.mm.unwrap_or(0)), fields }
    }

    /// Emits an event without values about the mm of the page tables.
    pub(crate) fn say(&mut self, kind: Kind) {
        if self.is_logged() {
            let event = self.of_mm(kind, Vec::new());
            self.emit(|| event);
        }
    }

    /// Emits an event without values and without an mm.
    pub(crate) fn say_of_none(&mut self, kind: Kind) {
        self.emit(|| Event { kind, mm: None, fields: Vec::new() });
    }

    /// Emits that a `pte_offset_map` call has returned this table, found by this PMD value.
    pub(crate) fn say_mapped(&mut self, kind: Kind, pmd: Slot, table: u8, used: u8) {
        if !self.is_logged() {
            return;
        }
        let mut fields = vec![
            (Column::Pmdp, pmdp(pmd)),
            (Column::Addr, address(pmd)),
            (Column::Ptep, DIRECT_MAP + (frame(table) << 12)),
            (Column::Pmd, pmd_bits(self.pmd_now(pmd))),
        ];
        if kind == Kind::PteOffsetMapRwNolock {
            fields.push((Column::PmdUsed, pmd_bits(Pmd::decode(used))));
        }
        let event = self.of_mm(kind, fields);
        self.emit(|| event);
    }

    /// Emits that `pmd_install()` returns.
    pub(crate) fn say_installed(&mut self, pmd: Slot, installed: bool) {
        if self.is_logged() {
            let now = pmd_bits(self.pmd_now(pmd));
            let fields = vec![(Column::Pmdp, pmdp(pmd)), (Column::Pmd, now), (Column::Installed, u64::from(installed))];
            let event = self.of_mm(Kind::PmdInstall, fields);
            self.emit(|| event);
        }
    }

    /// Emits that `pmdp_collapse_flush()` is entered, with the table that it finds, and that it returns.
    pub(crate) fn say_flush(&mut self, pmd: Slot, vma: Option<(Vma, Cell)>) {
        if !self.is_logged() {
            return;
        }
        let now = self.pmd_now(pmd);
        let uffd_wp = vma.is_some_and(|(_, flags)| self.peek(flags) & UFFD_WP != 0);
        let entries: Vec<(u8, Pte)> = now.map().map_or_else(Vec::new, |number| {
            let table = Table(number);
            let len = self.protocol.tables[usize::from(number)].len;
            (0..len).map(|index| (index, Pte::decode(self.entry_now(Slot { table, index })))).collect()
        });
        let count = |is: fn(&Pte) -> bool| entries.iter().filter(|(_, pte)| is(pte)).count() as u64;
        let told = |pte: &Pte| matches!(pte, Pte::Marker(_) | Pte::Present { .. });
        let first = entries.iter().find(|(_, pte)| told(pte)).copied().unwrap_or((0, Pte::None));
        let fields = vec![
            (Column::Vma, vma.map_or(0, |(vma, _)| vma.address())),
            (Column::Addr, address(pmd)),
            (Column::Pmdp, pmdp(pmd)),
            (Column::Pmd, pmd_bits(now)),
            (Column::Entry, pte_bits(first.1)),
            (Column::VmFlags, if uffd_wp { VM_UFFD_WP } else { 0 }),
            (Column::Markers, count(|pte| matches!(pte, Pte::Marker(_)))),
            (Column::Presents, count(|pte| matches!(pte, Pte::Present { .. }))),
            (Column::EntryIndex, u64::from(first.0)),
            (Column::Scanned, 1),
        ];
        let event = self.of_mm(Kind::PmdpCollapseFlush, fields);
        self.emit(|| event);
        let fields = vec![(Column::Pmd, pmd_bits(now))];
        self.emit(|| Event { kind: Kind::PmdpCollapseFlushReturn, mm: None, fields });
    }

    /// Emits an event about a hugetlb VMA, with the fields that say which lock it has.
    pub(crate) fn say_hugetlb(&mut self, kind: Kind, vma: HugeVma, success: Option<bool>) {
        if !self.is_logged() {
            return;
        }
        let attached = self.peek(vma.private_data) != 0;
        let (object, flags) = match vma.lock {
            Serial::Shareable(lock) => (lock_object(lock.sem), VM_MAYSHARE),
            // HPAGE_RESV_OWNER
            Serial::Reservation(lock) => (lock_object(lock) | 1, 0),
            Serial::Nothing => (0, 0),
        };
        let mut fields = vec![
            (Column::Vma, HUGE_VMAS + u64::from(vma.pud.0) * 0x100),
            (Column::LockObject, if attached { object } else { 0 }),
            (Column::VmFlags, flags),
        ];
        fields.extend(success.map(|got| (Column::Success, u64::from(got))));
        let event = self.of_mm(kind, fields);
        self.emit(|| event);
    }

    /// Emits `pte_free_defer()` or `___pte_free_tlb()` of a table.
    pub(crate) fn say_freed(&mut self, kind: Kind, table: Table) {
        if self.is_logged() {
            let event = self.of_mm(kind, vec![(Column::Table, frame(table.0))]);
            self.emit(|| event);
        }
    }
}
