//! The log's files: their names, their handles, and what of them still lives.
//!
//! A file is named by its id: `00000000000000000042.wal` (frames in arrival
//! order), `.sorted` (extents rewritten by partition), `.companion` (the
//! footer of a log file whose writer died before it could write it). The
//! `checkpoint-42`s beside them are counted by themselves.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use millrace_log::frame::FileKind;
use millrace_types::{FileId, Incarnation, Lsn};
use parking_lot::{Mutex, RwLock};

use super::footers::Tables;
use crate::disk::DiskFile;

/// One file that holds extents.
pub(super) struct LogFile {
    pub(super) id: FileId,
    pub(super) kind: FileKind,
    pub(super) name: String,
    pub(super) handle: Arc<dyn DiskFile>,
    /// The life that wrote it.
    incarnation: AtomicU64,
    first_lsn: AtomicU64,
    last_lsn: AtomicU64,
    /// Where its frames end; grows while it is written.
    data_end: AtomicU64,
    /// Bytes that a returned sync covers.
    synced_to: AtomicU64,
    /// Bytes that the disk has allocated to it.
    reserved: AtomicU64,
    /// It has its footer, and takes nothing more.
    sealed: AtomicBool,
    /// Its footer stands in a companion.
    companion: AtomicBool,
    /// A rewritten file took its place: it stays for a kept checkpoint only.
    superseded: AtomicBool,
    /// Bytes of extents that a reader can still ask for.
    live: AtomicU64,
    /// Bytes of all its extents; [`UNKNOWN`] where only its footer tells.
    payload: AtomicU64,
    /// Its footer as the rest of it says, where that is rotten; held while it is
    /// made.
    pub(super) made_again: Mutex<Option<Arc<Tables>>>,
}

const UNKNOWN: u64 = u64::MAX;

/// What the bytes of log files are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bytes {
    /// Batches that a reader can still ask for.
    pub(super) live: u64,
    /// Batches that none can.
    pub(super) dead: u64,
    /// Tables, footers, and what fills blocks.
    pub(super) padding: u64,
    /// Allocated ahead.
    pub(super) reserved: u64,
}

impl LogFile {
    pub(super) fn new(id: FileId, kind: FileKind, handle: Arc<dyn DiskFile>) -> Self {
        Self {
            id,
            kind,
            name: name(id, kind),
            handle,
            incarnation: AtomicU64::new(0),
            first_lsn: AtomicU64::new(0),
            last_lsn: AtomicU64::new(0),
            data_end: AtomicU64::new(0),
            synced_to: AtomicU64::new(0),
            reserved: AtomicU64::new(0),
            sealed: AtomicBool::new(false),
            companion: AtomicBool::new(false),
            superseded: AtomicBool::new(false),
            live: AtomicU64::new(0),
            payload: AtomicU64::new(UNKNOWN),
            made_again: Mutex::default(),
        }
    }

    pub(super) fn set_incarnation(&self, incarnation: Incarnation) {
        self.incarnation.store(incarnation.get(), Ordering::Release);
    }

    pub(super) fn incarnation(&self) -> Incarnation {
        Incarnation(self.incarnation.load(Ordering::Acquire))
    }

    /// The file takes frames from `first` on.
    pub(super) fn start(&self, first: Lsn) {
        self.first_lsn.store(first.get(), Ordering::Release);
    }

    pub(super) fn first_lsn(&self) -> Lsn {
        Lsn(self.first_lsn.load(Ordering::Acquire))
    }

    pub(super) fn last_lsn(&self) -> Lsn {
        Lsn(self.last_lsn.load(Ordering::Acquire))
    }

    /// Frames up to `last` are written; they end at byte `end`.
    pub(super) fn set_data_end(&self, end: u64, last: Lsn) {
        self.data_end.store(end, Ordering::Release);
        self.last_lsn.store(last.get(), Ordering::Release);
    }

    pub(super) fn data_end(&self) -> u64 {
        self.data_end.load(Ordering::Acquire)
    }

    pub(super) fn set_synced_to(&self, position: u64) {
        // Writer, syncer and maintenance all sync.
        self.synced_to.fetch_max(position, Ordering::AcqRel);
    }

    pub(super) fn synced_to(&self) -> u64 {
        self.synced_to.load(Ordering::Acquire)
    }

    /// Bytes of frames that no returned sync covers.
    pub(super) fn unsynced(&self) -> u64 {
        self.data_end().saturating_sub(self.synced_to())
    }

    pub(super) fn reserve(&self, bytes: u64) {
        self.reserved.store(bytes, Ordering::Release);
    }

    pub(super) fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Acquire)
    }

    /// The file has its footer and is `length` bytes long.
    pub(super) fn seal(&self, length: u64) {
        self.reserve(length);
        self.sealed.store(true, Ordering::Release);
    }

    pub(super) fn set_companion(&self) {
        self.companion.store(true, Ordering::Release);
    }

    pub(super) fn has_companion(&self) -> bool {
        self.companion.load(Ordering::Acquire)
    }

    pub(super) fn supersede(&self) {
        self.superseded.store(true, Ordering::Release);
    }

    pub(super) fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Acquire)
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    pub(super) fn add_live(&self, bytes: u64) {
        self.live.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn remove_live(&self, bytes: u64) {
        // Saturating: dead bytes of a file are counted once, by trimming.
        let less = |live: u64| Some(live.saturating_sub(bytes));
        let _before = self.live.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// More extents of so many bytes are in it.
    pub(super) fn add_payload(&self, bytes: u64) {
        let more = |known: u64| Some(if known == UNKNOWN { bytes } else { known + bytes });
        let _before = self.payload.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Whether only its footer tells how many bytes of extents are in it.
    pub(super) fn lacks_payload(&self) -> bool {
        self.is_sealed() && self.payload.load(Ordering::Relaxed) == UNKNOWN
    }

    /// What its bytes are. Of one whose payload is not known, all that is not
    /// live counts as dead.
    pub(super) fn bytes(&self) -> Bytes {
        let reserved = self.reserved();
        let written = if self.is_sealed() { reserved } else { self.data_end() };
        let live = self.live().min(written);
        let payload = match self.payload.load(Ordering::Relaxed) {
            UNKNOWN if self.is_sealed() => written,
            UNKNOWN => 0,
            payload => payload.min(written),
        };
        Bytes {
            live,
            dead: payload.saturating_sub(live),
            padding: written - payload.max(live),
            reserved: reserved.saturating_sub(written),
        }
    }

    pub(super) fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }
}

/// The name of file `id`.
pub(crate) fn name(id: FileId, kind: FileKind) -> String {
    let ending = match kind {
        FileKind::Wal => "wal",
        FileKind::Sorted => "sorted",
        FileKind::Companion => "companion",
    };
    format!("{:020}.{ending}", id.get())
}

/// The id and kind that a name says, for names that are the log's.
pub(super) fn parse_name(name: &str) -> Option<(FileId, FileKind)> {
    let (digits, ending) = name.split_once('.')?;
    let kind = match ending {
        "wal" => FileKind::Wal,
        "sorted" => FileKind::Sorted,
        "companion" => FileKind::Companion,
        _ => return None,
    };
    let all_digits = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| digits.parse().ok()).flatten().map(|id| (FileId(id), kind))
}

/// The name of checkpoint `number`.
pub(crate) fn checkpoint_name(number: u64) -> String {
    format!("{CHECKPOINT}{number}")
}

/// The number that a checkpoint's name says.
pub(super) fn checkpoint_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(CHECKPOINT)?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

const CHECKPOINT: &str = "checkpoint-";

/// Every file that holds extents, by id.
#[derive(Default)]
pub(super) struct Files {
    by_id: RwLock<BTreeMap<FileId, Arc<LogFile>>>,
}

impl Files {
    pub(super) fn insert(&self, file: Arc<LogFile>) {
        self.by_id.write().insert(file.id, file);
    }

    pub(super) fn get(&self, id: FileId) -> Option<Arc<LogFile>> {
        self.by_id.read().get(&id).cloned()
    }

    pub(super) fn remove(&self, id: FileId) -> Option<Arc<LogFile>> {
        self.by_id.write().remove(&id)
    }

    pub(super) fn all(&self) -> Vec<Arc<LogFile>> {
        self.by_id.read().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk as _, Mode};

    #[test]
    fn bytes_are_told_apart_as_a_file_is_written_sealed_and_dies() {
        let disk = crate::disk::memory::MemDisk::new(1);
        let handle = disk.create("f", Mode::Direct).unwrap();
        let file = LogFile::new(FileId(1), FileKind::Wal, handle);
        file.reserve(100);
        assert_eq!(file.bytes(), Bytes { reserved: 100, ..Bytes::default() });
        file.set_data_end(40, Lsn(1));
        file.add_payload(30);
        file.add_live(30);
        assert_eq!(file.bytes(), Bytes { live: 30, dead: 0, padding: 10, reserved: 60 });
        file.remove_live(25);
        file.seal(50);
        assert_eq!(file.bytes(), Bytes { live: 5, dead: 25, padding: 20, reserved: 0 });
        assert!(!file.lacks_payload());
    }

    #[test]
    fn a_file_of_a_checkpoint_learns_its_payload_later() {
        let disk = crate::disk::memory::MemDisk::new(1);
        let handle = disk.create("f", Mode::Direct).unwrap();
        let file = LogFile::new(FileId(1), FileKind::Wal, handle);
        file.seal(50);
        file.add_live(5);
        assert!(file.lacks_payload());
        assert_eq!(file.bytes(), Bytes { live: 5, dead: 45, padding: 0, reserved: 0 });
        file.add_payload(30);
        assert_eq!(file.bytes(), Bytes { live: 5, dead: 25, padding: 20, reserved: 0 });
    }

    #[test]
    fn names_and_ids_are_each_others_inverse() {
        let written = name(FileId(42), FileKind::Sorted);
        assert_eq!(written, "00000000000000000042.sorted");
        assert_eq!(parse_name(&written), Some((FileId(42), FileKind::Sorted)));
    }

    #[test]
    fn checkpoints_are_counted() {
        assert_eq!(checkpoint_number(&checkpoint_name(42)), Some(42));
        for other in ["checkpoint-", "checkpoint-4.new", "checkpoint-+4", "42.wal"] {
            assert_eq!(checkpoint_number(other), None, "{other}");
        }
    }

    #[test]
    fn other_names_are_not_the_logs() {
        for other in ["catalog.sqlite", "42.wal", "0000000000000000004x.wal", "checkpoint-1"] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }
}
