use std::{
    collections::VecDeque,
    pin::pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use millrace_store::env::testing::TestEnv;
use millrace_types::{Offset, PartitionId};
use tokio::sync::watch;

use super::*;

/// A log whose disk the test drives.
struct TestLog {
    written: Mutex<VecDeque<Vec<u8>>>,
    refuses: Mutex<Option<Refusal>>,
    over: watch::Sender<bool>,
}

impl GroupLog for TestLog {
    fn append<'a>(&'a self, records: &'a [Vec<u8>]) -> BoxFuture<'a, Result<(), GroupLogError>> {
        Box::pin(async move {
            if let Some(refusal) = *self.refuses.lock() {
                return Err(GroupLogError::Refused(refusal));
            }
            self.written.lock().extend(records.iter().cloned());
            Ok(())
        })
    }

    fn ended(&self) -> BoxFuture<'static, ()> {
        let mut over = self.over.subscribe();
        Box::pin(async move {
            // The log is not dropped before it is over.
            over.wait_for(|over| *over).await.ok();
        })
    }

    fn topic_name(&self, _: TopicId) -> Option<TopicName> {
        TopicName::new("orders").ok()
    }
}

struct World {
    env: TestEnv,
    log: Arc<TestLog>,
    groups: Arc<GroupCoordinator>,
}

fn now(env: &TestEnv) -> Now {
    Now { monotonic_ms: env.monotonic_ms(), wall: env.wall() }
}

impl World {
    /// Groups as `records` tell of them.
    fn recovered(records: &[Vec<u8>]) -> Self {
        let env = TestEnv::new(1);
        let started = now(&env);
        Self::recovered_in(env, started, records)
    }

    /// As [`Self::recovered`], in a process that runs since `started`.
    fn recovered_in(env: TestEnv, started: Now, records: &[Vec<u8>]) -> Self {
        let log = Arc::new(TestLog {
            written: Mutex::default(),
            refuses: Mutex::default(),
            over: watch::Sender::new(false),
        });
        let groups = GroupCoordinator::new(Arc::new(env.clone()), started);
        records.iter().for_each(|record| groups.apply(record));
        let as_log: Arc<dyn GroupLog> = log.clone();
        groups.start(&BrokerConfig::default(), &as_log).unwrap();
        env.run();
        Self { env, log, groups }
    }

    fn new() -> Self {
        Self::recovered(&[])
    }

    /// What was written becomes durable.
    fn flush(&self) -> Vec<Vec<u8>> {
        self.env.run();
        let written: Vec<_> = self.log.written.lock().drain(..).collect();
        written.iter().for_each(|record| self.groups.apply(record));
        self.env.run();
        written
    }

    fn join(&self, member: &MemberId) -> impl Future<Output = JoinResult> + use<> {
        self.groups.join(JoinRequest {
            group: "g".into(),
            member: member.clone(),
            instance: None,
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            protocol_type: "consumer".into(),
            protocols: vec![Protocol { name: "range".into(), metadata: Bytes::new() }],
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 60_000,
            require_known_member_id: false,
            supports_skipping_assignment: true,
            member_uuid: uuid::Uuid::nil(),
            reason: None,
        })
    }

    fn sync(&self, joined: &Joined) -> impl Future<Output = SyncResult> + use<> {
        let assign = |member: &JoinedMember| (member.member.clone(), Bytes::from("all"));
        self.groups.sync(&SyncRequest {
            group: "g".into(),
            member: joined.member.clone(),
            instance: None,
            generation: joined.generation,
            protocol_type: None,
            protocol_name: None,
            assignments: joined.members.iter().map(assign).collect(),
        })
    }

    fn commit(&self, offset: i64) -> impl Future<Output = CommitResult> + use<> {
        self.groups.commit(CommitRequest {
            group: "simple".into(),
            member: MemberId::unknown(),
            instance: None,
            generation: -1,
            retention_ms: None,
            offsets: vec![OffsetCommit {
                partition: partition(),
                offset: Offset(offset),
                leader_epoch: None,
                metadata: "".into(),
            }],
        })
    }

    fn committed(&self) -> Option<Offset> {
        let committed = self.groups.committed("simple", &[partition()]).unwrap();
        committed.first().unwrap().as_ref().map(|committed| committed.offset)
    }

    /// A group of one member, stable.
    fn stable(&self) -> Joined {
        let joining = self.join(&MemberId::unknown());
        self.env.advance(3_000);
        let joined = self.env.block_on(joining).unwrap().unwrap();
        let mut syncing = pin!(self.sync(&joined));
        assert!(is_pending(syncing.as_mut()));
        self.flush();
        self.env.block_on(syncing).unwrap().unwrap();
        joined
    }
}

type JoinResult = Result<Result<Joined, JoinRefused>, Ended>;
type SyncResult = Result<Result<Synced, MembershipError>, Ended>;
type CommitResult = Result<Result<Vec<Result<(), OffsetMetadataTooLarge>>, CommitError>, Ended>;

fn partition() -> TopicPartition {
    TopicPartition::new(TopicId([1; 16]), PartitionId(0))
}

fn is_pending<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> bool {
    matches!(future.poll(&mut Context::from_waker(Waker::noop())), Poll::Pending)
}

#[test]
fn a_join_is_answered_when_its_time_has_come() {
    let world = World::new();
    let mut joining = pin!(world.join(&MemberId::unknown()));
    world.env.advance(2_999);
    assert!(is_pending(joining.as_mut()));
    world.env.advance(1);
    let joined = world.env.block_on(joining).unwrap().unwrap();
    assert_eq!(joined.generation, 1);
    assert_eq!(joined.leader, Some(joined.member));
}

#[test]
fn a_silent_member_is_gone_after_its_session() {
    let world = World::new();
    let joined = world.stable();
    let heartbeat = HeartbeatRequest {
        group: "g".into(),
        member: joined.member,
        instance: None,
        generation: joined.generation,
    };
    world.env.advance(9_000);
    assert_eq!(world.groups.heartbeat(&heartbeat), Ok(Ok(())));
    world.env.advance(9_000);
    assert_eq!(world.groups.heartbeat(&heartbeat), Ok(Ok(())));
    world.env.advance(10_000);
    assert_eq!(world.groups.heartbeat(&heartbeat), Ok(Err(MembershipError::UnknownMemberId)));
}

#[test]
fn a_commit_is_answered_and_read_when_durable() {
    let world = World::new();
    let mut committing = pin!(world.commit(5));
    world.env.run();
    assert!(is_pending(committing.as_mut()));
    assert_eq!(world.committed(), None);
    world.flush();
    assert_eq!(world.env.block_on(committing), Ok(Ok(vec![Ok(())])));
    assert_eq!(world.committed(), Some(Offset(5)));
}

#[test]
fn whoever_reads_after_a_commit_can_wait_for_it() {
    let world = World::new();
    world.env.block_on(world.groups.settled("simple")).unwrap();
    drop(world.commit(5));
    let mut settled = pin!(world.groups.settled("simple"));
    world.env.block_on(world.groups.settled("another")).unwrap();
    assert!(is_pending(settled.as_mut()));
    world.flush();
    assert_eq!(world.env.block_on(settled), Ok(()));

    *world.log.refuses.lock() = Some(Refusal::Unavailable);
    drop(world.commit(6));
    assert_eq!(world.env.block_on(world.groups.settled("simple")), Ok(()));
    assert_eq!(world.committed(), Some(Offset(5)));
}

#[test]
fn commits_that_wait_together_are_appended_together_and_in_order() {
    let world = World::new();
    let commits: Vec<_> = (1..=3).map(|offset| world.commit(offset)).collect();
    assert_eq!(world.flush().len(), 3);
    for commit in commits {
        assert_eq!(world.env.block_on(commit), Ok(Ok(vec![Ok(())])));
    }
    assert_eq!(world.committed(), Some(Offset(3)));
}

#[test]
fn a_full_disk_is_an_error_that_passes() {
    let world = World::new();
    *world.log.refuses.lock() = Some(Refusal::Unavailable);
    let refused = world.env.block_on(world.commit(5));
    assert_eq!(refused, Ok(Err(CommitError::CoordinatorNotAvailable)));
    assert!(world.groups.is_empty());

    *world.log.refuses.lock() = None;
    let committing = world.commit(6);
    world.flush();
    assert_eq!(world.env.block_on(committing), Ok(Ok(vec![Ok(())])));
}

#[test]
fn a_refusal_is_told_after_what_came_before_it() {
    let world = World::new();
    let first = world.commit(5);
    world.env.run();
    *world.log.refuses.lock() = Some(Refusal::Unavailable);
    let mut refused = pin!(world.commit(6));
    world.env.run();
    assert!(is_pending(refused.as_mut()), "the first is not durable yet");
    world.flush();
    assert_eq!(world.env.block_on(first), Ok(Ok(vec![Ok(())])));
    assert_eq!(world.env.block_on(refused), Ok(Err(CommitError::CoordinatorNotAvailable)));
    assert_eq!(world.committed(), Some(Offset(5)));
}

#[test]
fn who_tells_of_a_deleted_topic_hears_whether_that_is_durable() {
    let world = World::new();
    let committing = world.commit(5);
    world.flush();
    assert_eq!(world.env.block_on(committing), Ok(Ok(vec![Ok(())])));

    *world.log.refuses.lock() = Some(Refusal::Unavailable);
    assert!(!world.env.block_on(world.groups.topic_deleted(partition().topic)));
    assert_eq!(world.committed(), Some(Offset(5)));

    *world.log.refuses.lock() = None;
    let mut telling = pin!(world.groups.topic_deleted(partition().topic));
    assert!(is_pending(telling.as_mut()));
    world.flush();
    assert!(world.env.block_on(telling));
    assert_eq!(world.committed(), None);
}

#[test]
fn records_that_no_append_takes_are_refused_alone() {
    let world = World::new();
    let commit = |offsets: i32, metadata: &str| {
        let commit = |number| OffsetCommit {
            partition: TopicPartition::new(TopicId([1; 16]), PartitionId(number)),
            offset: Offset(5),
            leader_epoch: None,
            metadata: metadata.into(),
        };
        world.groups.commit(CommitRequest {
            group: "simple".into(),
            member: MemberId::unknown(),
            instance: None,
            generation: -1,
            retention_ms: None,
            offsets: (0..offsets).map(commit).collect(),
        })
    };
    let first = commit(1, "");
    let large = commit(2_000, &"x".repeat(4096));
    let last = commit(1, "");
    world.flush();
    // Each is told in its turn, and so the last comes to the log by itself.
    world.flush();
    assert_eq!(world.env.block_on(first), Ok(Ok(vec![Ok(())])));
    assert_eq!(world.env.block_on(large), Ok(Err(CommitError::TooLarge)));
    assert_eq!(world.env.block_on(last), Ok(Ok(vec![Ok(())])));
}

#[test]
fn the_next_incarnation_begins_where_the_log_ends() {
    let world = World::new();
    let joined = world.stable();
    drop(world.commit(5));
    world.flush();
    drop(world.commit(6));
    world.env.run();

    let next = World::recovered(&world.groups.snapshot());
    assert_eq!(next.committed(), Some(Offset(5)), "6 was written and not durable");
    let group = next.groups.describe("g").unwrap().unwrap();
    assert_eq!(group.state, GroupState::Stable);
    assert_eq!(group.members.first().unwrap().member, joined.member);
}

#[test]
fn who_waits_when_the_incarnation_ends_is_told_so() {
    let world = World::new();
    let joining = world.join(&MemberId::unknown());
    let committing = world.commit(5);
    world.env.run();
    world.log.over.send(true).unwrap();
    world.env.run();
    assert_eq!(world.env.block_on(joining), Err(Ended));
    assert_eq!(world.env.block_on(committing), Err(Ended));
    assert_eq!(world.env.block_on(world.commit(6)), Err(Ended));
    assert_eq!(world.groups.list(), Err(Ended));
}

#[test]
fn what_becomes_durable_at_the_very_end_is_in_the_last_snapshot() {
    let world = World::new();
    drop(world.commit(5));
    world.env.run();
    world.log.over.send(true).unwrap();
    world.env.run();
    world.flush();
    let next = World::recovered(&world.groups.snapshot());
    assert_eq!(next.committed(), Some(Offset(5)));
}

#[test]
fn offsets_expire_by_a_clock_that_does_not_jump() {
    let week_ms = 7 * 24 * 3_600_000;
    let world = World::new();
    drop(world.commit(5));
    world.flush();
    world.env.set_wall(world.env.wall().plus_ms(10 * week_ms));
    world.env.advance(600_000);
    world.flush();
    assert_eq!(world.committed(), Some(Offset(5)), "the wall clock jumped");
    for _ in 0..7 * 24 * 6 {
        world.env.advance(600_000);
    }
    world.flush();
    assert!(world.groups.is_empty());
}

#[test]
fn a_recovery_does_not_believe_a_clock_that_jumped_before_it() {
    let week_ms = 7 * 24 * 3_600_000;
    let before = World::new();
    drop(before.commit(5));
    before.flush();
    let started = now(&before.env);
    before.env.set_wall(before.env.wall().plus_ms(10 * week_ms));
    let after = World::recovered_in(before.env.clone(), started, &before.groups.snapshot());
    after.env.advance(600_000);
    after.flush();
    assert_eq!(after.committed(), Some(Offset(5)));
}

#[test]
fn a_rotten_record_keeps_groups_from_starting() {
    let env = TestEnv::new(1);
    let groups = GroupCoordinator::new(Arc::new(env.clone()), now(&env));
    groups.apply(&[1, 99]);
    let log: Arc<dyn GroupLog> = World::new().log;
    assert_eq!(groups.start(&BrokerConfig::default(), &log), Err(RecordError::Kind(99)));
}
