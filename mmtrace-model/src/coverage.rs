//! Coverage: the share of the known total that a figure is made of.

use serde::Serialize;

use crate::numbers::grouped;

/// The coverage of a figure over events, intervals, or nanoseconds of a recording.
///
/// A figure counts `counted` and no more. Its value with the rest is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Number of events, intervals or nanoseconds that the figure counts.
    pub counted: u64,
    /// Known total: those that were seen, and one for each event that is known to be missing.
    pub of: u64,
    /// There were more than `of`, by an unknown number.
    pub or_more: bool,
}

impl Coverage {
    /// Returns the coverage of `counted`, with so many more that were not counted.
    #[must_use]
    pub const fn of(counted: u64, others: u64) -> Self {
        Self { counted, of: counted.saturating_add(others), or_more: false }
    }

    /// Adds so many that were not counted.
    #[must_use]
    pub const fn and(self, others: u64) -> Self {
        Self { of: self.of.saturating_add(others), ..self }
    }

    /// Marks that an unknown number more may be missing.
    #[must_use]
    pub const fn or_more(self, more: bool) -> Self {
        Self { or_more: self.or_more || more, ..self }
    }

    /// Whether the figure leaves nothing out.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.counted >= self.of && !self.or_more
    }

    /// The share, 0 to 1; an upper bound if there are more. It is 1 if there is nothing to cover.
    #[must_use]
    pub(crate) fn share(&self) -> f64 {
        if self.of == 0 { 1.0 } else { self.counted.min(self.of) as f64 / self.of as f64 }
    }

    /// Returns the coverage in words, as "61 of 65 holds (94 %)"; `None` if the figure leaves nothing out.
    #[must_use]
    pub fn text(&self, what: &str) -> Option<String> {
        if self.is_whole() {
            return None;
        }
        let more = if self.or_more { " or more" } else { "" };
        let percent = self.percent();
        Some(format!("{} of {}{more} {what} ({percent})", grouped(self.counted), grouped(self.of)))
    }

    /// The share in whole percent. An incomplete share is never 100 %, and a share of more than nothing is never 0 %.
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
