//! Versions of the kernel, and the facts that the model knows of them.

use std::{error::Error, fmt, str::FromStr};

/// The version of a kernel: the two numbers that name its series.
///
/// The other parts of a release, such as those of `6.12.117+deb12-cloud-amd64`, are not kept. Every fact that depends on
/// a version is one of a whole series, and a release candidate counts as its series: the merge window is over.
///
/// ```
/// use mmtrace_model::kernel_version::KernelVersion;
///
/// let debian: KernelVersion = "6.1.0-35-amd64".parse()?;
/// let candidate: KernelVersion = "7.2-rc3".parse()?;
/// assert_eq!((debian, candidate), (KernelVersion::new(6, 1), KernelVersion::new(7, 2)));
/// assert!(debian < KernelVersion::new(6, 12) && KernelVersion::new(6, 12) < candidate);
/// assert_eq!(debian.to_string(), "6.1");
/// assert!("linux-next".parse::<KernelVersion>().is_err());
/// # Ok::<(), mmtrace_model::kernel_version::NotAKernelVersion>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KernelVersion {
    major: u8,
    minor: u8,
}

impl KernelVersion {
    /// The series with these numbers. `LINUX_VERSION_CODE` has a byte for each, too.
    #[must_use]
    pub const fn new(major: u8, minor: u8) -> Self {
        Self { major, minor }
    }

    /// Whether a task can be preempted while a tracepoint's program runs for it: since 7.0 tracepoints no longer disable
    /// preemption (include/linux/tracepoint.h: `__DECLARE_TRACE`).
    #[must_use]
    pub fn preempts_tracepoints(self) -> bool {
        self >= Self::new(7, 0)
    }

    /// Whether VMAs have locks, under which faults can be handled (include/linux/mm.h: `lock_vma_under_rcu`).
    #[must_use]
    pub fn has_vma_locks(self) -> bool {
        self >= Self::new(6, 4)
    }

    /// Whether /proc/PID/maps can be asked for the mapping of an address ("fs/procfs: implement efficient VMA querying API
    /// for /proc/PID/maps", merged for 6.11).
    #[must_use]
    pub fn has_mapping_queries(self) -> bool {
        self >= Self::new(6, 11)
    }

    /// Whether private reservations of hugetlb have a lock ("hugetlbfs: extend hugetlb_vma_lock to private VMAs", merged
    /// for 6.6-rc7; not asked of 6.6 itself).
    #[must_use]
    pub(crate) fn has_private_hugetlb_locks(self) -> bool {
        self >= Self::new(6, 7)
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Padded as a whole.
        f.pad(&format!("{}.{}", self.major, self.minor))
    }
}

/// A text that begins with no kernel's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAKernelVersion;

impl fmt::Display for NotAKernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a kernel's release begins with a major and a minor number, such as 6.12")
    }
}

impl Error for NotAKernelVersion {}

impl FromStr for KernelVersion {
    type Err = NotAKernelVersion;

    /// Takes a series or a release (`uname -r`).
    fn from_str(release: &str) -> Result<Self, NotAKernelVersion> {
        let (major, rest) = number(release)?;
        let (minor, rest) = number(rest.strip_prefix('.').ok_or(NotAKernelVersion)?)?;
        // Makefile: KERNELRELEASE is "MAJOR.MINOR", perhaps ".SUBLEVEL", then EXTRAVERSION and LOCALVERSION. By custom
        // these begin with a sign; that of WSL begins with a fourth number.
        let mut rest = rest;
        while let Some(next) = rest.strip_prefix('.').filter(|next| next.starts_with(|c: char| c.is_ascii_digit())) {
            rest = next.trim_start_matches(|c: char| c.is_ascii_digit());
        }
        let ends = !rest.starts_with(|c: char| c == '.' || c.is_alphanumeric());
        if ends { Ok(Self { major, minor }) } else { Err(NotAKernelVersion) }
    }
}

/// The number that a text begins with, as the kernel prints it, and the rest of the text.
fn number(text: &str) -> Result<(u8, &str), NotAKernelVersion> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.len() > 1 && digits.starts_with('0') {
        return Err(NotAKernelVersion);
    }
    Ok((digits.parse().map_err(|_| NotAKernelVersion)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(release: &str) -> Option<KernelVersion> {
        release.parse().ok()
    }

    #[test]
    fn releases_of_kernels_are_their_series() {
        for (release, major, minor) in [
            ("6.1", 6, 1),
            ("6.1.0-35-amd64", 6, 1),
            ("6.6.87.2-microsoft-standard-WSL2", 6, 6),
            ("6.12.117+deb12-cloud-amd64", 6, 12),
            ("6.18.44-fc-v669", 6, 18),
            ("7.2-rc3", 7, 2),
            ("7.2.0-rc3+", 7, 2),
            ("5.10.0_custom", 5, 10),
            ("5.4.0-150-generic", 5, 4),
            ("3.10.0-1160.el7.x86_64", 3, 10),
        ] {
            assert_eq!(version(release), Some(KernelVersion::new(major, minor)), "{release}");
        }
    }

    #[test]
    fn nonsense_is_no_version() {
        for text in [
            "",
            "6",
            "6.",
            ".1",
            "6.one",
            "six.1",
            "6..1",
            "6.1.x",
            "6.1..2",
            "6.1a",
            "6.1.0a",
            "v6.1",
            " 6.1",
            "-6.1",
            "+6.1",
            "6.+1",
            "06.1",
            "6.01",
            "256.1",
            "6.256",
            "6,1",
            "../6.1",
            "6.1é",
            "unknown",
            "linux-next",
        ] {
            assert_eq!(version(text), None, "{text:?}");
        }
    }

    #[test]
    fn versions_are_ordered_by_number_and_not_by_text() {
        let ordered = ["5.19", "6.1", "6.2", "6.9", "6.10", "6.12", "6.18", "7.0", "7.2", "10.0"].map(version);
        assert!(ordered.is_sorted() && ordered.iter().all(Option::is_some), "{ordered:?}");
    }

    #[test]
    fn a_version_is_padded_as_a_whole() {
        assert_eq!(format!("{:<6}|{:>6}", KernelVersion::new(6, 1), KernelVersion::new(6, 12)), "6.1   |  6.12");
    }
}
