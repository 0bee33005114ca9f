//! What AlterConfigs and IncrementalAlterConfigs share: the checks of a
//! resource's changes in Kafka's order, and making them.

use std::collections::{BTreeMap, BTreeSet};

use millrace_broker::config::{ConfigError, Overrides, Scope, TopicConfig};
use millrace_broker::{ConfigChange, Configured, SetConfigError};

use super::{Refusal, compaction, resource::Resource};
use crate::codec::{ErrorCode, KafkaString};
use crate::context::Call;
use crate::errors;
use crate::failure::{Failure, outcome};

/// A resource of a request, with its changes if they are well-formed.
pub(super) struct Wanted {
    pub(super) kind: i8,
    pub(super) name: KafkaString,
    pub(super) changes: Result<ConfigChange, Failure>,
}

/// Code and message for each resource of a request, in its order.
pub(super) async fn run(
    call: &Call,
    wanted: Vec<Wanted>,
    validate_only: bool,
) -> Result<Vec<(i16, Option<KafkaString>, i8, KafkaString)>, Refusal> {
    let mut times = BTreeMap::<(i8, String), u32>::new();
    for resource in &wanted {
        *times.entry((resource.kind, resource.name.to_string())).or_default() += 1;
    }
    let mut answers = Vec::with_capacity(wanted.len());
    for Wanted { kind, name, changes } in wanted {
        let twice = times.get(&(kind, name.to_string())).is_some_and(|times| *times > 1);
        let result = if twice {
            Err(Failure::invalid_request("Each resource must appear at most once."))
        } else {
            match changes {
                Ok(changes) => change(call, kind, name.as_str(), changes, validate_only).await?,
                Err(failure) => Err(failure),
            }
        };
        let (code, message) = outcome(&result);
        answers.push((code, message, kind, name));
    }
    Ok(answers)
}

/// Whether no name stands twice and each has a value where it needs one, told
/// by `needs`.
pub(super) fn check_names<'a>(
    configs: impl Iterator<Item = (&'a str, bool)>,
) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    let mut nulls = Vec::new();
    for (name, lacks_value) in configs {
        if !seen.insert(name) {
            return Err(Failure::invalid_request("Error due to duplicate config keys"));
        }
        if lacks_value {
            nulls.push(name);
        }
    }
    if nulls.is_empty() {
        return Ok(());
    }
    Err(Failure::invalid_request(format!("Null value not supported for : {}", nulls.join(", "))))
}

async fn change(
    call: &Call,
    kind: i8,
    name: &str,
    changes: ConfigChange,
    validate_only: bool,
) -> Result<Result<(), Failure>, Refusal> {
    let resource = match Resource::find(call, kind, name) {
        Ok(resource) => resource,
        Err(failure) => return Ok(Err(unknown_topic(failure, name))),
    };
    let Some(scope) = resource.scope() else {
        let text = "log levels are not changed by requests; set the server's log_level";
        return Ok(Err(Failure::invalid_request(text)));
    };
    let what = match &resource {
        Resource::Topic(id) => Configured::Topic(*id),
        other => Configured::Named(scope, other.stored_name(call)),
    };
    match call.broker().change_config(what, changes, validate_only).await {
        Ok(changed) => {
            if changed {
                notice(call, &resource);
            }
            Ok(Ok(()))
        }
        Err(SetConfigError::NotFound) => Ok(Err(unknown_topic(Failure::unknown_topic(), name))),
        Err(SetConfigError::Invalid(error)) => Ok(Err(refused(scope, &error))),
        Err(error) => Ok(Err(errors::set_config(&error)?)),
    }
}

/// Kafka names the topic where settings are changed.
fn unknown_topic(failure: Failure, name: &str) -> Failure {
    match failure.code {
        ErrorCode::UnknownTopicOrPartition => {
            Failure::because(failure.code, format!("The topic '{name}' does not exist."))
        }
        _ => failure,
    }
}

/// Says what the settings that stand now don't do yet.
fn notice(call: &Call, resource: &Resource) {
    let broker = call.broker();
    if let Resource::Topic(id) = resource {
        if let Some(topic) = broker.topic_by_id(*id) {
            compaction::notice(call, &topic.config());
        }
    } else if let Ok(config) = TopicConfig::resolve(&Overrides::new(), &broker.config()) {
        compaction::notice(call, &config);
    }
}

/// Kafka's code for a refused setting. A broker's wrong value is
/// INVALID_REQUEST there (KAFKA-13609), as are the mistakes in a client
/// metrics subscription; what Kafka would take and Millrace doesn't (an unknown
/// broker setting, a value that does not work here) is INVALID_CONFIG.
fn refused(scope: Scope, error: &ConfigError) -> Failure {
    let code = match (scope, error) {
        (
            Scope::Broker,
            ConfigError::Unknown { .. } | ConfigError::NotList { .. } | ConfigError::NotHere { .. },
        ) => ErrorCode::InvalidConfig,
        (Scope::ClientMetrics, ConfigError::Unknown { .. } | ConfigError::Value { .. })
        | (Scope::Broker, _) => ErrorCode::InvalidRequest,
        _ => ErrorCode::InvalidConfig,
    };
    Failure::because(code, error.to_string())
}
