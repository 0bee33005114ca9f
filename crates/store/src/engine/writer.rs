//! The log writer: takes sealed frames, writes and syncs them, and publishes
//! what they hold. One thread runs it; no other code writes frames.
//!
//! Invariant: `synced_to` of a frame names only bytes whose sync had returned
//! before the frame was sealed, and an extent is published only after the
//! sync (or, with `flush=os`, the write) that covers it.

use std::{
    collections::BTreeMap,
    io::IoSlice,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use millrace_log::{
    batch::{self, BatchHeader},
    frame::{self, Extent, ExtentKind, FooterInfo},
    records,
};
use millrace_types::{Lsn, Timestamp, TopicId, TopicPartition, canary};

use super::{
    Engine, Flush, Gathering, IoCall, Thread,
    files::LogFile,
    gather::{Frame, NoMemory},
    pace::{Pace, Wait},
};
use crate::{
    aligned::AlignedBuffer,
    blocks::{BLOCK_BYTES, Block},
    cache::BlockKey,
    disk::DiskError,
    env::lock_over_io,
};

/// A file that takes no more frames and wants its footer.
pub(super) struct Finished {
    pub(super) file: Arc<LogFile>,
    pub(super) extents: Vec<Extent>,
    pub(super) last_lsn: Lsn,
    pub(super) data_end: u64,
}

/// With nothing to write for this long, a mark is written.
const MARK_AFTER: Duration = Duration::from_secs(1);

/// What the writer remembers from step to step.
#[derive(Debug, Default)]
pub struct WriterState {
    /// Bytes that the last step took, and that had gathered when it was done.
    taken: u64,
    behind: u64,
}

impl Engine {
    /// Runs the log writer until the engine ends or stops. Blocks; give it a
    /// thread of its own.
    pub fn run_writer(&self) {
        let _thread = Thread(self);
        let mut state = WriterState::default();
        let mut pace = Pace::new(self.options.commits_per_second_max, self.env.monotonic());
        loop {
            let worth_it = self.wait_for_wave(pace.wait(self.env.monotonic()));
            match self.wait_for_work() {
                Work::Frames => {
                    let began = self.env.monotonic();
                    self.write_step(&mut state);
                    pace.committed(began, worth_it, state.taken, state.behind);
                }
                Work::Idle => self.idle_step(&mut state),
                Work::Over => return,
            }
        }
    }

    /// Waits for as many bytes, or as long, as it is worth. Whether it was:
    /// that many are there, or some came.
    fn wait_for_wave(&self, wait: Wait) -> bool {
        let mut seen = None;
        loop {
            let left = wait.until.saturating_sub(self.env.monotonic());
            {
                let mut gathering = self.gather.lock();
                gathering.writer_wants = None;
                let pending = gathering.gather.pending_bytes();
                let seen = *seen.get_or_insert(pending);
                let over = gathering.ended || gathering.stopping;
                if pending >= wait.bytes || over || left.is_zero() {
                    return pending >= wait.bytes || pending > seen;
                }
                gathering.writer_wants = Some(wait.bytes);
            }
            self.work.wait(left);
        }
    }

    /// Waits until there is something to write.
    fn wait_for_work(&self) -> Work {
        let mut rang = true;
        loop {
            {
                let mut gathering = self.gather.lock();
                gathering.writer_wants = None;
                if gathering.ended {
                    return Work::Over;
                }
                if gathering.has_work() {
                    return Work::Frames;
                }
                if gathering.stopping {
                    // Nobody would write what still came.
                    gathering.ended = true;
                    return Work::Over;
                }
                if !rang {
                    return Work::Idle;
                }
                gathering.writer_wants = Some(0);
            }
            rang = self.work.wait(MARK_AFTER);
        }
    }

    /// Writes, syncs and publishes all that is gathered.
    pub fn write_step(&self, state: &mut WriterState) {
        let _writing = lock_over_io(&*self.env, &self.writing);
        let (frames, finished) = {
            let mut gathering = self.gather.lock();
            if gathering.ended {
                return;
            }
            state.taken = gathering.gather.pending_bytes();
            if !gathering.gather.is_empty() && self.seal(&mut gathering).is_err() {
                // Room for the tables was made with the payload's.
                unreachable!("a frame with extents has room for its tables");
            }
            let frames = gathering.gather.take_sealed();
            (frames, std::mem::take(&mut gathering.finished))
        };
        self.room.notify_waiters();
        if let Err(error) = self.write_all(frames, finished, state) {
            self.end(&error);
        }
        // Blocks that were written may leave the cache for who waits for memory.
        self.room.notify_waiters();
    }

    /// Nothing was written for a while: says in the log what is synced, so
    /// that recovery can tell a torn frame from a rotten one.
    pub fn idle_step(&self, state: &mut WriterState) {
        if !self.unmarked.load(Ordering::Acquire) {
            return;
        }
        let file = Arc::clone(self.gather.lock().gather.file());
        if file.unsynced() > 0
            && let Err(error) = self.sync(&file)
        {
            return self.end(&error);
        }
        let mark = {
            let mut gathering = self.gather.lock();
            let mark = gathering.gather.lsn();
            let fits = gathering.gather.end_with(0) <= gathering.gather.file().reserved();
            (fits && self.seal(&mut gathering) != Err(NoMemory)).then_some(mark)
        };
        if let Some(mark) = mark {
            self.write_step(state);
            // What came in behind the mark is synced with it, and not named.
            self.unmarked.store(self.durable.reached() > mark, Ordering::Release);
        }
    }

    fn write_all(
        &self,
        frames: Vec<Frame>,
        finished: Vec<Finished>,
        state: &mut WriterState,
    ) -> Result<(), DiskError> {
        let mut finished = finished.into_iter().peekable();
        let mut frames = frames.into_iter().peekable();
        while let Some(first) = frames.next() {
            while let Some(ended) = finished.next_if(|ended| ended.file.id < first.file.id) {
                self.write_footer(&ended)?;
            }
            let file = Arc::clone(&first.file);
            let mut group = vec![first];
            while let Some(frame) = frames.next_if(|frame| frame.file.id == file.id) {
                group.push(frame);
            }
            self.write_group(&file, &group, state)?;
            let last = group.last().map(|frame| frame.lsn);
            self.publish(&file, group);
            if canary!(ReadBeforeDurable)
                && let Some(lsn) = last
            {
                self.sync(&file)?;
                self.durable.advance(lsn);
            }
        }
        for ended in finished {
            self.write_footer(&ended)?;
        }
        Ok(())
    }

    /// Writes consecutive frames of one file by one call, and syncs them.
    fn write_group(
        &self,
        file: &Arc<LogFile>,
        group: &[Frame],
        state: &mut WriterState,
    ) -> Result<(), DiskError> {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(()) };
        let (start, end) = (first.position, last.position + last.len);
        let blocks: BTreeMap<u64, &Block> = group
            .iter()
            .flat_map(|frame| frame.blocks.iter().map(|(number, block)| (*number, block)))
            .collect();
        let slices: Vec<IoSlice<'_>> =
            pieces(&blocks, start, end).into_iter().map(IoSlice::new).collect();
        let write = || file.handle.write_at(start, &slices);
        self.pending_io.during(IoCall::Write, self.env.monotonic(), write)?;
        let bytes = end - start;
        self.stats.commits.fetch_add(1, Ordering::Relaxed);
        self.stats.commit_batches.count(group.iter().map(|frame| frame.extents.len()).sum());
        self.stats.bytes_written.fetch_add(bytes, Ordering::Relaxed);
        file.set_data_end(end, last.lsn);
        self.unmarked.store(true, Ordering::Release);
        match self.options.flush {
            Flush::Fsync if canary!(ReadBeforeDurable) => Ok(()),
            Flush::Fsync => {
                self.sync(file)?;
                state.behind = self.gather.lock().gather.pending_bytes();
                Ok(())
            }
            // Nothing gathers behind a copy that would be worth a wait.
            Flush::Os => self.sync_behind(file),
        }
    }

    /// Seals a file: its footer, then a sync, before any frame of the next.
    pub(super) fn write_footer(&self, ended: &Finished) -> Result<(), DiskError> {
        let info = FooterInfo {
            file: ended.file.id,
            incarnation: self.incarnation,
            data_end: ended.data_end,
            first_lsn: ended.file.first_lsn(),
            last_lsn: ended.last_lsn,
        };
        let mut extents = ended.extents.clone();
        extents.sort_by_key(Extent::order);
        let footer = frame::encode_footer(ended.data_end, info, &extents, &[]);
        let bytes = AlignedBuffer::padded(&footer);
        let length = ended.data_end + bytes.len() as u64;
        let write = || {
            ended.file.handle.write_at(ended.data_end, &[IoSlice::new(&bytes)])?;
            ended.file.handle.set_length(length)
        };
        self.pending_io.during(IoCall::Write, self.env.monotonic(), write)?;
        self.sync(&ended.file)?;
        ended.file.seal(length);
        self.stats.bytes_written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        for group in extents.chunk_by(|a, b| a.partition == b.partition) {
            let partition = group
                .first()
                .and_then(|extent| self.partitions.read().get(&extent.partition).cloned());
            if let Some(partition) = partition {
                partition.lock().index.seal(ended.file.id);
            }
        }
        self.changed.store(true, Ordering::Release);
        self.ask_for_maintenance();
        Ok(())
    }

    /// Lets readers see frames that are durable now.
    fn publish(&self, file: &Arc<LogFile>, group: Vec<Frame>) {
        let mut durable = Lsn(0);
        for frame in group {
            for (number, block) in &frame.blocks {
                self.cache.insert_hot(BlockKey { file: file.id, block: *number }, block.clone());
            }
            self.stats.payload_bytes.fetch_add(frame.payload_bytes, Ordering::Relaxed);
            file.add_live(frame.payload_bytes);
            file.add_payload(frame.payload_bytes);
            // Hidden topics sort last.
            let last = frame.extents.last();
            let order = last
                .filter(|(extent, _)| extent.partition.topic.is_hidden())
                .map(|_| self.hidden_order.lock());
            let mut hidden = Vec::new();
            for group in frame.extents.chunk_by(|(a, _), (b, _)| a.partition == b.partition) {
                let Some((_, partition)) = group.first() else { continue };
                let mut core = partition.lock();
                for (extent, _) in group {
                    core.state.committed(extent);
                    if core.deleted {
                        file.remove_live(u64::from(extent.len));
                    } else if extent.kind == ExtentKind::Batch {
                        core.index.push(file.id, extent);
                    }
                    if extent.partition.topic.is_hidden() {
                        hidden.push(*extent);
                    }
                }
                core.notify();
            }
            // Hidden state is applied in log order, before anyone hears that
            // the frame is durable.
            hidden.sort_by_key(|extent| extent.position);
            let blocks: BTreeMap<u64, &Block> =
                frame.blocks.iter().map(|(number, block)| (*number, block)).collect();
            for extent in hidden {
                let start = u64::from(extent.position);
                let bytes = pieces(&blocks, start, start + u64::from(extent.len)).concat();
                self.apply_hidden(extent.partition, extent.append_time, &bytes);
            }
            drop(order);
            durable = frame.lsn;
        }
        if !canary!(ReadBeforeDurable) {
            self.durable.advance(durable);
        }
    }

    /// Takes in the records of one batch of a hidden partition.
    pub(super) fn apply_hidden(&self, id: TopicPartition, time: Timestamp, bytes: &[u8]) {
        let Ok(header) = BatchHeader::parse(bytes) else { return };
        let body = bytes.get(batch::HEADER_LEN..).unwrap_or_default();
        for record in records::records(&header, body) {
            let Ok(record) = record else {
                tracing::error!(partition = %id, offset = %header.base_offset,
                    "a record of hidden state cannot be read");
                return;
            };
            let Some(value) = record.value else { continue };
            self.apply_state(id.topic, value, time);
        }
    }

    /// Takes in one record of hidden state.
    pub(super) fn apply_state(&self, topic: TopicId, record: &[u8], time: Timestamp) {
        if topic == TopicId::META {
            self.apply_meta(record);
        } else if let Some(state) = self.hidden.get(&topic) {
            state.apply(record, time);
        }
    }

    /// Stops the writer after all that is gathered.
    pub fn stop_writer(&self) {
        self.gather.lock().stopping = true;
        self.work.ring();
        self.unsynced.ring();
    }
}

impl Gathering {
    /// Whether the writer sleeps and what it waits for is there. Says so once:
    /// who hears it rings.
    pub(super) fn is_enough(&mut self) -> bool {
        let pending = self.gather.pending_bytes();
        let has_work = self.has_work();
        self.writer_wants.take_if(|wanted| has_work && *wanted <= pending).is_some()
    }

    pub(super) fn has_work(&self) -> bool {
        !self.gather.is_empty() || !self.gather.sealed.is_empty() || !self.finished.is_empty()
    }
}

enum Work {
    Frames,
    Idle,
    Over,
}

/// The bytes of a file from `start` to `end`, as they lie in its blocks.
pub(super) fn pieces<'a>(blocks: &BTreeMap<u64, &'a Block>, start: u64, end: u64) -> Vec<&'a [u8]> {
    let size = BLOCK_BYTES as u64;
    let mut pieces = Vec::new();
    let mut position = start;
    while position < end {
        let number = position / size;
        let until = end.min((number + 1) * size);
        let within = usize::try_from(position - number * size).unwrap_or(0);
        let len = usize::try_from(until - position).unwrap_or(0);
        let piece = blocks.get(&number).and_then(|block| block.slice(within..within + len));
        let Some(piece) = piece else { unreachable!("a sealed frame is in its blocks") };
        pieces.push(piece);
        position = until;
    }
    pieces
}
