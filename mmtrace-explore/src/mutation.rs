//! The purpose of each protection: every safe variant is searched without it, and must break.
//!
//! A protection without which nothing breaks is either redundant, for the reason in [`REDUNDANT`], or the scenarios lack
//! something.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    live,
    scenario::{Expect, Scenario, Variant},
    scenarios, schedule,
    search::{Limits, Order, SearchError, search},
};
use crate::system::{Property, Site};

/// The violation that one variant shows without a protection.
#[derive(Clone, Copy, Debug)]
pub struct Caught {
    /// The scenario.
    pub scenario: &'static str,
    /// The variant of the scenario.
    pub variant: &'static str,
    /// The invariant that breaks.
    pub broken: &'static Property,
    /// Steps of the shortest counterexample.
    pub steps: usize,
}

/// A protection, and what breaks without it.
#[derive(Clone, Debug)]
pub struct Row {
    /// The place of the protection.
    pub site: Site,
    /// The shortest counterexample of each invariant that breaks.
    pub caught: Vec<Caught>,
    /// The live rules that see the shortest counterexample of some variant, by name.
    pub live: BTreeSet<&'static str>,
    /// The scenarios and variants in which nothing breaks.
    pub survived: Vec<(&'static str, &'static str)>,
}

impl Row {
    /// Returns why the protection is redundant, if that is known.
    #[must_use]
    pub fn reason(&self) -> Option<&'static str> {
        let here = |f: &str, t: &str| f == self.site.function && t == self.site.text;
        REDUNDANT.iter().find(|(function, text, _)| here(function, text)).map(|(.., why)| *why)
    }
}

/// Protections that no scenario needs: function, step, reason.
pub const REDUNDANT: &[(&str, &str, &str)] = &[
    (
        "__collapse_huge_page_copy",
        "spin_lock(ptl)",
        "The collapse has unlinked the table and holds the mmap_lock, the VMA lock and anon_vma for write, so nobody \
         else can reach the table. It takes the PTL because the counters that change with the entries need preemption \
         off.",
    ),
    (
        "collapse_pte_mapped_thp",
        "rcu_read_lock()",
        "In 6.12, a table is freed only under the folio lock (retract, collapse) or by a task that had the mmap_lock \
         for write (munmap). This function holds both locks. 7.2 has PT reclaim and needs the section: SC-4.15.",
    ),
    (
        "filemap_fault_recheck_pte_none",
        "spin_lock(ptl)",
        "The function reads only a hint. Without the PTL, it takes an entry that is cleared only while it is being \
         changed (ptep_modify_prot_start) for a hole. The result is one major fault too many, and nothing worse.",
    ),
    (
        "folio_lock_or_retry",
        "folio_trylock(folio)",
        "A fault waits for the folio lock until the read has ended and the folio has its place in the swap cache. \
         Neither is modelled. pte_same() under the PTL keeps two faults from both mapping the folio.",
    ),
    (
        "folio_walk_start",
        "ptl = pmd_lock(vma->vm_mm, pmdp)",
        "The walk only reads the entry. A thread that clears the entry in a shareable mapping holds i_mmap_rwsem and \
         the hugetlb lock for write, and the walk holds one of the two. Private mappings, whose pages the anon rmap \
         unmaps under the PTL alone, are not modelled.",
    ),
    (
        "gup_fast_pmd_leaf",
        "pmd_val(pmd) == pmd_val(*pmdp), folio grabbed",
        "SC-0.9 is about the table: it zaps and frees no page. SC-4.12 shows the purpose of this check, one level \
         below.",
    ),
    (
        "handle_pte_fault",
        "pmd_same(pmdval, pmdp_get_lockless(pmd))",
        "The pte_same() beside it suffices for an entry that is not none (SC-1.2 `m.rw+pte`). The mmap_lock keeps a \
         collapse away (SC-1.6 `m.rw+none,mmap`).",
    ),
    (
        "handle_speculative_fault",
        "!read_seqcount_retry(&vma->vm_sequence, seq)",
        "The fault checks the sequence again under the PTL, and that check decides. This one only saves the walk.",
    ),
    (
        "handle_speculative_fault",
        "RB_EMPTY_NODE(&vma->vm_rb), before the sequence",
        "The fault checks the tree again under the PTL, and that check decides. This one only saves the walk.",
    ),
    (
        "hugetlb_fault",
        "hugetlb_vma_lock_read(b)",
        "T3 of SC-0.10 keeps the lock busy and does nothing under it. SC-0.8 shows why a fault needs the lock.",
    ),
    (
        "hugetlb_no_page",
        "pte_same(huge_ptep_get(mm, vmf->address, vmf->pte), vmf->orig_pte)",
        "A fault that fills an entry of this index holds the same fault mutex, so an entry that was none stays none.",
    ),
    (
        "map_pte",
        "pmd_same(pmdval, pmdp_get_lockless(pmd))",
        "The walk holds anon_vma, and the only remover here, a collapse, needs it for write. With PT reclaim, the walk \
         would find a dead table empty and skip a page that may be mapped anew: SC-2.10.",
    ),
    (
        "migrate_pages",
        "folio_lock(src)",
        "The scenarios have one migrator and one page that is mapped once. The lock is against other migrators, \
         truncation and collapse (SC-4.7). A fault that finds the folio unlocked does not sleep, and faults again.",
    ),
    (
        "pte_map_lock",
        "pmd_same(READ_ONCE(*vmf->pmd), vmf->orig_pmd)",
        "The checks of tree and sequence under the PTL decide about munmap. This check is for a PMD entry that becomes \
         huge, and these scenarios have no THP collapse.",
    ),
    (
        "pte_offset_map_lock",
        "pte = pte_offset_map_lock(mm, &_pmd, address, &pte_ptl)",
        "The PMD entry is clear. The collapse holds the mmap_lock, the VMA lock and anon_vma for write, and one of \
         them keeps away every thread that would take this PTL. gup-fast takes no lock at all.",
    ),
    (
        "try_to_migrate",
        "pmd_same(pmdval, pmdp_get_lockless(pmd)), else again",
        "A dead table is empty, so check_pte() under the PTL finds nothing and the migrator skips the page. If another \
         table maps the page by then, the page's mapcount makes the migration fail, and nothing is lost.",
    ),
];

/// Searches every safe variant without each of its protections, one at a time.
///
/// # Errors
///
/// [`SearchError::Memory`].
pub fn table() -> Result<Vec<Row>, SearchError> {
    let mut rows: BTreeMap<Site, Row> = BTreeMap::new();
    for scenario in scenarios::all() {
        for variant in scenario.variants.iter().filter(|v| v.expect == Expect::Safe) {
            for site in sites(variant) {
                let result = without(scenario, variant, &site)?;
                let row = rows.entry(site.clone()).or_insert_with(|| Row {
                    site,
                    caught: Vec::new(),
                    live: BTreeSet::new(),
                    survived: Vec::new(),
                });
                match result {
                    Some((caught, live)) => {
                        note(&mut row.caught, caught);
                        row.live.extend(live);
                    }
                    None => row.survived.push((scenario.id, variant.id)),
                }
            }
        }
    }
    Ok(rows.into_values().collect())
}

/// Lists the protections of a variant, each once.
fn sites(variant: &Variant) -> Vec<Site> {
    let mut sites: Vec<Site> = variant.world().sites().cloned().collect();
    sites.sort();
    sites.dedup();
    sites
}

/// Returns what breaks without a protection, and the live rules that see it.
fn without(
    scenario: &Scenario,
    variant: &Variant,
    site: &Site,
) -> Result<Option<(Caught, Vec<&'static str>)>, SearchError> {
    let world = variant.world_without(site);
    let found = search(&world, Order::Breadth, &mut Limits::default())?;
    Ok(found.broken.map(|(moves, broken)| {
        let execution = schedule::run(&world, &moves).expect("the search took these steps");
        let caught = Caught { scenario: scenario.id, variant: variant.id, broken: broken.property, steps: moves.len() };
        (caught, live::violated(&execution).iter().map(|rule| rule.name).collect())
    }))
}

fn note(caught: &mut Vec<Caught>, new: Caught) {
    match caught.iter_mut().find(|c| c.broken == new.broken) {
        Some(old) if old.steps <= new.steps => {}
        Some(old) => *old = new,
        None => caught.push(new),
    }
}
