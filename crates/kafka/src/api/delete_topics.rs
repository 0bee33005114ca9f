//! DeleteTopics (20): deletes topics by name or by id.
//!
//! Everything is resolved before anything is deleted: a topic that a request
//! names in two ways is refused, and stays, as in Kafka.

use std::collections::{BTreeMap, BTreeSet};

use millrace_types::TopicId;

use super::Refusal;
use crate::codec::delete_topics_request::DeleteTopicsRequestData;
use crate::codec::delete_topics_response::{DeletableTopicResult, DeleteTopicsResponseData};
use crate::codec::{self, ErrorCode, KafkaUuid};
use crate::context::Call;
use crate::errors;
use crate::failure::{Failure, outcome};

/// First version in which a server may say that it deletes nothing.
const DELETION_DISABLED_MIN: i16 = 3;

/// Deletes each topic that is named once, or says why not.
pub(super) async fn handle(
    call: &Call,
    request: DeleteTopicsRequestData,
) -> Result<DeleteTopicsResponseData, Refusal> {
    let mut answers = Vec::new();
    let named = Named::read(&request, &mut answers);
    let topics = if call.broker().config().delete_topics {
        named.resolve(call, &mut answers)
    } else {
        named.refuse(&disabled(call.version), &mut answers);
        BTreeMap::new()
    };
    for (id, name) in topics {
        let result = match call.broker().delete_topic(id).await {
            Ok(()) => Ok(()),
            Err(error) => Err(errors::delete_topic(&error)?),
        };
        answers.push(answer(Some(&name), Some(id), &result));
    }
    Ok(DeleteTopicsResponseData::default().with_responses(answers))
}

/// How often each topic is named, by name and by id.
#[derive(Default)]
struct Named {
    names: BTreeMap<String, u32>,
    ids: BTreeMap<TopicId, u32>,
}

impl Named {
    /// Reads the request; entries that name nothing, or a topic in two ways,
    /// are answered.
    fn read(request: &DeleteTopicsRequestData, answers: &mut Vec<DeletableTopicResult>) -> Self {
        let mut named = Self::default();
        for name in &request.topic_names {
            *named.names.entry(name.to_string()).or_default() += 1;
        }
        for topic in &request.topics {
            let id = codec::topic_id(topic.topic_id);
            let id = Some(id).filter(|id| *id != TopicId::default());
            let name = topic.name.as_ref().map(ToString::to_string);
            let wrong = match (name.clone(), id) {
                (Some(name), None) => {
                    *named.names.entry(name).or_default() += 1;
                    continue;
                }
                (None, Some(id)) => {
                    *named.ids.entry(id).or_default() += 1;
                    continue;
                }
                (None, None) => "Neither topic name nor id were specified.",
                (Some(_), Some(_)) => "You may not specify both topic name and topic id.",
            };
            answers.push(answer(name.as_deref(), id, &Err(Failure::invalid_request(wrong))));
        }
        named
    }

    /// The topics to delete; the others are answered.
    fn resolve(
        self,
        call: &Call,
        answers: &mut Vec<DeletableTopicResult>,
    ) -> BTreeMap<TopicId, String> {
        let mut topics = BTreeMap::new();
        let mut refused = BTreeSet::new();
        for (id, times) in self.ids {
            let failure = match call.broker().topic_by_id(id) {
                _ if times > 1 => {
                    refused.insert(id);
                    Failure::invalid_request("Duplicate topic id.")
                }
                Some(topic) => {
                    topics.insert(id, topic.name().to_string());
                    continue;
                }
                None => {
                    let text = "This server does not host this topic ID.";
                    Failure::because(ErrorCode::UnknownTopicId, text)
                }
            };
            answers.push(answer(None, Some(id), &Err(failure)));
        }
        for (name, times) in self.names {
            let (id, failure) = match call.broker().topic(&name) {
                _ if times > 1 => (None, Failure::invalid_request("Duplicate topic name.")),
                None => (None, Failure::unknown_topic()),
                Some(topic) => {
                    let id = topic.id;
                    if !refused.contains(&id) && topics.insert(id, name.clone()).is_none() {
                        continue;
                    }
                    refused.insert(id);
                    topics.remove(&id);
                    let text = "The provided topic name maps to an ID that was already supplied.";
                    (Some(id), Failure::invalid_request(text))
                }
            };
            answers.push(answer(Some(&name), id, &Err(failure)));
        }
        topics
    }

    /// Answers `failure` for all.
    fn refuse(self, failure: &Failure, answers: &mut Vec<DeletableTopicResult>) {
        let refused = Err(failure.clone());
        answers.extend(self.names.keys().map(|name| answer(Some(name), None, &refused)));
        answers.extend(self.ids.keys().map(|id| answer(None, Some(*id), &refused)));
    }
}

fn answer(
    name: Option<&str>,
    id: Option<TopicId>,
    result: &Result<(), Failure>,
) -> DeletableTopicResult {
    let (code, message) = outcome(result);
    DeletableTopicResult::default()
        .with_name(name.map(codec::wire_str))
        .with_topic_id(id.map_or(KafkaUuid::ZERO, codec::wire_uuid))
        .with_error_code(code)
        .with_error_message(message)
}

fn disabled(version: i16) -> Failure {
    if version < DELETION_DISABLED_MIN {
        return Failure::invalid_request("This version does not support topic deletion.");
    }
    Failure::because(ErrorCode::TopicDeletionDisabled, "Topic deletion is disabled.")
}

#[cfg(test)]
mod tests;
