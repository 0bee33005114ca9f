//! Every constraint of every input, broken one at a time, in both encodings.
//! The requests are made from the model's table, so that a member that is new
//! is tried too.

use std::borrow::Cow;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value as Json, json};

use super::*;
use crate::stream::id_of;
use crate::testing::Server;

type Tree = Value<'static>;

/// What shall answer a request.
#[derive(Clone, Debug)]
enum Answered {
    /// A SerializationException.
    Serialization,
    /// A ValidationException that says all of this.
    Validation(Vec<String>),
    /// Anything but an error of the server's: the model allows the request.
    Somehow,
}

/// A value with one oddity.
type Case = (Tree, Answered);

/// Texts by pattern: one that matches, one that doesn't.
const TEXTS: [(&str, &str, &str); 20] = [
    ("[a-zA-Z0-9_.-]+", "s", "a b"),
    (r"arn:aws.*:kinesis:.*:\d{12}:stream/\S+", STREAM_ARN, "arn:aws:kinesis:r:1:stream/s"),
    (r"arn:aws.*:kinesis:.*:\d{12}:.*(stream|channel|queue)/\S+", STREAM_ARN, "arn:aws:s3:::b"),
    (
        r"^(arn):aws.*:kinesis:.*:\d{12}:.*stream\/[a-zA-Z0-9_.-]+\/consumer\/[a-zA-Z0-9_.-]+:[0-9]+",
        "arn:aws:kinesis:us-east-1:123456789012:stream/s/consumer/c:1",
        "arn:aws:kinesis:us-east-1:123456789012:stream/s/consumer/c",
    ),
    (r"arn:aws.*:kinesis:.*:\d{12}:channel/\S+", "arn:aws:kinesis:r:123456789012:channel/c", "c"),
    (r"arn:aws.*:kinesis:.*:\d{12}:queue/\S+", "arn:aws:kinesis:r:123456789012:queue/q", "q"),
    (r"arn:aws[-a-z0-9]*:s3:::[a-z0-9._-]{3,63}", "arn:aws:s3:::bucket", "arn:aws:s3:::B"),
    (
        r"arn:aws[-a-z0-9]*:glue:[-a-z0-9]+:\d{12}:schema/[-a-zA-Z0-9_$#.]+/[-a-zA-Z0-9_$#.]+",
        "arn:aws:glue:r:123456789012:schema/a/b",
        "arn:aws:glue:r:123456789012:schema/a",
    ),
    (
        r"arn:aws[-a-z0-9]*:iam::\d{12}:role/[a-zA-Z_0-9+=,.@\-_/]+",
        "arn:aws:iam::123456789012:role/r",
        "arn:aws:iam::123456789012:user/r",
    ),
    (
        r"arn:aws[-a-z0-9]*:s3tables:[-a-z0-9]+:\d{12}:bucket/[a-z0-9_-]{3,63}",
        "arn:aws:s3tables:r:123456789012:bucket/abc",
        "arn:aws:s3tables:r:123456789012:bucket/a",
    ),
    (r"[\.\-_/#A-Za-z0-9]+", "/a", "a b"),
    (r"[^:*]*", "a", "a:b"),
    (r"\d{12}", "123456789012", "12345678901x"),
    (r"^(0|([1-9]\d{0,38}))$", "1", "01"),
    (r"^(0|([1-9]\d{0,128}))$", "1", "01"),
    (r"[a-zA-Z0-9\.\_]+", "a", "a-b"),
    (r"[0-9A-Za-z!\-_'.*()\/]+", "a", "a:b"),
    (r"[0-9A-Za-z!\-_'.*()\/=:{}]+", "a", "a b"),
    ("[0-9a-z_]+", "a", "A"),
    (STREAM_ID, "", "AAAAAAAAAAAAAAAAAAAA-AAA"),
];
const STREAM_ARN: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/s";
const STREAM_ID: &str = "[a-z0-9]{20}-[a-z0-9]{3}";

/// The table, read by other eyes than the front's.
struct Table {
    table: Json,
    /// Of the stream `s`.
    stream_id: String,
}

impl Table {
    fn shape(&self, name: &str) -> &Json {
        &self.table["shapes"][name]
    }

    fn members(&self, shape: &str) -> Vec<(String, String, bool)> {
        let required: Vec<&str> = texts(&self.shape(shape)["required"]);
        let members = self.shape(shape)["members"].as_array().cloned().unwrap_or_default();
        let members = members.iter().map(|member| {
            let (name, of) = (member[0].as_str().unwrap(), member[1].as_str().unwrap());
            (name.to_owned(), of.to_owned(), required.contains(&name))
        });
        members.collect()
    }

    /// The texts of a pattern.
    fn texts(&self, pattern: &str) -> (String, String) {
        let found = TEXTS.iter().find(|(known, _, _)| *known == pattern);
        let (_, good, bad) = found.unwrap_or_else(|| panic!("give texts for {pattern}"));
        let good = if pattern == STREAM_ID { &self.stream_id } else { *good };
        (good.to_owned(), (*bad).to_owned())
    }

    /// A value that the model allows, with all members or with few.
    fn good(&self, name: &str, full: bool) -> Tree {
        let shape = self.shape(name);
        let min = shape["min"].as_i64();
        let count = usize::try_from(min.unwrap_or(0).max(1)).unwrap();
        match shape["type"].as_str().unwrap() {
            "structure" => {
                let names = ["StreamName", "StreamARN"];
                let members = self.members(name).into_iter();
                let members = members.filter(|(name, _, required)| {
                    full || *required || names.contains(&name.as_str())
                });
                Value::Map(
                    members.map(|(name, of, _)| (name.into(), self.good(&of, full))).collect(),
                )
            }
            "list" => {
                let item = self.good(shape["member"].as_str().unwrap(), full);
                Value::List(vec![item; count])
            }
            "map" => {
                let value = self.good(shape["value"].as_str().unwrap(), full);
                Value::Map(vec![("k".into(), value)])
            }
            "string" => match (shape["enum"][0].as_str(), shape["pattern"].as_str()) {
                (Some(value), _) => Value::text(value.to_owned()),
                (None, Some(_)) if name == "ShardId" => Value::text("shardId-000000000000"),
                (None, Some(pattern)) => Value::text(self.texts(pattern).0),
                (None, None) => Value::text("x".repeat(count)),
            },
            "blob" => Value::Blob(vec![0; count].into()),
            "integer" | "long" => Value::Int(min.unwrap_or(1)),
            "boolean" => Value::Bool(false),
            "timestamp" => Value::Time(millrace_types::Timestamp(0)),
            other => panic!("a shape of type {other}"),
        }
    }

    /// Values of a shape at `at`, each with one oddity.
    fn cases(&self, name: &str, at: &str, encoding: Encoding) -> Vec<Case> {
        let shape = self.shape(name);
        let kind = shape["type"].as_str().unwrap();
        let mut cases = wrong_types(kind, encoding);
        cases.extend(self.own(name).into_iter().map(|(value, broken)| {
            let said = |constraint| format!("at '{at}' failed to satisfy constraint: {constraint}");
            (value, broken.map_or(Answered::Somehow, |it| Answered::Validation(vec![said(it)])))
        }));
        match kind {
            "structure" => cases.extend(self.members_cases(name, at, encoding)),
            "list" => {
                let of = shape["member"].as_str().unwrap();
                let structure = self.shape(of)["type"] == "structure";
                let inner = if structure { format!("{at}.1.member") } else { "-".to_owned() };
                for (item, answered) in self.cases(of, &inner, encoding) {
                    let answered =
                        if structure { answered } else { within(at, "Member", answered) };
                    cases.push((Value::List(vec![item]), answered));
                }
                cases.push((Value::List(vec![Value::Null]), Answered::Somehow));
            }
            "map" => {
                let (key, value) =
                    (shape["key"].as_str().unwrap(), shape["value"].as_str().unwrap());
                for (key, broken) in self.own(key) {
                    let Value::Text(key) = key else { panic!("a key that is no text") };
                    let broken =
                        broken.map_or(Answered::Somehow, |it| Answered::Validation(vec![it]));
                    let tree = Value::Map(vec![(key, self.good(value, true))]);
                    cases.push((tree, within(at, "Map keys", broken)));
                }
                for (item, answered) in self.cases(value, "-", encoding) {
                    let tree = Value::Map(vec![("k".into(), item)]);
                    cases.push((tree, within(at, "Map value", answered)));
                }
                cases.push((Value::Map(vec![("k".into(), Value::Null)]), Answered::Somehow));
            }
            _ => {}
        }
        cases
    }

    fn members_cases(&self, name: &str, at: &str, encoding: Encoding) -> Vec<Case> {
        let mut cases = Vec::new();
        for (member, of, required) in self.members(name) {
            let mut chars = member.chars();
            let first = chars.next().unwrap().to_ascii_lowercase();
            let dot = if at.is_empty() { "" } else { "." };
            let inner = format!("{at}{dot}{first}{}", chars.as_str());
            for (value, answered) in self.cases(&of, &inner, encoding) {
                // What passes the model shall come as far as it can.
                let full = !matches!(answered, Answered::Somehow);
                cases.push((with(self.good(name, full), &member, Some(value)), answered));
            }
            let null = "Member must not be null";
            let said = format!("Value null at '{inner}' failed to satisfy constraint: {null}");
            let absent =
                if required { Answered::Validation(vec![said]) } else { Answered::Somehow };
            for value in [None, Some(Value::Null)] {
                cases.push((with(self.good(name, true), &member, value), absent.clone()));
            }
        }
        cases
    }

    /// Values that break a constraint of the shape itself, with AWS's words for
    /// it; and values that are odd but allowed, with none.
    fn own(&self, name: &str) -> Vec<(Tree, Option<String>)> {
        let shape = self.shape(name);
        let kind = shape["type"].as_str().unwrap();
        let (min, max) = (shape["min"].as_i64(), shape["max"].as_i64());
        let what = if matches!(kind, "integer" | "long") { "value" } else { "length" };
        let below = |min| format!("Member must have {what} greater than or equal to {min}");
        let above = |max| format!("Member must have {what} less than or equal to {max}");
        let mut own = Vec::new();
        let sized = |size: i64| match kind {
            "string" => Value::text("a".repeat(usize::try_from(size).unwrap())),
            "blob" => Value::Blob(vec![0; usize::try_from(size).unwrap()].into()),
            "list" => {
                let item = self.good(shape["member"].as_str().unwrap(), false);
                Value::List(vec![item; usize::try_from(size).unwrap()])
            }
            "map" => {
                let value = self.good(shape["value"].as_str().unwrap(), false);
                Value::Map((0..size).map(|n| (format!("k{n}").into(), value.clone())).collect())
            }
            _ => Value::Int(size),
        };
        if let Some(min) = min.filter(|min| *min > 0 || what == "value") {
            own.push((sized(min - 1), Some(below(min))));
        }
        if let Some(max) = max {
            own.push((sized(max + 1), Some(above(max))));
        }
        if let Some(pattern) = shape["pattern"].as_str() {
            let bare = pattern.strip_prefix("^(").and_then(|rest| rest.strip_suffix(")$"));
            let shown = bare.unwrap_or(pattern);
            let words = format!("Member must satisfy regular expression pattern: {shown}");
            own.push((Value::text(self.texts(pattern).1), Some(words)));
        }
        let values = texts(&shape["enum"]);
        if !values.is_empty() {
            let words = format!("Member must satisfy enum value set: [{}]", values.join(", "));
            own.push((Value::text("none of them"), Some(words)));
        }
        let free = shape["pattern"].is_null() && values.is_empty();
        match kind {
            "integer" | "long" => {
                let ends = [(max.is_none(), i64::MAX), (min.is_none(), i64::MIN)];
                own.extend(
                    ends.iter().filter(|(free, _)| *free).map(|(_, n)| (Value::Int(*n), None)),
                );
                if max.is_none() {
                    own.push((Value::Float(1e300), None));
                }
            }
            "timestamp" => own.extend(
                [i64::MIN, -1, i64::MAX]
                    .map(|ms| (Value::Time(millrace_types::Timestamp(ms)), None)),
            ),
            "string" if free && max.is_none() => {
                own.extend(["", "\0", "\u{10ffff}", "[[[["].map(|odd| (Value::text(odd), None)))
            }
            "boolean" => own.push((Value::Bool(true), None)),
            _ => {}
        }
        own
    }
}

fn texts(list: &Json) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Json::as_str).collect()
}

/// A structure with another value of `member`, or without one.
fn with(structure: Tree, member: &str, value: Option<Tree>) -> Tree {
    let Value::Map(mut members) = structure else { panic!("no structure") };
    members.retain(|(name, _)| name != member);
    members.extend(value.map(|value| (Cow::Owned(member.to_owned()), value)));
    Value::Map(members)
}

/// Of a scalar in a list or in a map, which tells all constraints of its items.
fn within(at: &str, what: &str, answered: Answered) -> Answered {
    let Answered::Validation(said) = answered else { return answered };
    let prefix = "at '-' failed to satisfy constraint: ";
    let inner = said.iter().map(|said| said.strip_prefix(prefix).unwrap_or(said).to_owned());
    let outer = match what {
        "Member" => "Member must satisfy constraint: [".to_owned(),
        _ => format!("{what} must satisfy constraint: ["),
    };
    let outer = format!("at '{at}' failed to satisfy constraint: {outer}");
    Answered::Validation(inner.chain([outer]).collect())
}

fn wrong_types(kind: &str, encoding: Encoding) -> Vec<Case> {
    let (text, number) = (Value::text("1"), Value::Int(1));
    let (list, map) = (Value::List(Vec::new()), Value::Map(Vec::new()));
    let bytes = Value::Blob(Cow::Borrowed(b"\xff\xff\xff"));
    let mut wrong = match kind {
        "string" => vec![number, Value::Float(1.5), Value::Bool(true), list, map],
        "integer" | "long" | "timestamp" => vec![text, Value::Bool(true), list, map],
        "boolean" => vec![number, text, list, map],
        "blob" => vec![number, Value::Bool(true), list, map, Value::text("!")],
        "list" => vec![number, text, Value::Bool(true), map],
        _ => vec![number, text, Value::Bool(true), list],
    };
    // JSON has no bytes.
    if kind != "blob" && encoding == Encoding::Cbor {
        wrong.push(bytes);
    }
    wrong.into_iter().map(|value| (value, Answered::Serialization)).collect()
}

/// The status, the type of the error and what it says.
async fn ask(
    server: &Server,
    operation: &str,
    tree: &Tree,
    encoding: Encoding,
) -> (u16, String, String) {
    let mut body = Vec::new();
    encode(tree, encoding).append_to(&mut body);
    let body = Full::new(Bytes::from(body));
    let request = Request::post("/")
        .header("content-type", named(encoding))
        .header("x-amz-target", format!("{SERVICE}.{operation}"))
        .body(body)
        .unwrap();
    let (status, answer) = server.send(request).await;
    let answer = match encoding {
        _ if status == StatusCode::OK => Value::Null,
        Encoding::Json => json::decode(&answer).unwrap(),
        Encoding::Cbor => cbor::decode(&answer).unwrap(),
    };
    let text = |name: &str| match answer.get(name) {
        Some(Value::Text(text)) => text.to_string(),
        _ => String::new(),
    };
    (status.as_u16(), text("__type"), text("message") + &text("Message"))
}

async fn every_case(encoding: Encoding) {
    let server = Server::start().await;
    let table: Json =
        serde_json::from_str(include_str!("../../model/kinesis-2013-12-02.json")).unwrap();
    let mut table = Table { table, stream_id: String::new() };
    let operations = table.table["operations"].as_object().unwrap().clone();
    let mut tried = 0;
    for (operation, input) in &operations {
        server.ask("CreateStream", json!({"StreamName": "s", "ShardCount": 1})).await;
        table.stream_id = id_of(server.broker.topic("s").unwrap().id);
        let input = input.as_str().unwrap();
        let mut cases = table.cases(input, "", encoding);
        // The front tells what is no structure at all by other words.
        cases.retain(|(tree, _)| matches!(tree, Value::Map(_)));
        let good = [true, false].map(|full| (table.good(input, full), Answered::Somehow));
        for (tree, answered) in cases.into_iter().chain(good) {
            let (status, code, message) = ask(&server, operation, &tree, encoding).await;
            let shown = || {
                let tree: String = format!("{tree:?}").chars().take(2000).collect();
                let message: String = message.chars().take(2000).collect();
                format!("{operation} {tree}\n{status} {code}: {message}\n{answered:?}")
            };
            match &answered {
                Answered::Serialization => {
                    assert_eq!(
                        (status, code.as_str()),
                        (400, "SerializationException"),
                        "{}",
                        shown()
                    );
                    assert!(!message.is_empty(), "{}", shown());
                }
                Answered::Validation(said) => {
                    assert_eq!(
                        (status, code.as_str()),
                        (400, "ValidationException"),
                        "{}",
                        shown()
                    );
                    assert!(message.contains(" detected: Value "), "{}", shown());
                    assert!(said.iter().all(|said| message.contains(said)), "{}", shown());
                }
                Answered::Somehow => {
                    assert!(status == 200 || status == 400, "{}", shown());
                    assert_ne!(code, "SerializationException", "{}", shown());
                }
            }
            tried += 1;
        }
    }
    assert!(tried > 2_000, "{tried} requests");
}

#[tokio::test]
async fn every_constraint_holds_in_json() {
    every_case(Encoding::Json).await;
}

#[tokio::test]
async fn every_constraint_holds_in_cbor() {
    every_case(Encoding::Cbor).await;
}
