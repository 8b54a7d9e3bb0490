//! Contents of the last picture, which input refers to.

use ratatui::layout::Rect;

/// Contents of the last picture, for input that refers to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drawn {
    /// Rows there are.
    pub rows: usize,
    /// Columns they have.
    pub columns: usize,
    /// Rows that fit.
    pub page: usize,
    /// Key of the selected row.
    pub key: Option<u64>,
    /// The column that the rows are sorted by.
    pub(crate) sorted: Option<&'static str>,
    /// The place that the selected row names.
    pub(crate) jump: Option<Jump>,
    /// The bar that shows where in the whole one is.
    pub bar: Option<Rect>,
    /// Lines by which the help can be scrolled.
    pub help: usize,
}

/// Target of Enter on a row that names something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Jump {
    /// The view.
    pub(crate) view: usize,
    /// The goal in that view.
    pub(crate) goal: Goal,
}

/// A goal in another view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// The row with this key is looked into.
    Inside(u64),
    /// Only rows with this value in a column of the capture.
    Filter(&'static str, u64),
}
