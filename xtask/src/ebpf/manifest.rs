//! The manifest beside the object, which records what it was built from.

use std::fs;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{
    files::{COMMAND, MANIFEST, TARGET},
    sources,
    toolchain::Toolchain,
};
use crate::workspace::Workspace;

/// `mmtrace.bpf.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Over every file that it is built from, their names included.
    pub(super) sources_sha256: String,
    /// Over the object's bytes.
    pub(super) object_sha256: String,
    /// `rustc --version`
    pub(super) rustc: String,
    /// `bpf-linker --version`
    pub(super) bpf_linker: String,
    /// The target triple.
    pub(super) target: String,
}

impl Manifest {
    /// For an object that was just built.
    pub(super) fn new(workspace: &Workspace, object: &[u8], tools: &Toolchain) -> Result<Self> {
        Ok(Self {
            sources_sha256: sources::digest(&workspace.root)?,
            object_sha256: sources::sha256(object),
            rustc: tools.compiler.version.clone(),
            bpf_linker: tools.linker.version.clone(),
            target: TARGET.to_owned(),
        })
    }

    pub(super) fn read(workspace: &Workspace) -> Result<Self> {
        let text = fs::read(workspace.path(MANIFEST))
            .with_context(|| format!("cannot read {MANIFEST}, which says what the object was built from: {COMMAND}"))?;
        serde_json::from_slice(&text).with_context(|| format!("{MANIFEST} is damaged; {COMMAND} writes it anew"))
    }

    pub(super) fn write(&self, workspace: &Workspace) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(workspace.path(MANIFEST), text).with_context(|| format!("cannot write {MANIFEST}"))
    }

    /// Returns the differences of the tools here from those recorded, one per line.
    pub(super) fn other_tools(&self, tools: &Toolchain) -> Vec<String> {
        let pairs = [(&self.rustc, &tools.compiler.version), (&self.bpf_linker, &tools.linker.version)];
        pairs
            .into_iter()
            .filter(|(recorded, here)| recorded != here)
            .map(|(recorded, here)| format!("it was built with {recorded}, here is {here}"))
            .collect()
    }
}
