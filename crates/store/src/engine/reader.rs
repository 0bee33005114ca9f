//! Reading: from an offset to bytes in the cache or on the disk.
//!
//! A read asks the index which extents follow the offset, takes their bytes
//! from cached blocks without a copy, and goes to the disk, on a thread that
//! may block, only for what is missing. What comes from the disk is verified
//! batch by batch before anyone sees it.

use std::{
    ops::ControlFlow,
    pin::pin,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use millrace_log::{
    batch::{BatchHeader, HEADER_LEN},
    index::{IndexEntry, Located, Lookup, PartitionIndex},
};
use millrace_types::{ErrorKind, FileId, Offset, Timestamp, TopicPartition};
use tokio::sync::oneshot;

use super::{
    Engine, OnCorruption,
    files::LogFile,
    partition::{Offsets, Partition, Quarantined},
    wait::first_of,
};
use crate::{
    BLOCK,
    aligned::AlignedBuffer,
    blocks::{BLOCK_BYTES, Block, BlockWriter},
    cache::BlockKey,
    disk::{DiskError, Space},
};

/// Blocks that are read at once, beginning with the one that was missing.
const READ_AHEAD_BLOCKS: u64 = 4;

/// Plans that one read may try: each but the last found a range corrupt, an
/// entry away or a file gone.
const PLANS_MAX: usize = 1 << 10;

/// How long a read waits for memory, in milliseconds.
const MEMORY_WAIT_MS: u64 = 5000;

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// The partition's offsets when it was read.
    pub offsets: Offsets,
    /// Whole batches, in order; one may be in several pieces.
    pub records: Vec<Bytes>,
    /// Bytes in all.
    pub bytes: usize,
    /// Batches in all.
    pub batches: usize,
    /// Records in all, as far as their offsets tell.
    pub records_read: u64,
    /// When each was appended, in order, where that was asked for.
    pub append_times: Vec<Timestamp>,
}

impl Read {
    /// No batches, and where the partition begins and ends.
    fn nothing(partition: &Partition) -> Self {
        Self { offsets: partition.offsets(), ..Self::default() }
    }
}

/// Why nothing was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The offset is below the log start or beyond the high watermark.
    #[error("the offset is out of range")]
    OutOfRange(Offsets),
    /// The stored bytes at the offset fail their checksum.
    #[error(
        "log file {file} fails its checksum at byte {byte} (partition {partition}, offsets {first} \
         to {last}); restore it from a backup, or give the offsets up by `millrace repair`"
    )]
    Corrupt {
        /// The log file.
        file: FileId,
        /// Where the bad bytes begin.
        byte: u64,
        /// Whose they are.
        partition: TopicPartition,
        /// First offset that is lost.
        first: Offset,
        /// Last offset that is lost.
        last: Offset,
    },
    /// The topic is gone.
    #[error("the topic is deleted")]
    Deleted,
    /// Other readers hold all the memory that reading may take.
    #[error("no memory is free for reading; slower readers hold it")]
    NoMemory,
    /// The disk failed to read.
    #[error("the records cannot be read now: {0}")]
    Unavailable(String),
}

impl ReadError {
    /// What the caller can do about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::OutOfRange(_) => ErrorKind::Invalid,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Deleted => ErrorKind::NotFound,
            Self::NoMemory | Self::Unavailable(_) => ErrorKind::Unavailable,
        }
    }

    fn corrupt(partition: TopicPartition, range: &Quarantined) -> Self {
        Self::Corrupt {
            file: range.file,
            byte: range.byte,
            partition,
            first: range.first,
            last: Offset(range.end.get() - 1),
        }
    }
}

impl From<DiskError> for ReadError {
    fn from(error: DiskError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// What a read wants, by the index.
enum Plan {
    Slices(Offsets, Vec<Located>),
    /// Entries of this file must be loaded first.
    Load(FileId),
}

/// What to read of a partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    from: Offset,
    bytes_max: usize,
    at_least_one: bool,
    /// Leave out what is at or beyond the last stable offset.
    committed: bool,
    /// Tell when each batch was appended.
    timed: bool,
}

impl Engine {
    /// Reads whole batches of `partition`, beginning with the one that holds
    /// `from`, up to `bytes_max` bytes; the first in any case if
    /// `at_least_one`. With `committed`, stops at the last stable offset.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read(
        self: &Arc<Self>,
        partition: &Arc<Partition>,
        from: Offset,
        bytes_max: usize,
        at_least_one: bool,
        committed: bool,
    ) -> Result<Read, ReadError> {
        let wanted = Wanted { from, bytes_max, at_least_one, committed, timed: false };
        self.read_wanted(partition, wanted).await
    }

    /// Reads as [`Self::read`], the first batch in any case and to the last
    /// stable offset, and tells when each batch was appended. Unless it is
    /// `patient`, it waits for no memory, and brings nothing where that lacks.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read_timed(
        self: &Arc<Self>,
        partition: &Arc<Partition>,
        from: Offset,
        bytes_max: usize,
        patient: bool,
    ) -> Result<Read, ReadError> {
        let wanted = Wanted { from, bytes_max, at_least_one: true, committed: true, timed: true };
        if patient {
            return self.read_wanted(partition, wanted).await;
        }
        match self.try_read(partition, wanted).await {
            Err(ReadError::NoMemory) => Ok(Read::nothing(partition)),
            done => done,
        }
    }

    async fn read_wanted(
        self: &Arc<Self>,
        partition: &Arc<Partition>,
        wanted: Wanted,
    ) -> Result<Read, ReadError> {
        match self.try_read(partition, wanted).await {
            Err(ReadError::NoMemory) if wanted.at_least_one => {
                self.read_patiently(partition, wanted).await
            }
            // Others of the same request have something already.
            Err(ReadError::NoMemory) => Ok(Read::nothing(partition)),
            done => done,
        }
    }

    /// Reads when slower readers have let go of memory, or fails for the lack
    /// of it after a while.
    async fn read_patiently(
        self: &Arc<Self>,
        partition: &Arc<Partition>,
        wanted: Wanted,
    ) -> Result<Read, ReadError> {
        let memory = self.cache.pool().wait();
        let deadline = self.env.monotonic_ms() + MEMORY_WAIT_MS;
        let mut over = self.env.sleep_until(deadline);
        loop {
            let mut returned = pin!(memory.returned());
            returned.as_mut().enable();
            let done = self.try_read(partition, wanted).await;
            if done != Err(ReadError::NoMemory) || self.env.monotonic_ms() >= deadline {
                return done;
            }
            first_of(returned, over.as_mut()).await;
        }
    }

    async fn try_read(
        self: &Arc<Self>,
        partition: &Arc<Partition>,
        wanted: Wanted,
    ) -> Result<Read, ReadError> {
        if let Plan::Slices(offsets, slices) = self.plan(partition, wanted)?
            && let Some(read) = self.cached(offsets, &slices, wanted.timed)?
        {
            return Ok(read);
        }
        let (engine, partition) = (Arc::clone(self), Arc::clone(partition));
        self.blocking(move || engine.read_blocking(&partition, wanted)).await
    }

    /// [`Self::read`] on a thread that may block.
    pub(super) fn read_blocking(
        &self,
        partition: &Arc<Partition>,
        wanted: Wanted,
    ) -> Result<Read, ReadError> {
        // A file may leave between the look at the index and the read, when it
        // was rewritten: then the index knows better.
        for _ in 0..PLANS_MAX {
            match self.plan(partition, wanted)? {
                Plan::Load(file) => self.load_entries(partition, file)?,
                Plan::Slices(offsets, slices) => {
                    match self.fetch(partition, offsets, &slices, wanted.timed)? {
                        ControlFlow::Break(read) => return Ok(read),
                        // A range was found corrupt: the plan changes.
                        ControlFlow::Continue(()) => {}
                    }
                }
            }
        }
        Err(ReadError::Unavailable("its log file has gone; try again".into()))
    }

    /// The first batch, of those that end at `from` or later, whose largest
    /// timestamp is `time` or later: its first offset.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn first_batch_at(
        self: &Arc<Self>,
        partition: &Arc<Partition>,
        time: Timestamp,
        from: Offset,
    ) -> Result<Option<Offset>, ReadError> {
        let found = self.look_up(partition, move |index| index.lookup_time(time, from)).await?;
        Ok(found.map(|entry| entry.base_offset))
    }

    /// The first batch that was appended at `time` or later: its first offset
    /// and when that was.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn first_batch_appended_at(
        self: &Arc<Self>,
        partition: &Arc<Partition>,
        time: Timestamp,
    ) -> Result<Option<(Offset, Timestamp)>, ReadError> {
        let found = self.look_up(partition, move |index| index.lookup_append_time(time)).await?;
        Ok(found.map(|entry| (entry.base_offset, entry.append_time)))
    }

    /// When the batch at `offset`, or the next one behind it, was appended.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn append_time_at(
        self: &Arc<Self>,
        partition: &Arc<Partition>,
        offset: Offset,
    ) -> Result<Option<Timestamp>, ReadError> {
        let found = self
            .look_up(partition, move |index| index.lookup(offset.max(index.log_start())))
            .await?;
        Ok(found.map(|entry| entry.append_time))
    }

    /// The first batch with the largest timestamp of all, and that timestamp.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn batch_of_max_timestamp(
        self: &Arc<Self>,
        partition: &Arc<Partition>,
    ) -> Result<Option<(Offset, Timestamp)>, ReadError> {
        let found = self.look_up(partition, PartitionIndex::lookup_max_timestamp).await?;
        Ok(found.map(|entry| (entry.base_offset, entry.max_timestamp)))
    }

    /// Asks the index, and loads what it needs for the answer.
    async fn look_up(
        self: &Arc<Self>,
        partition: &Arc<Partition>,
        ask: impl for<'a> Fn(&'a PartitionIndex) -> Lookup<'a>,
    ) -> Result<Option<IndexEntry>, ReadError> {
        loop {
            let file = {
                let core = partition.lock();
                if core.deleted {
                    return Err(ReadError::Deleted);
                }
                match ask(&core.index) {
                    Lookup::Found(mut run) => return Ok(run.next().map(|found| found.entry)),
                    Lookup::Load(file) => file,
                    Lookup::BeforeStart | Lookup::AtEnd => return Ok(None),
                }
            };
            let (engine, partition) = (Arc::clone(self), Arc::clone(partition));
            self.blocking(move || engine.load_entries(&partition, file)).await?;
        }
    }

    /// Space of the file system of the data directory; `None` if it doesn't
    /// tell.
    pub async fn disk_space(self: &Arc<Self>) -> Option<Space> {
        let engine = Arc::clone(self);
        self.blocking(move || Ok(engine.disk.space().ok())).await.ok().flatten()
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let (answer, answered) = oneshot::channel();
        // The reader may have left; then nobody wants the answer.
        self.env.blocking(Box::new(move || drop(answer.send(work()))));
        answered.await.unwrap_or_else(|_| Err(ReadError::Unavailable("stopping".into())))
    }

    /// Every batch of `partition` from `from` on, for recovery of hidden state.
    pub(super) fn read_all(
        &self,
        partition: &Arc<Partition>,
        mut from: Offset,
        mut each: impl FnMut(Timestamp, &[u8]),
    ) -> Result<(), ReadError> {
        loop {
            let wanted = Wanted {
                from,
                bytes_max: 1 << 20,
                at_least_one: true,
                committed: false,
                timed: false,
            };
            let read = self.read_blocking(partition, wanted)?;
            if read.batches == 0 {
                return Ok(());
            }
            let bytes = read.records.concat();
            for batch in millrace_log::batch::batches(&bytes) {
                let Ok((header, bytes)) = batch else { break };
                if let Some(next) = header.next_offset() {
                    from = from.max(next);
                }
                each(header.max_timestamp, bytes);
            }
        }
    }

    fn plan(&self, partition: &Partition, wanted: Wanted) -> Result<Plan, ReadError> {
        let core = partition.lock();
        if core.deleted {
            return Err(ReadError::Deleted);
        }
        let offsets = core.offsets();
        if wanted.from < offsets.log_start || wanted.from > offsets.high_watermark {
            return Err(ReadError::OutOfRange(offsets));
        }
        let end = if wanted.committed { offsets.last_stable } else { offsets.high_watermark };
        let mut at = wanted.from;
        let mut end = end;
        // One may lie behind another.
        while let Some((range, given_up)) = core.lost_from(at) {
            if range.first > at {
                end = end.min(range.first);
                break;
            }
            if given_up {
                at = range.end;
                continue;
            }
            match self.options.on_corruption {
                OnCorruption::Stop => return Err(ReadError::corrupt(partition.id(), range)),
                OnCorruption::Skip => {
                    self.stats.corrupt_skipped.fetch_add(1, Ordering::Relaxed);
                    at = range.end;
                }
            }
        }
        let slices = match core.index.lookup(at) {
            Lookup::Load(file) if at < end => return Ok(Plan::Load(file)),
            Lookup::Found(run) => run.take_bytes(wanted.bytes_max as u64, end, wanted.at_least_one),
            Lookup::Load(_) | Lookup::BeforeStart | Lookup::AtEnd => Vec::new(),
        };
        Ok(Plan::Slices(offsets, slices))
    }

    /// All of the slices, if the cache has them; fewer where readers hold as
    /// much as they may. What read-ahead brought from the disk was not looked
    /// at yet: where it is not sound, the way by [`Self::fetch`] says so.
    fn cached(
        &self,
        offsets: Offsets,
        slices: &[Located],
        timed: bool,
    ) -> Result<Option<Read>, ReadError> {
        let mut read = Read { offsets, ..Read::default() };
        let mut held: Option<(BlockKey, Block)> = None;
        for slice in slices {
            if !self.may_hand_out(&read)? {
                break;
            }
            let before = read.records.len();
            let get = |key| self.cache.get(key);
            let Some(unverified) = self.cut_out(slice, &mut held, get, &mut read.records) else {
                return Ok(None);
            };
            let pieces = read.records.get(before..).unwrap_or_default();
            if unverified && !is_sound(&slice.entry, pieces) {
                return Ok(None);
            }
            read.bytes += slice.entry.len as usize;
            read.batches += 1;
            read.records_read += u64::from(slice.entry.last_offset_delta) + 1;
            if timed {
                read.append_times.push(slice.entry.append_time);
            }
        }
        Ok(Some(read))
    }

    /// Whether one more batch may be given to a reader. A batch that is begun
    /// is given whole.
    fn may_hand_out(&self, read: &Read) -> Result<bool, ReadError> {
        let may = self.cache.may_pin();
        if !may && read.batches == 0 { Err(ReadError::NoMemory) } else { Ok(may) }
    }

    /// Appends the bytes of one batch, as they lie in blocks, and tells whether
    /// some came from the disk. `held` is the last block, which neighbours
    /// share.
    fn cut_out(
        &self,
        slice: &Located,
        held: &mut Option<(BlockKey, Block)>,
        mut get: impl FnMut(BlockKey) -> Option<Block>,
        pieces: &mut Vec<Bytes>,
    ) -> Option<bool> {
        let mut unverified = false;
        let mut position = u64::from(slice.entry.position);
        let mut left = slice.entry.len as usize;
        while left > 0 {
            let (key, within) = BlockKey::of(slice.file, position);
            if held.as_ref().is_none_or(|(at, _)| *at != key) {
                *held = Some((key, get(key)?));
            }
            let len = left.min(BLOCK_BYTES - within);
            let (_, block) = held.as_ref()?;
            unverified |= block.is_unverified();
            pieces.push(block.bytes(within..within + len)?);
            position += len as u64;
            left -= len;
        }
        Some(unverified)
    }

    /// The slices from cache or disk. `Continue` when one turned out corrupt
    /// and the partition now knows.
    fn fetch(
        &self,
        partition: &Partition,
        offsets: Offsets,
        slices: &[Located],
        timed: bool,
    ) -> Result<ControlFlow<Read>, ReadError> {
        let mut read = Read { offsets, ..Read::default() };
        let mut held = None;
        for slice in slices {
            if !self.may_hand_out(&read)? {
                break;
            }
            let mut pieces = Vec::new();
            let mut failed = None;
            let Some(file) = self.files.get(slice.file) else {
                if read.batches > 0 {
                    break;
                }
                return Ok(ControlFlow::Continue(()));
            };
            let load = |key| {
                self.cache.get(key).or_else(|| {
                    self.load_block(key, &file).map_err(|error| failed = Some(error)).ok()
                })
            };
            if self.cut_out(slice, &mut held, load, &mut pieces).is_none() {
                // A cached block may end short of what was written since.
                held = None;
                pieces.clear();
                let load =
                    |key| self.load_block(key, &file).map_err(|error| failed = Some(error)).ok();
                let again = self.cut_out(slice, &mut held, load, &mut pieces);
                if again.is_none() {
                    if read.batches > 0 {
                        break;
                    }
                    return Err(failed.unwrap_or_else(|| {
                        ReadError::Unavailable("the log file is shorter than its index".into())
                    }));
                }
            }
            if !is_sound(&slice.entry, &pieces) {
                self.quarantine(partition, slice);
                return Ok(ControlFlow::Continue(()));
            }
            read.bytes += slice.entry.len as usize;
            read.batches += 1;
            read.records_read += u64::from(slice.entry.last_offset_delta) + 1;
            if timed {
                read.append_times.push(slice.entry.append_time);
            }
            read.records.append(&mut pieces);
        }
        self.stats.cold_reads.fetch_add(1, Ordering::Relaxed);
        Ok(ControlFlow::Break(read))
    }

    pub(super) fn quarantine(&self, partition: &Partition, slice: &Located) {
        let range = Quarantined {
            first: slice.entry.base_offset,
            end: slice.entry.next_offset(),
            file: slice.file,
            byte: u64::from(slice.entry.position),
        };
        tracing::error!(error = %ReadError::corrupt(partition.id(), &range), "stored bytes are corrupt");
        let mut core = partition.lock();
        core.add_quarantined(range);
    }

    /// Reads a block, and those behind it that a reader will want next, by one
    /// call: it costs nearly as much for one block as for four.
    fn load_block(&self, key: BlockKey, file: &LogFile) -> Result<Block, ReadError> {
        let size = BLOCK_BYTES as u64;
        let (start, end) = (key.block * size, file.data_end());
        let mut writers = Vec::new();
        for number in key.block..key.block + READ_AHEAD_BLOCKS {
            let known =
                number > key.block && self.cache.contains(BlockKey { block: number, ..key });
            if number * size >= end || known {
                break;
            }
            let Some(writer) = self.cache.take() else { break };
            writers.push(writer);
        }
        let len = end.saturating_sub(start).min(writers.len() as u64 * size);
        let len = usize::try_from(len).unwrap_or(0).next_multiple_of(BLOCK);
        BlockWriter::fill_from(&mut writers, len, |targets| {
            file.handle.read_vectored_at(start, targets)
        })?;
        for (number, writer) in (key.block..).zip(&mut writers) {
            writer.publish();
            self.cache.insert_cold(BlockKey { block: number, ..key }, writer.share());
        }
        writers.first().map(BlockWriter::share).ok_or(ReadError::NoMemory)
    }

    /// Brings the index entries of one file and partition back to memory.
    fn load_entries(&self, partition: &Partition, id: FileId) -> Result<(), ReadError> {
        let Some(file) = self.files.get(id) else { return Ok(()) };
        let entries = match self.footer_entries(&file, partition.id()) {
            Err(_) if self.files.get(id).is_none() => return Ok(()),
            entries => entries?,
        };
        let taken = partition.lock().index.install(id, &entries);
        self.count_loaded(taken);
        Ok(())
    }
}

/// Whether bytes from the disk are the batch that the index names.
fn is_sound(entry: &IndexEntry, pieces: &[Bytes]) -> bool {
    let mut head = Vec::with_capacity(HEADER_LEN);
    for piece in pieces {
        let want = (HEADER_LEN - head.len()).min(piece.len());
        head.extend_from_slice(piece.get(..want).unwrap_or_default());
    }
    let Ok(header) = BatchHeader::parse(&head) else { return false };
    let crc = pieces.iter().fold(0, |crc, piece| crc32c::crc32c_append(crc, piece));
    header.base_offset == entry.base_offset && header.len == entry.len as usize && crc == entry.crc
}

/// Aligned bytes of a file that cover `start..end`, and where `start` is in
/// them.
pub(super) fn read_aligned(
    handle: &dyn crate::disk::DiskFile,
    start: u64,
    end: u64,
) -> Result<(AlignedBuffer, usize), DiskError> {
    let from = start / BLOCK as u64 * BLOCK as u64;
    let len = usize::try_from(end.next_multiple_of(BLOCK as u64) - from).unwrap_or(usize::MAX);
    let mut buffer = AlignedBuffer::zeroed(len);
    handle.read_at(from, &mut buffer)?;
    Ok((buffer, usize::try_from(start - from).unwrap_or(0)))
}
