//! `millrace history check` as a person or a script meets it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::process::Command;

const WRITER: &str = r#"{"time":1,"process":"p","event":"send","op":1,"topic":"t","partition":0,"value":"a","idempotent":true}
{"time":3,"process":"p","event":"sent","op":1,"offset":0}
{"time":4,"process":"p","event":"send","op":2,"topic":"t","partition":0,"value":"b","idempotent":true}
{"time":6,"process":"p","event":"sent","op":2,"offset":1}
"#;
const READER: &str = r#"{"time":2,"process":"c","event":"assigned","logs":[["t",0,0]]}
{"time":7,"process":"c","event":"polled","records":[["t",0,0,"a"],["t",0,1,"b"]]}
"#;

/// Exit code, stdout and stderr for a history of two files.
fn check(writer: &str, reader: &str, arguments: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let files = [("writer.jsonl", writer), ("reader.jsonl", reader)];
    let files = files.map(|(name, text)| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    let done = command.args(["history", "check"]).args(files).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

#[test]
fn a_history_in_order_exits_with_0() {
    let (code, out, _) = check(WRITER, READER, &[]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("6 events of 2 processes"), "{out}");
    assert!(out.contains("2 (2 acknowledged, 0 failed, 0 unknown)"), "{out}");
    assert!(out.ends_with("no anomalies\n"), "{out}");
}

#[test]
fn an_anomaly_is_told_with_its_lines_and_exits_with_1() {
    let skipping = READER.replace(r#"["t",0,0,"a"],"#, "");
    let (code, out, _) = check(WRITER, &skipping, &[]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("lost-write: 1\n"), "{out}");
    assert!(out.contains("t/0: a at 0 was acknowledged and read by nobody; c expected 0"), "{out}");
    assert!(out.contains(r#"writer.jsonl:2 {"time":3,"#), "{out}");
    assert!(out.contains(r#"reader.jsonl:2 {"time":7,"#), "{out}");
}

#[test]
fn json_has_the_same() {
    let skipping = READER.replace(r#"["t",0,0,"a"],"#, "");
    let (code, out, _) = check(WRITER, &skipping, &["--json"]);
    assert_eq!(code, 1);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["totals"]["lost-write"], 1);
    assert_eq!(json["anomalies"][0]["write"]["value"], "a");
    let named = json["anomalies"][0]["write"]["event"].clone();
    let events = json["events"].as_array().unwrap();
    assert!(events.iter().any(|event| event["event"] == named && event["line"] == 2), "{out}");
}

#[test]
fn what_is_no_history_exits_with_2_and_says_where() {
    let (code, _, error) = check(WRITER, "{\"time\":1}\n", &[]);
    assert_eq!(code, 2);
    assert!(error.contains("reader.jsonl:1: not an event"), "{error}");

    let (code, _, error) = check(WRITER, &WRITER.replace("\"p\"", "\"q\""), &[]);
    assert_eq!(code, 2);
    assert!(error.contains("value a is sent a second time"), "{error}");

    let (code, _, error) = check(WRITER, &READER.replace("\"time\":2", "\"time\":9"), &[]);
    assert_eq!(code, 2);
    assert!(error.contains("reader.jsonl:2: time 7 is before 9"), "{error}");
}

#[test]
fn half_a_line_at_the_end_is_left_out() {
    let (code, out, error) = check(WRITER, &format!("{READER}{{\"time\":9,\"pro"), &[]);
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("1 files end in half a line"), "{out}");
}
