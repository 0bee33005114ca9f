//! The kinds of request that have a budget: how each is prepared, and what one
//! round of it sends.
//!
//! Versions are those of Kafka 4.3's clients. Producers are idempotent, as
//! theirs are. A round is answered whole before the next one begins.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use millrace_kafka::codec::{
    ApiKey,
    api_versions_request::ApiVersionsRequestData,
    api_versions_response::ApiVersionsResponseData,
    fetch_request::{FetchPartition, FetchRequestData, FetchTopic},
    fetch_response::FetchResponseData,
    metadata_request::{MetadataRequestData, MetadataRequestTopic},
    metadata_response::MetadataResponseData,
    offset_commit_request::{
        OffsetCommitRequestData, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    },
    offset_commit_response::OffsetCommitResponseData,
    produce_request::{PartitionProduceData, ProduceRequestData, TopicProduceData},
    produce_response::ProduceResponseData,
    wire_str, wire_uuid,
};
use millrace_log::batch::{BatchBuilder, ProducerStamp};
use millrace_types::{ProducerEpoch, ProducerId, Sequence, Timestamp};

use crate::{
    client::{ClientError, Clients, Exchange, decode},
    server::{PARTITIONS, TOPIC},
};

/// Rounds before those that count: until pools, buffers and sockets have the
/// size that they keep.
pub(crate) const ROUNDS_WARM: u32 = 25;
/// Rounds that count.
pub(crate) const ROUNDS: u32 = 50;

/// Connections of the kind that has many.
const CONNECTIONS: u32 = 50;
/// Bytes of a batch at most, as `batch.size` of Kafka's producer.
const BATCH_BYTES: usize = 16 << 10;
/// What a reader's wait is bounded by: never reached.
const WAIT_MS: i32 = 60_000;

/// What has a budget.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// In words, for the table.
    pub(crate) what: &'static str,
    /// By which a round's counts are divided.
    pub(crate) requests: u32,
    prepare: fn(&mut Clients) -> Result<Load, ClientError>,
}

/// What sends a kind's next round.
pub(crate) type Load = Box<dyn FnMut(&mut Clients) -> Result<Vec<Exchange>, ClientError>>;

impl Kind {
    pub(crate) fn prepare(&self, clients: &mut Clients) -> Result<Load, ClientError> {
        (self.prepare)(clients)
    }
}

/// All of them, in the order in which they are run.
pub(crate) const KINDS: &[Kind] = &[
    Kind { name: "api_versions", what: "ApiVersions", requests: 1, prepare: api_versions },
    Kind {
        name: "metadata",
        what: "Metadata of a topic of 6 partitions",
        requests: 1,
        prepare: metadata,
    },
    Kind {
        name: "produce_record",
        what: "Produce of one record of 100 B, a commit each",
        requests: 1,
        prepare: |clients| produce_records(clients, 1),
    },
    Kind {
        name: "produce_record_of_50",
        what: "the same by 50 connections in one commit",
        requests: CONNECTIONS,
        prepare: |clients| produce_records(clients, CONNECTIONS),
    },
    Kind {
        name: "produce_batches",
        what: "Produce of 6 batches of 16 KB, a commit each",
        requests: 1,
        prepare: produce_batches,
    },
    Kind {
        name: "fetch_batches",
        what: "Fetch of 6 batches of 16 KB from the cache",
        requests: 1,
        prepare: fetch_batches,
    },
    Kind {
        name: "fetch_nothing",
        what: "Fetch in a session that has nothing new",
        requests: 1,
        prepare: fetch_nothing,
    },
    Kind {
        name: "produce_and_fetch",
        what: "Produce of 6 batches and the Fetch that waits for them",
        requests: 1,
        prepare: produce_and_fetch,
    },
    Kind {
        name: "offset_commit",
        what: "OffsetCommit for 6 partitions, a commit each",
        requests: 1,
        prepare: offset_commit,
    },
];

fn api_versions(clients: &mut Clients) -> Result<Load, ClientError> {
    let connection = clients.connect()?;
    let request = ApiVersionsRequestData::default()
        .with_client_software_name(wire_str("budget"))
        .with_client_software_version(wire_str("1.0"));
    Ok(Box::new(move |clients| {
        let key = ApiKey::ApiVersions;
        Ok(vec![clients.request::<ApiVersionsResponseData>(connection, key, 4, &request)?])
    }))
}

fn metadata(clients: &mut Clients) -> Result<Load, ClientError> {
    let connection = clients.connect()?;
    let topic = MetadataRequestTopic::default().with_name(Some(wire_str(TOPIC)));
    let request = MetadataRequestData::default().with_topics(Some(vec![topic]));
    Ok(Box::new(move |clients| {
        let key = ApiKey::Metadata;
        Ok(vec![clients.request::<MetadataResponseData>(connection, key, 13, &request)?])
    }))
}

fn produce_records(clients: &mut Clients, connections: u32) -> Result<Load, ClientError> {
    let mut producers = Vec::new();
    for _ in 0..connections {
        producers.push(Producer::new(clients.connect()?));
    }
    Ok(Box::new(move |clients| {
        let value = [b'r'; 100];
        producers.iter_mut().map(|producer| producer.produce(clients, 1, &[&value])).collect()
    }))
}

fn produce_batches(clients: &mut Clients) -> Result<Load, ClientError> {
    let mut producer = Producer::new(clients.connect()?);
    Ok(Box::new(move |clients| Ok(vec![producer.produce_batches(clients)?])))
}

fn fetch_batches(clients: &mut Clients) -> Result<Load, ClientError> {
    let mut producer = Producer::new(clients.connect()?);
    let mut reader = Reader::new(clients)?;
    for _ in 0..ROUNDS_WARM + ROUNDS {
        let produce = producer.produce_batches(clients)?;
        clients.round(&[produce])?;
    }
    Ok(Box::new(move |clients| Ok(vec![reader.fetch_batches(clients, &producer)?])))
}

fn fetch_nothing(clients: &mut Clients) -> Result<Load, ClientError> {
    let mut reader = Reader::new(clients)?;
    Ok(Box::new(move |clients| {
        let request = reader.request(clients, 0, false);
        Ok(vec![clients.request::<FetchResponseData>(
            reader.connection,
            ApiKey::Fetch,
            FETCH,
            &request,
        )?])
    }))
}

fn produce_and_fetch(clients: &mut Clients) -> Result<Load, ClientError> {
    let mut producer = Producer::new(clients.connect()?);
    let mut reader = Reader::new(clients)?;
    Ok(Box::new(move |clients| {
        let produce = producer.produce_batches(clients)?;
        Ok(vec![reader.fetch_batches(clients, &producer)?, produce])
    }))
}

fn offset_commit(clients: &mut Clients) -> Result<Load, ClientError> {
    let connection = clients.connect()?;
    let mut offset = 0;
    Ok(Box::new(move |clients| {
        offset += 1;
        let partition = |index| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(index)
                .with_committed_offset(offset)
                .with_committed_metadata(Some(wire_str("")))
        };
        let topic = OffsetCommitRequestTopic::default()
            .with_topic_id(wire_uuid(clients.server.topic))
            .with_partitions((0..PARTITIONS).map(partition).collect());
        let request = OffsetCommitRequestData::default()
            .with_group_id(wire_str("budget"))
            .with_topics(vec![topic]);
        let key = ApiKey::OffsetCommit;
        Ok(vec![clients.request::<OffsetCommitResponseData>(connection, key, 10, &request)?])
    }))
}

const PRODUCE: i16 = 13;
const FETCH: i16 = 17;

/// An idempotent producer with a connection of its own.
struct Producer {
    connection: usize,
    sequence: i32,
    /// Bytes and records of the last batch.
    batch: (usize, i32),
}

impl Producer {
    fn new(connection: usize) -> Self {
        Self { connection, sequence: 0, batch: (0, 0) }
    }

    /// A batch of 16 KB to each partition.
    fn produce_batches(&mut self, clients: &mut Clients) -> Result<Exchange, ClientError> {
        let value = [b'r'; 1000];
        // A record's own fields take up to 12 bytes beside its value.
        let records = (BATCH_BYTES - millrace_log::batch::HEADER_LEN) / (value.len() + 12);
        self.produce(clients, PARTITIONS, &vec![&value[..]; records])
    }

    /// The same records to each of the first `partitions`.
    fn produce(
        &mut self,
        clients: &mut Clients,
        partitions: i32,
        values: &[&[u8]],
    ) -> Result<Exchange, ClientError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Timestamp(i64::try_from(since.as_millis()).unwrap_or_default());
        let id = i64::try_from(self.connection).unwrap_or_default() + 1000;
        let stamp = ProducerStamp {
            id: ProducerId(id),
            epoch: ProducerEpoch(0),
            base_sequence: Sequence(self.sequence),
        };
        let mut batch = BatchBuilder::new(now).producer(stamp);
        for value in values {
            batch.record(0, None, Some(value), &[]);
        }
        let records = Bytes::from(batch.build());
        let count = i32::try_from(values.len()).unwrap_or_default();
        self.batch = (records.len(), count);
        self.sequence += count;
        let partition = |index| {
            PartitionProduceData::default().with_index(index).with_records(Some(records.clone()))
        };
        let topic = TopicProduceData::default()
            .with_topic_id(wire_uuid(clients.server.topic))
            .with_partition_data((0..partitions).map(partition).collect());
        let request = ProduceRequestData::default()
            .with_acks(-1)
            .with_timeout_ms(30_000)
            .with_topic_data(vec![topic]);
        clients.request::<ProduceResponseData>(self.connection, ApiKey::Produce, PRODUCE, &request)
    }
}

/// A consumer of all partitions, in a fetch session that stands at their ends.
struct Reader {
    connection: usize,
    session: i32,
    epoch: i32,
    /// Next offset of each partition.
    offsets: Vec<i64>,
}

impl Reader {
    fn new(clients: &mut Clients) -> Result<Self, ClientError> {
        let connection = clients.connect()?;
        let offsets = vec![0; usize::try_from(PARTITIONS).unwrap_or_default()];
        let mut reader = Self { connection, session: 0, epoch: -1, offsets };
        let ends = reader.request(clients, 0, true);
        let ends: FetchResponseData = clients.call(connection, ApiKey::Fetch, FETCH, &ends)?;
        for partition in ends.responses.iter().flat_map(|topic| &topic.partitions) {
            let index = usize::try_from(partition.partition_index).unwrap_or(usize::MAX);
            if let Some(offset) = reader.offsets.get_mut(index) {
                *offset = partition.high_watermark;
            }
        }
        reader.epoch = 0;
        let full = reader.request(clients, 0, true);
        let full: FetchResponseData = clients.call(connection, ApiKey::Fetch, FETCH, &full)?;
        reader.session = full.session_id;
        Ok(reader)
    }

    /// The session's next request; with the partitions whose offset changed,
    /// which are all or none.
    fn request(&mut self, clients: &Clients, wait_ms: i32, moved: bool) -> FetchRequestData {
        let partition = |(index, offset): (i32, &i64)| {
            FetchPartition::default()
                .with_partition(index)
                .with_fetch_offset(*offset)
                .with_partition_max_bytes(i32::try_from(BATCH_BYTES).unwrap_or(i32::MAX))
        };
        let topic = FetchTopic::default()
            .with_topic_id(wire_uuid(clients.server.topic))
            .with_partitions((0..).zip(&self.offsets).map(partition).collect());
        let request = FetchRequestData::default()
            .with_max_wait_ms(wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(50 << 20)
            .with_session_id(self.session)
            .with_session_epoch(self.epoch)
            .with_topics(if moved { vec![topic] } else { Vec::new() });
        if self.epoch >= 0 {
            self.epoch += 1;
        }
        request
    }

    /// Asks for the next batch of each partition, which has come or will, and
    /// goes on behind it.
    fn fetch_batches(
        &mut self,
        clients: &mut Clients,
        producer: &Producer,
    ) -> Result<Exchange, ClientError> {
        let (bytes, records) = producer.batch;
        let request = self.request(clients, WAIT_MS, true);
        let connection = self.connection;
        let exchange =
            clients.request_checked(connection, ApiKey::Fetch, FETCH, &request, fetched)?;
        for offset in &mut self.offsets {
            *offset += i64::from(records);
        }
        Ok(exchange.bringing(bytes * self.offsets.len()))
    }
}

/// Bytes of records in the answer to a Fetch.
fn fetched(body: Bytes, api: ApiKey, version: i16) -> Result<usize, ClientError> {
    let answer: FetchResponseData = decode(body, api, version)?;
    let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
    Ok(partitions.filter_map(|partition| partition.records.as_ref()).map(Bytes::len).sum())
}
