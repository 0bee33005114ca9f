//! A code with its message, for the many responses that have a field for both.

use std::borrow::Cow;

use millrace_broker::config::ConfigError;
use millrace_types::{InvalidTopicName, TopicName};

use crate::codec::{self, ErrorCode, KafkaString};

/// An error as a response says it, in Kafka's words where it has some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Kafka's code: what clients decide by.
    pub code: ErrorCode,
    /// For a person; not every response has a field for it.
    pub message: Option<Cow<'static, str>>,
}

impl Failure {
    /// An error whose code says all.
    #[must_use]
    pub const fn new(code: ErrorCode) -> Self {
        Self { code, message: None }
    }

    /// An error with its reason.
    pub fn because(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: Some(message.into()) }
    }

    /// INVALID_REQUEST.
    pub(crate) fn invalid_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::because(ErrorCode::InvalidRequest, message)
    }

    /// UNKNOWN_TOPIC_OR_PARTITION, as Kafka says it where it says no more.
    pub(crate) fn unknown_topic() -> Self {
        let text = "This server does not host this topic-partition.";
        Self::because(ErrorCode::UnknownTopicOrPartition, text)
    }

    /// INVALID_CONFIG.
    pub(crate) fn invalid_config(error: &ConfigError) -> Self {
        Self::because(ErrorCode::InvalidConfig, error.to_string())
    }
}

/// Code and message of an item's outcome: 0 and null where it went well.
pub(crate) fn outcome(result: &Result<(), Failure>) -> (i16, Option<KafkaString>) {
    match result {
        Ok(()) => (ErrorCode::None.code(), None),
        Err(failure) => (failure.code.code(), failure.message.as_deref().map(codec::wire_str)),
    }
}

/// A topic's name out of a request.
pub(crate) fn topic_name(name: &str) -> Result<TopicName, Failure> {
    TopicName::new(name).map_err(|why| {
        let reason = match why {
            InvalidTopicName::Empty => "the empty string is not allowed".to_owned(),
            InvalidTopicName::Dots => format!("'{name}' is not allowed"),
            InvalidTopicName::TooLong => {
                format!("the length of '{name}' is longer than the max allowed length 249")
            }
            InvalidTopicName::Character => format!(
                "'{name}' contains one or more characters other than ASCII alphanumerics, \
                 '.', '_' and '-'"
            ),
        };
        Failure::because(
            ErrorCode::InvalidTopicException,
            format!("Topic name is invalid: {reason}"),
        )
    })
}
