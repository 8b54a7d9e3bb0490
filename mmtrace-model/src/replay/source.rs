//! A stream of records that can be read again.

use mmtrace_common::Record;

/// A finite stream of records that can be read again from any position.
///
/// Every reading gives the same records in the same order. A source is a handle: its records do not borrow from it.
/// Reading does not fail: a [`Kind::Gap`](mmtrace_common::Kind::Gap) record stands wherever records cannot be read, and
/// [`Source::damage`] says why.
pub trait Source {
    /// One reading.
    type Records: Iterator<Item = Record>;

    /// Reads the records after the first `n`; nothing where there are fewer.
    fn records_after(&self, n: u64) -> Self::Records;

    /// Reads all records.
    fn records(&self) -> Self::Records {
        self.records_after(0)
    }

    /// Lists what could not be read so far, a sentence for each place. Memory is never damaged.
    fn damage(&self) -> Vec<String> {
        Vec::new()
    }
}
