//! `cargo xtask bench dashboard`: how long a jump in a large capture takes, and what the dashboard costs a recorder.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use mmtrace_capture::{Capture, CaptureWriter, FinalInfo, WriterOptions};
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use serde_json::Value;

use crate::{
    process,
    workspace::{Workspace, cargo},
};

/// Measure jumps in a capture of ten million events, and what the dashboard costs beside a storm of page faults
///
/// The capture is made of those in testdata/, one after the other until there are enough events; nothing is recorded
/// for it. The storm needs root; elsewhere only the jumps are measured.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Events of the capture
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    events: u64,
    /// Jumps
    #[arg(long, value_name = "N", default_value_t = 200)]
    jumps: u32,
    /// How long the storm lasts, in seconds
    #[arg(long, value_name = "N", default_value_t = 10)]
    seconds: u64,
}

/// Longest time of a jump that feels like no wait, in milliseconds.
const JUMP_MS: f64 = 200.0;
/// No command may take longer.
const LIMIT: Duration = Duration::from_secs(900);
/// Clock ticks of a second, as /proc counts processor time (`USER_HZ`).
const TICKS: f64 = 100.0;

/// Runs everything and prints what came of it.
pub(crate) fn command(args: &Args) -> Result<bool> {
    let workspace = Workspace::find()?;
    let build = ["build", "--quiet", "--release", "--package", "mmtrace", "--bin", "mmtrace"];
    process::run(process::command(cargo(), &workspace.root).args(build))?;
    let mmtrace = workspace.target.join("release/mmtrace");
    let folder = workspace.target.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    jumps(args, &workspace, &mmtrace, &folder.join("jumps"))?;
    if process::line(process::command("id", &workspace.root).arg("-u")).as_deref() == Some("0") {
        storm(args, &mmtrace)?;
    } else {
        say!("what the dashboard costs a recorder: not measured, recording needs root");
    }
    Ok(true)
}

fn jumps(args: &Args, workspace: &Workspace, mmtrace: &Path, dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    let events = repeat(&workspace.path("testdata"), dir, args.events)?;
    say!("a capture of {events} events");
    let mut replay = process::command(mmtrace, &workspace.root);
    replay.arg("replay").arg(dir).args(["--jumps", &args.jumps.to_string()]);
    let finished = process::within(LIMIT, &mut replay)?;
    if !finished.status.success() {
        bail!("mmtrace replay --jumps ended with {}", finished.status);
    }
    let result: Value = serde_json::from_slice(&finished.stdout).context("what mmtrace printed is no JSON")?;
    let number = |field: &str| result[field].as_f64().unwrap_or(f64::NAN);
    say!("  read once in {:.1} s, with checkpoints", number("read_seconds"));
    let longest = number("longest_ms");
    say!(
        "  {} jumps: median {:.1} ms, p99 {:.1} ms, longest {longest:.1} ms: {} {JUMP_MS} ms",
        args.jumps,
        number("median_ms"),
        number("p99_ms"),
        if longest < JUMP_MS { "below" } else { "NOT below" }
    );
    fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))
}

/// The captures of a folder one after the other, as one, until it has so many events.
fn repeat(testdata: &Path, dir: &Path, wanted: u64) -> Result<u64> {
    let mut folders: Vec<PathBuf> = fs::read_dir(testdata)?
        .filter_map(|entry| Some(entry.ok()?.path().join("capture")))
        .filter(|path| path.join("manifest.json").is_file())
        .collect();
    folders.sort();
    let mut captures = Vec::new();
    for folder in &folders {
        captures.push(Capture::open(folder)?);
    }
    let first = captures.first().context("testdata/ has no capture")?;
    let mut writer = CaptureWriter::create(dir, first.context(), Vec::new(), WriterOptions::default())?;
    let mut now = first.context().start;
    let mut events = 0;
    'enough: loop {
        for capture in &captures {
            let (from, to) = capture.summary().span.context("a capture in testdata/ is empty")?;
            for mut record in capture.records() {
                record.ts = now + record.ts.saturating_sub(from);
                writer.append(&record)?;
                events += 1;
                if events >= wanted {
                    break 'enough;
                }
            }
            now += to - from + 1_000_000;
        }
    }
    writer.finish(FinalInfo { end_ts: now })?;
    Ok(events)
}

/// A storm of page faults, recorded with and without the dashboard.
fn storm(args: &Args, mmtrace: &Path) -> Result<()> {
    say!("a storm of page faults of {} s, recorded and judged, nothing written:", args.seconds);
    for (name, arguments) in
        [("with a line on standard error", &["record", "--no-capture"][..]), ("with the dashboard", &["top"])]
    {
        let mut terminal = Terminal::start(Command::new(mmtrace).args(arguments), 200, 50)?;
        // Until its probes are attached.
        thread::sleep(Duration::from_secs(2));
        let before = processor_time(terminal.child.id())?;
        let start = Instant::now();
        let mut load = Command::new(mmtrace);
        load.args(["workload", "faults", "--json", "--threads", "1", "--seconds", &args.seconds.to_string()]);
        process::within(LIMIT, &mut load)?;
        let (wall, spent) = (start.elapsed().as_secs_f64(), processor_time(terminal.child.id())? - before);
        let said = terminal.end()?;
        let line = |what: &str| said.lines().rev().find(|l| l.contains(what)).map_or("it said nothing", plain);
        say!("  {name}: {:.0} % of a CPU; {}", spent / wall * 100.0, line(" lost, "));
        if arguments == ["top"] {
            say!("  {}", line("pictures"));
        }
    }
    Ok(())
}

/// Returns the text of a line after the last sequence that moved the cursor.
fn plain(line: &str) -> &str {
    let line = line
        .rsplit_once('\x1b')
        .map_or(line, |(_, rest)| rest.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, text)| text));
    line.trim()
}

/// Seconds of processor time that a process has used.
fn processor_time(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the recorder has ended early")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // Fields 14 and 15 of proc_pid_stat(5), counted from the third one.
    let ticks = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok());
    Ok(ticks.sum::<f64>() / TICKS)
}

/// A program on a terminal of its own.
struct Terminal {
    child: Child,
    controller: File,
    said: Receiver<Vec<u8>>,
}

impl Terminal {
    fn start(command: &mut Command, columns: u16, rows: u16) -> Result<Self> {
        let controller =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).context("cannot make a terminal")?;
        grantpt(&controller)?;
        unlockpt(&controller)?;
        let name = ptsname(&controller, Vec::new())?;
        let terminal = File::options().read(true).write(true).open(name.to_string_lossy().as_ref())?;
        tcsetwinsize(&terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
        command.stdin(Stdio::from(terminal.try_clone()?)).stdout(Stdio::from(terminal.try_clone()?));
        let child = command.stderr(Stdio::from(terminal)).env("TERM", "xterm").spawn()?;
        let controller = File::from(controller);
        let mut from = controller.try_clone()?;
        let (send, said) = channel();
        thread::spawn(move || {
            let mut bytes = vec![0; 1 << 16];
            while let Ok(n @ 1..) = from.read(&mut bytes) {
                if send.send(bytes[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, controller, said })
    }

    /// Ctrl-C, and what was said until the end.
    fn end(&mut self) -> Result<String> {
        self.controller.write_all(b"\x03")?;
        // Not raw: the terminal makes a signal of it, for a process group that this program does not lead.
        process::run(Command::new("kill").args(["-INT", &self.child.id().to_string()]))?;
        self.child.wait()?;
        thread::sleep(Duration::from_millis(200));
        let bytes: Vec<u8> = self.said.try_iter().flatten().collect();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_is_left_of_it() {
        assert_eq!(plain("\r\x1b[K1 s: 3 events\r\x1b[KLinux: 4 events, 0 lost\r"), "Linux: 4 events, 0 lost");
        assert_eq!(plain("\x1b[?1049l\x1b[?25hmmtrace: 58 pictures"), "mmtrace: 58 pictures");
    }
}
