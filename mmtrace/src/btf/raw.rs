//! The bytes of a BTF blob: header, type records and strings, each checked on the way in.
//!
//! Layout: `include/uapi/linux/btf.h`, `Documentation/bpf/btf.rst`.

use super::BtfError;
use std::sync::OnceLock;

pub(super) const INT: u8 = 1;
pub(super) const PTR: u8 = 2;
const ARRAY: u8 = 3;
pub(super) const STRUCT: u8 = 4;
pub(super) const UNION: u8 = 5;
pub(super) const ENUM: u8 = 6;
pub(super) const FWD: u8 = 7;
pub(super) const TYPEDEF: u8 = 8;
pub(super) const VOLATILE: u8 = 9;
pub(super) const CONST: u8 = 10;
pub(super) const RESTRICT: u8 = 11;
pub(super) const FUNC: u8 = 12;
pub(super) const FUNC_PROTO: u8 = 13;
const VAR: u8 = 14;
const DATASEC: u8 = 15;
pub(super) const FLOAT: u8 = 16;
const DECL_TAG: u8 = 17;
pub(super) const TYPE_TAG: u8 = 18;
pub(super) const ENUM64: u8 = 19;

const MAGIC: u16 = 0xeb9f;
/// Bytes of the header that every version has.
const HEADER: usize = 24;
/// Bytes of the header that also locates the layout section (kernels of 2026).
const HEADER_WITH_LAYOUT: usize = 32;
/// Bytes of a type record before what its kind adds.
const RECORD: usize = 12;
/// Longer names are not names: the kernel's limit is `KSYM_NAME_LEN`, 512.
const NAME_MAX: usize = 512;
/// A chain of modifiers and typedefs longer than this is a loop or an attack.
const CHAIN_MAX: usize = 64;

/// One type record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Type<'a> {
    pub(super) kind: u8,
    /// Bit 31 of `info`: signed enum, union FWD, bitfield-capable struct.
    pub(super) flag: bool,
    pub(super) name_off: u32,
    /// Size in bytes or a type id, as the kind has it.
    pub(super) size_or_type: u32,
    /// Data that the kind adds: members, parameters, enumerators, integer encoding.
    pub(super) rest: &'a [u8],
}

impl Type<'_> {
    /// Little-endian words of `rest`, `N` at a time.
    pub(super) fn rows<const N: usize>(&self) -> impl Iterator<Item = [u32; N]> {
        self.rest.chunks_exact(4 * N).map(|row| std::array::from_fn(|i| u32_at(row, 4 * i).unwrap_or(0)))
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(word.try_into().ok()?))
}

/// A blob whose records all lie inside it.
pub(super) struct Raw {
    data: Vec<u8>,
    strings: std::ops::Range<usize>,
    /// Offset of the record of type `i + 1` in `data`, and number of bytes that its kind adds.
    records: Vec<(u32, u32)>,
    /// Named types by name, built when first asked for.
    names: OnceLock<Names>,
}

/// A chained hash table over type ids. 0 ends a chain, since type 0 (void) has no name.
struct Names {
    heads: Vec<u32>,
    next: Vec<u32>,
}

impl Raw {
    pub(super) fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let magic = match data.get(..2) {
            Some(&[a, b]) => u16::from_le_bytes([a, b]),
            _ => return Err(BtfError::Truncated("header")),
        };
        if magic == MAGIC.swap_bytes() {
            return Err(BtfError::ByteOrder);
        }
        if magic != MAGIC {
            return Err(BtfError::Magic(magic));
        }
        match data.get(2) {
            Some(1) => {}
            Some(version) => return Err(BtfError::Version(*version)),
            None => return Err(BtfError::Truncated("header")),
        }
        let word = |at: usize| u32_at(&data, at).map(|w| w as usize).ok_or(BtfError::Truncated("header"));
        let header = word(4)?;
        if header < HEADER || header > data.len() {
            return Err(BtfError::Truncated("header"));
        }
        let section = |at: usize, name: &'static str| {
            let (offset, length) = (word(at)?, word(at + 4)?);
            let start = header.checked_add(offset).ok_or(BtfError::Truncated(name))?;
            let end = start.checked_add(length).ok_or(BtfError::Truncated(name))?;
            if end > data.len() { Err(BtfError::Truncated(name)) } else { Ok(start..end) }
        };
        let types = section(8, "type section")?;
        let strings = section(16, "string section")?;
        let layout = if header >= HEADER_WITH_LAYOUT { section(24, "layout section")? } else { 0..0 };
        let layout = &data[layout];
        if types.end > u32::MAX as usize {
            return Err(BtfError::Truncated("type section"));
        }

        // vmlinux averages 24 bytes a record.
        let mut records = Vec::with_capacity(types.len() / 24 + 1);
        let mut at = types.start;
        while at < types.end {
            let info = u32_at(&data[..types.end], at + 4).ok_or(BtfError::Truncated("type section"))?;
            let id = records.len() as u32 + 1;
            let rest = rest_len(info, layout).ok_or(BtfError::Kind { kind: kind(info), id })?;
            let end = at + RECORD + rest;
            if end > types.end {
                return Err(BtfError::Truncated("type section"));
            }
            records.push((at as u32, rest as u32));
            at = end;
        }
        Ok(Self { data, strings, records, names: OnceLock::new() })
    }

    /// Returns the number of types, without void.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// The type of this id; `None` for void (0) and for ids that do not exist.
    pub(super) fn get(&self, id: u32) -> Option<Type<'_>> {
        let (at, rest) = *self.records.get((id as usize).checked_sub(1)?)?;
        let record = self.data.get(at as usize..at as usize + RECORD + rest as usize)?;
        let info = u32_at(record, 4)?;
        Some(Type {
            kind: kind(info),
            flag: info >> 31 == 1,
            name_off: u32_at(record, 0)?,
            size_or_type: u32_at(record, 8)?,
            rest: &record[RECORD..],
        })
    }

    /// The string at this offset, empty for an anonymous type; `None` where the blob is wrong.
    pub(super) fn str(&self, offset: u32) -> Option<&[u8]> {
        let tail = self.data[self.strings.clone()].get(offset as usize..)?;
        let end = tail.iter().take(NAME_MAX).position(|b| *b == 0)?;
        Some(&tail[..end])
    }

    /// The same as text.
    pub(super) fn text(&self, offset: u32) -> Result<String, BtfError> {
        let bytes = self.str(offset).ok_or(BtfError::String(offset))?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    /// Every function, typedef, struct, union and enum of this name, in no particular order.
    pub(super) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (u32, Type<'a>)> {
        let names = self.names.get_or_init(|| self.index());
        let bucket = hash(name.as_bytes()) & (names.heads.len() - 1);
        let mut id = names.heads[bucket];
        std::iter::from_fn(move || {
            while id != 0 {
                let this = id;
                id = names.next[this as usize];
                if let Some(ty) = self.get(this)
                    && !name.is_empty()
                    && self.str(ty.name_off) == Some(name.as_bytes())
                {
                    return Some((this, ty));
                }
            }
            None
        })
    }

    fn index(&self) -> Names {
        let mut heads = vec![0; (self.len() + 1).next_power_of_two()];
        let mask = heads.len() - 1;
        let mut next = vec![0; self.len() + 1];
        for id in 1..=self.len() as u32 {
            let Some(ty) = self.get(id) else { continue };
            if !matches!(ty.kind, STRUCT | UNION | ENUM | ENUM64 | TYPEDEF | FUNC) {
                continue;
            }
            match self.str(ty.name_off) {
                None | Some([]) => {}
                Some(name) => {
                    let head: &mut u32 = &mut heads[hash(name) & mask];
                    next[id as usize] = *head;
                    *head = id;
                }
            }
        }
        Names { heads, next }
    }

    /// Follows typedefs, qualifiers and type tags to what they stand for; `None` is void.
    pub(super) fn resolve(&self, mut id: u32) -> Result<Option<Type<'_>>, BtfError> {
        for _ in 0..CHAIN_MAX {
            if id == 0 {
                return Ok(None);
            }
            let ty = self.get(id).ok_or(BtfError::Id(id))?;
            if !matches!(ty.kind, TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG) {
                return Ok(Some(ty));
            }
            id = ty.size_or_type;
        }
        Err(BtfError::Chain)
    }
}

/// Bits 24 to 30; up to 2025 the highest two of them were reserved and zero.
fn kind(info: u32) -> u8 {
    (info >> 24) as u8 & 0x7f
}

/// Returns the number of bytes that follow the record; `None` for a kind that neither we nor the blob describe.
fn rest_len(info: u32, layout: &[u8]) -> Option<usize> {
    // Up to 2025 a count had 16 bits, and the 8 above were reserved and zero.
    let count = (info & 0xff_ffff) as usize;
    Some(match kind(info) {
        INT | VAR | DECL_TAG => 4,
        PTR | FWD | TYPEDEF | VOLATILE | CONST | RESTRICT | FUNC | FLOAT | TYPE_TAG => 0,
        ARRAY => 12,
        STRUCT | UNION | DATASEC | ENUM64 => 12 * count,
        ENUM | FUNC_PROTO => 8 * count,
        0 => return None,
        newer => {
            // struct btf_layout { u8 info_sz; u8 elem_sz; u16 flags; }, one per kind.
            let row = layout.chunks_exact(4).nth(usize::from(newer))?;
            usize::from(row[0]) + usize::from(row[1]) * count
        }
    })
}

/// FNV-1a: names are short, and a blob made to collide only makes itself slow.
fn hash(name: &[u8]) -> usize {
    name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3)) as usize
}
