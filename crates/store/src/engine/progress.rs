//! How far a start is, for whoever waits for it.
//!
//! Invariant: nothing is decided by these numbers, and to read them waits for
//! nobody. One [`Progress`] serves all incarnations of a process, one after
//! the other. Written by the recovery and by who calls it, read by who tells
//! people whether the server is ready.

use std::{
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
    time::Duration,
};

/// What a start is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Waits for the threads of an incarnation that failed to let go.
    LettingGo = 0,
    /// Reads the catalog.
    Catalog = 1,
    /// Reads checkpoints.
    Checkpoint = 2,
    /// Reads the log behind the checkpoint.
    Log = 3,
    /// Copies what no sync is known to cover into a new file, and syncs it.
    Copying = 4,
    /// Builds partitions and the server's own state.
    State = 5,
    /// Failed, and waits to try again.
    Failed = 6,
}

impl Step {
    const ALL: [Self; 7] = [
        Self::LettingGo,
        Self::Catalog,
        Self::Checkpoint,
        Self::Log,
        Self::Copying,
        Self::State,
        Self::Failed,
    ];

    /// What it does, for a person.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::LettingGo => "waiting for the disk to let go of the log that failed",
            Self::Catalog => "reading the catalog",
            Self::Checkpoint => "reading the checkpoint",
            Self::Log => "reading the log",
            Self::Copying => "copying what may not have reached the disk",
            Self::State => "rebuilding partitions and groups",
            Self::Failed => "the last try failed (the log says why), trying again",
        }
    }
}

/// How far the present start is, shared by who works and who looks.
#[derive(Debug, Default)]
pub struct Progress {
    step: AtomicU8,
    /// When it began, in microseconds of the monotonic clock.
    began: AtomicU64,
    files: AtomicU64,
    files_read: AtomicU64,
    bytes: AtomicU64,
    bytes_read: AtomicU64,
}

/// A look at a [`Progress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progressed {
    /// What is done now.
    pub step: Step,
    /// Log files behind the checkpoint that have to be read.
    pub files: u64,
    /// How many of them are.
    pub files_read: u64,
    /// Bytes of those that have to be read in whole.
    pub bytes: u64,
    /// How many of them are.
    pub bytes_read: u64,
    /// Since the start began.
    pub took: Duration,
}

impl Progress {
    /// A start begins at the time `now` of the monotonic clock.
    pub fn begin(&self, step: Step, now: Duration) {
        self.began.store(micros(now), Ordering::Relaxed);
        self.restart(step);
    }

    /// The same start begins anew: it counts from nothing again.
    pub fn restart(&self, step: Step) {
        for count in [&self.files, &self.files_read, &self.bytes, &self.bytes_read] {
            count.store(0, Ordering::Relaxed);
        }
        self.enter(step);
    }

    /// Goes on to `step`.
    pub fn enter(&self, step: Step) {
        self.step.store(step as u8, Ordering::Relaxed);
    }

    /// How far it is at the time `now` of the monotonic clock.
    #[must_use]
    pub fn look(&self, now: Duration) -> Progressed {
        let step = self.step.load(Ordering::Relaxed);
        let step = Step::ALL.into_iter().find(|known| *known as u8 == step);
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (files, bytes) = (count(&self.files), count(&self.bytes));
        let began = Duration::from_micros(count(&self.began));
        Progressed {
            step: step.unwrap_or(Step::LettingGo),
            files,
            files_read: count(&self.files_read).min(files),
            bytes,
            bytes_read: count(&self.bytes_read).min(bytes),
            took: now.saturating_sub(began),
        }
    }

    pub(super) fn expect_files(&self, files: usize) {
        self.files.fetch_add(files as u64, Ordering::Relaxed);
    }

    pub(super) fn file_is_read(&self) {
        self.files_read.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn expect_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn bytes_are_read(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_counted_from_the_begin_of_the_start() {
        let progress = Progress::default();
        progress.begin(Step::Catalog, Duration::from_secs(10));
        progress.expect_files(7);
        progress.expect_bytes(400);
        progress.enter(Step::Log);
        (0..3).for_each(|_| progress.file_is_read());
        progress.bytes_are_read(120);
        let seen = progress.look(Duration::from_millis(12_100));
        assert_eq!((seen.step, seen.files_read, seen.files), (Step::Log, 3, 7));
        assert_eq!((seen.bytes_read, seen.bytes), (120, 400));
        assert_eq!(seen.took, Duration::from_millis(2_100));
        progress.restart(Step::Failed);
        let seen = progress.look(Duration::from_secs(20));
        assert_eq!((seen.step, seen.files, seen.bytes_read), (Step::Failed, 0, 0));
        assert_eq!(seen.took, Duration::from_secs(10), "the same start");
    }
}
