//! What tests of handlers share: a call without a connection, and a check that
//! an answer can be said.

mod client;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::BytesMut;
use millrace_broker::{Broker, NewTopic};
use millrace_types::TopicName;

pub(crate) use self::client::{Client, Setup, batch, request_frame, response_body};
use crate::api;
use crate::codec::{ApiKey, Decode, Encode};
use crate::context::{Call, Context, Front, Listener};
use crate::settings::Settings;

/// A request of `key` at `version`, as a handler is given it.
pub(crate) fn call(broker: &Arc<Broker>, key: ApiKey, version: i16) -> Call {
    let context = Context {
        broker: Arc::clone(broker),
        front: Front::new(Settings::default(), Arc::default()),
        listener: Arc::new(Listener {
            name: "PLAINTEXT".into(),
            host: "broker.example".into(),
            port: 9092,
        }),
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        held_up: Default::default(),
    };
    Call {
        context: Arc::new(context),
        api: api::find(key as i16).unwrap(),
        version,
        correlation_id: 7,
        client_id: None,
    }
}

/// `response` after a trip over the wire at the call's version.
pub(crate) fn over_the_wire<T: Encode + Decode>(call: &Call, response: &T) -> T {
    let mut out = BytesMut::new();
    response.encode(&mut out, call.version).unwrap();
    T::decode(&mut out.freeze(), call.version).unwrap()
}

/// Makes a topic.
pub(crate) async fn topic(broker: &Broker, name: &str, partitions: u32) {
    let name = TopicName::new(name).unwrap();
    broker
        .create_topic(NewTopic::plain(name, partitions, Default::default()), false)
        .await
        .unwrap();
}
