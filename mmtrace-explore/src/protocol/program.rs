//! A thread's code: a list of steps, each atomic, between any two of which others may run.

use std::borrow::Cow;

use super::{kernel::Kernel, layout::Local};

/// A place in a program to go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(u8);

/// Where a thread goes after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// To the next step.
    Next,
    /// Elsewhere.
    Goto(Label),
    /// Nowhere: it waits, and nothing has changed.
    Block,
}

/// What a step does. One box and one call for each: the explorer runs millions of them.
enum Run {
    /// Decides where to go.
    Step(Box<dyn Fn(&mut Kernel<'_>) -> Flow + Send + Sync>),
    /// Goes on.
    Act(Box<dyn Fn(&mut Kernel<'_>) + Send + Sync>),
    /// Goes to the label if it is so (true), or if it is not.
    Test(Box<dyn Fn(&mut Kernel<'_>) -> bool + Send + Sync>, bool, Label),
    /// Waits until it is so.
    Wait(Box<dyn Fn(&mut Kernel<'_>) -> bool + Send + Sync>),
    /// Goes to the label.
    Goto(Label),
}

/// What a step protects from: the sites that the mutation table switches off one by one.
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

/// A protection, by the place where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Site {
    /// The kernel function.
    pub function: String,
    /// The step.
    pub text: String,
    /// Its kind.
    pub protection: Protection,
}

pub(crate) struct Step {
    /// Kernel function that it stands in.
    pub(crate) function: &'static str,
    /// The line of code.
    pub(crate) text: Cow<'static, str>,
    run: Run,
    /// Ways that it can go.
    pub(crate) choices: u8,
}

impl Step {
    /// Takes it.
    #[inline]
    pub(crate) fn take(&self, k: &mut Kernel<'_>) -> Flow {
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

/// A thread's code.
pub struct Program {
    pub(crate) steps: Vec<Step>,
    labels: Vec<u8>,
    locals: Vec<(&'static str, u8)>,
    functions: Vec<&'static str>,
    sites: Vec<Site>,
    without: Option<Site>,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|s| (s.function, &s.text))).finish()
    }
}

/// What a protection was for: needed to undo it. A site that is switched off undoes nothing.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Guard {
    active: bool,
}

impl Program {
    /// Empty. `without` names a protection that is left out.
    #[must_use]
    pub fn new(without: Option<&Site>) -> Self {
        Self {
            steps: Vec::new(),
            labels: Vec::new(),
            locals: Vec::new(),
            functions: vec!["?"],
            sites: Vec::new(),
            without: without.cloned(),
        }
    }

    /// Everything added by `body` stands in this kernel function.
    pub fn function<T>(&mut self, name: &'static str, body: impl FnOnce(&mut Self) -> T) -> T {
        self.functions.push(name);
        let value = body(self);
        self.functions.pop();
        value
    }

    fn here(&self) -> &'static str {
        self.functions.last().copied().unwrap_or("?")
    }

    /// A variable, with its first value.
    pub fn local(&mut self, name: &'static str, value: u8) -> Local {
        self.locals.push((name, value));
        Local(self.locals.len() as u8 - 1)
    }

    /// A place to be determined by [`Program::bind`].
    pub fn label(&mut self) -> Label {
        self.labels.push(u8::MAX);
        Label(self.labels.len() as u8 - 1)
    }

    /// The label is here.
    pub fn bind(&mut self, label: Label) {
        self.labels[usize::from(label.0)] = self.steps.len() as u8;
    }

    /// A label here.
    pub fn mark(&mut self) -> Label {
        let label = self.label();
        self.bind(label);
        label
    }

    /// A step.
    ///
    /// # Panics
    ///
    /// When the program has more than 250 steps.
    pub fn step(
        &mut self,
        text: impl Into<Cow<'static, str>>,
        run: impl Fn(&mut Kernel<'_>) -> Flow + Send + Sync + 'static,
    ) {
        self.choice(text, 1, run);
    }

    /// A step that can go several ways: [`Kernel::choice`] says which.
    ///
    /// # Panics
    ///
    /// As [`Program::step`].
    pub fn choice(
        &mut self,
        text: impl Into<Cow<'static, str>>,
        choices: u8,
        run: impl Fn(&mut Kernel<'_>) -> Flow + Send + Sync + 'static,
    ) {
        self.push(text.into(), choices, Run::Step(Box::new(run)));
    }

    /// A step that always goes on to the next one.
    pub fn run(&mut self, text: impl Into<Cow<'static, str>>, run: impl Fn(&mut Kernel<'_>) + Send + Sync + 'static) {
        self.push(text.into(), 1, Run::Act(Box::new(run)));
    }

    fn push(&mut self, text: Cow<'static, str>, choices: u8, run: Run) {
        assert!(self.steps.len() < 250, "a program has more steps than a byte counts");
        self.steps.push(Step { function: self.here(), text, run, choices });
    }

    /// A step of this kind stands here: says whether it is there, and notes the site.
    pub fn protect(&mut self, protection: Protection, text: &str) -> Guard {
        let site = Site { function: self.here().to_owned(), text: text.to_owned(), protection };
        let active = self.without.as_ref() != Some(&site);
        self.sites.push(site);
        Guard { active }
    }

    /// A check that leads to `otherwise` when it fails. A protection: it can be switched off.
    pub fn recheck(
        &mut self,
        text: impl Into<Cow<'static, str>>,
        otherwise: Label,
        check: impl Fn(&mut Kernel<'_>) -> bool + Send + Sync + 'static,
    ) {
        let _ = self.guarded_recheck(text, otherwise, check);
    }

    /// As [`recheck`](Self::recheck), where what follows depends on whether it is made.
    pub fn guarded_recheck(
        &mut self,
        text: impl Into<Cow<'static, str>>,
        otherwise: Label,
        check: impl Fn(&mut Kernel<'_>) -> bool + Send + Sync + 'static,
    ) -> Guard {
        let text = text.into();
        let guard = self.protect(Protection::Recheck, &text);
        if guard.active {
            self.push(text, 1, Run::Test(Box::new(check), false, otherwise));
        }
        guard
    }

    /// A branch: to `target` when it is so.
    pub fn branch(
        &mut self,
        text: impl Into<Cow<'static, str>>,
        target: Label,
        test: impl Fn(&mut Kernel<'_>) -> bool + Send + Sync + 'static,
    ) {
        self.push(text.into(), 1, Run::Test(Box::new(test), true, target));
    }

    /// Goes elsewhere.
    pub fn goto(&mut self, text: impl Into<Cow<'static, str>>, target: Label) {
        self.push(text.into(), 1, Run::Goto(target));
    }

    /// Takes a lock, waiting for it. A protection.
    pub fn lock(
        &mut self,
        text: impl Into<Cow<'static, str>>,
        take: impl Fn(&mut Kernel<'_>) -> bool + Send + Sync + 'static,
    ) -> Guard {
        let text = text.into();
        let guard = self.protect(Protection::Lock, &text);
        if guard.active {
            self.push(text, 1, Run::Wait(Box::new(take)));
        }
        guard
    }

    /// Undoes what a guard stands for: a release. Nothing when the site is switched off.
    pub fn release(
        &mut self,
        guard: Guard,
        text: impl Into<Cow<'static, str>>,
        undo: impl Fn(&mut Kernel<'_>) + Send + Sync + 'static,
    ) {
        if guard.active {
            self.run(text, undo);
        }
    }

    /// `rcu_read_lock()`. A protection.
    pub fn rcu_read_lock(&mut self) -> Guard {
        let guard = self.protect(Protection::Rcu, "rcu_read_lock()");
        if guard.active {
            self.run("rcu_read_lock()", |k| k.rcu_read_lock());
        }
        guard
    }

    /// `rcu_read_unlock()`.
    pub fn rcu_read_unlock(&mut self, guard: Guard) {
        self.release(guard, "rcu_read_unlock()", |k| k.rcu_read_unlock());
    }

    /// Sites of protections, in the order of the code.
    #[must_use]
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// The first value of each variable.
    pub(crate) fn initial(&self) -> impl Iterator<Item = u8> {
        self.locals.iter().map(|(_, value)| *value)
    }

    pub(crate) fn target(&self, label: Label) -> u8 {
        self.labels[usize::from(label.0)]
    }
}

impl Guard {
    /// Whether the site is not switched off.
    #[must_use]
    pub const fn is_active(self) -> bool {
        self.active
    }
}
