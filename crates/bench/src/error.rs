//! Why a run did not begin or did not end well.

use std::io;

use kacrab_protocol::generated::ErrorCode;

use crate::wire::Malformed;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Options that contradict each other.
    #[error("{0}")]
    Options(String),
    /// No connection, or one that broke while it was needed.
    #[error("can't talk to {address}: {why}; is a Kafka server listening there?")]
    Connection {
        /// Whom.
        address: String,
        /// What the system says.
        why: io::Error,
    },
    /// The same of an endpoint of Kinesis.
    #[error("can't talk to {address}: {why}; is a Kinesis endpoint listening there, without TLS?")]
    Http {
        /// Whom.
        address: String,
        /// What the system says.
        why: io::Error,
    },
    /// No common version of an API.
    #[error("{address} serves {api} {served}; this needs a version from {min} to {max}")]
    Version {
        /// Whom.
        address: String,
        /// Which API.
        api: String,
        /// What it serves, in words.
        served: String,
        /// Oldest that is spoken here.
        min: i16,
        /// Newest.
        max: i16,
    },
    /// A server that refused something for good.
    #[error("the server refused {what}: {code}{message}{advice}")]
    Refused {
        /// What was asked for.
        what: String,
        /// Kafka's name of the error.
        code: String,
        /// Its own words, after a colon and a space.
        message: String,
        /// What to do, after a semicolon.
        advice: &'static str,
    },
    /// An answer that can't be read.
    #[error("a response is malformed: the server does not keep to Kafka's protocol")]
    Malformed,
    /// As [`Self::Malformed`], of the messages that a codec reads.
    #[error("can't decode or encode {what}: {why}")]
    Codec {
        /// Which message.
        what: &'static str,
        /// What the codec says.
        why: String,
    },
    /// A topic that is not as the options want it.
    #[error("{0}")]
    Topic(String),
    /// No leader, no answer, no progress.
    #[error("{0}")]
    Stalled(String),
    /// What the operating system refuses.
    #[error("can't {what}: {why}")]
    System {
        /// What.
        what: String,
        /// What the system says.
        why: io::Error,
    },
}

impl From<Malformed> for BenchError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl BenchError {
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |why| Self::System { what, why }
    }

    pub(crate) fn refused(what: impl Into<String>, code: i16, message: &str) -> Self {
        let message = if message.is_empty() { String::new() } else { format!(": {message}") };
        Self::Refused { what: what.into(), code: name(code), message, advice: advice(code) }
    }
}

/// Kafka's name of an error code.
pub(crate) fn name(code: i16) -> String {
    format!("{:?} ({code})", ErrorCode::from(code))
}

fn advice(code: i16) -> &'static str {
    match ErrorCode::from(code) {
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => {
            "; make --batch-bytes smaller, or the server's max.message.bytes larger"
        }
        ErrorCode::TopicAuthorizationFailed | ErrorCode::ClusterAuthorizationFailed => {
            "; there is no authentication here: use a listener that needs none"
        }
        ErrorCode::OutOfOrderSequenceNumber | ErrorCode::UnknownProducerId => {
            "; the server lost track of an idempotent producer, which is a fault of the server"
        }
        ErrorCode::UnsupportedCompressionType => "; choose another --compression",
        ErrorCode::InvalidPartitions => "; change --partitions",
        ErrorCode::InvalidTopicException => "; choose another --topic",
        _ => "",
    }
}

/// Whether the same request may succeed a little later, perhaps elsewhere.
pub(crate) fn is_retriable(code: i16) -> bool {
    use ErrorCode as E;
    matches!(
        E::from(code),
        E::UnknownTopicOrPartition
            | E::LeaderNotAvailable
            | E::NotLeaderOrFollower
            | E::RequestTimedOut
            | E::NetworkException
            | E::CoordinatorLoadInProgress
            | E::CoordinatorNotAvailable
            | E::NotCoordinator
            | E::NotEnoughReplicas
            | E::NotEnoughReplicasAfterAppend
            | E::NotController
            | E::KafkaStorageError
            | E::FencedLeaderEpoch
            | E::UnknownLeaderEpoch
            | E::OffsetNotAvailable
            | E::ThrottlingQuotaExceeded
            | E::UnknownTopicId
            | E::InconsistentTopicId
    )
}
