//! `millrace topic create`.

use clap::Args;
use krafka::KrafkaError;
use krafka::admin::{ConfigResource, CreateTopicsOptions, NewTopic};
use krafka::error::ErrorCode;

use crate::clients::session::{Connection, Session, guess_config, pair};
use crate::{Failure, Out};

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
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: CreateArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection).await?;
    let mut out = Out::stdout(false);
    for name in &args.topics {
        let created = create(&session, name, &args).await?;
        out.line(format!("{} topic {name}", if created { "created" } else { "there was" }))?;
    }
    out.flush()?;
    session.close().await;
    Ok(())
}

/// Whether it is new.
async fn create(session: &Session, name: &str, args: &CreateArgs) -> Result<bool, Failure> {
    let (partitions, replicas) = (args.partitions.unwrap_or(-1), args.replicas.unwrap_or(-1));
    let mut topic =
        NewTopic::new(name, partitions, replicas).map_err(|error| session.fail(&error))?;
    for (name, value) in &args.configs {
        topic = topic.with_config(name, value);
    }
    let answer = session.admin.create_topics([topic], CreateTopicsOptions::default()).await;
    let results = answer.map_err(|error| session.fail(&error))?;
    match results.into_values().next() {
        Some(Err(KrafkaError::Broker { code: ErrorCode::TopicAlreadyExists, .. }))
            if args.if_not_exists =>
        {
            Ok(false)
        }
        Some(Err(KrafkaError::Broker { code: ErrorCode::TopicAlreadyExists, .. })) => {
            Err(Failure::Failed(format!(
                "there is a topic {name:?} already; `millrace topic describe {name}` shows it"
            )))
        }
        Some(Err(error)) => {
            let failed = session.fail_of(&format!("topic {name}"), &error);
            Err(explain(session, failed, &error, &args.configs).await)
        }
        Some(Ok(())) | None => Ok(true),
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
