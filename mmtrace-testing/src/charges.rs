//! What waits are charged to, as sums that tests compare.

use std::collections::BTreeMap;

use mmtrace_model::{
    replay::Engine,
    report::{
        blame::{BlameKind, BlameRow, rows},
        callers::{By, Tables, Who},
    },
};

/// Somebody, by what does not depend on who else is in the row, and whether for write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Party {
    ids: (u32, u32),
    names: [Option<String>; 4],
    write: bool,
}

impl Party {
    fn new(who: Who, write: bool, by: By) -> Self {
        let Who { pid, tid, process, thread, call, cgroup, .. } = who;
        Self { ids: (pid, tid), names: [process, thread, call, cgroup.filter(|_| by == By::Cgroup)], write }
    }
}

/// The rows of blame.
pub fn blame(engine: &Engine, by: By) -> Vec<BlameRow> {
    rows(engine.callers().expect("it judges"), engine.tasks(), by, engine.context().start)
}

/// What the waits of each victim are charged in all, nanoseconds.
pub fn by_victim(engine: &Engine, by: By) -> BTreeMap<Party, u64> {
    let mut sums = BTreeMap::new();
    for part in blame(engine, by).into_iter().flat_map(|row| row.victims) {
        *sums.entry(Party::new(part.who, part.write, by)).or_default() += part.ns;
    }
    sums
}

/// The contended waits of each caller, nanoseconds.
pub fn contended(engine: &Engine, by: By) -> BTreeMap<Party, u64> {
    let tables = Tables::new(engine.callers().expect("it judges"), engine.tasks(), by, engine.context().start);
    let waits =
        tables.locks.into_iter().filter_map(|row| Some((Party::new(row.who, row.write, by), row.contended?.sum_ns)));
    waits.collect()
}

/// A victim and whether it waits for write, and what it is charged to: the kind, and the holder with its mode.
pub type Pair = (String, bool, BlameKind, Option<(String, bool)>);

/// What each victim's waits are charged of each kind and culprit, nanoseconds: by the names and ids of threads.
pub fn pairs(engine: &Engine) -> BTreeMap<Pair, u64> {
    let mut sums = BTreeMap::new();
    for row in blame(engine, By::Thread) {
        let culprit = row.who.as_ref().map(|who| (who.name(), row.write == Some(true)));
        for part in &row.victims {
            let key = (part.who.name(), part.write, row.kind, culprit.clone());
            *sums.entry(key).or_default() += part.ns;
        }
    }
    sums
}
