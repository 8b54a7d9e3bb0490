//! `--report FILE`: the closing report in a file, where the output of the command cannot mix with it.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

/// A file that the report will be written to.
pub(super) struct ReportFile {
    path: PathBuf,
    file: File,
}

impl ReportFile {
    /// Opens it before the recording, so that what cannot be written is said at once. What it holds stays until the report
    /// is there.
    ///
    /// # Errors
    /// It is in the folder of the capture, it cannot be written, or it is a symbolic link: mmtrace runs as root, and somebody else may have
    /// made that. Under sudo it is written with the rights of who called it.
    pub(super) fn open(path: &Path, capture: Option<&Path>) -> Result<Self> {
        if let Some(capture) = capture
            && is_within(path, capture)
        {
            bail!(
                "{} is in the folder of the capture, which is moved away with what it holds; choose another place",
                path.display()
            );
        }
        let file = mmtrace_capture::open_file(path).with_context(|| {
            format!("cannot write the report to {}; to print it instead, leave --report out", path.display())
        })?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// Takes what it held away. Returns where the report is to go.
    pub(super) fn empty(&self) -> io::Result<File> {
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        self.file.try_clone()
    }

    /// Returns the path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether a file is in this folder, wherever links lead.
fn is_within(path: &Path, folder: &Path) -> bool {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (parent.canonicalize(), folder.canonicalize()) {
        (Ok(parent), Ok(folder)) => parent.starts_with(folder),
        // The folder is not there yet.
        _ => parent.starts_with(folder),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use super::*;

    #[test]
    fn an_earlier_report_stays_until_there_is_another() {
        let temp = tempfile::tempdir().expect("a folder");
        let path = temp.path().join("report.json");
        fs::write(&path, "a long earlier report").expect("written");
        let report = ReportFile::open(&path, None).expect("opened");
        assert_eq!(fs::read_to_string(&path).expect("read"), "a long earlier report");
        report.empty().expect("emptied").write_all(b"{}").expect("written");
        assert_eq!(fs::read_to_string(report.path()).expect("read"), "{}");
    }

    #[test]
    fn a_link_is_not_followed() {
        let temp = tempfile::tempdir().expect("a folder");
        let (victim, link) = (temp.path().join("victim"), temp.path().join("link"));
        fs::write(&victim, "precious").expect("written");
        std::os::unix::fs::symlink(&victim, &link).expect("linked");
        let error = ReportFile::open(&link, None).err().expect("refused").to_string();
        assert!(error.contains("--report"), "{error}");
        assert_eq!(fs::read_to_string(&victim).expect("read"), "precious");
        assert!(ReportFile::open(&temp.path().join("no/such/folder"), None).is_err());
    }

    #[test]
    fn a_report_in_the_folder_of_a_capture_is_refused() {
        let temp = tempfile::tempdir().expect("a folder");
        let capture = temp.path().join("capture");
        fs::create_dir(&capture).expect("made");
        let manifest = capture.join("manifest.json");
        fs::write(&manifest, "{}").expect("written");
        assert!(ReportFile::open(&manifest, Some(&capture)).is_err());
        assert!(ReportFile::open(&temp.path().join("capture/../capture/new"), Some(&capture)).is_err());
        assert!(ReportFile::open(&temp.path().join("report"), Some(&capture)).is_ok());
    }
}
