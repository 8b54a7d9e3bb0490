//! The columns of a list.

use mmtrace_common::{Column as Carried, Kind};
use mmtrace_model::context::Context;

/// A column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// At its head, and in layouts.
    pub(crate) name: &'static str,
    /// In characters; 0: what is left.
    pub(crate) width: u16,
    /// Its least width, if it takes what is left.
    pub(crate) least: u16,
    /// Numbers are aligned to the right.
    pub(crate) right: bool,
    /// It is not shown where none of these is recorded; of nothing, it always is.
    pub(crate) needs: &'static [Kind],
    /// Nor where none of these carries this column of the capture.
    pub(crate) carries: Option<Carried>,
}

impl Column {
    /// Only where one of these is recorded.
    #[must_use]
    pub(crate) const fn of(self, needs: &'static [Kind]) -> Self {
        Self { needs, ..self }
    }

    /// Only where one of them carries this column of the capture.
    #[must_use]
    pub(crate) const fn carrying(self, carried: Carried) -> Self {
        Self { carries: Some(carried), ..self }
    }

    /// Whether there is anything to show in it.
    pub(super) fn is_observable(&self, context: &Context) -> bool {
        let carries = |kind: Kind| match self.carries {
            Some(column) => context.carries(kind, column),
            None => context.has(kind),
        };
        self.needs.is_empty() || self.needs.iter().any(|kind| carries(*kind))
    }
}

/// A column of text.
#[must_use]
pub(crate) const fn left(name: &'static str, width: u16) -> Column {
    Column { name, width, least: 16, right: false, needs: &[], carries: None }
}

/// A column of numbers.
#[must_use]
pub(crate) const fn right(name: &'static str, width: u16) -> Column {
    Column { name, width, least: width, right: true, needs: &[], carries: None }
}

/// A column of text that takes what is left, and so much at least.
#[must_use]
pub(crate) const fn rest(name: &'static str, least: u16) -> Column {
    Column { name, width: 0, least, right: false, needs: &[], carries: None }
}
