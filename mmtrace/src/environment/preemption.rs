//! Whether the kernel preempts tasks in the kernel, and so in programs.

use std::{fs, path::Path};

use serde::Serialize;

use super::{
    finding::Finding,
    mount::{self, Mount, of_type},
};

/// Whether the kernel preempts tasks in kernel mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Preemption {
    /// The kernel's word for its preemption model; `None` where it cannot be found out.
    pub model: Option<String>,
}

/// debugfs' sched/preempt. Only where debugfs is not mounted is it mounted for this, since a new mount may give the
/// existing one other modes.
pub(super) fn switch(mounts: &[Mount]) -> Option<String> {
    match of_type(mounts, "debugfs").next() {
        Some(mount) => fs::read_to_string(mount.point.join("sched/preempt")).ok(),
        None => mount::read_detached(c"debugfs", c"sched/preempt").ok(),
    }
}

/// The model that a kernel with dynamic preemption starts with (kernel/Kconfig.preempt).
fn built_in(config: &str) -> Option<&'static str> {
    let models = [
        ("CONFIG_PREEMPT_NONE=y", "none"),
        ("CONFIG_PREEMPT_VOLUNTARY=y", "voluntary"),
        ("CONFIG_PREEMPT_LAZY=y", "lazy"),
        ("CONFIG_PREEMPT=y", "full"),
    ];
    models.into_iter().find_map(|(option, model)| config.lines().any(|line| line == option).then_some(model))
}

impl Preemption {
    /// Reads the preemption model from debugfs' sched/preempt (`switch`), else from `uname -v`, the kernel's command
    /// line and its configuration, below the directory that stands for `/`.
    pub(super) fn read(root: &Path, switch: impl FnOnce() -> Option<String>) -> Self {
        let read = |path: &str| fs::read_to_string(root.join(path)).ok();
        let version = read("proc/sys/kernel/version").unwrap_or_default();
        let has = |wanted: fn(&str) -> bool| version.split_whitespace().any(wanted);
        // kernel/sched/core.c:sched_dynamic_show puts the model in force into parentheses.
        let switch = switch();
        let chosen = switch.as_deref().and_then(|text| Some(text.split_once('(')?.1.split_once(')')?.0.to_owned()));
        let model = if chosen.is_some() {
            chosen
        } else if has(|word| word == "PREEMPT_DYNAMIC") || version.is_empty() {
            let line = read("proc/cmdline").unwrap_or_default();
            let asked = line.split_whitespace().rev().find_map(|word| word.strip_prefix("preempt="));
            asked.map(str::to_owned).or_else(|| {
                let release = read("proc/sys/kernel/osrelease")?;
                built_in(&read(&format!("boot/config-{}", release.trim()))?).map(str::to_owned)
            })
        } else if has(|word| word.starts_with("PREEMPT")) {
            // init/Makefile puts every model that preempts into UTS_VERSION.
            Some("full".to_owned())
        } else {
            Some("none or voluntary".to_owned())
        };
        Self { model }
    }

    /// Whether a task can be preempted in the kernel, as far as is known.
    #[must_use]
    pub(crate) fn happens(&self) -> bool {
        !matches!(self.model.as_deref(), Some("none" | "voluntary" | "none or voluntary"))
    }

    pub(super) fn finding(&self) -> Finding {
        const NAME: &str = "preemption";
        const STANDBY: &str = "While a task is preempted in a probe, the kernel skips this probe for other tasks on the \
                             same CPU (probes on functions; since 7.0 also those on tracepoints). mmtrace therefore \
                             attaches a standby program to each, which makes an event cost about half as much again. \
                             `mmtrace record --standby 0` attaches none.";
        match &self.model {
            Some(model) if self.happens() => Finding::ok(NAME, model).consequence(STANDBY),
            Some(model) => Finding::ok(NAME, model),
            None => {
                let value = "mmtrace cannot find it out (/sys/kernel/debug/sched/preempt), and assumes that the kernel preempts";
                Finding::ok(NAME, value).consequence(STANDBY)
            }
        }
    }
}
