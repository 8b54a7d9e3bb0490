//! Kernels, from the Debian mirror that this machine's own apt uses.
//!
//! apt works in a folder of ours, with lists and sources of its own: nothing that it sees there can be installed, and
//! this machine's apt does not see it.

use std::{
    cmp::Ordering,
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail};
use mmtrace_model::{
    examined_kernels::{EXAMINED_KERNELS, ExaminedKernel, Machine},
    kernel_version::KernelVersion,
};

use crate::{
    process,
    workspace::{Workspace, program},
};

/// End of the name of a suite of the security archive. The suite of the archive itself has the name before that.
const SECURITY: &str = "-security";
/// Keys that Debian signs with, where its own systems have them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Age at which package lists are fetched again.
const LISTS_AGE: Duration = Duration::from_secs(12 * 3600);
/// Written when the lists are new.
const STAMP: &str = "updated";

/// A kernel that is here.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// Version of its Debian package.
    pub(crate) version: String,
    /// Its image.
    pub(crate) vmlinuz: PathBuf,
}

/// The private apt.
pub(crate) struct Apt<'a> {
    workspace: &'a Workspace,
    folder: PathBuf,
    /// Reason why nothing new can be fetched.
    offline: Option<String>,
}

/// The suites that have the kernels which are booted, each once.
fn suites() -> BTreeSet<&'static str> {
    let suite = |kernel: &ExaminedKernel| match kernel.machine {
        Machine::Virtual { suite } => Some(suite),
        Machine::Real => None,
    };
    EXAMINED_KERNELS.iter().filter_map(suite).collect()
}

/// Names in Debian what a program needs to be, or says why it cannot.
fn needed(name: &str, package: &str) -> Result<(), String> {
    match program(name, &[]) {
        Some(_) => Ok(()),
        None => {
            Err(format!("there is no {name} here, so no kernel can be fetched: on Debian, apt-get install {package}"))
        }
    }
}

impl<'a> Apt<'a> {
    /// Sets it up and brings its lists up to date. Where that is impossible, kernels that are here can still be used.
    pub(crate) fn open(workspace: &'a Workspace) -> Result<Self> {
        let folder = workspace.target.join("vm/apt");
        let mut apt = Self { workspace, folder, offline: None };
        apt.offline = match needed("apt-get", "apt").and_then(|()| needed("dpkg-deb", "dpkg")) {
            Err(why) => Some(why),
            Ok(()) => apt.update()?,
        };
        Ok(apt)
    }

    /// Renews the lists if they are old; says why that is impossible.
    fn update(&self) -> Result<Option<String>> {
        let Some(sources) = self.sources()? else {
            return Ok(Some(
                "apt here names no Debian mirror, so no kernel can be fetched: add one to its sources, or run on Debian"
                    .to_owned(),
            ));
        };
        for folder in ["lists/partial", "cache/archives/partial", "none"] {
            let folder = self.folder.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        let (list, stamp) = (self.folder.join("sources.list"), self.folder.join(STAMP));
        let known = fs::read_to_string(&list).unwrap_or_default();
        let age =
            fs::metadata(&stamp).and_then(|m| m.modified()).ok().and_then(|t| SystemTime::now().duration_since(t).ok());
        if known == sources && age.is_some_and(|age| age < LISTS_AGE) {
            return Ok(None);
        }
        fs::write(&list, &sources)?;
        fs::write(self.folder.join("status"), "")?;
        say!("apt-get update, in {}", self.workspace.shown(&self.folder));
        let (status, said) = process::shown(self.command("apt-get").args(["-qq", "update"]))?;
        if status.success() && !said.lines().any(|line| line.starts_with("E:") || line.starts_with("W: Failed")) {
            fs::write(stamp, "")?;
            return Ok(None);
        }
        let why = said.lines().next().unwrap_or("it did not say why");
        Ok(Some(format!("package lists cannot be fetched: {why}; check the network, then run it again")))
    }

    /// Our sources, from the mirrors that the machine's own apt has; `None` when it has none of Debian.
    fn sources(&self) -> Result<Option<String>> {
        let mut targets = process::command("apt-get", &self.workspace.root);
        let format = "$(CREATED_BY) $(COMPONENT) $(REPO_URI)";
        let targets = process::output(targets.args(["indextargets", "--no-release-info", "--format", format]))?;
        let targets = String::from_utf8_lossy(&targets);
        let mirror = |name: &str| {
            let uris = targets.lines().filter_map(|line| line.strip_prefix("Packages main "));
            uris.map(str::trim).find(|uri| uri.split('/').any(|part| part == name))
        };
        let Some(archive) = mirror("debian") else { return Ok(None) };
        let signed = if Path::new(KEYRING).exists() { format!(" signed-by={KEYRING}") } else { String::new() };
        let security = mirror("debian-security");
        let line = |suite: &str| {
            let (uri, suite) = match (suite.strip_suffix(SECURITY), security) {
                (None, _) => (archive, suite),
                (Some(_), Some(security)) => (security, suite),
                (Some(stable), None) => (archive, stable),
            };
            format!("deb [arch=amd64 target=Packages{signed}] {uri} {suite} main\n")
        };
        Ok(Some(suites().into_iter().map(line).collect()))
    }

    /// apt-get or apt-cache with our own folders, and the machine's proxies and the like.
    fn command(&self, name: &str) -> Command {
        let mut command = process::command(name, &self.folder);
        let own = |path: &str| self.folder.join(path).display().to_string();
        for (option, value) in [
            ("Dir::State", own("")),
            ("Dir::State::lists", own("lists")),
            ("Dir::State::status", own("status")),
            ("Dir::Cache", own("cache")),
            ("Dir::Etc::sourcelist", own("sources.list")),
            ("Dir::Etc::sourceparts", own("none")),
            ("Dir::Etc::preferences", own("preferences")),
            ("Dir::Etc::preferencesparts", own("none")),
            ("Acquire::Languages", "none".to_owned()),
            // Our folder need not be readable to the user that apt would become.
            ("APT::Sandbox::User", String::new()),
        ] {
            command.arg("-o").arg(format!("{option}={value}"));
        }
        command
    }

    /// The newest kernel of a series such as `6.12`, fetched if it is not here. The inner error says why there is none.
    pub(crate) fn kernel(&self, series: KernelVersion) -> Result<Result<Kernel, String>> {
        let cache = self.workspace.target.join("vm").join(series.to_string()).join("kernel");
        if let Some(why) = &self.offline {
            return Ok(match cached(&cache)? {
                Some(kernel) => {
                    say!("{series}: {} is here already; {why}", kernel.version);
                    Ok(kernel)
                }
                None => Err(why.clone()),
            });
        }
        let names = process::output(self.command("apt-cache").args(["pkgnames", "linux-"]))?;
        let names = String::from_utf8_lossy(&names);
        let Some(package) = newest(&names, series) else {
            let have: Vec<String> = all_series(&names).iter().map(KernelVersion::to_string).collect();
            let have = have.join(", ");
            return Ok(Err(format!(
                "no suite of Debian that was looked at has a cloud kernel {series}, so it is not tested; choose from: {have}"
            )));
        };
        let show = process::output(self.command("apt-cache").args(["show", "--no-all-versions", package]))?;
        let show = String::from_utf8_lossy(&show);
        let Some(version) = show.lines().find_map(|line| line.strip_prefix("Version: ")) else {
            bail!("apt-cache show {package} names no version");
        };
        if let Some(kernel) = cached(&cache)?
            && kernel.version == version
        {
            return Ok(Ok(kernel));
        }
        say!("apt-get download {package} ({version})");
        let fresh = self.workspace.target.join("vm").join(series.to_string()).join("fresh");
        remove(&fresh)?;
        fs::create_dir_all(&fresh).with_context(|| format!("cannot make the folder {}", fresh.display()))?;
        let (status, said) =
            process::shown(self.command("apt-get").args(["-qq", "download", package]).current_dir(&fresh))?;
        if !status.success() {
            let why = said.lines().next().unwrap_or("it did not say why");
            return Ok(Err(format!("{package} cannot be fetched: {why}; check the network, then run it again")));
        }
        unpack(&fresh, &cache, version)?;
        remove(&fresh)?;
        cached(&cache)?.map(Ok).with_context(|| format!("{package} holds no kernel image"))
    }
}

/// Takes the image out of the one package in `fresh`.
fn unpack(fresh: &Path, cache: &Path, version: &str) -> Result<()> {
    let package = fs::read_dir(fresh)?.next().context("apt-get download left no file")??.path();
    let tree = fresh.join("tree");
    process::run(process::command("dpkg-deb", fresh).arg("-x").arg(package).arg(&tree))?;
    let image = find_image(&tree)?.with_context(|| format!("there is no vmlinuz in the package of {version}"))?;
    remove(cache)?;
    fs::create_dir_all(cache)?;
    fs::rename(image, cache.join("vmlinuz"))?;
    // Last: without it the cache does not count.
    fs::write(cache.join("version"), version)?;
    Ok(())
}

fn find_image(folder: &Path) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if let Some(found) = find_image(&entry.path())? {
                return Ok(Some(found));
            }
        } else if entry.file_name().to_string_lossy().starts_with("vmlinuz") {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

fn cached(cache: &Path) -> Result<Option<Kernel>> {
    let vmlinuz = cache.join("vmlinuz");
    let Ok(version) = fs::read_to_string(cache.join("version")) else { return Ok(None) };
    Ok(vmlinuz.is_file().then_some(Kernel { version, vmlinuz }))
}

/// Removes a folder, if it is there.
pub(super) fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

/// `6.1.0-56` of `linux-image-6.1.0-56-cloud-amd64`; `None` for what holds no image.
fn release(package: &str) -> Option<&str> {
    let name = package.strip_prefix("linux-image-").or_else(|| package.strip_prefix("linux-binary-"))?;
    // Packages that always depend on the newest have no third number.
    name.strip_suffix("-cloud-amd64").filter(|release| numbers(release).len() > 2)
}

fn numbers(release: &str) -> Vec<u64> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect()
}

fn newest(packages: &str, series: KernelVersion) -> Option<&str> {
    let releases = packages.lines().filter_map(|package| Some((package, release(package)?)));
    let of_series = releases.filter(|(_, release)| release.parse() == Ok(series));
    of_series
        .map(|(package, release)| (package, numbers(release)))
        .max_by(|(a, x), (b, y)| match x.cmp(y) {
            // Where the image is in a package of its own, `linux-image` is an empty one that depends on it.
            Ordering::Equal => a.starts_with("linux-binary-").cmp(&b.starts_with("linux-binary-")),
            other => other,
        })
        .map(|(package, _)| package)
}

fn all_series(packages: &str) -> BTreeSet<KernelVersion> {
    packages.lines().filter_map(|package| release(package)?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 8] = [
        "linux-image-6.1.0-9-cloud-amd64",
        "linux-image-6.1.0-56-cloud-amd64",
        "linux-image-6.1.0-56-cloud-amd64-unsigned",
        "linux-image-6.12-cloud-amd64",
        "linux-image-6.12.117+deb12-cloud-amd64",
        "linux-image-7.2.13+deb14-cloud-amd64",
        "linux-binary-7.2.13+deb14-cloud-amd64",
        "linux-modules-7.3.1+deb14-cloud-amd64",
    ];

    #[test]
    fn the_newest_kernel_of_a_series_is_chosen() {
        let names = NAMES.join("\n");
        let of = |major, minor| newest(&names, KernelVersion::new(major, minor));
        assert_eq!(of(6, 1), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(of(6, 12), Some("linux-image-6.12.117+deb12-cloud-amd64"));
        assert_eq!(of(7, 2), Some("linux-binary-7.2.13+deb14-cloud-amd64"));
        assert_eq!(of(7, 3), None);
        assert!(
            all_series(&names)
                .into_iter()
                .eq([(6, 1), (6, 12), (7, 2)].map(|(major, minor)| KernelVersion::new(major, minor)))
        );
    }
}
