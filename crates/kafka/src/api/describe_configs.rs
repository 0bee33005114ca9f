//! DescribeConfigs (32): settings with their values and where these come from.

use std::collections::HashSet;

use millrace_broker::config::{ConfigEntry, describe};

use super::{Refusal, resource::Resource};
use crate::codec::describe_configs_request::{DescribeConfigsRequestData, DescribeConfigsResource};
use crate::codec::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponseData, DescribeConfigsResult,
    DescribeConfigsSynonym,
};
use crate::codec::{self, KafkaString};
use crate::context::Call;
use crate::failure::{Failure, outcome};

/// Describes each resource, or says why not.
pub(super) fn handle(
    call: &Call,
    request: DescribeConfigsRequestData,
) -> Result<DescribeConfigsResponseData, Refusal> {
    let (synonyms, documentation) = (request.include_synonyms, request.include_documentation);
    // Each once: a small request that repeats a resource is cheap.
    let mut seen = HashSet::new();
    let mut fresh = request.resources;
    fresh.retain(|wanted| seen.insert((wanted.resource_type, wanted.resource_name.clone())));
    let results = fresh.into_iter().map(|wanted| {
        let found = entries(call, &wanted);
        let result = DescribeConfigsResult::default()
            .with_resource_type(wanted.resource_type)
            .with_resource_name(wanted.resource_name);
        match found {
            Ok(entries) => {
                let wanted = Wanted { keys: wanted.configuration_keys, synonyms, documentation };
                result
                    .with_error_message(None)
                    .with_configs(entries.into_iter().filter_map(|e| wanted.show(e)).collect())
            }
            Err(failure) => {
                let (code, message) = outcome(&Err(failure));
                result.with_error_code(code).with_error_message(message)
            }
        }
    });
    Ok(DescribeConfigsResponseData::default().with_results(results.collect()))
}

fn entries(call: &Call, wanted: &DescribeConfigsResource) -> Result<Vec<ConfigEntry>, Failure> {
    let resource = Resource::find(call, wanted.resource_type, wanted.resource_name.as_str())?;
    let broker = call.broker();
    let config = broker.config();
    let stored = resource.stored(call).map(|scope| broker.config_overrides(&scope));
    let stored = stored.unwrap_or_default();
    Ok(match resource {
        Resource::Topic(id) => {
            let topic = broker.topic_by_id(id).ok_or_else(Failure::unknown_topic)?;
            describe::topic(topic.config().overrides(), &config)
        }
        Resource::Broker => describe::broker(&config),
        Resource::BrokerDefault => describe::broker_default(&config),
        Resource::Group(_) => describe::group(&stored, &config),
        Resource::ClientMetrics(_) => describe::client_metrics(&stored, &config),
        // Log levels are the server's `log_level`, which no request changes.
        Resource::BrokerLogger => Vec::new(),
    })
}

/// What of each entry the client asked for.
struct Wanted {
    keys: Option<Vec<KafkaString>>,
    synonyms: bool,
    documentation: bool,
}

impl Wanted {
    fn show(&self, entry: ConfigEntry) -> Option<DescribeConfigsResourceResult> {
        let named = |keys: &Vec<KafkaString>| keys.iter().any(|key| key.as_str() == entry.name);
        if !self.keys.as_ref().is_none_or(|keys| keys.is_empty() || named(keys)) {
            return None;
        }
        let synonyms = entry.synonyms.into_iter().filter(|_| self.synonyms).map(|synonym| {
            DescribeConfigsSynonym::default()
                .with_name(codec::wire_str(synonym.name))
                .with_value(synonym.value.as_deref().map(codec::wire_str))
                .with_source(synonym.source.id())
        });
        let documentation = self.documentation.then(|| codec::wire_str(&entry.documentation));
        Some(
            DescribeConfigsResourceResult::default()
                .with_name(codec::wire_str(entry.name))
                .with_value(entry.value.as_deref().map(codec::wire_str))
                .with_read_only(entry.read_only)
                .with_config_source(entry.source.id())
                .with_is_sensitive(entry.sensitive)
                .with_synonyms(synonyms.collect())
                .with_config_type(entry.kind.id())
                .with_documentation(documentation),
        )
    }
}

#[cfg(test)]
mod tests;
