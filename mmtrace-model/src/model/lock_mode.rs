//! Modes in which a lock is held, and their exclusion.

/// Mode in which a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Shared.
    Read,
    /// Shared, after it was exclusive (`mmap_write_downgrade`).
    Downgraded,
    /// Exclusive. Spinlocks and folio locks have only this one.
    Write,
}

impl Mode {
    /// The mode in a sentence: held "for read", "for write".
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Downgraded => "read (downgraded)",
            Self::Write => "write",
        }
    }

    /// Whether two holds of one lock exclude each other (Documentation/mm/process_addrs.rst, "mmap_lock"). A downgraded
    /// hold excludes another one because both had to be exclusive first.
    #[must_use]
    pub(crate) const fn excludes(self, other: Self) -> bool {
        !matches!((self, other), (Self::Read, Self::Read | Self::Downgraded) | (Self::Downgraded, Self::Read))
    }
}
