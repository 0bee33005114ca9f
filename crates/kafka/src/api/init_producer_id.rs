//! InitProducerId (22): a producer id for idempotence. Transactional ids are
//! refused until transactions exist.

use crate::api::Refusal;
use crate::codec::ErrorCode;
use crate::codec::init_producer_id_request::InitProducerIdRequestData;
use crate::codec::init_producer_id_response::InitProducerIdResponseData;
use crate::context::Call;

/// Answers a fresh producer id with epoch 0. As in Kafka, an idempotent
/// producer that asks again gets another id.
pub(super) fn handle(
    call: &Call,
    request: InitProducerIdRequestData,
) -> Result<InitProducerIdResponseData, Refusal> {
    let response = InitProducerIdResponseData::default();
    if let Some(id) = request.transactional_id {
        // An empty transactional id is a mistake of the client's in Kafka too.
        if id.is_empty() {
            return Ok(refused(response, ErrorCode::InvalidRequest));
        }
        if call.context.front.notices.due("InitProducerId with a transactional id") {
            tracing::warn!(
                client = call.client_id(),
                "a producer asked for transactions, which this server does not have yet"
            );
        }
        return Ok(refused(response, ErrorCode::TransactionalIdAuthorizationFailed));
    }
    let id = call.broker().new_producer_id();
    Ok(response.with_producer_id(id.get()).with_producer_epoch(0))
}

fn refused(response: InitProducerIdResponseData, why: ErrorCode) -> InitProducerIdResponseData {
    response.with_error_code(why.code()).with_producer_id(-1).with_producer_epoch(-1)
}
