//! The server's threads, taking turns: one of them runs at a time, until it
//! waits, and the conductor (the main thread, which plays the clients) says
//! who goes next.
//!
//! So the log writer commits when everything that was sent has been gathered,
//! and not when a scheduler happens to let it: the same requests cost the same
//! in every run. Invariant: the conductor runs only while every other thread
//! rests. Nothing here waits by spinning, which would be counted.

use std::{
    cell::RefCell,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, Thread},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use millrace_store::env::{Bell, BoxFuture, Env};
use millrace_types::Timestamp;
use tokio::runtime::Handle;

/// Nobody runs for this long without waiting for something, even where each
/// instruction is simulated.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// A thread neither waited nor ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server's thread {0} waits for what will not happen, or runs on for ever")]
pub(crate) struct Stuck(String);

/// One thread's side of taking turns.
#[derive(Debug)]
pub(crate) struct Turn {
    name: String,
    conductor: Thread,
    thread: OnceLock<Thread>,
    runs: AtomicBool,
    over: AtomicBool,
    /// What it rests for. Touched by the one thread that runs.
    rest: Mutex<Rest>,
}

/// Until when a thread rests: the bell, or the time.
#[derive(Clone, Debug)]
struct Rest {
    rung: Arc<AtomicBool>,
    until: Duration,
}

thread_local! {
    static TURN: RefCell<Option<Arc<Turn>>> = const { RefCell::new(None) };
}

impl Turn {
    /// The turn of a thread that runs, or will, by itself. Called by the
    /// conductor.
    pub(crate) fn new(name: String) -> Arc<Self> {
        Arc::new(Self {
            name,
            conductor: thread::current(),
            thread: OnceLock::new(),
            runs: AtomicBool::new(true),
            over: AtomicBool::new(false),
            rest: Mutex::new(Rest { rung: Arc::default(), until: Duration::MAX }),
        })
    }

    /// Starts a thread that runs from now on. Called by the conductor.
    fn start(name: String, work: Work) -> Result<Arc<Self>, Stuck> {
        let turn = Self::new(name.clone());
        let own = Arc::clone(&turn);
        let body = move || {
            TURN.set(Some(Arc::clone(&own)));
            // By a panic too: the conductor must not wait for it.
            let _over = Over(&own);
            work();
        };
        match thread::Builder::new().name(name).spawn(body) {
            Ok(_) => turn.until_it_rests()?,
            Err(error) => panic!("no thread: {error}"),
        }
        Ok(turn)
    }

    /// Hands over to the conductor; returns when it says so. Called by the
    /// thread whose turn it is.
    pub(crate) fn rest(&self) {
        self.thread.get_or_init(thread::current);
        self.runs.store(false, Ordering::Release);
        self.conductor.unpark();
        while !self.runs.load(Ordering::Acquire) {
            thread::park();
        }
    }

    /// Lets the thread run until it rests again or is over.
    pub(crate) fn resume(&self) -> Result<(), Stuck> {
        if self.is_over() {
            return Ok(());
        }
        self.runs.store(true, Ordering::Release);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
        self.until_it_rests()
    }

    pub(crate) fn until_it_rests(&self) -> Result<(), Stuck> {
        let began = Instant::now();
        while self.runs.load(Ordering::Acquire) {
            if began.elapsed() > STUCK_AFTER {
                return Err(Stuck(self.name.clone()));
            }
            thread::park_timeout(STUCK_AFTER);
        }
        Ok(())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    fn is_due(&self, now: Duration) -> bool {
        let Ok(rest) = self.rest.lock() else { return false };
        !self.is_over() && (rest.until <= now || rest.rung.load(Ordering::Acquire))
    }

    fn rest_for(&self, rest: Rest) {
        if let Ok(mut told) = self.rest.lock() {
            *told = rest;
        }
        self.rest();
    }
}

struct Over<'a>(&'a Turn);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
        self.0.runs.store(false, Ordering::Release);
        self.0.conductor.unpark();
    }
}

/// Lets the thread that runs rest. At once back outside of one.
fn rest(rest: Rest) {
    let turn = TURN.with_borrow(Clone::clone);
    if let Some(turn) = turn {
        turn.rest_for(rest);
    }
}

type Work = Box<dyn FnOnce() + Send>;

/// The machine as the server sees it: real but for its clock, which stands
/// until the conductor moves it, and for its threads, which take turns.
pub(crate) struct World {
    runtime: Handle,
    clock_us: Arc<AtomicU64>,
    work: Mutex<Vec<Work>>,
    workers: Mutex<Vec<Arc<Turn>>>,
}

impl World {
    /// A world whose tasks run on `runtime`.
    pub(crate) fn new(runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            clock_us: Arc::default(),
            work: Mutex::default(),
            workers: Mutex::default(),
        })
    }

    /// Moves the clock on.
    pub(crate) fn advance(&self, ms: u64) {
        self.clock_us.fetch_add(ms * 1000, Ordering::AcqRel);
    }

    /// Lets the threads go on that have something to do, in the order in which
    /// they were started, until none has. Whether one had.
    pub(crate) fn step(&self) -> Result<bool, Stuck> {
        let mut moved = false;
        while self.step_once()? {
            moved = true;
        }
        Ok(moved)
    }

    fn step_once(&self) -> Result<bool, Stuck> {
        let Ok(mut workers) = self.workers.lock() else { return Ok(false) };
        let mut moved = false;
        let new = self.work.lock().map(|mut work| std::mem::take(&mut *work)).unwrap_or_default();
        for work in new {
            let name = format!("blocking {}", workers.len());
            workers.push(Turn::start(name, work)?);
            moved = true;
        }
        let now = self.monotonic();
        for worker in workers.iter().filter(|worker| worker.is_due(now)) {
            worker.resume()?;
            moved = true;
        }
        workers.retain(|worker| !worker.is_over());
        Ok(moved)
    }
}

impl Env for World {
    fn wall(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic_ms(&self) -> u64 {
        self.clock_us.load(Ordering::Acquire) / 1000
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.clock_us.load(Ordering::Acquire))
    }

    fn random_u64(&self) -> u64 {
        getrandom::u64().unwrap_or_default()
    }

    /// Never: what sleeps by this clock (retention, expiry) is no part of a
    /// request.
    fn sleep_until(&self, _: u64) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    fn spawn(&self, _: &'static str, task: BoxFuture<'static, ()>) {
        drop(self.runtime.spawn(task));
    }

    fn blocking(&self, work: Work) {
        if let Ok(mut waiting) = self.work.lock() {
            waiting.push(work);
        }
    }

    fn pause(&self, time: Duration) {
        rest(Rest { rung: Arc::default(), until: self.monotonic() + time });
    }

    fn bell(&self) -> Arc<dyn Bell> {
        Arc::new(TurnBell { rung: Arc::default(), clock_us: Arc::clone(&self.clock_us) })
    }
}

/// A bell that lets the thread rest, not sleep.
struct TurnBell {
    rung: Arc<AtomicBool>,
    clock_us: Arc<AtomicU64>,
}

impl Bell for TurnBell {
    fn ring(&self) {
        self.rung.store(true, Ordering::Release);
    }

    fn wait(&self, longest: Duration) -> bool {
        if !self.rung.load(Ordering::Acquire) {
            let now = Duration::from_micros(self.clock_us.load(Ordering::Acquire));
            rest(Rest { rung: Arc::clone(&self.rung), until: now.saturating_add(longest) });
        }
        self.rung.swap(false, Ordering::AcqRel)
    }
}
