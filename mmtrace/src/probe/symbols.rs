//! The kernel's symbol table, as far as probes need it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use mmtrace_common::SPECS;

/// The running kernel's symbols.
const KALLSYMS: &str = "/proc/kallsyms";

/// Kernel variables that say where the direct map and the array of `struct page` begin (arch/x86/kernel/head64.c).
pub(super) const VARIABLES: &[&str] = &["page_offset_base", "vmemmap_base"];

/// A function that kernels with KASAN have.
pub(super) const KASAN: &str = "kasan_report";

/// Symbols that probes are about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Symbols {
    /// Addresses by name; 0 where the kernel does not tell. `None`: the table could not be read.
    table: Option<BTreeMap<String, Vec<u64>>>,
}

impl Symbols {
    /// The running kernel's. Where they cannot be read, nothing is known of any.
    #[must_use]
    pub(crate) fn from_kernel() -> Self {
        Self { table: read(Path::new(KALLSYMS)).ok() }
    }

    /// From the lines of a symbol table: address, type, name, and perhaps a module.
    ///
    /// # Errors
    /// It cannot be read.
    #[cfg(test)]
    pub(crate) fn parse(lines: impl BufRead) -> io::Result<Self> {
        Ok(Self { table: Some(parse(lines)?) })
    }

    /// Returns the number of symbols that have this name; `None` when that is not known.
    #[must_use]
    pub(crate) fn count(&self, name: &str) -> Option<usize> {
        self.table.as_ref().map(|t| t.get(name).map_or(0, Vec::len))
    }

    /// The address of the one symbol of this name, if the kernel tells it.
    #[must_use]
    pub(crate) fn address(&self, name: &str) -> Option<u64> {
        match self.table.as_ref()?.get(name)?.as_slice() {
            [address] if *address != 0 => Some(*address),
            _ => None,
        }
    }

    /// Whether the kernel shows the addresses of its symbols; `None` if it shows no symbols.
    #[must_use]
    pub(crate) fn are_shown(&self) -> Option<bool> {
        let table = self.table.as_ref().filter(|table| !table.is_empty())?;
        Some(table.values().flatten().any(|address| *address != 0))
    }

    /// A compiler's clone of this function: `name.isra.0` and the like.
    #[must_use]
    pub(crate) fn clone_of(&self, name: &str) -> Option<String> {
        let prefix = format!("{name}.");
        self.table.as_ref()?.range(prefix.clone()..).next().map(|(n, _)| n.clone()).filter(|n| n.starts_with(&prefix))
    }
}

fn read(path: &Path) -> io::Result<BTreeMap<String, Vec<u64>>> {
    parse(BufReader::with_capacity(1 << 16, File::open(path)?))
}

fn parse(mut lines: impl BufRead) -> io::Result<BTreeMap<String, Vec<u64>>> {
    let wanted: BTreeSet<&str> = SPECS
        .iter()
        .flat_map(|s| s.site.functions)
        .map(|f| f.symbol)
        .chain(VARIABLES.iter().copied())
        .chain([KASAN])
        .collect();
    let mut table: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        let mut words = line.split_ascii_whitespace();
        if let (Some(address), Some(_), Some(name), None) = (words.next(), words.next(), words.next(), words.next())
            && wanted.contains(name.split('.').next().unwrap_or(name))
        {
            table.entry(name.to_owned()).or_default().push(u64::from_str_radix(address, 16).unwrap_or(0));
        }
        line.clear();
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_symbol_table_says() {
        let text = "ffffffff81000000 T handle_mm_fault\n\
                    ffffffff81000100 t pmd_install.isra.0\n\
                    ffffffff81000200 t vm_area_free\n\
                    ffffffff81000300 t vm_area_free\n\
                    0000000000000000 T pte_free_now\n\
                    ffffffff81000400 T unrelated\n\
                    ffffffffc0000000 t handle_mm_fault\t[some_module]\n";
        let symbols = Symbols::parse(text.as_bytes()).expect("bytes can be read");
        assert_eq!(symbols.count("handle_mm_fault"), Some(1), "a module's is another matter");
        assert_eq!(symbols.address("handle_mm_fault"), Some(0xffff_ffff_8100_0000));
        assert_eq!(symbols.count("pmd_install"), Some(0));
        assert_eq!(symbols.clone_of("pmd_install").as_deref(), Some("pmd_install.isra.0"));
        assert_eq!((symbols.count("vm_area_free"), symbols.address("vm_area_free")), (Some(2), None));
        assert_eq!(symbols.address("pte_free_now"), None, "hidden by kptr_restrict");
        assert_eq!(symbols.count("unrelated"), Some(0), "not kept");
        assert_eq!((symbols.are_shown(), Symbols::default().are_shown()), (Some(true), None));
        let hidden = Symbols::parse(&b"0000000000000000 T handle_mm_fault\n"[..]).expect("bytes can be read");
        assert_eq!(hidden.are_shown(), Some(false));
        assert_eq!(Symbols::default().count("handle_mm_fault"), None);
    }
}
