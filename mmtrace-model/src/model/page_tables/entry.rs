//! Entries of page tables: PMD and PTE entries, as far as the protocols tell them apart.
//!
//! An entry fits a byte, so that the explorer's states stay small.

/// A marker's bits (include/linux/swapops.h: `PTE_MARKER_*`; the guard bit since 6.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Marker(pub u8);

impl Marker {
    /// `PTE_MARKER_UFFD_WP`.
    pub const UFFD_WP: Self = Self(1);
    /// `PTE_MARKER_POISONED`.
    pub const POISONED: Self = Self(2);
    /// `PTE_MARKER_GUARD`.
    pub const GUARD: Self = Self(4);
    /// Every one, by name.
    pub(crate) const ALL: [(Self, &'static str); 3] =
        [(Self::UFFD_WP, "uffd-wp"), (Self::POISONED, "poison"), (Self::GUARD, "guard")];

    /// Returns user space's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(m, _)| *m == self).map_or("markers", |(_, n)| n)
    }
}

/// A PMD entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pmd {
    /// `pmd_none()`.
    None,
    /// Points to the table with this number, 0 to 62.
    Table(u8),
    /// `pmd_trans_huge()`: maps this folio, 0 to 15.
    Huge(u8),
    /// A PMD-size migration entry for this folio, 0 to 15.
    Migration(u8),
    /// Present to software while it is being split (`pmd_mkinvalid`).
    Invalid(u8),
}

impl Pmd {
    /// As a byte.
    #[must_use]
    pub const fn encode(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Table(t) => 1 + (t & 0x3f),
            Self::Huge(f) => 0x40 | (f & 0xf),
            Self::Migration(f) => 0x50 | (f & 0xf),
            Self::Invalid(f) => 0x60 | (f & 0xf),
        }
    }

    /// From a byte that [`Pmd::encode`] made.
    #[must_use]
    pub const fn decode(byte: u8) -> Self {
        match byte {
            0 => Self::None,
            1..=0x3f => Self::Table(byte - 1),
            0x40..=0x4f => Self::Huge(byte & 0xf),
            0x50..=0x5f => Self::Migration(byte & 0xf),
            _ => Self::Invalid(byte & 0xf),
        }
    }

    /// Returns the table that `__pte_offset_map()` (mm/pgtable-generic.c, 6.5 to 7.2) maps by this value; `None` if it
    /// is not a pointer to a table.
    #[must_use]
    pub const fn map(self) -> Option<u8> {
        match self {
            Self::Table(t) => Some(t),
            _ => None,
        }
    }
}

/// A PTE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pte {
    /// `pte_none()`.
    None,
    /// `pte_present()`.
    Present {
        /// The page, 0 to 3.
        page: u8,
        /// `pte_write()`.
        write: bool,
        /// `pte_uffd_wp()`.
        uffd_wp: bool,
    },
    /// A swap entry for this slot, 0 to 15.
    Swap(u8),
    /// A migration entry.
    Migration {
        /// The page that is being moved, 0 to 3.
        page: u8,
        /// It was writable.
        write: bool,
        /// It carries uffd-wp.
        uffd_wp: bool,
    },
    /// A hardware-poisoned page.
    Hwpoison,
    /// A marker.
    Marker(Marker),
}

impl Pte {
    /// A present entry that is neither writable nor write-protected by userfaultfd.
    #[must_use]
    pub const fn present(page: u8) -> Self {
        Self::Present { page, write: false, uffd_wp: false }
    }

    /// A migration entry for a page that is not writable.
    #[must_use]
    pub const fn migration(page: u8) -> Self {
        Self::Migration { page, write: false, uffd_wp: false }
    }

    /// As a byte.
    #[must_use]
    pub const fn encode(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Present { page, write, uffd_wp } => 0x10 | (page & 3) << 2 | (uffd_wp as u8) << 1 | write as u8,
            Self::Swap(slot) => 0x20 | (slot & 0xf),
            Self::Migration { page, write, uffd_wp } => 0x30 | (page & 3) << 2 | (uffd_wp as u8) << 1 | write as u8,
            Self::Hwpoison => 0x40,
            Self::Marker(m) => 0x50 | (m.0 & 7),
        }
    }

    /// From a byte that [`Pte::encode`] made.
    #[must_use]
    pub const fn decode(byte: u8) -> Self {
        let (page, write, uffd_wp) = ((byte >> 2) & 3, byte & 1 != 0, byte & 2 != 0);
        match byte >> 4 {
            0 => Self::None,
            1 => Self::Present { page, write, uffd_wp },
            2 => Self::Swap(byte & 0xf),
            3 => Self::Migration { page, write, uffd_wp },
            4 => Self::Hwpoison,
            _ => Self::Marker(Marker(byte & 7)),
        }
    }

    /// `pte_none()`.
    #[must_use]
    pub const fn is_none(self) -> bool {
        matches!(self, Self::None)
    }

    /// The markers that it carries, whatever form it has.
    #[must_use]
    pub const fn markers(self) -> u8 {
        match self {
            Self::Marker(m) => m.0,
            Self::Present { uffd_wp: true, .. } | Self::Migration { uffd_wp: true, .. } => Marker::UFFD_WP.0,
            _ => 0,
        }
    }
}

impl std::fmt::Display for Pmd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Table(t) => write!(f, "table({t})"),
            Self::Huge(n) => write!(f, "huge({n})"),
            Self::Migration(n) => write!(f, "migration({n})"),
            Self::Invalid(n) => write!(f, "invalid({n})"),
        }
    }
}

impl std::fmt::Display for Pte {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let flags = |write: bool, uffd_wp: bool| match (write, uffd_wp) {
            (false, false) => "",
            (true, false) => ",w",
            (false, true) => ",wp",
            (true, true) => ",w,wp",
        };
        match *self {
            Self::None => f.write_str("none"),
            Self::Present { page, write, uffd_wp } => write!(f, "page({page}{})", flags(write, uffd_wp)),
            Self::Swap(slot) => write!(f, "swap({slot})"),
            Self::Migration { page, write, uffd_wp } => write!(f, "migration({page}{})", flags(write, uffd_wp)),
            Self::Hwpoison => f.write_str("hwpoison"),
            Self::Marker(m) => write!(f, "marker({})", m.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_their_byte() {
        for byte in 0..=u8::MAX {
            let pte = Pte::decode(byte);
            assert_eq!(Pte::decode(pte.encode()), pte);
            let pmd = Pmd::decode(byte);
            assert_eq!(Pmd::decode(pmd.encode()), pmd, "{byte:#x}");
        }
        assert_eq!((Pte::None.encode(), Pmd::None.encode()), (0, 0), "a new table is all none");
    }
}
