//! `millrace topic list`.

use clap::Args;
use serde::Serialize;

use crate::clients::positions::{led, records};
use crate::clients::session::{Connection, Session};
use crate::terminal::{Side, Table};
use crate::{Failure, Out};

/// List the topics with their partitions and records.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Records are offsets that are kept: in compacted topics fewer records stand on them.

Examples:
  millrace topic list
  millrace topic list --json | jq -r '.[].topic'

With --json: a list of {topic, partitions, replicas, records, internal}; records is null where a partition has no leader to tell.
Exit codes: 0 done, 1 failed, 2 the command line can't be.")]
pub struct ListArgs {
    /// Those that brokers keep for themselves too
    #[arg(long)]
    internal: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Topic {
    topic: String,
    partitions: usize,
    replicas: usize,
    records: Option<i64>,
    internal: bool,
}

pub(super) async fn run(args: ListArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection).await?;
    let topics = topics(&session, args.internal).await?;
    session.close().await;
    let mut out = Out::stdout(args.json);
    if args.json {
        out.json(&topics)?;
        return out.flush();
    }
    if topics.is_empty() {
        out.line("there are no topics; `millrace topic create NAME` makes one")?;
        return out.flush();
    }
    let mut table = Table::new([
        ("topic", Side::Left),
        ("partitions", Side::Right),
        ("replicas", Side::Right),
        ("records", Side::Right),
    ]);
    for topic in topics {
        let (partitions, replicas) = (topic.partitions.to_string(), topic.replicas.to_string());
        let records = topic.records.map_or_else(|| "-".to_owned(), |records| records.to_string());
        table.row([topic.topic, partitions, replicas, records]);
    }
    out.table(&table)?;
    out.flush()
}

async fn topics(session: &Session, internal: bool) -> Result<Vec<Topic>, Failure> {
    let names = session.topic_names(internal).await?;
    let described = session.describe(&names).await?;
    let places: Vec<_> = described.values().flat_map(led).collect();
    let ranges = session.ranges(&places, false).await?;
    let topic = |topic: krafka::admin::TopicDescription| Topic {
        partitions: topic.partitions.len(),
        replicas: topic.partitions.first().map_or(0, |partition| partition.replicas.len()),
        records: records(&topic, &ranges),
        internal: topic.is_internal,
        topic: topic.name,
    };
    Ok(described.into_values().map(topic).collect())
}
