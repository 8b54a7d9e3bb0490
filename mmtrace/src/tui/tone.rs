//! How a value on the screen is to be understood.

/// How something is to be understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
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
