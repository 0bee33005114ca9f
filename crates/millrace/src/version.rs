//! What this build is.

use std::sync::LazyLock;

/// The release.
pub(crate) const RELEASE: &str = env!("CARGO_PKG_VERSION");
/// The commit it was built from, or `unknown`.
pub(crate) const COMMIT: &str = env!("BUILD_COMMIT");

/// `-V`: one line.
pub(crate) const SHORT: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("BUILD_COMMIT"), ")");

/// `--version`: what a data directory and a client have to fit.
pub(crate) fn long() -> &'static str {
    static LONG: LazyLock<String> = LazyLock::new(|| {
        format!(
            "{SHORT}\nlog format {}, Kafka protocol {}, Kinesis {}",
            millrace_store::LOG_FORMAT_VERSION,
            millrace_kafka::PROTOCOL_RELEASE,
            millrace_kinesis::API_VERSION,
        )
    });
    &LONG
}
