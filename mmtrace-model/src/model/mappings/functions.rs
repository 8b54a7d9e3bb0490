//! Names of functions in mapped files, and which build of a file it was.
//!
//! A function is found by its place in the file, so neither addresses nor mms matter, and replay needs no file.

use std::collections::BTreeMap;

use mmtrace_common::{Record, View as _, event};
use rustc_hash::FxHashMap;

use super::{
    files::{FileId, Files},
    texts::{Assembly, PARTS_MAX, parts},
};

/// Functions that are known, over all files.
const FUNCTIONS_MAX: usize = 1 << 16;
/// Files whose build is known.
const BUILDS_MAX: usize = 1 << 12;
/// Words of a name that one record carries.
const WORDS: usize = 3;
/// Bytes of a build id that a record carries. SHA-1 has so many.
const BUILD_ID_MAX: usize = 20;

/// Bytes of a function's name that travel.
pub const FUNCTION_NAME_MAX: usize = 8 * WORDS * PARTS_MAX - 1;

/// A function of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function<'a> {
    /// Where it begins in the file, bytes.
    pub start: u64,
    /// Its length, bytes.
    pub len: u64,
    /// Its name: any bytes.
    pub name: &'a [u8],
}

#[derive(Clone, Debug)]
struct Named {
    len: u64,
    name: Box<[u8]>,
}

/// The functions of a stream of events, by file.
#[derive(Clone, Debug, Default)]
pub(super) struct Functions {
    files: FxHashMap<FileId, BTreeMap<u64, Named>>,
    /// Empty of a file whose contents were replaced: names of functions in it are of one or the other.
    builds: FxHashMap<FileId, Box<[u8]>>,
    /// Functions over all files.
    count: usize,
    names: Assembly<(u32, u64, u64)>,
}

impl Functions {
    /// Takes a part of a function's name.
    pub(super) fn named(&mut self, file: FileId, event: &event::FunctionName) {
        let (start, words) = (event.file_offset, [event.name, event.name_2, event.name_3]);
        let Some(name) = self.names.take((event.dev, event.ino, start), event.part, words) else { return };
        // Files beyond the limit have one number: what is in one of them is not in the others.
        if file == FileId::OTHERS || name.is_empty() || self.is_replaced(file) {
            return;
        }
        let functions = self.files.entry(file).or_default();
        if self.count < FUNCTIONS_MAX || functions.contains_key(&start) {
            let before = functions.insert(start, Named { len: event.len, name: name.into() });
            self.count += usize::from(before.is_none());
        }
    }

    /// Takes a build id.
    pub(super) fn built(&mut self, file: FileId, event: &event::BuildId) {
        if file != FileId::OTHERS && (self.builds.len() < BUILDS_MAX || self.builds.contains_key(&file)) {
            let words = [event.build_id, event.build_id_2, event.build_id_3];
            let mut id: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            id.truncate(BUILD_ID_MAX.min(event.len as usize));
            if self.builds.get(&file).is_some_and(|before| **before != *id) {
                id.clear();
            }
            if id.is_empty() {
                self.count -= self.files.remove(&file).map_or(0, |functions| functions.len());
            }
            self.builds.insert(file, id.into());
        }
    }

    /// Whether a file was seen to have other contents than before.
    fn is_replaced(&self, file: FileId) -> bool {
        self.builds.get(&file).is_some_and(|id| id.is_empty())
    }

    /// Returns the function at an offset of a file.
    pub(super) fn at(&self, file: FileId, offset: u64) -> Option<Function<'_>> {
        let (start, named) = self.files.get(&file)?.range(..=offset).next_back()?;
        let Named { len, name } = named;
        (offset - start < *len).then_some(Function { start: *start, len: *len, name })
    }

    /// Returns the build id of a file; nothing if it is not known.
    pub(super) fn build_id(&self, file: FileId) -> &[u8] {
        self.builds.get(&file).map_or(&[], |id| id)
    }

    /// Whether nothing is known.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.builds.is_empty()
    }

    /// Returns every function by file and place.
    pub(super) fn all(&self) -> Vec<(FileId, Function<'_>)> {
        let mut files: Vec<_> = self.files.iter().collect();
        files.sort_unstable_by_key(|(file, _)| **file);
        let functions = files.into_iter().flat_map(|(file, functions)| functions.iter().map(|of| (*file, of)));
        functions
            .map(|(file, (start, Named { len, name }))| (file, Function { start: *start, len: *len, name }))
            .collect()
    }

    /// Returns everything as records of the time `ts`.
    pub(super) fn records(&self, files: &Files, ts: u64) -> Vec<Record> {
        let mut known: Vec<FileId> = self.files.keys().chain(self.builds.keys()).copied().collect();
        known.sort_unstable();
        known.dedup();
        let mut records = Vec::new();
        for file in known {
            let identity = files.identity(file);
            records.extend(self.builds.get(&file).map(|id| build_id_record(identity, id, ts)));
            for (start, Named { len, name }) in self.files.get(&file).into_iter().flatten() {
                records.extend(function_records(identity, Function { start: *start, len: *len, name }, ts));
            }
        }
        records
    }
}

/// Returns the `function_name` records of a function of a file, which is given by device and inode.
#[must_use]
pub fn function_records((dev, ino): (u32, u64), function: Function<'_>, ts: u64) -> Vec<Record> {
    let Function { start: file_offset, len, name } = function;
    let record = |(part, [name, name_2, name_3]): (usize, [u64; WORDS])| {
        let mut record = Record { ts, ..Record::default() };
        event::FunctionName { ino, file_offset, len, name, name_2, name_3, dev, part: part as u32 }.write(&mut record);
        record
    };
    parts(name).into_iter().enumerate().map(record).collect()
}

/// Returns the `build_id` record of a file, which is given by device and inode. Of an id of more than 20 bytes, the end is
/// left out.
#[must_use]
pub fn build_id_record((dev, ino): (u32, u64), id: &[u8], ts: u64) -> Record {
    let mut bytes = [0; 8 * WORDS];
    let len = id.len().min(BUILD_ID_MAX);
    bytes[..len].copy_from_slice(&id[..len]);
    let (eights, _) = bytes.as_chunks::<8>();
    let word = |n: usize| eights.get(n).map_or(0, |eight| u64::from_be_bytes(*eight));
    let mut record = Record { ts, ..Record::default() };
    let len = len as u64;
    event::BuildId { ino, len, build_id: word(0), build_id_2: word(1), build_id_3: word(2), dev }.write(&mut record);
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF: (u32, u64) = (8 << 20 | 1, 77);

    fn told(records: &[Record]) -> (Files, Functions) {
        let (mut files, mut functions) = (Files::default(), Functions::default());
        for record in records {
            match mmtrace_common::Event::of(record) {
                Some(mmtrace_common::Event::FunctionName(e)) => functions.named(files.number((e.dev, e.ino)), &e),
                Some(mmtrace_common::Event::BuildId(e)) => functions.built(files.number((e.dev, e.ino)), &e),
                _ => panic!("neither"),
            }
        }
        (files, functions)
    }

    #[test]
    fn a_file_that_was_replaced_has_no_functions() {
        for second in [&[2; 20][..], &[]] {
            let named =
                |name: &'static str| function_records(OF, Function { start: 1, len: 9, name: name.as_bytes() }, 5);
            let mut records = vec![build_id_record(OF, &[1; 20], 5)];
            records.extend(named("old_touch"));
            records.push(build_id_record(OF, second, 6));
            records.extend(named("new_touch"));
            let (mut files, functions) = told(&records);
            assert_eq!(functions.at(files.number(OF), 1), None);
            assert!(functions.build_id(files.number(OF)).is_empty());
            let (mut files, again) = told(&functions.records(&files, 7));
            assert_eq!(again.at(files.number(OF), 1), None);
        }
    }

    #[test]
    fn names_and_build_ids_travel() {
        let long = "n".repeat(FUNCTION_NAME_MAX);
        let mut records = vec![build_id_record(OF, &[0xab; 20], 5)];
        for (start, name) in [(0x1000, "touch_pages"), (0x2000, long.as_str())] {
            records.extend(function_records(OF, Function { start, len: 0x40, name: name.as_bytes() }, 5));
        }
        let (mut files, functions) = told(&records);
        let file = files.number(OF);
        let name = |offset| functions.at(file, offset).map(|function| function.name);
        assert_eq!(name(0x1000), Some(&b"touch_pages"[..]));
        assert_eq!(name(0x103f), Some(&b"touch_pages"[..]));
        assert_eq!((name(0xfff), name(0x1040)), (None, None), "beside it");
        assert_eq!(name(0x2001), Some(long.as_bytes()));
        assert_eq!(functions.build_id(file), [0xab; 20]);
        assert_eq!(functions.records(&files, 5), records, "told again, they are the same");
    }

    #[test]
    fn functions_beyond_the_limit_have_no_name() {
        let mut functions = Functions::default();
        let mut files = Files::default();
        let file = files.number(OF);
        for start in 0..FUNCTIONS_MAX as u64 + 5 {
            let name = u64::from_ne_bytes(*b"f\0\0\0\0\0\0\0");
            functions.named(file, &event::FunctionName { file_offset: start, len: 1, name, ..Default::default() });
        }
        assert!(functions.at(file, FUNCTIONS_MAX as u64 - 1).is_some());
        assert!(functions.at(file, FUNCTIONS_MAX as u64).is_none());
    }
}
