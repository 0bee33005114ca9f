//! What blocking work waits for: a bell that others ring.
//!
//! Invariant: a ring is never lost. One that comes while nobody waits ends the
//! next wait at once; several count as one. Whoever waits looks again at the
//! state that the ring is about.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// One waits, others ring. Made by [`super::Env::bell`].
pub trait Bell: Send + Sync + 'static {
    /// Ends the present wait, or the next one.
    fn ring(&self);

    /// Blocks until it rings, or has rung since the last wait, but no longer
    /// than that. Whether it rang.
    fn wait(&self, longest: Duration) -> bool;
}

/// A [`Bell`] for a thread.
#[derive(Debug, Default)]
pub struct ThreadBell {
    rung: Mutex<bool>,
    rings: Condvar,
}

impl Bell for ThreadBell {
    fn ring(&self) {
        *self.rung.lock() = true;
        self.rings.notify_one();
    }

    fn wait(&self, longest: Duration) -> bool {
        let mut rung = self.rung.lock();
        if !*rung {
            self.rings.wait_for(&mut rung, longest);
        }
        std::mem::take(&mut *rung)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_before_the_wait_counts_once() {
        let bell = ThreadBell::default();
        bell.ring();
        bell.ring();
        assert!(bell.wait(Duration::from_secs(600)));
        assert!(!bell.wait(Duration::ZERO));
    }

    #[test]
    fn a_ring_ends_a_wait() {
        let bell = ThreadBell::default();
        std::thread::scope(|scope| {
            scope.spawn(|| bell.ring());
            assert!(bell.wait(Duration::from_secs(600)));
        });
    }
}
