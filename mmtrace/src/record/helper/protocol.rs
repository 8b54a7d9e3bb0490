//! The questions that the recorder may ask its helper: a closed list, and how each travels.
//!
//! A message is a kind and numbers of a fixed width, little-endian, and for some kinds bytes up to its end. What is not
//! written like that is no question.

/// Bytes of a message at most, either way.
pub(in crate::record) const MESSAGE_MAX: usize = 1 << 12;
/// Bytes of a build id at most.
const BUILD_ID_MAX: usize = 64;

/// A file by device and inode, as events have them.
type FileKey = (u32, u64);

/// How the recorded command is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::record) enum Ending {
    /// It is asked to end.
    Asked = 1,
    /// It is killed.
    Killed = 2,
}

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::record) enum Request<'a> {
    /// The mappings of a process: its `maps`, opened.
    Maps { pid: u32 },
    /// The file behind a mapping of a process, opened. `range`: first and last address of the mapping.
    Mapped { pid: u32, range: (u64, u64), of: FileKey },
    /// A file by its path, opened, if it is that file.
    AtPath { of: FileKey, path: &'a [u8] },
    /// A file that mmtrace has mapped itself, opened.
    Own { of: FileKey },
    /// The file with the symbols of a build, opened.
    Symbols { build_id: &'a [u8] },
    /// The path of a cgroup by its id.
    Cgroup { id: u64 },
    /// Where in the kernel a task waits, by process and thread.
    Waits { pid: u32, tid: u32 },
    /// The recorded command is the process of the descriptor that comes with this; without one, there is no command. Only
    /// the first such message counts.
    Command,
    /// The recorded command is to end.
    End(Ending),
}

/// Reads numbers off the front of a message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn u32(&mut self) -> Option<u32> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*first))
    }

    fn u64(&mut self) -> Option<u64> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*first))
    }

    fn file(&mut self) -> Option<FileKey> {
        Some((self.u32()?, self.u64()?))
    }

    /// What is left, if it is no longer than that.
    fn rest(&mut self, most: usize) -> Option<&'a [u8]> {
        let rest = std::mem::take(&mut self.0);
        (rest.len() <= most).then_some(rest)
    }
}

impl<'a> Request<'a> {
    /// Reads a message; `None` if it is no question.
    pub(in crate::record) fn parse(message: &'a [u8]) -> Option<Self> {
        if message.len() > MESSAGE_MAX {
            return None;
        }
        let mut fields = Fields(message);
        let request = match fields.u8()? {
            1 => Self::Maps { pid: fields.u32()? },
            2 => Self::Mapped { pid: fields.u32()?, range: (fields.u64()?, fields.u64()?), of: fields.file()? },
            3 => Self::AtPath { of: fields.file()?, path: fields.rest(MESSAGE_MAX)? },
            4 => Self::Own { of: fields.file()? },
            5 => Self::Symbols { build_id: fields.rest(BUILD_ID_MAX)? },
            6 => Self::Cgroup { id: fields.u64()? },
            7 => Self::Waits { pid: fields.u32()?, tid: fields.u32()? },
            8 => Self::Command,
            9 => Self::End(match fields.u8()? {
                1 => Ending::Asked,
                2 => Ending::Killed,
                _ => return None,
            }),
            _ => return None,
        };
        fields.0.is_empty().then_some(request)
    }

    /// Returns the message of a question; `None` if it would be too long.
    pub(in crate::record) fn message(&self) -> Option<Vec<u8>> {
        let file = |of: FileKey| [&of.0.to_le_bytes()[..], &of.1.to_le_bytes()].concat();
        let message = match self {
            Self::Maps { pid } => [&[1][..], &pid.to_le_bytes()].concat(),
            Self::Mapped { pid, range, of } => {
                let range = [range.0.to_le_bytes(), range.1.to_le_bytes()].concat();
                [&[2][..], &pid.to_le_bytes(), &range, &file(*of)].concat()
            }
            Self::AtPath { of, path } => [&[3][..], &file(*of), path].concat(),
            Self::Own { of } => [&[4][..], &file(*of)].concat(),
            Self::Symbols { build_id } => [&[5][..], build_id].concat(),
            Self::Cgroup { id } => [&[6][..], &id.to_le_bytes()].concat(),
            Self::Waits { pid, tid } => [&[7][..], &pid.to_le_bytes(), &tid.to_le_bytes()].concat(),
            Self::Command => vec![8],
            Self::End(ending) => vec![9, *ending as u8],
        };
        // What the helper would not take is not sent.
        (Request::parse(&message) == Some(*self)).then_some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_faithful(request: &Request<'_>) -> bool {
        request.message().is_some_and(|message| Request::parse(&message) == Some(*request))
    }

    #[test]
    fn every_question_is_read_as_it_was_asked() {
        let of = (0xfe00_0001, u64::MAX);
        for request in [
            Request::Maps { pid: 7 },
            Request::Mapped { pid: u32::MAX, range: (4096, u64::MAX), of },
            Request::AtPath { of, path: b"/usr/lib/a b\n\xff" },
            Request::AtPath { of, path: b"" },
            Request::Own { of },
            Request::Symbols { build_id: &[0xab; 20] },
            Request::Cgroup { id: 1 },
            Request::Waits { pid: 1, tid: 2 },
            Request::Command,
            Request::End(Ending::Asked),
            Request::End(Ending::Killed),
        ] {
            assert!(is_faithful(&request), "{request:?}");
        }
        assert_eq!(Request::AtPath { of, path: &[b'x'; MESSAGE_MAX] }.message(), None);
        assert_eq!(Request::Symbols { build_id: &[1; BUILD_ID_MAX + 1] }.message(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever comes, it is no question or exactly one, which says the same when it is asked again.
        #[test]
        fn a_message_is_one_question_or_none(message in prop::collection::vec(any::<u8>(), 0..2 * MESSAGE_MAX)) {
            if let Some(request) = Request::parse(&message) {
                prop_assert!(message.len() <= MESSAGE_MAX);
                prop_assert_eq!(request.message(), Some(message.clone()));
            }
        }

        /// The same of messages that begin as questions do.
        #[test]
        fn a_message_of_a_kind_is_one_question_or_none(kind in 0u8..12, rest in prop::collection::vec(any::<u8>(), 0..80)) {
            let message = [vec![kind], rest].concat();
            let cut = &message[..message.len() - 1];
            for message in [&message[..], cut] {
                if let Some(request) = Request::parse(message) {
                    let again = request.message();
                    prop_assert_eq!(again.as_deref(), Some(message));
                }
            }
        }
    }
}
