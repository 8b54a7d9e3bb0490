//! Who held and awaited mmap_locks, by which call, and behind whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
};

use mmtrace_common::Kind;
use mmtrace_model::{
    report::{
        callers::{By, Held, LockRow, Tables, Times, Who},
        duration, grouped, wrap,
    },
    stats::callers::Callers,
};
use ratatui::{Frame, layout::Rect, text::Line};

use super::{
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

/// Width of the last column at least.
const BEHIND: u16 = 26;
/// From this width on, there is room for all that the last column says.
const WIDE: u16 = 160;

/// The columns.
pub(crate) const COLUMNS: &[Column] = &[
    left("thread", 18),
    right("threads", 7),
    left("process", 23),
    left("call", 18),
    right("held", 7),
    right("holds", 9),
    right("hold p99", 8),
    right("longest hold", 12),
    right("waited", 7),
    right("waits", 9),
    right("wait p99", 8),
    right("longest wait", 12),
    rest("behind", BEHIND),
];

/// Draws the view.
pub(crate) fn draw(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>, state: &State) -> Drawn {
    if !scene.engine.context().has(Kind::AcquireReturned) {
        return note(frame, area, scene, "mmap_lock: not observable here, its tracepoints are not recorded", state);
    }
    let mut tables = tables(scene);
    let sum = |times: &Option<Times>| times.map_or(0, |times| times.sum_ns);
    tables.locks.sort_by_key(|row| std::cmp::Reverse(sum(&row.held).saturating_add(sum(&row.contended))));
    let how = state.current();
    if let Some(row) = how.inside.and_then(|key| tables.locks.iter().find(|row| key_of(row) == key)) {
        return text(frame, [(area, inside(scene, row, usize::from(area.width)))], state);
    }
    let partial = scene
        .engine
        .callers()
        .is_some_and(Callers::is_partial)
        .then(|| "after a jump: rare callers count from there on".to_owned());
    let whole = tables.holds_seen().text("holds");
    let said = [partial, whole].into_iter().flatten().collect::<Vec<_>>().join("; ");
    let area = above_note(frame, area, scene, Some(said.as_str()).filter(|said| !said.is_empty()));
    let alike = Alike::of(&tables);
    let room = if area.width < WIDE { BEHIND.into() } else { usize::MAX };
    let rows = tables.locks.iter().map(|row| Row { key: key_of(row), cells: cells(row, &alike, room) }).collect();
    listing::draw(frame, area, scene, COLUMNS, rows, how)
}

/// The tables of what is shown; empty if nothing is judged.
pub(super) fn tables(scene: &Scene<'_>) -> Tables {
    let start = scene.engine.span().map_or(0, |span| span.0);
    let tables = |callers| Tables::new(callers, scene.engine.tasks(), By::Caller, start);
    scene.engine.callers().map_or_else(Tables::default, tables)
}

/// Names that threads of several rows have: they need their ids as well.
#[derive(Debug, Default)]
pub(super) struct Alike<'a>(BTreeSet<&'a str>);

impl<'a> Alike<'a> {
    /// Looks through the rows and whom they waited behind.
    pub(super) fn of(tables: &'a Tables) -> Self {
        let behind = tables.locks.iter().flat_map(|row| &row.behind).map(|behind| &behind.who);
        let mut threads: BTreeMap<&str, BTreeSet<(u32, u32)>> = BTreeMap::new();
        for who in tables.locks.iter().map(|row| &row.who).chain(behind) {
            threads.entry(who.thread.as_deref().unwrap_or_default()).or_default().insert((who.pid, who.tid));
        }
        Self(threads.into_iter().filter(|(_, ids)| ids.len() > 1).map(|(name, _)| name).collect())
    }

    /// The thread's name, with its id or the number of threads where the name is not its own; without a name its id.
    fn thread(&self, who: &Who) -> String {
        match &who.thread {
            None => format!("task {}", who.tid),
            Some(name) if who.threads > 1 => format!("{name} ×{}", grouped(who.threads.into())),
            Some(name) if self.0.contains(name.as_str()) && who.tid != 0 => format!("{name} {}", who.tid),
            Some(name) => name.clone(),
        }
    }

    /// The thread and its call: `jit-protector: mprotect W`.
    pub(super) fn short(&self, row: &LockRow) -> String {
        self.doing(&row.who, row.mode())
    }

    fn doing(&self, who: &Who, held: Held) -> String {
        doing_within(&self.thread(who), who.call.as_deref(), held, usize::MAX)
    }

    /// Returns the holder that most of a row's waiting was behind, and the share that no hold explains where that is more:
    /// `87% jit-protector: mprotect W`, `18% jit-protector: mprotect W; 69% no hold seen`. Nothing if it did not wait.
    pub(super) fn behind(&self, row: &LockRow) -> Option<String> {
        self.behind_within(row, usize::MAX)
    }

    /// The same in so many characters, if it can be. Where both shares have no room, the larger one is said.
    fn behind_within(&self, row: &LockRow, room: usize) -> Option<String> {
        let all = row.contended?.sum_ns.max(1);
        let share = |ns: u64| format!("{}%", (100.0 * ns as f64 / all as f64).round());
        let first = row.behind.first();
        let holder = first.map(|first| {
            let share = share(first.ns);
            let room = room.saturating_sub(share.len() + 1);
            format!("{share} {}", doing_within(&self.thread(&first.who), first.who.call.as_deref(), first.held(), room))
        });
        // A hand-over, a wait for a CPU, or a hold that was not seen.
        let nobody = Some(row.behind_nobody_ns()).filter(|nobody| *nobody > first.map_or(0, |first| first.ns));
        let nobody = nobody.map(|nobody| format!("{} no hold seen", share(nobody)));
        let said: Vec<String> = holder.into_iter().chain(nobody).collect();
        let both = said.join("; ");
        let said = if both.chars().count() > room { said.last().cloned().unwrap_or(both) } else { both };
        (!said.is_empty()).then_some(said)
    }
}

/// Key of a row, which stays the same while its figures change.
fn key_of(row: &LockRow) -> u64 {
    // Of another process with this name as well, if there are so many.
    let who = (row.who.pid, row.who.tid, &row.who.thread, &row.who.process, &row.who.call, row.write);
    BuildHasherDefault::<DefaultHasher>::default().hash_one(who)
}

fn cells(row: &LockRow, alike: &Alike<'_>, room: usize) -> Vec<Cell> {
    let count = |times: Option<Times>| Cell::number(times.map_or(0, |times| times.count));
    let sum = |times: Option<Times>| Cell::duration(times.map_or(0, |times| times.sum_ns));
    let p99 = |times: Option<Times>| Cell::duration(times.and_then(|times| times.p99_ns).unwrap_or(0));
    let longest = |times: Option<Times>| Cell::duration(times.map_or(0, |times| times.longest_ns));
    vec![
        Cell::text(alike.thread(&row.who)),
        Cell::number(row.who.threads.into()),
        Cell::text(process(&row.who)),
        Cell::text(call(&row.who, row.mode())),
        sum(row.held),
        count(row.held),
        p99(row.held),
        longest(row.held),
        sum(row.contended),
        count(row.contended),
        p99(row.contended),
        longest(row.contended),
        Cell::text(alike.behind_within(row, room).unwrap_or_default()),
    ]
}

/// The process with its id, or the number of processes.
fn process(who: &Who) -> String {
    let name = who.process.as_deref().unwrap_or_default();
    match (who.processes, who.pid) {
        (Some(processes), _) => format!("{name} ({} processes)", grouped(processes.into())),
        (None, 0) => name.to_owned(),
        (None, pid) => format!("{name} {pid}"),
    }
}

/// Returns a thread and its call in so many characters, if it can be: the name is shortened, or the call is left out.
fn doing_within(name: &str, call: Option<&str>, held: Held, room: usize) -> String {
    /// So much of a name tells threads apart.
    const NAME_MIN: usize = 6;
    let since = if held == Held::WriteBefore { " since before" } else { "" };
    let call_text = call.map_or_else(String::new, |call| format!(": {call}"));
    let rest = format!("{call_text} {}{since}", letter(held));
    let [name_length, rest_length] = [name, &rest].map(|text| text.chars().count());
    if name_length + rest_length <= room {
        return format!("{name}{rest}");
    }
    let kept = room.saturating_sub(rest_length + 1);
    if kept >= NAME_MIN {
        return format!("{}…{rest}", name.chars().take(kept).collect::<String>());
    }
    format!("{name} {}{since}", letter(held))
}

/// The letter of a mode.
const fn letter(held: Held) -> char {
    match held {
        Held::Read => 'R',
        Held::Write | Held::WriteBefore => 'W',
        Held::Downgraded => 'D',
    }
}

/// The call and the mode by a letter: `mprotect W`; `unknown W` if the events do not say which call.
fn call(who: &Who, held: Held) -> String {
    format!("{} {}", who.call.as_deref().unwrap_or("unknown"), letter(held))
}

/// One caller.
fn inside(scene: &Scene<'_>, row: &LockRow, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut say = |text: &str, tone: Tone, indent: usize| {
        let room = width.saturating_sub(indent).max(10);
        let wrapped = wrap(text, room).into_iter();
        lines.extend(wrapped.map(|line| Line::from(scene.span(format!("{:indent$}{line}", ""), tone))));
    };
    say(&row.who.caller(Some(row.mode())), Tone::Strong, 0);
    for (what, times) in [("held", row.held), ("waited", row.contended)] {
        let Some(times) = times else {
            say(&format!("{what}: never seen whole"), Tone::Dim, 2);
            continue;
        };
        let p99 = times.p99_ns.map_or_else(String::new, |p99| format!(", p99 {}", duration(p99)));
        let (sum, longest) = (duration(times.sum_ns), duration(times.longest_ns));
        let at = times.longest_at_ns as f64 / 1e9;
        let count = grouped(times.count);
        let tid = times.longest_tid;
        say(&format!("{what} {sum} in {count} times{p99}"), Tone::Plain, 2);
        say(&format!("longest {longest}, at {at:.3} s, by task {tid}"), Tone::Plain, 4);
    }
    let (acquired, refused) = (grouped(row.acquired), grouped(row.refused));
    say(&format!("acquired {acquired} times, refused {refused} times"), Tone::Plain, 2);
    let behind = row.behind_text(usize::MAX);
    if !behind.is_empty() {
        say("its waits", Tone::Strong, 0);
    }
    behind.iter().for_each(|text| say(text, Tone::Plain, 2));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_shortened_and_its_call_stays() {
        for (room, expected) in [
            (usize::MAX, "jit-protector: mprotect W"),
            (25, "jit-protector: mprotect W"),
            (22, "jit-prote…: mprotect W"),
            (16, "jit-protector W"),
        ] {
            assert_eq!(doing_within("jit-protector", Some("mprotect"), Held::Write, room), expected, "{room}");
        }
        assert_eq!(doing_within("loader", None, Held::WriteBefore, 4), "loader W since before");
    }
}
