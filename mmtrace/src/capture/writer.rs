//! Writing a capture.

use super::batch::{BATCH_ROWS, Batch, BatchBuilder};
use super::error::{CaptureError, NOTHING_RECORDED};
use super::manifest::{Manifest, State};
use super::place::lock;
use super::segment::{Flusher, OpenSegment, SealingSegment, remove_stream};
use crate::context::Context;
use mmtrace_common::Record;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How a capture is written.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// Rows after which a segment is sealed. A segment may be larger by a batch.
    pub segment_rows: u64,
    /// Age at which a segment is sealed.
    pub segment_age: Duration,
    /// How often the open segment is made to survive a crash of the kernel.
    pub sync_every: Duration,
    /// Batches that may wait to become Parquet before [`CaptureWriter::append`] blocks. One takes about a megabyte.
    pub queue: usize,
    /// `CLOCK_REALTIME` minus `CLOCK_MONOTONIC`, nanoseconds, for the manifest.
    pub realtime_offset_ns: Option<i64>,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            segment_rows: 4_000_000,
            segment_age: Duration::from_secs(300),
            sync_every: Duration::from_secs(1),
            queue: 16,
            realtime_offset_ns: None,
        }
    }
}

/// What is known only when a recording ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct FinalInfo {
    /// When it ended, nanoseconds of `CLOCK_MONOTONIC`.
    pub end_ts: u64,
}

/// Shortest wait of the thread for something to do.
const MIN_WAIT: Duration = Duration::from_millis(10);

enum Job {
    Open(Flusher),
    Batch(Box<Batch>),
    Seal,
    Finish(FinalInfo),
}

/// Writes a capture. Records are collected here into batches; a full batch is in the open
/// segment's file before the next record is taken, so that a recorder that is killed loses
/// the batch it was filling and nothing else. A thread of its own makes Parquet of the batches.
///
/// A writer that is dropped without [`CaptureWriter::finish`] leaves a capture that reads as interrupted.
pub struct CaptureWriter {
    dir: PathBuf,
    builder: BatchBuilder,
    options: WriterOptions,
    open: Option<OpenSegment>,
    segments: u64,
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<Result<Manifest, CaptureError>>>,
    /// Tells other mmtraces that the capture is being written.
    _lock: File,
}

impl CaptureWriter {
    /// Starts a capture in `dir`, which must not exist or be empty; [`make_room`](super::make_room) sees to that.
    /// The directory is created with mode 0700, files with 0600.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Occupied`] when something is there, [`CaptureError::InUse`] when another
    /// recorder is faster, or an I/O error.
    pub fn create(
        dir: &Path,
        context: &Context,
        command_line: Vec<String>,
        options: WriterOptions,
    ) -> Result<Self, CaptureError> {
        let failed = |doing, e| CaptureError::io(dir, doing, NOTHING_RECORDED, e);
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let mut entries = dir.read_dir().map_err(|e| failed("look into it", e))?;
                if entries.next().is_some() {
                    return Err(CaptureError::Occupied { path: dir.to_path_buf() });
                }
                // It was made by someone else, perhaps for everyone to read.
                std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))
                    .map_err(|e| failed("make it private", e))?;
            }
            other => other.map_err(|e| failed("create it", e))?,
        }
        let lock = lock(dir)?;
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        let manifest = Manifest::new(context, command_line, created, options.realtime_offset_ns);
        manifest.store(dir, NOTHING_RECORDED)?;

        let (jobs, queue) = sync_channel(options.queue);
        let sync_every = options.sync_every;
        let disk =
            Disk { dir: dir.to_path_buf(), manifest, sync_every, segment: None, synced: Instant::now(), dirty: false };
        let thread = std::thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || disk.run(&queue))
            .map_err(|e| failed("start the writer's thread", e))?;
        let (jobs, thread) = (Some(jobs), Some(thread));
        let builder = BatchBuilder::new(context);
        Ok(Self { dir: dir.to_path_buf(), builder, options, open: None, segments: 0, jobs, thread, _lock: lock })
    }

    /// Adds a record. Blocks while Parquet is more than the queue behind. A record of a kind
    /// that this build does not know is dropped and counted: [`CaptureWriter::unknown`].
    ///
    /// # Errors
    ///
    /// What went wrong on disk; [`CaptureError::Stopped`] after that.
    #[inline]
    pub fn append(&mut self, record: &Record) -> Result<(), CaptureError> {
        self.builder.append(record);
        if self.builder.rows() >= BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    /// Writes the records so far, so that a reader, or a recovery, sees them.
    ///
    /// # Errors
    ///
    /// As [`CaptureWriter::append`].
    pub fn flush(&mut self) -> Result<(), CaptureError> {
        let batch = self.builder.finish().map_err(|e| CaptureError::Encode {
            path: self.dir.clone(),
            reason: e.to_string(),
            consequence: super::error::RECORDING_STOPPED,
        })?;
        match batch {
            Some(batch) => self.write(batch)?,
            // With nothing to send, a failed disk would go unnoticed until the next event.
            None if self.thread.as_ref().is_none_or(JoinHandle::is_finished) => return Err(self.failure()),
            None => {}
        }
        let full = self.open.as_ref().is_some_and(|open| {
            open.rows() >= self.options.segment_rows || open.opened().elapsed() >= self.options.segment_age
        });
        if full { self.seal() } else { Ok(()) }
    }

    fn write(&mut self, batch: Batch) -> Result<(), CaptureError> {
        if self.open.is_none() {
            let open = OpenSegment::create(&self.dir, self.segments + 1)?;
            self.segments += 1;
            let flusher = open.flusher()?;
            self.open = Some(open);
            self.send(Job::Open(flusher))?;
        }
        if let Some(open) = &mut self.open {
            open.write(&batch.rows)?;
        }
        self.send(Job::Batch(Box::new(batch)))
    }

    fn seal(&mut self) -> Result<(), CaptureError> {
        match self.open.take() {
            Some(_) => self.send(Job::Seal),
            None => Ok(()),
        }
    }

    /// Records refused because of their kind.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.builder.unknown()
    }

    /// Seals the open segment and marks the capture complete. Returns its manifest.
    ///
    /// # Errors
    ///
    /// As [`CaptureWriter::append`]. The capture is then as after an interruption.
    pub fn finish(mut self, info: FinalInfo) -> Result<Manifest, CaptureError> {
        self.flush()?;
        self.seal()?;
        self.send(Job::Finish(info))?;
        self.join()
    }

    fn send(&mut self, job: Job) -> Result<(), CaptureError> {
        match self.jobs.as_ref().map(|jobs| jobs.send(job)) {
            Some(Ok(())) => Ok(()),
            _ => Err(self.failure()),
        }
    }

    /// Why the thread ended early.
    fn failure(&mut self) -> CaptureError {
        match self.join() {
            Err(e) => e,
            Ok(_) => CaptureError::Stopped { path: self.dir.clone() },
        }
    }

    fn join(&mut self) -> Result<Manifest, CaptureError> {
        self.jobs = None;
        let stopped = || CaptureError::Stopped { path: self.dir.clone() };
        let thread = self.thread.take().ok_or_else(stopped)?;
        thread.join().unwrap_or_else(|_| Err(stopped()))
    }
}

impl Drop for CaptureWriter {
    fn drop(&mut self) {
        if self.thread.is_some() {
            // An interrupted recording keeps all it can; an error has nowhere to go from here.
            let _ = self.flush();
            let _ = self.join();
        }
    }
}

/// The thread's side.
struct Disk {
    dir: PathBuf,
    manifest: Manifest,
    sync_every: Duration,
    segment: Option<SealingSegment>,
    synced: Instant,
    dirty: bool,
}

impl Disk {
    fn run(mut self, queue: &Receiver<Job>) -> Result<Manifest, CaptureError> {
        loop {
            match queue.recv_timeout(self.sync_every.max(MIN_WAIT)) {
                Ok(Job::Open(flusher)) => self.segment = Some(SealingSegment::create(&self.dir, flusher)?),
                Ok(Job::Batch(batch)) => {
                    self.dirty = true;
                    if let Some(segment) = &mut self.segment {
                        segment.write(&batch)?;
                    }
                }
                Ok(Job::Seal) => self.seal()?,
                Ok(Job::Finish(info)) => {
                    self.manifest.state = State::Complete;
                    self.manifest.end_ts = Some(info.end_ts);
                    self.store()?;
                    return Ok(self.manifest);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    if let Some(segment) = &self.segment {
                        segment.flush()?;
                    }
                    return Ok(self.manifest);
                }
            }
            self.upkeep()?;
        }
    }

    fn upkeep(&mut self) -> Result<(), CaptureError> {
        if let Some(segment) = &self.segment
            && self.dirty
            && self.synced.elapsed() >= self.sync_every
        {
            segment.flush()?;
            self.synced = Instant::now();
            self.dirty = false;
        }
        Ok(())
    }

    fn seal(&mut self) -> Result<(), CaptureError> {
        let Some(segment) = self.segment.take() else { return Ok(()) };
        let number = segment.number();
        // In this order every crash leaves each record at least once: in the stream, or in a
        // sealed file; and the reader takes only one of the two.
        let entry = segment.seal()?;
        self.manifest.push(entry);
        self.store()?;
        remove_stream(&self.dir, number)
    }

    fn store(&self) -> Result<(), CaptureError> {
        self.manifest.store(&self.dir, super::error::RECORDING_STOPPED)
    }
}
