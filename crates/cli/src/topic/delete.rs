//! `millrace topic delete`.

use clap::Args;
use krafka::admin::DeleteTopicsOptions;

use crate::Failure;
use crate::clients::session::{Connection, Session};
use crate::terminal::confirm;

/// Delete topics with all their records.
#[derive(Debug, Args)]
#[command(after_long_help = "\
It asks before, unless --yes answers. What consumer groups committed goes with the topic.

Examples:
  millrace topic delete orders
  millrace topic delete scratch-1 scratch-2 --yes

Exit codes: 0 all are deleted, 1 one is not, 2 the command line can't be, or nobody can be asked.")]
pub struct DeleteArgs {
    /// Names
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Don't ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: DeleteArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection).await?;
    super::known(&session, &args.topics).await?;
    confirm(&question(&session, &args.topics).await?, args.yes)?;
    let answer = session.admin.delete_topics(&args.topics, DeleteTopicsOptions::default()).await;
    let results = answer.map_err(|error| session.fail(&error))?;
    session.tell_deleted("topic", &args.topics, &results)?;
    session.close().await;
    Ok(())
}

/// What would go.
async fn question(session: &Session, names: &[String]) -> Result<String, Failure> {
    let mut told = Vec::new();
    for topic in session.describe(names).await?.into_values() {
        let places: Vec<_> =
            topic.partitions.iter().map(|p| (topic.name.clone(), p.partition)).collect();
        let records: i64 =
            session.ranges(&places, false).await?.values().map(|range| range.records()).sum();
        told.push(format!("{} ({records} records)", topic.name));
    }
    Ok(format!("Delete {} for ever?", told.join(", ")))
}
