//! `millrace produce`.
//!
//! Invariant: a record counts as written when its broker has acknowledged it,
//! and the exit code is 0 only when all were. One thread reads (`source`), the
//! command's own task hands to the library in the order of the input, and one
//! task takes the acknowledgements in the same order (`acks`).

mod acks;
mod rows;
mod source;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use krafka::admin::{CreateTopicsOptions, NewTopic};
use krafka::producer::Producer;
use krafka::{Compression, Record};

use crate::clients::escape::separator;
use crate::clients::path::FieldPath;
use crate::clients::positions::chosen;
use crate::clients::session::{Connection, Session, no_topic, pair};
use crate::terminal::{Progress, counted, say};
use crate::{Failure, Out};
use acks::{Acks, Origin};
use source::{Item, Rules, Source};

/// Write records to a topic, from files or standard input.
///
/// Each line is a record, or with --format json each line is a JSON value, or with --format csv each
/// row becomes a JSON object under the names of the header. All replicas have to acknowledge, and
/// retries write nothing twice.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Rows of CSV: what is a number, true or false in JSON becomes one, an empty field null, anything else a text (007 too). \
Lines: with --key-separator what stands before it is the key, and \\t \\n \\xHH in it are as in C. The line's end (LF or CR LF) is not part of the record.

Examples:
  echo 'hello, mill' | millrace produce first --create
  millrace produce orders orders.jsonl --key customer.id
  millrace produce flights 2026-01.csv 2026-02.csv --key carrier --compression zstd
  kcat -C -b old:9092 -t orders -K '\\t' -e | millrace produce orders -K '\\t'

With --json: {topic, records, bytes, not_acknowledged, seconds, partition, offset}; partition and offset are of the only record, or \
null.
Exit codes: 0 all records were acknowledged, 1 one was not, or a line could not be read (what was acknowledged before is \
told), 2 the command line can't be, 130 ended by a second Ctrl-C.")]
pub struct ProduceArgs {
    /// Name of the topic
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// Files; - or none is standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What the input is [default: csv for *.csv, json for *.json, *.jsonl and *.ndjson, or else lines]
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<Format>,
    /// Field of the JSON value or column of the CSV that is the key, such as user.id
    #[arg(long, short, value_name = "FIELD", value_parser = field, conflicts_with = "key_separator")]
    key: Option<FieldPath>,
    /// What stands between key and value of a line; \t is a tab, \xHH any byte
    #[arg(long, short = 'K', value_name = "TEXT", value_parser = separator)]
    key_separator: Option<Bytes>,
    /// With --key-separator: a line with nothing behind it is a tombstone, which deletes its key where the
    /// topic is compacted
    #[arg(long, short = 'Z', requires = "key_separator")]
    tombstones: bool,
    /// Field of the JSON value or column of the CSV that is the record's time: milliseconds since 1970, or such
    /// as 2026-11-23T10:15Z [default: now]
    #[arg(long, short = 'T', value_name = "FIELD", value_parser = field)]
    timestamp: Option<FieldPath>,
    /// Header of each record; may be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME=VALUE", value_parser = pair)]
    headers: Vec<(String, String)>,
    /// Write to this partition [default: by the key's hash as Kafka's clients do, or spread]
    #[arg(long, short, value_name = "N")]
    partition: Option<i32>,
    /// Compress batches
    #[arg(long, short = 'z', value_name = "CODEC", default_value = "none")]
    compression: Codec,
    /// Create the topic where it doesn't exist, with the broker's defaults
    #[arg(long)]
    create: bool,
    /// No progress and no summary
    #[arg(long, short)]
    quiet: bool,
    /// Print the summary as JSON
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A record a line, as it is
    Lines,
    /// A JSON value a line, as it is
    Json,
    /// Comma-separated with a header
    Csv,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

fn field(text: &str) -> Result<FieldPath, String> {
    FieldPath::parse(text).ok_or_else(|| format!("{text:?} is no path of fields such as user.id"))
}

/// How long a record may wait for its acknowledgement.
const DELIVERY: Duration = Duration::from_secs(60);
/// Records per batch are counted in bytes: below Kafka's limit of 1 MiB with room to spare.
const BATCH_BYTES: usize = 256 * 1024;

pub(crate) async fn run(args: ProduceArgs) -> Result<(), Failure> {
    let rules = Rules {
        format: args.format,
        key: args.key.clone(),
        separator: args.key_separator.clone(),
        tombstones: args.tombstones,
        timestamp: args.timestamp.clone(),
    };
    let source = Source::open(&args.files, rules)?;
    let session = Session::open(&args.connection).await?;
    prepare(&session, &args).await?;
    let producer = producer(&session, &args).await?;
    // A line that moves would be in the way of who types.
    let progress = (!args.quiet && !source.is_typed())
        .then(|| Progress::of_records("producing", source.total_bytes()));
    if !args.quiet && source.is_typed() {
        say("type records, a line each; Ctrl-D ends");
    }
    let started = Instant::now();
    let (acks, taken) = Acks::start(progress);
    let read = send(&session, &producer, &args, source, acks).await;
    // What is queued goes out, whatever ended the reading.
    let closed = producer.close().await;
    let outcome = taken.finish().await;
    if args.json {
        let mut out = Out::stdout(true);
        out.json(&outcome.json(&args.topic, started.elapsed()))?;
        out.flush()?;
    } else if !args.quiet {
        say(&outcome.summary(&args.topic, started.elapsed()));
    }
    if let Some((origin, error)) = outcome.refused {
        let Failure::Failed(why) = session.fail(&error) else { return Err(session.fail(&error)) };
        let lost = counted(outcome.not_acknowledged, "record");
        return Err(Failure::Failed(format!("{origin}: {why} ({lost} not acknowledged)")));
    }
    read?;
    closed.map_err(|error| session.fail(&error))?;
    session.close().await;
    Ok(())
}

/// The topic is there, and the partition if one was named.
async fn prepare(session: &Session, args: &ProduceArgs) -> Result<(), Failure> {
    let names = session.topic_names(true).await?;
    if !names.contains(&args.topic) {
        if !args.create {
            let Failure::Failed(why) = no_topic(&args.topic, &names) else { return Ok(()) };
            return Err(Failure::Failed(format!("{why} (--create makes it)")));
        }
        let topic = NewTopic::new(&args.topic, -1, -1).map_err(|error| session.fail(&error))?;
        let answer = session.admin.create_topics([topic], CreateTopicsOptions::default()).await;
        let result = answer.map_err(|error| session.fail(&error))?.into_values().next();
        if let Some(Err(error)) = result {
            return Err(session.fail_of(&format!("topic {}", args.topic), &error));
        }
    }
    if let Some(partition) = args.partition {
        chosen(&session.topic(&args.topic).await?, &[partition])?;
    }
    Ok(())
}

async fn producer(session: &Session, args: &ProduceArgs) -> Result<Producer, Failure> {
    let compression = match args.compression {
        Codec::None => Compression::None,
        Codec::Gzip => Compression::Gzip,
        Codec::Snappy => Compression::Snappy,
        Codec::Lz4 => Compression::Lz4,
        Codec::Zstd => Compression::Zstd,
    };
    let producer = session
        .kafka
        .producer()
        .compression(compression)
        .batch_size(BATCH_BYTES)
        .delivery_timeout(DELIVERY)
        .max_block(DELIVERY)
        .metrics_push(false)
        .build();
    producer.await.map_err(|error| session.fail(&error))
}

/// Hands over what the source reads, until it ends, fails or is interrupted.
async fn send(
    session: &Session,
    producer: &Producer,
    args: &ProduceArgs,
    source: Source,
    acks: Acks,
) -> Result<(), Failure> {
    let mut items = source.start()?;
    let interrupted = crate::clients::interrupted();
    tokio::pin!(interrupted);
    loop {
        let item = tokio::select! {
            biased;
            () = &mut interrupted => {
                return Err(Failure::Failed("interrupted before the end of the input".to_owned()));
            }
            () = acks.failed() => return Ok(()),
            item = items.recv() => item,
        };
        let Some(item) = item else { return Ok(()) };
        let item = item?;
        let origin = item.origin.clone();
        let handle = producer.enqueue(record(args, item)).await;
        let handle = handle.map_err(|error| told(&origin, &session.fail(&error)))?;
        acks.expect(origin, handle).await;
    }
}

fn told(origin: &Origin, failure: &Failure) -> Failure {
    Failure::Failed(format!("{origin}: {failure}"))
}

fn record(args: &ProduceArgs, item: Item) -> Record {
    let mut record = Record::new(args.topic.as_str(), Bytes::new());
    record.key = item.key;
    record.value = item.value;
    record.timestamp = item.timestamp;
    record.partition = args.partition;
    for (name, value) in &args.headers {
        record = record.header(name, value.clone());
    }
    record
}
