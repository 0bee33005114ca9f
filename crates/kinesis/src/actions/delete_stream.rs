//! DeleteStream: of the topic, whoever made it. It is gone once this has
//! answered.

use millrace_broker::DeleteTopicError;

use super::Answer;
use crate::call::Call;
use crate::error::{Code, Error};
use crate::input::Input;

pub(super) async fn run(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let stream = call.stream(input)?;
    if !stream.state.consumers.is_empty() && !input.flag("EnforceConsumerDeletion") {
        let (name, account) = (stream.name(), &call.settings.account_id);
        return Err(Error::new(
            Code::ResourceInUse,
            format!(
                "DeleteStream can’t delete {account}:{name} because there are consumers associated \
                 with this data stream. To delete {name} anyway, set the EnforceConsumerDeletion \
                 parameter to true to force the deletion of all the consumers that are associated \
                 with it."
            ),
        ));
    }
    match call.broker.delete_topic(stream.topic.id).await {
        Ok(()) => Ok(Answer::Empty),
        Err(DeleteTopicError::NotFound) => Err(call.unknown_stream(stream.name())),
        Err(error) => Err(Error::internal(error.to_string())),
    }
}
