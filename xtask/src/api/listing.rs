//! The public API as a list of items, one a line.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result};

/// Lists what rustdoc wrote of a library, without what every type implements.
pub(super) fn listing(json: &Path) -> Result<String> {
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .build()
        .with_context(|| format!("cannot make out the public API in {}", json.display()))?;
    Ok(api.to_string())
}

/// Returns the lines that two lists do not have in common: `-` for those of the old one, `+` for those of the new one.
pub(super) fn difference(old: &str, new: &str) -> Vec<String> {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for line in old.lines() {
        *counts.entry(line).or_default() -= 1;
    }
    for line in new.lines() {
        *counts.entry(line).or_default() += 1;
    }
    let lines = counts.into_iter().flat_map(|(line, count)| {
        let sign = if count < 0 { '-' } else { '+' };
        std::iter::repeat_n(format!("{sign} {line}"), count.unsigned_abs() as usize)
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_has_what_went_and_what_came_and_nothing_that_stayed() {
        let (old, new) = ("fn a()\nfn b()\nimpl C\nimpl C\n", "fn a()\nfn b(u8)\nimpl C\n");
        assert_eq!(difference(old, new), ["- fn b()", "+ fn b(u8)", "- impl C"]);
        assert!(difference(old, old).is_empty());
    }
}
