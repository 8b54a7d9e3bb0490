//! Mappings: the file, heap, stack or other memory that an address belongs to.
//!
//! Facts come from three events. `ma_write` says what is stored into the current task's VMA tree. `mapping` records say
//! what /proc/PID/maps has shown of an mm that had mappings before the recording, or before a loss. `file_name` and
//! `file_path` say what files are called, `function_name` which functions are in them. A fork copies what is known of the parent; exit_mmap ends it.
//!
//! A reading of /proc/PID/maps takes time. Its records come into the stream once every event is handed out that happened
//! before its end, and each says when the reading began: what was stored later than that stays as it is.
//!
//! The name of anonymous memory is the one that was read last, and is used as long as no task has since taken the
//! mmap_lock for write in prctl(), which is how `PR_SET_VMA_ANON_NAME` changes it without an event. A mapping that was
//! stored by another call after the reading has no name until the next one. Where the kernel can be asked for the mapping of
//! one address (`PROCMAP_QUERY`, 6.11), names are read that way: the text has a line for each mapping of the mm.

mod address_map;
mod files;
mod functions;
mod label;
mod mapping;

use std::sync::Arc;

use mmtrace_common::{Call, Column, Event as E, Kind, Record, View as _, event, spec, unknown::SPACE};

use super::clock_skew::EPSILON_NS;
use crate::{
    context::Context,
    kernel_version::KernelVersion,
    recent_map::RecentMap,
    texts::{self, Assembly, Names, Words, parts},
};
use address_map::AddressMap;
use files::Files;
use functions::Functions;
use mapping::{Doing, backing, base, file_of, stored};

pub use crate::texts::NameId;
pub use address_map::{At, Found};
pub use files::{FileId, path_records};
pub use functions::{FUNCTION_NAME_MAX, Function, build_id_record, function_records};
pub use label::{Label, Of};
pub use mapping::{Backing, Mapping, MappingId, VM_GROWSDOWN, VM_SHARED};

/// mms that are followed.
const MMS_MAX: usize = 1 << 14;
/// Ranges that are followed, over all mms: about 30 MiB.
const PIECES_MAX: usize = 1 << 18;
/// Tasks whose last acquisition for write is known.
const WRITERS_MAX: usize = 1 << 14;
/// mms whose mappings are to be read at a time.
const ASKED_MAX: usize = 64;
/// Single mappings of an mm that are to be read in [`AGAIN_NS`]. Of more, all mappings are read.
const ONES_MAX: usize = 64;
/// Time until the mappings of an mm are asked for again, nanoseconds. It doubles each time, but not for single ones.
const AGAIN_NS: u64 = 500_000_000;
/// Upper limit of that time, nanoseconds.
const AGAIN_MAX_NS: u64 = 64_000_000_000;
/// Records of mappings that a segment of a flight recorder begins with.
const REPEATED_MAX: usize = 1 << 16;

/// The name of the heap in /proc/PID/maps.
const HEAP: &[u8] = b"[heap]";

/// One mm.
#[derive(Clone, Debug, Default)]
struct Mm {
    map: AddressMap,
    /// Number of the last change of its mappings or of their names, over all mms.
    version: u64,
    /// Names of anonymous memory may have changed up to this time, nanoseconds.
    renamed: u64,
    /// Its mappings are not asked for before this time, nanoseconds.
    ask_after: u64,
    /// Time from the last request for them to `ask_after`, nanoseconds.
    waited: u64,
    /// First addresses of the mappings that were asked for one by one, until that time, nanoseconds.
    ones: (Vec<u64>, u64),
}

/// A mapping that is to be read again: its name may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedMapping {
    /// A process that runs on the mm.
    pub tgid: u32,
    /// The mm, as a kernel pointer.
    pub mm: u64,
    /// An address in the mapping.
    pub addr: u64,
}

/// The last acquisition of an mmap_lock for write that a task began.
#[derive(Clone, Debug)]
struct Writer {
    mm: u64,
    doing: Doing,
    /// Mappings of the mm when a fork was about to release the lock: those of the child.
    copied: Option<(AddressMap, u64)>,
}

/// What an event may have changed of the mappings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Changed {
    /// Nothing.
    #[default]
    Nothing,
    /// The addresses `[start, end]` of an mm. `read`: a reading of /proc/PID/maps has shown them that began then.
    Range { mm: u64, start: u64, end: u64, read: Option<u64> },
    /// All of an mm.
    Mm { mm: u64 },
    /// All of an mm, since the reading of /proc/PID/maps is over.
    Read { mm: u64 },
    /// An mm has ended.
    Ended { mm: u64 },
    /// Everything is forgotten; what has been stored since is there.
    All,
}

/// The mappings of all mms of a stream, as of the last event.
#[derive(Clone, Debug, Default)]
pub struct Mappings {
    mms: RecentMap<u64, Mm>,
    /// The mm that ended last, which figures may still ask about.
    ended: Option<(u64, Mm)>,
    writers: RecentMap<u32, Writer>,
    files: Files,
    /// What functions are called, which a copy shares until one of the two learns of another one.
    functions: Arc<Functions>,
    names: Names,
    paths: Assembly<(u32, u64)>,
    name_parts: Assembly<(u64, u64)>,
    /// The name of the next `mapping` record: of which mm and address.
    next_name: Option<(u64, u64, NameId)>,
    /// Mapping that the last fault's address belongs to.
    faulted: At,
    /// Ranges over all mms; sometimes too many, never too few.
    pieces: usize,
    /// The number of the next mapping.
    next_id: u64,
    /// The number of the last change of any mm.
    versions: u64,
    /// Nothing is learned from events up to this time, because some before it are missing.
    blind_until: u64,
    asked: Vec<(u32, u64)>,
    asked_ones: Vec<AskedMapping>,
    changed: Changed,
    /// `ma_write` is recorded, and tells what it stores.
    is_told: bool,
    /// Acquisitions of mmap_locks are recorded, so that it is seen when names may change.
    sees_locks: bool,
    /// Acquisitions of mmap_locks tell the call.
    sees_calls: bool,
    /// The kernel can be asked for single mappings.
    has_query: bool,
}

impl Mappings {
    /// Knows nothing yet, and never will if the events of `context` do not tell.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        let told = [Column::VmFlags, Column::Ino, Column::Dev, Column::Anonymous];
        Self {
            is_told: told.iter().all(|column| context.carries(Kind::MaWrite, *column)),
            sees_locks: context.has(Kind::StartLocking),
            sees_calls: context.carries(Kind::StartLocking, Column::Call),
            has_query: context.kernel.series().is_some_and(KernelVersion::has_mapping_queries),
            ..Self::default()
        }
    }

    /// Whether the events tell what addresses belong to.
    #[must_use]
    pub const fn is_told(&self) -> bool {
        self.is_told
    }

    /// Learns from an event.
    #[inline]
    pub fn apply(&mut self, record: &Record) {
        if !self.is_told {
            return;
        }
        // Of these there are very many: nothing else of them is read.
        match record.kind() {
            Some(Kind::PageFaultUser) => {
                let event::PageFaultUser { addr, ip, .. } = event::PageFaultUser::of(record);
                self.fault(addr, Some(ip), record);
            }
            Some(Kind::PageFaultKernel) => self.fault(event::PageFaultKernel::of(record).addr, None, record),
            Some(Kind::StartLocking) => {
                let event::StartLocking { write, call, .. } = event::StartLocking::of(record);
                if write {
                    self.locks(Call::of_number(call.into()), record);
                }
            }
            Some(Kind::Released) => {
                if event::Released::of(record).write {
                    self.releases(record);
                }
            }
            Some(Kind::AcquireReturned) | None => {}
            Some(_) => self.learn(record),
        }
    }

    /// Learns from an event of another kind.
    fn learn(&mut self, record: &Record) {
        match E::of(record) {
            Some(E::Fork(_)) => self.forks(record),
            Some(E::MaWrite(e)) => self.stores(&e, record),
            Some(E::UserfaultfdSetCtx(e)) => {
                if let Some(mm) = self.mms.get_mut(record.mm) {
                    mm.map.register(e.vma, e.vm_flags);
                    self.versions += 1;
                    mm.version = self.versions;
                }
            }
            Some(E::ExitMmap(_)) => self.ends(record.mm),
            Some(E::FileName(e)) => {
                let words = [e.name, e.name_2, e.name_3, e.name_4, e.name_5];
                self.files.has_base((e.dev, e.ino), &texts::bytes(words));
            }
            Some(E::FilePath(e)) => {
                let (of, words) = ((e.dev, e.ino), [e.name, e.name_2, e.name_3, e.name_4, e.name_5]);
                if let Some(path) = self.paths.take(of, e.part, words) {
                    self.files.has_path(of, &path);
                }
            }
            Some(E::MappingName(e)) => {
                let (of, words) = ((record.mm, e.addr), [e.name, e.name_2, e.name_3, e.name_4, e.name_5]);
                if let Some(name) = self.name_parts.take(of, e.part, words) {
                    self.next_name = self.names.number(&name).map(|name| (record.mm, e.addr, name));
                }
            }
            Some(E::FunctionName(e)) => {
                let file = self.files.number((e.dev, e.ino));
                Arc::make_mut(&mut self.functions).named(file, &e);
            }
            Some(E::BuildId(e)) => {
                let file = self.files.number((e.dev, e.ino));
                Arc::make_mut(&mut self.functions).built(file, &e);
            }
            Some(E::Mapping(e)) => self.read(&e, record),
            Some(E::MapsRead(e)) => self.was_read(&e, record),
            Some(E::Loss(_) | E::Missed(_) | E::Gap(_) | E::Foreign(_)) => self.lost(record),
            _ => {}
        }
    }

    /// Returns what the address of the last fault belongs to.
    #[must_use]
    pub const fn faulted(&self) -> &At {
        &self.faulted
    }

    /// Returns a number that stays the same as long as [`Self::at`] and [`Self::label`] give the same answers about an mm;
    /// `None` if it is not followed.
    #[inline]
    pub(crate) fn version(&self, mm: u64) -> Option<u64> {
        self.mms.get(mm).map(|mm| mm.version)
    }

    /// Returns what an address of an mm belongs to.
    #[must_use]
    pub(crate) fn at(&self, mm: u64, addr: u64) -> At {
        self.mm(mm).map_or(At::Unknown, |mm| mm.map.at(addr))
    }

    /// Returns the next mapping above an address if it is a stack, which may grow down to it.
    pub(in crate::model) fn stack_above(&self, mm: u64, addr: u64) -> Option<At> {
        let above = self.mm(mm).and_then(|mm| mm.map.above(addr))?;
        (above.mapping.backing == Backing::Stack).then_some(At::Mapping(above))
    }

    /// Whether it is not known what kind of memory lies behind a mapping: /proc/PID/maps shows files of tmpfs and hugetlbfs
    /// like those of other file systems without a block device.
    pub(in crate::model) fn is_doubtful(&self, mapping: &Mapping) -> bool {
        matches!(mapping.backing, Backing::File(file) if mapping.vma == 0 && self.files.device(file) >> 20 == 0)
    }

    /// Returns the first mapping in `[start, end]`, and the number of ranges there.
    #[must_use]
    pub fn within(&self, mm: u64, start: u64, end: u64) -> Option<(Found, usize)> {
        self.mm(mm)?.map.within(start, end)
    }

    /// Returns how the mapping behind an address is to be called.
    #[must_use]
    pub fn label(&self, mm: u64, at: At) -> Label {
        match at {
            At::Unknown => Label::of(Of::Unknown),
            At::Outside => Label::of(Of::Outside),
            At::Mapping(found) => Label::of_mapping(&found.mapping, self.name(mm, &found.mapping)),
        }
    }

    /// Returns a label in words. They are fit for a terminal and for JSON.
    #[must_use]
    pub fn text(&self, label: Label) -> String {
        label.text(&self.files, &self.names)
    }

    /// Returns what tells a mapped file from others of its name: `inode 77 on device 8:1`; `None` for what is no file's.
    #[must_use]
    pub(crate) fn inode_text(&self, label: Label) -> Option<String> {
        let Of::File(file) = label.of else { return None };
        let (dev, ino) = self.files.identity(file);
        (ino != 0).then(|| format!("inode {ino} on device {}:{}", dev >> 20, dev & 0xf_ffff))
    }

    /// Returns the function at an offset of a file, bytes, if its name is known.
    #[must_use]
    pub(crate) fn function(&self, file: FileId, offset: u64) -> Option<Function<'_>> {
        self.functions.at(file, offset)
    }

    /// Returns every function that has a name, by file and place in it.
    #[must_use]
    pub fn functions(&self) -> Vec<(FileId, Function<'_>)> {
        self.functions.all()
    }

    /// Returns the build id of a file; nothing if it is not known.
    #[must_use]
    pub(crate) fn build_id(&self, file: FileId) -> &[u8] {
        self.functions.build_id(file)
    }

    /// Whether an event has named a function, or said of a file which build it is.
    #[must_use]
    pub fn has_functions(&self) -> bool {
        !self.functions.is_empty()
    }

    /// Returns the path of a file, as /proc/PID/maps had it; nothing if it is not known.
    #[must_use]
    pub fn file_path(&self, file: FileId) -> &[u8] {
        self.files.path(file)
    }

    /// Returns device and inode of a file.
    #[must_use]
    pub fn file_identity(&self, file: FileId) -> (u32, u64) {
        self.files.identity(file)
    }

    /// Takes the mms whose mappings are to be read, each with a process that runs on it.
    pub(crate) fn asked(&mut self) -> Vec<(u32, u64)> {
        std::mem::take(&mut self.asked)
    }

    /// Takes the single mappings that are to be read again.
    pub fn asked_ones(&mut self) -> Vec<AskedMapping> {
        std::mem::take(&mut self.asked_ones)
    }

    /// Returns what is known as records of the time `ts`, as if all had been read just then; of very many mappings, not
    /// all.
    #[must_use]
    pub fn records(&self, ts: u64) -> Vec<Record> {
        if !self.is_told {
            return Vec::new();
        }
        let mut records: Vec<Record> = self.files.records(ts).collect();
        records.extend(self.functions.records(&self.files, ts));
        let room = records.len() + REPEATED_MAX;
        let mut mms: Vec<(&u64, &Mm)> = self.mms.iter().filter(|(_, mm)| mm.map.len() > 0).collect();
        mms.sort_unstable_by_key(|(mm, _)| **mm);
        for (mm, known) in mms {
            if records.len() + known.map.len() > room {
                continue;
            }
            for (start, end, mapping) in known.map.iter() {
                let name = match mapping.backing {
                    Backing::Heap => Some(HEAP),
                    _ => self.name(*mm, mapping).map(|name| self.names.name(name)),
                };
                records.extend(name.map(|name| name_records(*mm, start, name, ts)).into_iter().flatten());
                let file = if let Backing::File(file) = mapping.backing { Some(file) } else { None };
                let (dev, ino) = file.map_or((0, 0), |file| self.files.identity(file));
                let anonymous = matches!(mapping.backing, Backing::Anonymous | Backing::Heap | Backing::Stack);
                let Mapping { vm_flags, .. } = *mapping;
                let pgoff = mapping.offset(start) >> 12;
                let read = event::Mapping { addr: start, end, since: ts, vm_flags, pgoff, ino, dev, anonymous };
                records.push(record(*mm, ts, |record| read.write(record)));
            }
            let whole = known.map.is_whole();
            records.push(record(*mm, ts, |record| event::MapsRead { since: ts, whole }.write(record)));
        }
        records
    }

    /// Takes what has changed since it was last taken: by one event, if it is taken after each.
    pub(crate) fn changed(&mut self) -> Changed {
        std::mem::take(&mut self.changed)
    }

    /// Returns the ranges within `[start, end]` of an mm, cut to that: first and last address, the mapping, and
    /// [`Found::only_read`].
    pub(crate) fn between(&self, mm: u64, start: u64, end: u64) -> Vec<(u64, u64, Mapping, Option<u64>)> {
        let found = self.mms.get(mm).into_iter().flat_map(|mm| mm.map.between(start, end));
        found.map(|found| (found.start, found.end, found.mapping, found.only_read())).collect()
    }

    /// Returns how many ranges are known of an mm.
    pub(crate) fn ranges(&self, mm: u64) -> usize {
        self.mms.get(mm).map_or(0, |mm| mm.map.len())
    }

    /// Returns the mms that are known.
    pub(crate) fn mms(&self) -> Vec<u64> {
        self.mms.keys().copied().collect()
    }

    /// Returns how a mapping of an mm is to be called.
    pub(crate) fn label_of(&self, mm: u64, mapping: &Mapping) -> Label {
        Label::of_mapping(mapping, self.name(mm, mapping))
    }

    fn changes(&mut self, changed: Changed) {
        if self.changed != Changed::All {
            self.changed = changed;
        }
    }

    fn mm(&self, mm: u64) -> Option<&Mm> {
        self.mms.get(mm).or_else(|| self.ended.as_ref().filter(|(ended, _)| *ended == mm).map(|(_, mm)| mm))
    }

    /// The name of a mapping that is no file's, if it is still that.
    fn name(&self, mm: u64, mapping: &Mapping) -> Option<NameId> {
        let (name, read) = mapping.name?;
        let is_current = || {
            let renamed = self.mm(mm).map_or(0, |mm| mm.renamed);
            self.sees_locks && read > renamed.saturating_add(EPSILON_NS)
        };
        // The kernel gives special mappings their names for good.
        (mapping.backing == Backing::Special || is_current()).then_some(name)
    }

    /// A fault at an address. `ip`: the instruction, in user mode.
    fn fault(&mut self, addr: u64, ip: Option<u64>, record: &Record) {
        self.faulted = At::Unknown;
        if addr >> 63 != 0 || record.mm == 0 || record.ts <= self.blind_until {
            return;
        }
        let Some(mm) = self.mms.get_mut(record.mm) else {
            self.ask(record);
            return;
        };
        self.faulted = mm.map.find(addr);
        // What was mapped before the recording may be code alone.
        let is_strange = ip.is_some_and(|ip| ip != 0 && !mm.map.finds(ip));
        let renamed = mm.renamed;
        let may_have_name = |found: &Found| {
            renamed > 0
                && found.mapping.backing == Backing::Anonymous
                && !found.was_read_after(renamed.saturating_add(EPSILON_NS))
        };
        let asks = match &self.faulted {
            At::Unknown => true,
            At::Outside => false,
            At::Mapping(found) if may_have_name(found) => {
                let start = found.start;
                !self.ask_one(addr, start, record)
            }
            At::Mapping(_) => false,
        };
        if asks || is_strange {
            self.ask(record);
        }
    }

    #[cold]
    fn ask(&mut self, record: &Record) {
        if self.asked.len() >= ASKED_MAX {
            return;
        }
        let Some(mm) = self.mm_mut(record.mm) else { return };
        if record.ts >= mm.ask_after && mm.map.can_be_read() {
            mm.waited = (mm.waited * 2).clamp(AGAIN_NS, AGAIN_MAX_NS);
            mm.ask_after = record.ts.saturating_add(mm.waited);
            self.asked.push((record.tgid, record.mm));
        }
    }

    /// Asks for the mapping of an address, which begins at `start`. Returns whether it will be read, or was asked for just
    /// now.
    #[cold]
    fn ask_one(&mut self, addr: u64, start: u64, record: &Record) -> bool {
        let Some(mm) = self.mms.get_mut(record.mm).filter(|_| self.has_query) else { return false };
        let (ones, until) = &mut mm.ones;
        if record.ts >= *until {
            ones.clear();
            *until = record.ts.saturating_add(AGAIN_NS);
        }
        if ones.contains(&start) {
            return true;
        }
        if ones.len() >= ONES_MAX {
            return false;
        }
        if self.asked_ones.len() < ASKED_MAX {
            ones.push(start);
            self.asked_ones.push(AskedMapping { tgid: record.tgid, mm: record.mm, addr });
        }
        true
    }

    fn mm_mut(&mut self, mm: u64) -> Option<&mut Mm> {
        if mm == 0 {
            return None;
        }
        if self.mms.len() >= MMS_MAX && !self.mms.contains_key(mm) {
            self.forget();
        }
        self.versions += 1;
        let version = self.versions;
        Some(self.mms.or_insert_with(mm, || Mm { version, ..Mm::default() }))
    }

    fn forget(&mut self) {
        self.changes(Changed::All);
        self.mms.clear();
        self.pieces = 0;
    }

    /// Works on an mm's mappings within the memory that all of them may use.
    fn with_map(&mut self, mm: u64, work: impl FnOnce(&mut AddressMap)) {
        self.versions += 1;
        let version = self.versions;
        let Some(of) = self.mm_mut(mm) else { return };
        of.version = version;
        let before = of.map.len();
        work(&mut of.map);
        let after = of.map.len();
        self.pieces = (self.pieces + after).saturating_sub(before);
        if self.pieces > PIECES_MAX {
            self.forget();
        }
    }

    fn id(&mut self) -> MappingId {
        self.next_id += 1;
        MappingId(self.next_id)
    }

    /// A task begins to acquire an mmap_lock for write.
    fn locks(&mut self, call: Call, record: &Record) {
        let doing = if self.sees_calls { Doing::of(call) } else { Doing::Other };
        if (doing == Doing::Names || !self.sees_calls)
            && let Some(mm) = self.mms.get_mut(record.mm)
        {
            mm.renamed = mm.renamed.max(record.ts);
            self.versions += 1;
            mm.version = self.versions;
        }
        if self.writers.len() >= WRITERS_MAX && !self.writers.contains_key(record.tid) {
            self.writers.clear();
        }
        let before = self.writers.insert(record.tid, Writer { mm: record.mm, doing, copied: None });
        // A fork locks the parent's mm and then the child's, and copies the one to the other while it holds both
        // (kernel/fork.c, from 7.0 mm/mmap.c: dup_mmap).
        if let Some(parent) = before.filter(|before| before.doing == Doing::Forks && doing == Doing::Forks)
            && parent.mm != record.mm
        {
            let copied = self.mms.get(parent.mm).map(|parent| (parent.map.clone(), parent.renamed));
            self.becomes(record.mm, copied);
        }
    }

    /// A task is about to release an mmap_lock that it held for write. A filter does not know a child's mm before the
    /// child is born, so a fork may show the lock of the parent's mm alone.
    fn releases(&mut self, record: &Record) {
        let Some(writer) = self.writers.get_mut(record.tid) else { return };
        if writer.doing == Doing::Forks && writer.mm == record.mm {
            writer.copied = self.mms.get(record.mm).map(|parent| (parent.map.clone(), parent.renamed));
        }
    }

    /// A child is born; a thread shares the mm of its parent.
    fn forks(&mut self, record: &Record) {
        if let Some(writer) = self.writers.get_mut(record.tid)
            && writer.doing == Doing::Forks
            && writer.mm != record.mm
        {
            let copied = writer.copied.take();
            self.becomes(record.mm, copied);
        }
    }

    /// An mm has the mappings of another one.
    fn becomes(&mut self, mm: u64, copied: Option<(AddressMap, u64)>) {
        let Some((map, renamed)) = copied else { return };
        self.changes(Changed::Mm { mm });
        self.with_map(mm, |to| *to = map);
        if let Some(mm) = self.mms.get_mut(mm) {
            mm.renamed = renamed;
        }
    }

    /// A VMA is stored, or (vma 0) an empty range.
    fn stores(&mut self, event: &event::MaWrite, record: &Record) {
        if record.ts <= self.blind_until {
            return;
        }
        let doing = self.writers.get(record.tid).filter(|writer| writer.mm == record.mm);
        let doing = doing.map_or(Doing::Other, |writer| writer.doing);
        let mapping = (event.vma != 0).then(|| {
            let file = file_of(event.dev, event.ino).map(|file| self.files.number(file));
            Mapping { id: self.id(), ..stored(event, file) }
        });
        let (mm, start, end) = (record.mm, event.addr, event.end);
        self.changes(Changed::Range { mm, start, end, read: None });
        self.with_map(record.mm, |map| map.store(event.addr, event.end, mapping, doing, record.ts));
    }

    /// /proc/PID/maps has shown a mapping.
    fn read(&mut self, event: &event::Mapping, record: &Record) {
        let name = self.next_name.take().filter(|(mm, addr, _)| (*mm, *addr) == (record.mm, event.addr));
        let name = name.map(|(.., name)| name);
        if event.since <= self.blind_until {
            return;
        }
        let file = file_of(event.dev, event.ino).map(|file| self.files.number(file));
        let is_heap = event.anonymous && name.is_some_and(|name| self.names.name(name) == HEAP);
        let mapping = Mapping {
            id: self.id(),
            backing: if is_heap { Backing::Heap } else { backing(event.anonymous, file, event.vm_flags) },
            vm_flags: event.vm_flags,
            base: base(event.pgoff, event.addr),
            vma: 0,
            name: name.filter(|_| file.is_none() && !is_heap).map(|name| (name, event.since)),
        };
        let later = later_than(event.since);
        let (mm, start, end) = (record.mm, event.addr, event.end);
        self.changes(Changed::Range { mm, start, end, read: Some(event.since) });
        self.with_map(record.mm, |map| map.read(event.addr, event.end, mapping, event.since, later));
    }

    /// The reading of an mm's mappings is over.
    fn was_read(&mut self, event: &event::MapsRead, record: &Record) {
        if event.since > self.blind_until {
            let later = later_than(event.since);
            self.changes(Changed::Read { mm: record.mm });
            self.with_map(record.mm, |map| map.was_read(event.since, event.whole, later));
        }
    }

    /// `exit_mmap()`.
    fn ends(&mut self, mm: u64) {
        self.changes(Changed::Ended { mm });
        if let Some(ended) = self.mms.remove(mm) {
            self.pieces = self.pieces.saturating_sub(ended.map.len());
            self.ended = Some((mm, ended));
        }
    }

    /// Events are missing.
    fn lost(&mut self, record: &Record) {
        let until = record.get(Column::Until).unwrap_or(u64::MAX).saturating_add(EPSILON_NS);
        let of = record.get(Column::LostKind).and_then(|kind| Kind::from_u16(kind as u16));
        if of.is_none_or(|kind| spec(kind).unknown & SPACE != 0) {
            self.forget();
            self.blind_until = self.blind_until.max(until);
        }
        // Without it, a call of prctl() or a fork may have gone unseen.
        if of.is_none_or(|kind| kind == Kind::StartLocking) {
            self.writers.clear();
            self.versions += 1;
            for mm in self.mms.values_mut() {
                (mm.renamed, mm.version) = (mm.renamed.max(until), self.versions);
            }
        }
    }
}

/// Whether something that was stored at a time may have been stored after a reading began, by another CPU's clock.
fn later_than(since: u64) -> impl Fn(u64) -> bool {
    move |stored| stored != since && stored.saturating_add(EPSILON_NS) >= since
}

fn record(mm: u64, ts: u64, write: impl FnOnce(&mut Record)) -> Record {
    let mut record = Record { ts, mm, ..Record::default() };
    write(&mut record);
    record
}

/// Returns the `mapping_name` records of the mapping that begins at `addr`; its `mapping` record comes next.
#[must_use]
pub fn name_records(mm: u64, addr: u64, name: &[u8], ts: u64) -> Vec<Record> {
    let part = |(part, words): (usize, Words)| {
        let [name, name_2, name_3, name_4, name_5] = words;
        let event = event::MappingName { addr, name, name_2, name_3, name_4, name_5, part: part as u32 };
        record(mm, ts, |record| event.write(record))
    };
    parts(name).into_iter().enumerate().map(part).collect()
}

#[cfg(test)]
mod tests;
