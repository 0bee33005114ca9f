//! `millrace topic trim`: DeleteRecords.

use clap::Args;
use krafka::admin::{DeleteRecordsOptions, TopicPartition};

use crate::clients::positions::{Place, Range};
use crate::clients::session::{Connection, Session};
use crate::clients::when::{self, When};
use crate::terminal::{Side, Table, confirm};
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
    #[command(flatten)]
    connection: Connection,
}

/// What a partition loses: its range, and its start afterwards.
type Cut = (Place, Range, i64);

pub(super) async fn run(args: TrimArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection).await?;
    let topic = session.topic(&args.topic).await?;
    let places = crate::clients::positions::chosen(&topic, &args.partition)?;
    let ranges = session.ranges(&places, false).await?;
    let before = session.resolve(args.before, &ranges).await?;
    let mut cuts: Vec<Cut> = Vec::new();
    for (place, range) in ranges {
        let start = before.get(&place).copied().unwrap_or(range.start);
        if start > range.end {
            return Err(Failure::Failed(format!(
                "partition {} of {} ends at offset {}: offset {start} is not there yet",
                place.1, place.0, range.end
            )));
        }
        if start > range.start {
            cuts.push((place, range, start));
        }
    }
    let mut out = Out::stdout(false);
    if cuts.is_empty() {
        out.line(format!("there is nothing before {} in {}", args.before, args.topic))?;
        return out.flush();
    }
    show(&mut out, &cuts)?;
    let records: i64 = cuts.iter().map(|(_, range, start)| start - range.start).sum();
    confirm(&format!("Delete {records} records of {} for ever?", args.topic), args.yes)?;
    let asked = cuts.iter().map(|((topic, partition), _, start)| {
        (TopicPartition::new(topic.as_str(), *partition), *start)
    });
    let answer = session.admin.delete_records(asked, DeleteRecordsOptions::default()).await;
    for (place, result) in answer.map_err(|error| session.fail(&error))? {
        let what = format!("partition {} of {}", place.partition, place.topic);
        result.map_err(|error| session.fail_of(&what, &error))?;
    }
    out.line(format!("deleted {records} records of {}", args.topic))?;
    out.flush()?;
    session.close().await;
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
    for ((_, partition), range, start) in cuts {
        let cells = [range.start, *start, range.end, start - range.start];
        table.row(std::iter::once(partition.to_string()).chain(cells.map(|cell| cell.to_string())));
    }
    out.table(&table)?;
    out.flush()
}
