//! Colours that mean something.

use crate::{
    colours::{BAD, BOLD, DIM, DOUBTFUL, END, GOOD},
    verdict::Verdict,
};

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
    fn plain_is_plain() {
        assert_eq!(Style::plain().bad("x"), "x");
    }
}
