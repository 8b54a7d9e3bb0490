//! Faults by mapping.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, Serializer};

use super::{
    callers::{KINDS, causes, share},
    grouped,
};
use crate::{
    coverage::Coverage,
    model::{
        faults::address_space::Cause,
        mappings::{Label, Of},
    },
    numbers::bytes,
    replay::Engine,
    stats::mappings::Row,
};

/// The mapping of a row that has most faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Top {
    /// Its faults.
    pub count: u64,
    /// First address.
    #[serde(serialize_with = "hex")]
    pub start: u64,
    /// Last address, inclusive.
    #[serde(serialize_with = "hex")]
    pub end: u64,
    /// Its mm, as a kernel pointer.
    #[serde(serialize_with = "hex")]
    pub mm: u64,
}

impl Top {
    /// Its size, bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        (self.end - self.start).saturating_add(1)
    }
}

fn hex<S: Serializer>(n: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{n:#x}"))
}

/// The faults of all processes of one name in all mappings of one label.
#[derive(Clone, Debug, Serialize)]
pub struct MappingRow {
    /// The processes' name; absent if it was not seen, or if there were too many rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// The mapping in words: the file, `[heap]`, `[anon:NAME]`, `anonymous`, and what else is to be said of it.
    pub mapping: String,
    /// `file`, `heap`, `stack`, `anonymous`, `named` or `special`; `unknown`, `outside` or `kernel` where it is no
    /// mapping; `others` for those that came when there were too many rows.
    pub kind: &'static str,
    /// Writes are seen by others.
    #[serde(skip_serializing_if = "is_false")]
    pub shared: bool,
    /// Its pages come from a pool of huge pages.
    #[serde(skip_serializing_if = "is_false")]
    pub hugetlb: bool,
    /// It was registered with userfaultfd.
    #[serde(skip_serializing_if = "is_false")]
    pub userfaultfd: bool,
    /// Number of faults.
    pub count: u64,
    /// Their causes.
    pub causes: BTreeMap<&'static str, u64>,
    /// Number of mappings.
    pub mappings: u64,
    /// The one with most faults; absent of what is no mapping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top: Option<Top>,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl MappingRow {
    fn new(process: Option<String>, mapping: String, label: Label, row: &Row) -> Self {
        let top = row.top.map(|top| {
            let crate::stats::mappings::Top { count, start, end, mm } = top;
            Top { count, start, end, mm }
        });
        let Label { shared, hugetlb, userfaultfd, .. } = label;
        Self {
            process,
            mapping,
            kind: label.kind(),
            shared,
            hugetlb,
            userfaultfd,
            count: row.count(),
            causes: Cause::ALL.iter().map(|c| c.name()).zip(row.causes).filter(|(_, n)| *n > 0).collect(),
            mappings: row.mappings,
            top,
        }
    }

    /// Returns the process, the mapping with its place, and the kinds of the faults, in one line.
    #[must_use]
    pub fn text(&self) -> String {
        self.text_with("")
    }

    /// The same with the share of `total` behind the mapping.
    pub(super) fn text_of(&self, total: u64) -> String {
        self.text_with(&format!(", {}", share(self.count, total)))
    }

    fn text_with(&self, share_of_all: &str) -> String {
        let process = self.process.as_deref().unwrap_or("processes without a name");
        let place = self.top.map_or_else(String::new, |top| {
            let size = bytes(top.size());
            match self.mappings {
                1 => format!(" ({size} at {:#x})", top.start),
                n => format!(" ({} mappings; most faults: {size} at {:#x})", grouped(n), top.start),
            }
        });
        format!("{process} · {}{place}{share_of_all}: {}", self.mapping, causes(&self.causes, KINDS))
    }
}

/// Returns the faults of a stream by mapping, most faults first; none if its events do not tell.
#[must_use]
pub fn rows(engine: &Engine) -> Vec<MappingRow> {
    let (Some(model), Some(faults)) = (engine.model(), engine.mapped_faults()) else { return Vec::new() };
    let mappings = model.mappings();
    if !mappings.is_told() {
        return Vec::new();
    }
    let rows = faults.rows(mappings, engine.tasks());
    // Files of one name are told apart by their paths; by their inodes while the paths are not known.
    let mut files: BTreeMap<String, BTreeSet<Of>> = BTreeMap::new();
    for (_, label) in rows.keys() {
        files.entry(mappings.text(*label)).or_default().insert(label.of);
    }
    let text = |label: Label| {
        let text = mappings.text(label);
        let alike = files.get(&text).is_some_and(|of| of.len() > 1);
        match mappings.inode_text(label).filter(|_| alike) {
            Some(inode) => format!("{text} ({inode})"),
            None => text,
        }
    };
    let mut rows: Vec<MappingRow> = rows
        .iter()
        .map(|((process, label), row)| MappingRow::new(process.map(|comm| comm.to_string()), text(*label), *label, row))
        .collect();
    rows.sort_by(|one, other| {
        let order = |row: &MappingRow| (row.process.clone(), row.mapping.clone());
        let start = |row: &MappingRow| row.top.map(|top| top.start);
        other.count.cmp(&one.count).then_with(|| order(one).cmp(&order(other))).then(start(one).cmp(&start(other)))
    });
    rows
}

/// Returns the share of the faults whose mapping is known.
#[must_use]
pub fn known(rows: &[MappingRow]) -> Coverage {
    let unknown = Label::of(Of::Unknown).kind();
    let sum =
        |is_unknown: bool| rows.iter().filter(|row| (row.kind == unknown) == is_unknown).map(|row| row.count).sum();
    Coverage::of(sum(false), sum(true))
}
