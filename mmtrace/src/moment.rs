//! Times of a capture as users type them: since its start, or by the clock on the wall.

use std::str::FromStr;

use anyhow::{Context as _, Result, anyhow, bail};
use jiff::{
    Timestamp,
    civil::{DateTime, Time},
    tz::TimeZone,
};
use mmtrace_capture::Capture;
use mmtrace_model::{report::Part, when::When};

/// A time of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So long after its start: `1.5`, `250ms`.
    After(When),
    /// Such a time of the day, in this machine's time zone: `14:03`, `9:03`, `14:03:05.5`. The first one after the start.
    Clock(Time),
    /// A date and a time of the day, in this machine's time zone: `2026-11-29 14:03`.
    Date(DateTime),
    /// A time that names its offset: `2026-11-29T14:03:05Z`.
    Absolute(Timestamp),
}

impl Moment {
    /// Returns it in nanoseconds of the capture's clock.
    ///
    /// # Errors
    /// The capture does not say which time of the day it began at, or the time cannot be told.
    pub(crate) fn of(self, capture: &Capture) -> Result<u64> {
        let offset = capture.manifest().clock.realtime_offset_ns;
        self.resolve(capture.context().start, offset, &TimeZone::system())
    }

    /// `offset`: how far the clock on the wall is ahead of the capture's, nanoseconds.
    fn resolve(self, start: u64, offset: Option<i64>, zone: &TimeZone) -> Result<u64> {
        if let Self::After(when) = self {
            return Ok(when.after(start));
        }
        let offset = i128::from(offset.ok_or_else(|| {
            anyhow!(
                "this capture does not say which time of the day it began at; give a time after its start, such as 1.5"
            )
        })?);
        let begun = Timestamp::from_nanosecond(i128::from(start) + offset).context("the capture's clock is damaged")?;
        let at = match self {
            Self::After(_) => begun,
            Self::Absolute(at) => at,
            Self::Date(date) => date.to_zoned(zone.clone())?.timestamp(),
            Self::Clock(time) => {
                let today = begun.to_zoned(zone.clone()).date();
                let on = |day: jiff::civil::Date| {
                    Ok::<_, jiff::Error>(day.to_datetime(time).to_zoned(zone.clone())?.timestamp())
                };
                // A capture may go on past midnight. What is given to the minute may be the minute that it began in.
                let same_minute = jiff::SignedDuration::from_secs(60);
                let first = on(today)?;
                if first + same_minute <= begun { on(today.tomorrow()?)? } else { first }
            }
        };
        Ok(u64::try_from(at.as_nanosecond() - offset).unwrap_or(0).max(start))
    }
}

/// Returns the part of a capture from one time to another, in nanoseconds of its clock; without them, all of it.
///
/// # Errors
/// A time cannot be told, or the part is empty.
pub(crate) fn part(capture: &Capture, from: Option<Moment>, to: Option<Moment>) -> Result<(u64, u64)> {
    let from = from.map_or(Ok(0), |moment| moment.of(capture))?;
    let to = to.map_or(Ok(u64::MAX), |moment| moment.of(capture))?;
    if to <= from {
        bail!("--to is not after --from: there is nothing between them");
    }
    if from > 0
        && let Some((_, last)) = capture.summary().span
        && from > last
    {
        let seconds = last.saturating_sub(capture.context().start) as f64 / 1e9;
        bail!("--from is after the last event of the capture, which is {seconds:.3} s after its start");
    }
    Ok((from, to))
}

/// Returns what a report says of a part of a capture; nothing if all of it was asked for.
#[must_use]
pub(crate) fn described(capture: &Capture, (from, to): (u64, u64)) -> Option<Part> {
    let start = capture.context().start;
    let last = capture.summary().span.map_or(start, |(_, last)| last);
    let after = |ts: u64| ts.saturating_sub(start);
    let asked = Part { from_ns: after(from), to_ns: after(to.min(last)), of_ns: after(last) };
    ((from, to) != (0, u64::MAX)).then_some(asked)
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains(':') && !text.contains('-') {
            return text.parse().map(Self::After);
        }
        // A date with an offset can also be read as one without, and a date as the time of its day.
        let dated = || text.parse().map(Self::Absolute).or_else(|_| text.parse().map(Self::Date));
        // Jiff wants two digits of the hour.
        let clock = || format!("{}{text}", if text.find(':') == Some(1) { "0" } else { "" }).parse().map(Self::Clock);
        let moment = if text.contains('-') { dated() } else { clock() };
        let example = "1.5, 250ms, 14:03, 14:03:05.5 and \"2026-11-29 14:03\" are";
        moment.map_err(|_| format!("`{text}` is no time; {example}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_000_000_000;
    const SECOND: u64 = 1_000_000_000;

    /// Seconds after the start, of a capture that began at 23:59:30 UTC.
    fn seconds(text: &str) -> Result<u64> {
        let begun = "2026-11-29T23:59:30Z".parse::<Timestamp>().expect("a time");
        let offset = i64::try_from(begun.as_nanosecond() - i128::from(START)).expect("in range");
        let moment: Moment = text.parse().map_err(|e: String| anyhow!(e))?;
        Ok((moment.resolve(START, Some(offset), &TimeZone::UTC)? - START) / SECOND)
    }

    #[test]
    fn times_of_the_day_are_those_of_the_capture() {
        let cases = [
            ("1.5", 1),
            ("2min", 120),
            ("23:59:40", 10),
            ("23:59", 0),
            ("00:00:30", 60),
            ("0:00:30", 60),
            ("0:01", 90),
            ("2:00", 2 * 3600 + 30),
            ("2026-11-30 00:01", 90),
            ("2026-11-30T00:01:00Z", 90),
            ("2026-11-30T01:01:00+01:00", 90),
            ("2020-01-01 00:00", 0),
        ];
        for (text, expected) in cases {
            assert_eq!(seconds(text).expect(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["25:00", "14:03 o'clock", ":03", "5:3", "-1", "x", "", "2026-13-01 00:00", "::"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        let clock: Moment = "14:03".parse().expect("a time");
        assert!(clock.resolve(START, None, &TimeZone::UTC).is_err());
        for (start, offset) in [(0, i64::MIN), (u64::MAX, i64::MAX), (u64::MAX, i64::MIN)] {
            // Clocks of a damaged capture.
            assert!(clock.resolve(start, Some(offset), &TimeZone::UTC).is_ok_and(|at| at >= start), "{start} {offset}");
        }
    }
}
