//! `cargo xtask`: what a developer of mmtrace runs.

/// `println!` that does not mind a reader who has seen enough (`cargo xtask ci | head`).
macro_rules! say {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        // There is nobody left to tell.
        let _ = writeln!(std::io::stdout(), $($arg)*);
    }};
}

mod api;
mod bench;
mod cases;
mod ci;
mod disk;
mod docs;
mod ebpf;
mod imports;
mod process;
mod record;
mod setup;
mod spin;
mod test;
mod toolchains;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What a developer of mmtrace runs
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    BuildEbpf(ebpf::Args),
    Setup(setup::Args),
    Test(test::Args),
    Record(record::Args),
    Ci(ci::Args),
    Bench(bench::Args),
    Docs(docs::Args),
    Api(api::Args),
    Vm(vm::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.task {
        Task::BuildEbpf(args) => ebpf::run(args),
        Task::Setup(args) => setup::command(args),
        Task::Test(args) => test::command(args),
        Task::Record(args) => record::command(args).map(|never| match never {}),
        Task::Ci(args) => ci::command(args),
        Task::Bench(args) => bench::command(args),
        Task::Docs(args) => docs::command(args),
        Task::Api(args) => api::command(args),
        Task::Vm(args) => vm::command(args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
