//! AlterConfigs (33): replaces all settings of a resource. Deprecated in Kafka
//! and still sent by older tools.

use millrace_broker::ConfigChange;

use super::Refusal;
use super::config_changes::{Wanted, check_names, run};
use crate::codec::alter_configs_request::{AlterConfigsRequestData, AlterConfigsResource};
use crate::codec::alter_configs_response::{
    AlterConfigsResourceResponse, AlterConfigsResponseData,
};
use crate::context::Call;
use crate::failure::Failure;

/// Replaces the settings of each resource, or says why not.
pub(super) async fn handle(
    call: &Call,
    request: AlterConfigsRequestData,
) -> Result<AlterConfigsResponseData, Refusal> {
    let wanted = request.resources.into_iter().map(|resource| Wanted {
        kind: resource.resource_type,
        changes: changes(&resource),
        name: resource.resource_name,
    });
    let answers = run(call, wanted.collect(), request.validate_only).await?;
    let responses = answers.into_iter().map(|(code, message, kind, name)| {
        AlterConfigsResourceResponse::default()
            .with_error_code(code)
            .with_error_message(message)
            .with_resource_type(kind)
            .with_resource_name(name)
    });
    Ok(AlterConfigsResponseData::default().with_responses(responses.collect()))
}

fn changes(resource: &AlterConfigsResource) -> Result<ConfigChange, Failure> {
    let configs = resource.configs.iter();
    check_names(configs.clone().map(|config| (config.name.as_str(), config.value.is_none())))?;
    let values = configs.filter_map(|config| {
        config.value.as_ref().map(|value| (config.name.to_string(), value.to_string()))
    });
    Ok(ConfigChange::Replace(values.collect()))
}
