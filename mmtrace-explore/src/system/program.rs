//! A thread's code: a list of steps. Each is atomic; between any two of them other threads may run.

use std::borrow::Cow;

use super::{
    cells::Local,
    protocol::{Protocol, access::Access},
};

/// The place of a label that has none: no program is so long.
const UNBOUND: u8 = u8::MAX;
/// Most steps of a program.
const STEPS: usize = 250;

/// A place in a program that steps can go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(u8);

/// The continuation of a thread after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The next step.
    Next,
    /// The step at the label.
    Goto(Label),
    /// The thread waits: the step is not taken, and what it wrote is undone.
    Block,
}

/// The closure of a step.
type Call<P, T> = Box<dyn Fn(&mut Access<'_, P>) -> T + Send + Sync>;

/// The action of a step. Each kind has one box and one call, because the explorer runs millions of steps.
enum Run<P: Protocol> {
    /// Decides where to go.
    Step(Call<P, Flow>),
    /// Goes on.
    Act(Call<P, ()>),
    /// Goes to the label if the test gives this value, and on if not.
    Test(Call<P, bool>, bool, Label),
    /// Goes on once the test holds.
    Wait(Call<P, bool>),
    /// Goes to the label.
    Goto(Label),
}

/// The kind of a protection. [`System::sites`](crate::System::sites) lists them, so that each can be left out in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protection {
    /// A lock is taken.
    Lock,
    /// Something is looked at again under a lock.
    Recheck,
    /// A section in which what RCU frees stays.
    Rcu,
    /// Something is waited for, flushed or ordered.
    Wait,
}

/// The place of a protection in the code.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Site {
    /// The function that it stands in.
    pub function: String,
    /// The text of the step.
    pub text: String,
    /// Its kind.
    pub protection: Protection,
}

pub(super) struct Step<P: Protocol> {
    /// The function that it stands in; empty outside of any.
    pub(super) function: &'static str,
    /// The line of code.
    pub(super) text: Cow<'static, str>,
    run: Run<P>,
    /// The number of ways in which it can go.
    pub(super) choices: u8,
}

impl<P: Protocol> Step<P> {
    /// Takes the step.
    #[inline]
    pub(super) fn take(&self, k: &mut Access<'_, P>) -> Flow {
        match &self.run {
            Run::Step(step) => step(k),
            Run::Act(run) => {
                run(k);
                Flow::Next
            }
            Run::Test(test, jump, target) => {
                if test(k) == *jump {
                    Flow::Goto(*target)
                } else {
                    Flow::Next
                }
            }
            Run::Wait(ready) => {
                if ready(k) {
                    Flow::Next
                } else {
                    Flow::Block
                }
            }
            Run::Goto(target) => Flow::Goto(*target),
        }
    }
}

/// A thread's code, built step by step.
///
/// A step is what the real code does between two points at which another CPU can come in. Its closure is called once for
/// each state and way in which it can be taken, millions of times, so:
///
/// - it depends on nothing but the cells and variables that it reads through [`Access`], and changes nothing else;
/// - it returns: a closure that never does hangs the search, which cannot tell. A loop whose rounds others can interrupt is
///   a branch back to an earlier step; the search finds that a thread circles, however long that takes the real code;
/// - a panic in it ends the search, and reaches the caller.
pub struct Program<P: Protocol> {
    pub(super) steps: Vec<Step<P>>,
    labels: Vec<u8>,
    locals: Vec<(&'static str, u8)>,
    functions: Vec<&'static str>,
    sites: Vec<Site>,
    without: Option<Site>,
}

impl<P: Protocol> Default for Program<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Protocol> std::fmt::Debug for Program<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|s| (s.function, &s.text))).finish()
    }
}

/// A protection that a later step undoes. One that is left out has nothing to undo.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Guard {
    active: bool,
}

impl<P: Protocol> Program<P> {
    /// A program without steps.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            steps: Vec::new(),
            labels: Vec::new(),
            locals: Vec::new(),
            functions: Vec::new(),
            sites: Vec::new(),
            without: None,
        }
    }

    /// A program without steps, from which one protection is to be left out.
    #[must_use]
    pub fn without(site: &Site) -> Self {
        Self { without: Some(site.clone()), ..Self::new() }
    }

    /// Puts the steps that `body` adds into a function, by its name.
    pub fn function<T>(&mut self, name: &'static str, body: impl FnOnce(&mut Self) -> T) -> T {
        self.functions.push(name);
        let value = body(self);
        self.functions.pop();
        value
    }

    fn here(&self) -> &'static str {
        self.functions.last().copied().unwrap_or_default()
    }

    /// Adds a variable with its first value.
    pub fn local(&mut self, name: &'static str, value: u8) -> Local {
        self.locals.push((name, value));
        Local(self.locals.len() as u8 - 1)
    }

    /// Adds a label that [`Program::bind`] gives its place.
    pub fn label(&mut self) -> Label {
        self.labels.push(UNBOUND);
        Label(self.labels.len() as u8 - 1)
    }

    /// Puts a label before the next step that is added.
    pub fn bind(&mut self, label: Label) {
        self.labels[usize::from(label.0)] = self.steps.len() as u8;
    }

    /// Adds a label before the next step that is added.
    pub fn mark(&mut self) -> Label {
        let label = self.label();
        self.bind(label);
        label
    }

    /// Adds a step that decides where the thread goes.
    ///
    /// # Panics
    ///
    /// The program has more than 250 steps.
    pub fn step(
        &mut self,
        text: impl Into<Cow<'static, str>>,
        run: impl Fn(&mut Access<'_, P>) -> Flow + Send + Sync + 'static,
    ) {
        self.choice(text, 1, run);
    }

    /// Adds a step that can go several ways: [`Access::choice`] says which. The search looks at each.
    ///
    /// # Panics
    ///
    /// As [`Program::step`].
    pub fn choice(
        &mut self,
        text: impl Into<Cow<'static, str>>,
        choices: u8,
        run: impl Fn(&mut Access<'_, P>) -> Flow + Send + Sync + 'static,
    ) {
        self.push(text.into(), choices, Run::Step(Box::new(run)));
    }

    /// Adds a step that always goes on to the next one.
    ///
    /// # Panics
    ///
    /// As [`Program::step`].
    pub fn run(
        &mut self,
        text: impl Into<Cow<'static, str>>,
        run: impl Fn(&mut Access<'_, P>) + Send + Sync + 'static,
    ) {
        self.push(text.into(), 1, Run::Act(Box::new(run)));
    }

    fn push(&mut self, text: Cow<'static, str>, choices: u8, run: Run<P>) {
        assert!(self.steps.len() < STEPS, "a program has more than {STEPS} steps");
        self.steps.push(Step { function: self.here(), text, run, choices });
    }

    /// Notes that a protection stands here. The guard says whether it is active: its steps are added only then.
    pub fn protect(&mut self, protection: Protection, text: &str) -> Guard {
        let site = Site { function: self.here().to_owned(), text: text.to_owned(), protection };
        let active = self.without.as_ref() != Some(&site);
        self.sites.push(site);
        Guard { active }
    }

    /// Adds a check that leads to `otherwise` when it fails. It is a protection.
    ///
    /// # Panics
    ///
    /// As [`Program::step`].
    pub fn recheck(
        &mut self,
        text: impl Into<Cow<'static, str>>,
        otherwise: Label,
        check: impl Fn(&mut Access<'_, P>) -> bool + Send + Sync + 'static,
    ) {
        let _ = self.guarded_recheck(text, otherwise, check);
    }

    /// Adds a check as [`recheck`](Self::recheck) does. Returns its guard, for code that depends on it.
    ///
    /// # Panics
    ///
    /// As [`Program::step`].
    pub fn guarded_recheck(
        &mut self,
        text: impl Into<Cow<'static, str>>,
        otherwise: Label,
        check: impl Fn(&mut Access<'_, P>) -> bool + Send + Sync + 'static,
    ) -> Guard {
        let text = text.into();
        let guard = self.protect(Protection::Recheck, &text);
        if guard.active {
            self.push(text, 1, Run::Test(Box::new(check), false, otherwise));
        }
        guard
    }

    /// Adds a branch to `target`, taken when the test holds.
    ///
    /// # Panics
    ///
    /// As [`Program::step`].
    pub fn branch(
        &mut self,
        text: impl Into<Cow<'static, str>>,
        target: Label,
        test: impl Fn(&mut Access<'_, P>) -> bool + Send + Sync + 'static,
    ) {
        self.push(text.into(), 1, Run::Test(Box::new(test), true, target));
    }

    /// Adds a branch that is always taken.
    ///
    /// # Panics
    ///
    /// As [`Program::step`].
    pub fn goto(&mut self, text: impl Into<Cow<'static, str>>, target: Label) {
        self.push(text.into(), 1, Run::Goto(target));
    }

    /// Adds a step that waits until `take` returns true: it takes a lock. It is a protection.
    ///
    /// # Panics
    ///
    /// As [`Program::step`].
    pub fn lock(
        &mut self,
        text: impl Into<Cow<'static, str>>,
        take: impl Fn(&mut Access<'_, P>) -> bool + Send + Sync + 'static,
    ) -> Guard {
        let text = text.into();
        let guard = self.protect(Protection::Lock, &text);
        if guard.active {
            self.push(text, 1, Run::Wait(Box::new(take)));
        }
        guard
    }

    /// Adds the step that undoes a protection: the release of a lock. It adds none if the protection is left out.
    ///
    /// # Panics
    ///
    /// As [`Program::step`].
    pub fn release(
        &mut self,
        guard: Guard,
        text: impl Into<Cow<'static, str>>,
        undo: impl Fn(&mut Access<'_, P>) + Send + Sync + 'static,
    ) {
        if guard.active {
            self.run(text, undo);
        }
    }

    /// Lists the protections, in the order of the code.
    #[must_use]
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// Lists the first value of each variable.
    pub(super) fn initial(&self) -> impl Iterator<Item = u8> {
        self.locals.iter().map(|(_, value)| *value)
    }

    /// Returns a step that branches to a label without a place. The labels that a closure returns are not known.
    pub(super) fn lost_branch(&self) -> Option<&str> {
        let to_nowhere = |run: &Run<P>| match run {
            Run::Test(_, _, target) | Run::Goto(target) => self.labels[usize::from(target.0)] == UNBOUND,
            Run::Step(_) | Run::Act(_) | Run::Wait(_) => false,
        };
        self.steps.iter().find(|step| to_nowhere(&step.run)).map(|step| &*step.text)
    }

    pub(super) fn target(&self, label: Label) -> u8 {
        let at = self.labels[usize::from(label.0)];
        assert!(at != UNBOUND, "a step goes to a label that stands nowhere");
        at
    }
}

impl Guard {
    /// Returns whether the protection is not left out.
    #[must_use]
    pub const fn is_active(self) -> bool {
        self.active
    }
}
