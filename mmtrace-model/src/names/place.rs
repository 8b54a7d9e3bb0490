//! What the path of a cgroup says of who is in it: a container, a machine, a service.

/// The id or name of a container in a path's component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Id {
    /// 64 hexadecimal digits, of which the first [`SHORT`] are shown.
    Hex,
    /// A name.
    Name,
    /// The uid of a Kubernetes pod, of which the first part is shown.
    Uid,
}

/// A component of a path that names a container.
struct Pattern {
    /// The component above begins so.
    below: &'static str,
    /// The component begins so.
    prefix: &'static str,
    id: Id,
    /// The component ends so.
    suffix: &'static str,
    /// What runs the container, in words.
    runtime: &'static str,
}

const fn pattern(
    below: &'static str,
    prefix: &'static str,
    id: Id,
    suffix: &'static str,
    runtime: &'static str,
) -> Pattern {
    Pattern { below, prefix, id, suffix, runtime }
}

/// Digits of an id that are shown: as many as `docker ps` and `podman ps` print.
const SHORT: usize = 12;

/// The components that name containers. `SLICE:PREFIX:ID` is read as `PREFIX-ID.scope`: runc takes the one for the other
/// when its cgroup driver is not systemd (opencontainers/runc, libcontainer/cgroups).
const PATTERNS: &[Pattern] = &[
    // moby/moby, daemon/oci_linux.go: `system.slice:docker:ID` with the systemd driver, `/docker/ID` with cgroupfs.
    pattern("", "docker-", Id::Hex, ".scope", "docker"),
    pattern("docker", "", Id::Hex, "", "docker"),
    // containerd/containerd, internal/cri/server/helpers.go: getCgroupsPath.
    pattern("", "cri-containerd-", Id::Hex, ".scope", "containerd"),
    // cri-o/cri-o, internal/config/cgmgr: `crio-ID.scope`, or `crio-ID` with cgroupfs.
    pattern("", "crio-", Id::Hex, ".scope", "cri-o"),
    pattern("", "crio-", Id::Hex, "", "cri-o"),
    // containers/podman, libpod/container_internal_linux.go: getOCICgroupPath.
    pattern("", "libpod-", Id::Hex, ".scope", "podman"),
    pattern("", "libpod-", Id::Hex, "", "podman"),
    // containerd/nerdctl, pkg/cmd/container/run_cgroup_linux.go.
    pattern("", "nerdctl-", Id::Hex, ".scope", "nerdctl"),
    // kubernetes/kubernetes, pkg/kubelet/cm/cgroup_manager_linux.go: with the cgroupfs driver, a container is below
    // `/kubepods/QOS/podUID`; who runs it is not said.
    pattern("pod", "", Id::Hex, "", "container"),
    pattern("kubepods", "pod", Id::Uid, "", "pod"),
    pattern("burstable", "pod", Id::Uid, "", "pod"),
    pattern("besteffort", "pod", Id::Uid, "", "pod"),
    // The same with the systemd driver.
    pattern("kubepods", "kubepods-pod", Id::Uid, ".slice", "pod"),
    pattern("kubepods", "kubepods-burstable-pod", Id::Uid, ".slice", "pod"),
    pattern("kubepods", "kubepods-besteffort-pod", Id::Uid, ".slice", "pod"),
    // lxc/lxc, src/lxc/cgroups/cgfsng.c: `lxc.payload.NAME`; before 4.0, `lxc/NAME`.
    pattern("", "lxc.payload.", Id::Name, "", "lxc"),
    pattern("lxc", "", Id::Name, "", "lxc"),
    // systemd/systemd, src/machine/machine-dbus.c: a machine registered with systemd-machined.
    pattern("machine.slice", "machine-", Id::Name, ".scope", "machine"),
];

/// What a cgroup's path says of who is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// In a few words: `docker 3f2a9c1b04d7`, `sshd.service`.
    pub(super) label: String,
    /// It is a container, a pod or a machine.
    pub(super) is_container: bool,
}

impl Place {
    /// Reads a path that begins with a slash. The innermost container counts; else the innermost unit of systemd; else
    /// the last component.
    pub(super) fn of(path: &str) -> Self {
        let components: Vec<&str> = path.split('/').filter(|component| !component.is_empty()).collect();
        let above = |at: usize| at.checked_sub(1).map_or("", |at| components[at]);
        let container = (0..components.len()).rev().find_map(|at| container(above(at), components[at]));
        if let Some(label) = container {
            return Self { label, is_container: true };
        }
        let is_unit = |component: &&&str| component.ends_with(".service") || component.ends_with(".scope");
        let named = components.iter().rev().find(is_unit).or(components.last());
        Self { label: named.map_or_else(|| "/".to_owned(), |name| (*name).to_owned()), is_container: false }
    }
}

/// Returns the label of a component that names a container.
fn container(above: &str, component: &str) -> Option<String> {
    let scope = match component.split(':').collect::<Vec<_>>()[..] {
        [_, prefix, id] => Some(format!("{prefix}-{id}.scope")),
        _ => None,
    };
    let component = scope.as_deref().unwrap_or(component);
    PATTERNS.iter().find_map(|pattern| {
        let is_below = match pattern.id {
            Id::Name if !pattern.below.is_empty() => above == pattern.below,
            _ => above.starts_with(pattern.below),
        };
        let id = component.strip_prefix(pattern.prefix)?.strip_suffix(pattern.suffix)?;
        let id = shown(pattern.id, id).filter(|_| is_below)?;
        Some(format!("{} {id}", pattern.runtime))
    })
}

/// Returns what is shown of an id; `None` if it is none.
fn shown(kind: Id, id: &str) -> Option<String> {
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match kind {
        Id::Hex => (id.len() == 64 && is_hex(id)).then(|| id[..SHORT].to_owned()),
        // systemd escapes the dashes of a name.
        Id::Name => (!id.is_empty()).then(|| id.replace("\\x2d", "-")),
        Id::Uid => {
            let uid = id.replace('_', "-");
            let (first, rest) = uid.split_once('-').unwrap_or((&uid, ""));
            let is_uid = matches!((first.len(), rest.len()), (8, 27) | (32, 0));
            (is_uid && uid.split('-').all(is_hex)).then(|| first[..8].to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "3f2a9c1b04d7e1f0aa55aa55aa55aa55aa55aa55aa55aa55aa55aa55aa55aa55";
    const UID: &str = "1a2b3c4d-0123-4567-89ab-0123456789ab";

    fn label(path: &str) -> (String, bool) {
        let place = Place::of(&path.replace("HEX", HEX).replace("UID", UID).replace("U_D", &UID.replace('-', "_")));
        (place.label, place.is_container)
    }

    #[test]
    fn containers_are_called_by_runtime_and_id() {
        for (path, expected) in [
            ("/system.slice/docker-HEX.scope", "docker 3f2a9c1b04d7"),
            ("/docker/HEX", "docker 3f2a9c1b04d7"),
            ("/docker/HEX/system.slice/nginx.service", "docker 3f2a9c1b04d7"),
            ("/system.slice:docker:HEX", "docker 3f2a9c1b04d7"),
            ("/machine.slice/libpod-HEX.scope/container", "podman 3f2a9c1b04d7"),
            ("/libpod_parent/libpod-HEX", "podman 3f2a9c1b04d7"),
            ("/default/nerdctl-HEX.scope", "nerdctl 3f2a9c1b04d7"),
            ("/kubepods.slice/kubepods-podU_D.slice/cri-containerd-HEX.scope", "containerd 3f2a9c1b04d7"),
            ("/kubepods-burstable-podU_D.slice:cri-containerd:HEX", "containerd 3f2a9c1b04d7"),
            ("/kubepods.slice/kubepods-burstable.slice/crio-HEX.scope", "cri-o 3f2a9c1b04d7"),
            ("/kubepods/burstable/podUID/HEX", "container 3f2a9c1b04d7"),
            ("/kubepods/burstable/podUID", "pod 1a2b3c4d"),
            ("/kubepods/podUID", "pod 1a2b3c4d"),
            ("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podU_D.slice", "pod 1a2b3c4d"),
            ("/lxc.payload.web-1", "lxc web-1"),
            ("/lxc/web-1/init.scope", "lxc web-1"),
            ("/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/emulator", "machine qemu-1-vm"),
        ] {
            assert_eq!(label(path), (expected.to_owned(), true), "{path}");
        }
    }

    #[test]
    fn others_are_called_by_their_unit_or_by_the_last_component() {
        for (path, expected) in [
            ("/", "/"),
            ("", "/"),
            ("/system.slice/sshd.service", "sshd.service"),
            ("/system.slice/docker.service", "docker.service"),
            ("/system.slice/postgresql.service/worker", "postgresql.service"),
            ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope"),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope", "app-x.scope"),
            ("/batch/job-7", "job-7"),
            // A monitor of containers is none, and neither is what only looks like one.
            ("/machine.slice/libpod-conmon-HEX.scope", &format!("libpod-conmon-{HEX}.scope")),
            ("/docker/3f2a9c1b04d7", "3f2a9c1b04d7"),
            ("/jobs/HEX", HEX),
            ("/kubepods/burstable/podcast", "podcast"),
            ("/system.slice/machine-web.scope", "machine-web.scope"),
        ] {
            assert_eq!(label(path), (expected.to_owned(), false), "{path}");
        }
    }
}
