//! Percentages as users type them.

use std::{fmt, str::FromStr};

/// A percentage above 0 and at most 100, in hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(pub(crate) u32);

impl Percent {
    /// Returns it as a share, 0 to 1.
    #[must_use]
    pub(crate) const fn share(self) -> f64 {
        self.0 as f64 / 10_000.0
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim_end_matches('%').trim_end().parse::<f64>().ok();
        match number.map(|percent| (100.0 * percent).round()) {
            Some(hundredths) if (1.0..=10_000.0).contains(&hundredths) => Ok(Self(hundredths as u32)),
            _ => Err("give a percentage of at least 0.01 and at most 100".to_owned()),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_part_of_the_machine_is_a_limit() {
        for (text, hundredths) in [("5", 500), ("0.5", 50), ("100", 10_000), ("0.01", 1), ("2.5%", 250)] {
            assert_eq!(text.parse(), Ok(Percent(hundredths)), "{text}");
        }
        assert_eq!(Percent(250).to_string(), "2.5");
        for text in ["0", "101", "nan", "-1", "0.001", "100.01", "inf", "", "five", "%"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }
}
