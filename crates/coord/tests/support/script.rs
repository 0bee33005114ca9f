//! Reads commands, and writes down what they lead to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use millrace_coord::groups::{
    CommitRequest, CommittedOffset, DeleteOffsetsRequest, DeleteTopicOffsets, DurableGroups,
    Effects, Event, GroupRecord, Groups, GroupsConfig, HeartbeatRequest, InstanceId, JoinRequest,
    LeavingMember, MemberId, Now, OffsetCommit, Persist, Protocol, Refusal, Reply, SyncRequest,
    Token,
};
use millrace_types::{LeaderEpoch, Offset, Timestamp, TopicName};
use uuid::Uuid;

use super::{partition, subscription, topic_id, topic_name};

/// Groups, a log for them, and a clock that commands move.
pub(crate) struct Session {
    config: GroupsConfig,
    groups: Groups,
    now: u64,
    /// The log: durable records, in bytes.
    log: Vec<Vec<u8>>,
    in_flight: VecDeque<Persist>,
    waiting: BTreeMap<Token, String>,
    tokens: u64,
    /// How many ids each client was given.
    uuids: BTreeMap<String, u128>,
    output: String,
}

impl Default for Session {
    fn default() -> Self {
        let config = GroupsConfig::default();
        let now = Now { monotonic_ms: 0, wall: Timestamp(0) };
        let (groups, _) = Groups::start(config.clone(), DurableGroups::default(), now);
        Self {
            config,
            groups,
            now: 0,
            log: Vec::new(),
            in_flight: VecDeque::new(),
            waiting: BTreeMap::new(),
            tokens: 0,
            uuids: BTreeMap::new(),
            output: String::new(),
        }
    }
}

/// The words of a command: `key=value` ones apart from the others.
struct Words<'a> {
    plain: Vec<&'a str>,
    named: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn parse(line: &'a str) -> Self {
        let is_named = |word: &&str| word.contains('=') && !word.contains('/');
        let plain = line.split_whitespace().filter(|word| !is_named(word)).collect();
        let named = line.split_whitespace().filter(is_named);
        Self { plain, named: named.map(|word| word.split_once('=').unwrap()).collect() }
    }

    fn group(&self) -> &'a str {
        self.plain.get(1).copied().unwrap_or("").trim_matches('"')
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.named.get(key).copied()
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.text(key).map(|value| value.parse().unwrap())
    }

    fn int(&self, key: &str, otherwise: i32) -> i32 {
        self.number(key).map_or(otherwise, |value| i32::try_from(value).unwrap())
    }

    fn member(&self) -> MemberId {
        member(self.text("member").unwrap_or(""))
    }

    fn instance(&self) -> Option<InstanceId> {
        self.text("instance").map(Into::into)
    }
}

/// `a-1` is the member whose id ends in the UUID 1.
fn member(text: &str) -> MemberId {
    match text.rsplit_once('-') {
        Some((name, number)) => {
            format!("{name}-{}", Uuid::from_u128(number.parse().unwrap())).into()
        }
        None => text.into(),
    }
}

/// The reverse of [`member`], in any text.
fn shorten(text: &str) -> String {
    let zeros = "-00000000-0000-0000-0000-";
    let mut parts = text.split(zeros);
    let mut short = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (hex, rest) = part.split_at(12);
        let number = u64::from_str_radix(hex, 16).unwrap();
        short.push_str(&format!("-{number}{rest}"));
    }
    short
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(" ")
}

impl Session {
    fn now(&self) -> Now {
        let wall = Timestamp(i64::try_from(self.now).unwrap());
        Now { monotonic_ms: self.now, wall }
    }

    /// Runs one command and tells what came of it.
    pub(crate) fn run(&mut self, line: &str) -> String {
        let words = Words::parse(line);
        match words.plain[0] {
            "config" => self.configure(&words),
            "join" => self.join(&words),
            "sync" => self.sync(&words),
            "heartbeat" => self.heartbeat(&words),
            "leave" => self.leave(&words),
            "commit" => self.commit(&words),
            "fetch" => self.fetch(&words),
            "delete-offsets" => self.delete_offsets(&words),
            "delete" => self.delete(&words),
            "topic-deleted" => {
                let effects = self.groups.topic_deleted(topic_id(words.plain[1]));
                self.carry_out(effects);
            }
            "expire" => {
                let name = |id| TopicName::new(&topic_name(id)).ok();
                let mut after = None;
                loop {
                    let (effects, last) = self.groups.expire(self.now(), after.as_ref(), 1, name);
                    self.carry_out(effects);
                    after = last;
                    if after.is_none() {
                        break;
                    }
                }
            }
            "list" => self.list(),
            "describe" => self.describe(&words),
            "advance" => self.advance(words.plain[1].parse().unwrap()),
            "durable" => self.durable(words.plain.get(1).map(|count| count.parse().unwrap())),
            "refused" => self.refused(),
            "crash" => self.crash(words.plain.get(1) == Some(&"checkpoint")),
            other => panic!("no such command: {other}"),
        }
        shorten(&std::mem::take(&mut self.output))
    }

    /// What waits for members or for the log may; nothing else may.
    pub(crate) fn check_all_answered(&mut self) {
        self.in_flight.clear();
        self.advance(24 * 3_600_000);
        while !self.in_flight.is_empty() {
            self.durable(None);
            self.advance(24 * 3_600_000);
        }
        self.waiting.retain(|_, what| what == "join" || what == "sync");
        assert!(self.waiting.values().all(|what| what != "join"), "joins wait for ever");
    }

    fn say(&mut self, text: impl AsRef<str>) {
        self.output.push_str(text.as_ref());
        self.output.push('\n');
    }

    fn token(&mut self, what: &str) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.waiting.insert(token, what.to_owned());
        token
    }

    fn carry_out(&mut self, effects: Effects) {
        for event in &effects.events {
            let text = event_text(event);
            self.say(format!("* {text}"));
        }
        for (token, reply) in effects.replies {
            self.waiting.remove(&token).expect("each request has one reply");
            self.say(format!("#{} {}", token.0, reply_text(&reply)));
        }
        for persist in effects.persist {
            for record in persist.records() {
                self.say(format!("persist {}", record_text(record)));
            }
            self.in_flight.push_back(persist);
        }
    }

    fn configure(&mut self, words: &Words<'_>) {
        for (key, value) in &words.named {
            let number: i64 = value.parse().unwrap();
            let size = usize::try_from(number).unwrap();
            match *key {
                "initial-delay" => {
                    self.config.initial_rebalance_delay_ms = u32::try_from(number).unwrap();
                }
                "size-max" => self.config.group_size_max = size,
                "retention" => self.config.offsets_retention_ms = number,
                "metadata-max" => self.config.offset_metadata_max = size,
                "groups-max" => self.config.groups_max = size,
                "pending-max" => self.config.pending_members_max = size,
                other => panic!("no such setting: {other}"),
            }
        }
        self.groups.set_config(self.config.clone());
    }

    fn join(&mut self, words: &Words<'_>) {
        let client = words.text("client").unwrap_or("c");
        let uuid =
            self.uuids.entry(words.text("instance").unwrap_or(client).to_owned()).or_default();
        if words.text("member").is_none() {
            *uuid += 1;
        }
        let member_uuid = Uuid::from_u128(*uuid);
        let protocols = words.text("protocols").unwrap_or("range:orders");
        let protocol = |text: &str| {
            let (name, topics) = text.split_once(':').unwrap_or((text, ""));
            Protocol { name: name.into(), metadata: subscription(topics.split('+')) }
        };
        let session_timeout_ms = words.int("session", 10_000);
        let request = JoinRequest {
            group: words.group().into(),
            member: words.member(),
            instance: words.instance(),
            client_id: client.into(),
            client_host: "/127.0.0.1".into(),
            protocol_type: words.text("type").unwrap_or("consumer").into(),
            protocols: protocols.split(',').filter(|text| !text.is_empty()).map(protocol).collect(),
            session_timeout_ms,
            rebalance_timeout_ms: words.int("rebalance", 60_000),
            require_known_member_id: words.plain.contains(&"id-required"),
            supports_skipping_assignment: words.plain.contains(&"can-skip"),
            member_uuid,
            reason: words.text("reason").map(Into::into),
        };
        let token = self.token("join");
        let effects = self.groups.join(&request, token, self.now());
        self.carry_out(effects);
        if self.waiting.contains_key(&token) {
            self.say(format!("#{} waits", token.0));
        }
    }

    fn sync(&mut self, words: &Words<'_>) {
        let assignment = |text: &str| {
            let (id, assignment) = text.split_once(':').unwrap();
            (member(id), assignment.to_owned().into())
        };
        let assignments = words.text("assign").unwrap_or("").split(',');
        let request = SyncRequest {
            group: words.group().into(),
            member: words.member(),
            instance: words.instance(),
            generation: words.int("gen", -1),
            protocol_type: words.text("type").map(Into::into),
            protocol_name: words.text("protocol").map(Into::into),
            assignments: assignments.filter(|text| !text.is_empty()).map(assignment).collect(),
        };
        let token = self.token("sync");
        let effects = self.groups.sync(&request, token, self.now());
        self.carry_out(effects);
        if self.waiting.contains_key(&token) {
            self.say(format!("#{} waits", token.0));
        }
    }

    fn heartbeat(&mut self, words: &Words<'_>) {
        let request = HeartbeatRequest {
            group: words.group().into(),
            member: words.member(),
            instance: words.instance(),
            generation: words.int("gen", -1),
        };
        let result = self.groups.heartbeat(&request, self.now());
        self.say(match result {
            Ok(()) => "ok".to_owned(),
            Err(error) => format!("{error:?}"),
        });
    }

    /// `leave g a-1 b-2 instance:x b-2@x`
    fn leave(&mut self, words: &Words<'_>) {
        let leaving = |text: &&str| {
            let (id, instance) = match (text.strip_prefix("instance:"), text.split_once('@')) {
                (Some(instance), _) => ("", Some(instance)),
                (None, Some((id, instance))) => (id, Some(instance)),
                (None, None) => (*text, None),
            };
            LeavingMember { member: member(id), instance: instance.map(Into::into), reason: None }
        };
        let members: Vec<_> = words.plain.iter().skip(2).map(leaving).collect();
        let (results, effects) = self.groups.leave(&words.group().into(), &members, self.now());
        self.say(match results {
            Ok(results) => format!("left: {}", list(results.iter().map(result_text))),
            Err(error) => format!("{error:?}"),
        });
        self.carry_out(effects);
    }

    /// `commit g orders/0=5 orders/1=7@text member=a-1 gen=1`
    fn commit(&mut self, words: &Words<'_>) {
        let commit = |text: &&str| {
            let (place, value) = text.split_once('=').unwrap();
            let (offset, metadata) = value.split_once('@').unwrap_or((value, ""));
            OffsetCommit {
                partition: partition(place),
                offset: Offset(offset.parse().unwrap()),
                leader_epoch: Some(LeaderEpoch(0)),
                metadata: metadata.into(),
            }
        };
        let request = CommitRequest {
            group: words.group().into(),
            member: words.member(),
            instance: words.instance(),
            generation: words.int("gen", -1),
            retention_ms: words.number("retention"),
            offsets: words.plain.iter().skip(2).map(commit).collect(),
        };
        let token = self.token("commit");
        let effects = self.groups.commit(request, token, self.now());
        self.carry_out(effects);
        if self.waiting.contains_key(&token) {
            self.say(format!("#{} waits", token.0));
        }
    }

    fn fetch(&mut self, words: &Words<'_>) {
        let group = words.group();
        let mut lines = Vec::new();
        if words.plain.len() > 2 {
            for place in &words.plain[2..] {
                let committed = self.groups.committed(group, partition(place));
                lines.push(committed.map_or(format!("{place} none"), |c| committed_text(place, c)));
            }
        } else {
            for (partition, committed) in self.groups.all_committed(group) {
                let place = format!("{}/{}", topic_name(partition.topic), partition.partition);
                lines.push(committed_text(&place, committed));
            }
        }
        self.say(if lines.is_empty() { "none".to_owned() } else { lines.join("\n") });
    }

    fn delete_offsets(&mut self, words: &Words<'_>) {
        let places: BTreeSet<_> = words.plain.iter().skip(2).map(|text| partition(text)).collect();
        let names: BTreeSet<_> = places.iter().map(|place| place.topic).collect();
        let topics = names.into_iter().map(|topic| DeleteTopicOffsets {
            topic,
            name: topic_name(topic).into(),
            partitions: places.iter().filter(|p| p.topic == topic).map(|p| p.partition).collect(),
        });
        let request =
            DeleteOffsetsRequest { group: words.group().into(), topics: topics.collect() };
        let token = self.token("delete-offsets");
        let effects = self.groups.delete_offsets(&request, token, self.now());
        self.carry_out(effects);
        if self.waiting.contains_key(&token) {
            self.say(format!("#{} waits", token.0));
        }
    }

    fn delete(&mut self, words: &Words<'_>) {
        let groups: Vec<_> = words.plain.iter().skip(1).map(|name| (*name).into()).collect();
        let token = self.token("delete");
        let effects = self.groups.delete_groups(&groups, token, self.now());
        self.carry_out(effects);
        if self.waiting.contains_key(&token) {
            self.say(format!("#{} waits", token.0));
        }
    }

    fn list(&mut self) {
        let text = |listed: millrace_coord::groups::ListedGroup| {
            let protocol_type = listed.protocol_type.as_deref().unwrap_or("-").to_owned();
            format!("{} {protocol_type} {}", listed.group, listed.state)
        };
        let lines: Vec<_> = self.groups.list().map(text).collect();
        self.say(if lines.is_empty() { "none".to_owned() } else { lines.join("\n") });
    }

    fn describe(&mut self, words: &Words<'_>) {
        let Some(group) = self.groups.describe(words.group()) else { return self.say("Dead") };
        self.say(format!(
            "{} gen={} type={} protocol={}",
            group.state,
            group.generation,
            group.protocol_type.as_deref().unwrap_or("-"),
            group.protocol_name.as_deref().unwrap_or("-"),
        ));
        for member in group.members {
            let instance = member.instance.map(|id| format!(" instance={id}")).unwrap_or_default();
            let assignment = String::from_utf8_lossy(&member.assignment).into_owned();
            self.say(format!("  {}{instance} assignment={assignment}", member.member));
        }
    }

    /// Lets time pass, ticking whenever something may be due.
    fn advance(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(deadline) = self.groups.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(deadline);
            let effects = self.groups.tick(self.now());
            if !effects.is_empty() {
                self.say(format!("at {}:", self.now));
            }
            self.carry_out(effects);
        }
        self.now = end;
    }

    fn durable(&mut self, count: Option<usize>) {
        for _ in 0..count.unwrap_or(self.in_flight.len()) {
            let Some(persist) = self.in_flight.pop_front() else {
                return self.say("nothing was given out");
            };
            self.log.extend(persist.records().iter().map(GroupRecord::encode));
            let effects = self.groups.durable(persist, self.now());
            self.carry_out(effects);
        }
    }

    fn refused(&mut self) {
        let Some(persist) = self.in_flight.pop_front() else {
            return self.say("nothing was given out");
        };
        let effects = self.groups.refused(persist, Refusal::Unavailable, self.now());
        self.carry_out(effects);
    }

    fn crash(&mut self, with_checkpoint: bool) {
        self.in_flight.clear();
        self.waiting.clear();
        if with_checkpoint {
            let snapshot = self.groups.durable_groups().snapshot();
            self.log = snapshot.map(|record| record.encode()).collect();
        }
        let mut durable = DurableGroups::default();
        for record in &self.log {
            durable.apply(GroupRecord::decode(record).unwrap());
        }
        let (groups, effects) = Groups::start(self.config.clone(), durable, self.now());
        self.groups = groups;
        self.carry_out(effects);
    }
}

fn result_text<E: std::fmt::Debug>(result: &Result<(), E>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

fn committed_text(place: &str, committed: &CommittedOffset) -> String {
    let metadata = if committed.metadata.is_empty() {
        String::new()
    } else {
        format!("@{}", committed.metadata)
    };
    format!("{place}={}{metadata}", committed.offset)
}

fn reply_text(reply: &Reply) -> String {
    match reply {
        Reply::Join(Ok(joined)) => {
            let member = |member: &millrace_coord::groups::JoinedMember| member.member.to_string();
            let members = list(joined.members.iter().map(member));
            format!(
                "joined {} gen={} protocol={} leader={}{}{}",
                joined.member,
                joined.generation,
                joined.protocol_name.as_deref().unwrap_or("-"),
                joined.leader.as_ref().map_or("-", MemberId::as_str),
                if joined.skip_assignment { " skip-assignment" } else { "" },
                if members.is_empty() { String::new() } else { format!(" members=[{members}]") },
            )
        }
        Reply::Join(Err(refused)) => {
            let member = refused.member.as_str();
            let named = if member.is_empty() { "" } else { " member=" };
            format!("{:?}{named}{member}", refused.error)
        }
        Reply::Sync(Ok(synced)) => {
            format!("synced assignment={}", String::from_utf8_lossy(&synced.assignment))
        }
        Reply::Sync(Err(error)) => format!("{error:?}"),
        Reply::Commit(Ok(results)) => {
            format!("committed: {}", list(results.iter().map(result_text)))
        }
        Reply::Commit(Err(error)) => format!("{error:?}"),
        Reply::DeleteOffsets(Ok(results)) => {
            format!("deleted: {}", list(results.iter().map(result_text)))
        }
        Reply::DeleteOffsets(Err(error)) => format!("{error:?}"),
        Reply::DeleteGroups(results) => {
            format!("deleted: {}", list(results.iter().map(result_text)))
        }
    }
}

fn record_text(record: &GroupRecord) -> String {
    let place = |partition: &millrace_types::TopicPartition| {
        format!("{}/{}", topic_name(partition.topic), partition.partition)
    };
    match record {
        GroupRecord::Group { group, metadata } => {
            let member = |member: &millrace_coord::groups::MemberMetadata| {
                format!("{}:{}", member.member, String::from_utf8_lossy(&member.assignment))
            };
            format!(
                "group {group} gen={} protocol={} leader={} members=[{}]",
                metadata.generation,
                metadata.protocol_name.as_deref().unwrap_or("-"),
                metadata.leader.as_ref().map_or("-", MemberId::as_str),
                list(metadata.members.iter().map(member)),
            )
        }
        GroupRecord::GroupDeleted { group } => format!("group {group} deleted"),
        GroupRecord::OffsetsCommitted { group, offsets } => {
            let offset = |(p, c): &(_, CommittedOffset)| committed_text(&place(p), c);
            format!("offsets {group} {}", list(offsets.iter().map(offset)))
        }
        GroupRecord::OffsetsDeleted { group, partitions } => {
            format!("offsets {group} deleted {}", list(partitions.iter().map(place)))
        }
        GroupRecord::TopicDeleted { topic } => format!("topic {} deleted", topic_name(*topic)),
    }
}

fn event_text(event: &Event) -> String {
    match event {
        Event::RebalanceStarted { group, generation, reason } => {
            format!("{group} rebalances after generation {generation}: {reason}")
        }
        Event::GenerationStarted { group, generation, members } => {
            format!("{group} begins generation {generation} with {members} members")
        }
        Event::RebalanceCompleted { group, generation } => {
            format!("{group} is stable in generation {generation}")
        }
        Event::MemberFailed { group, member } => format!("{group} loses {member}"),
        Event::Emptied { group, generation } => {
            format!("{group} is empty in generation {generation}")
        }
        Event::OffsetsExpired { group, offsets } => format!("{group}: {offsets} offsets expire"),
        Event::Removed { group } => format!("{group} is no more"),
    }
}
