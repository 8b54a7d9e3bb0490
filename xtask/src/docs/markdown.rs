//! Parts of a page in Markdown.

/// Beginning of each page that is generated whole.
pub(super) const WRITTEN: &str = "<!-- Written by `cargo xtask docs`";

/// The start of a page.
pub(super) fn head(title: &str, of: &str) -> String {
    format!("{WRITTEN} from {of}. Change that, then run it again. -->\n\n# {title}\n")
}

/// A Markdown table.
pub(super) fn table(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(columns.iter().map(|c| (*c).to_owned()).collect());
    text.push_str(&line(columns.iter().map(|_| "---".to_owned()).collect()));
    for row in rows {
        text.push_str(&line(row.into_iter().map(|cell| cell.replace('|', "\\|")).collect()));
    }
    text
}

/// A name as code.
pub(super) fn code(name: &str) -> String {
    format!("`{name}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_does_not_end_a_cell() {
        assert_eq!(table(&["a"], [vec!["x|y".to_owned()]].into_iter()), "| a |\n| --- |\n| x\\|y |\n");
    }
}
