//! Whether a command can be run, known before anything is touched.
//!
//! The kernel has the last word when it is run; what it would say of a file is said here in advance.

use std::{
    env,
    ffi::{CString, OsStr},
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// Where commands are looked for when `PATH` is not set (execvp(3)).
const PATH: &str = "/bin:/usr/bin";

/// Says why a command cannot be run, if it cannot.
///
/// # Errors
/// The reason, a clause.
pub(super) fn check(program: &str) -> Result<(), String> {
    if program.is_empty() {
        return Err("the name of the command is empty".to_owned());
    }
    if program.contains('/') {
        return may_run(Path::new(program)).map_err(|error| explain(&error, Path::new(program)));
    }
    let path = env::var_os("PATH").unwrap_or_else(|| PATH.into());
    search(program, &path)
}

/// Looks through the folders of a `PATH`; the first file that can be run is it.
fn search(program: &str, path: &OsStr) -> Result<(), String> {
    let mut refused: Option<(PathBuf, io::Error)> = None;
    for folder in env::split_paths(path) {
        let file = folder.join(program);
        match may_run(&file) {
            Ok(()) => return Ok(()),
            Err(error) if !is_absent(&error) => refused = refused.or(Some((file, error))),
            Err(_) => {}
        }
    }
    Err(match refused {
        Some((file, error)) => explain(&error, &file),
        None => format!("there is no such command in PATH; for a file of this folder: ./{program}"),
    })
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn may_run(file: &Path) -> io::Result<()> {
    // Also a folder has the bit.
    if fs::metadata(file)?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let name = CString::new(file.as_os_str().as_bytes())?;
    // SAFETY: reads one NUL-terminated string that outlives the call.
    if unsafe { libc::faccessat(libc::AT_FDCWD, name.as_ptr(), libc::X_OK, libc::AT_EACCESS) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn explain(error: &io::Error, file: &Path) -> String {
    let file = file.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => format!("{file} does not exist"),
        io::ErrorKind::IsADirectory => format!("{file} is a folder"),
        io::ErrorKind::PermissionDenied => {
            format!("{file} may not be executed (its mode, or a file system mounted with noexec): chmod +x {file}")
        }
        _ => format!("{file}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_cannot_be_run_is_known_before() {
        let temp = tempfile::tempdir().expect("a folder");
        let file = |name: &str, mode: u32| {
            let path = temp.path().join(name);
            fs::write(&path, "#!/bin/sh\n").expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mine");
            path.to_str().expect("UTF-8").to_owned()
        };
        let (runs, text) = (file("runs", 0o700), file("text", 0o600));
        assert_eq!(check(&runs), Ok(()));
        for (program, says) in [
            ("", "empty"),
            (text.as_str(), "may not be executed"),
            ("/proc", "is a folder"),
            ("/no/such/file", "does not exist"),
            (&format!("{runs}/below"), "does not exist"),
            ("no-such-command", "no such command in PATH"),
        ] {
            let why = check(program).expect_err(program);
            assert!(why.contains(says), "{program}: {why}");
        }
    }

    #[test]
    fn the_first_that_can_be_run_is_it_and_else_the_first_that_is_there() {
        let temp = tempfile::tempdir().expect("a folder");
        let (first, second) = (temp.path().join("first"), temp.path().join("second"));
        for folder in [&first, &second] {
            fs::create_dir(folder).expect("a folder");
            fs::write(folder.join("tool"), "").expect("a file");
        }
        let path = env::join_paths([&first, &second]).expect("a path");
        let why = search("tool", &path).expect_err("neither may be run");
        assert!(why.starts_with(&first.display().to_string()), "{why}");
        fs::set_permissions(second.join("tool"), fs::Permissions::from_mode(0o700)).expect("mine");
        assert_eq!(search("tool", &path), Ok(()));
    }
}
