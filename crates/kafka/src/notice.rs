//! Log lines for what a response has no field to say, at most one a minute and
//! subject, so that a client in a loop cannot fill the log.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

const PERIOD: Duration = Duration::from_secs(60);

/// When each subject was last spoken of.
#[derive(Debug, Default)]
pub struct Notices {
    last: Mutex<BTreeMap<&'static str, Instant>>,
}

impl Notices {
    /// Whether `subject` may be logged now; if so, not again for a minute.
    #[must_use]
    pub fn due(&self, subject: &'static str) -> bool {
        let now = Instant::now();
        let mut last = self.last.lock();
        let due = last.get(subject).is_none_or(|then| now.duration_since(*then) >= PERIOD);
        if due {
            last.insert(subject, now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_due_once_a_minute() {
        let notices = Notices::default();
        assert!(notices.due("transactional id"));
        assert!(!notices.due("transactional id"));
        assert!(notices.due("something else"));
    }
}
