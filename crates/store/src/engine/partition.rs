//! One partition as the engine holds it: the state machine, the index of where
//! its extents lie, and who waits for it.

use std::sync::Arc;

use millrace_log::{
    index::PartitionIndex,
    partition::{Partition as State, ProducerState},
    retention::{self, RetentionLimits},
};
use millrace_types::{FileId, LeaderEpoch, Offset, Timestamp, TopicPartition, canary};
use parking_lot::{Mutex, MutexGuard};

use super::watch::Entry;

/// Offsets of a partition that a reader may see: all durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// The first offset that can still be read.
    pub log_start: Offset,
    /// One past the last durable record.
    pub high_watermark: Offset,
    /// One past the last record that a `read_committed` reader may see.
    pub last_stable: Offset,
}

/// A range of offsets whose stored bytes fail their checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// First offset of the range.
    pub first: Offset,
    /// One past its last offset.
    pub end: Offset,
    /// The log file.
    pub file: FileId,
    /// Byte position in the file where the bad bytes begin.
    pub byte: u64,
}

impl Quarantined {
    /// Whether all of `other`'s offsets are among its own.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.first <= other.first && other.end <= self.end
    }
}

/// A partition of the log. Shared by those who append, read and maintain.
#[derive(Debug)]
pub struct Partition {
    id: TopicPartition,
    core: Mutex<Core>,
}

/// What the partition's lock guards.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) state: State,
    pub(super) index: PartitionIndex,
    watchers: Vec<Arc<Entry>>,
    pub(super) deleted: bool,
    pub(super) quarantined: Vec<Quarantined>,
    /// Ranges that a person gave up, and whether the partition's end was lost
    /// with them: readers pass them.
    pub(super) given_up: Vec<(Quarantined, bool)>,
    /// The end of the log could not be proven at the start: appends are
    /// refused, since they might give an offset out a second time.
    pub(super) end_unproven: bool,
    /// It is the loss that this start found that left it so.
    pub(super) lost_now: bool,
}

impl Core {
    pub(super) fn offsets(&self) -> Offsets {
        Offsets {
            log_start: self.state.log_start(),
            high_watermark: if canary!(EndToldEarly) {
                self.state.next_offset()
            } else {
                self.state.high_watermark()
            },
            last_stable: self.state.last_stable_offset(),
        }
    }

    /// The first corrupt range at or behind `offset`, and whether it was given
    /// up.
    pub(super) fn lost_from(&self, offset: Offset) -> Option<(&Quarantined, bool)> {
        let given_up = self.given_up.iter().map(|(range, _)| (range, true));
        let all = given_up.chain(self.quarantined.iter().map(|range| (range, false)));
        all.filter(|(range, _)| range.end > offset)
            .min_by_key(|(range, given_up)| (range.first.max(offset), !given_up))
    }

    pub(super) fn add_quarantined(&mut self, range: Quarantined) {
        let given_up = self.given_up.iter().any(|(other, _)| other.covers(&range));
        let known = self.quarantined.iter().any(|other| other.covers(&range));
        if !given_up && !known {
            self.quarantined.push(range);
        }
    }

    /// Wakes those who watch the partition, and forgets those who left.
    pub(super) fn notify(&mut self) {
        self.watchers.retain(Entry::notify);
    }
}

impl Partition {
    /// An empty partition.
    pub(super) fn new(id: TopicPartition) -> Self {
        Self::restored(id, State::new(), PartitionIndex::new())
    }

    pub(super) fn restored(id: TopicPartition, state: State, index: PartitionIndex) -> Self {
        let core = Core {
            state,
            index,
            watchers: Vec::new(),
            deleted: false,
            quarantined: Vec::new(),
            given_up: Vec::new(),
            end_unproven: false,
            lost_now: false,
        };
        Self { id, core: Mutex::new(core) }
    }

    /// Which partition of which topic this is.
    #[must_use]
    pub fn id(&self) -> TopicPartition {
        self.id
    }

    /// Its durable offsets.
    #[must_use]
    pub fn offsets(&self) -> Offsets {
        self.core.lock().offsets()
    }

    /// The epoch that appends are stamped with.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.core.lock().state.leader_epoch()
    }

    /// The epoch of the record at the log start, as ListOffsets answers; of the
    /// next append where there never was one.
    #[must_use]
    pub fn log_start_epoch(&self) -> LeaderEpoch {
        self.core.lock().state.log_start_epoch()
    }

    /// The largest epoch at or below `epoch` and where it ends, as
    /// OffsetForLeaderEpoch answers.
    #[must_use]
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.core.lock().state.epoch_end(epoch)
    }

    /// Logical bytes between the log start and the high watermark.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.core.lock().index.bytes()
    }

    /// The idempotent producers that are remembered, by id.
    #[must_use]
    pub fn producers(&self) -> Vec<ProducerState> {
        self.core.lock().state.producers().collect()
    }

    /// Records from `from` (or the log start) to the high watermark, and about
    /// when the first of them was appended. Reads nothing from the disk: see
    /// [`PartitionIndex::append_time_near`].
    #[must_use]
    pub fn backlog(&self, from: Offset) -> (u64, Option<Timestamp>) {
        let core = self.core.lock();
        let offsets = core.offsets();
        let from = from.max(offsets.log_start);
        if from >= offsets.high_watermark {
            return (0, None);
        }
        (offsets.high_watermark.since(from), core.index.append_time_near(from))
    }

    /// The log start that `limits` allow at the time `now`, where it moves.
    #[must_use]
    pub fn expired(&self, limits: RetentionLimits, now: Timestamp) -> Option<Offset> {
        let core = self.core.lock();
        retention::expired(&core.index, limits, now)
    }

    /// Whether its topic was deleted.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.core.lock().deleted
    }

    /// Ranges that cannot be read.
    #[must_use]
    pub fn quarantined(&self) -> Vec<Quarantined> {
        self.core.lock().quarantined.clone()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock()
    }

    pub(super) fn add_watcher(&self, entry: Arc<Entry>) {
        self.core.lock().watchers.push(entry);
    }

    pub(super) fn remove_watcher(&self, entry: &Arc<Entry>) {
        self.core.lock().watchers.retain(|held| !Arc::ptr_eq(held, entry));
    }
}
