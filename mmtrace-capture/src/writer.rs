//! Writing a capture.

use super::batch::{BATCH_ROWS, Batch, BatchBuilder};
use super::capture_id::CaptureId;
use super::error::{CaptureError, NOTHING_RECORDED, RECORDING_STOPPED};
use super::folder::{Folder, Place};
use super::layout::{Form, segment_name};
use super::manifest::{Manifest, State};
use super::segment::{Flusher, OpenSegment, SealingSegment, remove};
use super::staging::Staging;
use mmtrace_common::Record;
use mmtrace_model::context::Context;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Options of a [`CaptureWriter`].
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// Rows after which a segment is sealed. A segment may be larger by a batch.
    pub segment_rows: u64,
    /// Age at which a segment is sealed.
    pub segment_age: Duration,
    /// Time between two syncs of the open segment, each of which makes it survive a crash of the kernel.
    pub sync_every: Duration,
    /// Batches that may wait to become Parquet before [`CaptureWriter::append`] blocks. One takes about a megabyte.
    pub queue: usize,
    /// Only the newest segments are kept, within so many bytes, the open one included.
    pub keep_bytes: Option<u64>,
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
            keep_bytes: None,
            realtime_offset_ns: None,
        }
    }
}

impl WriterOptions {
    /// Returns the options of a flight recorder that keeps so many bytes; without a number, everything is kept.
    ///
    /// Small segments: what is removed is removed by whole ones. A row takes one or two bytes when it is
    /// sealed and six or so while its segment is open, which is then a tenth of the whole.
    #[must_use]
    pub fn keeping(bytes: Option<u64>) -> Self {
        let options = Self::default();
        let Some(keep) = bytes else { return options };
        let segment_rows = (keep / 64).clamp(BATCH_ROWS as u64, options.segment_rows);
        Self { keep_bytes: Some(keep), segment_rows, ..options }
    }
}

/// Facts that are known only when a recording ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct FinalInfo {
    /// End of the recording, nanoseconds of `CLOCK_MONOTONIC`.
    pub end_ts: u64,
}

/// Shortest wait of the thread for something to do.
const MIN_WAIT: Duration = Duration::from_millis(10);

enum Job {
    Open(Flusher),
    Batch(Box<Batch>),
    Seal,
    Stage(Staging),
    Dump(PathBuf, Sender<Result<u64, CaptureError>>),
    Finish(FinalInfo),
}

/// Writes a capture. Records are collected here into batches; a full batch is in the open
/// segment's file before the next record is taken, so that a recorder that is killed loses
/// the batch it was filling and nothing else. A thread of its own makes Parquet of the batches.
///
/// A writer that is dropped without [`CaptureWriter::finish`] leaves a capture that reads as interrupted.
pub struct CaptureWriter {
    /// Held and locked, which tells other mmtraces that the capture is being written.
    folder: Arc<Folder>,
    id: CaptureId,
    builder: BatchBuilder,
    options: WriterOptions,
    open: Option<OpenSegment>,
    segments: u64,
    jobs: Option<SyncSender<Job>>,
    /// Jobs that the thread has not finished.
    unfinished: Arc<AtomicUsize>,
    thread: Option<JoinHandle<Result<Manifest, CaptureError>>>,
}

impl CaptureWriter {
    /// Starts a capture in `dir`, which must not exist or be empty; [`make_room`](super::make_room) sees to that.
    /// The directory is created with mode 0700, files with 0600; under sudo as who called it, and with their rights.
    /// The directory is held: files go into it also when another is put in its place.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Occupied`] or [`CaptureError::Link`] when something is there, [`CaptureError::Foreign`] or
    /// [`CaptureError::Exposed`] when others can put something into it, [`CaptureError::InUse`] when another recorder
    /// is faster, or an I/O error.
    pub fn create(
        dir: &Path,
        context: &Context,
        command_line: Vec<String>,
        options: WriterOptions,
    ) -> Result<Self, CaptureError> {
        let failed = |doing, e| CaptureError::io(dir, doing, NOTHING_RECORDED, e);
        let nowhere = || failed("create it", io::ErrorKind::NotFound.into());
        let folder = Arc::new(Place::at(dir)?.ok_or_else(nowhere)?.empty_folder()?);
        if !folder.lock() {
            return Err(CaptureError::InUse { path: dir.to_path_buf() });
        }
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        let id = CaptureId::draw().map_err(|e| failed("draw its id", e))?;
        let manifest = Manifest::new(id, context, command_line, created, options.realtime_offset_ns);
        manifest.store(&folder, NOTHING_RECORDED)?;

        let (jobs, queue) = sync_channel(options.queue);
        let unfinished = Arc::<AtomicUsize>::default();
        let theirs = Arc::clone(&unfinished);
        let (sync_every, keep_bytes) = (options.sync_every, options.keep_bytes);
        let (segment, synced, dirty, staging) = (None, Instant::now(), false, None);
        let theirs_too = Arc::clone(&folder);
        let disk = Disk { folder: theirs_too, id, manifest, sync_every, keep_bytes, segment, synced, dirty, staging };
        let thread = std::thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || disk.run(&queue, &theirs))
            .map_err(|e| failed("start the writer's thread", e))?;
        let (jobs, thread) = (Some(jobs), Some(thread));
        let builder = BatchBuilder::new(context);
        Ok(Self { folder, id, builder, options, open: None, segments: 0, jobs, unfinished, thread })
    }

    /// Adds a record. Blocks while Parquet is more than the queue behind. A record of a kind
    /// that this build does not know is dropped and counted: [`CaptureWriter::unknown`].
    ///
    /// # Errors
    ///
    /// The error of the disk; [`CaptureError::Stopped`] after that.
    pub fn append(&mut self, record: &Record) -> Result<(), CaptureError> {
        self.append_all(slice::from_ref(record))
    }

    /// Adds records, as [`CaptureWriter::append`] adds each of them.
    ///
    /// # Errors
    ///
    /// As [`CaptureWriter::append`]. Some of the records may have been added.
    pub fn append_all(&mut self, mut records: &[Record]) -> Result<(), CaptureError> {
        while !records.is_empty() {
            let (fitting, rest) = records.split_at(records.len().min(self.batch_room()));
            self.builder.append(fitting);
            if self.batch_room() == 0 {
                self.flush()?;
            }
            records = rest;
        }
        Ok(())
    }

    /// Returns how many records fit into the open batch, 1 at least. The last of them completes it, and the segment with it
    /// if that is full.
    #[must_use]
    pub fn batch_room(&self) -> usize {
        BATCH_ROWS.saturating_sub(self.builder.rows())
    }

    /// Returns whether a batch can be added without waiting for the thread.
    #[must_use]
    pub fn has_room(&self) -> bool {
        // A thread that has ended takes nothing, and the next batch says why. Beside the batch, a segment may be opened
        // and another one sealed.
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
            || self.unfinished.load(Ordering::Relaxed) + 3 <= self.options.queue.max(3)
    }

    /// Writes the records so far, so that a reader, or a recovery, sees them.
    ///
    /// # Errors
    ///
    /// As [`CaptureWriter::append`].
    pub fn flush(&mut self) -> Result<(), CaptureError> {
        let batch =
            self.builder.finish().map_err(|e| CaptureError::encode(self.folder.path(), RECORDING_STOPPED, &e))?;
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
            let open = OpenSegment::create(&self.folder, self.segments + 1, self.id)?;
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
            Some(mut open) => {
                open.finish()?;
                self.send(Job::Seal)
            }
            None => Ok(()),
        }
    }

    /// Keeps what is in the capture now as a capture of its own, in `dir`, which must not exist. Sealed segments are
    /// shared by hard links: it takes no room until they are removed here. The number of records comes when it is done.
    ///
    /// # Errors
    ///
    /// As [`CaptureWriter::append`]; that `dir` cannot be written comes over the channel.
    pub fn dump(&mut self, dir: &Path) -> Result<Receiver<Result<u64, CaptureError>>, CaptureError> {
        self.flush()?;
        self.seal()?;
        let (done, answer) = channel();
        self.send(Job::Dump(dir.to_path_buf(), done))?;
        Ok(answer)
    }

    /// Returns whether the capture is still at the path where it was begun. If not, its folder was renamed, and what is
    /// at the path now is another's.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        self.folder.is_in_place().unwrap_or(false)
    }

    /// Makes the folder in which saves are made from now on, so that [`CaptureWriter::dump`] needs no other one. Returns
    /// it as a descriptor. `with`: what is to be done with it before.
    ///
    /// # Errors
    ///
    /// As [`CaptureWriter::create`].
    pub fn stage(&mut self, with: impl FnOnce(&mut Staging)) -> Result<OwnedFd, CaptureError> {
        let failed = |error| CaptureError::io(self.folder.path(), "hold it", NOTHING_RECORDED, error);
        let mut staging = Staging::beside_folder(&self.folder)?;
        with(&mut staging);
        let (inside, _) = staging.held().map_err(failed)?;
        self.send(Job::Stage(staging))?;
        Ok(inside)
    }

    /// Returns its folder as a descriptor.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn held(&self) -> io::Result<OwnedFd> {
        self.folder.descriptor()
    }

    /// Returns how many segments were begun.
    #[must_use]
    pub const fn segments(&self) -> u64 {
        self.segments
    }

    /// Whether the oldest segments are given up for new ones.
    #[must_use]
    pub const fn is_flight_recorder(&self) -> bool {
        self.options.keep_bytes.is_some()
    }

    /// Counts the records that were refused because of their kind.
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
        self.unfinished.fetch_add(1, Ordering::Relaxed);
        match self.jobs.as_ref().map(|jobs| jobs.send(job)) {
            Some(Ok(())) => Ok(()),
            _ => Err(self.failure()),
        }
    }

    /// Returns why the thread ended early.
    fn failure(&mut self) -> CaptureError {
        match self.join() {
            Err(e) => e,
            Ok(_) => CaptureError::Stopped { path: self.folder.path().to_path_buf() },
        }
    }

    fn join(&mut self) -> Result<Manifest, CaptureError> {
        self.jobs = None;
        let stopped = || CaptureError::Stopped { path: self.folder.path().to_path_buf() };
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
    folder: Arc<Folder>,
    id: CaptureId,
    manifest: Manifest,
    sync_every: Duration,
    keep_bytes: Option<u64>,
    segment: Option<SealingSegment>,
    synced: Instant,
    dirty: bool,
    /// Where saves are made; `None`: beside the capture, each time anew.
    staging: Option<Staging>,
}

impl Disk {
    fn run(mut self, queue: &Receiver<Job>, unfinished: &AtomicUsize) -> Result<Manifest, CaptureError> {
        loop {
            let received = queue.recv_timeout(self.sync_every.max(MIN_WAIT));
            let taken = received.is_ok();
            match received {
                Ok(Job::Open(flusher)) => self.segment = Some(SealingSegment::create(&self.folder, flusher, self.id)?),
                Ok(Job::Batch(batch)) => {
                    self.dirty = true;
                    if let Some(segment) = &mut self.segment {
                        segment.write(&batch)?;
                    }
                }
                Ok(Job::Seal) => self.seal()?,
                // A copy that cannot be kept elsewhere is no reason to stop here.
                Ok(Job::Stage(staging)) => self.staging = Some(staging),
                Ok(Job::Dump(dir, done)) => drop(done.send(self.dump(&dir))),
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
            if taken {
                unfinished.fetch_sub(1, Ordering::Relaxed);
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
        remove(&self.folder, &segment_name(number, Form::Arrows))?;
        self.forget()
    }

    /// Removes the oldest segments, if only so much is kept.
    fn forget(&mut self) -> Result<(), CaptureError> {
        let Some(keep) = self.keep_bytes else { return Ok(()) };
        let mut removed = Vec::new();
        // A quarter is for the open segment.
        while self.manifest.segments.len() > 1 && self.manifest.sealed_bytes() > keep / 4 * 3 {
            removed.extend(self.manifest.drop_oldest());
        }
        if removed.is_empty() {
            return Ok(());
        }
        // First the manifest: a file that it does not name any more is not read.
        self.store()?;
        for file in removed {
            remove(&self.folder, &file)?;
        }
        Ok(())
    }

    /// Keeps the sealed segments as a capture of their own.
    fn dump(&self, dir: &Path) -> Result<u64, CaptureError> {
        let own;
        let staging = match &self.staging {
            Some(staging) => staging,
            None => {
                own = Staging::beside_folder(&self.folder)?;
                &own
            }
        };
        let kept = staging.new_folder(dir, &self.folder)?;
        for entry in &self.manifest.segments {
            self.folder
                .share(&entry.file, &kept)
                .map_err(|e| CaptureError::io(&kept.at(&entry.file), "create it", RECORDING_STOPPED, e))?;
        }
        let mut manifest = self.manifest.clone();
        manifest.state = State::Complete;
        manifest.end_ts = manifest.segments.iter().map(|s| s.last_ts).max();
        manifest.store(&kept, RECORDING_STOPPED)?;
        staging.publish(dir)?;
        Ok(manifest.totals.events)
    }

    fn store(&self) -> Result<(), CaptureError> {
        self.manifest.store(&self.folder, RECORDING_STOPPED)
    }
}
