//! IncrementalAlterConfigs (44): changes single settings.

use millrace_broker::ConfigChange;
use millrace_broker::config::{Change, Operation};

use super::Refusal;
use super::config_changes::{Wanted, check_names, run};
use crate::codec::incremental_alter_configs_request::{
    AlterConfigsResource, IncrementalAlterConfigsRequestData,
};
use crate::codec::incremental_alter_configs_response::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsResponseData,
};
use crate::context::Call;
use crate::failure::Failure;

/// Changes each resource, or says why not; a resource changes whole or not.
pub(super) async fn handle(
    call: &Call,
    request: IncrementalAlterConfigsRequestData,
) -> Result<IncrementalAlterConfigsResponseData, Refusal> {
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
    Ok(IncrementalAlterConfigsResponseData::default().with_responses(responses.collect()))
}

fn changes(resource: &AlterConfigsResource) -> Result<ConfigChange, Failure> {
    let delete = Some(Operation::Delete);
    check_names(resource.configs.iter().map(|config| {
        let needed = Operation::from_id(config.config_operation) != delete;
        (config.name.as_str(), needed && config.value.is_none())
    }))?;
    let changes = resource.configs.iter().map(|config| {
        let operation = Operation::from_id(config.config_operation).ok_or_else(|| {
            Failure::invalid_request(format!("Unknown operations type {}", config.config_operation))
        })?;
        let value = config.value.as_ref().map(ToString::to_string).unwrap_or_default();
        Ok(Change { name: config.name.to_string(), operation, value })
    });
    changes.collect::<Result<_, Failure>>().map(ConfigChange::Apply)
}

#[cfg(test)]
mod tests;
