//! Page faults by process and region.

use mmtrace_common::{Column as Carried, Kind};
use mmtrace_model::{
    context::Context,
    coverage::Coverage,
    model::{Model, effect::Under, faults::address_space::Cause, mappings::At},
    report::{duration, grouped, wrap},
    stats::faults::{Calls, Process, REGION_SHIFT, Region},
};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::Line,
    widgets::Paragraph,
};

use super::{
    cgroup::{CGROUP, cgroup},
    listing::{self, Cell, Row},
    scene::Scene,
    text::{above_note, bars, note},
};
use crate::tui::{
    column::{Column, left, rest, right},
    drawn::Drawn,
    state::State,
    tone::Tone,
};

/// Events that show the names of tasks.
const NAMES: &[Kind] = &[Kind::TaskRename];
/// Events that show how faults are handled.
const CALLS: &[Kind] = &[Kind::HandleMmFaultReturn];
/// Events that show when the handling of a fault ends.
const ENDS: &[Kind] = &[Kind::HandleMmFaultReturn, Kind::PageFaultsMin];
/// Events that show whether a fault is handled under a VMA lock.
const VMA_LOCK: &[Kind] = &[Kind::LockVmaUnderRcu];
/// Events that show migration waits.
const WAITS: &[Kind] = &[Kind::MigrationEntryWaitReturn];
/// Events that show where collapses happen.
const COLLAPSES: &[Kind] = &[Kind::PmdpCollapseFlush, Kind::CollapseHugePageEnter];

/// Events that show faults that are not handled, since page faults are disabled.
const DISABLED: &[Kind] = &[Kind::PageFaultKernel];

/// Events that tell the kinds of faults apart.
const WALKS: &[Kind] = &[Kind::PageFaultUser];

/// Pages that were touched for the first time, or again after they were given back.
const FIRST: &[Cause] = &[Cause::FirstTouch, Cause::AnonymousFirstTouch, Cause::HugeFirstTouch, Cause::StackGrowth];
/// Pages of files and of shared memory.
const FILE: &[Cause] = &[Cause::CacheHit, Cause::Major, Cause::MajorRetried, Cause::FilePage, Cause::SharedMemory];
/// Writes to read-only entries.
const WRITE_PROTECTED: &[Cause] = &[Cause::WriteProtect, Cause::CopyOnWrite, Cause::WriteNotify];
/// Rare kinds.
const OTHER: &[Cause] =
    &[Cause::NumaHint, Cause::Userfaultfd, Cause::Hugetlb, Cause::Device, Cause::Marker, Cause::KernelAddress];
/// Kinds that stay unknown.
const UNKNOWN: &[Cause] = &[Cause::Unknown, Cause::EmptyEntry, Cause::RegisteredPage];

/// So many calls may have begun before recording.
const UNPAIRED_MIN: u64 = 64;

/// The columns.
pub(crate) const COLUMNS: &[Column] = &[
    right("pid", 7),
    left("process", 15).of(NAMES),
    CGROUP,
    right("faults", 11),
    right("for write", 11),
    right("first", 10),
    right("refault", 10),
    right("file", 10).of(WALKS).carrying(Carried::Walk),
    right("wp/cow", 10),
    right("swap", 9).of(WALKS).carrying(Carried::Walk),
    right("spurious", 9),
    right("migration", 9),
    right("other", 9).of(WALKS).carrying(Carried::Walk),
    right("failed", 7).of(WALKS).carrying(Carried::Walk),
    right("disabled", 9).of(DISABLED).carrying(Carried::PagefaultDisabled),
    right("unknown", 10),
    right("VMA lock", 9).of(VMA_LOCK),
    right("fell back", 9).of(VMA_LOCK),
    right("mmap_lock", 9).of(CALLS),
    right("retries", 8).of(CALLS),
    right("completed", 9).of(CALLS),
    right("errors", 7).of(CALLS),
    right("major", 7).of(CALLS),
    right("waits", 7).of(WAITS),
    right("p50", 7).of(ENDS),
    right("p99", 7).of(ENDS),
    right("max", 7).of(ENDS),
    right("collapsed", 9).of(COLLAPSES),
    left("state", 6),
];

/// Quantity that is counted in a region: its column, which names the row of the strip too, and its number.
type Counted = (Column, fn(&Region) -> u32);

/// Quantities that are counted in every region.
const COUNTED: [Counted; 8] = [
    (right("faults", 9), |r| r.faults),
    (right("VMA lock", 9).of(VMA_LOCK), |r| r.vma_lock),
    (right("fell back", 9).of(VMA_LOCK), |r| r.fell_back),
    (right("retries", 7).of(CALLS), |r| r.retries),
    (right("waits", 5).of(WAITS), |r| r.waits),
    (right("collapsed", 9).of(COLLAPSES), |r| r.collapsed),
    (right("migration", 9), |r| r.migration),
    (right("VMAs set", 8), |r| r.vmas),
];

/// The mappings of a region.
const MAPPING: Column = left("mapping", 24).of(&[Kind::MaWrite]).carrying(Carried::Anonymous);

/// Draws the view.
pub(crate) fn draw(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>, state: &State) -> Drawn {
    let Some(stats) = scene.engine.stats() else { return Drawn::default() };
    let how = state.current();
    if let Some((pid, process)) = how.inside.and_then(|pid| Some((pid as u32, stats.faults.get(pid as u32)?))) {
        return regions(frame, area, scene, state, pid, process);
    }
    let kept = stats.faults.kept().text("faults: processes that were quiet for longest made room");
    let causes = scene.engine.model().and_then(|model| model.fault_coverage().text("faults"));
    let partly = [causes.map(|text| format!("causes are those of {text}")), kept.map(|text| format!("here: {text}"))];
    let notes: Vec<String> = [unseen(scene)].into_iter().chain(partly).flatten().collect();
    let unseen = Some(notes.join("; ")).filter(|notes| !notes.is_empty());
    if !has_faults(scene.engine.context()) {
        return note(frame, area, scene, unseen.as_deref().unwrap_or_default(), state);
    }
    let area = above_note(frame, area, scene, unseen.as_deref());
    let mut processes: Vec<_> = stats.faults.iter().collect();
    processes.sort_by_key(|(pid, p)| (std::cmp::Reverse(p.total()), *pid));
    let rows = processes.into_iter().map(|(pid, p)| {
        let kinds = |causes: &[Cause]| Cell::number(causes.iter().map(|c| p.causes[*c as usize]).sum());
        let calls = p.calls.as_deref();
        let of = |n: fn(&Calls) -> u64| Cell::known(calls.map(n));
        let durations = calls.map(|c| &c.took).or(p.counted.as_deref());
        let took = |q: f64| durations.map_or_else(Cell::none, |d| Cell::duration(d.quantile(q)));
        let unknown = |c: &Calls| c.under[Under::Mmap as usize] + c.under[Under::Unknown as usize];
        Row {
            key: u64::from(pid),
            cells: vec![
                Cell { text: pid.to_string(), order: u64::from(pid), tone: Tone::Plain },
                scene.engine.tasks().comm(pid).map_or_else(Cell::none, |comm| Cell::text(comm.to_string())),
                cgroup(scene.engine.tasks(), pid, pid),
                Cell::number(p.total()),
                Cell::number(p.writes),
                kinds(FIRST),
                kinds(&[Cause::Refault]),
                kinds(FILE),
                kinds(WRITE_PROTECTED),
                kinds(&[Cause::SwapIn]),
                kinds(&[Cause::Spurious]),
                kinds(&[Cause::Migration]),
                kinds(OTHER),
                kinds(&[Cause::Failed]),
                kinds(&[Cause::PagefaultDisabled]),
                kinds(UNKNOWN),
                of(|c| c.under[Under::Vma as usize]),
                of(|c| c.under[Under::FellBack as usize]),
                Cell::known(calls.map(unknown)),
                of(|c| c.retries),
                of(|c| c.completed),
                of(|c| c.errors),
                of(|c| c.major),
                of(|c| c.waits),
                took(0.5),
                took(0.99),
                took(1.0),
                Cell::number(p.collapsed),
                Cell::text(if p.exited { "exited" } else { "" }).tone(Tone::Dim),
            ],
        }
    });
    listing::draw(frame, area, scene, COLUMNS, rows.collect(), how)
}

/// Whether any page fault can be seen.
pub(super) fn has_faults(context: &Context) -> bool {
    context.has(Kind::PageFaultUser) || context.has(Kind::PageFaultKernel)
}

/// Returns a line on what cannot be seen here and why, if anything.
fn unseen(scene: &Scene<'_>) -> Option<String> {
    let context = scene.engine.context();
    let unpaired = scene.engine.stats().map_or(0, |stats| stats.faults.unpaired);
    if !has_faults(context) {
        Some("page faults: not observable here, their tracepoints are not recorded".to_owned())
    } else if !scene.has_functions() && context.fault_ends().is_some() {
        Some(
            "p50, p99, max: until the kernel counts a fault as handled; not observable here: locks, retries, waits, collapses"
                .to_owned(),
        )
    } else if !scene.has_functions() {
        Some("not observable by tracepoints: locks, retries, latency, waits, collapses".to_owned())
    } else if unpaired > UNPAIRED_MIN {
        Some(format!("{} calls of handle_mm_fault() are not counted: events are missing", grouped(unpaired)))
    } else if !context.has(Kind::LockVmaUnderRcu) && !context.kernel.may_have_vma_locks() {
        Some("every fault takes the mmap_lock: there are no VMA locks before Linux 6.4".to_owned())
    } else {
        None
    }
}

/// A process: how its faults were handled, its address space as a strip, and region by region.
fn regions(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>, state: &State, pid: u32, process: &Process) -> Drawn {
    let mut regions: Vec<_> = process.regions.iter().map(|(r, n)| (*r, *n)).collect();
    regions.sort_unstable_by_key(|(region, _)| *region);
    let mut strip = strip(scene, pid, &regions, process.in_regions(), area.width);
    if let Some(calls) = process.calls.as_deref() {
        strip.splice(1..1, handled(scene, calls, usize::from(area.width)));
    }
    // Lines of the strip that do not fit are cut at its end: the list is worth more.
    let height = if area.height > 12 { strip.len().min(usize::from(area.height) - 6) as u16 } else { 1 };
    let [top, list] = Layout::vertical([Constraint::Length(height), Constraint::Min(1)]).areas(area);
    frame.render_widget(Paragraph::new(strip), top);
    let most = regions.iter().map(|(_, n)| n.faults).max().unwrap_or(1).max(1);
    let columns: Vec<Column> = [right("region (2 MiB)", 14), MAPPING]
        .into_iter()
        .chain(COUNTED.map(|(column, _)| column))
        .chain([rest("", 8)])
        .collect();
    let rows = regions.into_iter().map(|(region, n)| {
        let part = (u64::from(n.faults) * 40).div_ceil(u64::from(most));
        let bar = Cell { text: "#".repeat(part as usize), order: u64::from(n.faults), tone: Tone::Plain };
        let region = Cell { text: format!("{:#x}", region << REGION_SHIFT), order: region, tone: Tone::Plain };
        let counts = COUNTED.map(|(_, of)| Cell::number(u64::from(of(&n))));
        let mapping = Cell::text(mapping(scene, process.mm(), region.order << REGION_SHIFT, &n));
        Row { key: region.order, cells: [region, mapping].into_iter().chain(counts).chain([bar]).collect() }
    });
    listing::draw(frame, list, scene, &columns, rows.collect(), state.current())
}

/// The first mapping in a region as it is now, and how many follow it; of an mm that is gone, the mapping of the last fault
/// there.
fn mapping(scene: &Scene<'_>, mm: u64, start: u64, region: &Region) -> String {
    let Some(mappings) = scene.engine.model().map(Model::mappings) else { return String::new() };
    let now = mappings.within(mm, start, start | ((1 << REGION_SHIFT) - 1));
    let label = now.map(|(found, _)| mappings.label(mm, At::Mapping(found)));
    let Some(label) = label.or(region.mapping) else { return String::new() };
    let more = now.map_or(0, |(_, ranges)| ranges - 1);
    let text = mappings.text(label);
    // The end of a path says more than its beginning.
    let name = text.rsplit('/').next().unwrap_or_default();
    let rest = match more {
        0 if now.is_none() && region.several_mappings => " + others".to_owned(),
        0 => String::new(),
        more => format!(" +{more}"),
    };
    let room = usize::from(MAPPING.width).saturating_sub(rest.len());
    match name.char_indices().nth(room) {
        Some(_) => format!("{}…{rest}", name.chars().take(room.saturating_sub(1)).collect::<String>()),
        None => format!("{name}{rest}"),
    }
}

/// Returns the locks, results and durations of a process's `handle_mm_fault()` calls.
fn handled(scene: &Scene<'_>, calls: &Calls, width: usize) -> Vec<Line<'static>> {
    let of = |n: u64, what: &str| (n > 0).then(|| format!("{} {what}", grouped(n)));
    let join = |parts: &[Option<String>]| parts.iter().flatten().cloned().collect::<Vec<_>>().join(", ");
    let [vma, fell_back, mmap, unknown] = calls.under;
    let locks = join(&[
        of(vma, "under a VMA lock"),
        of(fell_back, "fell back to the mmap_lock"),
        of(mmap, "under the mmap_lock at once"),
        of(unknown, "under the mmap_lock, why is not known"),
    ]);
    let returned = join(&[
        of(calls.retries, "RETRY"),
        of(calls.completed, "COMPLETED"),
        of(calls.errors, "ERROR"),
        of(calls.major, "MAJOR"),
    ]);
    let returned = if returned.is_empty() { returned } else { format!("; returned {returned}") };
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|q| duration(calls.took.quantile(q)));
    let text = format!("handle_mm_fault(): {locks}{returned}; took p50 {p50}, p99 {p99}, max {max}");
    wrap(&text, width.max(8)).into_iter().map(|l| Line::from(scene.span(l, Tone::Plain))).collect()
}

/// The regions that anything happened in, side by side, with a row for each thing that did.
fn strip(scene: &Scene<'_>, pid: u32, regions: &[(u64, Region)], kept: Coverage, width: u16) -> Vec<Line<'static>> {
    const LABEL: usize = 12;
    let room = usize::from(width).saturating_sub(LABEL).max(1);
    let per = regions.len().div_ceil(room).max(1);
    let sums = |of: fn(&Region) -> u32| -> Vec<u64> {
        regions.chunks(per).map(|c| c.iter().map(|(_, r)| u64::from(of(r))).sum()).collect()
    };
    // A hole lies before each cell whose first region does not adjoin the last one of the cell before.
    let holes: String = regions
        .chunks(per)
        .scan(None, |before: &mut Option<u64>, chunk| {
            let first = chunk.first()?.0;
            let adjoins = before.is_none_or(|last| last + 1 == first);
            *before = chunk.last().map(|(r, _)| *r);
            Some(if adjoins { '─' } else { '┊' })
        })
        .collect();
    let context = scene.engine.context();
    let cell = if per == 1 { "2 MiB".to_owned() } else { format!("{per} regions of 2 MiB") };
    let head = format!("pid {pid}: {} regions touched, {cell} to a character, ┊ a hole before it", regions.len());
    let mut lines = vec![Line::from(scene.span(head, Tone::Dim))];
    let (mut none, mut shown) = (Vec::new(), Vec::new());
    for (column, of) in COUNTED.iter().filter(|(column, _)| column.is_observable(context)) {
        let (label, values) = (column.name, sums(*of));
        if values.iter().all(|n| *n == 0) {
            none.push(label);
            continue;
        }
        shown.push(label);
        lines.push(Line::from(scene.span(format!("{label:<LABEL$}{}", bars(&values)), Tone::Plain)));
    }
    lines.push(Line::from(scene.span(format!("{:<LABEL$}{holes}", ""), Tone::Dim)));
    let mut notes: Vec<String> = kept
        .text("faults are in the regions shown")
        .map(|text| format!("{text}: others made room"))
        .into_iter()
        .collect();
    if !none.is_empty() {
        notes.push(format!("none here: {}", none.join(", ")));
    }
    for (label, means) in [
        ("migration", "faults on migration entries"),
        ("waits", "faults that waited for a migration"),
        ("collapsed", "PTE tables that huge pages replaced"),
    ] {
        if shown.contains(&label) {
            notes.push(format!("{label}: {means}"));
        }
    }
    notes.extend(unseen(scene));
    let notes = notes.join("; ");
    lines.extend(wrap(&notes, usize::from(width).max(8)).into_iter().map(|l| Line::from(scene.span(l, Tone::Dim))));
    lines
}
