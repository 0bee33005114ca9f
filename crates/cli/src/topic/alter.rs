//! `millrace topic alter`.

use clap::Args;
use krafka::admin::{ConfigOp, ConfigResource, IncrementalAlterConfigsOptions};

use crate::clients::session::{Connection, Session, guess_config, pair};
use crate::{Failure, Out};

/// Change configs of topics.
///
/// Only what is named changes.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  millrace topic alter orders --set retention.ms=604800000
  millrace topic alter orders payments --set compression.type=zstd --unset retention.bytes

`millrace topic describe TOPIC --configs` shows the names. Exit codes: 0 done, 1 a topic was not changed, 2 the command line can't be.")]
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
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: AlterArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection).await?;
    super::known(&session, &args.topics).await?;
    let set = args.set.iter().map(|(name, value)| ConfigOp::set(name, value));
    let changes: Vec<ConfigOp> = set.chain(args.unset.iter().map(ConfigOp::delete)).collect();
    let mut out = Out::stdout(false);
    for topic in &args.topics {
        let resource = ConfigResource::topic(topic);
        let asked = [(resource.clone(), changes.clone())];
        let options = IncrementalAlterConfigsOptions::default();
        let answer = session.admin.incremental_alter_configs(asked, options).await;
        let result = answer.map_err(|error| session.fail(&error))?.into_values().next();
        if let Some(Err(error)) = result {
            let failed = session.fail_of(&format!("topic {topic}"), &error);
            let known = session.configs(resource).await.unwrap_or_default();
            let set = args.set.iter().map(|(name, _)| name.as_str());
            let names = set.chain(args.unset.iter().map(String::as_str));
            return Err(guess_config(failed, names, &known));
        }
        out.line(format!("changed topic {topic}"))?;
    }
    out.flush()?;
    session.close().await;
    Ok(())
}
