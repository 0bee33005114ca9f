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

mod append;
mod backup;
mod check;
mod checkpoint;
mod deletion;
mod durable;
mod evict;
mod files;
mod footers;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod gather;
mod losses;
mod maintain;
mod meta;
mod pace;
mod partition;
mod pending_io;
mod progress;
mod reader;
mod recovery;
mod release;
mod replay;
mod reserve;
mod restore;
mod rewrite;
mod scan;
mod scrub;
mod seal;
mod sequential;
mod skip;
mod sources;
mod stats;
mod syncer;
#[cfg(test)]
mod tests;
mod wait;
mod watch;
mod writer;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use millrace_types::{Incarnation, Lsn, PartitionId, Timestamp, TopicId, TopicPartition, canary};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch as signal};

pub use append::{AppendError, Appended, Appends, Class};
pub use partition::{Offsets, Partition, Quarantined};
pub use pending_io::IoCall;
pub use progress::{Progress, Progressed, Step};
pub use reader::{Read, ReadError};
pub use recovery::{OpenError, OpenRequest, Opened, Synced};
pub use seal::Part;
pub use stats::{EngineStats, Figures, LATENCY_BOUNDS, RewritingNow, SIZE_BOUNDS, SizeCounts};
pub use watch::Watch;

use self::{durable::Durable, files::Files, gather::Gather};
use crate::{
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
            cache_bytes: 120 << 20,
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

pub use check::check;
pub(crate) use files::{checkpoint_name, name as log_file_name};
pub(crate) use skip::{
    beyond as offset_beyond, name as skips_name, new_name as new_skips_name,
    number as skips_number, write as write_skips,
};

/// The id of the log file of this name.
pub(crate) fn log_file_id(name: &str) -> Option<millrace_types::FileId> {
    files::parse_name(name).map(|(id, _)| id)
}

/// Bytes at the end of the allocated log that only internal records may use.
const INTERNAL_BYTES: u64 = 1 << 20;
/// Whether a file of the data directory belongs to the log.
#[must_use]
pub fn is_log_file(name: &str) -> bool {
    files::parse_name(name).is_some() || files::checkpoint_number(name).is_some()
}

/// Whether a backup has such a file by a link.
pub(crate) fn is_of_log(name: &str) -> bool {
    is_log_file(name) || skips_number(name).is_some()
}

/// Blocks that gathering may take besides those of the cache, in bytes: what
/// waits for the disk, its tables, and the frame behind it.
fn pending_capacity(options: &EngineOptions) -> usize {
    let pending = usize::try_from(options.pending_bytes_max).unwrap_or(usize::MAX / 4);
    pending.saturating_mul(2).saturating_add(16 << 20)
}

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
    /// Where the last of the frames were that this start found to be lost.
    lost: Mutex<Option<(millrace_types::FileId, u64)>>,
    /// Pairs of producer and partition that are remembered.
    producers: AtomicUsize,
    next_file: AtomicU64,
    ended: signal::Sender<bool>,
    /// What maintenance was asked for; see `maintain`.
    requests: Mutex<maintain::Requests>,
    requested: Arc<dyn Bell>,
    /// Held by whoever maintains, over I/O.
    housekeeping: Mutex<maintain::Housekeeping>,
    /// How many wait for it beside maintenance, which lets them go first.
    housekeeping_wanted: AtomicUsize,
    /// Wakes the syncer.
    unsynced: Arc<dyn Bell>,
    /// Held over each sync; the one that failed, if one did.
    sync_failed: Mutex<Option<DiskError>>,
    /// Held by the writer while it writes and publishes.
    writing: Mutex<()>,
    /// Bytes were written that no frame's `synced_to` names yet.
    unmarked: AtomicBool,
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
    /// Skip files that were taken in, and are not durable in the log yet.
    skips: Mutex<Vec<(String, Vec<millrace_log::skips::Skip>)>>,
    /// Corrupt files that are not sealed yet; see `all_opened`.
    holed: Mutex<Vec<sources::Source>>,
    stats: EngineStats,
    /// What the log waits for just now.
    pending_io: pending_io::PendingIo,
    _lock: Arc<DiskLock>,
}

/// Held by each thread of the log. Should one unwind, the log ends: the others
/// would go on without what it does.
struct Thread<'a>(&'a Engine);

impl Drop for Thread<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end(&"a thread of the log panicked; this is a bug");
        }
    }
}

/// What the gathering lock guards.
struct Gathering {
    gather: Gather,
    /// The file that follows the present one, when it is ready.
    next: Option<Arc<files::LogFile>>,
    /// Files that ended, with their extents, in the order of the frames.
    finished: Vec<writer::Finished>,
    /// Bytes that the present file had allocated when more was asked for ahead.
    ahead: u64,
    /// The writer waits for the bell, and for so many bytes.
    writer_wants: Option<u64>,
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

    /// Resolves once `lsn` is durable.
    ///
    /// # Errors
    /// [`Ended`] when the log ended before.
    pub async fn durable(&self, lsn: Lsn) -> Result<(), Ended> {
        if canary!(AckBeforeDurable) {
            return Ok(());
        }
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
    fn end(&self, error: &dyn fmt::Display) {
        tracing::error!(%error, "the log ends: what was not synced is not acknowledged");
        self.be_over();
    }

    /// Takes nothing more, and tells all who wait for anything.
    fn be_over(&self) {
        self.gather.lock().ended = true;
        self.durable.end();
        self.ended.send_replace(true);
        self.room.notify_waiters();
        self.work.ring();
        self.requested.ring();
        self.unsynced.ring();
    }

    /// Forgets producers of `partition` that were silent since `before`.
    pub fn expire_producers(&self, partition: &Partition, before: Timestamp) {
        let mut core = partition.lock();
        if core.deleted {
            // Its producers were counted off with it.
            return;
        }
        let forgotten = core.state.expire_producers(before);
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

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Figures for metrics.
    #[must_use]
    pub fn stats(&self) -> &EngineStats {
        &self.stats
    }

    /// The write or flush of the log that is under way for the longest time,
    /// and for how long. Waits for nothing.
    #[must_use]
    pub fn pending_io(&self) -> Option<(IoCall, Duration)> {
        self.pending_io.longest(self.env.monotonic())
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
        let files = self.files.all();
        let (pending_bytes, next) = {
            let gathering = self.gather.lock();
            (gathering.gather.pending_bytes(), gathering.next.clone())
        };
        let mut bytes = files::Bytes::default();
        for of_file in files.iter().chain(&next).map(|file| file.bytes()) {
            bytes.live += of_file.live;
            bytes.dead += of_file.dead;
            bytes.padding += of_file.padding;
            bytes.reserved += of_file.reserved;
        }
        let cache = self.cache.stats();
        Figures {
            files: files.len(),
            live_bytes: bytes.live,
            dead_bytes: bytes.dead,
            padding_bytes: bytes.padding,
            reserved_bytes: bytes.reserved,
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
