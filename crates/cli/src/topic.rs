//! `millrace topic`: one module a command.

mod alter;
mod create;
mod delete;
mod describe;
mod list;
mod partitions;
mod trim;

use clap::Subcommand;

use crate::Failure;
use crate::clients::block_on;

/// What can be done with topics.
#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    Create(create::CreateArgs),
    List(list::ListArgs),
    Describe(describe::DescribeArgs),
    Alter(alter::AlterArgs),
    Delete(delete::DeleteArgs),
    AddPartitions(partitions::AddPartitionsArgs),
    Trim(trim::TrimArgs),
}

pub(crate) fn run(command: TopicCommand) -> Result<(), Failure> {
    match command {
        TopicCommand::Create(args) => block_on(create::run(args)),
        TopicCommand::List(args) => block_on(list::run(args)),
        TopicCommand::Describe(args) => block_on(describe::run(args)),
        TopicCommand::Alter(args) => block_on(alter::run(args)),
        TopicCommand::Delete(args) => block_on(delete::run(args)),
        TopicCommand::AddPartitions(args) => block_on(partitions::run(args)),
        TopicCommand::Trim(args) => block_on(trim::run(args)),
    }
}

/// Each of the topics that were named, or the first that there isn't.
async fn known(
    session: &crate::clients::session::Session,
    names: &[String],
) -> Result<(), Failure> {
    let known = session.topic_names(true).await?;
    match names.iter().find(|name| !known.contains(name)) {
        Some(missing) => Err(crate::clients::session::no_topic(missing, &known)),
        None => Ok(()),
    }
}
