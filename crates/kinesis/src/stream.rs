//! What AWS knows of a stream and the log does not: an attribute of the topic,
//! as JSON, so that a topic made by Kafka's clients is a stream with the
//! defaults, and what is set stays over restarts.
//!
//! Invariant: [`StreamState`] changes only by [`crate::call::Call::change`],
//! one change at a time. What the topic says itself (retention, shards) is not
//! repeated here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_broker::{Attribute, Topic};
use millrace_types::TopicId;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// The attribute's name, and that of what is kept for the whole server.
pub(crate) const KEEPER: &str = "kinesis";

/// Longest name of a stream: topics with longer ones are Kafka's alone.
pub(crate) const NAME_MAX: usize = 128;
/// Largest record of a stream where nothing else was said.
pub(crate) const RECORD_KIB_DEFAULT: u32 = 1024;
/// The strategy by which records are spread, whatever their keys.
pub(crate) const DISTRIBUTION_AUTO: &str = "AUTO";
/// Tags that one resource may have.
pub(crate) const TAGS_MAX: usize = 50;
/// A retention without an end is shown as this, and the longest.
pub(crate) const RETENTION_HOURS_MAX: u64 = 8760;
/// The shortest retention that can be asked for.
pub(crate) const RETENTION_HOURS_MIN: u64 = 24;

const HOUR_MS: u64 = 3_600_000;

/// Who decides on the number of shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Mode {
    /// The user.
    #[default]
    Provisioned,
    /// The service.
    OnDemand,
}

impl Mode {
    pub(crate) fn parse(text: &str) -> Self {
        if text == "ON_DEMAND" { Self::OnDemand } else { Self::Provisioned }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Provisioned => "PROVISIONED",
            Self::OnDemand => "ON_DEMAND",
        }
    }
}

/// What is kept of a stream. A member that is new has a default, so that what
/// an older version stored reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StreamState {
    pub(crate) mode: Mode,
    pub(crate) tags: BTreeMap<String, String>,
    /// Shard-level metrics that were enabled.
    pub(crate) monitoring: BTreeSet<String>,
    /// The resource policy, as it was put.
    pub(crate) policy: Option<String>,
    /// Registered consumers, by name.
    pub(crate) consumers: BTreeMap<String, Consumer>,
    /// When the latest was registered of those that are gone, in seconds since
    /// 1970.
    pub(crate) consumer_gone_secs: Option<i64>,
    pub(crate) warm_throughput_mibps: Option<u32>,
    pub(crate) max_record_kib: Option<u32>,
    /// [`DISTRIBUTION_AUTO`] or `USER_PARTITION_KEY`, where it was said.
    pub(crate) distribution: Option<String>,
}

/// A registered consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Consumer {
    /// When it was registered, in milliseconds since 1970.
    pub(crate) created_ms: i64,
    pub(crate) tags: BTreeMap<String, String>,
    /// Its resource policy, as it was put.
    pub(crate) policy: Option<String>,
}

impl StreamState {
    /// What stands in `attribute`.
    pub(crate) fn of(attribute: Option<&Attribute>) -> Arc<Self> {
        let parse = |text: &str| {
            serde_json::from_str(text).unwrap_or_else(|error| {
                tracing::error!(%error, "the stored state of a stream is malformed: defaults hold");
                Self::default()
            })
        };
        attribute.map_or_else(Default::default, |attribute| attribute.parsed(parse))
    }

    /// The text to be stored.
    pub(crate) fn encode(&self) -> Option<String> {
        if *self == Self::default() {
            return None;
        }
        serde_json::to_string(self).ok()
    }

    /// Bytes that one record may have.
    pub(crate) fn record_bytes_max(&self) -> usize {
        let kib = self.max_record_kib.unwrap_or(RECORD_KIB_DEFAULT);
        usize::try_from(kib).unwrap_or(usize::MAX).saturating_mul(1024)
    }
}

/// Topics that are no streams, and were told of in the log: each once.
#[derive(Debug, Default)]
pub(crate) struct KafkasAlone(Mutex<BTreeSet<TopicId>>);

/// So many are remembered; who has more is told of some again.
const TOLD_MAX: usize = 1000;

impl KafkasAlone {
    /// The streams among `topics`.
    pub(crate) fn leave_out(
        &self,
        topics: Vec<Arc<Topic>>,
    ) -> impl Iterator<Item = Stream> + use<'_> {
        topics.into_iter().filter_map(|topic| {
            let (id, name) = (topic.id, topic.name().clone());
            let stream = Stream::of(topic);
            if stream.is_none() && self.is_new(id) {
                tracing::warn!(topic = %name, "a topic is no stream: its name is longer than {NAME_MAX}");
            }
            stream
        })
    }

    fn is_new(&self, id: TopicId) -> bool {
        let mut told = self.0.lock();
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        told.insert(id)
    }
}

/// A stream: its topic, and what is kept of it.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) topic: Arc<Topic>,
    pub(crate) state: Arc<StreamState>,
}

impl Stream {
    /// The stream that `topic` is; none where its name is too long for one.
    pub(crate) fn of(topic: Arc<Topic>) -> Option<Self> {
        if topic.name().as_str().len() > NAME_MAX {
            return None;
        }
        let state = StreamState::of(topic.attribute(KEEPER).as_deref());
        Some(Self { topic, state })
    }

    pub(crate) fn name(&self) -> &str {
        self.topic.name().as_str()
    }

    /// Hours for which records are kept, rounded up.
    pub(crate) fn retention_hours(&self) -> u64 {
        let ms = self.topic.config().retention_ms;
        ms.map_or(RETENTION_HOURS_MAX, |ms| ms.div_ceil(HOUR_MS)).min(RETENTION_HOURS_MAX)
    }

    /// The stream's id, which names it for ever.
    pub(crate) fn id(&self) -> String {
        id_of(self.topic.id)
    }
}

/// `retention.ms` of so many hours.
pub(crate) fn retention_ms(hours: u64) -> String {
    hours.saturating_mul(HOUR_MS).to_string()
}

/// The id by which a stream is told: 20 letters or digits, an underscore and 3,
/// which hold all but 9 bits of a topic's random id. AWS's have a hyphen there.
/// By it SDKs know an id of AWS, and go to a host that is named after it, whatever
/// endpoint they were given; any other goes where all requests go.
pub(crate) fn id_of(topic: TopicId) -> String {
    const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut bits = u128::from_be_bytes(topic.0);
    let mut text = String::with_capacity(24);
    for n in 0..23 {
        if n == 20 {
            text.push('_');
        }
        let digit = usize::try_from(bits % 36).unwrap_or(0);
        text.push(char::from(ALPHABET.get(digit).copied().unwrap_or(b'0')));
        bits /= 36;
    }
    text
}

/// Whether `id` is that of this topic, in AWS's form or in ours.
pub(crate) fn is_id_of(id: &str, topic: TopicId) -> bool {
    id_of(topic) == id.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_version_stored_reads() {
        let attribute: StreamState = serde_json::from_str(r#"{"mode": "ON_DEMAND"}"#).unwrap();
        assert_eq!(attribute, StreamState { mode: Mode::OnDemand, ..StreamState::default() });
        assert_eq!(StreamState::default().encode(), None, "a topic of Kafka's keeps nothing");
        let again = serde_json::from_str(&attribute.encode().unwrap()).unwrap();
        assert_eq!(attribute, again);
    }

    #[test]
    fn a_topic_that_is_no_stream_is_told_of_once() {
        let alone = KafkasAlone::default();
        for n in 0..3 {
            assert!(alone.is_new(TopicId([n; 16])));
            assert!(!alone.is_new(TopicId([n; 16])));
        }
    }

    #[test]
    fn ids_differ_from_awss_in_the_separator() {
        let topic = TopicId([0xab; 16]);
        let id = id_of(topic);
        let pattern = regex_lite::Regex::new("^[a-z0-9]{20}_[a-z0-9]{3}$").unwrap();
        assert!(pattern.is_match(&id), "{id}");
        assert!(is_id_of(&id, topic) && is_id_of(&id.replace('_', "-"), topic));
        assert!(!is_id_of(&id, TopicId([0xac; 16])));
    }
}
