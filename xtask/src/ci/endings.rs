//! Part of the live lane: recorders that hardly get a CPU, or whose command the kernel keeps, end when they are told to.

use std::{
    ffi::CString,
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    os::fd::AsRawFd as _,
    path::Path,
    process::{Child, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::{
    mount::{MountFlags, UnmountFlags, mount, unmount},
    process::{Pid, Signal, kill_process},
    time::{ClockId, clock_gettime},
};
use serde_json::Value;

use crate::process;

/// A recorder is to end within this time. It takes 5 to 9 s here; the rest is for slower machines.
const ENDS: Duration = Duration::from_secs(60);
/// Events are recorded for this time before the recorder is told to end.
const RECORDING: Duration = Duration::from_secs(4);
/// No event that is later than the signal by more than this counts.
///
/// The programs take none after a tenth of a second, once the recorder has had its 2 ms: a few of these.
const LATE_NS: u64 = 3_000_000_000;
/// A slow recorder runs for this time, longer if it is starved on a busy machine...
const RUNS: [Duration; 3] = [Duration::from_millis(2), Duration::from_millis(10), Duration::from_millis(30)];
/// ...and then stands still for this.
const STANDS: Duration = Duration::from_millis(98);
/// Makes page faults until it is killed.
const STORM: &str = "while :; do (:); done";
/// Longest time that a mount, a capture or a stuck child may take to appear.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tries each; says what was wrong.
pub(super) fn all(mmtrace: &Path, root: &Path, folder: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (name, signal) in [("SIGINT", Signal::INT), ("SIGTERM", Signal::TERM), ("SIGHUP", Signal::HUP)] {
        if signal == Signal::HUP && is_ignored(signal)? {
            say!("SIGHUP is ignored here (nohup), and so it is by recorders: not tried");
            continue;
        }
        let mut result = None;
        for runs in RUNS {
            say!("{name} to a recorder that runs {} ms of every 100, under two storms of forks", runs.as_millis());
            result = slow(mmtrace, root, folder, signal, runs)?;
            if !result.as_ref().is_some_and(|wrong| wrong.is_starved) {
                break;
            }
        }
        wrong.extend(result.map(|Wrong { what, .. }| format!("{name} to a slow recorder: {what}")));
    }
    say!("SIGINT to a recorder whose command waits for a file system that does not answer");
    wrong.extend(stuck(mmtrace, root, folder)?.map(|what| format!("a command that the kernel keeps: {what}")));
    Ok(wrong)
}

/// Whether programs that are started from here ignore a signal.
fn is_ignored(signal: Signal) -> Result<bool> {
    let status = fs::read_to_string("/proc/self/status")?;
    let mask =
        status.lines().find_map(|line| line.strip_prefix("SigIgn:")).context("/proc/self/status has no SigIgn")?;
    Ok(u64::from_str_radix(mask.trim(), 16)? >> (signal.as_raw() - 1) & 1 == 1)
}

/// A program that is killed when this goes.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pid(child: &Child) -> Result<Pid> {
    Pid::from_raw(child.id().cast_signed()).context("no process has the number 0")
}

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Starts a recorder, and waits until its capture is there.
fn start(mmtrace: &Path, root: &Path, folder: &Path, arguments: &[&str]) -> Result<Killed> {
    let capture = folder.join("ended");
    if capture.exists() {
        fs::remove_dir_all(&capture).with_context(|| format!("cannot remove {}", capture.display()))?;
    }
    let mut record = process::command(mmtrace, root);
    record.args(["record", "--json", "-o"]).arg(&capture).args(arguments);
    record.stdout(File::create(folder.join("ended.json"))?).stderr(File::create(folder.join("ended.err"))?);
    let mut recorder = Killed(record.spawn()?);
    await_that("the recorder to begin", || {
        if let Some(status) = recorder.0.try_wait()? {
            bail!("the recorder ended with {status}: {}", fs::read_to_string(folder.join("ended.err"))?.trim());
        }
        Ok(capture.join("manifest.json").exists())
    })?;
    Ok(recorder)
}

fn await_that(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let patience = Instant::now() + PATIENCE;
    while !is_so()? {
        if Instant::now() > patience {
            bail!("waited {} s for {what}", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// An end of a recorder that went wrong.
struct Wrong {
    what: String,
    /// It can be that the recorder got no CPU at all, as on a machine that has others to serve: with more of one it must
    /// go right.
    is_starved: bool,
}

/// A recorder that hardly gets a CPU is told to end.
fn slow(mmtrace: &Path, root: &Path, folder: &Path, signal: Signal, runs: Duration) -> Result<Option<Wrong>> {
    let wrong = |what: String| Some(Wrong { what, is_starved: false });
    let mut storms = Vec::new();
    for _ in 0..2 {
        storms.push(Killed(process::command("sh", root).args(["-c", STORM]).stdout(Stdio::null()).spawn()?));
    }
    let mut recorder = start(mmtrace, root, folder, &[])?;
    let process = pid(&recorder.0)?;
    let over = AtomicBool::new(false);
    let ended = thread::scope(|scope| {
        scope.spawn(|| {
            // The process is waited for by the other thread after this one has ended, so it is still there.
            while !over.load(Ordering::Relaxed) {
                let _ = kill_process(process, Signal::STOP);
                thread::sleep(STANDS);
                let _ = kill_process(process, Signal::CONT);
                thread::sleep(runs);
            }
        });
        thread::sleep(RECORDING);
        let told = now_ns();
        let sent = kill_process(process, signal);
        let ended = sent.map_err(anyhow::Error::from).and_then(|()| ended(&mut recorder.0, process));
        over.store(true, Ordering::Relaxed);
        anyhow::Ok((told, ended?))
    });
    let (told, took) = ended?;
    let Some(took) = took else { return Ok(wrong(format!("it had not ended after {} s", ENDS.as_secs()))) };
    let status = recorder.0.wait()?;
    let report: Value = serde_json::from_slice(&fs::read(folder.join("ended.json"))?).unwrap_or_default();
    let manifest: Value = serde_json::from_slice(&fs::read(folder.join("ended").join("manifest.json"))?)?;
    let until = manifest["end_ts"].as_u64().unwrap_or(u64::MAX);
    let after = until.saturating_sub(told);
    say!(
        "  ended after {:.1} s; {} events, {} lost; verdict {}; no event is later than {:.3} s after the signal",
        took.as_secs_f64(),
        report["events"]["total"],
        report["lost"],
        report["verdict"],
        after as f64 / 1e9
    );
    let verdict = report["verdict"].as_str().unwrap_or("none");
    let starved = |what: String| Some(Wrong { what, is_starved: true });
    Ok(match () {
        () if !status.success() => wrong(format!("it ended with {status}")),
        () if verdict == "violated" || verdict == "none" => wrong(format!("the verdict is {verdict}")),
        () if verdict == "held" && report["lost"] != 0 => wrong("it held in spite of losses".to_owned()),
        () if after > LATE_NS => starved(format!("events were taken until {:.3} s after it", after as f64 / 1e9)),
        () if report["events"]["total"].as_u64().unwrap_or(0) == 0 => starved("nothing was recorded".to_owned()),
        () => None,
    })
}

/// Waits until a process has ended, without waiting for it: its number stays its own. `None` if it takes too long.
fn ended(child: &mut Child, process: Pid) -> Result<Option<Duration>> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let begun = Instant::now();
    while begun.elapsed() < ENDS {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if waitid(WaitId::Pid(process), options)?.is_some() {
            return Ok(Some(begun.elapsed()));
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.kill()?;
    Ok(None)
}

/// A recorder whose command is in an uninterruptible wait is told to end.
fn stuck(mmtrace: &Path, root: &Path, folder: &Path) -> Result<Option<String>> {
    if !Path::new("/dev/fuse").exists() {
        say!("  not tried: this kernel has no file systems in user space (/dev/fuse)");
        return Ok(None);
    }
    let silent = Silent::mount(&folder.join("silent"))?;
    let file = silent.folder.join("file");
    let mut recorder = start(mmtrace, root, folder, &["--", "cat", &file.to_string_lossy()])?;
    await_that("the command to ask the file system", || Ok(silent.asked.load(Ordering::Relaxed)))?;
    thread::sleep(Duration::from_secs(1));
    let process = pid(&recorder.0)?;
    kill_process(process, Signal::INT)?;
    let Some(took) = ended(&mut recorder.0, process)? else {
        return Ok(Some(format!("the recorder had not ended after {} s", ENDS.as_secs())));
    };
    let status = recorder.0.wait()?;
    let report: Value = serde_json::from_slice(&fs::read(folder.join("ended.json"))?).unwrap_or_default();
    let said = fs::read_to_string(folder.join("ended.err"))?;
    say!(
        "  ended after {:.1} s; {} events; verdict {}",
        took.as_secs_f64(),
        report["events"]["total"],
        report["verdict"]
    );
    said.lines()
        .filter(|line| line.contains("state D") || line.contains("does not end"))
        .for_each(|line| say!("  {line}"));
    Ok(match () {
        () if !status.success() => Some(format!("the recorder ended with {status}")),
        () if report["verdict"] != "held" && report["verdict"] != "unknown" => {
            Some(format!("the verdict is {}", report["verdict"]))
        }
        () if !said.contains("is in state D in ") => Some(format!("it is not said where the command waits: {said}")),
        () => None,
    })
}

/// A file system in user space that takes questions and answers none.
struct Silent {
    folder: std::path::PathBuf,
    asked: std::sync::Arc<AtomicBool>,
}

/// `struct fuse_in_header`, `include/uapi/linux/fuse.h`: bytes of it.
const IN_HEADER: usize = 40;
/// `FUSE_INIT`, the kernel's first question.
const INIT: u32 = 26;
/// `FUSE_LOOKUP`: what a path means.
const LOOKUP: u32 = 1;

impl Silent {
    fn mount(folder: &Path) -> Result<Self> {
        // Of a run that was killed.
        let _ = unmount(folder, UnmountFlags::FORCE | UnmountFlags::DETACH);
        fs::create_dir_all(folder)?;
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").context("cannot open /dev/fuse")?;
        let options = CString::new(format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd()))?;
        mount("mmtrace-silent", folder, "fuse", MountFlags::NOSUID | MountFlags::NODEV, Some(options.as_c_str()))
            .context("cannot mount a file system in user space")?;
        let mounted = Self { folder: folder.to_owned(), asked: std::sync::Arc::new(AtomicBool::new(false)) };
        let seen = std::sync::Arc::clone(&mounted.asked);
        thread::Builder::new().name("silent".to_owned()).spawn(move || serve(device, &seen))?;
        Ok(mounted)
    }
}

impl Drop for Silent {
    /// Ends the connection: whoever waits for an answer gets an error.
    fn drop(&mut self) {
        let _ = unmount(&self.folder, UnmountFlags::FORCE | UnmountFlags::DETACH);
    }
}

/// Answers the kernel's first question alone. Ends when the file system is unmounted.
fn serve(mut device: File, asked: &AtomicBool) {
    let mut question = vec![0_u8; 1 << 17];
    while let Ok(length) = device.read(&mut question) {
        let word = |at: usize| question.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes);
        match word(4) {
            INIT if length >= IN_HEADER => {
                let unique = question[8..16].to_owned();
                // struct fuse_init_out of version 7.31: major, minor, and no wish but a page to write at a time.
                let mut answer = vec![0_u8; 16 + 64];
                let length = (answer.len() as u32).to_ne_bytes();
                answer[0..4].copy_from_slice(&length);
                answer[8..16].copy_from_slice(&unique);
                answer[16..20].copy_from_slice(&7_u32.to_ne_bytes());
                answer[20..24].copy_from_slice(&31_u32.to_ne_bytes());
                answer[36..40].copy_from_slice(&4096_u32.to_ne_bytes());
                if device.write_all(&answer).is_err() {
                    return;
                }
            }
            LOOKUP => asked.store(true, Ordering::Relaxed),
            _ => {}
        }
    }
}
