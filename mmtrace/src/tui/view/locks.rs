//! mmap_locks, and the locks of VMAs.

use mmtrace_common::{Call, Kind};
use mmtrace_model::{
    context::Context,
    durations::Durations,
    names::{Tasks, call_name},
    report::{duration, grouped, wrap},
    stats::locks::{Holder, MmLock, Now, VmaLocks},
};
use ratatui::{Frame, layout::Rect, text::Line};

use super::{
    cgroup::{CGROUP, cgroup},
    listing::{self, Cell, Row},
    scene::Scene,
    text::{above_note, note, text},
};
use crate::tui::{
    column::{Column, left, rest, right},
    drawn::Drawn,
    state::State,
    tone::Tone,
};

/// Events that show VMA locks.
const VMA_LOCKS: &[Kind] = &[Kind::LockVmaUnderRcu, Kind::VmaStartWriteReturn];

/// Events that show the names of tasks.
const NAMES: &[Kind] = &[Kind::TaskRename];

/// The columns.
pub(crate) const COLUMNS: &[Column] = &[
    right("pid", 7),
    left("process", 15).of(NAMES),
    CGROUP,
    left("lock", 9).of(VMA_LOCKS),
    right("mm", 6),
    right("acquired", 9),
    right("for read", 9),
    right("for write", 9),
    right("refused", 8),
    right("R held p50", 10),
    right("R held p99", 10),
    right("W held p50", 10),
    right("W held p99", 10),
    right("R wait p99", 10),
    right("W wait p99", 10),
    right("longest", 9),
    rest("now", 54),
];

/// Draws the view.
pub(crate) fn draw(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>, state: &State) -> Drawn {
    let Some(stats) = scene.engine.stats() else { return Drawn::default() };
    let how = state.current();
    let nows = scene.engine.model().zip(scene.engine.open_calls()).map(|(model, calls)| Now::all(model, calls));
    let nows = nows.unwrap_or_default();
    let nobody = Now::default();
    let now_of = |mm: u64| nows.get(&mm).unwrap_or(&nobody);
    if let Some((mm, lock)) = how.inside.and_then(|key| Some((key & !1, stats.locks.get(key & !1)?))) {
        return text(frame, [(area, inside(scene, mm, lock, now_of(mm), usize::from(area.width)))], state);
    }
    let context = scene.engine.context();
    let seen = context.has(Kind::AcquireReturned);
    if !seen && stats.locks.iter().next().is_none() {
        return note(frame, area, scene, unseen(context).unwrap_or_default(), state);
    }
    let kept = stats.locks.kept().text("acquisitions: mms that were quiet for longest made room");
    let note = [unseen(context).map(str::to_owned), kept.map(|text| format!("mmap_locks here: {text}"))];
    let note = note.into_iter().flatten().collect::<Vec<_>>().join("; ");
    let area = above_note(frame, area, scene, Some(note.as_str()).filter(|note| !note.is_empty()));
    let mut locks: Vec<_> = stats.locks.iter().collect();
    let acquired = |lock: &MmLock| lock.acquired() + lock.vmas.as_ref().map_or(0, |vmas| vmas.acquired());
    locks.sort_by_key(|(mm, lock)| (std::cmp::Reverse(acquired(lock)), *mm));
    let now = scene.engine.span().map_or(0, |s| s.1);
    let tasks = scene.engine.tasks();
    let rows = locks.into_iter().flat_map(|(mm, lock)| {
        let untouched = scene.engine.model().is_some_and(|model| model.is_untouched(mm));
        let mmap = Row { key: mm, cells: mmap_lock(mm, lock, now_of(mm), untouched, now, tasks) };
        // mms are aligned: the lowest bit is free to tell the two rows apart.
        let vmas = lock.vmas.as_ref();
        let vmas = vmas.map(|v| Row { key: mm | 1, cells: vma_locks(mm, lock.tgid, v, now, scene) });
        [seen.then_some(mmap), vmas]
    });
    listing::draw(frame, area, scene, COLUMNS, rows.flatten().collect(), how)
}

/// Returns which locks cannot be seen and why; `None` if all can.
fn unseen(context: &Context) -> Option<&'static str> {
    if !context.has(Kind::AcquireReturned) {
        return Some("mmap_lock: not observable here, its tracepoints are not recorded");
    }
    let [read, write] = [Kind::LockVmaUnderRcu, Kind::VmaStartWriteReturn].map(|kind| context.has(kind));
    match (read, write) {
        (true, true) => None,
        (true, false) => Some("VMA locks: for read only; __vma_start_write() has no probe on this kernel"),
        (false, true) => Some("VMA locks: for write only; lock_vma_under_rcu() has no probe on this kernel"),
        _ if !context.kernel.may_have_vma_locks() => Some("VMA locks: there are none before Linux 6.4"),
        _ => Some("VMA locks: not observable by tracepoints, function probes show them"),
    }
}

fn mmap_lock(mm: u64, lock: &MmLock, held: &Now, untouched: bool, now: u64, tasks: &Tasks) -> Vec<Cell> {
    vec![
        Cell { text: lock.tgid.to_string(), order: u64::from(lock.tgid), tone: Tone::Plain },
        named(lock.tgid, tasks),
        cgroup(tasks, lock.tgid, lock.tgid),
        Cell::text("mmap_lock"),
        Cell { text: short_id(mm), order: mm, tone: Tone::Dim },
        Cell::number(lock.acquired()),
        Cell::number(lock.reads),
        Cell::number(lock.writes),
        Cell::number(lock.failed),
        Cell::duration(lock.holds.read.quantile(0.5)),
        Cell::duration(lock.holds.read.quantile(0.99)),
        Cell::duration(lock.holds.write.quantile(0.5)),
        Cell::duration(lock.holds.write.quantile(0.99)),
        Cell::duration(lock.read_wait.quantile(0.99)),
        Cell::duration(lock.write_wait.quantile(0.99)),
        Cell::duration(lock.holds.longest.map_or(0, |(_, ns)| ns)),
        Cell::text(state_of(lock, held, untouched, now, tasks)),
    ]
}

fn vma_locks(mm: u64, tgid: u32, vmas: &VmaLocks, now: u64, scene: &Scene<'_>) -> Vec<Cell> {
    let (context, tasks) = (scene.engine.context(), scene.engine.tasks());
    let read = |n: u64| context.has(Kind::LockVmaUnderRcu).then_some(n);
    let write = |n: u64| context.has(Kind::VmaStartWriteReturn).then_some(n);
    vec![
        Cell { text: tgid.to_string(), order: u64::from(tgid), tone: Tone::Plain },
        named(tgid, tasks),
        cgroup(tasks, tgid, tgid),
        Cell::text("VMA locks"),
        Cell { text: short_id(mm), order: mm, tone: Tone::Dim },
        Cell::number(vmas.acquired()),
        Cell::known(read(vmas.granted)),
        Cell::known(write(vmas.write_wait.count())),
        Cell::known(read(vmas.refused)),
        Cell::duration(vmas.holds.read.quantile(0.5)),
        Cell::duration(vmas.holds.read.quantile(0.99)),
        Cell::duration(vmas.holds.write.quantile(0.5)),
        Cell::duration(vmas.holds.write.quantile(0.99)),
        // Readers do not wait: they are refused.
        Cell::none(),
        Cell::duration(vmas.write_wait.quantile(0.99)),
        Cell::duration(vmas.holds.longest.map_or(0, |(_, ns)| ns)),
        Cell::text(vmas_now(vmas, now, tasks)),
    ]
}

/// The name of a process.
fn named(tgid: u32, tasks: &Tasks) -> Cell {
    tasks.comm(tgid).map_or_else(Cell::none, |comm| Cell::text(comm.to_string()))
}

/// Returns the digits of an mm's pointer that tell mms apart on a screen.
fn short_id(mm: u64) -> String {
    format!("{:05x}", (mm >> 6) & 0xf_ffff)
}

/// Appends the waiting tasks to `held`: their number, how long the one that has waited longest waits, in which call.
fn and_waiting(held: String, waiting: &[Holder], now: u64, who: &impl Fn(&Holder) -> String) -> String {
    let Some(oldest) = waiting.first() else { return held };
    let number = if waiting.len() == 1 { "waits".to_owned() } else { format!("{} wait", waiting.len()) };
    let since = duration(now.saturating_sub(oldest.since));
    // Where there is no room for all of it, the name is what is cut.
    let call = oldest.call.map_or_else(String::new, |call| format!(" {}", call_name(call)));
    format!("{held}; {number} {since}{call}: {}", who(oldest))
}

/// Returns the thread and its call, as `jit-protector: mprotect`.
fn doing(holder: &Holder, who: &impl Fn(&Holder) -> String) -> String {
    let name = who(holder);
    holder.call.map_or_else(|| name.clone(), |call| format!("{name}: {}", call_name(call)))
}

/// Returns the name of a thread, with its id where another one of those that are shown has the same; its id where it has
/// no name.
fn name(holder: &Holder, others: &[&[Holder]], tasks: &Tasks) -> String {
    let Some(comm) = tasks.comm(holder.tid) else { return holder.tid.to_string() };
    let mut all = others.iter().copied().flatten();
    let alike = all.any(|other| other.tid != holder.tid && tasks.comm(other.tid) == Some(comm));
    if alike { tasks.label(holder.tid) } else { comm.to_string() }
}

/// Width of an mmap_lock's mode and duration, and of a call, in the list of holders.
const SINCE: usize = 9;
const CALL: usize = 16;

/// Returns a holder or waiter in a line: mode, since when, by which call, who, and where a fault is.
fn in_a_line(scene: &Scene<'_>, holder: &Holder, now: u64) -> String {
    let tasks = scene.engine.tasks();
    let since = duration(now.saturating_sub(holder.since));
    let mode = if holder.write { 'W' } else { 'R' };
    let call = holder.call.map_or_else(|| "unknown".into(), call_name);
    let process = tasks.tgid_of(holder.tid).filter(|tgid| *tgid != holder.tid);
    let process = process.map_or_else(String::new, |tgid| format!(" · {}", tasks.label(tgid)));
    let mut line = format!("  {mode} {since:>SINCE$}  {call:<CALL$}  {}{process}", tasks.label(holder.tid));
    if holder.vma != 0 {
        line.push_str(&format!("  VMA {:#x}", holder.vma));
    }
    let fault = scene.engine.model().filter(|_| holder.call == Some(Call::UserTrap)).and_then(|model| {
        let fault = model.open_fault(holder.tid)?;
        Some(model.mappings().text(model.mappings().label(fault.mm, fault.at)))
    });
    line.extend(fault.iter().flat_map(|mapping| ["  in ", mapping]));
    line
}

/// How a lock that somebody waits for can have no holder that was seen, in a few characters and in a sentence.
struct Unheld {
    short: &'static str,
    about: &'static str,
}

impl Unheld {
    /// `untouched`: no task was seen to acquire the lock or to release it. `waiting`: not empty.
    fn new(untouched: bool, waiting: &[Holder], now: u64) -> Self {
        /// A wait that has lasted so long is behind somebody, nanoseconds.
        const LONG_NS: u64 = 1_000_000;
        let longest = waiting.first().map_or(0, |oldest| now.saturating_sub(oldest.since));
        match (longest >= LONG_NS, untouched) {
            (false, _) => Self { short: "handed over", about: "nobody is seen to hold it: it is about to be acquired" },
            (true, true) => Self {
                short: "held since before the recording",
                about: "nobody was seen to acquire it: a task holds it since before the recording, and is known when it \
                        releases it, if it holds it for write",
            },
            (true, false) => Self {
                short: "between holders",
                about: "nobody is seen to hold it: the task that it was handed to waits for a CPU, or BPF programs do not \
                        see the events of its holder",
            },
        }
    }
}

/// Returns the tasks that hold and await an mmap_lock, in a few characters. `untouched` is as for [`Unheld`].
fn state_of(lock: &MmLock, held: &Now, untouched: bool, now: u64, tasks: &Tasks) -> String {
    let Now { holders, waiting } = held;
    let readers = holders.iter().filter(|h| !h.write).count();
    let writer = holders.iter().find(|h| h.write);
    let since = |h: &Holder| duration(now.saturating_sub(h.since));
    let who = |h: &Holder| name(h, &[holders, waiting], tasks);
    let held = match (writer, readers) {
        (Some(w), _) => format!("W {} {}", since(w), doing(w, &who)),
        (None, 0) if lock.doubt => "not known".to_owned(),
        (None, 0) if waiting.is_empty() => "free".to_owned(),
        (None, 0) => Unheld::new(untouched, waiting, now).short.to_owned(),
        (None, 1) => format!("R {} {}", since(&holders[0]), doing(&holders[0], &who)),
        (None, n) => format!("{n} R, oldest {} {}", since(&holders[0]), doing(&holders[0], &who)),
    };
    and_waiting(held, waiting, now, &who)
}

/// The same of the locks of VMAs.
fn vmas_now(vmas: &VmaLocks, now: u64, tasks: &Tasks) -> String {
    let since = |h: &Holder| duration(now.saturating_sub(h.since));
    let told = |letter: &str, held: &[Holder], what: &str| match held {
        [] => None,
        [one] => Some(format!("{letter} {} for {}", tasks.label(one.tid), since(one))),
        [oldest, ..] => Some(format!("{} {letter}{what} for {}", held.len(), since(oldest))),
    };
    let held: Vec<String> =
        [told("W", &vmas.writers, " VMAs"), told("R", &vmas.readers, "")].into_iter().flatten().collect();
    let who = |h: &Holder| name(h, &[&vmas.waiting], tasks);
    and_waiting(if held.is_empty() { "free".to_owned() } else { held.join(", ") }, &vmas.waiting, now, &who)
}

/// One mm: its mmap_lock, and below it the locks of its VMAs.
fn inside(scene: &Scene<'_>, mm: u64, lock: &MmLock, held: &Now, width: usize) -> Vec<Line<'static>> {
    let context = scene.engine.context();
    let now = scene.engine.span().map_or(0, |s| s.1);
    let names = scene.engine.tasks();
    let strong = |text: String| Line::from(scene.span(text, Tone::Strong));
    let distribution = |(name, d): (&str, &Durations)| {
        let at = |q: f64| if d.count() == 0 { "-".to_owned() } else { duration(d.quantile(q)) };
        let (p50, p90, p99, max) = (at(0.5), at(0.9), at(0.99), at(1.0));
        let n = grouped(d.count());
        Line::from(format!("  {name:<15} {n:>9}  p50 {p50:>7}  p90 {p90:>7}  p99 {p99:>7}  max {max:>7}"))
    };
    let longest = |longest: Option<(Holder, u64)>| {
        longest.map(|(holder, ns)| {
            let how = if holder.write { "for write" } else { "for read" };
            let of = if holder.vma == 0 { String::new() } else { format!(", VMA {:#x}", holder.vma) };
            let call = holder.call.map_or_else(String::new, |call| format!(" in {}", call_name(call)));
            Line::from(format!("  longest hold: {}{call} {how}, {}{of}", names.label(holder.tid), duration(ns)))
        })
    };
    let tasks = |title: &str, tasks: &[Holder]| {
        let who = |h: &Holder| Line::from(in_a_line(scene, h, now));
        if tasks.is_empty() {
            return vec![Line::from(vec![
                scene.span(format!("{title}: "), Tone::Strong),
                scene.span(if lock.doubt { "not known" } else { "nobody" }, Tone::Dim),
            ])];
        }
        [Line::from(scene.span(title.to_owned(), Tone::Strong))].into_iter().chain(tasks.iter().map(who)).collect()
    };
    let mut lines = vec![strong(format!("mmap_lock of process {}, mm {mm:#x}", names.label(lock.tgid)))];
    let ([holds_r, holds_w], [waits_r, waits_w]) = (lock.holds_measured(held), lock.waits_measured());
    let measured = [
        (("held for read", &lock.holds.read), holds_r, "holds"),
        (("held for write", &lock.holds.write), holds_w, "holds"),
        (("readers waited", &lock.read_wait), waits_r, "waits"),
        (("writers waited", &lock.write_wait), waits_w, "waits"),
    ];
    for (row, coverage, what) in measured {
        lines.push(distribution(row));
        let part = coverage.text(what).map(|text| format!("    {text}"));
        lines.extend(part.map(|text| Line::from(scene.span(text, Tone::Doubt))));
    }
    let refused = grouped(lock.failed);
    lines.push(Line::from(format!("  {:<15} {refused:>9}  trylocks that failed, waits that were killed", "refused")));
    lines.extend(longest(lock.holds.longest));
    let before = scene.engine.callers().into_iter().flat_map(|callers| callers.held_before());
    lines.extend(before.filter(|hold| hold.mm == mm).map(|hold| {
        let (who, least) = (names.label(hold.tid), duration(hold.at_least()));
        Line::from(format!("  held for write since before the recording: {who}, at least {least}; in no sum"))
    }));
    if lock.doubt {
        let text = "who holds it is known again from the next write acquisition on: events are missing";
        lines.extend(wrap(text, width.max(10)).into_iter().map(|line| Line::from(scene.span(line, Tone::Doubt))));
    }
    lines.extend(tasks("holds it now", &held.holders));
    if held.holders.is_empty() && !held.waiting.is_empty() && !lock.doubt {
        let untouched = scene.engine.model().is_some_and(|model| model.is_untouched(mm));
        let about = Unheld::new(untouched, &held.waiting, now).about;
        let wrapped = wrap(about, width.max(10) - 2).into_iter();
        lines.extend(wrapped.map(|line| Line::from(scene.span(format!("  {line}"), Tone::Doubt))));
    }
    lines.extend(tasks("waits for it", &held.waiting));
    if let Some(vmas) = &lock.vmas {
        lines.push(Line::default());
        lines.push(strong("VMA locks of this mm, together".to_owned()));
        if context.has(Kind::LockVmaUnderRcu) {
            lines.push(distribution(("held for read", &vmas.holds.read)));
        }
        if context.has(Kind::VmaStartWriteReturn) {
            lines.push(distribution(("held for write", &vmas.holds.write)));
            lines.push(distribution(("writers waited", &vmas.write_wait)));
        }
        if context.has(Kind::LockVmaUnderRcu) {
            let counts = format!(
                "lock_vma_under_rcu(): {} granted, {} refused; {} dropped on the way (RETRY, COMPLETED)",
                grouped(vmas.granted),
                grouped(vmas.refused),
                grouped(vmas.dropped)
            );
            lines.extend(wrap(&counts, width.max(10) - 2).into_iter().map(|line| Line::from(format!("  {line}"))));
        }
        if vmas.killed > 0 {
            lines.push(Line::from(format!("  writers killed while they waited: {}", grouped(vmas.killed))));
        }
        lines.extend(longest(vmas.holds.longest));
        if context.has(Kind::LockVmaUnderRcu) {
            lines.extend(tasks("handles a fault under one now", &vmas.readers));
        }
        if context.has(Kind::VmaStartWriteReturn) {
            lines.extend(tasks("locked for write now", &vmas.writers));
            lines.extend(tasks("waits to lock one for write", &vmas.waiting));
        }
    }
    if let Some(word) = unseen(context) {
        lines.push(Line::default());
        lines.extend(wrap(word, width.max(10)).into_iter().map(|line| Line::from(scene.span(line, Tone::Dim))));
    }
    lines
}
