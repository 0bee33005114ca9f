//! The repository's own rules, as tests: what reviewers would otherwise have
//! to remember. A rule that is broken for a reason has a list here that only
//! gets shorter.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a source file that one person can hold in mind.
const FILE_LINES_MAX: usize = 700;
/// Longer files, with the most they may have. Shrink one, then its number.
const LONGER: &[(&str, usize)] = &[];

/// Which crates of ours a crate may depend on. A front never knows another
/// front; nothing below a front knows a protocol; pure crates know no I/O.
const EDGES: &[(&str, &[&str])] = &[
    ("millrace-types", &[]),
    ("millrace-log", &["millrace-types"]),
    ("millrace-coord", &["millrace-types"]),
    ("millrace-store", &["millrace-types", "millrace-log"]),
    ("millrace-broker", &["millrace-types", "millrace-log", "millrace-coord", "millrace-store"]),
    ("millrace-kafka", &["millrace-types", "millrace-broker"]),
    ("millrace-kinesis", &["millrace-types", "millrace-broker"]),
    ("millrace-cli", &[]),
    // What proves the others knows none of them.
    ("millrace-history", &[]),
    ("millrace-bench", &["millrace-types", "millrace-log"]),
    // Tests alone: the bodies of the fuzz targets reach every decoder.
    (
        "millrace-fuzz",
        &[
            "millrace-types",
            "millrace-log",
            "millrace-coord",
            "millrace-store",
            "millrace-broker",
            "millrace-kafka",
            "millrace-kinesis",
        ],
    ),
    (
        "millrace",
        &[
            "millrace-types",
            "millrace-store",
            "millrace-broker",
            "millrace-kafka",
            "millrace-kinesis",
            "millrace-cli",
            "millrace-history",
            "millrace-bench",
        ],
    ),
    // A check: puts the server together as the binary does, and measures it.
    (
        "millrace-budget",
        &["millrace-types", "millrace-log", "millrace-store", "millrace-broker", "millrace-kafka"],
    ),
    (
        "millrace-sim",
        &[
            "millrace-types",
            "millrace-log",
            "millrace-coord",
            "millrace-store",
            "millrace-broker",
            "millrace-history",
        ],
    ),
];

/// The pure crates bring in nothing that could do I/O or wait.
const PURE: &[&str] = &["millrace-types", "millrace-log", "millrace-coord"];
const IMPURE: &[&str] =
    &["tokio", "rustix", "getrandom", "rusqlite", "axum", "rand", "tempfile", "tracing-subscriber"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Files that git knows or would know, relative to the root.
fn files() -> Vec<String> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(list).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "git ls-files: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|path| root().join(path).is_file()).map(str::to_owned).collect()
}

fn rust_files() -> impl Iterator<Item = (String, String)> {
    files().into_iter().filter(|path| path.ends_with(".rs")).map(|path| {
        let text = read(&path);
        (path, text)
    })
}

#[test]
fn source_files_can_be_held_in_mind() {
    let longer: BTreeMap<&str, usize> = LONGER.iter().copied().collect();
    let mut seen = BTreeSet::new();
    for (path, text) in rust_files() {
        let lines = text.lines().count();
        match longer.get_key_value(path.as_str()) {
            Some((known, max)) => {
                seen.insert(*known);
                assert!(lines <= *max, "{path} has {lines} lines and may have {max}: shrink it");
                assert!(lines > FILE_LINES_MAX, "{path} is short enough: take it off the list");
            }
            None => {
                assert!(
                    lines <= FILE_LINES_MAX,
                    "{path} has {lines} lines: {FILE_LINES_MAX} at most"
                );
            }
        }
    }
    assert_eq!(seen.len(), longer.len(), "the list of longer files names files that are gone");
}

#[test]
fn nothing_is_left_to_do_at_run_time() {
    // Put together, so that this file does not name them.
    let banned = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!("));
    for (path, text) in rust_files() {
        for banned in &banned {
            assert!(!text.contains(banned), "{path} contains {banned}");
        }
    }
}

#[test]
fn modules_say_what_they_are() {
    for (path, text) in rust_files() {
        let first = text.lines().find(|line| !line.starts_with("#!"));
        let is_tests = path.ends_with("tests.rs") || path.contains("/tests/");
        let says = first.is_some_and(|line| line.starts_with("//!"));
        assert!(says || is_tests, "{path} does not open with what it is (//!)");
    }
}

fn metadata() -> Vec<serde_json::Value> {
    let arguments = ["metadata", "--no-deps", "--format-version", "1", "--offline"];
    let cargo = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(cargo.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&cargo.stderr));
    let all: serde_json::Value = serde_json::from_slice(&cargo.stdout).unwrap();
    all["packages"].as_array().unwrap().clone()
}

#[test]
fn crates_depend_only_downwards() {
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    for package in metadata() {
        let name = package["name"].as_str().unwrap();
        let Some(allowed) = allowed.get(name) else {
            panic!("crate {name} is new: say in EDGES what it may depend on");
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap();
            if dependency["kind"] == "dev" {
                continue;
            }
            if to.starts_with("millrace") {
                assert!(allowed.contains(&to), "{name} may not depend on {to}");
            }
            assert!(!PURE.contains(&name) || !IMPURE.contains(&to), "{name} is pure, {to} is not");
        }
    }
}

/// Planted bugs are for the simulator: nothing that a release is built from
/// can have them.
#[test]
fn no_release_has_a_planted_bug() {
    let tree = ["tree", "--offline", "--package", "millrace", "--edges", "normal,build,features"];
    let cargo = Command::new(env!("CARGO")).args(tree).current_dir(root()).output().unwrap();
    assert!(cargo.status.success(), "cargo tree: {}", String::from_utf8_lossy(&cargo.stderr));
    let tree = String::from_utf8(cargo.stdout).unwrap();
    assert!(tree.contains("millrace-types"), "{tree}");
    for banned in ["canar", "millrace-sim"] {
        assert!(!tree.contains(banned), "the binary is built with {banned}:\n{tree}");
    }
    for package in metadata() {
        let name = package["name"].as_str().unwrap();
        let features = package["features"].to_string();
        let may = ["millrace-types", "millrace-sim"].contains(&name);
        assert!(may || !features.contains("canar"), "{name} passes on the planted bugs");
    }
}

/// Words in backquotes outside of code blocks.
fn quoted(text: &str) -> Vec<String> {
    let mut outside = String::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            outside.push_str(line);
            outside.push('\n');
        }
    }
    outside.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether a quoted word means a file of the repository.
fn is_path(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let roots = ["crates/", "docs/", "tests/", "fuzz/", "ops/", ".ci/", "./"];
    word.chars().all(plain)
        && roots.iter().any(|root| word.starts_with(root))
        && !word.contains("millrace-data")
}

#[test]
fn the_map_is_short_and_true() {
    let map = read("ARCHITECTURE.md");
    assert!(map.lines().count() <= 500, "ARCHITECTURE.md is longer than 500 lines");
    for word in quoted(&map).iter().filter(|word| is_path(word)) {
        assert!(root().join(word).exists(), "ARCHITECTURE.md names {word}, which is not there");
    }
    for (name, _) in EDGES {
        let folder = name.strip_prefix("millrace-").unwrap_or(name);
        assert!(map.contains(&format!("`{folder}`")), "ARCHITECTURE.md does not name {folder}");
    }
}

#[test]
fn documents_name_what_exists() {
    for path in files().iter().filter(|path| path.ends_with(".md")) {
        let text = read(path);
        let folder = root().join(path).parent().unwrap().to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap();
            if target.is_empty() || target.contains("://") || target.contains(' ') {
                continue;
            }
            assert!(folder.join(target).exists(), "{path} links to {target}, which is not there");
        }
        // History may name what is gone.
        if path == "CHANGELOG.md" || path.starts_with("docs/adr/") {
            continue;
        }
        for word in quoted(&text).iter().filter(|word| is_path(word)) {
            assert!(root().join(word).exists(), "{path} names {word}, which is not there");
        }
    }
}

#[test]
fn decisions_are_numbered_and_fit_a_page() {
    let mut numbers = Vec::new();
    for path in files().iter().filter(|path| path.starts_with("docs/adr/")) {
        let name = path.strip_prefix("docs/adr/").and_then(|name| name.strip_suffix(".md"));
        let parts = name.and_then(|name| name.split_once('-'));
        let (number, title) = parts.unwrap_or_else(|| panic!("{path} is not NNNN-title.md"));
        let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(number.len() == 4 && title.chars().all(kebab), "{path} is not NNNN-title.md");
        let number: usize = number.parse().unwrap();
        numbers.push(number);
        let text = read(path);
        let heading = text.lines().next().unwrap_or_default();
        assert!(heading.starts_with(&format!("# {number}. ")), "{path} begins with {heading:?}");
        assert!(text.lines().count() <= 60, "{path} is longer than a page");
    }
    numbers.sort_unstable();
    let expected: Vec<usize> = (1..=numbers.len()).collect();
    assert_eq!(numbers, expected, "decisions are numbered 1, 2, 3, each once");
}

/// Lines of the shell blocks of a document, continued lines joined.
fn shell_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for block in text.split("```sh\n").skip(1) {
        let block = block.split("```").next().unwrap().replace("\\\n", " ");
        let commands = block.lines().map(str::trim);
        lines.extend(commands.filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_owned));
    }
    lines
}

/// The words given to our binary in a command line, if it runs it.
fn given_to_millrace<'a>(words: &'a [&'a str]) -> Option<&'a [&'a str]> {
    let at = if words.starts_with(&["cargo", "run"]) {
        words.iter().position(|word| *word == "--")
    } else {
        words.iter().position(|word| *word == "millrace" || word.ends_with("/millrace"))
    };
    words.get(at? + 1..)
}

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_millrace")).args(arguments).output().unwrap();
    assert!(output.status.success(), "millrace {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn readme_commands_exist() {
    let lines = shell_lines(&read("README.md"));
    assert!(lines.iter().any(|line| line.starts_with("cargo run --release -- serve")));
    assert!(lines.iter().any(|line| line.starts_with("./test")));
    for line in &lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Some(script) = words.first().filter(|word| word.starts_with("./")) {
            assert!(root().join(script).exists(), "README runs {script}, which is not there");
        }
        let Some([command, rest @ ..]) = given_to_millrace(&words) else { continue };
        let text = help(&[*command, "--help"]);
        for flag in rest.iter().filter(|word| word.starts_with("--")) {
            let flag = flag.split('=').next().unwrap();
            assert!(text.contains(flag), "README uses {flag}, which {command} does not have");
        }
    }
}

/// Licences, banned crates and sources by deny.toml, where cargo-deny is
/// installed (CONTRIBUTING.md says how).
#[test]
fn dependencies_keep_to_deny_toml() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let tools = std::iter::once(root().join(".tools/bin"));
    let path = std::env::join_paths(tools.chain(std::env::split_paths(&path))).unwrap();
    let cargo = |arguments: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(arguments).env("PATH", &path).current_dir(root()).output().unwrap()
    };
    if !cargo(&["deny", "--version"]).status.success() {
        eprintln!("SKIPPED: cargo-deny is not installed; deny.toml was not checked");
        return;
    }
    let output = cargo(&["deny", "--log-level", "error", "check", "bans", "licenses", "sources"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
