//! `millrace group list`.

use clap::Args;
use serde::Serialize;

use crate::clients::session::{Connection, Session};
use crate::terminal::{Side, Table};
use crate::{Failure, Out};

/// List the consumer groups.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  millrace group list
  millrace group list --json | jq -r '.[] | select(.state == \"Empty\") | .group'

With --json: a list of {group, state, type}. Exit codes: 0 done, 1 failed, 2 the command line can't be.")]
pub struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Group {
    group: String,
    state: String,
    r#type: String,
}

pub(super) async fn run(args: ListArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection).await?;
    let groups = super::listed(&session).await?;
    session.close().await;
    let mut out = Out::stdout(args.json);
    if args.json {
        let group = |g: super::Listed| Group { group: g.group, state: g.state, r#type: g.kind };
        out.json(&groups.into_iter().map(group).collect::<Vec<_>>())?;
        return out.flush();
    }
    if groups.is_empty() {
        out.line("there are no groups")?;
        return out.flush();
    }
    let columns = [("group", Side::Left), ("state", Side::Left), ("type", Side::Left)];
    let mut table = Table::new(columns);
    for group in groups {
        table.row([group.group, group.state, group.kind]);
    }
    out.table(&table)?;
    out.flush()
}
