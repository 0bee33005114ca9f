//! One run against one endpoint: threads, phases, and the live line.
//!
//! The main thread measures; producers and readers have threads of their own.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::control::Control;
use crate::cost::Server;
use crate::error::BenchError;
use crate::meter::{Counted, Times, histogram};
use crate::numbers;
use crate::options::{BenchArgs, Read};
use crate::producer::{self, Producer};
use crate::reader::{self, Reader};
use crate::report::{Latency, Phase, Report, Sample, Verified};
use crate::schedule::SECOND;
use crate::setup::{self, Prepared};
use crate::shared::{BACKOFF, Shared};
use crate::verify::Findings;
use crate::worker::{self, Actor};

/// How often the main thread looks around.
const TICK: u64 = SECOND / 20;
/// How often memory is looked at, and how often the live line changes.
const MEMORY_TICK: u64 = SECOND / 10;
const LIVE_TICK: u64 = SECOND / 2;
/// Without anything acknowledged or read for so long, a run that has no other
/// end gives up.
const STALLED: u64 = 60 * SECOND;

/// Runs once. `stop` ends it early, with what there is so far.
pub(crate) fn run(
    endpoint: &str,
    options: &BenchArgs,
    pids: &[u32],
    stop: &AtomicBool,
) -> Result<Report, BenchError> {
    let server = Server::new(pids)?;
    let Prepared { given, control, is_own_topic, producers, starts, targets } =
        setup::prepare(endpoint, options, stop)?;
    let shared = Arc::new(Shared::new(given));
    let mut watch = Watch::new(endpoint, Arc::clone(&shared), control, server, stop)?;
    let result = drive(&mut watch, &producers, &starts, targets.as_deref());
    watch.end_line();
    // The topic goes whatever happened; that it can't is the lesser trouble.
    if is_own_topic && !options.keep {
        let deleted =
            Control::connect(endpoint).and_then(|mut control| control.delete(&shared.topic.name));
        if let (Err(error), Ok(_)) = (deleted, &result) {
            eprintln!("millrace bench: topic {} is left: {error}", shared.topic.name);
        }
    }
    result
}

/// The threads of producers or readers.
struct Crew<A> {
    threads: Vec<JoinHandle<Vec<A>>>,
}

impl<A: Actor + Send + 'static> Crew<A> {
    /// Divides actors among threads; `make` gets the number of an actor and
    /// its place in its thread.
    fn start(
        shared: &Arc<Shared>,
        name: &str,
        threads: u32,
        actors: usize,
        make: impl Fn(usize, usize) -> A,
    ) -> Result<Self, BenchError> {
        let threads = numbers::index(threads).min(actors);
        let mut crew = Self { threads: Vec::with_capacity(threads) };
        for thread in 0..threads {
            let own = (thread..actors).step_by(threads).enumerate();
            let mut actors: Vec<A> = own.map(|(place, number)| make(number, place)).collect();
            let shared = Arc::clone(shared);
            let work = move || {
                if let Err(error) = worker::drive(&mut actors, &shared) {
                    shared.fail(error);
                }
                actors
            };
            let spawned = thread::Builder::new().name(name.to_owned()).spawn(work);
            crew.threads.push(spawned.map_err(BenchError::system("start a thread"))?);
        }
        Ok(crew)
    }

    fn is_done(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    fn join(self) -> Result<Vec<A>, BenchError> {
        let mut all = Vec::new();
        for thread in self.threads {
            let actors = thread.join().map_err(|_| {
                BenchError::Stalled("a thread of the generator panicked".to_owned())
            })?;
            all.extend(actors);
        }
        Ok(all)
    }
}

fn start_readers(
    shared: &Arc<Shared>,
    starts: &[i64],
    targets: Option<&[i64]>,
) -> Result<Crew<Reader>, BenchError> {
    let members = shared.options.reader_connections;
    let all = numbers::index(shared.options.readers) * numbers::index(members);
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Crew::start(shared, "bench-reader", shared.options.reader_threads, all, |number, place| {
        let member = small(number).checked_rem(members).unwrap_or(0);
        Reader::new(reader::Identity { member, place }, shared, starts, targets)
    })
}

/// Producers, then or beside them readers; the report.
fn drive(
    watch: &mut Watch<'_>,
    producers: &[crate::batch::ProducerId],
    starts: &[i64],
    targets: Option<&[i64]>,
) -> Result<Report, BenchError> {
    let shared = Arc::clone(&watch.shared);
    let options = &shared.options;
    let has_readers = options.readers > 0;
    let mut phases = Vec::new();
    let mut acked: Vec<Vec<(u32, u64)>> = vec![Vec::new(); shared.ends.len()];
    let (mut unsent, mut unanswered) = (0, 0);
    let mut readers = None;
    if options.producers > 0 {
        let beside = has_readers && options.read != Read::After;
        if beside {
            readers = Some(start_readers(&shared, starts, targets)?);
        }
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let crew = Crew::start(
            &shared,
            "bench-producer",
            options.threads,
            producers.len(),
            |n, place| {
                let id = producers.get(n).copied().unwrap_or(crate::batch::ProducerId::NONE);
                Producer::new(producer::Identity { index: small(n), place, id }, &shared)
            },
        )?;
        let name = if beside { "produce+read" } else { "produce" };
        phases.push(watch.produce(name, || crew.is_done())?);
        for producer in crew.join()? {
            unsent += producer.unsent(&shared);
            unanswered += producer.unanswered();
            for (partition, index, sequence) in producer.acknowledged() {
                let place = usize::try_from(partition).ok();
                if let Some(acked) = place.and_then(|place| acked.get_mut(place)) {
                    acked.push((index, sequence));
                }
            }
        }
        shared.producers_done.store(true, Ordering::Release);
        if let Some(readers) = &readers {
            watch.wait(|| readers.is_done())?;
        }
    }
    if has_readers && readers.is_none() && !shared.is_stopped() {
        let crew = start_readers(&shared, starts, targets)?;
        phases.push(watch.read(|| crew.is_done())?);
        readers = Some(crew);
    }
    let verified = readers.map(|readers| verdict(readers, &acked)).transpose()?;
    if let Some(error) = take_failure(&shared) {
        return Err(error);
    }
    let counted = shared.counters.now();
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        endpoint: watch.endpoint.clone(),
        topic: shared.topic.name.clone(),
        partitions: shared.ends.len(),
        started_at_ms: shared.clock.micros(0) / 1000,
        is_interrupted: shared.is_stopped(),
        phases,
        unsent_records: unsent,
        unacknowledged_records: unanswered,
        retried_batches: counted.retries,
        disconnects: counted.disconnects,
        throttled_ms: counted.throttled_ms,
        verified,
        options: options.clone(),
    })
}

fn take_failure(shared: &Shared) -> Option<BenchError> {
    shared.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
}

fn verdict(readers: Crew<Reader>, acked: &[Vec<(u32, u64)>]) -> Result<Verified, BenchError> {
    let mut findings = Findings::default();
    let mut is_complete = true;
    for reader in readers.join()? {
        is_complete &= reader.is_complete();
        findings.add(&reader.finish(acked));
    }
    Ok(Verified { is_clean: findings.is_clean(), is_complete, findings })
}

/// The main thread's view of a run.
struct Watch<'a> {
    endpoint: String,
    shared: Arc<Shared>,
    control: Control,
    server: Option<Server>,
    stop: &'a AtomicBool,
    latency: Histogram<u64>,
    end_to_end: Histogram<u64>,
    has_line: bool,
    line_width: usize,
    live_at: u64,
    live_before: (u64, Counted),
    memory_at: u64,
    routes_at: u64,
    progress: (u64, u64),
}

fn fresh_histogram() -> Result<Histogram<u64>, BenchError> {
    histogram().ok_or_else(|| BenchError::Stalled("no memory for a histogram".to_owned()))
}

/// Moves what was recorded into the total; returns it.
fn merge(times: &Times, total: &mut Histogram<u64>) -> Result<Histogram<u64>, BenchError> {
    let taken = times.take(fresh_histogram()?).map_or_else(fresh_histogram, Ok)?;
    // Both have the same bounds: nothing is out of range.
    let _added = total.add(&taken);
    Ok(taken)
}

impl<'a> Watch<'a> {
    fn new(
        endpoint: &str,
        shared: Arc<Shared>,
        control: Control,
        server: Option<Server>,
        stop: &'a AtomicBool,
    ) -> Result<Self, BenchError> {
        let has_line = !shared.options.quiet && std::io::stderr().is_terminal();
        Ok(Self {
            endpoint: endpoint.to_owned(),
            shared,
            control,
            server,
            stop,
            latency: fresh_histogram()?,
            end_to_end: fresh_histogram()?,
            has_line,
            line_width: 0,
            live_at: LIVE_TICK,
            live_before: (0, Counted::default()),
            memory_at: 0,
            routes_at: 0,
            progress: (0, 0),
        })
    }

    fn sample(&self) -> Result<Sample, BenchError> {
        let at = self.shared.clock.now();
        Sample::take(at, &self.shared.counters, self.server.as_ref())
    }

    /// One look around; sleeps until the next, or until `boundary`.
    fn tick(&mut self, boundary: u64) -> Result<(), BenchError> {
        let now = self.shared.clock.now();
        let pause = TICK.min(boundary.saturating_sub(now)).max(SECOND / 10_000);
        thread::sleep(Duration::from_nanos(pause));
        if self.stop.load(Ordering::Relaxed) {
            self.shared.stop();
        }
        let now = self.shared.clock.now();
        if now >= self.memory_at {
            self.memory_at = now + MEMORY_TICK;
            self.server.iter_mut().for_each(Server::look_at_memory);
        }
        if now >= self.routes_at && self.shared.routes_wanted() {
            self.routes_at = now + BACKOFF;
            self.find_leaders();
        }
        if now >= self.live_at {
            self.live_at = now + LIVE_TICK;
            self.line(now)?;
        }
        self.look_for_progress(now);
        Ok(())
    }

    fn look_for_progress(&mut self, now: u64) {
        let counted = self.shared.counters.now();
        let moved = counted.records_in + counted.fetches;
        if moved != self.progress.1 {
            self.progress = (now, moved);
        } else if now.saturating_sub(self.progress.0) > STALLED && !self.shared.is_stopped() {
            let seconds = STALLED / SECOND;
            let endpoint = &self.endpoint;
            self.shared.fail(BenchError::Stalled(format!(
                "{endpoint} has answered nothing for {seconds} s; is it still running?"
            )));
        }
    }

    /// Asks who leads what; if the server is away, later again.
    fn find_leaders(&mut self) {
        let name = self.shared.topic.name.clone();
        let described = self.control.describe(&name).or_else(|_| {
            self.control = Control::connect(&self.endpoint)?;
            self.control.describe(&name)
        });
        match described {
            Ok(Some(described))
                if described.routes.leaders.len() == self.shared.ends.len()
                    && described.topic.id == self.shared.topic.id =>
            {
                self.shared.set_routes(described.routes);
            }
            Ok(Some(_)) => self.shared.fail(BenchError::Topic(format!(
                "topic {name} was deleted or changed during the run"
            ))),
            Ok(None) | Err(_) => self.shared.want_routes(),
        }
    }

    /// Watches producers, and whoever reads beside them, until `is_done`.
    fn produce(
        &mut self,
        name: &'static str,
        is_done: impl Fn() -> bool,
    ) -> Result<Phase, BenchError> {
        let shared = Arc::clone(&self.shared);
        let mut from = self.sample()?;
        let mut is_warm = false;
        let mut to = None;
        while !is_done() {
            let now = shared.clock.now();
            if !is_warm && now >= shared.from {
                is_warm = true;
                from = self.sample()?;
            }
            if to.is_none() && (now >= shared.until || shared.is_stopped()) {
                to = Some(self.sample()?);
            }
            let boundary = if is_warm { shared.until } else { shared.from };
            self.tick(if to.is_some() { u64::MAX } else { boundary })?;
        }
        let to = match to {
            Some(to) => to,
            None => self.sample()?,
        };
        // A run that ends by itself ends with its last acknowledgement.
        let last = shared.last_ack.load(Ordering::Relaxed);
        let end = if shared.options.records.is_some() { to.at.min(last) } else { to.at };
        let mut phase = Phase::new(name, &from, &to, end, self.server.as_ref());
        merge(&shared.latency, &mut self.latency)?;
        phase.latency_ms = Latency::of(&self.latency);
        if name != "produce" && shared.options.read == Read::Tail {
            merge(&shared.end_to_end, &mut self.end_to_end)?;
            phase.end_to_end_ms = Latency::of(&self.end_to_end);
        }
        Ok(phase)
    }

    /// Watches readers that read alone.
    fn read(&mut self, is_done: impl Fn() -> bool) -> Result<Phase, BenchError> {
        let from = self.sample()?;
        self.wait(is_done)?;
        let to = self.sample()?;
        Ok(Phase::new("read", &from, &to, to.at, self.server.as_ref()))
    }

    fn wait(&mut self, is_done: impl Fn() -> bool) -> Result<(), BenchError> {
        while !is_done() {
            self.tick(u64::MAX)?;
        }
        Ok(())
    }

    /// Rewrites the live line.
    fn line(&mut self, now: u64) -> Result<(), BenchError> {
        let shared = Arc::clone(&self.shared);
        let recent = merge(&shared.latency, &mut self.latency)?;
        merge(&shared.end_to_end, &mut self.end_to_end)?;
        if !self.has_line {
            return Ok(());
        }
        let (before, counted_before) = self.live_before;
        let counted = shared.counters.now();
        self.live_before = (now, counted);
        let since = counted.since(&counted_before);
        let seconds = (now.saturating_sub(before)) as f64 / 1e9;
        let per_s = |n: u64| n as f64 / seconds.max(1e-3);
        let mut line = format!("{:6.1} s", now as f64 / 1e9);
        if now < shared.from {
            line.push_str("  warming up");
        }
        if shared.options.producers > 0 {
            let (megabytes, records) = (per_s(since.bytes_in) / 1e6, per_s(since.records_in));
            line.push_str(&format!("  in {megabytes:.1} MB/s, {records:.0}/s"));
        }
        if let Some(latency) = Latency::of(&recent) {
            line.push_str(&format!("  p50 {:.1} p99 {:.1} ms", latency.p50, latency.p99));
        }
        if shared.options.readers > 0 {
            let (megabytes, records) = (per_s(since.bytes_out) / 1e6, per_s(since.records_out));
            line.push_str(&format!("  out {megabytes:.1} MB/s, {records:.0}/s"));
        }
        let width = line.len().max(self.line_width);
        self.line_width = line.len();
        // A terminal that is gone is no reason to end.
        let _written = write!(std::io::stderr(), "\r{line:width$}");
        Ok(())
    }

    /// Takes the live line away.
    fn end_line(&self) {
        if self.has_line && self.line_width > 0 {
            let width = self.line_width;
            let _written = write!(std::io::stderr(), "\r{:width$}\r", "");
        }
    }
}
