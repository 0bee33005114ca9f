//! ListConfigResources (74): what has settings. Groups and client metrics
//! subscriptions are listed if somebody set one.

use millrace_broker::config::Scope;

use super::{Refusal, resource};
use crate::codec::list_config_resources_request::ListConfigResourcesRequestData;
use crate::codec::list_config_resources_response::{
    ConfigResource, ListConfigResourcesResponseData,
};
use crate::codec::{self, ErrorCode};
use crate::context::Call;

/// The types that version 1 knows. Version 0 knew client metrics alone.
const TYPES: &[i8] = &[
    resource::GROUP,
    resource::CLIENT_METRICS,
    resource::BROKER_LOGGER,
    resource::BROKER,
    resource::TOPIC,
];

/// Lists the resources of the types asked for, or of all.
pub(super) fn handle(
    call: &Call,
    request: ListConfigResourcesRequestData,
) -> Result<ListConfigResourcesResponseData, Refusal> {
    let known = if call.version == 0 { &[resource::CLIENT_METRICS] } else { TYPES };
    let wanted = &request.resource_types;
    let response = ListConfigResourcesResponseData::default();
    if wanted.iter().any(|kind| !known.contains(kind)) {
        return Ok(response.with_error_code(ErrorCode::UnsupportedVersion.code()));
    }
    let kinds = known.iter().filter(|kind| wanted.is_empty() || wanted.contains(kind));
    let listed = kinds.flat_map(|kind| {
        names(call, *kind).into_iter().map(|name| {
            ConfigResource::default()
                .with_resource_name(codec::wire_str(&name))
                .with_resource_type(*kind)
        })
    });
    Ok(response.with_config_resources(listed.collect()))
}

fn names(call: &Call, kind: i8) -> Vec<String> {
    let broker = call.broker();
    let configured = |scope: Scope| {
        let scopes = broker.config_scopes().into_iter().filter(|at| at.kind == scope.key());
        scopes.map(|at| at.name).collect()
    };
    match kind {
        resource::TOPIC => broker.topics().iter().map(|topic| topic.name().to_string()).collect(),
        resource::GROUP => configured(Scope::Group),
        resource::CLIENT_METRICS => configured(Scope::ClientMetrics),
        _ => vec![broker.node_id().to_string()],
    }
}
