//! From when to when an address belonged to which mapping.

use std::collections::BTreeMap;

use mmtrace_common::Record;
use rustc_hash::FxHashMap;

use super::Waiting;
use crate::{
    context::Context,
    model::mappings::{Backing, Changed, FileId, Label, Mapping, Mappings, Of},
    untrusted::escaped_bytes,
};

/// Ranges that are followed, over all mms.
const SLICES_MAX: usize = 1 << 18;
/// mms that are followed, and mms whose end is known.
const MMS_MAX: usize = 1 << 14;

/// A row of the table of mappings: in an mm, these addresses belonged to this mapping.
///
/// No two rows have one address of an mm at one time. A mapping that grew, or of which a part was unmapped or changed,
/// has several rows with one `mapping`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingRow {
    /// The mm, as a kernel pointer.
    pub mm: u64,
    /// First address.
    pub start: u64,
    /// Last address, inclusive.
    pub end: u64,
    /// When it was mapped, nanoseconds; of what only /proc/PID/maps has shown, the time since when nothing else is known
    /// of these addresses: 0 if nothing ever was.
    pub from_ts: u64,
    /// When it ended, nanoseconds; of what was there to the end, one more than the last event's time.
    pub to_ts: u64,
    /// The mapping's number in this table.
    pub mapping: u64,
    /// The kind of memory, as in the report's JSON: `file`, `heap`, `stack`, `anonymous`, `named`, `special`.
    pub kind: &'static str,
    /// The mapping as the report shows it.
    pub label: String,
    /// The path of its file, fit for a terminal; `None`: it has none, or it is not known.
    pub path: Option<String>,
    /// The offset of `start` in its file, bytes; `None`: it has no file.
    pub offset: Option<u64>,
    /// Device and inode of the file, as in the kernel; `None`: it has no file.
    pub file: Option<(u32, u64)>,
}

/// A range of addresses since it last changed.
#[derive(Clone, Copy, Debug)]
struct Slice {
    /// Last address, inclusive.
    end: u64,
    from: u64,
    /// `None`: nothing is known of it any more.
    mapping: Option<Mapping>,
}

/// Whether both are one mapping, of which one offset follows the other.
fn is_same(one: &Mapping, other: &Mapping) -> bool {
    one.id == other.id && (!matches!(one.backing, Backing::File(_)) || one.offset(0) == other.offset(0))
}

impl Slice {
    /// Whether `next`, right behind it, goes on with it.
    fn goes_on(&self, next: &Self) -> bool {
        self.from == next.from
            && match (&self.mapping, &next.mapping) {
                (Some(one), Some(other)) => is_same(one, other),
                (None, None) => true,
                _ => false,
            }
    }
}

/// The ranges of one mm.
#[derive(Debug)]
struct Mm {
    slices: BTreeMap<u64, Slice>,
    /// Of addresses in no slice, nothing is known since then.
    since: u64,
}

impl Mm {
    /// Takes the slices within `[start, end]` out, cut to that range, in order.
    fn cut_out(&mut self, start: u64, end: u64) -> Vec<(u64, Slice)> {
        let mut found: Vec<(u64, Slice)> =
            self.slices.range(..=end).rev().take_while(|(_, s)| s.end >= start).map(|(at, s)| (*at, *s)).collect();
        found.reverse();
        for (from, slice) in &mut found {
            self.slices.remove(from);
            if *from < start {
                self.slices.insert(*from, Slice { end: start - 1, ..*slice });
                *from = start;
            }
            if slice.end > end {
                self.slices.insert(end + 1, *slice);
                slice.end = end;
            }
        }
        found
    }

    /// Puts a slice in where none is, as a part of the ones beside it if it goes on with them.
    fn put(&mut self, start: u64, slice: Slice) {
        if let Some((_, before)) = self.slices.range_mut(..start).next_back()
            && before.end.checked_add(1) == Some(start)
            && before.goes_on(&slice)
        {
            before.end = slice.end;
            return;
        }
        self.slices.insert(start, slice);
    }

    /// Joins the slice that ends at an address with the next one.
    fn join(&mut self, end: u64) {
        let Some(next) = end.checked_add(1).and_then(|at| self.slices.get(&at).map(|slice| (at, *slice))) else {
            return;
        };
        if let Some((_, before)) = self.slices.range_mut(..=end).next_back()
            && before.end == end
            && before.goes_on(&next.1)
        {
            before.end = next.1.end;
            self.slices.remove(&next.0);
        }
    }
}

/// A row that waits for its names.
#[derive(Clone, Copy, Debug)]
struct Span {
    mm: u64,
    start: u64,
    end: u64,
    from: u64,
    to: u64,
    mapping: Mapping,
    label: Label,
}

/// The mappings of all mms.
#[derive(Debug)]
pub(super) struct MappingSpans {
    known: Mappings,
    mms: FxHashMap<u64, Mm>,
    /// When mms ended.
    ended: FxHashMap<u64, u64>,
    /// Of an mm that is in none of the two, nothing is known since then.
    since: u64,
    /// Slices over all mms.
    slices: usize,
    waiting: Waiting<Span>,
}

impl MappingSpans {
    pub(super) fn new(context: &Context) -> Self {
        Self {
            known: Mappings::new(context),
            mms: FxHashMap::default(),
            ended: FxHashMap::default(),
            since: 0,
            slices: 0,
            waiting: Waiting::default(),
        }
    }

    /// Takes the next record.
    pub(super) fn apply(&mut self, record: &Record) {
        self.known.apply(record);
        let ts = record.ts;
        match self.known.changed() {
            Changed::Nothing => return,
            Changed::Range { mm, start, end, read } => self.follow(mm, (start, end), ts, read),
            Changed::Mm { mm } => self.follow(mm, (0, u64::MAX), ts, None),
            Changed::Read { mm } => {
                self.follow(mm, (0, u64::MAX), ts, None);
                // Events from before it that are in no mapping will not be in one of a later reading.
                if let Some(of) = self.mms.get_mut(&mm) {
                    of.since = of.since.max(ts);
                }
            }
            Changed::Ended { mm } => self.ends(mm, ts),
            Changed::All => {
                self.close(ts);
                for mm in self.known.mms() {
                    self.follow(mm, (0, u64::MAX), ts, None);
                }
            }
        }
        if self.slices > SLICES_MAX || self.mms.len() > MMS_MAX {
            self.close(ts);
        }
    }

    /// The mappings in `[start, end]` of an mm may be others. `read`: that is what a reading of /proc/PID/maps has shown
    /// that began then, and holds since before it if nothing else is known.
    fn follow(&mut self, mm: u64, (start, end): (u64, u64), ts: u64, read: Option<u64>) {
        let (start, end) = if self.known.ranges(mm) == 0 { (0, u64::MAX) } else { (start, end) };
        let now = self.known.between(mm, start, end);
        if now.is_empty() && !self.mms.contains_key(&mm) || end < start {
            return;
        }
        let since = self.ended.get(&mm).copied().unwrap_or(0).max(self.since);
        let mut of = self.mms.remove(&mm).unwrap_or(Mm { slices: BTreeMap::new(), since });
        let before = of.slices.len();
        let was = of.cut_out(start, end);
        let ended = self.change(mm, &mut of, (start, end), &was, &now, ts, read);
        self.slices = (self.slices + of.slices.len()).saturating_sub(before);
        self.mms.insert(mm, of);
        ended.into_iter().for_each(|span| self.wait(span));
    }

    fn wait(&mut self, span: Span) {
        if span.from < span.to {
            self.waiting.push(span);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the two states of a range, and when and why it changed")]
    fn change(
        &self,
        mm: u64,
        of: &mut Mm,
        (start, end): (u64, u64),
        was: &[(u64, Slice)],
        now: &[(u64, u64, Mapping, Option<u64>)],
        ts: u64,
        read: Option<u64>,
    ) -> Vec<Span> {
        let mut ended = Vec::new();
        let (mut was_left, mut now_left) = (was, now);
        let mut next = Some(start);
        while let Some(at) = next.filter(|at| *at <= end) {
            while let [(_, slice), rest @ ..] = was_left
                && slice.end < at
            {
                was_left = rest;
            }
            while let [(_, last, ..), rest @ ..] = now_left
                && *last < at
            {
                now_left = rest;
            }
            // Up to where neither changes.
            let mut to = end;
            let mut old = None;
            match was_left.first() {
                Some((from, slice)) if *from <= at => {
                    to = to.min(slice.end);
                    old = Some(*slice);
                }
                Some((from, _)) => to = to.min(from - 1),
                None => {}
            }
            let mut new = None;
            match now_left.first() {
                Some((from, last, mapping, only_read)) if *from <= at => {
                    to = to.min(*last);
                    new = Some((*mapping, *only_read));
                }
                Some((from, ..)) => to = to.min(from - 1),
                None => {}
            }
            next = to.checked_add(1);
            let from = match (&old, &new) {
                (Some(Slice { mapping: Some(one), from, .. }), Some((other, _))) if is_same(one, other) => *from,
                (Some(Slice { mapping: None, from, .. }), None) => *from,
                (None, None) => continue,
                // Nothing was known.
                (None | Some(Slice { mapping: None, .. }), Some((mapping, only_read))) => {
                    let since = old.map_or(0, |old| old.from).max(of.since);
                    // The fault that a stack grows for comes before it grows.
                    let above =
                        || was.last().filter(|(_, slice)| slice.mapping.is_some_and(|one| one.id == mapping.id));
                    if read.is_some() && *only_read == read {
                        since.min(ts)
                    } else if let (Backing::Stack, Some((_, slice))) = (mapping.backing, above()) {
                        since.max(slice.from).min(ts)
                    } else {
                        ts
                    }
                }
                (Some(Slice { mapping: Some(_), from, .. }), _) => ts.max(*from),
            };
            if let Some(Slice { mapping: Some(mapping), from: since, .. }) = old
                && new.is_none_or(|(other, _)| !is_same(&mapping, &other))
            {
                let label = self.known.label_of(mm, &mapping);
                ended.push(Span { mm, start: at, end: to, from: since, to: from, mapping, label });
            }
            of.put(at, Slice { end: to, from, mapping: new.map(|(mapping, _)| mapping) });
        }
        of.join(end);
        ended
    }

    /// An mm ends.
    fn ends(&mut self, mm: u64, ts: u64) {
        if let Some(of) = self.mms.remove(&mm) {
            self.slices = self.slices.saturating_sub(of.slices.len());
            self.close_mm(mm, of, ts);
        }
        if self.ended.len() >= MMS_MAX {
            self.ended.clear();
            self.since = self.since.max(ts);
        }
        self.ended.insert(mm, ts);
    }

    fn close_mm(&mut self, mm: u64, of: Mm, to: u64) {
        for (start, Slice { end, from, mapping }) in of.slices {
            let Some(mapping) = mapping else { continue };
            let label = self.known.label_of(mm, &mapping);
            self.wait(Span { mm, start, end, from, to, mapping, label });
        }
    }

    /// Everything ends.
    fn close(&mut self, ts: u64) {
        let mut mms: Vec<(u64, Mm)> = self.mms.drain().collect();
        mms.sort_unstable_by_key(|(mm, _)| *mm);
        mms.into_iter().for_each(|(mm, of)| self.close_mm(mm, of, ts));
        self.slices = 0;
        self.ended.clear();
        self.since = self.since.max(ts);
    }

    pub(super) fn end(&mut self, end: u64) {
        self.close(end);
    }

    pub(super) fn rows(&mut self, all: bool) -> Vec<MappingRow> {
        self.waiting.take(all).iter().map(|span| self.row(span)).collect()
    }

    fn row(&self, span: &Span) -> MappingRow {
        let file = if let Of::File(file) = span.label.of { Some(file) } else { None };
        let path = file.map(|file| self.known.file_path(file)).filter(|path| !path.is_empty());
        MappingRow {
            mm: span.mm,
            start: span.start,
            end: span.end,
            from_ts: span.from,
            to_ts: span.to,
            mapping: span.mapping.id.number(),
            kind: span.label.kind(),
            label: self.known.text(span.label),
            path: path.map(escaped_bytes),
            offset: file.map(|_| span.mapping.offset(span.start)),
            file: file.filter(|file| *file != FileId::OTHERS).map(|file| self.known.file_identity(file)),
        }
    }

    /// The mappings, and the functions in their files, as they are known now.
    pub(super) const fn known(&self) -> &Mappings {
        &self.known
    }

    pub(super) const fn left_out(&self) -> u64 {
        self.waiting.left_out
    }
}
