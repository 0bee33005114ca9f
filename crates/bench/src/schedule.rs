//! When each record is due: the open loop.
//!
//! Invariant: the schedule depends on the rate alone, never on how fast the
//! server answers. A record that could not be sent when it was due keeps its
//! time, and its latency counts from there; this is what keeps a stalled
//! server from hiding its own stall (coordinated omission).

/// Nanoseconds in a second.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// The times of one producer's records, in nanoseconds since the run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// Nanoseconds between two records, as a fraction.
    period: (u128, u128),
    phase: u64,
}

impl Schedule {
    /// The records of producer `index` of `producers`, which together send
    /// `rate` records a second, evenly, one after the other.
    pub(crate) fn new(rate: f64, index: u32, producers: u32) -> Self {
        // Rates are kept to a thousandth of a record.
        let milli_rate = crate::numbers::whole(rate * 1000.0).max(1);
        let numerator = u128::from(SECOND) * 1000 * u128::from(producers.max(1));
        let period = (numerator, u128::from(milli_rate));
        let phase = numerator * u128::from(index) / u128::from(producers.max(1)) / period.1;
        Self { period, phase: u64::try_from(phase).unwrap_or(u64::MAX) }
    }

    /// When record `k` (from 0) is due.
    pub(crate) fn at(&self, k: u64) -> u64 {
        let after = u128::from(k) * self.period.0 / self.period.1;
        u64::try_from(after).unwrap_or(u64::MAX).saturating_add(self.phase)
    }

    /// How many records are due at `now`: those with `at(k) <= now`.
    pub(crate) fn due(&self, now: u64) -> u64 {
        let Some(elapsed) = now.checked_sub(self.phase) else { return 0 };
        // k * p / q <= elapsed in whole numbers is k * p < (elapsed + 1) * q.
        let bound = (u128::from(elapsed) + 1) * self.period.1;
        u64::try_from(bound.div_ceil(self.period.0)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_due_is_what_has_its_time_behind_it(
            rate in 0.5f64..5_000_000.0, producers in 1u32..2000, k in 0u64..1_000_000_000,
        ) {
            let schedule = Schedule::new(rate, producers / 2, producers);
            let at = schedule.at(k);
            prop_assert!(schedule.due(at) > k);
            if at > 0 {
                prop_assert!(schedule.due(at - 1) <= k);
            }
        }
    }

    #[test]
    fn a_second_holds_the_rate_whatever_the_producers() {
        for producers in [1, 3, 50] {
            let due: u64 =
                (0..producers).map(|i| Schedule::new(1000.0, i, producers).due(SECOND - 1)).sum();
            assert_eq!(due, 1000, "{producers} producers");
        }
    }

    #[test]
    fn producers_take_turns() {
        let times: Vec<u64> = (0..4).map(|i| Schedule::new(4.0, i, 4).at(0)).collect();
        assert_eq!(times, [0, SECOND / 4, SECOND / 2, SECOND * 3 / 4]);
    }

    #[test]
    fn a_late_record_keeps_its_time() {
        let schedule = Schedule::new(1000.0, 0, 1);
        // Nothing was sent for a second: a thousand records are due, the first since its own time.
        assert_eq!(schedule.due(SECOND), 1001);
        assert_eq!(schedule.at(0), 0);
        assert_eq!(schedule.at(999), SECOND / 1000 * 999);
    }
}
