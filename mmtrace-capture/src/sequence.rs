//! The order in which the parts of a capture were written, and what is missing between and behind them.

use super::layout::{Form, MANIFEST, segment_name};
use super::manifest::{Manifest, Totals};
use super::part::Part;
use super::problem::Problems;
use rustc_hash::FxHashMap;

/// A part, and what tells whether it is where it belongs.
pub(super) struct Found {
    /// The number in its name.
    pub(super) number: Option<u64>,
    /// Its file.
    pub(super) file: String,
    pub(super) part: Part,
    /// Times of its earliest and its latest event, if known.
    pub(super) span: Option<(u64, u64)>,
    /// Of a sealed segment.
    pub(super) sha256: Option<String>,
}

/// Result of comparing the totals in a manifest with its list of segments. A recorder keeps the two equal in every
/// manifest that it stores, whatever it seals or gives up, so that no crash makes them differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Balance {
    /// They are the sums over the list.
    Even,
    /// They are more by so many records: entries of the list are gone.
    Short(u64),
    /// They are less: not everything in the list belongs to the capture.
    Over,
}

impl Balance {
    /// Compares the totals of a manifest with the sums over its segments, and names what differs. `beside`: how many
    /// records are in segments that the manifest does not have; they may be those whose entries are gone.
    pub(super) fn of(manifest: &Manifest, beside: impl FnOnce() -> u64, problems: &Problems) -> Self {
        let (totals, listed) = (manifest.totals, Totals::of(&manifest.segments));
        if totals.events > listed.events {
            let short = (totals.events - listed.events).saturating_sub(beside());
            let what =
                format!("counts {} events, and the segments that it lists have {}", totals.events, listed.events);
            problems.add(MANIFEST, &what, Some(short));
            return Self::Short(short);
        }
        if totals.events < listed.events {
            let what = format!(
                "counts {} events, and the segments that it lists have {}: which of them belong to it is not known",
                totals.events, listed.events
            );
            problems.add(MANIFEST, &what, None);
            return Self::Over;
        }
        if totals != listed {
            problems.add(MANIFEST, "counts other losses than the segments that it lists", Some(0));
        }
        Self::Even
    }
}

/// Puts the parts into the order in which they were written, with one that is missing wherever there is reason to think
/// so: rules must not take the events on both sides for neighbours.
pub(super) fn in_sequence(mut found: Vec<Found>, dropped: u64, balance: Balance, problems: &Problems) -> Vec<Part> {
    found.sort_by_key(|found| found.number);
    let mut parts = Vec::with_capacity(found.len());
    let mut next = dropped.saturating_add(1);
    let mut digests: FxHashMap<String, String> = FxHashMap::default();
    let mut before: Option<((u64, u64), String)> = None;
    let mut disordered = balance == Balance::Over;
    for Found { number, file, mut part, span, sha256 } in found {
        if let Some(number) = number {
            if number > next {
                let first = segment_name(next, Form::Parquet);
                let what = match number - next {
                    1 => "is not there, and the manifest does not have it".to_owned(),
                    n => format!("is not there, and the manifest does not have it, nor the {} that follow it", n - 1),
                };
                problems.add(&first, &what, None);
                parts.push(Part::UNKNOWN);
            }
            next = number.saturating_add(1);
        }
        if let Some(sha256) = sha256
            && let Some(original) = digests.insert(sha256, file.clone())
        {
            problems.add(&file, &format!("is a copy of {original}: what it was is not known"), None);
            part = Part::UNKNOWN;
            // The other one may be the copy, and stand where something else was.
            disordered = true;
        } else if let Some(span) = span {
            if let Some((_, other)) = before.take().filter(|(before, _)| is_before(span, *before)) {
                let what =
                    format!("is older than {other}: the segments are not in the order in which they were written");
                problems.add(&file, &what, None);
                disordered = true;
            }
            before = Some((span, file));
        }
        parts.push(part);
    }
    if disordered {
        // It is not known which of them are where they belong.
        parts = parts.into_iter().flat_map(|part| [Part::UNKNOWN, part]).collect();
    }
    if let Balance::Short(rows @ 1..) = balance {
        // A gap in the numbers shows what is missing before the last of them, and nothing else what was behind it.
        parts.push(Part::Missing { rows: Some(rows), last_ts: None, losses_until: None });
    }
    parts
}

/// Returns whether a segment of this span was written before one of that span. A record may come late, so that it is
/// older than every record of a short segment before its own. The midpoint of its segment is not.
const fn is_before(span: (u64, u64), that: (u64, u64)) -> bool {
    span.0 < that.0 && span.0.midpoint(span.1) < that.0.midpoint(that.1)
}
