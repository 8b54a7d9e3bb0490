//! The id that tells the files of one capture from those of another.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::io;
use std::str::FromStr;

/// The key under which a segment names its capture: in the footer of a Parquet file, and in the schema of each stream.
pub(super) const KEY: &str = "mmtrace.capture";

/// The id of a capture: 128 random bits, as 32 hexadecimal digits. The manifest has it, and every segment. A part of a
/// flight recorder's capture that is kept elsewhere has the id of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CaptureId(u128);

impl CaptureId {
    /// Draws a new id.
    ///
    /// # Errors
    ///
    /// The kernel gives no random bytes.
    pub(super) fn draw() -> io::Result<Self> {
        let mut bytes = [0; 16];
        // So few bytes come at once, or not at all.
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(Self(u128::from_ne_bytes(bytes)))
    }
}

impl fmt::Display for CaptureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for CaptureId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let id = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        id.map(Self).ok_or("a capture's id is 32 hexadecimal digits")
    }
}

impl Serialize for CaptureId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CaptureId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The capture that a segment must name; `None`: one that is older than ids, whose segments name none.
pub(super) type Expected = Option<CaptureId>;

/// Compares the capture that a segment names with the one that it lies in. Returns what is wrong.
pub(super) fn foreign(named: Option<&str>, expected: Expected) -> Option<&'static str> {
    match (named, expected) {
        (None, None) => None,
        (Some(named), Some(expected)) if named.parse().is_ok_and(|id: CaptureId| id == expected) => None,
        (Some(_), _) => Some("belongs to another capture"),
        (None, Some(_)) => Some("belongs to an older capture, which had no id"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_32_digits_and_drawn_anew_each_time() {
        let id = CaptureId::draw().expect("random bytes");
        assert_eq!(id.to_string().parse::<CaptureId>(), Ok(id));
        assert_eq!(CaptureId(7).to_string(), "00000000000000000000000000000007");
        assert_ne!(CaptureId::draw().expect("random bytes"), id);
        for text in ["", "7", "+0000000000000000000000000000007", "0000000000000000000000000000000G", "0\u{e9}"] {
            assert!(text.parse::<CaptureId>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_the_same_id_or_none_on_both_sides_belongs_together() {
        let (one, other) = (CaptureId(1), CaptureId(2));
        assert_eq!(foreign(Some(&one.to_string()), Some(one)), None);
        assert_eq!(foreign(None, None), None);
        for (named, expected) in [
            (Some(other.to_string()), Some(one)),
            (Some(one.to_string()), None),
            (None, Some(one)),
            (Some("x".into()), None),
        ] {
            assert!(foreign(named.as_deref(), expected).is_some(), "{named:?} in {expected:?}");
        }
    }
}
