//! Where partitions start and end, and where in them a [`When`] lies.

use std::collections::BTreeMap;

use krafka::admin::{ListOffsetsOptions, OffsetSpec, TopicDescription, TopicPartition};

use super::session::Session;
use super::time;
use super::when::When;
use crate::Failure;
use crate::terminal::counted;

/// A topic's name and a partition of it.
pub(crate) type Place = (String, i32);

/// The offsets that a partition holds: from `start`, up to and without `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

impl Range {
    /// As many as there can be: compaction leaves fewer.
    pub(crate) const fn records(self) -> i64 {
        self.end.saturating_sub(self.start)
    }
}

impl Session {
    /// What these partitions hold. `committed`: without what open transactions
    /// wrote.
    ///
    /// # Errors
    /// No answer, or none for one of them.
    pub(crate) async fn ranges(
        &self,
        places: &[Place],
        committed: bool,
    ) -> Result<BTreeMap<Place, Range>, Failure> {
        let starts = self.offsets(places, OffsetSpec::Earliest, false).await?;
        let mut ends = self.offsets(places, OffsetSpec::Latest, committed).await?;
        let range = |(place, start): (Place, i64)| {
            // Retention may have moved on between the two answers.
            let end = ends.remove(&place).unwrap_or(start).max(start);
            (place, Range { start, end })
        };
        Ok(starts.into_iter().map(range).collect())
    }

    async fn offsets(
        &self,
        places: &[Place],
        spec: OffsetSpec,
        committed: bool,
    ) -> Result<BTreeMap<Place, i64>, Failure> {
        let asked =
            places.iter().map(|(topic, partition)| (TopicPartition::new(topic, *partition), spec));
        let options = ListOffsetsOptions::default().read_committed(committed);
        let answers =
            self.admin.list_offsets(asked, options).await.map_err(|error| self.fail(&error))?;
        let mut offsets = BTreeMap::new();
        for (place, answer) in answers {
            let what = format!("partition {} of {}", place.partition, place.topic);
            let listed = answer.map_err(|error| self.fail_of(&what, &error))?;
            offsets.insert((place.topic, place.partition), listed.offset);
        }
        Ok(offsets)
    }

    /// The offset of a place in each of these partitions. An offset as it was
    /// said, whether it is held or not; a time after the last record is the end.
    ///
    /// # Errors
    /// No answer.
    pub(crate) async fn resolve(
        &self,
        when: When,
        ranges: &BTreeMap<Place, Range>,
    ) -> Result<BTreeMap<Place, i64>, Failure> {
        let each = |offset: &dyn Fn(&Range) -> i64| {
            ranges.iter().map(|(place, range)| (place.clone(), offset(range))).collect()
        };
        Ok(match when {
            When::Start => each(&|range| range.start),
            When::End => each(&|range| range.end),
            When::Offset(offset) => each(&|_| offset),
            When::BeforeEnd(records) => each(&|range| (range.end - records).max(range.start)),
            When::At(ms) => self.first_at(ms, ranges).await?,
            When::Ago(ms) => self.first_at(time::now_ms().saturating_sub(ms), ranges).await?,
        })
    }

    /// The first record of this time or later in each partition; its end where
    /// there is none. A consumer asks, since the administrator's call takes
    /// "there is none" for something to wait for.
    async fn first_at(
        &self,
        ms: i64,
        ranges: &BTreeMap<Place, Range>,
    ) -> Result<BTreeMap<Place, i64>, Failure> {
        let consumer = self.kafka.consumer_without_group().build().await;
        let consumer = consumer.map_err(|error| self.fail(&error))?;
        let asked: Vec<(&str, i32)> =
            ranges.keys().map(|(topic, partition)| (topic.as_str(), *partition)).collect();
        let mut offsets = BTreeMap::new();
        for (place, answer) in consumer.offsets_for_times(&asked, ms.max(0)).await {
            let what = || format!("partition {} of {}", place.1, place.0);
            let found = answer.map_err(|error| self.fail_of(&what(), &error))?;
            let end = ranges.get(&place).map_or(found, |range| range.end);
            offsets.insert(place, if found < 0 { end } else { found });
        }
        consumer.close().await.map_err(|error| self.fail(&error))?;
        Ok(offsets)
    }
}

/// The partitions of a topic that have a leader, which alone knows offsets.
pub(crate) fn led(topic: &TopicDescription) -> impl Iterator<Item = Place> {
    let led = topic.partitions.iter().filter(|partition| partition.leader.is_some());
    led.map(|partition| (topic.name.clone(), partition.partition))
}

/// The records of a topic; `None` where a partition has no leader to tell.
pub(crate) fn records(topic: &TopicDescription, ranges: &BTreeMap<Place, Range>) -> Option<i64> {
    let place = |partition| (topic.name.clone(), partition);
    let each = topic.partitions.iter().map(|p| ranges.get(&place(p.partition)));
    each.map(|range| range.map(|range| range.records())).sum()
}

/// As many records, in words.
pub(crate) fn said(records: Option<i64>) -> String {
    records.map_or_else(|| "records unknown".to_owned(), |records| counted(records, "record"))
}

/// The partitions of a topic that were asked for; all where none was.
///
/// # Errors
/// One that the topic doesn't have.
pub(crate) fn chosen(topic: &TopicDescription, partitions: &[i32]) -> Result<Vec<Place>, Failure> {
    let has = |partition: &i32| topic.partitions.iter().any(|p| p.partition == *partition);
    if let Some(missing) = partitions.iter().find(|partition| !has(partition)) {
        let last = topic.partitions.last().map_or(0, |p| p.partition);
        return Err(Failure::Failed(format!(
            "topic {} has no partition {missing}: it has 0 to {last}",
            topic.name
        )));
    }
    let wanted = |partition: i32| partitions.is_empty() || partitions.contains(&partition);
    let all = topic.partitions.iter().map(|p| p.partition);
    Ok(all.filter(|p| wanted(*p)).map(|p| (topic.name.clone(), p)).collect())
}
