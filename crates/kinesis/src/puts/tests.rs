use proptest::prelude::*;
use proptest::sample::Index;

use super::agreement::{Agreement, Passed};
use crate::model::Encoding;
use crate::value::{Members, Value, cbor, json};

const BOTH: [Encoding; 2] = [Encoding::Json, Encoding::Cbor];

type Record = (Vec<u8>, Option<String>, Option<String>);

fn record() -> impl Strategy<Value = Record> {
    let data = proptest::collection::vec(any::<u8>(), 0..80);
    let key = proptest::option::of("[a-zé\"\\\\\n]{0,5}|.{250,260}");
    let explicit = proptest::option::of("0|[1-9][0-9]{0,39}|x");
    (data, proptest::option::weighted(0.9, key).prop_map(Option::flatten), explicit)
}

/// A body as a client would write it, with what it may get wrong.
fn body(encoding: Encoding, name: &str, records: &[Record], extra: u8) -> Vec<u8> {
    let text = |text: &String| Value::text(text.clone());
    let entry = |(data, key, explicit): &Record| {
        Members::new()
            .with("Data", Value::Blob(data.clone().into()))
            .maybe("PartitionKey", key.as_ref().map(text))
            .maybe("ExplicitHashKey", explicit.as_ref().map(text))
            .done()
    };
    let list = || Value::List(records.iter().map(entry).collect());
    let members = Members::new();
    let members = match extra {
        0 => members.with("Records", list()),
        1 => members.with("Unknown", Value::Int(1)).with("Records", list()),
        2 => members.with("StreamARN", Value::Null).with("Records", list()),
        3 => members.with("Records", list()).with("Records", Value::List(Vec::new())),
        4 => members.with("DryRun", Value::Bool(true)).with("Records", list()),
        _ => members.with("Records", list()).text("StreamName", "other"),
    };
    let value = members.text("StreamName", name.to_owned()).done();
    let mut out = Vec::new();
    match encoding {
        Encoding::Json => json::encode(&value, &mut out),
        Encoding::Cbor => cbor::encode(&value, &mut out),
    }
    out
}

proptest! {
    #[test]
    fn it_agrees_with_the_model(
        name in "[a-zA-Z0-9_.-]{1,6}|.{0,3}",
        records in proptest::collection::vec(record(), 0..5), extra in 0u8..20,
        changes in proptest::collection::vec((any::<Index>(), any::<u8>()), 0..3),
        cut in proptest::option::weighted(0.1, any::<Index>()),
    ) {
        let both = Agreement::load().unwrap();
        for encoding in BOTH {
            let mut body = body(encoding, &name, &records, extra.saturating_sub(14));
            for (at, byte) in &changes {
                *at.get_mut(&mut body) = *byte;
            }
            if let Some(cut) = cut {
                body.truncate(cut.index(body.len()));
            }
            both.check(&body, encoding);
        }
    }

    #[test]
    fn any_base64_is_as_in_the_tree(text in "[A-Za-z0-9+/=]{0,90}|[A-Za-z0-9+/]{40}[=A-Z ]{4}") {
        let body = format!(r#"{{"Records":[{{"Data":"{text}"}}],"StreamName":"s"}}"#);
        let both = Agreement::load().unwrap();
        prop_assert_ne!(both.check(body.as_bytes(), Encoding::Json), Passed::ByTree);
    }
}

#[test]
fn bodies_of_clients_are_plain() {
    let both = Agreement::load().unwrap();
    // boto3 puts spaces, others none, in either order.
    for body in [
        r#"{"StreamName": "s", "Records": [{"Data": "YQ==", "PartitionKey": "k"}]}"#,
        r#"{"Records":[{"PartitionKey":"k","Data":"YQ=="},{"Data":""}],"StreamName":"s"}"#,
        "\n{\t\"Records\" : [ {\"Data\" :\"YQ==\" , \"ExplicitHashKey\":\"7\"} ]\r\n} ",
        r#"{"Records":[{"Data":"YWJj"}],
            "StreamARN":"arn:aws:kinesis:us-east-1:123456789012:stream/s"}"#,
    ] {
        assert_eq!(both.check(body.as_bytes(), Encoding::Json), Passed::Plain, "{body}");
    }
    // Java's SDK says no lengths of maps and lists.
    let mut body = Vec::new();
    let mut out = minicbor::Encoder::new(&mut body);
    out.begin_map().unwrap().str("StreamName").unwrap().str("s").unwrap();
    out.str("Records").unwrap().begin_array().unwrap();
    out.begin_map().unwrap().str("Data").unwrap().bytes(b"\xff").unwrap();
    out.str("PartitionKey").unwrap().str("k").unwrap().end().unwrap();
    out.end().unwrap().end().unwrap();
    assert_eq!(both.check(&body, Encoding::Cbor), Passed::Plain);
}

#[test]
fn what_is_not_plain_is_left_to_the_tree() {
    let both = Agreement::load().unwrap();
    for body in [
        "",
        "{",
        "{}",
        "[]",
        "null",
        "{\"Records\":[]}",
        "{\"Records\":[{}]}",
        r#"{"Records":[{"Data":"YQ=="}]}x"#,
        r#"{"Records":[{"Data":"YQ=="},]}"#,
        r#"{"Records":[{"Data":"YQ==",}]}"#,
        r#"{"Records":[{"Data":"YQ=="}],}"#,
        r#"{"Records":[{"Data":"YQ=="}} "#,
        r#"{"Records":[{"Data":"YR=="}]}"#,
        r#"{"Records":[{"Data":"YQ"}]}"#,
        r#"{"Records":[{"Data":"YQ\u003d="}]}"#,
        r#"{"Records":[{"Data":"YQ==","Data":"YQ=="}]}"#,
        r#"{"Records":[{"Data":"YQ==","PartitionKey":""}]}"#,
        r#"{"Records":[{"Data":"YQ==","PartitionKey":"\n"}]}"#,
        r#"{"Records":[{"Data":"YQ==","PartitionKey":null}]}"#,
        r#"{"Records":[{"Data":"YQ==","ExplicitHashKey":"01"}]}"#,
        r#"{"Records":[{"Data":"YQ=="}],"StreamName":"a b"}"#,
        r#"{"Records":[{"Data":"YQ=="}],"DryRun":true}"#,
        r#"{"Records":{"Data":"YQ=="}}"#,
    ] {
        assert_ne!(both.check(body.as_bytes(), Encoding::Json), Passed::Plain, "{body}");
    }
    let records = |n: usize| {
        let records: Vec<Record> = vec![(vec![7], None, None); n];
        BOTH.map(|encoding| both.check(&body(encoding, "s", &records, 0), encoding))
    };
    assert_eq!(records(500), [Passed::Plain; 2]);
    assert_eq!(records(501), [Passed::No; 2]);
}
