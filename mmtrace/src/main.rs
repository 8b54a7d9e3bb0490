//! The `mmtrace` command: parses arguments and dispatches; everything else is in the library.

#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use clap::Parser;
use mmtrace::{
    catalogue,
    cli::{Cli, Command},
    commands::{self, ShowError, explore, replay, report},
    console::{self, complain, complain_at_length},
    doctor, needs, panics, record, workload,
};
use mmtrace_capture::{CaptureError, Staging};
use mmtrace_model::{report::Style, untrusted::Screened};

/// Something was violated.
const VIOLATED: u8 = 1;
/// It did not work.
const FAILED: u8 = 2;

/// Longest wait until standard error has taken the last words.
const LAST_WORDS: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    panics::install();
    let code = run();
    console::settle(LAST_WORDS);
    code
}

fn run() -> ExitCode {
    if let Err(error) = record::survive_file_limit() {
        complain(format_args!("a write beyond the limit on file sizes (ulimit -f) would end mmtrace at once: {error}"));
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => return told(&usage),
    };
    let style = console::style_of_stdout();
    let mut out = Screened::new(BufWriter::new(Output(console::stdout())), style.has_colour());
    // Before anything of a stranger's is read, and before there is another thread. `doctor` tells what the kernel lacks.
    let mut needs = needs::of(&cli.command);
    if let Some(needs) = &mut needs {
        let _ = needs.enter();
    }
    let staging = needs.as_ref().and_then(|needs| needs.staging.as_ref());
    let done = dispatch(&cli.command, staging, style, &mut out).and_then(|code| {
        out.flush()?;
        Ok(code)
    });
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Buffered output belongs before the message, if it can still be written.
            let _ = out.flush();
            if is_of_capture(&error) {
                complain(causes(&error));
            } else {
                complain_at_length(&causes(&error));
            }
            ExitCode::from(FAILED)
        }
    }
}

/// Tells how the command is used, or what is wrong with how it was. What was typed is shown in it.
fn told(usage: &clap::Error) -> ExitCode {
    let text = usage.render().to_string();
    if usage.use_stderr() {
        // Whoever asked may have gone already.
        let _ = Screened::new(io::stderr(), false).write_all(text.as_bytes());
        return ExitCode::from(usage.exit_code() as u8);
    }
    // Help goes to standard output, and there it is only of use if it arrives.
    let printed = Output(console::stdout()).write_all(text.as_bytes());
    ExitCode::from(if printed.is_err() { FAILED } else { usage.exit_code() as u8 })
}

/// Standard output; writing to one that was closed is an error.
struct Output(io::Result<File>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Ok(file) => file.write(bytes),
            Err(error) => Err(error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn dispatch(command: &Command, staging: Option<&Staging>, style: Style, out: &mut dyn Write) -> anyhow::Result<u8> {
    let verdict = |violated: bool| if violated { VIOLATED } else { 0 };
    Ok(match command {
        Command::Record(args) => verdict(record::run(args, style)?),
        Command::Top(args) => verdict(record::run(&args.into(), style)?),
        Command::Stat(args) => verdict(record::run(&args.into(), style)?),
        Command::Mark(args) => {
            commands::mark::run(args, out)?;
            0
        }
        Command::Replay(args) => match replay::run(args, staging, out, style)? {
            replay::Outcome::Clean => 0,
            replay::Outcome::Violated => VIOLATED,
            replay::Outcome::Damaged => FAILED,
        },
        Command::Report(args) => match report::run(args, out, style)? {
            replay::Outcome::Clean => 0,
            replay::Outcome::Violated => VIOLATED,
            replay::Outcome::Damaged => FAILED,
        },
        Command::Tables(args) => {
            for problem in commands::tables::run(args, out)? {
                complain(&problem);
            }
            0
        }
        Command::Info(args) => {
            if commands::info(args, out)? {
                0
            } else {
                FAILED
            }
        }
        Command::Dump(args) => {
            let dumped = commands::dump(args, out)?;
            for problem in &dumped.problems {
                complain(problem);
            }
            if dumped.unknown > 0 {
                complain(format_args!(
                    "left out {} events of kinds that this version of mmtrace does not know; a newer version may",
                    dumped.unknown
                ));
            }
            if dumped.problems.is_empty() { 0 } else { FAILED }
        }
        Command::Doctor(args) => {
            if doctor::run(args, out, style)? {
                0
            } else {
                FAILED
            }
        }
        Command::Rules(args) => {
            catalogue::list(args, out, style)?;
            0
        }
        Command::Explain(args) => {
            if catalogue::explain(args, out, style)? {
                0
            } else {
                FAILED
            }
        }
        Command::Explore(args) => verdict(explore::run(args, out, style)? == explore::Outcome::Broken),
        Command::Workload(args) => {
            let stop = stop_flag()?;
            workload::run(args, &stop, out)?;
            0
        }
    })
}

/// The error with its causes, in one line; a cause that is already told is not told again.
fn causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// A capture is what is wrong, and may have made up a part of the message.
fn is_of_capture(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<CaptureError>() || cause.is::<ShowError>())
}

/// The reader has seen enough: that is success (`mmtrace dump | head`).
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
            || cause
                .downcast_ref::<serde_json::Error>()
                .is_some_and(|e| e.io_error_kind() == Some(io::ErrorKind::BrokenPipe))
    })
}

/// Set on SIGINT, SIGTERM or SIGHUP, so that a workload can undo what it changed.
fn stop_flag() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}
