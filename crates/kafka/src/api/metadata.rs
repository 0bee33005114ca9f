//! Metadata (3): topics, their partitions and who leads them; creates topics
//! that a client asks for by name, where the server allows that.
//!
//! Invariant: the one broker is told by the address of the listener that the
//! client came in by. A topic that was just created is answered at once.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use millrace_broker::{NewTopic, Topic};
use millrace_types::{TopicId, TopicName};

use crate::api::Refusal;
use crate::codec::metadata_request::{MetadataRequestData, MetadataRequestTopic};
use crate::codec::metadata_response::{
    MetadataResponseBroker, MetadataResponseData, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::codec::{self, ErrorCode, KafkaString, wire_str};
use crate::context::Call;
use crate::{errors, operations};

/// First version that asks for topics by id.
const TOPIC_IDS: i16 = 12;

/// Answers the topics asked for, or all.
pub(super) async fn handle(
    call: &Call,
    request: MetadataRequestData,
) -> Result<MetadataResponseData, Refusal> {
    let answers = Answers {
        call,
        operations: (8..).contains(&call.version) && request.include_topic_authorized_operations,
    };
    let topics = match request.topics {
        // Version 0 has no null: no topic means all.
        Some(topics) if call.version > 0 || !topics.is_empty() => {
            let create =
                request.allow_auto_topic_creation && call.broker().config().auto_create_topics;
            // Each once: a small request that repeats a large topic is cheap.
            let mut seen = HashSet::new();
            let mut found = Vec::new();
            for topic in topics {
                if seen.insert((topic.topic_id, topic.name.clone())) {
                    found.push(answers.requested(topic, create).await?);
                }
            }
            found
        }
        _ => call.broker().topics().iter().map(|topic| answers.known(topic)).collect(),
    };
    let broker = call.broker();
    let mut response = MetadataResponseData::default()
        .with_brokers(vec![this_broker(call)])
        .with_cluster_id(Some(wire_str(broker.cluster_id())))
        .with_controller_id(broker.node_id())
        .with_topics(topics);
    if (8..=10).contains(&call.version) && request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = operations::CLUSTER;
    }
    Ok(response)
}

fn this_broker(call: &Call) -> MetadataResponseBroker {
    let listener = &call.context.listener;
    MetadataResponseBroker::default()
        .with_node_id(call.broker().node_id())
        .with_host(wire_str(&listener.host))
        .with_port(i32::from(listener.port))
        .with_rack(call.broker().config().rack.as_deref().map(wire_str))
}

struct Answers<'a> {
    call: &'a Call,
    operations: bool,
}

impl Answers<'_> {
    async fn requested(
        &self,
        topic: MetadataRequestTopic,
        create: bool,
    ) -> Result<MetadataResponseTopic, Refusal> {
        let id = codec::topic_id(topic.topic_id);
        if id != TopicId::default() {
            return Ok(self.by_id(id));
        }
        let Some(name) = topic.name else {
            return Ok(refused(None, ErrorCode::InvalidTopicException));
        };
        if let Some(topic) = self.call.broker().topic(name.as_str()) {
            return Ok(self.known(&topic));
        }
        match TopicName::new(name.as_str()) {
            Err(_) => Ok(refused(Some(name), ErrorCode::InvalidTopicException)),
            Ok(_) if !create => Ok(refused(Some(name), ErrorCode::UnknownTopicOrPartition)),
            Ok(valid) => self.create(valid, name).await,
        }
    }

    fn by_id(&self, id: TopicId) -> MetadataResponseTopic {
        let unknown = |code| refused(None, code).with_topic_id(codec::wire_uuid(id));
        if self.call.version < TOPIC_IDS {
            return unknown(ErrorCode::InvalidRequest);
        }
        match self.call.broker().topic_by_id(id) {
            Some(topic) => self.known(&topic),
            None => unknown(ErrorCode::UnknownTopicId),
        }
    }

    async fn create(
        &self,
        name: TopicName,
        asked: KafkaString,
    ) -> Result<MetadataResponseTopic, Refusal> {
        let broker = self.call.broker();
        let partitions = broker.config().partitions;
        let new = NewTopic::plain(name.clone(), partitions, BTreeMap::new());
        match broker.create_topic(new, false).await {
            Ok(topic) => Ok(self.known(&topic)),
            Err(error) => {
                // Another client may have been first.
                if let Some(topic) = broker.topic(name.as_str()) {
                    return Ok(self.known(&topic));
                }
                let code = errors::auto_create(&error)?;
                tracing::info!(topic = %name, %error, "a topic was not created on demand");
                Ok(refused(Some(asked), code))
            }
        }
    }

    fn known(&self, topic: &Arc<Topic>) -> MetadataResponseTopic {
        let node = self.call.broker().node_id();
        let partition = |partition: &Arc<millrace_broker::Partition>| {
            MetadataResponsePartition::default()
                .with_partition_index(partition.id().partition.get())
                .with_leader_id(node)
                .with_leader_epoch(partition.leader_epoch().get())
                .with_replica_nodes(vec![node])
                .with_isr_nodes(vec![node])
        };
        let mut answer = MetadataResponseTopic::default()
            .with_name(Some(wire_str(topic.name().as_str())))
            .with_topic_id(codec::wire_uuid(topic.id))
            .with_partitions(topic.partitions().iter().map(partition).collect());
        if self.call.version < 10 {
            answer.topic_id = codec::KafkaUuid::ZERO;
        }
        if self.operations {
            answer.topic_authorized_operations = operations::TOPIC;
        }
        answer
    }
}

fn refused(name: Option<KafkaString>, code: ErrorCode) -> MetadataResponseTopic {
    // A null name can be said from version 12 on only.
    MetadataResponseTopic::default().with_name(name).with_error_code(code.code())
}

#[cfg(test)]
mod tests;
