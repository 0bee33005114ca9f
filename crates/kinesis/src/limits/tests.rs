use base64::{Engine as _, prelude::BASE64_STANDARD};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::Settings;
use crate::testing::Server;
use crate::value::Members;

const AT: ShardName<'_> =
    ShardName { topic: TopicId([1; 16]), shard: PartitionId(0), stream: "s", account: "1" };

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_shard_takes_a_mebibyte_or_a_thousand_records_a_second() {
    let limits = Limits::new(true);
    let taken = |bytes, now| (0..5000).take_while(|_| limits.put(AT, bytes, now).is_ok()).count();
    assert_eq!(taken(100, ms(0)), 1000);
    assert_eq!(taken(100, ms(250)), 250);
    assert_eq!(taken(64 << 10, ms(10_000)), 16);
    assert_eq!(taken(64 << 10, ms(10_500)), 8);
    let error = limits.put(AT, 64 << 10, ms(10_500)).unwrap_err();
    assert_eq!(error.code, Code::ProvisionedThroughputExceeded);
    let said = "Rate exceeded for shard shardId-000000000000 in stream s under account 1.";
    assert_eq!(error.message.as_deref(), Some(said));
    let other = ShardName { shard: PartitionId(1), ..AT };
    assert!(limits.put(other, 64 << 10, ms(10_500)).is_ok());
    // A large record takes what comes in several seconds.
    assert!(limits.put(AT, 10 << 20, ms(20_000)).is_ok());
    assert!(limits.put(AT, 1, ms(28_900)).is_err());
    assert!(limits.put(AT, 1, ms(29_100)).is_ok());
}

#[test]
fn a_shard_gives_two_mebibytes_and_five_pages_a_second() {
    let limits = Limits::new(true);
    let calls = |now| (0..50).take_while(|_| limits.get(AT, now).is_ok()).count();
    assert_eq!(calls(ms(0)), 5);
    assert_eq!(calls(ms(400)), 2);
    // Two mebibytes are there at once, and back after a second.
    for now in [10_000, 11_000] {
        for _ in 0..2 {
            assert!(limits.get(AT, ms(now)).is_ok());
            limits.got(AT, 1 << 20, ms(now));
        }
        assert!(limits.get(AT, ms(now)).is_err());
    }
    // A full page is paid by five seconds.
    assert!(limits.get(AT, ms(20_000)).is_ok());
    limits.got(AT, 10 << 20, ms(20_000));
    assert!(limits.get(AT, ms(24_999)).is_err());
    assert!(limits.get(AT, ms(25_001)).is_ok());
    let iterators = |now| (0..50).take_while(|_| limits.iterator(AT, now).is_ok()).count();
    assert_eq!((iterators(ms(0)), iterators(ms(1000))), (5, 5));
}

#[test]
fn calls_are_counted_for_the_account_or_the_stream() {
    let limits = Limits::new(true);
    let by_name = |name: &str| Members::new().text("StreamName", name.to_owned()).done();
    let (a, b) = (by_name("a"), by_name("b"));
    let arn = "arn:aws:kinesis:us-east-1:123456789012:stream/a";
    let by_arn = Members::new().text("StreamARN", arn).done();
    let call = |operation, input, now| limits.call(operation, Input(input), "1", now);
    for _ in 0..5 {
        call("ListStreams", &a, ms(0)).unwrap();
        call("SplitShard", &a, ms(0)).unwrap();
    }
    let error = call("ListStreams", &b, ms(0)).unwrap_err();
    assert_eq!(error, Error::new(Code::LimitExceeded, "Rate exceeded for account 1."));
    let error = call("SplitShard", &by_arn, ms(0)).unwrap_err();
    assert_eq!(error.message.as_deref(), Some("Rate exceeded for stream a under account 1."));
    call("SplitShard", &b, ms(0)).unwrap();
    call("ListStreams", &a, ms(200)).unwrap();
    for _ in 0..2 {
        call("UpdateStreamMode", &a, ms(0)).unwrap();
    }
    assert!(call("UpdateStreamMode", &a, ms(3_600_000)).is_err());
    assert!(call("UpdateStreamMode", &a, ms(86_400_000)).is_ok());
    // Ten in any 24 hours, by the hour at which each was made.
    let scale = |hour: u64| call("UpdateShardCount", &a, ms(hour * 3_600_000)).is_ok();
    assert!((0..10).all(scale));
    assert!((10..24).all(|hour| !scale(hour)));
    assert!((24..34).all(scale));
    assert!(!scale(34));
    assert!(call("UpdateShardCount", &b, ms(0)).is_ok());
    for _ in 0..100 {
        call("PutRecords", &a, ms(0)).unwrap();
    }
}

#[test]
fn what_has_rested_is_forgotten() {
    let limits = Limits::new(true);
    for n in 0..10_000u32 {
        let at = ShardName { shard: PartitionId(i32::try_from(n).unwrap()), ..AT };
        limits.put(at, 100, ms(u64::from(n) * 10)).unwrap();
    }
    assert!(limits.0.as_ref().unwrap().lock().shards.len() <= SWEEP_MIN);
}

proptest! {
    #[test]
    fn no_second_takes_more_than_its_budget_and_a_full_one(
        puts in proptest::collection::vec((0u64..300, 1usize..500_000), 1..200),
    ) {
        let limits = Limits::new(true);
        let (mut now, mut taken) = (0, Vec::new());
        for (pause, bytes) in puts {
            now += pause;
            if limits.put(AT, bytes, ms(now)).is_ok() {
                taken.push((now, bytes));
            }
        }
        for (from, _) in &taken {
            let within = taken.iter().filter(|(at, _)| (*from..from + 1000).contains(at));
            prop_assert!(within.map(|(_, bytes)| bytes).sum::<usize>() <= 2 << 20);
        }
    }
}

async fn enforcing() -> Server {
    let settings = Settings { enforce_limits: true, ..Settings::default() };
    Server::with(millrace_broker::Broker::in_memory(), settings).await
}

#[tokio::test]
async fn records_above_the_rate_say_so_each() {
    let server = enforcing().await;
    server.ok("CreateStream", json!({"StreamName": "s", "ShardCount": 2})).await;
    let data = BASE64_STANDARD.encode(vec![0; 100 << 10]);
    // All to the first shard, and one to the other.
    let record = |hash: &str| json!({"Data": data, "PartitionKey": "k", "ExplicitHashKey": hash});
    let other = (1u128 << 127).to_string();
    let mut records: Vec<_> = (0..30).map(|_| record("0")).collect();
    records.push(record(&other));
    let put = server.ok("PutRecords", json!({"StreamName": "s", "Records": records})).await;
    let results = put["Records"].as_array().unwrap();
    let failed: Vec<_> = results.iter().filter(|it| it["ErrorCode"].is_string()).collect();
    assert_eq!(put["FailedRecordCount"], json!(failed.len()));
    assert!((10..=20).contains(&failed.len()), "{}", failed.len());
    assert_eq!(failed[0]["ErrorCode"], json!("ProvisionedThroughputExceededException"));
    let said =
        "Rate exceeded for shard shardId-000000000000 in stream s under account 123456789012.";
    assert_eq!(failed[0]["ErrorMessage"], json!(said));
    assert_eq!(results[30]["ShardId"], json!("shardId-000000000001"));
    assert!(results[0]["SequenceNumber"].is_string());
    let large = BASE64_STANDARD.encode(vec![0; 1_000_000]);
    let one =
        json!({"StreamName": "s", "Data": large, "PartitionKey": "k", "ExplicitHashKey": "0"});
    let (code, message) = server.refused("PutRecord", one).await;
    assert_eq!((code.as_str(), message.as_str()), ("ProvisionedThroughputExceededException", said));
}
