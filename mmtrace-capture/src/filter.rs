//! The filter expressions of `mmtrace dump`.
//!
//! ```text
//! expr       := and { "or" and }
//! and        := not { "and" not }
//! not        := "not" not | "(" expr ")" | comparison
//! comparison := column op value
//! op         := "==" | "!=" | "<" | "<=" | ">" | ">=" | "~"
//! value      := number | name | "string"
//! ```
//!
//! Columns are those of the capture. Numbers are decimal or `0x…`. `~` asks whether the value,
//! as `dump` shows it, contains a text. A comparison with a column that an event does not have is false.
//! `comm` and `cgroup` are no columns: they are the name of the event's task at that time, and its cgroup v2, which is
//! called by its path or its label (`docker 3f2a9c1b04d7`). They are compared with `==`, `!=` and `~`.

use super::names::Names;
use super::schema::FIXED;
use super::value_text::ValueText;
use mmtrace_common::{Column, FieldType, Kind, Record};
use mmtrace_model::names::Tasks;
use std::cmp::Ordering;

/// What filters say of an event's task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OfTask {
    /// Its name.
    Comm,
    /// Its cgroup v2.
    Cgroup,
}

impl OfTask {
    const ALL: [Self; 2] = [Self::Comm, Self::Cgroup];

    /// Word that stands for it.
    const fn word(self) -> &'static str {
        match self {
            Self::Comm => "comm",
            Self::Cgroup => "cgroup",
        }
    }

    /// Whether one of its texts passes; not if nothing is known of it.
    fn any(self, record: &Record, tasks: &Tasks, passes: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Comm => tasks.comm(record.tid).is_some_and(|comm| passes(&comm.to_string())),
            Self::Cgroup => {
                let cgroups = tasks.cgroups();
                let name = cgroups.name(cgroups.of(record.tid, record.tgid));
                name.is_some_and(|name| passes(&name.path) || passes(&name.label))
            }
        }
    }
}

/// Deepest nesting of parentheses and `not`.
const MAX_DEPTH: usize = 64;

/// A mistake in a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {position}: {message}")]
pub struct FilterError {
    /// Position of the mistake, in characters from 1.
    pub position: usize,
    /// The mistake, in words.
    pub message: String,
}

/// A column that can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Ts,
    Cpu,
    Pid,
    Tid,
    Kind,
    Mm,
    Own(Column),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Op {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Eq => order.is_eq(),
            Self::Ne => order.is_ne(),
            Self::Lt => order.is_lt(),
            Self::Le => order.is_le(),
            Self::Gt => order.is_gt(),
            Self::Ge => order.is_ge(),
        }
    }
}

#[derive(Debug)]
enum Expr {
    /// Wide enough for every column's values.
    Number(Subject, Op, i128),
    Contains(Subject, String),
    /// A text of the event's task is this one.
    IsOfTask(OfTask, String),
    /// A text of the event's task contains this one.
    HasOfTask(OfTask, String),
    Not(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
}

/// A parsed filter.
#[derive(Debug)]
pub struct Filter(Expr);

impl Subject {
    fn find(name: &str) -> Option<Self> {
        Some(match name {
            "ts" => Self::Ts,
            "cpu" => Self::Cpu,
            "pid" => Self::Pid,
            "tid" => Self::Tid,
            "kind" => Self::Kind,
            "mm" => Self::Mm,
            _ => Self::Own(Column::ALL.iter().copied().find(|c| c.name() == name)?),
        })
    }

    fn raw(self, record: &Record) -> Option<u64> {
        Some(match self {
            Self::Ts => record.ts,
            Self::Cpu => u64::from(record.cpu),
            Self::Pid => u64::from(record.tgid),
            Self::Tid => u64::from(record.tid),
            Self::Kind => u64::from(record.kind),
            Self::Mm => record.mm,
            Self::Own(column) => return record.get(column),
        })
    }

    fn number(self, record: &Record) -> Option<i128> {
        let raw = self.raw(record)?;
        Some(match self {
            Self::Own(column) => match column.ty() {
                FieldType::Int => i128::from(raw as i32),
                FieldType::Bool => i128::from(raw & 0xff != 0),
                _ => i128::from(raw),
            },
            _ => i128::from(raw),
        })
    }

    fn text(self, names: &Names, record: &Record) -> Option<String> {
        let raw = self.raw(record)?;
        Some(match self {
            Self::Kind => Kind::from_u16(record.kind).map_or_else(|| format!("#{raw}"), |k| k.name().to_owned()),
            Self::Mm => format!("{raw:#x}"),
            Self::Own(column) => ValueText::new(names, column, raw).to_string(),
            _ => raw.to_string(),
        })
    }

    /// Returns the number that a name stands for.
    fn named(self, names: &Names, name: &str) -> Result<i128, String> {
        let unknown = |kind: &str, known: &[String]| {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Err(format!("no {kind} is called {name}; there are: {known}"))
        };
        match self {
            Self::Kind => match names.kind(name) {
                Some(kind) => Ok(i128::from(kind)),
                None => unknown("kind", names.kinds().names()),
            },
            Self::Own(column) => match column.ty() {
                FieldType::Bool if name == "true" => Ok(1),
                FieldType::Bool if name == "false" => Ok(0),
                FieldType::Bool => Err(format!("{} is true or false", column.name())),
                FieldType::Enum(_) | FieldType::Kind | FieldType::Call => match names.number(column, name) {
                    Some(number) => Ok(i128::from(number)),
                    None => unknown(column.name(), names.column(column).map_or(&[][..], |d| d.names())),
                },
                _ => Err(format!("{} is a number", column.name())),
            },
            _ => Err("this column is a number".to_owned()),
        }
    }
}

impl Filter {
    /// Parses a filter. Names of enumerators are those of the capture's kernel.
    ///
    /// # Errors
    ///
    /// The first mistake, with its place.
    pub fn parse(text: &str, names: &Names) -> Result<Self, FilterError> {
        let mut parser = Parser { text, at: 0, names };
        let expr = parser.any(0)?;
        match parser.peek() {
            "" => Ok(Self(expr)),
            rest => Err(parser.error(format!("expected and, or, or the end, not {rest}"))),
        }
    }

    /// Returns whether a record passes; `tasks` as of that record.
    #[must_use]
    pub fn matches(&self, names: &Names, record: &Record, tasks: &Tasks) -> bool {
        self.0.matches(names, record, tasks)
    }
}

impl Expr {
    fn matches(&self, names: &Names, record: &Record, tasks: &Tasks) -> bool {
        match self {
            Self::IsOfTask(of, text) => of.any(record, tasks, |own| own == text),
            Self::HasOfTask(of, text) => of.any(record, tasks, |own| own.contains(text.as_str())),
            Self::Number(subject, op, value) => subject.number(record).is_some_and(|n| op.holds(n.cmp(value))),
            Self::Contains(subject, text) => subject.text(names, record).is_some_and(|t| t.contains(text.as_str())),
            Self::Not(expr) => !expr.matches(names, record, tasks),
            Self::All(list) => list.iter().all(|e| e.matches(names, record, tasks)),
            Self::Any(list) => list.iter().any(|e| e.matches(names, record, tasks)),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    names: &'a Names,
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '#' | '-' | '.' | ':')
}

impl<'a> Parser<'a> {
    fn error(&self, message: String) -> FilterError {
        FilterError { position: self.text[..self.at].chars().count() + 1, message }
    }

    /// Returns the next token; empty at the end. Blanks before it are consumed.
    fn peek(&mut self) -> &'a str {
        let rest = self.text[self.at..].trim_start();
        self.at = self.text.len() - rest.len();
        let Some(first) = rest.chars().next() else { return "" };
        let end = match first {
            '"' => rest[1..].find('"').map_or(rest.len(), |i| i + 2),
            '=' | '!' | '<' | '>' if rest[1..].starts_with('=') => 2,
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        &rest[..end]
    }

    fn accept(&mut self, token: &str) -> bool {
        let found = self.peek() == token;
        if found {
            self.at += token.len();
        }
        found
    }

    fn any(&mut self, depth: usize) -> Result<Expr, FilterError> {
        let mut list = vec![self.all(depth)?];
        while self.accept("or") {
            list.push(self.all(depth)?);
        }
        Ok(Expr::Any(list))
    }

    fn all(&mut self, depth: usize) -> Result<Expr, FilterError> {
        let mut list = vec![self.not(depth)?];
        while self.accept("and") {
            list.push(self.not(depth)?);
        }
        Ok(Expr::All(list))
    }

    fn not(&mut self, depth: usize) -> Result<Expr, FilterError> {
        if depth > MAX_DEPTH {
            return Err(self.error(format!("nested deeper than {MAX_DEPTH}")));
        }
        if self.accept("not") {
            return Ok(Expr::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.accept("(") {
            let expr = self.any(depth + 1)?;
            return match self.accept(")") {
                true => Ok(expr),
                false => Err(self.error("expected and, or, or a closing parenthesis".to_owned())),
            };
        }
        self.comparison()
    }

    /// The next value: its token, the text in it, and whether that is quoted. The token is not consumed.
    fn value(&mut self) -> Result<(&'a str, &'a str, bool), FilterError> {
        let token = self.peek();
        if token.is_empty() || !token.starts_with(|c| is_word(c) || c == '"') {
            return Err(self.error("expected a value".to_owned()));
        }
        let quoted = token.strip_prefix('"');
        let value = match quoted.map(|t| t.strip_suffix('"')) {
            Some(None) => return Err(self.error("the string has no end".to_owned())),
            Some(Some(inner)) => inner,
            None => token,
        };
        Ok((token, value, quoted.is_some()))
    }

    /// A comparison with a text of the event's task.
    fn of_task(&mut self, of: OfTask) -> Result<Expr, FilterError> {
        self.at += of.word().len();
        let make: fn(OfTask, String) -> Expr = match self.peek() {
            "==" => Expr::IsOfTask,
            "!=" => |of, text| Expr::Not(Box::new(Expr::IsOfTask(of, text))),
            "~" => Expr::HasOfTask,
            _ => return Err(self.error(format!("expected == != or ~ after {}", of.word()))),
        };
        self.at += self.peek().len();
        let (token, value, _) = self.value()?;
        self.at += token.len();
        Ok(make(of, value.to_owned()))
    }

    fn comparison(&mut self) -> Result<Expr, FilterError> {
        let name = self.peek();
        if let Some(of) = OfTask::ALL.into_iter().find(|of| of.word() == name) {
            return self.of_task(of);
        }
        let Some(subject) = Subject::find(name) else {
            let of_tasks = OfTask::ALL.map(OfTask::word);
            let columns: Vec<_> =
                FIXED.iter().map(|f| f.0).chain(of_tasks).chain(Column::ALL.iter().map(|c| c.name())).collect();
            let found = if name.is_empty() {
                "a column is missing at the end".to_owned()
            } else {
                format!("{name} is not a column")
            };
            return Err(self.error(format!("{found}; columns are {}", columns.join(", "))));
        };
        self.at += name.len();
        let op = match self.peek() {
            "==" => Some(Op::Eq),
            "!=" => Some(Op::Ne),
            "<" => Some(Op::Lt),
            "<=" => Some(Op::Le),
            ">" => Some(Op::Gt),
            ">=" => Some(Op::Ge),
            "~" => None,
            _ => return Err(self.error(format!("expected == != < <= > >= or ~ after {name}"))),
        };
        self.at += self.peek().len();
        let (token, value, quoted) = self.value()?;
        let expr = match op {
            None => Expr::Contains(subject, value.to_owned()),
            Some(op) => match number(value).filter(|_| !quoted) {
                Some(number) => Expr::Number(subject, op, number),
                None => Expr::Number(subject, op, subject.named(self.names, value).map_err(|e| self.error(e))?),
            },
        };
        self.at += token.len();
        Ok(expr)
    }
}

fn number(text: &str) -> Option<i128> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok().map(i128::from),
        None => text.parse::<i64>().map(i128::from).or_else(|_| text.parse::<u64>().map(i128::from)).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmtrace_model::{
        context::Context,
        names::{Comm, cgroup_path_records, task_cgroup_record},
    };
    use std::collections::BTreeMap;

    fn names() -> Names {
        let modes = BTreeMap::from([("MIGRATE_ASYNC".to_owned(), 0), ("MIGRATE_SYNC".to_owned(), 2)]);
        Names::new(&Context { enums: BTreeMap::from([("migrate_mode".to_owned(), modes)]), ..Context::default() })
    }

    fn fault() -> Record {
        let args = [0x7f00_1000, 0x40_0000, 0, 0, 0, 0];
        Record {
            ts: 100,
            cpu: 3,
            tgid: 10,
            tid: 11,
            kind: Kind::PageFaultUser as u16,
            aux: 6,
            args,
            ..Record::default()
        }
    }

    fn passes(text: &str, record: &Record) -> bool {
        let names = names();
        Filter::parse(text, &names).unwrap_or_else(|e| panic!("{text}: {e}")).matches(&names, record, &Tasks::default())
    }

    fn mistake(text: &str) -> FilterError {
        Filter::parse(text, &names()).expect_err(text)
    }

    #[test]
    fn comparisons() {
        for text in [
            "kind == page_fault_user",
            "kind==\"page_fault_user\"and addr>=0x7f001000",
            "kind ~ fault",
            "addr ~ 7f00",
            "not (pid == 1 or tid != 11)",
            "pid == 1 or pid == 10 and cpu < 4",
            "not not error_code == 6",
            "not write == true",
            "ts <= 100",
            "mm == 0",
        ] {
            assert!(passes(text, &fault()), "{text}");
        }
        for text in ["write == true", "write != true", "pid == 1", "addr < 1", "kind ~ lock", "not (pid == 10)"] {
            assert!(!passes(text, &fault()), "{text}");
        }
    }

    fn passes_with(text: &str, told: &[Record]) -> bool {
        let (names, mut tasks) = (names(), Tasks::default());
        told.iter().for_each(|record| tasks.apply(record));
        Filter::parse(text, &names).unwrap_or_else(|e| panic!("{text}: {e}")).matches(&names, &fault(), &tasks)
    }

    #[test]
    fn the_name_of_the_task_is_compared_as_text() {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(b"a b\x1b12");
        let told = [Comm::new(bytes).named(11, 10, 0)];
        for text in ["comm == \"a b\\u{1b}12\"", "comm ~ \"a b\"", "comm != cat", "comm ~ 12 and pid == 10"] {
            assert!(passes_with(text, &told), "{text}");
        }
        assert!(!passes_with("comm == a", &told));
        assert!(!passes_with("comm == cat", &[]), "nothing is known of its name");
        assert_eq!(mistake("comm < 3").message, "expected == != or ~ after comm");
    }

    #[test]
    fn the_cgroup_of_the_task_is_compared_by_path_and_by_label() {
        let mut told = cgroup_path_records(7, b"/system.slice/sshd.service/worker", 0);
        told.push(task_cgroup_record(10, 10, 7, 0));
        for text in [
            "cgroup == sshd.service",
            "cgroup == \"/system.slice/sshd.service/worker\"",
            "cgroup ~ worker and not cgroup ~ docker",
            "cgroup != \"/\"",
        ] {
            assert!(passes_with(text, &told), "{text}");
        }
        assert!(!passes_with("cgroup == worker", &told));
        assert!(!passes_with("cgroup ~ service", &[]), "nothing is known of its cgroup");
        assert_eq!(mistake("cgroup > 3").message, "expected == != or ~ after cgroup");
    }

    #[test]
    fn names_and_signs() {
        let start = Record { kind: Kind::MigratePagesStart as u16, aux: 2, ..Record::default() };
        assert!(passes("mode == MIGRATE_SYNC and mode == 2 and mode ~ SYNC", &start));
        let end = Record { kind: Kind::ContentionEnd as u16, aux: -4i32 as u32, ..Record::default() };
        assert!(passes("ret == -4 and ret < 0", &end));
        let loss = Record { kind: Kind::Loss as u16, args: [3, u64::MAX, 0, 0, 0, 0], ..Record::default() };
        assert!(passes("lost_kind == mmap_lock_start_locking and count == 18446744073709551615", &loss));
    }

    #[test]
    fn mistakes_say_where_and_what() {
        assert_eq!(mistake("pid == 1 and colour == 2").position, 14);
        assert!(mistake("colour == 2").message.contains("columns are ts, cpu, pid, tid, kind, mm, comm, cgroup, addr"));
        assert_eq!(mistake("pid = 1").position, 5);
        assert_eq!(mistake("").message.split(';').next(), Some("a column is missing at the end"));
        assert_eq!(mistake("pid ==").message, "expected a value");
        assert_eq!(mistake("(pid == 1").position, 10);
        assert_eq!(mistake("pid == 1 pid == 2").position, 10);
        assert_eq!(mistake("kind ~ \"lock").message, "the string has no end");
        assert!(mistake("kind == page_fault").message.starts_with("no kind is called page_fault; there are: "));
        assert!(mistake("mode == MIGRATE").message.ends_with("there are: MIGRATE_ASYNC, MIGRATE_SYNC"));
        assert!(mistake("write == 'x'").message.contains("expected a value"));
        assert!(mistake("addr == high").message.contains("addr is a number"));
        assert_eq!(mistake("äöü == 1").position, 1);
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = format!("{}pid == 1{}", "(".repeat(100_000), ")".repeat(100_000));
        assert!(mistake(&deep).message.starts_with("nested deeper"));
        assert!(mistake(&"not ".repeat(100_000)).message.starts_with("nested deeper"));
    }
}
