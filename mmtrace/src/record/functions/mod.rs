//! Names of the functions whose instructions faulted: from the symbol tables of the files that they are in.
//!
//! A thread of its own reads the files. It reads a file when the first of its instructions is met, since the process may
//! soon be gone, and keeps the tables for later ones. The file may be a stranger's, who may change it meanwhile: see
//! `elf`.

mod demangle;
mod elf;
pub(super) mod file;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ffi::OsStr,
    fs::File,
    io,
    os::{fd::AsRawFd as _, unix::ffi::OsStrExt as _},
    path::PathBuf,
    sync::mpsc::{self, Receiver, SyncSender, TryRecvError},
    thread,
    time::{Duration, Instant},
};

use blazesym::symbolize::{
    Input, Symbolized, Symbolizer,
    source::{Elf, Source},
};
use mmtrace_capture::guarded;
use mmtrace_common::Record;
use mmtrace_model::{
    model::mappings::{Function, Mappings, build_id_record, function_records},
    stats::functions::Asked,
};

use super::{
    helper::{Connection, Request},
    maps,
};
use crate::{btf::Btf, probe::tasks::Tasks};
use file::{FileKey, State};

/// Questions, and answers, that are on their way between the threads.
const QUEUE: usize = 1 << 12;
/// Questions that wait to be sent. More are not asked.
const BACKLOG_MAX: usize = 1 << 17;
/// Files whose tables are kept. Those that were asked for longest ago are given up first.
const FILES_MAX: usize = 1 << 7;
/// Bytes of tables that are kept.
const SIZE_MAX: u64 = 1 << 27;
/// Files that have no functions, or cannot be read, and are remembered.
const EMPTY_MAX: usize = 1 << 12;
/// How often a file is looked for.
const TRIES: u32 = 3;
/// Functions that are remembered as told. Beyond that number they are told again.
const TOLD_MAX: usize = 1 << 17;
/// Time that may be spent on the functions of one file. The others have no names.
const SPENT_MAX: Duration = Duration::from_secs(2);

/// The thread that reads files.
pub(super) struct FunctionReader {
    /// `None` if there is none.
    thread: Option<(SyncSender<Question>, Receiver<Vec<Record>>)>,
    /// Questions that are not sent yet, oldest first.
    backlog: VecDeque<Asked>,
    /// Questions that are not answered yet.
    open: usize,
}

/// A question for a function.
struct Question {
    asked: Asked,
    of: FileKey,
    path: Vec<u8>,
}

impl FunctionReader {
    /// Starts the thread. `initial_pid_namespace`: ids in /proc are those of events. `program`: that of the recorded command,
    /// as it was typed. `helper`: who opens files.
    pub(super) fn new(
        btf: &Btf,
        initial_pid_namespace: bool,
        program: Option<&OsStr>,
        helper: Option<Connection>,
    ) -> Self {
        let (ask, asked) = mpsc::sync_channel(QUEUE);
        let (tell, told) = mpsc::sync_channel(QUEUE);
        let tasks = Tasks::new(btf).ok();
        let programs = program.map_or_else(Vec::new, file::places);
        let work = move || Reader::new(tasks, initial_pid_namespace, programs, helper).answer_all(&asked, &tell);
        let thread = thread::Builder::new().name("mmtrace-functions".to_owned()).spawn(work);
        Self { thread: thread.is_ok().then_some((ask, told)), backlog: VecDeque::new(), open: 0 }
    }

    /// Has the functions of these instructions looked for.
    pub(super) fn ask(&mut self, asked: Vec<Asked>, mappings: &Mappings) {
        let Some((ask, _)) = &self.thread else { return };
        let room = BACKLOG_MAX.saturating_sub(self.backlog.len());
        self.backlog.extend(asked.into_iter().take(room));
        while let Some(asked) = self.backlog.front().copied() {
            let (of, path) = (mappings.file_identity(asked.file), mappings.file_path(asked.file).to_vec());
            // It has room again when the thread has answered some.
            if ask.try_send(Question { asked, of, path }).is_err() {
                break;
            }
            self.backlog.pop_front();
            self.open += 1;
        }
    }

    /// Whether there are questions that are not answered yet.
    pub(super) fn is_busy(&self) -> bool {
        self.open > 0 || !self.backlog.is_empty()
    }

    /// Returns the names that were found, as records of the time `ts`.
    pub(super) fn records(&mut self, ts: u64) -> Vec<Record> {
        let mut records = Vec::new();
        while let Some((_, told)) = &self.thread {
            match told.try_recv() {
                Ok(found) => {
                    self.open = self.open.saturating_sub(1);
                    records.extend(found);
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    (self.thread, self.open) = (None, 0);
                    self.backlog.clear();
                }
            }
        }
        records.iter_mut().for_each(|record| record.ts = ts);
        records
    }
}

/// A function that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    /// Where it begins in the file, bytes.
    start: u64,
    /// Its length, bytes.
    len: u64,
    name: String,
}

/// The functions of one file.
struct Functions {
    symbolizer: Symbolizer,
    copy: File,
    size: u64,
    /// Time that was spent on it.
    spent: Duration,
    /// Number of the last question for it.
    used: u64,
}

impl Functions {
    /// Returns the functions of a file, if it has any, and its build id.
    fn of(read: &File, symbols_of: impl Fn(&[u8]) -> io::Result<File>) -> (Option<Self>, Vec<u8>) {
        let begun = Instant::now();
        let Some(Ok(tables)) = guarded(|| elf::read(read, symbols_of)) else { return (None, Vec::new()) };
        let size = tables.size;
        let functions = tables.copy.map(|copy| {
            let symbolizer = Symbolizer::builder()
                .enable_auto_reload(false)
                .enable_code_info(false)
                .enable_inlined_fns(false)
                .enable_demangling(false)
                .build();
            Self { symbolizer, copy, size, spent: begun.elapsed(), used: 0 }
        });
        (functions, tables.build_id)
    }

    /// Returns the function at an offset, if one is known there.
    fn at(&mut self, offset: u64) -> Option<Found> {
        if self.spent >= SPENT_MAX {
            return None;
        }
        let begun = Instant::now();
        let mut elf = Elf::new(format!("/proc/self/fd/{}", self.copy.as_raw_fd()));
        elf.debug_syms = false;
        let source = Source::Elf(elf);
        let found = guarded(|| {
            let Ok(Symbolized::Sym(symbol)) = self.symbolizer.symbolize_single(&source, Input::FileOffset(offset))
            else {
                return None;
            };
            let inside = symbol.offset as u64;
            let start = offset.checked_sub(inside)?;
            // The end of some functions is not known.
            let len = symbol.size.map_or(0, |size| size as u64).max(inside.checked_add(1)?);
            Some(Found { start, len, name: demangle::demangled(&symbol.name) })
        });
        self.spent += begun.elapsed();
        let Some(found) = found else {
            // It may be in any state after a panic.
            self.spent = SPENT_MAX;
            return None;
        };
        found
    }
}

/// The work of the thread.
struct Reader {
    /// `None`: this process opens files itself.
    helper: Option<Connection>,
    tasks: Option<Tasks>,
    initial_pid_namespace: bool,
    /// Paths where the recorded command may be: it may have ended before it is looked for.
    programs: Vec<PathBuf>,
    files: HashMap<FileKey, Functions>,
    /// Files without functions, and how often they were looked for.
    empty: HashMap<FileKey, u32>,
    /// Contents that files had when they were read.
    states: HashMap<FileKey, State>,
    /// Functions that were told: file, begin and length.
    told: HashSet<(FileKey, u64, u64)>,
    /// Bytes of the tables in `files`.
    size: u64,
    questions: u64,
}

impl Reader {
    fn new(
        tasks: Option<Tasks>,
        initial_pid_namespace: bool,
        programs: Vec<PathBuf>,
        helper: Option<Connection>,
    ) -> Self {
        Self {
            helper,
            tasks,
            initial_pid_namespace,
            programs,
            files: HashMap::new(),
            empty: HashMap::new(),
            states: HashMap::new(),
            told: HashSet::new(),
            size: 0,
            questions: 0,
        }
    }

    /// Answers until nobody asks any more: each question once.
    fn answer_all(&mut self, asked: &Receiver<Question>, tell: &SyncSender<Vec<Record>>) {
        while let Ok(first) = asked.recv() {
            let questions: Vec<Question> = std::iter::once(first).chain(asked.try_iter().take(QUEUE)).collect();
            // All files first: a process may soon be gone.
            let begun = Instant::now();
            let mut records: Vec<Vec<Record>> = questions.iter().map(|question| self.meet(question)).collect();
            for (question, records) in questions.iter().zip(&mut records) {
                records.extend(self.name(question));
            }
            if records.into_iter().any(|records| tell.send(records).is_err()) {
                return;
            }
            // No more than half of a CPU.
            thread::sleep(begun.elapsed());
        }
    }

    /// Returns the records of a function, unless they were told before.
    fn name(&mut self, Question { asked, of, .. }: &Question) -> Vec<Record> {
        let found = self.files.get_mut(of).and_then(|functions| functions.at(asked.offset));
        let Some(Found { start, len, name }) = found else { return Vec::new() };
        if self.told.len() >= TOLD_MAX {
            self.told.clear();
        }
        if !self.told.insert((*of, start, len)) {
            return Vec::new();
        }
        function_records(*of, Function { start, len, name: name.as_bytes() }, 0)
    }

    /// Reads the file of a question, unless its functions are known. Returns the record of its build id.
    fn meet(&mut self, question: &Question) -> Vec<Record> {
        let of = question.of;
        self.questions += 1;
        if let Some(before) = self.states.get(&of)
            && let Some(now) = self.state(question)
            && now != *before
        {
            // Which faults were of which contents is not known any more.
            self.states.insert(of, now);
            self.size -= self.files.remove(&of).map_or(0, |functions| functions.size);
            self.empty.insert(of, TRIES);
            return vec![build_id_record(of, &[], 0)];
        }
        if let Some(functions) = self.files.get_mut(&of) {
            functions.used = self.questions;
            return Vec::new();
        }
        if self.empty.get(&of).is_some_and(|tries| *tries >= TRIES) {
            return Vec::new();
        }
        let opened = self.open(question);
        let tries = if opened.is_some() { TRIES } else { 1 };
        if let Some(state) = opened.as_ref().and_then(|file| file.metadata().ok()) {
            if self.states.len() >= EMPTY_MAX {
                self.states.clear();
            }
            self.states.insert(of, State::of(&state));
        }
        let (functions, id) =
            opened.map_or_else(|| (None, Vec::new()), |file| Functions::of(&file, |id| self.symbols_of(id)));
        match functions {
            Some(functions) => self.keep(of, Functions { used: self.questions, ..functions }),
            None => {
                if self.empty.len() >= EMPTY_MAX {
                    self.empty.clear();
                }
                *self.empty.entry(of).or_insert(0) += tries;
            }
        }
        if id.is_empty() { Vec::new() } else { vec![build_id_record(of, &id, 0)] }
    }

    /// Returns the state that a question's file has now.
    fn state(&self, question: &Question) -> Option<State> {
        let by_path = file::state(&question.path, question.of);
        by_path.or_else(|| self.open(question)?.metadata().ok().map(|metadata| State::of(&metadata)))
    }

    /// Opens a file through the process, or by its path, or through mmtrace's own mappings.
    fn open(&self, question: &Question) -> Option<File> {
        let Question { asked, of, path } = question;
        let pid = match &self.tasks {
            _ if self.initial_pid_namespace => Some(asked.tgid),
            Some(tasks) => maps::pid(tasks, false, asked.tgid),
            None => None,
        };
        let (of, helper) = (*of, self.helper.as_ref());
        let of_process = pid.and_then(|pid| match helper {
            Some(helper) => helper.file(&Request::Mapped { pid, range: asked.range, of }).ok(),
            None => file::of_process(pid, asked.range, of).ok(),
        });
        let by_path = |path: &[u8]| match helper {
            Some(helper) => helper.file(&Request::AtPath { of, path }).ok(),
            None => file::by_path(path, of).ok(),
        };
        of_process
            .or_else(|| by_path(path))
            .or_else(|| self.programs.iter().find_map(|path| by_path(path.as_os_str().as_bytes())))
            .or_else(|| match helper {
                Some(helper) => helper.file(&Request::Own { of }).ok(),
                None => file::of_own(of).ok(),
            })
    }

    /// Opens the file with the symbols of a build.
    fn symbols_of(&self, build_id: &[u8]) -> io::Result<File> {
        match &self.helper {
            Some(helper) => helper.file(&Request::Symbols { build_id }),
            None => file::of_build(build_id),
        }
    }

    /// Keeps the functions of a file, within the limits.
    fn keep(&mut self, of: FileKey, functions: Functions) {
        self.size += functions.size;
        self.files.insert(of, functions);
        while self.files.len() > FILES_MAX || self.size > SIZE_MAX && self.files.len() > 1 {
            let Some(oldest) = self.files.iter().min_by_key(|(_, functions)| functions.used).map(|(of, _)| *of) else {
                return;
            };
            self.size -= self.files.remove(&oldest).map_or(0, |functions| functions.size);
        }
    }
}

#[cfg(test)]
mod tests;
