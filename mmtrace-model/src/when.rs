//! Times as users type them.

use std::str::FromStr;

/// A time after the start of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When {
    nanoseconds: u64,
}

impl When {
    /// Returns that time, given the start; both in nanoseconds of the capture's clock.
    #[must_use]
    pub const fn after(self, start: u64) -> u64 {
        start.saturating_add(self.nanoseconds)
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match &text[number.len()..] {
            "" | "s" => 1e9,
            "ms" => 1e6,
            "us" => 1e3,
            "ns" => 1.0,
            "m" | "min" => 60e9,
            other => return Err(format!("`{other}` is no unit of time; s, ms, us, ns and min are")),
        };
        let number: f64 = number.parse().map_err(|_| format!("`{text}` is no time; 1.5, 250ms and 2min are"))?;
        let nanoseconds = number * unit;
        if !nanoseconds.is_finite() || !(0.0..1e19).contains(&nanoseconds) {
            return Err(format!("`{text}` is not a time after the start of a capture"));
        }
        Ok(Self { nanoseconds: nanoseconds as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, ns) in [("1.5", 1_500_000_000), ("250ms", 250_000_000), ("2min", 120_000_000_000), ("7us", 7000)] {
            assert_eq!(text.parse::<When>().map(|w| w.after(1)), Ok(ns + 1), "{text}");
        }
        for text in ["", "s", "-1", "1h", "nan", "inf", "1e30", "é"] {
            assert!(text.parse::<When>().is_err(), "{text}");
        }
    }
}
