//! What goes on behind the log writer: allocating space ahead of it, making
//! the next file ready.
//!
//! One thread runs it. Invariant: an append is admitted only into space that
//! is allocated already, so that a full disk refuses it before it has an
//! offset, and never fails a write.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use millrace_log::frame::{FileHeader, FileKind};
use millrace_types::{FileId, Lsn};

use super::{Engine, Gathering, TryAppendError, files, files::LogFile, writer::Finished};
use crate::disk::{DiskError, DiskErrorKind, Mode};

/// Allocation grows with the log: a new one takes little, a busy one asks
/// seldom. Large allocations stall on fragmented file systems.
const STEPS: [u64; 4] = [4 << 20, 16 << 20, 64 << 20, 256 << 20];
/// What is allocated to the first file of an incarnation, which begins with
/// `bytes` of records.
pub(super) fn first_size(bytes: u64) -> u64 {
    (bytes + super::INTERNAL_BYTES * 2).next_multiple_of(STEPS[0])
}

/// How often maintenance looks around when nobody asks.
const EVERY: Duration = Duration::from_secs(1);

/// What maintenance was asked for.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Bytes that the present file should have allocated.
    grow_to: u64,
    /// Something else is worth a look.
    look: bool,
    stopping: bool,
}

impl Engine {
    /// Asks for the present file to have at least `bytes` allocated.
    pub(super) fn ask_to_grow(&self, bytes: u64) {
        let mut requests = self.requests.lock();
        if requests.grow_to < bytes {
            requests.grow_to = bytes;
            self.requested.notify_one();
        }
    }

    pub(super) fn ask_for_maintenance(&self) {
        self.requests.lock().look = true;
        self.requested.notify_one();
    }

    /// Runs maintenance until the engine ends or stops. Blocks; give it a
    /// thread of its own.
    pub fn run_maintenance(&self) {
        loop {
            let stopping = {
                let mut requests = self.requests.lock();
                let idle = requests.grow_to == 0 && !requests.look && !requests.stopping;
                if idle && !self.is_ended() {
                    self.requested.wait_for(&mut requests, EVERY);
                }
                requests.look = false;
                requests.stopping
            };
            if stopping || self.is_ended() {
                return;
            }
            self.maintain_step();
        }
    }

    /// Does what is due now.
    pub fn maintain_step(&self) {
        let grow_to = std::mem::take(&mut self.requests.lock().grow_to);
        let exhausted = self.stats.space_exhausted.load(Ordering::Acquire);
        if grow_to > 0 || exhausted {
            self.report_space(self.grow(grow_to));
        }
        if self.gather.lock().next.is_none() {
            self.report_space(self.prepare_next());
        }
    }

    /// Ends [`Self::run_maintenance`].
    pub fn stop_maintenance(&self) {
        self.requests.lock().stopping = true;
        self.requested.notify_all();
    }

    fn report_space(&self, result: Result<(), DiskError>) {
        match result {
            Ok(()) => {
                if self.stats.space_exhausted.swap(false, Ordering::AcqRel) {
                    tracing::info!("the disk has space again: produce resumes");
                }
            }
            Err(error) if error.kind == DiskErrorKind::Full => {
                if !self.stats.space_exhausted.swap(true, Ordering::AcqRel) {
                    tracing::error!(%error,
                        "the disk is full: produce is refused until space is free");
                }
            }
            Err(error) => self.end(&error),
        }
        self.room.notify_waiters();
    }

    /// Allocates the present file up to `wanted`, and by a whole step.
    fn grow(&self, wanted: u64) -> Result<(), DiskError> {
        let file = Arc::clone(self.gather.lock().gather.file());
        let reserved = file.reserved();
        let wanted = wanted.max(self.gather.lock().gather.end_with(0) + super::INTERNAL_BYTES * 2);
        if wanted <= reserved {
            return Ok(());
        }
        let step = STEPS
            .into_iter()
            .find(|step| *step > reserved && *step >= wanted)
            .unwrap_or(wanted.next_multiple_of(STEPS[0]));
        let aim = step.min(self.options.file_bytes.max(wanted).next_multiple_of(STEPS[0]));
        match file.handle.preallocate(reserved, aim - reserved) {
            Err(error) if error.kind == DiskErrorKind::Full && aim > wanted => {
                // Less than a step may still fit.
                file.handle.preallocate(reserved, wanted - reserved)?;
                file.reserve(wanted);
                Ok(())
            }
            Err(error) => Err(error),
            Ok(()) => {
                file.reserve(aim);
                Ok(())
            }
        }
    }

    /// Creates and allocates the file that follows the present one.
    pub(super) fn prepare_next(&self) -> Result<(), DiskError> {
        let present = self.gather.lock().gather.file().reserved();
        let file = self.create_file()?;
        // A log that filled a whole file will fill the next one.
        let full = present >= self.options.file_bytes.max(STEPS[0]);
        let size = if full { self.options.file_bytes.max(STEPS[0]) } else { STEPS[0] };
        let allocated = file.handle.preallocate(0, size).map(|()| size).or_else(|error| {
            file.handle.preallocate(0, STEPS[0]).map(|()| STEPS[0]).map_err(|_| error)
        });
        let size = match allocated {
            Ok(size) => size,
            Err(error) => {
                // An empty file is no use; what cannot be removed is removed
                // at the next start.
                if let Err(error) = self.disk.unlink(&file.name) {
                    tracing::warn!(%error, "an unused log file stays until the next start");
                }
                return Err(error);
            }
        };
        file.reserve(size);
        self.disk.sync_directory()?;
        self.gather.lock().next = Some(Arc::new(file));
        self.room.notify_waiters();
        Ok(())
    }

    /// Creates an empty log file under an id that was never used.
    pub(super) fn create_file(&self) -> Result<LogFile, DiskError> {
        let id = FileId(self.next_file.fetch_add(1, Ordering::Relaxed));
        let name = files::name(id, FileKind::Wal);
        let handle = self.disk.create(&name, Mode::Direct)?;
        Ok(LogFile::new(id, FileKind::Wal, handle))
    }

    /// The header of a file whose first frame is `first_lsn`.
    pub(super) fn file_header(&self, file: &LogFile, first_lsn: Lsn) -> FileHeader {
        FileHeader {
            kind: FileKind::Wal,
            log_id: self.log_id,
            incarnation: self.incarnation,
            file: file.id,
            first_lsn,
            created: self.env.wall(),
        }
    }

    /// Goes on in the next file: the present one is done.
    pub(super) fn next_file(&self, gathering: &mut Gathering) -> Result<(), TryAppendError> {
        let Some(next) = gathering.next.take() else {
            self.ask_for_maintenance();
            if self.stats.space_exhausted.load(Ordering::Acquire) {
                return Err(super::AppendError::StorageFull.into());
            }
            return Err(TryAppendError::Behind);
        };
        let lsn = gathering.gather.lsn();
        next.start(lsn);
        let header = self.file_header(&next, lsn);
        let data_end = gathering.gather.position();
        self.files.insert(Arc::clone(&next));
        let old = Arc::clone(gathering.gather.file());
        let extents = gathering.gather.switch(next, header);
        gathering.finished.push(Finished {
            file: old,
            extents,
            last_lsn: Lsn(lsn.get() - 1),
            data_end,
        });
        self.ask_for_maintenance();
        Ok(())
    }
}
