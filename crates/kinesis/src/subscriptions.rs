//! Who subscribes to which shard: one connection for each consumer and shard.
//!
//! Invariant: of two subscriptions of one consumer to one shard the later one
//! lives, and it can't come within five seconds of the earlier one. Kept in
//! memory alone: a restart ends every connection anyway.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_types::{PartitionId, TopicId};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Nobody takes over a subscription that is younger.
const KEPT: Duration = Duration::from_secs(5);
/// Below so many, subscriptions that are over are left where they are.
const SWEEP_MIN: usize = 64;

/// A consumer's place at a shard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) topic: TopicId,
    pub(crate) shard: PartitionId,
    /// The consumer's name.
    pub(crate) consumer: String,
    /// When it was registered, in milliseconds since 1970.
    pub(crate) created_ms: i64,
}

/// All subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    by_key: BTreeMap<Key, Entry>,
    /// Once so many are there, those that are over are looked for.
    sweep_at: usize,
}

#[derive(Debug)]
struct Entry {
    since: Instant,
    /// Told when another takes over.
    taken: oneshot::Sender<()>,
}

/// Another subscription is younger than five seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InUse;

impl Subscriptions {
    /// Begins a subscription, and ends the one that was there. What is
    /// returned resolves when it is taken over in its turn.
    pub(crate) fn begin(&self, key: Key) -> Result<oneshot::Receiver<()>, InUse> {
        let now = Instant::now();
        let is_kept = |entry: &Entry| now < entry.since + KEPT;
        let mut state = self.0.lock();
        if state.by_key.get(&key).is_some_and(is_kept) {
            return Err(InUse);
        }
        if state.by_key.len() >= state.sweep_at.max(SWEEP_MIN) {
            state.by_key.retain(|_, entry| is_kept(entry) || !entry.taken.is_closed());
            state.sweep_at = state.by_key.len() * 2;
        }
        let (taken, over) = oneshot::channel();
        if let Some(before) = state.by_key.insert(key, Entry { since: now, taken }) {
            // Its connection may be gone.
            before.taken.send(()).ok();
        }
        Ok(over)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn key(shard: i32) -> Key {
        let (topic, shard) = (TopicId([1; 16]), PartitionId(shard));
        Key { topic, shard, consumer: "c".to_owned(), created_ms: 0 }
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_one_takes_over_after_five_seconds() {
        let all = Subscriptions::default();
        let mut first = all.begin(key(0)).unwrap();
        all.begin(key(1)).unwrap();
        advance(KEPT - Duration::from_millis(1)).await;
        assert_eq!(all.begin(key(0)).unwrap_err(), InUse);
        assert!(first.try_recv().is_err(), "who is refused ends nothing");
        advance(Duration::from_millis(1)).await;
        let mut second = all.begin(key(0)).unwrap();
        assert_eq!(first.try_recv(), Ok(()));
        assert!(second.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_forgotten() {
        let all = Subscriptions::default();
        let live = all.begin(key(-1)).unwrap();
        for shard in 0..10_000 {
            drop(all.begin(key(shard)).unwrap());
            advance(KEPT / 10).await;
        }
        assert!(all.0.lock().by_key.len() <= SWEEP_MIN);
        assert!(all.0.lock().by_key.contains_key(&key(-1)));
        drop(live);
    }
}
