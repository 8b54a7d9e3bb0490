//! From the name of a container to its cgroup.
//!
//! The path of a cgroup holds the id of a container (docker, podman, containerd, CRI-O, nerdctl), or its name (LXC,
//! systemd-machined). Names of docker, podman and nerdctl are looked up in the files where these keep them.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{cgroup::CgroupError, cgroup_paths::walk, mount};

/// Digits of a container's id.
const ID: usize = 64;
/// Digits that a beginning of an id has at least.
const ID_MIN: usize = 4;
/// Bytes of a runtime's file that are read.
const FILE_MAX: u64 = 1 << 24;
/// Containers that are named where several fit.
const SHOWN: usize = 8;

/// Reason why a name leads to no container.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContainerError {
    /// No cgroup is that container's.
    #[error(
        "no container {name} runs here: no cgroup v2 below {} belongs to one whose id begins so (four hexadecimal digits at \
         least, in small letters), and docker, podman and nerdctl keep no such name here; to list the ids: docker ps, podman \
         ps, crictl ps or nerdctl ps; to record a cgroup by its path: -G PATH", root.display()
    )]
    Absent {
        /// As given.
        name: String,
        /// Mount point of cgroup v2.
        root: PathBuf,
    },
    /// Several are.
    #[error("--container {name} could be any of {}: {}; give more of the id", found.len(), listed(found))]
    Ambiguous {
        /// As given.
        name: String,
        /// Their cgroups.
        found: Vec<PathBuf>,
    },
    /// There is no v2 hierarchy to look in.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
}

fn listed(found: &[PathBuf]) -> String {
    let shown: Vec<String> = found.iter().take(SHOWN).map(|path| path.display().to_string()).collect();
    let more = if found.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Finds the directory of a container's cgroup by the container's id, a beginning of that, or its name.
///
/// # Errors
/// There is none, or there are several.
pub(crate) fn find(name: &str) -> Result<PathBuf, ContainerError> {
    let root = Path::new("/");
    let mounts = mount::mounts(root);
    let hierarchy = mount::cgroup2(&mounts).ok_or(CgroupError::NotMounted)?;
    let folders = walk(&hierarchy.point).into_values().collect();
    choose(name, folders, &ids_of_name(root, name)).map_err(|found| match found.is_empty() {
        true => ContainerError::Absent { name: name.to_owned(), root: hierarchy.point.clone() },
        false => ContainerError::Ambiguous { name: name.to_owned(), found },
    })
}

/// Chooses the one folder that is a container's of this name or of one of these ids; all of them if there is not one.
fn choose(name: &str, folders: Vec<PathBuf>, ids: &BTreeSet<String>) -> Result<PathBuf, Vec<PathBuf>> {
    let is_id = name.len() >= ID_MIN && name.len() <= ID && is_hex(name);
    let fits = |folder: &Path| {
        let Some(component) = folder.file_name().and_then(|component| component.to_str()) else { return false };
        match id(component) {
            Some(id) => ids.contains(id) || is_id && id.starts_with(name),
            None => called(folder, component).is_some_and(|called| called == name),
        }
    };
    let mut found: Vec<PathBuf> = folders.into_iter().filter(|folder| fits(folder)).collect();
    found.sort();
    // What is in the cgroup of a container belongs to it.
    let all = found.clone();
    found.retain(|folder| !folder.ancestors().skip(1).any(|above| all.iter().any(|other| other == above)));
    if found.len() == 1 { Ok(found.remove(0)) } else { Err(found) }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The id of a container in a component of a path: `docker-ID.scope`, `ID`, `kubepods-…:cri-containerd:ID`. A monitor of a
/// container is not in it.
fn id(component: &str) -> Option<&str> {
    let component = component.strip_suffix(".scope").unwrap_or(component);
    let (before, id) = component.split_at_checked(component.len().checked_sub(ID)?)?;
    (is_hex(id) && matches!(before.bytes().last(), None | Some(b'-' | b':')) && !before.contains("conmon"))
        .then_some(id)
}

/// The name of a container or machine in a component: `lxc.payload.NAME`, `lxc/NAME`, `machine-NAME.scope`.
fn called(folder: &Path, component: &str) -> Option<String> {
    let above = folder.parent().and_then(Path::file_name);
    if let Some(name) = component.strip_prefix("lxc.payload.") {
        return Some(name.to_owned());
    }
    if above.is_some_and(|above| above == "lxc") {
        return Some(component.to_owned());
    }
    let machine = component.strip_prefix("machine-")?.strip_suffix(".scope")?;
    // systemd escapes the dashes of a name.
    above.is_some_and(|above| above == "machine.slice").then(|| machine.replace("\\x2d", "-"))
}

/// The ids of the containers to which docker, podman or nerdctl gave this name. `root` stands for `/`.
fn ids_of_name(root: &Path, name: &str) -> BTreeSet<String> {
    let is_named = |value: &Value| value.as_str().is_some_and(|known| known.strip_prefix('/').unwrap_or(known) == name);
    let mut ids = BTreeSet::new();
    // moby/moby, container/container.go: a folder for each container.
    for folder in below(&root.join("var/lib/docker/containers")) {
        let config = json(&folder.join("config.v2.json")).unwrap_or_default();
        if is_named(&config["Name"]) {
            ids.extend(folder.file_name().and_then(|id| id.to_str()).map(str::to_owned));
        }
    }
    // containers/storage, containers.go: a list of all containers.
    for list in ["overlay-containers", "vfs-containers", "btrfs-containers"] {
        let list =
            json(&root.join("var/lib/containers/storage").join(list).join("containers.json")).unwrap_or_default();
        for container in list.as_array().into_iter().flatten() {
            if container["names"].as_array().into_iter().flatten().any(is_named) {
                ids.extend(container["id"].as_str().map(str::to_owned));
            }
        }
    }
    // containerd/nerdctl, pkg/namestore: DATA/ADDRESS/names/NAMESPACE/NAME has the id.
    if !name.contains('/') && !name.starts_with('.') {
        for address in below(&root.join("var/lib/nerdctl")) {
            for namespace in below(&address.join("names")) {
                ids.extend(text(&namespace.join(name)).map(|id| id.trim().to_owned()));
            }
        }
    }
    ids
}

fn below(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn text(file: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(file).ok()?.take(FILE_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

fn json(file: &Path) -> Option<Value> {
    serde_json::from_str(&text(file)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "3f2a9c1b04d7e1f0aa55aa55aa55aa55aa55aa55aa55aa55aa55aa55aa55aa55";
    const DB: &str = "3f2a00000000e1f0aa55aa55aa55aa55aa55aa55aa55aa55aa55aa55aa55aa55";

    fn chosen(name: &str, ids: &[&str]) -> Result<String, usize> {
        let folders = [
            "/sys/fs/cgroup/system.slice/docker.service".to_owned(),
            format!("/sys/fs/cgroup/system.slice/docker-{WEB}.scope"),
            format!("/sys/fs/cgroup/system.slice/docker-{WEB}.scope/{WEB}"),
            format!("/sys/fs/cgroup/machine.slice/libpod-conmon-{DB}.scope"),
            format!("/sys/fs/cgroup/machine.slice/libpod-{DB}.scope"),
            format!("/sys/fs/cgroup/jobs/x{DB}"),
            "/sys/fs/cgroup/lxc.payload.mail".to_owned(),
            "/sys/fs/cgroup/machine.slice/machine-qemu\\x2d1\\x2dvm.scope".to_owned(),
        ];
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        let found = choose(name, folders.map(PathBuf::from).to_vec(), &ids);
        found
            .map(|path| path.strip_prefix("/sys/fs/cgroup").expect("below").display().to_string())
            .map_err(|all| all.len())
    }

    #[test]
    fn a_container_is_found_by_id_and_by_name_and_two_are_none() {
        let (web, db) = (format!("system.slice/docker-{WEB}.scope"), format!("machine.slice/libpod-{DB}.scope"));
        assert_eq!(chosen("3f2a9c1b04d7", &[]), Ok(web.clone()));
        assert_eq!(chosen(WEB, &[]), Ok(web.clone()));
        assert_eq!(chosen("web", &[WEB]), Ok(web));
        assert_eq!(chosen("db", &[DB]), Ok(db));
        assert_eq!(chosen("3f2a", &[]), Err(2), "more of the id is needed");
        assert_eq!(chosen("3f2", &[]), Err(0), "that is too little of an id");
        assert_eq!(chosen("docker", &[]), Err(0));
        assert_eq!(chosen("mail", &[]), Ok("lxc.payload.mail".to_owned()));
        assert_eq!(chosen("qemu-1-vm", &[]), Ok("machine.slice/machine-qemu\\x2d1\\x2dvm.scope".to_owned()));
    }

    #[test]
    fn names_are_looked_up_where_runtimes_keep_them() {
        let temp = tempfile::tempdir().expect("a folder");
        let file = |path: &str, text: &str| {
            let path = temp.path().join("var/lib").join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        };
        file(&format!("docker/containers/{WEB}/config.v2.json"), r#"{"Name":"/web","ID":"x"}"#);
        file("docker/containers/broken/config.v2.json", "{");
        let list = format!(r#"[{{"id":"{DB}","names":["db","store"]}},{{"id":"other"}}]"#);
        file("containers/storage/overlay-containers/containers.json", &list);
        file("nerdctl/1935db59/names/default/mail", WEB);
        let ids = |name| Vec::from_iter(ids_of_name(temp.path(), name));
        assert_eq!(ids("web"), [WEB]);
        assert_eq!(ids("store"), [DB]);
        assert_eq!(ids("mail"), [WEB]);
        assert!(ids("nobody").is_empty() && ids("../default/mail").is_empty() && ids("").is_empty());
    }
}
