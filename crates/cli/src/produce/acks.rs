//! Acknowledgements, in the order of the input: what was written, and the
//! first record that was not.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::DecimalBytes;
use krafka::KrafkaError;
use krafka::producer::DeliveryHandle;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::terminal::{Progress, counted, per_second};

/// Handles wait here for theirs; the library bounds the bytes behind them.
const WAITING: usize = 16 * 1024;

/// Where in the input a record stood.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// As errors name it.
    pub(super) file: Arc<Path>,
    pub(super) line: u64,
    /// Bytes of its key and value.
    pub(super) bytes: u64,
    /// Bytes of input up to its end, all files together.
    pub(super) read: u64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// Takes handles, in order.
pub(super) struct Acks {
    to: mpsc::Sender<(Origin, DeliveryHandle)>,
    failed: Arc<Failed>,
}

#[derive(Default)]
struct Failed {
    yes: AtomicBool,
    wake: Notify,
}

/// What became of all of them.
pub(super) struct Taken(JoinHandle<Outcome>);

/// What was written.
#[derive(Default)]
pub(super) struct Outcome {
    records: u64,
    /// Of keys and values.
    bytes: u64,
    pub(super) not_acknowledged: u64,
    pub(super) refused: Option<(Origin, KrafkaError)>,
    /// Partition and offset of the only one.
    place: Option<(i32, i64)>,
}

impl Acks {
    pub(super) fn start(progress: Option<Progress>) -> (Self, Taken) {
        let (to, from) = mpsc::channel(WAITING);
        let failed = Arc::new(Failed::default());
        let taking = tokio::spawn(take(from, Arc::clone(&failed), progress));
        (Self { to, failed }, Taken(taking))
    }

    /// Waits where too many are on their way.
    pub(super) async fn expect(&self, origin: Origin, handle: DeliveryHandle) {
        // The other end leaves after this one.
        self.to.send((origin, handle)).await.ok();
    }

    /// Returns once a record was not acknowledged.
    pub(super) async fn failed(&self) {
        while !self.failed.yes.load(Ordering::Acquire) {
            self.failed.wake.notified().await;
        }
    }
}

impl Taken {
    /// After the last handle.
    pub(super) async fn finish(self) -> Outcome {
        self.0.await.unwrap_or_default()
    }
}

async fn take(
    mut from: mpsc::Receiver<(Origin, DeliveryHandle)>,
    failed: Arc<Failed>,
    progress: Option<Progress>,
) -> Outcome {
    let mut outcome = Outcome::default();
    while let Some((origin, handle)) = from.recv().await {
        match handle.await {
            Ok(written) => {
                outcome.records += 1;
                outcome.bytes += origin.bytes;
                outcome.place = Some((written.partition, written.offset));
                if let Some(progress) = &progress {
                    progress.at(origin.read);
                    progress.record();
                }
            }
            Err(error) => {
                outcome.not_acknowledged += 1;
                if outcome.refused.is_none() {
                    outcome.refused = Some((origin, error));
                    failed.yes.store(true, Ordering::Release);
                    failed.wake.notify_one();
                }
            }
        }
    }
    outcome
}

impl Outcome {
    /// One sentence.
    pub(super) fn summary(&self, topic: &str, took: Duration) -> String {
        if let (1, Some((partition, offset))) = (self.records, self.place) {
            return format!("wrote 1 record to {topic}, partition {partition}, offset {offset}");
        }
        if self.records == 0 {
            return format!("wrote nothing to {topic}");
        }
        let (records, bytes) = (counted(self.records, "record"), DecimalBytes(self.bytes));
        let by_second = |count| per_second(count, took);
        format!(
            "wrote {records} ({bytes}) to {topic} in {:.1} s: {} records/s, {}/s",
            took.as_secs_f64(),
            by_second(self.records),
            DecimalBytes(by_second(self.bytes))
        )
    }

    /// The same for programs.
    pub(super) fn json(&self, topic: &str, took: Duration) -> Value {
        let only = self.place.filter(|_| self.records == 1);
        json!({
            "topic": topic,
            "records": self.records,
            "bytes": self.bytes,
            "not_acknowledged": self.not_acknowledged,
            "seconds": took.as_secs_f64(),
            "partition": only.map(|(partition, _)| partition),
            "offset": only.map(|(_, offset)| offset),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_told_in_fitting_units() {
        let said = |records, bytes, place| {
            let outcome = Outcome { records, bytes, place, ..Outcome::default() };
            outcome.summary("t", Duration::from_millis(500))
        };
        assert_eq!(said(0, 0, None), "wrote nothing to t");
        assert_eq!(said(1, 3, Some((2, 7))), "wrote 1 record to t, partition 2, offset 7");
        let few = "wrote 2 records (19 B) to t in 0.5 s: 4 records/s, 38 B/s";
        assert_eq!(said(2, 19, Some((0, 1))), few);
        let many = "wrote 1000 records (12.00 MB) to t in 0.5 s: 2000 records/s, 24.00 MB/s";
        assert_eq!(said(1_000, 12_000_000, None), many);
    }
}
