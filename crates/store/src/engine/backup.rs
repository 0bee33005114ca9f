//! What a backup takes of a log that is being written: the files of one moment,
//! which never change again.
//!
//! Order: a checkpoint; then the present file is sealed and the log goes on in
//! the next; then the checkpoint, the files that it lists and all younger ones,
//! and skip files that a start still needs, are linked, or held open to be copied. The checkpoint's states may be ahead
//! of the files that it covers, never of the one that is sealed behind it.
//! Invariant: maintenance waits until all of them are linked or open, so that
//! none is unlinked before; produce waits for nothing.

use std::sync::{Arc, atomic::Ordering};

use millrace_log::{
    backup::{Manifest, ManifestEntry, ManifestKind},
    frame::FileKind,
};
use millrace_types::canary;

use super::{
    Class, Engine,
    checkpoint::Kept,
    files::{self, LogFile},
    maintain::Housekeeping,
    restore, skip,
    writer::WriterState,
};
use crate::{
    BLOCK,
    backup::{BackupError, Item},
    disk::{Access, DiskCopy, DiskError, Mode},
    env::lock_over_io,
};

/// What a backup is made of: its files, and its manifest but for the catalog.
pub(crate) struct Moment {
    pub(crate) items: Vec<Item>,
    pub(crate) manifest: Manifest,
}

impl Engine {
    /// Takes the log as it is now: all that is durable before the call, and
    /// whole batches of what comes meanwhile. What can be linked into `target`
    /// is linked. Blocks.
    pub(crate) fn take_moment(&self, target: &dyn DiskCopy) -> Result<Moment, BackupError> {
        self.housekeeping_wanted.fetch_add(1, Ordering::AcqRel);
        let mut house = lock_over_io(&*self.env, &self.housekeeping);
        self.housekeeping_wanted.fetch_sub(1, Ordering::AcqRel);
        if self.is_ended() {
            return Err(BackupError::Ended);
        }
        let time = self.env.wall();
        if canary!(BackupSealsFirst) {
            self.roll(&mut house)?;
        }
        self.try_checkpoint(&mut house).map_err(BackupError::Source)?;
        if !canary!(BackupSealsFirst) {
            self.roll(&mut house)?;
        }
        let Some(kept) = house.checkpoints.kept.last().cloned() else {
            return Err(BackupError::Ended);
        };
        let mut taken = Vec::new();
        self.take_checkpoint(&kept, target, &mut taken)?;
        let mut last_lsn = kept.lsn;
        for file in self.files.all() {
            let listed = kept.files.contains(&file.id);
            let younger = file.kind == FileKind::Wal && file.last_lsn() > kept.lsn;
            if file.is_sealed() && (listed || younger) {
                last_lsn = last_lsn.max(file.last_lsn());
                self.take_file(&file, target, &mut taken)?;
            }
        }
        // Where the server's own records are what rotted: a start needs them.
        for name in self.disk.list().map_err(BackupError::Source)? {
            if let Some(number) = skip::number(&name) {
                taken.push(self.take(&name, (ManifestKind::Skips, number), target)?);
            }
        }
        let (items, entries) = taken.into_iter().unzip();
        let (log_id, incarnation) = (self.log_id, self.incarnation);
        Ok(Moment { items, manifest: Manifest { log_id, incarnation, last_lsn, time, entries } })
    }

    /// Seals the present file, if there is anything in it, and goes on in the
    /// next.
    fn roll(&self, house: &mut Housekeeping) -> Result<(), BackupError> {
        loop {
            let mut held = self.gather.lock();
            let gathering = &mut *held;
            if gathering.ended {
                return Err(BackupError::Ended);
            }
            if gathering.gather.is_empty() && gathering.gather.position() == BLOCK as u64 {
                return Ok(());
            }
            if gathering.next.is_none() {
                drop(held);
                self.with_reserve(house, |_| self.prepare_next()).map_err(BackupError::Source)?;
                // An append may be quicker, and go on there.
                continue;
            }
            if !gathering.gather.is_empty() && self.seal(gathering).is_err() {
                // Room for the tables was made with the payload's.
                unreachable!("a frame with extents has room for its tables");
            }
            let old = Arc::clone(gathering.gather.file());
            if self.next_file(gathering, Class::Internal).is_err() {
                unreachable!("the next file was there");
            }
            drop(held);
            return self.write_out(&old);
        }
    }

    /// Writes what is gathered, and with it the footer of `file`.
    fn write_out(&self, file: &LogFile) -> Result<(), BackupError> {
        self.write_step(&mut WriterState::default());
        if file.is_sealed() { Ok(()) } else { Err(BackupError::Ended) }
    }

    /// The checkpoint, once it is known to read back.
    fn take_checkpoint(
        &self,
        kept: &Kept,
        target: &dyn DiskCopy,
        taken: &mut Vec<(Item, ManifestEntry)>,
    ) -> Result<(), BackupError> {
        let name = files::checkpoint_name(kept.number);
        match restore::read(&*self.disk, &name, &self.log_id) {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                return Err(BackupError::Checkpoint { name, detail: error.to_string() });
            }
            Err(error) => return Err(BackupError::Checkpoint { name, detail: error.to_string() }),
        }
        let kind = ManifestKind::Checkpoint;
        taken.push(self.take(&name, (kind, kept.number), target)?);
        Ok(())
    }

    fn take_file(
        &self,
        file: &LogFile,
        target: &dyn DiskCopy,
        taken: &mut Vec<(Item, ManifestEntry)>,
    ) -> Result<(), BackupError> {
        let kind = match file.kind {
            FileKind::Wal => ManifestKind::Wal,
            FileKind::Sorted => ManifestKind::Sorted,
            FileKind::Companion => ManifestKind::Companion,
        };
        taken.push(self.take(&file.name, (kind, file.id.get()), target)?);
        if file.has_companion() {
            let name = files::name(file.id, FileKind::Companion);
            taken.push(self.take(&name, (ManifestKind::Companion, file.id.get()), target)?);
        }
        Ok(())
    }

    fn take(
        &self,
        name: &str,
        (kind, number): (ManifestKind, u64),
        target: &dyn DiskCopy,
    ) -> Result<(Item, ManifestEntry), BackupError> {
        let source = |error: DiskError| BackupError::Source(error);
        let handle = self.disk.open(name, Access::Read, Mode::Direct).map_err(source)?;
        let len = handle.length().map_err(source)?;
        let linked = target.link_here(name).map_err(BackupError::Target)?;
        let item = Item { name: name.to_owned(), len, handle: (!linked).then_some(handle) };
        Ok((item, ManifestEntry { kind, number, len }))
    }
}
