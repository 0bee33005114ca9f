//! Readers: each reads all shards, a thread each, by GetRecords or by
//! SubscribeToShard.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::http::{Connection, member, members};
use super::{Crew, PATIENCE, PAUSE, Run, STAMP_LEN};
use crate::error::BenchError;
use crate::numbers;
use crate::shared::BACKOFF;
use crate::verify::Findings;

/// Bytes of a stamp in base64.
const STAMP_TEXT_LEN: usize = STAMP_LEN / 3 * 4;
/// What stands before and behind the payload of an event.
const EVENT_HEAD: usize = 12;
const EVENT_FOOT: usize = 4;

/// Where a thread reads from.
#[derive(Debug)]
enum Source {
    Iterator(String),
    Consumer { arn: String, shard: String },
}

/// One shard of one reader.
#[derive(Debug)]
pub(super) struct Part {
    source: Source,
    /// Records of this run that the reader has read, of all shards.
    read: Arc<AtomicU64>,
}

/// Sees to where readers begin: what is written from now on.
pub(super) fn prepare(
    run: &Run,
    control: &mut Connection,
    shards: &[String],
) -> Result<Vec<Part>, BenchError> {
    let mut parts = Vec::new();
    for reader in 0..run.options.readers {
        let read = Arc::new(AtomicU64::new(0));
        let consumer =
            if run.options.fan_out { Some(register(run, control, reader)?) } else { None };
        for shard in shards {
            let source = match &consumer {
                Some(arn) => Source::Consumer { arn: arn.clone(), shard: shard.clone() },
                None => Source::Iterator(iterator(control, &run.stream, shard)?),
            };
            parts.push(Part { source, read: Arc::clone(&read) });
        }
    }
    Ok(parts)
}

fn iterator(control: &mut Connection, stream: &str, shard: &str) -> Result<String, BenchError> {
    let ask =
        format!(r#"{{"StreamName":"{stream}","ShardId":"{shard}","ShardIteratorType":"LATEST"}}"#);
    let told = control.ok("GetShardIterator", &ask)?;
    Ok(member(&told, "ShardIterator").unwrap_or_default().to_owned())
}

/// Registers a consumer and waits until it is there; its ARN.
fn register(run: &Run, control: &mut Connection, reader: u32) -> Result<String, BenchError> {
    let name = format!(r#"{{"StreamName":"{}"}}"#, run.stream);
    let told = control.ok("DescribeStreamSummary", &name)?;
    let stream = member(&told, "StreamARN").unwrap_or_default().to_owned();
    let ask =
        format!(r#"{{"StreamARN":"{stream}","ConsumerName":"bench-{:08x}-{reader}"}}"#, run.id);
    let told = control.ok("RegisterStreamConsumer", &ask)?;
    let arn = member(&told, "ConsumerARN").unwrap_or_default().to_owned();
    let end = Instant::now() + PATIENCE;
    let ask = format!(r#"{{"ConsumerARN":"{arn}"}}"#);
    loop {
        let told = control.ok("DescribeStreamConsumer", &ask)?;
        if member(&told, "ConsumerStatus") == Some("ACTIVE") {
            return Ok(arn);
        }
        if Instant::now() > end {
            return Err(BenchError::Stalled(format!("consumer {arn} does not become ACTIVE")));
        }
        thread::sleep(PAUSE);
    }
}

/// Starts all, and waits until those that subscribe have.
pub(super) fn start(run: &Arc<Run>, parts: Vec<Part>) -> Result<Crew<Findings>, BenchError> {
    let waiting = Arc::new(AtomicU64::new(numbers::wide(parts.len())));
    let mut crew = Crew::new();
    for part in parts {
        let waiting = Arc::clone(&waiting);
        crew.push(super::start(run, "bench-reader", move |run| {
            let mut shard =
                Shard { run, read: part.read, last: BTreeMap::new(), found: Findings::default() };
            let connection = Connection::open(&run.address)?;
            match part.source {
                Source::Iterator(at) => {
                    waiting.fetch_sub(1, Ordering::AcqRel);
                    shard.poll(connection, at)?;
                }
                Source::Consumer { arn, shard: id } => {
                    shard.follow(connection, &arn, &id, &waiting)?
                }
            }
            Ok(shard.found)
        })?);
    }
    let end = Instant::now() + PATIENCE;
    while waiting.load(Ordering::Acquire) > 0 && !run.is_stopped() && Instant::now() < end {
        thread::sleep(PAUSE);
    }
    Ok(crew)
}

struct Shard<'r> {
    run: &'r Run,
    read: Arc<AtomicU64>,
    /// The last sequence of each producer.
    last: BTreeMap<u32, u64>,
    found: Findings,
}

impl Shard<'_> {
    fn is_done(&self) -> bool {
        self.run.is_all(self.read.load(Ordering::Acquire))
    }

    /// GetRecords, at once again while there are records.
    fn poll(&mut self, mut connection: Connection, mut at: String) -> Result<(), BenchError> {
        while !self.is_done() {
            let ask = format!(r#"{{"ShardIterator":"{at}"}}"#);
            let answer = connection.call("GetRecords", ask.as_bytes())?;
            if answer.is_throttled() {
                thread::sleep(Duration::from_nanos(BACKOFF));
                continue;
            }
            if !answer.is_ok() {
                return Err(answer.refused("GetRecords"));
            }
            let records = self.take(&answer.body, answer.len);
            let Some(next) = member(&answer.body, "NextShardIterator") else { return Ok(()) };
            at.clear();
            at.push_str(next);
            if records == 0 {
                thread::sleep(self.run.options.fetch_wait);
            }
        }
        Ok(())
    }

    /// SubscribeToShard, until all is read. A run is shorter than the five
    /// minutes of a subscription, or its shard is read no further.
    fn follow(
        &mut self,
        mut connection: Connection,
        arn: &str,
        shard: &str,
        waiting: &AtomicU64,
    ) -> Result<(), BenchError> {
        let ask = format!(
            r#"{{"ConsumerARN":"{arn}","ShardId":"{shard}","StartingPosition":{{"Type":"LATEST"}}}}"#
        );
        connection.subscribe("SubscribeToShard", &ask)?;
        waiting.fetch_sub(1, Ordering::AcqRel);
        let mut unread: Vec<u8> = Vec::new();
        while !self.is_done() {
            let Some(chunk) = connection.chunk()? else { return Ok(()) };
            unread.extend(chunk);
            while let Some((payload, rest)) = event(&unread) {
                let text = String::from_utf8_lossy(payload).into_owned();
                unread = rest.to_vec();
                self.take(&text, numbers::wide(text.len()));
            }
        }
        Ok(())
    }

    /// Looks at the records of an answer; how many there are.
    fn take(&mut self, body: &str, len: u64) -> u64 {
        let run = self.run;
        let now = run.clock.now();
        let micros = run.clock.micros(now);
        let (from, until) = (run.clock.micros(run.from()), run.clock.micros(run.until()));
        let mut times = Vec::new();
        let (mut all, mut own) = (0u64, 0u64);
        for data in members(body, "Data") {
            all += 1;
            let Some(due) = self.judge(data) else { continue };
            own += 1;
            if (from..until).contains(&due) {
                times.push((micros.saturating_sub(due), 1));
            }
        }
        run.counters.fetches.add(1);
        run.counters.records_out.add(own);
        run.counters.bytes_out.add(own * numbers::wide(run.options.record_bytes));
        run.counters.wire_bytes_out.add(len);
        run.end_to_end.record(times.into_iter());
        self.read.fetch_add(own, Ordering::AcqRel);
        all
    }

    /// When a record of this run was due, in µs since 1970.
    fn judge(&mut self, data: &str) -> Option<u64> {
        let stamp = data.split_at_checked(STAMP_TEXT_LEN).and_then(|(stamp, filler)| {
            let stamp: [u8; STAMP_LEN] = BASE64_STANDARD.decode(stamp).ok()?.try_into().ok()?;
            Some((stamp, filler))
        });
        let Some((stamp, filler)) = stamp else {
            self.found.foreign += 1;
            return None;
        };
        let number = |from: usize, len: usize| {
            let bytes = stamp.iter().skip(from).take(len);
            bytes.fold(0u64, |number, byte| (number << 8) | u64::from(*byte))
        };
        if number(0, 4) != u64::from(self.run.id) {
            self.found.foreign += 1;
            return None;
        }
        self.found.records += 1;
        self.found.corrupt += u64::from(filler != self.run.filler);
        let producer = u32::try_from(number(4, 4)).unwrap_or(u32::MAX);
        let sequence = number(8, 8);
        match self.last.insert(producer, sequence) {
            Some(last) if last == sequence => self.found.duplicates += 1,
            Some(last) if last > sequence => self.found.reordered += 1,
            _ => {}
        }
        Some(number(16, 8))
    }
}

/// The payload of the first whole event, and what follows it.
fn event(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let number = |at: usize| {
        let bytes = bytes.get(at..)?.first_chunk::<4>()?;
        usize::try_from(u32::from_be_bytes(*bytes)).ok()
    };
    let (whole, rest) = bytes.split_at_checked(number(0)?)?;
    let head = EVENT_HEAD.checked_add(number(4)?)?;
    Some((whole.get(head..whole.len().checked_sub(EVENT_FOOT)?)?, rest))
}
