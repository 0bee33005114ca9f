//! `millrace topic add-partitions`.

use clap::Args;
use krafka::admin::CreatePartitionsOptions;
use serde_json::json;

use crate::clients::session::{Connection, Session};
use crate::terminal::counted;
use crate::{Failure, Out};

/// Give a topic more partitions.
///
/// Records that are there stay where they are, so records of one key can be in two partitions
/// afterwards. There is no way back to fewer.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  millrace topic add-partitions orders --to 12

With --json: {topic, partitions, added}.
Exit codes: 0 done, 1 failed, 2 the command line can't be.")]
pub struct AddPartitionsArgs {
    /// Name
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// How many it has then
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    to: i32,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: AddPartitionsArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection).await?;
    let before = session.topic(&args.topic).await?.partitions.len();
    let now = usize::try_from(args.to).unwrap_or(usize::MAX);
    if now <= before {
        return Err(Failure::Failed(format!(
            "topic {} has {}; --to says how many it has then, so more than that",
            args.topic,
            counted(before, "partition")
        )));
    }
    let asked = [(args.topic.as_str(), args.to)];
    let answer = session.admin.create_partitions(asked, CreatePartitionsOptions::default()).await;
    if let Some(Err(error)) = answer.map_err(|error| session.fail(&error))?.into_values().next() {
        return Err(session.fail_of(&format!("topic {}", args.topic), &error));
    }
    session.close().await;
    let added = now - before;
    let mut out = Out::stdout(args.json);
    if args.json {
        out.json(&json!({ "topic": args.topic, "partitions": now, "added": added }))?;
    } else {
        out.line(format!("topic {} has {now} partitions, {added} more", args.topic))?;
    }
    out.flush()
}
