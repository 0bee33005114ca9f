//! `millrace group reset-offsets`.

use std::collections::BTreeMap;

use clap::Args;
use krafka::admin::{AlterConsumerGroupOffsetsOptions, TopicPartition};

use super::describe::{committed, existing};
use super::described;
use crate::clients::positions::{Place, chosen};
use crate::clients::session::{Connection, Session};
use crate::clients::when::{self, When};
use crate::terminal::{Side, Table, confirm};
use crate::{Failure, Out};

/// Move what a consumer group has committed.
///
/// It shows the old and new offsets and asks, unless --yes answers. The group must have no members.
/// A group that does not exist is made, with --topic.
#[derive(Debug, Args)]
#[command(after_long_help = format!("\
{}

Examples:
  millrace group reset-offsets billing --to start
  millrace group reset-offsets billing --to -1h --topic orders
  millrace group reset-offsets billing --to 1500 --topic orders:0 --yes

Offsets that a partition doesn't hold become its start or its end.
Exit codes: 0 done, 1 failed, 2 the command line can't be, or nobody can be asked.", when::HELP))]
pub struct ResetArgs {
    /// Name
    #[arg(value_name = "GROUP")]
    group: String,
    /// Where it reads on
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    to: When,
    /// Only this topic, or these partitions of it; may be repeated [default: all that it has committed]
    #[arg(long = "topic", short, value_name = "TOPIC[:N,N]")]
    topics: Vec<String>,
    /// Don't ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: ResetArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection).await?;
    let group = described(&session, &args.group).await?;
    if group.is_none() && args.topics.is_empty() {
        return Err(super::no_group(&session, &args.group).await);
    }
    let members = group.map_or(0, |group| group.members.len());
    if members > 0 {
        return Err(Failure::Failed(format!(
            "group {} has {members} active members, which would commit over it: stop them first",
            args.group
        )));
    }
    let old = committed(&session, &args.group).await?;
    let places = match args.topics.is_empty() {
        true => old.keys().cloned().collect(),
        false => named(&session, &args.topics).await?,
    };
    let ranges = existing(&session, places.into_iter()).await?;
    if ranges.is_empty() {
        return Err(Failure::Failed(format!(
            "group {} has committed nothing; --topic TOPIC says where it shall begin",
            args.group
        )));
    }
    let mut new = session.resolve(args.to, &ranges).await?;
    for (place, offset) in &mut new {
        if let Some(range) = ranges.get(place) {
            *offset = (*offset).clamp(range.start, range.end);
        }
    }
    let mut out = Out::stdout(false);
    show(&mut out, &old, &new)?;
    confirm(&format!("Move group {} there?", args.group), args.yes)?;
    alter(&session, &args.group, &new).await?;
    out.line(format!("moved group {}", args.group))?;
    out.flush()?;
    session.close().await;
    Ok(())
}

/// `orders`, `orders:0,2`.
async fn named(session: &Session, topics: &[String]) -> Result<Vec<Place>, Failure> {
    let mut places = Vec::new();
    for named in topics {
        let (name, partitions) = match named.split_once(':') {
            None => (named.as_str(), Vec::new()),
            Some((name, numbers)) => {
                let numbers: Result<Vec<i32>, _> = numbers.split(',').map(str::parse).collect();
                let why =
                    |_| Failure::Usage(format!("--topic {named:?}: say TOPIC or TOPIC:0,1,2"));
                (name, numbers.map_err(why)?)
            }
        };
        places.extend(chosen(&session.topic(name).await?, &partitions)?);
    }
    Ok(places)
}

fn show(
    out: &mut Out,
    old: &BTreeMap<Place, i64>,
    new: &BTreeMap<Place, i64>,
) -> Result<(), Failure> {
    let mut table = Table::new([
        ("topic", Side::Left),
        ("partition", Side::Right),
        ("old", Side::Right),
        ("new", Side::Right),
    ]);
    for (place, offset) in new {
        let before = old.get(place).map_or_else(|| "-".to_owned(), |old| old.to_string());
        table.row([place.0.clone(), place.1.to_string(), before, offset.to_string()]);
    }
    out.table(&table)?;
    out.flush()
}

async fn alter(session: &Session, group: &str, new: &BTreeMap<Place, i64>) -> Result<(), Failure> {
    let asked = new.iter().map(|((topic, partition), offset)| {
        (TopicPartition::new(topic.as_str(), *partition), *offset)
    });
    let options = AlterConsumerGroupOffsetsOptions::default();
    let answer = session.admin.alter_consumer_group_offsets(group, asked, options).await;
    for (place, result) in answer.map_err(|error| session.fail(&error))? {
        let what = format!("partition {} of {}", place.partition, place.topic);
        result.map_err(|error| session.fail_of(&what, &error))?;
    }
    Ok(())
}
