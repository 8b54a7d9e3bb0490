//! The newest part of a stream, kept in memory, to go back in it and to save it.

use std::{collections::VecDeque, sync::Arc};

use mmtrace_common::Record;

use super::{Engine, source::Source};

/// Records of a chunk, at least: 10 MiB.
const CHUNK: usize = 1 << 17;
/// Chunks that are kept besides the one that is filled.
const CHUNKS_MAX: usize = 8;

/// Records in a row, with the state before the first.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// The state before the first record.
    pub(crate) before: Arc<Engine>,
    /// The records.
    pub(crate) records: Vec<Record>,
}

/// The newest million records.
#[derive(Debug, Default)]
pub struct Recent {
    chunks: VecDeque<Arc<Chunk>>,
    open: Option<Chunk>,
}

impl Recent {
    /// Takes records that `engine` is about to take.
    pub fn push(&mut self, engine: &Engine, records: &[Record]) {
        if records.is_empty() {
            return;
        }
        if self.open.as_ref().is_some_and(|chunk| chunk.records.len() >= CHUNK) {
            self.close();
        }
        let open =
            self.open.get_or_insert_with(|| Chunk { before: Arc::new(engine.checkpoint()), records: Vec::new() });
        open.records.extend_from_slice(records);
    }

    fn close(&mut self) {
        self.chunks.extend(self.open.take().map(Arc::new));
        while self.chunks.len() > CHUNKS_MAX {
            self.chunks.pop_front();
        }
    }

    /// Returns the kept records as they are now.
    pub fn stored(&mut self) -> Stored {
        // A small chunk is joined by the next records rather than closed, but shared ones cannot grow.
        self.close();
        Stored { chunks: self.chunks.iter().cloned().collect(), chunk: 0, at: 0 }
    }
}

/// An iterator over kept records. It can go to another thread.
#[derive(Clone, Debug)]
pub struct Stored {
    chunks: Arc<[Arc<Chunk>]>,
    chunk: usize,
    at: usize,
}

impl Stored {
    /// The chunks.
    #[must_use]
    pub(crate) fn chunks(&self) -> &[Arc<Chunk>] {
        &self.chunks
    }

    /// Returns the same without the first `n` records.
    #[must_use]
    pub(crate) fn after(&self, n: u64) -> Self {
        let mut left = n;
        for (chunk, stored) in self.chunks.iter().enumerate() {
            let len = stored.records.len() as u64;
            if left < len {
                return Self { chunks: Arc::clone(&self.chunks), chunk, at: left as usize };
            }
            left -= len;
        }
        Self { chunks: Arc::clone(&self.chunks), chunk: self.chunks.len(), at: 0 }
    }
}

impl Iterator for Stored {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        loop {
            let chunk = self.chunks.get(self.chunk)?;
            if let Some(record) = chunk.records.get(self.at) {
                self.at += 1;
                return Some(*record);
            }
            self.chunk += 1;
            self.at = 0;
        }
    }
}

impl Source for Stored {
    type Records = Self;

    fn records_after(&self, n: u64) -> Self {
        self.after(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Context;

    #[test]
    fn the_newest_are_kept_and_nothing_twice() {
        let engine = Engine::new(Context::default(), true);
        let mut recent = Recent::default();
        let n = (CHUNK * (CHUNKS_MAX + 3)) as u64;
        for first in (0..n).step_by(1 << 14) {
            let batch: Vec<Record> = (first..first + (1 << 14)).map(|ts| Record { ts, ..Record::default() }).collect();
            recent.push(&engine, &batch);
        }
        for _ in 0..2 {
            let stored = recent.stored();
            let times: Vec<u64> = stored.clone().map(|r| r.ts).collect();
            assert_eq!(times.last(), Some(&(n - 1)));
            assert!(times.windows(2).all(|w| w[0] + 1 == w[1]));
            assert!(times.len() >= CHUNK * (CHUNKS_MAX - 1) && times.len() <= CHUNK * (CHUNKS_MAX + 1));
            assert_eq!(stored.after(CHUNK as u64 + 7).next().map(|r| r.ts), Some(times[CHUNK + 7]));
            assert_eq!(stored.after(u64::MAX).next(), None);
        }
    }
}
