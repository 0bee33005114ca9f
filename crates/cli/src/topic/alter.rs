//! `millrace topic alter`.

use clap::Args;
use krafka::admin::{ConfigOp, ConfigResource, IncrementalAlterConfigsOptions};

use crate::Failure;
use crate::clients::outcome::Outcomes;
use crate::clients::session::{Connection, Session, guess_config, pair};

/// Change configs of topics.
///
/// Only what is named changes.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  millrace topic alter orders --set retention.ms=604800000
  millrace topic alter orders payments --set compression.type=zstd --unset retention.bytes

`millrace topic describe TOPIC --configs` shows the names. With --json: a list of {topic, changed, error}; error is null where there is none.
Exit codes: 0 done, 1 a topic was not changed, 2 the command line can't be.")]
pub struct AlterArgs {
    /// Names
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Set a config; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair, required_unless_present = "unset")]
    set: Vec<(String, String)>,
    /// Give a config its default again; may be repeated
    #[arg(long, value_name = "NAME")]
    unset: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: AlterArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection).await?;
    super::known(&session, &args.topics).await?;
    let set = args.set.iter().map(|(name, value)| ConfigOp::set(name, value));
    let changes: Vec<ConfigOp> = set.chain(args.unset.iter().map(ConfigOp::delete)).collect();
    let asked = args.topics.iter().map(|name| (ConfigResource::topic(name), changes.clone()));
    let options = IncrementalAlterConfigsOptions::default();
    let answer = session.admin.incremental_alter_configs(asked, options).await;
    let results = answer.map_err(|error| session.fail(&error))?;
    let mut outcomes = Outcomes::new("topic", "changed");
    for name in &args.topics {
        let resource = ConfigResource::topic(name);
        let Some(Err(error)) = results.get(&resource) else {
            outcomes.add(name, Ok(true));
            continue;
        };
        let failed = session.fail_of(&format!("topic {name}"), error);
        let known = session.configs(resource).await.unwrap_or_default();
        let set = args.set.iter().map(|(name, _)| name.as_str());
        let asked = set.chain(args.unset.iter().map(String::as_str));
        outcomes.add(name, Err(guess_config(failed, asked, &known)));
    }
    session.close().await;
    outcomes.tell(args.json)
}
