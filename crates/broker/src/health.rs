//! Whether the broker serves, and if not what it is doing.
//!
//! Invariant: to look never waits, neither for the disk nor for a lock that
//! is held over I/O: it is asked when something hangs. Called by whoever tells
//! people and load balancers whether the server is ready.

use std::time::Duration;

use millrace_store::engine::{IoCall, Progress, Progressed};

use crate::Supervisor;

/// A write or flush of the log that takes so long hangs.
pub const HANGS_AFTER: Duration = Duration::from_secs(5);

/// How the broker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It serves.
    Serving,
    /// It reads its log, at a start or after a failed write.
    Recovering(Progressed),
    /// The log waits for the disk, and nothing is acknowledged meanwhile.
    Hanging {
        /// What it waits for.
        call: IoCall,
        /// For how long.
        lasted: Duration,
    },
}

impl Supervisor {
    /// How the broker is.
    #[must_use]
    pub fn health(&self) -> Health {
        let broker = self.current();
        if broker.is_ended() {
            return Health::Recovering(self.progress().look(broker.env.monotonic()));
        }
        match broker.engine.pending_io() {
            Some((call, lasted)) if lasted >= HANGS_AFTER => Health::Hanging { call, lasted },
            _ => Health::Serving,
        }
    }

    fn progress(&self) -> &Progress {
        &self.drivers.progress
    }
}
