//! The terminal: taken over and given back, whatever happens.

use std::{
    io::{self, IsTerminal, Write},
    mem::ManuallyDrop,
    sync::{
        Arc, Mutex, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor::Show,
        event::{self, DisableMouseCapture, EnableMouseCapture, Event},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, window_size},
    },
};

use crate::{console, outlet::Outlet};

/// Longest time for the terminal to be given back.
const PATIENCE: Duration = Duration::from_secs(1);

/// Time that the input thread waits before it looks whether it is still wanted.
const POLL: Duration = Duration::from_millis(50);

/// Time between two looks at whether the terminal is still there.
const ALIVE: Duration = Duration::from_secs(1);

/// Buffer that a picture is drawn into before the terminal gets it.
#[derive(Clone, Default)]
pub(crate) struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        // Half a picture is not shown.
        Ok(())
    }
}

/// The terminal while the dashboard has it. Dropping it gives it back. It is written by a thread of its own: a terminal
/// that is not read keeps nobody else.
pub struct Screen {
    /// To draw on.
    ///
    /// Never dropped: that would show the cursor, as `restore` does.
    pub(crate) terminal: ManuallyDrop<Terminal<CrosstermBackend<Paper>>>,
    paper: Paper,
    outlet: Outlet,
    /// Keys, mouse, new sizes.
    pub(crate) input: Receiver<Event>,
    stop: Arc<AtomicBool>,
}

/// Gives the terminal back from wherever a panic comes.
fn restore() {
    // There is nobody left to tell if this fails.
    let _ = execute!(io::stdout(), DisableMouseCapture, LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

/// Whether there is a terminal, asked before anything else is done.
///
/// # Errors
///
/// There is none.
pub(crate) fn required() -> Result<()> {
    if io::stdout().is_terminal() && io::stdin().is_terminal() {
        return Ok(());
    }
    bail!(
        "the dashboard needs a terminal, and standard input or output is not one; for scripts, use mmtrace record --json"
    );
}

impl Screen {
    /// Takes the terminal over. `on_input` is called by the thread that reads, after each event.
    ///
    /// # Errors
    ///
    /// There is none, or it refuses.
    pub fn new(on_input: impl Fn() + Send + 'static) -> Result<Self> {
        required()?;
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                // One that is caught ends nothing.
                if !mmtrace_capture::is_guarded() {
                    restore();
                }
                before(panic);
            }));
        });
        let no_thread = "cannot start a thread for the dashboard";
        let outlet = console::stdout().and_then(|to| Outlet::new("terminal", to, usize::MAX)).context(no_thread)?;
        let mut paper = Paper::default();
        let terminal = Terminal::new(CrosstermBackend::new(paper.clone())).context("cannot take the terminal over")?;
        let (send, input) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        enable_raw_mode().context("cannot take the terminal over")?;
        execute!(paper, EnterAlternateScreen, EnableMouseCapture)?;
        // From here on, dropping gives the terminal back.
        let screen = Self { terminal: ManuallyDrop::new(terminal), paper, outlet, input, stop };
        screen.show();
        thread::Builder::new()
            .name("input".to_owned())
            .spawn(move || {
                let mut asked = Instant::now();
                while !stopped.load(Ordering::Relaxed) {
                    let event = match event::poll(POLL) {
                        Ok(true) => event::read(),
                        // A terminal that was hung up has nothing to read for ever, and no size.
                        Ok(false) if asked.elapsed() >= ALIVE && window_size().is_err() => return,
                        Ok(false) => {
                            if asked.elapsed() >= ALIVE {
                                asked = Instant::now();
                            }
                            continue;
                        }
                        Err(e) => Err(e),
                    };
                    // The terminal is gone, or nobody listens.
                    let Ok(event) = event else { return };
                    if send.send(event).is_err() {
                        return;
                    }
                    on_input();
                }
            })
            .context(no_thread)?;
        Ok(screen)
    }

    /// Whether all that was drawn has reached the terminal.
    ///
    /// # Errors
    ///
    /// The terminal is gone.
    pub(crate) fn is_free(&self) -> io::Result<bool> {
        if self.is_hung_up() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.outlet.error().map_or_else(|| Ok(self.outlet.is_idle()), Err)
    }

    /// Whether the terminal was hung up. The thread of the input does not see that if it happens while it waits: there is
    /// something to read then, of no bytes, for ever.
    pub(crate) fn is_hung_up(&self) -> bool {
        let mut poll = libc::pollfd { fd: libc::STDIN_FILENO, events: 0, revents: 0 };
        // SAFETY: one entry, which outlives the call.
        let told = unsafe { libc::poll(&raw mut poll, 1, 0) };
        told > 0 && poll.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0
    }

    /// Shows what was drawn.
    pub(crate) fn show(&self) {
        self.outlet.put(&self.paper.take());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Paper takes everything.
        let _ = execute!(self.paper, DisableMouseCapture, LeaveAlternateScreen, Show);
        self.show();
        self.outlet.wait(PATIENCE);
        // There is nobody left to tell if this fails.
        let _ = disable_raw_mode();
    }
}
