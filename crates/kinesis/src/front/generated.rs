//! Tests made from the model: every member of every operation's input, missing,
//! of the wrong type, and beyond each of its constraints, in both encodings.
//! Each is refused by AWS's error, and none makes the server fail.

use std::borrow::Cow;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value as Json, json};

use super::*;
use crate::testing::Server;

const MODEL: &str = include_str!("../../model/kinesis-2013-12-02.json");

/// Texts that satisfy the patterns of the model.
fn sample_text(shape: &str) -> &'static str {
    match shape {
        "StreamARN" | "ResourceARN" => "arn:aws:kinesis:us-east-1:123456789012:stream/s",
        "ConsumerARN" => "arn:aws:kinesis:us-east-1:123456789012:stream/s/consumer/c:1",
        "QueueARN" => "arn:aws:kinesis:us-east-1:123456789012:queue/q",
        "ChannelARN" => "arn:aws:kinesis:us-east-1:123456789012:channel/c",
        "RoleARN" => "arn:aws:iam::123456789012:role/r",
        "BucketARN" => "arn:aws:s3:::bucket",
        "TableBucketARN" => "arn:aws:s3tables:us-east-1:123456789012:bucket/bucket",
        "GSRSchemaARN" => "arn:aws:glue:us-east-1:123456789012:schema/r/s",
        "StreamId" => "abcdefghijklmnopqrst-uvw",
        "ShardId" => "shardId-000000000000",
        "ExpectedBucketOwner" => "123456789012",
        "HashKey" | "SequenceNumber" => "0",
        _ => "s",
    }
}

struct Shapes(Json);

impl Shapes {
    fn shape(&self, name: &str) -> &Json {
        &self.0["shapes"][name]
    }

    fn members(&self, name: &str) -> Vec<(String, String)> {
        serde_json::from_value(self.shape(name)["members"].clone()).unwrap()
    }

    fn requires(&self, name: &str, member: &str) -> bool {
        let required = self.shape(name)["required"].as_array();
        required.is_some_and(|all| all.iter().any(|it| it == member))
    }

    /// A value that the model allows, with what is required alone.
    fn sample(&self, name: &str) -> Json {
        let shape = self.shape(name);
        let min = shape["min"].as_u64().unwrap_or(1).max(1);
        match shape["type"].as_str().unwrap() {
            "structure" => {
                let members = self.members(name).into_iter();
                let members = members.filter(|(member, _)| self.requires(name, member));
                members.map(|(member, of)| (member, self.sample(&of))).collect()
            }
            "list" => json!([self.sample(shape["member"].as_str().unwrap())]),
            "map" => json!({ sample_text("key"): self.sample(shape["value"].as_str().unwrap()) }),
            "string" => match shape["enum"].as_array() {
                Some(values) => values[0].clone(),
                None => json!(sample_text(name)),
            },
            "blob" => json!("AAAA"),
            "integer" | "long" => json!(min),
            "boolean" => json!(true),
            "timestamp" => json!(1),
            other => panic!("{other}"),
        }
    }

    /// Values that the model refuses, with the error that says so.
    fn wrong(&self, name: &str) -> Vec<(Json, &'static str)> {
        let shape = self.shape(name);
        let kind = shape["type"].as_str().unwrap();
        let (min, max) = (shape["min"].as_i64(), shape["max"].as_i64());
        let mut all = Vec::new();
        let (valid, serial) = ("ValidationException", "SerializationException");
        // What is of another type.
        let other = match kind {
            "string" | "blob" | "list" | "map" | "structure" => json!(1),
            _ => json!("x"),
        };
        all.push((other, serial));
        let length = |len: i64| usize::try_from(len).unwrap();
        match kind {
            "string" => {
                let text = |len| json!("a".repeat(length(len)));
                all.extend(min.filter(|min| *min > 0).map(|min| (text(min - 1), valid)));
                all.extend(max.map(|max| (text(max + 1), valid)));
                if shape["pattern"].is_string() {
                    all.push((json!("\u{1f980} :*"), valid));
                }
                if shape["enum"].is_array() {
                    all.push((json!("NONE OF THEM"), valid));
                }
            }
            "integer" | "long" => {
                all.extend(min.map(|min| (json!(min - 1), valid)));
                all.extend(max.map(|max| (json!(max + 1), valid)));
            }
            "list" if max.is_none_or(|max| max <= 500) => {
                let item = self.sample(shape["member"].as_str().unwrap());
                let list = |len| Json::from(vec![item.clone(); length(len)]);
                all.extend(min.filter(|min| *min > 0).map(|min| (list(min - 1), valid)));
                all.extend(max.map(|max| (list(max + 1), valid)));
            }
            "map" => {
                let map = |len| (0..len).map(|n| (format!("k{n}"), json!("v"))).collect::<Json>();
                all.extend(min.filter(|min| *min > 0).map(|min| (map(min - 1), valid)));
                all.extend(max.map(|max| (map(max + 1), valid)));
            }
            _ => {}
        }
        all
    }

    /// Each way to spoil one member of a structure, at any depth.
    fn spoiled(&self, name: &str) -> Vec<(String, Json, &'static str)> {
        let whole = self.sample(name);
        let mut all = Vec::new();
        for (member, of) in self.members(name) {
            let with = |value: Json| {
                let mut spoiled = whole.clone();
                spoiled[&member] = value;
                spoiled
            };
            if self.requires(name, &member) {
                all.push((format!("{member} missing"), with(Json::Null), "ValidationException"));
            }
            for (value, error) in self.wrong(&of) {
                let shown: String = value.to_string().chars().take(40).collect();
                all.push((format!("{member} {shown}"), with(value), error));
            }
            let (inner, wrap): (&str, fn(Json) -> Json) = match self.shape(&of)["type"].as_str() {
                Some("structure") => (of.as_str(), |it| it),
                Some("list") => (self.shape(&of)["member"].as_str().unwrap(), |it| json!([it])),
                _ => continue,
            };
            if self.shape(inner)["type"] == "structure" {
                for (what, value, error) in self.spoiled(inner) {
                    all.push((format!("{member}.{what}"), with(wrap(value)), error));
                }
            }
        }
        all
    }
}

/// The same in CBOR. What is base64 in JSON stays a text, which is of the
/// wrong type there: so is what it stands in.
fn to_cbor(value: &Json) -> Value<'static> {
    match value {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => Value::Int(number.as_i64().unwrap()),
        Json::String(text) if text == "AAAA" => Value::Blob(Cow::Borrowed(b"\0\0\0")),
        Json::String(text) => Value::text(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(to_cbor).collect()),
        Json::Object(members) => Value::Map(
            members.iter().map(|(name, of)| (Cow::Owned(name.clone()), to_cbor(of))).collect(),
        ),
    }
}

async fn error_of(server: &Server, operation: &str, input: &Json, encoding: Encoding) -> String {
    let mut body = Vec::new();
    match encoding {
        Encoding::Json => body.extend_from_slice(input.to_string().as_bytes()),
        Encoding::Cbor => cbor::encode(&to_cbor(input), &mut body),
    }
    let request = Request::post("/")
        .header("content-type", named(encoding))
        .header("x-amz-target", format!("{SERVICE}.{operation}"))
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let (status, answer) = server.send(request).await;
    assert!(!status.is_server_error(), "{operation} {input}: {status}");
    let answer = match encoding {
        Encoding::Json if answer.is_empty() => return String::new(),
        Encoding::Json => json::decode(&answer),
        Encoding::Cbor if answer.is_empty() => return String::new(),
        Encoding::Cbor => cbor::decode(&answer),
    };
    match answer.unwrap().get("__type") {
        Some(Value::Text(name)) => name.clone().into_owned(),
        _ => String::new(),
    }
}

#[tokio::test]
async fn whatever_the_model_refuses_is_refused() {
    let server = Server::start().await;
    let shapes = Shapes(serde_json::from_str(MODEL).unwrap());
    let mut tried = 0;
    for (operation, input) in shapes.0["operations"].as_object().unwrap() {
        let input = input.as_str().unwrap();
        let right = shapes.sample(input);
        for encoding in [Encoding::Json, Encoding::Cbor] {
            let error = error_of(&server, operation, &right, encoding).await;
            assert_ne!(error, "SerializationException", "{operation} {right}");
            for (what, value, expected) in shapes.spoiled(input) {
                let error = error_of(&server, operation, &value, encoding).await;
                assert_eq!(error, expected, "{operation}, {encoding:?}: {what}");
                tried += 1;
            }
        }
    }
    assert!(tried > 1000, "{tried}");
}
