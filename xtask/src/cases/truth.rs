//! What a situation counted of itself.

use std::collections::BTreeMap;

/// The counts of a workload, by path and name.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    counts: BTreeMap<(String, String), u64>,
    /// Paths that were not driven, with the reason.
    pub(crate) notes: Vec<String>,
    /// Time that it ran, seconds.
    pub(crate) seconds: f64,
}

impl Truth {
    /// Reads the lines that a workload prints, as `case-turns/forker: 86 clone, 623979843 clone cpu ns (a note)`. Other
    /// lines are left out.
    pub(crate) fn read(workload: &str, text: &str) -> Self {
        let mut truth = Self::default();
        for line in text.lines() {
            let Some(rest) = line.strip_prefix(workload) else { continue };
            if let Some(seconds) = rest.strip_prefix(": ").and_then(|rest| rest.rsplit_once(" after ")) {
                truth.seconds = seconds.1.trim_end_matches(" s").parse().unwrap_or_default();
            }
            let Some((path, counts)) = rest.strip_prefix('/').and_then(|rest| rest.split_once(": ")) else { continue };
            let (counts, note) = counts.split_once(" (").unwrap_or((counts, ""));
            let mut found = false;
            for (count, what) in counts.split(", ").filter_map(|part| part.split_once(' ')) {
                if let Ok(count) = count.parse() {
                    found = true;
                    truth.counts.insert((path.to_owned(), what.to_owned()), count);
                }
            }
            if !note.is_empty() || !found {
                truth.notes.push(format!("{path}: {}", if found { note } else { counts }));
            }
        }
        truth
    }

    /// Whether nothing was counted.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// A count; 0 if there is none.
    pub(super) fn count(&self, path: &str, what: &str) -> u64 {
        self.counts.get(&(path.to_owned(), what.to_owned())).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_notes_are_read() {
        let text = "case-turns/forker: 86 clone, 623 clone cpu ns\ncase-turns/x: not made: no, never\nready\n\
                    case-turns/y: 3 mmap (stopped early: no memory)\ncase-turns: done after 2.1 s\n";
        let truth = Truth::read("case-turns", text);
        assert_eq!((truth.count("forker", "clone"), truth.count("forker", "clone cpu ns")), (86, 623));
        assert_eq!(truth.notes, ["x: not made: no, never", "y: stopped early: no memory)"]);
        assert!((truth.seconds - 2.1).abs() < 1e-9);
    }
}
