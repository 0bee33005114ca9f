//! Verifying the data directory of a stopped server.
//!
//! [`check`] recovers the log over an [`Overlay`], as a start would, and reads
//! every byte that has a checksum. Invariant: nothing on the disk changes. What
//! is torn and what is rotten, which offsets are lost and whether a start would
//! succeed is recovery's word; no second decoder is here. Memory is that of a
//! start, and one log file's tables. Called by the binary.
//!
//! [`Overlay`]: crate::disk::overlay::Overlay

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use millrace_types::{Offset, TopicId, TopicPartition};

use crate::{
    catalog::CatalogState,
    disk::{Disk, DiskError},
    env::Env,
};

pub use crate::engine::check;

/// What is checked.
pub struct CheckRequest {
    /// Clocks, for recovery.
    pub env: Arc<dyn Env>,
    /// The data directory.
    pub disk: Arc<dyn Disk>,
    /// Its catalog, which passed a check of its own.
    pub catalog: CatalogState,
    /// Only this file is read, where one is named.
    pub only: Option<String>,
}

/// How far a check is, for those who watch it.
#[derive(Debug, Default)]
pub struct CheckProgress {
    total: AtomicU64,
    done: AtomicU64,
}

impl CheckProgress {
    /// Bytes to be read, and those that were.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    pub(crate) fn expect(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Log files, companions and checkpoints.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames whose both tables were read.
    pub frames: u64,
    /// Batches whose bytes were read.
    pub batches: u64,
    /// What is wrong.
    pub findings: u64,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// Where in it.
    pub byte: u64,
    /// What kind of thing.
    pub kind: FindingKind,
    /// What exactly.
    pub detail: String,
    /// How many bytes are concerned, where it is frames.
    pub bytes: u64,
    /// Offsets that cannot be read for it.
    pub lost: Vec<LostOffsets>,
}

/// Offsets of a partition that are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostOffsets {
    /// The partition.
    pub partition: TopicPartition,
    /// The first that is lost.
    pub first: Offset,
    /// One past the last; `None` where nobody knows, and the partition takes
    /// no records for that.
    pub end: Option<Offset>,
}

/// The kinds of [`Finding`], by what can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingKind {
    /// A start refuses the directory.
    Start,
    /// The directory is a part of a backup.
    Backup,
    /// Batches that readers ask for: `millrace repair` gives them up.
    Batch,
    /// Batches that nobody can ask for any more: deleted, or given up.
    DeadBatch,
    /// Frames are gone, both their tables rotten: `millrace repair` gives them
    /// up.
    Frames,
    /// One of a frame's two tables, or a file's header, which something else
    /// stands in for.
    Spare,
    /// A footer: what readers find the file's batches by. It is made again from
    /// what else the file holds; what cannot be is lost.
    Footer,
    /// Footer and frames say different things.
    Index,
    /// A checkpoint.
    Checkpoint,
    /// Offsets that the log knows to be lost, from an earlier start.
    Lost,
    /// Records of a topic that the catalog does not know.
    Topic,
}

/// Why nothing could be checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A topic of which the log has records and the catalog has no row.
pub(crate) fn unknown_topic(topic: TopicId) -> Finding {
    Finding {
        file: crate::catalog::sqlite::FILE.to_owned(),
        byte: 0,
        kind: FindingKind::Topic,
        detail: format!("the log has records of topic id {topic}, which the catalog does not know"),
        bytes: 0,
        lost: Vec::new(),
    }
}
