//! `millrace group reset-offsets`.

use clap::Args;
use krafka::admin::{AlterConsumerGroupOffsetsOptions, TopicPartition};
use serde::Serialize;
use serde_json::json;

use super::describe::{committed, existing};
use super::described;
use crate::clients::positions::{Place, chosen};
use crate::clients::session::{Connection, Session};
use crate::clients::when::{self, When};
use crate::terminal::{Side, Table, confirm, counted};
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
With --json: {{group, partitions: [{{topic, partition, old, new, error}}]}}; old is null where nothing was committed, error where there is none.
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
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// A partition, and where the group reads on in it.
#[derive(Serialize)]
struct Move {
    topic: String,
    partition: i32,
    old: Option<i64>,
    new: i64,
    /// Why it was not moved.
    error: Option<String>,
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
            "group {} has {}, which would commit over it: stop them first",
            args.group,
            counted(members, "active member")
        )));
    }
    let mut moves = moves(&session, &args).await?;
    let mut out = Out::stdout(args.json);
    if !args.json {
        show(&mut out, &moves)?;
    }
    confirm(&format!("Move group {} there?", args.group), args.yes)?;
    alter(&session, &args.group, &mut moves).await?;
    session.close().await;
    if args.json {
        out.json(&json!({ "group": args.group, "partitions": moves }))?;
    }
    let failures: Vec<&str> = moves.iter().filter_map(|moved| moved.error.as_deref()).collect();
    if !failures.is_empty() {
        out.flush()?;
        return Err(Failure::Failed(failures.join("\n")));
    }
    if !args.json {
        out.line(format!("moved group {}", args.group))?;
    }
    out.flush()
}

/// Where the group is to read on, by partition.
async fn moves(session: &Session, args: &ResetArgs) -> Result<Vec<Move>, Failure> {
    let old = committed(session, &args.group).await?;
    let places = match args.topics.is_empty() {
        true => old.keys().cloned().collect(),
        false => named(session, &args.topics).await?,
    };
    let ranges = existing(session, places.into_iter()).await?;
    if ranges.is_empty() {
        return Err(Failure::Failed(format!(
            "group {} has committed nothing; --topic TOPIC says where it shall begin",
            args.group
        )));
    }
    let new = session.resolve(args.to, &ranges).await?;
    let each = new.into_iter().map(|(place, offset)| Move {
        old: old.get(&place).copied(),
        new: ranges.get(&place).map_or(offset, |range| offset.clamp(range.start, range.end)),
        topic: place.0,
        partition: place.1,
        error: None,
    });
    Ok(each.collect())
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

fn show(out: &mut Out, moves: &[Move]) -> Result<(), Failure> {
    let mut table = Table::new([
        ("topic", Side::Left),
        ("partition", Side::Right),
        ("old", Side::Right),
        ("new", Side::Right),
    ]);
    for Move { topic, partition, old, new, .. } in moves {
        let old = old.map_or_else(|| "-".to_owned(), |old| old.to_string());
        table.row([topic.clone(), partition.to_string(), old, new.to_string()]);
    }
    out.table(&table)?;
    out.flush()
}

async fn alter(session: &Session, group: &str, moves: &mut [Move]) -> Result<(), Failure> {
    let place = |moved: &Move| TopicPartition::new(&moved.topic, moved.partition);
    let asked: Vec<_> = moves.iter().map(|moved| (place(moved), moved.new)).collect();
    let options = AlterConsumerGroupOffsetsOptions::default();
    let answer = session.admin.alter_consumer_group_offsets(group, asked, options).await;
    let results = answer.map_err(|error| session.fail(&error))?;
    for moved in moves {
        if let Some(Err(error)) = results.get(&place(moved)) {
            let what = format!("partition {} of {}", moved.partition, moved.topic);
            moved.error = Some(session.fail_of(&what, error).to_string());
        }
    }
    Ok(())
}
