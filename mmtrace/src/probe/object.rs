//! Loading the eBPF object, attaching its programs, and taking them off again.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, OwnedFd},
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{HashMap, MapData, PerCpuArray, RingBuf},
    programs::{
        BtfTracePoint, FEntry, FExit, KProbe, Program, ProgramError, ProgramFd, RawTracePoint,
        perf_event::{PerfEvent, PerfEventConfig, PerfEventScope, SamplePolicy},
    },
};
use aya_log::EbpfLogger;
use mmtrace_common::{At, Column, Kind, LOST_KINDS, OffsetId, SPECS, STANDBY_OFFSETS, Source, Spec};
use mmtrace_model::context::{Form, ProbeState};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    casting::with_calls,
    filter::Filter,
    freezing, page_tables,
    plan::{Plan, Planned, offset_global, offset_name},
    standby::{self, MARKS_OF_CPU, Numbers, Standby},
    sys,
};
use crate::environment::Takes;

/// The compiled programs; `cargo xtask build-ebpf` makes them from `mmtrace-ebpf/`.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!("../../ebpf/mmtrace.bpf.o");

/// Rings that the object has; each CPU uses one.
const RINGS: usize = 16;

/// `aya_log_common::Level`: warnings and errors.
const LOG_WARN: u8 = 2;
/// `aya_log_common::Level`: everything the programs have to say.
const LOG_DEBUG: u8 = 4;

/// Kernel memory for all rings together, if the user does not say.
const RINGS_BYTES: u32 = 128 << 20;
/// And at most for one of them.
const RING_BYTES_MAX: u32 = 32 << 20;

/// Smallest ring buffer, for those that no CPU uses.
const UNUSED_RING_BYTES: u32 = 4096;

/// Reason why the programs could not be brought into the kernel.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObjectError {
    /// The kernel refused a map, or the object as a whole.
    #[error("the kernel refused to create mmtrace's BPF maps: {}; to see what stands in the way: mmtrace doctor", chain(.0))]
    Load(#[source] Box<aya::EbpfError>),
    /// A part that the loader relies on is not in the object: the two were built from different sources.
    #[error("the eBPF object lacks `{0}`, so it was not built for this mmtrace; rebuild it: cargo xtask build-ebpf")]
    Missing(String),
    /// A map did not take a value.
    #[error("{what}: {source}")]
    Map {
        /// The step that failed.
        what: &'static str,
        /// The kernel's error.
        source: aya::maps::MapError,
    },
    /// BTF could not be read in the form the loader needs.
    #[error("cannot read the kernel's type information (BTF): {0}")]
    Btf(#[from] aya::BtfError),
    /// mmtrace could not find out which mm is its own.
    #[error("cannot run the BPF program that tells mmtrace its own mm: {0}")]
    Own(String),
    /// A map stays open to writing.
    #[error(
        "the kernel refused to freeze mmtrace's BPF map {map} ({source}), so that who takes over the recorder could have \
         the programs read any memory; nothing was recorded; to see what stands in the way: mmtrace doctor"
    )]
    Freeze {
        /// Its name.
        map: String,
        /// The kernel's error.
        source: io::Error,
    },
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Programs in the kernel. Dropping it detaches them.
pub(crate) struct Object {
    ebpf: Ebpf,
    btf: Btf,
    rings: usize,
    standby: Standby,
    /// Number of standby programs by kind.
    numbers: Numbers,
    attached: Vec<Attached>,
    /// Events whose standby programs were refused.
    bare: Vec<&'static str>,
    /// The programs on page faults can walk page tables.
    walks: bool,
    /// Has the kernel measure programs. Closed last, when they are off.
    measuring: Option<OwnedFd>,
    /// Number of standby programs that are loaded and not attached.
    reserved: u64,
}

/// A program in the kernel.
pub(crate) struct Attached {
    /// The event that it writes.
    pub(crate) kind: Kind,
    /// For its counters.
    pub(crate) program: ProgramFd,
    /// Its standby programs.
    pub(crate) standby: Vec<ProgramFd>,
    /// A standby program that is loaded and not attached.
    pub(crate) reserve: Option<ProgramFd>,
    /// The object has standby programs for it.
    pub(crate) can_have_standby: bool,
}

/// The rings and counters of an [`Object`], for the reader of events.
pub(crate) struct Streams {
    /// Rings in use.
    pub(crate) rings: Vec<RingBuf<MapData>>,
    /// Records not delivered, by kind, per CPU.
    pub(crate) lost: PerCpuArray<MapData, Lost>,
    /// Events that standby programs took over, by kind, per CPU.
    pub(crate) taken_over: PerCpuArray<MapData, Lost>,
    /// The attached programs, for their counters.
    pub(crate) programs: Vec<Attached>,
}

/// Program that tells mmtrace its own mm. As the next one, it runs once and is unloaded: attached to an event, it would write
/// what the others take for addresses.
const OWN_MM: &str = "own_mm";
/// Program that finds out how page tables are walked.
const FIND_PAGE_TABLES: &str = "find_page_tables";

/// `BPF_NOEXIST` (include/uapi/linux/bpf.h)
const NO_EXIST: u64 = 1;

/// Value of the maps that count by kind.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct Lost(pub(crate) [u64; LOST_KINDS]);

// SAFETY: an array of integers: every bit pattern is a value, there is no padding.
unsafe impl aya::Pod for Lost {}

impl Object {
    /// Brings maps and programs in, sets their constants and tells them what is wanted.
    ///
    /// `ring_bytes` is the size of each ring in use: a power of two and at least a page;
    /// by default `RINGS_BYTES` are shared out.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub(crate) fn load(
        plan: &Plan,
        filter: &Filter,
        ring_bytes: Option<u32>,
        standby: Standby,
    ) -> Result<Self, ObjectError> {
        // If a task's stack cannot be told, no program can see what another one has done.
        let known = STANDBY_OFFSETS.iter().all(|wanted| plan.offsets.iter().any(|(id, _)| id == wanted));
        let standby = if known { standby } else { Standby::default() };
        let cpus = aya::util::nr_cpus().map_or(1, |n| n.max(1));
        let (rings, by_default) = rings(cpus);
        let ring_bytes = ring_bytes.unwrap_or(by_default);
        let mut loader = EbpfLoader::new();

        let ring_mask = rings as u32 - 1;
        let ring_names: Vec<String> = (0..RINGS).map(|i| format!("RING_{i}")).collect();
        for (i, name) in ring_names.iter().enumerate() {
            loader.map_max_entries(name, if i < rings { ring_bytes } else { UNUSED_RING_BYTES });
        }
        loader.override_global("RING_MASK", &ring_mask, true);
        let (possible, preemptible) = (u32::from(standby.any()), u32::from(standby.preempts_tracepoints));
        loader.override_global("STANDBY_POSSIBLE", &possible, true);
        loader.override_global("TRACEPOINTS_PREEMPTIBLE", &preemptible, true);
        let casting = plan.casting.filter(|casting| casting.works());
        let type_of_words = casting.map_or(0, |casting| casting.strukt);
        loader.override_global("TYPE_OF_WORDS", &type_of_words, true);
        let mark_bits = standby.mark_bits();
        loader.override_global("MARK_BITS", &mark_bits, true);
        loader.override_global("STACK_SIZE", &plan.stack_size, true);
        if standby.any() {
            loader.map_max_entries("MARKS", (1 << mark_bits) + MARKS_OF_CPU * cpus as u32);
        }
        // Messages below this level are not even formatted in the kernel.
        let log_level = if std::env::var_os("MMTRACE_LOG").is_some() { LOG_DEBUG } else { LOG_WARN };
        loader.override_global("AYA_LOG_LEVEL", &log_level, false);
        for (id, offset) in &plan.offsets {
            loader.override_global(offset_global(*id), offset, true);
        }
        let positions: Vec<(String, [u8; mmtrace_common::POSITIONS])> = plan
            .probes
            .iter()
            .filter(|p| !matches!(p.spec.site.at, At::SoftwareEvent { .. }))
            .filter_map(|p| Some((format!("POS_{}", p.spec.name.to_uppercase()), *p.positions.as_ref().ok()?)))
            .collect();
        for (name, table) in &positions {
            loader.override_global(name.as_str(), table, true);
        }
        let variables: Vec<(String, u64)> =
            plan.variables.iter().map(|(name, address)| (format!("ADDR_{}", name.to_uppercase()), *address)).collect();
        for (name, address) in &variables {
            loader.override_global(name.as_str(), address, true);
        }
        let bits = filter.bits();
        let comm = filter.comm_words();
        let (cgroup, level) = filter.cgroup.as_ref().map_or((0, 0), |c| (c.id, c.level));
        loader.override_global("FILTER", &bits, true);
        loader.override_global("FILTER_COMM", &comm, true);
        loader.override_global("FILTER_CGROUP", &cgroup, true);
        loader.override_global("FILTER_CGROUP_LEVEL", &level, true);

        let ebpf = loader.load(&with_calls(OBJECT, casting)).map_err(|e| ObjectError::Load(Box::new(e)))?;
        let mut object = Self {
            ebpf,
            btf: Btf::from_sys_fs()?,
            rings,
            standby,
            numbers: Numbers::default(),
            attached: Vec::new(),
            bare: Vec::new(),
            walks: false,
            measuring: None,
            reserved: 0,
        };
        object.learn_own_mm()?;
        object.find_page_tables(plan)?;
        // Only these programs write what the others take for addresses.
        freezing::freeze(&object.ebpf).map_err(|(map, source)| ObjectError::Freeze { map, source })?;
        for process in &filter.pids {
            object.want_pid(process.tgid)?;
        }
        Ok(object)
    }

    fn learn_own_mm(&mut self) -> Result<(), ObjectError> {
        let program = self.program::<RawTracePoint>(OWN_MM)?;
        program.load().map_err(|e| ObjectError::Own(explain(&e)))?;
        let fd = program.fd().map_err(|e| ObjectError::Own(e.to_string()))?.as_fd();
        let done = sys::run_once(fd).map(|_| ()).map_err(|e| ObjectError::Own(e.to_string()));
        self.withdraw(&[&OWN_MM.to_owned()]);
        done
    }

    /// Finds out how page tables are walked. Where nothing works, the programs do not walk, and say so.
    fn find_page_tables(&mut self, plan: &Plan) -> Result<(), ObjectError> {
        if !plan.offsets.iter().any(|(id, _)| *id == OffsetId::MmPgd) {
            return Ok(());
        }
        let program = self.program::<RawTracePoint>(FIND_PAGE_TABLES)?;
        program.load().map_err(|e| ObjectError::Own(explain(&e)))?;
        let fd = program.fd().map_err(|e| ObjectError::Own(e.to_string()))?.as_fd();
        // A kernel that does not run it is one whose page tables are not walked.
        self.walks = page_tables::find(|arguments| sys::run_once_with(fd, arguments)).unwrap_or(false);
        self.withdraw(&[&FIND_PAGE_TABLES.to_owned()]);
        Ok(())
    }

    /// Has the kernel measure the programs until they are off. To be called before any is attached.
    ///
    /// # Errors
    /// The kernel does not allow it.
    pub(crate) fn measure(&mut self) -> io::Result<()> {
        self.measuring = Some(sys::measure_programs()?);
        Ok(())
    }

    /// Number of standby programs in reserve, each of which takes one more file when it is attached.
    #[must_use]
    pub(crate) fn in_reserve(&self) -> u64 {
        self.reserved
    }

    /// Whether the kernel measures the programs at this object's request.
    #[must_use]
    pub(crate) const fn is_measured(&self) -> bool {
        self.measuring.is_some()
    }

    /// Adds a process to those wanted, by its id in the initial pid namespace; it counts from its next event on.
    ///
    /// # Errors
    /// The kernel did not take it.
    pub(crate) fn want_pid(&mut self, pid: u32) -> Result<(), ObjectError> {
        let what = "cannot add a process to the filter";
        self.wanted_pids()?.insert(pid, 0, 0).map_err(|source| ObjectError::Map { what, source })
    }

    /// Takes a process from those wanted; its children stay.
    ///
    /// # Errors
    /// The kernel did not take it.
    pub(crate) fn unwant_pid(&mut self, pid: u32) -> Result<(), ObjectError> {
        let what = "cannot remove a process from the filter";
        self.wanted_pids()?.remove(&pid).map_err(|source| ObjectError::Map { what, source })
    }

    /// The processes that are wanted now, by their ids in the initial pid namespace: those that were added and, by
    /// fork, their children. The programs take out which have ended, where the kernel says which thread is the last.
    ///
    /// # Errors
    /// The kernel did not tell.
    pub(crate) fn wanted(&mut self) -> Result<Vec<u32>, ObjectError> {
        let what = "cannot read the filter";
        self.wanted_pids()?.keys().collect::<Result<_, _>>().map_err(|source| ObjectError::Map { what, source })
    }

    /// Adds an mm to those wanted, or takes it from them.
    ///
    /// # Errors
    /// The kernel did not take it.
    pub(crate) fn want_mm(&mut self, mm: u64, wanted: bool) -> Result<(), ObjectError> {
        use aya::maps::MapError;
        let failed = |source| ObjectError::Map { what: "cannot change the filter", source };
        let map = self.ebpf.map_mut("WANTED_MMS").ok_or_else(|| ObjectError::Missing("WANTED_MMS".into()))?;
        let mut map: HashMap<_, u64, u8> = HashMap::try_from(map).map_err(failed)?;
        // The programs may have been faster with either; an entry of theirs says more.
        let done = if wanted { map.insert(mm, 0, NO_EXIST) } else { map.remove(&mm) };
        match done {
            Err(MapError::SyscallError(error))
                if matches!(error.io_error.raw_os_error(), Some(libc::EEXIST | libc::ENOENT)) =>
            {
                Ok(())
            }
            Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
            other => other.map_err(failed),
        }
    }

    fn wanted_pids(&mut self) -> Result<HashMap<&mut MapData, u32, u8>, ObjectError> {
        let map = self.ebpf.map_mut("WANTED_PIDS").ok_or_else(|| ObjectError::Missing("WANTED_PIDS".into()))?;
        HashMap::try_from(map).map_err(|source| ObjectError::Map { what: "cannot use the filter", source })
    }

    fn program<'a, T>(&'a mut self, name: &str) -> Result<&'a mut T, ObjectError>
    where
        &'a mut T: TryFrom<&'a mut Program>,
    {
        let program = self.ebpf.program_mut(name).ok_or_else(|| ObjectError::Missing(name.to_owned()))?;
        program.try_into().map_err(|_| ObjectError::Missing(format!("{name} of the right type")))
    }

    /// Attaches every planned probe in the best form that works, and says for each what became of it.
    ///
    /// # Errors
    /// Only when the object itself is wrong; a probe that the kernel refuses is in the answer.
    pub(crate) fn attach(&mut self, plan: &Plan) -> Result<Vec<ProbeState>, ObjectError> {
        self.bring_all(plan, Extent::Attach)
    }

    /// As [`Object::attach`], but the programs are only brought into the kernel, where they never run.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn verify(&mut self, plan: &Plan) -> Result<Vec<ProbeState>, ObjectError> {
        self.bring_all(plan, Extent::Load)
    }

    fn bring_all(&mut self, plan: &Plan, extent: Extent) -> Result<Vec<ProbeState>, ObjectError> {
        let mut states: Vec<ProbeState> = plan.probes.iter().map(Planned::state).collect();
        // Those that depend on others come last.
        for dependent in [false, true] {
            for (index, probe) in plan.probes.iter().enumerate() {
                if probe.spec.site.unless.is_empty() == dependent {
                    continue;
                }
                let attached = |kind: Kind| states.iter().any(|s| s.event == kind.name() && s.form.is_some());
                match probe.spared(attached).filter(|_| states[index].reason.is_none()) {
                    Some(reason) => states[index].reason = Some(reason),
                    None => states[index] = self.bring(probe, extent)?,
                }
            }
        }
        if extent == Extent::Attach {
            self.load_reserve(&states)?;
        }
        Ok(states)
    }

    /// Loads a standby program more for each program on a tracepoint that the kernel can skip. One that is refused is not in
    /// reserve, and that is all.
    fn load_reserve(&mut self, states: &[ProbeState]) -> Result<(), ObjectError> {
        for index in 0..self.attached.len() {
            let (kind, number) = (self.attached[index].kind, self.attached[index].standby.len() + 1);
            let is_typed = states.iter().any(|s| s.event == kind.name() && s.form == Some(Form::TpBtf));
            let name = standby_name(kind, number as u32);
            if is_typed && self.standby.is_reserved(kind) && self.ebpf.program(&name).is_some() {
                self.attached[index].reserve = self.put(&name, kind.name(), Form::TpBtf, Extent::Load)?.ok();
                self.reserved += u64::from(self.attached[index].reserve.is_some());
            }
        }
        Ok(())
    }

    /// Attaches the standby program of an event that is in reserve, behind those that are attached: it is the `number`th.
    ///
    /// # Errors
    /// The kernel refused, for this reason; nothing has changed then.
    pub(crate) fn attach_standby(&mut self, kind: Kind, number: u32) -> Result<(), String> {
        let refused = |error: &dyn std::error::Error| chain(error);
        // First the number: an event that has the standby program has a mark.
        self.numbers.set(&mut self.ebpf, kind, number).map_err(|e| refused(&e))?;
        let attached = self
            .program::<BtfTracePoint>(&standby_name(kind, number))
            .map_err(|e| refused(&e))
            .and_then(|program| program.attach().map(drop).map_err(|e| explain(&e)));
        if attached.is_err() {
            // That it was set before says that it can be set.
            let _ = self.numbers.set(&mut self.ebpf, kind, number - 1);
        }
        attached
    }

    /// Sets the number of standby programs that are attached behind an event's program.
    fn stand_by(&mut self, kind: Kind, number: usize) -> Result<(), ObjectError> {
        let what = "cannot set the number of standby programs";
        self.numbers.set(&mut self.ebpf, kind, number as u32).map_err(|source| ObjectError::Map { what, source })
    }

    fn bring(&mut self, probe: &Planned, extent: Extent) -> Result<ProbeState, ObjectError> {
        let spec = probe.spec;
        let mut state = probe.state();
        let walks = spec.fields.iter().any(|field| field.source == Source::Walk);
        if walks && !self.walks {
            state.absent.push(Column::Walk.name().to_owned());
        }
        if state.reason.is_some() {
            return Ok(state);
        }
        let mut refused: Vec<(Form, String)> = Vec::new();
        for form in Form::of(spec.site.at) {
            match self.try_form(spec, probe.symbol.unwrap_or(spec.name), *form, extent)? {
                Ok(()) => {
                    state.form = Some(*form);
                    break;
                }
                Err(why) => refused.push((*form, why)),
            }
        }
        // Several forms refused for one reason are said in one breath.
        let mut told: Vec<(String, String)> = Vec::new();
        for (form, why) in refused {
            match told.last_mut() {
                Some((names, reason)) if *reason == why => *names = format!("{names} and {}", form.name()),
                _ => told.push((form.name().to_owned(), why)),
            }
        }
        if !told.is_empty() {
            let told: Vec<String> = told.into_iter().map(|(names, why)| format!("{names} refused: {why}")).collect();
            state.reason = Some(told.join("; "));
        }
        if state.form.is_some() {
            state.reason = state.reason.into_iter().chain(probe.note()).reduce(|all, more| format!("{all}; {more}"));
        }
        Ok(state)
    }

    fn try_form(
        &mut self,
        spec: &Spec,
        place: &str,
        form: Form,
        extent: Extent,
    ) -> Result<Result<(), String>, ObjectError> {
        if matches!(form, Form::Kprobe | Form::Kretprobe) && !sys::has_kprobes() {
            return Ok(Err("this kernel has no kprobes (CONFIG_KPROBE_EVENTS)".to_owned()));
        }
        let name = if form == Form::RawTp { format!("{}_raw", spec.name) } else { spec.name.to_owned() };
        let standby: Vec<String> = match extent {
            Extent::Load => Vec::new(),
            Extent::Attach => (1..=self.standby.behind(form)).map(|n| standby_name(spec.kind, n)).collect(),
        };
        // An event that nobody can be preempted at has none.
        let standby: Vec<&String> = standby.iter().filter(|name| self.ebpf.program(name).is_some()).collect();
        // The kernel enters the programs of a tracepoint in the order in which they were attached, and those of a
        // trampoline in the reverse order (kernel/bpf/trampoline.c:__bpf_trampoline_link_prog).
        let first_last = matches!(form, Form::Fentry | Form::Fexit);
        let mut behind = Vec::new();
        self.stand_by(spec.kind, standby.len())?;
        if first_last {
            behind = self.put_all(standby.iter().rev(), place, form)?;
        }
        let program = match self.put(&name, place, form, extent)? {
            Ok(program) => program,
            Err(why) => {
                self.withdraw(&standby);
                self.stand_by(spec.kind, 0)?;
                return Ok(Err(why));
            }
        };
        if !first_last {
            behind = self.put_all(standby.iter(), place, form)?;
        }
        if behind.len() < standby.len() {
            // Some alone would not know what the others did: then rather none.
            self.bare.push(spec.name);
            self.withdraw(&standby);
            self.stand_by(spec.kind, 0)?;
            behind.clear();
        }
        let can_have_standby = matches!(form, Form::TpBtf | Form::Fentry | Form::Fexit)
            && self.ebpf.program(&standby_name(spec.kind, 1)).is_some();
        self.attached.push(Attached { kind: spec.kind, program, standby: behind, reserve: None, can_have_standby });
        Ok(Ok(()))
    }

    /// Attaches standby programs, up to the first that is refused.
    fn put_all<'a>(
        &mut self,
        names: impl Iterator<Item = &'a &'a String>,
        place: &str,
        form: Form,
    ) -> Result<Vec<ProgramFd>, ObjectError> {
        let mut programs = Vec::new();
        for name in names {
            match self.put(name, place, form, Extent::Attach)? {
                Ok(program) => programs.push(program),
                Err(_) => break,
            }
        }
        Ok(programs)
    }

    /// Takes programs out of the kernel again.
    fn withdraw(&mut self, names: &[&String]) {
        for name in names {
            // One that was never brought in cannot be taken out, and that is all that can go wrong.
            let _ = match self.ebpf.program_mut(name) {
                Some(Program::BtfTracePoint(program)) => program.unload(),
                Some(Program::RawTracePoint(program)) => program.unload(),
                Some(Program::FEntry(program)) => program.unload(),
                Some(Program::FExit(program)) => program.unload(),
                Some(Program::KProbe(program)) => program.unload(),
                _ => Ok(()),
            };
        }
    }

    /// Takes the programs of these events out of the kernel.
    pub(crate) fn detach_events(&mut self, kinds: &[Kind]) {
        for kind in kinds {
            let name = kind.name();
            let standby = (1..=standby::MOST).map(|n| standby_name(*kind, n));
            let names: Vec<String> = [name.to_owned(), format!("{name}_raw")].into_iter().chain(standby).collect();
            self.withdraw(&names.iter().collect::<Vec<_>>());
        }
    }

    /// Brings one program in.
    fn put(
        &mut self,
        name: &str,
        place: &str,
        form: Form,
        extent: Extent,
    ) -> Result<Result<ProgramFd, String>, ObjectError> {
        let Self { ebpf, btf, .. } = self;
        let program = ebpf.program_mut(name).ok_or_else(|| ObjectError::Missing(name.to_owned()))?;
        let wrong = || ObjectError::Missing(format!("{name} as {}", form.name()));
        macro_rules! bring {
            ($type:ty, ($($load:expr),*), ($($at:expr),*)) => {{
                let program: &mut $type = program.try_into().map_err(|_| wrong())?;
                program.load($($load),*).and_then(|()| {
                    if extent == Extent::Attach {
                        program.attach($($at),*)?;
                    }
                    program.fd()?.try_clone().map_err(ProgramError::IOError)
                })
            }};
        }
        let done = match form {
            Form::TpBtf => bring!(BtfTracePoint, (place, btf), ()),
            Form::RawTp => bring!(RawTracePoint, (), (place)),
            Form::Fentry => bring!(FEntry, (place, btf), ()),
            Form::Fexit => bring!(FExit, (place, btf), ()),
            Form::Kprobe | Form::Kretprobe => bring!(KProbe, (), (place, 0)),
            Form::PerfEvent => {
                let number = software_event(name).ok_or_else(wrong)?;
                let program: &mut PerfEvent = program.try_into().map_err(|_| wrong())?;
                program.load().and_then(|()| {
                    if extent == Extent::Attach {
                        on_every_cpu(program, number)?;
                    }
                    program.fd()?.try_clone().map_err(ProgramError::IOError)
                })
            }
        };
        Ok(done.map_err(|e| explain(&e)))
    }

    /// Events that should have standby programs and have none: what is skipped of them is missing.
    #[must_use]
    pub(crate) fn bare(&self) -> &[&'static str] {
        &self.bare
    }

    /// Hands out the maps and counters that events are read from.
    ///
    /// # Errors
    /// The object lacks one, or the kernel does not let it be mapped.
    pub(crate) fn streams(&mut self) -> Result<Streams, ObjectError> {
        let mut rings = Vec::with_capacity(self.rings);
        for i in 0..self.rings {
            let ring = RingBuf::try_from(self.take(&format!("RING_{i}"))?);
            rings.push(ring.map_err(|source| ObjectError::Map { what: "cannot map a ring buffer", source })?);
        }
        let lost = PerCpuArray::try_from(self.take("LOST")?)
            .map_err(|source| ObjectError::Map { what: "cannot use the loss counters", source })?;
        let taken_over = PerCpuArray::try_from(self.take("TAKEN_OVER")?)
            .map_err(|source| ObjectError::Map { what: "cannot use the standby programs' counters", source })?;
        Ok(Streams { rings, lost, taken_over, programs: std::mem::take(&mut self.attached) })
    }

    fn take(&mut self, name: &str) -> Result<aya::maps::Map, ObjectError> {
        self.ebpf.take_map(name).ok_or_else(|| ObjectError::Missing(name.to_owned()))
    }

    /// Shows what the programs log, which is diagnostics only, for as long as it is awaited.
    pub(crate) fn log(&mut self) -> impl Future<Output = ()> + use<> {
        let logger = EbpfLogger::init_with_logger(&mut self.ebpf, Stderr);
        async move {
            // Without a log there is nothing to show; recording does not depend on it.
            let Ok(logger) = logger else { return };
            // SAFETY: the logger owns its descriptor and is never asked to give it up.
            let Ok(mut logger) = (unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) }) else {
                return;
            };
            loop {
                let Ok(mut guard) = logger.readable_mut().await else { return };
                guard.get_inner_mut().flush();
                guard.clear_ready();
            }
        }
    }
}

/// Returns the name of the `number`th standby program of an event.
fn standby_name(kind: Kind, number: u32) -> String {
    format!("{}_standby_{number}", kind.name())
}

/// Returns the number of rings on so many CPUs, and the bytes of each by default.
fn rings(cpus: usize) -> (usize, u32) {
    let rings = cpus.next_power_of_two().min(RINGS);
    (rings, (RINGS_BYTES / rings as u32).min(RING_BYTES_MAX))
}

/// Returns what a recording of all events takes by default.
#[must_use]
pub fn takes() -> Takes {
    /// Files that a recording has open beside its programs, their links and its rings.
    const BESIDE: u64 = 96;
    let cpus = aya::util::nr_cpus().map_or(1, |n| n.max(1));
    let (rings, ring_bytes) = rings(cpus);
    let of_cpus = |spec: &&Spec| matches!(spec.site.at, At::SoftwareEvent { .. });
    let probed = SPECS.iter().filter(|spec| !spec.kind.is_synthetic());
    let on_cpus = probed.clone().filter(of_cpus).count() as u64;
    // A program and its link, and the same of each standby program.
    let programs = (probed.count() as u64 - on_cpus) * 2 * (1 + u64::from(standby::MOST));
    let files = programs + on_cpus * (1 + 2 * cpus as u64) + RINGS as u64 + BESIDE;
    Takes { files, rings: rings as u64, ring_bytes: ring_bytes.into() }
}

/// Returns the number of the software event of this name.
fn software_event(name: &str) -> Option<u8> {
    SPECS.iter().find(|spec| spec.name == name).and_then(|spec| match spec.site.at {
        At::SoftwareEvent { number } => Some(number),
        _ => None,
    })
}

/// Attaches a program to each occurrence of a software event, in every task on every CPU that is online.
fn on_every_cpu(program: &mut PerfEvent, number: u8) -> Result<(), ProgramError> {
    /// `PERF_TYPE_SOFTWARE` (include/uapi/linux/perf_event.h).
    const SOFTWARE: u32 = 1;
    let event = PerfEventConfig::Pmu { pmu_type: SOFTWARE, config: number.into() };
    for cpu in aya::util::online_cpus().map_err(|(_, error)| ProgramError::IOError(error))? {
        let scope = PerfEventScope::AllProcessesOneCpu { cpu };
        if let Err(error) = program.attach(event, scope, SamplePolicy::Period(1), false) {
            // The ends of faults on some CPUs are of no use. The first error says more than one of taking them off.
            let _ = program.unload();
            return Err(error);
        }
    }
    Ok(())
}

/// Point up to which a program is brought.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// Into the kernel, checked by its verifier.
    Load,
    /// Into the kernel, and attached to its event.
    Attach,
}

/// Logger that writes the programs' diagnostics to standard error.
struct Stderr;

impl log::Log for Stderr {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        crate::console::complain(format_args!("eBPF {}: {}", record.level().as_str().to_lowercase(), record.args()));
    }

    fn flush(&self) {}
}

/// Returns the kernel's answer without the whole log of the verifier.
fn explain(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            // The reason is the last line before the statistics.
            let statistics = ["processed ", "verification time ", "stack depth "];
            let last =
                log.lines().map(str::trim).rfind(|l| !l.is_empty() && !statistics.iter().any(|s| l.starts_with(s)));
            match last {
                Some(line) => format!("{io_error} ({line})"),
                None if io_error.kind() == io::ErrorKind::PermissionDenied => {
                    "a security policy forbids it, or a capability is missing (EPERM)".to_owned()
                }
                None => io_error.to_string(),
            }
        }
        other => chain(other),
    }
}

/// `struct.member` → bytes, for a capture's manifest.
#[must_use]
pub(crate) fn offsets(plan: &Plan) -> BTreeMap<String, u32> {
    plan.offsets.iter().map(|(id, offset)| (offset_name(*id), *offset)).collect()
}
