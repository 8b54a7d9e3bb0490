//! Values by which a page is known again.

use super::sys::Mapping;

/// Returns the value that is written into a page: never 0, and not the same in pages that are near each other.
pub(super) fn value(page: usize) -> u8 {
    (page % 251) as u8 + 1
}

/// Writes every `step`th page's own value; returns how many.
pub(super) fn stamp(memory: &Mapping, step: usize) -> u64 {
    (0..memory.pages()).step_by(step).for_each(|page| memory.write(page, value(page)));
    memory.pages().div_ceil(step) as u64
}

/// Counts pages that have neither their own value nor 0, among every `step`th of the first `pages`.
pub(super) fn wrong(memory: &Mapping, pages: usize, step: usize) -> u64 {
    let right = |page: usize| [0, value(page)].contains(&memory.read(page));
    (0..pages).step_by(step).filter(|page| !right(*page)).count() as u64
}
