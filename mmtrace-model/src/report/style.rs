//! Colours with a meaning, and readable numbers.

use crate::verdict::Verdict;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const BAD: &str = "\x1b[1;31m";
const DOUBTFUL: &str = "\x1b[33m";
const GOOD: &str = "\x1b[32m";
const END: &str = "\x1b[0m";

/// Every sequence that a [`Style`] writes.
pub(crate) const SEQUENCES: [&str; 6] = [BOLD, DIM, BAD, DOUBTFUL, GOOD, END];

/// Whether and how to colour.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    colour: bool,
}

impl Style {
    /// Returns a style with colours, or without.
    #[must_use]
    pub const fn new(colour: bool) -> Self {
        Self { colour }
    }

    /// Whether there are colours.
    #[must_use]
    pub const fn has_colour(self) -> bool {
        self.colour
    }

    /// No colours.
    #[must_use]
    pub const fn plain() -> Self {
        Self { colour: false }
    }

    fn paint(self, start: &str, text: &str) -> String {
        if self.colour { format!("{start}{text}{END}") } else { text.to_owned() }
    }

    /// Headings.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        self.paint(BOLD, text)
    }

    /// Less important.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.paint(DIM, text)
    }

    /// Wrong, lost, broken.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.paint(BAD, text)
    }

    /// Unknown.
    #[must_use]
    pub fn doubtful(self, text: &str) -> String {
        self.paint(DOUBTFUL, text)
    }

    /// Right.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.paint(GOOD, text)
    }

    /// In the colour of a verdict.
    #[must_use]
    pub fn verdict(self, verdict: Verdict, text: &str) -> String {
        match verdict {
            Verdict::Held => self.good(text),
            Verdict::Violated => self.bad(text),
            Verdict::Unknown => self.doubtful(text),
            Verdict::NotObservable => self.dim(text),
        }
    }
}

/// Formats a number with a comma after every three digits.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a duration in nanoseconds with three digits and a unit.
#[must_use]
pub fn duration(nanoseconds: u64) -> String {
    let ns = nanoseconds as f64;
    let (value, unit) = match nanoseconds {
        0..1_000 => return format!("{nanoseconds} ns"),
        1_000..1_000_000 => (ns / 1e3, "us"),
        1_000_000..1_000_000_000 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

/// Breaks a text into lines of at most `width` characters, at spaces.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_durations_have_units() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([7, 1_500, 42_000_000, 1_234_000_000].map(duration), ["7 ns", "1.50 us", "42.0 ms", "1.23 s"]);
    }

    #[test]
    fn plain_is_plain() {
        assert_eq!(Style::plain().bad("x"), "x");
    }
}
