//! Meaning of a value on the screen, apart from its colour.

/// Meaning of a text on the screen, which decides its style.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Wrong, lost.
    Bad,
    /// Not known.
    Doubt,
    /// Beside the point.
    Dim,
    /// A heading.
    Strong,
}
