//! Reading and writing of fixed-width integers in byte slices without a panic.
//! Stored structures are little-endian; record batches are Kafka's and
//! big-endian. Every decoder of this crate stands on [`Reader`].

use millrace_types::{
    LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId,
    TopicPartition,
};

/// A cursor over bytes that may end anywhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

/// The bytes ended before the value did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended;

/// Declares a little-endian read of one integer type.
macro_rules! read {
    ($($name:ident -> $type:ty),*) => {
        $(pub(crate) fn $name(&mut self) -> Result<$type, Ended> {
            self.take().map(<$type>::from_le_bytes)
        })*
    };
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N], Ended> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Ended)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Ended> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Ended)?;
        self.rest = rest;
        Ok(head)
    }

    read!(u8 -> u8, u16 -> u16, u32 -> u32, u64 -> u64, i16 -> i16, i32 -> i32, i64 -> i64);

    /// `count` as a capacity for items that take `item_len` bytes each at least:
    /// refused where the bytes left cannot hold them.
    pub(crate) fn fits(&self, count: u32, item_len: usize) -> Result<usize, Ended> {
        let count = usize::try_from(count).map_err(|_| Ended)?;
        match count.checked_mul(item_len) {
            Some(len) if len <= self.rest.len() => Ok(count),
            _ => Err(Ended),
        }
    }

    pub(crate) fn offset(&mut self) -> Result<Offset, Ended> {
        self.i64().map(Offset)
    }

    pub(crate) fn timestamp(&mut self) -> Result<Timestamp, Ended> {
        self.i64().map(Timestamp)
    }

    pub(crate) fn leader_epoch(&mut self) -> Result<LeaderEpoch, Ended> {
        self.i32().map(LeaderEpoch)
    }

    pub(crate) fn producer_id(&mut self) -> Result<ProducerId, Ended> {
        self.i64().map(ProducerId)
    }

    pub(crate) fn producer_epoch(&mut self) -> Result<ProducerEpoch, Ended> {
        self.i16().map(ProducerEpoch)
    }

    pub(crate) fn sequence(&mut self) -> Result<Sequence, Ended> {
        self.i32().map(Sequence)
    }

    pub(crate) fn partition(&mut self) -> Result<TopicPartition, Ended> {
        let topic = TopicId(self.take()?);
        Ok(TopicPartition::new(topic, PartitionId(self.i32()?)))
    }
}

/// A cursor that fills a slice. What does not fit is dropped and told by
/// [`Writer::finish`], so that the fields of a structure read as a list.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    rest: &'a mut [u8],
    overflowed: bool,
}

impl<'a> Writer<'a> {
    pub(crate) const fn new(out: &'a mut [u8]) -> Self {
        Self { rest: out, overflowed: false }
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> &mut Self {
        let rest = std::mem::take(&mut self.rest);
        match rest.split_at_mut_checked(bytes.len()) {
            Some((head, rest)) => {
                head.copy_from_slice(bytes);
                self.rest = rest;
            }
            None => self.overflowed = true,
        }
        self
    }

    /// Fills the rest with zeros.
    ///
    /// # Panics
    /// If more was written than the slice holds: the caller sized it wrongly,
    /// and the structure would be stored cut off.
    pub(crate) fn finish(self) {
        assert!(!self.overflowed, "a stored structure does not fit the bytes given to it");
        self.rest.fill(0);
    }
}

/// Appends the 20 bytes that name a partition.
pub(crate) fn partition_bytes(partition: TopicPartition) -> [u8; 20] {
    let mut out = [0; 20];
    let mut writer = Writer::new(&mut out);
    writer.put(&partition.topic.0).put(&partition.partition.0.to_le_bytes());
    writer.finish();
    out
}

/// A length in memory as a stored 32-bit one.
///
/// # Panics
/// Above 4 GiB, which no structure of this crate reaches: files, frames and
/// chunks are far smaller.
pub(crate) fn len_u32(len: usize) -> u32 {
    let Ok(len) = u32::try_from(len) else { panic!("{len} bytes exceed a stored length") };
    len
}
