//! What the last picture showed, which input refers to.

use ratatui::layout::Rect;

/// What was drawn, for those who move about in it.
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
    pub sorted: Option<&'static str>,
    /// What the selected row names.
    pub jump: Option<Jump>,
    /// The bar that shows where in the whole one is.
    pub bar: Option<Rect>,
    /// So many lines the help can be scrolled by.
    pub help: usize,
}

/// Where Enter goes from a row that names something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    /// The view.
    pub view: usize,
    /// What in it.
    pub goal: Goal,
}

/// What is looked for in another view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The row with this key is looked into.
    Inside(u64),
    /// Only rows with this value in a column of the capture.
    Filter(&'static str, u64),
}
