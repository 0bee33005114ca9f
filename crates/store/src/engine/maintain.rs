//! What goes on behind the log writer: allocating space ahead of it, making
//! the next file ready, then what keeps the log small: checkpoints, deletion
//! and rewriting of files, forgetting producers and index entries.
//!
//! One thread runs it, and so holds [`Housekeeping`]'s lock over I/O; nobody
//! else waits for that lock but who closes the engine. Invariant: an append is
//! admitted only into space that is allocated already, so that a full disk
//! refuses it before it has an offset, and never fails a write.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use millrace_log::frame::{FileHeader, FileKind};
use millrace_types::{FileId, Lsn};

use super::{
    Class, Engine, Gathering, Thread,
    append::TryAppendError,
    checkpoint::Checkpoints,
    files::{self, LogFile},
    reserve::Reserve,
    rewrite::Rewriting,
    scrub::Scrub,
    writer::Finished,
};
use crate::{
    disk::{DiskError, DiskErrorKind, Mode},
    env::lock_over_io,
};

/// Allocation grows with the log: a new one takes little, a busy one asks
/// seldom. Large allocations stall on fragmented file systems.
const STEPS: [u64; 4] = [4 << 20, 16 << 20, 64 << 20, 256 << 20];
/// What is allocated to the first file of an incarnation, which begins with
/// `bytes` of records.
pub(super) fn first_size(bytes: u64) -> u64 {
    (bytes + super::INTERNAL_BYTES * 2).next_multiple_of(STEPS[0])
}

/// The bytes that are asked of `file`.
fn asked_of(asked: Option<(FileId, u64)>, file: FileId) -> u64 {
    asked.filter(|(of, _)| *of == file).map_or(0, |(_, bytes)| bytes)
}

/// How often it learns what is only shown, and of how many files at once.
const LOOK_EVERY_MS: u64 = 5_000;
const LEARNED_AT_ONCE: usize = 8;
/// How often maintenance looks around when nobody asks.
const EVERY: Duration = Duration::from_secs(1);

/// What maintenance was asked for.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Bytes that this file should have allocated, while it is the present one.
    grow_to: Option<(FileId, u64)>,
    /// The server's own records want it, from the reserve if need be.
    internal: bool,
    /// The present file is half full.
    ahead: bool,
    /// Something else is worth a look.
    look: bool,
    stopping: bool,
}

/// What maintenance remembers from step to step.
#[derive(Debug, Default)]
pub(super) struct Housekeeping {
    pub(super) checkpoints: Checkpoints,
    pub(super) reserve: Reserve,
    pub(super) rewriting: Rewriting,
    pub(super) scrub: Scrub,
    /// Files may have become useless since they were last looked at.
    pub(super) changed: bool,
    /// Space came back: what waits for it may go on.
    pub(super) space_freed: bool,
    /// Long work is spread over time, between looks at what the log needs.
    pub(super) paced: bool,
    /// What a file could not get, which there must be for the disk to have space
    /// again.
    unmet: Option<(FileId, u64)>,
    /// Bytes of useless files that the checkpoints still hold.
    pub(super) held: u64,
    /// When the space of the disk was last looked at, by the monotonic clock.
    looked_ms: u64,
}

impl Engine {
    /// Asks for `file`, the present one, to have at least `bytes` allocated.
    pub(super) fn ask_to_grow(&self, file: FileId, bytes: u64, internal: bool) {
        let mut requests = self.requests.lock();
        let asked = asked_of(requests.grow_to, file);
        if asked < bytes || (internal && !requests.internal) {
            requests.grow_to = Some((file, asked.max(bytes)));
            requests.internal |= internal;
            self.requested.ring();
        }
    }

    /// Asks for the present file to grow before it has to.
    pub(super) fn ask_to_grow_ahead(&self) {
        self.requests.lock().ahead = true;
        self.requested.ring();
    }

    pub(super) fn ask_for_maintenance(&self) {
        self.requests.lock().look = true;
        self.requested.ring();
    }

    /// Runs maintenance until the engine ends or stops. Blocks; give it a
    /// thread of its own.
    pub fn run_maintenance(&self) {
        let _thread = Thread(self);
        self.housekeeping.lock().paced = true;
        while self.wait_for_requests(EVERY) {
            // A lock that is taken again at once is taken before who waits for
            // it, where the environment's locks are not fair.
            while self.housekeeping_wanted.load(Ordering::Acquire) > 0 && self.env.stand_aside() {}
            self.maintain_step();
        }
    }

    /// Waits until something is asked for, or `longest` is over. Whether to go
    /// on.
    pub(super) fn wait_for_requests(&self, longest: Duration) -> bool {
        let idle = {
            let requests = self.requests.lock();
            requests.grow_to.is_none() && !requests.ahead && !requests.look && !requests.stopping
        };
        if idle && !self.is_ended() {
            self.requested.wait(longest);
        }
        let mut requests = self.requests.lock();
        requests.look = false;
        !requests.stopping && !self.is_ended()
    }

    /// Does what is due now.
    pub fn maintain_step(&self) {
        let mut house = lock_over_io(&*self.env, &self.housekeeping);
        let house = &mut *house;
        if self.is_ended() {
            // The next incarnation may have the directory already.
            return;
        }
        self.serve_log(house);
        if self.is_ended() {
            return;
        }
        self.forget_old_producers();
        house.changed |= self.changed.swap(false, Ordering::AcqRel);
        if std::mem::take(&mut house.changed) {
            let usage = self.usage();
            self.evict_entries(&usage);
            let held = self.release(house, &usage);
            self.rewrite_if_worth_it(house, &usage);
            house.held = held;
        }
        self.checkpoint_if_due(house, house.held);
        self.scrub_step(house);
        self.learn(house);
        // Nothing that an append waits for is known to come without being told;
        // should it, then a second is lost and not the log.
        self.room.notify_waiters();
        if std::mem::take(&mut house.space_freed) {
            self.serve_log(house);
        }
    }

    /// Learns what is shown and not needed: the space of the disk, and how many
    /// bytes of extents are in files that a checkpoint told of.
    fn learn(&self, house: &mut Housekeeping) {
        let now = self.env.monotonic_ms();
        if now < house.looked_ms.saturating_add(LOOK_EVERY_MS) {
            return;
        }
        house.looked_ms = now;
        self.look_at_space();
        let files = self.files.all().into_iter().filter(|file| file.lacks_payload());
        for file in files.take(LEARNED_AT_ONCE) {
            // One that is damaged is told of by who needs it.
            let Ok(Ok(footer)) = file.stored_footer(&*self.disk) else { continue };
            file.add_payload(footer.directory.iter().map(|entry| entry.bytes).sum());
        }
    }

    pub(super) fn look_at_space(&self) {
        if let Ok(space) = self.disk.space() {
            self.stats.disk_bytes.store(space.total, Ordering::Relaxed);
            self.stats.disk_free_bytes.store(space.free, Ordering::Relaxed);
        }
    }

    /// Gives the log the space that it asks for, and the next file.
    pub(super) fn serve_log(&self, house: &mut Housekeeping) {
        let Requests { grow_to, internal, ahead, .. } = {
            let mut requests = self.requests.lock();
            let rest =
                Requests { look: requests.look, stopping: requests.stopping, ..Default::default() };
            std::mem::replace(&mut *requests, rest)
        };
        let exhausted = self.stats.space_exhausted.load(Ordering::Acquire);
        let (present, done) = {
            let gathering = self.gather.lock();
            (gathering.gather.file().id, self.is_file_done(&gathering.gather))
        };
        let unmet = if exhausted { asked_of(house.unmet, present) } else { 0 };
        let grow_to = asked_of(grow_to, present).max(unmet);
        if let Err(error) = self.keep_reserve(house) {
            if error.kind != DiskErrorKind::Full {
                tracing::warn!(%error, "the reserve was not made");
            }
            if grow_to > 0 || exhausted || self.gather.lock().next.is_none() {
                self.report_space(Err(DiskError { kind: DiskErrorKind::Full, ..error }));
            }
            if internal && exhausted {
                self.serve_internal(house, grow_to);
            }
            return;
        }
        let mut space = Ok(());
        // What a file got that takes no more, the next one could not have.
        if !done && (grow_to > 0 || exhausted) {
            space = self.grow(grow_to);
        }
        if !done && space.is_ok() && ahead {
            space = self.grow_ahead();
        }
        if space.is_ok() && self.gather.lock().next.is_none() {
            space = match self.prepare_next() {
                // As long as the present file takes more, nobody is refused.
                Err(error) if error.kind == DiskErrorKind::Full && !done => Ok(()),
                prepared => prepared,
            };
        }
        let full = self.report_space(space);
        house.unmet = (full && grow_to > 0).then_some((present, grow_to));
        if internal && full {
            self.serve_internal(house, grow_to);
        }
    }

    /// Gives the server's own records space when the disk is full: without
    /// them nothing could be deleted.
    fn serve_internal(&self, house: &mut Housekeeping, grow_to: u64) {
        let full = |result: Result<(), DiskError>| match result {
            Err(error) if error.kind != DiskErrorKind::Full => self.end(&error),
            Err(error) => {
                self.reserve_gone.store(true, Ordering::Release);
                tracing::error!(%error, "the reserve is used up: nothing can be deleted");
            }
            Ok(()) => {}
        };
        self.give_up(house);
        let file = Arc::clone(self.gather.lock().gather.file());
        let wanted = grow_to.next_multiple_of(crate::BLOCK as u64);
        let reserved = file.reserved();
        if wanted > reserved {
            let grown = file.handle.preallocate(reserved, wanted - reserved);
            full(grown.map(|()| file.reserve(wanted)));
        }
        let wants_next = {
            let gathering = self.gather.lock();
            gathering.next.is_none() && self.is_file_done(&gathering.gather)
        };
        if wants_next {
            full(self.prepare_next());
        }
        self.room.notify_waiters();
    }

    /// Ends the incarnation in good order, once the writer has: seals the
    /// present file and takes a checkpoint, so that the next start has nothing
    /// to read.
    pub fn close(&self) {
        self.seal_and_checkpoint();
        self.be_over();
    }

    fn seal_and_checkpoint(&self) {
        let mut house = lock_over_io(&*self.env, &self.housekeeping);
        if self.is_ended() {
            return;
        }
        let (finished, next) = {
            let mut gathering = self.gather.lock();
            gathering.ended = true;
            if gathering.has_work() {
                // Came in after the writer had left; nobody was told of it.
                return;
            }
            let gather = &mut gathering.gather;
            let finished = Finished {
                file: Arc::clone(gather.file()),
                extents: std::mem::take(&mut gather.file_extents),
                last_lsn: Lsn(gather.lsn().get() - 1),
                data_end: gather.position(),
            };
            (finished, gathering.next.take())
        };
        if let Err(error) = self.write_footer(&finished) {
            tracing::warn!(%error, "the last log file was not sealed; the next start scans it");
            return;
        }
        if let Some(next) = next
            && let Err(error) = self.disk.unlink(&next.name)
        {
            tracing::warn!(%error, "an unused log file stays until the next start");
        }
        self.checkpoint(&mut house);
    }

    /// Ends [`Self::run_maintenance`].
    pub fn stop_maintenance(&self) {
        self.requests.lock().stopping = true;
        self.requested.ring();
    }

    /// Tells producers whether there is space. Whether the disk is full.
    fn report_space(&self, result: Result<(), DiskError>) -> bool {
        let mut full = false;
        match result {
            Ok(()) => {
                if self.stats.space_exhausted.swap(false, Ordering::AcqRel) {
                    tracing::info!("the disk has space again: produce resumes");
                }
            }
            Err(error) if error.kind == DiskErrorKind::Full => {
                full = true;
                if !self.stats.space_exhausted.swap(true, Ordering::AcqRel) {
                    tracing::error!(%error,
                        "the disk is full: produce is refused until space is free");
                }
            }
            Err(error) => self.end(&error),
        }
        self.room.notify_waiters();
        full
    }

    /// Allocates the present file up to `wanted`, and by a whole step.
    fn grow(&self, wanted: u64) -> Result<(), DiskError> {
        let file = Arc::clone(self.gather.lock().gather.file());
        let reserved = file.reserved();
        let least = {
            let gather = &self.gather.lock().gather;
            gather.end_with(0) + gather.footer_len() + super::INTERNAL_BYTES * 2
        };
        let wanted = wanted.max(least);
        if wanted <= reserved {
            return Ok(());
        }
        let aim = self.step(reserved, wanted);
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

    /// Allocates one step more to the present file, if the disk has it.
    fn grow_ahead(&self) -> Result<(), DiskError> {
        let file = Arc::clone(self.gather.lock().gather.file());
        let reserved = file.reserved();
        let aim = self.step(reserved, reserved);
        if aim <= reserved {
            return Ok(());
        }
        match file.handle.preallocate(reserved, aim - reserved) {
            // Nobody is in want of it yet.
            Err(error) if error.kind == DiskErrorKind::Full => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                file.reserve(aim);
                Ok(())
            }
        }
    }

    /// The size that a file of `reserved` bytes grows to, to have `wanted`.
    fn step(&self, reserved: u64, wanted: u64) -> u64 {
        let step = STEPS
            .into_iter()
            .find(|step| *step > reserved && *step >= wanted)
            .unwrap_or(wanted.next_multiple_of(STEPS[0]));
        step.min(self.options.file_bytes.max(wanted).next_multiple_of(STEPS[0]))
    }

    /// Creates and allocates the file that follows the present one.
    pub(super) fn prepare_next(&self) -> Result<(), DiskError> {
        let file = self.create_file()?;
        let made = file.handle.preallocate(0, STEPS[0]).and_then(|()| self.disk.sync_directory());
        if let Err(error) = made {
            // It is no use as it is; what cannot be removed is removed at the
            // next start.
            if let Err(error) = self.disk.unlink(&file.name) {
                tracing::warn!(%error, "an unused log file stays until the next start");
            }
            return Err(error);
        }
        file.reserve(STEPS[0]);
        self.gather.lock().next = Some(Arc::new(file));
        self.room.notify_waiters();
        Ok(())
    }

    /// Creates an empty log file under an id that was never used.
    pub(super) fn create_file(&self) -> Result<LogFile, DiskError> {
        let id = FileId(self.next_file.fetch_add(1, Ordering::Relaxed));
        let name = files::name(id, FileKind::Wal);
        let handle = self.disk.create(&name, Mode::Direct)?;
        let file = LogFile::new(id, FileKind::Wal, handle);
        file.set_incarnation(self.incarnation);
        Ok(file)
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
    pub(super) fn next_file(
        &self,
        gathering: &mut Gathering,
        class: Class,
    ) -> Result<(), TryAppendError> {
        let Some(next) = gathering.next.take() else {
            return Err(self.wait_for_space(gathering.gather.file().id, 1, class));
        };
        let lsn = gathering.gather.lsn();
        next.start(lsn);
        let header = self.file_header(&next, lsn);
        let data_end = gathering.gather.position();
        self.files.insert(Arc::clone(&next));
        let old = Arc::clone(gathering.gather.file());
        gathering.ahead = 0;
        let extents = gathering.gather.switch(next, header);
        gathering.finished.push(Finished {
            file: old,
            extents,
            last_lsn: Lsn(lsn.get() - 1),
            data_end,
        });
        // The append that came here may yet find no space in the new file.
        if gathering.is_enough() {
            self.work.ring();
        }
        self.ask_for_maintenance();
        Ok(())
    }
}
