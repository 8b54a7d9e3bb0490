//! Whom holds, waits and faults are charged to: callers, mappings, functions.

use super::{
    callers::Callers,
    functions::FunctionFaults,
    mappings::MappedFaults,
    open_calls::Via,
    recent_faults::{Like, RecentFaults, Rows, State},
};
use crate::{
    model::{
        effect::{Effect, Fault},
        mappings::{At, Mappings},
    },
    names::{Tasks, ThreadId},
};

/// The tables that effects are charged to.
#[derive(Clone, Debug)]
pub(crate) struct Charges {
    /// Holds, waits and faults by caller.
    pub(crate) callers: Callers,
    /// Faults by mapping; `None` if no event tells what is mapped, and in what is made of a checkpoint.
    pub(crate) mapped: Option<MappedFaults>,
    /// Faults by function; `None` likewise.
    pub(crate) functions: Option<FunctionFaults>,
    /// Where the last faults were counted in these tables.
    recent: RecentFaults,
}

impl Charges {
    /// Returns empty tables: those that the events of these mappings can fill.
    pub(crate) fn new(mappings: &Mappings) -> Self {
        let is_told = mappings.is_told();
        Self {
            callers: Callers::default(),
            mapped: is_told.then(MappedFaults::default),
            functions: is_told.then(FunctionFaults::default),
            recent: RecentFaults::default(),
        }
    }

    /// Returns a copy for a checkpoint, with at most `most` callers in each of their tables, and without the tables that only
    /// the closing report needs. These are large.
    pub(crate) fn trimmed(&self, most: usize) -> Self {
        let callers = self.callers.trimmed(most);
        Self { callers, mapped: None, functions: None, recent: RecentFaults::default() }
    }

    /// Forgets what was counted, but not what goes on.
    pub(crate) fn count_from_here(&mut self) {
        self.recent.clear();
        self.callers.count_from_here();
        if let Some(mapped) = &mut self.mapped {
            *mapped = MappedFaults::default();
        }
        if let Some(functions) = &mut self.functions {
            functions.count_from_here();
        }
    }

    /// Takes what an event came to. `via` is the call of it, and `names` says who did it.
    #[inline]
    pub(crate) fn apply(&mut self, effect: &Effect, via: Via, mappings: &Mappings, names: &mut Tasks) {
        for fault in effect.faults.iter().flatten() {
            let took = effect.took(fault);
            self.callers.timed(fault, took);
            self.fault(fault, took, mappings, names);
        }
        self.callers.apply(effect, via, names);
        if let Some(mapped) = &mut self.mapped {
            mapped.apply(effect, mappings, names);
        }
        if let Some(functions) = &mut self.functions {
            functions.apply(effect, mappings, names);
        }
    }

    /// Counts a fault whose kind is settled. `ns`: how long it took, if that was seen.
    pub(crate) fn fault(&mut self, fault: &Fault, ns: Option<u64>, mappings: &Mappings, names: &mut Tasks) {
        let thread = names.of_ids(fault.tid, fault.tgid);
        let like = Like::of(fault, thread);
        if like.is_some_and(|like| self.again(&like, fault, ns, mappings, names)) {
            return;
        }
        self.callers.fault(fault, thread, names);
        if let Some(mapped) = &mut self.mapped {
            mapped.fault(fault, thread, mappings, names);
        }
        if let Some(functions) = &mut self.functions {
            functions.fault(fault, ns, thread, mappings, names);
        }
        if let Some(like) = like
            && let Some((state, rows)) = self.places(fault, thread, mappings)
        {
            self.recent.put(like, state, rows);
        }
    }

    /// Counts a fault where one like it was counted. Returns whether that is known.
    #[inline]
    fn again(&mut self, like: &Like, fault: &Fault, ns: Option<u64>, mappings: &Mappings, names: &Tasks) -> bool {
        let (Some(mapped), Some(functions)) = (&mut self.mapped, &mut self.functions) else { return false };
        mapped.make_room(mappings, names);
        let Some(state) = state(mapped, functions, fault, mappings) else { return false };
        let (At::Mapping(found), Some(rows)) = (&fault.at, self.recent.get(like, &state)) else { return false };
        self.callers.fault_at(rows.caller, fault.cause);
        mapped.fault_at(rows.mapping, found, fault.cause, like.thread());
        functions.fault_at(rows.function, ns, like.thread());
        true
    }

    /// Returns where a fault was counted, and what that depends on; `None` if it has no row of its own in a table.
    fn places(&self, fault: &Fault, thread: ThreadId, mappings: &Mappings) -> Option<(State, Rows)> {
        let (Some(mapped), Some(functions), At::Mapping(found)) = (&self.mapped, &self.functions, &fault.at) else {
            return None;
        };
        let rows = Rows {
            caller: self.callers.fault_place(fault, thread)?,
            mapping: mapped.place(fault.mm, found)?,
            function: functions.place(fault, mappings)?,
        };
        Some((state(mapped, functions, fault, mappings)?, rows))
    }
}

/// What the places of a fault's rows depend on; `None` if nothing is known of the mappings of its mm.
#[inline]
fn state(mapped: &MappedFaults, functions: &FunctionFaults, fault: &Fault, mappings: &Mappings) -> Option<State> {
    let mappings = mappings.version(fault.mm)?;
    Some(State { mappings, mapped: mapped.moves(), functions: functions.moves() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mmtrace_common::{Kind, Record, View as _, event};
    use mmtrace_testing::random::Random;

    use super::*;
    use crate::{
        context::{Context, Kernel},
        model::Model,
        names::Comm,
        verdict::Sink,
    };

    /// A stream in which few tasks fault again and again in few mms, while what is mapped changes, and its names, and the
    /// programs and names of the tasks.
    struct Stream {
        random: Random,
        ts: u64,
    }

    impl Stream {
        fn next(&mut self) -> Record {
            const MMS: u64 = 3;
            const PRCTL: u32 = 157;
            self.ts += 1 + self.random.below(3_000);
            let random = &mut self.random;
            let tid = 10 + random.below(6) as u32;
            let tgid = 10 + (tid - 10) / 2 * 2;
            let mm = (1 + u64::from(tgid - 10) / 2 % MMS) << 12;
            let mut record = Record { ts: self.ts, tid, tgid, mm, ..Record::default() };
            let area = random.below(8) << 20;
            let (start, page) = (0x7f00_0000_0000 + area, random.below(16) << 12);
            let ip = 0x7f00_0000_0000 + (random.below(3) << 20) + 8 * random.below(3);
            let call = u32::from(mmtrace_common::Call::System(random.pick(&[0, 9, 157])).number());
            let ino = random.below(3);
            let (vma, vm_flags, dev, anonymous) = (random.number() | 1, random.pick(&[1, 3, 5]), ino as u32, ino == 0);
            let end = start + (random.below(32) << 12 | 0xfff);
            match random.below(1_000) {
                0..700 => {
                    let error_code = random.pick(&[4, 6, 7, 20]);
                    event::PageFaultUser { addr: start + page, ip, error_code, ..Default::default() }
                        .write(&mut record);
                }
                700..780 => {
                    event::PageFaultKernel { addr: start + page, ip, call, ..Default::default() }.write(&mut record);
                }
                780..900 => {
                    let vma = if random.below(4) == 0 { 0 } else { vma };
                    event::MaWrite { addr: start, end, vma, vm_flags, pgoff: 0, ino, dev, anonymous }
                        .write(&mut record);
                }
                900..910 => event::StartLocking { write: true, call: PRCTL }.write(&mut record),
                910..930 => {
                    let name = u64::from_ne_bytes(*b"[anon:a]") + random.below(2);
                    event::MappingName { addr: start, name, ..Default::default() }.write(&mut record);
                }
                930..950 => {
                    let since = self.ts - random.below(10_000);
                    let read = event::Mapping { addr: start, end, since, vm_flags, pgoff: 0, ino, dev, anonymous };
                    read.write(&mut record);
                }
                950..960 => {
                    let since = self.ts - random.below(10_000);
                    event::MapsRead { since, whole: random.below(2) == 0 }.write(&mut record);
                }
                960..970 => event::UserfaultfdSetCtx { vma, ctx: 1, vm_flags: 0x200 }.write(&mut record),
                970..980 => {
                    let mut bytes = *b"name-of-a-task\0\0";
                    bytes[0] += random.below(3) as u8;
                    let [comm, comm_tail] = Comm::new(bytes).words();
                    event::TaskRename { of_tid: tid.cast_signed(), comm, comm_tail }.write(&mut record);
                }
                980..985 => event::Exec { old_pid: tid.cast_signed() }.write(&mut record),
                985..990 => {
                    let (child_tid, child_pid) = (tid.cast_signed(), tgid.cast_signed());
                    event::Fork { child_pid, child_tid, cgroup_id: 0 }.write(&mut record);
                }
                990..995 => event::ExitMmap {}.write(&mut record),
                995..998 => event::Exit { group_dead: random.below(2) == 0 }.write(&mut record),
                _ => {
                    let lost_kind = random.pick(&[Kind::StartLocking, Kind::MaWrite, Kind::Fork]) as u64;
                    event::Loss { lost_kind, count: 1, until: self.ts }.write(&mut record);
                }
            }
            record
        }
    }

    /// Everything that the tables say.
    fn tables(charges: &Charges, mappings: &Mappings, names: &Tasks) -> [String; 3] {
        fn sorted<K: std::fmt::Debug, V: std::fmt::Debug>(rows: impl IntoIterator<Item = (K, V)>) -> String {
            let rows: BTreeMap<_, _> = rows.into_iter().map(|(key, value)| (format!("{key:?}"), value)).collect();
            format!("{rows:#?}")
        }
        [
            sorted(charges.callers.faults()),
            charges.mapped.as_ref().map_or_else(String::new, |mapped| sorted(mapped.rows(mappings, names))),
            charges.functions.as_ref().map_or_else(String::new, |functions| sorted(functions.rows(names))),
        ]
    }

    #[test]
    fn the_tables_are_those_that_searches_make() {
        let mut known = 0;
        for seed in 0..4 {
            let context = Context::with_every_probe(Kernel { release: "6.12.0".to_owned(), ..Kernel::default() });
            let (mut model, mut sink) = (Model::new(&context), Sink::new(&context));
            let mut quick = (Charges::new(model.mappings()), Tasks::new(&context));
            let mut plain = quick.clone();
            let mut stream = Stream { random: Random(seed), ts: 1 << 40 };
            for n in 0..30_000 {
                let record = stream.next();
                let effect = *model.apply(&record, &mut sink);
                for (charges, names) in [&mut quick, &mut plain] {
                    names.apply(&record);
                    charges.apply(&effect, Via::default(), model.mappings(), names);
                }
                plain.0.recent.clear();
                let (mapped, functions) = (quick.0.mapped.as_ref(), quick.0.functions.as_ref());
                for fault in effect.faults.iter().flatten() {
                    let like = Like::of(fault, quick.1.of_ids(fault.tid, fault.tgid));
                    let state = state(mapped.expect("told"), functions.expect("told"), fault, model.mappings());
                    known +=
                        like.zip(state).map_or(0, |(like, state)| quick.0.recent.get(&like, &state).iter().count());
                }
                match n % 5_000 {
                    // A copy is a checkpoint: it goes on by itself.
                    1_000 => quick = quick.clone(),
                    4_000 if seed % 2 == 1 => {
                        quick.0.count_from_here();
                        plain.0.count_from_here();
                    }
                    _ => {}
                }
                if n % 250 == 0 {
                    let [quick, plain] = [&quick, &plain].map(|(of, names)| tables(of, model.mappings(), names));
                    assert!(quick == plain, "seed {seed}, event {n}: {quick:?} instead of {plain:?}");
                }
            }
        }
        assert!(known > 10_000, "{known} faults were like others");
    }
}
