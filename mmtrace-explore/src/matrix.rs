//! Every remover of page tables against everything that is put into them, and every other walker: a product of three tables,
//! which has the compositions that nobody thought of.

use mmtrace_model::model::page_tables::entry::{Marker, Pte};
use serde_json::{Value, json};

use super::{
    scenario::Setup,
    scenarios::retract::initial_states::{Base, Installer},
    search::{Limits, Order, SearchError, search},
};
use crate::protocol::{
    Program, World,
    file::{Access, At, FileVma, PAGE, file_fault, migrate_folio, unmap_mapping_pages},
    guard::Mark,
    khugepaged::{CollapsePte, Retract},
    layout::Place,
    mremap::{Move, MovePtes, move_ptes},
};
use crate::system::Property;

/// A remover of page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remover {
    Retract(Retract),
    Collapse(CollapsePte),
}

/// A remover, by name, and whether its kernel marks VMAs that may have guards.
const REMOVERS: &[(&str, Remover, Mark)] = &[
    ("retract, 6.6 to 6.18", Remover::Retract(Retract::V6_6), Mark::Never),
    ("retract, 7.2", Remover::Retract(Retract::V7_2), Mark::Before),
    ("PTE-mapped collapse, 6.6 to 6.18", Remover::Collapse(CollapsePte::V6_12), Mark::Never),
    ("PTE-mapped collapse, 7.2", Remover::Collapse(CollapsePte::V7_2), Mark::Before),
];

/// A way to put something into a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Install(Installer),
    /// A guard, as the remover's kernel installs it.
    Guard,
    /// mremap moves it there.
    Mremap(Marker),
}

/// A source, by name, and whether the mapping is shared.
const SOURCES: &[(&str, Source, bool)] = &[
    ("uffd-wp on a hole", Source::Install(Installer::Wp), true),
    ("uffd-wp on a hole, private", Source::Install(Installer::Wp), false),
    ("registration, then uffd-wp", Source::Install(Installer::RegisterWp), true),
    ("registration, then uffd-wp, private", Source::Install(Installer::RegisterWp), false),
    ("poison", Source::Install(Installer::Poison), true),
    ("poison, private", Source::Install(Installer::Poison), false),
    ("poison, then unregistered", Source::Install(Installer::PoisonUnregister), true),
    ("poison, then unregistered, private", Source::Install(Installer::PoisonUnregister), false),
    ("guard", Source::Guard, true),
    ("guard, private", Source::Guard, false),
    ("UFFDIO_COPY, private", Source::Install(Installer::Copy), false),
    ("poison that mremap moves", Source::Mremap(Marker::POISONED), true),
    ("guard that mremap moves", Source::Mremap(Marker::GUARD), true),
];

/// Another thread that walks the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walker {
    Nobody,
    Fault,
    Migration,
    HolePunch,
}

const WALKERS: &[(&str, Walker)] = &[
    ("alone", Walker::Nobody),
    ("with a fault", Walker::Fault),
    ("with migration", Walker::Migration),
    ("with a hole punch", Walker::HolePunch),
];

/// Returns where a violation is known from: a finding on real kernels, or a scenario.
fn known(remover: Remover, source: Source) -> Option<&'static str> {
    use Installer::{Poison, PoisonUnregister};
    match (remover, source) {
        (Remover::Retract(_), Source::Install(Poison | PoisonUnregister)) => Some("F1"),
        (Remover::Collapse(_), Source::Guard) => Some("F2"),
        (Remover::Collapse(_), Source::Install(Poison | PoisonUnregister)) => Some("F3"),
        (Remover::Retract(_), Source::Guard) => Some("SC-4.5"),
        _ => None,
    }
}

/// One composition.
#[derive(Clone, Copy, Debug)]
pub struct Composition {
    remover: (&'static str, Remover, Mark),
    source: (&'static str, Source, bool),
    walker: (&'static str, Walker),
}

impl Composition {
    /// Returns its objects and threads.
    #[must_use]
    fn world(&self) -> World {
        let s = Setup::default();
        let (_, source, shared) = self.source;
        let mut b = Base::new(2);
        let area = b.area("vma", Some("A"), 3, shared);
        let a = b.first_table();
        let installer = match source {
            Source::Install(installer) => installer,
            Source::Guard => Installer::Guard(self.remover.2),
            Source::Mremap(marker) => {
                b.fill(a, 1, Pte::Marker(marker).encode());
                return self.moved(b, area, marker);
            }
        };
        if let Remover::Collapse(_) = self.remover.1 {
            b.fill(a, 0, Pte::present(PAGE).encode());
        }
        let fresh = b.fresh(&["B"], 3);
        self.remove(&s, &mut b, &[area]);
        installer.thread(&s, &mut b, "U", At { area, index: 1, fresh });
        self.walk(&s, &mut b, area);
        b.done()
    }

    fn remove(&self, s: &Setup<'_>, b: &mut Base, areas: &[FileVma]) {
        match self.remover.1 {
            Remover::Retract(rules) => b.khugepaged(s, rules, areas),
            Remover::Collapse(rules) => b.collapse(s, rules, areas[0]),
        }
    }

    fn walk(&self, s: &Setup<'_>, b: &mut Base, area: FileVma) {
        let mut p = s.program();
        match self.walker.1 {
            Walker::Nobody => return,
            Walker::Fault => {
                let at = At { area, index: 2, fresh: b.fresh(&["E"], 3) };
                file_fault(&mut p, at, if area.shared { Access::Read } else { Access::Cow });
            }
            Walker::Migration => migrate_folio(&mut p, At { area, index: 0, fresh: b.fresh(&[], 3) }),
            Walker::HolePunch => unmap_mapping_pages(&mut p, area),
        }
        b.w.thread("T", p);
    }

    fn moved(&self, mut b: Base, old: FileVma, marker: Marker) -> World {
        use crate::protocol::file::{MAYBE_GUARD, UFFD_MINOR};
        let s = Setup::default();
        let new = b.unborn("new", 3);
        let marked = self.remover.2 == Mark::Before;
        b.w.set(
            old.vm_flags,
            match marker {
                Marker::GUARD if marked => MAYBE_GUARD,
                Marker::GUARD => 0,
                _ => UFFD_MINOR,
            },
        );
        let place = |area: FileVma| Place { pmd: area.pmd, index: 1 };
        let expected = b.w.expected_marker(marker, &[place(old), place(new)]);
        b.w.expected_from_start(expected, 0);
        let fresh = b.fresh(&["B", "C"], 3);
        self.remove(&s, &mut b, &[new]);
        let mut p: Program = s.program();
        let rules = MovePtes { rmap_locks: false, pmd_same: false };
        move_ptes(&mut p, Move { old, new }, fresh, rules, Some(expected));
        b.w.thread("M", p);
        self.walk(&s, &mut b, new);
        b.done()
    }
}

/// Lists every composition.
fn compositions() -> impl Iterator<Item = Composition> {
    REMOVERS.iter().flat_map(|remover| {
        SOURCES.iter().flat_map(move |source| {
            WALKERS.iter().map(move |walker| Composition { remover: *remover, source: *source, walker: *walker })
        })
    })
}

/// The verdict on one composition.
#[derive(Clone, Debug)]
pub struct Row {
    /// The composition.
    pub composition: Composition,
    /// The invariant that breaks, if one does.
    pub invariant: Option<&'static Property>,
    /// A description of the violation, as a sentence.
    pub why: Option<String>,
    /// Steps of the shortest counterexample.
    pub steps: usize,
    /// Distinct states.
    pub states: usize,
    /// The finding on real kernels, or the scenario, that the violation is known from.
    pub known: Option<&'static str>,
}

impl Row {
    /// Returns whether it breaks an invariant in a way that is not known: a candidate for a finding.
    #[must_use]
    pub const fn is_candidate(&self) -> bool {
        self.invariant.is_some() && self.known.is_none()
    }

    /// Returns the row for scripts.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "remover": self.composition.remover.0,
            "installer": self.composition.source.0,
            "walker": self.composition.walker.0,
            "verdict": self.invariant.map_or("safe", |property| property.id),
            "why": self.why,
            "steps": self.steps,
            "states": self.states,
            "known": self.known,
            "candidate": self.is_candidate(),
        })
    }
}

/// Searches every composition.
///
/// # Errors
///
/// [`SearchError::Memory`].
pub fn run(order: Order, limits: &mut Limits<'_>) -> Result<Vec<Row>, SearchError> {
    compositions()
        .map(|composition| {
            let found = search(&composition.world(), order, limits)?;
            let broken = found.broken;
            Ok(Row {
                composition,
                invariant: broken.as_ref().map(|(_, b)| b.property),
                steps: broken.as_ref().map_or(0, |(moves, _)| moves.len()),
                known: broken.as_ref().and_then(|_| known(composition.remover.1, composition.source.1)),
                why: broken.map(|(_, b)| b.why),
                states: found.states,
            })
        })
        .collect()
}

/// Returns the rows as a table: a line for each remover and source, a column for each walker.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    let _ = write!(out, "{:<34}{:<37}", "what removes the table", "what is put into it");
    for (name, _) in WALKERS {
        let _ = write!(out, "{name:<19}");
    }
    let _ = writeln!(out, "known");
    for line in rows.chunks(WALKERS.len()) {
        let Some(first) = line.first() else { continue };
        let _ = write!(out, "{:<34}{:<37}", first.composition.remover.0, first.composition.source.0);
        for row in line {
            let verdict = match row.invariant {
                Some(property) => format!("{} in {}", property.id, row.steps),
                None => "safe".to_owned(),
            };
            let _ = write!(out, "{verdict:<19}");
        }
        let note = if line.iter().any(Row::is_candidate) {
            "candidate"
        } else {
            line.iter().find_map(|r| r.known).unwrap_or_default()
        };
        let _ = writeln!(out, "{note}");
    }
    out.lines().map(|l| format!("{}\n", l.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_is_known_or_a_candidate() {
        let mut limits = Limits::default();
        let rows = run(Order::Reduced, &mut limits).expect("the compositions are small");
        assert_eq!(rows.len(), compositions().count());
        for row in &rows {
            let mremap = matches!(row.composition.source.1, Source::Mremap(_));
            assert_eq!(row.is_candidate(), mremap && row.invariant.is_some(), "{:?}", row.composition);
        }
        assert!(rows.iter().any(Row::is_candidate));
    }
}
