//! The same load for any Kinesis endpoint: PutRecords, GetRecords and
//! SubscribeToShard, in JSON over HTTP/1.1.
//!
//! SDKs have one request of a connection on the way, so each producer is a
//! thread with a connection, and so is each shard of a reader. Requests carry
//! credentials that are none: an endpoint that verifies signatures refuses
//! them.
//!
//! Invariant: as for Kafka, latency counts from when a record was due.

mod http;
mod producer;
mod reader;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::cost::Server;
use crate::error::BenchError;
use crate::meter::{Counters, Times, histogram};
use crate::numbers;
use crate::options::{BenchArgs, Read};
use crate::report::{Latency, Phase, Report, Sample, Verified};
use crate::schedule::SECOND;
use crate::shared::{Clock, DRAIN, LEAD};
use crate::verify::Findings;
use http::{Connection, member};

/// Shards of a stream that is created, if nobody says.
const SHARDS_DEFAULT: u32 = 4;
/// Records of a PutRecords, as AWS limits them.
const RECORDS_MAX: usize = 500;
/// Bytes of one, as AWS limits them.
const CALL_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Bytes at the start of each record's data that say which it is: run (4),
/// producer (4), sequence (8), intended time in µs since 1970 (8). In base64
/// it ends where four letters do.
const STAMP_LEN: usize = 24;
/// How long a stream or a consumer may take until it is there.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// What all threads share.
#[derive(Debug)]
struct Run {
    options: BenchArgs,
    /// Random, in every record.
    id: u32,
    address: String,
    stream: String,
    clock: Clock,
    /// When producers begin, in ns of the clock.
    begin: OnceLock<u64>,
    counters: Counters,
    latency: Times,
    end_to_end: Times,
    last_ack: AtomicU64,
    /// Records acknowledged, of the warm-up too.
    acked: AtomicU64,
    /// When producers were done; 0 while they are not.
    done_at: AtomicU64,
    stopped: AtomicBool,
    failure: Mutex<Option<BenchError>>,
    /// What stands behind the stamp of all data, in base64.
    filler: String,
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Run {
    fn begin(&self) -> u64 {
        self.begin.get().copied().unwrap_or(u64::MAX)
    }

    /// Records that were due from here on are measured.
    fn from(&self) -> u64 {
        self.begin().saturating_add(ns(self.options.warm_up))
    }

    /// To here; `u64::MAX` where their number ends it.
    fn until(&self) -> u64 {
        match self.options.records {
            Some(_) => u64::MAX,
            None => self.from().saturating_add(ns(self.options.duration)),
        }
    }

    fn is_measured(&self, due: u64) -> bool {
        (self.from()..self.until()).contains(&due)
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn fail(&self, error: BenchError) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(error);
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether a reader that has read so much may end.
    fn is_all(&self, read: u64) -> bool {
        let done_at = self.done_at.load(Ordering::Acquire);
        self.is_stopped()
            || (done_at > 0
                && (read >= self.acked.load(Ordering::Acquire)
                    || self.clock.now() > done_at.saturating_add(DRAIN)))
    }
}

/// Runs once. `stop` ends it early, with what there is so far.
pub(crate) fn run(
    endpoint: &str,
    options: &BenchArgs,
    pids: &[u32],
    stop: &AtomicBool,
) -> Result<Report, BenchError> {
    check(options)?;
    let server = Server::new(pids)?;
    let id = crate::setup::random()?;
    let address = endpoint.strip_prefix("http://").unwrap_or(endpoint).trim_end_matches('/');
    let stream = options.topic.clone().unwrap_or_else(|| format!("millrace-bench-{id:08x}"));
    let mut control = Connection::open(address)?;
    let shards = prepare(&mut control, &stream, options)?;
    let run = Arc::new(Run {
        options: options.clone(),
        id,
        address: address.to_owned(),
        stream: stream.clone(),
        clock: Clock::start(),
        begin: OnceLock::new(),
        counters: Counters::default(),
        latency: Times::new(),
        end_to_end: Times::new(),
        last_ack: AtomicU64::new(0),
        acked: AtomicU64::new(0),
        done_at: AtomicU64::new(0),
        stopped: AtomicBool::new(false),
        failure: Mutex::new(None),
        filler: producer::filler(options.record_bytes.saturating_sub(STAMP_LEN)),
    });
    let result = drive(&run, &mut control, &shards, server, stop);
    if options.topic.is_none() && !options.keep {
        let name = format!(r#"{{"StreamName":"{stream}","EnforceConsumerDeletion":true}}"#);
        let deleted = control.ok("DeleteStream", &name);
        if let (Err(error), Ok(_)) = (deleted, &result) {
            eprintln!("millrace bench: stream {stream} is left: {error}");
        }
    }
    result
}

/// Refuses options that only Kafka has.
fn check(options: &BenchArgs) -> Result<(), BenchError> {
    let refuse = |what: &str| Err(BenchError::Options(what.to_owned()));
    if options.producers == 0 || options.read == Read::Old {
        return refuse("--protocol kinesis measures what it writes: no --producers 0, --read old");
    }
    if options.fan_out && options.read == Read::After {
        return refuse("--fan-out needs --read tail: subscriptions begin before the producers");
    }
    Ok(())
}

/// Sees to the stream; the names of its shards.
fn prepare(
    control: &mut Connection,
    stream: &str,
    options: &BenchArgs,
) -> Result<Vec<String>, BenchError> {
    let name = format!(r#"{{"StreamName":"{stream}"}}"#);
    if !control.call("DescribeStreamSummary", name.as_bytes())?.is_ok() {
        let count = options.partitions.unwrap_or(SHARDS_DEFAULT);
        let new = format!(r#"{{"StreamName":"{stream}","ShardCount":{count}}}"#);
        control.ok("CreateStream", &new)?;
    }
    let end = Instant::now() + PATIENCE;
    loop {
        let told = control.ok("DescribeStreamSummary", &name)?;
        if member(&told, "StreamStatus") == Some("ACTIVE") {
            break;
        }
        if Instant::now() > end {
            return Err(BenchError::Stalled(format!("stream {stream} does not become ACTIVE")));
        }
        thread::sleep(PAUSE);
    }
    let listed = control.ok("ListShards", &name)?;
    Ok(http::members(&listed, "ShardId").map(str::to_owned).collect())
}

/// The threads of producers or of readers.
type Crew<T> = Vec<JoinHandle<T>>;

fn is_done<T>(crew: &Crew<T>) -> bool {
    crew.iter().all(JoinHandle::is_finished)
}

/// Starts a thread whose failure ends the run.
fn start<T: Default + Send + 'static>(
    run: &Arc<Run>,
    name: &str,
    work: impl FnOnce(&Run) -> Result<T, BenchError> + Send + 'static,
) -> Result<JoinHandle<T>, BenchError> {
    let run = Arc::clone(run);
    let work = move || {
        work(&run).unwrap_or_else(|error| {
            run.fail(error);
            T::default()
        })
    };
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map_err(BenchError::system("start a thread"))
}

fn join<T>(crew: Crew<T>) -> Result<Vec<T>, BenchError> {
    let panicked = |_| BenchError::Stalled("a thread of the generator panicked".to_owned());
    crew.into_iter().map(|thread| thread.join().map_err(panicked)).collect()
}

/// Producers, then or beside them readers; the report.
fn drive(
    run: &Arc<Run>,
    control: &mut Connection,
    shards: &[String],
    mut server: Option<Server>,
    stop: &AtomicBool,
) -> Result<Report, BenchError> {
    let options = &run.options;
    let readers = reader::prepare(run, control, shards)?;
    let beside = options.readers > 0 && options.read == Read::Tail;
    let (mut crew, mut later) = (Vec::new(), Vec::new());
    if beside {
        crew = reader::start(run, readers)?;
    } else {
        later = readers;
    }
    let producers = (0..options.producers)
        .map(|n| start(run, "bench-producer", move |run| producer::work(run, n)))
        .collect::<Result<Crew<_>, _>>()?;
    let _set = run.begin.set(run.clock.now() + LEAD);
    let mut watch = Watch { run, server: &mut server, stop };
    let mut phases = vec![watch.produce(beside, &producers)?];
    let tallies = join(producers)?;
    run.done_at.store(run.clock.now().max(1), Ordering::Release);
    if !later.is_empty() && !run.is_stopped() {
        let from = watch.sample()?;
        crew = reader::start(run, later)?;
        watch.wait(|| is_done(&crew))?;
        let to = watch.sample()?;
        phases.push(Phase::new("read", &from, &to, to.at, watch.server.as_ref()));
    }
    watch.wait(|| is_done(&crew))?;
    let found = join(crew)?;
    if let Some(error) = run.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(error);
    }
    let counted = run.counters.now();
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        endpoint: run.address.clone(),
        topic: run.stream.clone(),
        partitions: shards.len(),
        started_at_ms: run.clock.micros(0) / 1000,
        is_interrupted: run.is_stopped(),
        phases,
        unsent_records: tallies.iter().map(|tally| tally.unsent).sum(),
        unacknowledged_records: tallies.iter().map(|tally| tally.refused).sum(),
        retried_batches: counted.retries,
        disconnects: counted.disconnects,
        throttled_ms: counted.throttled_ms,
        verified: (options.readers > 0).then(|| verdict(run, found)),
        options: options.clone(),
    })
}

/// What all readers found together: each had to read all.
fn verdict(run: &Run, found: Vec<Findings>) -> Verified {
    let mut all = Findings::default();
    found.iter().for_each(|findings| all.add(findings));
    let wanted = run.acked.load(Ordering::Acquire) * u64::from(run.options.readers);
    let missing = wanted.saturating_sub(all.records);
    let is_complete = !run.is_stopped();
    if is_complete {
        all.lost = missing;
    }
    Verified { is_clean: all.is_clean(), is_complete, findings: all }
}

/// The main thread's view of a run.
struct Watch<'r> {
    run: &'r Arc<Run>,
    server: &'r mut Option<Server>,
    stop: &'r AtomicBool,
}

impl Watch<'_> {
    fn sample(&self) -> Result<Sample, BenchError> {
        Sample::take(self.run.clock.now(), &self.run.counters, self.server.as_ref())
    }

    /// One look around; sleeps until the next, or until `boundary`.
    fn tick(&mut self, boundary: u64) {
        let left = boundary.saturating_sub(self.run.clock.now()).max(SECOND / 10_000);
        thread::sleep(PAUSE.min(Duration::from_nanos(left)));
        if self.stop.load(Ordering::Relaxed) {
            self.run.stopped.store(true, Ordering::Relaxed);
        }
        self.server.iter_mut().for_each(Server::look_at_memory);
    }

    fn wait(&mut self, is_done: impl Fn() -> bool) -> Result<(), BenchError> {
        while !is_done() {
            self.tick(u64::MAX);
        }
        Ok(())
    }

    /// Watches producers, and whoever reads beside them, until they are done.
    fn produce<T>(&mut self, beside: bool, crew: &Crew<T>) -> Result<Phase, BenchError> {
        let run = self.run;
        let (begun, mut from, mut to) = (self.sample()?, None, None);
        while !is_done(crew) {
            let now = run.clock.now();
            if from.is_none() && now >= run.from() {
                from = Some(self.sample()?);
            }
            if to.is_none() && now >= run.until() {
                to = Some(self.sample()?);
            }
            let boundary = if from.is_none() { run.from() } else { run.until() };
            self.tick(if to.is_none() { boundary } else { u64::MAX });
        }
        let from = from.unwrap_or(begun);
        let to = match to {
            Some(to) => to,
            None => self.sample()?,
        };
        let last = run.last_ack.load(Ordering::Relaxed);
        let end = if run.options.records.is_some() { to.at.min(last) } else { to.at };
        let name = if beside { "produce+read" } else { "produce" };
        let mut phase = Phase::new(name, &from, &to, end, self.server.as_ref());
        phase.latency_ms = percentiles(&run.latency);
        if beside {
            // What is still on its way counts too.
            let wait = Instant::now() + Duration::from_secs(1);
            while Instant::now() < wait
                && run.counters.now().records_out
                    < run.acked.load(Ordering::Acquire) * u64::from(run.options.readers)
            {
                self.tick(u64::MAX);
            }
            phase.end_to_end_ms = percentiles(&run.end_to_end);
        }
        Ok(phase)
    }
}

fn percentiles(times: &Times) -> Option<Latency> {
    Latency::of(&times.take(histogram()?)?)
}

/// Records of a call, and the bytes that the rest of the record takes.
fn batch_len(options: &BenchArgs) -> u64 {
    let by_bytes = CALL_BYTES_MAX / (options.record_bytes + 64).max(1);
    let most = options.batch_records.unwrap_or(RECORDS_MAX).min(RECORDS_MAX);
    numbers::wide(most.min(by_bytes).max(1))
}
