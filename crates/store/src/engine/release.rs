//! Giving files back: which sealed files nobody needs any more.
//!
//! Invariant: a file is unlinked only when
//! - no offset that can be read lies in it, by durable log starts and
//!   tombstones or since a rewritten file took its place, and no range in it
//!   is quarantined;
//! - both kept checkpoints cover it, and neither expects to find live batches
//!   in it.
//!
//! Readers that are under way hold the file; its space comes back when they
//! are done.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
};

use millrace_log::{frame::FileKind, retention::FileUse};
use millrace_types::{FileId, TopicPartition};

use super::{
    Engine,
    checkpoint::Checkpoints,
    files::{self, LogFile},
    maintain::Housekeeping,
};
use crate::disk::{DiskError, DiskErrorKind};

/// How the sealed files are used.
pub(super) struct Usage {
    /// Oldest first.
    pub(super) files: Vec<FileUse>,
    /// Spans of the index, over all partitions.
    pub(super) spans: usize,
    /// Entries of sealed files that are in memory.
    pub(super) loaded: usize,
}

impl Engine {
    /// Files with ranges that cannot be read, and one partition of each.
    pub(super) fn pinned_files(&self) -> BTreeMap<FileId, TopicPartition> {
        let mut pinned = BTreeMap::new();
        for partition in self.partitions_by_id() {
            let core = partition.lock();
            // What was given up cannot be copied either.
            let given_up = core.given_up.iter().map(|(range, _)| range);
            for range in core.quarantined.iter().chain(given_up) {
                pinned.insert(range.file, partition.id());
            }
        }
        pinned
    }

    /// How the sealed files are used, by the index.
    pub(super) fn usage(&self) -> Usage {
        let mut sealed = self.files.all();
        sealed.retain(|file| file.is_sealed() && !file.is_superseded());
        sealed.sort_by_key(|file| (file.first_lsn(), file.id));
        let pinned = self.pinned_files();
        let mut uses: BTreeMap<FileId, FileUse> =
            sealed.iter().map(|file| (file.id, unused(file, &pinned))).collect();
        let (mut spans, mut loaded) = (0, 0);
        for partition in self.partitions_by_id() {
            let core = partition.lock();
            spans += core.index.spans().len();
            loaded += core.index.loaded_entries();
            for (span, (file, live)) in core.index.spans().zip(core.index.live_bytes()) {
                let Some(entry) = uses.get_mut(&file) else { continue };
                entry.live_bytes += live;
                entry.live_extents += u64::from(span.extents);
                entry.partitions += 1;
            }
        }
        let files = sealed.iter().filter_map(|file| uses.remove(&file.id)).collect();
        Usage { files, spans, loaded }
    }

    /// Unlinks what may go. Returns the bytes of files that could go if the
    /// checkpoints were younger.
    pub(super) fn release(&self, house: &mut Housekeeping, usage: &Usage) -> u64 {
        // Nothing lives where no span is left, whatever the sum of bytes says.
        let dead: BTreeSet<FileId> = usage
            .files
            .iter()
            .filter(|file| !file.pinned && file.partitions == 0)
            // What of these moved to another file, a checkpoint may still
            // find here alone.
            .filter(|file| !house.rewriting.pinned.contains(&file.file))
            .map(|file| file.file)
            .collect();
        let (mut held, mut gone) = (0, Vec::new());
        for file in self.files.all() {
            if !(file.is_superseded() || dead.contains(&file.id)) || !file.is_sealed() {
                continue;
            }
            if may_go(&file, &house.checkpoints) {
                gone.push(file);
            } else {
                held += file.reserved();
            }
        }
        if gone.is_empty() {
            return held;
        }
        match self.unlink_files(&gone) {
            Ok(()) => {
                let bytes: u64 = gone.iter().map(|file| file.reserved()).sum();
                self.stats.files_deleted.fetch_add(gone.len() as u64, Ordering::Relaxed);
                tracing::info!(files = gone.len(), bytes, "log files were deleted");
                house.space_freed = true;
            }
            Err(error) => {
                house.changed = true;
                tracing::warn!(%error, "dead log files stay for now");
            }
        }
        held
    }

    fn unlink_files(&self, gone: &[Arc<LogFile>]) -> Result<(), DiskError> {
        for file in gone {
            // The companion last: without it the file's end would be scanned
            // for at a start, and it is not the last one of the log.
            unlink(self, &file.name)?;
            if file.has_companion() {
                unlink(self, &files::name(file.id, FileKind::Companion))?;
            }
            self.files.remove(file.id);
            self.cache.remove_file(file.id);
        }
        self.disk.sync_directory()
    }
}

fn unlink(engine: &Engine, name: &str) -> Result<(), DiskError> {
    match engine.disk.unlink(name) {
        // An earlier try got this far.
        Err(error) if error.kind == DiskErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn may_go(file: &LogFile, checkpoints: &Checkpoints) -> bool {
    let Some(older) = checkpoints.older() else { return false };
    let covered = file.last_lsn() <= older.lsn;
    covered && !(file.is_superseded() && checkpoints.list(file.id))
}

fn unused(file: &LogFile, pinned: &BTreeMap<FileId, TopicPartition>) -> FileUse {
    FileUse {
        file: file.id,
        len: file.reserved(),
        live_bytes: 0,
        live_extents: 0,
        partitions: 0,
        pinned: pinned.contains_key(&file.id),
    }
}
