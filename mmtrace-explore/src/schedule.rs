//! One execution: which thread takes a step when. It can be printed, read back and run again.

use crate::protocol::{
    State, World,
    event::Event,
    kernel::{Broken, Log},
    layout::Tid,
};

use super::search::{Move, alone, stuck};

/// A step as it was run.
#[derive(Clone, Debug)]
pub struct Line {
    /// Who.
    pub tid: Tid,
    /// The kernel function that it stands in.
    pub function: &'static str,
    /// The line of code.
    pub text: String,
    /// What it read, decided and wrote.
    pub notes: Vec<String>,
    /// What each thread that holds anything holds after it.
    pub held: Vec<(Tid, Vec<String>)>,
    /// Events that the kernel would have emitted.
    pub events: Vec<Event>,
}

/// An execution.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Its steps.
    pub lines: Vec<Line>,
    /// What the last one broke.
    pub broken: Option<Broken>,
    /// The state after it.
    pub state: State,
}

/// Why a schedule cannot be run.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScheduleError {
    /// A word of it is none.
    #[error("\"{0}\" is no part of a schedule: it is a list of THREAD, THREAD*STEPS or THREAD/WAY")]
    Word(String),
    /// There is no such thread.
    #[error("there is no thread {0} here; there are {1}")]
    Thread(String, String),
    /// It is done, or waits.
    #[error("step {0}: {1} cannot take a step there")]
    Stuck(usize, &'static str),
}

/// A schedule as text: `K*3 U K/1`.
#[must_use]
pub fn print(world: &World, moves: &[Move]) -> String {
    let mut words: Vec<(Move, usize)> = Vec::new();
    for by in moves {
        match words.last_mut() {
            Some((last, n)) if last == by && by.choice == 0 => *n += 1,
            _ => words.push((*by, 1)),
        }
    }
    let word = |(by, n): &(Move, usize)| match (world.thread_name(by.tid), by.choice, n) {
        (name, 0, 1) => name.to_owned(),
        (name, 0, n) => format!("{name}*{n}"),
        (name, way, _) => format!("{name}/{way}"),
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Reads what [`print()`] wrote.
///
/// # Errors
///
/// A word that is none, or a thread that is not there.
pub fn parse(world: &World, text: &str) -> Result<Vec<Move>, ScheduleError> {
    let mut moves = Vec::new();
    for word in text.split_whitespace() {
        let bad = || ScheduleError::Word(word.to_owned());
        let (name, way, n) = match (word.split_once('*'), word.split_once('/')) {
            (Some((name, n)), None) => (name, 0, n.parse().map_err(|_| bad())?),
            (None, Some((name, way))) => (name, way.parse().map_err(|_| bad())?, 1),
            (None, None) => (word, 0, 1),
            _ => return Err(bad()),
        };
        let tid = (0..world.threads() as Tid).find(|t| world.thread_name(*t).eq_ignore_ascii_case(name));
        let names = || (0..world.threads() as Tid).map(|t| world.thread_name(t)).collect::<Vec<_>>().join(", ");
        let tid = tid.ok_or_else(|| ScheduleError::Thread(name.to_owned(), names()))?;
        if n > 10_000 {
            return Err(bad());
        }
        moves.extend(std::iter::repeat_n(Move { tid, choice: way }, n));
    }
    Ok(moves)
}

/// Runs a schedule.
///
/// # Errors
///
/// A step that cannot be taken.
pub fn run(world: &World, moves: &[Move]) -> Result<Execution, ScheduleError> {
    let mut state = *world.initial();
    let mut lines = Vec::new();
    let mut broken = None;
    for (number, by) in moves.iter().enumerate() {
        let stuck = || ScheduleError::Stuck(number + 1, world.thread_name(by.tid));
        let (function, text) = world.next_step(&state, by.tid).ok_or_else(stuck)?;
        if by.choice >= world.choices(&state, by.tid) {
            return Err(stuck());
        }
        let (function, text, before) = (function, text.to_owned(), state);
        let mut log = Log::default();
        let outcome = world.step(&mut state, by.tid, by.choice, Some(&mut log));
        if outcome.blocked {
            return Err(stuck());
        }
        let held = (0..world.threads() as Tid).map(|t| (t, world.held_by(&state, t))).filter(|(_, h)| !h.is_empty());
        let held = held.collect();
        lines.push(Line { tid: by.tid, function, text, notes: log.notes, held, events: log.events });
        broken = outcome.broken.or_else(|| alone(world, &before, &state, by.tid));
        if broken.is_some() {
            break;
        }
    }
    if broken.is_none() && enabled(world, &state).next().is_none() {
        broken = stuck(world, &state);
    }
    Ok(Execution { lines, broken, state })
}

/// Moves that are possible.
pub fn enabled<'a>(world: &'a World, state: &'a State) -> impl Iterator<Item = Move> + 'a {
    (0..world.threads() as Tid)
        .flat_map(|tid| (0..world.choices(state, tid)).map(move |choice| Move { tid, choice }))
        .filter(|by| {
            let mut next = *state;
            !world.step(&mut next, by.tid, by.choice, None).blocked
        })
}
