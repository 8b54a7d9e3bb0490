//! Names of numbers: the dictionaries behind the columns that hold enumerators and kinds.

use arrow_array::StringArray;
use mmtrace_common::{Column, FieldType, SPECS};
use mmtrace_model::{context::Context, names::CALLS};
use rustc_hash::FxHashMap;
use std::borrow::Cow;
use std::sync::Arc;

/// The names one column's numbers can have.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    names: Vec<String>,
    keys: FxHashMap<u64, i32>,
    numbers: FxHashMap<String, u64>,
    array: Option<Arc<StringArray>>,
}

impl Dictionary {
    fn new(pairs: impl Iterator<Item = (String, u64)>) -> Self {
        let mut dictionary = Self::default();
        for (name, number) in pairs {
            // An enumerator that shares its number with an earlier one is only ever read, not written.
            dictionary.keys.entry(number).or_insert(dictionary.names.len() as i32);
            dictionary.numbers.insert(name.clone(), number);
            dictionary.names.push(name);
        }
        dictionary.array = Some(Arc::new(StringArray::from_iter_values(&dictionary.names)));
        dictionary
    }

    /// Returns the index of the number's name in [`Dictionary::names`].
    pub(super) fn key(&self, number: u64) -> Option<i32> {
        self.keys.get(&number).copied()
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the names as an Arrow array. It is shared, so that a stream sends it once.
    pub(super) fn array(&self) -> Arc<StringArray> {
        self.array.clone().unwrap_or_else(|| Arc::new(StringArray::from_iter_values(&self.names)))
    }

    fn number(&self, name: &str) -> Option<u64> {
        match name.strip_prefix('#') {
            Some(digits) => digits.parse().ok(),
            None => self.numbers.get(name).copied(),
        }
    }
}

/// Returns what a number without a name is written as.
pub(super) fn nameless(number: u64) -> String {
    format!("#{number}")
}

/// The names of every column that holds enumerators or kinds, and of the kinds
/// themselves, for one recording's kernel.
#[derive(Debug)]
pub struct Names {
    columns: Vec<Option<Dictionary>>,
    kinds: Dictionary,
}

impl Names {
    /// Takes the names from the enums of the recorded kernel.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        let kinds = || Dictionary::new(SPECS.iter().map(|s| (s.name.to_owned(), u64::from(s.kind as u16))));
        let columns = Column::ALL
            .iter()
            .map(|column| match column.ty() {
                FieldType::Enum(name) => Some(Dictionary::new(
                    // The kernel's enums are 32 bits wide, and a record's words are zero-extended.
                    context
                        .enums
                        .get(name)
                        .into_iter()
                        .flatten()
                        .map(|(name, value)| (name.clone(), u64::from(*value as u32))),
                )),
                FieldType::Kind => Some(kinds()),
                FieldType::Call => Some(Dictionary::new(
                    CALLS.iter().map(|(call, name)| (name.clone().into_owned(), u64::from(call.number()))),
                )),
                _ => None,
            })
            .collect();
        Self { columns, kinds: kinds() }
    }

    /// Returns the name of a number in a column: of the enumerator or the kind, `#37` where there is none. `None` for
    /// columns that hold no names.
    #[must_use]
    pub(crate) fn name(&self, column: Column, number: u64) -> Option<Cow<'_, str>> {
        let dictionary = self.column(column)?;
        Some(match dictionary.key(number) {
            Some(key) => Cow::Borrowed(dictionary.names[key as usize].as_str()),
            None => Cow::Owned(nameless(number)),
        })
    }

    /// Returns the number behind a name in a column, the reverse of [`Names::name`].
    pub(super) fn number(&self, column: Column, name: &str) -> Option<u64> {
        self.column(column)?.number(name)
    }

    pub(super) fn column(&self, column: Column) -> Option<&Dictionary> {
        self.columns[column as usize].as_ref()
    }

    pub(super) fn kinds(&self) -> &Dictionary {
        &self.kinds
    }

    /// Returns the wire number of a kind's name.
    pub(super) fn kind(&self, name: &str) -> Option<u16> {
        self.kinds.numbers.get(name).map(|n| *n as u16)
    }
}
