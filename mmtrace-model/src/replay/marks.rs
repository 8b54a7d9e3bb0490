//! Labels that users put on the time line.

use mmtrace_common::{Kind, Record, View as _, event};

use crate::texts::{Assembly, PART, PARTS_MAX, parts};

/// Marks that are kept; later ones are counted.
const MARKS_MAX: usize = 1000;

/// Bytes that a mark has at most.
pub const MARK_MAX: usize = PART * PARTS_MAX - 1;

/// A label on the time line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Time, nanoseconds of `CLOCK_MONOTONIC`.
    pub ts: u64,
    /// The text: any bytes.
    pub text: Vec<u8>,
}

impl Mark {
    /// Returns the records that carry it. Of a text of more than [`MARK_MAX`] bytes, the beginning is left out.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let part_of = |(part, [name, name_2, name_3, name_4, name_5]): (usize, [u64; PART / 8])| {
            let mut record = Record { ts: self.ts, ..Record::default() };
            event::Mark { name, name_2, name_3, name_4, name_5, part: part as u32 }.write(&mut record);
            record
        };
        parts(&self.text).into_iter().enumerate().map(part_of).collect()
    }
}

/// The marks of a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    marks: Vec<Mark>,
    more: u64,
    assembly: Assembly<u64>,
}

impl Marks {
    #[inline]
    pub(super) fn apply(&mut self, record: &Record) {
        if record.kind() == Some(Kind::Mark) {
            self.take(record);
        }
    }

    #[cold]
    fn take(&mut self, record: &Record) {
        let event::Mark { name, name_2, name_3, name_4, name_5, part } = event::Mark::of(record);
        let Some(text) = self.assembly.take(record.ts, part, [name, name_2, name_3, name_4, name_5]) else { return };
        if self.marks.len() < MARKS_MAX {
            self.marks.push(Mark { ts: record.ts, text });
        } else {
            self.more += 1;
        }
    }

    /// Returns them, oldest first.
    #[must_use]
    pub(crate) fn all(&self) -> &[Mark] {
        &self.marks
    }

    /// Returns how many came when there were too many.
    #[must_use]
    pub(crate) const fn more(&self) -> u64 {
        self.more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_arrive_whole_and_are_bounded() {
        let mut marks = Marks::default();
        for n in 0..MARKS_MAX as u64 + 5 {
            let mark = Mark { ts: n, text: format!("deploy {n} {}", "x".repeat(100)).into_bytes() };
            mark.records().iter().for_each(|record| marks.apply(record));
        }
        assert_eq!((marks.all().len(), marks.more()), (MARKS_MAX, 5));
        assert_eq!(marks.all()[7].ts, 7);
        assert!(marks.all()[7].text.starts_with(b"deploy 7 xxx") && marks.all()[7].text.len() == 109);
    }
}
