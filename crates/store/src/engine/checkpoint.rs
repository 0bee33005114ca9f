//! Writing checkpoints: what the next start reads instead of the log's history.
//!
//! A checkpoint covers the sealed files. Each partition gives its state and
//! where its offsets lie in those files, under its own lock and so at its own
//! position; what lies in younger files a start reads from their footers. The
//! two newest checkpoints stay, and [`super::release`] keeps what the older
//! one needs.
//!
//! Invariants:
//! - The offset of a hidden partition is taken before the partitions' states:
//!   a log start below it is part of the state that it moved.
//! - All that a checkpoint says is durable before it has its name; with
//!   `flush=os` too.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
};

use millrace_log::{
    checkpoint::{
        CheckpointHeader, CheckpointWriter, Chunk, FileRecord, HiddenRecord, PartitionRecord,
    },
    frame::FileKind,
};
use millrace_types::{FileId, Lsn, Offset, TopicId, TopicPartition, canary};

use super::{
    Engine,
    files::{self, LogFile},
    maintain::Housekeeping,
    meta::MetaRecord,
    sequential::{CHUNK, Sequential},
};
use crate::disk::{DiskError, DiskErrorKind};

/// Sealed files behind the newest checkpoint that make another one due.
const FILES_MAX: usize = 4;
/// Bytes of footers behind it that make another one due, at least.
const FOOTERS_MIN: u64 = 4 << 20;
/// Between two checkpoints that are to free space, and after one that failed.
const SPACING_MS: u64 = 10_000;

/// A complete checkpoint on the disk.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) number: u64,
    /// It covers every frame up to this one.
    pub(super) lsn: Lsn,
    /// The files that its spans and its recovery need.
    pub(super) files: BTreeSet<FileId>,
    /// Where the replay of each hidden partition begins.
    pub(super) hidden: BTreeMap<TopicId, Offset>,
    pub(super) bytes: u64,
}

/// The checkpoints of a data directory.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    /// The complete ones, oldest first: two at most.
    pub(super) kept: Vec<Kept>,
    /// Checkpoints that are damaged or superfluous: they go with the next one.
    pub(super) useless: Vec<u64>,
    pub(super) next_number: u64,
    /// Not before this time, on the monotonic clock.
    pub(super) not_before_ms: u64,
}

impl Checkpoints {
    /// The older of two that are kept; `None` while there are fewer.
    pub(super) fn older(&self) -> Option<&Kept> {
        match self.kept.as_slice() {
            [older, _] => Some(older),
            _ => None,
        }
    }

    fn covered(&self) -> Lsn {
        self.kept.last().map_or(Lsn(0), |newest| newest.lsn)
    }

    /// Whether any of them needs the file to be there.
    pub(super) fn list(&self, file: FileId) -> bool {
        self.kept.iter().any(|kept| kept.files.contains(&file))
    }
}

impl Engine {
    /// Takes a checkpoint if one is due: what a start would have to read
    /// besides it has grown, or `held` bytes could be given back after it.
    pub(super) fn checkpoint_if_due(&self, house: &mut Housekeeping, held: u64) {
        let now = self.env.monotonic_ms();
        let checkpoints = &house.checkpoints;
        let exhausted = self.stats.space_exhausted.load(Ordering::Acquire);
        if now < checkpoints.not_before_ms && !(exhausted && held > 0) {
            return;
        }
        let covered = checkpoints.covered();
        let (mut files, mut footers) = (0, 0);
        for file in self.files.all() {
            if file.is_sealed() && file.kind == FileKind::Wal && file.last_lsn() > covered {
                files += 1;
                footers += file.reserved().saturating_sub(file.data_end());
            }
        }
        let last_bytes = checkpoints.kept.last().map_or(0, |newest| newest.bytes);
        let due = files >= FILES_MAX
            || (files > 0 && checkpoints.kept.len() < 2)
            || (files > 0 && footers >= FOOTERS_MIN.max(last_bytes));
        let frees = held > 0 && (exhausted || held / 4 >= last_bytes);
        if due || frees {
            self.checkpoint(house);
        }
    }

    /// Takes a checkpoint; a failure is told and leaves all as it was.
    pub(super) fn checkpoint(&self, house: &mut Housekeeping) {
        if let Err(error) = self.try_checkpoint(house) {
            tracing::error!(%error,
                "no checkpoint was written; starts take longer and space is held until one is");
        }
    }

    /// [`Self::checkpoint`], for who needs one.
    pub(super) fn try_checkpoint(&self, house: &mut Housekeeping) -> Result<(), DiskError> {
        let done = self.with_reserve(house, |house| self.write_checkpoint(house));
        house.checkpoints.not_before_ms = self.env.monotonic_ms() + SPACING_MS;
        if done.is_ok() {
            self.stats.checkpoints.fetch_add(1, Ordering::Relaxed);
            self.cut_hidden(house);
            house.changed = true;
        } else {
            self.stats.checkpoints_failed.fetch_add(1, Ordering::Relaxed);
        }
        done
    }

    /// Hidden partitions start where the older kept checkpoint's replay does.
    fn cut_hidden(&self, house: &Housekeeping) {
        let Some(older) = house.checkpoints.older() else { return };
        for (topic, offset) in &older.hidden {
            self.cut(&self.hidden_partition(*topic), *offset);
        }
    }

    fn write_checkpoint(&self, house: &mut Housekeeping) -> Result<(), DiskError> {
        let mut listed: Vec<Arc<LogFile>> = self.files.all();
        listed.retain(|file| file.is_sealed() && !file.is_superseded());
        listed.sort_by_key(|file| (file.first_lsn(), file.id));
        let sealed = listed.iter().map(|file| file.last_lsn()).max().unwrap_or_default();
        let lsn = sealed.max(house.checkpoints.covered());
        let number = house.checkpoints.next_number;
        house.checkpoints.next_number += 1;
        let header = CheckpointHeader {
            log_id: self.log_id,
            incarnation: self.incarnation,
            number,
            lsn,
            time: self.env.wall(),
        };
        let ids: BTreeSet<FileId> = listed.iter().map(|file| file.id).collect();
        let pinned = self.pinned_files();
        let records = listed.iter().map(|file| file_record(file, &pinned)).collect();

        let mut out = Output::new(self.begin_file(&files::checkpoint_name(number))?);
        let mut writer = CheckpointWriter::new(&header, &mut out.bytes);
        writer.chunk(&Chunk::Files(records), &mut out.bytes);
        let hidden = self.write_hidden(lsn, &mut writer, &mut out)?;
        for partition in self.partitions_by_id() {
            let Some(record) = self.partition_record(&partition, &ids) else { continue };
            writer.chunk(&Chunk::Partition(Box::new(record)), &mut out.bytes);
            out.flush(CHUNK)?;
        }
        writer.finish(&mut out.bytes);
        out.flush(1)?;
        self.sync_unsealed()?;
        let (_, bytes) = out.file.finish()?;

        let kept = &mut house.checkpoints.kept;
        kept.push(Kept { number, lsn, files: ids, hidden, bytes });
        let superfluous = kept.len().saturating_sub(2);
        let superfluous = kept.drain(..superfluous).map(|old| old.number).collect::<Vec<_>>();
        house.checkpoints.useless.extend(superfluous);
        self.unlink_useless(&mut house.checkpoints);
        tracing::debug!(number, %lsn, bytes, "a checkpoint is complete");
        Ok(())
    }

    /// The state of hidden topics, each with the offset up to which it goes.
    fn write_hidden(
        &self,
        covered: Lsn,
        writer: &mut CheckpointWriter,
        out: &mut Output<'_>,
    ) -> Result<BTreeMap<TopicId, Offset>, DiskError> {
        let mut offsets = BTreeMap::new();
        let topics = [TopicId::META].into_iter().chain(self.hidden.keys().copied());
        for topic in topics {
            let partition = self.hidden_partition(topic);
            let (offset, records) = {
                // Nothing is applied between the look at the offset and the
                // look at the state.
                let _order = self.hidden_order.lock();
                let offset = partition.offsets().high_watermark;
                let records = match self.hidden.get(&topic) {
                    Some(state) => state.snapshot(),
                    None => self.meta_snapshot(covered),
                };
                (offset, records)
            };
            offsets.insert(topic, offset);
            // The first one says the offset, also where there is no state.
            for state in [Vec::new()].into_iter().chain(records) {
                let record = HiddenRecord { topic, offset, state };
                writer.chunk(&Chunk::Hidden(record), &mut out.bytes);
                out.flush(CHUNK)?;
            }
        }
        Ok(offsets)
    }

    /// What the engine's own records add up to, besides the log starts, which
    /// are part of the partitions.
    fn meta_snapshot(&self, covered: Lsn) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        let mut tombstones = self.tombstones.lock();
        tombstones.retain(|_, forgotten| forgotten.is_none_or(|last| last > covered));
        for (topic, forgotten) in &*tombstones {
            records.push(MetaRecord::Tombstone(*topic));
            if forgotten.is_some() {
                records.push(MetaRecord::Forgotten(*topic));
            }
        }
        drop(tombstones);
        for partition in self.partitions_by_id() {
            records.extend(partition.losses());
        }
        records.iter().map(MetaRecord::encode).collect()
    }

    fn partition_record(
        &self,
        partition: &super::Partition,
        listed: &BTreeSet<FileId>,
    ) -> Option<PartitionRecord> {
        // All frames up to this one were published to every partition.
        let lsn = self.durable.reached();
        let core = partition.lock();
        let untouched =
            core.state.high_watermark() == Offset::ZERO && core.state.sealed().is_none();
        if core.deleted || (untouched && !core.end_unproven) {
            return None;
        }
        let mut state = core.state.snapshot();
        if canary!(CheckpointAhead) {
            state.high_watermark = core.state.next_offset();
        }
        if canary!(CheckpointWithoutProducers) {
            state.forget_producers();
        }
        let spans = core.index.spans().filter(|span| listed.contains(&span.file));
        Some(PartitionRecord {
            partition: partition.id(),
            lsn,
            state,
            spans: spans.copied().collect(),
        })
    }

    /// Every partition, in the order of ids.
    pub(super) fn partitions_by_id(&self) -> Vec<Arc<super::Partition>> {
        let mut all: Vec<_> = self.partitions.read().values().cloned().collect();
        all.sort_by_key(|partition| partition.id());
        all
    }

    /// With `flush=os` readers see what no sync covers yet. A checkpoint must
    /// not outlive it.
    fn sync_unsealed(&self) -> Result<(), DiskError> {
        if self.options.flush == super::Flush::Fsync {
            return Ok(());
        }
        for file in self.files.all().into_iter().filter(|file| !file.is_sealed()) {
            self.sync(&file).inspect_err(|error| self.end(error))?;
        }
        Ok(())
    }

    fn unlink_useless(&self, checkpoints: &mut Checkpoints) {
        checkpoints.useless.retain(|number| {
            match self.disk.unlink(&files::checkpoint_name(*number)) {
                Err(error) if error.kind != DiskErrorKind::NotFound => {
                    tracing::warn!(%error, "an old checkpoint stays for now");
                    true
                }
                _ => false,
            }
        });
    }
}

fn file_record(file: &LogFile, pinned: &BTreeMap<FileId, TopicPartition>) -> FileRecord {
    FileRecord {
        file: file.id,
        kind: file.kind,
        quarantined: pinned.contains_key(&file.id),
        incarnation: file.incarnation(),
        first_lsn: file.first_lsn(),
        last_lsn: file.last_lsn(),
        data_end: file.data_end(),
        len: file.reserved(),
        companion: file.has_companion().then_some(file.id),
    }
}

/// A checkpoint on its way to the disk.
struct Output<'a> {
    file: Sequential<'a>,
    bytes: Vec<u8>,
}

impl<'a> Output<'a> {
    fn new(file: Sequential<'a>) -> Self {
        Self { file, bytes: Vec::new() }
    }

    /// Hands on what was encoded once it is `bytes` or more.
    fn flush(&mut self, bytes: usize) -> Result<(), DiskError> {
        if self.bytes.len() >= bytes {
            self.file.push(&self.bytes)?;
            self.bytes.clear();
        }
        Ok(())
    }
}
