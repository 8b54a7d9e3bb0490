//! Which events a user wants: `-e +x,-y,only:z`.

use std::{collections::BTreeSet, str::FromStr};

use mmtrace_common::{Kind, SPECS};

/// A set of events; unless the user says otherwise, all that are on by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    wanted: BTreeSet<Kind>,
    /// Events that are recorded as well, since they name tasks.
    naming: BTreeSet<Kind>,
    /// Of the wanted ones, those that the list names.
    named: BTreeSet<Kind>,
    /// The list as typed, for reports.
    text: Option<String>,
}

impl Default for Selection {
    fn default() -> Self {
        let wanted = probed().filter(|s| s.site.on).map(|s| s.kind).collect();
        Self { wanted, naming: BTreeSet::new(), named: BTreeSet::new(), text: None }
    }
}

fn probed() -> impl Iterator<Item = &'static mmtrace_common::Spec> {
    SPECS.iter().filter(|s| !s.kind.is_synthetic())
}

/// Events without which tasks have no names and no cgroups. `only:` keeps them: there are few, some for each process.
const NAMING: [Kind; 5] = [Kind::Fork, Kind::Exec, Kind::Exit, Kind::TaskRename, Kind::CgroupAttachTask];

impl Selection {
    /// Whether this event is in.
    #[must_use]
    pub(crate) fn wants(&self, kind: Kind) -> bool {
        self.wanted.contains(&kind)
    }

    /// Whether this event is not in, and is to be recorded for the names that it gives.
    #[must_use]
    pub(crate) fn names_with(&self, kind: Kind) -> bool {
        self.naming.contains(&kind)
    }

    /// Whether this event is in, and the list names it or its trace system.
    #[must_use]
    pub fn names(&self, kind: Kind) -> bool {
        self.wants(kind) && self.named.contains(&kind)
    }

    /// Returns the list as typed, if one was.
    #[must_use]
    pub(crate) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    fn add(&mut self, kinds: &[Kind]) {
        self.wanted.extend(kinds);
        self.named.extend(kinds);
    }
}

/// Events that a name stands for: one event, or all of a trace system.
fn named(name: &str) -> Result<Vec<Kind>, String> {
    if name == "all" {
        return Ok(probed().map(|s| s.kind).collect());
    }
    let (system, event) = name.split_once(':').map_or((None, name), |(s, e)| (Some(s), e));
    let found: Vec<Kind> = probed()
        .filter(|s| match system {
            Some(system) => s.site.system == system && (event == "*" || s.name == event),
            None => s.name == event || s.site.system == event,
        })
        .map(|s| s.kind)
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let near: Vec<&str> = probed().map(|s| s.name).filter(|n| n.contains(event) && !event.is_empty()).collect();
    let hint = if near.is_empty() {
        let systems: BTreeSet<&str> = probed().map(|s| s.site.system).collect();
        format!("the trace systems are {}; `mmtrace doctor` lists the events", Vec::from_iter(systems).join(", "))
    } else {
        format!("did you mean {}?", near.join(" or "))
    };
    Err(format!("no event or trace system is called `{name}`: {hint}"))
}

impl FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut selection = Self { text: Some(text.to_owned()), ..Self::default() };
        let (mut only, mut removed) = (false, BTreeSet::new());
        for word in text.split(',').map(str::trim) {
            if let Some(name) = word.strip_prefix("only:") {
                if !only {
                    selection.wanted.clear();
                }
                only = true;
                selection.add(&named(name)?);
            } else if let Some(name) = word.strip_prefix('+') {
                selection.add(&named(name)?);
            } else if let Some(name) = word.strip_prefix('-') {
                for kind in named(name)? {
                    selection.wanted.remove(&kind);
                    removed.insert(kind);
                }
            } else {
                return Err(format!(
                    "`{word}` needs a sign: +{word} adds it, -{word} removes it, only:{word} selects it and the events that name \
                     tasks"
                ));
            }
        }
        if selection.wanted.is_empty() {
            return Err("this list selects no event".to_owned());
        }
        if only {
            let kept = NAMING.iter().filter(|kind| !removed.contains(kind) && !selection.wanted.contains(kind));
            selection.naming = kept.copied().collect();
        }
        Ok(selection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_taken_from_left_to_right() {
        let s: Selection = "only:mmap_lock,+page_fault_user,-mmap_lock_released".parse().expect("valid");
        assert_eq!(
            s.wanted.iter().copied().collect::<Vec<_>>(),
            [Kind::PageFaultUser, Kind::StartLocking, Kind::AcquireReturned]
        );
        let s: Selection = "-tlb_flush,-maple_tree:*".parse().expect("valid");
        assert!(!s.wants(Kind::TlbFlush) && !s.wants(Kind::MaWrite) && s.wants(Kind::Fork));
        assert!(!s.names(Kind::Fork), "it is in by itself");
        let s: Selection = "+software,-page_faults_maj".parse().expect("valid");
        assert!(s.names(Kind::PageFaultsMin) && !s.names(Kind::PageFaultsMaj));
    }

    #[test]
    fn what_names_tasks_stays_unless_it_is_removed() {
        let s: Selection = "only:page_fault_user".parse().expect("valid");
        assert!(NAMING.iter().all(|kind| s.names_with(*kind) && !s.wants(*kind)));
        let s: Selection = "only:page_fault_user,+sched_process_exec,-task_rename".parse().expect("valid");
        assert_eq!(
            [Kind::TaskRename, Kind::Exec, Kind::Fork].map(|kind| (s.wants(kind), s.names_with(kind))),
            [(false, false), (true, false), (false, true)]
        );
        let s: Selection = "-sched_process_exit".parse().expect("valid");
        assert!(!s.wants(Kind::Exit) && s.wants(Kind::TaskRename) && !s.names_with(Kind::Exit));
    }

    #[test]
    fn a_wrong_word_is_explained() {
        for (text, says) in [
            ("page_fault", "needs a sign"),
            ("+page_falt", "no event or trace system"),
            ("+page_fault", "did you mean page_fault_user or page_fault_kernel or page_faults_min or page_faults_maj?"),
            ("-all", "selects no event"),
            ("only:page_fault_user,-page_fault_user", "selects no event"),
        ] {
            let error = text.parse::<Selection>().expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
