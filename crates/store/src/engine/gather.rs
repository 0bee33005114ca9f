//! The frame that is being gathered: where appended batches are copied to,
//! once, in the place that they will have in the log file.
//!
//! Memory is an image of the file, cut into pool blocks at multiples of
//! [`BLOCK_BYTES`] of the file. A frame reserves room for its front table,
//! takes payload behind it, and is sealed by writing both tables and
//! publishing the blocks. The next frame starts right behind it, so that
//! gathering goes on while the log writer writes.
//!
//! Invariant: offsets are assigned and bytes copied under one lock, so that a
//! partition's extents lie in the log in the order of their offsets.

use std::{collections::VecDeque, sync::Arc};

use millrace_log::{
    batch::{self, BatchHeader},
    frame::{self, Extent, ExtentKind, FileHeader, FrameHeader, Seed},
};
use millrace_types::{Incarnation, LeaderEpoch, Lsn, Offset, Timestamp, canary};

use super::{files::LogFile, partition::Partition};
use crate::{
    BLOCK,
    blocks::{BLOCK_BYTES, Block, BlockWriter},
};

/// A frame that is complete in memory and waits to be written.
pub(super) struct Frame {
    pub(super) file: Arc<LogFile>,
    /// Where its bytes begin in the file; the first frame of a file begins
    /// with the file's header, at 0.
    pub(super) position: u64,
    /// Bytes from `position` to the frame's end.
    pub(super) len: u64,
    pub(super) lsn: Lsn,
    /// Sorted by partition, then offset; positions are absolute in the file.
    pub(super) extents: Vec<(Extent, Arc<Partition>)>,
    /// The blocks that it touches, by their number in the file.
    pub(super) blocks: Vec<(u64, Block)>,
    pub(super) payload_bytes: u64,
}

/// What [`Gather::push`] needs besides the batch.
pub(super) struct Stamp {
    pub(super) base_offset: Offset,
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) append_time: Timestamp,
}

/// The frame being gathered and those sealed behind the log writer's back.
pub(super) struct Gather {
    incarnation: Incarnation,
    file: Arc<LogFile>,
    /// The file's header, until the first frame takes it along.
    header: Option<FileHeader>,
    /// Where the frame begins (its front table, not the file header).
    start: u64,
    front_len: usize,
    /// Where the next payload byte goes.
    cursor: u64,
    /// Writers of the blocks from the frame's first to the cursor's.
    blocks: VecDeque<(u64, BlockWriter)>,
    extents: Vec<(Extent, Arc<Partition>)>,
    lsn: Lsn,
    /// Position in this file that a returned sync covers.
    pub(super) synced_to: u64,
    last_append: Timestamp,
    pub(super) sealed: VecDeque<Frame>,
    /// Bytes of sealed frames not yet taken by the writer.
    sealed_bytes: u64,
    /// All extents of this file so far, for its footer.
    pub(super) file_extents: Vec<Extent>,
}

/// There are no blocks for the gathering frame now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoMemory;

impl Gather {
    /// Begins the first frame, `lsn`, of `file`.
    pub(super) fn new(
        file: Arc<LogFile>,
        header: FileHeader,
        lsn: Lsn,
        last_append: Timestamp,
    ) -> Self {
        Self {
            incarnation: header.incarnation,
            file,
            header: Some(header),
            start: BLOCK as u64,
            front_len: frame::front_len(0),
            cursor: 0,
            blocks: VecDeque::new(),
            extents: Vec::new(),
            lsn,
            synced_to: 0,
            last_append,
            sealed: VecDeque::new(),
            sealed_bytes: 0,
            file_extents: Vec::new(),
        }
    }

    /// The number of the frame being gathered.
    pub(super) fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// The file that takes the frame.
    pub(super) fn file(&self) -> &Arc<LogFile> {
        &self.file
    }

    /// Where the frame begins.
    pub(super) fn position(&self) -> u64 {
        self.start
    }

    /// Whether the frame has no extents yet.
    pub(super) fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }

    /// Where the file would end if the frame were sealed now with `more`
    /// bytes in one more extent.
    pub(super) fn end_with(&self, more: usize) -> u64 {
        let payload_start = self.payload_start();
        let end = self.cursor.max(payload_start) + more as u64;
        end + self.back_len(end, self.extents.len() + 1)
    }

    /// Where the first frame of a file would end, with `len` bytes in one
    /// extent; a little less, at most.
    pub(super) fn first_end(&self, len: usize) -> u64 {
        (3 * BLOCK + frame::front_len(1) + len) as u64
    }

    /// What the footer of the file would take if one more extent were its last.
    pub(super) fn footer_len(&self) -> u64 {
        let extents = self.file_extents.len() + self.extents.len() + 1;
        (extents * frame::EXTENT_LEN + 2 * BLOCK).next_multiple_of(BLOCK) as u64
    }

    /// Bytes from the payload's end, at `end` of the file, to the frame's.
    fn back_len(&self, end: u64, extents: usize) -> u64 {
        let within = usize::try_from(end % BLOCK as u64).unwrap_or(0);
        frame::back_len(within, extents) as u64
    }

    fn payload_start(&self) -> u64 {
        self.start + self.front_len as u64
    }

    /// Where the cursor stands in the payload.
    fn payload_position(&self) -> u32 {
        u32::try_from(self.cursor - self.payload_start()).unwrap_or(u32::MAX)
    }

    /// Bytes gathered or sealed, not yet taken by the writer.
    pub(super) fn pending_bytes(&self) -> u64 {
        self.sealed_bytes + self.cursor.saturating_sub(self.start)
    }

    /// The time for the next append: the wall clock, but never earlier than
    /// the append before it.
    pub(super) fn append_time(&mut self, wall: Timestamp) -> Timestamp {
        self.last_append = self.last_append.max(wall);
        self.last_append
    }

    /// Whether one more extent fits the front table's room.
    pub(super) fn front_is_full(&self) -> bool {
        frame::front_len(self.extents.len() + 1) > self.front_len
    }

    /// Whether so many extents more fit the front table's room.
    pub(super) fn front_fits(&self, extents: usize) -> bool {
        frame::front_len(self.extents.len() + extents) <= self.front_len
    }

    /// Whether nothing of the frame is laid out yet.
    pub(super) fn is_untouched(&self) -> bool {
        self.cursor <= self.start
    }

    /// Leaves room for the table of `extents` extents; before the first one.
    pub(super) fn reserve_front(&mut self, extents: usize) {
        assert!(self.cursor <= self.start, "room is reserved before the payload");
        self.front_len = frame::front_len(extents).max(self.front_len);
    }

    /// Makes sure that blocks for `len` more payload bytes and the tables
    /// behind them are at hand, so that nothing fails once an offset is given.
    pub(super) fn make_room(
        &mut self,
        len: usize,
        mut take: impl FnMut() -> Option<BlockWriter>,
    ) -> Result<(), NoMemory> {
        let from = if self.header.is_some() { 0 } else { self.start };
        let last = (self.end_with(len).saturating_sub(1)) / BLOCK_BYTES as u64;
        let mut next =
            self.blocks.back().map_or(from / BLOCK_BYTES as u64, |(number, _)| number + 1);
        while next <= last {
            let block = take().ok_or(NoMemory)?;
            self.blocks.push_back((next, block));
            next += 1;
        }
        if self.cursor <= self.start {
            // The first extent: lay out the room before the payload.
            let payload_start = self.payload_start();
            self.cursor = from;
            while self.cursor < payload_start {
                let want = usize::try_from(payload_start - self.cursor).unwrap_or(usize::MAX);
                let Some(block) = self.block_at(self.cursor) else { return Err(NoMemory) };
                let reserved = want.min(block.remaining());
                let at = block.reserve(reserved);
                debug_assert!(at.is_some(), "no more was asked for than remains");
                self.cursor += reserved as u64;
            }
        }
        Ok(())
    }

    /// Copies one batch, whose CRC was checked, into the frame, with its offset
    /// and epoch. Room was made by [`Self::make_room`].
    pub(super) fn push(
        &mut self,
        partition: &Arc<Partition>,
        header: &BatchHeader,
        bytes: &[u8],
        stamp: &Stamp,
    ) {
        let position = self.payload_position();
        let (head, rest) = bytes.split_at(batch::HEADER_LEN.min(bytes.len()));
        let mut stamped = [0u8; batch::HEADER_LEN];
        if let Some(target) = stamped.get_mut(..head.len()) {
            target.copy_from_slice(head);
        }
        // The header was parsed before: stamping can't fail on its length.
        let stamping = batch::stamp(&mut stamped, stamp.base_offset, stamp.leader_epoch);
        assert!(stamping.is_ok(), "a checked batch takes its offset");
        let crc = batch::stored_crc(&stamped, header);
        self.copy(&stamped);
        self.copy(rest);
        let extent = Extent {
            partition: partition.id(),
            kind: ExtentKind::Batch,
            base_offset: stamp.base_offset,
            last_offset_delta: u32::try_from(header.last_offset_delta).unwrap_or(0),
            leader_epoch: stamp.leader_epoch,
            position,
            len: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            max_timestamp: header.max_timestamp,
            append_time: stamp.append_time,
            producer: header.producer,
            crc,
        };
        self.extents.push((extent, Arc::clone(partition)));
    }

    /// Adds an extent without bytes: a seal, or what a sealed partition remembers
    /// of the batch `header`. Room was made by [`Self::make_room`].
    pub(super) fn push_note(
        &mut self,
        partition: &Arc<Partition>,
        kind: ExtentKind,
        header: Option<&BatchHeader>,
        stamp: &Stamp,
    ) {
        let delta = header.map_or(0, |header| header.last_offset_delta);
        let extent = Extent {
            partition: partition.id(),
            kind,
            base_offset: stamp.base_offset,
            last_offset_delta: u32::try_from(delta).unwrap_or(0),
            leader_epoch: stamp.leader_epoch,
            position: self.payload_position(),
            len: 0,
            max_timestamp: header.map_or(stamp.append_time, |header| header.max_timestamp),
            append_time: stamp.append_time,
            producer: header.and_then(|header| header.producer),
            crc: 0,
        };
        self.extents.push((extent, Arc::clone(partition)));
    }

    /// Copies an extent that recovery took over from a dead file, unchanged.
    pub(super) fn push_recovered(
        &mut self,
        partition: &Arc<Partition>,
        extent: &Extent,
        bytes: &[u8],
    ) {
        let position = self.payload_position();
        self.copy(bytes);
        self.extents.push((Extent { position, ..*extent }, Arc::clone(partition)));
    }

    fn copy(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Some(block) = self.block_at(self.cursor) else {
                unreachable!("room was made for these bytes")
            };
            let copied = block.append(bytes);
            self.cursor += copied as u64;
            bytes = bytes.get(copied..).unwrap_or_default();
        }
    }

    fn block_at(&mut self, position: u64) -> Option<&mut BlockWriter> {
        let number = position / BLOCK_BYTES as u64;
        self.blocks.iter_mut().find(|(held, _)| *held == number).map(|(_, block)| block)
    }

    /// Ends the frame: writes both tables, publishes its blocks and begins the
    /// next frame behind it.
    pub(super) fn seal(
        &mut self,
        now: Timestamp,
        take: impl FnMut() -> Option<BlockWriter>,
    ) -> Result<(), NoMemory> {
        if self.extents.is_empty() {
            // A mark: an empty frame still needs its tables laid out.
            self.make_room(0, take)?;
        }
        self.extents.sort_by_key(|(extent, _)| extent.order());
        let payload_len = usize::try_from(self.cursor - self.payload_start()).unwrap_or(0);
        let back_len = self.back_len(self.cursor, self.extents.len());
        let end = self.cursor + back_len;
        let seed = Seed { incarnation: self.incarnation, file: self.file.id, position: self.start };
        let Some(header) = FrameHeader::new(
            self.lsn,
            seed,
            if canary!(SyncedToAhead) { end } else { self.synced_to },
            now,
            self.front_len,
            payload_len,
            self.extents.len(),
        ) else {
            unreachable!("a frame is gathered within what a frame may have")
        };
        let table: Vec<Extent> = self.extents.iter().map(|(extent, _)| *extent).collect();
        let mut front = vec![0; self.front_len];
        frame::encode_front(&header, &table, &mut front);
        let mut back = vec![0; usize::try_from(back_len).unwrap_or(0)];
        frame::encode_back(&header, &table, &mut back);
        let write_from = match self.header.take() {
            Some(file_header) => {
                self.fill(0, &file_header.encode());
                0
            }
            None => self.start,
        };
        self.fill(self.start, &front);
        self.copy(&back);
        debug_assert_eq!(self.cursor, end, "the back table ends the frame");

        let mut blocks = Vec::with_capacity(self.blocks.len());
        for (number, block) in &mut self.blocks {
            if block.filled() > 0 {
                block.publish();
                blocks.push((*number, block.share()));
            }
        }
        // Keep only the block that the next frame goes on in.
        self.blocks.retain(|(_, block)| block.remaining() > 0);
        let payload_start = self.payload_start();
        let mut extents = std::mem::take(&mut self.extents);
        for (extent, _) in &mut extents {
            let Some(located) = extent.located(payload_start) else {
                unreachable!("a log file ends before 4 GiB")
            };
            *extent = located;
        }
        self.file_extents.extend(extents.iter().map(|(extent, _)| *extent));
        let frame = Frame {
            file: Arc::clone(&self.file),
            position: write_from,
            len: end - write_from,
            lsn: self.lsn,
            extents,
            blocks,
            payload_bytes: payload_len as u64,
        };
        self.sealed_bytes += frame.len;
        // Room for a quarter more extents than this frame had.
        self.front_len = frame::front_len(frame.extents.len() + frame.extents.len() / 4);
        self.sealed.push_back(frame);
        self.lsn = self.lsn.next();
        self.start = end;
        self.cursor = end;
        Ok(())
    }

    fn fill(&mut self, mut position: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let within = usize::try_from(position % BLOCK_BYTES as u64).unwrap_or(0);
            let Some(block) = self.block_at(position) else {
                unreachable!("reserved bytes lie in blocks at hand")
            };
            let (head, tail) = bytes.split_at(bytes.len().min(BLOCK_BYTES - within));
            block.fill(within, head);
            position += head.len() as u64;
            bytes = tail;
        }
    }

    /// All sealed frames, for the writer.
    pub(super) fn take_sealed(&mut self) -> Vec<Frame> {
        self.sealed_bytes = 0;
        self.sealed.drain(..).collect()
    }

    /// Goes on in a new file; the frame being gathered must be empty.
    pub(super) fn switch(&mut self, file: Arc<LogFile>, header: FileHeader) -> Vec<Extent> {
        assert!(self.extents.is_empty(), "a file ends with a whole frame");
        self.file = file;
        self.header = Some(header);
        self.start = BLOCK as u64;
        self.cursor = 0;
        self.blocks.clear();
        self.synced_to = 0;
        std::mem::take(&mut self.file_extents)
    }
}
