//! `millrace group delete`.

use clap::Args;
use krafka::admin::DeleteConsumerGroupsOptions;

use super::{described, no_group};
use crate::Failure;
use crate::clients::session::{Connection, Session};
use crate::terminal::confirm;

/// Delete consumer groups with what they committed.
///
/// It asks before, unless --yes answers. A group that has members can't be deleted.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  millrace group delete billing-test --yes

With --json: a list of {group, deleted, error}; error is null where there is none.
Exit codes: 0 all are deleted, 1 one is not, 2 the command line can't be, or nobody can be asked.")]
pub struct DeleteArgs {
    /// Names
    #[arg(required = true, value_name = "GROUP")]
    groups: Vec<String>,
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
    for group in &args.groups {
        if described(&session, group).await?.is_none() {
            return Err(no_group(&session, group).await);
        }
    }
    let names = args.groups.join(", ");
    confirm(&format!("Delete {names} with what is committed?"), args.yes)?;
    let options = DeleteConsumerGroupsOptions::default();
    let answer = session.admin.delete_consumer_groups(&args.groups, options).await;
    let results = answer.map_err(|error| session.fail(&error))?;
    let outcomes = session.outcomes("group", "deleted", &args.groups, &results);
    session.close().await;
    outcomes.tell(args.json)
}
