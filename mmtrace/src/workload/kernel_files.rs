//! Values in files of /proc and /sys.

use std::fs;

/// The value in a setting's file: the word in brackets where it lists what may be chosen, else all of it.
pub(super) fn chosen(text: &str) -> &str {
    let word = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(word, _)| word);
    word.unwrap_or_else(|| text.trim())
}

/// The nodes, CPUs, … of a list such as `0-1,3`.
pub(super) fn number_list(text: &str) -> Vec<u32> {
    let number = |s: &str| s.trim().parse::<u32>().ok();
    text.split(',')
        .filter_map(|part| match part.split_once('-') {
            Some((from, to)) => Some(number(from)?..=number(to)?),
            None => number(part).map(|n| n..=n),
        })
        .flatten()
        .collect()
}

/// A counter of the whole machine, from its start on; 0 where there is none.
pub(super) fn vmstat(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap_or(0)
}

/// A value of a file such as /proc/meminfo, which gives it in KiB; 0 where there is none.
pub(super) fn line_kib(file: &str, field: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB")?.parse().ok());
    value.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_in_brackets() {
        assert_eq!(chosen("always [madvise] never\n"), "madvise");
        assert_eq!(chosen("0\n"), "0");
    }

    #[test]
    fn lists() {
        assert_eq!(number_list("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(number_list("0\n"), [0]);
        assert_eq!(number_list("\n"), [0; 0]);
    }
}
