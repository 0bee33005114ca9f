//! Config resources: what DescribeConfigs, AlterConfigs and
//! IncrementalAlterConfigs name by a type and a name.

use millrace_broker::ConfigScope;
use millrace_broker::config::Scope;
use millrace_types::TopicId;

use crate::context::Call;
use crate::failure::{Failure, topic_name};

/// The numbers of the resource types.
pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;
pub(super) const BROKER_LOGGER: i8 = 8;
pub(super) const CLIENT_METRICS: i8 = 16;
pub(super) const GROUP: i8 = 32;

/// A resource that exists, or could: groups and client metrics
/// subscriptions need not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Topic(TopicId),
    /// This broker.
    Broker,
    /// What holds for all brokers.
    BrokerDefault,
    BrokerLogger,
    ClientMetrics(String),
    Group(String),
}

impl Resource {
    /// The resource that a request names.
    pub(super) fn find(call: &Call, kind: i8, name: &str) -> Result<Self, Failure> {
        match kind {
            TOPIC if name.is_empty() => {
                Err(Failure::invalid_request("Default topic resources are not allowed."))
            }
            TOPIC => {
                let name = topic_name(name)?;
                let topic =
                    call.broker().topic(name.as_str()).ok_or_else(Failure::unknown_topic)?;
                Ok(Self::Topic(topic.id))
            }
            BROKER if name.is_empty() => Ok(Self::BrokerDefault),
            BROKER => this_broker(call, name, " or empty string").map(|()| Self::Broker),
            BROKER_LOGGER if name.is_empty() => {
                Err(Failure::invalid_request("Broker id must not be empty"))
            }
            BROKER_LOGGER => this_broker(call, name, "").map(|()| Self::BrokerLogger),
            CLIENT_METRICS if name.is_empty() => {
                Err(Failure::invalid_request("Client metrics subscription name must not be empty"))
            }
            CLIENT_METRICS => Ok(Self::ClientMetrics(name.into())),
            GROUP if name.is_empty() => {
                Err(Failure::invalid_request("Group name must not be empty"))
            }
            GROUP => Ok(Self::Group(name.into())),
            _ => Err(Failure::invalid_request(format!("Unknown resource type {kind}"))),
        }
    }

    /// Which set of names its settings have; loggers have none.
    pub(super) const fn scope(&self) -> Option<Scope> {
        match self {
            Self::Topic(_) => Some(Scope::Topic),
            Self::Broker | Self::BrokerDefault => Some(Scope::Broker),
            Self::ClientMetrics(_) => Some(Scope::ClientMetrics),
            Self::Group(_) => Some(Scope::Group),
            Self::BrokerLogger => None,
        }
    }

    /// Where the broker keeps its settings, if it is not a topic.
    pub(super) fn stored(&self, call: &Call) -> Option<ConfigScope> {
        match self {
            Self::Topic(_) | Self::BrokerLogger => None,
            other => {
                other.scope().map(|scope| ConfigScope::new(scope.key(), &other.stored_name(call)))
            }
        }
    }

    /// The name under which the broker keeps its settings, if it does.
    pub(super) fn stored_name(&self, call: &Call) -> String {
        match self {
            Self::Topic(_) | Self::BrokerLogger | Self::BrokerDefault => String::new(),
            Self::Broker => call.broker().node_id().to_string(),
            Self::ClientMetrics(name) | Self::Group(name) => name.clone(),
        }
    }
}

fn this_broker(call: &Call, name: &str, or: &str) -> Result<(), Failure> {
    let node_id = call.broker().node_id();
    match name.parse::<i32>() {
        Ok(id) if id == node_id => Ok(()),
        Ok(_) => Err(Failure::invalid_request(format!(
            "Unexpected broker id, expected {node_id}{or}, but received {name}"
        ))),
        Err(_) => Err(Failure::invalid_request(format!(
            "Broker id must be an integer, but it is: {name}"
        ))),
    }
}
