//! `millrace topic delete`.

use clap::Args;
use krafka::admin::DeleteTopicsOptions;

use crate::Failure;
use crate::clients::positions::{led, records, said};
use crate::clients::session::{Connection, Session};
use crate::terminal::confirm;

/// Delete topics with all their records.
#[derive(Debug, Args)]
#[command(after_long_help = "\
It asks before, unless --yes answers. What consumer groups committed goes with the topic.

Examples:
  millrace topic delete orders
  millrace topic delete scratch-1 scratch-2 --yes

With --json: a list of {topic, deleted, error}; error is null where there is none.
Exit codes: 0 all are deleted, 1 one is not, 2 the command line can't be, or nobody can be asked.")]
pub struct DeleteArgs {
    /// Names
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Don't ask
    #[arg(long, short)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: DeleteArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection).await?;
    super::known(&session, &args.topics).await?;
    if !args.yes {
        confirm(&question(&session, &args.topics).await?, false)?;
    }
    let answer = session.admin.delete_topics(&args.topics, DeleteTopicsOptions::default()).await;
    let results = answer.map_err(|error| session.fail(&error))?;
    let outcomes = session.outcomes("topic", "deleted", &args.topics, &results);
    session.close().await;
    outcomes.tell(args.json)
}

/// What would go.
async fn question(session: &Session, names: &[String]) -> Result<String, Failure> {
    let mut told = Vec::new();
    for topic in session.describe(names).await?.into_values() {
        let places: Vec<_> = led(&topic).collect();
        let ranges = session.ranges(&places, false).await?;
        told.push(format!("{} ({})", topic.name, said(records(&topic, &ranges))));
    }
    Ok(format!("Delete {} for ever?", told.join(", ")))
}
