//! A world on one thread: virtual time, tasks and fibers, and a seed that says
//! who goes next.
//!
//! What runs belongs to a *life*: that of a server's process, or life 0, which
//! is that of the clients and of the test itself. A life can be ended between
//! any two steps, and a step goes from one `await` to the next, or from one
//! operation of the disk to the next: so a crash hits any of them.
//!
//! Invariants: the order of steps depends on the seed alone (not on the order
//! in which wakers were called); time moves by steps, or to the next alarm when
//! nobody can go on; no future is polled, dropped or woken under the lock.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{DefaultHasher, Hasher},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use corosensei::stack::DefaultStack;
use millrace_store::env::{Bell, BoxFuture, Env};
use millrace_types::Timestamp;
use parking_lot::Mutex;

use crate::{
    fiber::{self, Fiber, Rest},
    random::Random,
};

/// The wall clock of a new world: 2026-01-01 00:00 UTC.
const START: Timestamp = Timestamp(1_767_225_600_000);

/// One process, from its start to its end. Life 0 never ends.
pub(crate) type Life = u32;

/// The life of the clients and of the test.
pub(crate) const OUTSIDE: Life = 0;

/// A world as those in it see it. Clones share it.
#[derive(Clone)]
pub(crate) struct World {
    shared: Arc<Mutex<State>>,
}

struct State {
    now_us: u64,
    /// How far the wall clock was set ahead, in milliseconds.
    wall_ahead_ms: i64,
    lives: BTreeSet<Life>,
    lives_ever: Life,
    /// Lives that end after so many of their steps.
    doomed: BTreeMap<Life, u64>,
    /// Who waits for a life's end.
    mourners: Vec<Waker>,
    ready: BTreeSet<u64>,
    alarms: BTreeMap<(u64, u64), Alarm>,
    alarms_ever: u64,
    spawned: Vec<Spawned>,
    spawned_ever: u64,
    /// Who runs.
    current: u64,
    random: Random,
    trace: Trace,
}

enum Alarm {
    Task(Waker),
    /// Only while the fiber rests as it did when the alarm was set.
    Fiber {
        id: u64,
        rests: u64,
    },
}

struct Spawned {
    id: u64,
    life: Life,
    name: &'static str,
    body: New,
}

enum New {
    Task(BoxFuture<'static, ()>),
    Work(Box<dyn FnOnce() + Send>),
}

/// What happened, as lines; kept, shown, or only hashed.
struct Trace {
    hasher: DefaultHasher,
    lines: u64,
    kept: Option<String>,
    shown: bool,
    line: String,
}

/// What becomes of the trace, besides its hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TraceTo {
    /// Nothing.
    #[default]
    Hash,
    /// It is returned with the report.
    Memory,
    /// It is printed as it comes.
    Stdout,
}

impl World {
    fn new(seed: u64, trace: TraceTo) -> Self {
        let trace = Trace {
            hasher: DefaultHasher::new(),
            lines: 0,
            kept: (trace == TraceTo::Memory).then(String::new),
            shown: trace == TraceTo::Stdout,
            line: String::new(),
        };
        let state = State {
            now_us: 0,
            wall_ahead_ms: 0,
            lives: BTreeSet::from([OUTSIDE]),
            lives_ever: OUTSIDE,
            doomed: BTreeMap::new(),
            mourners: Vec::new(),
            ready: BTreeSet::new(),
            alarms: BTreeMap::new(),
            alarms_ever: 0,
            spawned: Vec::new(),
            spawned_ever: 0,
            current: 0,
            random: Random::new(seed, 1),
            trace,
        };
        Self { shared: Arc::new(Mutex::new(state)) }
    }

    pub(crate) fn now_us(&self) -> u64 {
        self.shared.lock().now_us
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.now_us() / 1000
    }

    pub(crate) fn wall(&self) -> Timestamp {
        let state = self.shared.lock();
        let since = i64::try_from(state.now_us / 1000).unwrap_or(i64::MAX);
        START.plus_ms(since.saturating_add(state.wall_ahead_ms))
    }

    /// Sets the wall clock so far from where it is.
    pub(crate) fn jump_wall(&self, ms: i64) {
        self.shared.lock().wall_ahead_ms += ms;
        self.note(format_args!("the wall clock jumps by {ms} ms"));
    }

    /// Adds a line to the trace.
    pub(crate) fn note(&self, what: fmt::Arguments<'_>) {
        let mut state = self.shared.lock();
        let now = state.now_us;
        state.trace.add(now, what);
    }

    /// A new life begins: what a process gets as its environment.
    pub(crate) fn begin_life(&self) -> SimEnv {
        let mut state = self.shared.lock();
        state.lives_ever += 1;
        let life = state.lives_ever;
        state.lives.insert(life);
        drop(state);
        SimEnv { world: self.clone(), life }
    }

    /// The environment of the clients.
    pub(crate) fn outside(&self) -> SimEnv {
        SimEnv { world: self.clone(), life: OUTSIDE }
    }

    pub(crate) fn is_alive(&self, life: Life) -> bool {
        self.shared.lock().lives.contains(&life)
    }

    /// Ends a life after so many more of its steps (0: at once), and waits for
    /// that until `longest_ms` have passed; then it ends at once.
    pub(crate) async fn kill(&self, life: Life, steps: u64, longest_ms: u64) {
        self.shared.lock().doomed.insert(life, steps);
        let until = self.now_us() + longest_ms * 1000;
        let mut sleep = self.sleep_until_us(until);
        std::future::poll_fn(|context| {
            if !self.is_alive(life) {
                return Poll::Ready(());
            }
            if sleep.as_mut().poll(context).is_ready() {
                self.shared.lock().doomed.insert(life, 0);
            }
            self.shared.lock().mourners.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    pub(crate) fn sleep_us(&self, us: u64) -> BoxFuture<'static, ()> {
        self.sleep_until_us(self.now_us() + us)
    }

    pub(crate) fn sleep_ms(&self, ms: u64) -> BoxFuture<'static, ()> {
        self.sleep_us(ms * 1000)
    }

    fn sleep_until_us(&self, at: u64) -> BoxFuture<'static, ()> {
        let world = self.clone();
        let mut set = false;
        Box::pin(std::future::poll_fn(move |context| {
            let mut state = world.shared.lock();
            if state.now_us >= at {
                return Poll::Ready(());
            }
            if !set {
                set = true;
                state.set_alarm(at, Alarm::Task(context.waker().clone()));
            }
            Poll::Pending
        }))
    }

    fn spawn(&self, life: Life, name: &'static str, body: New) {
        let mut state = self.shared.lock();
        if !state.lives.contains(&life) {
            drop(state);
            drop(body);
            return;
        }
        state.spawned_ever += 1;
        let id = state.spawned_ever;
        state.spawned.push(Spawned { id, life, name, body });
    }

    fn wake(&self, id: u64) {
        self.shared.lock().ready.insert(id);
    }

    /// Holds up the fiber that runs until then. False where none runs.
    pub(crate) fn rest_until_us(&self, at: u64) -> bool {
        while self.now_us() < at {
            if !fiber::rest(Rest::Until(at)) {
                return false;
            }
        }
        true
    }
}

impl State {
    fn set_alarm(&mut self, at: u64, alarm: Alarm) {
        self.alarms_ever += 1;
        self.alarms.insert((at, self.alarms_ever), alarm);
    }

    fn due(&mut self) -> Vec<Alarm> {
        let later = self.alarms.split_off(&(self.now_us + 1, 0));
        std::mem::replace(&mut self.alarms, later).into_values().collect()
    }
}

impl Trace {
    fn add(&mut self, now_us: u64, what: fmt::Arguments<'_>) {
        use fmt::Write;
        self.line.clear();
        // Writing to a string does not fail.
        writeln!(self.line, "{:>4}.{:06} {what}", now_us / 1_000_000, now_us % 1_000_000).ok();
        self.hasher.write(self.line.as_bytes());
        self.lines += 1;
        if let Some(kept) = &mut self.kept {
            kept.push_str(&self.line);
        }
        if self.shown {
            print!("{}", self.line);
        }
    }
}

/// The [`Env`] of one life.
#[derive(Clone)]
pub(crate) struct SimEnv {
    world: World,
    life: Life,
}

impl SimEnv {
    pub(crate) fn life(&self) -> Life {
        self.life
    }
}

impl Env for SimEnv {
    fn wall(&self) -> Timestamp {
        self.world.wall()
    }

    fn monotonic_ms(&self) -> u64 {
        self.world.now_ms()
    }

    fn random_u64(&self) -> u64 {
        self.world.shared.lock().random.any()
    }

    fn sleep_until(&self, monotonic_ms: u64) -> BoxFuture<'static, ()> {
        self.world.sleep_until_us(monotonic_ms.saturating_mul(1000))
    }

    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.world.spawn(self.life, name, New::Task(task));
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.world.spawn(self.life, "blocking", New::Work(work));
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.world.now_us())
    }

    fn pause(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.world.rest_until_us(self.world.now_us() + us);
    }

    fn bell(&self) -> Arc<dyn Bell> {
        Arc::new(SimBell { world: self.world.clone(), state: Mutex::default() })
    }

    fn stand_aside(&self) -> bool {
        assert!(fiber::rest(Rest::Yield), "a task waits for a lock that is held over I/O");
        true
    }
}

/// A [`Bell`] for a fiber.
struct SimBell {
    world: World,
    /// Whether it rang, and which fiber waits.
    state: Mutex<(bool, Option<u64>)>,
}

impl Bell for SimBell {
    fn ring(&self) {
        let waits = {
            let mut state = self.state.lock();
            state.0 = true;
            state.1.take()
        };
        if let Some(id) = waits {
            self.world.wake(id);
        }
    }

    fn wait(&self, longest: Duration) -> bool {
        let until =
            self.world.now_us() + u64::try_from(longest.as_micros()).unwrap_or(u64::MAX / 2);
        loop {
            {
                let mut state = self.state.lock();
                if state.0 || self.world.now_us() >= until {
                    state.1 = None;
                    return std::mem::take(&mut state.0);
                }
                state.1 = Some(self.world.shared.lock().current);
            }
            assert!(fiber::rest(Rest::Until(until)), "a task waits as a thread does");
        }
    }
}

/// Runs a world. Stays on the thread that made it.
pub(crate) struct Executor {
    world: World,
    slots: BTreeMap<u64, Slot>,
    random: Random,
    stacks: Vec<DefaultStack>,
    steps: u64,
}

struct Slot {
    life: Life,
    name: &'static str,
    body: Body,
    /// How often a fiber rested.
    rests: u64,
}

enum Body {
    Task(BoxFuture<'static, ()>, Waker),
    Fiber(Fiber),
}

struct TaskWaker {
    world: World,
    id: u64,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.world.wake(self.id);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.world.wake(self.id);
    }
}

/// A world that came to a stop.
#[derive(Debug)]
pub(crate) enum Stuck {
    /// Nobody can ever go on.
    Deadlock(Vec<&'static str>),
    /// It takes too long.
    TooLong(Vec<&'static str>),
}

impl Executor {
    pub(crate) fn new(seed: u64, trace: TraceTo) -> Self {
        Self {
            world: World::new(seed, trace),
            slots: BTreeMap::new(),
            random: Random::new(seed, 2),
            stacks: Vec::new(),
            steps: 0,
        }
    }

    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// Runs until `done` says so.
    pub(crate) fn run_until(
        &mut self,
        steps_max: u64,
        mut done: impl FnMut() -> bool,
    ) -> Result<(), Stuck> {
        while !done() {
            if !self.step() {
                return Err(Stuck::Deadlock(self.names()));
            }
            if self.steps > steps_max {
                return Err(Stuck::TooLong(self.names()));
            }
        }
        Ok(())
    }

    fn names(&self) -> Vec<&'static str> {
        self.slots.values().map(|slot| slot.name).collect()
    }

    /// The trace's hash, its lines, and its text where it was kept.
    pub(crate) fn trace(&self) -> (u64, u64, Option<String>) {
        let mut state = self.world.shared.lock();
        (state.trace.hasher.finish(), state.trace.lines, state.trace.kept.take())
    }

    /// Steps so far.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    fn admit(&mut self) {
        let spawned = std::mem::take(&mut self.world.shared.lock().spawned);
        for Spawned { id, life, name, body } in spawned {
            let body = match body {
                New::Task(future) => {
                    let waker = Arc::new(TaskWaker { world: self.world.clone(), id });
                    Body::Task(future, Waker::from(waker))
                }
                New::Work(work) => Body::Fiber(Fiber::new(self.stacks.pop(), work)),
            };
            self.slots.insert(id, Slot { life, name, body, rests: 0 });
            self.world.wake(id);
        }
    }

    /// Lets time pass, and wakes whose alarm is due. False if nobody can ever
    /// go on.
    fn pass_time(&mut self) -> bool {
        let due = {
            let mut state = self.world.shared.lock();
            state.now_us += self.random.within(1, 20);
            if state.ready.is_empty() {
                let Some(((at, _), _)) = state.alarms.first_key_value() else { return false };
                state.now_us = state.now_us.max(*at);
            }
            state.due()
        };
        for alarm in due {
            match alarm {
                Alarm::Task(waker) => waker.wake(),
                Alarm::Fiber { id, rests } => {
                    if self.slots.get(&id).is_some_and(|slot| slot.rests == rests) {
                        self.world.wake(id);
                    }
                }
            }
        }
        true
    }

    /// One task or fiber goes on, as far as it can. False if nobody can ever
    /// go on.
    fn step(&mut self) -> bool {
        self.admit();
        self.bury();
        if !self.pass_time() {
            return false;
        }
        let id = {
            let mut state = self.world.shared.lock();
            let nth = self.random.index(state.ready.len());
            let Some(id) = state.ready.iter().nth(nth).copied() else { return true };
            state.ready.remove(&id);
            state.current = id;
            id
        };
        let Some(mut slot) = self.slots.remove(&id) else { return true };
        self.steps += 1;
        self.world.note(format_args!("{} {id} goes on", slot.name));
        let goes_on = match &mut slot.body {
            Body::Task(future, waker) => {
                let mut context = Context::from_waker(waker);
                Pin::new(future).poll(&mut context).is_pending()
            }
            Body::Fiber(fiber) => match fiber.resume() {
                None => false,
                Some(rest) => {
                    slot.rests += 1;
                    let alarm = Alarm::Fiber { id, rests: slot.rests };
                    match rest {
                        Rest::Yield => self.world.wake(id),
                        Rest::Until(at) => self.world.shared.lock().set_alarm(at, alarm),
                    }
                    true
                }
            },
        };
        let life = slot.life;
        if goes_on {
            self.slots.insert(id, slot);
        } else if let Body::Fiber(fiber) = slot.body {
            self.stacks.push(fiber.into_stack());
        }
        if let Some(left) = self.world.shared.lock().doomed.get_mut(&life) {
            *left = left.saturating_sub(1);
        }
        true
    }

    /// Ends the lives whose time has come.
    fn bury(&mut self) {
        let (dead, mourners) = {
            let mut state = self.world.shared.lock();
            let dead: Vec<Life> = state
                .doomed
                .iter()
                .filter(|(_, steps)| **steps == 0)
                .map(|(life, _)| *life)
                .collect();
            if dead.is_empty() {
                return;
            }
            for life in &dead {
                state.doomed.remove(life);
                state.lives.remove(life);
            }
            (dead, std::mem::take(&mut state.mourners))
        };
        self.world.note(format_args!("lives {dead:?} end"));
        let of_dead = self.slots.iter().filter(|(_, slot)| dead.contains(&slot.life));
        let ids: Vec<u64> = of_dead.map(|(id, _)| *id).collect();
        for id in ids {
            drop(self.slots.remove(&id));
        }
        mourners.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // What is left holds the world, and the world holds its wakers.
        drop(std::mem::take(&mut self.slots));
        let (alarms, spawned, mourners) = {
            let mut state = self.world.shared.lock();
            let alarms = std::mem::take(&mut state.alarms);
            let spawned = std::mem::take(&mut state.spawned);
            state.lives.clear();
            (alarms, spawned, std::mem::take(&mut state.mourners))
        };
        drop((alarms, spawned, mourners));
    }
}
