//! `millrace group`: one module a command.

mod delete;
mod describe;
mod list;
mod next;
mod reset;

use clap::Subcommand;
use krafka::KrafkaError;
use krafka::admin::{
    ConsumerGroupDescription, DescribeConsumerGroupsOptions, ListConsumerGroupsOptions,
};
use krafka::error::ErrorCode;

use crate::Failure;
use crate::clients::block_on;
use crate::clients::session::Session;
use crate::suggest::{did_you_mean, nearest};

/// What can be done with consumer groups.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    List(list::ListArgs),
    Describe(describe::DescribeArgs),
    ResetOffsets(reset::ResetArgs),
    Delete(delete::DeleteArgs),
}

pub(crate) fn run(command: GroupCommand) -> Result<(), Failure> {
    match command {
        GroupCommand::List(args) => block_on(list::run(args)),
        GroupCommand::Describe(args) => block_on(describe::run(args)),
        GroupCommand::ResetOffsets(args) => block_on(reset::run(args)),
        GroupCommand::Delete(args) => block_on(delete::run(args)),
    }
}

/// A group as its broker lists it.
struct Listed {
    group: String,
    state: String,
    kind: String,
}

/// All groups, in the order of their names.
async fn listed(session: &Session) -> Result<Vec<Listed>, Failure> {
    let answer = session.admin.list_consumer_groups(ListConsumerGroupsOptions::default()).await;
    let mut groups = Vec::new();
    for (broker, listing) in answer.map_err(|error| session.fail(&error))? {
        let listing =
            listing.map_err(|error| session.fail_of(&format!("broker {broker}"), &error))?;
        groups.extend(listing.into_iter().map(|group| Listed {
            group: group.group_id,
            state: group.state.unwrap_or_default(),
            kind: group.group_type.map(|kind| kind.to_string()).unwrap_or_default(),
        }));
    }
    groups.sort_by(|a, b| a.group.cmp(&b.group));
    Ok(groups)
}

/// The group; `None` where there is none of that name.
async fn described(
    session: &Session,
    name: &str,
) -> Result<Option<ConsumerGroupDescription>, Failure> {
    let options = DescribeConsumerGroupsOptions::default();
    let answer = session.admin.describe_consumer_groups([name], options).await;
    match answer.map_err(|error| session.fail(&error))?.into_values().next() {
        Some(Ok(group)) if group.state != "Dead" => Ok(Some(group)),
        Some(Err(KrafkaError::Broker { code: ErrorCode::GroupIdNotFound, .. }))
        | Some(Ok(_))
        | None => Ok(None),
        Some(Err(error)) => Err(session.fail_of(&format!("group {name}"), &error)),
    }
}

/// There is no such group: with a guess at what was meant.
async fn no_group(session: &Session, name: &str) -> Failure {
    let known = match listed(session).await {
        Ok(known) => known,
        Err(failure) => return failure,
    };
    let guess = did_you_mean(nearest(name, known.iter().map(|group| group.group.as_str())));
    let help =
        if guess.is_empty() { "; `millrace group list` shows those that there are" } else { "" };
    Failure::Failed(format!("there is no group {name:?}{guess}{help}"))
}
