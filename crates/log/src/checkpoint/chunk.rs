//! The bodies of a checkpoint's chunks.

use millrace_types::{FileId, Incarnation, Lsn, TopicId};

use super::{Chunk, FileRecord, HiddenRecord, PartitionRecord};
use crate::{
    frame::FileKind,
    index::Span,
    partition::PartitionSnapshot,
    wire::{Ended, Reader, len_u32, partition_bytes},
};

/// Bytes of a stored file record.
pub(crate) const FILE_RECORD_LEN: usize = 64;
/// Bytes of a stored span.
pub(crate) const SPAN_LEN: usize = 64;
/// Bytes of a partition's chunk before its spans.
pub(crate) const PARTITION_RECORD_LEN: usize = 32;

const FILES: u8 = 1;
const PARTITION: u8 = 2;
const HIDDEN: u8 = 3;
/// The end of a checkpoint; its body is the number of chunks before it.
pub(super) const END: u8 = 255;

impl Chunk {
    pub(super) const fn number(&self) -> u8 {
        match self {
            Self::Files(_) => FILES,
            Self::Partition(_) => PARTITION,
            Self::Hidden(_) => HIDDEN,
        }
    }

    pub(super) fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Files(files) => files.iter().for_each(|file| encode_file(file, out)),
            Self::Partition(record) => {
                out.reserve(PARTITION_RECORD_LEN + record.spans.len() * SPAN_LEN);
                out.extend_from_slice(&partition_bytes(record.partition));
                out.extend_from_slice(&len_u32(record.spans.len()).to_le_bytes());
                out.extend_from_slice(&record.lsn.get().to_le_bytes());
                record.spans.iter().for_each(|span| encode_span(span, out));
                record.state.encode(out);
            }
            Self::Hidden(record) => {
                out.extend_from_slice(&record.topic.0);
                out.extend_from_slice(&record.offset.get().to_le_bytes());
                out.extend_from_slice(&record.state);
            }
        }
    }

    /// Decodes a body whose checksum held.
    pub(super) fn decode(number: u8, body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        match number {
            FILES => {
                let mut files = Vec::with_capacity(body.len() / FILE_RECORD_LEN);
                while !reader.rest().is_empty() {
                    files.push(read_file(&mut reader).ok()??);
                }
                Some(Self::Files(files))
            }
            PARTITION => Some(Self::Partition(Box::new(read_partition(&mut reader)?))),
            HIDDEN => {
                let topic = TopicId(reader.take().ok()?);
                let offset = reader.offset().ok()?;
                Some(Self::Hidden(HiddenRecord { topic, offset, state: reader.rest().to_vec() }))
            }
            _ => None,
        }
    }
}

fn encode_file(record: &FileRecord, out: &mut Vec<u8>) {
    out.extend_from_slice(&record.file.get().to_le_bytes());
    out.extend_from_slice(&[record.kind.number(), u8::from(record.quarantined), 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&record.incarnation.get().to_le_bytes());
    out.extend_from_slice(&record.first_lsn.get().to_le_bytes());
    out.extend_from_slice(&record.last_lsn.get().to_le_bytes());
    out.extend_from_slice(&record.data_end.to_le_bytes());
    out.extend_from_slice(&record.len.to_le_bytes());
    // No file has the id 0.
    out.extend_from_slice(&record.companion.map_or(0, FileId::get).to_le_bytes());
}

fn read_file(reader: &mut Reader<'_>) -> Result<Option<FileRecord>, Ended> {
    let file = FileId(reader.u64()?);
    let [kind, quarantined, ..]: [u8; 8] = reader.take()?;
    let Some(kind) = FileKind::from_number(kind) else { return Ok(None) };
    Ok(Some(FileRecord {
        file,
        kind,
        quarantined: quarantined != 0,
        incarnation: Incarnation(reader.u64()?),
        first_lsn: Lsn(reader.u64()?),
        last_lsn: Lsn(reader.u64()?),
        data_end: reader.u64()?,
        len: reader.u64()?,
        companion: Some(FileId(reader.u64()?)).filter(|file| file.get() != 0),
    }))
}

fn encode_span(span: &Span, out: &mut Vec<u8>) {
    out.extend_from_slice(&span.file.get().to_le_bytes());
    out.extend_from_slice(&span.base_offset.get().to_le_bytes());
    out.extend_from_slice(&span.last_offset.get().to_le_bytes());
    out.extend_from_slice(&span.bytes.to_le_bytes());
    out.extend_from_slice(&span.max_timestamp.get().to_le_bytes());
    out.extend_from_slice(&span.retention_time.get().to_le_bytes());
    out.extend_from_slice(&span.append_time.get().to_le_bytes());
    out.extend_from_slice(&span.extents.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
}

fn read_span(reader: &mut Reader<'_>) -> Result<Span, Ended> {
    let span = Span {
        file: FileId(reader.u64()?),
        base_offset: reader.offset()?,
        last_offset: reader.offset()?,
        bytes: reader.u64()?,
        max_timestamp: reader.timestamp()?,
        retention_time: reader.timestamp()?,
        append_time: reader.timestamp()?,
        extents: reader.u32()?,
    };
    let _pad = reader.u32()?;
    Ok(span)
}

fn read_partition(reader: &mut Reader<'_>) -> Option<PartitionRecord> {
    let partition = reader.partition().ok()?;
    let count = reader.u32().ok()?;
    let lsn = Lsn(reader.u64().ok()?);
    let mut spans: Vec<Span> = Vec::with_capacity(reader.fits(count, SPAN_LEN).ok()?);
    for _ in 0..count {
        let span = read_span(reader).ok()?;
        let follows = spans.last().is_none_or(|before| before.last_offset < span.base_offset);
        let sound = span.base_offset.get() >= 0
            && span.base_offset <= span.last_offset
            && span.last_offset.get() < i64::MAX
            && u32::try_from(span.bytes).is_ok();
        if !follows || !sound {
            return None;
        }
        spans.push(span);
    }
    let state = PartitionSnapshot::decode(reader.rest()).ok()?;
    Some(PartitionRecord { partition, lsn, state, spans })
}
