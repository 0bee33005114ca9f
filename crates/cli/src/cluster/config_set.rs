//! `millrace cluster config set`.

use clap::Args;
use krafka::admin::{ConfigOp, ConfigResource, IncrementalAlterConfigsOptions};
use serde_json::json;

use crate::clients::session::{Connection, Session, guess_config, pair};
use crate::{Failure, Out};

/// Change configs of the brokers while they run.
///
/// Only what is named changes, and it survives a restart. Not every config can be changed so: brokers
/// say which can't.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  millrace cluster config set log.retention.ms=604800000
  millrace cluster config set --unset log.retention.ms
  millrace cluster config set --broker 2 log.cleaner.threads=4

With --json: {broker, changed: [name]}; broker is null where all were changed.
Exit codes: 0 done, 1 failed, 2 the command line can't be.")]
pub struct SetArgs {
    /// What to set
    #[arg(value_name = "NAME=VALUE", value_parser = pair, required_unless_present = "unset")]
    set: Vec<(String, String)>,
    /// Take back what was set; may be repeated
    #[arg(long, value_name = "NAME")]
    unset: Vec<String>,
    /// Only of this broker [default: of all]
    #[arg(long, value_name = "ID")]
    broker: Option<i32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: SetArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection).await?;
    let resource = args.broker.map_or_else(ConfigResource::broker_default, ConfigResource::broker);
    let set = args.set.iter().map(|(name, value)| ConfigOp::set(name, value));
    let changes: Vec<ConfigOp> = set.chain(args.unset.iter().map(ConfigOp::delete)).collect();
    let options = IncrementalAlterConfigsOptions::default();
    let answer = session.admin.incremental_alter_configs([(resource, changes)], options).await;
    let result = answer.map_err(|error| session.fail(&error))?.into_values().next();
    let names = || {
        let set = args.set.iter().map(|(name, _)| name.as_str());
        set.chain(args.unset.iter().map(String::as_str))
    };
    if let Some(Err(error)) = result {
        let known = match super::config_get::any_broker(&session).await {
            Ok(broker) => session.configs(ConfigResource::broker(broker)).await.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        return Err(guess_config(session.fail(&error), names(), &known));
    }
    session.close().await;
    let changed: Vec<&str> = names().collect();
    let mut out = Out::stdout(args.json);
    if args.json {
        out.json(&json!({ "broker": args.broker, "changed": changed }))?;
    } else {
        let of = args.broker.map_or_else(|| "all brokers".to_owned(), |id| format!("broker {id}"));
        out.line(format!("changed {} of {of}", changed.join(", ")))?;
    }
    out.flush()
}
