//! docs/events.md

use std::{collections::BTreeSet, fmt::Write as _};

use mmtrace_capture::{StoredColumn, TableColumn};
use mmtrace_common::{At, Column, Field, FieldType, MmFrom, OFFSETS, OffsetId, SPECS, Source, Spec};
use mmtrace_model::{optional_events::OPTIONAL_EVENTS, verdict::RULES};

use super::markdown::{code, head, table};

const INTRO: &str = "
mmtrace records these events. An event is a kernel tracepoint, or the entry or return of a kernel function. Every value
that it carries goes to the capture column of the same name. A value that is not required is null if the running kernel
lacks it; `mmtrace doctor` says which values are missing. mmtrace hooks a function only if the kernel's BTF gives it one
of the signatures below. [rules.md](rules.md) says what the rules conclude from the events.

";

/// The page.
pub(super) fn page() -> String {
    let mut text = head("Events and capture columns", "`mmtrace_common::SPECS`, mmtrace-common/src/spec/");
    text.push_str(INTRO);
    text.push_str(&table(
        &["event", "where", "rules that need it"],
        SPECS.iter().map(|spec| vec![format!("[{0}](#{0})", spec.name), place(spec), rules(spec)]),
    ));
    text.push_str("\n## Events\n");
    for spec in SPECS {
        section(spec, &mut text);
    }
    shed(&mut text);
    columns(&mut text);
    tables(&mut text);
    offsets(&mut text);
    text
}

fn section(spec: &Spec, text: &mut String) {
    let _ = writeln!(text, "\n### {}\n", spec.name);
    let _ = writeln!(text, "{}: {}. {}", place(spec), spec.doc, mm(spec.site.mm));
    let rules = rules(spec);
    let needed = if rules.is_empty() { "no rule: it serves statistics and context only".to_owned() } else { rules };
    let _ = writeln!(text, "\nNeeded by {needed}.");
    if spec.fields.is_empty() {
        text.push_str("\nIt carries no values of its own.\n");
        return;
    }
    text.push('\n');
    text.push_str(&table(
        &["column", "type", "from", "required", "meaning"],
        spec.fields.iter().map(|field| {
            let required = if field.required { "yes" } else { "no" };
            let column = field.column;
            vec![code(column.name()), shown(column.ty()), from(field), required.into(), column.doc().into()]
        }),
    ));
}

/// Lists the events that `--max-overhead` gives up.
fn shed(text: &mut String) {
    text.push_str(
        "\n## Shed events\n\nWith `--max-overhead PERCENT`, mmtrace sheds these events while recording takes more than that of the \
         CPU time of all CPUs in a second. It begins at the top, and ends when what is left would have cost no more. It passes \
         over a row whose programs take less than 5 % of what all its programs take. No other events are shed. An \
         [events_shed](#events_shed) event says when a kind ended; rules that need it are *unknown* from then on.\n\n",
    );
    text.push_str(&table(
        &["what", "events", "what is not known without them"],
        OPTIONAL_EVENTS.iter().map(|group| {
            let events: Vec<String> = group.kinds.iter().map(|kind| format!("[{0}](#{0})", kind.name())).collect();
            vec![group.name.to_owned(), events.join(" "), group.without.to_owned()]
        }),
    ));
}

/// Returns the place that an event comes from.
fn place(spec: &Spec) -> String {
    let symbols = || spec.site.functions.iter().map(|f| code(f.symbol)).collect::<BTreeSet<_>>();
    let symbols = || Vec::from_iter(symbols()).join(" or ");
    match spec.site.at {
        At::Tracepoint => format!("`{}:{}`", spec.site.system, spec.name),
        At::Entry | At::EntryOfStruct => format!("entry to {}", symbols()),
        At::Exit | At::ExitOfStruct => format!("return from {}", symbols()),
        At::SoftwareEvent { .. } => format!("software event `PERF_COUNT_SW_{}`", spec.name.to_uppercase()),
        At::Beside => "written by the program of another event".to_owned(),
        At::User => "made by mmtrace".to_owned(),
    }
}

/// The rules that need the event, by name.
fn rules(spec: &Spec) -> String {
    let names: Vec<&str> = RULES.iter().filter(|r| r.needs.contains(&spec.kind)).map(|r| r.name).collect();
    names.join(" ")
}

fn mm(from: MmFrom) -> String {
    match from {
        MmFrom::Arg(name) => format!("`mm` is the parameter `{name}`."),
        MmFrom::Path(name, path) => format!("`mm` is {}.", code(&follow(name, path))),
        MmFrom::Current => "`mm` is the current task's.".to_owned(),
        MmFrom::TaskArg(name) => format!("`mm` is that of the task in the parameter `{name}`."),
        MmFrom::TreeArg(name) => {
            format!(
                "`mm` is the current task's, and the event is recorded only when `{name}` walks that mm's VMA tree."
            )
        }
        MmFrom::LockArg(name) => {
            format!("`mm` is the current task's, and the event is recorded only when `{name}` is that mm's mmap_lock.")
        }
        MmFrom::None => "The event has no `mm`.".to_owned(),
    }
}

fn from(field: &Field) -> String {
    match field.source {
        Source::Arg(name) => code(name),
        Source::Member(of, id) => code(&format!("{of}->{}", member(id))),
        Source::Return => "the return value".to_owned(),
        Source::OfReturn(id) => format!("the return value: {}", code(&format!("->{}", member(id)))),
        Source::Deref(name) => code(&format!("*{name}")),
        Source::Path(name, path) | Source::Through(name, path) => code(&follow(name, path)),
        Source::Made(name) => format!("made from `{name}`"),
        Source::Current(id) => code(&format!("current->{}", member(id))),
        Source::Call => "saved registers and flags of the current task".to_owned(),
        Source::Walk => "the page tables of `current->mm`".to_owned(),
        Source::VmaFacts => {
            "made from `vm_flags`, `vm_ops` and `vm_file` of the VMA in `current->mm->mm_mt`".to_owned()
        }
        Source::SampleAddr => "the address of the sample".to_owned(),
        Source::User => "mmtrace".to_owned(),
    }
}

fn follow(name: &str, path: &[OffsetId]) -> String {
    path.iter().fold(name.to_owned(), |text, id| format!("{text}->{}", member(*id)))
}

fn member(id: OffsetId) -> &'static str {
    OFFSETS.iter().find(|o| o.id == id).map_or("", |o| o.member)
}

/// Returns the form in which a value of this type is shown.
fn shown(ty: FieldType) -> String {
    match ty {
        FieldType::Hex => "64 bits, hexadecimal".to_owned(),
        FieldType::Uint => "unsigned number".to_owned(),
        FieldType::Int => "signed number, 32 bits".to_owned(),
        FieldType::Bool => "yes or no".to_owned(),
        FieldType::Enum(name) => format!("`enum {name}`, by name"),
        FieldType::Time => "nanoseconds of `CLOCK_MONOTONIC`".to_owned(),
        FieldType::Kind => "event, by name".to_owned(),
        FieldType::Call => "entry into the kernel, by name".to_owned(),
        FieldType::Walk => "the end of a walk of page tables, in words; in SQL the number of `Walk`".to_owned(),
        FieldType::VmaFacts => "facts about a VMA, in words; in SQL the number of `VmaFacts`".to_owned(),
        FieldType::Text => "eight bytes of text, zero-padded, as a number".to_owned(),
    }
}

fn columns(text: &mut String) {
    text.push_str(
        "\n## Capture columns\n\n\
         The columns of `segment-*.parquet`, in the order of the schema. Every event has the first six. The \
         others are null unless the event carries such a value. Enumerators have the running kernel's own names.\n\n",
    );
    let events = |name: &str| match Column::ALL.iter().find(|column| column.name() == name) {
        None => "every event".to_owned(),
        Some(column) => {
            let events = SPECS.iter().filter(|s| s.fields.iter().any(|f| f.column == *column)).map(|s| code(s.name));
            events.collect::<Vec<_>>().join(", ")
        }
    };
    let row = |column: StoredColumn| {
        let null = if column.nullable { "yes" } else { "no" }.to_owned();
        vec![code(column.name), column.arrow_type, null, column.meaning.to_owned(), events(column.name)]
    };
    text.push_str(&table(&["column", "Arrow type", "null", "meaning", "events"], mmtrace_capture::columns().map(row)));
}

fn tables(text: &mut String) {
    text.push_str(
        "\n## Tables of names\n\n\
         Three files beside the segments say what the ids of events stand for. `mmtrace record` writes them when it ends, \
         and `mmtrace tables` for a capture that was interrupted, that a flight recorder dumped, or that is older. They \
         hold nothing that the segments do not have. A row of the first two holds from `from_ts` to before `to_ts`, in the clock and unit \
         of `ts`; [README.md](../README.md#captures-are-parquet) has queries. Names are fit for a terminal: strange \
         bytes are escaped.\n\n\
         Each event has one row of `tasks.parquet`. An address of an mm has at most one row of `mappings.parquet` at \
         a time; without a row, the mapping is unknown, or the address is in none. Counts that are joined so are those of \
         `mmtrace report`, with two differences. The report gives the faults of an mm to the last process that ran on \
         it, and the table to the task that faulted. A fault within 8 MiB below a stack is in the stack in the report, \
         and in the table only if the stack grew. A name that was found later holds for what came before, unless \
         65,536 rows lie between.\n\n\
         An instruction at the address `ip` is at the offset `m.\"offset\" + ip - m.start` of the file of its mapping. \
         `functions.parquet` has at most one row for it, that of its `dev` and `ino`. There is a row for each function \
         that a page fault was in and that had a name by the end.\n",
    );
    let row = |column: &TableColumn| {
        let null = if column.nullable { "yes" } else { "no" }.to_owned();
        vec![code(column.name), column.arrow_type.to_owned(), null, column.meaning.to_owned()]
    };
    for (name, columns) in mmtrace_capture::table_columns() {
        let _ = write!(text, "\n### {name}\n\n");
        text.push_str(&table(&["column", "Arrow type", "null", "meaning"], columns.iter().map(row)));
    }
}

fn offsets(text: &mut String) {
    text.push_str(
        "\n## Struct members\n\n\
         mmtrace takes their offsets from the running kernel's BTF when it loads the programs. None is compiled in.\n\n",
    );
    text.push_str(&table(
        &["struct", "member", "events that need it"],
        OFFSETS.iter().map(|offset| {
            let events: Vec<String> =
                SPECS.iter().filter(|s| s.members().any(|id| id == offset.id)).map(|s| code(s.name)).collect();
            vec![code(offset.strukt), code(offset.member), events.join(", ")]
        }),
    ));
}
