//! `millrace consume`.
//!
//! Invariant: an offset is committed only after the records below it were
//! handed to standard output (or passed over by a filter). Who goes away,
//! by Ctrl-C or a closed pipe, leaves the group at once.

mod filter;
mod format;
mod reader;

use std::collections::BTreeMap;

use clap::Args;

use crate::Failure;
use crate::clients::positions::{Place, Range, chosen};
use crate::clients::session::{Connection, Session};
use crate::clients::when::{self, When};
use filter::Filter;
use format::Format;
use reader::{Reader, Wanted};

/// Read records of a topic.
///
/// It begins at the oldest record, or with --follow behind the newest, unless --from says where; and ends
/// where the topic ended when it began, unless --follow goes on. Ctrl-C ends it in good order.
#[derive(Debug, Args)]
#[command(after_long_help = format!("\
{}

Formats: text is %v\\n, a record a line. json is an object a line: {{topic, partition, offset, timestamp, time, key, value, headers: \
[{{name, value}}]}}; a value that is a JSON object or array stands in it as it is, anything else as a text, and what is not UTF-8 \
as {{\"base64\": \"...\"}}. Others say what stands where, as kcat's do:
  %t topic          %p partition        %o offset
  %k key            %K its bytes        (-1 where there is none)
  %v or %s value    %V or %S its bytes
  %T timestamp, ms  %d the same as a time in UTC
  %h headers, name=value,...            %% a percent sign
  \\n \\t \\r \\\\ \\xHH as in C

Filters compare what stands at a dotted path of a JSON value: = != < <= > >=, and ~ for a regular expression. Numbers are compared \
as numbers, texts as texts. A value without the path, or that is no JSON, passes only != filters.

Offsets that a partition doesn't hold become its start or its end. Records of transactions are printed once these are committed.

In a group (--group) its members share the partitions; --from counts only where the group has committed nothing. What was printed \
is committed once a second and at the end.

Examples:
  millrace consume orders
  millrace consume orders --follow --filter 'customer.country=NL' --filter 'total>=100'
  millrace consume orders --from -1h --format '%d %p %o %k %v\\n'
  millrace consume orders --from -10 --format json | jq .value
  millrace consume orders --group billing --follow

Exit codes: 0 it came to its end, or was ended by Ctrl-C or by who read its output; 1 failed; 2 the command line can't be; \
130 ended by a second Ctrl-C, without commit.", when::HELP))]
pub struct ConsumeArgs {
    /// Name of the topic
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// Where to begin [default: start, or with --follow end]
    #[arg(long, short = 'o', value_name = "PLACE", allow_hyphen_values = true)]
    from: Option<When>,
    /// Where to end: before this place [default: where the topic ends now]
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true, conflicts_with = "follow")]
    to: Option<When>,
    /// Only this partition; may be repeated
    #[arg(long, short, value_name = "N")]
    partition: Vec<i32>,
    /// Read as a member of this consumer group, and commit
    #[arg(long, short, value_name = "GROUP", conflicts_with_all = ["partition", "to"])]
    group: Option<String>,
    /// Go on with the records that come
    #[arg(long, short)]
    follow: bool,
    /// End after so many printed records
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Only records whose value compares so, such as 'a.b>=3'; may be repeated, and all must hold
    #[arg(long, value_name = "PATH OP VALUE", value_parser = Filter::parse)]
    filter: Vec<Filter>,
    /// text, json, or what stands where: '%t %p %o %k %v\n'
    #[arg(long, default_value = "text", value_name = "FORMAT", value_parser = Format::parse)]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(mut args: ConsumeArgs) -> Result<(), Failure> {
    if args.json {
        args.format = Format::Json;
    }
    let session = Session::open(&args.connection).await?;
    let topic = session.topic(&args.topic).await?;
    let places = chosen(&topic, &args.partition)?;
    let ranges = session.ranges(&places, true).await?;
    let from = args.from.unwrap_or(if args.follow { When::End } else { When::Start });
    // Who follows may begin behind what is committed, within a transaction.
    let held = if args.follow { session.ranges(&places, false).await? } else { ranges.clone() };
    let starts = clamped(session.resolve(from, &ranges).await?, &held);
    let ends = match (args.follow, args.to) {
        (true, _) => BTreeMap::new(),
        (false, None) => ranges.iter().map(|(place, range)| (place.clone(), range.end)).collect(),
        (false, Some(to)) => {
            let mut ends = session.resolve(to, &ranges).await?;
            for (place, end) in &mut ends {
                *end = ranges.get(place).map_or(*end, |range| (*end).min(range.end));
            }
            ends
        }
    };
    let wanted = Wanted {
        topic: args.topic,
        starts: starts.into_iter().map(|((_, partition), offset)| (partition, offset)).collect(),
        ends: ends.into_iter().map(|((_, partition), offset)| (partition, offset)).collect(),
        follow: args.follow,
        count: args.count,
        filters: args.filter,
        format: args.format,
    };
    let result = match Reader::open(&session, wanted, args.group).await {
        Ok(reader) => reader.run(&session).await,
        Err(failure) => Err(failure),
    };
    session.close().await;
    match result {
        // Whoever read the output has seen enough: that is an end like another.
        Err(Failure::Closed) => Ok(()),
        other => other,
    }
}

/// What a partition doesn't hold can't be read: its start or its end is next.
fn clamped(
    mut starts: BTreeMap<Place, i64>,
    ranges: &BTreeMap<Place, Range>,
) -> BTreeMap<Place, i64> {
    for (place, start) in &mut starts {
        if let Some(range) = ranges.get(place) {
            *start = (*start).clamp(range.start, range.end);
        }
    }
    starts
}
