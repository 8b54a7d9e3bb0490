//! A Parquet file of a capture while it is written. It has another name until it is whole and on disk.

use super::capture_id::{CaptureId, KEY};
use super::digest::hex;
use super::error::CaptureError;
use super::folder::Folder;
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

/// The file, with its length and digest so far, and the error that ended it: the encoder passes that on only as text.
struct Sink {
    file: File,
    bytes: u64,
    digest: Sha256,
    failure: Option<io::Error>,
}

impl Write for Sink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self.file.write(buf) {
            Ok(n) => {
                self.bytes += n as u64;
                self.digest.update(&buf[..n]);
                Ok(n)
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Err(e),
            Err(e) => {
                let kind = e.kind();
                self.failure = Some(e);
                Err(kind.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A Parquet file that is being written.
pub(super) struct ParquetFile {
    folder: Arc<Folder>,
    /// Its name until it is whole.
    part: String,
    writer: ArrowWriter<Sink>,
    /// The consequence of a failure for the capture, as a clause.
    consequence: &'static str,
}

/// A whole file, as the manifest knows it.
pub(super) struct Written {
    /// Its length.
    pub(super) bytes: u64,
    /// SHA-256, in hexadecimal.
    pub(super) sha256: String,
}

impl ParquetFile {
    /// Creates the file under the name `part`, as one of the capture with this id. Captures before version 1.1 have none.
    pub(super) fn create(
        folder: &Arc<Folder>,
        part: String,
        schema: SchemaRef,
        properties: WriterProperties,
        id: Option<CaptureId>,
        consequence: &'static str,
    ) -> Result<Self, CaptureError> {
        let failed = |doing, e| CaptureError::io(&folder.at(&part), doing, consequence, e);
        let file = folder.create(&part).map_err(|e| failed("create it", e))?;
        let sink = Sink { file, bytes: 0, digest: Sha256::new(), failure: None };
        let mut writer = ArrowWriter::try_new(sink, schema, Some(properties))
            .map_err(|e| CaptureError::encode(&folder.at(&part), consequence, &e))?;
        if let Some(id) = id {
            writer.append_key_value_metadata(KeyValue::new(KEY.to_owned(), id.to_string()));
        }
        folder.sync().map_err(|e| CaptureError::io(folder.path(), "flush the directory", consequence, e))?;
        Ok(Self { folder: Arc::clone(folder), part, writer, consequence })
    }

    /// Adds rows.
    pub(super) fn write(&mut self, rows: &RecordBatch) -> Result<(), CaptureError> {
        self.writer.write(rows).map_err(|e| self.error(&e))
    }

    /// Completes the file, brings it to the disk, and gives it its name, which nothing has.
    pub(super) fn finish(self, name: &str) -> Result<Written, CaptureError> {
        self.complete(name, Folder::rename)
    }

    /// Completes the file as [`ParquetFile::finish`] does, in the place of an older one.
    pub(super) fn replace(self, name: &str) -> Result<Written, CaptureError> {
        self.complete(name, Folder::replace)
    }

    fn complete(
        mut self,
        name: &str,
        rename: fn(&Folder, &str, &str) -> io::Result<()>,
    ) -> Result<Written, CaptureError> {
        if let Err(e) = self.writer.finish() {
            return Err(self.error(&e));
        }
        let (folder, consequence) = (&self.folder, self.consequence);
        let failed = |name: &str, doing, e| CaptureError::io(&folder.at(name), doing, consequence, e);
        let sink = self.writer.inner();
        sink.file.sync_all().map_err(|e| failed(&self.part, "flush it", e))?;
        let written = Written { bytes: sink.bytes, sha256: hex(&sink.digest) };
        rename(folder, &self.part, name).map_err(|e| failed(name, "rename it", e))?;
        folder.sync().map_err(|e| CaptureError::io(folder.path(), "flush the directory", consequence, e))?;
        Ok(written)
    }

    fn error(&mut self, error: &ParquetError) -> CaptureError {
        let path = self.folder.at(&self.part);
        match self.writer.inner_mut().failure.take() {
            Some(e) => CaptureError::io(&path, "write it", self.consequence, e),
            None => CaptureError::encode(&path, self.consequence, error),
        }
    }
}
