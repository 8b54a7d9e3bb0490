//! The scenarios, in the folder of their subject, and how to find one.
//!
//! Each of five folders has the subject of a mailing-list thread ([`mailing_list`](crate::mailing_list)). The other
//! scenarios are about an object that several threads rely on.

use std::sync::LazyLock;

use super::scenario::Scenario;

mod gup_fast;
mod hugetlb_walk;
mod migration_wait;
mod mmap_lock;
pub(crate) mod pte_nolock;
pub(crate) mod retract;
mod speculative_fault;
mod tlb;
pub(crate) mod vma_lock;

/// The scenarios by subject, and module by module.
const BY_SUBJECT: &[&[&[Scenario]]] = &[
    hugetlb_walk::SCENARIOS,
    pte_nolock::SCENARIOS,
    migration_wait::SCENARIOS,
    &[speculative_fault::SCENARIOS],
    retract::SCENARIOS,
    &[gup_fast::SCENARIOS, vma_lock::SCENARIOS, mmap_lock::SCENARIOS, tlb::SCENARIOS],
];

/// Lists every scenario in the order of the ids.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    static SORTED: LazyLock<Vec<&Scenario>> = LazyLock::new(|| {
        let mut all: Vec<&Scenario> = BY_SUBJECT.iter().copied().flatten().copied().flatten().collect();
        all.sort_by_key(|s| s.sort_key());
        all
    });
    SORTED.iter().copied()
}

/// Returns the scenario with this id, in any case; `SC-` may be left out.
#[must_use]
pub fn find(id: &str) -> Option<&'static Scenario> {
    all().find(|s| {
        s.id.eq_ignore_ascii_case(id) || s.id.strip_prefix("SC-").is_some_and(|rest| rest.eq_ignore_ascii_case(id))
    })
}
