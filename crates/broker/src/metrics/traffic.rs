//! What flows through each topic, and which topics have series of their own.
//!
//! Invariants: to count is a relaxed addition to what the partition holds;
//! ranking happens at a scrape. Counts go on over incarnations. What is shown
//! only grows, also that of the others: what a topic counted while it had no
//! series stays with them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millrace_types::{TopicId, TopicName};
use parking_lot::Mutex;

use super::registry::{Labels, Total};

/// The label of all topics without series of their own: no topic can be named
/// so.
pub(super) const OTHERS: &str = "(others)";
/// After this time what a topic has moved counts half for its rank.
const HALF_LIFE: Duration = Duration::from_secs(3600);
const FIGURES: usize = 4;

/// What went in and out of one topic.
#[derive(Debug, Default)]
pub(crate) struct TopicTraffic {
    /// Bytes and records in, bytes and records out.
    counts: [AtomicU64; FIGURES],
}

impl TopicTraffic {
    /// A batch was accepted.
    pub(crate) fn appended(&self, bytes: u64, records: u64) {
        self.add(0, bytes, records);
    }

    /// Batches were given to a reader.
    pub(crate) fn read(&self, bytes: u64, records: u64) {
        self.add(2, bytes, records);
    }

    fn add(&self, at: usize, bytes: u64, records: u64) {
        if let Some([of_bytes, of_records]) = self.counts.get(at..at + 2) {
            of_bytes.fetch_add(bytes, Ordering::Relaxed);
            of_records.fetch_add(records, Ordering::Relaxed);
        }
    }

    fn get(&self) -> [u64; FIGURES] {
        self.counts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

/// The traffic of all topics.
#[derive(Debug, Default)]
pub(crate) struct Traffic(Mutex<Ranking>);

#[derive(Debug, Default)]
struct Ranking {
    topics: HashMap<TopicId, Ranked>,
    others: [u64; FIGURES],
    looked: Duration,
}

#[derive(Debug, Default)]
struct Ranked {
    traffic: Arc<TopicTraffic>,
    /// What it had counted at the last look.
    seen: [u64; FIGURES],
    /// Bytes lately, older ones weighing less.
    weight: f64,
}

/// A topic, or all others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicLabel(Option<TopicName>);

impl Labels for TopicLabel {
    const NAMES: &'static [&'static str] = &["topic"];

    fn each(&self, put: &mut dyn FnMut(&'static str, &dyn Display)) {
        match &self.0 {
            Some(name) => put("topic", name),
            None => put("topic", &OTHERS),
        }
    }
}

/// One series of each figure.
pub(crate) type Figure = Vec<(TopicLabel, Total)>;

impl Traffic {
    /// The counts of a topic, which go on where an incarnation before left
    /// them.
    pub(crate) fn of(&self, topic: TopicId) -> Arc<TopicTraffic> {
        Arc::clone(&self.0.lock().topics.entry(topic).or_default().traffic)
    }

    /// Ranks the topics that there are, and gives the figures of the busiest
    /// `topics_max` and of all others in sum.
    pub(crate) fn look(
        &self,
        topics: &BTreeMap<TopicId, TopicName>,
        topics_max: usize,
        now: Duration,
    ) -> [Figure; FIGURES] {
        let mut ranking = self.0.lock();
        let passed = now.saturating_sub(ranking.looked).as_secs_f64();
        ranking.looked = now;
        let kept = (-passed / HALF_LIFE.as_secs_f64()).exp2();
        let Ranking { topics: ranked, others, .. } = &mut *ranking;
        let mut news = HashMap::new();
        for (id, topic) in ranked.iter_mut() {
            let counts = topic.traffic.get();
            let moved = std::array::from_fn(|n| match (counts.get(n), topic.seen.get(n)) {
                (Some(count), Some(seen)) => count - seen,
                _ => 0,
            });
            let [bytes_in, _, bytes_out, _]: [u64; FIGURES] = moved;
            #[expect(clippy::cast_precision_loss, reason = "it ranks, and no more")]
            let bytes = bytes_in.saturating_add(bytes_out) as f64;
            topic.weight = topic.weight * kept + bytes;
            topic.seen = counts;
            news.insert(*id, moved);
        }
        let shown = busiest(ranked, topics, topics_max);
        for (_, moved) in news.iter().filter(|(id, _)| !shown.contains(*id)) {
            others.iter_mut().zip(moved).for_each(|(sum, moved)| *sum += moved);
        }
        // Deleted topics leave what they counted lately with the others.
        // One that is just being made is held by who makes it.
        ranked.retain(|id, topic| topics.contains_key(id) || Arc::strong_count(&topic.traffic) > 1);
        let mut figures: [Figure; FIGURES] = Default::default();
        let named = topics.iter().filter(|(id, _)| shown.contains(*id));
        let mut named: Vec<_> = named.map(|(id, name)| (name, id)).collect();
        named.sort_unstable();
        let rows = named
            .into_iter()
            .filter_map(|(name, id)| Some((TopicLabel(Some(name.clone())), ranked.get(id)?.seen)));
        for (label, counts) in rows.chain([(TopicLabel(None), *others)]) {
            for (figure, count) in figures.iter_mut().zip(counts) {
                figure.push((label.clone(), Total(count)));
            }
        }
        figures
    }
}

/// The topics with the most traffic lately, those without any among them.
fn busiest(
    ranked: &HashMap<TopicId, Ranked>,
    topics: &BTreeMap<TopicId, TopicName>,
    topics_max: usize,
) -> BTreeSet<TopicId> {
    let known = topics.keys().filter_map(|id| Some((ranked.get(id)?.weight, *id)));
    let mut order: Vec<(f64, TopicId)> = known.collect();
    order.sort_unstable_by(|(a, a_id), (b, b_id)| b.total_cmp(a).then(a_id.cmp(b_id)));
    order.into_iter().take(topics_max).map(|(_, id)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(u128, &str); 3] = [(1, "a"), (2, "b"), (3, "c")];

    fn topics() -> BTreeMap<TopicId, TopicName> {
        ALL.map(|(id, name)| (topic(id), TopicName::new(name).unwrap())).into()
    }

    fn topic(id: u128) -> TopicId {
        TopicId(id.to_be_bytes())
    }

    /// Bytes in, by label.
    fn shown(traffic: &Traffic, topics_max: usize, secs: u64) -> Vec<(String, u64)> {
        let [bytes_in, ..] = traffic.look(&topics(), topics_max, Duration::from_secs(secs));
        let label = |label: TopicLabel| label.0.map_or(OTHERS.to_owned(), |n| n.to_string());
        bytes_in.into_iter().map(|(topic, total)| (label(topic), total.0)).collect()
    }

    #[test]
    fn the_busiest_have_series_and_the_rest_is_summed() {
        let traffic = Traffic::default();
        for (n, (id, _)) in ALL.into_iter().enumerate() {
            traffic.of(topic(id)).appended(10 * (n as u64 + 1), 1);
        }
        let expected = [("b".to_owned(), 20), ("c".to_owned(), 30), (OTHERS.to_owned(), 10)];
        assert_eq!(shown(&traffic, 2, 1), expected);
    }

    #[test]
    fn nothing_that_is_shown_ever_falls_when_ranks_change() {
        let traffic = Traffic::default();
        traffic.of(topic(1)).appended(100, 1);
        traffic.of(topic(2)).appended(50, 1);
        assert_eq!(shown(&traffic, 1, 1), [("a".to_owned(), 100), (OTHERS.to_owned(), 50)]);
        traffic.of(topic(2)).appended(500, 1);
        traffic.of(topic(1)).appended(1, 1);
        assert_eq!(shown(&traffic, 1, 2), [("b".to_owned(), 550), (OTHERS.to_owned(), 51)]);
        // What was busy long ago makes room.
        let day = 24 * 3600;
        traffic.of(topic(1)).appended(2, 1);
        assert_eq!(shown(&traffic, 1, day), [("a".to_owned(), 103), (OTHERS.to_owned(), 51)]);
    }

    #[test]
    fn a_deleted_topic_is_forgotten() {
        let traffic = Traffic::default();
        traffic.of(topic(9)).appended(7, 1);
        assert_eq!(shown(&traffic, 9, 1).last(), Some(&(OTHERS.to_owned(), 7)));
        assert_eq!(shown(&traffic, 9, 2).last(), Some(&(OTHERS.to_owned(), 7)));
        assert_eq!(traffic.0.lock().topics.len(), 0);
    }
}
