//! The AWS SDK for Rust behind the calls that tests/harness/kinesis.py describes.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use aws_sdk_kinesis::client::Waiters;
use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kinesis::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::primitives::{Blob, DateTime};
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, Record, ShardIteratorType, StartingPosition, SubscribeToShardEventStream};
use aws_sdk_kinesis::{Client, Config};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

#[derive(Deserialize)]
struct Call {
    r#do: String,
    #[serde(default)]
    stream: String,
    #[serde(default)]
    shard: String,
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    arn: String,
    #[serde(default)]
    consumer: String,
    #[serde(default)]
    shards: i32,
    #[serde(default)]
    hours: i32,
    #[serde(default)]
    count: usize,
    #[serde(default)]
    tags: HashMap<String, String>,
    #[serde(default)]
    records: Vec<Put>,
    sequence: Option<String>,
    timestamp_ms: Option<i64>,
    #[serde(flatten)]
    put: Option<Put>,
}

#[derive(Deserialize)]
struct Put {
    key: String,
    data: String,
    hash: Option<String>,
}

/// What the service refused: its name of the error, and its words.
struct Refused(Value);

impl<E: ProvideErrorMetadata + Error + 'static, R: std::fmt::Debug + 'static> From<SdkError<E, R>> for Refused {
    fn from(error: SdkError<E, R>) -> Self {
        match error.as_service_error() {
            Some(said) => Self(json!({"error": said.code(), "message": said.message()})),
            None => Self(json!({"error": "client", "message": DisplayErrorContext(error).to_string()})),
        }
    }
}

fn failed(error: impl Error) -> Refused {
    Refused(json!({"error": "client", "message": DisplayErrorContext(error).to_string()}))
}

type Answer = Result<Value, Refused>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(arguments.next().ok_or("an endpoint")?)
        .region(Region::new(arguments.next().ok_or("a region")?))
        .credentials_provider(Credentials::new("key", "secret", None, None, "tests"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let client = Client::from_conf(config);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let answer = answer(&client, serde_json::from_str(&line)?).await;
        println!("{}", answer.unwrap_or_else(|Refused(said)| said));
    }
    Ok(())
}

async fn answer(client: &Client, c: Call) -> Answer {
    match c.r#do.as_str() {
        "create" => create(client, c).await,
        "delete" => {
            client.delete_stream().stream_name(c.stream).enforce_consumer_deletion(true).send().await?;
            Ok(json!({}))
        }
        "put" => put(client, c).await,
        "put_many" => put_many(client, c).await,
        "shards" => shards(client, c).await,
        "read" => read(client, c).await,
        "retain" => retain(client, c).await,
        "tag" => tag(client, c).await,
        "register" => {
            let done = client.register_stream_consumer().stream_arn(c.arn).consumer_name(c.consumer).send().await?;
            Ok(json!({"arn": done.consumer().map(|made| made.consumer_arn())}))
        }
        "subscribe" => subscribe(client, c).await,
        other => panic!("no call is named {other}"),
    }
}

async fn create(client: &Client, c: Call) -> Answer {
    client.create_stream().stream_name(&c.stream).shard_count(c.shards).send().await?;
    let waited = client.wait_until_stream_exists().stream_name(&c.stream).wait(Duration::from_secs(60)).await;
    let found = waited.map_err(failed)?.into_result().map_err(failed)?;
    Ok(json!({"arn": found.stream_description().map(|stream| stream.stream_arn())}))
}

fn blob(data: &str) -> Blob {
    Blob::new(STANDARD.decode(data).expect("base64"))
}

async fn put(client: &Client, c: Call) -> Answer {
    let put = c.put.expect("a record");
    let request = client.put_record().stream_name(c.stream).partition_key(put.key);
    let done = request.data(blob(&put.data)).set_explicit_hash_key(put.hash).send().await?;
    Ok(json!({"shard": done.shard_id(), "sequence": done.sequence_number()}))
}

async fn put_many(client: &Client, c: Call) -> Answer {
    let entry = |put: Put| {
        let entry = PutRecordsRequestEntry::builder().partition_key(put.key).data(blob(&put.data));
        entry.set_explicit_hash_key(put.hash).build().expect("all members")
    };
    let entries = c.records.into_iter().map(entry).collect();
    let done = client.put_records().stream_name(c.stream).set_records(Some(entries)).send().await?;
    let stored = done.records().iter().map(|r| json!({"shard": r.shard_id(), "sequence": r.sequence_number()}));
    Ok(json!({"failed": done.failed_record_count(), "records": stored.collect::<Vec<_>>()}))
}

async fn shards(client: &Client, c: Call) -> Answer {
    let mut all = Vec::new();
    let mut page = client.list_shards().stream_name(c.stream).max_results(2).send().await?;
    loop {
        for shard in page.shards() {
            let range = shard.hash_key_range().expect("a range");
            all.push(json!({"id": shard.shard_id(), "first": range.starting_hash_key(), "last": range.ending_hash_key()}));
        }
        let Some(token) = page.next_token() else { return Ok(json!({"shards": all})) };
        page = client.list_shards().next_token(token).max_results(2).send().await?;
    }
}

fn shown(record: &Record) -> Value {
    let arrived = record.approximate_arrival_timestamp().and_then(|at| at.to_millis().ok());
    json!({
        "sequence": record.sequence_number(), "key": record.partition_key(),
        "data": STANDARD.encode(record.data().as_ref()), "arrived_ms": arrived,
    })
}

async fn read(client: &Client, c: Call) -> Answer {
    let request = client.get_shard_iterator().stream_name(c.stream).shard_id(c.shard);
    let from = request
        .shard_iterator_type(ShardIteratorType::from(c.r#type.as_str()))
        .set_starting_sequence_number(c.sequence)
        .set_timestamp(c.timestamp_ms.map(DateTime::from_millis))
        .send()
        .await?;
    let mut records = Vec::new();
    let mut next = from.shard_iterator;
    loop {
        let page = client.get_records().set_shard_iterator(next).limit(30).send().await?;
        records.extend(page.records().iter().map(shown));
        if page.millis_behind_latest() == Some(0) {
            return Ok(json!({"records": records}));
        }
        next = page.next_shard_iterator;
    }
}

async fn retain(client: &Client, c: Call) -> Answer {
    let request = client.increase_stream_retention_period().stream_name(&c.stream);
    request.retention_period_hours(c.hours).send().await?;
    let now = client.describe_stream_summary().stream_name(c.stream).send().await?;
    Ok(json!({"hours": now.stream_description_summary().map(|stream| stream.retention_period_hours())}))
}

async fn tag(client: &Client, c: Call) -> Answer {
    client.add_tags_to_stream().stream_name(&c.stream).set_tags(Some(c.tags)).send().await?;
    let now = client.list_tags_for_stream().stream_name(c.stream).send().await?;
    let tags: HashMap<_, _> = now.tags().iter().map(|tag| (tag.key(), tag.value())).collect();
    Ok(json!({"tags": tags}))
}

async fn subscribe(client: &Client, c: Call) -> Answer {
    let position = StartingPosition::builder()
        .r#type(ShardIteratorType::from(c.r#type.as_str()))
        .set_sequence_number(c.sequence)
        .set_timestamp(c.timestamp_ms.map(DateTime::from_millis))
        .build()
        .expect("all members");
    let request = client.subscribe_to_shard().consumer_arn(c.arn).shard_id(c.shard);
    let mut done = request.starting_position(position).send().await?;
    println!("{}", json!({"subscribed": true}));
    let mut records = Vec::new();
    while let Some(event) = done.event_stream.recv().await? {
        let SubscribeToShardEventStream::SubscribeToShardEvent(pushed) = event else { continue };
        records.extend(pushed.records().iter().map(shown));
        if records.len() >= c.count {
            return Ok(json!({"records": records, "continuation": pushed.continuation_sequence_number()}));
        }
    }
    Err(Refused(json!({"error": "client", "message": "the subscription ended"})))
}
