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
                "Stream {name} under account {account} has registered consumers; deregister them, \
                 or set EnforceConsumerDeletion."
            ),
        ));
    }
    match call.broker.delete_topic(stream.topic.id).await {
        Ok(()) => Ok(Answer::Empty),
        Err(DeleteTopicError::NotFound) => Err(call.unknown_stream(stream.name())),
        Err(error) => Err(Error::internal(error.to_string())),
    }
}
