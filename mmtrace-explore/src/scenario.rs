//! A scenario: a question about a protocol of the kernel, and the variants of the protocol that answer it.
//! [`scenarios`](crate::scenarios) has them all.

use mmtrace_model::model::invariant::Invariant;

use crate::{
    mailing_list::MailingListThread,
    protocol::{Program, Site, World},
    search::Found,
    system::Property,
};

/// The verdict that is expected of a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No interleaving breaks anything.
    Safe,
    /// The shortest counterexample breaks this invariant.
    Breaks(Invariant),
}

/// The response of the live rules to a variant's counterexample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// There is no counterexample, and no execution raises an alarm.
    Quiet,
    /// They report this rule.
    Rule(&'static str),
    /// They cannot see it, for this reason.
    Unseen(&'static str),
}

/// One variant of a protocol.
#[derive(Clone, Copy)]
pub struct Variant {
    /// Its name: `r.posted`, `m.rw+pmd`.
    pub id: &'static str,
    /// Which kernel does it so, or which posting proposed it.
    pub status: &'static str,
    /// The expected verdict.
    pub expect: Expect,
    /// The reason of the verdict, in a sentence or two.
    pub why: &'static str,
    /// *Sometimes* properties that this variant cannot reach, by their place in [`Scenario::sometimes`].
    pub never: &'static [u8],
    /// The response of the live rules to the counterexample.
    pub live: Live,
    /// Makes the objects and the threads.
    pub(crate) build: fn(&Setup<'_>) -> World,
}

impl std::fmt::Debug for Variant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Variant").field("id", &self.id).field("expect", &self.expect).finish_non_exhaustive()
    }
}

/// A question about a protocol.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name: `SC-4.1`.
    pub id: &'static str,
    /// The mailing-list thread that it comes from, if it comes from one.
    pub thread: Option<&'static MailingListThread>,
    /// Its subject, in a few words.
    pub title: &'static str,
    /// The actions of each thread of execution, and the question about them.
    pub question: &'static str,
    /// Its origin: a message of the mailing list, a place in the kernel's source.
    pub source: &'static str,
    /// Situations that must occur in some execution: without them, "safe" would mean little.
    pub sometimes: &'static [&'static str],
    /// The variants of the protocol.
    pub variants: &'static [Variant],
}

/// The options for building a variant.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Setup<'a> {
    /// A protection that is left out.
    pub(crate) without: Option<&'a Site>,
}

impl Setup<'_> {
    /// Returns a program without steps.
    #[must_use]
    pub(crate) fn program(&self) -> Program {
        self.without.map_or_else(Program::new, Program::without)
    }
}

impl Scenario {
    /// Returns the numbers in its id, to sort by: `SC-4.10` comes after `SC-4.9`, and `SC-X.1` after both.
    pub(crate) fn sort_key(&self) -> [u32; 2] {
        let numbers = self.id.strip_prefix("SC-").unwrap_or(self.id);
        let (thread, number) = numbers.split_once('.').unwrap_or((numbers, ""));
        [thread, number].map(|n| n.parse().unwrap_or(u32::MAX))
    }

    /// Returns the variant with this name, in any case.
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
            (Expect::Breaks(invariant), Some((_, broken))) => broken.property == <&Property>::from(invariant),
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
    /// Returns the objects and the threads.
    #[must_use]
    pub fn world(&self) -> World {
        (self.build)(&Setup::default())
    }

    /// Returns them without one protection.
    #[must_use]
    pub(crate) fn world_without(&self, site: &Site) -> World {
        (self.build)(&Setup { without: Some(site) })
    }
}
