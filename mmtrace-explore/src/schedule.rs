//! A schedule: the thread that takes each step. It can be printed, read back and run again, which gives an execution.

use super::search::{alone, stuck};
use crate::system::{Broken, Log, Move, Protocol, State, System, Tid};

/// A step of an execution.
#[derive(Clone, Debug)]
pub struct Line<E> {
    /// The thread.
    pub tid: Tid,
    /// The function that it stands in; empty outside of any.
    pub function: &'static str,
    /// The line of code.
    pub text: String,
    /// Its remarks about what it read, decided and wrote.
    pub notes: Vec<String>,
    /// The locks and sections that each thread holds after it; threads that hold nothing are left out.
    pub held: Vec<(Tid, Vec<String>)>,
    /// Events that the real system would have emitted.
    pub events: Vec<E>,
}

/// A schedule that was run.
#[derive(Clone, Debug)]
pub struct Execution<E> {
    /// The steps.
    pub lines: Vec<Line<E>>,
    /// The violation that the last step caused.
    pub broken: Option<Broken>,
    /// The state after the last step.
    pub state: State,
}

/// The reason why a schedule cannot be run.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScheduleError {
    /// A word is no part of a schedule.
    #[error("\"{0}\" is no part of a schedule: it is a list of THREAD, THREAD*STEPS or THREAD/WAY")]
    Word(String),
    /// There is no such thread.
    #[error("there is no thread {0} here; there are {1}")]
    Thread(String, String),
    /// A thread is done or waits, or its step has no such way.
    #[error("step {0}: {1} cannot take a step there")]
    Stuck(usize, &'static str),
}

/// Returns a schedule as text: `K*3 U K/1` is three steps of K, one of U, and the second way of K's next step.
#[must_use]
pub fn print<P: Protocol>(system: &System<P>, moves: &[Move]) -> String {
    let mut words: Vec<(Move, usize)> = Vec::new();
    for by in moves {
        match words.last_mut() {
            Some((last, n)) if last == by && by.choice == 0 => *n += 1,
            _ => words.push((*by, 1)),
        }
    }
    let word = |(by, n): &(Move, usize)| match (system.thread_name(by.tid), by.choice, n) {
        (name, 0, 1) => name.to_owned(),
        (name, 0, n) => format!("{name}*{n}"),
        (name, way, _) => format!("{name}/{way}"),
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Reads a schedule that [`print()`] wrote.
///
/// # Errors
///
/// [`ScheduleError::Word`], [`ScheduleError::Thread`].
pub fn parse<P: Protocol>(system: &System<P>, text: &str) -> Result<Vec<Move>, ScheduleError> {
    let mut moves = Vec::new();
    for word in text.split_whitespace() {
        let bad = || ScheduleError::Word(word.to_owned());
        let (name, way, n) = match (word.split_once('*'), word.split_once('/')) {
            (Some((name, n)), None) => (name, 0, n.parse().map_err(|_| bad())?),
            (None, Some((name, way))) => (name, way.parse().map_err(|_| bad())?, 1),
            (None, None) => (word, 0, 1),
            _ => return Err(bad()),
        };
        let tid = (0..system.threads() as Tid).find(|t| system.thread_name(*t).eq_ignore_ascii_case(name));
        let names = || (0..system.threads() as Tid).map(|t| system.thread_name(t)).collect::<Vec<_>>().join(", ");
        let tid = tid.ok_or_else(|| ScheduleError::Thread(name.to_owned(), names()))?;
        if n > 10_000 {
            return Err(bad());
        }
        moves.extend(std::iter::repeat_n(Move { tid, choice: way }, n));
    }
    Ok(moves)
}

/// Runs a schedule, until a step breaks a property.
///
/// # Errors
///
/// [`ScheduleError::Stuck`].
pub fn run<P: Protocol>(system: &System<P>, moves: &[Move]) -> Result<Execution<P::Event>, ScheduleError> {
    let mut state = *system.initial();
    let mut lines = Vec::new();
    let mut broken = system.check_initial();
    for (number, by) in moves.iter().enumerate() {
        let stuck = || ScheduleError::Stuck(number + 1, system.thread_name(by.tid));
        let (function, text) = system.next_step(&state, by.tid).ok_or_else(stuck)?;
        if by.choice >= system.choices(&state, by.tid) {
            return Err(stuck());
        }
        let (function, text, before) = (function, text.to_owned(), state);
        let mut log = Log::default();
        let outcome = system.step(&mut state, by.tid, by.choice, Some(&mut log));
        if outcome.blocked {
            return Err(stuck());
        }
        let held = (0..system.threads() as Tid)
            .map(|t| (t, system.protocol.held_by(&state, t)))
            .filter(|(_, h)| !h.is_empty());
        let held = held.collect();
        lines.push(Line { tid: by.tid, function, text, notes: log.notes, held, events: log.events });
        broken = outcome.broken.or_else(|| alone(system, &before, &state, by.tid));
        if broken.is_some() {
            break;
        }
    }
    if broken.is_none() && enabled(system, &state).next().is_none() {
        broken = stuck(system, &state);
    }
    Ok(Execution { lines, broken, state })
}

/// Lists the moves that are possible in a state.
pub fn enabled<'a, P: Protocol>(system: &'a System<P>, state: &'a State) -> impl Iterator<Item = Move> + 'a {
    (0..system.threads() as Tid)
        .flat_map(|tid| (0..system.choices(state, tid)).map(move |choice| Move { tid, choice }))
        .filter(|by| {
            let mut next = *state;
            !system.step(&mut next, by.tid, by.choice, None).blocked
        })
}
