//! Values as text.

use super::names::Names;
use mmtrace_common::{Column, FieldType};
use mmtrace_model::{
    names::Comm,
    report::{vma_facts_text, walk_text},
    untrusted::clean,
};
use std::borrow::Cow;
use std::fmt;

/// One value, as `dump` shows it.
#[derive(Debug)]
pub enum ValueText<'a> {
    /// An address or a set of bits.
    Hex(u64),
    /// A number without sign.
    Uint(u64),
    /// A number with sign.
    Int(i32),
    /// A truth value.
    Bool(bool),
    /// A time, nanoseconds of the capture's clock.
    Time(u64),
    /// An enumerator's name, as the kernel has it: not cleaned.
    Name(Cow<'a, str>),
}

impl<'a> ValueText<'a> {
    /// Returns the value of a column, from its bits in a record.
    #[must_use]
    pub fn new(names: &'a Names, column: Column, raw: u64) -> Self {
        match column.ty() {
            FieldType::Hex => Self::Hex(raw),
            FieldType::Uint => Self::Uint(raw),
            FieldType::Walk => Self::Name(walk_text(raw).into()),
            FieldType::VmaFacts => Self::Name(vma_facts_text(raw).into()),
            FieldType::Text => Self::Name(Comm::of_words(raw, 0).to_string().into()),
            FieldType::Int => Self::Int(raw as i32),
            FieldType::Bool => Self::Bool(raw & 0xff != 0),
            FieldType::Time => Self::Time(raw),
            FieldType::Enum(_) | FieldType::Kind | FieldType::Call => {
                Self::Name(names.name(column, raw).unwrap_or_default())
            }
        }
    }
}

impl fmt::Display for ValueText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hex(n) => write!(f, "{n:#x}"),
            Self::Uint(n) | Self::Time(n) => write!(f, "{n}"),
            Self::Int(n) => write!(f, "{n}"),
            Self::Bool(b) => write!(f, "{b}"),
            Self::Name(name) => f.write_str(&clean(name)),
        }
    }
}
