//! The wire codec: the only module that names the crate behind it, so that it
//! can be replaced (docs/adr/0003-kafka-codec.md).
//!
//! Invariant: decoding never panics and never reserves more than a fixed
//! multiple of the bytes that are there; what multiple is measured by
//! `tests/hostile.rs` and charged by [`crate::api::Api::memory`]. Called by the
//! connection (headers) and by the API handlers (bodies).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::{Buf, BufMut, Bytes, BytesMut};
pub use kacrab_protocol::generated::{ApiKey, ErrorCode};
pub use kacrab_protocol::{KafkaString, KafkaUuid};
use millrace_types::TopicId;

use crate::response::Response;

/// A request or a header that does not parse, or a response that cannot be
/// encoded at its version. Either closes the connection, as Kafka does.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(#[from] kacrab_protocol::ProtocolError);

/// A request body.
pub trait Decode: Sized {
    /// Reads the body at `version`; bytes fields share `body`'s memory.
    ///
    /// # Errors
    /// The bytes are not this message at this version.
    fn decode(body: &mut Bytes, version: i16) -> Result<Self, CodecError>;
}

/// A response body.
pub trait Encode {
    /// Length of the encoded body in bytes.
    ///
    /// # Errors
    /// The message cannot be said at this version.
    fn encoded_len(&self, version: i16) -> Result<usize, CodecError>;
    /// Appends the body to `out`.
    ///
    /// # Errors
    /// The message cannot be said at this version.
    fn encode(&self, out: &mut BytesMut, version: i16) -> Result<(), CodecError>;
}

/// What a response says of its request's outcome.
pub trait Outcome {
    /// The code of the first error in it, 0 where there is none.
    fn error_code(&self) -> i16;
}

/// The first code along a path of fields that is an error, or 0.
macro_rules! first_error {
    ($message:expr, $code:ident) => { $message.$code };
    ($message:expr, $items:ident $($path:ident)+) => {
        $message.$items.iter().map(|item| first_error!(item, $($path)+)).find(|code| *code != 0)
            .unwrap_or_default()
    };
}

/// Re-exports the modules of the messages that are served and makes their roots
/// [`Decode`] and [`Encode`] (both, so that tests can play the client). A
/// response's row says in which of its fields errors stand.
macro_rules! messages {
    ($(
        $request:ident::$request_type:ident,
        $response:ident::$response_type:ident: $($($field:ident).+)|+;
    )*) => {
        message_impls! {
            $($request::$request_type, $response::$response_type,)*
        }

        $(impl Outcome for $response::$response_type {
            fn error_code(&self) -> i16 {
                $(
                    let code = first_error!(self, $($field)+);
                    if code != 0 {
                        return code;
                    }
                )+
                0
            }
        })*
    };
}

macro_rules! message_impls {
    ($($module:ident::$message:ident,)*) => {$(
        pub use kacrab_protocol::generated::$module;

        impl Decode for $module::$message {
            fn decode(body: &mut Bytes, version: i16) -> Result<Self, CodecError> {
                Ok(Self::read(body, version)?)
            }
        }

        impl Encode for $module::$message {
            fn encoded_len(&self, version: i16) -> Result<usize, CodecError> {
                Ok(Self::encoded_len(self, version)?)
            }
            fn encode(&self, out: &mut BytesMut, version: i16) -> Result<(), CodecError> {
                Ok(self.write(out, version)?)
            }
        }
    )*
        /// Decodes and drops a message, by the name of its module; what a
        /// decoder does with hostile bytes is tested by this.
        pub const DECODERS: &[(&str, DecodeAndDrop)] = &[$((
            stringify!($module),
            |body, version| $module::$message::decode(body, version).map(drop),
        ),)*];

        /// Decodes a message and encodes it again, by the name of its module.
        #[cfg(feature = "fuzzing")]
        #[doc(hidden)]
        pub const RECODERS: &[(&str, Recode)] = &[$((
            stringify!($module),
            |body, out, version| $module::$message::decode(body, version)?.encode(out, version),
        ),)*];

        /// The message with nothing in it, by the name of its module.
        #[cfg(any(test, feature = "fuzzing"))]
        #[doc(hidden)]
        pub const DEFAULTS: &[(&str, EncodeDefault)] = &[$((
            stringify!($module),
            |out, version| $module::$message::default().encode(out, version),
        ),)*];
    };
}

/// See [`RECODERS`].
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub type Recode = fn(&mut Bytes, &mut BytesMut, i16) -> Result<(), CodecError>;

/// See [`DEFAULTS`].
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub type EncodeDefault = fn(&mut BytesMut, i16) -> Result<(), CodecError>;

/// See [`DECODERS`].
pub type DecodeAndDrop = fn(&mut Bytes, i16) -> Result<(), CodecError>;

messages! {
    alter_configs_request::AlterConfigsRequestData,
    alter_configs_response::AlterConfigsResponseData:
        responses.error_code;
    alter_partition_reassignments_request::AlterPartitionReassignmentsRequestData,
    alter_partition_reassignments_response::AlterPartitionReassignmentsResponseData:
        error_code | responses.partitions.error_code;
    alter_replica_log_dirs_request::AlterReplicaLogDirsRequestData,
    alter_replica_log_dirs_response::AlterReplicaLogDirsResponseData:
        results.partitions.error_code;
    api_versions_request::ApiVersionsRequestData,
    api_versions_response::ApiVersionsResponseData:
        error_code;
    create_partitions_request::CreatePartitionsRequestData,
    create_partitions_response::CreatePartitionsResponseData:
        results.error_code;
    create_topics_request::CreateTopicsRequestData,
    create_topics_response::CreateTopicsResponseData:
        topics.error_code;
    delete_groups_request::DeleteGroupsRequestData,
    delete_groups_response::DeleteGroupsResponseData:
        results.error_code;
    delete_records_request::DeleteRecordsRequestData,
    delete_records_response::DeleteRecordsResponseData:
        topics.partitions.error_code;
    delete_topics_request::DeleteTopicsRequestData,
    delete_topics_response::DeleteTopicsResponseData:
        responses.error_code;
    describe_cluster_request::DescribeClusterRequestData,
    describe_cluster_response::DescribeClusterResponseData:
        error_code;
    describe_configs_request::DescribeConfigsRequestData,
    describe_configs_response::DescribeConfigsResponseData:
        results.error_code;
    describe_groups_request::DescribeGroupsRequestData,
    describe_groups_response::DescribeGroupsResponseData:
        groups.error_code;
    describe_log_dirs_request::DescribeLogDirsRequestData,
    describe_log_dirs_response::DescribeLogDirsResponseData:
        error_code | results.error_code;
    describe_producers_request::DescribeProducersRequestData,
    describe_producers_response::DescribeProducersResponseData:
        topics.partitions.error_code;
    describe_quorum_request::DescribeQuorumRequestData,
    describe_quorum_response::DescribeQuorumResponseData:
        error_code | topics.partitions.error_code;
    describe_topic_partitions_request::DescribeTopicPartitionsRequestData,
    describe_topic_partitions_response::DescribeTopicPartitionsResponseData:
        topics.error_code | topics.partitions.error_code;
    elect_leaders_request::ElectLeadersRequestData,
    elect_leaders_response::ElectLeadersResponseData:
        error_code | replica_election_results.partition_result.error_code;
    fetch_request::FetchRequestData,
    fetch_response::FetchResponseData:
        error_code | responses.partitions.error_code;
    find_coordinator_request::FindCoordinatorRequestData,
    find_coordinator_response::FindCoordinatorResponseData:
        error_code | coordinators.error_code;
    heartbeat_request::HeartbeatRequestData,
    heartbeat_response::HeartbeatResponseData:
        error_code;
    incremental_alter_configs_request::IncrementalAlterConfigsRequestData,
    incremental_alter_configs_response::IncrementalAlterConfigsResponseData:
        responses.error_code;
    init_producer_id_request::InitProducerIdRequestData,
    init_producer_id_response::InitProducerIdResponseData:
        error_code;
    join_group_request::JoinGroupRequestData,
    join_group_response::JoinGroupResponseData:
        error_code;
    leave_group_request::LeaveGroupRequestData,
    leave_group_response::LeaveGroupResponseData:
        error_code | members.error_code;
    list_config_resources_request::ListConfigResourcesRequestData,
    list_config_resources_response::ListConfigResourcesResponseData:
        error_code;
    list_groups_request::ListGroupsRequestData,
    list_groups_response::ListGroupsResponseData:
        error_code;
    list_offsets_request::ListOffsetsRequestData,
    list_offsets_response::ListOffsetsResponseData:
        topics.partitions.error_code;
    list_partition_reassignments_request::ListPartitionReassignmentsRequestData,
    list_partition_reassignments_response::ListPartitionReassignmentsResponseData:
        error_code;
    metadata_request::MetadataRequestData,
    metadata_response::MetadataResponseData:
        error_code | topics.error_code | topics.partitions.error_code;
    offset_commit_request::OffsetCommitRequestData,
    offset_commit_response::OffsetCommitResponseData:
        topics.partitions.error_code;
    offset_delete_request::OffsetDeleteRequestData,
    offset_delete_response::OffsetDeleteResponseData:
        error_code | topics.partitions.error_code;
    offset_fetch_request::OffsetFetchRequestData,
    offset_fetch_response::OffsetFetchResponseData:
        error_code | topics.partitions.error_code | groups.error_code
        | groups.topics.partitions.error_code;
    offset_for_leader_epoch_request::OffsetForLeaderEpochRequestData,
    offset_for_leader_epoch_response::OffsetForLeaderEpochResponseData:
        topics.partitions.error_code;
    produce_request::ProduceRequestData,
    produce_response::ProduceResponseData:
        responses.partition_responses.error_code;
    sync_group_request::SyncGroupRequestData,
    sync_group_response::SyncGroupResponseData:
        error_code;
    unregister_broker_request::UnregisterBrokerRequestData,
    unregister_broker_response::UnregisterBrokerResponseData:
        error_code;
    update_features_request::UpdateFeaturesRequestData,
    update_features_response::UpdateFeaturesResponseData:
        error_code | results.error_code;
}

/// What stands before every request body.
#[derive(Clone, Debug)]
pub struct RequestHeader {
    /// Which API.
    pub api_key: i16,
    /// Which version of it.
    pub api_version: i16,
    /// Sent back with the response.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<KafkaString>,
}

/// Bytes of a frame that name the API and its version, after the length.
pub const API_PREFIX_LEN: usize = 4;

/// API key and version at the start of a frame's payload.
#[must_use]
pub fn peek_api(mut payload: &[u8]) -> Option<(i16, i16)> {
    (payload.len() >= API_PREFIX_LEN).then(|| (payload.get_i16(), payload.get_i16()))
}

/// Reads the header and leaves the body in `payload`. The header of an unknown
/// API or version is read in the form that its version would have, as far as
/// that can be known.
///
/// # Errors
/// The bytes are no request header.
pub fn read_header(payload: &mut Bytes) -> Result<RequestHeader, CodecError> {
    let (key, version) = peek_api(payload).unwrap_or_default();
    let form = header_form(key, version);
    let header =
        kacrab_protocol::generated::request_header::RequestHeaderData::read(payload, form)?;
    Ok(RequestHeader {
        api_key: header.request_api_key,
        api_version: header.request_api_version,
        correlation_id: header.correlation_id,
        client_id: header.client_id,
    })
}

/// Version of the request header of an API's version. A version of ApiVersions
/// that is newer than ours has tagged fields like the newest that we know
/// (KIP-511: its header never changes).
fn header_form(key: i16, version: i16) -> i16 {
    if key == kacrab_protocol::version::API_VERSIONS_KEY {
        return if version >= 3 { 2 } else { 1 };
    }
    kacrab_protocol::version::request_header_version(key, version)
}

/// Whether requests and responses of this version have compact lengths and
/// tagged fields.
#[must_use]
pub fn is_flexible(key: i16, version: i16) -> bool {
    kacrab_protocol::version::request_header_version(key, version) >= 2
}

/// Appends the four bytes of a length still unknown and the response header.
pub fn begin_response(out: &mut BytesMut, key: i16, version: i16, correlation_id: i32) {
    out.put_i32(0);
    out.put_i32(correlation_id);
    if kacrab_protocol::version::response_header_version(key, version) >= 1 {
        out.put_u8(0);
    }
}

/// Writes the length of a response begun by [`begin_response`] that has
/// `more` bytes beyond `out`.
pub fn finish_length(out: &mut BytesMut, more: usize) {
    let length = out.len().saturating_sub(4).saturating_add(more);
    let length = i32::try_from(length).unwrap_or(i32::MAX);
    if let Some(prefix) = out.get_mut(..4) {
        prefix.copy_from_slice(&length.to_be_bytes());
    }
}

/// A whole response frame: length, header, body.
///
/// # Errors
/// The message cannot be said at this version.
pub fn encode_response(
    key: i16,
    version: i16,
    correlation_id: i32,
    body: &(impl Encode + Outcome),
) -> Result<Response, CodecError> {
    let mut out = BytesMut::with_capacity(body.encoded_len(version)?.saturating_add(9));
    begin_response(&mut out, key, version, correlation_id);
    body.encode(&mut out, version)?;
    finish_length(&mut out, 0);
    Ok(Response::from(out.freeze()).with_error(body.error_code()))
}

/// Kafka's name of an error code, such as `UNKNOWN_TOPIC_OR_PARTITION`.
#[must_use]
pub fn error_name(code: i16) -> &'static str {
    static NAMES: LazyLock<BTreeMap<i16, String>> = LazyLock::new(|| {
        let codes = (-1..=i16::from(u8::MAX)).map(|code| (code, ErrorCode::from(code)));
        let known = codes.filter(|(_, error)| !matches!(error, ErrorCode::Unknown(_)));
        known.map(|(code, error)| (code, screaming_snake_case(&format!("{error:?}")))).collect()
    });
    NAMES.get(&code).map_or("UNKNOWN", String::as_str)
}

fn screaming_snake_case(camel_case: &str) -> String {
    let mut name = String::with_capacity(camel_case.len() + 8);
    for letter in camel_case.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

/// The wire form of a topic id.
#[must_use]
pub fn wire_uuid(id: TopicId) -> KafkaUuid {
    KafkaUuid::from_uuid(id.as_uuid())
}

/// A topic id as read from the wire.
#[must_use]
pub fn topic_id(id: KafkaUuid) -> TopicId {
    TopicId(id.to_bytes())
}

/// The wire form of a text.
#[must_use]
pub fn wire_str(text: &str) -> KafkaString {
    KafkaString::from(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_are_kafkas() {
        let names = [-1, 0, 3, 17, 56, 115, 999].map(error_name);
        let kafkas = [
            "UNKNOWN_SERVER_ERROR",
            "NONE",
            "UNKNOWN_TOPIC_OR_PARTITION",
            "INVALID_TOPIC_EXCEPTION",
            "KAFKA_STORAGE_ERROR",
            "UNSUPPORTED_ENDPOINT_TYPE",
            "UNKNOWN",
        ];
        assert_eq!(names, kafkas);
    }
}
