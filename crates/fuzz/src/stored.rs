//! What stands in log files and checkpoints.
//!
//! Inputs leave out the zeros that pad structures to a block, so that they stay
//! small: a frame's front is its header and table, its back the table and the
//! header, a footer its parts and the trailer.

use millrace_log::{
    BLOCK,
    checkpoint::{self, CheckpointWriter, Chunk},
    frame::{
        self, EXTENT_LEN, Extent, FRAME_HEADER_LEN, FileHeader, Footer, FooterError, FrameError,
        FrameHeader, TRAILER_LEN, Trailer,
    },
    partition::Partition,
};
use millrace_types::{FileId, Incarnation, Offset};

use crate::memory::bounded;

pub mod mend;
mod samples;

pub use samples::{
    checkpoint_seeds, companion_seeds, file_header_seeds, footer_seeds, frame_back_seeds,
    frame_front_seeds,
};
pub(crate) use samples::{partition_of, producer_stamp, snapshots};

/// Memory that a decoder may take for each byte of a table of extents.
const MEMORY_PER_BYTE: usize = 2;

/// Header and table before a frame's payload.
pub fn frame_front(bytes: &[u8]) {
    check_front(bytes);
    check_front(&mend::front(bytes));
}

fn check_front(bytes: &[u8]) {
    let Ok(peeked) = FrameHeader::peek(bytes) else { return };
    let decode = || frame::decode_front(bytes, peeked.seed());
    let decoded = bounded(bytes.len() * MEMORY_PER_BYTE, decode);
    let (header, extents) = match decoded {
        Ok(decoded) => decoded,
        Err(FrameError::Truncated { needed, .. }) => {
            assert!(needed > bytes.len(), "says truncated, and has all of {needed} bytes");
            return;
        }
        Err(_) => return,
    };
    assert_eq!(header, peeked);
    check_frame(&header, &extents);
    // Elsewhere it is no frame.
    let mut seed = header.seed();
    seed.file.0 ^= 1;
    assert!(frame::decode_front(bytes, seed).is_err());

    let mut again = vec![0; header.front_len as usize];
    frame::encode_front(&header, &extents, &mut again);
    assert_eq!(frame::decode_front(&again, header.seed()), Ok((header, extents)));
}

/// Table and header behind a frame's payload.
pub fn frame_back(bytes: &[u8]) {
    check_back(bytes);
    check_back(&mend::back(bytes));
}

fn check_back(bytes: &[u8]) {
    let Some(at) = bytes.len().checked_sub(FRAME_HEADER_LEN) else { return };
    let field =
        |from: usize| u64::from_le_bytes(bytes[at + from..at + from + 8].try_into().unwrap());
    let (incarnation, file, position) = (Incarnation(field(32)), FileId(field(40)), field(48));
    let frame_len = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap());
    let end = position.wrapping_add(u64::from(frame_len));
    let decode = || frame::decode_back(bytes, incarnation, file, end);
    let Ok((header, extents)) = bounded(bytes.len() * MEMORY_PER_BYTE, decode) else { return };
    assert_eq!(header.end(), end);
    check_frame(&header, &extents);

    let payload_end = header.front_len as usize + header.payload_len as usize;
    let mut again = vec![0; frame::back_len(payload_end, extents.len())];
    frame::encode_back(&header, &extents, &mut again);
    let decoded = frame::decode_back(&again, incarnation, file, end);
    assert_eq!(decoded, Ok((header, extents)));
}

fn check_frame(header: &FrameHeader, extents: &[Extent]) {
    assert_eq!(extents.len(), header.extents as usize);
    assert!(extents.is_sorted_by_key(Extent::order));
    assert!((header.frame_len as usize).is_multiple_of(BLOCK));
    assert!(header.front_len as usize >= header.table_len());
    for extent in extents {
        check_extent(extent, header.payload_len);
        // What recovery goes on with.
        if let Some(located) = extent.located(header.payload_position()) {
            assert!(u64::from(located.position) + u64::from(located.len) <= header.end());
        }
    }
}

fn check_extent(extent: &Extent, end: u32) {
    assert!(extent.base_offset >= Offset::ZERO && extent.base_offset <= extent.last_offset());
    assert!(extent.last_offset() < extent.next_offset());
    assert!(extent.position.checked_add(extent.len).is_some_and(|to| to <= end));
}

/// The first block of a log file.
pub fn file_header(bytes: &[u8]) {
    for bytes in [bytes.to_vec(), mend::file_header(bytes)] {
        let Ok(header) = bounded(0, || FileHeader::decode(&bytes)) else { continue };
        assert_eq!(FileHeader::decode(&header.encode()), Ok(header));
    }
}

/// The end of a sealed file.
pub fn footer(bytes: &[u8]) {
    check_footer(bytes);
    check_footer(&mend::footer(bytes));
}

/// A file that is the footer of another: its header, and the footer behind it.
pub fn companion(bytes: &[u8]) {
    let Some((header, rest)) = bytes.split_at_checked(mend::FILE_HEADER_USED) else { return };
    file_header(header);
    footer(rest);
}

/// Reads a footer as the engine does: the trailer, the directory, and then the
/// extents of each partition.
fn check_footer(bytes: &[u8]) {
    let Some((body, trailer)) = bytes.split_at_checked(bytes.len().saturating_sub(TRAILER_LEN))
    else {
        return;
    };
    let table_position = mend::table_position(trailer);
    let file_len = (bytes.len() as u64).checked_add(table_position);
    let Some(file_len) = file_len.and_then(|len| len.checked_next_multiple_of(BLOCK as u64)) else {
        return;
    };
    let Ok(trailer) = bounded(0, || Trailer::decode(trailer, file_len)) else { return };
    let part = |range: std::ops::Range<u64>| {
        let (from, to) = (range.start - table_position, range.end - table_position);
        body.get(from.min(body.len() as u64) as usize..to.min(body.len() as u64) as usize)
            .unwrap_or_default()
    };
    let summary = part(trailer.summary_range());
    let decode = || Footer::decode(trailer, summary);
    let Ok(footer) = bounded(summary.len() * MEMORY_PER_BYTE, decode) else { return };
    let mut extents = Vec::new();
    for entry in &footer.directory {
        assert_eq!(footer.find(entry.partition), Some(entry));
        let table = part(entry.extents_range(&trailer));
        let decode = || frame::decode_extents(&trailer, entry, table);
        match bounded(table.len() * MEMORY_PER_BYTE, decode) {
            Ok(found) => extents.extend(found),
            Err(FooterError::Truncated { needed, .. }) => assert!(needed > table.len() as u64),
            Err(_) => {}
        }
    }
    if extents.len() != trailer.extents as usize {
        return;
    }
    let end = u32::try_from(trailer.info.data_end).unwrap_or(u32::MAX);
    extents.iter().for_each(|extent| check_extent(extent, end));

    let again = frame::encode_footer(table_position, trailer.info, &extents, &footer.inputs);
    let again_trailer = Trailer::decode(&again, table_position + again.len() as u64).unwrap();
    let summary = again_trailer.summary_range();
    let summary =
        (summary.start - table_position) as usize..(summary.end - table_position) as usize;
    let again_footer = Footer::decode(again_trailer, &again[summary]).unwrap();
    assert_eq!(again_footer.inputs, footer.inputs);
    let table = &again[..extents.len() * EXTENT_LEN];
    let mut from = 0;
    for entry in &again_footer.directory {
        let to = from + entry.extents as usize;
        let decoded = frame::decode_extents(
            &again_trailer,
            entry,
            &table[from * EXTENT_LEN..to * EXTENT_LEN],
        );
        assert_eq!(decoded.as_deref(), Ok(&extents[from..to]));
        from = to;
    }
}

/// A whole checkpoint.
pub fn checkpoint(bytes: &[u8]) {
    check_checkpoint(bytes);
    check_checkpoint(&mend::checkpoint(bytes));
}

fn check_checkpoint(bytes: &[u8]) {
    // A stored producer of one batch is 56 bytes, and 136 in memory.
    let read = || {
        let (header, chunks) = checkpoint::read(bytes).ok()?;
        Some((header, chunks.collect::<Vec<_>>()))
    };
    let Some((header, chunks)) = bounded(16 * bytes.len() + 4096, read) else { return };
    let sound: Vec<&Chunk> = chunks.iter().filter_map(|chunk| chunk.as_ref().ok()).collect();
    let mut again = Vec::new();
    let mut writer = CheckpointWriter::new(&header, &mut again);
    sound.iter().for_each(|chunk| writer.chunk(chunk, &mut again));
    writer.finish(&mut again);
    let (header_again, chunks_again) = checkpoint::read(&again).unwrap();
    assert_eq!(header_again, header);
    let chunks_again: Vec<Chunk> = chunks_again.map(Result::unwrap).collect();
    assert!(chunks_again.iter().eq(sound.iter().copied()));
    for chunk in chunks_again {
        if let Chunk::Partition(record) = chunk {
            let log_start = record.state.log_start;
            let index = millrace_log::index::PartitionIndex::restore(log_start, record.spans);
            let _end = index.end();
            let _live = index.live_bytes().count();
            let _state = Partition::restore(record.state).snapshot();
        }
    }
}
