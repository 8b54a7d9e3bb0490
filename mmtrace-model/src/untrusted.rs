//! Text that strangers chose (captures, kernels, names of files, arguments), and how it is put into text and JSON.
//!
//! A terminal obeys control characters, reorders text at bidirectional ones, and shows nothing for others. Each value
//! passes [`clean`] before it goes into text, and [`json`] before it goes into JSON. [`Screened`] is the last barrier:
//! only mmtrace's own colours pass it.

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};
use std::borrow::Cow;
use std::io::{self, Write};

use crate::colours::SEQUENCES;

/// Longest text of a stranger that is shown, bytes: a command line with a list of options, but not a screen full of
/// text.
const SHOWN_MAX: usize = 4096;

/// Characters that a terminal obeys or does not show, by first and last: control characters, line separators, the
/// format characters of Unicode 16, and other characters that have no width by default.
const HARMFUL: [(u32, u32); 33] = [
    (0x00, 0x1f),
    (0x7f, 0x9f),
    (0xad, 0xad),
    (0x34f, 0x34f),
    (0x600, 0x605),
    (0x61c, 0x61c),
    (0x6dd, 0x6dd),
    (0x70f, 0x70f),
    (0x890, 0x891),
    (0x8e2, 0x8e2),
    (0x115f, 0x1160),
    (0x17b4, 0x17b5),
    (0x180b, 0x180f),
    (0x200b, 0x200f),
    (0x2028, 0x202e),
    (0x2060, 0x206f),
    (0x3164, 0x3164),
    (0xfe00, 0xfe0f),
    (0xfeff, 0xfeff),
    (0xffa0, 0xffa0),
    (0xfff0, 0xfffb),
    (0x110bd, 0x110bd),
    (0x110cd, 0x110cd),
    (0x13430, 0x1343f),
    (0x1bca0, 0x1bca3),
    (0x1d159, 0x1d159),
    (0x1d173, 0x1d17a),
    (0xe0000, 0xe0fff),
    // Noncharacters and private use: each font shows something else, or nothing.
    (0xe000, 0xf8ff),
    (0xfdd0, 0xfdef),
    (0xfffe, 0xffff),
    (0xf0000, 0xfffff),
    (0x10_0000, 0x10_ffff),
];

/// Whether a terminal would obey a character, or show nothing for it.
#[must_use]
pub fn is_harmful(c: char) -> bool {
    match c {
        ' '..='~' => false,
        c => HARMFUL.iter().any(|(first, last)| (*first..=*last).contains(&u32::from(c))),
    }
}

/// Returns a stranger's text for a terminal. Harmful characters become visible escapes (`\u{1b}`, `\n`), and a text
/// that is longer than anybody has to read is cut.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    let shown = &text[..text.floor_char_boundary(SHOWN_MAX)];
    let left = text.len() - shown.len();
    if left == 0 {
        return escaped(text);
    }
    Cow::Owned(format!("{}... ({left} bytes more)", escaped(shown)))
}

/// Returns a text of any length with harmful characters as escapes.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Returns bytes of a stranger as text: harmful characters, and what is not UTF-8, as escapes (`\n`, `\xff`). A backslash
/// becomes two, so that no name reads like an escape.
#[must_use]
pub(crate) fn escaped_bytes(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(&escaped(&chunk.valid().replace('\\', "\\\\")));
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

/// The JSON layout with harmful characters as `\u` escapes; it parses to the same text.
struct Escaping<F>(F);

impl<F: Formatter> Formatter for Escaping<F> {
    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }

    /// Quotes, backslashes and C0 controls are not among these: serde_json escapes those itself.
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_harmful(*c)) {
            out.write_all(&rest.as_bytes()[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}

/// Writes a value as JSON for people: indented, without a newline at the end.
///
/// # Errors
/// `out` cannot be written.
pub fn json(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(out, Escaping(PrettyFormatter::new())))?;
    Ok(())
}

/// Writes a value as JSON in one line, without a newline at the end.
///
/// # Errors
/// `out` cannot be written.
pub fn json_line(value: &impl Serialize, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(out, Escaping(CompactFormatter)))?;
    Ok(())
}

/// An output for a terminal. It escapes everything that was not cleaned before, except line ends, tabs and the colours
/// of [`Style`](crate::report::Style), if there are any.
#[derive(Debug)]
pub struct Screened<W: Write> {
    out: W,
    colour: bool,
    /// The beginning of a character that the last write ended with.
    begun: Vec<u8>,
}

impl<W: Write> Screened<W> {
    /// Screens what goes to `out`. `colour`: mmtrace's own colours may pass.
    pub const fn new(out: W, colour: bool) -> Self {
        Self { out, colour, begun: Vec::new() }
    }

    fn screen(&mut self, text: &str) -> io::Result<()> {
        let mut rest = text;
        loop {
            let passes = |c: char| matches!(c, '\n' | '\t') || !is_harmful(c);
            let plain = rest.find(|c| !passes(c)).unwrap_or(rest.len());
            self.out.write_all(&rest.as_bytes()[..plain])?;
            rest = &rest[plain..];
            let Some(harmful) = rest.chars().next() else { return Ok(()) };
            let ours = SEQUENCES.iter().find(|sequence| self.colour && rest.starts_with(**sequence));
            let taken = match ours {
                Some(sequence) => {
                    self.out.write_all(sequence.as_bytes())?;
                    sequence.len()
                }
                None => {
                    write!(self.out, "{}", harmful.escape_default())?;
                    harmful.len_utf8()
                }
            };
            rest = &rest[taken..];
        }
    }
}

impl<W: Write> Write for Screened<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let is_plain = |b: &u8| matches!(b, b' '..=b'~' | b'\n' | b'\t');
        if self.begun.is_empty() && bytes.iter().all(is_plain) {
            self.out.write_all(bytes)?;
            return Ok(bytes.len());
        }
        let mut all = std::mem::take(&mut self.begun);
        all.extend_from_slice(bytes);
        let mut chunks = all.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            self.screen(chunk.valid())?;
            let invalid = chunk.invalid();
            // The rest of a character may come with the next write.
            if chunks.peek().is_none() && is_begun(invalid) {
                self.begun = invalid.to_vec();
            } else if !invalid.is_empty() {
                self.screen("\u{fffd}")?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Whether these may be the first bytes of a character.
fn is_begun(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|e| e.valid_up_to() == 0 && e.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A name that somebody may have chosen for a kernel.
    const WICKED: &str =
        "a\u{1b}]0;x\u{7}\u{9b}31m\u{7f}\u{202e}b\u{2066}\u{200b}\u{feff}\u{2028}\u{ad}\u{e0041}\r\nheld: all";

    fn screened(colour: bool, pieces: &[&[u8]]) -> String {
        let mut out = Screened::new(Vec::new(), colour);
        for piece in pieces {
            out.write_all(piece).expect("a vector takes everything");
        }
        String::from_utf8(out.out).expect("only text goes through")
    }

    #[test]
    fn nothing_that_a_terminal_obeys_or_hides_passes_clean() {
        assert_eq!(
            clean(WICKED),
            "a\\u{1b}]0;x\\u{7}\\u{9b}31m\\u{7f}\\u{202e}b\\u{2066}\\u{200b}\\u{feff}\\u{2028}\\u{ad}\\u{e0041}\\r\\nheld: all"
        );
        assert_eq!(clean("6.18.0-é中文 (Debian)"), "6.18.0-é中文 (Debian)");
    }

    #[test]
    fn a_name_that_looks_like_an_escape_is_told_from_one() {
        assert_eq!(escaped_bytes(b"\x1b\xff"), r"\u{1b}\xff");
        assert_eq!(escaped_bytes(br"\u{1b}\xff"), r"\\u{1b}\\xff");
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_and_says_so() {
        let long = "é".repeat(SHOWN_MAX);
        assert!(clean(&long).ends_with(&format!("é... ({SHOWN_MAX} bytes more)")), "{}", clean(&long));
        assert_eq!(clean(&long[..SHOWN_MAX]), long[..SHOWN_MAX]);
    }

    #[test]
    fn json_has_escapes_and_parses_to_the_same_text() {
        let mut out = Vec::new();
        json(&[WICKED], &mut out).expect("a vector takes everything");
        json_line(&WICKED, &mut out).expect("a vector takes everything");
        let text = String::from_utf8(out).expect("JSON is UTF-8");
        assert!(!text.chars().any(|c| c != '\n' && is_harmful(c)), "{text:?}");
        let mut values = serde_json::Deserializer::from_str(&text).into_iter::<serde_json::Value>();
        assert_eq!(values.next().expect("the first").expect("it parses"), serde_json::json!([WICKED]));
        assert_eq!(values.next().expect("the second").expect("it parses"), serde_json::json!(WICKED));
    }

    #[test]
    fn colours_of_ours_pass_the_net_where_there_are_colours_and_nothing_else_does() {
        for sequence in SEQUENCES {
            assert_eq!(screened(true, &[sequence.as_bytes()]), sequence);
            assert_eq!(screened(false, &[sequence.as_bytes()]), sequence.replace('\u{1b}', "\\u{1b}"));
        }
        assert_eq!(screened(true, &[b"\x1b[31mx\x1b]0;y\x07\n\tz"]), "\\u{1b}[31mx\\u{1b}]0;y\\u{7}\n\tz");
    }

    #[test]
    fn a_character_that_two_writes_share_is_one() {
        for at in 1..3 {
            let (one, two) = "\u{202e}".as_bytes().split_at(at);
            assert_eq!(screened(false, &[one, two, b"x"]), "\\u{202e}x");
            let (one, two) = "中".as_bytes().split_at(at);
            assert_eq!(screened(false, &[one, two]), "中");
        }
        assert_eq!(
            screened(false, &[b"a\xffb\xe2", b"\xffc"]),
            "a\\u{fffd}b\\u{fffd}\\u{fffd}c".replace("\\u{fffd}", "\u{fffd}")
        );
    }

    proptest! {
        #[test]
        fn whatever_is_written_nothing_harmful_goes_out(bytes: Vec<u8>, colour: bool) {
            let out = screened(colour, &[&bytes]);
            let plain = SEQUENCES.iter().fold(out, |text, sequence| text.replace(sequence, ""));
            prop_assert!(!plain.chars().any(|c| !matches!(c, '\n' | '\t') && is_harmful(c)), "{plain:?}");
        }

        #[test]
        fn clean_leaves_nothing_harmful(text: String) {
            prop_assert!(!clean(&text).chars().any(is_harmful));
        }
    }
}
