//! Mappings from before the recording: /proc/PID/maps, read once for each mm whose faults no event explains.
//!
//! A thread of its own reads, since a process may have tens of thousands of mappings, and may hold its mmap_lock for long.
//! Reading takes the mmap_lock of that process for read, page by page of the text (fs/proc/task_mmu.c:m_start; from 6.17
//! mostly the locks of VMAs): those acquisitions are recorded as what they are, by `mmtrace`.
//!
//! Where only the name of one mapping may have changed, the kernel is asked for that mapping alone (`query`, 6.11): the text
//! has a line for each mapping of the process.

mod query;

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, BufRead as _, BufReader},
    sync::mpsc::{self, Receiver, SyncSender, TryRecvError},
    thread,
    time::{Duration, Instant},
};

use mmtrace_common::{Record, View as _, event};
use mmtrace_model::model::mappings::{AskedMapping, VM_GROWSDOWN, VM_SHARED, name_records, path_records};

use super::helper::{Connection, Request};
use crate::{
    btf::Btf,
    probe::{sys, tasks::Tasks},
};

/// Readings that wait. More are not asked for; the model asks again.
const QUEUE: usize = 64;
/// Mappings that are read of one process at most.
pub(super) const LINES_MAX: usize = 1 << 16;
/// Bytes of a line at most. A longer one ends the reading.
const LINE_MAX: u64 = 1 << 13;
/// Without `PROCMAP_QUERY`, a process's text is not read again for a single mapping within this time.
const AGAIN: Duration = Duration::from_secs(1);
/// The thread rests for so many times as long as it has read.
const REST: u32 = 4;
/// And at least so long.
const REST_MIN: Duration = Duration::from_millis(1);
/// Names of files that were told. Beyond that number they are told again.
const PATHS_MAX: usize = 1 << 16;

/// Bytes of a path that are remembered and told: its end. Longer ones are shown to be cut by what stands for the rest.
const PATH_MAX: usize = 1 << 9;

/// The pages of a mapping's offset.
const PAGE_SHIFT: u32 = 12;

/// The thread that reads.
pub(super) struct MapsReader {
    /// `None` if there is none: the kernel does not say which mm a process has.
    thread: Option<(SyncSender<Asked>, Receiver<Reading>)>,
    /// A reading that is over, with events from before its end still to come.
    next: Option<Reading>,
}

/// An mm whose mappings are to be read, with a process that runs on it.
struct Asked {
    tgid: u32,
    mm: u64,
    /// Only the mapping of this address.
    addr: Option<u64>,
}

/// The mappings of an mm.
struct Reading {
    records: Vec<Record>,
    /// Time at which the reading ended, nanoseconds of `CLOCK_MONOTONIC`.
    until: u64,
}

impl MapsReader {
    /// Starts the thread. `initial_pid_namespace`: ids in /proc are those of events. `helper`: who opens what is read.
    pub(super) fn new(btf: &Btf, initial_pid_namespace: bool, helper: Option<Connection>) -> Self {
        let Ok(tasks) = Tasks::new(btf) else { return Self { thread: None, next: None } };
        let (ask, asked) = mpsc::sync_channel(QUEUE);
        let (tell, told) = mpsc::sync_channel(QUEUE);
        let work = move || read_all(&Source { tasks, initial_pid_namespace, helper }, &asked, &tell);
        let thread = thread::Builder::new().name("mmtrace-maps".to_owned()).spawn(work);
        Self { thread: thread.is_ok().then_some((ask, told)), next: None }
    }

    /// Has the mappings of these mms read, each with a process that runs on it.
    pub(super) fn ask(&self, asked: Vec<(u32, u64)>) {
        asked.into_iter().for_each(|(tgid, mm)| self.send(Asked { tgid, mm, addr: None }));
    }

    /// Has these single mappings read.
    pub(super) fn ask_ones(&self, asked: Vec<AskedMapping>) {
        asked.into_iter().for_each(|AskedMapping { tgid, mm, addr }| self.send(Asked { tgid, mm, addr: Some(addr) }));
    }

    fn send(&self, asked: Asked) {
        if let Some((ask, _)) = &self.thread {
            let _ = ask.try_send(asked);
        }
    }

    /// Returns the records of a reading, if one is over and every event from before its end has been handed out, which
    /// is so up to the time `watermark`.
    pub(super) fn records(&mut self, watermark: u64) -> Vec<Record> {
        if self.next.is_none()
            && let Some((_, told)) = &self.thread
        {
            match told.try_recv() {
                Ok(reading) => self.next = Some(reading),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => self.thread = None,
            }
        }
        let mut records = self.next.take_if(|reading| reading.until <= watermark).map_or_else(Vec::new, |r| r.records);
        records.iter_mut().for_each(|record| record.ts = watermark);
        records
    }
}

/// Reads until nobody asks any more.
fn read_all(source: &Source, asked: &Receiver<Asked>, tell: &SyncSender<Reading>) {
    let mut told = HashSet::new();
    // The process whose text was read last, and when that was over.
    let mut last: Option<(u64, Instant)> = None;
    for mut asked in asked {
        let begun = Instant::now();
        let read_just_now = |mm| last.is_some_and(|(of, at)| of == mm && at.elapsed() < AGAIN);
        let mut result = source.read(&asked, &mut told);
        if asked.addr.is_some() && matches!(&result, Err(error) if query::is_missing(error)) && !read_just_now(asked.mm)
        {
            asked.addr = None;
            result = source.read(&asked, &mut told);
        }
        if asked.addr.is_none() {
            last = Some((asked.mm, Instant::now()));
        }
        if let Ok(Some(reading)) = result
            && tell.send(reading).is_err()
        {
            return;
        }
        thread::sleep((begun.elapsed() * REST).max(REST_MIN));
    }
}

/// A file by device and inode, with its path.
type Path = (u32, u64, Vec<u8>);

/// Source of mappings: /proc, with the kernel's tasks to check which mm a process has.
struct Source {
    tasks: Tasks,
    initial_pid_namespace: bool,
    /// `None`: this process opens files itself.
    helper: Option<Connection>,
}

impl Source {
    /// Returns the mappings of an mm; `None` if the process has another one by now.
    fn read(&self, asked: &Asked, told: &mut HashSet<Path>) -> io::Result<Option<Reading>> {
        let Some(pid) = pid(&self.tasks, self.initial_pid_namespace, asked.tgid) else { return Ok(None) };
        let since = sys::monotonic_ns();
        // The open file stands for the mm that the process has now (fs/proc/task_mmu.c:proc_maps_open). If that was another
        // one than the process has when it is asked below, it has another one than was asked for as well: no process goes
        // back to an mm.
        let maps = match &self.helper {
            Some(helper) => helper.file(&Request::Maps { pid })?,
            None => File::open(format!("/proc/{pid}/maps"))?,
        };
        if self.tasks.find(pid)?.is_none_or(|task| (task.tgid, task.mm) != (asked.tgid, asked.mm)) {
            return Ok(None);
        }
        if let Some(addr) = asked.addr {
            let mut records = Vec::new();
            if let Some(found) = query::mapping_at(&maps, addr)? {
                append(asked.mm, since, &found.line(), told, &mut records);
            }
            return Ok(Some(Reading { records, until: sys::monotonic_ns() }));
        }
        let mut maps = BufReader::with_capacity(1 << 16, maps);
        let (mut records, mut whole) = (Vec::new(), true);
        for read in 0.. {
            let line = line(&mut maps)?;
            if line.is_empty() {
                break;
            }
            // The rest of a line that is too long is no line.
            let is_line = line.len() < LINE_MAX as usize && read < LINES_MAX;
            let parsed = parse(&line).filter(|_| is_line);
            whole = parsed.is_some();
            let Some(line) = parsed else { break };
            append(asked.mm, since, &line, told, &mut records);
        }
        let mut end = Record { mm: asked.mm, ..Record::default() };
        event::MapsRead { since, whole }.write(&mut end);
        records.push(end);
        Ok(Some(Reading { records, until: sys::monotonic_ns() }))
    }
}

/// Returns the id in /proc of a process.
pub(super) fn pid(tasks: &Tasks, initial_pid_namespace: bool, tgid: u32) -> Option<u32> {
    if initial_pid_namespace {
        return Some(tgid);
    }
    let entries = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(|pid| matches!(tasks.find(*pid), Ok(Some(task)) if task.tgid == tgid))
}

/// Returns the next line without its end, of which no more than [`LINE_MAX`] bytes; nothing at the end.
pub(super) fn line(maps: &mut BufReader<File>) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    io::Read::take(maps, LINE_MAX).read_until(b'\n', &mut line)?;
    line.pop_if(|byte| *byte == b'\n');
    Ok(line)
}

/// A line of /proc/PID/maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) start: u64,
    /// Last address, inclusive.
    pub(super) end: u64,
    vm_flags: u64,
    pgoff: u64,
    pub(super) dev: u32,
    pub(super) ino: u64,
    pub(super) name: &'a [u8],
}

impl Line<'_> {
    const fn is_file(&self) -> bool {
        self.dev != 0 || self.ino != 0
    }

    /// Private anonymous memory: it has no name, or one of these (fs/proc/task_mmu.c:get_vma_name).
    fn is_anonymous(&self) -> bool {
        let named = matches!(self.name, b"" | b"[heap]" | b"[stack]") || self.name.starts_with(b"[anon:");
        !self.is_file() && named
    }
}

/// The flags that the name of a mapping tells.
fn vm_flags_of_name(name: &[u8]) -> u64 {
    if name == b"[stack]" { VM_GROWSDOWN } else { 0 }
}

/// Parses `start-end perms offset major:minor inode   name` (fs/proc/task_mmu.c:show_vma_header_prefix).
pub(super) fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut rest = line;
    let mut word = || {
        let at = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        let (word, after) = rest.split_at(at);
        rest = after.get(1..).unwrap_or_default();
        std::str::from_utf8(word).ok()
    };
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (start, end) = word()?.split_once('-')?;
    let perms = word()?;
    let offset = hex(word()?)?;
    let (major, minor) = word()?.split_once(':')?;
    let ino = word()?.parse().ok()?;
    let name = rest.trim_ascii_start();
    let flags = [('r', 1), ('w', 2), ('x', 4), ('s', VM_SHARED)];
    let mut vm_flags = flags.iter().filter(|(letter, _)| perms.contains(*letter)).fold(0, |all, (_, flag)| all | flag);
    vm_flags |= vm_flags_of_name(name);
    let (start, end) = (hex(start)?, hex(end)?.checked_sub(1)?);
    let dev = u32::try_from(hex(major)? << 20 | hex(minor)?).ok()?;
    Some(Line { start, end, vm_flags, pgoff: offset >> PAGE_SHIFT, dev, ino, name })
}

/// Appends the records of a mapping: the path of a file that was not told before, or another name, and the mapping.
fn append(mm: u64, since: u64, line: &Line<'_>, told: &mut HashSet<Path>, records: &mut Vec<Record>) {
    /// Prefix of a name of shared memory that belongs to the mapping alone, which the kernel shows in place of a path.
    const OF_MAPPING: &[u8] = b"[anon_shmem:";
    if line.is_file() {
        let mut path = (line.dev, line.ino, with_line_ends(line.name));
        // No more of it travels, and tens of thousands are remembered.
        path.2.drain(..path.2.len().saturating_sub(PATH_MAX));
        if !line.name.is_empty() && !line.name.starts_with(OF_MAPPING) && !told.contains(&path) {
            records.extend(path_records(line.dev, line.ino, &path.2, 0));
            if told.len() >= PATHS_MAX {
                told.clear();
            }
            told.insert(path);
        }
    } else if !line.name.is_empty() {
        records.extend(name_records(mm, line.start, line.name, 0));
    }
    let anonymous = line.is_anonymous();
    let Line { start: addr, end, vm_flags, pgoff, dev, ino, .. } = *line;
    let mut record = Record { mm, ..Record::default() };
    event::Mapping { addr, end, since, vm_flags, pgoff, ino, dev, anonymous }.write(&mut record);
    records.push(record);
}

/// A path with its line ends, for which the kernel writes `\012` (fs/seq_file.c:mangle_path).
pub(super) fn with_line_ends(path: &[u8]) -> Vec<u8> {
    const ESCAPE: &[u8] = b"\\012";
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        let escape = rest.strip_prefix(ESCAPE);
        plain.push(if escape.is_some() { b'\n' } else { *first });
        rest = escape.unwrap_or(after);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmtrace_common::Kind;

    #[test]
    fn lines_are_read_as_the_kernel_writes_them() {
        let file =
            parse(b"7f2000-7f4000 r-xp 00028000 08:01 1234                       /usr/lib/a b\\012.so (deleted)");
        assert_eq!(
            file,
            Some(Line {
                start: 0x7f2000,
                end: 0x7f3fff,
                vm_flags: 5,
                pgoff: 0x28,
                dev: 8 << 20 | 1,
                ino: 1234,
                name: b"/usr/lib/a b\\012.so (deleted)",
            })
        );
        let stack = parse(b"7ffc0000-7ffc2000 rw-p 00000000 00:00 0              [stack]").expect("a line");
        assert_eq!((stack.vm_flags, stack.is_anonymous()), (3 | VM_GROWSDOWN, true));
        let shared = parse(b"10000-20000 rw-s 00000000 00:01 5 /memfd:\xff\x1b (deleted)").expect("a line");
        assert_eq!(
            (shared.vm_flags, shared.is_file(), shared.name),
            (3 | VM_SHARED, true, &b"/memfd:\xff\x1b (deleted)"[..])
        );
        let named = parse(b"10000-20000 rw-p 00000000 00:00 0 [anon:Go: heap]").expect("a line");
        assert!(named.is_anonymous() && named.name == b"[anon:Go: heap]");
        assert!(!parse(b"10000-20000 r-xp 00000000 00:00 0 [vdso]").expect("a line").is_anonymous());
        assert!(parse(b"10000-20000 rw-p 00000000 00:00 0 ").expect("a line").is_anonymous());
        for wrong in [&b""[..], b"10000", b"10000-20000 rw-p", b"x-y rw-p 0 0:0 0", b"10000-0 rw-p 0 0:0 0"] {
            assert_eq!(parse(wrong), None);
        }
    }

    #[test]
    fn line_ends_come_back() {
        assert_eq!(with_line_ends(b"/a\\012b\\013\\012"), b"/a\nb\\013\n");
        assert_eq!(with_line_ends(b""), b"");
    }

    #[test]
    fn a_path_is_told_once() {
        let line = parse(b"10000-20000 r--p 00000000 08:01 7 /usr/lib/libc.so.6").expect("a line");
        let (mut told, mut records) = (HashSet::new(), Vec::new());
        append(9, 5, &line, &mut told, &mut records);
        append(9, 6, &line, &mut told, &mut records);
        let kinds: Vec<_> = records.iter().map(Record::kind).collect();
        assert_eq!(kinds, [Kind::FilePath, Kind::Mapping, Kind::Mapping].map(Some));
        assert_eq!(event::Mapping::of(&records[2]).since, 6);
        assert_eq!((records[0].mm, records[2].mm), (0, 9));
    }
}
