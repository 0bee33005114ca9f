//! Where the time of one request goes, from received whole to its response
//! written.
//!
//! Invariant: a look at the clock a stage, and none where a stage follows the
//! one before at once. Kept by [`super::queue`] and then by [`super::send`].

use std::time::{Duration, Instant};

use millrace_broker::metrics::Spent;

/// What a request waits for beside later ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// The log, to be durable.
    Log,
    /// Records to fetch, or members of a group: what the client asked for.
    Event,
}

/// When one request got how far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trace {
    arrived: Instant,
    begun: Instant,
    waiting: Option<(Awaited, Instant)>,
    answered: Option<Instant>,
    /// Bytes of the request.
    pub(crate) request_bytes: usize,
}

impl Trace {
    /// A request of so many bytes that arrived, and was begun.
    pub(crate) fn begun(arrived: Instant, begun: Instant, request_bytes: usize) -> Self {
        Self { arrived, begun, waiting: None, answered: None, request_bytes }
    }

    /// From now on it waits for this.
    pub(crate) fn awaits(&mut self, awaited: Awaited) {
        self.waiting = Some((awaited, Instant::now()));
    }

    /// The answer is there.
    pub(crate) fn is_answered(&mut self) {
        self.answered.get_or_insert_with(Instant::now);
    }

    /// What it waited for, and for how long.
    pub(crate) fn awaited(&self) -> Option<(Awaited, Duration)> {
        let (awaited, since) = self.waiting?;
        Some((awaited, self.answered?.saturating_duration_since(since)))
    }

    /// Until it was begun.
    pub(crate) fn queued(&self) -> Duration {
        self.begun.saturating_duration_since(self.arrived)
    }

    /// From begun to answered.
    pub(crate) fn took(&self) -> Duration {
        self.answered.unwrap_or(self.begun).saturating_duration_since(self.begun)
    }

    /// All of it, where the response was written `now`.
    pub(crate) fn spent(&self, now: Instant) -> Spent {
        let (log, asked) = match self.awaited() {
            Some((Awaited::Log, time)) => (time, Duration::ZERO),
            Some((Awaited::Event, time)) => (Duration::ZERO, time),
            None => (Duration::ZERO, Duration::ZERO),
        };
        Spent {
            queue: self.queued(),
            work: self.took().saturating_sub(log + asked),
            log,
            asked,
            response: now.saturating_duration_since(self.answered.unwrap_or(now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_has_its_part() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let trace = Trace {
            arrived: at(0),
            begun: at(3),
            waiting: Some((Awaited::Log, at(10))),
            answered: Some(at(60)),
            request_bytes: 1,
        };
        let ms = Duration::from_millis;
        let spent = trace.spent(at(100));
        let expected =
            Spent { queue: ms(3), work: ms(7), log: ms(50), asked: ms(0), response: ms(40) };
        assert_eq!(spent, expected);
        let asked = Trace { waiting: Some((Awaited::Event, at(10))), ..trace };
        assert_eq!(asked.spent(at(100)).slow(), ms(50));
        assert_eq!(asked.took(), ms(57));
    }
}
