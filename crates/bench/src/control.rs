//! The control connection: versions, metadata, topics, producer ids, offsets.
//! It blocks, since it is used before the load begins and beside it by the
//! main thread alone.
//!
//! The only module that names the codec's messages outside of tests.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kacrab_protocol::generated::{
    ApiKey, api_versions_request, api_versions_response, create_topics_request,
    create_topics_response, delete_topics_request, delete_topics_response,
    init_producer_id_request, init_producer_id_response, list_offsets_request,
    list_offsets_response, metadata_request, metadata_response,
};
use kacrab_protocol::version::{request_header_version, response_header_version};

use crate::batch::ProducerId;
use crate::cluster::{Routes, Topic};
use crate::error::{self, BenchError};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);
const TIMEOUT_MS: i32 = 30_000;
/// Bytes of an answer at most.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A message that the codec knows.
trait Message: Sized {
    const WHAT: &'static str;
    fn read(bytes: &mut Bytes, version: i16) -> Result<Self, kacrab_protocol::ProtocolError>;
    fn write(&self, out: &mut BytesMut, version: i16)
    -> Result<(), kacrab_protocol::ProtocolError>;
}

macro_rules! messages {
    ($($module:ident::$message:ident),* $(,)?) => {$(
        impl Message for $module::$message {
            const WHAT: &'static str = stringify!($module);
            fn read(bytes: &mut Bytes, version: i16) -> Result<Self, kacrab_protocol::ProtocolError> {
                Self::read(bytes, version)
            }
            fn write(&self, out: &mut BytesMut, version: i16) -> Result<(), kacrab_protocol::ProtocolError> {
                self.write(out, version)
            }
        }
    )*};
}

messages! {
    api_versions_request::ApiVersionsRequestData,
    api_versions_response::ApiVersionsResponseData,
    create_topics_request::CreateTopicsRequestData,
    create_topics_response::CreateTopicsResponseData,
    delete_topics_request::DeleteTopicsRequestData,
    delete_topics_response::DeleteTopicsResponseData,
    init_producer_id_request::InitProducerIdRequestData,
    init_producer_id_response::InitProducerIdResponseData,
    list_offsets_request::ListOffsetsRequestData,
    list_offsets_response::ListOffsetsResponseData,
    metadata_request::MetadataRequestData,
    metadata_response::MetadataResponseData,
}

fn codec<M: Message>(why: &kacrab_protocol::ProtocolError) -> BenchError {
    BenchError::Codec { what: M::WHAT, why: why.to_string() }
}

/// A topic as metadata tells of it.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub(crate) topic: Topic,
    pub(crate) routes: Routes,
}

/// A connection to one server.
#[derive(Debug)]
pub(crate) struct Control {
    socket: TcpStream,
    address: String,
    correlation_id: i32,
    versions: BTreeMap<i16, (i16, i16)>,
}

impl Control {
    /// Connects and learns the server's versions.
    pub(crate) fn connect(address: &str) -> Result<Self, BenchError> {
        let failed = |why| BenchError::Connection { address: address.to_owned(), why };
        let address_found = resolve(address)?;
        let socket = TcpStream::connect_timeout(&address_found, TIMEOUT).map_err(failed)?;
        socket.set_nodelay(true).map_err(failed)?;
        socket.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
        let mut control = Self {
            socket,
            address: address.to_owned(),
            correlation_id: 0,
            versions: BTreeMap::new(),
        };
        let request = api_versions_request::ApiVersionsRequestData::default()
            .with_client_software_name(crate::CLIENT_ID.to_owned().into())
            .with_client_software_version(env!("CARGO_PKG_VERSION").to_owned().into());
        let response: api_versions_response::ApiVersionsResponseData =
            control.call_at(ApiKey::ApiVersions, 3, &request)?;
        if response.error_code != 0 {
            let what = format!("ApiVersions 3 at {address}");
            return Err(BenchError::refused(what, response.error_code, ""));
        }
        let keys = response.api_keys.iter();
        control.versions =
            keys.map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
        Ok(control)
    }

    /// The newest version that both sides speak.
    pub(crate) fn version(&self, key: i16, min: i16, max: i16) -> Result<i16, BenchError> {
        let served = self.versions.get(&key);
        match served {
            Some((from, to)) if *from <= max && *to >= min => Ok(max.min(*to)),
            _ => Err(BenchError::Version {
                address: self.address.clone(),
                api: ApiKey::from_i16(key)
                    .map_or_else(|| key.to_string(), |key| format!("{key:?}")),
                served: served.map_or_else(
                    || "at no version".to_owned(),
                    |(from, to)| format!("at versions {from} to {to}"),
                ),
                min,
                max,
            }),
        }
    }

    fn call<Q: Message, R: Message>(
        &mut self,
        key: ApiKey,
        versions: (i16, i16),
        request: &Q,
    ) -> Result<R, BenchError> {
        let version = self.version(key as i16, versions.0, versions.1)?;
        self.call_at(key, version, request)
    }

    fn call_at<Q: Message, R: Message>(
        &mut self,
        key: ApiKey,
        version: i16,
        request: &Q,
    ) -> Result<R, BenchError> {
        let key = key as i16;
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let mut head = Vec::new();
        crate::wire::begin_request(&mut head, key, version, self.correlation_id);
        if request_header_version(key, version) < 2 {
            head.pop();
        }
        let mut out = BytesMut::from(&head[..]);
        request.write(&mut out, version).map_err(|error| codec::<Q>(&error))?;
        crate::wire::finish_request(&mut out, 0);
        let mut frame = self
            .exchange(&out)
            .map_err(|why| BenchError::Connection { address: self.address.clone(), why })?;
        let tagged = response_header_version(key, version) >= 1;
        let header = 4 + usize::from(tagged);
        if frame.len() < header {
            return Err(crate::wire::Malformed.into());
        }
        let _header = frame.split_to(header);
        R::read(&mut frame, version).map_err(|error| codec::<R>(&error))
    }

    fn exchange(&mut self, request: &[u8]) -> std::io::Result<Bytes> {
        self.socket.write_all(request)?;
        let mut len = [0; 4];
        self.socket.read_exact(&mut len)?;
        let len = usize::try_from(i32::from_be_bytes(len)).unwrap_or(usize::MAX);
        if len > ANSWER_BYTES_MAX {
            let what = "what answers does not speak Kafka's protocol";
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, what));
        }
        let mut frame = vec![0; len];
        self.socket.read_exact(&mut frame)?;
        Ok(Bytes::from(frame))
    }

    /// The topic's id and leaders; `None` if there is no such topic.
    pub(crate) fn describe(&mut self, name: &str) -> Result<Option<Described>, BenchError> {
        let topic = metadata_request::MetadataRequestTopic::default()
            .with_name(Some(name.to_owned().into()));
        let request = metadata_request::MetadataRequestData::default()
            .with_topics(Some(vec![topic]))
            .with_allow_auto_topic_creation(false);
        let response: metadata_response::MetadataResponseData =
            self.call(ApiKey::Metadata, (9, 12), &request)?;
        let mut routes = Routes::default();
        for broker in &response.brokers {
            let address = resolve(&format!("{}:{}", broker.host, broker.port))?;
            routes.addresses.insert(broker.node_id, address);
        }
        let Some(topic) = response.topics.into_iter().next() else { return Ok(None) };
        match topic.error_code {
            0 => {}
            // Kafka knows a new topic a little later than it says so.
            code if error::is_retriable(code) => return Ok(None),
            code => return Err(BenchError::refused(format!("topic {name}"), code, "")),
        }
        routes.leaders = vec![-1; topic.partitions.len()];
        for partition in &topic.partitions {
            let place = usize::try_from(partition.partition_index).ok();
            if let Some(leader) = place.and_then(|place| routes.leaders.get_mut(place)) {
                *leader = partition.leader_id;
            }
        }
        let topic = Topic { name: name.to_owned(), id: topic.topic_id.to_bytes() };
        Ok(Some(Described { topic, routes }))
    }

    /// Creates a topic with the server's own default of replicas. That it is
    /// there already is no error.
    pub(crate) fn create(&mut self, name: &str, partitions: u32) -> Result<(), BenchError> {
        let topic = create_topics_request::CreatableTopic::default()
            .with_name(name.to_owned().into())
            .with_num_partitions(i32::try_from(partitions).unwrap_or(i32::MAX))
            .with_replication_factor(-1);
        let request = create_topics_request::CreateTopicsRequestData::default()
            .with_topics(vec![topic])
            .with_timeout_ms(TIMEOUT_MS);
        let response: create_topics_response::CreateTopicsResponseData =
            self.call(ApiKey::CreateTopics, (5, 7), &request)?;
        for topic in &response.topics {
            if topic.error_code != 0 {
                let message = topic.error_message.as_ref().map_or("", |message| message.as_str());
                let what = format!("to create topic {name}");
                return Err(BenchError::refused(what, topic.error_code, message));
            }
        }
        Ok(())
    }

    /// Deletes a topic.
    pub(crate) fn delete(&mut self, name: &str) -> Result<(), BenchError> {
        let topic = delete_topics_request::DeleteTopicState::default()
            .with_name(Some(name.to_owned().into()));
        let request = delete_topics_request::DeleteTopicsRequestData::default()
            .with_topics(vec![topic])
            .with_topic_names(vec![name.to_owned().into()])
            .with_timeout_ms(TIMEOUT_MS);
        let response: delete_topics_response::DeleteTopicsResponseData =
            self.call(ApiKey::DeleteTopics, (4, 6), &request)?;
        match response.responses.iter().find(|topic| topic.error_code != 0) {
            Some(topic) => {
                let what = format!("to delete topic {name}");
                Err(BenchError::refused(what, topic.error_code, ""))
            }
            None => Ok(()),
        }
    }

    /// A producer id; `None` if the server asks to try again.
    pub(crate) fn producer_id(&mut self) -> Result<Option<ProducerId>, BenchError> {
        let request = init_producer_id_request::InitProducerIdRequestData::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(TIMEOUT_MS)
            .with_producer_id(-1)
            .with_producer_epoch(-1);
        let response: init_producer_id_response::InitProducerIdResponseData =
            self.call(ApiKey::InitProducerId, (2, 4), &request)?;
        match response.error_code {
            0 => Ok(Some(ProducerId { id: response.producer_id, epoch: response.producer_epoch })),
            code if error::is_retriable(code) => Ok(None),
            code => Err(BenchError::refused("a producer id", code, "")),
        }
    }

    /// The first (`-2`) or next (`-1`) offset of each of these partitions;
    /// `None` if the server asks to try again, as Kafka does for a new topic.
    pub(crate) fn offsets(
        &mut self,
        topic: &str,
        partitions: &[i32],
        timestamp: i64,
    ) -> Result<Option<Vec<(i32, i64)>>, BenchError> {
        let partitions = partitions.iter().map(|index| {
            list_offsets_request::ListOffsetsPartition::default()
                .with_partition_index(*index)
                .with_current_leader_epoch(-1)
                .with_timestamp(timestamp)
        });
        let asked = list_offsets_request::ListOffsetsTopic::default()
            .with_name(topic.to_owned().into())
            .with_partitions(partitions.collect());
        let request = list_offsets_request::ListOffsetsRequestData::default()
            .with_replica_id(-1)
            .with_topics(vec![asked]);
        let response: list_offsets_response::ListOffsetsResponseData =
            self.call(ApiKey::ListOffsets, (4, 7), &request)?;
        let answers = response.topics.iter().flat_map(|topic| &topic.partitions);
        if answers.clone().any(|partition| error::is_retriable(partition.error_code)) {
            return Ok(None);
        }
        answers
            .map(|partition| match partition.error_code {
                0 => Ok((partition.partition_index, partition.offset)),
                code => {
                    let what = format!("the offsets of {topic}-{}", partition.partition_index);
                    Err(BenchError::refused(what, code, ""))
                }
            })
            .collect::<Result<_, _>>()
            .map(Some)
    }
}

/// The address of `HOST:PORT`.
pub(crate) fn resolve(address: &str) -> Result<SocketAddr, BenchError> {
    let failed = |why| BenchError::Connection { address: address.to_owned(), why };
    let mut found = address.to_socket_addrs().map_err(failed)?;
    found.next().ok_or_else(|| {
        failed(std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address"))
    })
}
