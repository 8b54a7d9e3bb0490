//! khugepaged, MADV_COLLAPSE, migration, compaction.

use std::collections::BTreeMap;

use mmtrace_common::{Kind, spec};
use mmtrace_model::{
    context::Context,
    durations::{Distribution, Durations},
    model::{Model, measures::Measures},
    report::duration,
    stats::work::Work,
    verdict::RuleId,
};
use ratatui::{Frame, layout::Rect};

use super::{
    listing::{self, Cell, Row},
    scene::Scene,
};
use crate::tui::{
    column::{Column, left, rest, right},
    drawn::Drawn,
    state::State,
    tone::Tone,
};

/// The columns.
pub(crate) const COLUMNS: &[Column] = &[left("what", 21), right("times", 9), rest("result", 8)];

/// Draws the view.
pub(crate) fn draw(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>, state: &State) -> Drawn {
    let (Some(stats), Some(model)) = (scene.engine.stats(), scene.engine.model()) else { return Drawn::default() };
    let context = scene.engine.context();
    let mut list = List { context, functions: scene.has_functions(), rows: Vec::new() };
    list.results(&stats.work);
    list.collapses(&stats.work, model);
    list.migration(&stats.work, model);
    if !list.functions {
        list.unseen("page tables, waits", "not observable here, function probes show them");
    }
    // Rows that nothing happened for yet stand below the others.
    list.rows.sort_by_key(|(order, ..)| *order);
    let rows = list.rows.into_iter().enumerate().map(|(at, (_, what, n, result, tone))| Row {
        key: at as u64,
        cells: vec![Cell::text(what), Cell::known(n), Cell::text(result).tone(tone)],
    });
    listing::draw(frame, area, scene, COLUMNS, rows.collect(), state.current())
}

/// The rows, each with where it stands: 0 has happened, 1 has not, 2 cannot be seen.
struct List<'a> {
    context: &'a Context,
    /// Any function is recorded.
    functions: bool,
    rows: Vec<(u8, &'static str, Option<u64>, String, Tone)>,
}

impl List<'_> {
    fn add(&mut self, what: &'static str, n: u64, result: impl Into<String>) {
        let tone = if n == 0 { Tone::Dim } else { Tone::Plain };
        self.rows.push((u8::from(n == 0), what, Some(n), result.into(), tone));
    }

    /// If something was measured.
    fn measured(&mut self, what: &'static str, model: &Model, rule: RuleId) {
        let partly = model.coverage(rule).text(Measures::covered(rule));
        match (model.measures().durations(rule), partly) {
            (Some(d), None) => self.add(what, d.count(), took(d)),
            (Some(d), Some(text)) => self.add(what, d.count(), format!("{}; {text}", took(d))),
            (None, Some(text)) if self.is_whole_rule(rule) => self.add(what, 0, text),
            (None, _) => {}
        }
    }

    /// Everything that the rule needs is recorded.
    fn is_whole_rule(&self, rule: RuleId) -> bool {
        rule.rule().needs.iter().all(|kind| self.context.has(*kind))
    }

    /// Adds a row without a number, with the reason why it is not known.
    fn unseen(&mut self, what: &'static str, why: &str) {
        self.rows.push((2, what, None, why.to_owned(), Tone::Dim));
    }

    /// Whether this kind of event is recorded. If not, it is not known how often something happened.
    fn sees(&mut self, kind: Kind, what: &'static str) -> bool {
        let seen = self.context.has(kind);
        // That there are no functions is said once for all.
        if !seen && (self.functions || !spec(kind).site.at.is_function()) {
            self.unseen(what, "not observable here");
        }
        seen
    }

    /// If this kind of event is recorded.
    fn seen(&mut self, kind: Kind, what: &'static str, n: u64, result: impl Into<String>) {
        if self.sees(kind, what) {
            self.add(what, n, result);
        }
    }

    /// Adds a row for each result, with its count.
    fn results_of(&mut self, kind: Kind, what: &'static str, values: &str, counts: &BTreeMap<u64, u64>) {
        if self.sees(kind, what) && counts.is_empty() {
            self.add(what, 0, "none yet");
        }
        for (value, n) in counts {
            let name = name(self.context, values, *value);
            let tone = if name == "SCAN_SUCCEED" { Tone::Good } else { Tone::Plain };
            self.rows.push((0, what, Some(*n), name, tone));
        }
    }

    fn results(&mut self, work: &Work) {
        self.results_of(Kind::ScanPmd, "scans, anonymous", "scan_result", &work.scans);
        self.results_of(Kind::CollapseHugePage, "collapses, anonymous", "scan_result", &work.collapses);
        self.results_of(Kind::ScanFile, "scans, files", "scan_result", &work.file_scans);
        self.results_of(Kind::CollapseFile, "collapses, files", "scan_result", &work.file_collapses);
        let pte_mapped = Kind::CollapsePteMappedThpReturn;
        self.results_of(pte_mapped, "collapses, PTE-mapped", "scan_result", &work.pte_mapped);
    }

    fn collapses(&mut self, work: &Work, model: &Model) {
        self.seen(Kind::CollapseHugePageEnter, "collapse_huge_page()", work.collapse.count(), took(&work.collapse));
        self.measured("write hold, collapse", model, RuleId::M05);
        let retract = model.measures().durations(RuleId::M07).map_or_else(String::new, took);
        self.seen(Kind::RetractPageTablesReturn, "retract_page_tables()", work.retracts, retract);
        let tables = model.tables();
        self.seen(Kind::RetractPageTables, "tables retracted", work.retracted, "unlinked by retract_page_tables()");
        self.seen(Kind::PmdpCollapseFlush, "tables unlinked", tables.unlinked, "by all collapses");
        self.seen(Kind::PteFreeDefer, "tables deferred", tables.deferred, "to be freed after an RCU grace period");
        self.seen(Kind::PteFreeNow, "tables freed by RCU", tables.freed, "after it");
    }

    fn migration(&mut self, work: &Work, model: &Model) {
        self.results_of(Kind::MigratePages, "migrate_pages()", "migrate_reason", &work.migrations);
        self.seen(Kind::MigratePages, "pages migrated", work.migrated, "");
        self.seen(Kind::MigratePages, "pages not migrated", work.failed, "");
        self.seen(Kind::SetMigrationPte, "entries set", work.set, "migration entries, PTE and PMD");
        self.seen(Kind::RemoveMigrationPte, "entries removed", work.removed, "");
        if work.set > 0 {
            let now = model.outstanding() as u64;
            self.rows.push((0, "entries now, as seen", Some(now), String::new(), Tone::Plain));
        }
        self.measured("entries stood", model, RuleId::M06);
        let [vma, mmap] = &work.waits;
        let end = Kind::MigrationEntryWaitReturn;
        if self.context.has(Kind::LockVmaUnderRcu) {
            self.seen(end, "waits, VMA lock held", vma.count(), took(vma));
        }
        self.seen(end, "waits, mmap_lock held", mmap.count(), took(mmap));
        if work.unmeasured > 0 {
            self.add("waits not measured", work.unmeasured, "events are missing, or in no fault");
        }
        self.seen(Kind::MigrationEntryWaitOnLocked, "waits that slept", work.slept, "until a migration was over");
        self.seen(Kind::MigrationEntryWaitHuge, "waits, hugetlb", work.huge_waits, "entries met by hugetlb faults");
        self.measured("VMA writers delayed", model, RuleId::M01);
        self.measured("mmap writers delayed", model, RuleId::M02);
        self.seen(Kind::CompactionEnd, "zones compacted", work.compactions, "");
    }
}

fn name(context: &Context, values: &str, value: u64) -> String {
    let of = context.enums.get(values);
    let found = of.and_then(|e| e.iter().find(|(_, v)| **v as u64 == value).map(|(n, _)| n.clone()));
    found.unwrap_or_else(|| value.to_string())
}

fn took(d: &Durations) -> String {
    let percentiles =
        |d: Distribution| format!("p50 {}, p99 {}, max {}", duration(d.p50_ns), duration(d.p99_ns), duration(d.max_ns));
    d.distribution().map_or_else(String::new, percentiles)
}
