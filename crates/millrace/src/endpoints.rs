//! `endpoints.json`: which addresses a running server got, for scripts that
//! let it pick free ports.
//!
//! Invariant: the file exists only while its server accepts connections, or
//! after it died without a chance to remove it; then the next start on the
//! directory removes it before it binds. It is never seen half-written.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::settings::{BoundHttp, BoundKafka};

/// The file in the data directory.
pub(crate) const NAME: &str = "endpoints.json";
const UNFINISHED: &str = "endpoints.json.tmp";

#[derive(Serialize)]
struct Endpoints {
    pid: u32,
    kafka: Vec<Kafka>,
    /// Addresses without TLS, and those with it.
    http: Vec<String>,
    https: Vec<String>,
}

#[derive(Serialize)]
struct Kafka {
    name: String,
    address: String,
    advertised: String,
}

/// Writes the file for this process.
///
/// # Errors
/// What the file system says.
pub(crate) fn write(dir: &Path, kafka: &[BoundKafka], http: &[BoundHttp]) -> io::Result<()> {
    let kafka = kafka.iter().map(|listen| Kafka {
        name: listen.name.clone(),
        address: listen.address.to_string(),
        advertised: listen.advertised.to_string(),
    });
    let addresses = |tls: bool| {
        let these = http.iter().filter(|bound| bound.tls == tls);
        these.map(|bound| bound.address.to_string()).collect()
    };
    let endpoints = Endpoints {
        pid: std::process::id(),
        kafka: kafka.collect(),
        http: addresses(false),
        https: addresses(true),
    };
    let mut text = serde_json::to_vec(&endpoints)?;
    text.push(b'\n');
    fs::write(dir.join(UNFINISHED), text)?;
    fs::rename(dir.join(UNFINISHED), dir.join(NAME))
}

/// Removes the file, if there is one.
///
/// # Errors
/// What the file system says.
pub(crate) fn remove(dir: &Path) -> io::Result<()> {
    remove_file(&dir.join(NAME))
}

/// Removes a file that may be gone already.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{KafkaListens, Value};

    #[test]
    fn the_file_has_the_form_that_scripts_rely_on() {
        let dir = tempfile::tempdir().unwrap();
        let listens = KafkaListens::parse("127.0.0.1:0,b=127.0.0.1:0@localhost").unwrap();
        let at = "127.0.0.1:41234".parse().unwrap();
        let bound: Vec<_> = listens.0.iter().map(|listen| listen.bound(at)).collect();
        let http = [(false, "127.0.0.1:41235"), (true, "127.0.0.1:41236")];
        let http = http.map(|(tls, at)| BoundHttp { tls, address: at.parse().unwrap() });
        write(dir.path(), &bound, &http).unwrap();
        let text = fs::read_to_string(dir.path().join(NAME)).unwrap();
        let expected = format!(
            "{{\"pid\":{},\"kafka\":[{{\"name\":\"default\",\"address\":\"127.0.0.1:41234\",\
             \"advertised\":\"127.0.0.1:41234\"}},{{\"name\":\"b\",\"address\":\"127.0.0.1:41234\",\
             \"advertised\":\"localhost:41234\"}}],\"http\":[\"127.0.0.1:41235\"],\
             \"https\":[\"127.0.0.1:41236\"]}}\n",
            std::process::id()
        );
        assert_eq!(text, expected);
        remove(dir.path()).unwrap();
        remove(dir.path()).unwrap();
        assert!(!dir.path().join(NAME).exists());
    }
}
