//! Produce, versions 9 to 13: the request around the batches, and the answer.
//!
//! Invariant: batches are not copied; the request is written as the pieces of
//! its head with the batches between them. Called by `producer`.

use crate::cluster::Topic;
use crate::wire::{Malformed, Reader, begin_request, finish_request, put_compact_len, put_uvarint};

pub(crate) const KEY: i16 = 0;
/// Versions that are spoken: flexible ones, with names (to 12) or ids (13).
pub(crate) const VERSIONS: (i16, i16) = (9, 13);
/// How long a server may wait for its replicas, in ms.
const TIMEOUT_MS: i32 = 30_000;

/// Everything of a request but its batches.
#[derive(Debug, Default)]
pub(crate) struct Head {
    bytes: Vec<u8>,
    /// Where in `bytes` each batch belongs.
    cuts: Vec<usize>,
}

impl Head {
    /// A request with one batch of each given length for each partition.
    pub(crate) fn encode(
        &mut self,
        version: i16,
        correlation_id: i32,
        acks: i16,
        topic: &Topic,
        batches: impl ExactSizeIterator<Item = (i32, usize)>,
    ) {
        let out = &mut self.bytes;
        self.cuts.clear();
        begin_request(out, KEY, version, correlation_id);
        out.push(0); // transactional id: null
        out.extend_from_slice(&acks.to_be_bytes());
        out.extend_from_slice(&TIMEOUT_MS.to_be_bytes());
        put_compact_len(out, 1);
        topic.put(out, version >= 13);
        put_compact_len(out, batches.len());
        let mut payload = 0;
        for (partition, len) in batches {
            out.extend_from_slice(&partition.to_be_bytes());
            put_uvarint(out, u32::try_from(len).unwrap_or(u32::MAX).saturating_add(1));
            self.cuts.push(out.len());
            payload += len;
            out.push(0); // tags of the partition
        }
        out.extend_from_slice(&[0, 0]); // tags of the topic and of the request
        finish_request(out, payload);
    }

    /// The pieces of the request in order, with its batches.
    pub(crate) fn pieces<'a>(
        &'a self,
        batches: impl Iterator<Item = &'a [u8]>,
    ) -> impl Iterator<Item = &'a [u8]> {
        let mut from = 0;
        let between = self.cuts.iter().zip(batches).flat_map(move |(&cut, batch)| {
            let piece = self.bytes.get(from..cut).unwrap_or_default();
            from = cut;
            [piece, batch]
        });
        let last = self.cuts.last().copied().unwrap_or(0);
        between.chain(std::iter::once(self.bytes.get(last..).unwrap_or_default()))
    }

    /// Bytes without the batches.
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// What a server answered for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    pub(crate) partition: i32,
    pub(crate) error: i16,
    pub(crate) base_offset: i64,
    /// The server's own words, or nothing.
    pub(crate) message: &'a [u8],
}

/// Correlation id and body of a response.
///
/// # Errors
/// Where there is no header.
pub(crate) fn header(frame: &[u8]) -> Result<(i32, Reader<'_>), Malformed> {
    let mut reader = Reader::new(frame);
    let correlation_id = reader.i32()?;
    reader.tags()?;
    Ok((correlation_id, reader))
}

/// Hands out the answers; returns for how many ms the server asks to be left
/// alone.
///
/// # Errors
/// Where the response is malformed.
pub(crate) fn decode<'a>(
    reader: &mut Reader<'a>,
    version: i16,
    mut each: impl FnMut(Answer<'a>),
) -> Result<i32, Malformed> {
    for _ in 0..reader.array()? {
        Topic::skip(reader, version >= 13)?;
        for _ in 0..reader.array()? {
            let partition = reader.i32()?;
            let error = reader.i16()?;
            let base_offset = reader.i64()?;
            let _append_time = reader.i64()?;
            let _log_start = reader.i64()?;
            for _ in 0..reader.array()? {
                let _index = reader.i32()?;
                reader.compact_bytes()?;
                reader.tags()?;
            }
            let message = reader.compact_bytes()?;
            reader.tags()?;
            each(Answer { partition, error, base_offset, message });
        }
        reader.tags()?;
    }
    reader.i32()
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use kacrab_protocol::generated::{produce_request, produce_response};

    use super::*;

    fn topic() -> Topic {
        Topic { name: "mill".to_owned(), id: [7; 16] }
    }

    /// What is written by hand is what the schema's codec reads.
    #[test]
    fn requests_are_the_schemas() {
        for version in VERSIONS.0..=VERSIONS.1 {
            let batches: [(i32, &[u8]); 2] = [(3, b"first"), (5, b"second batch")];
            let mut head = Head::default();
            head.encode(version, 11, -1, &topic(), batches.iter().map(|(p, b)| (*p, b.len())));
            let pieces: Vec<u8> =
                head.pieces(batches.iter().map(|(_, b)| *b)).flatten().copied().collect();
            assert_eq!(pieces.len(), head.len() + 17);
            let (length, rest) = pieces.split_first_chunk().unwrap();
            assert_eq!(usize::try_from(i32::from_be_bytes(*length)).unwrap(), rest.len());
            let mut body = Bytes::copy_from_slice(&rest[8 + 2 + crate::CLIENT_ID.len() + 1..]);
            let request = produce_request::ProduceRequestData::read(&mut body, version).unwrap();
            assert!(body.is_empty());
            assert_eq!((request.acks, request.transactional_id), (-1, None));
            let [data] = &request.topic_data[..] else { panic!("one topic") };
            if version >= 13 {
                assert_eq!(data.topic_id.to_bytes(), [7; 16]);
            } else {
                assert_eq!(data.name.as_str(), "mill");
            }
            for (data, (partition, batch)) in data.partition_data.iter().zip(batches) {
                assert_eq!(data.index, partition);
                assert_eq!(data.records.as_deref(), Some(batch));
            }
        }
    }

    #[test]
    fn responses_are_the_schemas() {
        for version in VERSIONS.0..=VERSIONS.1 {
            let partition = produce_response::PartitionProduceResponse::default()
                .with_index(4)
                .with_error_code(6)
                .with_base_offset(99)
                .with_error_message(Some("moved".to_owned().into()));
            let topic = produce_response::TopicProduceResponse::default()
                .with_partition_responses(vec![partition]);
            let response = produce_response::ProduceResponseData::default()
                .with_responses(vec![topic])
                .with_throttle_time_ms(12);
            let mut out = BytesMut::new();
            response.write(&mut out, version).unwrap();
            let mut answers = Vec::new();
            let throttle = decode(&mut Reader::new(&out), version, |answer| answers.push(answer));
            assert_eq!(throttle, Ok(12));
            let message = b"moved".as_slice();
            assert_eq!(answers, [Answer { partition: 4, error: 6, base_offset: 99, message }]);
            for cut in 0..out.len().saturating_sub(5) {
                let cut = decode(&mut Reader::new(&out[..cut]), version, |_| ());
                assert_eq!(cut, Err(Malformed));
            }
        }
    }
}
