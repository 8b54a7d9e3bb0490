//! The terminal: taken over and given back, whatever happens.

use std::{
    io::{self, IsTerminal, Stdout},
    mem::ManuallyDrop,
    sync::{
        Arc, Once,
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

/// How long the input thread waits before it looks whether it is still wanted.
const POLL: Duration = Duration::from_millis(50);

/// How often it looks whether the terminal is still there.
const ALIVE: Duration = Duration::from_secs(1);

/// The terminal while the dashboard has it. Dropping it gives it back.
pub struct Screen {
    /// To draw on.
    ///
    /// Never dropped: that would show the cursor, as [`restore`] does, and panic where neither it nor the complaint
    /// can be written any more.
    pub terminal: ManuallyDrop<Terminal<CrosstermBackend<Stdout>>>,
    /// Keys, mouse, new sizes.
    pub input: Receiver<Event>,
    stop: Arc<AtomicBool>,
}

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
pub fn required() -> Result<()> {
    if io::stdout().is_terminal() && io::stdin().is_terminal() {
        return Ok(());
    }
    bail!("the dashboard needs a terminal, and this is none; for scripts there is --json");
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
                if !crate::panics::is_guarded() {
                    restore();
                }
                before(panic);
            }));
        });
        enable_raw_mode().context("cannot take the terminal over")?;
        execute!(io::stdout(), EnterAlternateScreen, EnableMouseCapture).inspect_err(|_| restore())?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout())).inspect_err(|_| restore())?;
        let (send, input) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        thread::Builder::new().name("input".to_owned()).spawn(move || {
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
        })?;
        Ok(Self { terminal: ManuallyDrop::new(terminal), input, stop })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        restore();
    }
}
