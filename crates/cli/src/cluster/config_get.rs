//! `millrace cluster config get`.

use clap::Args;
use krafka::admin::{ConfigEntry, ConfigResource, DescribeClusterOptions};
use serde::Serialize;

use super::{default_of, source_name};
use crate::clients::session::{Connection, Session};
use crate::suggest::{did_you_mean, nearest};
use crate::terminal::{Side, Table};
use crate::{Failure, Out};

/// Show configs of a broker: value, source and default.
///
/// Without names those that are not the default are shown.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Sources: static (file, flag or environment), cluster (set for all brokers), broker (set for this one), default.

Examples:
  millrace cluster config get
  millrace cluster config get num.partitions log.retention.ms
  millrace cluster config get --all --json | jq '.[] | select(.read_only | not) | .name'

With --json: a list of {name, value, default, source, read_only, sensitive, documentation}; a sensitive value is null.
Exit codes: 0 done, 1 failed, 2 the command line can't be.")]
pub struct GetArgs {
    /// Names
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// All of them
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Of this broker [default: the controller]
    #[arg(long, value_name = "ID")]
    broker: Option<i32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Config {
    name: String,
    value: Option<String>,
    default: Option<String>,
    source: &'static str,
    read_only: bool,
    sensitive: bool,
    documentation: Option<String>,
}

pub(super) async fn run(args: GetArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection).await?;
    let broker = match args.broker {
        Some(broker) => broker,
        None => any_broker(&session).await?,
    };
    let entries = session.configs(ConfigResource::broker(broker)).await?;
    session.close().await;
    if let Some(missing) = args.names.iter().find(|n| !entries.iter().any(|e| e.name == **n)) {
        let guess = did_you_mean(nearest(missing, entries.iter().map(|e| e.name.as_str())));
        return Err(Failure::Failed(format!("brokers have no config {missing:?}{guess}")));
    }
    let wanted = |entry: &&ConfigEntry| {
        args.all
            || args.names.contains(&entry.name)
            || (args.names.is_empty() && entry.config_source != 5)
    };
    let configs: Vec<Config> = entries.iter().filter(wanted).map(config).collect();
    let mut out = Out::stdout(args.json);
    if args.json {
        out.json(&configs)?;
        return out.flush();
    }
    if configs.is_empty() {
        out.line(format!(
            "all configs of broker {broker} are at their defaults (--all shows them)"
        ))?;
        return out.flush();
    }
    print(&mut out, configs)?;
    out.flush()
}

/// The controller if it is a broker, or else the first.
pub(super) async fn any_broker(session: &Session) -> Result<i32, Failure> {
    let answer = session.admin.describe_cluster(DescribeClusterOptions::default()).await;
    let cluster = answer.map_err(|error| session.fail(&error))?;
    let is_controller = |id: &i32| *id == cluster.controller_id;
    let ids = || cluster.brokers.iter().map(|broker| broker.id);
    let first = ids().find(is_controller).or_else(|| ids().min());
    first.ok_or_else(|| Failure::Failed("the cluster names no broker".to_owned()))
}

fn config(entry: &ConfigEntry) -> Config {
    Config {
        name: entry.name.clone(),
        value: entry.value.clone(),
        default: default_of(entry),
        source: source_name(entry.config_source),
        read_only: entry.read_only,
        sensitive: entry.is_sensitive,
        documentation: entry.documentation.clone(),
    }
}

fn print(out: &mut Out, configs: Vec<Config>) -> Result<(), Failure> {
    let mut table = Table::new([
        ("config", Side::Left),
        ("value", Side::Left),
        ("default", Side::Left),
        ("source", Side::Left),
    ]);
    for config in configs {
        let value = match config.value {
            None if config.sensitive => "(hidden)".to_owned(),
            value => value.unwrap_or_default(),
        };
        let default = config.default.unwrap_or_default();
        table.row([config.name, value, default, config.source.to_owned()]);
    }
    out.table(&table)
}
