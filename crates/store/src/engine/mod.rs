//! The log of one machine: one write-ahead log for all partitions.
//!
//! ```text
//! append -> Gather (offset, copy) -> log writer (write, sync) -> publish
//!             |  one lock              |  one thread              | index, watermark,
//!             v                        v                          v hidden state, waiters
//!          frame in memory          log file                   readers
//! ```
//!
//! An [`Engine`] is one incarnation of the log. A failed write or sync ends
//! it: nothing more becomes durable, [`Engine::ended`] resolves, and whoever
//! owns it opens the next, which recovers from what was synced.
//!
//! Invariants:
//! - A reader sees durable records only: the index learns of an extent after
//!   the sync that covers it.
//! - What is written into a file was never written by another incarnation.
//! - No lock is held across I/O.

mod checkpoint;
mod deletion;
mod durable;
mod evict;
mod files;
mod gather;
mod maintain;
mod meta;
mod partition;
mod reader;
mod recovery;
mod release;
mod replay;
mod reserve;
mod restore;
mod rewrite;
mod scan;
mod scrub;
mod sequential;
mod sources;
mod stats;
#[cfg(test)]
mod tests;
mod watch;
mod writer;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use millrace_log::{
    batch::{self, BatchHeader},
    partition::{Admission, AdmitError},
};
use millrace_types::{
    ErrorKind, Incarnation, Lsn, Offset, PartitionId, Timestamp, TopicId, TopicPartition,
};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch as signal};

pub use partition::{Offsets, Partition, Quarantined};
pub use reader::{Read, ReadError};
pub use recovery::{OpenError, OpenRequest, Opened, Synced};
pub use stats::{EngineStats, Figures, LATENCY_BOUNDS};
pub use watch::Watch;

use self::{
    durable::Durable,
    files::Files,
    gather::{Gather, Refused, Stamp},
};
use crate::{
    blocks::BlockWriter,
    cache::BlockCache,
    disk::{Disk, DiskError, DiskLock},
    env::{Bell, Env},
};

/// When an append counts as durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flush {
    /// After fdatasync: survives a power loss.
    #[default]
    Fsync,
    /// After the write: survives a killed process, not a power loss.
    Os,
}

/// What a reader gets at a range whose stored bytes are corrupt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnCorruption {
    /// An error, until a person decides.
    #[default]
    Stop,
    /// The next readable batch; the range is counted.
    Skip,
}

/// Settings of the engine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// When an append counts as durable.
    pub flush: Flush,
    /// What a reader gets at a corrupt range.
    pub on_corruption: OnCorruption,
    /// Size at which a log file is sealed and the next begun, in bytes.
    pub file_bytes: u64,
    /// Memory for cached blocks of the log, in bytes.
    pub cache_bytes: u64,
    /// Commits a second above which appends are gathered into larger ones.
    pub commits_per_second_max: u32,
    /// Bytes that may wait for the disk before appends have to wait.
    pub pending_bytes_max: u64,
    /// Pairs of producer and partition that are remembered.
    pub producers_max: usize,
    /// Index entries held in memory before those of old files leave it.
    pub index_entries_max: usize,
    /// Space set aside so that deletion works on a full disk, in bytes.
    pub reserve_bytes: u64,
    /// Each sealed file is read and verified once in this time, in
    /// milliseconds; 0: never.
    pub scrub_period_ms: u64,
    /// Bytes a second that verification reads at most.
    pub scrub_bytes_per_second: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            flush: Flush::Fsync,
            on_corruption: OnCorruption::Stop,
            file_bytes: 256 << 20,
            cache_bytes: 128 << 20,
            commits_per_second_max: 1000,
            pending_bytes_max: 16 << 20,
            producers_max: 100_000,
            index_entries_max: 2_000_000,
            reserve_bytes: 16 << 20,
            scrub_period_ms: 7 * 24 * 3_600_000,
            scrub_bytes_per_second: 8 << 20,
        }
    }
}

/// State that lives in a hidden partition: applied in log order as its
/// records become durable, and again at recovery.
pub trait HiddenState: Send + Sync + 'static {
    /// Takes in one record.
    fn apply(&self, record: &[u8], append_time: Timestamp);
    /// Records that rebuild the present state from nothing.
    fn snapshot(&self) -> Vec<Vec<u8>>;
}

/// This incarnation of the log is over; the next one answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log has ended after a failed write; it is being recovered")]
pub struct Ended;

/// Where an append will stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// When it was appended.
    pub append_time: Timestamp,
    /// It is durable once this frame is.
    pub lsn: Lsn,
    /// The batch was there already: a producer's retry.
    pub duplicate: bool,
}

/// Why an append was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The producer's sequence or epoch does not fit.
    #[error(transparent)]
    Admit(#[from] AdmitError),
    /// The disk is full but for the reserve.
    #[error("the disk of the data directory is full; produce resumes when space is free")]
    StorageFull,
    /// The end of this partition is unknown after corruption.
    #[error(
        "the end of partition {0} cannot be proven after corruption; restore its log file \
         from a backup"
    )]
    EndUnproven(TopicPartition),
    /// No room to remember another producer.
    #[error("as many producers are active as producers_max allows; retry, or raise it")]
    ProducersFull,
    /// The topic is gone.
    #[error("the topic is deleted")]
    Deleted,
    /// The incarnation is over.
    #[error(transparent)]
    Ended(#[from] Ended),
}

impl AppendError {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Admit(error) => error.kind(),
            Self::StorageFull | Self::ProducersFull | Self::Ended(_) => ErrorKind::Unavailable,
            Self::EndUnproven(_) => ErrorKind::Corrupt,
            Self::Deleted => ErrorKind::NotFound,
        }
    }
}

/// Who appends: the server's own records may use the last of the space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Clients' records.
    Client,
    /// Records without which nothing could be deleted.
    Internal,
}

/// Bytes at the end of the allocated log that only internal records may use.
const INTERNAL_BYTES: u64 = 1 << 20;
/// Whether a file of the data directory belongs to the log.
#[must_use]
pub fn is_log_file(name: &str) -> bool {
    files::parse_name(name).is_some() || files::checkpoint_number(name).is_some()
}

/// Blocks that gathering may take besides those of the cache, in bytes: what
/// waits for the disk, its tables, and the frame behind it.
fn pending_capacity(options: &EngineOptions) -> usize {
    let pending = usize::try_from(options.pending_bytes_max).unwrap_or(usize::MAX / 4);
    pending.saturating_mul(2).saturating_add(16 << 20)
}

/// Extents in one file before it is sealed early: bounds its footer, and the
/// memory that gathers it.
const FILE_EXTENTS_MAX: usize = 1 << 17;

/// One incarnation of the log.
pub struct Engine {
    env: Arc<dyn Env>,
    disk: Arc<dyn Disk>,
    options: EngineOptions,
    incarnation: Incarnation,
    log_id: [u8; 16],
    gather: Mutex<Gathering>,
    /// Wakes the log writer.
    work: Arc<dyn Bell>,
    /// Wakes appenders that found no room.
    room: Notify,
    durable: Durable,
    files: Files,
    cache: BlockCache,
    partitions: RwLock<HashMap<TopicPartition, Arc<Partition>>>,
    hidden: BTreeMap<TopicId, Arc<dyn HiddenState>>,
    tombstones: Mutex<meta::Tombstones>,
    /// Corruption may have taken the end of partitions that left no trace.
    unproven: AtomicBool,
    /// Pairs of producer and partition that are remembered.
    producers: AtomicUsize,
    next_file: AtomicU64,
    ended: signal::Sender<bool>,
    /// What maintenance was asked for; see `maintain`.
    requests: Mutex<maintain::Requests>,
    requested: Arc<dyn Bell>,
    /// Held by whoever maintains, over I/O.
    housekeeping: Mutex<maintain::Housekeeping>,
    /// Held by the writer while it writes and publishes.
    writing: Mutex<()>,
    /// Held while durable records of hidden partitions are applied: the high
    /// watermark and the state are of one moment.
    hidden_order: Mutex<()>,
    /// Bytes died, a file was sealed or entries were loaded since maintenance
    /// last looked.
    changed: AtomicBool,
    /// The disk is full, and the reserve is used up too.
    reserve_gone: AtomicBool,
    /// Index entries that readers brought back since then.
    entries_loaded: AtomicUsize,
    /// Corrupt files that are not sealed yet; see `all_opened`.
    holed: Mutex<Vec<sources::Source>>,
    stats: EngineStats,
    _lock: Arc<DiskLock>,
}

/// What the gathering lock guards.
struct Gathering {
    gather: Gather,
    /// The file that follows the present one, when it is ready.
    next: Option<Arc<files::LogFile>>,
    /// Files that ended, with their extents, in the order of the frames.
    finished: Vec<writer::Finished>,
    /// The writer waits for the bell.
    writer_waits: bool,
    ended: bool,
    stopping: bool,
}

impl Engine {
    /// The partition `id`, made if it is new.
    pub fn open_partition(&self, id: TopicPartition) -> Arc<Partition> {
        if let Some(partition) = self.partitions.read().get(&id) {
            return Arc::clone(partition);
        }
        let mut partitions = self.partitions.write();
        Arc::clone(partitions.entry(id).or_insert_with(|| Arc::new(self.new_partition(id))))
    }

    /// Partition `number` of `topic`, made if it is new.
    pub fn open_nth_partition(&self, topic: TopicId, number: u32) -> Arc<Partition> {
        let number = PartitionId(i32::try_from(number).unwrap_or(i32::MAX));
        self.open_partition(TopicPartition::new(topic, number))
    }

    /// The partition of a hidden topic.
    #[must_use]
    pub fn hidden_partition(&self, topic: TopicId) -> Arc<Partition> {
        self.open_partition(TopicPartition::new(topic, PartitionId(0)))
    }

    /// Appends one checked batch. Returns as soon as it has its offset; it is
    /// durable, and readable, once [`Self::durable`] says so of its frame.
    /// Waits only while too much is gathered already.
    ///
    /// `stamp_time` makes the append time the batch's timestamp.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(
        &self,
        partition: &Arc<Partition>,
        header: &BatchHeader,
        batch: &[u8],
        class: Class,
        stamp_time: bool,
    ) -> Result<Appended, AppendError> {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            match self.try_append(partition, header, batch, class, stamp_time) {
                Ok(appended) => return Ok(appended),
                Err(TryAppendError::Refused(error)) => return Err(error),
                Err(TryAppendError::Behind) => room.await,
            }
        }
    }

    /// Appends records to a hidden partition as one batch. What clients cause
    /// is of their class, so that it leaves the reserve to deletion.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append_hidden(
        &self,
        topic: TopicId,
        records: &[Vec<u8>],
        class: Class,
    ) -> Result<Lsn, AppendError> {
        let partition = self.hidden_partition(topic);
        let (header, bytes) = self.batch_of(records);
        let appended = self.append(&partition, &header, &bytes, class, false).await?;
        Ok(appended.lsn)
    }

    /// One batch of these values.
    fn batch_of(&self, records: &[Vec<u8>]) -> (BatchHeader, Vec<u8>) {
        let mut builder = batch::BatchBuilder::new(self.env.wall());
        for record in records {
            builder.record(0, None, Some(record), &[]);
        }
        let bytes = builder.build();
        match BatchHeader::parse(&bytes) {
            Ok(header) => (header, bytes),
            Err(error) => unreachable!("a batch of our own parses: {error}"),
        }
    }

    fn try_append(
        &self,
        partition: &Arc<Partition>,
        header: &BatchHeader,
        batch: &[u8],
        class: Class,
        stamp_time: bool,
    ) -> Result<Appended, TryAppendError> {
        let mut held = self.gather.lock();
        let gathering = &mut *held;
        if gathering.ended {
            return Err(TryAppendError::Refused(Ended.into()));
        }
        self.make_room(gathering, batch.len(), class)?;
        let gather = &mut gathering.gather;
        let append_time = gather.append_time(self.env.wall());
        let mut core = partition.lock();
        if core.deleted {
            return Err(AppendError::Deleted.into());
        }
        if core.end_unproven {
            return Err(AppendError::EndUnproven(partition.id()).into());
        }
        let known = header.producer.is_none_or(|producer| core.state.knows_producer(producer.id));
        if !known && self.producers.load(Ordering::Relaxed) >= self.options.producers_max {
            self.stats.producers_refused.fetch_add(1, Ordering::Relaxed);
            return Err(AppendError::ProducersFull.into());
        }
        let admission =
            core.state.admit(header, gather.lsn(), append_time).map_err(AppendError::from)?;
        drop(core);
        let (base_offset, leader_epoch, append_time) = match admission {
            Admission::Append { base_offset, leader_epoch, append_time } => {
                (base_offset, leader_epoch, append_time)
            }
            Admission::Duplicate { base_offset, append_time, lsn } => {
                return Ok(Appended { base_offset, append_time, lsn, duplicate: true });
            }
        };
        if !known {
            self.producers.fetch_add(1, Ordering::Relaxed);
        }
        let stamp = Stamp { base_offset, leader_epoch, append_time };
        if stamp_time {
            let mut copy = batch.to_vec();
            let stamped = batch::stamp_append_time(&mut copy, append_time);
            assert!(stamped.is_ok(), "a checked batch takes its time");
            let header = BatchHeader { max_timestamp: append_time, ..*header };
            gather.push(partition, &header, &copy, &stamp);
        } else {
            gather.push(partition, header, batch, &stamp);
        }
        let lsn = gather.lsn();
        if gathering.writer_waits {
            gathering.writer_waits = false;
            self.work.ring();
        }
        Ok(Appended { base_offset, append_time, lsn, duplicate: false })
    }

    /// Makes sure that the gathering frame takes `len` bytes more: goes on in
    /// the next file where this one is done, seals a frame that is full, takes
    /// memory, and checks that the disk has allocated the space.
    fn make_room(
        &self,
        gathering: &mut Gathering,
        len: usize,
        class: Class,
    ) -> Result<(), TryAppendError> {
        if gathering.gather.pending_bytes() > self.options.pending_bytes_max {
            return Err(TryAppendError::Behind);
        }
        if gathering.gather.front_is_full() {
            self.seal(gathering).map_err(|Refused::Behind| TryAppendError::Behind)?;
        }
        if gathering.gather.is_empty() && self.is_file_done(&gathering.gather) {
            self.next_file(gathering, class)?;
        }
        let end = gathering.gather.end_with(len);
        let limit = match class {
            Class::Client => INTERNAL_BYTES,
            Class::Internal => 0,
        };
        let reserved = gathering.gather.file().reserved();
        if end + limit > reserved {
            return Err(self.wait_for_space(end + INTERNAL_BYTES, class));
        }
        if end * 2 > reserved && reserved < self.options.file_bytes {
            self.ask_to_grow(end + INTERNAL_BYTES, false);
        }
        gathering
            .gather
            .make_room(len, || self.take_block())
            .map_err(|Refused::Behind| TryAppendError::Behind)
    }

    /// Asks for space. Clients are refused at once on a full disk; the server's
    /// own records may use the reserve.
    fn wait_for_space(&self, bytes: u64, class: Class) -> TryAppendError {
        let internal = class == Class::Internal;
        self.ask_to_grow(bytes, internal);
        let full = self.stats.space_exhausted.load(Ordering::Acquire);
        if full && (!internal || self.reserve_gone.load(Ordering::Acquire)) {
            AppendError::StorageFull.into()
        } else {
            TryAppendError::Behind
        }
    }

    fn is_file_done(&self, gather: &Gather) -> bool {
        gather.end_with(0) >= self.options.file_bytes
            || gather.file_extents.len() >= FILE_EXTENTS_MAX
    }

    /// Ends the frame being gathered; the writer finds it among the sealed.
    fn seal(&self, gathering: &mut Gathering) -> Result<(), Refused> {
        gathering.gather.seal(self.env.wall(), || self.take_block())
    }

    /// A block to gather into: a free one, or one that leaves the cache.
    fn take_block(&self) -> Option<BlockWriter> {
        self.cache.take()
    }

    /// Resolves once `lsn` is durable.
    ///
    /// # Errors
    /// [`Ended`] when the log ended before.
    pub async fn durable(&self, lsn: Lsn) -> Result<(), Ended> {
        self.durable.wait(lsn).await
    }

    /// Resolves when this incarnation is over.
    pub async fn ended(&self) {
        let mut ended = self.ended.subscribe();
        // The sender lives in self: waiting cannot fail while self is borrowed.
        drop(ended.wait_for(|ended| *ended).await);
    }

    /// Whether this incarnation is over.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Ends the incarnation: nothing unsynced is acknowledged any more.
    fn end(&self, error: &DiskError) {
        tracing::error!(%error, "the log ends: what was not synced is not acknowledged");
        self.gather.lock().ended = true;
        self.durable.end();
        self.ended.send_replace(true);
        self.room.notify_waiters();
        self.work.ring();
        self.requested.ring();
    }

    /// Forgets producers of `partition` that were silent since `before`.
    pub fn expire_producers(&self, partition: &Partition, before: Timestamp) {
        let forgotten = partition.lock().state.expire_producers(before);
        self.producers.fetch_sub(forgotten, Ordering::Relaxed);
    }

    /// Pairs of producer and partition that are remembered.
    #[must_use]
    pub fn producer_count(&self) -> usize {
        self.producers.load(Ordering::Relaxed)
    }

    /// Stops writer and maintenance after all that is gathered.
    pub fn stop(&self) {
        self.stop_writer();
        self.stop_maintenance();
    }

    /// Figures for metrics.
    #[must_use]
    pub fn stats(&self) -> &EngineStats {
        &self.stats
    }

    /// The number of this incarnation.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The newest frame that is durable.
    #[must_use]
    pub fn durable_lsn(&self) -> Lsn {
        self.durable.reached()
    }

    /// What the engine holds now, for metrics.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let (disk_bytes, live_bytes) = self.disk_usage();
        let pending_bytes = self.gather.lock().gather.pending_bytes();
        let cache = self.cache.stats();
        Figures {
            files: self.files.all().len(),
            disk_bytes,
            live_bytes,
            pending_bytes,
            pending_bytes_max: self.options.pending_bytes_max,
            cache_bytes: u64::try_from(cache.bytes).unwrap_or(u64::MAX),
            cache_bytes_max: self.options.cache_bytes,
        }
    }

    /// Bytes of log files on the disk, and of extents in them that can still
    /// be read.
    #[must_use]
    pub fn disk_usage(&self) -> (u64, u64) {
        self.files.all().iter().fold((0, 0), |(total, live), file| {
            (total + file.reserved().max(file.data_end()), live + file.live())
        })
    }
}

enum TryAppendError {
    /// Room comes as the writer goes on.
    Behind,
    Refused(AppendError),
}

impl From<AppendError> for TryAppendError {
    fn from(error: AppendError) -> Self {
        Self::Refused(error)
    }
}
