//! UnregisterBroker (64): the one broker stays, and there is no other.

use super::Refusal;
use crate::codec::unregister_broker_request::UnregisterBrokerRequestData;
use crate::codec::unregister_broker_response::UnregisterBrokerResponseData;
use crate::codec::{self, ErrorCode};
use crate::context::Call;

/// Refuses.
pub(super) fn handle(
    call: &Call,
    request: UnregisterBrokerRequestData,
) -> Result<UnregisterBrokerResponseData, Refusal> {
    let id = request.broker_id;
    let (code, text) = if id == call.broker().node_id() {
        (ErrorCode::InvalidRequest, format!("Broker {id} is this server; stop it instead"))
    } else {
        let text = format!("Broker ID {id} is not currently registered");
        (ErrorCode::BrokerIdNotRegistered, text)
    };
    Ok(UnregisterBrokerResponseData::default()
        .with_error_code(code.code())
        .with_error_message(Some(codec::wire_str(&text))))
}
