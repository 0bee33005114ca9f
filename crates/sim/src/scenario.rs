//! One run: clients at work while things break, then everything healed, read
//! in full and compared with what clients were told.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use millrace_store::{
    disk::memory::{Crash, Unsynced},
    env::{BoxFuture, Env},
};
use millrace_types::TopicPartition;
use parking_lot::Mutex;

use crate::{
    backups::Backups,
    book::{Book, Counts, Promise, Violation},
    clients::{self, Client, Consumer, FullRead, Producer, streams},
    disk::SimDisk,
    nemesis::Nemesis,
    plan::Plan,
    random::Random,
    repairs,
    server::{Server, Start},
    world::{Executor, Stuck, TraceTo, World},
};

/// Steps after which a run does not end by itself.
const STEPS_MAX: u64 = 3_000_000;

/// How a run went.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// What was wrong; nothing in a good run.
    pub violations: Vec<Violation>,
    /// Hash of all lines of the trace, and their number.
    pub trace: (u64, u64),
    /// The trace itself, where it was asked for.
    pub text: Option<String>,
    /// Steps of tasks and fibers.
    pub steps: u64,
    /// What was done.
    pub counts: Counts,
    /// What kind of run it was.
    pub plan: String,
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, trace: TraceTo) -> Report {
    let plan = Plan::new(seed);
    let mut executor = Executor::new(seed, trace);
    let world = executor.world().clone();
    world.note(format_args!("{plan:?}"));
    let book = Book::new(world.clone(), plan.promise);
    let disk = SimDisk::new(world.clone(), seed, plan.capacity);
    disk.set_pace(plan.pace);
    let server = Server::new(world.clone(), seed, disk, plan.engine.clone());
    let client = Client::new(world.clone(), server, book.clone(), Random::new(seed, 7));
    let done = Arc::new(Mutex::new(false));
    let main = scenario(client, plan.clone(), Arc::clone(&done));
    world.outside().spawn("scenario", Box::pin(main));
    let ran = catch_unwind(AssertUnwindSafe(|| {
        executor.run_until(STEPS_MAX, || *done.lock() || book.violations().len() > 20)
    }));
    match ran {
        Ok(Ok(())) => {}
        Ok(Err(Stuck::Deadlock(names))) => {
            book.violation("no-hang", format!("nobody can go on: {names:?}"));
        }
        Ok(Err(Stuck::TooLong(names))) => {
            book.violation("no-hang", format!("it does not come to an end: {names:?}"));
        }
        Err(panic) => {
            let words = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
            book.violation("no-panic", format!("panic: {}", words.unwrap_or_default()));
        }
    }
    let (hash, lines, text) = executor.trace();
    let steps = executor.steps();
    // What is left holds on to each other.
    drop(catch_unwind(AssertUnwindSafe(|| drop(executor))));
    Report {
        seed,
        violations: book.violations(),
        trace: (hash, lines),
        text,
        steps,
        counts: book.counts(),
        plan: format!("{:?}, {:?}, {:?}", plan.promise, plan.engine.flush, plan.faults),
    }
}

async fn scenario(mut client: Client, plan: Plan, done: Arc<Mutex<bool>>) {
    match client.server.start().await {
        Start::Serving => {}
        other => client.book.violation("no-start", format!("the first start: {other:?}")),
    }
    make_topics(&mut client).await;
    let told = streams::create(&mut client).await;
    let mut at_work = Crowd::new(client.world.clone());
    employ(&mut client, &plan, &mut at_work);
    employ_streams(&mut client, &plan, &told, &mut at_work);
    let mut nemesis =
        Nemesis { client: client.another(), plan: plan.clone(), backups: Backups::default() };
    nemesis.run().await;
    client.world.note(format_args!("the faults end"));
    heal(&mut client, &plan, &mut nemesis).await;
    if client.book.has_refused_to_start() {
        *done.lock() = true;
        return;
    }
    client.think(2_000).await;
    client.stop();
    if !at_work.gone(120_000).await {
        // A log that is corrupt where a failed incarnation left it may wait
        // for a person.
        if plan.promise == Promise::Everything {
            let left = at_work.left();
            client.book.violation("no-hang", format!("clients do not come to an end: {left:?}"));
        }
        *done.lock() = true;
        return;
    }
    judge(&mut client, &mut nemesis, &told).await;
    if plan.promise == Promise::Everything {
        client.book.check_history();
    }
    *done.lock() = true;
}

/// Ends all faults; a server that is there goes on.
async fn heal(client: &mut Client, plan: &Plan, nemesis: &mut Nemesis) {
    let disk = client.server.disk();
    disk.machine().heal();
    disk.machine().set_capacity(plan.capacity);
    disk.set_pace(crate::disk::Pace::Fast);
    client.server.catalog().heal();
    if plan.promise == Promise::Detection && client.random.percent(50) {
        client.server.kill(Crash::Kill, 0).await;
        repairs::repair(client).await;
    }
    if client.server.life().is_none() {
        nemesis.start().await;
    }
}

/// Reads everything, before and after further ends of the server.
async fn judge(client: &mut Client, nemesis: &mut Nemesis, told: &streams::Told) {
    let before = read_everything(client).await;
    streams::check(client, told).await;
    for (at, read) in &before {
        client.book.check_all(*at, read.start, &read.found, &read.corrupt);
    }
    let ends = if nemesis.plan.engine.flush == millrace_broker::Flush::Fsync {
        vec![Some(Crash::PowerCut(Unsynced::Lost)), None]
    } else {
        vec![Some(Crash::Kill), None]
    };
    for end in ends {
        match end {
            Some(crash) => client.server.kill(crash, 0).await,
            None => {
                if client.server.shutdown().await.is_err() {
                    client.book.violation("no-hang", "the server does not stop at the end".into());
                }
            }
        }
        match client.server.start().await {
            Start::Serving => {}
            Start::Failed(error) if client.book.promise() > Promise::Everything => {
                client.world.note(format_args!("refuses to start: {error}"));
                return;
            }
            other => {
                client.book.violation("no-start", format!("the start after {end:?}: {other:?}"));
                return;
            }
        }
        let after = read_everything(client).await;
        streams::check(client, told).await;
        for (at, before) in &before {
            let Some(after) = after.get(at) else {
                if client.book.promise() < Promise::NothingWrong {
                    client.book.violation("topic-lost", format!("{at} is gone after {end:?}"));
                }
                continue;
            };
            client.book.check_all(*at, after.start, &after.found, &after.corrupt);
            let readable = before.corrupt.is_empty() && after.corrupt.is_empty();
            if after.end != before.end && readable && client.book.promise() < Promise::NothingWrong
            {
                let (before, after) = (before.end, after.end);
                client.book.violation(
                    "end-went-back",
                    format!("{at} ended at {before}, after {end:?} at {after}"),
                );
            }
        }
        check_deleted(client);
    }
}

async fn read_everything(client: &mut Client) -> BTreeMap<TopicPartition, FullRead> {
    let mut all = BTreeMap::new();
    for at in client.book.partitions() {
        let read = clients::full_read(client, at).await;
        let deleted = client.book.is_deleted(at.topic);
        match read {
            Some(_) if deleted => {
                client.book.violation(
                    "deleted-topic-visible",
                    format!("{at} is there, and its topic was deleted"),
                );
            }
            Some(read) => drop(all.insert(at, read)),
            None if deleted || client.book.promise() == Promise::NothingWrong => {}
            None => client.book.maybe_deleted(at),
        }
    }
    all
}

/// Nothing of a deleted topic comes back.
fn check_deleted(client: &Client) {
    let Some(broker) = client.server.broker() else { return };
    for id in client.book.deleted_topics() {
        if broker.topic_by_id(id).is_some() {
            client.book.violation(
                "deleted-topic-visible",
                format!("topic {id} is there, and was deleted"),
            );
        }
        for group in ["g0", "g1"] {
            let committed = broker.groups().all_committed(group).unwrap_or_default();
            if committed.iter().any(|(at, _)| at.topic == id) {
                client.book.violation(
                    "reappeared-commit",
                    format!("group {group} has offsets of deleted topic {id}"),
                );
            }
        }
    }
}

const LONG: &str = "-1";

async fn make_topics(client: &mut Client) {
    let kinds = ["CreateTime", "LogAppendTime"];
    let kind = (*client.random.pick(&kinds)).to_owned();
    let keep = |name| (name, LONG.to_owned());
    let (ms, bytes) = ("retention.ms", "retention.bytes");
    let kept = [keep(ms), keep(bytes), ("message.timestamp.type", kind)];
    clients::create(client, "kept", 2, &kept).await;
    clients::create(client, "small", 1, &[keep(ms)]).await;
    clients::create(client, "cut", 1, &[keep(ms)]).await;
    clients::create(client, "old", 1, &[(ms, "4000".to_owned())]).await;
    clients::create(client, "big", 1, &[keep(ms), (bytes, "30000".to_owned())]).await;
}

/// Everyone begins to work.
fn employ(client: &mut Client, plan: &Plan, crowd: &mut Crowd) {
    let topics = ["kept", "kept", "kept", "cut", "old", "big", "small", "churn"];
    for (writer, topic) in (0u32..).zip(topics) {
        let idempotent = writer != 2;
        let small = topic == "small";
        let batches = if small { plan.batches / 10 } else { plan.batches };
        let bytes = if small { 40 } else { plan.value_bytes_max };
        let client = client.another();
        let producer =
            Producer::new(client, topic, writer, idempotent, batches, bytes, plan.think_ms);
        crowd.add("producer", Box::pin(producer.run()));
    }
    let reads = [("kept", 0, Some("g0")), ("kept", 1, None), ("cut", 0, Some("g1"))];
    let reads = reads.into_iter().chain([("big", 0, None), ("churn", 0, Some("g0"))]);
    for (topic, partition, group) in reads {
        let client = client.another();
        let group = group.map(str::to_owned);
        let consumer = Consumer { client, topic, partition, group, think_ms: plan.think_ms };
        crowd.add("consumer", Box::pin(consumer.run()));
    }
    for (topic, group) in [("kept", "g0"), ("cut", "g1")] {
        crowd.add("watcher", Box::pin(clients::watch_groups(client.another(), topic, group)));
    }
    let most_ms = plan.between_ms;
    crowd.add("churn", Box::pin(clients::churn(client.another(), "churn", 1, most_ms)));
    crowd.add("cut", Box::pin(clients::cut(client.another(), "cut", 0, most_ms / 2)));
}

/// Those who write and change the topic that is split and merged.
fn employ_streams(client: &mut Client, plan: &Plan, told: &streams::Told, crowd: &mut Crowd) {
    let think_ms = plan.think_ms;
    for _ in 0..2 {
        let put = streams::put(client.another(), told.clone(), plan.batches, think_ms);
        crowd.add("put", Box::pin(put));
    }
    for partition in 0..2 {
        let another = client.another();
        let produce =
            streams::produce(another, told.clone(), partition, plan.batches / 2, think_ms);
        crowd.add("idempotent producer of a stream", Box::pin(produce));
    }
    let reshard = streams::reshard(client.another(), told.clone(), plan.between_ms / 2);
    crowd.add("reshard", Box::pin(reshard));
}

/// Clients that are at work.
struct Crowd {
    world: World,
    left: Arc<Mutex<Vec<&'static str>>>,
}

impl Crowd {
    fn new(world: World) -> Self {
        Self { world, left: Arc::default() }
    }

    fn add(&mut self, name: &'static str, work: BoxFuture<'static, ()>) {
        let left = Arc::clone(&self.left);
        left.lock().push(name);
        let work = async move {
            work.await;
            let mut left = left.lock();
            if let Some(index) = left.iter().position(|other| *other == name) {
                left.swap_remove(index);
            }
        };
        self.world.outside().spawn(name, Box::pin(work));
    }

    fn left(&self) -> Vec<&'static str> {
        self.left.lock().clone()
    }

    /// Waits until all are done, so long at most. Whether they are.
    async fn gone(&self, most_ms: u64) -> bool {
        let until = self.world.now_ms() + most_ms;
        while !self.left.lock().is_empty() {
            if self.world.now_ms() > until {
                return false;
            }
            self.world.sleep_ms(50).await;
        }
        true
    }
}
