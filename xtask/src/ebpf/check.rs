//! `cargo xtask build-ebpf --check`: whether the object that is checked in is what its sources give.

use std::fs;

use anyhow::{Context as _, Result};

use super::{
    build,
    files::{COMMAND, MANIFEST, OBJECT},
    image::Image,
    manifest::Manifest,
    sources,
    toolchain::Toolchain,
};
use crate::workspace::Workspace;

/// The result of a rebuild.
pub(crate) enum Rebuild {
    /// All that is compared is equal.
    Equal,
    /// Something differs.
    Differs {
        /// Differences of the tools from those recorded: where there are any, the object's difference may be theirs.
        other_tools: Vec<String>,
    },
    /// There are no tools: why.
    NotDone(String),
}

/// Whether sources and object are those recorded. Needs no tools.
pub(crate) fn check(workspace: &Workspace) -> Result<bool> {
    let manifest = match Manifest::read(workspace) {
        Ok(manifest) => manifest,
        Err(error) => {
            say!("{error:#}");
            return Ok(false);
        }
    };
    let sources = sources::digest(&workspace.root)? == manifest.sources_sha256;
    if sources {
        say!("sources: as recorded");
    } else {
        say!(
            "sources: mmtrace-ebpf or mmtrace-common has changed since {OBJECT} was built, so what is loaded is not \
             what is written. Build it: {COMMAND}"
        );
    }
    let bytes = fs::read(workspace.path(OBJECT)).with_context(|| format!("cannot read {OBJECT}: {COMMAND}"))?;
    let object = sources::sha256(&bytes) == manifest.object_sha256;
    if object {
        say!("object: as recorded");
    } else {
        say!("object: {OBJECT} is not the file that {MANIFEST} was written for. Build both: {COMMAND}");
    }
    Ok(sources && object)
}

/// Rebuilds, where the tools are there, and compares.
pub(crate) fn rebuild(workspace: &Workspace) -> Result<Rebuild> {
    let tools = match Toolchain::find(&workspace.root) {
        Ok(tools) => tools,
        Err(missing) => {
            say!("not rebuilt: {}", missing.short());
            say!("  to rebuild, get the tools: cargo xtask setup, or {COMMAND} for the other ways");
            return Ok(Rebuild::NotDone(missing.short()));
        }
    };
    say!("{tools}");
    let other_tools = Manifest::read(workspace).map_or_else(|_| Vec::new(), |m| m.other_tools(&tools));
    for difference in &other_tools {
        say!("other tools: {difference}");
    }
    let old = fs::read(workspace.path(OBJECT)).with_context(|| format!("cannot read {OBJECT}: {COMMAND}"))?;
    let old_image = Image::parse(&old).with_context(|| format!("{OBJECT} is damaged: {COMMAND}"))?;
    let new = build::build(workspace, &tools, true)?;
    let image = Image::parse(&new)?;
    say!("compared, bytes of each section, relocations and symbols: {}", image.summary());
    say!("not compared, since it is not loaded: {} and the order of symbols", image.not_compared());
    let differences = old_image.differences(&image);
    if differences.is_empty() {
        say!("rebuilt: equal{}", if old == new { ", to the byte" } else { "" });
        return Ok(Rebuild::Equal);
    }
    say!("rebuilt: the object is not what its sources give");
    for difference in &differences {
        say!("  {difference}");
    }
    if !other_tools.is_empty() {
        say!("  The tools are not those that it was built with: the differences may be theirs.");
    }
    say!("To check in what was built here: {COMMAND}");
    Ok(Rebuild::Differs { other_tools })
}
