//! Packages of Debian and its relatives.

use anyhow::Result;

use super::step::{Step, is_network};
use crate::{
    process,
    workspace::{Workspace, program},
};

/// Seconds to wait while another apt works.
const LOCK_TIMEOUT: &str = "DPkg::Lock::Timeout=300";

/// Installs packages.
pub(super) fn install(workspace: &Workspace, packages: &[&str]) -> Result<Step> {
    let names = packages.join(" ");
    let Some(apt) = program("apt-get", &[]) else {
        return Ok(Step::Impossible(format!("there is no apt-get here, which would install {names}")));
    };
    let uid = process::line(process::command("id", &workspace.root).arg("-u"));
    if uid.as_deref() != Some("0") {
        return Ok(Step::Impossible(format!("not root: as root, apt-get update && apt-get install -y {names}")));
    }
    say!("  apt-get update && apt-get install {names}");
    let command = || {
        let mut command = process::command(&apt, &workspace.root);
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-y", "-o", LOCK_TIMEOUT]);
        command
    };
    // Without new lists an old one may still do; what is missing then is seen below.
    let (_, update) = process::shown(command().arg("update"))?;
    for package in packages {
        let policy = process::output(process::command("apt-cache", &workspace.root).args(["policy", package]))?;
        let policy = String::from_utf8_lossy(&policy);
        let candidate = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
        if candidate.is_none_or(|c| c == "(none)") {
            let why = if is_network(&update) { ", and its package lists cannot be downloaded" } else { "" };
            return Ok(Step::Impossible(format!("apt knows no package {package} here{why}")));
        }
    }
    let (status, said) = process::shown(
        command()
            .args(["install", "--no-install-recommends"])
            .args(packages)
            // The lines that dpkg prints for each package are of no interest; errors are on standard error.
            .stdout(std::process::Stdio::null()),
    )?;
    Ok(if status.success() {
        Step::Installed(names)
    } else if is_network(&said) {
        Step::Impossible(format!("apt cannot download {names}"))
    } else {
        Step::Failed(format!("apt-get install {names} failed ({status})"))
    })
}
