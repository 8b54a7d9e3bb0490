//! What a scenario is: a few threads of execution, an initial state, and the variants of a protocol to run them with.
//! [`scenarios`](crate::scenarios) has them all.

use mmtrace_model::model::invariant::Invariant;

use crate::{
    mailing_list::MailingListThread,
    protocol::{Program, Site, World},
    search::Found,
};

/// What a variant is expected to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No interleaving breaks anything.
    Safe,
    /// The shortest counterexample breaks this.
    Breaks(Invariant),
}

/// What the live rules make of the counterexample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// Nothing: there is none, and no execution may raise an alarm.
    Quiet,
    /// They report this rule.
    Rule(&'static str),
    /// They cannot see it; the reason.
    Unseen(&'static str),
}

/// One way to do it.
#[derive(Clone, Copy)]
pub struct Variant {
    /// As in the documentation: `r.posted`, `m.rw+pmd`.
    pub id: &'static str,
    /// When and where the kernel did it so, or was to do it so.
    pub status: &'static str,
    /// What comes out.
    pub expect: Expect,
    /// Why, in a sentence or two.
    pub why: &'static str,
    /// *Sometimes* properties, by their place in [`Scenario::sometimes`], that this variant cannot reach.
    pub never: &'static [u8],
    /// What the live rules say.
    pub live: Live,
    /// Makes the threads.
    pub build: fn(&Setup<'_>) -> World,
}

impl std::fmt::Debug for Variant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Variant").field("id", &self.id).field("expect", &self.expect).finish_non_exhaustive()
    }
}

/// A question about a protocol.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// `SC-4.1`.
    pub id: &'static str,
    /// The mailing-list thread that it comes from; `None` for those that come from none.
    pub thread: Option<&'static MailingListThread>,
    /// In a few words.
    pub title: &'static str,
    /// Who does what, and what is asked.
    pub question: &'static str,
    /// Where it comes from: the place in the thread, the kernel source.
    pub source: &'static str,
    /// Situations that must occur in some execution, so that "safe" says something.
    pub sometimes: &'static [&'static str],
    /// The ways to do it.
    pub variants: &'static [Variant],
}

/// How a variant is to be built.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setup<'a> {
    /// Without this protection.
    pub without: Option<&'a Site>,
}

impl Setup<'_> {
    /// An empty program.
    #[must_use]
    pub fn program(&self) -> Program {
        Program::new(self.without)
    }
}

impl Scenario {
    /// Returns the numbers in its id, to sort by: `SC-4.10` comes after `SC-4.9`, and `SC-X.1` after both.
    pub(crate) fn sort_key(&self) -> [u32; 2] {
        let numbers = self.id.strip_prefix("SC-").unwrap_or(self.id);
        let (thread, number) = numbers.split_once('.').unwrap_or((numbers, ""));
        [thread, number].map(|n| n.parse().unwrap_or(u32::MAX))
    }

    /// The variant with this name.
    #[must_use]
    pub fn variant(&self, id: &str) -> Option<&'static Variant> {
        self.variants.iter().find(|v| v.id.eq_ignore_ascii_case(id))
    }
}

impl Scenario {
    /// Returns whether a search found what the variant is expected to do, and everything occurs that is to occur.
    #[must_use]
    pub fn is_expected(&self, variant: &Variant, found: &Found) -> bool {
        match (variant.expect, &found.broken) {
            (Expect::Safe, None) => self.unexpected(variant, found).next().is_none(),
            (Expect::Breaks(invariant), Some((_, broken))) => broken.invariant == invariant,
            _ => false,
        }
    }

    /// Lists the *sometimes* properties that a search reached although the variant cannot, or missed although it can, with
    /// whether they were reached.
    pub fn unexpected<'a>(
        &'a self,
        variant: &'a Variant,
        found: &'a Found,
    ) -> impl Iterator<Item = (&'static str, bool)> + 'a {
        self.sometimes.iter().enumerate().filter_map(move |(number, name)| {
            let reached = found.reached >> number & 1 != 0;
            let possible = !variant.never.contains(&(number as u8));
            (reached != possible).then_some((*name, reached))
        })
    }
}

impl Variant {
    /// The threads as they are.
    #[must_use]
    pub fn world(&self) -> World {
        (self.build)(&Setup::default())
    }

    /// The threads without one protection.
    #[must_use]
    pub fn world_without(&self, site: &Site) -> World {
        (self.build)(&Setup { without: Some(site) })
    }
}
