//! What the client library's errors mean to the person at the command line:
//! the one place that turns them into sentences.

use std::io;

use krafka::error::ErrorCode;
use krafka::{KrafkaError, ProtocolErrorKind};

use crate::Failure;

/// How a command reaches its cluster.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// As they were named.
    pub(super) brokers: String,
    pub(super) tls: bool,
    pub(super) sasl: bool,
}

pub(super) fn failure(error: &KrafkaError, link: &Link) -> Failure {
    match error {
        KrafkaError::Config { message } => Failure::Usage(message.clone()),
        KrafkaError::Network(cause) => Failure::Failed(unreachable(cause, link)),
        KrafkaError::Timeout { operation } if operation == "connecting" => {
            Failure::Failed(format!(
                "no answer from {} within 10 s: is it a Kafka broker?{}",
                link.brokers,
                speaks_otherwise(link)
            ))
        }
        KrafkaError::Timeout { operation } => Failure::Failed(format!(
            "no answer in time from {}: {operation}; nothing says whether it was done",
            link.brokers
        )),
        KrafkaError::Auth { message, .. } => Failure::Failed(refused(message, link)),
        KrafkaError::Protocol { kind, message } => Failure::Failed(protocol(*kind, message, link)),
        KrafkaError::Broker { code, message } => Failure::Failed(broker(*code, message)),
        other => Failure::Failed(other.to_string()),
    }
}

fn unreachable(cause: &io::Error, link: &Link) -> String {
    let said = innermost(cause);
    let brokers = &link.brokers;
    if said.contains("Connection refused") {
        let help = "is the server running? `millrace serve` starts one, --brokers names another";
        return format!("can't reach a broker at {brokers}: connection refused; {help}");
    }
    if said.contains("protocol error") {
        let other = speaks_otherwise(link);
        return format!("{brokers} does not answer as a Kafka broker does{other}");
    }
    if said.contains("timed out") {
        return format!(
            "no answer from {brokers} within 10 s: is it a Kafka broker?{}",
            speaks_otherwise(link)
        );
    }
    if is_tls_trouble(&said) {
        return refused(&said, link);
    }
    if said.contains("closed") || said.contains("eof") || said.contains("reset") {
        let other = speaks_otherwise(link);
        return format!("the broker at {brokers} closed the connection ({said}){other}");
    }
    format!("can't reach a broker at {brokers}: {said}; --brokers names another")
}

/// The library wraps what the system said: the last of the chain is it.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(inner) = next {
        said = inner.to_string();
        next = inner.source();
    }
    said
}

fn is_tls_trouble(said: &str) -> bool {
    ["certificate", "handshake", "alert", "InvalidContentType", "tls"]
        .iter()
        .any(|word| said.to_ascii_lowercase().contains(&word.to_ascii_lowercase()))
}

fn refused(said: &str, link: &Link) -> String {
    let brokers = &link.brokers;
    if ["InvalidContentType", "corrupt message", "handshake eof"].iter().any(|w| said.contains(w)) {
        return format!(
            "{brokers} does not speak TLS: leave tls out of the profile, or name the broker's TLS address"
        );
    }
    if said.contains("UnknownIssuer") {
        return format!(
            "{brokers}: its certificate is not from a known issuer: name the issuer's in the profile, ca_file = \"...\""
        );
    }
    if said.contains("alert") && said.to_ascii_lowercase().contains("certificate") {
        return format!(
            "{brokers} wants the certificate of a client that it knows: cert_file and key_file in the profile ({said})"
        );
    }
    if said.contains("certificate") {
        return format!("{brokers}: {said}");
    }
    if link.sasl {
        // The library names the brokers and Kafka's code before what was said.
        let said = said.split_once("]: ").map_or(said, |(_, said)| said);
        let said = said.rsplit(" - ").next().unwrap_or(said);
        return format!("{brokers} refuses the profile's sasl_user or password: {said}");
    }
    format!("{brokers} refuses the connection: {said}; a profile holds TLS and SASL settings")
}

/// What a server that does not answer as expected may be.
fn speaks_otherwise(link: &Link) -> &'static str {
    match (link.tls, link.sasl) {
        (false, false) => "; a TLS address needs a profile with tls = true",
        (false, true) => "; it may want TLS (tls = true in the profile), or no SASL",
        (true, false) => "; an address that asks for SASL needs a profile with sasl_mechanism",
        (true, true) => "",
    }
}

fn protocol(kind: ProtocolErrorKind, message: &str, link: &Link) -> String {
    if kind == ProtocolErrorKind::UnknownApiVersion {
        return format!("the broker does not know this request: {message}");
    }
    let other = speaks_otherwise(link);
    format!("{} does not answer as a Kafka broker does: {message}{other}", link.brokers)
}

fn broker(code: ErrorCode, message: &str) -> String {
    // Where a broker gives no words of its own, the library puts the code's name.
    let said = if message.is_empty() || message == format!("{code:?}") {
        None
    } else {
        Some(message.trim_end_matches('.'))
    };
    let meaning = match code {
        ErrorCode::TopicAuthorizationFailed
        | ErrorCode::GroupAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed => {
            "this user may not do that; --profile names another"
        }
        ErrorCode::GroupIdNotFound => "there is no such group",
        ErrorCode::NonEmptyGroup | ErrorCode::UnknownMemberId => {
            "the group has members: stop them first"
        }
        ErrorCode::OffsetOutOfRange => "the partition does not hold that offset",
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => {
            "the record is larger than the topic takes; `millrace topic alter TOPIC --set max.message.bytes=BYTES` raises it"
        }
        ErrorCode::PolicyViolation if said.is_none() => {
            "a policy of the topic or the cluster forbids it (Kafka trims no compacted topic)"
        }
        ErrorCode::UnknownTopicOrPartition => "there is no such topic or partition",
        _ => return said.map_or_else(|| format!("{code:?}"), str::to_owned),
    };
    meaning.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_broker_said_is_passed_on_and_bare_codes_get_words() {
        let link = Link { brokers: "a:1".to_owned(), tls: false, sasl: false };
        let said =
            |code, message: &str| failure(&KrafkaError::broker(code, message), &link).to_string();
        assert_eq!(said(ErrorCode::InvalidConfig, "Unknown name: x."), "Unknown name: x");
        assert_eq!(said(ErrorCode::GroupIdNotFound, "GroupIdNotFound"), "there is no such group");
        assert_eq!(said(ErrorCode::InvalidRequest, ""), "InvalidRequest");
        assert!(said(ErrorCode::PolicyViolation, "").contains("forbids it"));
    }
}
