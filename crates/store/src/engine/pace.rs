//! When the next commit begins: at once while the log is idle, and after what
//! is still to come while it is busy.
//!
//! A commit costs about the same for one batch as for fifty, and clients send
//! in waves: what a commit acknowledged comes back as new requests a moment
//! later. A writer that begins as soon as it has anything takes the first of
//! the wave alone, and the rest behind it. So it waits for most of what was on
//! its way at once the last time (what was flushed, and what had gathered
//! behind it), for [`WAVE_INTERVALS`] intervals at most since the last commit
//! ended, and only while that brings something. It sleeps once for all of the
//! wave: to be woken by its first request and then to wait for the others
//! costs as much again. A token bucket bounds commits a second besides.
//!
//! Pure: time is an argument. Driven by the log writer.

use std::time::Duration;

/// So much gathered is worth a commit, whatever else may come.
const COMMIT_BYTES: u64 = 1 << 20;
/// Longest wait for a wave, in intervals of the token bucket.
const WAVE_INTERVALS: u32 = 3;
/// The part of a wave that is worth a commit: not all of it, since sizes vary,
/// and since what is left keeps the connections busy during the flush.
const WAVE_PART: (u64, u64) = (3, 4);

/// What the writer waits for: the one or the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// So many bytes gathered.
    pub(super) bytes: u64,
    /// This time, by the monotonic clock.
    pub(super) until: Duration,
}

/// The pace of one log writer.
#[derive(Debug)]
pub(super) struct Pace {
    /// Between two commits of a busy log.
    interval: Duration,
    /// Commits that may begin now, and the most that are saved up.
    tokens: f64,
    burst: f64,
    /// When `tokens` was counted.
    counted: Duration,
    /// Bytes of the last commit, and of what had gathered behind it.
    wave: u64,
    /// Whether there are waves: something gathers during a flush, or comes
    /// while it is waited for.
    waits: bool,
}

impl Pace {
    /// At most `per_second` commits a second for long.
    pub(super) fn new(per_second: u32, now: Duration) -> Self {
        let per_second = per_second.max(1);
        let burst = (f64::from(per_second) / 50.0).max(1.0);
        Self {
            interval: Duration::from_secs(1) / per_second,
            tokens: burst,
            burst,
            counted: now,
            wave: 0,
            waits: false,
        }
    }

    /// What to wait for before the next commit, from now on.
    pub(super) fn wait(&mut self, now: Duration) -> Wait {
        self.count(now);
        if self.tokens < 1.0 {
            let until = now + self.interval.mul_f64(1.0 - self.tokens);
            return Wait { bytes: COMMIT_BYTES, until };
        }
        if !self.waits {
            return Wait { bytes: 0, until: now };
        }
        let worth = self.wave / WAVE_PART.1 * WAVE_PART.0;
        Wait { bytes: worth.min(COMMIT_BYTES), until: now + self.interval * WAVE_INTERVALS }
    }

    /// A commit of `bytes` began at `now`; the wait before it was `worth_it` or
    /// brought nothing. When the commit was done, `behind` bytes had gathered.
    pub(super) fn committed(&mut self, now: Duration, worth_it: bool, bytes: u64, behind: u64) {
        self.count(now);
        self.tokens = (self.tokens - 1.0).max(0.0);
        self.waits = behind > 0 || self.waits && worth_it;
        self.wave = bytes.saturating_add(behind);
    }

    fn count(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.counted);
        self.tokens += passed.as_secs_f64() / self.interval.as_secs_f64();
        self.tokens = self.tokens.min(self.burst);
        self.counted = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const NOW: Duration = Duration::from_secs(100);

    fn pace() -> Pace {
        Pace::new(1000, NOW)
    }

    #[test]
    fn an_idle_log_commits_at_once() {
        let mut pace = pace();
        assert_eq!(pace.wait(NOW).bytes, 0);
        pace.committed(NOW, true, 100, 0);
        assert_eq!(pace.wait(NOW + MS).bytes, 0, "one client that waits for each answer");
    }

    #[test]
    fn most_of_a_wave_is_waited_for() {
        let mut pace = pace();
        pace.committed(NOW, true, 400, 600);
        assert_eq!(pace.wait(NOW), Wait { bytes: 750, until: NOW + 3 * MS });
        pace.committed(NOW, true, 900, 0);
        assert_eq!(pace.wait(NOW).bytes, 675, "the wave is what it was the last time");
    }

    #[test]
    fn a_wait_that_brings_nothing_is_the_last() {
        let mut pace = pace();
        pace.committed(NOW, true, 400, 600);
        pace.committed(NOW + 3 * MS, false, 600, 0);
        assert_eq!(pace.wait(NOW + 3 * MS).bytes, 0);
    }

    #[test]
    fn a_megabyte_is_enough() {
        let mut pace = pace();
        pace.committed(NOW, true, 8 << 20, 8 << 20);
        assert_eq!(pace.wait(NOW).bytes, COMMIT_BYTES);
    }

    #[test]
    fn commits_a_second_are_bounded() {
        let mut pace = pace();
        let (mut now, mut commits) = (NOW, 0);
        while now < NOW + 1000 * MS {
            let wait = pace.wait(now);
            if wait.bytes > 100 {
                now = wait.until;
            }
            pace.committed(now, true, 100, 0);
            commits += 1;
        }
        assert!((1000..=1021).contains(&commits), "{commits}: a burst, then the rate");
    }
}
