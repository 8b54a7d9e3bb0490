//! The tools that build eBPF: a rustc with the sources of `core`, and bpf-linker.

use std::{
    env,
    error::Error,
    fmt, fs,
    path::{Path, PathBuf},
};

use crate::{
    process, toolchains,
    workspace::{cargo_home, program},
};

/// A compiler that can build `core`.
#[derive(Debug)]
pub(crate) struct Compiler {
    pub(crate) cargo: PathBuf,
    pub(crate) rustc: PathBuf,
    /// `rustc --version`
    pub(crate) version: String,
    /// The folder that rust-src is in.
    pub(crate) sources: PathBuf,
    /// The distribution's, in /usr.
    pub(crate) packaged: bool,
}

/// bpf-linker.
#[derive(Debug)]
pub(crate) struct Linker {
    pub(crate) path: PathBuf,
    /// `bpf-linker --version`
    pub(crate) version: String,
}

/// All that a build needs.
#[derive(Debug)]
pub(crate) struct Toolchain {
    pub(crate) compiler: Compiler,
    pub(crate) linker: Linker,
}

/// The tools that are missing, each with the way to get it.
#[derive(Debug)]
pub(crate) struct Missing(Vec<String>);

impl Missing {
    /// In one line.
    pub(crate) fn short(&self) -> String {
        self.0.join("; ")
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the eBPF programs cannot be built here: {}.\n\
             Only who changes mmtrace-ebpf or mmtrace-common needs to; everyone else builds with the object that is \
             checked in.\n\
             The tools, one way or the other:\n\
             \x20 Debian:  cargo xtask setup    (apt: rustc-web cargo-web rust-web-src llvm-22-dev; then cargo install \
             bpf-linker)\n\
             \x20 rustup:  rustup toolchain install nightly --component rust-src && cargo binstall bpf-linker",
            self.short()
        )
    }
}

impl Error for Missing {}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.compiler.rustc.display(), self.compiler.version)?;
        write!(f, "{}: {}", self.linker.path.display(), self.linker.version)
    }
}

impl Toolchain {
    /// Finds the tools.
    pub(crate) fn find(root: &Path) -> Result<Self, Missing> {
        match (Compiler::find(root), Linker::find(root)) {
            (Ok(compiler), Ok(linker)) => Ok(Self { compiler, linker }),
            (compiler, linker) => Err(Missing([compiler.err(), linker.err()].into_iter().flatten().collect())),
        }
    }
}

impl Compiler {
    /// Finds one, or says why not.
    pub(crate) fn find(root: &Path) -> Result<Self, String> {
        if let Some(given) = Self::given(root) {
            return given;
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
        folders.extend(["/usr/local/bin".into(), "/usr/bin".into()]);
        // rustup's proxies are asked through rustup, below.
        let own = folders.iter().filter(|f| f.join("rustc").is_file() && !f.join("rustup").is_file() && !is_proxy(f));
        let mut seen = Vec::new();
        for folder in own {
            match Self::new(root, folder.join("cargo"), folder.join("rustc")) {
                Ok(compiler) => return Ok(compiler),
                Err(_) => seen.push(folder.join("rustc").display().to_string()),
            }
        }
        let mut names = toolchains::names(root);
        names.sort_by_key(|name| !name.starts_with("nightly"));
        for name in names {
            let Some(sysroot) = toolchains::sysroot(root, &name) else { continue };
            match Self::new(root, sysroot.join("bin/cargo"), sysroot.join("bin/rustc")) {
                Ok(compiler) => return Ok(compiler),
                Err(_) => seen.push(format!("rustup's {name}")),
            }
        }
        seen.dedup();
        Err(if seen.is_empty() {
            "there is no rustc besides".to_owned()
        } else {
            format!("no rustc has rust-src (looked at {})", seen.join(", "))
        })
    }

    /// The one that the environment names.
    fn given(root: &Path) -> Option<Result<Self, String>> {
        let cargo = env::var_os("MMTRACE_EBPF_CARGO").map(PathBuf::from);
        let rustc = env::var_os("MMTRACE_EBPF_RUSTC").map(PathBuf::from);
        let (cargo, rustc) = match (cargo, rustc) {
            (None, None) => return None,
            (Some(cargo), Some(rustc)) => (cargo, rustc),
            (Some(cargo), None) => (cargo.clone(), cargo.with_file_name("rustc")),
            (None, Some(rustc)) => (rustc.with_file_name("cargo"), rustc),
        };
        Some(Self::new(root, cargo, rustc).map_err(|why| format!("MMTRACE_EBPF_CARGO, MMTRACE_EBPF_RUSTC: {why}")))
    }

    fn new(root: &Path, cargo: PathBuf, rustc: PathBuf) -> Result<Self, String> {
        let ask = |what: &[&str]| {
            let mut command = process::command(&rustc, root);
            process::as_from_a_shell(&mut command);
            process::line(command.args(what)).ok_or_else(|| format!("{} does not run", rustc.display()))
        };
        let sysroot = PathBuf::from(ask(&["--print", "sysroot"])?);
        let sources = sysroot.join("lib/rustlib/src/rust");
        if !sources.join("library/core/src/lib.rs").is_file() {
            return Err(format!("{} has no rust-src", rustc.display()));
        }
        if !cargo.is_file() {
            return Err(format!("there is no {}", cargo.display()));
        }
        let packaged = sysroot == Path::new("/usr");
        Ok(Self { version: ask(&["--version"])?, cargo, rustc, sources, packaged })
    }

    /// Its clippy, if it is installed.
    pub(crate) fn clippy(&self) -> Option<PathBuf> {
        Some(self.cargo.with_file_name("cargo-clippy")).filter(|p| p.is_file())
    }
}

/// Whether the rustc in this folder is only rustup's way to the real one.
fn is_proxy(folder: &Path) -> bool {
    fs::canonicalize(folder.join("rustc")).is_ok_and(|p| p.file_name().is_some_and(|name| name == "rustup"))
}

impl Linker {
    /// Finds it, or says that it is not there.
    pub(crate) fn find(root: &Path) -> Result<Self, String> {
        let mut further: Vec<PathBuf> = cargo_home().into_iter().map(|home| home.join("bin")).collect();
        further.extend(env::var_os("HOME").map(|home| Path::new(&home).join(".cargo/bin")));
        let given = env::var_os("MMTRACE_EBPF_LINKER").map(PathBuf::from);
        let Some(path) = given.or_else(|| program("bpf-linker", &further)) else {
            return Err("there is no bpf-linker on PATH or in cargo's bin folder".to_owned());
        };
        let mut command = process::command(&path, root);
        process::as_from_a_shell(&mut command);
        match process::line(command.arg("--version")) {
            Some(version) => Ok(Self { path, version }),
            None => Err(format!("{} does not run: install it again (cargo xtask setup)", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_both_ways_to_get_it() {
        let missing = Missing(vec!["no rustc has rust-src (looked at /usr/bin/rustc)".into(), "no bpf-linker".into()]);
        let text = missing.to_string();
        for part in ["/usr/bin/rustc", "no bpf-linker", "rust-web-src", "rustup toolchain install nightly", "binstall"]
        {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }
}
