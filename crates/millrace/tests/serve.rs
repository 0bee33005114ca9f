//! `millrace serve` as a person or a script meets it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::Value;

const FREE: &str = "127.0.0.1:0";

fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.arg("serve").arg("--data-dir").arg(dir).args(arguments);
    command
}

/// A running server; killed when dropped.
struct Server {
    child: Child,
    announced: String,
    _stdout: BufReader<ChildStdout>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone where the test stopped it.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Server {
    /// Starts one and waits until it says that it serves.
    fn start(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut announced = String::new();
        while !announced.contains("Ctrl-C") {
            if stdout.read_line(&mut announced).unwrap() == 0 {
                let mut log = String::new();
                child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
                panic!("it ended: {log}");
            }
        }
        Self { child, announced, _stdout: stdout }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    fn log(&mut self) -> String {
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
    }
}

fn endpoints(dir: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(dir.join("endpoints.json")).unwrap()).unwrap()
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn refused(arguments: &[&str]) -> (i32, String) {
    let dir = tempfile::tempdir().unwrap();
    let Output { status, stderr, stdout } = command(dir.path(), arguments).output().unwrap();
    assert!(stdout.is_empty());
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn it_says_where_it_listens_and_ends_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(&mut command(
        dir.path(),
        &[
            "--kafka-listen",
            FREE,
            "--kafka-listen",
            "b=127.0.0.1:0@localhost",
            "--http-listen",
            FREE,
        ],
    ));
    let endpoints = endpoints(dir.path());
    assert_eq!(endpoints["pid"], server.child.id());
    let kafka = endpoints["kafka"][0]["address"].as_str().unwrap();
    assert_eq!(endpoints["kafka"][0]["name"], "default");
    assert_eq!(endpoints["kafka"][0]["advertised"], kafka);
    assert!(server.announced.contains(kafka), "{}", server.announced);
    assert!(endpoints["kafka"][1]["advertised"].as_str().unwrap().starts_with("localhost:"));
    TcpStream::connect(kafka).unwrap();

    let http = endpoints["http"][0].as_str().unwrap();
    assert!(get(http, "/healthz").starts_with("HTTP/1.1 200"));
    assert!(get(http, "/readyz").ends_with("ready\n"));
    let metrics = get(http, "/metrics");
    assert!(metrics.contains("\nmillrace_build_info{"), "{metrics}");
    assert!(metrics.contains("\nmillrace_insecure_no_auth 0\n"), "{metrics}");
    assert!(metrics.contains("\nmillrace_broker_incarnations_total 1\n"), "{metrics}");
    assert!(
        metrics.contains("\nmillrace_memory_pool_limit_bytes{pool=\"log_cache\"} "),
        "{metrics}"
    );

    server.signal("TERM");
    assert_eq!(server.child.wait().unwrap().code(), Some(0), "{}", server.log());
    assert!(!dir.path().join("endpoints.json").exists());
}

#[test]
fn interrupting_it_is_a_stop_too() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--kafka-listen", FREE, "--http-listen", FREE];
    let mut server = Server::start(&mut command(dir.path(), &arguments));
    server.signal("INT");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn endpoints_of_a_dead_server_are_not_taken_for_ours() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("endpoints.json"), "stale").unwrap();
    let taken = std::net::TcpListener::bind(FREE).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let arguments = ["--kafka-listen", &address, "--http-listen", FREE];
    let output = command(dir.path(), &arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(!dir.path().join("endpoints.json").exists());
}

#[test]
fn a_second_server_on_a_directory_leaves_the_first_alone() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--kafka-listen", FREE, "--http-listen", FREE];
    let mut server = Server::start(&mut command(dir.path(), &arguments));
    let before = endpoints(dir.path());
    let output = command(dir.path(), &arguments).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    // One line that it waits for a process that may be dying, one that it gives up.
    let lines: Vec<&str> = message.lines().collect();
    let [_, last] = lines[..] else { panic!("{message}") };
    assert!(last.contains(&format!("process {}", server.child.id())), "{message}");
    assert_eq!(endpoints(dir.path()), before);
    server.signal("TERM");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn it_starts_again_after_it_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--kafka-listen", FREE, "--http-listen", FREE];
    let mut first = Server::start(&mut command(dir.path(), &arguments));
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    assert_eq!(endpoints(dir.path())["pid"], first.child.id(), "it had no chance to remove it");
    let second = Server::start(&mut command(dir.path(), &arguments));
    assert_eq!(endpoints(dir.path())["pid"], second.child.id());
}

#[test]
fn a_taken_address_is_named_with_the_flag_that_helps() {
    let taken = std::net::TcpListener::bind(FREE).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, message) = refused(&["--kafka-listen", FREE, "--http-listen", &address]);
    assert_eq!(code, 1);
    assert!(message.contains(&address) && message.contains("--http-listen"), "{message}");
}

#[test]
fn wrong_settings_end_it_with_2_and_one_line() {
    for (arguments, part) in [
        (vec!["--set", "flush=never"], "none of fsync, os"),
        (vec!["--set", "kafka.num.partitons=4"], "did you mean \"kafka.num.partitions\"?"),
        (vec!["--set", "kafka.num.partitions=many"], "kafka.num.partitions from the command line"),
        (vec!["--kafka-listen", "0.0.0.0:9092"], "0.0.0.0:9092@HOST:9092"),
        (vec!["--http-listen", "192.168.1.1:80"], "--insecure-no-auth"),
        (vec!["--http-listen", "https://127.0.0.1:0"], "needs tls_cert"),
        (
            vec![
                "--http-listen",
                "https://127.0.0.1:0",
                "--tls-cert",
                "/nowhere.pem",
                "--tls-key",
                "k",
            ],
            "setting tls_cert: /nowhere.pem: No such file",
        ),
        (vec!["--config", "/nowhere.toml"], "/nowhere.toml"),
        (vec!["--set", "log_level=;;"], "log_level"),
    ] {
        let (code, message) = refused(&arguments);
        assert_eq!(code, 2, "{arguments:?}: {message}");
        assert!(message.contains(part), "{arguments:?}: {message}");
        assert_eq!(message.lines().count(), 1, "{arguments:?}: {message}");
    }
}

#[test]
fn being_open_to_others_is_a_standing_warning() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--kafka-listen", "127.0.0.1:0@broker.example.com", "--http-listen", FREE];
    let mut server = Server::start(command(dir.path(), &arguments).arg("--insecure-no-auth"));
    let http = endpoints(dir.path())["http"][0].as_str().unwrap().to_owned();
    assert!(get(&http, "/metrics").contains("\nmillrace_insecure_no_auth 1\n"));
    server.signal("TERM");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    assert!(server.log().contains("insecure_no_auth: everyone"));
}

#[test]
fn a_file_and_the_environment_set_what_flags_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("millrace.toml");
    fs::write(&file, "kafka_listen = \"127.0.0.1:0\"\n[kafka]\n\"num.partitions\" = 3\n").unwrap();
    let mut command = command(dir.path(), &["--config", file.to_str().unwrap()]);
    let mut server =
        Server::start(command.env("MILLRACE_HTTP_LISTEN", FREE).env("MILLRACE_LOG_FORMAT", "text"));
    server.signal("TERM");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}
