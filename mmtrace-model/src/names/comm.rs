//! A task's command name.

use std::fmt;

use mmtrace_common::{Record, View as _, event};

use crate::untrusted::escaped_bytes;

/// The command name of a task (`task_struct.comm`): up to 15 bytes that the task chose, in any encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Comm([u8; 16]);

impl Comm {
    /// Makes it of bytes as the kernel has them, padded with zeros.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Makes it of the words that records carry: its first eight bytes, and its last.
    #[must_use]
    pub const fn of_words(head: u64, tail: u64) -> Self {
        let (head, tail) = (head.to_ne_bytes(), tail.to_ne_bytes());
        let mut bytes = [0; 16];
        let mut at = 0;
        while at < 8 {
            (bytes[at], bytes[at + 8]) = (head[at], tail[at]);
            at += 1;
        }
        Self(bytes)
    }

    /// Returns the words that a record carries.
    #[must_use]
    pub fn words(self) -> [u64; 2] {
        let (words, _) = self.0.as_chunks::<8>();
        [u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1])]
    }

    /// Returns the record that says that a task is called this.
    #[must_use]
    pub fn named(self, tid: u32, tgid: u32, ts: u64) -> Record {
        let mut record = Record { ts, tid, tgid, ..Record::default() };
        let [comm, comm_tail] = self.words();
        event::TaskName { comm, comm_tail }.write(&mut record);
        record
    }

    /// Returns its bytes up to the first zero.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

/// Fit for a terminal and for JSON: control characters and what is not UTF-8 show as escapes.
impl fmt::Display for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&escaped_bytes(self.bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comm(text: &[u8]) -> Comm {
        let mut bytes = [0; 16];
        bytes[..text.len()].copy_from_slice(text);
        Comm::new(bytes)
    }

    #[test]
    fn a_name_comes_back_from_its_words() {
        for text in [&b"cat"[..], b"jit-protector", b"fifteen-bytes-n", b""] {
            let name = comm(text);
            let [head, tail] = name.words();
            assert_eq!(Comm::of_words(head, tail), name);
            assert_eq!(name.bytes(), text);
        }
    }

    #[test]
    fn strange_bytes_show_as_escapes() {
        assert_eq!(comm(b"a\x1b[31mb").to_string(), "a\\u{1b}[31mb");
        assert_eq!(comm(b"\xff\xfe\xc3\xa4").to_string(), "\\xff\\xfeä");
        assert_eq!(comm(b"a\nb\tc\rd").to_string(), "a\\nb\\tc\\rd");
        assert_eq!(comm("\u{202e}txt".as_bytes()).to_string(), "\\u{202e}txt");
        assert_eq!(format!("{:>5}|{:<5}|", comm(b"cat"), comm(b"cat")), "  cat|cat  |");
    }
}
