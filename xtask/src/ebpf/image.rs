//! The part of an object that matters: all that is loaded from it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, RelocationFlags, RelocationTarget, SectionFlags, elf,
    read::elf::ElfFile64,
};

/// Differences that are told one by one; more are only counted.
const TOLD: usize = 20;

/// The allocatable sections of an object, and the symbols that lie in them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    sections: BTreeMap<String, Section>,
    symbols: BTreeSet<Symbol>,
    /// Sections that are not loaded: names of symbols, and the like.
    other: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Section {
    flags: u64,
    align: u64,
    size: u64,
    bytes: Vec<u8>,
    /// (offset, type, what it points to, addend)
    relocations: BTreeSet<(u64, u32, String, i64)>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Symbol {
    name: String,
    section: String,
    offset: u64,
    size: u64,
    global: bool,
}

impl Image {
    /// Reads an object.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let file: ElfFile64<'_> = ElfFile64::parse(bytes).context("this is no 64-bit ELF object")?;
        let mut image = Self::default();
        for section in file.sections() {
            let name = section.name()?.to_owned();
            let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
            if sh_flags & u64::from(elf::SHF_ALLOC) == 0 {
                // Relocations are read with the section that they are for.
                if !name.is_empty() && !name.starts_with(".rel") {
                    image.other.push(name);
                }
                continue;
            }
            let mut relocations = BTreeSet::new();
            for (offset, relocation) in section.relocations() {
                let kind = match relocation.flags() {
                    RelocationFlags::Elf { r_type } => r_type,
                    _ => u32::MAX,
                };
                let target = match relocation.target() {
                    RelocationTarget::Symbol(index) => {
                        let symbol = file.symbol_by_index(index)?;
                        match symbol.name()? {
                            // A section's own symbol has no name.
                            "" => symbol_section(&file, &symbol)?,
                            name => name.to_owned(),
                        }
                    }
                    other => format!("{other:?}"),
                };
                relocations.insert((offset, kind, target, relocation.addend()));
            }
            let section = Section {
                flags: sh_flags,
                align: section.align(),
                size: section.size(),
                bytes: section.data()?.to_owned(),
                relocations,
            };
            image.sections.insert(name, section);
        }
        for symbol in file.symbols() {
            image.symbols.insert(Symbol {
                name: symbol.name()?.to_owned(),
                section: symbol_section(&file, &symbol)?,
                offset: symbol.address(),
                size: symbol.size(),
                global: symbol.is_global(),
            });
        }
        Ok(image)
    }

    /// Returns the sizes of all sections, in bytes, and the number of symbols, in one line.
    pub(super) fn summary(&self) -> String {
        let sections: Vec<String> = self
            .sections
            .iter()
            .map(|(name, s)| match s.relocations.len() {
                0 => format!("{name} {}", s.size),
                n => format!("{name} {} ({n} relocations)", s.size),
            })
            .collect();
        format!("{}, {} symbols", sections.join(", "), self.symbols.len())
    }

    /// Names of the sections that are not compared.
    pub(super) fn not_compared(&self) -> String {
        self.other.join(", ")
    }

    /// Returns the differences of the rebuilt object from this one, one per line.
    pub(super) fn differences(&self, rebuilt: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let names: BTreeSet<&String> = self.sections.keys().chain(rebuilt.sections.keys()).collect();
        for name in names {
            match (self.sections.get(name), rebuilt.sections.get(name)) {
                (Some(_), None) => found.push(format!("section {name} is only in the one checked in")),
                (None, Some(_)) => found.push(format!("section {name} is only in the rebuilt one")),
                (Some(old), Some(new)) => found.extend(old.differences(new).map(|d| format!("section {name}: {d}"))),
                (None, None) => {}
            }
        }
        let told = |s: &Symbol| format!("{} in {} at {:#x}, {} bytes", s.name, s.section, s.offset, s.size);
        let gone = self.symbols.difference(&rebuilt.symbols);
        let new = rebuilt.symbols.difference(&self.symbols);
        found.extend(gone.map(|s| format!("symbol only in the one checked in: {}", told(s))));
        found.extend(new.map(|s| format!("symbol only in the rebuilt one: {}", told(s))));
        let more = found.len().saturating_sub(TOLD);
        if more > 0 {
            found.truncate(TOLD);
            found.push(format!("and {more} more"));
        }
        found
    }
}

impl Section {
    fn differences(&self, new: &Self) -> impl Iterator<Item = String> {
        let bytes = if self.bytes == new.bytes {
            None
        } else {
            let first = self.bytes.iter().zip(&new.bytes).take_while(|(a, b)| a == b).count();
            Some(format!("its bytes differ, first at {first:#x}"))
        };
        let relocations = (self.relocations != new.relocations).then(|| {
            let (gone, new) =
                (self.relocations.difference(&new.relocations), new.relocations.difference(&self.relocations));
            format!("{} relocations differ", gone.count().max(new.count()))
        });
        let number = |what: &str, a: u64, b: u64| (a != b).then(|| format!("{what} {a:#x}, rebuilt {b:#x}"));
        [
            number("size", self.size, new.size),
            number("flags", self.flags, new.flags),
            number("alignment", self.align, new.align),
            bytes,
            relocations,
        ]
        .into_iter()
        .flatten()
    }
}

/// The name of the section that a symbol lies in.
fn symbol_section<'a>(file: &ElfFile64<'a>, symbol: &impl object::ObjectSymbol<'a>) -> Result<String> {
    Ok(match symbol.section_index() {
        Some(index) => file.section_by_index(index)?.name()?.to_owned(),
        None => "no section".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use mmtrace_common::{At, OFFSETS, SPECS, Spec};

    use super::*;

    fn checked_in() -> Vec<u8> {
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../mmtrace/ebpf/mmtrace.bpf.o")).expect("it is checked in")
    }

    #[test]
    fn the_object_has_what_a_loader_looks_for() {
        let image = Image::parse(&checked_in()).expect("an object");
        for section in ["tp_btf", "raw_tp", "license"] {
            assert!(image.sections.contains_key(section), "{section}");
        }
        assert_eq!(image.sections["license"].bytes, b"Dual MIT/GPL\0");
        assert!(!image.sections["tp_btf"].relocations.is_empty());
        assert!(image.symbols.iter().any(|s| s.name == "page_fault_user" && s.section == "tp_btf" && s.global));
        assert!(image.differences(&Image::parse(&checked_in()).expect("an object")).is_empty());
    }

    #[test]
    fn the_object_has_a_program_for_each_event_and_a_variable_for_each_offset() {
        let image = Image::parse(&checked_in()).expect("an object");
        let has = |name: &str| image.symbols.iter().any(|symbol| symbol.name == name);
        let probed = SPECS.iter().filter(|spec| !matches!(spec.site.at, At::User | At::Beside));
        let lacks_parameters = |spec: &&Spec| matches!(spec.site.at, At::SoftwareEvent { .. });
        let programs = probed.clone().filter(lacks_parameters).map(|spec| spec.name.to_owned());
        let positions =
            probed.filter(|spec| !lacks_parameters(spec)).map(|spec| format!("POS_{}", spec.name.to_uppercase()));
        let offsets = OFFSETS.iter().map(|row| row.global.to_owned());
        let lacking: Vec<String> = positions.chain(programs).chain(offsets).filter(|name| !has(name)).collect();
        assert!(lacking.is_empty(), "{lacking:?}: write the program, then cargo xtask build-ebpf");
    }

    #[test]
    fn one_byte_one_relocation_and_one_symbol_are_noticed() {
        let good = Image::parse(&checked_in()).expect("an object");
        let changed = |change: fn(&mut Image)| {
            let mut other = Image::parse(&checked_in()).expect("an object");
            change(&mut other);
            good.differences(&other)
        };
        let found = changed(|i| i.sections.get_mut("tp_btf").expect("it").bytes[9] ^= 1);
        assert_eq!(found, ["section tp_btf: its bytes differ, first at 0x9"]);
        let found = changed(|i| drop(i.sections.get_mut("raw_tp").expect("it").relocations.pop_first()));
        assert_eq!(found, ["section raw_tp: 1 relocations differ"]);
        let found = changed(|i| drop(i.sections.remove("license")));
        assert_eq!(found, ["section license is only in the one checked in"]);
        let found = changed(|i| drop(i.symbols.pop_last()));
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(Image::parse(b"#!/bin/sh\n").is_err());
    }
}
