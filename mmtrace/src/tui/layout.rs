//! Layouts: which views there are, what they show, in which order, and from when on a value is marked.
//!
//! A layout is a TOML file, which `layout_file` reads.

use mmtrace_model::when::When;
use serde::Deserialize;

use super::tone::Tone;

/// Most views that a layout may have: there are nine number keys.
pub const VIEWS_MAX: usize = 9;

/// Views, in the order of the number keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// The views.
    #[serde(rename = "view")]
    pub views: Vec<View>,
}

/// One view.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// In the row of tabs.
    pub name: String,
    /// Kind of the view: one of [`KINDS`](super::view::KINDS).
    pub shows: String,
    /// One line that explains it.
    pub explains: String,
    /// Its columns, in this order; all of them where none is named.
    #[serde(default)]
    pub columns: Vec<String>,
    /// Columns that go first, in this order, when there is no room for all.
    #[serde(default)]
    pub narrow: Vec<String>,
    /// Of an overview: its panels, in this order.
    #[serde(default)]
    pub panels: Vec<String>,
    /// Of an overview: the classes of events whose rates are shown.
    #[serde(default)]
    pub rates: Vec<String>,
    /// Values that are marked.
    #[serde(default, rename = "threshold")]
    pub thresholds: Vec<Threshold>,
}

/// Limit above which a column's values are marked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// In this column.
    pub(crate) column: String,
    /// A value above this: a number, or a duration such as "10ms".
    pub(crate) above: Limit,
    /// Severity of such a value.
    pub(crate) means: Means,
}

/// A limit.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Limit {
    /// A number.
    Number(u64),
    /// A duration.
    Duration(String),
}

/// Severity of a value above its limit. Each has its mark: colours are not for everyone.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Means {
    /// Worth a look: `!`.
    Warning,
    /// Bad: `!!`.
    Bad,
}

impl Limit {
    /// In nanoseconds, or as the number that it is; `None`: it is neither.
    pub(super) fn value(&self) -> Option<u64> {
        match self {
            Self::Number(n) => Some(*n),
            Self::Duration(text) => text.parse::<When>().ok().map(|when| when.after(0)),
        }
    }
}

impl Layout {
    /// A view by number; the last one where there are fewer.
    #[must_use]
    pub fn view(&self, number: usize) -> &View {
        &self.views[number.min(self.views.len() - 1)]
    }

    /// The first view that shows this.
    #[must_use]
    pub fn showing(&self, kind: &str) -> Option<usize> {
        self.views.iter().position(|view| view.shows == kind)
    }
}

impl View {
    /// The mark and the tone of a value in a column, if it passes a limit.
    #[must_use]
    pub(crate) fn judge(&self, column: &str, value: u64) -> Option<(&'static str, Tone)> {
        let passed = |t: &&Threshold| t.column == column && t.above.value().is_some_and(|limit| value > limit);
        let worst = self.thresholds.iter().filter(passed).max_by_key(|t| t.means as u8)?;
        Some(match worst.means {
            Means::Warning => ("!", Tone::Doubt),
            Means::Bad => ("!!", Tone::Bad),
        })
    }
}
