//! Records to bytes and back.

use std::collections::BTreeSet;

use bytes::Bytes;
use millrace_types::{LeaderEpoch, Offset, PartitionId, Timestamp, TopicId, TopicPartition};

use super::{
    CommittedOffset, GroupMetadata, GroupRecord, MemberMetadata, RecordError,
    wire::{Reader, Writer},
};

const VERSION: u8 = 1;

const GROUP: u8 = 1;
const GROUP_DELETED: u8 = 2;
const OFFSETS_COMMITTED: u8 = 3;
const OFFSETS_DELETED: u8 = 4;
const TOPIC_DELETED: u8 = 5;

/// Fewest bytes of a member: eight fields, none shorter than one byte.
const MEMBER_MIN: usize = 8;
/// Fewest bytes of a topic: its id and the count of its partitions.
const TOPIC_MIN: usize = 17;
/// Fewest bytes of a committed partition: six fields.
const COMMIT_MIN: usize = 6;

pub(super) fn encode(record: &GroupRecord) -> Vec<u8> {
    let mut to = Writer::default();
    to.byte(VERSION);
    match record {
        GroupRecord::Group { group, metadata } => {
            to.byte(GROUP);
            to.text(group.as_str());
            write_group(&mut to, metadata);
        }
        GroupRecord::GroupDeleted { group } => {
            to.byte(GROUP_DELETED);
            to.text(group.as_str());
        }
        GroupRecord::OffsetsCommitted { group, offsets } => {
            to.byte(OFFSETS_COMMITTED);
            to.text(group.as_str());
            let of = |(partition, _): &(TopicPartition, CommittedOffset)| *partition;
            write_topics(&mut to, offsets, of, |to, (partition, committed)| {
                to.int(partition.partition.get().into());
                to.int(committed.offset.get());
                to.optional(committed.leader_epoch, |to, epoch| to.int(epoch.get().into()));
                to.text(&committed.metadata);
                to.int(committed.commit_time.get());
                to.optional(committed.expire_time, |to, time| to.int(time.get()));
            });
        }
        GroupRecord::OffsetsDeleted { group, partitions } => {
            to.byte(OFFSETS_DELETED);
            to.text(group.as_str());
            write_topics(
                &mut to,
                partitions,
                |partition| *partition,
                |to, partition| to.int(partition.partition.get().into()),
            );
        }
        GroupRecord::TopicDeleted { topic } => {
            to.byte(TOPIC_DELETED);
            to.raw(&topic.0);
        }
    }
    to.finish()
}

fn write_group(to: &mut Writer, metadata: &GroupMetadata) {
    to.int(metadata.generation.into());
    to.optional(metadata.protocol_type.as_deref(), Writer::text);
    to.optional(metadata.protocol_name.as_deref(), Writer::text);
    to.optional(metadata.leader.as_ref(), |to, leader| to.text(leader.as_str()));
    to.optional(metadata.state_since, |to, time| to.int(time.get()));
    to.count(metadata.members.len());
    for member in &metadata.members {
        to.text(member.member.as_str());
        to.optional(member.instance.as_ref(), |to, instance| to.text(instance.as_str()));
        to.text(&member.client_id);
        to.text(&member.client_host);
        to.int(member.rebalance_timeout_ms.into());
        to.int(member.session_timeout_ms.into());
        to.bytes(&member.subscription);
        to.bytes(&member.assignment);
    }
}

/// Writes runs of items of one topic under that topic's id.
fn write_topics<T>(
    to: &mut Writer,
    items: &[T],
    partition_of: impl Fn(&T) -> TopicPartition,
    write: impl Fn(&mut Writer, &T),
) {
    let runs = || items.chunk_by(|a, b| partition_of(a).topic == partition_of(b).topic);
    to.count(runs().count());
    for run in runs() {
        let topic = run.first().map(|item| partition_of(item).topic).unwrap_or_default();
        to.raw(&topic.0);
        to.count(run.len());
        for item in run {
            write(to, item);
        }
    }
}

pub(super) fn decode(bytes: &[u8]) -> Result<GroupRecord, RecordError> {
    let mut from = Reader::new(bytes);
    let version = from.byte()?;
    if version != VERSION {
        return Err(RecordError::Version(version));
    }
    let record = match from.byte()? {
        GROUP => {
            GroupRecord::Group { group: from.text()?.into(), metadata: read_group(&mut from)? }
        }
        GROUP_DELETED => GroupRecord::GroupDeleted { group: from.text()?.into() },
        OFFSETS_COMMITTED => GroupRecord::OffsetsCommitted {
            group: from.text()?.into(),
            offsets: read_topics(&mut from, COMMIT_MIN, read_commit)?,
        },
        OFFSETS_DELETED => GroupRecord::OffsetsDeleted {
            group: from.text()?.into(),
            partitions: read_topics(&mut from, 1, read_partition)?,
        },
        TOPIC_DELETED => GroupRecord::TopicDeleted { topic: TopicId(from.array()?) },
        kind => return Err(RecordError::Kind(kind)),
    };
    from.finish()?;
    Ok(record)
}

fn read_group(from: &mut Reader<'_>) -> Result<GroupMetadata, RecordError> {
    let metadata = GroupMetadata {
        generation: from.int32("generation")?,
        protocol_type: from.optional(|from| from.text().map(Into::into))?,
        protocol_name: from.optional(|from| from.text().map(Into::into))?,
        leader: from.optional(|from| from.text().map(Into::into))?,
        state_since: from.optional(|from| from.int().map(Timestamp))?,
        members: from.list(MEMBER_MIN, read_member)?,
    };
    check_group(&metadata)?;
    Ok(metadata)
}

fn read_member(from: &mut Reader<'_>) -> Result<MemberMetadata, RecordError> {
    Ok(MemberMetadata {
        member: from.text()?.into(),
        instance: from.optional(|from| from.text().map(Into::into))?,
        client_id: from.text()?.into(),
        client_host: from.text()?.into(),
        rebalance_timeout_ms: from.int32("rebalance timeout")?,
        session_timeout_ms: from.int32("session timeout")?,
        subscription: Bytes::copy_from_slice(from.bytes()?),
        assignment: Bytes::copy_from_slice(from.bytes()?),
    })
}

/// Refuses what no group can be, so that nothing behind this has to ask again.
fn check_group(metadata: &GroupMetadata) -> Result<(), RecordError> {
    let mut members = BTreeSet::new();
    let mut instances = BTreeSet::new();
    for member in &metadata.members {
        let new_instance = member.instance.as_ref().is_none_or(|id| instances.insert(id));
        if !members.insert(&member.member) || !new_instance {
            return Err(RecordError::Invalid("list of members"));
        }
    }
    if metadata.generation < 0 {
        return Err(RecordError::Invalid("generation"));
    }
    if metadata.members.is_empty() {
        return Ok(());
    }
    if metadata.protocol_type.is_none() || metadata.protocol_name.is_none() {
        return Err(RecordError::Invalid("protocol"));
    }
    match &metadata.leader {
        Some(leader) if members.contains(leader) => Ok(()),
        _ => Err(RecordError::Invalid("leader")),
    }
}

fn read_topics<T>(
    from: &mut Reader<'_>,
    item_min: usize,
    read: impl Fn(&mut Reader<'_>, TopicId) -> Result<T, RecordError>,
) -> Result<Vec<T>, RecordError> {
    let topics = from.list(TOPIC_MIN, |from| {
        let topic = TopicId(from.array()?);
        from.list(item_min, |from| read(from, topic))
    })?;
    Ok(topics.into_iter().flatten().collect())
}

fn read_partition(from: &mut Reader<'_>, topic: TopicId) -> Result<TopicPartition, RecordError> {
    let partition = from.int32("partition")?;
    if partition < 0 {
        return Err(RecordError::Invalid("partition"));
    }
    Ok(TopicPartition::new(topic, PartitionId(partition)))
}

fn read_commit(
    from: &mut Reader<'_>,
    topic: TopicId,
) -> Result<(TopicPartition, CommittedOffset), RecordError> {
    let partition = read_partition(from, topic)?;
    let committed = CommittedOffset {
        offset: Offset(from.int()?),
        leader_epoch: from.optional(|from| from.int32("leader epoch").map(LeaderEpoch))?,
        metadata: from.text()?.into(),
        commit_time: Timestamp(from.int()?),
        expire_time: from.optional(|from| from.int().map(Timestamp))?,
    };
    Ok((partition, committed))
}

#[cfg(test)]
mod tests;
