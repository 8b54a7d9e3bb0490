//! The words that mmtrace was called with.

/// Returns the words that mmtrace was called with, for the manifest of a capture; invalid UTF-8 is replaced.
#[must_use]
pub(crate) fn words() -> Vec<String> {
    std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect()
}
