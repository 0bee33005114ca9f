//! Fetch, versions 12 (names) and 13 (ids): sessions' requests, and answers.
//!
//! Invariant: records are handed out as slices of the response. Called by
//! `reader`.

use crate::cluster::Topic;
use crate::wire::{Malformed, Reader, begin_request, finish_request, put_compact_len};

pub(crate) const KEY: i16 = 1;
/// Versions that are spoken.
pub(crate) const VERSIONS: (i16, i16) = (12, 13);

/// How much a reader asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) wait_ms: i32,
    pub(crate) bytes_min: i32,
    pub(crate) bytes_max: i32,
    pub(crate) partition_bytes_max: i32,
}

/// Which request of which session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) id: i32,
    pub(crate) epoch: i32,
}

/// Encodes a request for partitions, each with the offset to read from. In a
/// session that is under way they are only those whose offset changed.
pub(crate) fn encode(
    out: &mut Vec<u8>,
    version: i16,
    correlation_id: i32,
    session: Session,
    limits: &Limits,
    topic: &Topic,
    partitions: impl ExactSizeIterator<Item = (i32, i64)>,
) {
    begin_request(out, KEY, version, correlation_id);
    out.extend_from_slice(&(-1i32).to_be_bytes()); // replica: a consumer
    out.extend_from_slice(&limits.wait_ms.to_be_bytes());
    out.extend_from_slice(&limits.bytes_min.to_be_bytes());
    out.extend_from_slice(&limits.bytes_max.to_be_bytes());
    out.push(0); // isolation: read uncommitted
    out.extend_from_slice(&session.id.to_be_bytes());
    out.extend_from_slice(&session.epoch.to_be_bytes());
    let count = partitions.len();
    put_compact_len(out, usize::from(count > 0));
    if count > 0 {
        topic.put(out, version >= 13);
        put_compact_len(out, count);
        for (partition, offset) in partitions {
            out.extend_from_slice(&partition.to_be_bytes());
            out.extend_from_slice(&(-1i32).to_be_bytes()); // leader epoch: unknown
            out.extend_from_slice(&offset.to_be_bytes());
            out.extend_from_slice(&(-1i32).to_be_bytes()); // last fetched epoch
            out.extend_from_slice(&(-1i64).to_be_bytes()); // log start: followers only
            out.extend_from_slice(&limits.partition_bytes_max.to_be_bytes());
            out.push(0);
        }
        out.push(0);
    }
    put_compact_len(out, 0); // forgotten topics
    put_compact_len(out, 0); // rack
    out.push(0);
    finish_request(out, 0);
}

/// What stands before the partitions of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Top {
    pub(crate) throttle_ms: i32,
    pub(crate) error: i16,
    pub(crate) session: i32,
}

/// What a server answered for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    pub(crate) partition: i32,
    pub(crate) error: i16,
    pub(crate) log_start: i64,
    pub(crate) records: &'a [u8],
}

/// Reads the part before the partitions.
///
/// # Errors
/// Where it is malformed.
pub(crate) fn top(reader: &mut Reader<'_>) -> Result<Top, Malformed> {
    Ok(Top { throttle_ms: reader.i32()?, error: reader.i16()?, session: reader.i32()? })
}

/// Hands out what was answered for each partition, after [`top`].
///
/// # Errors
/// Where the response is malformed.
pub(crate) fn partitions<'a>(
    reader: &mut Reader<'a>,
    version: i16,
    mut each: impl FnMut(Answer<'a>),
) -> Result<(), Malformed> {
    for _ in 0..reader.array()? {
        Topic::skip(reader, version >= 13)?;
        for _ in 0..reader.array()? {
            let partition = reader.i32()?;
            let error = reader.i16()?;
            let _high_watermark = reader.i64()?;
            let _last_stable = reader.i64()?;
            let log_start = reader.i64()?;
            for _ in 0..reader.array()? {
                let _producer = reader.i64()?;
                let _first = reader.i64()?;
                reader.tags()?;
            }
            let _preferred = reader.i32()?;
            let records = reader.compact_bytes()?;
            reader.tags()?;
            each(Answer { partition, error, log_start, records });
        }
        reader.tags()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use kacrab_protocol::generated::{fetch_request, fetch_response};

    use super::*;

    const LIMITS: Limits =
        Limits { wait_ms: 1, bytes_min: 2, bytes_max: 3, partition_bytes_max: 4 };

    fn read(version: i16, partitions: &[(i32, i64)]) -> fetch_request::FetchRequestData {
        let topic = Topic { name: "mill".to_owned(), id: [7; 16] };
        let mut out = Vec::new();
        let session = Session { id: 8, epoch: 9 };
        encode(&mut out, version, 5, session, &LIMITS, &topic, partitions.iter().copied());
        let mut body = Bytes::copy_from_slice(&out[4 + 8 + 2 + crate::CLIENT_ID.len() + 1..]);
        let request = fetch_request::FetchRequestData::read(&mut body, version).unwrap();
        assert!(body.is_empty());
        assert_eq!((request.session_id, request.session_epoch), (8, 9));
        assert_eq!((request.max_wait_ms, request.min_bytes, request.max_bytes), (1, 2, 3));
        request
    }

    #[test]
    fn requests_are_the_schemas() {
        for version in VERSIONS.0..=VERSIONS.1 {
            let request = read(version, &[(4, 100), (6, 200)]);
            let [topic] = &request.topics[..] else { panic!("one topic") };
            let asked: Vec<_> =
                topic.partitions.iter().map(|p| (p.partition, p.fetch_offset)).collect();
            assert_eq!(asked, [(4, 100), (6, 200)]);
            assert_eq!(topic.partitions[0].partition_max_bytes, 4);
            assert!(read(version, &[]).topics.is_empty());
        }
    }

    #[test]
    fn responses_are_the_schemas() {
        for version in VERSIONS.0..=VERSIONS.1 {
            let partition = fetch_response::PartitionData::default()
                .with_partition_index(4)
                .with_error_code(1)
                .with_log_start_offset(7)
                .with_records(Some(Bytes::from_static(b"records")));
            let topic =
                fetch_response::FetchableTopicResponse::default().with_partitions(vec![partition]);
            let response = fetch_response::FetchResponseData::default()
                .with_responses(vec![topic])
                .with_session_id(3)
                .with_throttle_time_ms(12);
            let mut out = BytesMut::new();
            response.write(&mut out, version).unwrap();
            let mut reader = Reader::new(&out);
            assert_eq!(top(&mut reader), Ok(Top { throttle_ms: 12, error: 0, session: 3 }));
            let mut answers = Vec::new();
            partitions(&mut reader, version, |answer| answers.push(answer)).unwrap();
            let records = b"records".as_slice();
            assert_eq!(answers, [Answer { partition: 4, error: 1, log_start: 7, records }]);
        }
    }
}
