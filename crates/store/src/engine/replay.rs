//! Partitions from what recovery found: the states and spans of a checkpoint,
//! then the extents of the files behind it, oldest first.
//!
//! A checkpoint's state may be younger than its spans: the state leaves out
//! what it knows, the index takes every extent of a file that the spans do not
//! cover.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::Ordering},
};

use millrace_log::{
    checkpoint::PartitionRecord,
    frame::{Extent, ExtentKind},
    index::PartitionIndex,
    partition::Partition as State,
};
use millrace_types::{FileId, Lsn, Offset, TopicPartition};

use super::{
    Engine,
    files::LogFile,
    partition::{Partition, Quarantined},
    scan::Hole,
    sources::Source,
};

/// A stretch of the log that is lost.
#[derive(Clone, Copy)]
struct Lost {
    file: FileId,
    hole: Hole,
}

/// Partitions from a checkpoint's records and the extents behind them.
pub(super) fn replay(
    records: Vec<PartitionRecord>,
    sources: &[Source],
    engine: &Engine,
) -> HashMap<TopicPartition, Arc<Partition>> {
    let mut partitions: BTreeMap<TopicPartition, Replayed> =
        records.into_iter().map(|record| (record.partition, Replayed::restored(record))).collect();
    let mut last_lost = None;
    for source in sources {
        for extent in &source.extents {
            let hole = source.holes.iter().rfind(|hole| hole.byte <= u64::from(extent.position));
            let lost = hole.map(|hole| Lost { file: source.file.id, hole: *hole }).or(last_lost);
            partitions.entry(extent.partition).or_default().extent(&source.file, extent, lost);
        }
        if let Some(hole) = source.holes.last() {
            last_lost = Some(Lost { file: source.file.id, hole: *hole });
        }
    }
    let (present, extents) = {
        let gathering = engine.gather.lock();
        (Arc::clone(gathering.gather.file()), gathering.gather.file_extents.clone())
    };
    for extent in &extents {
        partitions.entry(extent.partition).or_default().extent(&present, extent, last_lost);
    }
    engine.unproven.store(last_lost.is_some(), Ordering::Release);
    let mut all: HashMap<TopicPartition, Arc<Partition>> = HashMap::new();
    for (id, mut replayed) in partitions {
        let unproven = last_lost.is_some_and(|lost| replayed.is_unproven(&lost));
        if unproven {
            tracing::error!(partition = %id, "the end of the partition cannot be proven");
        }
        replayed.end(last_lost, present.id);
        for source in sources.iter().filter(|source| source.file.is_sealed()) {
            replayed.index.seal(source.file.id);
        }
        engine.producers.fetch_add(replayed.state.producer_count(), Ordering::Relaxed);
        all.insert(id, Arc::new(replayed.finish(id, unproven)));
    }
    all
}

/// A partition while its extents are replayed.
#[derive(Default)]
struct Replayed {
    state: State,
    index: PartitionIndex,
    quarantined: Vec<Quarantined>,
    /// Where its last extent lies.
    last: (FileId, u64),
    /// The checkpoint's state goes up to this frame.
    proven: Lsn,
}

impl Replayed {
    fn restored(record: PartitionRecord) -> Self {
        let log_start = record.state.log_start;
        Self {
            state: State::restore(record.state),
            index: PartitionIndex::restore(log_start, record.spans),
            quarantined: Vec::new(),
            last: (FileId(0), 0),
            proven: record.lsn,
        }
    }

    /// Where the index expects the next extent.
    fn expected(&self) -> Offset {
        self.index.end().max(self.state.log_start())
    }

    fn extent(&mut self, file: &LogFile, extent: &Extent, lost: Option<Lost>) {
        let expected = self.expected();
        // Offsets behind a seal are no records'.
        let end = self.state.sealed().unwrap_or(extent.base_offset).min(extent.base_offset);
        if let Some(lost) = lost
            && end > expected
        {
            self.quarantine(expected, end, lost);
        }
        // The state may know a seal already that comes behind this extent.
        let is_record = extent.kind == ExtentKind::Batch
            && self.state.sealed().is_none_or(|end| extent.last_offset() < end);
        self.state.replay(extent);
        if is_record
            && extent.last_offset() >= self.state.log_start()
            && self.index.push(file.id, extent)
        {
            file.add_live(u64::from(extent.len));
        }
        self.last = (file.id, u64::from(extent.position));
    }

    fn quarantine(&mut self, first: Offset, end: Offset, lost: Lost) {
        let Lost { file, hole } = lost;
        self.quarantined.push(Quarantined { first, end, file, byte: hole.byte });
    }

    /// Whether frames may be lost that no later one and no checkpoint knows.
    fn is_unproven(&self, lost: &Lost) -> bool {
        self.state.sealed().is_none()
            && self.last < (lost.file, lost.hole.byte)
            && self.proven < lost.hole.before
    }

    /// What the checkpoint knew and the log has no more.
    fn end(&mut self, lost: Option<Lost>, present: FileId) {
        let (expected, end) = (self.expected(), self.state.high_watermark());
        if expected < end {
            let nowhere = Lost { file: present, hole: Hole { byte: 0, before: Lsn(0) } };
            self.quarantine(expected, end, lost.unwrap_or(nowhere));
        }
    }

    fn finish(self, id: TopicPartition, unproven: bool) -> Partition {
        let partition = Partition::restored(id, self.state, self.index);
        {
            let mut core = partition.lock();
            core.quarantined = self.quarantined;
            core.end_unproven = unproven;
            core.lost_now = unproven;
        }
        partition
    }
}
