//! The terminal is given back, whatever happens: here on a terminal of its own, for each way to end.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use mmtrace::tui::terminal::Screen;
use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

/// No step may take longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a terminal is sent to show another screen, and to show its own again.
const ENTERED: &str = "\x1b[?1049h";
const LEFT: &str = "\x1b[?1049l";

/// A pseudo-terminal: what controls it, and the terminal.
fn pair(columns: u16, rows: u16) -> (File, File) {
    let controller: OwnedFd =
        openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pseudo-terminal");
    grantpt(&controller).expect("granted");
    unlockpt(&controller).expect("unlocked");
    let name = ptsname(&controller, Vec::new()).expect("its name");
    let terminal = File::options().read(true).write(true).open(name.to_str().expect("a name")).expect("opened");
    tcsetwinsize(&terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).expect("sized");
    (File::from(controller), terminal)
}

/// A program on a terminal of its own.
struct OnTerminal {
    controller: File,
    /// Kept open, so that its settings can be asked for when the program has ended.
    terminal: File,
    child: Child,
    shown: Arc<Mutex<String>>,
}

impl OnTerminal {
    fn start(command: &mut Command, columns: u16, rows: u16) -> Self {
        let (controller, terminal) = pair(columns, rows);
        let end = || Stdio::from(terminal.try_clone().expect("another descriptor"));
        command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm").env_remove("NO_COLOR");
        let child = command.spawn().expect("it starts");
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut from, to) = (controller.try_clone().expect("another descriptor"), Arc::clone(&shown));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut bytes) {
                to.lock().expect("nobody panics with it").push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
        });
        Self { controller, terminal, child, shown }
    }

    fn shown(&self) -> String {
        self.shown.lock().expect("nobody panics with it").clone()
    }

    fn await_text(&self, text: &str) {
        let start = Instant::now();
        while !self.shown().contains(text) && !words(&self.shown()).contains(text) {
            assert!(start.elapsed() < PATIENCE, "{text:?} was not shown: {:?}", self.shown());
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.terminal).expect("its settings").local_modes.contains(LocalModes::ICANON)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is there");
    }

    /// Waits for its end, after which the terminal must be as it was. Returns what was shown after that.
    fn ended(mut self) -> (ExitStatus, String) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                break status;
            }
            if start.elapsed() > PATIENCE {
                self.child.kill().expect("our child");
                panic!("it did not end: {:?}", self.shown());
            }
            thread::sleep(Duration::from_millis(10));
        };
        self.await_text(LEFT);
        assert!(!self.is_raw(), "lines are edited again");
        let shown = self.shown();
        let (_, after) = shown.rsplit_once(LEFT).expect("it was just found");
        for (on, off, what) in [("\x1b[?25l", "\x1b[?25h", "cursor"), ("\x1b[?1000l", "\x1b[?1000l", "mouse")] {
            assert!(shown.rfind(off) >= shown.rfind(on) && shown.contains(off), "{what}: {shown:?}");
        }
        (status, after.to_owned())
    }
}

/// What was written to a terminal without its control sequences. Between two words may stand a move of the cursor: what
/// is on the screen already is not drawn again.
fn words(shown: &str) -> String {
    let mut text = String::new();
    for part in shown.split('\u{1b}') {
        let end = part.strip_prefix('[').and_then(|part| part.find(|c: char| c.is_ascii_alphabetic()));
        let (moves, rest) = end.map_or((false, part), |at| (part[at + 1..].starts_with('H'), &part[at + 2..]));
        text.push_str(if moves { " " } else { "" });
        text.push_str(rest);
    }
    text
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/6.18-fork/capture")
}

fn replay(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mmtrace"));
    command.arg("replay").arg(dir).arg("--tui");
    command
}

fn open(dir: &Path) -> OnTerminal {
    let on = OnTerminal::start(&mut replay(dir), 80, 24);
    on.await_text(ENTERED);
    on.await_text("Overview");
    assert!(on.is_raw());
    on
}

#[test]
fn q_and_ctrl_c_end_it() {
    for key in [&b"q"[..], b"\x03", b":q\r"] {
        let mut on = open(&golden());
        on.controller.write_all(key).expect("typed");
        let (status, _) = on.ended();
        assert_eq!(status.code(), Some(0), "{key:?}");
    }
}

/// All of it arrives at once, as from far away: Enter means a row of the view that was chosen just before it.
#[test]
fn what_is_typed_ahead_means_what_it_leads_to() {
    let mut on = open(&golden());
    on.controller.write_all(b"g100%\r").expect("typed");
    on.await_text("STOPPED");
    on.controller.write_all(b"7j\r").expect("typed");
    on.await_text("from the start");
    on.controller.write_all(b"q").expect("typed");
    assert_eq!(on.ended().0.code(), Some(0));
}

#[test]
fn signals_end_it_as_q_does() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let on = open(&golden());
        on.signal(signal);
        let (status, _) = on.ended();
        assert_eq!(status.code(), Some(0), "{signal:?}");
    }
}

/// The window is closed, the connection is cut: there is nothing to give back, and no reason to panic or to go on.
#[test]
fn a_terminal_that_is_gone_ends_it() {
    let (mut controller, terminal) = pair(40, 12);
    let mut command = replay(&golden());
    let end = || Stdio::from(terminal.try_clone().expect("another descriptor"));
    let mut child = command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm").spawn().expect("it starts");
    drop(command);
    let (mut shown, mut bytes) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&shown).contains("Overview") {
        let n = controller.read(&mut bytes).expect("something is shown");
        shown.extend_from_slice(&bytes[..n]);
    }
    drop((controller, terminal));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("our child") {
            break status;
        }
        if start.elapsed() > PATIENCE {
            child.kill().expect("our child");
            panic!("it goes on without a terminal");
        }
        thread::sleep(Duration::from_millis(10));
    };
    // With an error if it drew just then; not by a panic, which is 101.
    assert!(matches!(status.code(), Some(0 | 2)), "{status:?}");
}

/// A capture whose files vanish while it is looked at: what was read stays, and nothing breaks.
#[test]
fn a_stream_that_is_cut_off_does_not_keep_the_terminal() {
    let dir = tempfile::tempdir().expect("a folder");
    let copy = dir.path().join("capture");
    std::fs::create_dir(&copy).expect("made");
    for entry in std::fs::read_dir(golden()).expect("listed") {
        let entry = entry.expect("listed");
        std::fs::copy(entry.path(), copy.join(entry.file_name())).expect("copied");
    }
    let mut on = open(&copy);
    for entry in std::fs::read_dir(&copy).expect("listed") {
        File::options().write(true).open(entry.expect("listed").path()).and_then(|f| f.set_len(10)).expect("cut");
    }
    // To the end, back, and to the next violation: all of it reads.
    on.controller.write_all(b"g100%\rg0%\rn]]]").expect("typed");
    on.await_text("after this");
    on.controller.write_all(b"q").expect("typed");
    let (status, _) = on.ended();
    assert!(matches!(status.code(), Some(0..=2)), "{status:?}");
}

/// Not a test of its own: what the next one runs in a process of its own.
#[test]
fn panicking_with_the_terminal() {
    if std::env::var_os("MMTRACE_TEST_PANIC").is_some() {
        let _screen = Screen::new(|| {}).expect("a terminal");
        panic!("as a test of the terminal");
    }
}

#[test]
fn a_panic_is_told_on_a_terminal_that_is_as_it_was() {
    let own = std::env::current_exe().expect("this program");
    let mut command = Command::new(own);
    command.args(["--exact", "panicking_with_the_terminal", "--nocapture"]).env("MMTRACE_TEST_PANIC", "1");
    let on = OnTerminal::start(&mut command, 80, 24);
    on.await_text(ENTERED);
    let (status, _) = {
        on.await_text("as a test of the terminal");
        // The message comes after the terminal was given back: else it would be on the screen that is gone.
        let shown = on.shown();
        assert!(shown.find(LEFT).expect("given back") < shown.find("as a test").expect("told"), "{shown:?}");
        on.ended()
    };
    assert!(!status.success());
}

#[test]
fn a_terminal_of_one_cell_is_told_what_it_lacks() {
    let mut on = OnTerminal::start(&mut replay(&golden()), 25, 3);
    on.await_text("small:");
    on.controller.write_all(b"q").expect("typed");
    assert_eq!(on.ended().0.code(), Some(0));
    let mut on = OnTerminal::start(&mut replay(&golden()), 1, 1);
    on.await_text(ENTERED);
    on.controller.write_all(b"12345678?:q\x1bq").expect("typed");
    assert_eq!(on.ended().0.code(), Some(0));
}

#[test]
fn without_a_terminal_it_refuses_and_touches_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let commands: [&[&str]; 3] = [&["replay", "--tui"], &["top"], &["record", "--tui", "-o", "capture"]];
    for args in commands {
        let output = Command::new(env!("CARGO_BIN_EXE_mmtrace"))
            .args(args)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("the dashboard needs a terminal"), "{args:?}: {said}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 0);
}

/// A decoder that panics on foreign bytes is caught by the thread that runs it: nobody sees it, and the dashboard goes on.
#[test]
fn a_damaged_capture_is_shown_and_its_status_is_that_of_a_replay() {
    let on = open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/hostile/flipped-1838"));
    on.await_text("mmtrace");
    thread::sleep(Duration::from_millis(300));
    assert!(on.is_raw() && !on.shown().contains(LEFT), "the terminal was given back: {:?}", on.shown());
    (&on.controller).write_all(b"q").expect("typed");
    let (status, after) = on.ended();
    assert_eq!(status.code(), Some(2));
    assert!(after.contains("segment-000001.parquet") && !after.contains("panicked"), "{after:?}");
}

/// Ctrl-S, or a connection that stands still: what is drawn is not read, and signals still end it.
#[test]
fn a_terminal_that_is_not_read_keeps_no_signal_off() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let (mut controller, terminal) = pair(200, 60);
        let mut command = replay(&golden());
        let end = || Stdio::from(terminal.try_clone().expect("another descriptor"));
        let mut child =
            command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm").spawn().expect("it starts");
        // Pictures that nobody reads: more than a terminal takes.
        for _ in 0..40 {
            controller.write_all(b"12345678").expect("typed");
            thread::sleep(Duration::from_millis(20));
        }
        kill_process(Pid::from_child(&child), signal).expect("it is there");
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("our child") {
                break status;
            }
            if start.elapsed() > Duration::from_secs(10) {
                child.kill().expect("our child");
                panic!("{signal:?} does not end it");
            }
            thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert!(tcgetattr(&terminal).expect("its settings").local_modes.contains(LocalModes::ICANON), "{signal:?}");
    }
}
