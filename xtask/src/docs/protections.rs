//! docs/protections.md

use std::fmt::Write as _;

use anyhow::Result;
use mmtrace_explore::mutation;

use super::markdown::{code, head, table};

const INTRO: &str = "
The explorer left out every lock, recheck, RCU section and wait of every [safe](threads/README.md) variant, one at a time,
and searched every interleaving again. The first table shows what breaks without each protection. The second table
lists the protections without which nothing breaks, and says why. A protection that is in neither table fails the
tests.

The last column of the first table names the [rules](rules.md) that would report the missing protection on a live kernel
with every probe attached. If it names none, the events of the shortest execution that breaks show nothing wrong.
";

/// The page.
///
/// # Errors
///
/// A scenario that does not fit into memory.
pub(super) fn page() -> Result<String> {
    let mut text = head("What each protection is there for", "runs of every safe variant in mmtrace-explore");
    text.push_str(INTRO);
    let rows = mutation::table()?;
    let (needed, redundant): (Vec<_>, Vec<_>) = rows.iter().partition(|r| !r.caught.is_empty());
    let _ = writeln!(text, "\n## Needed: {}\n", needed.len());
    text.push_str(&table(
        &["function", "protection", "without it", "in", "steps", "live rules"],
        needed.into_iter().flat_map(|row| {
            let live = row.live.iter().copied().collect::<Vec<_>>().join(" ");
            row.caught.iter().map(move |c| {
                vec![
                    code(&row.site.function),
                    code(&row.site.text),
                    c.broken.id.to_owned(),
                    format!("{} {}", c.scenario, code(c.variant)),
                    c.steps.to_string(),
                    live.clone(),
                ]
            })
        }),
    ));
    let _ = writeln!(text, "\n## Not needed by any scenario: {}\n", redundant.len());
    text.push_str(&table(
        &["function", "protection", "why nothing breaks"],
        redundant.into_iter().map(|row| {
            vec![code(&row.site.function), code(&row.site.text), row.reason().unwrap_or("not known").to_owned()]
        }),
    ));
    Ok(text)
}
