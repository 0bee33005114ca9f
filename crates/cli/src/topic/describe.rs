//! `millrace topic describe`.

use clap::Args;
use krafka::admin::{ConfigEntry, ConfigResource, TopicDescription};
use serde::Serialize;

use crate::clients::positions::{led, records, said};
use crate::clients::session::{Connection, Session};
use crate::cluster::source_name;
use crate::terminal::{Side, Table, Tone, counted, toned};
use crate::{Failure, Out};

/// Show topics: partitions, offsets, leaders, and the configs that are not the defaults.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  millrace topic describe orders
  millrace topic describe orders --configs
  millrace topic describe orders --json | jq '.[0].partitions[].end'

With --json: a list of {topic, id, internal, records, partitions: [{partition, leader, replicas, in_sync, start, end, records}], \
configs: [{name, value, default, source}]}. Offsets are from start up to and without end. Where a partition has no leader, that is null, and so are its offsets.
Exit codes: 0 done, 1 failed, 2 the command line can't be.")]
pub struct DescribeArgs {
    /// Names
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// All configs, those at their default too
    #[arg(long)]
    configs: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Topic {
    topic: String,
    id: String,
    internal: bool,
    records: Option<i64>,
    partitions: Vec<Partition>,
    configs: Vec<Config>,
}

#[derive(Serialize)]
struct Partition {
    partition: i32,
    leader: Option<i32>,
    replicas: Vec<i32>,
    in_sync: Vec<i32>,
    start: Option<i64>,
    end: Option<i64>,
    records: Option<i64>,
}

#[derive(Serialize)]
struct Config {
    name: String,
    value: Option<String>,
    default: Option<String>,
    source: &'static str,
}

pub(super) async fn run(args: DescribeArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection).await?;
    super::known(&session, &args.topics).await?;
    let mut topics = Vec::new();
    for topic in session.describe(&args.topics).await?.into_values() {
        topics.push(describe(&session, topic, args.configs).await?);
    }
    session.close().await;
    let mut out = Out::stdout(args.json);
    if args.json {
        out.json(&topics)?;
        return out.flush();
    }
    for (index, topic) in topics.iter().enumerate() {
        if index > 0 {
            out.line("")?;
        }
        print(&mut out, topic, args.configs)?;
    }
    out.flush()
}

async fn describe(session: &Session, topic: TopicDescription, all: bool) -> Result<Topic, Failure> {
    let places: Vec<_> = led(&topic).collect();
    let ranges = session.ranges(&places, false).await?;
    let configs = session.configs(ConfigResource::topic(&topic.name)).await?;
    let name = topic.name.clone();
    let partition = |p: krafka::admin::PartitionDescription| {
        let range = ranges.get(&(name.clone(), p.partition));
        Partition {
            partition: p.partition,
            leader: p.leader,
            replicas: p.replicas,
            in_sync: p.isr,
            start: range.map(|range| range.start),
            end: range.map(|range| range.end),
            records: range.map(|range| range.records()),
        }
    };
    Ok(Topic {
        id: crate::cluster::uuid_text(topic.topic_id),
        internal: topic.is_internal,
        records: records(&topic, &ranges),
        partitions: topic.partitions.into_iter().map(partition).collect(),
        configs: configs.iter().filter(|c| all || !is_default(c)).map(config).collect(),
        topic: topic.name,
    })
}

/// `DEFAULT_CONFIG` is 5 in Kafka's numbers of sources.
const fn is_default(entry: &ConfigEntry) -> bool {
    entry.config_source == 5
}

fn config(entry: &ConfigEntry) -> Config {
    Config {
        name: entry.name.clone(),
        value: entry.value.clone(),
        default: crate::cluster::default_of(entry),
        source: source_name(entry.config_source),
    }
}

fn print(out: &mut Out, topic: &Topic, all: bool) -> Result<(), Failure> {
    let partitions = counted(topic.partitions.len(), "partition");
    let head = format!("{partitions}, {}, id {}", said(topic.records), topic.id);
    out.line(format!("{}: {head}", toned(Tone::Strong, &topic.topic)))?;
    let mut table = Table::new([
        ("partition", Side::Right),
        ("leader", Side::Right),
        ("replicas", Side::Left),
        ("in sync", Side::Left),
        ("start", Side::Right),
        ("end", Side::Right),
        ("records", Side::Right),
    ]);
    let number = |known: Option<i64>| known.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let ids = |ids: &[i32]| ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    for p in &topic.partitions {
        table.row([
            p.partition.to_string(),
            p.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string()),
            ids(&p.replicas),
            ids(&p.in_sync),
            number(p.start),
            number(p.end),
            number(p.records),
        ]);
    }
    out.table(&table)?;
    if topic.configs.is_empty() {
        return out.line("all configs are at their defaults (--configs shows them)");
    }
    out.line(if all { "configs" } else { "configs that are not the defaults" })?;
    let columns = [
        ("config", Side::Left),
        ("value", Side::Left),
        ("default", Side::Left),
        ("source", Side::Left),
    ];
    let mut table = Table::new(columns);
    for config in &topic.configs {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let source = config.source.to_owned();
        table.row([config.name.clone(), text(&config.value), text(&config.default), source]);
    }
    out.table(&table)
}
