//! FindCoordinator (10): who coordinates a group. On one machine that is this
//! broker. There are no transactions and no share groups to coordinate yet.

use crate::api::Refusal;
use crate::codec::find_coordinator_request::FindCoordinatorRequestData;
use crate::codec::find_coordinator_response::{Coordinator, FindCoordinatorResponseData};
use crate::codec::{ErrorCode, KafkaString, wire_str};
use crate::context::Call;
use crate::failure::Failure;

/// First version that asks for several keys at once.
const BATCHED: i16 = 4;
/// First version that asks for coordinators of share groups.
const SHARE: i16 = 6;

/// Kinds of coordinator.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE_GROUP: i8 = 2;

/// Answers this broker for groups, at the listener that the client came in by.
pub(super) fn handle(
    call: &Call,
    request: FindCoordinatorRequestData,
) -> Result<FindCoordinatorResponseData, Refusal> {
    let found = find(call, request.key_type);
    if call.version >= BATCHED {
        let coordinators = request.coordinator_keys.into_iter();
        let coordinators = coordinators.map(|key| coordinator(call, key, &found)).collect();
        return Ok(FindCoordinatorResponseData::default().with_coordinators(coordinators));
    }
    let one = coordinator(call, request.key, &found);
    Ok(FindCoordinatorResponseData::default()
        .with_error_code(one.error_code)
        // Kafka says so where nothing is wrong.
        .with_error_message(one.error_message.or_else(|| Some(wire_str("NONE"))))
        .with_node_id(one.node_id)
        .with_host(one.host)
        .with_port(one.port))
}

fn find(call: &Call, key_type: i8) -> Result<(), Failure> {
    match key_type {
        GROUP => Ok(()),
        TRANSACTION => {
            if call.context.front.notices.due("FindCoordinator of a transactional id") {
                tracing::warn!(
                    client = call.client_id(),
                    "a producer asked for transactions, which this server does not have yet"
                );
            }
            let text = "this server does not have transactions yet; unset transactional.id";
            Err(Failure::because(ErrorCode::TransactionalIdAuthorizationFailed, text))
        }
        SHARE_GROUP if call.version >= SHARE => {
            Err(Failure::invalid_request("this server does not have share groups yet"))
        }
        _ => Err(Failure::invalid_request("no coordinator is of this type")),
    }
}

fn coordinator(call: &Call, key: KafkaString, found: &Result<(), Failure>) -> Coordinator {
    let coordinator = Coordinator::default().with_key(key);
    match found {
        Ok(()) => {
            let listener = &call.context.listener;
            coordinator
                .with_node_id(call.broker().node_id())
                .with_host(wire_str(&listener.host))
                .with_port(i32::from(listener.port))
        }
        Err(failure) => coordinator
            .with_error_code(failure.code.code())
            .with_error_message(failure.message.as_deref().map(wire_str))
            .with_node_id(-1)
            .with_port(-1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ApiKey;
    use crate::testing;
    use millrace_broker::Broker;

    fn ask(version: i16, key_type: i8) -> FindCoordinatorResponseData {
        let call = testing::call(&Broker::in_memory(), ApiKey::FindCoordinator, version);
        let mut request = FindCoordinatorRequestData::default().with_key_type(key_type);
        if version >= BATCHED {
            request.coordinator_keys = vec![wire_str("a"), wire_str("b")];
        } else {
            request.key = wire_str("a");
        }
        testing::over_the_wire(&call, &handle(&call, request).unwrap())
    }

    #[test]
    fn this_broker_coordinates_every_group() {
        for version in 0..BATCHED {
            let answer = ask(version, GROUP);
            assert_eq!(answer.error_code, 0);
            assert_eq!((answer.host.as_str(), answer.port), ("broker.example", 9092));
        }
        for version in BATCHED..=6 {
            let answers = ask(version, GROUP).coordinators;
            let keys: Vec<_> = answers.iter().map(|answer| answer.key.as_str()).collect();
            assert_eq!(keys, ["a", "b"]);
            assert!(answers.iter().all(|answer| answer.error_code == 0 && answer.port == 9092));
        }
    }

    #[test]
    fn transactions_and_share_groups_are_refused() {
        let code = ErrorCode::TransactionalIdAuthorizationFailed.code();
        assert_eq!(ask(3, TRANSACTION).error_code, code);
        let answers = ask(6, TRANSACTION).coordinators;
        assert!(answers.iter().all(|answer| answer.error_code == code && answer.node_id == -1));
        assert!(answers.iter().all(|answer| answer.error_message.is_some()));
        let code = ErrorCode::InvalidRequest.code();
        assert!(ask(6, SHARE_GROUP).coordinators.iter().all(|answer| answer.error_code == code));
        assert!(ask(5, SHARE_GROUP).coordinators.iter().all(|answer| answer.error_code == code));
        assert_eq!(ask(1, 9).error_code, code);
    }
}
