//! Appending: a batch gets its offset and its place in the frame being
//! gathered, under one lock, or is refused before it has either.
//!
//! Invariant: nothing fails once an offset is given: space on the disk and
//! memory for the whole frame are there before. Called by the broker.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use millrace_log::{
    batch::{self, BatchHeader},
    frame::EXTENT_LEN,
    partition::{Admission, AdmitError},
};
use millrace_types::{ErrorKind, FileId, Lsn, Offset, Timestamp, TopicId, TopicPartition, canary};

use super::{
    Ended, Engine, Gathering, INTERNAL_BYTES, Partition,
    gather::{Gather, NoMemory, Stamp},
    wait::first_of,
};
use crate::{BLOCK, blocks::BlockWriter};

/// Where an append will stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// When it was appended.
    pub append_time: Timestamp,
    /// It is durable once this frame is.
    pub lsn: Lsn,
    /// The batch was there already: a producer's retry.
    pub duplicate: bool,
}

impl Appended {
    /// A batch that an earlier append has brought.
    fn before(base_offset: Offset, append_time: Timestamp, lsn: Lsn) -> Self {
        let lsn = if canary!(DuplicateAnsweredEarly) { Lsn(0) } else { lsn };
        Self { base_offset, append_time, lsn, duplicate: true }
    }
}

/// Why an append was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The producer's sequence or epoch does not fit.
    #[error(transparent)]
    Admit(#[from] AdmitError),
    /// The disk is full but for the reserve.
    #[error("the disk of the data directory is full; produce resumes when space is free")]
    StorageFull,
    /// The end of this partition is unknown after corruption.
    #[error(
        "the end of partition {0} cannot be proven after corruption; restore its log file \
         from a backup, or give it up: `millrace check` says how"
    )]
    EndUnproven(TopicPartition),
    /// No room to remember another producer.
    #[error("as many producers are active as producers_max allows; retry, or raise it")]
    ProducersFull,
    /// The topic is gone.
    #[error("the topic is deleted")]
    Deleted,
    /// The incarnation is over.
    #[error(transparent)]
    Ended(#[from] Ended),
}

impl AppendError {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Admit(error) => error.kind(),
            Self::StorageFull | Self::ProducersFull | Self::Ended(_) => ErrorKind::Unavailable,
            Self::EndUnproven(_) => ErrorKind::Corrupt,
            Self::Deleted => ErrorKind::NotFound,
        }
    }
}

/// Who appends: the server's own records may use the last of the space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Clients' records.
    Client,
    /// Records without which nothing could be deleted.
    Internal,
}

/// Extents in one file before it is sealed early: bounds its footer, and the
/// memory that gathers it.
const FILE_EXTENTS_MAX: usize = 1 << 17;

/// Appends that belong together, such as the batches of one request. The log
/// writer hears of them when this is dropped: to wake for the first would be
/// to commit it alone, and the others behind it.
#[must_use = "appends are made through it"]
pub struct Appends<'a> {
    pub(super) engine: &'a Engine,
}

impl Appends<'_> {
    /// Appends one checked batch. Returns as soon as it has its offset; it is
    /// durable, and readable, once [`Engine::durable`] says so of its frame.
    /// Waits only while too much is gathered already.
    ///
    /// `stamp_time` makes the append time the batch's timestamp.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(
        &self,
        partition: &Arc<Partition>,
        header: &BatchHeader,
        batch: &[u8],
        class: Class,
        stamp_time: bool,
    ) -> Result<Appended, AppendError> {
        let engine = self.engine;
        engine.attempted(|| engine.try_append(partition, header, batch, class, stamp_time)).await
    }
}

impl Drop for Appends<'_> {
    fn drop(&mut self) {
        self.engine.ring_if_enough();
    }
}

impl Engine {
    /// Begins appends that belong together.
    pub fn appends(&self) -> Appends<'_> {
        Appends { engine: self }
    }

    /// One append by itself: [`Appends::append`].
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(
        &self,
        partition: &Arc<Partition>,
        header: &BatchHeader,
        batch: &[u8],
        class: Class,
        stamp_time: bool,
    ) -> Result<Appended, AppendError> {
        self.appends().append(partition, header, batch, class, stamp_time).await
    }

    /// Wakes the writer if what it waits for has gathered.
    pub(super) fn ring_if_enough(&self) {
        let enough = self.gather.lock().is_enough();
        if enough {
            // Not under the lock, which is what the writer takes first.
            self.work.ring();
        }
    }

    /// Makes `attempt` until it has room. Waits only while too much is
    /// gathered already.
    pub(super) async fn attempted<T>(
        &self,
        attempt: impl Fn() -> Result<T, TryAppendError>,
    ) -> Result<T, AppendError> {
        let attempt = || match attempt() {
            Ok(done) => Ok(Ok(done)),
            Err(TryAppendError::Refused(error)) => Ok(Err(error)),
            Err(TryAppendError::Behind) => Err(Lacks::Room),
            Err(TryAppendError::NoMemory) => Err(Lacks::Memory),
        };
        match attempt() {
            Ok(done) => done,
            Err(_) => {
                // What was appended so far may be what the room is taken by.
                self.ring_if_enough();
                self.append_when_there_is_room(attempt).await
            }
        }
    }

    /// Makes `attempt` again whenever it may have room. It counts as one wait.
    async fn append_when_there_is_room<T>(&self, attempt: impl Fn() -> Result<T, Lacks>) -> T {
        let memory = self.cache.pool().wait();
        let began = self.env.monotonic();
        let _waited = Waited { engine: self, began };
        loop {
            let mut room = pin!(self.room.notified());
            let mut returned = pin!(memory.returned());
            room.as_mut().enable();
            returned.as_mut().enable();
            match attempt() {
                Ok(done) => return done,
                // Blocks come back all the time while frames are written: of no
                // use to who waits for the frames.
                Err(Lacks::Room) => room.await,
                Err(Lacks::Memory) => first_of(room, returned).await,
            }
        }
    }

    /// Appends records to a hidden partition as one batch. What clients cause
    /// is of their class, so that it leaves the reserve to deletion.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append_hidden(
        &self,
        topic: TopicId,
        records: &[Vec<u8>],
        class: Class,
    ) -> Result<Lsn, AppendError> {
        let partition = self.hidden_partition(topic);
        let (header, bytes) = self.batch_of(records);
        let appended = self.append(&partition, &header, &bytes, class, false).await?;
        Ok(appended.lsn)
    }

    /// One batch of these values.
    pub(super) fn batch_of(&self, records: &[Vec<u8>]) -> (BatchHeader, Vec<u8>) {
        let mut builder = batch::BatchBuilder::new(self.env.wall());
        for record in records {
            builder.record(0, None, Some(record), &[]);
        }
        let bytes = builder.build();
        match BatchHeader::parse(&bytes) {
            Ok(header) => (header, bytes),
            Err(error) => unreachable!("a batch of our own parses: {error}"),
        }
    }

    pub(super) fn try_append(
        &self,
        partition: &Arc<Partition>,
        header: &BatchHeader,
        batch: &[u8],
        class: Class,
        stamp_time: bool,
    ) -> Result<Appended, TryAppendError> {
        let mut held = self.gather.lock();
        let gathering = &mut *held;
        if gathering.ended {
            return Err(TryAppendError::Refused(Ended.into()));
        }
        if let Err(lacks) = self.make_room(gathering, batch.len(), class) {
            // A retry needs no room, and its producer would take a refusal for
            // proof that the batch is not there.
            return stands_already(partition, header).ok_or(lacks);
        }
        let gather = &mut gathering.gather;
        let append_time = gather.append_time(self.env.wall());
        let mut core = partition.lock();
        if core.deleted {
            return Err(AppendError::Deleted.into());
        }
        if core.end_unproven {
            return Err(AppendError::EndUnproven(partition.id()).into());
        }
        let known = header.producer.is_none_or(|producer| core.state.knows_producer(producer.id));
        if !known && self.producers.load(Ordering::Relaxed) >= self.options.producers_max {
            self.stats.producers_refused.fetch_add(1, Ordering::Relaxed);
            return Err(AppendError::ProducersFull.into());
        }
        let admission =
            core.state.admit(header, gather.lsn(), append_time).map_err(AppendError::from)?;
        drop(core);
        let (base_offset, leader_epoch, append_time) = match admission {
            Admission::Append { base_offset, leader_epoch, append_time } => {
                (base_offset, leader_epoch, append_time)
            }
            Admission::Duplicate { base_offset, append_time, lsn } => {
                return Ok(Appended::before(base_offset, append_time, lsn));
            }
        };
        if !known {
            self.producers.fetch_add(1, Ordering::Relaxed);
        }
        let stamp = Stamp { base_offset, leader_epoch, append_time };
        if stamp_time {
            let mut copy = batch.to_vec();
            let stamped = batch::stamp_append_time(&mut copy, append_time);
            let Ok(header) = stamped.and_then(|()| BatchHeader::parse(&copy)) else {
                unreachable!("a checked batch takes its time")
            };
            gather.push(partition, &header, &copy, &stamp);
        } else {
            gather.push(partition, header, batch, &stamp);
        }
        Ok(Appended { base_offset, append_time, lsn: gather.lsn(), duplicate: false })
    }

    /// As [`Self::make_room`], for `extents` extents that must lie in one frame.
    pub(super) fn make_room_together(
        &self,
        gathering: &mut Gathering,
        extents: usize,
        len: usize,
        class: Class,
    ) -> Result<(), TryAppendError> {
        // What room for one extent leaves out of the table behind the payload.
        let table = extents * EXTENT_LEN + BLOCK;
        loop {
            if !gathering.gather.front_fits(extents) {
                if !gathering.gather.is_untouched() {
                    self.seal(gathering)?;
                }
                gathering.gather.reserve_front(extents);
            }
            self.make_room(gathering, len + table, class)?;
            // The frame may have become another one meanwhile.
            if gathering.gather.front_fits(extents) {
                return Ok(());
            }
        }
    }

    /// Makes sure that the gathering frame takes `len` bytes more: goes on in
    /// the next file where this one is done, seals a frame that is full, takes
    /// memory, and checks that the disk has allocated the space.
    pub(super) fn make_room(
        &self,
        gathering: &mut Gathering,
        len: usize,
        class: Class,
    ) -> Result<(), TryAppendError> {
        if gathering.gather.pending_bytes() > self.options.pending_bytes_max {
            return Err(TryAppendError::Behind);
        }
        if gathering.gather.front_is_full() {
            self.seal(gathering)?;
        }
        let limit = match class {
            Class::Client => INTERNAL_BYTES + gathering.gather.footer_len(),
            Class::Internal => 0,
        };
        if self.is_file_done(&gathering.gather) || self.is_stuck(gathering, len, limit) {
            if !gathering.gather.is_empty() {
                self.seal(gathering)?;
            }
            self.next_file(gathering, class)?;
        }
        let end = gathering.gather.end_with(len);
        let reserved = gathering.gather.file().reserved();
        if end + limit > reserved {
            let file = gathering.gather.file().id;
            return Err(self.wait_for_space(file, end + limit.max(INTERNAL_BYTES), class));
        }
        if end * 2 > reserved && reserved < self.options.file_bytes && gathering.ahead < reserved {
            // Once for each size: every append from here on would ring.
            gathering.ahead = reserved;
            self.ask_to_grow_ahead();
        }
        gathering.gather.make_room(len, || self.take_block())?;
        Ok(())
    }

    /// Whether the disk is full, and the next file has what this one can't get.
    fn is_stuck(&self, gathering: &Gathering, len: usize, limit: u64) -> bool {
        let gather = &gathering.gather;
        self.stats.space_exhausted.load(Ordering::Acquire)
            && gather.end_with(len) + limit > gather.file().reserved()
            && gathering
                .next
                .as_ref()
                .is_some_and(|next| gather.first_end(len) + INTERNAL_BYTES <= next.reserved())
    }

    /// Asks for `bytes` of `file`, the present one. Clients are refused at once
    /// on a full disk; the server's own records may use the reserve.
    pub(super) fn wait_for_space(&self, file: FileId, bytes: u64, class: Class) -> TryAppendError {
        let internal = class == Class::Internal;
        self.ask_to_grow(file, bytes, internal);
        let full = self.stats.space_exhausted.load(Ordering::Acquire);
        if full && (!internal || self.reserve_gone.load(Ordering::Acquire)) {
            AppendError::StorageFull.into()
        } else {
            TryAppendError::Behind
        }
    }

    pub(super) fn is_file_done(&self, gather: &Gather) -> bool {
        gather.end_with(0) >= self.options.file_bytes
            || gather.file_extents.len() >= FILE_EXTENTS_MAX
    }

    /// Ends the frame being gathered; the writer finds it among the sealed.
    pub(super) fn seal(&self, gathering: &mut Gathering) -> Result<(), NoMemory> {
        gathering.gather.seal(self.env.wall(), || self.take_block())
    }

    /// A block to gather into: a free one, or one that leaves the cache.
    pub(super) fn take_block(&self) -> Option<BlockWriter> {
        self.cache.take()
    }
}

/// Where a batch stands that is a producer's retry.
fn stands_already(partition: &Partition, header: &BatchHeader) -> Option<Appended> {
    let core = partition.lock();
    if core.deleted {
        return None;
    }
    match core.state.duplicate(header) {
        Ok(Some(Admission::Duplicate { base_offset, append_time, lsn })) => {
            Some(Appended::before(base_offset, append_time, lsn))
        }
        _ => None,
    }
}

/// What an append waits for.
enum Lacks {
    /// The disk: as much is gathered as may be, or it has no space yet.
    Room,
    Memory,
}

pub(super) enum TryAppendError {
    /// Room comes as the writer goes on.
    Behind,
    /// Memory comes as readers let go of theirs.
    NoMemory,
    Refused(AppendError),
}

impl From<AppendError> for TryAppendError {
    fn from(error: AppendError) -> Self {
        Self::Refused(error)
    }
}

impl From<NoMemory> for TryAppendError {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}

/// Counts one wait for room, however it ends.
struct Waited<'a> {
    engine: &'a Engine,
    began: Duration,
}

impl Drop for Waited<'_> {
    fn drop(&mut self) {
        let waited = self.engine.env.monotonic().saturating_sub(self.began);
        self.engine.stats.waited_for_room(waited);
    }
}
