//! When the next record of each partition was written: a group's lag in time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use krafka::admin::TopicPartition;
use krafka::consumer::AutoOffsetReset;

use crate::Failure;
use crate::clients::positions::{Place, Range};
use crate::clients::session::Session;

/// How long it is looked for.
const LOOK: Duration = Duration::from_secs(10);
/// A batch comes whole; more than one is not needed.
const BYTES: i32 = 1024;

/// The timestamps of the first records in these ranges, in milliseconds. A
/// partition that holds none (the rest is of transactions), or did not answer
/// in time, is left out.
///
/// # Errors
/// Brokers that can't be read from.
pub(super) async fn timestamps(
    session: &Session,
    ranges: &BTreeMap<Place, Range>,
) -> Result<BTreeMap<Place, i64>, Failure> {
    let mut found = BTreeMap::new();
    if ranges.is_empty() {
        return Ok(found);
    }
    let places = ranges.iter().map(|((t, p), range)| (TopicPartition::new(t, *p), range.start));
    let consumer = session
        .kafka
        .consumer_without_group()
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .initial_offsets(places.collect::<Vec<_>>())
        .max_partition_fetch_bytes(BYTES)
        .metrics_push(false)
        .build()
        .await
        .map_err(|error| session.fail(&error))?;
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in ranges.keys() {
        topics.entry(topic).or_default().push(*partition);
    }
    for (topic, partitions) in topics {
        let assigned = consumer.assign(topic, partitions).await;
        assigned.map_err(|error| session.fail(&error))?;
    }
    let until = Instant::now() + LOOK;
    let mut left = ranges.clone();
    while !left.is_empty() && Instant::now() < until {
        let records = consumer.poll(Duration::from_millis(500)).await;
        for record in records.map_err(|error| session.fail(&error))? {
            let place = (record.topic.to_string(), record.partition);
            if left.remove(&place).is_some() {
                consumer.pause(&record.topic, &[record.partition]).await;
                found.insert(place, record.timestamp);
            }
        }
        let mut passed = Vec::new();
        for (place, range) in &left {
            let position = consumer.position(&place.0, place.1).await;
            if position.is_some_and(|position| position >= range.end) {
                passed.push(place.clone());
            }
        }
        left.retain(|place, _| !passed.contains(place));
    }
    consumer.close().await.map_err(|error| session.fail(&error))?;
    Ok(found)
}
