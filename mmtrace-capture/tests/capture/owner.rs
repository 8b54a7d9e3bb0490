//! To whom a capture belongs, and what somebody else can do to the files of who records: nothing.
//!
//! Some of this only root can try, which plays the other users. Without root those tests say that they did not run.

use std::{
    fs,
    os::unix::fs::{chown, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use mmtrace_capture::{CaptureError, CaptureWriter, Condition, FinalInfo, State, WriterOptions, make_room};
use mmtrace_testing::folders::{assert_belongs, is_root, mode, names, set_mode};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use crate::fixtures::{context, few, read, small, start, temp, write};

/// Neither root nor anybody.
const NOBODY: u32 = 65_534;
/// What must never be written.
const SECRET: &str = "not to be touched";

fn create(dir: &Path) -> Result<CaptureWriter, CaptureError> {
    CaptureWriter::create(dir, &context(), vec![], small(100))
}

/// A file that an attacker would like to see overwritten.
fn victim(temp: &TempDir) -> PathBuf {
    let victim = temp.path().join("victim");
    fs::write(&victim, SECRET).expect("a file");
    victim
}

fn is_intact(victim: &Path) -> bool {
    fs::read_to_string(victim).is_ok_and(|text| text == SECRET)
}

/// Every kind of thing that can be put at a name so that a writer writes into something else, waits, or removes it.
const PLANTS: [&str; 6] = ["link", "dangling link", "hard link", "FIFO", "folder", "file"];

fn plant(what: &str, at: &Path, victim: &Path) {
    match what {
        "link" => symlink(victim, at).expect("a link"),
        "dangling link" => symlink(victim.with_extension("new"), at).expect("a link"),
        "hard link" => fs::hard_link(victim, at).expect("a link"),
        "FIFO" => mknodat(CWD, at, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO"),
        "folder" => {
            fs::create_dir(at).expect("a folder");
            fs::write(at.join("notes.txt"), SECRET).expect("a file");
        }
        _ => fs::write(at, SECRET).expect("a file"),
    }
}

#[test]
fn what_is_planted_while_recording_is_never_written_through() {
    let files = ["segment-000001.arrows", "segment-000001.parquet.part", "segment-000001.parquet", "manifest.json.tmp"];
    for what in PLANTS {
        for file in files {
            let (temp, dir) = temp();
            let victim = victim(&temp);
            let mut writer = create(&dir).expect("created");
            plant(what, &dir.join(file), &victim);
            let all = few(50);
            let written = all.iter().try_for_each(|r| writer.append(r)).and_then(|()| writer.flush());
            let error = written.and_then(|()| writer.finish(FinalInfo::default()).map(drop)).expect_err("refused");
            let text = error.to_string();
            assert!(text.contains(file) && text.contains("recording stopped"), "{what} at {file}: {text}");
            assert!(is_intact(&victim), "{what} at {file}");
            assert!(!victim.with_extension("new").exists(), "{what} at {file}");
            assert!(what != "folder" || dir.join(file).join("notes.txt").exists(), "{what} at {file}");
        }
    }
}

#[test]
fn a_link_in_the_place_of_the_manifest_is_replaced_and_not_followed() {
    let (temp, dir) = temp();
    let victim = victim(&temp);
    let writer = start(&dir, &few(50), 10, small(100));
    assert!(writer.is_in_place());
    fs::remove_file(dir.join("manifest.json")).expect("removed");
    symlink(&victim, dir.join("manifest.json")).expect("a link");
    writer.finish(FinalInfo::default()).expect("finished");
    assert!(is_intact(&victim));
    assert_eq!(read(&dir).0, few(50));
}

#[test]
fn a_link_in_the_place_of_a_capture_is_not_followed() {
    let (temp, dir) = temp();
    let (elsewhere, capture) = (temp.path().join("elsewhere"), temp.path().join("capture"));
    fs::create_dir(&elsewhere).expect("a folder");
    set_mode(&elsewhere, 0o755);
    write(&capture, &few(10), 10, 10);
    for target in [&elsewhere, &capture, &temp.path().join("nothing")] {
        symlink(target, &dir).expect("a link");
        for path in [dir.clone(), dir.join(""), dir.join(".")] {
            let what = format!("{} -> {}", path.display(), target.display());
            assert!(matches!(make_room(&path), Err(CaptureError::Link { .. })), "{what}");
            assert!(matches!(create(&path), Err(CaptureError::Link { .. })), "{what}");
        }
        let old = dir.with_extension("mmt.old");
        fs::rename(&dir, &old).expect("renamed");
        write(&dir, &few(10), 10, 10);
        let refused = make_room(&dir);
        assert!(matches!(&refused, Err(CaptureError::Link { path }) if *path == old), "{refused:?}");
        assert_eq!(read(&dir).0.len(), 10);
        fs::remove_dir_all(&dir).expect("removed");
        fs::remove_file(&old).expect("removed");
    }
    assert_eq!((names(&elsewhere).len(), mode(&elsewhere), read(&capture).0.len()), (0, 0o755, 10));
    assert!(!temp.path().join("nothing").exists());
}

#[test]
fn only_files_of_a_capture_are_removed() {
    for what in PLANTS {
        // A hard link of ours is one of two names of a file: to remove it removes nothing. So is a file as such.
        let ours = matches!(what, "hard link" | "file");
        for name in ["segment-000009.parquet", "segment-000009.arrows", "manifest.json.tmp", "notes.txt"] {
            let (temp, dir) = temp();
            let victim = victim(&temp);
            let old = dir.with_extension("mmt.old");
            write(&old, &few(10), 10, 10);
            write(&dir, &few(20), 10, 10);
            plant(what, &old.join(name), &victim);
            let before = names(&old);
            let made = make_room(&dir);
            assert!(is_intact(&victim), "{what} at {name}");
            if ours && name != "notes.txt" {
                assert_eq!(made.expect("room"), Some(old.clone()), "{what} at {name}");
                assert_eq!(read(&old).0.len(), 20);
                continue;
            }
            let error = made.expect_err("refused");
            assert!(matches!(&error, CaptureError::Mixed { path, .. } if *path == old), "{what} at {name}: {error:?}");
            assert!(error.to_string().contains(name), "{error}");
            assert_eq!((names(&old), read(&dir).0.len()), (before, 20), "{what} at {name}: something was touched");
            // The same in the capture that would be moved.
            fs::rename(&dir, temp.path().join("other")).expect("renamed");
            fs::rename(&old, &dir).expect("renamed");
            assert!(matches!(make_room(&dir), Err(CaptureError::Mixed { .. })), "{what} at {name}");
        }
    }
}

#[test]
fn a_folder_that_is_moved_away_is_still_the_one_that_is_written() {
    let (temp, dir) = temp();
    let victim = victim(&temp);
    let moved = temp.path().join("moved");
    let all = few(500);
    let options = WriterOptions { keep_bytes: Some(4096), ..small(50) };
    let mut writer = start(&dir, &all[..100], 25, options);
    fs::rename(&dir, &moved).expect("moved");
    fs::create_dir(&dir).expect("another");
    for n in 1..20 {
        for form in ["arrows", "parquet", "parquet.part"] {
            symlink(&victim, dir.join(format!("segment-{n:06}.{form}"))).expect("a link");
        }
    }
    symlink(&victim, dir.join("manifest.json.tmp")).expect("a link");
    let planted = names(&dir);
    for chunk in all[100..].chunks(25) {
        chunk.iter().for_each(|r| writer.append(r).expect("written"));
        writer.flush().expect("written");
    }
    let kept = temp.path().join("c.mmt.L05-1");
    let answer = writer.dump(&kept).expect("asked for");
    assert!(!writer.is_in_place());
    let manifest = writer.finish(FinalInfo::default()).expect("finished");
    assert_eq!(manifest.state, State::Complete);
    assert!(answer.recv().expect("an answer").is_ok());
    assert!(is_intact(&victim));
    assert_eq!(names(&dir), planted, "what was put there is as it was");
    let (back, capture) = read(&moved);
    assert!(all.ends_with(&back) && !back.is_empty() && manifest.dropped.segments > 0);
    assert_eq!(capture.condition(), Condition::Complete);
    assert!(all.ends_with(&read(&kept).0));
}

#[test]
fn a_folder_that_others_may_write_into_is_closed_before_anything_is_written() {
    for open in [0o777, 0o770, 0o1777, 0o755] {
        let (_temp, dir) = temp();
        fs::create_dir(&dir).expect("a folder");
        set_mode(&dir, open);
        write(&dir, &few(10), 10, 10);
        assert_eq!(mode(&dir), 0o700, "{open:o}");
    }
    let (_temp, dir) = temp();
    fs::create_dir(&dir).expect("a folder");
    fs::write(dir.join("segment-000001.arrows"), SECRET).expect("a file");
    set_mode(&dir, 0o777);
    assert!(matches!(create(&dir), Err(CaptureError::Occupied { .. })));
    assert_eq!((mode(&dir), names(&dir).len()), (0o777, 1), "what is not a capture's is left as it is");
}

#[test]
fn what_is_kept_is_not_written_where_something_is() {
    for what in PLANTS {
        let (temp, dir) = temp();
        let victim = victim(&temp);
        let mut writer = start(&dir, &few(50), 10, small(20));
        let kept = temp.path().join("c.mmt.L05-1");
        plant(what, &kept, &victim);
        let answer = writer.dump(&kept).expect("asked for").recv().expect("an answer");
        assert!(answer.is_err(), "{what}");
        assert!(is_intact(&victim) && !victim.with_extension("new").exists(), "{what}");
        assert!(!kept.join("manifest.json").exists(), "{what}");
        writer.finish(FinalInfo::default()).expect("the recording goes on");
    }
}

#[test]
fn a_folder_of_somebody_else_is_refused() {
    if !is_root("a folder of another user") {
        return;
    }
    let (_temp, dir) = temp();
    let old = dir.with_extension("mmt.old");
    let foreign = |result: Result<(), CaptureError>, at: &Path| {
        let error = result.expect_err("refused");
        assert!(matches!(&error, CaptureError::Foreign { path, owner: NOBODY, own: 0 } if path == at), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("links") && text.contains("nothing was recorded") && text.contains("-o"), "{text}");
    };
    for open in [0o700, 0o777] {
        fs::create_dir(&dir).expect("a folder");
        set_mode(&dir, open);
        chown(&dir, Some(NOBODY), Some(NOBODY)).expect("given");
        foreign(create(&dir).map(drop), &dir);
        foreign(make_room(&dir).map(drop), &dir);
        assert_eq!((names(&dir).len(), mode(&dir)), (0, open));
        fs::remove_dir(&dir).expect("removed");
    }
    write(&dir, &few(10), 10, 10);
    write(&old, &few(10), 10, 10);
    chown(&old, Some(NOBODY), Some(NOBODY)).expect("given");
    foreign(make_room(&dir).map(drop), &old);
    assert_eq!((read(&dir).0.len(), read(&old).0.len()), (10, 10));
    // One file of theirs is enough.
    chown(&old, Some(0), Some(0)).expect("taken");
    chown(old.join("segment-000001.parquet"), Some(NOBODY), None).expect("given");
    assert!(matches!(make_room(&dir), Err(CaptureError::Mixed { .. })));
    assert_eq!(read(&old).0.len(), 10);
}

#[test]
fn a_link_of_somebody_else_on_the_way_is_refused_and_an_own_one_followed() {
    let (temp, _) = temp();
    let (real, link) = (temp.path().join("real"), temp.path().join("link"));
    fs::create_dir(&real).expect("a folder");
    symlink("real", &link).expect("a link");
    write(&link.join("c.mmt"), &few(10), 10, 10);
    assert_eq!(read(&real.join("c.mmt")).0.len(), 10);
    assert!(make_room(&link.join("c.mmt")).expect("room").is_some());
    symlink("around", temp.path().join("around")).expect("a link");
    assert!(create(&temp.path().join("around/c.mmt")).is_err());
    if !is_root("a symbolic link of another user") {
        return;
    }
    std::os::unix::fs::lchown(&link, Some(NOBODY), Some(NOBODY)).expect("given");
    let error = create(&link.join("c.mmt")).map(drop).expect_err("refused").to_string();
    assert!(error.contains("link is a symbolic link that belongs to uid 65534"), "{error}");
    assert_eq!(names(&real), ["c.mmt.old"]);
}

/// The same test once more, in a process of its own with the environment of sudo.
#[test]
fn what_is_kept_or_interrupted_under_sudo_belongs_to_who_called_it_too() {
    const HOME: &str = "MMTRACE_TEST_HOME";
    if let Some(home) = std::env::var_os(HOME) {
        let dir = Path::new(&home).join("c.mmt");
        let mut writer = start(&dir, &few(200), 10, small(50));
        writer.dump(&dir.with_extension("mmt.L05-1")).expect("asked for").recv().expect("an answer").expect("kept");
        few(30).iter().for_each(|r| writer.append(r).expect("written"));
        writer.flush().expect("written");
        // Killed: no destructor runs.
        std::process::abort();
    }
    if !is_root("an interrupted capture under sudo") {
        return;
    }
    let (temp, _) = temp();
    set_mode(temp.path(), 0o755);
    let home = temp.path().join("home");
    fs::create_dir(&home).expect("a folder");
    chown(&home, Some(NOBODY), Some(NOBODY)).expect("given");
    let name = "owner::what_is_kept_or_interrupted_under_sudo_belongs_to_who_called_it_too";
    let mut again = Command::new(std::env::current_exe().expect("this program"));
    again.args(["--exact", name]).env(HOME, &home).env("SUDO_UID", "65534").env("SUDO_GID", "65534");
    let output = again.output().expect("it starts");
    assert!(!output.status.success(), "it was killed");
    assert_eq!(names(&home), ["c.mmt", "c.mmt.L05-1"], "{output:?}");
    for name in names(&home) {
        assert_belongs(&home.join(name), NOBODY);
    }
    assert_eq!(read(&home.join("c.mmt")).1.condition(), Condition::Recovered);
    assert_eq!(read(&home.join("c.mmt.L05-1")).1.condition(), Condition::Complete);
}
