//! Pages that were generated once, and that no table makes any more.

use std::{fs, io, path::Path};

use anyhow::{Context as _, Result};

use super::markdown::WRITTEN;
use crate::workspace::Workspace;

/// Returns the files below docs/ that say that they are generated and are not among `pages`.
pub(super) fn pages(workspace: &Workspace, pages: &[(String, String)]) -> Result<Vec<String>> {
    let mut stale = Vec::new();
    let mut folders = vec![workspace.path("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", workspace.shown(&folder)))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = workspace.shown(&path).to_string();
            if pages.iter().all(|(page, _)| *page != name) && is_generated(&path)? {
                stale.push(name);
            }
        }
    }
    stale.sort();
    Ok(stale)
}

fn is_generated(path: &Path) -> io::Result<bool> {
    Ok(fs::read(path)?.starts_with(WRITTEN.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_no_table_makes_is_stale_and_one_by_hand_is_not() -> Result<()> {
        let root = std::env::temp_dir().join(format!("mmtrace-stale-{}", std::process::id()));
        fs::create_dir_all(root.join("docs/threads"))?;
        let generated = format!("{WRITTEN} from a table. -->\n");
        for (path, text) in [
            ("docs/made.md", generated.as_str()),
            ("docs/threads/old.md", &generated),
            ("docs/findings.md", "# By hand\n"),
        ] {
            fs::write(root.join(path), text)?;
        }
        let workspace = Workspace { root: root.clone(), target: root.join("target") };
        let stale = pages(&workspace, &[("docs/made.md".to_owned(), generated)]);
        fs::remove_dir_all(root)?;
        assert_eq!(stale?, ["docs/threads/old.md"]);
        Ok(())
    }
}
