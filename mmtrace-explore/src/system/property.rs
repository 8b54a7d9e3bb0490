//! What must be true of a protocol.

/// Something that must be true of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property {
    /// Its name, in a word.
    pub id: &'static str,
    /// What it says, in a sentence.
    pub statement: &'static str,
    /// Who says or relies on it: a function, a paper.
    pub source: &'static str,
}

/// A property that does not hold, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub property: &'static Property,
    /// What happened, in a sentence.
    pub why: String,
}
