//! What each protection is there for: every good variant is run without it, and must break.
//!
//! A protection that can be left out without harm is either redundant, and then the reason
//! stands in [`REDUNDANT`], or the scenarios miss something.

use std::collections::BTreeMap;

use crate::{model::invariant::Invariant, protocol::Site};

use super::{
    scenario::{Expect, Scenario, Variant, scenarios},
    search::{Limits, MEMORY, Order, SearchError, search},
};

/// Without the protection, this breaks.
#[derive(Clone, Copy, Debug)]
pub struct Caught {
    /// In which scenario.
    pub scenario: &'static str,
    /// In which of its variants.
    pub variant: &'static str,
    /// What.
    pub broken: Invariant,
    /// After how many steps.
    pub steps: usize,
}

/// A protection, and what came of leaving it out.
#[derive(Clone, Debug)]
pub struct Row {
    /// Where it stands.
    pub site: Site,
    /// What broke: of each invariant, the shortest.
    pub caught: Vec<Caught>,
    /// Scenario and variant in which nothing did.
    pub survived: Vec<(&'static str, &'static str)>,
}

impl Row {
    /// Why it can be left out, if that is known.
    #[must_use]
    pub fn reason(&self) -> Option<&'static str> {
        let here = |f: &str, t: &str| f == self.site.function && t == self.site.text;
        REDUNDANT.iter().find(|(function, text, _)| here(function, text)).map(|(.., why)| *why)
    }
}

/// Protections that no scenario needs: function, step, reason.
pub const REDUNDANT: &[(&str, &str, &str)] = &[];

/// Leaves out every protection of every good variant, one at a time.
///
/// # Errors
///
/// A search that needs too much memory.
pub fn table() -> Result<Vec<Row>, SearchError> {
    let mut rows: BTreeMap<Site, Row> = BTreeMap::new();
    for scenario in scenarios() {
        for variant in scenario.variants.iter().filter(|v| v.expect == Expect::Safe) {
            for site in sites(variant) {
                let result = without(scenario, variant, &site)?;
                let row =
                    rows.entry(site.clone()).or_insert_with(|| Row { site, caught: Vec::new(), survived: Vec::new() });
                match result {
                    Some(caught) => note(&mut row.caught, caught),
                    None => row.survived.push((scenario.id, variant.id)),
                }
            }
        }
    }
    Ok(rows.into_values().collect())
}

/// Protections of a variant, each once.
#[must_use]
pub fn sites(variant: &Variant) -> Vec<Site> {
    let mut sites: Vec<Site> = variant.world().sites().cloned().collect();
    sites.sort();
    sites.dedup();
    sites
}

fn without(scenario: &Scenario, variant: &Variant, site: &Site) -> Result<Option<Caught>, SearchError> {
    let world = variant.world_without(site);
    let found = search(&world, Order::Breadth, &mut Limits { memory: MEMORY, progress: &mut |_, _| {} })?;
    Ok(found.broken.map(|(moves, broken)| Caught {
        scenario: scenario.id,
        variant: variant.id,
        broken: broken.invariant,
        steps: moves.len(),
    }))
}

fn note(caught: &mut Vec<Caught>, new: Caught) {
    match caught.iter_mut().find(|c| c.broken == new.broken) {
        Some(old) if old.steps <= new.steps => {}
        Some(old) => *old = new,
        None => caught.push(new),
    }
}
