//! Whether a command can be run, known before anything is touched.
//!
//! The kernel has the last word when it is run; what it would say of a file is said here in advance.

use std::{
    env,
    ffi::{CString, OsStr},
    fs,
    io::{self, Read as _},
    os::unix::{ffi::OsStrExt, fs::FileExt as _},
    path::{Path, PathBuf},
};

/// Folders in which commands are looked for when `PATH` is not set (execvp(3)).
const PATH: &str = "/bin:/usr/bin";
/// A script's interpreter may be a script: so often (fs/exec.c:exec_binprm).
const NESTING_MAX: u32 = 5;
/// As much as the kernel looks at to see what a file is (`BINPRM_BUF_SIZE`).
const HEAD: usize = 256;
/// Program headers that are looked through.
const HEADERS_MAX: u64 = 1024;

/// Says why a command cannot be run, if it cannot.
///
/// # Errors
/// The reason, a clause.
pub(super) fn check(program: &OsStr) -> Result<(), String> {
    if program.is_empty() {
        return Err("the name of the command is empty".to_owned());
    }
    if program.as_bytes().contains(&b'/') {
        let file = Path::new(program);
        may_run(file).map_err(|error| explain(&error, file))?;
        return understood(file, 0);
    }
    let path = env::var_os("PATH").unwrap_or_else(|| PATH.into());
    understood(&search(program, &path)?, 0)
}

/// Looks through the folders of a `PATH`; the first file that can be run is it.
fn search(program: &OsStr, path: &OsStr) -> Result<PathBuf, String> {
    let mut refused: Option<(PathBuf, io::Error)> = None;
    for folder in env::split_paths(path) {
        let file = folder.join(program);
        match may_run(&file) {
            Ok(()) => return Ok(file),
            Err(error) if !is_absent(&error) => refused = refused.or(Some((file, error))),
            Err(_) => {}
        }
    }
    Err(match refused {
        Some((file, error)) => explain(&error, &file),
        None => {
            format!("there is no such command in PATH; to run a file of this folder, name it ./{}", program.display())
        }
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

/// Says what the kernel will not understand of a file that may be executed. What cannot be read, or is for a handler
/// that the system has been given, is left to the kernel.
fn understood(file: &Path, nesting: u32) -> Result<(), String> {
    let Ok(mut opened) = fs::File::open(file) else { return Ok(()) };
    let mut head = Vec::new();
    if (&mut opened).take(HEAD as u64).read_to_end(&mut head).is_err() {
        return Ok(());
    }
    let interpreter = if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|b| *b == b'\n').next().unwrap_or_default();
        line.split(|b| matches!(b, b' ' | b'\t')).find(|word| !word.is_empty()).map(<[u8]>::to_vec)
    } else if head.starts_with(b"\x7fELF") {
        loader(&opened, &head)
    } else if has_handlers() {
        None
    } else {
        let file = file.display();
        return Err(format!(
            "{file} is neither a program nor a script that begins with #!; to run it as a shell script: sh {file}"
        ));
    };
    let Some(interpreter) = interpreter.filter(|_| nesting < NESTING_MAX) else { return Ok(()) };
    let interpreter = Path::new(OsStr::from_bytes(&interpreter));
    let needs = |why| format!("{} needs {}: {why}", file.display(), interpreter.display());
    may_run(interpreter).map_err(|error| needs(explain(&error, interpreter)))?;
    understood(interpreter, nesting + 1)
}

/// The file that a 64-bit program names as its loader (`PT_INTERP`), where it names one.
fn loader(file: &fs::File, head: &[u8]) -> Option<Vec<u8>> {
    const PT_INTERP: u64 = 3;
    // Little-endian, 64 bits wide (elf(5)).
    if *head.get(4..6)? != [2, 1] {
        return None;
    }
    let number = |bytes: &[u8], at: usize, len: usize| {
        let bytes = bytes.get(at..at + len)?;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    let (table, size, count) = (number(head, 32, 8)?, number(head, 54, 2)?, number(head, 56, 2)?);
    for i in 0..count.min(HEADERS_MAX) {
        let mut header = [0; 56];
        file.read_exact_at(&mut header, table.checked_add(i * size)?).ok()?;
        if number(&header, 0, 4)? == PT_INTERP {
            let mut name = vec![0; usize::try_from(number(&header, 32, 8)?.min(libc::PATH_MAX as u64)).ok()?];
            file.read_exact_at(&mut name, number(&header, 8, 8)?).ok()?;
            return Some(name.split(|b| *b == 0).next()?.to_vec());
        }
    }
    None
}

/// Whether the system has been told how to run files of other kinds (binfmt_misc).
fn has_handlers() -> bool {
    let own = |entry: fs::DirEntry| matches!(entry.file_name().to_str(), Some("register" | "status"));
    fs::read_dir("/proc/sys/fs/binfmt_misc").is_ok_and(|entries| entries.flatten().any(|entry| !own(entry)))
}

fn explain(error: &io::Error, file: &Path) -> String {
    let file = file.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => format!("{file} does not exist"),
        io::ErrorKind::IsADirectory => format!("{file} is a folder"),
        io::ErrorKind::PermissionDenied => {
            format!(
                "{file} may not be executed: allow it with chmod +x {file}, unless its file system is mounted with noexec"
            )
        }
        _ => format!("{file}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(program: &str) -> Result<(), String> {
        super::check(OsStr::new(program))
    }
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

    /// A 64-bit program of one program header, which names its loader.
    fn elf(loader: &str) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        for (at, value) in [(32, 64), (54, 56), (56, 1), (64, 3), (64 + 8, 120), (64 + 32, loader.len() as u8)] {
            bytes[at] = value;
        }
        bytes.extend_from_slice(loader.as_bytes());
        bytes
    }

    #[test]
    fn what_the_kernel_will_not_understand_is_known_before() {
        let temp = tempfile::tempdir().expect("a folder");
        let file = |name: &str, bytes: &[u8]| {
            let path = temp.path().join(name);
            fs::write(&path, bytes).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("mine");
            path.to_str().expect("UTF-8").to_owned()
        };
        assert_eq!(check(&file("script", b"#! /bin/sh -e\n")), Ok(()));
        assert_eq!(check(&file("nested", format!("#!{}/script\n", temp.path().display()).as_bytes())), Ok(()));
        for itself in ["/proc/self/exe", "sh"] {
            assert_eq!(check(itself), Ok(()), "{itself}");
        }
        for (file, says) in [
            (file("lost", b"#!/no/such/interpreter -x\n"), "needs /no/such/interpreter"),
            (file("twice", format!("#!{}/lost\n", temp.path().display()).as_bytes()), "needs /no/such/interpreter"),
            (file("loader", &elf("/no/such/loader")), "needs /no/such/loader"),
        ] {
            let why = check(&file).expect_err(&file);
            assert!(why.contains(says), "{file}: {why}");
        }
        let text = check(&file("text", b"echo hello\n"));
        assert_eq!(text.is_ok(), has_handlers(), "{text:?}");
        // Other damage is left to the kernel to report.
        let whole = elf("/no/such/loader");
        for len in [4, 5, 60, 64, 119] {
            assert_eq!(check(&file("cut", &whole[..len])), Ok(()), "{len} bytes");
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
        let why = search(OsStr::new("tool"), &path).expect_err("neither may be run");
        assert!(why.starts_with(&first.display().to_string()), "{why}");
        fs::set_permissions(second.join("tool"), fs::Permissions::from_mode(0o700)).expect("mine");
        assert_eq!(search(OsStr::new("tool"), &path), Ok(second.join("tool")));
    }
}
