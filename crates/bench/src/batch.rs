//! Record batches from a template: what a producer sends is built once, and
//! each use patches stamps, header and checksum in place.
//!
//! Invariant: record `n` of every batch of a run stands at the same place with
//! the same length, so that a batch of `n` records is a prefix of the template
//! and no record is ever encoded again. Called by `producer`; `verify` reads
//! the same stamps.

use std::io::Write as _;
use std::sync::Arc;

use millrace_log::batch::{Compression, HEADER_LEN, MAGIC};

use crate::numbers::{self, Random};
use crate::wire::put_varint;

#[cfg(test)]
mod tests;

/// Bytes at the start of each value that say which record it is: run (4),
/// producer (4), sequence (8), intended time in µs since 1970 (8), slot (4).
pub(crate) const STAMP_LEN: usize = 28;
/// Bytes of a key.
pub(crate) const KEY_LEN: usize = 16;
/// Where fillers begin within the pool, at most.
const FILLER_STARTS: usize = 4093;

/// What stands behind the stamp of a value: letters that are the same in every
/// run, different for each slot of a batch.
#[derive(Debug)]
pub(crate) struct Filler {
    pool: Vec<u8>,
}

impl Filler {
    /// Fillers of at most `len` bytes.
    pub(crate) fn new(len: usize) -> Self {
        let mut random = Random::new(1);
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let letter = |n: u64| usize::try_from(n).ok().and_then(|n| letters.get(n)).copied();
        let pool = (0..FILLER_STARTS + len).map(|_| letter(random.below(26)).unwrap_or(b'A'));
        Self { pool: pool.collect() }
    }

    /// The filler of a slot; `None` where it would be longer than any.
    pub(crate) fn get(&self, slot: u32, len: usize) -> Option<&[u8]> {
        let start = numbers::index(slot).wrapping_mul(61) % FILLER_STARTS;
        self.pool.get(start..start.checked_add(len)?)
    }
}

/// Which record a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) run: u32,
    pub(crate) producer: u32,
    pub(crate) sequence: u64,
    /// When it was due, in µs since 1970.
    pub(crate) time: u64,
    pub(crate) slot: u32,
}

impl Stamp {
    pub(crate) fn read(value: &[u8]) -> Option<Self> {
        let (run, rest) = value.split_first_chunk()?;
        let (producer, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (time, rest) = rest.split_first_chunk()?;
        let (slot, _) = rest.split_first_chunk()?;
        Some(Self {
            run: u32::from_be_bytes(*run),
            producer: u32::from_be_bytes(*producer),
            sequence: u64::from_be_bytes(*sequence),
            time: u64::from_be_bytes(*time),
            slot: u32::from_be_bytes(*slot),
        })
    }
}

/// Where a record of the template lies.
#[derive(Clone, Copy, Debug)]
struct Slot {
    key: usize,
    value: usize,
    end: usize,
}

/// What all batches of a run have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Bytes of a value, at least [`STAMP_LEN`].
    pub(crate) record: usize,
    /// Whether records have keys, of [`KEY_LEN`] bytes.
    pub(crate) keyed: bool,
    /// Bytes of a batch at most, before compression.
    pub(crate) batch: usize,
    /// Records of a batch at most.
    pub(crate) records_max: usize,
}

/// The template of a run's batches.
#[derive(Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    compression: Compression,
    keyed: bool,
}

impl Template {
    /// As many records as fit into a batch, at least one.
    pub(crate) fn new(run: u32, sizes: Sizes, filler: &Filler, compression: Compression) -> Self {
        let mut bytes = vec![0; HEADER_LEN];
        let mut slots = Vec::new();
        while slots.len() < sizes.records_max.max(1) {
            let slot = append_record(&mut bytes, run, slots.len(), sizes, filler);
            if slot.end > sizes.batch && !slots.is_empty() {
                bytes.truncate(slots.last().map_or(HEADER_LEN, |slot: &Slot| slot.end));
                break;
            }
            slots.push(slot);
        }
        Self { bytes, slots, compression, keyed: sizes.keyed }
    }

    /// Records of a full batch.
    pub(crate) fn records_max(&self) -> usize {
        self.slots.len()
    }
}

fn append_record(out: &mut Vec<u8>, run: u32, index: usize, sizes: Sizes, filler: &Filler) -> Slot {
    let slot = u32::try_from(index).unwrap_or(u32::MAX);
    // Attributes and timestamp delta, both 0; then the rest up to the value.
    let mut head = vec![0, 0];
    put_varint(&mut head, index);
    let key_at = if sizes.keyed {
        put_varint(&mut head, KEY_LEN);
        head.extend_from_slice(&[b'0'; KEY_LEN]);
        head.len() - KEY_LEN
    } else {
        head.push(1); // -1: null
        0
    };
    put_varint(&mut head, sizes.record);
    put_varint(out, head.len() + sizes.record + 1);
    let start = out.len();
    out.extend_from_slice(&head);
    let value = out.len();
    out.extend_from_slice(&run.to_be_bytes());
    out.extend_from_slice(&[0; STAMP_LEN - 8]);
    out.extend_from_slice(&slot.to_be_bytes());
    out.extend_from_slice(filler.get(slot, sizes.record - STAMP_LEN).unwrap_or_default());
    out.push(0); // headers
    Slot { key: start + key_at, value, end: out.len() }
}

/// A producer's mark on its batches; -1, -1 where it is not idempotent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducerId {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

impl ProducerId {
    /// Of a producer that is not idempotent.
    pub(crate) const NONE: Self = Self { id: -1, epoch: -1 };
}

/// One batch, used over and over.
#[derive(Debug)]
pub(crate) struct Batch {
    template: Arc<Template>,
    bytes: Vec<u8>,
    /// Header and compressed records, where records are compressed.
    packed: Vec<u8>,
    /// Which of its producer's partitions it is for.
    pub(crate) part: usize,
    /// Sequence of its first record within producer and partition.
    pub(crate) first: u64,
    /// When each record was due, in ns since the run began.
    pub(crate) times: Vec<u64>,
}

impl Batch {
    pub(crate) fn new(template: &Arc<Template>) -> Self {
        Self {
            template: Arc::clone(template),
            bytes: template.bytes.clone(),
            packed: Vec::new(),
            part: 0,
            first: 0,
            times: Vec::with_capacity(template.records_max()),
        }
    }

    /// Empties it for records of a partition, the first of which is `first`.
    pub(crate) fn begin(&mut self, part: usize, first: u64) {
        self.times.clear();
        self.part = part;
        self.first = first;
    }

    /// Records in it.
    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.template.records_max()
    }

    /// Appends a record that was due at `due` (ns of the run, `time` µs of the
    /// wall clock); false if it is full.
    pub(crate) fn push(&mut self, producer: u32, due: u64, time: u64, key: Option<u64>) -> bool {
        let Some(slot) = self.template.slots.get(self.times.len()) else { return false };
        let sequence = self.first + numbers::wide(self.times.len());
        put(&mut self.bytes, slot.value + 4, &producer.to_be_bytes());
        put(&mut self.bytes, slot.value + 8, &sequence.to_be_bytes());
        put(&mut self.bytes, slot.value + 16, &time.to_be_bytes());
        if let Some(key) = key.filter(|_| self.template.keyed) {
            put(&mut self.bytes, slot.key, &key_bytes(key));
        }
        self.times.push(due);
        true
    }

    /// Writes header and checksum; `now` in ms since 1970 becomes the
    /// timestamp of its records.
    ///
    /// # Errors
    /// Where the codec fails.
    pub(crate) fn finish(&mut self, producer: ProducerId, now: i64) -> std::io::Result<()> {
        let Some(last) = self.times.len().checked_sub(1) else { return Ok(()) };
        let end = self.template.slots.get(last).map_or(HEADER_LEN, |slot| slot.end);
        let records = self.bytes.get(HEADER_LEN..end).unwrap_or_default();
        let out = if self.template.compression == Compression::None {
            &mut self.bytes
        } else {
            self.packed.clear();
            self.packed.resize(HEADER_LEN, 0);
            compress(self.template.compression, records, &mut self.packed)?;
            &mut self.packed
        };
        let end = if self.template.compression == Compression::None { end } else { out.len() };
        let last = i32::try_from(last).unwrap_or(i32::MAX);
        let base_sequence = if producer.id < 0 {
            -1
        } else {
            // Sequences of batches wrap to 0 after 2^31 - 1.
            i32::try_from(self.first & 0x7fff_ffff).unwrap_or(0)
        };
        let mut header = Vec::with_capacity(HEADER_LEN);
        header.extend_from_slice(&0i64.to_be_bytes());
        header.extend_from_slice(&i32::try_from(end - 12).unwrap_or(i32::MAX).to_be_bytes());
        header.extend_from_slice(&(-1i32).to_be_bytes());
        header.extend_from_slice(&MAGIC.to_be_bytes());
        header.extend_from_slice(&0u32.to_be_bytes()); // the CRC, below
        header.extend_from_slice(&attributes(self.template.compression).to_be_bytes());
        header.extend_from_slice(&last.to_be_bytes());
        header.extend_from_slice(&now.to_be_bytes());
        header.extend_from_slice(&now.to_be_bytes());
        header.extend_from_slice(&producer.id.to_be_bytes());
        header.extend_from_slice(&producer.epoch.to_be_bytes());
        header.extend_from_slice(&base_sequence.to_be_bytes());
        header.extend_from_slice(&last.saturating_add(1).to_be_bytes());
        put(out, 0, &header);
        let crc = crc32c::crc32c(out.get(CRC_FROM..end).unwrap_or_default());
        put(out, CRC_FROM - 4, &crc.to_be_bytes());
        Ok(())
    }

    /// What [`Self::finish`] made.
    pub(crate) fn wire(&self) -> &[u8] {
        if self.template.compression != Compression::None {
            return &self.packed;
        }
        let last = self.times.len().checked_sub(1).and_then(|last| self.template.slots.get(last));
        self.bytes.get(..last.map_or(0, |slot| slot.end)).unwrap_or_default()
    }
}

/// Start of what the CRC covers.
const CRC_FROM: usize = 21;

const fn attributes(compression: Compression) -> u16 {
    match compression {
        Compression::None => 0,
        Compression::Gzip => 1,
        Compression::Snappy => 2,
        Compression::Lz4 => 3,
        Compression::Zstd => 4,
    }
}

fn put(out: &mut [u8], at: usize, field: &[u8]) {
    if let Some(place) = out.get_mut(at..at + field.len()) {
        place.copy_from_slice(field);
    }
}

/// Appends compressed records as Java's clients write them: LZ4 frames of
/// independent blocks, Snappy in xerial's blocks.
fn compress(compression: Compression, records: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    match compression {
        Compression::None => out.extend_from_slice(records),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
            encoder.write_all(records)?;
            encoder.finish()?;
        }
        Compression::Snappy => {
            out.extend_from_slice(b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
            let block = snap::raw::Encoder::new().compress_vec(records)?;
            out.extend_from_slice(&u32::try_from(block.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(&block);
        }
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(out);
            encoder.write_all(records)?;
            encoder.finish()?;
        }
        Compression::Zstd => zstd::stream::copy_encode(records, out, 3)?,
    }
    Ok(())
}

/// The bytes of key `n`.
pub(crate) fn key_bytes(n: u64) -> [u8; KEY_LEN] {
    let mut key = *b"key-000000000000";
    let mut rest = n;
    for place in key.iter_mut().skip(4).rev() {
        *place = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    key
}

/// The partition that Kafka's clients choose for a key: murmur2, as it is in
/// the Java client.
pub(crate) fn partition_of(key: &[u8], partitions: u32) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ u32::try_from(key.len()).unwrap_or(0);
    let (words, tail) = key.as_chunks();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (place, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^= hash >> 15;
    (hash & 0x7fff_ffff).checked_rem(partitions).unwrap_or(0)
}
