//! Batches that come to a sealed partition: their records go to the open
//! partitions that took over, by the hash of their keys.
//!
//! Kafka's producers choose partitions by themselves and know of no seals; they
//! must not die of a split. What a batch becomes keeps its codec, its
//! timestamps and its order for each key; the producer's mark stays with the
//! sealed partition, which goes on sequencing it.
//!
//! Invariant: a batch's records are stored once, however often it is sent.
//! Memory and delay are bounded as in [`crate::validate`]. Called by `append`.

use std::sync::Arc;

use md5::{Digest as _, Md5};
use millrace_coord::ranges::RangeMap;
use millrace_log::{
    batch::{self, BatchBuilder, BatchHeader, Compression, HEADER_LEN},
    compression::{Codec, DecompressError},
    partition::AdmitError,
    records::{self, RecordError},
};
use millrace_store::engine;
use millrace_types::{Offset, PartitionId};

use crate::{
    AppendError, Appended, Appends, Broker, Partition, Topic,
    config::TimestampKind,
    validate::{DECODED_MAX, INLINE_MAX, INLINE_SLOW_MAX},
};

/// Kafka's own default, for batches that their producer compressed.
const GZIP_LEVEL: u32 = 6;
/// Zstandard's own default.
const ZSTD_LEVEL: i32 = 3;

/// Where `key` lies among the hashes: the MD5 of its bytes, as in Kinesis.
#[must_use]
pub fn hash_of_key(key: &[u8]) -> u128 {
    u128::from_be_bytes(Md5::digest(key).into())
}

impl Appends<'_> {
    /// Appends a well-formed batch that was sent to the sealed `partition` to
    /// those that took over. The base offset in the answer is -1: its records
    /// stand in several partitions.
    pub(crate) async fn append_rerouted(
        &self,
        partition: &Arc<Partition>,
        header: &BatchHeader,
        bytes: &[u8],
    ) -> Result<Appended, AppendError> {
        let broker = self.broker;
        let stamp_time = partition.config().timestamp_kind == TimestampKind::LogAppendTime;
        let id = partition.id();
        let mut waiting = vec![id.partition];
        let appended = loop {
            let (topic, map) = broker.routes(id.topic, &waiting).await?;
            let among = map.open_descendants(id.partition);
            let route = Route { map, among, keyless: u128::from(broker.env().random_u64()) };
            let parts = broker.divided(&topic, &route, header, bytes).await?;
            match self.log.append_rerouted(&partition.log, header, &parts, stamp_time).await {
                // They were split or merged in turn.
                Err(engine::AppendError::Admit(AdmitError::Sealed)) => waiting = route.among,
                appended => break appended?,
            }
        };
        let metrics = &broker.metrics;
        if appended.duplicate {
            metrics.duplicates.increment();
        } else {
            metrics.batches_rerouted.increment();
            metrics.batches_in.increment();
            metrics.bytes_in.add(bytes.len() as u64);
            metrics.records_in.add(u64::try_from(header.count).unwrap_or(0));
        }
        Ok(Appended {
            base_offset: told(partition, appended.base_offset, !appended.duplicate),
            append_time: stamp_time.then_some(appended.append_time),
            at: appended.append_time,
            log_start: partition.offsets().log_start,
            lsn: appended.lsn,
        })
    }
}

/// The offset that a producer is told: none where its records stand elsewhere.
pub(crate) fn told(partition: &Partition, base_offset: Offset, rerouted: bool) -> Offset {
    let behind = |end| base_offset >= end;
    if rerouted || partition.log.sealed().is_some_and(behind) { Offset(-1) } else { base_offset }
}

/// Where the records of one batch go.
#[derive(Clone)]
struct Route {
    map: Arc<RangeMap>,
    among: Vec<PartitionId>,
    /// The hash of those without a key: any will do.
    keyless: u128,
}

impl Route {
    fn of(&self, key: Option<&[u8]>) -> Option<PartitionId> {
        self.map.of_hash_among(&self.among, key.map_or(self.keyless, hash_of_key))
    }
}

impl Broker {
    /// A batch for each partition that gets records of this one.
    async fn divided(
        &self,
        topic: &Topic,
        route: &Route,
        header: &BatchHeader,
        bytes: &[u8],
    ) -> Result<Vec<engine::Part>, AppendError> {
        let inline = match header.compression {
            Compression::None | Compression::Snappy | Compression::Lz4 => INLINE_MAX,
            Compression::Gzip | Compression::Zstd => INLINE_SLOW_MAX,
        };
        let batches = match divide(route, header, bytes, inline) {
            Err(RecordError::Decompress(DecompressError::TooLarge { .. })) => {
                let (route, header, bytes) = (route.clone(), *header, bytes.to_vec());
                self.beside(move || divide(&route, &header, &bytes, DECODED_MAX)).await?.0?
            }
            divided => divided?,
        };
        let part = |(id, (header, batch))| {
            let partition = topic.partition(id).ok_or(AppendError::TopicDeleted)?;
            Ok(engine::Part { partition: Arc::clone(&partition.log), header, batch })
        };
        batches.into_iter().map(part).collect()
    }
}

type Batches = Vec<(PartitionId, (BatchHeader, Vec<u8>))>;

/// The records of a batch as one batch for each partition that gets some, in
/// the order in which each was first met.
fn divide(
    route: &Route,
    header: &BatchHeader,
    bytes: &[u8],
    limit: usize,
) -> Result<Batches, RecordError> {
    let body = records::body(header, bytes, limit)?;
    let mut builders: Vec<(PartitionId, BatchBuilder)> = Vec::new();
    for record in records::records(header, &body) {
        let record = record?;
        let Some(id) = route.of(record.key) else { continue };
        let headers: Vec<_> = record.headers.iter().collect();
        let at = builders.iter().position(|(of, _)| *of == id).unwrap_or_else(|| {
            builders.push((id, BatchBuilder::new(header.base_timestamp)));
            builders.len() - 1
        });
        if let Some((_, builder)) = builders.get_mut(at) {
            builder.record(record.timestamp_delta, record.key, record.value, &headers);
        }
    }
    let built = |(id, builder): (PartitionId, BatchBuilder)| {
        let bytes = builder.build();
        let Ok(plain) = BatchHeader::parse(&bytes) else {
            unreachable!("a batch of our own parses")
        };
        let codec = codec(header.compression);
        if codec == Codec::None {
            return (id, (plain, bytes));
        }
        let records = bytes.get(HEADER_LEN..).unwrap_or_default();
        (id, batch::recode(&plain, &bytes, records, codec, plain.max_timestamp))
    };
    Ok(builders.into_iter().map(built).collect())
}

const fn codec(compression: Compression) -> Codec {
    match compression {
        Compression::None => Codec::None,
        Compression::Gzip => Codec::Gzip { level: GZIP_LEVEL },
        Compression::Snappy => Codec::Snappy,
        Compression::Lz4 => Codec::Lz4,
        Compression::Zstd => Codec::Zstd { level: ZSTD_LEVEL },
    }
}
