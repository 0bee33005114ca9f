//! Errors by AWS's names, and the HTTP statuses that go with them.
//!
//! Invariant: this is the one file that maps what the broker says to what
//! AWS's clients understand. Nothing here tells of the machine's insides.

use millrace_broker::{AppendError, ChangeError, ReadError};

use crate::value::{Members, Value};

/// AWS's names of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    AccessDenied,
    DryRunOperation,
    ExpiredIterator,
    ExpiredNextToken,
    IncompleteSignature,
    InternalFailure,
    InvalidArgument,
    InvalidSignature,
    LimitExceeded,
    MissingAuthenticationToken,
    ProvisionedThroughputExceeded,
    ResourceInUse,
    ResourceNotFound,
    Serialization,
    UnknownOperation,
    UnrecognizedClient,
    Validation,
}

impl Code {
    /// As `__type` says it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AccessDenied => "AccessDeniedException",
            Self::DryRunOperation => "DryRunOperationException",
            Self::ExpiredIterator => "ExpiredIteratorException",
            Self::ExpiredNextToken => "ExpiredNextTokenException",
            Self::IncompleteSignature => "IncompleteSignatureException",
            Self::InternalFailure => "InternalFailureException",
            Self::InvalidArgument => "InvalidArgumentException",
            Self::InvalidSignature => "InvalidSignatureException",
            Self::LimitExceeded => "LimitExceededException",
            Self::MissingAuthenticationToken => "MissingAuthenticationTokenException",
            Self::ProvisionedThroughputExceeded => "ProvisionedThroughputExceededException",
            Self::ResourceInUse => "ResourceInUseException",
            Self::ResourceNotFound => "ResourceNotFoundException",
            Self::Serialization => "SerializationException",
            Self::UnknownOperation => "UnknownOperationException",
            Self::UnrecognizedClient => "UnrecognizedClientException",
            Self::Validation => "ValidationException",
        }
    }

    /// The status of the answer.
    pub(crate) const fn status(self) -> http::StatusCode {
        match self {
            Self::InternalFailure => http::StatusCode::INTERNAL_SERVER_ERROR,
            _ => http::StatusCode::BAD_REQUEST,
        }
    }
}

/// What a request is answered with when it fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Error {
    pub(crate) code: Code,
    /// Absent where AWS says nothing more.
    pub(crate) message: Option<String>,
}

impl Error {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: Some(message.into()) }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new(Code::Validation, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::ResourceNotFound, message)
    }

    /// Something that the client did not cause. It may try again.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::InternalFailure, message)
    }

    /// The body of the answer.
    pub(crate) fn body(&self) -> Value<'static> {
        // AWS spells the member differently for this one.
        let name = if self.code == Code::Serialization { "Message" } else { "message" };
        let message = self.message.clone().map(Value::text);
        Members::new().text("__type", self.code.name()).maybe(name, message).done()
    }
}

/// The incarnation is over: whether what was asked has happened is unknown.
const ENDED: &str = "The log is being recovered after a failed write; try again.";

impl From<AppendError> for Error {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Ended => Self::internal(ENDED),
            AppendError::TopicDeleted => Self::not_found("The stream is deleted."),
            AppendError::Timestamp { .. } => Self::internal(
                "The server's clock is outside of what the topic's settings accept as timestamps.",
            ),
            AppendError::WithoutKey { .. } => Self::invalid(
                "The stream keeps the last record of each key (cleanup.policy=compact): records \
                 need a PartitionKey.",
            ),
            other => Self::internal(format!("The record was not stored: {other}.")),
        }
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Ended => Self::internal(ENDED),
            ReadError::Deleted => Self::not_found("The stream is deleted."),
            other => Self::internal(format!("The records cannot be read: {other}.")),
        }
    }
}

impl From<millrace_broker::Ended> for Error {
    fn from(_: millrace_broker::Ended) -> Self {
        Self::internal(ENDED)
    }
}

impl From<ChangeError<Self>> for Error {
    fn from(error: ChangeError<Self>) -> Self {
        match error {
            ChangeError::Refused(error) => error,
            ChangeError::NotFound => Self::not_found("The stream is deleted."),
            ChangeError::Unavailable(why) => Self::internal(why),
            ChangeError::Ended => Self::internal(ENDED),
        }
    }
}
