//! Names of mapped files.

use mmtrace_common::{Record, View as _, event};
use rustc_hash::FxHashMap;

use crate::texts::{Words, parts};

/// Files that are told apart.
const FILES_MAX: usize = 1 << 15;
/// Bytes of a base name that the program writes. A name of so many may be longer.
const BASE_MAX: usize = 39;

/// A file's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(u32);

impl FileId {
    /// Stands for all files that came when there were too many.
    pub const OTHERS: Self = Self(0);
}

/// One file under one name.
#[derive(Clone, Debug, Default)]
struct File {
    dev: u32,
    ino: u64,
    /// The last part of its path; empty: not known.
    base: Box<[u8]>,
    /// Its path in /proc/PID/maps; empty: not known.
    path: Box<[u8]>,
}

/// The files of a stream of events. A file that gets another name, or whose inode is used for another file, is another
/// one from then on.
#[derive(Clone, Debug)]
pub(super) struct Files {
    numbers: FxHashMap<(u32, u64), FileId>,
    files: Vec<File>,
}

impl Default for Files {
    fn default() -> Self {
        Self { numbers: FxHashMap::default(), files: vec![File::default()] }
    }
}

impl Files {
    /// Returns the number of a file by device and inode.
    pub(super) fn number(&mut self, (dev, ino): (u32, u64)) -> FileId {
        if let Some(number) = self.numbers.get(&(dev, ino)) {
            return *number;
        }
        self.add(File { dev, ino, ..File::default() })
    }

    fn add(&mut self, file: File) -> FileId {
        if self.files.len() >= FILES_MAX {
            return FileId::OTHERS;
        }
        let number = FileId(self.files.len() as u32);
        self.numbers.insert((file.dev, file.ino), number);
        self.files.push(file);
        number
    }

    /// A file is called so: by its base name.
    pub(super) fn has_base(&mut self, of: (u32, u64), base: &[u8]) {
        let Some(file) = self.file(of) else { return };
        let is_nameless = file.base.is_empty() && file.path.is_empty();
        if is_nameless || *file.base == *base || is_base_of(base, &file.path) {
            file.base = base.into();
        } else {
            self.add(File { dev: of.0, ino: of.1, base: base.into(), path: Box::default() });
        }
    }

    /// A file is called so: by its path.
    pub(super) fn has_path(&mut self, of: (u32, u64), path: &[u8]) {
        let Some(file) = self.file(of) else { return };
        let before = if file.base.is_empty() { last(&file.path) } else { &file.base };
        if before.is_empty() || is_base_of(before, path) {
            file.path = path.into();
        } else {
            self.add(File { dev: of.0, ino: of.1, base: Box::default(), path: path.into() });
        }
    }

    fn file(&mut self, of: (u32, u64)) -> Option<&mut File> {
        let number = self.number(of);
        self.files.get_mut(number.0 as usize).filter(|_| number != FileId::OTHERS)
    }

    /// Returns the device of a file's file system: major number << 20 | minor number.
    pub(super) fn device(&self, file: FileId) -> u32 {
        self.files.get(file.0 as usize).map_or(0, |file| file.dev)
    }

    /// Returns what a file is called: by its path, or else by its base name, or else by device and inode.
    pub(super) fn name(&self, number: FileId) -> Vec<u8> {
        let Some(file) = self.files.get(number.0 as usize).filter(|_| number != FileId::OTHERS) else {
            return b"other files".to_vec();
        };
        if !file.path.is_empty() {
            return file.path.to_vec();
        }
        if file.base.is_empty() {
            let (major, minor) = (file.dev >> 20, file.dev & 0xf_ffff);
            return format!("file {} on device {major}:{minor}", file.ino).into_bytes();
        }
        let more: &[u8] = if file.base.len() == BASE_MAX { b"..." } else { b"" };
        [&file.base, more].concat()
    }

    /// Returns the path of a file; nothing if it is not known.
    pub(super) fn path(&self, file: FileId) -> &[u8] {
        self.files.get(file.0 as usize).map_or(&[], |file| &file.path)
    }

    /// Returns device and inode of a file.
    pub(super) fn identity(&self, number: FileId) -> (u32, u64) {
        self.files.get(number.0 as usize).map_or((0, 0), |file| (file.dev, file.ino))
    }

    /// Returns the records that say what the files are called now, of the time `ts`.
    pub(super) fn records(&self, ts: u64) -> impl Iterator<Item = Record> {
        let named = self.files.iter().filter(|file| !file.base.is_empty() || !file.path.is_empty());
        named.flat_map(move |file| {
            if file.path.is_empty() {
                vec![base_record(file.dev, file.ino, &file.base, ts)]
            } else {
                path_records(file.dev, file.ino, &file.path, ts)
            }
        })
    }
}

/// A path without what the kernel says of a file that has no name any more.
fn living(path: &[u8]) -> &[u8] {
    path.strip_suffix(b" (deleted)").unwrap_or(path)
}

/// The last part of a path.
fn last(path: &[u8]) -> &[u8] {
    living(path).rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// Whether a file of this path may have this base name, which may be cut. The base name of memory that is shared without
/// a file is `dev/zero`.
fn is_base_of(base: &[u8], path: &[u8]) -> bool {
    match base.len() {
        BASE_MAX => last(path).starts_with(base),
        _ => !base.is_empty() && living(path).ends_with(base),
    }
}

fn base_record(dev: u32, ino: u64, base: &[u8], ts: u64) -> Record {
    let mut record = Record { ts, ..Record::default() };
    let [name, name_2, name_3, name_4, name_5] =
        parts(&base[..base.len().min(BASE_MAX)]).first().copied().unwrap_or_default();
    event::FileName { ino, name, name_2, name_3, name_4, name_5, dev }.write(&mut record);
    record
}

/// Returns the `file_path` records of a file.
#[must_use]
pub fn path_records(dev: u32, ino: u64, path: &[u8], ts: u64) -> Vec<Record> {
    let record = |(part, words): (usize, Words)| {
        let mut record = Record { ts, ..Record::default() };
        let [name, name_2, name_3, name_4, name_5] = words;
        event::FilePath { ino, name, name_2, name_3, name_4, name_5, dev, part: part as u32 }.write(&mut record);
        record
    };
    parts(path).into_iter().enumerate().map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_more_than_a_base_name_and_that_more_than_numbers() {
        let mut files = Files::default();
        let of = (8 << 20 | 1, 77);
        let file = files.number(of);
        assert_eq!(files.name(file), b"file 77 on device 8:1");
        files.has_base(of, b"libc.so.6");
        assert_eq!(files.name(file), b"libc.so.6");
        files.has_path(of, b"/usr/lib/libc.so.6 (deleted)");
        assert_eq!(files.name(file), b"/usr/lib/libc.so.6 (deleted)");
        assert_eq!(files.number(of), file, "it was one file all along");
    }

    #[test]
    fn shared_memory_is_one_file_whichever_name_came_first() {
        for (base, path) in [(&b"dev/zero"[..], &b"/dev/zero (deleted)"[..]), (b"memfd:x", b"/memfd:x (deleted)")] {
            let mut files = Files::default();
            files.has_base((1, 5), base);
            let file = files.number((1, 5));
            files.has_path((1, 5), path);
            files.has_base((1, 5), base);
            assert_eq!((files.number((1, 5)), files.name(file)), (file, path.to_vec()));
            files.has_path((1, 6), path);
            let file = files.number((1, 6));
            files.has_base((1, 6), base);
            assert_eq!(files.number((1, 6)), file);
        }
    }

    #[test]
    fn an_inode_that_is_used_again_is_another_file() {
        let mut files = Files::default();
        let of = (1, 77);
        files.has_base(of, b"one");
        let one = files.number(of);
        files.has_base(of, b"other");
        assert_ne!(files.number(of), one);
        let other = files.number(of);
        assert_eq!((files.name(one), files.name(other)), (b"one".to_vec(), b"other".to_vec()));
    }

    #[test]
    fn a_base_name_that_may_be_cut_says_so_until_the_path_is_known() {
        let mut files = Files::default();
        let (of, long) = ((1, 2), [b'n'; 60]);
        files.has_base(of, &long[..BASE_MAX]);
        let file = files.number(of);
        assert!(files.name(file).ends_with(b"nnn..."));
        files.has_path(of, &[b"/tmp/", &long[..]].concat());
        assert_eq!(files.number(of), file);
        assert_eq!(files.name(file).len(), 65);
    }

    #[test]
    fn files_beyond_the_limit_are_others() {
        let mut files = Files::default();
        for ino in 1..=FILES_MAX as u64 {
            files.number((1, ino));
        }
        assert_eq!(files.number((2, 1)), FileId::OTHERS);
        files.has_base((2, 1), b"x");
        assert_eq!(files.name(FileId::OTHERS), b"other files");
    }
}
