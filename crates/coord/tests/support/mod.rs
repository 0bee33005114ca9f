//! What several tests of groups need.

#![allow(dead_code, reason = "each test uses a part")]

pub(crate) mod script;

use bytes::{BufMut, Bytes, BytesMut};
use millrace_types::{PartitionId, TopicId, TopicPartition};

/// A topic whose id reads as its name.
pub(crate) fn topic_id(name: &str) -> TopicId {
    let mut id = [0; 16];
    for (byte, letter) in id.iter_mut().zip(name.bytes()) {
        *byte = letter;
    }
    TopicId(id)
}

/// The name that [`topic_id`] was given.
pub(crate) fn topic_name(id: TopicId) -> String {
    id.0.iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect()
}

/// `topic/partition`.
pub(crate) fn partition(text: &str) -> TopicPartition {
    let (topic, partition) = text.split_once('/').unwrap();
    TopicPartition::new(topic_id(topic), PartitionId(partition.parse().unwrap()))
}

/// A consumer's subscription to topics, as the Java client writes it.
pub(crate) fn subscription<'a>(topics: impl IntoIterator<Item = &'a str>) -> Bytes {
    let topics: Vec<_> = topics.into_iter().filter(|topic| !topic.is_empty()).collect();
    let mut bytes = BytesMut::new();
    bytes.put_i16(1);
    bytes.put_i32(i32::try_from(topics.len()).unwrap());
    for topic in topics {
        bytes.put_i16(i16::try_from(topic.len()).unwrap());
        bytes.put_slice(topic.as_bytes());
    }
    bytes.put_i32(-1);
    bytes.put_i32(0);
    bytes.freeze()
}
