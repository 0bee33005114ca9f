//! Consumer groups in motion: the runtime around
//! [`millrace_coord::groups::Groups`].
//!
//! The groups stand behind one mutex. A call takes it, carries out what the
//! state machine returns, and gives it back: replies go to who waits, records
//! into a queue. One task appends the queue to the hidden partition
//! [`TopicId::GROUPS`](millrace_types::TopicId::GROUPS), in order; the log
//! applies what has become durable ([`GroupCoordinator::apply`]), which answers
//! those who waited for it. Another task keeps the groups' deadlines, a third
//! one the retention of offsets.
//!
//! Invariants: records are appended in the order in which the groups gave them
//! out, and come back in it; the mutex is never held across an `await` or I/O,
//! and by none of its holders for longer than one group, or a list of all,
//! takes. What waits is bounded by the requests that the fronts let wait.

mod tasks;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

pub use millrace_coord::groups::{
    CommitError, CommitRequest, CommittedOffset, DeleteError, DeleteOffsetsRequest,
    DeleteTopicOffsets, DescribedGroup, DescribedMember, GroupId, GroupState,
    GroupSubscribedToTopic, HeartbeatRequest, InstanceId, JoinRefused, JoinRequest, Joined,
    JoinedMember, LeavingMember, ListedGroup, MemberId, MembershipError, OffsetCommit,
    OffsetMetadataTooLarge, Protocol, RecordError, Refusal, SyncRequest, Synced,
};
use millrace_coord::groups::{
    DurableGroups, Effects, Event, GroupRecord, Groups, GroupsConfig, Now, Persist, Reply, Token,
};
use millrace_store::env::{BoxFuture, Env};
use millrace_types::{Offset, TopicId, TopicName, TopicPartition, canary};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};

use crate::{Ended, config::BrokerConfig};

/// Where the records of groups become durable, and what else groups need of
/// the broker.
pub trait GroupLog: Send + Sync + 'static {
    /// Appends records as one unit to the hidden partition of groups. Each of
    /// them is given to [`GroupCoordinator::apply`] once durable, perhaps
    /// before this returns.
    fn append<'a>(&'a self, records: &'a [Vec<u8>]) -> BoxFuture<'a, Result<(), GroupLogError>>;

    /// Resolves when this incarnation of the log is over.
    fn ended(&self) -> BoxFuture<'static, ()>;

    /// The name of a topic that exists.
    fn topic_name(&self, topic: TopicId) -> Option<TopicName>;
}

/// Why records of groups were not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupLogError {
    /// They were not, and never will be.
    #[error("the records were refused")]
    Refused(Refusal),
    /// The incarnation is over; the next one knows.
    #[error("the incarnation ended")]
    Ended,
}

/// The groups of one incarnation of the broker.
pub struct GroupCoordinator {
    env: Arc<dyn Env>,
    /// When the process began to be believed: see [`tasks`].
    started: Now,
    phase: Mutex<Phase>,
    /// Records wait to be appended.
    work: Notify,
    /// A deadline came nearer than the one that is kept.
    sooner: Notify,
    /// What was appended became durable.
    settled: Notify,
}

enum Phase {
    /// The log's records are being read; the first one that is none.
    Recovering(DurableGroups, Option<RecordError>),
    Serving(Box<Serving>),
    /// Whoever asks now is for the next incarnation to answer. What the log
    /// still makes durable counts, for a last checkpoint.
    Over(DurableGroups),
}

struct Serving {
    groups: Groups,
    waiting: HashMap<Token, oneshot::Sender<Reply>>,
    tokens: u64,
    /// Given out and not appended yet.
    queue: VecDeque<Unit>,
    /// Appended, perhaps just being appended, and not durable yet.
    appended: VecDeque<Unit>,
    /// The deadline that is kept.
    armed: Option<u64>,
}

/// Records that become durable together.
struct Unit {
    persist: Persist,
    /// How many of them are not durable yet.
    left: usize,
    /// Who wants to know when these records, and all before, have come back.
    watchers: Vec<oneshot::Sender<()>>,
    /// Who wants to know that they are durable; dropped where they never are.
    stored: Option<oneshot::Sender<()>>,
}

impl std::fmt::Debug for GroupCoordinator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupCoordinator").finish_non_exhaustive()
    }
}

/// The settings of groups among those of the broker.
#[must_use]
pub fn groups_config(config: &BrokerConfig) -> GroupsConfig {
    GroupsConfig {
        session_timeout_min_ms: within_i32(config.group_session_timeout_min_ms),
        session_timeout_max_ms: within_i32(config.group_session_timeout_max_ms),
        initial_rebalance_delay_ms: config.group_initial_rebalance_delay_ms,
        group_size_max: config.group_members_max,
        offsets_retention_ms: i64::try_from(config.offsets_retention_ms).unwrap_or(i64::MAX),
        offset_metadata_max: config.offset_metadata_bytes_max,
        ..GroupsConfig::default()
    }
}

fn within_i32(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

impl GroupCoordinator {
    /// A coordinator that takes in the log's records, to be started then. What
    /// the wall clock has moved beyond the monotonic one since `started`
    /// expires nothing.
    #[must_use]
    pub fn new(env: Arc<dyn Env>, started: Now) -> Arc<Self> {
        Arc::new(Self {
            env,
            started,
            phase: Mutex::new(Phase::Recovering(DurableGroups::default(), None)),
            work: Notify::new(),
            sooner: Notify::new(),
            settled: Notify::new(),
        })
    }

    /// Takes in one durable record: at recovery from the newest checkpoint and
    /// the log behind it, then as the log makes what was appended durable. In
    /// the order of the log.
    pub fn apply(&self, record: &[u8]) {
        let mut phase = self.phase.lock();
        match &mut *phase {
            Phase::Recovering(durable, error) => match GroupRecord::decode(record) {
                Ok(record) => durable.apply(record),
                Err(first) => {
                    error.get_or_insert(first);
                }
            },
            Phase::Serving(serving) => {
                let effects = serving.record_is_durable(self.now());
                self.carry_out(phase, effects);
                self.settled.notify_waiters();
            }
            // Nobody can be told of a record that is none; the next
            // incarnation reads it again.
            Phase::Over(durable) => {
                if let Ok(record) = GroupRecord::decode(record) {
                    durable.apply(record);
                }
            }
        }
    }

    /// Records that restore the durable state of this moment.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Vec<u8>> {
        let snapshot = match &*self.phase.lock() {
            Phase::Recovering(durable, _) | Phase::Over(durable) => durable.snapshot(),
            Phase::Serving(serving) => serving.groups.durable_groups().snapshot(),
        };
        snapshot.map(|record| record.encode()).collect()
    }

    /// Begins to serve what was recovered.
    ///
    /// # Errors
    /// A record of the log was none; nothing is served then.
    pub fn start(
        self: &Arc<Self>,
        config: &BrokerConfig,
        log: &Arc<dyn GroupLog>,
    ) -> Result<(), RecordError> {
        let mut phase = self.phase.lock();
        let durable = match &mut *phase {
            Phase::Recovering(_, Some(error)) => return Err(*error),
            Phase::Recovering(durable, None) => std::mem::take(durable),
            Phase::Serving(_) | Phase::Over(_) => return Ok(()),
        };
        let (groups, effects) = Groups::start(groups_config(config), durable, self.now());
        tracing::info!(groups = groups.len(), "groups are loaded");
        *phase = Phase::Serving(Box::new(Serving {
            groups,
            waiting: HashMap::new(),
            tokens: 0,
            queue: VecDeque::new(),
            appended: VecDeque::new(),
            armed: None,
        }));
        self.carry_out(phase, effects);
        tasks::spawn(self, log, config.offsets_retention_check_interval_ms);
        Ok(())
    }

    /// Takes over changed settings.
    pub fn set_config(&self, config: &BrokerConfig) {
        if let Phase::Serving(serving) = &mut *self.phase.lock() {
            serving.groups.set_config(groups_config(config));
        }
    }

    /// A member joins; its `member_uuid` is drawn here. Answers when everyone
    /// has joined.
    pub fn join(
        &self,
        request: JoinRequest,
    ) -> impl Future<Output = Result<Result<Joined, JoinRefused>, Ended>> + Send + use<> {
        let random = uuid::Builder::from_u128(
            u128::from(self.env.random_u64()) << 64 | u128::from(self.env.random_u64()),
        );
        let member_uuid = random
            .with_variant(uuid::Variant::RFC4122)
            .with_version(uuid::Version::Random)
            .into_uuid();
        let request = JoinRequest { member_uuid, ..request };
        let reply = self.ask(|groups, token, now| groups.join(&request, token, now));
        answer(reply, |reply| match reply {
            Reply::Join(result) => Some(result),
            _ => None,
        })
    }

    /// A member asks for its assignment. Answers when it is durable.
    pub fn sync(
        &self,
        request: &SyncRequest,
    ) -> impl Future<Output = Result<Result<Synced, MembershipError>, Ended>> + Send + use<> {
        let reply = self.ask(|groups, token, now| groups.sync(request, token, now));
        answer(reply, |reply| match reply {
            Reply::Sync(result) => Some(result),
            _ => None,
        })
    }

    /// A member shows that it is alive.
    ///
    /// # Errors
    /// The outer one when the incarnation is over.
    pub fn heartbeat(
        &self,
        request: &HeartbeatRequest,
    ) -> Result<Result<(), MembershipError>, Ended> {
        let now = self.now();
        self.with(|groups| (groups.heartbeat(request, now), Effects::default()))
    }

    /// Members leave, or are removed.
    ///
    /// # Errors
    /// The outer one when the incarnation is over.
    pub fn leave(
        &self,
        group: &GroupId,
        members: &[LeavingMember],
    ) -> Result<Result<Vec<Result<(), MembershipError>>, MembershipError>, Ended> {
        let now = self.now();
        self.with(|groups| groups.leave(group, members, now))
    }

    /// Commits offsets. Answers when they are durable.
    pub fn commit(
        &self,
        request: CommitRequest,
    ) -> impl Future<
        Output = Result<Result<Vec<Result<(), OffsetMetadataTooLarge>>, CommitError>, Ended>,
    > + Send
    + use<> {
        let reply = self.ask(|groups, token, now| groups.commit(request, token, now));
        answer(reply, |reply| match reply {
            Reply::Commit(result) => Some(result),
            _ => None,
        })
    }

    /// Deletes offsets that no member uses. Answers when that is durable.
    pub fn delete_offsets(
        &self,
        request: &DeleteOffsetsRequest,
    ) -> impl Future<
        Output = Result<Result<Vec<Result<(), GroupSubscribedToTopic>>, DeleteError>, Ended>,
    > + Send
    + use<> {
        let reply = self.ask(|groups, token, now| groups.delete_offsets(request, token, now));
        answer(reply, |reply| match reply {
            Reply::DeleteOffsets(result) => Some(result),
            _ => None,
        })
    }

    /// Deletes groups without members. Answers when that is durable.
    pub fn delete_groups(
        &self,
        groups: &[GroupId],
    ) -> impl Future<Output = Result<Vec<Result<(), DeleteError>>, Ended>> + Send + use<> {
        let reply = self.ask(|all, token, now| all.delete_groups(groups, token, now));
        answer(reply, |reply| match reply {
            Reply::DeleteGroups(results) => Some(results),
            _ => None,
        })
    }

    /// Resolves once all is durable that was promised to the group so far, so
    /// that whoever committed reads that. At once where nothing is on its way.
    pub fn settled(&self, group: &str) -> impl Future<Output = Result<(), Ended>> + Send + use<> {
        let watched = self.watch(group);
        async move {
            match watched? {
                Some(settled) => settled.await.map_err(|_| Ended),
                None => Ok(()),
            }
        }
    }

    fn watch(&self, group: &str) -> Result<Option<oneshot::Receiver<()>>, Ended> {
        let mut phase = self.phase.lock();
        let Phase::Serving(serving) = &mut *phase else { return Err(Ended) };
        if !serving.groups.is_in_flight(group) || canary!(OffsetFetchedEarly) {
            return Ok(None);
        }
        let newest = serving.queue.back_mut().or_else(|| serving.appended.back_mut());
        Ok(newest.map(|unit| {
            let (sender, receiver) = oneshot::channel();
            unit.watchers.push(sender);
            receiver
        }))
    }

    /// Committed offsets of a group, one for each of `partitions`.
    ///
    /// # Errors
    /// The incarnation is over.
    pub fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<CommittedOffset>>, Ended> {
        self.read(|groups| {
            let committed = |partition: &TopicPartition| groups.committed(group, *partition);
            partitions.iter().map(|partition| committed(partition).cloned()).collect()
        })
    }

    /// All committed offsets of a group, by topic id and partition.
    ///
    /// # Errors
    /// The incarnation is over.
    pub fn all_committed(
        &self,
        group: &str,
    ) -> Result<Vec<(TopicPartition, CommittedOffset)>, Ended> {
        self.read(|groups| {
            let all = groups.all_committed(group);
            all.map(|(partition, committed)| (partition, committed.clone())).collect()
        })
    }

    /// Calls `each` with the committed offsets of each group, by name. The
    /// groups go on between one and the next.
    pub(crate) fn each_committed(
        &self,
        mut each: impl FnMut(&GroupId, &[(TopicPartition, Offset)]),
    ) {
        let ids: Vec<GroupId> =
            self.read(|groups| groups.stored().cloned().collect()).unwrap_or_default();
        let mut offsets = Vec::new();
        for id in ids {
            offsets.clear();
            let read = self.read(|groups| {
                let all = groups.all_committed(id.as_str());
                offsets.extend(all.map(|(partition, committed)| (partition, committed.offset)));
            });
            if read.is_ok() && !offsets.is_empty() {
                each(&id, &offsets);
            }
        }
    }

    /// All groups, by name.
    ///
    /// # Errors
    /// The incarnation is over.
    pub fn list(&self) -> Result<Vec<ListedGroup>, Ended> {
        self.read(|groups| groups.list().collect())
    }

    /// One group in full, if there is such a group.
    ///
    /// # Errors
    /// The incarnation is over.
    pub fn describe(&self, group: &str) -> Result<Option<DescribedGroup>, Ended> {
        self.read(|groups| groups.describe(group))
    }

    /// The topics that any group has offsets of.
    pub(crate) fn topics(&self) -> BTreeSet<TopicId> {
        self.read(Groups::topics).unwrap_or_default()
    }

    /// The number of groups; for a metric.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read(Groups::len).unwrap_or(0)
    }

    /// Whether there are no groups.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A topic is gone: so are all offsets for it. To be called when that is
    /// durable. Resolves to whether the groups' part of it is durable too; if
    /// it is not, it has to be told again.
    pub fn topic_deleted(&self, topic: TopicId) -> impl Future<Output = bool> + Send + use<> {
        let (stored, is_stored) = oneshot::channel();
        let mut phase = self.phase.lock();
        // Where the incarnation is over, so is what it knew of the topic.
        if let Phase::Serving(serving) = &mut *phase {
            let effects = serving.groups.topic_deleted(topic);
            self.carry_out_and_tell(phase, effects, Some(stored));
        }
        async move { is_stored.await.is_ok() }
    }

    fn now(&self) -> Now {
        Now { monotonic_ms: self.env.monotonic_ms(), wall: self.env.wall() }
    }

    fn read<T>(&self, read: impl FnOnce(&Groups) -> T) -> Result<T, Ended> {
        match &*self.phase.lock() {
            Phase::Serving(serving) => Ok(read(&serving.groups)),
            Phase::Recovering(..) | Phase::Over(_) => Err(Ended),
        }
    }

    /// Changes groups, and carries out what follows.
    fn with<T>(&self, act: impl FnOnce(&mut Groups) -> (T, Effects)) -> Result<T, Ended> {
        let mut phase = self.phase.lock();
        let Phase::Serving(serving) = &mut *phase else { return Err(Ended) };
        let (result, effects) = act(&mut serving.groups);
        self.carry_out(phase, effects);
        Ok(result)
    }

    /// Asks what may be answered later; the reply comes by the receiver, which
    /// fails where the incarnation ends first.
    fn ask(
        &self,
        act: impl FnOnce(&mut Groups, Token, Now) -> Effects,
    ) -> Option<oneshot::Receiver<Reply>> {
        let now = self.now();
        let mut phase = self.phase.lock();
        let Phase::Serving(serving) = &mut *phase else { return None };
        serving.tokens += 1;
        let token = Token(serving.tokens);
        let (sender, receiver) = oneshot::channel();
        serving.waiting.insert(token, sender);
        let effects = act(&mut serving.groups, token, now);
        self.carry_out(phase, effects);
        Some(receiver)
    }

    fn carry_out(&self, phase: MutexGuard<'_, Phase>, effects: Effects) {
        self.carry_out_and_tell(phase, effects, None);
    }

    /// [`Self::carry_out`]; `stored` hears when the last records are durable.
    fn carry_out_and_tell(
        &self,
        mut phase: MutexGuard<'_, Phase>,
        effects: Effects,
        stored: Option<oneshot::Sender<()>>,
    ) {
        let Phase::Serving(serving) = &mut *phase else { return };
        let Effects { replies, persist, events } = effects;
        for (token, reply) in replies {
            if let Some(sender) = serving.waiting.remove(&token) {
                // Who is gone does not hear it.
                drop(sender.send(reply));
            }
        }
        if !persist.is_empty() {
            serving.queue.extend(persist.into_iter().map(|persist| {
                let left = persist.records().len();
                Unit { persist, left, watchers: Vec::new(), stored: None }
            }));
            if let Some(last) = serving.queue.back_mut() {
                last.stored = stored;
            }
            self.work.notify_one();
        }
        let next = serving.groups.next_deadline();
        if next.is_some_and(|next| serving.armed.is_none_or(|armed| next < armed)) {
            serving.armed = next;
            self.sooner.notify_one();
        }
        drop(phase);
        events.iter().for_each(tell);
    }
}

impl Serving {
    /// The next record of those that were appended is durable.
    fn record_is_durable(&mut self, now: Now) -> Effects {
        let Some(unit) = self.appended.front_mut() else {
            unreachable!("a record of groups became durable that nobody appended");
        };
        unit.left -= 1;
        if unit.left > 0 {
            return Effects::default();
        }
        let Some(unit) = self.appended.pop_front() else { return Effects::default() };
        let effects = self.groups.durable(unit.persist, now);
        // Who is gone does not hear it.
        for told in unit.watchers.into_iter().chain(unit.stored) {
            told.send(()).ok();
        }
        effects
    }
}

/// Waits for a reply of the kind that `kind` takes.
async fn answer<T>(
    reply: Option<oneshot::Receiver<Reply>>,
    kind: fn(Reply) -> Option<T>,
) -> Result<T, Ended> {
    let reply = reply.ok_or(Ended)?.await.map_err(|_| Ended)?;
    match kind(reply) {
        Some(result) => Ok(result),
        None => unreachable!("a request is answered by a reply of its kind"),
    }
}

/// Tells the operator what happened to a group.
fn tell(event: &Event) {
    match event {
        Event::RebalanceStarted { group, generation, reason } => {
            tracing::info!(%group, generation, reason, "a group rebalances");
        }
        Event::GenerationStarted { group, generation, members } => {
            tracing::info!(%group, generation, members, "a group begins a generation");
        }
        Event::RebalanceCompleted { group, generation } => {
            tracing::debug!(%group, generation, "a group has its assignment");
        }
        Event::MemberFailed { group, member } => {
            tracing::info!(%group, %member, "a group loses a silent member");
        }
        Event::Emptied { group, generation } => {
            tracing::info!(%group, generation, "a group is empty");
        }
        Event::OffsetsExpired { group, offsets } => {
            tracing::info!(%group, offsets, "offsets of a group expired");
        }
        Event::Removed { group } => tracing::debug!(%group, "a group is no more"),
    }
}

#[cfg(test)]
mod tests;
