//! Times as text.

use std::fmt;

/// Nanoseconds as seconds with nine decimals, relative to a start.
pub(super) struct Seconds {
    pub(super) ts: u64,
    pub(super) start: u64,
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.ts.abs_diff(self.start);
        let sign = if self.ts < self.start { "-" } else { "" };
        f.pad(&format!("{sign}{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000))
    }
}

/// A time in nanoseconds since 1970, as UTC to the second.
pub(super) fn utc(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, in eras of 400 years, as in Howard Hinnant's `civil_from_days`.
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_400_000_000_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_772_323_199_999_999_999), "2026-02-28 23:59:59 UTC");
        assert_eq!(utc(1_772_323_200_000_000_000), "2026-03-01 00:00:00 UTC");
    }

    #[test]
    fn times_before_the_start_are_negative() {
        assert_eq!(Seconds { ts: 5, start: 7 }.to_string(), "-0.000000002");
        assert_eq!(format!("{:>12}", Seconds { ts: 1_500_000_000, start: 0 }), " 1.500000000");
    }
}
