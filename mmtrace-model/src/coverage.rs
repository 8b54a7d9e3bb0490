//! What share of what there was a figure is made of.

use serde::Serialize;

use crate::numbers::grouped;

/// How much of what a figure is about it covers: events, intervals, or nanoseconds of a recording.
///
/// A figure never takes in more than `counted`; what it would be with the rest is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Those that the figure is made of.
    pub counted: u64,
    /// All that there were, as far as is known: those that were seen, and those that are known to be missing, as if each
    /// of these had been one.
    pub of: u64,
    /// There were more than `of`, and nobody knows how many.
    pub or_more: bool,
}

impl Coverage {
    /// So many, and so many that are not among them.
    #[must_use]
    pub const fn of(counted: u64, others: u64) -> Self {
        Self { counted, of: counted.saturating_add(others), or_more: false }
    }

    /// The same, with so many more that are not among them.
    #[must_use]
    pub const fn and(self, others: u64) -> Self {
        Self { of: self.of.saturating_add(others), ..self }
    }

    /// The same, where more may be missing by a number that nobody knows.
    #[must_use]
    pub const fn or_more(self, more: bool) -> Self {
        Self { or_more: self.or_more || more, ..self }
    }

    /// Nothing is left out.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.counted >= self.of && !self.or_more
    }

    /// The share, 0 to 1: at most that where there are more. Of nothing, all is covered.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.of == 0 { 1.0 } else { self.counted.min(self.of) as f64 / self.of as f64 }
    }

    /// For people, as "61 of 65 holds (94 %)"; nothing where nothing is left out.
    #[must_use]
    pub fn text(&self, what: &str) -> Option<String> {
        if self.is_whole() {
            return None;
        }
        let more = if self.or_more { " or more" } else { "" };
        let percent = self.percent();
        Some(format!("{} of {}{more} {what} ({percent})", grouped(self.counted), grouped(self.of)))
    }

    /// The share in whole percent. What is not whole is never 100 %, and what is not nothing never 0 %.
    fn percent(&self) -> String {
        let percent = (self.share() * 100.0).round() as u64;
        match (self.counted, self.or_more) {
            (0, _) => "0 %".to_owned(),
            (_, false) if percent == 0 => "below 1 %".to_owned(),
            (_, false) if percent == 100 => "above 99 %".to_owned(),
            (_, false) => format!("{percent} %"),
            (_, true) => format!("{} % at most", percent.max(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_said_and_what_is_whole_needs_no_word() {
        assert_eq!(Coverage::of(61, 4).text("holds").as_deref(), Some("61 of 65 holds (94 %)"));
        assert_eq!(Coverage::of(8_707, 20_519).text("faults").as_deref(), Some("8,707 of 29,226 faults (30 %)"));
        assert_eq!(Coverage::of(65, 0).text("holds"), None);
        assert_eq!(Coverage::default().text("holds"), None);
        assert_eq!(Coverage::of(0, 3).text("holds").as_deref(), Some("0 of 3 holds (0 %)"));
        let more = Coverage::of(65, 0).or_more(true);
        assert_eq!(more.text("holds").as_deref(), Some("65 of 65 or more holds (100 % at most)"));
    }

    #[test]
    fn a_part_is_never_rounded_to_all_or_nothing() {
        assert_eq!(Coverage::of(9_999, 1).text("waits").as_deref(), Some("9,999 of 10,000 waits (above 99 %)"));
        assert_eq!(Coverage::of(1, 9_999).text("waits").as_deref(), Some("1 of 10,000 waits (below 1 %)"));
    }
}
