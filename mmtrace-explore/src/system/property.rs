//! The properties of a protocol.

/// Something that must be true of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property {
    /// Its name, in a word.
    pub id: &'static str,
    /// The property, as a sentence.
    pub statement: &'static str,
    /// The function, the paper or the project that states it or relies on it.
    pub source: &'static str,
}

/// A property that does not hold, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub property: &'static Property,
    /// A description of the violation, as a sentence.
    pub why: String,
}
