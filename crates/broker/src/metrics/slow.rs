//! The line about a slow request: where its time went.
//!
//! Invariant: however many requests are slow, the log takes [`LINES_MAX`] lines
//! in [`PERIOD`]; the next one says how many were left out. A client's own text
//! is quoted, and no longer than [`TEXT_MAX`]. Called by the fronts.

use std::fmt::Display;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lines in a [`PERIOD`].
const LINES_MAX: u32 = 10;
const PERIOD: Duration = Duration::from_secs(10);
/// Bytes of a client's name for itself.
const TEXT_MAX: usize = 100;

/// Where the time of a request went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// From received whole to begun.
    pub queue: Duration,
    /// In its handler.
    pub work: Duration,
    /// Waiting for the log.
    pub log: Duration,
    /// Waiting for what the client asked to wait for: records to come, other
    /// members of its group. Not slow.
    pub asked: Duration,
    /// From answered to written to the socket.
    pub response: Duration,
}

impl Spent {
    /// What counts as slow.
    #[must_use]
    pub fn slow(&self) -> Duration {
        self.queue + self.work + self.log + self.response
    }

    /// What took longest of that.
    fn waited_for(&self) -> &'static str {
        let parts = [
            (self.queue, "requests before it"),
            (self.work, "its handler"),
            (self.log, "the log"),
            (self.response, "the client to take the answer"),
        ];
        parts.into_iter().max_by_key(|(time, _)| *time).map_or("", |(_, what)| what)
    }
}

/// What a request was, for a person.
#[derive(Clone, Copy)]
pub struct Answered<'a> {
    /// Front, API and its version.
    pub front: &'static str,
    /// As its protocol names it.
    pub api: &'static str,
    /// -1 where the protocol has none.
    pub version: i16,
    /// What the client calls itself.
    pub client: &'a str,
    /// Where it came from.
    pub peer: &'a dyn Display,
    /// The protocol's name of the first error, or none.
    pub error: &'a str,
    /// Sizes, in bytes.
    pub request_bytes: usize,
    /// 0 where it is not known.
    pub response_bytes: usize,
}

/// Tells of slow requests.
#[derive(Debug)]
pub struct SlowRequests {
    /// From here on a request is slow.
    threshold: Option<Duration>,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl SlowRequests {
    /// Tells of requests that take so long; of none for 0.
    pub(super) fn new(threshold: Duration) -> Self {
        let threshold = Some(threshold).filter(|threshold| !threshold.is_zero());
        Self { threshold, told: Mutex::default() }
    }

    /// Whether a request of this time is slow.
    #[must_use]
    pub fn is_slow(&self, spent: &Spent) -> bool {
        self.threshold.is_some_and(|threshold| spent.slow() >= threshold)
    }

    /// Writes the line, where there is room for one.
    pub fn tell(&self, request: &Answered<'_>, spent: &Spent, now: Instant) {
        let Some(left_out) = self.told.lock().admit(now) else { return };
        let Answered { front, api, version, peer, error, .. } = request;
        tracing::warn!(
            front,
            api,
            version,
            client_id = ?cut(request.client),
            %peer,
            error,
            request_bytes = request.request_bytes,
            response_bytes = request.response_bytes,
            total_ms = millis(spent.slow()),
            queue_ms = millis(spent.queue),
            work_ms = millis(spent.work),
            log_ms = millis(spent.log),
            response_ms = millis(spent.response),
            asked_ms = millis(spent.asked),
            waited_for = spent.waited_for(),
            left_out,
            "slow request"
        );
    }
}

impl Told {
    /// Whether one more line may be written at `now`; with how many were not.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        let over = self.since.is_none_or(|since| now.saturating_duration_since(since) >= PERIOD);
        if over {
            self.since = Some(now);
            self.lines = 0;
        }
        if self.lines >= LINES_MAX {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn cut(text: &str) -> &str {
    let end = (0..=TEXT_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_not_slow() {
        let slow = SlowRequests::new(Duration::from_secs(1));
        let asked = Duration::from_secs(30);
        let spent = Spent { asked, log: Duration::from_millis(999), ..Spent::default() };
        assert!(!slow.is_slow(&spent));
        let spent = Spent { work: Duration::from_millis(1), ..spent };
        assert!(slow.is_slow(&spent));
        assert_eq!(spent.waited_for(), "the log");
        assert!(!SlowRequests::new(Duration::ZERO).is_slow(&spent));
    }

    #[test]
    fn a_flood_is_few_lines_that_say_how_many_there_were() {
        let mut told = Told::default();
        let start = Instant::now();
        let admitted = (0..1000).filter(|_| told.admit(start).is_some()).count();
        assert_eq!(admitted, 10);
        assert_eq!(told.admit(start + PERIOD), Some(990));
        assert_eq!(told.admit(start + PERIOD), Some(0));
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(cut(&"ä".repeat(400)).len(), 100);
        assert_eq!(cut("a"), "a");
    }
}
