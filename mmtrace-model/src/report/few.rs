//! A section of a report that has a line for each row, of which people see the first ones.

use std::io::{self, Write};

use super::Style;

/// Writes the title and the first `shown` lines, and how many more there are; nothing if there are none.
///
/// # Errors
/// `out` cannot be written.
pub(super) fn print(
    title: &str,
    lines: impl ExactSizeIterator<Item = String>,
    shown: usize,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    let all = lines.len();
    if all == 0 {
        return Ok(());
    }
    writeln!(out, "\n{}", style.bold(title))?;
    for line in lines.take(shown) {
        writeln!(out, "  {line}")?;
    }
    if all > shown {
        writeln!(out, "  {}", style.dim(&format!("and {} more", all - shown)))?;
    }
    Ok(())
}
