//! `millrace cluster info`.

use clap::Args;
use krafka::admin::{DescribeClusterOptions, DescribeFeaturesOptions};
use serde::Serialize;

use crate::clients::session::{Connection, Session};
use crate::terminal::{Side, Table, Tone, toned};
use crate::{Failure, Out};

/// Show a cluster's id, brokers, controller, version and size.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Kafka's protocol does not tell a broker's version. Where the brokers tell the level of their metadata, the release that it came \
with is shown: the cluster may be newer, and is not older.

Examples:
  millrace cluster info
  millrace cluster info --brokers kafka-1:9092 --json

With --json: {cluster_id, controller, metadata_version, kafka_release, topics, partitions, brokers: [{id, address, rack, controller}]}; \
what is not known is null. Exit codes: 0 done, 1 failed, 2 the command line can't be.")]
pub struct InfoArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Info {
    cluster_id: String,
    controller: Option<i32>,
    metadata_version: Option<i16>,
    kafka_release: Option<&'static str>,
    topics: usize,
    partitions: usize,
    brokers: Vec<Broker>,
}

#[derive(Serialize)]
struct Broker {
    id: i32,
    address: String,
    rack: Option<String>,
    controller: bool,
}

pub(super) async fn run(args: InfoArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection).await?;
    let info = info(&session).await?;
    session.close().await;
    let mut out = Out::stdout(args.json);
    if args.json {
        out.json(&info)?;
    } else {
        print(&mut out, &info)?;
    }
    out.flush()
}

async fn info(session: &Session) -> Result<Info, Failure> {
    let answer = session.admin.describe_cluster(DescribeClusterOptions::default()).await;
    let cluster = answer.map_err(|error| session.fail(&error))?;
    // An older broker has no features to tell.
    let features = session.admin.describe_features(DescribeFeaturesOptions::default()).await.ok();
    let metadata_version = features.and_then(|features| {
        let level = features.finalized.into_iter().find(|f| f.name == "metadata.version");
        level.map(|level| level.max_version_level)
    });
    let names = session.topic_names(false).await?;
    let described = session.describe(&names).await?;
    let mut brokers: Vec<Broker> = cluster
        .brokers
        .into_iter()
        .map(|broker| Broker {
            id: broker.id,
            address: format!("{}:{}", broker.host, broker.port),
            rack: broker.rack,
            controller: broker.id == cluster.controller_id,
        })
        .collect();
    brokers.sort_by_key(|broker| broker.id);
    Ok(Info {
        cluster_id: cluster.cluster_id,
        controller: (cluster.controller_id >= 0).then_some(cluster.controller_id),
        metadata_version,
        kafka_release: metadata_version.and_then(release),
        topics: names.len(),
        partitions: described.values().map(|topic| topic.partitions.len()).sum(),
        brokers,
    })
}

/// The release that brought a level of `metadata.version`.
const fn release(level: i16) -> Option<&'static str> {
    Some(match level {
        1..=3 => "3.0 to 3.2",
        4..=7 => "3.3",
        8 => "3.4",
        9..=11 => "3.5",
        12..=14 => "3.6",
        15..=19 => "3.7",
        20 => "3.8",
        21 => "3.9",
        22..=25 => "4.0",
        26..=27 => "4.1",
        28..=29 => "4.2",
        30 => "4.3",
        _ => return None,
    })
}

fn print(out: &mut Out, info: &Info) -> Result<(), Failure> {
    out.line(format!("cluster {}", toned(Tone::Strong, &info.cluster_id)))?;
    out.line(format!("topics {}, partitions {}", info.topics, info.partitions))?;
    out.line(match (info.metadata_version, info.kafka_release) {
        (Some(level), Some(release)) => format!("metadata.version {level} (Kafka {release})"),
        (Some(level), None) => format!("metadata.version {level}"),
        (None, _) => "its brokers do not tell a version".to_owned(),
    })?;
    let columns =
        [("broker", Side::Right), ("address", Side::Left), ("rack", Side::Left), ("", Side::Left)];
    let mut table = Table::new(columns);
    for broker in &info.brokers {
        let role = if broker.controller { "controller" } else { "" };
        let rack = broker.rack.clone().unwrap_or_default();
        table.row([broker.id.to_string(), broker.address.clone(), rack, role.to_owned()]);
    }
    out.table(&table)
}
