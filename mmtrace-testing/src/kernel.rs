//! Streams of events that a sound kernel makes, made up: for what the captures do not have.

pub use crate::random::Random;
use mmtrace_common::{Column, Kind, Record, spec};
use mmtrace_model::context::{Context, Form, Kernel, ProbeState};

/// The first mm; others follow a page apart.
pub const MM: u64 = 0xffff_8880_1000_0000;
/// The first VMA; it and the next are of the first mm.
pub const VMA: u64 = 0xffff_8880_2000_0000;
/// Start of the first VMA; each VMA is [`LENGTH`] bytes long.
pub const START: u64 = 0x7f00_0000_0000;
pub const LENGTH: u64 = 0x20_0000;

/// A task of another process, which does nothing to the first mm: what runs on top of it may.
pub const OTHER: u32 = 50;

pub const ALLOW_RETRY: u64 = 4;
pub const NOWAIT: u64 = 8;
pub const TRIED: u64 = 0x20;
pub const USER: u64 = 0x40;
pub const VMA_LOCK: u64 = 0x1000;
pub const RETRY: u64 = 0x400;
pub const COMPLETED: u64 = 0x4000;
/// Of a fault in user mode.
pub const TRAP: u64 = USER | ALLOW_RETRY;

/// Every probe attached.
pub fn context() -> Context {
    Context::with_every_probe(Kernel {
        release: "7.2.0-made".to_owned(),
        machine: "x86_64".to_owned(),
        cpus: 6,
        ..Kernel::default()
    })
}

/// The same without some of the probes.
pub fn without(kinds: &[Kind]) -> Context {
    let mut context = context();
    for probe in &mut context.probes {
        let gone = kinds.iter().any(|k| k.name() == probe.event);
        *probe = ProbeState { form: (!gone).then_some(Form::Fentry), ..probe.clone() };
    }
    context
}

/// A stream, event by event.
#[derive(Clone, Default)]
pub struct Made {
    pub records: Vec<Record>,
    pub now: u64,
    /// Time between two events, nanoseconds.
    pub step: u64,
}

impl Made {
    pub fn new() -> Self {
        Self { records: Vec::new(), now: 1_000_000_000, step: 10_000 }
    }

    /// Tasks 1 to 4 are known, and nobody holds the first mm's lock.
    pub fn begun() -> Self {
        let mut made = Self::new();
        for tid in 1..=4 {
            made.user(tid, START);
        }
        made.write_lock(1);
        made.unlock(1, true);
        made
    }

    pub fn at(&mut self, tid: u32, kind: Kind, mm: u64, values: &[(Column, u64)]) -> &mut Self {
        self.now += self.step;
        let mut record =
            Record { ts: self.now, mm, tgid: 1, tid, kind: kind as u16, cpu: tid as u16 % 4, ..Record::default() };
        for (column, value) in values {
            let field = spec(kind).fields.iter().find(|f| f.column == *column);
            field.unwrap_or_else(|| panic!("{} has no {}", kind.name(), column.name())).set(&mut record, *value);
        }
        self.records.push(record);
        self
    }

    /// About the first mm.
    pub fn say(&mut self, tid: u32, kind: Kind, values: &[(Column, u64)]) -> &mut Self {
        self.at(tid, kind, MM, values)
    }

    pub fn user(&mut self, tid: u32, addr: u64) -> &mut Self {
        self.say(tid, Kind::PageFaultUser, &[(Column::Addr, addr)])
    }

    pub fn lock(&mut self, tid: u32, write: bool) -> &mut Self {
        let write = (Column::Write, u64::from(write));
        self.say(tid, Kind::StartLocking, &[write]).say(tid, Kind::AcquireReturned, &[write, (Column::Success, 1)])
    }

    pub fn write_lock(&mut self, tid: u32) -> &mut Self {
        self.lock(tid, true)
    }

    pub fn unlock(&mut self, tid: u32, write: bool) -> &mut Self {
        self.say(tid, Kind::Released, &[(Column::Write, u64::from(write))])
    }

    /// `lock_vma_under_rcu()` returns the first VMA.
    pub fn grant(&mut self, tid: u32) -> &mut Self {
        self.grant_of(tid, VMA, START)
    }

    pub fn grant_of(&mut self, tid: u32, vma: u64, addr: u64) -> &mut Self {
        let (start, end) = if vma == 0 { (0, 0) } else { (START, START + LENGTH) };
        let values = [
            (Column::Addr, addr),
            (Column::Vma, vma),
            (Column::VmaStart, start),
            (Column::VmaEnd, end),
            (Column::SameMm, u64::from(vma != 0)),
        ];
        self.say(tid, Kind::LockVmaUnderRcu, &values)
    }

    pub fn fault(&mut self, tid: u32, flags: u64) -> &mut Self {
        let values = [
            (Column::Vma, VMA),
            (Column::Addr, START),
            (Column::FaultFlags, flags),
            (Column::InTrap, u64::from(flags & USER != 0)),
        ];
        self.say(tid, Kind::HandleMmFault, &values)
    }

    pub fn done(&mut self, tid: u32, result: u64) -> &mut Self {
        let values = [(Column::Vma, VMA), (Column::Addr, START), (Column::FaultResult, result)];
        self.say(tid, Kind::HandleMmFaultReturn, &values)
    }

    /// A whole fault under the VMA's lock.
    pub fn fast(&mut self, tid: u32) -> &mut Self {
        self.user(tid, START).grant(tid).fault(tid, TRAP | VMA_LOCK).done(tid, 0)
    }

    pub fn vma_write(&mut self, tid: u32) -> &mut Self {
        self.say(tid, Kind::VmaStartWrite, &[(Column::Vma, VMA)]).vma_written(tid)
    }

    pub fn vma_written(&mut self, tid: u32) -> &mut Self {
        self.say(tid, Kind::VmaStartWriteReturn, &[(Column::Vma, VMA)])
    }

    pub fn free_vma(&mut self, tid: u32) -> &mut Self {
        self.say(tid, Kind::VmAreaFree, &[(Column::Vma, VMA)])
    }

    pub fn wait(&mut self, tid: u32) -> &mut Self {
        self.say(tid, Kind::MigrationEntryWait, &[(Column::Addr, START)])
    }

    pub fn waited(&mut self, tid: u32) -> &mut Self {
        self.say(tid, Kind::MigrationEntryWaitReturn, &[(Column::Addr, START)])
    }

    pub fn retract(&mut self, tid: u32) -> &mut Self {
        self.at(tid, Kind::RetractPageTables, 0, &[(Column::Mapping, 0x1000)])
    }

    pub fn retracted(&mut self, tid: u32) -> &mut Self {
        self.at(tid, Kind::RetractPageTablesReturn, 0, &[(Column::Mapping, 0x1000)])
    }

    /// `pmdp_collapse_flush()` on the first VMA.
    pub fn flush(&mut self, tid: u32, vm_flags: u64) -> &mut Self {
        let values = [(Column::Vma, VMA), (Column::Addr, START), (Column::VmFlags, vm_flags)];
        self.say(tid, Kind::PmdpCollapseFlush, &values)
    }

    pub fn register(&mut self, tid: u32, vm_flags: u64) -> &mut Self {
        let ctx = u64::from(vm_flags != 0);
        self.say(tid, Kind::UserfaultfdSetCtx, &[(Column::Vma, VMA), (Column::Ctx, ctx), (Column::VmFlags, vm_flags)])
    }

    /// Says that events of a kind are missing since the last event.
    pub fn lose(&mut self, told: Kind, of: Kind, count: u64) -> &mut Self {
        let values = [(Column::LostKind, of as u64), (Column::Count, count), (Column::Until, self.now + 4_000)];
        let mut record = Record { ts: self.now, kind: told as u16, ..Record::default() };
        for (column, value) in values {
            let field = spec(told).fields.iter().find(|f| f.column == column).expect("a field of it");
            field.set(&mut record, value);
        }
        self.records.push(record);
        self
    }

    /// Some time passes.
    pub fn later(&mut self, ns: u64) -> &mut Self {
        self.now += ns;
        self
    }
}
