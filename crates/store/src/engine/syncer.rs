//! Syncs of log files: what was written becomes durable.
//!
//! With `flush=fsync` the log writer calls them, one for each commit. With
//! `flush=os` an acknowledgement waits for the write alone, and a thread of
//! its own syncs behind it, so that no commit waits while megabytes go to the
//! disk.
//!
//! Invariant: after a sync that failed none counts any more. The operating
//! system tells of a failed writeback once, to whoever asks first, and a later
//! sync of the same file succeeds without the bytes.

use std::{sync::Arc, time::Duration};

use millrace_types::canary;

use super::{Engine, Flush, IoCall, Thread, files::LogFile};
use crate::{disk::DiskError, env::lock_over_io};

/// So many unsynced bytes are worth a sync behind the writer. Few, since the
/// end of a file is synced with the writer waiting.
const WORTH_A_SYNC: u64 = 4 << 20;
/// And this long nothing stays unsynced.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// The writer itself waits for a sync from here on: the disk is slower than
/// the writes.
const UNSYNCED_MAX: u64 = 64 << 20;

impl Engine {
    /// Makes durable what is written of `file`.
    pub(super) fn sync(&self, file: &LogFile) -> Result<(), DiskError> {
        let mut failed = lock_over_io(&*self.env, &self.sync_failed);
        if let Some(error) = &*failed {
            return Err(error.clone());
        }
        let end = file.data_end();
        let started = self.env.monotonic();
        if !canary!(NoFsync) {
            let sync = || file.handle.sync();
            let synced = self.pending_io.during(IoCall::Flush, started, sync);
            synced.inspect_err(|error| *failed = Some(error.clone()))?;
        }
        self.stats.flushed(self.env.monotonic().saturating_sub(started));
        file.set_synced_to(end);
        let mut gathering = self.gather.lock();
        if gathering.gather.file().id == file.id {
            gathering.gather.synced_to = file.synced_to();
        }
        Ok(())
    }

    /// With `flush=os`: syncs behind the log writer until the engine ends or
    /// stops; returns at once otherwise. Blocks; give it a thread of its own.
    pub fn run_syncer(&self) {
        if self.options.flush != Flush::Os {
            return;
        }
        let _thread = Thread(self);
        loop {
            self.unsynced.wait(SYNC_EVERY);
            let file = {
                let gathering = self.gather.lock();
                if gathering.ended || gathering.stopping {
                    return;
                }
                Arc::clone(gathering.gather.file())
            };
            if file.unsynced() > 0
                && let Err(error) = self.sync(&file)
            {
                return self.end(&error);
            }
        }
    }

    /// With `flush=os`: frames of `file` were written. Has them synced, soon
    /// or, where too much waits for it, now.
    pub(super) fn sync_behind(&self, file: &LogFile) -> Result<(), DiskError> {
        let unsynced = file.unsynced();
        // A start takes into memory what is not synced, all at once.
        let memory = self.cache.pool().usage().capacity as u64;
        if unsynced >= UNSYNCED_MAX.min(memory / 4) {
            return self.sync(file);
        }
        if unsynced >= WORTH_A_SYNC {
            self.unsynced.ring();
        }
        Ok(())
    }
}
