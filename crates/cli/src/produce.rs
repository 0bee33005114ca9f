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

use crate::Failure;
use crate::clients::path::FieldPath;
use crate::clients::positions::chosen;
use crate::clients::session::{Connection, Session, no_topic, pair};
use crate::terminal::{Counted, Progress};
use acks::{Acks, Origin};
use source::{Item, Source};

/// Write records to a topic, from files or standard input.
///
/// Each line is a record, or with --format json each line is a JSON value, or with --format csv each
/// row becomes a JSON object under the names of the header. All replicas have to acknowledge, and
/// retries write nothing twice.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Rows of CSV: what is a number, true or false in JSON becomes one, an empty field null, anything else a text (007 too). \
Lines: with --key-separator what stands before it is the key. The line's end (LF or CR LF) is not part of the record.

Examples:
  echo 'hello, mill' | millrace produce first --create
  millrace produce orders orders.jsonl --key customer.id
  millrace produce flights 2026-01.csv 2026-02.csv --key carrier --compression zstd
  kcat -C -b old:9092 -t orders -K '\\t' -e | millrace produce orders -K '\\t'

Exit codes: 0 all records were acknowledged, 1 one was not, or a line could not be read (what was acknowledged before is \
told), 2 the command line can't be.")]
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
    /// What stands between key and value of a line; \t is a tab
    #[arg(long, short = 'K', value_name = "TEXT")]
    key_separator: Option<String>,
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
    let source =
        Source::open(&args.files, args.format, args.key.clone(), args.key_separator.as_deref())?;
    let session = Session::open(&args.connection).await?;
    prepare(&session, &args).await?;
    let producer = producer(&session, &args).await?;
    let progress =
        (!args.quiet).then(|| Progress::new("producing", Counted::Bytes, source.total_bytes()));
    let started = Instant::now();
    let (acks, taken) = Acks::start(progress);
    let read = send(&session, &producer, &args, source, acks).await;
    // What is queued goes out, whatever ended the reading.
    let closed = producer.close().await;
    let outcome = taken.finish().await;
    if !args.quiet {
        eprintln!("{}", outcome.summary(&args.topic, started.elapsed()));
    }
    if let Some((origin, error)) = outcome.refused {
        let Failure::Failed(why) = session.fail(&error) else { return Err(session.fail(&error)) };
        let lost = outcome.not_acknowledged;
        return Err(Failure::Failed(format!(
            "{origin}: {why} ({lost} records were not acknowledged)"
        )));
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
        let Item { key, value, origin } = item?;
        let handle = producer.enqueue(record(args, key, value)).await;
        let handle = handle.map_err(|error| told(&origin, &session.fail(&error)))?;
        acks.expect(origin, handle).await;
    }
}

fn told(origin: &Origin, failure: &Failure) -> Failure {
    Failure::Failed(format!("{origin}: {failure}"))
}

fn record(args: &ProduceArgs, key: Option<Bytes>, value: Bytes) -> Record {
    let mut record = Record::new(args.topic.as_str(), value);
    if let Some(key) = key {
        record = record.key(key);
    }
    if let Some(partition) = args.partition {
        record = record.partition(partition);
    }
    for (name, value) in &args.headers {
        record = record.header(name, value.clone());
    }
    record
}
