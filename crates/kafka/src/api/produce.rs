//! Produce (0): appends one batch per partition, and answers when the log is
//! durable up to the last of them.
//!
//! Invariant: the whole request is parsed before its first batch is appended;
//! batches are appended in the request's order, in the part of the handler that
//! runs in order; the response leaves after all of them are durable. The
//! request is read and the response written by hand, so that a request of many
//! empty partitions costs its own bytes and those of its response; one of more
//! than [`ITEMS_MAX`] is refused.

use bytes::{BufMut, Bytes, BytesMut};
use millrace_broker::{AppendError, AppendOptions, Appended, Appends, Broker, Compression, Topic};
use millrace_types::{Lsn, PartitionId, TopicId};
use std::sync::Arc;

use crate::api::{Refusal, Started};
use crate::codec::{self, ErrorCode};
use crate::context::Call;
use crate::errors;
use crate::failure::Failure;
use crate::response::Response;
use crate::wire::{Malformed, Reader, Writer};

/// First version whose topics are named by id.
const TOPIC_IDS: i16 = 13;
/// First version with compact lengths and tagged fields.
const FLEXIBLE: i16 = 9;
/// First version with error messages.
const MESSAGES: i16 = 8;
/// First version that may carry zstd.
const ZSTD: i16 = 7;
/// Oldest version that is carried out; older ones are advertised only because
/// librdkafka takes compression from them (KAFKA-18659).
const SERVED: i16 = 3;
/// Topics and partitions of one request, together: what bounds the response.
const ITEMS_MAX: usize = 200_000;
/// Bytes of the answer for one partition, roughly, to size the response.
const ANSWER_LEN: usize = 40;

const WITHOUT_KEY: &str = "a compacted topic takes no record without a key";
const MISDATED: &str = "the timestamp is out of the range that the topic accepts";
const TRANSACTIONS: &str = "this server has no transactions yet: use an idempotent producer";

/// Appends, and answers once everything appended is durable.
pub(super) async fn start(call: Call, body: Bytes) -> Result<Started, Refusal> {
    let mut request = Request::parse(body, call.version)?;
    let refused = request.refusal(&call);
    let mut answers = Answers::new(&call, &request);
    let mut lsn = None;
    let appends = call.broker().appends();
    while let Some(topic) = request.next_topic()? {
        let known = topic.find(call.broker());
        answers.topic(&topic);
        for _ in 0..topic.partitions {
            let (index, records) = request.next_partition()?;
            let outcome = match (&refused, &known) {
                (Some(failure), _) => Err(failure.clone().into()),
                (None, Some(known)) => append(&call, &appends, known, index, records).await?,
                (None, None) => Err(topic.unknown().into()),
            };
            if let Ok(appended) = &outcome {
                lsn = lsn.max(Some(appended.lsn));
            }
            answers.partition(index, &outcome);
        }
        request.end_topic()?;
        answers.end_topic();
    }
    drop(appends);
    match request.acks {
        // The only way to tell a producer that asked for no answer.
        0 if answers.error != ErrorCode::None => {
            Err(Refusal::Close("a batch sent with acks=0 was refused"))
        }
        0 => Ok(Started::Silent),
        _ => Ok(answers.finish(lsn)),
    }
}

type Outcome = Result<Appended, Refused>;

/// A batch that was not appended.
struct Refused {
    failure: Failure,
    /// The records that are to blame, by their index, where not all are.
    records: Vec<i32>,
    /// What is wrong with each of them.
    why: &'static str,
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self { failure, records: Vec::new(), why: "" }
    }
}

impl Refused {
    fn new(error: AppendError) -> Result<Self, Refusal> {
        let failure = errors::append(&error)?;
        Ok(match error {
            AppendError::WithoutKey { records } => Self { failure, records, why: WITHOUT_KEY },
            AppendError::Timestamp { records, .. } => Self { failure, records, why: MISDATED },
            _ => failure.into(),
        })
    }
}

async fn append(
    call: &Call,
    appends: &Appends<'_>,
    topic: &Topic,
    index: i32,
    records: Option<Bytes>,
) -> Result<Outcome, Refusal> {
    let Some(partition) = topic.partition(PartitionId(index)) else {
        return Ok(Err(Failure::new(ErrorCode::UnknownTopicOrPartition).into()));
    };
    let batch = records.unwrap_or_default();
    if let Some(failure) = one_batch(&batch) {
        return Ok(Err(failure.into()));
    }
    let compression_max = if call.version < ZSTD { Compression::Lz4 } else { Compression::Zstd };
    let options = AppendOptions { compression_max };
    match appends.append(&partition, &batch, &options).await {
        Ok(appended) => Ok(Ok(appended)),
        Err(error) => Ok(Err(Refused::new(error)?)),
    }
}

/// What Kafka refuses before it looks into a batch: a partition's records must
/// be exactly one batch of magic 2.
fn one_batch(records: &[u8]) -> Option<Failure> {
    const LOG_OVERHEAD: usize = 12;
    const MAGIC_AT: usize = 16;
    let invalid = |why| Some(Failure::because(ErrorCode::InvalidRecord, why));
    let Some(magic) = records.get(MAGIC_AT) else {
        return invalid("a partition's records must be exactly one record batch");
    };
    if *magic != 2 {
        return invalid("record batches must have magic 2");
    }
    let length = records.get(8..LOG_OVERHEAD)?.try_into().map(i32::from_be_bytes).ok()?;
    let first = usize::try_from(length).ok()?.checked_add(LOG_OVERHEAD)?;
    if first < records.len() {
        return invalid("a partition's records must be exactly one record batch");
    }
    None
}

/// A request, read as it is carried out.
struct Request {
    reader: Reader,
    version: i16,
    transactional: bool,
    acks: i16,
    topics: usize,
    topics_left: usize,
    partitions: usize,
}

/// A topic of the request.
struct RequestedTopic {
    name: Bytes,
    id: TopicId,
    partitions: usize,
}

impl RequestedTopic {
    fn name(&self) -> &str {
        std::str::from_utf8(&self.name).unwrap_or_default()
    }

    fn is_by_id(&self) -> bool {
        self.id != TopicId::default()
    }

    fn find(&self, broker: &Broker) -> Option<Arc<Topic>> {
        if self.is_by_id() { broker.topic_by_id(self.id) } else { broker.topic(self.name()) }
    }

    fn unknown(&self) -> Failure {
        Failure::new(if self.is_by_id() {
            ErrorCode::UnknownTopicId
        } else {
            ErrorCode::UnknownTopicOrPartition
        })
    }
}

impl Request {
    /// Reads the head, and walks through the rest once to see that it is whole.
    fn parse(body: Bytes, version: i16) -> Result<Self, Refusal> {
        let mut reader = Reader::new(body, version >= FLEXIBLE);
        let transactional = version >= SERVED && reader.string()?.is_some();
        let acks = reader.i16()?;
        reader.i32()?; // The time-out is for replication, which there is none of.
        let topics = reader.array()?;
        let mut request = Self {
            reader,
            version,
            transactional,
            acks,
            topics,
            topics_left: topics,
            partitions: 0,
        };
        let start = request.reader.clone();
        let mut partitions = 0_usize;
        while let Some(topic) = request.next_topic()? {
            for _ in 0..topic.partitions.min(ITEMS_MAX + 1) {
                request.next_partition()?;
            }
            partitions = partitions.saturating_add(topic.partitions);
            if partitions.saturating_add(topics) > ITEMS_MAX {
                return Err(Refusal::Close("more than 200000 topics and partitions in a request"));
            }
            request.end_topic()?;
        }
        request.reader.tags()?;
        Ok(Self { reader: start, topics_left: topics, partitions, ..request })
    }

    /// Why no partition of this request is appended to.
    fn refusal(&self, call: &Call) -> Option<Failure> {
        if self.version < SERVED {
            return Some(Failure::new(ErrorCode::UnsupportedVersion));
        }
        if self.transactional {
            let code = ErrorCode::TransactionalIdAuthorizationFailed;
            if self.version < MESSAGES && call.context.front.notices.due("transactional produce") {
                tracing::warn!(client = call.client_id(), "{TRANSACTIONS}");
            }
            return Some(Failure::because(code, TRANSACTIONS));
        }
        let known = matches!(self.acks, -1..=1);
        (!known).then(|| Failure::new(ErrorCode::InvalidRequiredAcks))
    }

    fn next_topic(&mut self) -> Result<Option<RequestedTopic>, Malformed> {
        let Some(left) = self.topics_left.checked_sub(1) else { return Ok(None) };
        self.topics_left = left;
        let mut topic =
            RequestedTopic { name: Bytes::new(), id: TopicId::default(), partitions: 0 };
        if self.version >= TOPIC_IDS {
            topic.id = self.reader.topic_id()?;
        } else {
            topic.name = self.reader.string()?.ok_or(Malformed)?;
        }
        topic.partitions = self.reader.array()?;
        Ok(Some(topic))
    }

    fn next_partition(&mut self) -> Result<(i32, Option<Bytes>), Malformed> {
        let partition = (self.reader.i32()?, self.reader.bytes()?);
        self.reader.tags()?;
        Ok(partition)
    }

    fn end_topic(&mut self) -> Result<(), Malformed> {
        self.reader.tags()
    }
}

/// The response, written as the request is carried out.
struct Answers {
    writer: Writer,
    version: i16,
    /// The first error.
    error: ErrorCode,
}

impl Answers {
    fn new(call: &Call, request: &Request) -> Self {
        let size = 64 + request.topics * 64 + request.partitions * ANSWER_LEN;
        // Acks of 0 write an answer that nobody gets: it tells whether to close.
        let mut out = BytesMut::with_capacity(if request.acks == 0 { 0 } else { size });
        codec::begin_response(&mut out, call.api.key as i16, call.version, call.correlation_id);
        let mut writer = Writer::new(out, call.version >= FLEXIBLE);
        writer.array(request.topics);
        Self { writer, version: call.version, error: ErrorCode::None }
    }

    fn topic(&mut self, topic: &RequestedTopic) {
        if self.version >= TOPIC_IDS {
            self.writer.out.put_slice(&topic.id.0);
        } else {
            self.writer.string(Some(topic.name()));
        }
        self.writer.array(topic.partitions);
    }

    fn partition(&mut self, index: i32, outcome: &Outcome) {
        let none = (-1, -1, -1);
        let (base, time, start) = outcome.as_ref().map_or(none, |appended| {
            let time = appended.append_time.map_or(-1, |time| time.get());
            (appended.base_offset.get(), time, appended.log_start.get())
        });
        let refused = outcome.as_ref().err();
        let failure = refused.map(|refused| &refused.failure);
        let code = failure.map_or(ErrorCode::None, |failure| failure.code);
        if self.error == ErrorCode::None {
            self.error = code;
        }
        let out = &mut self.writer.out;
        out.put_i32(index);
        out.put_i16(code.code());
        out.put_i64(base);
        if self.version >= 2 {
            out.put_i64(time);
        }
        if self.version >= 5 {
            out.put_i64(start);
        }
        if self.version >= MESSAGES {
            self.records(refused);
            self.writer.string(failure.and_then(|failure| failure.message.as_deref()));
        }
        self.writer.no_tags();
    }

    /// The records of a batch that are to blame.
    fn records(&mut self, refused: Option<&Refused>) {
        let (records, why) = refused.map_or((&[][..], ""), |of| (&of.records, of.why));
        self.writer.array(records.len());
        for record in records {
            self.writer.out.put_i32(*record);
            self.writer.string(Some(why));
            self.writer.no_tags();
        }
    }

    fn end_topic(&mut self) {
        self.writer.no_tags();
    }

    fn finish(mut self, lsn: Option<Lsn>) -> Started {
        if self.version >= 1 {
            self.writer.out.put_i32(0); // Throttle time.
        }
        self.writer.no_tags();
        let mut out = self.writer.out;
        codec::finish_length(&mut out, 0);
        let response = Response::from(out.freeze()).with_error(self.error.code());
        match lsn {
            Some(lsn) => Started::Durable(lsn, response),
            None => Started::Done(response),
        }
    }
}

#[cfg(test)]
mod tests;
