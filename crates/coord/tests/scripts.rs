//! Runs the scripts in `tests/scripts`: histories of groups, to be read as
//! their specification.
//!
//! A script is made of blocks: commands, a line `----`, and what they lead to,
//! up to an empty line. `UPDATE_SCRIPTS=1` writes down what they lead to now,
//! to be reviewed. What the commands are is told in `tests/scripts/README.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::{fs, path::Path};

use support::script::Session;

#[test]
fn scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let script = fs::read_to_string(&path).unwrap();
        let played = play(&script);
        if std::env::var_os("UPDATE_SCRIPTS").is_some() {
            fs::write(&path, played).unwrap();
        } else {
            assert!(played == script, "{}\n{}", path.display(), first_difference(&script, &played));
        }
    }
}

/// The script as it should read.
fn play(script: &str) -> String {
    let mut session = Session::default();
    let mut played = String::new();
    let mut output = String::new();
    let mut in_expected = false;
    for line in script.lines() {
        if in_expected {
            in_expected = !line.is_empty();
        } else if line == "----" {
            played.push_str("----\n");
            played.push_str(&std::mem::take(&mut output));
            played.push('\n');
            in_expected = true;
        } else {
            played.push_str(line);
            played.push('\n');
            if !line.is_empty() && !line.starts_with('#') {
                output.push_str(&session.run(line));
            }
        }
    }
    session.check_all_answered();
    // The last block has no empty line behind it.
    format!("{}\n", played.trim_end())
}

fn first_difference(expected: &str, played: &str) -> String {
    let mut lines = expected.lines().zip(played.lines()).enumerate();
    match lines.find(|(_, (expected, played))| expected != played) {
        Some((number, (expected, played))) => {
            format!("line {}\nexpected: {expected}\n     got: {played}", number + 1)
        }
        None => "one is longer than the other".to_owned(),
    }
}
