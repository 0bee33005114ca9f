//! What holds of groups whatever anybody does, in whatever order.
//!
//! Random members, administrators, clocks, full disks and crashes drive the
//! coordinator; after each step the invariants below are looked at.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use millrace_coord::groups::{
    CommitRequest, DeleteOffsetsRequest, DeleteTopicOffsets, DurableGroups, Effects, Event,
    GroupId, GroupRecord, GroupState, Groups, GroupsConfig, HeartbeatRequest, InstanceId,
    JoinRequest, LeavingMember, MemberId, Now, OffsetCommit, Persist, Protocol, Refusal, Reply,
    SyncRequest, Token,
};
use millrace_types::{Offset, Timestamp, TopicName};
use proptest::{collection::vec, option, prelude::*};
use support::{partition, subscription, topic_id, topic_name};
use uuid::Uuid;

/// What somebody does next. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    Join { group: u8, who: u8, anew: bool, protocols: u8, required: bool, can_skip: bool },
    Sync { group: u8, who: u8, stale: bool },
    Heartbeat { group: u8, who: u8 },
    Leave { group: u8, who: u8, by_instance: bool },
    Commit { group: u8, who: Option<u8>, partition: u8 },
    DeleteOffsets { group: u8, partition: u8 },
    DeleteGroup { group: u8 },
    TopicDeleted { topic: bool },
    Expire,
    Advance { ms: u32 },
    Durable { count: u8 },
    Refused,
    Crash { checkpoint: bool },
}

fn steps() -> impl Strategy<Value = Step> {
    let (group, who) = (0..2u8, 0..5u8);
    prop_oneof![
        8 => (group.clone(), who.clone(), prop::bool::weighted(0.3), 0..4u8, any::<bool>(), any::<bool>())
            .prop_map(|(group, who, anew, protocols, required, can_skip)| {
                Step::Join { group, who, anew, protocols, required, can_skip }
            }),
        8 => (group.clone(), who.clone(), prop::bool::weighted(0.1))
            .prop_map(|(group, who, stale)| Step::Sync { group, who, stale }),
        4 => (group.clone(), who.clone()).prop_map(|(group, who)| Step::Heartbeat { group, who }),
        2 => (group.clone(), who.clone(), any::<bool>())
            .prop_map(|(group, who, by_instance)| Step::Leave { group, who, by_instance }),
        4 => (group.clone(), option::of(who), 0..4u8)
            .prop_map(|(group, who, partition)| Step::Commit { group, who, partition }),
        1 => (group.clone(), 0..4u8)
            .prop_map(|(group, partition)| Step::DeleteOffsets { group, partition }),
        1 => group.prop_map(|group| Step::DeleteGroup { group }),
        1 => any::<bool>().prop_map(|topic| Step::TopicDeleted { topic }),
        1 => Just(Step::Expire),
        6 => (0..20_000u32).prop_map(|ms| Step::Advance { ms }),
        6 => (1..4u8).prop_map(|count| Step::Durable { count }),
        1 => Just(Step::Refused),
        1 => any::<bool>().prop_map(|checkpoint| Step::Crash { checkpoint }),
    ]
}

const GROUPS: [&str; 2] = ["g", "h"];
const PROTOCOLS: [&str; 4] = ["range", "range,sticky", "sticky,range", "sticky"];
/// The last two of five clients are static members.
const STATIC_FROM: u8 = 3;

struct World {
    config: GroupsConfig,
    groups: Groups,
    now: u64,
    log: Vec<GroupRecord>,
    in_flight: VecDeque<Persist>,
    tokens: u64,
    uuids: u128,
    /// Who asked, and as which member.
    waiting: BTreeMap<Token, (GroupId, u8, MemberId)>,
    /// The newest id and generation that each client was told, by group.
    told: BTreeMap<(u8, u8), (MemberId, i32)>,
    /// Who was told to assign, by group and generation.
    leaders: BTreeMap<(GroupId, i32), MemberId>,
    /// The newest generation of each life of a group.
    generations: BTreeMap<GroupId, i32>,
}

fn config() -> GroupsConfig {
    GroupsConfig {
        initial_rebalance_delay_ms: 1000,
        group_size_max: 4,
        offsets_retention_ms: 60_000,
        pending_members_max: 3,
        ..GroupsConfig::default()
    }
}

impl World {
    fn new() -> Self {
        let now = Now { monotonic_ms: 0, wall: Timestamp(0) };
        let (groups, _) = Groups::start(config(), DurableGroups::default(), now);
        Self {
            config: config(),
            groups,
            now: 0,
            log: Vec::new(),
            in_flight: VecDeque::new(),
            tokens: 0,
            uuids: 0,
            waiting: BTreeMap::new(),
            told: BTreeMap::new(),
            leaders: BTreeMap::new(),
            generations: BTreeMap::new(),
        }
    }

    fn now(&self) -> Now {
        Now { monotonic_ms: self.now, wall: Timestamp(i64::try_from(self.now).unwrap()) }
    }

    fn token(&mut self, index: u8, who: u8) -> Token {
        self.tokens += 1;
        let group = GROUPS[usize::from(index)].into();
        let (member, _) = self.told(index, who);
        self.waiting.insert(Token(self.tokens), (group, who, member));
        Token(self.tokens)
    }

    fn told(&self, group: u8, who: u8) -> (MemberId, i32) {
        self.told.get(&(group, who)).cloned().unwrap_or((MemberId::unknown(), -1))
    }

    fn step(&mut self, step: Step) {
        let now = self.now();
        let name = |group: u8| -> GroupId { GROUPS[usize::from(group)].into() };
        let instance = |who: u8| (who >= STATIC_FROM).then(|| InstanceId::from(format!("i{who}")));
        match step {
            Step::Join { group, who, anew, protocols, required, can_skip } => {
                self.uuids += 1;
                let protocol =
                    |name: &str| Protocol { name: name.into(), metadata: subscription(["orders"]) };
                let known = if anew { MemberId::unknown() } else { self.told(group, who).0 };
                let request = JoinRequest {
                    group: name(group),
                    member: known,
                    instance: instance(who),
                    client_id: format!("c{who}").into(),
                    client_host: "/127.0.0.1".into(),
                    protocol_type: "consumer".into(),
                    protocols: PROTOCOLS[usize::from(protocols)].split(',').map(protocol).collect(),
                    session_timeout_ms: 10_000,
                    rebalance_timeout_ms: 15_000,
                    require_known_member_id: required,
                    supports_skipping_assignment: can_skip,
                    member_uuid: Uuid::from_u128(self.uuids),
                    reason: None,
                };
                let token = self.token(group, who);
                let effects = self.groups.join(&request, token, now);
                self.carry_out(effects);
            }
            Step::Sync { group, who, stale } => {
                let (member, generation) = self.told(group, who);
                let everyone = self.groups.describe(GROUPS[usize::from(group)]);
                let assign = |member: &MemberId| (member.clone(), format!("{member}").into());
                let members = everyone.iter().flat_map(|group| &group.members);
                let request = SyncRequest {
                    group: name(group),
                    member,
                    instance: instance(who),
                    generation: generation - i32::from(stale),
                    protocol_type: Some("consumer".into()),
                    protocol_name: None,
                    assignments: members.map(|member| assign(&member.member)).collect(),
                };
                let token = self.token(group, who);
                let effects = self.groups.sync(&request, token, now);
                self.carry_out(effects);
            }
            Step::Heartbeat { group, who } => {
                let (member, generation) = self.told(group, who);
                let request = HeartbeatRequest {
                    group: name(group),
                    member,
                    instance: instance(who),
                    generation,
                };
                let _ = self.groups.heartbeat(&request, now);
            }
            Step::Leave { group, who, by_instance } => {
                let (told, _) = self.told(group, who);
                let member = if by_instance { MemberId::unknown() } else { told };
                let leaving = LeavingMember { member, instance: instance(who), reason: None };
                let (_, effects) = self.groups.leave(&name(group), &[leaving], now);
                self.carry_out(effects);
            }
            Step::Commit { group, who, partition: number } => {
                let (member, generation) =
                    who.map_or((MemberId::unknown(), -1), |who| self.told(group, who));
                let commit = OffsetCommit {
                    partition: place(number),
                    offset: Offset(i64::try_from(self.tokens).unwrap()),
                    leader_epoch: None,
                    metadata: "".into(),
                };
                let request = CommitRequest {
                    group: name(group),
                    member,
                    instance: who.and_then(instance),
                    generation,
                    retention_ms: None,
                    offsets: vec![commit],
                };
                let token = self.token(group, who.unwrap_or(0));
                let effects = self.groups.commit(request, token, now);
                self.carry_out(effects);
            }
            Step::DeleteOffsets { group, partition: number } => {
                let place = place(number);
                let topics = vec![DeleteTopicOffsets {
                    topic: place.topic,
                    name: topic_name(place.topic).into(),
                    partitions: vec![place.partition],
                }];
                let request = DeleteOffsetsRequest { group: name(group), topics };
                let token = self.token(group, 0);
                let effects = self.groups.delete_offsets(&request, token, now);
                self.carry_out(effects);
            }
            Step::DeleteGroup { group } => {
                let token = self.token(group, 0);
                let effects = self.groups.delete_groups(&[name(group)], token, now);
                self.carry_out(effects);
            }
            Step::TopicDeleted { topic } => {
                let topic = topic_id(if topic { "orders" } else { "clicks" });
                let effects = self.groups.topic_deleted(topic);
                self.carry_out(effects);
            }
            Step::Expire => {
                let name = |id| TopicName::new(&topic_name(id)).ok();
                let (effects, _) = self.groups.expire(now, None, 10, name);
                self.carry_out(effects);
            }
            Step::Advance { ms } => self.advance(ms.into()),
            Step::Durable { count } => {
                for _ in 0..count {
                    self.durable();
                }
            }
            Step::Refused => {
                if let Some(persist) = self.in_flight.pop_front() {
                    let effects = self.groups.refused(persist, Refusal::Unavailable, now);
                    self.carry_out(effects);
                }
            }
            Step::Crash { checkpoint } => self.crash(checkpoint),
        }
    }

    fn carry_out(&mut self, effects: Effects) {
        for event in &effects.events {
            match event {
                Event::Removed { group } => {
                    self.generations.remove(group);
                    self.leaders.retain(|(of, _), _| of != group);
                }
                Event::GenerationStarted { group, generation, members } => {
                    assert!(*members <= self.config.group_size_max);
                    self.generation_rises(group, *generation);
                }
                Event::Emptied { group, generation } => self.generation_rises(group, *generation),
                _ => {}
            }
        }
        for (token, reply) in effects.replies {
            let (group, who, member) =
                self.waiting.remove(&token).expect("a token is answered once");
            self.hear(&group, who, &member, &reply);
        }
        self.in_flight.extend(effects.persist);
    }

    fn generation_rises(&mut self, group: &GroupId, generation: i32) {
        let former = self.generations.insert(group.clone(), generation);
        assert!(former.is_none_or(|former| former < generation), "generations rise");
    }

    fn hear(&mut self, group: &GroupId, who: u8, member: &MemberId, reply: &Reply) {
        let number = u8::from(group.as_str() == GROUPS[1]);
        match reply {
            Reply::Join(Ok(joined)) => {
                if !joined.members.is_empty() {
                    assert!(
                        joined.members.iter().any(|member| member.member == joined.member),
                        "who assigns is a member"
                    );
                }
                if !joined.members.is_empty() && !joined.skip_assignment {
                    let of = (group.clone(), joined.generation);
                    let leader = self.leaders.entry(of).or_insert_with(|| joined.member.clone());
                    assert_eq!(leader, &joined.member, "one member assigns in a generation");
                }
                self.told.insert((number, who), (joined.member.clone(), joined.generation));
            }
            Reply::Join(Err(refused)) => {
                let generation = self.told(number, who).1;
                self.told.insert((number, who), (refused.member.clone(), generation));
            }
            Reply::Sync(Ok(synced)) => {
                let assignment = String::from_utf8_lossy(&synced.assignment).into_owned();
                // Static members take over what was assigned to their former id.
                assert!(
                    assignment.is_empty() || who >= STATIC_FROM || assignment == member.as_str(),
                    "{member} was given what is {assignment}'s"
                );
            }
            Reply::Sync(Err(_))
            | Reply::Commit(_)
            | Reply::DeleteOffsets(_)
            | Reply::DeleteGroups(_) => {}
        }
    }

    fn advance(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(deadline) = self.groups.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(deadline);
            let effects = self.groups.tick(self.now());
            self.carry_out(effects);
        }
        self.now = end;
    }

    fn durable(&mut self) {
        let Some(persist) = self.in_flight.pop_front() else { return };
        self.log.extend(persist.records().iter().cloned());
        let effects = self.groups.durable(persist, self.now());
        self.carry_out(effects);
    }

    fn crash(&mut self, checkpoint: bool) {
        self.in_flight.clear();
        self.waiting.clear();
        self.generations.clear();
        self.leaders.clear();
        if checkpoint {
            self.log = self.groups.durable_groups().snapshot().collect();
        }
        let mut durable = DurableGroups::default();
        for record in &self.log {
            durable.apply(GroupRecord::decode(&record.encode()).unwrap());
        }
        assert_eq!(&durable, self.groups.durable_groups(), "the log tells the durable state");
        let (groups, effects) = Groups::start(self.config.clone(), durable, self.now());
        self.groups = groups;
        self.carry_out(effects);
    }

    fn check(&self) {
        let restored = {
            let mut durable = DurableGroups::default();
            self.groups.durable_groups().snapshot().for_each(|record| durable.apply(record));
            durable
        };
        assert_eq!(&restored, self.groups.durable_groups(), "a snapshot restores the state");
        for listed in self.groups.list() {
            let group = self.groups.describe(listed.group.as_str()).unwrap();
            let instances: Vec<_> =
                group.members.iter().filter_map(|m| m.instance.as_ref()).collect();
            let distinct: BTreeSet<_> = instances.iter().collect();
            assert_eq!(distinct.len(), instances.len(), "an instance is one member");
            assert_eq!(group.state == GroupState::Stable, group.protocol_name.is_some());
            let is_empty = group.state == GroupState::Empty;
            assert!(!is_empty || group.members.is_empty(), "empty groups have no members");
        }
    }

    /// Everybody is silent from now on, and the disk works.
    fn end(&mut self) {
        for _ in 0..4 {
            self.advance(3_600_000);
            while !self.in_flight.is_empty() {
                self.durable();
            }
        }
        assert_eq!(self.waiting, BTreeMap::new(), "every request is answered");
        assert_eq!(self.groups.next_deadline(), None, "no timer is left behind");
        for listed in self.groups.list() {
            assert_eq!(listed.state, GroupState::Empty, "silent members are gone");
        }
        let (effects, _) = self.groups.expire(self.now(), None, 10, |_| None);
        self.carry_out(effects);
        while !self.in_flight.is_empty() {
            self.durable();
        }
        assert!(self.groups.is_empty(), "unused groups are gone");
        assert!(self.groups.durable_groups().is_empty(), "and so is what the log says of them");
    }
}

fn place(number: u8) -> millrace_types::TopicPartition {
    partition(["orders/0", "orders/1", "clicks/0", "clicks/1"][usize::from(number)])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn groups_keep_their_promises(steps in vec(steps(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            world.check();
        }
        world.end();
    }
}
