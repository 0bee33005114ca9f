//! Those who make and delete topics and delete records.

use std::collections::BTreeMap;

use millrace_broker::{CreateTopicError, DeleteRecordsError, DeleteTopicError, NewTopic};
use millrace_types::{Offset, PartitionId, TopicId, TopicName, TopicPartition};

use super::{Client, find};
use crate::book::Keeps;

/// Makes a topic, whatever it takes; its id. `None` if the load ends first.
pub(crate) async fn create(
    client: &mut Client,
    name: &'static str,
    partitions: u32,
    config: &[(&str, String)],
) -> Option<TopicId> {
    let limit = |key: &str| {
        let found = config.iter().find(|(name, _)| *name == key);
        found.and_then(|(_, value)| value.parse().ok())
    };
    let keeps = Keeps { age_ms: limit("retention.ms"), bytes: limit("retention.bytes") };
    let config: BTreeMap<String, String> =
        config.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    while !client.is_stopping() {
        let connection = client.connect().await;
        let Ok(parsed) = TopicName::new(name) else { panic!("{name} is no name of a topic") };
        let new = NewTopic::plain(parsed, partitions, config.clone());
        let asked = connection.ask(move |broker| async move {
            match broker.create_topic(new, false).await {
                Err(CreateTopicError::Ended) => None,
                Ok(topic) => Some(Ok(topic.id)),
                Err(CreateTopicError::Exists(_)) => Some(Ok(broker.topic(name)?.id)),
                Err(error) => Some(Err(error)),
            }
        });
        match asked.await {
            Ok(Ok(id)) => {
                let partitions = i32::try_from(partitions).unwrap_or(0);
                client.book.topic_made(&client.name, name, id, partitions, keeps);
                return Some(id);
            }
            Ok(Err(CreateTopicError::Unavailable(_))) | Err(_) => client.think(300).await,
            Ok(Err(error)) => {
                client.book.violation("no-start", format!("topic {name} cannot be made: {error}"));
                return None;
            }
        }
    }
    None
}

/// Deletes a topic and makes it again under its name, over and over.
pub(crate) async fn churn(mut client: Client, name: &'static str, partitions: u32, most_ms: u64) {
    while let Some(id) = create(&mut client, name, partitions, &[]).await {
        client.think(most_ms).await;
        delete(&mut client, id).await;
        client.think(most_ms / 4).await;
    }
}

async fn delete(client: &mut Client, id: TopicId) {
    let op = client.book.delete_asked(&client.name, id);
    loop {
        let connection = client.connect().await;
        let asked = connection.ask(move |broker| async move {
            match broker.delete_topic(id).await {
                Err(DeleteTopicError::Ended) => None,
                result => Some(result),
            }
        });
        match asked.await {
            Ok(Ok(()) | Err(DeleteTopicError::NotFound)) => {
                client.book.topic_deleted(&client.name, op, id);
                return;
            }
            Ok(Err(_)) | Err(_) => client.think(200).await,
        }
        if client.is_stopping() && client.server.life().is_none() {
            return;
        }
    }
}

/// Deletes records of a partition now and then, up to somewhere in it.
pub(crate) async fn cut(mut client: Client, name: &'static str, partition: i32, most_ms: u64) {
    while !client.is_stopping() {
        client.think(most_ms).await;
        let Some(topic) = client.topic(name).await else { continue };
        let at = TopicPartition::new(topic.id, PartitionId(partition));
        drop(topic);
        let connection = client.connect().await;
        let asking = client.book.asking(&client.name, at);
        let told = connection
            .ask(move |broker| async move { Some(find(&broker, at).map(|found| found.offsets())) });
        let Ok(Some(offsets)) = told.await else { continue };
        client.book.bounds_seen(&client.name, asking, offsets.log_start, offsets.high_watermark);
        let (start, end) = (offsets.log_start.get(), offsets.high_watermark.get());
        let ahead = u64::try_from(end - start).unwrap_or(0);
        let before = start + i64::try_from(client.random.within(0, ahead)).unwrap_or(0);
        let op = client.book.cut_asked(&client.name, at, Offset(before));
        let asking = client.book.asking(&client.name, at);
        let asked = connection.ask(move |broker| async move {
            let partition = find(&broker, at)?;
            match broker.delete_records(&partition, Some(Offset(before))).await {
                Err(DeleteRecordsError::Ended) => None,
                result => Some(result),
            }
        });
        match asked.await {
            Ok(Ok(start)) => client.book.cut_done(&client.name, op, asking, start),
            Ok(Err(DeleteRecordsError::OutOfRange(end))) => {
                client.book.violation(
                    "end-went-back",
                    format!("{at} has no offset {before}, its end is {end}"),
                );
            }
            _ => {}
        }
    }
}
