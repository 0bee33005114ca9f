//! Backups: a copy of the data directory while its server runs, and what a
//! start makes of one.
//!
//! [`Backup::begin`] takes the log as it is at one moment: log files are
//! immutable once they are sealed, so they are linked, or copied where the
//! target lies on another file system. [`Backup::finish`] copies the rest, adds
//! the catalog, and writes the manifest last. [`admit`] is a start's: it refuses
//! a backup that was never finished or is not whole. Called by the broker.
//!
//! Invariants: nothing but new names in the target is written, and nothing else
//! is removed when a backup fails; a backup has its manifest only once all of it
//! is durable; incarnations of a copy begin [`INCARNATIONS_SKIPPED`] above the
//! original's, so that its producer ids, file headers and frames are never those
//! of the original's later life.

use std::{
    io::IoSlice,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use millrace_log::{
    backup::{Manifest, ManifestEntry, ManifestError, ManifestKind},
    frame::FileKind,
};
use millrace_types::{ErrorKind, FileId};

use crate::{
    BLOCK,
    aligned::AlignedBuffer,
    catalog::{self, CatalogError},
    disk::{Access, Disk, DiskCopy, DiskError, DiskErrorKind, File, Mode},
    engine::{Engine, checkpoint_name, is_of_log, log_file_name, skips_name},
};

/// How much higher the incarnations of a copy begin.
pub const INCARNATIONS_SKIPPED: u64 = 1 << 20;
/// The file that says what a backup is made of; there once it is whole.
pub const MANIFEST: &str = "backup.manifest";
/// The empty file that a backup has while it is made.
pub const UNFINISHED: &str = "backup.unfinished";
/// The manifest while it is written.
const MANIFEST_NEW: &str = "backup.manifest.new";
/// Bytes that are copied at once.
const CHUNK: usize = 1 << 20;

/// Why a backup was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// The data directory can't be read, or a checkpoint not be written.
    #[error("the data directory cannot be copied: {0}")]
    Source(DiskError),
    /// The target can't be written.
    #[error("the backup cannot be written: {0}")]
    Target(DiskError),
    /// The checkpoint reads back otherwise than it was written.
    #[error("{name} was written for the backup and does not read back: {detail}; check the disk")]
    Checkpoint {
        /// The file.
        name: String,
        /// What was found.
        detail: String,
    },
    /// The catalog can't be copied.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The incarnation is over.
    #[error("the log is being recovered after a failed write; try again in a moment")]
    Ended,
    /// Another backup is being made.
    #[error("another backup is being made; wait for its end")]
    Busy,
    /// Whoever asked for it went away.
    #[error("the backup was given up: whoever asked for it went away")]
    Stopped,
}

impl BackupError {
    /// What the caller can do about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Source(error) | Self::Target(error) => error.kind(),
            Self::Checkpoint { .. } => ErrorKind::Corrupt,
            Self::Catalog(error) => error.kind(),
            Self::Ended | Self::Stopped => ErrorKind::Unavailable,
            Self::Busy => ErrorKind::Conflict,
        }
    }
}

/// How far a backup is, for those who watch it; and how they stop it.
#[derive(Debug, Default)]
pub struct BackupProgress {
    files_total: AtomicU64,
    files: AtomicU64,
    bytes_total: AtomicU64,
    bytes: AtomicU64,
    linked: AtomicU64,
    stopped: AtomicBool,
}

/// Figures of a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupFigures {
    /// Files in all; 0 while that is not known.
    pub files_total: u64,
    /// Files that are there.
    pub files: u64,
    /// Bytes of all files.
    pub bytes_total: u64,
    /// Bytes that are there.
    pub bytes: u64,
    /// Files that were linked: their bytes were not copied.
    pub linked: u64,
}

impl BackupProgress {
    /// The figures now.
    #[must_use]
    pub fn figures(&self) -> BackupFigures {
        let get = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        BackupFigures {
            files_total: get(&self.files_total),
            files: get(&self.files),
            bytes_total: get(&self.bytes_total),
            bytes: get(&self.bytes),
            linked: get(&self.linked),
        }
    }

    /// Gives the backup up at the next opportunity.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> Result<(), BackupError> {
        if self.stopped.load(Ordering::Relaxed) { Err(BackupError::Stopped) } else { Ok(()) }
    }

    fn count(&self, items: &[Item]) {
        for item in items {
            self.files_total.fetch_add(1, Ordering::Relaxed);
            self.bytes_total.fetch_add(item.len, Ordering::Relaxed);
            if item.handle.is_none() {
                self.linked.fetch_add(1, Ordering::Relaxed);
                self.files.fetch_add(1, Ordering::Relaxed);
                self.bytes.fetch_add(item.len, Ordering::Relaxed);
            }
        }
    }
}

/// One file of a backup.
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) len: u64,
    /// Where its bytes are; `None` once they are in the target.
    pub(crate) handle: Option<File>,
}

/// A backup that was begun: the log's part of it is settled.
#[must_use = "a backup is worth something once it is finished"]
pub struct Backup {
    target: Target,
    items: Vec<Item>,
    manifest: Manifest,
    progress: Arc<BackupProgress>,
}

impl Backup {
    /// Takes the log as it is now for a backup in the directory `path`, which
    /// is absent or empty. Files that can be linked are. Blocks; short but for
    /// a checkpoint.
    ///
    /// # Errors
    /// See [`BackupError`]. What was made is removed again, as far as it can
    /// be.
    pub fn begin(
        engine: &Engine,
        path: &Path,
        progress: Arc<BackupProgress>,
    ) -> Result<Self, BackupError> {
        let disk = engine.disk().copy_to(path).map_err(BackupError::Target)?;
        let mut target = Target { disk, made: Vec::new(), done: false };
        target.create(UNFINISHED, &[])?;
        target.sync_directory()?;
        let moment = engine.take_moment(&*target.disk)?;
        progress.count(&moment.items);
        progress.check()?;
        Ok(Self { target, items: moment.items, manifest: moment.manifest, progress })
    }

    /// Copies what could not be linked, adds the bytes of the catalog, and
    /// writes the manifest. Blocks, as long as that takes; the server goes on.
    ///
    /// # Errors
    /// See [`BackupError`]. What was made is removed again, as far as it can
    /// be.
    pub fn finish(mut self, catalog: &[u8]) -> Result<BackupFigures, BackupError> {
        for item in &mut self.items {
            if let Some(handle) = item.handle.take() {
                self.target.copy(item, &*handle, &self.progress)?;
                self.progress.files.fetch_add(1, Ordering::Relaxed);
            }
        }
        if !millrace_types::canary!(BackupWithoutCatalog) {
            self.target.create(catalog::sqlite::FILE, catalog)?;
        }
        let len = catalog.len() as u64;
        let entry = ManifestEntry { kind: ManifestKind::Catalog, number: 0, len };
        self.manifest.entries.push(entry);
        self.target.sync_directory()?;
        self.target.create(MANIFEST_NEW, &self.manifest.encode())?;
        self.progress.check()?;
        self.target.publish()?;
        let progress = &self.progress;
        for figure in [&progress.files, &progress.files_total] {
            figure.fetch_add(1, Ordering::Relaxed);
        }
        for figure in [&progress.bytes, &progress.bytes_total] {
            figure.fetch_add(len, Ordering::Relaxed);
        }
        Ok(progress.figures())
    }
}

/// The directory of a backup, and what was made in it.
struct Target {
    disk: Arc<dyn DiskCopy>,
    made: Vec<String>,
    done: bool,
}

impl Target {
    /// Writes a small file, durable but for its name.
    fn create(&mut self, name: &str, bytes: &[u8]) -> Result<(), BackupError> {
        let file = self.disk.create(name, Mode::Buffered).map_err(BackupError::Target)?;
        self.made.push(name.to_owned());
        let written = file.write_at(0, &[IoSlice::new(bytes)]).and_then(|()| file.sync());
        written.map_err(BackupError::Target)
    }

    fn sync_directory(&self) -> Result<(), BackupError> {
        self.disk.sync_directory().map_err(BackupError::Target)
    }

    /// Copies one file, durable but for its name.
    fn copy(
        &mut self,
        item: &Item,
        from: &dyn crate::disk::DiskFile,
        progress: &BackupProgress,
    ) -> Result<(), BackupError> {
        let to = self.disk.create(&item.name, Mode::Direct).map_err(BackupError::Target)?;
        self.made.push(item.name.clone());
        let mut buffer = AlignedBuffer::zeroed(CHUNK);
        let mut at = 0;
        while at < item.len {
            progress.check()?;
            let left = usize::try_from(item.len - at).unwrap_or(CHUNK).min(CHUNK);
            let wanted = left.next_multiple_of(BLOCK);
            let Some(piece) = buffer.get_mut(..wanted) else { break };
            let read = from.read_at(at, piece).map_err(BackupError::Source)?;
            if read < left {
                return Err(BackupError::Source(cut_short(&item.name, at + read as u64)));
            }
            to.write_at(at, &[IoSlice::new(piece)]).map_err(BackupError::Target)?;
            at += left as u64;
            progress.bytes.fetch_add(left as u64, Ordering::Relaxed);
        }
        let finished = to.set_length(item.len).and_then(|()| to.sync());
        finished.map_err(BackupError::Target)
    }

    /// The backup is whole from here on.
    fn publish(&mut self) -> Result<(), BackupError> {
        self.disk.rename(MANIFEST_NEW, MANIFEST).map_err(BackupError::Target)?;
        // Whether the name is durable is open now: it is no longer ours to
        // remove.
        self.done = true;
        self.sync_directory()?;
        self.disk.unlink(UNFINISHED).map_err(BackupError::Target)?;
        self.sync_directory()
    }
}

impl Target {
    /// Removes what was made, the mark last: what is left without it would pass
    /// for a log. Names of log files are ours, since the directory was empty.
    fn remove(&self) -> Result<(), DiskError> {
        let ours = |name: &String| is_of_log(name) || self.made.contains(name);
        for name in self.disk.list()?.iter().filter(|name| *name != UNFINISHED && ours(name)) {
            self.disk.unlink(name)?;
        }
        self.disk.sync_directory()?;
        match self.disk.unlink(UNFINISHED) {
            Err(error) if error.kind != DiskErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.done
            && let Err(error) = self.remove()
        {
            tracing::warn!(%error, "files of an unfinished backup stay; remove them");
        }
    }
}

fn cut_short(name: &str, at: u64) -> DiskError {
    DiskError {
        operation: crate::disk::Operation::Read,
        name: name.into(),
        kind: DiskErrorKind::Io,
        detail: format!("the file ends at byte {at}, before its end").into(),
    }
}

/// Why a start refuses a directory that is a backup.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It broke off.
    #[error(
        "the directory holds a backup that was never finished ({UNFINISHED} is there); \
         remove it, and take another"
    )]
    Unfinished,
    /// The manifest can't be read.
    #[error(
        "the directory is a backup whose {MANIFEST} cannot be used: {0}; copy the backup again"
    )]
    Manifest(#[from] ManifestError),
    /// A file is missing, or not whole.
    #[error(
        "the directory is a backup that is not whole: {name} {what}; copy the backup again, all of \
         it"
    )]
    NotWhole {
        /// The file.
        name: String,
        /// What is the matter with it.
        what: String,
    },
}

/// Looks whether the directory is a backup, and if so whether it is whole.
/// Changes nothing; [`forget`] takes the manifest away.
///
/// # Errors
/// See [`AdmitError`].
pub fn admit(disk: &dyn Disk) -> Result<Option<Manifest>, AdmitError> {
    let names = disk.list()?;
    let there = |name: &str| names.iter().any(|there| there == name);
    if !there(MANIFEST) {
        return if there(UNFINISHED) { Err(AdmitError::Unfinished) } else { Ok(None) };
    }
    let manifest = Manifest::decode(&read_whole(disk, MANIFEST)?)?;
    for entry in &manifest.entries {
        let name = file_name(entry);
        let not_whole = |what| AdmitError::NotWhole { name: name.clone(), what };
        if !there(&name) {
            return Err(not_whole("is missing".to_owned()));
        }
        let len = disk.open(&name, Access::Read, Mode::Buffered)?.length()?;
        if len < entry.len {
            return Err(not_whole(format!("has {len} bytes of {}", entry.len)));
        }
    }
    Ok(Some(manifest))
}

/// Takes the manifest away, once a copy begins a life of its own: what it lists
/// leaves as time goes by.
///
/// # Errors
/// What the disk says; to be tried again at the next start.
pub fn forget(disk: &dyn Disk) -> Result<(), DiskError> {
    for name in [UNFINISHED, MANIFEST] {
        match disk.unlink(name) {
            Err(error) if error.kind != DiskErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // In this order after a power cut too.
        disk.sync_directory()?;
    }
    Ok(())
}

fn read_whole(disk: &dyn Disk, name: &str) -> Result<Vec<u8>, DiskError> {
    let file = disk.open(name, Access::Read, Mode::Buffered)?;
    let len = usize::try_from(file.length()?).unwrap_or(usize::MAX);
    let mut bytes = vec![0; len];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// The name that a file of a backup has.
#[must_use]
pub fn file_name(entry: &ManifestEntry) -> String {
    let id = FileId(entry.number);
    match entry.kind {
        ManifestKind::Wal => log_file_name(id, FileKind::Wal),
        ManifestKind::Sorted => log_file_name(id, FileKind::Sorted),
        ManifestKind::Companion => log_file_name(id, FileKind::Companion),
        ManifestKind::Checkpoint => checkpoint_name(entry.number),
        ManifestKind::Catalog => catalog::sqlite::FILE.to_owned(),
        ManifestKind::Skips => skips_name(entry.number),
    }
}
