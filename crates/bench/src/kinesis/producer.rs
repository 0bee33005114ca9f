//! A producer: one PutRecords after the other, of the records that are due.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::http::{Connection, members};
use super::{Run, STAMP_LEN, batch_len, ns};
use crate::batch::Filler;
use crate::error::BenchError;
use crate::numbers::{self, Random};
use crate::schedule::{SECOND, Schedule};
use crate::shared::{BACKOFF, DRAIN};

/// What a producer did not get through.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// Due and never sent.
    pub(super) unsent: u64,
    /// Refused one by one: they are not sent again.
    pub(super) refused: u64,
}

/// What stands behind every stamp, in base64.
pub(super) fn filler(len: usize) -> String {
    BASE64_STANDARD.encode(Filler::new(len).get(0, len).unwrap_or_default())
}

/// What a producer does next.
enum Step {
    /// Sends so many.
    Send(u64),
    /// Nothing before this time.
    Wait(u64),
    /// It is done, and so many were due and not sent.
    End(u64),
}

struct Producer<'r> {
    run: &'r Run,
    index: u32,
    schedule: Option<Schedule>,
    batch: u64,
    /// Records that were sent.
    next: u64,
    /// Of those that are measured, where their number ends the run.
    left: Option<u64>,
    random: Random,
    body: String,
    dues: Vec<u64>,
}

/// Sends until the run ends.
pub(super) fn work(run: &Run, index: u32) -> Result<Tally, BenchError> {
    let options = &run.options;
    let producers = options.producers.max(1);
    let share = |total: u64| {
        let count = u64::from(producers);
        total / count + u64::from(u64::from(index) < total % count)
    };
    let mut producer = Producer {
        run,
        index,
        schedule: options.records_per_s().map(|rate| Schedule::new(rate, index, producers)),
        batch: batch_len(options),
        next: 0,
        left: options.records.map(share),
        random: Random::new(u64::from(index) + 1),
        body: String::new(),
        dues: Vec::new(),
    };
    let mut connection = Connection::open(&run.address)?;
    let mut tally = Tally::default();
    loop {
        match producer.step(run.clock.now()) {
            Step::Send(count) => {
                producer.fill(count);
                tally.refused += producer.send(&mut connection)?;
            }
            Step::Wait(until) => {
                // A stop is seen in time.
                let pause = until.saturating_sub(run.clock.now()).min(SECOND / 10);
                thread::sleep(Duration::from_nanos(pause));
            }
            Step::End(unsent) => {
                tally.unsent = unsent;
                return Ok(tally);
            }
        }
    }
}

impl Producer<'_> {
    fn step(&self, now: u64) -> Step {
        let (begin, until) = (self.run.begin(), self.run.until());
        if self.run.is_stopped() || self.left == Some(0) {
            return Step::End(0);
        }
        if now < begin {
            return Step::Wait(begin.min(now + SECOND / 100));
        }
        let most = self.batch.min(self.left.unwrap_or(u64::MAX));
        let Some(schedule) = self.schedule else {
            return if now < until { Step::Send(most) } else { Step::End(0) };
        };
        let horizon = now.min(until.saturating_sub(1)).saturating_sub(begin);
        let due = schedule.due(horizon).saturating_sub(self.next);
        let oldest = begin.saturating_add(schedule.at(self.next));
        if due == 0 {
            return if now < until { Step::Wait(oldest.min(until)) } else { Step::End(0) };
        }
        if now > until.saturating_add(DRAIN) {
            return Step::End(due);
        }
        let ripe = oldest.saturating_add(ns(self.run.options.linger));
        if due < most && now < ripe.min(until) {
            let full = begin.saturating_add(schedule.at(self.next + most - 1));
            return Step::Wait(ripe.min(full));
        }
        Step::Send(due.min(most))
    }

    /// Writes a request of the next records.
    fn fill(&mut self, count: u64) {
        let (run, options) = (self.run, &self.run.options);
        let now = run.clock.now();
        self.dues.clear();
        self.body.clear();
        self.body.push_str(r#"{"StreamName":""#);
        self.body.push_str(&run.stream);
        self.body.push_str(r#"","Records":["#);
        for n in 0..count {
            let sequence = self.next + n;
            let due = self.schedule.map_or(now, |s| run.begin().saturating_add(s.at(sequence)));
            self.dues.push(due);
            let mut stamp = [0; STAMP_LEN];
            let parts = run.id.to_be_bytes().into_iter().chain(self.index.to_be_bytes());
            let parts = parts.chain(sequence.to_be_bytes());
            let parts = parts.chain(run.clock.micros(due).to_be_bytes());
            stamp.iter_mut().zip(parts).for_each(|(byte, part)| *byte = part);
            self.body.push_str(if n > 0 { r#",{"Data":""# } else { r#"{"Data":""# });
            BASE64_STANDARD.encode_string(stamp, &mut self.body);
            self.body.push_str(&run.filler);
            let key =
                if options.keys > 0 { self.random.below(options.keys) } else { self.random.next() };
            self.body.push_str(&format!(r#"","PartitionKey":"{key:x}"}}"#));
        }
        self.body.push_str("]}");
        self.next += count;
    }

    /// Sends it until it is not throttled; how many of its records are refused.
    fn send(&mut self, connection: &mut Connection) -> Result<u64, BenchError> {
        let run = self.run;
        let answer = loop {
            let answer = connection.call("PutRecords", self.body.as_bytes())?;
            if !answer.is_throttled() || run.is_stopped() {
                break answer;
            }
            run.counters.retries.add(1);
            thread::sleep(Duration::from_nanos(BACKOFF));
        };
        if !answer.is_ok() {
            return Err(answer.refused("PutRecords"));
        }
        let now = run.clock.now();
        let refused = numbers::wide(members(&answer.body, "ErrorCode").count());
        let sent = numbers::wide(self.dues.len());
        let stored = sent.saturating_sub(refused);
        let measured = self.dues.iter().filter(|due| run.is_measured(**due));
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(numbers::wide(measured.clone().count()));
        }
        if refused == 0 {
            run.latency.record(measured.map(|due| (now.saturating_sub(*due) / 1000, 1)));
        }
        run.counters.requests.add(1);
        run.counters.batches.add(1);
        run.counters.records_in.add(stored);
        run.counters.bytes_in.add(stored * numbers::wide(run.options.record_bytes));
        run.counters.wire_bytes_in.add(numbers::wide(self.body.len()));
        run.acked.fetch_add(stored, Ordering::AcqRel);
        run.last_ack.fetch_max(now, Ordering::Relaxed);
        Ok(refused)
    }
}
