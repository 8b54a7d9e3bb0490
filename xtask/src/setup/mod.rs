//! `cargo xtask setup`: what CI needs besides a stable Rust.

mod apt;
mod step;
mod steps;

use anyhow::Result;

use crate::workspace::Workspace;
pub(crate) use step::Step;
pub(crate) use steps::{has_subcommand, python_versions};

/// Install what `build-ebpf` and the ci lanes `oracle`, `ebpf`, `rustdoc`, `metrics`, `sql` and `vm` need
///
/// What is there is left alone; what cannot be had is said, and is no failure of the rest.
///
/// Everywhere: rustfmt, clippy and the oldest Rust that CI builds with by rustup, and a Python environment with duckdb and pyarrow in
/// target/venv. As root where apt is: the packages rustc-web, cargo-web, rust-web-src, rust-web-clippy,
/// llvm-22-dev, qemu-system-x86, spin, gcc, libc6-dev and prometheus, then bpf-linker 0.13.0 by cargo install.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {}

/// The results of all steps.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// rustfmt and clippy.
    pub(crate) lints: Step,
    /// A rustc with rust-src.
    pub(crate) compiler: Step,
    /// Clippy for it.
    pub(crate) clippy: Step,
    /// bpf-linker.
    pub(crate) linker: Step,
    /// duckdb and pyarrow.
    pub(crate) python: Step,
    /// QEMU.
    pub(crate) qemu: Step,
    /// Spin and a C compiler.
    pub(crate) spin: Step,
    /// Prometheus and its promtool.
    pub(crate) prometheus: Step,
    /// The rustdoc that lists public APIs.
    pub(crate) rustdoc: Step,
}

/// Runs the command.
pub(crate) fn command(_: &Args) -> Result<bool> {
    let setup = run(&Workspace::find()?);
    Ok(setup.steps().iter().all(|(_, step)| !matches!(step, Step::Failed(_))))
}

/// Goes through the steps, and says what each does and came to.
pub(crate) fn run(workspace: &Workspace) -> Setup {
    let step = |name: &str, run: &dyn Fn() -> Result<Step>| {
        say!("{name}");
        let step = run().unwrap_or_else(|error| Step::Failed(format!("{error:#}")));
        say!("  {step}");
        step
    };
    Setup {
        lints: step("rustfmt and clippy", &|| steps::lints(workspace)),
        compiler: step("a rustc with the sources of core, for the eBPF programs", &|| steps::compiler(workspace)),
        clippy: step("its clippy", &|| steps::clippy(workspace)),
        linker: step("bpf-linker", &|| steps::linker(workspace)),
        python: step("duckdb and pyarrow, which read captures without us", &|| steps::python(workspace)),
        qemu: step("QEMU, for other kernels", &|| steps::qemu(workspace)),
        spin: step("Spin, which checks the explorer", &|| steps::spin(workspace)),
        prometheus: step("Prometheus, which scrapes what is exported", &|| steps::prometheus(workspace)),
        rustdoc: step("the rustdoc that lists public APIs", &|| steps::rustdoc(workspace)),
    }
}

impl Setup {
    /// The steps with their names.
    pub(crate) fn steps(&self) -> [(&'static str, &Step); 9] {
        [
            ("rustfmt and clippy", &self.lints),
            ("compiler", &self.compiler),
            ("its clippy", &self.clippy),
            ("bpf-linker", &self.linker),
            ("duckdb and pyarrow", &self.python),
            ("QEMU", &self.qemu),
            ("Spin", &self.spin),
            ("Prometheus", &self.prometheus),
            ("rustdoc", &self.rustdoc),
        ]
    }
}
