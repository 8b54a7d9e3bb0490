//! `mmtrace dump`: a capture's events, one per line.

use super::error::ShowError;
use super::time_text::Seconds;
use mmtrace_capture::{Capture, Filter, Names, Problem, ValueText, columns};
use mmtrace_common::{Column, Field, Kind, Record, SPECS};
use mmtrace_model::context::Context;
use mmtrace_model::model::mappings::Mappings;
use mmtrace_model::names::{CgroupName, Tasks};
use mmtrace_model::report::{TAILS, text_of};
use mmtrace_model::untrusted::{clean, json_line};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

/// Records that name tasks, cgroups, mappings and functions. People see the names with the other events.
const NAMES: [Kind; 10] = [
    Kind::TaskName,
    Kind::TaskCgroup,
    Kind::CgroupPath,
    Kind::FileName,
    Kind::FilePath,
    Kind::Mapping,
    Kind::MappingName,
    Kind::MapsRead,
    Kind::FunctionName,
    Kind::BuildId,
];

/// Arguments of `mmtrace dump`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mmtrace dump --limit 20                                  the first 20 events of mmtrace.data/
  mmtrace dump DIR --filter 'kind ~ fault and pid == 42'   the faults of one process
  mmtrace dump DIR --filter 'addr >= 0x7f0000000000 and not (kind == ma_write)'
  mmtrace dump DIR --filter 'cgroup ~ docker'              the events of tasks in containers of docker
  mmtrace dump DIR --csv > events.csv

docs/events.md lists the columns of each event. Without --filter, --json and --csv, the records that name tasks,
cgroups and mappings are left out: the other events show the names.
Exit status: 0 all of the capture can be read, 2 a part of it cannot")]
pub struct DumpArgs {
    /// Capture to print: a folder that `mmtrace record` wrote
    #[arg(value_name = "DIR", default_value = crate::record::DEFAULT_DIR)]
    pub dir: PathBuf,
    /// Print one JSON object per line, with addresses and pointers as strings ("0x7f00")
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Print comma-separated values with a header; a column that an event does not have is empty
    #[arg(long)]
    pub csv: bool,
    /// Print only the events that match, such as 'kind ~ fault and pid == 42'
    ///
    /// EXPR compares columns with values: COLUMN OP VALUE, where OP is == != < <= > >= or ~ (contains the text). `and`,
    /// `or`, `not` and parentheses join comparisons. The columns are ts (nanoseconds), cpu, pid, tid, kind, mm, comm
    /// (the name of the task, as in 'comm == "java"'), cgroup (the path of its cgroup v2, or its container or service, as in
    /// 'cgroup == "sshd.service"'), and those of the event. Values are numbers (decimal or 0x…), names,
    /// "strings", true and false. A comparison with a column that an event does not have is false.
    #[arg(long, value_name = "EXPR")]
    pub filter: Option<String>,
    /// Stop after N events
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
}

/// The result of a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dumped {
    /// Events shown.
    pub(crate) shown: u64,
    /// Rows skipped because this build does not know their kind, or a name in them.
    pub unknown: u64,
    /// Parts of the capture that cannot be read.
    pub problems: Vec<Problem>,
}

/// Shows a capture's events.
///
/// # Errors
///
/// The capture cannot be opened, the filter makes no sense, or the output cannot be written.
pub fn dump(args: &DumpArgs, out: &mut dyn Write) -> Result<Dumped, ShowError> {
    let capture = Capture::open(&args.dir)?;
    let filter = args.filter.as_deref().map(|text| Filter::parse(text, capture.names())).transpose()?;
    let mut records = capture.records();
    let mut dumped = Dumped::default();
    let write = || -> io::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 16, out);
        let mut lines = Lines::new(capture.context(), capture.names());
        if args.csv {
            lines.header(&mut out)?;
        }
        let limit = args.limit.unwrap_or(u64::MAX);
        // Text without a filter leaves out the events that tell names.
        let people = !args.json && !args.csv && filter.is_none();
        while dumped.shown < limit {
            let Some(record) = records.next() else { break };
            lines.tasks.apply(&record);
            lines.mappings.apply(&record);
            if filter.as_ref().is_some_and(|f| !f.matches(capture.names(), &record, &lines.tasks)) {
                lines.note(&record);
                continue;
            }
            if people && record.kind().is_some_and(|kind| NAMES.contains(&kind)) {
                lines.note(&record);
                continue;
            }
            match (args.json, args.csv) {
                (true, _) => lines.json(&record, &mut out)?,
                (_, true) => lines.csv(&record, &mut out)?,
                _ => lines.text(&record, &mut out)?,
            }
            dumped.shown += 1;
        }
        out.flush()
    };
    ShowError::unless_broken_pipe(write())?;
    dumped.unknown = records.unknown();
    dumped.problems = capture.problems();
    Ok(dumped)
}

/// Formats records.
struct Lines<'a> {
    names: &'a Names,
    /// Names of tasks at the event that is shown.
    tasks: Tasks,
    /// Mappings at that event.
    mappings: Mappings,
    /// Whether the capture has names of tasks.
    named: bool,
    /// Fields to show, by wire number of the kind.
    fields: Vec<Vec<&'static Field>>,
    start: Option<u64>,
}

impl<'a> Lines<'a> {
    fn new(context: &'a Context, names: &'a Names) -> Self {
        let mut fields = vec![Vec::new(); 1 + SPECS.iter().map(|s| usize::from(s.kind as u16)).max().unwrap_or(0)];
        for spec in SPECS {
            let absent = context.probe(spec.kind).map_or(&[][..], |p| &p.absent);
            let present = spec.fields.iter().filter(|f| !absent.iter().any(|a| a == f.column.name()));
            fields[usize::from(spec.kind as u16)] = present.filter(|f| !TAILS.contains(&f.column)).collect();
        }
        let tasks = Tasks::default().with_cgroups_of(context);
        let (mappings, named) = (Mappings::new(context), context.has(Kind::TaskRename));
        Self { names, tasks, mappings, named, fields, start: (context.start != 0).then_some(context.start) }
    }

    /// Times are relative to the first record when the capture does not say when it started.
    fn note(&mut self, record: &Record) -> u64 {
        *self.start.get_or_insert(record.ts)
    }

    /// The mapping of a page fault, in words; nothing of other events, or if the capture does not tell.
    fn mapping(&self, record: &Record) -> Option<String> {
        let is_fault = matches!(record.kind(), Some(Kind::PageFaultUser | Kind::PageFaultKernel));
        (is_fault && self.mappings.is_told())
            .then(|| self.mappings.text(self.mappings.label(record.mm, *self.mappings.faulted())))
    }

    /// What the cgroup of a record's task is called; nothing if that is not known.
    fn cgroup(&self, record: &Record) -> Option<&CgroupName> {
        let cgroups = self.tasks.cgroups();
        cgroups.name(cgroups.of(record.tid, record.tgid))
    }

    fn fields(&self, record: &Record) -> &[&'static Field] {
        self.fields.get(usize::from(record.kind)).map_or(&[], Vec::as_slice)
    }

    fn text(&mut self, record: &Record, out: &mut impl Write) -> io::Result<()> {
        let start = self.note(record);
        let time = Seconds { ts: record.ts, start };
        let kind = record.kind().map_or("", |k| k.name());
        write!(out, "{time:>16} [{:03}] {:>7}/{:<7} ", record.cpu, record.tgid, record.tid)?;
        if self.named {
            let comm = self.tasks.comm(record.tid).map_or_else(|| "-".to_owned(), |comm| comm.to_string());
            write!(out, "{comm:<15} ")?;
        }
        out.write_all(kind.as_bytes())?;
        if record.mm != 0 {
            write!(out, " mm={:#x}", record.mm)?;
        }
        for field in self.fields(record) {
            let name = field.column.name();
            if let Some(text) = text_of(field, record) {
                write!(out, " {name}={text}")?;
                continue;
            }
            match ValueText::new(self.names, field.column, field.get(record)) {
                // A flush of everything (arch/x86/include/asm/tlbflush.h: TLB_FLUSH_ALL).
                _ if field.column == Column::Pages && field.get(record) == u64::MAX => write!(out, " {name}=all")?,
                ValueText::Time(ts) => write!(out, " {name}={}", Seconds { ts, start })?,
                value => write!(out, " {name}={value}")?,
            }
        }
        if let Some(mapping) = self.mapping(record) {
            write!(out, " mapping={mapping}")?;
        }
        if let Some(cgroup) = self.cgroup(record).filter(|cgroup| !cgroup.is_root()) {
            write!(out, " cgroup={}", cgroup.label)?;
        }
        writeln!(out)
    }

    fn json(&self, record: &Record, out: &mut impl Write) -> io::Result<()> {
        let Record { ts, cpu, tgid, tid, .. } = record;
        let kind = record.kind().map_or("", |k| k.name());
        write!(out, r#"{{"ts":{ts},"cpu":{cpu},"pid":{tgid},"tid":{tid},"kind":"{kind}""#)?;
        if let Some(comm) = self.tasks.comm(record.tid) {
            out.write_all(br#","comm":"#)?;
            json_line(&comm.to_string(), out)?;
        }
        if record.mm != 0 {
            write!(out, r#","mm":"{:#x}""#, record.mm)?;
        }
        for field in self.fields(record) {
            write!(out, r#","{}":"#, field.column.name())?;
            if let Some(text) = text_of(field, record) {
                json_line(&text, out)?;
                continue;
            }
            match ValueText::new(self.names, field.column, field.get(record)) {
                ValueText::Hex(n) => write!(out, r#""{n:#x}""#)?,
                ValueText::Name(name) => json_line(&name, out)?,
                value => write!(out, "{value}")?,
            }
        }
        if let Some(mapping) = self.mapping(record) {
            out.write_all(br#","mapping":"#)?;
            json_line(&mapping, out)?;
        }
        if let Some(cgroup) = self.cgroup(record) {
            out.write_all(br#","cgroup":"#)?;
            json_line(&cgroup.path, out)?;
            if let Some(container) = cgroup.container() {
                out.write_all(br#","container":"#)?;
                json_line(&container, out)?;
            }
        }
        writeln!(out, "}}")
    }

    fn header(&self, out: &mut impl Write) -> io::Result<()> {
        let names: Vec<_> = columns().map(|column| column.name).chain(["comm", "mapping_label", "cgroup"]).collect();
        writeln!(out, "{}", names.join(","))
    }

    fn csv(&self, record: &Record, out: &mut impl Write) -> io::Result<()> {
        let kind = record.kind().map_or("", |k| k.name());
        write!(out, "{},{},{},{},{kind},", record.ts, record.cpu, record.tgid, record.tid)?;
        if record.mm != 0 {
            write!(out, "{:#x}", record.mm)?;
        }
        for column in Column::ALL {
            out.write_all(b",")?;
            if let Some(field) = self.fields(record).iter().find(|f| f.column == *column) {
                match (text_of(field, record), ValueText::new(self.names, *column, field.get(record))) {
                    (Some(text), _) => cell(&text, out)?,
                    (None, ValueText::Name(name)) => cell(&name, out)?,
                    (None, value) => write!(out, "{value}")?,
                }
            }
        }
        out.write_all(b",")?;
        if let Some(comm) = self.tasks.comm(record.tid) {
            cell(&comm.to_string(), out)?;
        }
        out.write_all(b",")?;
        if let Some(mapping) = self.mapping(record) {
            cell(&mapping, out)?;
        }
        out.write_all(b",")?;
        if let Some(cgroup) = self.cgroup(record) {
            cell(&cgroup.path, out)?;
        }
        writeln!(out)
    }
}

/// A text as a cell of CSV.
fn cell(text: &str, out: &mut impl Write) -> io::Result<()> {
    let text = clean(text);
    if text.contains([',', '"', '\n', '\r']) {
        return write!(out, "\"{}\"", text.replace('"', "\"\""));
    }
    out.write_all(text.as_bytes())
}
