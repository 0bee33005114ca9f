//! `millrace group describe`.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use krafka::admin::{ConsumerGroupDescription, ListConsumerGroupOffsetsOptions};
use serde::Serialize;

use super::{described, next, no_group};
use crate::clients::positions::{Place, Range};
use crate::clients::session::{Connection, Session};
use crate::clients::time;
use crate::terminal::{Side, Table, Tone, counted, toned};
use crate::{Failure, Out};

/// Show a consumer group: state, members, and how far behind it is.
///
/// Lag is told in records and in time: how long ago the next record to be read was written, by its
/// timestamp. Partitions of its topics in which it committed nothing are listed too; where it would begin
/// there is its own auto.offset.reset.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  millrace group describe billing
  millrace group describe billing --json | jq '[.partitions[].lag_records] | add'

With --json: {group, state, type, assignor, members: [{member, instance, client, host, partitions: [{topic, partition}]}], \
partitions: [{topic, partition, committed, start, end, lag_records, lag_ms, member}]}; what is not known is null.
Exit codes: 0 done, 1 failed, 2 the command line can't be.")]
pub struct DescribeArgs {
    /// Name
    #[arg(value_name = "GROUP")]
    group: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Group {
    group: String,
    state: String,
    r#type: String,
    assignor: Option<String>,
    members: Vec<Member>,
    partitions: Vec<Partition>,
}

#[derive(Serialize)]
struct Member {
    member: String,
    instance: Option<String>,
    client: String,
    host: String,
    partitions: Vec<Assigned>,
}

#[derive(Serialize)]
struct Assigned {
    topic: String,
    partition: i32,
}

#[derive(Serialize)]
struct Partition {
    topic: String,
    partition: i32,
    committed: Option<i64>,
    start: Option<i64>,
    end: Option<i64>,
    lag_records: Option<i64>,
    lag_ms: Option<i64>,
    member: Option<String>,
}

pub(super) async fn run(args: DescribeArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection).await?;
    let Some(group) = described(&session, &args.group).await? else {
        return Err(no_group(&session, &args.group).await);
    };
    let group = whole(&session, group).await?;
    session.close().await;
    let mut out = Out::stdout(args.json);
    if args.json {
        out.json(&group)?;
    } else {
        print(&mut out, &group)?;
    }
    out.flush()
}

/// What the group committed; partitions of topics that are gone have no range.
pub(super) async fn committed(
    session: &Session,
    group: &str,
) -> Result<BTreeMap<Place, i64>, Failure> {
    let options = ListConsumerGroupOffsetsOptions::default();
    let answer = session.admin.list_consumer_group_offsets(group, options).await;
    let mut offsets = BTreeMap::new();
    for (place, answer) in answer.map_err(|error| session.fail(&error))? {
        let offset = answer.map_err(|error| session.fail_of(&format!("group {group}"), &error))?;
        if let Some(offset) = offset.offset {
            offsets.insert((place.topic, place.partition), offset);
        }
    }
    Ok(offsets)
}

/// Ranges of those of the places whose topics there are.
pub(super) async fn existing(
    session: &Session,
    places: impl Iterator<Item = Place>,
) -> Result<BTreeMap<Place, Range>, Failure> {
    let topics = session.topic_names(true).await?;
    let places: Vec<Place> = places.filter(|(topic, _)| topics.contains(topic)).collect();
    session.ranges(&places, true).await
}

/// The other partitions of the topics in which the group committed: records
/// there are not read either.
async fn beside(
    session: &Session,
    committed: &BTreeMap<Place, i64>,
) -> Result<Vec<Place>, Failure> {
    let known = session.topic_names(true).await?;
    let topics: BTreeSet<&String> = committed.keys().map(|(topic, _)| topic).collect();
    let topics: Vec<String> = topics.into_iter().filter(|t| known.contains(t)).cloned().collect();
    let mut places = Vec::new();
    for topic in session.describe(&topics).await?.into_values() {
        places.extend(topic.partitions.iter().map(|p| (topic.name.clone(), p.partition)));
    }
    Ok(places)
}

async fn whole(session: &Session, group: ConsumerGroupDescription) -> Result<Group, Failure> {
    let committed = committed(session, &group.group_id).await?;
    let mut owners: BTreeMap<Place, String> = BTreeMap::new();
    for member in &group.members {
        for topic in member.assignment.iter().flatten() {
            for partition in &topic.partitions {
                owners.insert((topic.topic_name.clone(), *partition), member.member_id.clone());
            }
        }
    }
    let mut places: BTreeSet<Place> = committed.keys().chain(owners.keys()).cloned().collect();
    places.extend(beside(session, &committed).await?);
    let ranges = existing(session, places.iter().cloned()).await?;
    let behind = |(place, range): (&Place, &Range)| {
        let start = (*committed.get(place)?).max(range.start);
        (start < range.end).then(|| (place.clone(), Range { start, end: range.end }))
    };
    let behind: BTreeMap<Place, Range> = ranges.iter().filter_map(behind).collect();
    let written = next::timestamps(session, &behind).await?;
    let now = time::now_ms();
    let partition = |place: Place| {
        let range = ranges.get(&place);
        let committed = committed.get(&place).copied();
        let lag = committed
            .zip(range)
            .map(|(committed, range)| (range.end - committed.max(range.start)).max(0));
        let lag_ms = match lag {
            Some(0) => Some(0),
            _ => written.get(&place).map(|written| (now - written).max(0)),
        };
        Partition {
            committed,
            start: range.map(|range| range.start),
            end: range.map(|range| range.end),
            lag_records: lag,
            lag_ms,
            member: owners.get(&place).cloned(),
            topic: place.0,
            partition: place.1,
        }
    };
    Ok(Group {
        state: group.state,
        r#type: group.group_type.to_string(),
        assignor: group.assignor.filter(|assignor| !assignor.is_empty()),
        members: group.members.into_iter().map(member).collect(),
        partitions: places.into_iter().map(partition).collect(),
        group: group.group_id,
    })
}

fn member(member: krafka::admin::ConsumerGroupMember) -> Member {
    let assigned = member.assignment.unwrap_or_default().into_iter().flat_map(|topic| {
        let name = topic.topic_name;
        topic
            .partitions
            .into_iter()
            .map(move |partition| Assigned { topic: name.clone(), partition })
    });
    Member {
        partitions: assigned.collect(),
        member: member.member_id,
        instance: member.instance_id,
        client: member.client_id,
        host: member.client_host.trim_start_matches('/').to_owned(),
    }
}

fn print(out: &mut Out, group: &Group) -> Result<(), Failure> {
    let name = toned(Tone::Strong, &group.group);
    let assignor = group.assignor.as_ref().map(|a| format!(", assignor {a}")).unwrap_or_default();
    let lag: i64 = group.partitions.iter().filter_map(|p| p.lag_records).sum();
    let longest = group.partitions.iter().filter_map(|p| p.lag_ms).max();
    let longest = longest.map(|ms| format!(", {}", time::span(ms))).unwrap_or_default();
    out.line(format!("{name}: {}, {}{assignor}", group.state, group.r#type))?;
    let lag = counted(lag, "record");
    out.line(format!("members {}, lag {lag}{longest}", group.members.len()))?;
    let unread = |p: &&Partition| p.committed.is_none() && p.start < p.end;
    let unread = group.partitions.iter().filter(unread).count();
    if unread > 0 {
        out.line(format!(
            "partitions with records and no committed offset: {unread} (no part of the lag)"
        ))?;
    }
    if !group.members.is_empty() {
        let columns = [
            ("member", Side::Left),
            ("client", Side::Left),
            ("host", Side::Left),
            ("partitions", Side::Right),
        ];
        let mut table = Table::new(columns);
        for member in &group.members {
            let partitions = member.partitions.len().to_string();
            table.row([
                member.member.clone(),
                member.client.clone(),
                member.host.clone(),
                partitions,
            ]);
        }
        out.table(&table)?;
    }
    if group.partitions.is_empty() {
        return out.line("it has committed nothing");
    }
    let mut table = Table::new([
        ("topic", Side::Left),
        ("partition", Side::Right),
        ("committed", Side::Right),
        ("end", Side::Right),
        ("lag", Side::Right),
        ("lag in time", Side::Right),
    ]);
    let shown =
        |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    for p in &group.partitions {
        table.row([
            p.topic.clone(),
            p.partition.to_string(),
            shown(p.committed),
            shown(p.end),
            shown(p.lag_records),
            p.lag_ms.map_or_else(|| "-".to_owned(), time::span),
        ]);
    }
    out.table(&table)
}
