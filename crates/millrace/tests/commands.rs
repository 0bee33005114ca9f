//! The commands that need no server, as a person or a script meets them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn millrace(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(&millrace(arguments).output().unwrap())).unwrap()
}

#[test]
fn the_version_names_commit_formats_and_protocols() {
    let text = printed(&millrace(&["--version"]).output().unwrap());
    let parts = [env!("CARGO_PKG_VERSION"), "log format 1", "Kafka protocol 4.3", "Kinesis 2013"];
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    let git = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output();
    // Sources without a repository have no commit to tell.
    if let Ok(git) = git
        && git.status.success()
        && option_env!("MILLRACE_BUILD_COMMIT").is_none()
    {
        let commit = String::from_utf8(git.stdout).unwrap();
        assert!(text.contains(commit.trim()), "{text}");
    }
}

#[test]
fn shells_take_their_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = printed(&millrace(&["completions", shell]).output().unwrap());
        assert!(script.contains("data-dir"), "{shell}");
        if shell == "bash" {
            let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
            bash.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
            assert!(bash.wait().unwrap().success());
        }
    }
}

#[test]
fn settings_are_shown_with_where_they_come_from() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("millrace.toml");
    std::fs::write(&file, "flush = \"os\"\n[kafka]\n\"num.partitions\" = 4\n").unwrap();
    let file = file.to_str().unwrap();
    let shown = json(&["config", "show", "--json", "--config", file, "--set", "flush=fsync"]);
    let rows = shown.as_array().unwrap();
    assert_eq!(rows.len(), 2, "{shown}");
    let of = |name: &str| rows.iter().find(|row| row["setting"] == name).unwrap();
    assert_eq!((&of("flush")["value"], &of("flush")["source"]), (&"fsync".into(), &"flag".into()));
    let partitions = of("kafka.num.partitions");
    assert_eq!((&partitions["value"], &partitions["from"]), (&"4".into(), &file.into()));
    assert_eq!(partitions["default"], "1");

    let by_variable = millrace(&["config", "show", "--json", "flush"])
        .env("MILLRACE_FLUSH", "os")
        .output()
        .unwrap();
    let by_variable: Value = serde_json::from_str(&printed(&by_variable)).unwrap();
    assert_eq!(by_variable[0]["from"], "MILLRACE_FLUSH");
}

#[test]
fn a_check_tells_programs_every_mistake() {
    assert_eq!(json(&["config", "check", "--json"])["good"], true);
    let arguments =
        ["config", "check", "--json", "--set", "flsh=os", "--set", "kafka.num.partitions=x"];
    let output = millrace(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["good"], false);
    assert_eq!(told["mistakes"].as_array().unwrap().len(), 2, "{told}");
}

#[test]
fn a_file_of_all_defaults_is_one_that_a_server_starts_with() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("millrace.toml");
    let defaults = printed(&millrace(&["config", "defaults"]).output().unwrap());
    std::fs::write(&file, &defaults).unwrap();
    let text = printed(&millrace(&["config", "check", file.to_str().unwrap()]).output().unwrap());
    assert!(text.starts_with("good: "), "{text}");
    let all = json(&["config", "defaults", "--json"]);
    for row in all.as_array().unwrap() {
        for part in ["setting", "unit", "variable", "does", "change"] {
            assert!(row[part].is_string(), "{part} of {row}");
        }
    }
}

#[test]
fn who_has_read_enough_ends_it_quietly() {
    let mut child = millrace(&["config", "defaults", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Nobody reads: the first write that meets the closed pipe ends it.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}
