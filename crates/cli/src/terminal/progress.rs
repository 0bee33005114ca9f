//! Progress of long work, with its rate and the time that remains: on standard
//! error, where that is a terminal; elsewhere nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};

/// A line that moves while bytes are worked through, and leaves with it.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    records: Arc<AtomicU64>,
}

impl Progress {
    /// Work of a known size in bytes (a bar), or of an unknown one (what was
    /// done, and how fast). `what` leads the line: "verifying".
    #[must_use]
    pub fn new(what: &str, total: Option<u64>) -> Self {
        Self::with(what, total, "")
    }

    /// The same, and [`Progress::record`] counts records, which are told with
    /// their rate.
    #[must_use]
    pub fn of_records(what: &str, total: Option<u64>) -> Self {
        Self::with(what, total, ", {records}")
    }

    fn with(what: &str, total: Option<u64>, records_part: &str) -> Self {
        let done = format!("{{bytes_per_sec}}{records_part}");
        let (bar, template) = match total {
            Some(total) => (
                ProgressBar::new(total),
                format!("{{msg}} {{bar:24}} {{bytes}} of {{total_bytes}}, {done}, {{eta}} left"),
            ),
            None => (ProgressBar::no_length(), format!("{{msg}} {{spinner}} {{bytes}}, {done}")),
        };
        let records = Arc::new(AtomicU64::new(0));
        if let Ok(style) = ProgressStyle::with_template(&template) {
            let counted = Arc::clone(&records);
            bar.set_style(style.with_key(
                "records",
                move |state: &ProgressState, to: &mut dyn std::fmt::Write| {
                    let rate = per_second(counted.load(Ordering::Relaxed), state.elapsed());
                    // A line that can't be written is shown the next time.
                    write!(to, "{} records/s", HumanCount(rate)).ok();
                },
            ));
        }
        bar.set_message(what.to_owned());
        // It is seen at once, however short the work is.
        bar.tick();
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, records }
    }

    /// So many bytes are done in all.
    pub fn at(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// One record more is done.
    pub fn record(&self) {
        self.records.fetch_add(1, Ordering::Relaxed);
    }
}

/// A second's share of what took so long.
#[must_use]
pub fn per_second(count: u64, took: Duration) -> u64 {
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1000) / ms
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_by_the_second() {
        assert_eq!(per_second(500, Duration::from_millis(250)), 2000);
        assert_eq!(per_second(3, Duration::from_secs(2)), 1);
        assert_eq!(per_second(7, Duration::ZERO), 7000);
        assert_eq!(per_second(u64::MAX, Duration::from_secs(1)), u64::MAX / 1000);
    }
}
