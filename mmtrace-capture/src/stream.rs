//! Reading the open segment's `.arrows` file.
//!
//! It is one or more Arrow IPC streams, back to back: a stream has only the columns that its events use, and a new one
//! begins when an event brings another column, or when no event has used some for long. A reader opens a stream, reads to its end, and opens the next at that position until the file ends.
//!
//! The file may end anywhere, and may hold anything: every length is checked against the
//! file and against a limit before it is believed.

use super::capture_id::{Expected, KEY, foreign};
use super::file;
use super::sealed::{check_schema, guarded};
use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::{MessageHeader, root_as_message};
use rustc_hash::FxHashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// Largest message header, bytes; ours are at most ten thousand.
const MAX_HEADER: u64 = 1 << 16;
/// Largest message body, bytes, compressed and not; a full batch of ours has at most 9 million.
const MAX_BODY: u64 = 16 << 20;
/// Most columns of a stream; ours have at most 80.
const MAX_COLUMNS: usize = 1024;
/// Most bytes of the names that a stream's dictionaries hold at a time; ours have some thousand.
const MAX_NAMES: u64 = 8 << 20;
/// Buffers are padded to less than this, bytes.
const MAX_PADDING: u64 = 128;
/// Most rows in a batch, and entries in a dictionary: four times as many as a batch of ours has rows.
const MAX_ROWS: i64 = 1 << 16;

/// Reads batches up to the last complete one.
pub(super) struct StreamFile {
    input: BufReader<File>,
    left: u64,
    decoder: StreamDecoder,
    expected: Expected,
    /// Bytes of the dictionaries that the decoder keeps, by their ids.
    names: FxHashMap<i64, u64>,
    done: bool,
}

/// Returns whether a body ends where its last buffer does, up to padding. A length that is too large would otherwise
/// pass for a file that was cut.
fn fits(batch: arrow_ipc::RecordBatch<'_>, body: u64) -> bool {
    let mut ends = batch.buffers().into_iter().flatten().map(|b| b.offset().checked_add(b.length()));
    let end = ends.try_fold(0, |last, end| Some(end?.max(last))).and_then(|end| u64::try_from(end).ok());
    end.is_some_and(|end| end <= body && body - end < MAX_PADDING)
}

/// Counts the bytes that the buffers of a batch become: those that are compressed claim it, and the decoder makes no
/// more. Buffers that lie in the same place count as often as they are used. `None` for a claim, or a codec, that no
/// recorder of ours makes.
fn inflates(batch: arrow_ipc::RecordBatch<'_>, body: &[u8]) -> Option<u64> {
    let compressed = match batch.compression() {
        None => false,
        Some(how) if how.codec() == arrow_ipc::CompressionType::LZ4_FRAME => true,
        Some(_) => return None,
    };
    let mut total = 0u64;
    for buffer in batch.buffers().into_iter().flatten().filter(|b| b.length() > 0) {
        let length = u64::try_from(buffer.length()).ok()?;
        let claim = if compressed {
            let from = usize::try_from(buffer.offset()).ok()?;
            let prefix: [u8; 8] = body.get(from..from.checked_add(8)?)?.try_into().ok()?;
            i64::from_le_bytes(prefix)
        } else {
            STORED
        };
        let becomes = if claim == STORED { length } else { u64::try_from(claim).ok()? };
        total = total.checked_add(becomes)?;
    }
    (total <= MAX_BODY).then_some(total)
}

/// The claim of a buffer that is stored as it is.
const STORED: i64 = -1;

/// Checks a schema before it is converted: parts of it may be used more than once, and are copied as often.
fn check_fields(schema: arrow_ipc::Schema<'_>) -> Result<(), String> {
    let fields = schema.fields().into_iter().flatten();
    let (mut columns, mut letters) = (0, 0);
    for field in fields {
        columns += 1;
        letters += field.name().map_or(0, str::len);
        if columns > MAX_COLUMNS || letters as u64 > MAX_HEADER {
            return Err("more columns than any stream that was written".to_owned());
        }
        if field.children().is_some_and(|c| !c.is_empty()) || field.custom_metadata().is_some_and(|m| !m.is_empty()) {
            return Err("a column of a kind that is never written".to_owned());
        }
    }
    let remarks = || schema.custom_metadata().into_iter().flatten();
    if remarks().count() > 1 || remarks().any(|pair| pair.key() != Some(KEY)) {
        return Err("a schema with remarks that are never written".to_owned());
    }
    Ok(())
}

/// Returns the capture that a schema names.
fn capture_of(schema: arrow_ipc::Schema<'_>) -> Option<&str> {
    let pair = schema.custom_metadata()?.iter().find(|pair| pair.key() == Some(KEY))?;
    Some(pair.value().unwrap_or_default())
}

/// Says why a stream's file belongs to another capture than the expected one; `None` if it does not, or has no schema
/// that can be read.
pub(super) fn names_another(path: &Path, expected: Expected) -> Option<&'static str> {
    match StreamFile::open(path, expected).ok()?.message() {
        Ok(Message::Foreign(what)) => Some(what),
        _ => None,
    }
}

/// The mark that ends a finished stream: the end of an Arrow stream, twice. The crate's front page describes it.
pub(super) const FINISHED: [u8; 16] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// Returns whether a recorder has finished this stream: all that it wrote is there.
pub(super) fn is_finished(path: &Path) -> bool {
    let Ok((mut file, length)) = file::open(path) else { return false };
    let mut end = [0; FINISHED.len()];
    let Some(at) = length.checked_sub(end.len() as u64) else { return false };
    file.seek(SeekFrom::Start(at)).is_ok() && file.read_exact(&mut end).is_ok() && end == FINISHED
}

/// The next message, as far as it is there.
enum Message {
    Bytes(Vec<u8>),
    /// A schema that names another capture: why it is not read.
    Foreign(&'static str),
    EndOfStream,
    EndOfFile,
    Cut,
}

impl StreamFile {
    /// Opens an `.arrows` file. Its batches are read only if it belongs to the expected capture.
    ///
    /// # Errors
    ///
    /// A sentence when the file cannot be opened.
    pub(super) fn open(path: &Path, expected: Expected) -> Result<Self, String> {
        let (file, left) = file::open(path).map_err(|e| format!("cannot be opened ({e})"))?;
        Ok(Self {
            input: BufReader::with_capacity(1 << 18, file),
            left,
            decoder: StreamDecoder::new(),
            expected,
            names: FxHashMap::default(),
            done: false,
        })
    }

    /// Returns the next batch; `None` at the end of the file or of its last complete batch.
    ///
    /// # Errors
    ///
    /// A sentence when the bytes are not what a recorder writes. Nothing can be read after that.
    pub(super) fn next_batch(&mut self) -> Result<Option<RecordBatch>, String> {
        while !self.done {
            let step = self.message().and_then(|message| match message {
                Message::Bytes(bytes) => self.feed(bytes),
                Message::Foreign(what) => Err(what.to_owned()),
                Message::EndOfStream => {
                    self.decoder = StreamDecoder::new();
                    self.names.clear();
                    Ok(None)
                }
                // A recorder that was stopped while writing leaves a file that ends within a message.
                Message::EndOfFile | Message::Cut => {
                    self.done = true;
                    Ok(None)
                }
            });
            match step {
                Ok(None) => {}
                Ok(batch) => return Ok(batch),
                Err(e) => {
                    self.done = true;
                    return Err(e);
                }
            }
        }
        Ok(None)
    }

    fn take(&mut self, out: &mut Vec<u8>, bytes: u64) -> Result<(), String> {
        let from = out.len();
        out.resize(from + bytes as usize, 0);
        self.input.read_exact(&mut out[from..]).map_err(|e| format!("cannot be read ({e})"))?;
        self.left -= bytes;
        Ok(())
    }

    fn message(&mut self) -> Result<Message, String> {
        match self.left {
            0 => return Ok(Message::EndOfFile),
            1..8 => return Ok(Message::Cut),
            _ => {}
        }
        let mut bytes = Vec::new();
        self.take(&mut bytes, 8)?;
        let (mark, length) = bytes.split_at(4);
        if mark != [0xff; 4] {
            return Err("a message does not begin where one should".to_owned());
        }
        let header = u64::from(length.iter().rev().fold(0u32, |n, b| n << 8 | u32::from(*b)));
        if header == 0 {
            return Ok(Message::EndOfStream);
        }
        if header > MAX_HEADER {
            return Err(format!("a message header of {header} bytes"));
        }
        if header > self.left {
            return Ok(Message::Cut);
        }
        self.take(&mut bytes, header)?;
        let message = root_as_message(&bytes[8..]).map_err(|e| format!("a message header is damaged ({e})"))?;
        let body = u64::try_from(message.bodyLength()).ok().filter(|n| *n <= MAX_BODY);
        let body = body.ok_or_else(|| format!("a message body of {} bytes", message.bodyLength()))?;
        match message.header_type() {
            MessageHeader::Schema if body == 0 => {
                let schema = message.header_as_schema().ok_or("a schema is damaged")?;
                check_fields(schema)?;
                if let Some(what) = foreign(capture_of(schema), self.expected) {
                    return Ok(Message::Foreign(what));
                }
                // Converting a schema can fail in ways that the crate does not report.
                guarded(|| arrow_ipc::convert::try_fb_to_schema(schema).map_err(|e| e.to_string()))
                    .and_then(|schema| check_schema(&schema))?;
            }
            MessageHeader::RecordBatch if body > 0 => {
                let batch = message.header_as_record_batch().ok_or("a batch is damaged")?;
                if !(1..=MAX_ROWS).contains(&batch.length()) || !fits(batch, body) {
                    return Err(format!("a batch of {} rows", batch.length()));
                }
            }
            // Empty where the kernel has no such enum.
            MessageHeader::DictionaryBatch => {
                let dictionary = message.header_as_dictionary_batch().ok_or("a dictionary is damaged")?;
                let batch = dictionary.data().ok_or("a dictionary is damaged")?;
                if dictionary.isDelta() {
                    return Err("a dictionary that goes on, which is never written".to_owned());
                }
                if !(0..=MAX_ROWS).contains(&batch.length()) || !fits(batch, body) {
                    return Err(format!("a dictionary of {} entries", batch.length()));
                }
            }
            other => return Err(format!("a message of type {other:?}")),
        }
        if body > self.left {
            return Ok(Message::Cut);
        }
        self.take(&mut bytes, body)?;
        let (header, body) = bytes.split_at(8 + header as usize);
        let message = root_as_message(&header[8..]).map_err(|e| format!("a message header is damaged ({e})"))?;
        let dictionary = message.header_as_dictionary_batch();
        if let Some(batch) = message.header_as_record_batch().or(dictionary.and_then(|d| d.data())) {
            let becomes = inflates(batch, body).ok_or("a batch that claims to be larger than any that was written")?;
            if let Some(dictionary) = dictionary {
                // It is kept, and so is the message that it may lie in.
                self.names.insert(dictionary.id(), becomes + body.len() as u64);
                if self.names.values().sum::<u64>() > MAX_NAMES {
                    return Err("more names than any stream that was written".to_owned());
                }
            }
        }
        Ok(Message::Bytes(bytes))
    }

    fn feed(&mut self, bytes: Vec<u8>) -> Result<Option<RecordBatch>, String> {
        let mut buffer = bytes.into();
        let decoder = &mut self.decoder;
        guarded(|| decoder.decode(&mut buffer).map_err(|e| e.to_string()))
    }
}
