//! The `rdkafka` crate behind the commands that tests/harness/clients.py describes (all but `pump`).

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufWriter, Write, stdin, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

type Outcome = Result<(), Box<dyn Error>>;
type Options = HashMap<String, String>;

#[derive(Deserialize)]
struct Line {
    key: Option<String>,
    value: Option<String>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    timestamp: Option<i64>,
    partition: Option<i32>,
}

#[derive(Serialize)]
struct Shown<'a> {
    partition: i32,
    offset: i64,
    key: Option<&'a str>,
    value: Option<&'a str>,
    headers: Vec<(&'a str, &'a str)>,
    timestamp: Option<i64>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Acked { partition: i32, offset: i64 },
    Failed { error: i32, message: String },
}

fn main() -> Outcome {
    let mut args = std::env::args().skip(1);
    let command = args.next().ok_or("a command is missing")?;
    let mut options = Options::new();
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        options.insert(name.trim_start_matches("--").to_owned(), value);
    }
    match command.as_str() {
        "produce" => produce(&options),
        "consume" => consume(&options),
        "member" => member(&options),
        other => Err(format!("unknown command {other}").into()),
    }
}

fn or<'a>(options: &'a Options, name: &str, otherwise: &'a str) -> &'a str {
    options.get(name).map_or(otherwise, String::as_str)
}

fn config(options: &Options, settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", or(options, "bootstrap", ""));
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config
}

/// Delivery reports by the number that each record carries as its opaque.
#[derive(Default)]
struct Reports(std::sync::Mutex<HashMap<usize, Answer>>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<usize>) {
        let answer = match result {
            Ok(message) => {
                Answer::Acked { partition: message.partition(), offset: message.offset() }
            }
            Err((KafkaError::MessageProduction(code), _)) => {
                Answer::Failed { error: *code as i32, message: code.to_string() }
            }
            Err((other, _)) => Answer::Failed { error: -1, message: other.to_string() },
        };
        self.0.lock().unwrap().insert(*number, answer);
    }
}

fn produce(options: &Options) -> Outcome {
    let config = config(
        options,
        &[
            ("compression.type", or(options, "compression", "none")),
            ("acks", or(options, "acks", "all")),
            ("enable.idempotence", or(options, "idempotent", "false")),
            ("message.max.bytes", "50000000"),
            ("delivery.timeout.ms", or(options, "timeout-ms", "30000")),
            ("partitioner", "murmur2_random"),
        ],
    );
    let producer: BaseProducer<Reports> = config.create_with_context(Reports::default())?;
    let mut count = 0;
    for line in stdin().lock().lines() {
        let line: Line = serde_json::from_str(&line?)?;
        let mut headers = OwnedHeaders::new();
        for (key, value) in &line.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut record =
            BaseRecord::with_opaque_to(or(options, "topic", ""), Box::new(count)).headers(headers);
        record.key = line.key.as_ref();
        record.payload = line.value.as_ref();
        record.partition = line.partition;
        record.timestamp = line.timestamp;
        while let Err((error, again)) = producer.send(record) {
            match error {
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => {
                    producer.poll(Duration::from_millis(100));
                    record = again;
                }
                other => return Err(other.into()),
            }
        }
        count += 1;
    }
    producer.flush(Duration::from_secs(60))?;
    let answers = producer.context().0.lock().unwrap();
    let mut out = stdout().lock();
    for number in 0..count {
        serde_json::to_writer(&mut out, answers.get(&number).ok_or("no delivery report")?)?;
        writeln!(out)?;
    }
    Ok(())
}

fn show(message: &BorrowedMessage<'_>) -> Outcome {
    let mut headers = Vec::new();
    for header in message.headers().into_iter().flat_map(Headers::iter) {
        headers.push((header.key, std::str::from_utf8(header.value.unwrap_or_default())?));
    }
    let shown = Shown {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(std::str::from_utf8).transpose()?,
        value: message.payload().map(std::str::from_utf8).transpose()?,
        headers,
        timestamp: message.timestamp().to_millis(),
    };
    let mut out = stdout().lock();
    serde_json::to_writer(&mut out, &shown)?;
    Ok(writeln!(out)?)
}

fn consume(options: &Options) -> Outcome {
    let topic = or(options, "topic", "");
    let count: usize = or(options, "count", "0").parse()?;
    let config = config(
        options,
        &[
            ("group.id", "unused"),
            ("isolation.level", or(options, "isolation", "read_uncommitted")),
            ("enable.auto.commit", "false"),
        ],
    );
    let consumer: BaseConsumer = config.create()?;
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10))?;
    let mut assignment = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|t| t.partitions()) {
        assignment.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    for _ in 0..count {
        loop {
            if let Some(message) = consumer.poll(Duration::from_millis(500)) {
                show(&message?)?;
                break;
            }
        }
    }
    Ok(())
}

/// Says on stdout which partitions come and go.
struct Told;

impl ClientContext for Told {}

impl ConsumerContext for Told {
    fn pre_rebalance(&self, _: &BaseConsumer<Told>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            say("revoked", partitions);
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Told>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            say("assigned", partitions);
        }
    }
}

fn say(what: &str, partitions: &TopicPartitionList) {
    let ids: Vec<String> =
        partitions.elements().iter().map(|p| p.partition().to_string()).collect();
    println!("{what} {}", ids.join(","));
}

fn member(options: &Options) -> Outcome {
    let mut config = config(
        options,
        &[
            ("group.id", or(options, "group", "")),
            ("session.timeout.ms", or(options, "session-ms", "6000")),
            ("heartbeat.interval.ms", "500"),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", "false"),
            ("partition.assignment.strategy", or(options, "assignor", "range")),
        ],
    );
    if let Some(instance) = options.get("instance") {
        config.set("group.instance.id", instance);
    }
    let leaving = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&leaving))?;
    let consumer: BaseConsumer<Told> = config.create_with_context(Told)?;
    consumer.subscribe(&[or(options, "topic", "")])?;
    let mut out = BufWriter::new(File::create(or(options, "out", ""))?);
    while !leaving.load(Ordering::Relaxed) {
        let mut uncommitted = false;
        let until = Instant::now() + Duration::from_millis(200);
        while let Some(message) = consumer.poll(until.saturating_duration_since(Instant::now())) {
            let Ok(message) = message else { continue };
            write!(out, "{}\t{}\t", message.partition(), message.offset())?;
            out.write_all(message.key().unwrap_or_default())?;
            out.write_all(b"\t")?;
            out.write_all(message.payload().unwrap_or_default())?;
            out.write_all(b"\n")?;
            uncommitted = true;
        }
        out.flush()?;
        if uncommitted && let Err(error) = consumer.commit_consumer_state(CommitMode::Sync) {
            eprintln!("not committed: {error}"); // read again: the tests allow repetition
        }
    }
    Ok(())
}
