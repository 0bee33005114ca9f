//! What the binary says when it is used wrongly, message by message: each file
//! of `tests/messages` is a session of commands with what they print to
//! standard error and their exit codes. Read one to judge whether a stranger
//! would know what to do.
//!
//! `--- NAME` begins a file that the commands below it find beside them, `---`
//! ends it; `$ COMMAND` is run by a shell. `UPDATE_DOCS=1` in the environment
//! writes what is printed now.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[test]
fn each_message_is_as_it_was_agreed() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages");
    let mut sessions: Vec<PathBuf> =
        fs::read_dir(&here).unwrap().map(|entry| entry.unwrap().path()).collect();
    sessions.sort();
    assert!(!sessions.is_empty());
    for path in sessions {
        let agreed = fs::read_to_string(&path).unwrap();
        let printed = replay(&agreed);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&path, printed).unwrap();
        } else {
            assert_eq!(agreed, printed, "{}: UPDATE_DOCS=1 writes it anew", path.display());
        }
    }
}

/// The session with what its commands print now.
fn replay(session: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut said = String::new();
    let mut lines = session.lines();
    // Answers follow their command: they are made anew.
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("--- ") {
            let content: Vec<&str> = lines.by_ref().take_while(|line| *line != "---").collect();
            fs::write(dir.path().join(name), content.join("\n") + "\n").unwrap();
            write!(said, "\n{line}\n{}\n---", content.join("\n")).unwrap();
        } else if let Some(command) = line.strip_prefix("$ ") {
            write!(said, "\n{line}\n{}", run(command, dir.path())).unwrap();
        } else if line.starts_with('#') {
            write!(said, "\n{line}\n").unwrap();
        }
    }
    said.trim_start().to_owned()
}

/// Standard error and the exit code. Where the command waits for something the
/// test hangs: a mistake has to be told at once.
fn run(command: &str, dir: &Path) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_millrace")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-c", command])
        .current_dir(dir)
        .env_clear()
        .env("PATH", path)
        .env("HOME", dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let said = said.replace(dir.to_str().unwrap(), "DIR");
    format!("{said}exit code {}\n", output.status.code().unwrap())
}
