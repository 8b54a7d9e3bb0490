//! docs/events.md

use std::{collections::BTreeSet, fmt::Write as _};

use mmtrace_capture::{FIXED, schema};
use mmtrace_common::{At, Column, Field, FieldType, MmFrom, OFFSETS, OffsetId, SPECS, Source, Spec};
use mmtrace_model::verdict::RULES;

use super::markdown::{code, head, table};

const INTRO: &str = "
What mmtrace records. An event is a kernel tracepoint, or the entry to or the return from a kernel function; every value
that it carries goes to the capture column of that name. A value that is not required is null where the running kernel
lacks it; `mmtrace doctor` says which are. A function is hooked only where the kernel's BTF gives it one of the
signatures below. What the rules make of the events: [rules.md](rules.md).

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
    columns(&mut text);
    offsets(&mut text);
    text
}

fn section(spec: &Spec, text: &mut String) {
    let _ = writeln!(text, "\n### {}\n", spec.name);
    let _ = writeln!(text, "{}: {}. {}", place(spec), spec.doc, mm(spec.site.mm));
    let rules = rules(spec);
    let needed = if rules.is_empty() { "no rule: statistics and context only".to_owned() } else { rules };
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

/// Where it comes from.
fn place(spec: &Spec) -> String {
    let symbols = || spec.site.functions.iter().map(|f| code(f.symbol)).collect::<BTreeSet<_>>();
    let symbols = || Vec::from_iter(symbols()).join(" or ");
    match spec.site.at {
        At::Tracepoint => format!("`{}:{}`", spec.site.system, spec.name),
        At::Entry | At::EntryOfStruct => format!("entry to {}", symbols()),
        At::Exit | At::ExitOfStruct => format!("return from {}", symbols()),
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
        MmFrom::None => "It has no `mm`.".to_owned(),
    }
}

fn from(field: &Field) -> String {
    match field.source {
        Source::Arg(name) => code(name),
        Source::Member(of, id) => code(&format!("{of}->{}", member(id))),
        Source::Return => "what is returned".to_owned(),
        Source::OfReturn(id) => format!("what is returned: {}", code(&format!("->{}", member(id)))),
        Source::Deref(name) => code(&format!("*{name}")),
        Source::Path(name, path) => code(&follow(name, path)),
        Source::Made(name) => format!("made from `{name}`"),
        Source::Current(id) => code(&format!("current->{}", member(id))),
        Source::User => "mmtrace".to_owned(),
    }
}

fn follow(name: &str, path: &[OffsetId]) -> String {
    path.iter().fold(name.to_owned(), |text, id| format!("{text}->{}", member(*id)))
}

fn member(id: OffsetId) -> &'static str {
    OFFSETS.iter().find(|o| o.id == id).map_or("", |o| o.member)
}

/// How a value is shown.
fn shown(ty: FieldType) -> String {
    match ty {
        FieldType::Hex => "64 bits, hexadecimal".to_owned(),
        FieldType::Uint => "unsigned number".to_owned(),
        FieldType::Int => "signed number, 32 bits".to_owned(),
        FieldType::Bool => "yes or no".to_owned(),
        FieldType::Enum(name) => format!("`enum {name}`, by name"),
        FieldType::Time => "nanoseconds of `CLOCK_MONOTONIC`".to_owned(),
        FieldType::Kind => "event, by name".to_owned(),
    }
}

fn columns(text: &mut String) {
    text.push_str(
        "\n## Capture columns\n\n\
         The columns of `segment-*.parquet`, in the order of the schema. The first six are there for every event, the \
         others only where the event carries such a value, else null. Enumerators are the running kernel's own names.\n\n",
    );
    let schema = schema();
    let stored = |name: &str| {
        let field = schema.field_with_name(name).ok();
        let ty = field.map_or_else(String::new, |f| f.data_type().to_string());
        let ty = if ty.starts_with("Dictionary") { "Utf8, dictionary".to_owned() } else { ty };
        let null = field.is_some_and(|f| f.is_nullable());
        (ty, if null { "yes" } else { "no" }.to_owned())
    };
    let row = |name: &str, doc: &str, events: String| {
        let (ty, null) = stored(name);
        vec![code(name), ty, null, doc.to_owned(), events]
    };
    let fixed = FIXED.iter().map(|(name, doc)| row(name, doc, "every event".to_owned()));
    let own = Column::ALL.iter().map(|column| {
        let events = SPECS.iter().filter(|s| s.fields.iter().any(|f| f.column == *column)).map(|s| code(s.name));
        row(column.name(), column.doc(), events.collect::<Vec<_>>().join(", "))
    });
    text.push_str(&table(&["column", "Arrow type", "null", "meaning", "events"], fixed.chain(own)));
}

fn offsets(text: &mut String) {
    text.push_str(
        "\n## Struct members\n\n\
         Their offsets are taken from the running kernel's BTF when the programs are loaded; none is compiled in.\n\n",
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
