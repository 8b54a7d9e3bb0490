//! Cells and last lines of the tables of `mmtrace report`.

use std::io::{self, Write};

use mmtrace_model::{
    report::{Style, callers::Who, grouped},
    untrusted::clean,
};

/// Says how many rows there are beyond those that are shown.
pub(super) fn more(rows: usize, shown: usize, style: Style, out: &mut dyn Write) -> io::Result<()> {
    if rows > shown {
        writeln!(out, "  {}", style.dim(&format!("and {} more: --limit 0 shows all", grouped((rows - shown) as u64))))?;
    }
    Ok(())
}

/// A text as a cell of CSV.
pub(super) fn cell(text: &str) -> String {
    let text = clean(text).replace('"', "\"\"");
    if text.contains([',', '"']) { format!("\"{text}\"") } else { text }
}

/// Returns the caller as cells of CSV.
pub(super) fn names(who: &Who) -> String {
    let cell = |text: &Option<String>| cell(text.as_deref().unwrap_or_default());
    let (process, thread, call) = (cell(&who.process), cell(&who.thread), cell(&who.call));
    format!("{},{process},{thread},{},{},{call}", who.pid, who.threads, who.tid)
}
