//! DescribeConfigs (32): settings with their values and where these come from.
//!
//! A resource takes a few bytes to ask for and kilobytes to describe: the
//! answer has a limit, beyond which resources are refused, and long requests
//! let others run in between.

use std::collections::{BTreeSet, HashSet};

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

/// Bytes of described settings in one response, about; all settings of 10,000
/// topics fit.
const DESCRIBED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Resources described before others may run.
const RESOURCES_AT_ONCE: usize = 32;

/// Describes each resource, or says why not.
pub(super) async fn handle(
    call: &Call,
    request: DescribeConfigsRequestData,
) -> Result<DescribeConfigsResponseData, Refusal> {
    let (synonyms, documentation) = (request.include_synonyms, request.include_documentation);
    // Each once: a small request that repeats a resource is cheap.
    let mut seen = HashSet::new();
    let mut fresh = request.resources;
    fresh.retain(|wanted| seen.insert((wanted.resource_type, wanted.resource_name.clone())));
    let mut room = DESCRIBED_BYTES_MAX;
    let mut results = Vec::with_capacity(fresh.len());
    for (count, resource) in fresh.into_iter().enumerate() {
        if count % RESOURCES_AT_ONCE == RESOURCES_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
        let keys = resource.configuration_keys.iter().flatten().map(KafkaString::as_str);
        let wanted = Wanted { keys: keys.collect(), synonyms, documentation };
        let described = describe_one(call, &resource, &wanted, &mut room);
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name);
        results.push(match described {
            Ok(configs) => result.with_error_message(None).with_configs(configs),
            Err(failure) => {
                let (code, message) = outcome(&Err(failure));
                result.with_error_code(code).with_error_message(message)
            }
        });
    }
    Ok(DescribeConfigsResponseData::default().with_results(results))
}

fn describe_one(
    call: &Call,
    resource: &DescribeConfigsResource,
    wanted: &Wanted<'_>,
    room: &mut usize,
) -> Result<Vec<DescribeConfigsResourceResult>, Failure> {
    if *room > 0 {
        let entries = entries(call, resource)?.into_iter();
        let shown: Vec<_> = entries.filter_map(|entry| wanted.show(entry)).collect();
        let bytes = shown.iter().map(size).fold(0, usize::saturating_add);
        *room = room.saturating_sub(bytes);
        if *room > 0 {
            return Ok(shown);
        }
    }
    let text = "the answer would be too large; describe fewer resources at once";
    Err(Failure::invalid_request(text))
}

/// Bytes of one described setting, about.
fn size(shown: &DescribeConfigsResourceResult) -> usize {
    const FIXED: usize = 16;
    let text = |text: &Option<KafkaString>| text.as_ref().map_or(0, |text| text.as_bytes().len());
    let of = |name: &KafkaString, value: &Option<KafkaString>| {
        FIXED + name.as_bytes().len() + text(value)
    };
    let synonyms = shown.synonyms.iter().map(|synonym| of(&synonym.name, &synonym.value));
    of(&shown.name, &shown.value) + text(&shown.documentation) + synonyms.sum::<usize>()
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
struct Wanted<'a> {
    /// Empty means all.
    keys: BTreeSet<&'a str>,
    synonyms: bool,
    documentation: bool,
}

impl Wanted<'_> {
    fn show(&self, entry: ConfigEntry) -> Option<DescribeConfigsResourceResult> {
        if !self.keys.is_empty() && !self.keys.contains(entry.name) {
            return None;
        }
        let synonyms = entry.synonyms.into_iter().filter(|_| self.synonyms).map(|synonym| {
            DescribeConfigsSynonym::default()
                .with_name(KafkaString::from_static(synonym.name))
                .with_value(synonym.value.as_deref().map(codec::wire_str))
                .with_source(synonym.source.id())
        });
        let documentation = self.documentation.then(|| codec::wire_str(&entry.documentation));
        Some(
            DescribeConfigsResourceResult::default()
                .with_name(KafkaString::from_static(entry.name))
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
