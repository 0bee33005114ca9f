//! The loop of `consume`: poll, print, hand on, commit.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use krafka::admin::TopicPartition;
use krafka::consumer::{
    AutoOffsetReset, Consumer, ConsumerRebalanceListener, IsolationLevel, OffsetAndMetadata,
};
use krafka::error::ErrorCode;
use krafka::{CloseOptions, ConsumerRecord, KrafkaError};
use rustix::event::{PollFd, PollFlags, Timespec};
use serde_json::Value;

use super::filter::Filter;
use super::format::Format;
use crate::clients::session::Session;
use crate::{Failure, Out};

/// How long a poll waits; between two the pipe and the ends are looked at.
const POLL: Duration = Duration::from_millis(250);
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How long brokers may be away.
const AWAY: Duration = Duration::from_secs(30);
/// How long leaving may take.
const LEAVE: Duration = Duration::from_secs(10);
/// How long a member waits for partitions that others have.
const UNASSIGNED: Duration = Duration::from_secs(10);

/// What to read, by partition.
pub(super) struct Wanted {
    pub(super) topic: String,
    pub(super) starts: BTreeMap<i32, i64>,
    /// Offsets before which to end; empty where it goes on.
    pub(super) ends: BTreeMap<i32, i64>,
    pub(super) follow: bool,
    pub(super) count: Option<u64>,
    pub(super) filters: Vec<Filter>,
    pub(super) format: Format,
}

/// Offsets that may be committed: the next of each partition that was printed
/// and handed on. Partitions that move away are committed before they go.
struct Done {
    topic: String,
    next: Mutex<BTreeMap<i32, i64>>,
    consumer: OnceLock<Weak<Consumer>>,
}

impl Done {
    fn take(&self, only: impl Fn(i32) -> bool) -> BTreeMap<i32, i64> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let (taken, kept) = std::mem::take(&mut *next).into_iter().partition(|(p, _)| only(*p));
        *next = kept;
        taken
    }

    fn put(&self, printed: BTreeMap<i32, i64>) {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).extend(printed);
    }

    /// What failed is kept for the next time, unless the group has given the
    /// partitions away: then somebody else commits there.
    async fn commit(
        &self,
        consumer: &Consumer,
        only: impl Fn(i32) -> bool,
    ) -> Result<(), KrafkaError> {
        let next = self.take(only);
        if next.is_empty() {
            return Ok(());
        }
        let place = |(partition, offset): (&i32, &i64)| {
            (TopicPartition::new(&self.topic, *partition), OffsetAndMetadata::new(*offset))
        };
        let offsets: Vec<_> = next.iter().map(place).collect();
        let committed = consumer.commit_offsets(offsets).await;
        if committed.as_ref().is_err_and(|error| !is_outlived(error)) {
            let mut later = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            for (partition, offset) in next {
                later.entry(partition).or_insert(offset);
            }
        }
        committed
    }
}

/// Whether the group went on without this member.
const fn is_outlived(error: &KrafkaError) -> bool {
    let KrafkaError::Broker { code, .. } = error else { return false };
    matches!(code, ErrorCode::IllegalGeneration | ErrorCode::UnknownMemberId)
}

impl ConsumerRebalanceListener for Done {
    async fn on_partitions_assigned(&self, _: &[TopicPartition]) {}

    async fn on_partitions_revoked(&self, partitions: &[TopicPartition]) {
        let consumer = self.consumer.get().and_then(Weak::upgrade);
        if let Some(consumer) = consumer {
            // What can't be committed is read again by who gets the partition.
            self.commit(&consumer, |p| partitions.iter().any(|tp| tp.partition == p)).await.ok();
        }
        self.on_partitions_lost(partitions).await;
    }

    async fn on_partitions_lost(&self, partitions: &[TopicPartition]) {
        drop(self.take(|p| partitions.iter().any(|tp| tp.partition == p)));
    }
}

/// What became of polled records.
#[derive(Default)]
struct Printed {
    /// As many are printed as were asked for.
    is_last: bool,
    /// The first record of each partition that was not to be printed.
    unread: BTreeMap<i32, i64>,
}

/// A consumer at its work.
pub(super) struct Reader {
    consumer: Arc<Consumer>,
    wanted: Wanted,
    done: Arc<Done>,
    in_group: bool,
    printed: u64,
    out: Out,
    /// Printed, and not yet handed on.
    pending: BTreeMap<i32, i64>,
}

impl Reader {
    pub(super) async fn open(
        session: &Session,
        wanted: Wanted,
        group: Option<String>,
    ) -> Result<Self, Failure> {
        let in_group = group.is_some();
        let done = Arc::new(Done {
            topic: wanted.topic.clone(),
            next: Mutex::default(),
            consumer: OnceLock::new(),
        });
        let places = wanted
            .starts
            .iter()
            .map(|(p, offset)| (TopicPartition::new(&wanted.topic, *p), *offset));
        let builder = match group {
            Some(group) => session.kafka.consumer(group).rebalance_listener(Arc::clone(&done)),
            None => session.kafka.consumer_without_group(),
        };
        let consumer = builder
            .enable_auto_commit(false)
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .isolation_level(IsolationLevel::ReadCommitted)
            .initial_offsets(places.collect::<Vec<_>>())
            .metrics_push(false)
            .build()
            .await
            .map_err(|error| session.fail(&error))?;
        let consumer = Arc::new(consumer);
        // It is set once.
        done.consumer.set(Arc::downgrade(&consumer)).ok();
        let begun = if in_group {
            consumer.subscribe([&wanted.topic]).await
        } else {
            // A partition that is at its end already need not be asked for.
            let open = |(p, start): (&i32, &i64)| {
                wanted.ends.get(p).is_none_or(|end| start < end).then_some(*p)
            };
            let partitions: Vec<i32> = wanted.starts.iter().filter_map(open).collect();
            match partitions.is_empty() {
                true => Ok(()),
                false => consumer.assign(&wanted.topic, partitions).await,
            }
        };
        begun.map_err(|error| session.fail(&error))?;
        let out = Out::stdout(false);
        Ok(Self { consumer, wanted, done, in_group, printed: 0, out, pending: BTreeMap::new() })
    }

    /// To the end, Ctrl-C, or the end of who reads; then commits and leaves.
    pub(super) async fn run(mut self, session: &Session) -> Result<(), Failure> {
        let result = self.read(session).await;
        if self.in_group && result.is_ok() {
            // Brokers that are away may not hold up the end.
            tokio::time::timeout(LEAVE, self.note_positions()).await.unwrap_or_default();
        }
        let handed_on =
            if matches!(result, Err(Failure::Closed)) { Ok(()) } else { self.hand_on() };
        let committed = match self.in_group {
            true => self.done.commit(&self.consumer, |_| true).await,
            false => Ok(()),
        };
        let left = self.consumer.close_with(CloseOptions::new().timeout(LEAVE)).await;
        result.and(handed_on)?;
        if committed.as_ref().is_err_and(is_outlived) {
            let why = "the group went on without this member, so what it printed last is not \
                       committed: another reads it again";
            return Err(Failure::Failed(why.to_owned()));
        }
        committed.and(left).map_err(|error| session.fail(&error))
    }

    async fn read(&mut self, session: &Session) -> Result<(), Failure> {
        let interrupted = crate::clients::interrupted();
        tokio::pin!(interrupted);
        let mut away: Option<Instant> = None;
        let mut unassigned = Instant::now();
        let mut committed = Instant::now();
        loop {
            if !self.wanted.follow && self.at_the_end(&mut unassigned).await? {
                return Ok(());
            }
            let polled = tokio::select! {
                biased;
                () = &mut interrupted => return Ok(()),
                polled = self.consumer.poll(POLL) => polled,
            };
            match polled {
                Ok(records) => {
                    away = None;
                    let Printed { is_last, unread } = self.print(&records)?;
                    self.stay(unread).await.map_err(|error| session.fail(&error))?;
                    if is_last {
                        return Ok(());
                    }
                }
                Err(error) if error.is_retriable() => {
                    let since = *away.get_or_insert_with(Instant::now);
                    if since.elapsed() > AWAY {
                        return Err(session.fail(&error));
                    }
                    tokio::select! {
                        () = &mut interrupted => return Ok(()),
                        () = tokio::time::sleep(POLL) => {}
                    }
                }
                Err(error) => return Err(session.fail(&error)),
            }
            self.hand_on()?;
            if self.in_group && committed.elapsed() >= COMMIT_EVERY {
                committed = Instant::now();
                match self.done.commit(&self.consumer, |_| true).await {
                    Err(error) if !error.is_retriable() && !is_outlived(&error) => {
                        return Err(session.fail(&error));
                    }
                    // It is tried again, or the next poll joins the group anew.
                    _ => {}
                }
            }
        }
    }

    /// Prints what is wanted of them.
    fn print(&mut self, records: &[ConsumerRecord]) -> Result<Printed, Failure> {
        let mut line = Vec::new();
        let mut printed = Printed::default();
        for record in records {
            let ends = self.wanted.ends.get(&record.partition);
            if printed.is_last || ends.is_some_and(|end| record.offset >= *end) {
                printed.unread.entry(record.partition).or_insert(record.offset);
                continue;
            }
            if self.passes(record) {
                line.clear();
                self.wanted.format.print(record, &mut line);
                self.out.write_all(&line)?;
                self.printed += 1;
            }
            self.pending.insert(record.partition, record.offset + 1);
            printed.is_last = self.wanted.count.is_some_and(|count| self.printed >= count);
        }
        Ok(printed)
    }

    /// What was polled and not printed is for who reads on: its partitions stay
    /// before it.
    async fn stay(&self, unread: BTreeMap<i32, i64>) -> Result<(), KrafkaError> {
        for (partition, offset) in unread {
            self.consumer.pause(&self.wanted.topic, &[partition]).await;
            self.consumer.seek(&self.wanted.topic, partition, offset).await?;
        }
        Ok(())
    }

    /// Where this member stands in all its partitions, those too of which it
    /// printed nothing: so the group's lag is told of all that it was to read.
    /// Positions tell, not records: the last offsets may be of transactions, or
    /// compacted away.
    async fn note_positions(&mut self) {
        let topic = self.wanted.topic.as_str();
        for partition in self.consumer.assignment().await.remove(topic).unwrap_or_default() {
            if let Some(position) = self.consumer.position(topic, partition).await {
                self.pending.insert(partition, position);
            }
        }
    }

    fn passes(&self, record: &ConsumerRecord) -> bool {
        if self.wanted.filters.is_empty() {
            return true;
        }
        let value =
            record.value.as_deref().and_then(|value| serde_json::from_slice::<Value>(value).ok());
        self.wanted.filters.iter().all(|filter| filter.passes(value.as_ref()))
    }

    /// What was printed is out, and may be committed.
    fn hand_on(&mut self) -> Result<(), Failure> {
        self.out
            .flush()
            .and_then(|()| if reader_is_gone() { Err(Failure::Closed) } else { Ok(()) })?;
        self.done.put(std::mem::take(&mut self.pending));
        Ok(())
    }

    /// Whether all that was there at the start is printed.
    async fn at_the_end(&mut self, unassigned: &mut Instant) -> Result<bool, Failure> {
        let topic = self.wanted.topic.as_str();
        let partitions: Vec<i32> = if self.in_group {
            if self.consumer.group_metadata().await.is_none() {
                *unassigned = Instant::now();
                return Ok(false);
            }
            self.consumer.assignment().await.remove(topic).unwrap_or_default()
        } else {
            let open = |p: &i32| self.wanted.starts.get(p) < self.wanted.ends.get(p);
            self.wanted.ends.keys().copied().filter(open).collect()
        };
        if self.in_group && partitions.is_empty() {
            // Other members have them all, or the group is being divided anew.
            return Ok(unassigned.elapsed() > UNASSIGNED);
        }
        *unassigned = Instant::now();
        for partition in partitions {
            let end = self.wanted.ends.get(&partition).copied().unwrap_or(0);
            let position = self.consumer.position(topic, partition).await;
            if position.is_none_or(|position| position < end) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether nobody reads standard output any more: a pipe tells before it is
/// written to again.
fn reader_is_gone() -> bool {
    let stdout = std::io::stdout();
    let fd = stdout.as_fd();
    let mut asked = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut asked, Some(&at_once)).is_ok()
        && asked.iter().any(|fd| fd.revents().contains(PollFlags::ERR))
}
