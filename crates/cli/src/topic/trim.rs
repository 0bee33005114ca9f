//! `millrace topic trim`: DeleteRecords.

use clap::Args;
use krafka::admin::{DeleteRecordsOptions, TopicPartition};
use serde::Serialize;
use serde_json::json;

use crate::clients::positions::chosen;
use crate::clients::session::{Connection, Session};
use crate::clients::when::{self, When};
use crate::terminal::{Side, Table, confirm, counted};
use crate::{Failure, Out};

/// Delete the oldest records of a topic.
///
/// It shows what would go, and asks, unless --yes answers.
#[derive(Debug, Args)]
#[command(after_long_help = format!("\
{}

Examples:
  millrace topic trim orders --before -7d
  millrace topic trim orders --before 1500 --partition 0
  millrace topic trim scratch --before end --yes

With --json: {{topic, deleted, partitions: [{{partition, old_start, start, end, error}}]}}; error is null where there is none.
Exit codes: 0 done, 1 failed, 2 the command line can't be, or nobody can be asked.", when::HELP))]
pub struct TrimArgs {
    /// Name
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// Delete what stands before this place
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    before: When,
    /// Only of this partition; may be repeated
    #[arg(long, short, value_name = "N")]
    partition: Vec<i32>,
    /// Don't ask
    #[arg(long, short)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What a partition loses.
#[derive(Serialize)]
struct Cut {
    partition: i32,
    old_start: i64,
    start: i64,
    end: i64,
    /// Why it lost nothing.
    error: Option<String>,
}

impl Cut {
    const fn deleted(&self) -> i64 {
        match self.error {
            None => self.start - self.old_start,
            Some(_) => 0,
        }
    }
}

pub(super) async fn run(args: TrimArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection).await?;
    let mut cuts = cuts(&session, &args).await?;
    let records: i64 = cuts.iter().map(Cut::deleted).sum();
    let mut out = Out::stdout(args.json);
    if !args.json {
        match cuts.is_empty() {
            true => {
                let place = args.before;
                out.line(format!("there is nothing before {place} in {}", args.topic))?;
            }
            false => show(&mut out, &cuts)?,
        }
        out.flush()?;
    }
    if !cuts.is_empty() {
        let records = counted(records, "record");
        confirm(&format!("Delete {records} of {} for ever?", args.topic), args.yes)?;
        cut(&session, &args.topic, &mut cuts).await?;
    }
    session.close().await;
    let deleted: i64 = cuts.iter().map(Cut::deleted).sum();
    if args.json {
        out.json(&json!({ "topic": args.topic, "deleted": deleted, "partitions": cuts }))?;
    } else if !cuts.is_empty() {
        out.line(format!("deleted {} of {}", counted(deleted, "record"), args.topic))?;
    }
    out.flush()?;
    let failures: Vec<String> = cuts.into_iter().filter_map(|cut| cut.error).collect();
    match failures.is_empty() {
        true => Ok(()),
        false => Err(Failure::Failed(failures.join("\n"))),
    }
}

/// What the partitions would lose; those that would lose nothing are left out.
async fn cuts(session: &Session, args: &TrimArgs) -> Result<Vec<Cut>, Failure> {
    let topic = session.topic(&args.topic).await?;
    let places = chosen(&topic, &args.partition)?;
    let ranges = session.ranges(&places, false).await?;
    let before = session.resolve(args.before, &ranges).await?;
    let mut cuts = Vec::new();
    for (place, range) in ranges {
        let start = before.get(&place).copied().unwrap_or(range.start);
        if start > range.end {
            return Err(Failure::Failed(format!(
                "partition {} of {} ends at offset {}: offset {start} is not there yet",
                place.1, place.0, range.end
            )));
        }
        if start > range.start {
            let (partition, old_start, end) = (place.1, range.start, range.end);
            cuts.push(Cut { partition, old_start, start, end, error: None });
        }
    }
    Ok(cuts)
}

async fn cut(session: &Session, topic: &str, cuts: &mut [Cut]) -> Result<(), Failure> {
    let asked = cuts.iter().map(|cut| (TopicPartition::new(topic, cut.partition), cut.start));
    let answer = session.admin.delete_records(asked, DeleteRecordsOptions::default()).await;
    let results = answer.map_err(|error| session.fail(&error))?;
    for cut in cuts {
        let what = format!("partition {} of {topic}", cut.partition);
        if let Some(Err(error)) = results.get(&TopicPartition::new(topic, cut.partition)) {
            cut.error = Some(session.fail_of(&what, error).to_string());
        }
    }
    Ok(())
}

fn show(out: &mut Out, cuts: &[Cut]) -> Result<(), Failure> {
    let mut table = Table::new([
        ("partition", Side::Right),
        ("start", Side::Right),
        ("new start", Side::Right),
        ("end", Side::Right),
        ("deleted", Side::Right),
    ]);
    for cut in cuts {
        let cells = [cut.old_start, cut.start, cut.end, cut.deleted()];
        let partition = std::iter::once(cut.partition.to_string());
        table.row(partition.chain(cells.map(|cell| cell.to_string())));
    }
    out.table(&table)
}
