//! What a person is told when the server serves: where the data is, where to
//! connect, how to stop it.

use std::io::{self, Write as _};
use std::path::Path;

use millrace_store::disk::os::DirectIo;

use crate::settings::{BoundHttp, BoundKafka, LogFormat};

/// What is announced.
pub(crate) struct Announcement<'a> {
    pub(crate) data_dir: &'a Path,
    pub(crate) direct_io: &'a DirectIo,
    pub(crate) kafka: &'a [BoundKafka],
    pub(crate) http: &'a [BoundHttp],
    /// Whether Kinesis' clients have to sign their requests by known keys.
    pub(crate) signed: bool,
}

impl Announcement<'_> {
    /// Text on standard output for people, one event of the log for machines.
    pub(crate) fn make(&self, format: LogFormat) {
        match format {
            // Nobody reading it is no reason not to serve.
            LogFormat::Text => drop(io::stdout().write_all(self.text().as_bytes())),
            LogFormat::Json => {
                let addresses = self.kafka.iter().map(|listen| listen.advertised.to_string());
                let kafka = addresses.collect::<Vec<_>>().join(",");
                let addresses = self.http.iter().map(BoundHttp::to_string);
                let http = addresses.collect::<Vec<_>>().join(",");
                let data_dir = self.data_dir.display();
                let version = env!("CARGO_PKG_VERSION");
                let signed = self.signed;
                tracing::info!(version, %data_dir, io = self.io(), kafka, http, signed, "serving");
            }
        }
    }

    fn io(&self) -> String {
        match self.direct_io {
            DirectIo::Works => "direct I/O".to_owned(),
            DirectIo::Unavailable(why) => format!("through the page cache: {why}"),
        }
    }

    fn text(&self) -> String {
        let (version, dir) = (env!("CARGO_PKG_VERSION"), self.data_dir.display());
        let mut text = format!("Millrace {version} is serving.\n");
        text.push_str(&format!("  data   {dir} ({})\n", self.io()));
        for BoundKafka { name, address, advertised } in self.kafka {
            let name = if self.kafka.len() > 1 { format!(" ({name})") } else { String::new() };
            let bound = address.to_string();
            let bound = match advertised.to_string() == bound {
                true => String::new(),
                false => format!(", listening on {bound}"),
            };
            text.push_str(&format!("  Kafka  {advertised}{name}{bound}\n"));
        }
        let kinesis = if self.signed { "Kinesis" } else { "Kinesis with any credentials" };
        for address in self.http {
            text.push_str(&format!("  HTTP   {address} ({kinesis}, /metrics)\n"));
        }
        text.push_str("Stop it with Ctrl-C.\n");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{KafkaListens, Value as _};

    fn text(listens: &str, direct_io: &DirectIo) -> String {
        let listens = KafkaListens::parse(listens).unwrap().0;
        let at = "127.0.0.1:9092".parse().unwrap();
        let kafka: Vec<_> = listens.iter().map(|listen| listen.bound(at)).collect();
        let http = &[BoundHttp { tls: false, address: "127.0.0.1:8080".parse().unwrap() }];
        Announcement { data_dir: Path::new("/data"), direct_io, kafka: &kafka, http, signed: false }
            .text()
    }

    #[test]
    fn one_plain_listener() {
        let expected = format!(
            "Millrace {} is serving.\n  data   /data (direct I/O)\n  Kafka  127.0.0.1:9092\n  HTTP   \
             http://127.0.0.1:8080 (Kinesis with any credentials, /metrics)\nStop it with Ctrl-C.\n",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(text("127.0.0.1:0", &DirectIo::Works), expected);
    }

    #[test]
    fn several_listeners_are_told_apart() {
        let io = DirectIo::Unavailable("the file system refuses O_DIRECT".to_owned());
        let text = text("in=127.0.0.1:0,out=127.0.0.1:0@localhost", &io);
        for part in [
            "(through the page cache: the file system refuses O_DIRECT)",
            "  Kafka  127.0.0.1:9092 (in)\n",
            "  Kafka  localhost:9092 (out), listening on 127.0.0.1:9092\n",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
