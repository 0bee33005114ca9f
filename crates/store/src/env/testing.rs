//! An [`Env`] that a test drives by hand: its clocks move when told to, its
//! tasks run on the test's thread, and its random numbers follow a seed. A
//! run is the same every time.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use millrace_types::Timestamp;
use parking_lot::Mutex;

use super::{BoxFuture, Env};

/// The wall clock of a new [`TestEnv`]: 2026-01-01 00:00 UTC.
pub const START: Timestamp = Timestamp(1_767_225_600_000);

/// A world that stands still until the test moves it. Clones share it.
#[derive(Clone)]
pub struct TestEnv {
    world: Arc<Mutex<World>>,
}

struct World {
    wall: Timestamp,
    monotonic_ms: u64,
    random: u64,
    /// Wakers of sleepers, by the time they wait for and their arrival.
    sleepers: BTreeMap<(u64, u64), Waker>,
    sleepers_ever: u64,
    /// Tasks, in the order in which they were spawned.
    tasks: Vec<Task>,
    work: VecDeque<Box<dyn FnOnce() + Send>>,
}

struct Task {
    name: &'static str,
    future: BoxFuture<'static, ()>,
    woken: Arc<Woken>,
}

/// Whether a future asked to be polled again.
struct Woken(AtomicBool);

impl Woken {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicBool::new(true)))
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

impl TestEnv {
    /// A world whose random numbers follow `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let world = World {
            wall: START,
            monotonic_ms: 0,
            random: seed,
            sleepers: BTreeMap::new(),
            sleepers_ever: 0,
            tasks: Vec::new(),
            work: VecDeque::new(),
        };
        Self { world: Arc::new(Mutex::new(world)) }
    }

    /// Moves both clocks on, then runs what that woke.
    pub fn advance(&self, ms: u64) {
        let due = {
            let mut world = self.world.lock();
            world.monotonic_ms += ms;
            world.wall = world.wall.plus_ms(i64::try_from(ms).unwrap_or(i64::MAX));
            let next = (world.monotonic_ms + 1, 0);
            let later = world.sleepers.split_off(&next);
            std::mem::replace(&mut world.sleepers, later)
        };
        due.into_values().for_each(Waker::wake);
        self.run();
    }

    /// Sets the wall clock alone, as an operator or NTP does.
    pub fn set_wall(&self, wall: Timestamp) {
        self.world.lock().wall = wall;
    }

    /// When the next sleeper wakes, on the monotonic clock.
    #[must_use]
    pub fn next_wake_ms(&self) -> Option<u64> {
        self.world.lock().sleepers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Runs tasks and blocking work until all wait for something else.
    pub fn run(&self) {
        while self.run_round() {}
    }

    /// Drives `future` to its end, and the tasks beside it.
    ///
    /// # Panics
    /// When nothing can go on without the clock: a test that wants time to
    /// pass says so, with [`TestEnv::advance`].
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        let woken = Woken::new();
        loop {
            if woken.take() {
                let waker = Waker::from(Arc::clone(&woken));
                if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return value;
                }
            }
            let moved = self.run_round();
            assert!(
                moved || woken.0.load(Ordering::Acquire),
                "the future waits, and nothing will wake it while the clock stands: tasks {:?}",
                self.world.lock().tasks.iter().map(|task| task.name).collect::<Vec<_>>()
            );
        }
    }

    /// Polls every woken task once and does all work handed in; whether there
    /// was any. Nothing runs under the lock, so all may call the world.
    fn run_round(&self) -> bool {
        let mut moved = false;
        loop {
            let Some(work) = self.world.lock().work.pop_front() else { break };
            moved = true;
            work();
        }
        let tasks = std::mem::take(&mut self.world.lock().tasks);
        let mut waiting = Vec::with_capacity(tasks.len());
        for mut task in tasks {
            if task.woken.take() {
                moved = true;
                let waker = Waker::from(Arc::clone(&task.woken));
                let mut context = Context::from_waker(&waker);
                if Pin::new(&mut task.future).poll(&mut context).is_ready() {
                    continue;
                }
            }
            waiting.push(task);
        }
        // Those spawned meanwhile come after the older ones.
        let mut world = self.world.lock();
        moved |= !world.tasks.is_empty();
        waiting.append(&mut world.tasks);
        world.tasks = waiting;
        moved
    }
}

impl Env for TestEnv {
    fn wall(&self) -> Timestamp {
        self.world.lock().wall
    }

    fn monotonic_ms(&self) -> u64 {
        self.world.lock().monotonic_ms
    }

    fn random_u64(&self) -> u64 {
        split_mix(&mut self.world.lock().random)
    }

    fn sleep_until(&self, monotonic_ms: u64) -> BoxFuture<'static, ()> {
        let world = Arc::clone(&self.world);
        Box::pin(std::future::poll_fn(move |context| {
            let mut world = world.lock();
            if world.monotonic_ms >= monotonic_ms {
                return Poll::Ready(());
            }
            let arrival = world.sleepers_ever;
            world.sleepers_ever += 1;
            world.sleepers.insert((monotonic_ms, arrival), context.waker().clone());
            Poll::Pending
        }))
    }

    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.world.lock().tasks.push(Task { name, future: task, woken: Woken::new() });
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.world.lock().work.push_back(work);
    }
}

/// The next number of the SplitMix64 sequence that `state` stands in.
pub(crate) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn sleepers_wake_when_the_clock_reaches_them_and_in_order() {
        let env = TestEnv::new(1);
        let log = Arc::new(Mutex::new(Vec::new()));
        for at in [30, 10, 20] {
            let (sleep, log) = (env.sleep_until(at), Arc::clone(&log));
            let task = async move {
                sleep.await;
                log.lock().push(at);
            };
            env.spawn("sleeper", Box::pin(task));
        }
        env.run();
        assert_eq!(env.next_wake_ms(), Some(10));
        env.advance(9);
        assert!(log.lock().is_empty());
        env.advance(11);
        assert_eq!(log.lock().len(), 2);
        assert_eq!(env.wall(), START.plus_ms(20));
        env.advance(10);
        assert_eq!(log.lock().len(), 3);
    }

    #[test]
    fn a_future_is_driven_together_with_tasks_and_blocking_work() {
        let env = TestEnv::new(1);
        let (send, receive) = tokio::sync::oneshot::channel();
        let inner = env.clone();
        let task = async move {
            inner.blocking(Box::new(move || {
                assert_eq!(send.send(7), Ok(()));
            }));
        };
        env.spawn("asks", Box::pin(task));
        assert_eq!(env.block_on(receive), Ok(7));
    }

    #[test]
    #[should_panic(expected = "nothing will wake it")]
    fn waiting_for_a_clock_that_stands_fails_the_test() {
        let env = TestEnv::new(1);
        env.block_on(env.sleep_until(1));
    }

    #[test]
    fn random_numbers_follow_the_seed() {
        let draw = |seed| TestEnv::new(seed).random_u64();
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
    }

    #[test]
    fn blocking_work_runs_later_not_under_the_callers_locks() {
        let env = TestEnv::new(1);
        let ran = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&ran);
        env.blocking(Box::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        }));
        assert_eq!(ran.load(Ordering::Relaxed), 0);
        env.run();
        assert_eq!(ran.load(Ordering::Relaxed), 1);
    }
}
