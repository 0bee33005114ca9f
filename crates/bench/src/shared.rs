//! What all threads of a run share: its plan, its clock, who leads what, and
//! how far it is.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::batch::{Filler, Template};
use crate::cluster::{Routes, Topic};
use crate::error::BenchError;
use crate::meter::{Counters, Times};
use crate::options::BenchArgs;
use crate::schedule::SECOND;

/// Time between the start of the threads and the first record, in which they
/// connect.
pub(crate) const LEAD: u64 = SECOND / 10;
/// How long after its end a run waits for answers and for records that were
/// due and not sent.
pub(crate) const DRAIN: u64 = 30 * SECOND;
/// The same after a stop that was asked for.
pub(crate) const DRAIN_STOPPED: u64 = 3 * SECOND;
/// Pause before what failed is tried again.
pub(crate) const BACKOFF: u64 = SECOND / 10;
/// How long an answer may take before its connection counts as broken.
pub(crate) const ANSWER_MAX: u64 = 40 * SECOND;

/// Nanoseconds since the run began, and the wall clock that belongs to them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    wall_micros: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_micros = u64::try_from(wall.as_micros()).unwrap_or(u64::MAX);
        Self { start: Instant::now(), wall_micros }
    }

    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// µs since 1970 of a time of the run. It does not follow changes of the
    /// wall clock, so that differences are true.
    pub(crate) const fn micros(&self, at: u64) -> u64 {
        self.wall_micros.saturating_add(at / 1000)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: BenchArgs,
    /// Random, in every record of the run.
    pub(crate) run: u32,
    pub(crate) clock: Clock,
    pub(crate) topic: Topic,
    pub(crate) filler: Arc<Filler>,
    pub(crate) template: Arc<Template>,
    pub(crate) produce_version: i16,
    pub(crate) fetch_version: i16,
    /// Records that were due from here on are measured, in ns of the run.
    pub(crate) from: u64,
    /// To here; `u64::MAX` where their number ends it.
    pub(crate) until: u64,
    pub(crate) counters: Counters,
    /// From the time at which a record was due to its acknowledgement.
    pub(crate) latency: Times,
    /// To a reader having it.
    pub(crate) end_to_end: Times,
    /// When the last answer of the run's window came.
    pub(crate) last_ack: AtomicU64,
    /// The offset after the last acknowledged record of each partition.
    pub(crate) ends: Vec<AtomicI64>,
    /// No producer will acknowledge anything more.
    pub(crate) producers_done: AtomicBool,
    /// When a stop was asked for; 0 if it was not.
    pub(crate) stopped_at: AtomicU64,
    pub(crate) failure: Mutex<Option<BenchError>>,
    routes: Mutex<Arc<Routes>>,
    generation: AtomicU64,
    routes_wanted: AtomicBool,
}

/// What a run's threads are given; see the fields of [`Shared`].
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) options: BenchArgs,
    pub(crate) run: u32,
    pub(crate) topic: Topic,
    pub(crate) filler: Arc<Filler>,
    pub(crate) template: Arc<Template>,
    pub(crate) produce_version: i16,
    pub(crate) fetch_version: i16,
    pub(crate) routes: Routes,
    pub(crate) ends: Vec<i64>,
}

impl Shared {
    /// The clock starts here.
    pub(crate) fn new(given: Given) -> Self {
        let ns = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let from = LEAD.saturating_add(ns(given.options.warm_up));
        let until = match given.options.records {
            Some(_) => u64::MAX,
            None => from.saturating_add(ns(given.options.duration)),
        };
        Self {
            run: given.run,
            clock: Clock::start(),
            topic: given.topic,
            filler: given.filler,
            template: given.template,
            produce_version: given.produce_version,
            fetch_version: given.fetch_version,
            from,
            until,
            counters: Counters::default(),
            latency: Times::new(),
            end_to_end: Times::new(),
            last_ack: AtomicU64::new(0),
            ends: given.ends.into_iter().map(AtomicI64::new).collect(),
            producers_done: AtomicBool::new(given.options.producers == 0),
            stopped_at: AtomicU64::new(0),
            failure: Mutex::new(None),
            routes: Mutex::new(Arc::new(given.routes)),
            generation: AtomicU64::new(1),
            routes_wanted: AtomicBool::new(false),
            options: given.options,
        }
    }

    /// Whether a record that was due then is measured.
    pub(crate) const fn is_measured(&self, due: u64) -> bool {
        due >= self.from && due < self.until
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped_at.load(Ordering::Relaxed) != 0
    }

    /// Asks everybody to stop.
    pub(crate) fn stop(&self) {
        let now = self.clock.now().max(1);
        // Only the first counts.
        let _before =
            self.stopped_at.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether waiting for the last answers has been long enough.
    pub(crate) fn is_overdue(&self, now: u64) -> bool {
        let stopped = self.stopped_at.load(Ordering::Relaxed);
        (stopped != 0 && now > stopped.saturating_add(DRAIN_STOPPED))
            || now > self.until.saturating_add(DRAIN)
    }

    /// Who leads what, if that changed since `known`.
    pub(crate) fn routes(&self, known: &mut u64) -> Option<Arc<Routes>> {
        let generation = self.generation.load(Ordering::Acquire);
        if generation == *known {
            return None;
        }
        *known = generation;
        Some(Arc::clone(&self.routes.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Somebody is not where it was thought to be.
    pub(crate) fn want_routes(&self) {
        self.routes_wanted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn routes_wanted(&self) -> bool {
        self.routes_wanted.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn set_routes(&self, routes: Routes) {
        *self.routes.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(routes);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Ends the run with an error; the first one counts.
    pub(crate) fn fail(&self, error: BenchError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stop();
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.is_stopped() && self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}
