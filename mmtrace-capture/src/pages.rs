//! The pages of a sealed segment, each checked before it is decoded.
//!
//! A page header says how large its page becomes, and the decoder reserves that much, then decompresses no more. So
//! what is bounded here is what is decoded. Only the headers that the decoder is about to read are looked at, and it
//! is given the bytes that were looked at.

use super::thrift::{Refusal, Thrift, Type};
use bytes::Bytes;
use parquet::basic::{Compression, Type as Physical};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, Length};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

/// Largest page, bytes, compressed and not: a recorder ends a page, and a dictionary, within a few kilobytes of a
/// mebibyte. A reader holds two for each of its 80 columns.
const PAGE_MAX: i64 = (1 << 20) + (1 << 17);
/// Longest name in a dictionary, bytes: the names of enumerators and events have less than 64. A batch may hold a copy
/// for each of its rows.
const NAME_MAX: usize = 256;
/// Longest page header, bytes; those of a recorder have about 20.
const HEADER_MAX: usize = 1 << 12;
/// Bytes of a header that are read at first.
const HEADER_USUAL: usize = 128;
/// Most elements of a list in a page header; there is none.
const LIST_MAX: u64 = 64;

/// Place of a column's pages in the file, and their contents.
#[derive(Clone, Debug)]
struct Chunk {
    start: u64,
    end: u64,
    names: bool,
    /// Bytes of a dictionary's value at least.
    width: i64,
    compressed: bool,
}

#[derive(Debug)]
struct Inner {
    file: File,
    len: u64,
    chunks: Vec<Chunk>,
    /// Dictionaries of names that were looked at and are yet to be read: offset and compressed bytes.
    checked: Mutex<Vec<(u64, Bytes)>>,
}

/// The file as the decoder sees it.
#[derive(Clone, Debug)]
pub(super) struct Pages(Arc<Inner>);

fn refused<T>(what: impl Into<String>) -> Result<T> {
    Err(ParquetError::General(what.into()))
}

impl Pages {
    /// Returns the pages of these columns of a file.
    pub(super) fn new(file: File, len: u64, columns: &[&ColumnChunkMetaData]) -> std::result::Result<Self, String> {
        let chunks = columns.iter().map(|column| Chunk::new(column, len));
        let mut chunks = chunks.collect::<std::result::Result<Vec<_>, _>>()?;
        chunks.retain(|chunk| chunk.start < chunk.end);
        chunks.sort_unstable_by_key(|chunk| chunk.start);
        if chunks.windows(2).any(|pair| pair[1].start < pair[0].end) {
            return Err("two columns lie in the same place".to_owned());
        }
        Ok(Self(Arc::new(Inner { file, len, chunks, checked: Mutex::default() })))
    }
}

impl Chunk {
    fn new(column: &ColumnChunkMetaData, len: u64) -> std::result::Result<Self, String> {
        let compressed = match column.compression() {
            Compression::UNCOMPRESSED => false,
            Compression::ZSTD(_) => true,
            other => return Err(format!("a column is compressed as {other}, which no recorder does")),
        };
        let (start, length) = column.byte_range();
        let end = start.checked_add(length).filter(|end| *end <= len);
        let (names, width) = match column.column_type() {
            Physical::BYTE_ARRAY => (true, 4),
            Physical::INT64 => (false, 8),
            _ => (false, 4),
        };
        Ok(Self { start, end: end.ok_or("a column lies beyond the end of the file")?, names, width, compressed })
    }

    /// Returns whether values of this column may be encoded so. Other encodings of strings repeat what was before: a
    /// page of them has no size that could be known.
    const fn takes(&self, encoding: i64) -> bool {
        match encoding {
            PLAIN | PLAIN_DICTIONARY | RLE_DICTIONARY => true,
            RLE | DELTA_BINARY_PACKED => !self.names,
            _ => false,
        }
    }
}

// Encodings, by their numbers in parquet.thrift.
const PLAIN: i64 = 0;
const PLAIN_DICTIONARY: i64 = 2;
const RLE: i64 = 3;
const DELTA_BINARY_PACKED: i64 = 5;
const RLE_DICTIONARY: i64 = 8;

/// The claims of a page header.
#[derive(Clone, Copy, Debug, Default)]
struct Header {
    length: usize,
    inflated: i64,
    stored: i64,
    dictionary: bool,
}

/// Reads a page header and checks all that it claims.
fn header(bytes: &[u8], chunk: &Chunk) -> std::result::Result<Header, Refusal> {
    let mut thrift = Thrift::new(bytes, LIST_MAX);
    let mut header = Header::default();
    let mut entries = 0;
    let wrong = |what: String| Err(Refusal::Wrong(what));
    let mut last = 0;
    while let Some((id, ty)) = thrift.field(last)? {
        match (id, ty) {
            (2 | 3, Type::I32) => {
                let size = thrift.int()?;
                if !(0..=PAGE_MAX).contains(&size) {
                    return wrong(format!("a page of {size} bytes, where a recorder's have {PAGE_MAX} at most"));
                }
                let field = if id == 2 { &mut header.inflated } else { &mut header.stored };
                *field = size.max(*field);
            }
            (5 | 7 | 8, Type::STRUCT) => {
                header.dictionary |= id == 7;
                let place = if id == 8 { 4 } else { 2 };
                let mut last = 0;
                while let Some((inner, ty)) = thrift.field(last)? {
                    match (inner, ty) {
                        (1, Type::I32) if id == 7 => entries = thrift.int()?.max(entries),
                        (inner, Type::I32) if inner == place => {
                            let encoding = thrift.int()?;
                            if !chunk.takes(encoding) {
                                return wrong(format!("a page in encoding {encoding}, which no recorder writes"));
                            }
                        }
                        (inner, _) if inner == place || inner == 1 && id == 7 => {
                            return wrong("a page header makes no sense".to_owned());
                        }
                        (_, ty) => thrift.skip(ty)?,
                    }
                    last = inner;
                }
            }
            (2 | 3 | 5 | 7 | 8, _) => return wrong("a page header makes no sense".to_owned()),
            (_, ty) => thrift.skip(ty)?,
        }
        last = id;
    }
    if entries > header.inflated / chunk.width {
        return wrong(format!("a dictionary of {entries} entries in {} bytes", header.inflated));
    }
    header.length = thrift.at();
    Ok(header)
}

/// Checks that all names of a dictionary are as short as names are.
fn check_names(bytes: &[u8]) -> Result<()> {
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = u32::from_le_bytes(*length) as usize;
        if length > NAME_MAX {
            return refused(format!("a name of {length} bytes"));
        }
        rest = after.get(length..).unwrap_or_default();
    }
    Ok(())
}

/// Checks, as [`check_names`] does, a dictionary as it is stored. One without names has a compressed frame all the
/// same.
fn check_stored_names(stored: &[u8], inflated: i64, compressed: bool) -> Result<()> {
    match (compressed, inflated) {
        (true, 0) => Ok(()),
        (true, inflated) => check_names(&zstd::bulk::decompress(stored, inflated as usize)?),
        (false, _) => check_names(stored),
    }
}

impl Inner {
    /// Returns the column that lies there; they are in the order of their places.
    fn chunk(&self, at: u64) -> Result<&Chunk> {
        let after = self.chunks.partition_point(|chunk| chunk.start <= at);
        let chunk = after.checked_sub(1).map(|i| &self.chunks[i]).filter(|chunk| at < chunk.end);
        chunk.ok_or_else(|| ParquetError::General("a page lies outside its column".to_owned()))
    }

    /// Reads at most so many bytes from there on, and none beyond a column's end.
    fn read(&self, at: u64, most: usize, end: u64) -> Result<Vec<u8>> {
        let most = end.saturating_sub(at).min(most as u64) as usize;
        let mut bytes = vec![0; most];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    /// Returns the bytes of a header, once they are checked.
    fn header(&self, at: u64) -> Result<Vec<u8>> {
        let chunk = self.chunk(at)?;
        let mut bytes = self.read(at, HEADER_USUAL, chunk.end)?;
        let mut found = header(&bytes, chunk);
        if matches!(found, Err(Refusal::Cut)) {
            bytes = self.read(at, HEADER_MAX, chunk.end)?;
            found = header(&bytes, chunk);
        }
        let header = match found {
            Ok(header) => header,
            Err(Refusal::Wrong(what)) => return refused(what),
            Err(Refusal::Cut) => return refused("a page header is cut off, or too long"),
        };
        bytes.truncate(header.length);
        if header.dictionary && chunk.names {
            self.check_dictionary(at + header.length as u64, header, chunk)?;
        }
        Ok(bytes)
    }

    fn check_dictionary(&self, at: u64, header: Header, chunk: &Chunk) -> Result<()> {
        let stored = self.read(at, header.stored as usize, chunk.end)?;
        check_stored_names(&stored, header.inflated, chunk.compressed)?;
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        checked.retain(|(other, _)| *other != at);
        checked.push((at, Bytes::from(stored)));
        Ok(())
    }
}

impl Length for Pages {
    fn len(&self) -> u64 {
        self.0.len
    }
}

impl ChunkReader for Pages {
    type T = HeaderBytes;

    fn get_read(&self, start: u64) -> Result<HeaderBytes> {
        // The decoder asks for this of pages whose header it has, too.
        Ok(HeaderBytes { pages: Arc::clone(&self.0), start, rest: None })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let end = self.0.chunk(start)?.end;
        if length as i64 > PAGE_MAX {
            return refused(format!("a page of {length} bytes"));
        }
        let mut checked = self.0.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(i) = checked.iter().position(|(at, bytes)| *at == start && bytes.len() == length) {
            return Ok(checked.swap_remove(i).1);
        }
        drop(checked);
        let bytes = self.0.read(start, length, end)?;
        if bytes.len() < length { refused("a page goes on beyond its column") } else { Ok(Bytes::from(bytes)) }
    }
}

/// The bytes of one page header, which is checked when the first is asked for.
#[derive(Debug)]
pub(super) struct HeaderBytes {
    pages: Arc<Inner>,
    start: u64,
    rest: Option<io::Cursor<Vec<u8>>>,
}

impl Read for HeaderBytes {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let rest = match &mut self.rest {
            Some(rest) => rest,
            rest @ None => rest.insert(io::Cursor::new(self.pages.header(self.start).map_err(io::Error::other)?)),
        };
        rest.read(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_without_names_is_none_of_long_ones() {
        // In a segment of which no row has a value in the column.
        let empty = zstd::bulk::compress(b"", 0).expect("compressed");
        assert!(!empty.is_empty());
        check_stored_names(&empty, 0, true).expect("nothing in it");
        check_stored_names(b"", 0, false).expect("nothing in it");
        let name = [&4u32.to_le_bytes()[..], b"name"].concat();
        let stored = zstd::bulk::compress(&name, 0).expect("compressed");
        check_stored_names(&stored, name.len() as i64, true).expect("a short one");
        let long = [&257u32.to_le_bytes()[..], &[b'x'; 257]].concat();
        assert!(check_stored_names(&long, long.len() as i64, false).is_err());
    }
}
