//! Retention: moving log starts by the limits of each topic.
//!
//! The log start moves first, durably; the bytes below it go later, when the
//! store finds a file mostly dead. "Now" is the wall clock, but never ahead of
//! the monotonic clock since the process began, so that a clock that jumps
//! deletes nothing.

use std::sync::Arc;

use millrace_coord::groups::Now;
use millrace_log::retention::RetentionLimits;
use millrace_types::{Offset, Timestamp, TopicPartition};

use crate::Broker;

/// Between two looks, in milliseconds. (Kafka's
/// `log.retention.check.interval.ms` is five minutes; a look is cheap here.)
const EVERY_MS: u64 = 5_000;
/// A wall clock this much ahead of the monotonic one is not believed.
const JUMP_MS: i64 = 60_000;
/// Log starts that move by one record batch of hidden state.
const CHUNK: usize = 1_000;

/// Runs retention until the broker ends. At `started` the wall clock was
/// right, for all that is known.
pub(crate) async fn run(broker: Arc<Broker>, started: Now) {
    let clock = RetentionClock::new(started.wall, started.monotonic_ms);
    let mut stopped = false;
    loop {
        let wake = broker.env.sleep_until(broker.env.monotonic_ms() + EVERY_MS);
        tokio::select! {
            biased;
            () = broker.ended() => return,
            () = wake => {}
        }
        let now = clock.now(broker.env.wall(), broker.env.monotonic_ms());
        broker.metrics.retention_stopped.set(u64::from(now.is_none()));
        match (std::mem::replace(&mut stopped, now.is_none()), now) {
            (false, None) => tracing::error!(
                "the wall clock jumped ahead: nothing is deleted by age until it is set right, or, \
                 if it is right now, until the server is restarted"
            ),
            (true, Some(_)) => tracing::info!("the wall clock is plausible: retention goes on"),
            _ => {}
        }
        broker.metrics.groups.set(u64::try_from(broker.groups.len()).unwrap_or(u64::MAX));
        broker.expire(now).await;
    }
}

impl Broker {
    /// Moves every log start that is due. Without a time that can be believed
    /// only sizes count.
    async fn expire(&self, now: Option<Timestamp>) {
        let mut moves: Vec<(TopicPartition, Offset)> = Vec::new();
        let producers_before =
            now.map(|now| now.plus_ms(-as_ms(self.config().producer_expiration_ms)));
        for topic in self.topics() {
            let config = topic.config();
            let limits = RetentionLimits {
                age_ms: config.retention_ms.filter(|_| now.is_some()),
                bytes: config.retention_bytes,
            };
            for partition in topic.partitions().iter() {
                if let Some(before) = producers_before {
                    self.engine.expire_producers(&partition.log, before);
                }
                let start = partition.log.expired(limits, now.unwrap_or_default());
                if let Some(start) = start.filter(|_| config.cleanup_policy.delete) {
                    moves.push((partition.id(), start));
                }
            }
        }
        for chunk in moves.chunks(CHUNK) {
            if let Err(error) = self.engine.move_log_starts(chunk).await {
                tracing::warn!(%error, "retention could not move log starts");
                return;
            }
            self.metrics.retained.add(chunk.len() as u64);
            tracing::debug!(partitions = chunk.len(), "retention moved log starts");
        }
    }
}

/// The time that retention believes.
struct RetentionClock {
    /// Wall clock minus monotonic clock, as first seen.
    offset_ms: i64,
}

impl RetentionClock {
    fn new(wall: Timestamp, monotonic_ms: u64) -> Self {
        Self { offset_ms: wall.get().saturating_sub(as_ms(monotonic_ms)) }
    }

    /// Now; `None` while the wall clock is further ahead than it can be.
    fn now(&self, wall: Timestamp, monotonic_ms: u64) -> Option<Timestamp> {
        let expected = self.offset_ms.saturating_add(as_ms(monotonic_ms));
        if wall.get() > expected.saturating_add(JUMP_MS) {
            return None;
        }
        Some(Timestamp(wall.get().min(expected)))
    }
}

fn as_ms(monotonic_ms: u64) -> i64 {
    i64::try_from(monotonic_ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_ahead_is_not_believed() {
        let clock = RetentionClock::new(Timestamp(1_000_000), 10);
        assert_eq!(clock.now(Timestamp(1_000_005), 15), Some(Timestamp(1_000_005)));
        assert_eq!(clock.now(Timestamp(9_000_000), 20), None);
        assert_eq!(clock.now(Timestamp(1_000_012), 22), Some(Timestamp(1_000_012)));
    }

    #[test]
    fn a_clock_that_goes_back_only_delays() {
        let clock = RetentionClock::new(Timestamp(1_000_000), 0);
        assert_eq!(clock.now(Timestamp(900_000), 5_000), Some(Timestamp(900_000)));
    }
}
