//! Under sudo, a capture belongs to who called it, and is written with their rights.
//!
//! Only root can try this, which plays the other users. Without root the tests say that they did not run.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, chown, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use mmtrace_capture::{Capture, Condition};
use mmtrace_testing::folders::{assert_belongs, is_root, mode, names, set_mode};
use tempfile::TempDir;

/// Neither root nor anybody.
const NOBODY: u32 = 65_534;

/// A program that anybody may run, in a folder that anybody may enter: where tests are built, nobody else may look.
fn program(temp: &TempDir) -> PathBuf {
    set_mode(temp.path(), 0o755);
    let program = temp.path().join("mmtrace");
    // By another process: a child that the other test forks meanwhile would hold a copy of ours open for writing, and a
    // program that is open for writing cannot be run.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_mmtrace")).arg(&program).status().expect("cp runs");
    assert!(copied.success(), "{copied}");
    set_mode(&program, 0o755);
    program
}

/// Writes a capture, as sudo would start it; SUDO_UID and SUDO_GID are the same.
fn rendered(program: &Path, dir: &Path, uid: &str) -> Output {
    let mut command = Command::new(program);
    command.args(["explore", "SC-0.5", "--variant", "hp.resv", "--render"]).arg(dir).stdin(Stdio::null());
    command.env("SUDO_UID", uid).env("SUDO_GID", uid).output().expect("it starts")
}

#[test]
fn under_sudo_a_capture_belongs_to_who_called_it() {
    if !is_root("a capture under sudo") {
        return;
    }
    let temp = tempfile::tempdir().expect("a folder");
    let program = program(&temp);
    let home = temp.path().join("home");
    fs::create_dir(&home).expect("a folder");
    chown(&home, Some(NOBODY), Some(NOBODY)).expect("given");
    set_mode(&home, 0o700);
    let (dir, old) = (home.join("c.mmt"), home.join("c.mmt.old"));
    // The second and the third time there are earlier ones.
    for round in 0..3 {
        let output = rendered(&program, &dir, "65534");
        assert!(output.status.success(), "{round}: {output:?}");
        assert_belongs(&dir, NOBODY);
        assert!(round == 0 || Capture::open(&old).expect("open").condition() == Condition::Complete);
    }
    assert_belongs(&old, NOBODY);
    let replay = Command::new(&program).arg("replay").arg(&dir).uid(NOBODY).gid(NOBODY).output().expect("it starts");
    assert!(replay.status.success(), "{replay:?}");

    // An empty folder of root's is not given to them, wherever it is.
    for (place, open) in [(temp.path(), 0o700), (temp.path(), 0o777), (home.as_path(), 0o755)] {
        let dir = place.join(format!("roots{open:o}"));
        fs::create_dir(&dir).expect("a folder");
        set_mode(&dir, open);
        let output = rendered(&program, &dir, "65534");
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(err.contains("belongs to uid 0") && output.status.code() == Some(2), "{output:?}");
        let owner = fs::metadata(&dir).expect("it is there").uid();
        assert_eq!((owner, names(&dir).len(), mode(&dir)), (0, 0, open));
    }
    // Nor is a capture of root's moved that they could not move.
    let dir = temp.path().join("kept.mmt");
    assert!(rendered(&program, &dir, "0").status.success());
    let output = rendered(&program, &dir, "65534");
    assert!(String::from_utf8_lossy(&output.stderr).contains("who called sudo"), "{output:?}");
    assert!(dir.exists() && !temp.path().join("kept.mmt.old").exists());
    // A capture of root's is moved, and in the end removed, as what it is.
    let (dir, old) = (home.join("root.mmt"), home.join("root.mmt.old"));
    assert!(rendered(&program, &dir, "0").status.success());
    assert_belongs(&dir, 0);
    for owner in [0, NOBODY] {
        assert!(rendered(&program, &dir, "65534").status.success());
        assert_belongs(&old, owner);
        assert_belongs(&dir, NOBODY);
    }

    // What is no number of a user makes it root's, as does a user who is not root.
    for uid in ["", "-1", "+65534", "65534x", "4294967295", "nobody"] {
        let dir = temp.path().join(format!("c{uid}"));
        assert!(rendered(&program, &dir, uid).status.success(), "{uid:?}");
        assert_belongs(&dir, 0);
    }
}

#[test]
fn under_sudo_nothing_is_written_that_who_called_it_could_not_write() {
    if !is_root("root's folders under sudo") {
        return;
    }
    let temp = tempfile::tempdir().expect("a folder");
    let program = program(&temp);
    let (home, roots) = (temp.path().join("home"), temp.path().join("roots"));
    for folder in [&home, &roots] {
        fs::create_dir(folder).expect("a folder");
    }
    chown(&home, Some(NOBODY), Some(NOBODY)).expect("given");
    symlink(&roots, home.join("link")).expect("a link");
    std::os::unix::fs::lchown(home.join("link"), Some(NOBODY), Some(NOBODY)).expect("given");
    for open in [0o700, 0o755] {
        set_mode(&roots, open);
        for dir in [roots.join("c.mmt"), home.join("link/c.mmt")] {
            let output = rendered(&program, &dir, "65534");
            let err = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{output:?}");
            assert!(err.contains("who called sudo") && err.contains("env -u SUDO_UID"), "{err}");
            assert_eq!(names(&roots).len(), 0);
        }
    }
    // Nor a report, which is opened before anything is recorded.
    for report in [roots.join("report"), home.join("link/report")] {
        let mut command = Command::new(&program);
        command.args(["record", "--report"]).arg(&report).arg("-o").arg(home.join("c.mmt")).args(["--", "true"]);
        command.stdin(Stdio::null());
        let output = command.env("SUDO_UID", "65534").env("SUDO_GID", "65534").output().expect("it starts");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write the report"), "{output:?}");
        assert_eq!(names(&roots).len(), 0);
    }
    // A folder that the user put a link in the place of, and one that others own.
    let output = rendered(&program, &home.join("link"), "65534");
    assert!(String::from_utf8_lossy(&output.stderr).contains("is a symbolic link"), "{output:?}");
    let other = temp.path().join("other");
    fs::create_dir(&other).expect("a folder");
    set_mode(&other, 0o777);
    chown(&other, Some(1), Some(1)).expect("given");
    let output = rendered(&program, &other, "65534");
    assert!(String::from_utf8_lossy(&output.stderr).contains("belongs to uid 1"), "{output:?}");
    assert_eq!((names(&roots).len(), names(&other).len(), mode(&other)), (0, 0, 0o777));
}
