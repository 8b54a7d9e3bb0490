//! `mmtrace tables`: writes the tables of names that SQL joins with the events of a capture.

use std::{io::Write, path::PathBuf};

use clap::Args;
use mmtrace_capture::{Capture, TablesWritten, write_tables};
use mmtrace_model::report::grouped;

use super::error::ShowError;

/// Arguments of `mmtrace tables`.
#[derive(Args, Debug)]
#[command(after_help = "\
`mmtrace record` writes the tables when it ends. This command writes them into the folder of a capture that was
interrupted, that a flight recorder kept, or that is older than the tables; in the place of the ones that are there.

tasks.parquet says from when to when a thread id was which task: name, process, cgroup, container.
mappings.parquet says from when to when addresses of an mm belonged to which mapping. Each event has one row of the
first, and an address has at most one of the second. functions.parquet says which function is where in a file:

  SELECT t.process, m.label, count(*) AS faults
  FROM 'mmtrace.data/segment-*.parquet' e
  JOIN 'mmtrace.data/tasks.parquet' t ON e.tid = t.tid AND e.ts >= t.from_ts AND e.ts < t.to_ts
  LEFT JOIN 'mmtrace.data/mappings.parquet' m
    ON e.mm = m.mm AND e.addr BETWEEN m.start AND m.\"end\" AND e.ts >= m.from_ts AND e.ts < m.to_ts
  WHERE e.kind LIKE 'page_fault_%'
  GROUP BY ALL ORDER BY faults DESC;

Where names were not recorded, names are NULL; where mappings were not, mappings.parquet has no rows; where functions
were not looked for, functions.parquet has none.

Examples:
  mmtrace tables      write the tables of mmtrace.data/
  mmtrace tables DIR  write those of another capture

Exit status: 0 the tables are written, of all that can be read; 2 error")]
pub struct TablesArgs {
    /// Capture: a folder that `mmtrace record` wrote
    #[arg(value_name = "DIR", default_value = crate::record::DEFAULT_DIR)]
    pub(crate) dir: PathBuf,
}

/// Writes the tables. Returns what could not be read of the capture.
///
/// # Errors
///
/// The capture cannot be opened, or its folder cannot be written to.
pub fn run(args: &TablesArgs, out: &mut dyn Write) -> Result<Vec<String>, ShowError> {
    let capture = Capture::open(&args.dir)?;
    let written = write_tables(&capture, |_| false)?.unwrap_or_default();
    ShowError::unless_broken_pipe(writeln!(out, "{}", said(&written)).and_then(|()| out.flush()))?;
    Ok(capture.problems().iter().map(ToString::to_string).collect())
}

/// Says what was written.
fn said(written: &TablesWritten) -> String {
    let TablesWritten { tasks, mappings, functions, left_out, bytes } = *written;
    let mut text = format!(
        "wrote tasks.parquet ({}), mappings.parquet ({}) and functions.parquet ({}), {} bytes",
        rows(tasks),
        rows(mappings),
        rows(functions),
        grouped(bytes)
    );
    if left_out != (0, 0) {
        text.push_str(&format!(
            "; {} of the first and {} of the second that came later are left out, since no table has more",
            rows(left_out.0),
            rows(left_out.1)
        ));
    }
    text
}

fn rows(n: u64) -> String {
    if n == 1 { "1 row".to_owned() } else { format!("{} rows", grouped(n)) }
}
