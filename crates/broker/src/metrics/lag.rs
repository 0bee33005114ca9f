//! How far groups are behind: which pairs of group and topic have series, and
//! what those say.
//!
//! Invariant: as many series as the limit allows and one more, whatever groups
//! there are; a name that a client chose is no longer than [`NAME_MAX`].

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Display;
use std::time::Duration;

use md5::{Digest as _, Md5};
use millrace_types::TopicName;

use super::registry::Labels;
use super::traffic::OTHERS;

/// Bytes of a group's name at most; a longer one is cut, and told apart by a
/// checksum.
const NAME_MAX: usize = 200;

/// A group and a topic that it reads, or all other pairs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupTopic(Option<(String, TopicName)>);

impl Labels for GroupTopic {
    const NAMES: &'static [&'static str] = &["group", "topic"];

    fn each(&self, put: &mut dyn FnMut(&'static str, &dyn Display)) {
        let (group, topic): (&dyn Display, &dyn Display) = match &self.0 {
            Some((group, topic)) => (group, topic),
            None => (&OTHERS, &OTHERS),
        };
        put("group", group);
        put("topic", topic);
    }
}

/// A value for each pair.
pub(crate) type Figure<V> = Vec<(GroupTopic, V)>;

/// How far a group is behind in a topic: ordered by time, then by records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lag {
    /// Of the partition that is longest behind.
    pub(crate) time: Duration,
    /// Of all partitions.
    pub(crate) records: u64,
}

impl Lag {
    /// Of both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { time: self.time.max(other.time), records: self.records + other.records }
    }
}

/// Gathers the pairs that are longest behind.
#[derive(Debug)]
pub(crate) struct Lags {
    /// The least lag on top.
    top: BinaryHeap<Reverse<(Lag, GroupTopic)>>,
    pairs_max: usize,
    others: Lag,
}

impl Lags {
    pub(crate) fn new(pairs_max: usize) -> Self {
        Self { top: BinaryHeap::new(), pairs_max, others: Lag::default() }
    }

    pub(crate) fn add(&mut self, group: &str, topic: &TopicName, lag: Lag) {
        let least = self.top.peek().map(|Reverse((least, _))| *least);
        if self.top.len() >= self.pairs_max && least.is_none_or(|least| lag <= least) {
            self.others = self.others.and(lag);
            return;
        }
        self.top.push(Reverse((lag, GroupTopic(Some((bounded(group), topic.clone()))))));
        if self.top.len() > self.pairs_max
            && let Some(Reverse((least, _))) = self.top.pop()
        {
            self.others = self.others.and(least);
        }
    }

    /// Records and times, by label.
    pub(crate) fn rows(self) -> (Figure<u64>, Figure<Duration>) {
        let rows = self.top.into_iter().map(|Reverse((lag, label))| (label, lag));
        let mut rows: Vec<(GroupTopic, Lag)> = rows.collect();
        rows.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        rows.push((GroupTopic(None), self.others));
        rows.into_iter()
            .map(|(label, lag)| ((label.clone(), lag.records), (label, lag.time)))
            .unzip()
    }
}

fn bounded(name: &str) -> String {
    if name.len() <= NAME_MAX {
        return name.to_owned();
    }
    let end = (0..=NAME_MAX).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    let kept = name.get(..end).unwrap_or_default();
    let [a, b, c, d, ..]: [u8; 16] = Md5::digest(name).into();
    format!("{kept}…{a:02x}{b:02x}{c:02x}{d:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lag(secs: u64, records: u64) -> Lag {
        Lag { time: Duration::from_secs(secs), records }
    }

    #[test]
    fn the_longest_behind_have_series_and_the_rest_is_summed() {
        let topic = TopicName::new("t").unwrap();
        let mut lags = Lags::new(2);
        for (group, lag) in [("a", lag(1, 9)), ("b", lag(5, 1)), ("c", lag(0, 7)), ("d", lag(9, 2))]
        {
            lags.add(group, &topic, lag);
        }
        let (records, times) = lags.rows();
        let label = |group: &str| GroupTopic(Some((group.to_owned(), topic.clone())));
        assert_eq!(records, [(label("b"), 1), (label("d"), 2), (GroupTopic(None), 16)]);
        let secs = Duration::from_secs;
        assert_eq!(
            times,
            [(label("b"), secs(5)), (label("d"), secs(9)), (GroupTopic(None), secs(1))]
        );
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let (a, b) = ("ä".repeat(400) + "a", "ä".repeat(400) + "b");
        assert!(bounded(&a).len() < 220);
        assert_ne!(bounded(&a), bounded(&b));
        assert_eq!(bounded("short"), "short");
    }
}
