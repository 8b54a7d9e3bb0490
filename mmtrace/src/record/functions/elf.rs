//! The symbol tables of a stranger's ELF file, copied.
//!
//! Whoever owns the file may change it or cut it off while it is read, so it is not mapped into memory: access to what was
//! cut off would end mmtrace with SIGBUS. A copy in memory holds the tables of functions alone, as a small ELF file of
//! which everything but the symbols and their names is made here. What is read, and what is kept, is bounded.

use std::{
    fs::File,
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
};

use rustix::fs::{MemfdFlags, memfd_create};

/// Program headers that are read at most.
const SEGMENTS_MAX: u64 = 256;
/// Section headers that are read at most.
const SECTIONS_MAX: u64 = 1 << 12;
/// Bytes of a table of symbols, or of their names, at most. A larger table has no names.
const TABLE_MAX: u64 = 1 << 26;
/// Bytes of notes that are searched for a build id.
const NOTES_MAX: u64 = 1 << 16;
/// Bytes that are read at a time.
const CHUNK: usize = 1 << 20;

/// Bytes of the ELF header, of a program header, of a section header and of a symbol (include/uapi/linux/elf.h).
const HEADER: usize = 64;
const SEGMENT: usize = 56;
const SECTION: usize = 64;
const SYMBOL: usize = 24;

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const SHT_SYMTAB: u32 = 2;
const SHT_STRTAB: u32 = 3;
const SHT_NOTE: u32 = 7;
const SHT_DYNSYM: u32 = 11;
const STT_FUNC: u8 = 2;
const STT_GNU_IFUNC: u8 = 10;
const NT_GNU_BUILD_ID: u32 = 3;

/// What an ELF file tells of its functions.
#[derive(Debug)]
pub(super) struct Tables {
    /// A small ELF file in memory with the functions of the file; `None` if it has none.
    pub(super) copy: Option<File>,
    /// Bytes of the copy.
    pub(super) size: u64,
    /// The build id; empty if there is none.
    pub(super) build_id: Vec<u8>,
}

/// A table of symbols, and their names.
#[derive(Default)]
struct Table {
    symbols: Vec<u8>,
    names: Vec<u8>,
}

/// Headers of an ELF file.
struct Headers {
    header: Vec<u8>,
    segments: Vec<u8>,
    /// Empty if there are none, or too many.
    sections: Vec<u8>,
}

/// Reads the tables of a file. The symbols of a stripped file come from the one that `symbols_of` opens for its build id,
/// if that one is of the same build.
///
/// # Errors
/// The file cannot be read, is no ELF file of 64 bits, or its headers are damaged.
pub(super) fn read(file: &File, symbols_of: impl Fn(&[u8]) -> io::Result<File>) -> io::Result<Tables> {
    let Headers { header, segments, sections } = headers(file)?;
    let build_id = build_id(file, &segments);
    let mut own = table(file, &sections, SHT_SYMTAB).unwrap_or_default();
    let dynamic = table(file, &sections, SHT_DYNSYM).unwrap_or_default();
    if own.symbols.is_empty() && !build_id.is_empty() {
        own = symbols_of(&build_id).ok().and_then(|file| of_debug_file(&file, &build_id)).unwrap_or_default();
    }
    if own.symbols.is_empty() && dynamic.symbols.is_empty() {
        return Ok(Tables { copy: None, size: 0, build_id });
    }
    let loaded: Vec<&[u8]> = segments.chunks_exact(SEGMENT).filter(|one| u32_at(one, 0) == PT_LOAD).collect();
    let (copy, size) = copied(&header, &loaded, &own, &dynamic)?;
    Ok(Tables { copy: Some(copy), size, build_id })
}

/// Reads the symbols of a file that has nothing but them and debugging information. Its segments have no contents.
fn of_debug_file(file: &File, id: &[u8]) -> Option<Table> {
    let Headers { sections, .. } = headers(file).ok()?;
    let mut notes = sections.chunks_exact(SECTION).filter(|section| u32_at(section, 4) == SHT_NOTE).take(4);
    let is_same = notes.any(|note| {
        let read = bytes(file, u64_at(note, 24), u64_at(note, 32).min(NOTES_MAX)).unwrap_or_default();
        id_in(&read).as_deref() == Some(id)
    });
    is_same.then(|| table(file, &sections, SHT_SYMTAB)).flatten()
}

fn headers(file: &File) -> io::Result<Headers> {
    let header = bytes(file, 0, HEADER as u64)?;
    // 64 bits, little-endian.
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return Err(damaged("no ELF file of 64 bits"));
    }
    let (segments_at, sections_at) = (u64_at(&header, 32), u64_at(&header, 40));
    let (segments, sections) = (u64::from(u16_at(&header, 56)), u64::from(u16_at(&header, 60)));
    let sizes = (usize::from(u16_at(&header, 54)), usize::from(u16_at(&header, 58)));
    if segments > SEGMENTS_MAX || segments > 0 && sizes.0 != SEGMENT {
        return Err(damaged("program headers"));
    }
    let segments = bytes(file, segments_at, segments * SEGMENT as u64)?;
    let readable = sections <= SECTIONS_MAX && sizes.1 == SECTION;
    let sections = if readable { bytes(file, sections_at, sections * SECTION as u64).ok() } else { None };
    Ok(Headers { header, segments, sections: sections.unwrap_or_default() })
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not readable as ELF: {what}"))
}

/// Reads bytes of a file. They are as many as were asked for.
fn bytes(file: &File, at: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let len = len as usize;
    // A length that the file does not have costs no memory.
    while bytes.len() < len {
        let begun = bytes.len();
        bytes.resize(len.min(begun + CHUNK), 0);
        let at = at.checked_add(begun as u64).ok_or_else(|| damaged("an offset"))?;
        file.read_exact_at(&mut bytes[begun..], at)?;
    }
    Ok(bytes)
}

/// Returns the little-endian number at an offset; 0 beyond the end.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |eight| u64::from_le_bytes(*eight))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |four| u32::from_le_bytes(*four))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |two| u16::from_le_bytes(*two))
}

/// Reads the functions of the first table of this type.
fn table(file: &File, sections: &[u8], of: u32) -> Option<Table> {
    let section = sections.chunks_exact(SECTION).find(|section| u32_at(section, 4) == of)?;
    let names = sections.chunks_exact(SECTION).nth(u32_at(section, 40) as usize)?;
    let (size, names_size) = (u64_at(section, 32), u64_at(names, 32));
    if u32_at(names, 4) != SHT_STRTAB || size > TABLE_MAX || names_size > TABLE_MAX {
        return None;
    }
    let mut symbols = bytes(file, u64_at(section, 24), size).ok()?;
    let mut names = bytes(file, u64_at(names, 24), names_size).ok()?;
    // Every name ends.
    names.push(0);
    let mut kept = 0;
    for at in (0..symbols.len() / SYMBOL).map(|n| n * SYMBOL) {
        let Some(symbol) = symbols.get(at..at + SYMBOL).and_then(<[u8]>::first_chunk::<SYMBOL>).copied() else { break };
        let (kind, section) = (symbol[4] & 0xf, u16_at(&symbol, 6));
        let (start, len) = (u64_at(&symbol, 8), u64_at(&symbol, 16));
        let is_function = matches!(kind, STT_FUNC | STT_GNU_IFUNC) && section != 0;
        if is_function && start.checked_add(len).is_some() && (u32_at(&symbol, 0) as usize) < names.len() {
            symbols[kept..kept + SYMBOL].copy_from_slice(&symbol);
            symbols[kept + 4] = symbol[4] & 0xf0 | STT_FUNC;
            kept += SYMBOL;
        }
    }
    symbols.truncate(kept);
    Some(Table { symbols, names })
}

/// Finds the build id in the notes of a file.
fn build_id(file: &File, segments: &[u8]) -> Vec<u8> {
    let notes = segments.chunks_exact(SEGMENT).filter(|segment| u32_at(segment, 0) == PT_NOTE);
    let read = notes.filter_map(|segment| bytes(file, u64_at(segment, 8), u64_at(segment, 32).min(NOTES_MAX)).ok());
    read.take(4).find_map(|notes| id_in(&notes)).unwrap_or_default()
}

/// Finds it in a run of notes (elf(5), "Notes").
fn id_in(mut notes: &[u8]) -> Option<Vec<u8>> {
    while notes.len() >= 12 {
        let (name_len, len, kind) = (u32_at(notes, 0) as usize, u32_at(notes, 4) as usize, u32_at(notes, 8));
        let at = 12 + name_len.checked_next_multiple_of(4)?;
        let end = at.checked_add(len)?;
        if kind == NT_GNU_BUILD_ID && notes.get(12..12 + name_len) == Some(b"GNU\0") {
            return notes.get(at..end).map(<[u8]>::to_vec);
        }
        notes = notes.get(end.checked_next_multiple_of(4)?..)?;
    }
    None
}

/// Makes the small ELF file.
fn copied(header: &[u8], loaded: &[&[u8]], own: &Table, dynamic: &Table) -> io::Result<(File, u64)> {
    const NAMES: &[u8] = b"\0.symtab\0.strtab\0.dynsym\0.dynstr\0.shstrtab\0";
    // Name, type, contents, the section that it refers to.
    let sections: [(u32, u32, &[u8], u32); 5] = [
        (1, SHT_SYMTAB, &own.symbols, 2),
        (9, SHT_STRTAB, &own.names, 0),
        (17, SHT_DYNSYM, &dynamic.symbols, 4),
        (25, SHT_STRTAB, &dynamic.names, 0),
        (33, SHT_STRTAB, NAMES, 0),
    ];
    let segments_at = HEADER;
    let sections_at = segments_at + loaded.len() * SEGMENT;
    let mut at = sections_at + (1 + sections.len()) * SECTION;
    let mut head = header.to_vec();
    let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
    put(32, &(segments_at as u64).to_le_bytes());
    put(40, &(sections_at as u64).to_le_bytes());
    put(56, &(loaded.len() as u16).to_le_bytes());
    put(60, &(1 + sections.len() as u16).to_le_bytes());
    put(62, &5_u16.to_le_bytes());
    head.extend(loaded.iter().flat_map(|segment| segment.iter()));
    head.resize(head.len() + SECTION, 0);
    for (name, kind, contents, link) in sections {
        let mut section = [0; SECTION];
        let mut put = |at: usize, bytes: &[u8]| section[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &name.to_le_bytes());
        put(4, &kind.to_le_bytes());
        put(24, &(at as u64).to_le_bytes());
        put(32, &(contents.len() as u64).to_le_bytes());
        put(40, &link.to_le_bytes());
        put(48, &8_u64.to_le_bytes());
        put(56, &(SYMBOL as u64).to_le_bytes());
        head.extend(section);
        at = (at + contents.len()).next_multiple_of(8);
    }
    let mut copy = File::from(memfd_create("mmtrace-functions", MemfdFlags::CLOEXEC)?);
    copy.write_all(&head)?;
    for (.., contents, _) in sections {
        copy.write_all(contents)?;
        copy.write_all(&[0; 8][..contents.len().next_multiple_of(8) - contents.len()])?;
    }
    Ok((copy, at as u64))
}
