//! What is looked for inside a batch, and the form in which a topic stores it.
//!
//! Most batches are stored as they were sent, and nothing here sees them. Where
//! the server's `validate` is full, the topic is compacted, or its
//! `compression.type` is not the batch's codec, the records are decoded, and
//! then judged by all of Kafka's rules (`LogValidator`), whichever it was that
//! asked for it.
//!
//! Invariant: what goes on from here holds exactly the records that were sent.
//! Memory and delay are bounded: a batch that takes few bytes decoded
//! ([`INLINE_MAX`]) is judged at once, by the task of its connection; a larger
//! one beside it, no more than `decoders_max` at a time, its place given back
//! when it is appended. Called by `append`.

use std::sync::Arc;

use millrace_log::{
    batch::{self, BatchHeader},
    compression::{Codec, DecompressError},
    records::{self, RecordError},
};
use millrace_types::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    AppendError, Broker,
    config::{TimestampKind, TopicConfig},
};

#[cfg(test)]
mod tests;

/// Bytes that the records of one batch may have when they are decoded, wherever
/// that is: what is judged here can be read there.
pub(crate) const DECODED_MAX: usize = 64 << 20;
/// Bytes of records, decoded, that are judged at once, and compressed anew by a
/// fast codec: about a millisecond at most.
pub(crate) const INLINE_MAX: usize = 256 << 10;
/// The same for a codec that takes about a millisecond for so many.
pub(crate) const INLINE_SLOW_MAX: usize = 32 << 10;
/// Levels of Zstandard above this take many times longer.
const INLINE_ZSTD_LEVEL_MAX: i32 = 9;
/// Records that are told apart in one error.
const BLAMED_MAX: usize = 10_000;

/// How much of a producer's batch is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validate {
    /// Its header and its checksum.
    #[default]
    Header,
    /// That its records are what the header says, too.
    Full,
}

/// What a broker validates with.
#[derive(Debug)]
pub(crate) struct Validator {
    validate: Validate,
    /// Places for batches that are judged beside their connections.
    places: Arc<Semaphore>,
}

/// A batch that is stored otherwise than it was sent.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) header: BatchHeader,
    pub(crate) bytes: Vec<u8>,
    /// Held until the batch is appended, since it holds memory as long.
    _place: Option<OwnedSemaphorePermit>,
}

impl Validator {
    pub(crate) fn new(validate: Validate, decoders_max: usize) -> Self {
        Self { validate, places: Arc::new(Semaphore::new(decoders_max.max(1))) }
    }

    /// Whether the records of this batch are decoded.
    pub(crate) fn looks_inside(&self, config: &TopicConfig, header: &BatchHeader) -> bool {
        self.validate == Validate::Full
            || config.cleanup_policy.compact
            || new_codec(config, header).is_some()
    }
}

impl Broker {
    /// Judges the records of a batch; the batch as its topic stores it, where
    /// that differs from `batch`.
    pub(crate) async fn validated(
        &self,
        config: &Arc<TopicConfig>,
        header: &BatchHeader,
        batch: &[u8],
    ) -> Result<Option<Changed>, AppendError> {
        let now = self.env().wall();
        let changed = match records::body(header, batch, inline_max(config, header)) {
            Ok(body) => {
                let changed = judged(config, now, header, batch, &body)?;
                changed.map(|(header, bytes)| Changed { header, bytes, _place: None })
            }
            Err(DecompressError::TooLarge { .. }) => {
                self.validated_beside(config, now, header, batch).await?
            }
            Err(error) => return Err(RecordError::from(error).into()),
        };
        if changed.as_ref().is_some_and(|changed| changed.header.compression != header.compression)
        {
            self.metrics.batches_recompressed.increment();
        }
        Ok(changed)
    }

    /// The same where it may take long.
    async fn validated_beside(
        &self,
        config: &Arc<TopicConfig>,
        now: Timestamp,
        header: &BatchHeader,
        batch: &[u8],
    ) -> Result<Option<Changed>, AppendError> {
        let (config, header, batch) = (Arc::clone(config), *header, batch.to_vec());
        let judge = move || {
            records::body(&header, &batch, DECODED_MAX)
                .map_err(|error| RecordError::from(error).into())
                .and_then(|body| judged(&config, now, &header, &batch, &body))
        };
        let (changed, place) = self.beside(judge).await?;
        let place = Some(place);
        Ok(changed?.map(|(header, bytes)| Changed { header, bytes, _place: place }))
    }

    /// Does what may take long beside the connections, one of few at a time;
    /// its place, to be held as long as what comes of it takes memory.
    pub(crate) async fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, OwnedSemaphorePermit), AppendError> {
        let place = Arc::clone(&self.validator.places).acquire_owned().await;
        let place = place.map_err(|_| AppendError::Ended)?;
        let (answer, answered) = oneshot::channel();
        // The connection may be gone; then nobody wants the answer.
        self.env.blocking(Box::new(move || drop(answer.send((work(), place)))));
        answered.await.map_err(|_| AppendError::Ended)
    }
}

/// The codec that a batch gets in place of its own.
fn new_codec(config: &TopicConfig, header: &BatchHeader) -> Option<Codec> {
    config.compression.filter(|codec| codec.compression() != header.compression)
}

/// Bytes of records that are judged, and compressed again, without delay.
fn inline_max(config: &TopicConfig, header: &BatchHeader) -> usize {
    match new_codec(config, header) {
        None | Some(Codec::None | Codec::Snappy | Codec::Lz4) => INLINE_MAX,
        Some(Codec::Zstd { level }) if level > INLINE_ZSTD_LEVEL_MAX => 0,
        Some(Codec::Gzip { .. } | Codec::Zstd { .. }) => INLINE_SLOW_MAX,
    }
}

/// What becomes of a batch whose decoded records are `body`: it is refused,
/// stored as it is (`None`), or stored as what is returned.
fn judged(
    config: &TopicConfig,
    now: Timestamp,
    header: &BatchHeader,
    batch: &[u8],
    body: &[u8],
) -> Result<Option<(BatchHeader, Vec<u8>)>, AppendError> {
    let max_timestamp = check_records(config, now, header, body)?;
    // What the producer says of its largest timestamp is put right, as Kafka
    // does; append times replace it in any case.
    let says_wrong =
        config.timestamp_kind == TimestampKind::CreateTime && header.max_timestamp != max_timestamp;
    let changed = match new_codec(config, header) {
        Some(codec) => batch::recode(header, batch, body, codec, max_timestamp),
        None if says_wrong => batch::with_max_timestamp(header, batch, max_timestamp),
        None => return Ok(None),
    };
    let (bytes, limit) = (changed.1.len(), config.message_bytes_max);
    if bytes > limit { Err(AppendError::TooLarge { bytes, limit }) } else { Ok(Some(changed)) }
}

/// Checks each record; their largest timestamp, -1 where none is later.
fn check_records(
    config: &TopicConfig,
    now: Timestamp,
    header: &BatchHeader,
    body: &[u8],
) -> Result<Timestamp, AppendError> {
    let accepted = Accepted::new(config, now);
    let mut max_timestamp = Timestamp::NONE;
    let mut without_key = Vec::new();
    let mut misdated = Vec::new();
    let mut misdate = Timestamp::NONE;
    for (index, record) in (0..).zip(records::records(header, body)) {
        let record = record?;
        let (offset_delta, timestamp) = (record.offset_delta, record.timestamp(header));
        if offset_delta != index {
            return Err(RecordError::OffsetDelta { index, offset_delta }.into());
        }
        max_timestamp = max_timestamp.max(timestamp);
        if config.cleanup_policy.compact && record.key.is_none() {
            blame(&mut without_key, index);
        } else if !accepted.takes(timestamp) {
            if misdated.is_empty() {
                misdate = timestamp;
            }
            blame(&mut misdated, index);
        }
    }
    if !misdated.is_empty() {
        return Err(accepted.refusal(misdate, misdated));
    }
    if !without_key.is_empty() {
        return Err(AppendError::WithoutKey { records: without_key });
    }
    Ok(max_timestamp)
}

fn blame(records: &mut Vec<i32>, index: i32) {
    if records.len() < BLAMED_MAX {
        records.push(index);
    }
}

/// Refuses a timestamp that is too far from now. The header has the first and
/// the largest; what is between is not decoded.
pub(crate) fn check_timestamp(
    config: &TopicConfig,
    now: Timestamp,
    header: &BatchHeader,
) -> Result<(), AppendError> {
    let accepted = Accepted::new(config, now);
    // The largest may lie as far back as it likes, if the first does not.
    let wrong = if header.max_timestamp > accepted.latest {
        header.max_timestamp
    } else if accepted.is_too_early(header.base_timestamp) {
        header.base_timestamp
    } else {
        return Ok(());
    };
    Err(accepted.refusal(wrong, Vec::new()))
}

/// The timestamps that a topic takes.
#[derive(Clone, Copy)]
struct Accepted {
    /// Whether they are the producer's at all.
    checked: bool,
    earliest: Timestamp,
    latest: Timestamp,
}

impl Accepted {
    fn new(config: &TopicConfig, now: Timestamp) -> Self {
        let signed = |ms| i64::try_from(ms).unwrap_or(i64::MAX);
        Self {
            checked: config.timestamp_kind == TimestampKind::CreateTime,
            earliest: now.plus_ms(-signed(config.timestamp_before_max_ms)),
            latest: now.plus_ms(signed(config.timestamp_after_max_ms)),
        }
    }

    fn is_too_early(&self, timestamp: Timestamp) -> bool {
        self.checked && timestamp < self.earliest && timestamp != Timestamp::NONE
    }

    fn takes(&self, timestamp: Timestamp) -> bool {
        !self.checked || timestamp <= self.latest && !self.is_too_early(timestamp)
    }

    const fn refusal(&self, timestamp: Timestamp, records: Vec<i32>) -> AppendError {
        let (earliest, latest) = (self.earliest, self.latest);
        AppendError::Timestamp { timestamp, earliest, latest, records }
    }
}
