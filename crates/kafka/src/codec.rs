//! The wire codec: the only module that names the crate behind it, so that it
//! can be replaced (docs/adr/0003-kafka-codec.md).
//!
//! Invariant: decoding never panics and never reserves more than a fixed
//! multiple of the bytes that are there; what multiple is measured by
//! `tests/hostile.rs` and charged by [`crate::api::Api::memory`]. Called by the
//! connection (headers) and by the API handlers (bodies).

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

/// Re-exports the modules of the messages that are served and makes their roots
/// [`Decode`] and [`Encode`] (both, so that tests can play the client).
macro_rules! messages {
    ($($module:ident::$message:ident),* $(,)?) => {$(
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

        /// The message with nothing in it, by the name of its module.
        #[cfg(test)]
        pub(crate) const DEFAULTS: &[(&str, EncodeDefault)] = &[$((
            stringify!($module),
            |out, version| $module::$message::default().encode(out, version),
        ),)*];
    };
}

/// See [`DEFAULTS`].
#[cfg(test)]
pub(crate) type EncodeDefault = fn(&mut BytesMut, i16) -> Result<(), CodecError>;

/// See [`DECODERS`].
pub type DecodeAndDrop = fn(&mut Bytes, i16) -> Result<(), CodecError>;

messages! {
    alter_configs_request::AlterConfigsRequestData,
    alter_configs_response::AlterConfigsResponseData,
    alter_partition_reassignments_request::AlterPartitionReassignmentsRequestData,
    alter_partition_reassignments_response::AlterPartitionReassignmentsResponseData,
    alter_replica_log_dirs_request::AlterReplicaLogDirsRequestData,
    alter_replica_log_dirs_response::AlterReplicaLogDirsResponseData,
    api_versions_request::ApiVersionsRequestData,
    api_versions_response::ApiVersionsResponseData,
    create_partitions_request::CreatePartitionsRequestData,
    create_partitions_response::CreatePartitionsResponseData,
    create_topics_request::CreateTopicsRequestData,
    create_topics_response::CreateTopicsResponseData,
    delete_groups_request::DeleteGroupsRequestData,
    delete_groups_response::DeleteGroupsResponseData,
    delete_records_request::DeleteRecordsRequestData,
    delete_records_response::DeleteRecordsResponseData,
    delete_topics_request::DeleteTopicsRequestData,
    delete_topics_response::DeleteTopicsResponseData,
    describe_cluster_request::DescribeClusterRequestData,
    describe_cluster_response::DescribeClusterResponseData,
    describe_configs_request::DescribeConfigsRequestData,
    describe_configs_response::DescribeConfigsResponseData,
    describe_groups_request::DescribeGroupsRequestData,
    describe_groups_response::DescribeGroupsResponseData,
    describe_log_dirs_request::DescribeLogDirsRequestData,
    describe_log_dirs_response::DescribeLogDirsResponseData,
    describe_producers_request::DescribeProducersRequestData,
    describe_producers_response::DescribeProducersResponseData,
    describe_quorum_request::DescribeQuorumRequestData,
    describe_quorum_response::DescribeQuorumResponseData,
    describe_topic_partitions_request::DescribeTopicPartitionsRequestData,
    describe_topic_partitions_response::DescribeTopicPartitionsResponseData,
    elect_leaders_request::ElectLeadersRequestData,
    elect_leaders_response::ElectLeadersResponseData,
    fetch_request::FetchRequestData,
    fetch_response::FetchResponseData,
    find_coordinator_request::FindCoordinatorRequestData,
    find_coordinator_response::FindCoordinatorResponseData,
    heartbeat_request::HeartbeatRequestData,
    heartbeat_response::HeartbeatResponseData,
    incremental_alter_configs_request::IncrementalAlterConfigsRequestData,
    incremental_alter_configs_response::IncrementalAlterConfigsResponseData,
    init_producer_id_request::InitProducerIdRequestData,
    init_producer_id_response::InitProducerIdResponseData,
    join_group_request::JoinGroupRequestData,
    join_group_response::JoinGroupResponseData,
    leave_group_request::LeaveGroupRequestData,
    leave_group_response::LeaveGroupResponseData,
    list_config_resources_request::ListConfigResourcesRequestData,
    list_config_resources_response::ListConfigResourcesResponseData,
    list_groups_request::ListGroupsRequestData,
    list_groups_response::ListGroupsResponseData,
    list_offsets_request::ListOffsetsRequestData,
    list_offsets_response::ListOffsetsResponseData,
    list_partition_reassignments_request::ListPartitionReassignmentsRequestData,
    list_partition_reassignments_response::ListPartitionReassignmentsResponseData,
    metadata_request::MetadataRequestData,
    metadata_response::MetadataResponseData,
    offset_commit_request::OffsetCommitRequestData,
    offset_commit_response::OffsetCommitResponseData,
    offset_delete_request::OffsetDeleteRequestData,
    offset_delete_response::OffsetDeleteResponseData,
    offset_fetch_request::OffsetFetchRequestData,
    offset_fetch_response::OffsetFetchResponseData,
    offset_for_leader_epoch_request::OffsetForLeaderEpochRequestData,
    offset_for_leader_epoch_response::OffsetForLeaderEpochResponseData,
    produce_request::ProduceRequestData,
    produce_response::ProduceResponseData,
    sync_group_request::SyncGroupRequestData,
    sync_group_response::SyncGroupResponseData,
    unregister_broker_request::UnregisterBrokerRequestData,
    unregister_broker_response::UnregisterBrokerResponseData,
    update_features_request::UpdateFeaturesRequestData,
    update_features_response::UpdateFeaturesResponseData,
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
    body: &impl Encode,
) -> Result<Response, CodecError> {
    let mut out = BytesMut::with_capacity(body.encoded_len(version)?.saturating_add(9));
    begin_response(&mut out, key, version, correlation_id);
    body.encode(&mut out, version)?;
    finish_length(&mut out, 0);
    Ok(Response::from(out.freeze()))
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
