//! DeleteGroups (42): deletes groups without members, and their offsets.
//! Answered when durable.

use std::collections::BTreeSet;

use millrace_broker::groups::GroupId;

use crate::api::Refusal;
use crate::codec::delete_groups_request::DeleteGroupsRequestData;
use crate::codec::delete_groups_response::{DeletableGroupResult, DeleteGroupsResponseData};
use crate::codec::{ErrorCode, KafkaString};
use crate::context::Call;
use crate::errors;

/// Deletes each group that is named, once.
pub(super) async fn start(
    call: &Call,
    request: DeleteGroupsRequestData,
) -> Result<impl Future<Output = Result<DeleteGroupsResponseData, Refusal>> + Send + 'static, Refusal>
{
    let mut seen = BTreeSet::new();
    let is_new = |name: &KafkaString| seen.insert(name.as_str().to_owned());
    let names: Vec<KafkaString> = request.groups_names.into_iter().filter(is_new).collect();
    let groups: Vec<GroupId> = names.iter().map(|name| name.as_str().into()).collect();
    let deleting = call.broker().groups().delete_groups(&groups);
    Ok(async move {
        let results = names.into_iter().zip(deleting.await?).map(|(name, result)| {
            let code = result.err().map_or(ErrorCode::None, errors::delete_group);
            DeletableGroupResult::default().with_group_id(name).with_error_code(code.code())
        });
        Ok(DeleteGroupsResponseData::default().with_results(results.collect()))
    })
}
