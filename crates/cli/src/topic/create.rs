//! `millrace topic create`.

use clap::Args;
use krafka::KrafkaError;
use krafka::admin::{ConfigResource, CreateTopicsOptions, NewTopic};
use krafka::error::ErrorCode;

use crate::Failure;
use crate::clients::outcome::Outcomes;
use crate::clients::session::{Connection, Session, guess_config, pair};

/// Create topics.
///
/// Without --partitions and --replicas the broker's own defaults hold (num.partitions and
/// default.replication.factor).
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  millrace topic create orders
  millrace topic create orders payments --partitions 12
  millrace topic create audit --config retention.ms=-1 --config compression.type=zstd

With --json: a list of {topic, created, error}; error is null where there is none.
Exit codes: 0 all were created, 1 one was not, 2 the command line can't be.")]
pub struct CreateArgs {
    /// Names
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Partitions of each
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Copies of each partition
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    replicas: Option<i16>,
    /// Config of each, such as retention.ms=86400000; may be repeated
    #[arg(long = "config", short, value_name = "NAME=VALUE", value_parser = pair)]
    configs: Vec<(String, String)>,
    /// Succeed where a topic exists already, whatever its partitions and configs
    #[arg(long)]
    if_not_exists: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: CreateArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection).await?;
    let (partitions, replicas) = (args.partitions.unwrap_or(-1), args.replicas.unwrap_or(-1));
    let mut topics = Vec::new();
    for name in &args.topics {
        let topic = NewTopic::new(name, partitions, replicas);
        let topic = topic.map_err(|error| session.fail(&error))?;
        let with =
            |topic: NewTopic, (name, value): &(String, String)| topic.with_config(name, value);
        topics.push(args.configs.iter().fold(topic, with));
    }
    let answer = session.admin.create_topics(topics, CreateTopicsOptions::default()).await;
    let results = answer.map_err(|error| session.fail(&error))?;
    let mut outcomes = Outcomes::new("topic", "created");
    for name in &args.topics {
        let result = results.get(name).map_or(Ok(&()), Result::as_ref);
        outcomes.add(name, created(&session, name, result, &args).await);
    }
    session.close().await;
    outcomes.tell(args.json)
}

/// Whether it is new.
async fn created(
    session: &Session,
    name: &str,
    result: Result<&(), &KrafkaError>,
    args: &CreateArgs,
) -> Result<bool, Failure> {
    let Err(error) = result else { return Ok(true) };
    match error {
        KrafkaError::Broker { code: ErrorCode::TopicAlreadyExists, .. } if args.if_not_exists => {
            Ok(false)
        }
        KrafkaError::Broker { code: ErrorCode::TopicAlreadyExists, .. } => Err(Failure::Failed(
            format!("there is a topic {name:?} already; `millrace topic describe {name}` shows it"),
        )),
        error => {
            let failed = session.fail_of(&format!("topic {name}"), error);
            Err(explain(session, failed, error, &args.configs).await)
        }
    }
}

/// A broker that doesn't know a config may know one of a similar name: another
/// topic's configs tell, where there is one.
async fn explain(
    session: &Session,
    failed: Failure,
    error: &KrafkaError,
    configs: &[(String, String)],
) -> Failure {
    if !matches!(error, KrafkaError::Broker { code: ErrorCode::InvalidConfig, .. }) {
        return failed;
    }
    let any = session.topic_names(true).await.ok().and_then(|names| names.into_iter().next());
    let Some(any) = any else { return failed };
    let known = session.configs(ConfigResource::topic(any)).await.unwrap_or_default();
    guess_config(failed, configs.iter().map(|(name, _)| name.as_str()), &known)
}
