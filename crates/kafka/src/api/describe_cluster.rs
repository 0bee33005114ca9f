//! DescribeCluster (60): the cluster's id and its one broker.

use super::Refusal;
use crate::codec::describe_cluster_request::DescribeClusterRequestData;
use crate::codec::describe_cluster_response::{DescribeClusterBroker, DescribeClusterResponseData};
use crate::codec::{self, ErrorCode};
use crate::context::Call;
use crate::operations;

/// The endpoint type of brokers.
const BROKERS: i8 = 1;
/// The endpoint type of controllers.
const CONTROLLERS: i8 = 2;
/// Describes the cluster from this connection's listener.
pub(super) fn handle(
    call: &Call,
    request: DescribeClusterRequestData,
) -> Result<DescribeClusterResponseData, Refusal> {
    let response = DescribeClusterResponseData::default();
    let refuse = |code: ErrorCode, text: String| {
        let code = if call.version == 0 { ErrorCode::InvalidRequest } else { code };
        let message = Some(codec::wire_str(&text));
        Ok(response.clone().with_error_code(code.code()).with_error_message(message))
    };
    match request.endpoint_type {
        BROKERS => {}
        CONTROLLERS => {
            let text = "The request was sent to an endpoint of type BROKER, but we wanted an \
                        endpoint of type CONTROLLER";
            return refuse(ErrorCode::MismatchedEndpointType, text.into());
        }
        other => {
            let text = format!("Unsupported endpoint type {other}");
            return refuse(ErrorCode::UnsupportedEndpointType, text);
        }
    }
    let broker = call.broker();
    let listener = &call.context.listener;
    let node = DescribeClusterBroker::default()
        .with_broker_id(broker.node_id())
        .with_host(codec::wire_str(&listener.host))
        .with_port(i32::from(listener.port))
        .with_rack(broker.config().rack.as_deref().map(codec::wire_str));
    let operations =
        if request.include_cluster_authorized_operations { operations::CLUSTER } else { i32::MIN };
    Ok(response
        .with_endpoint_type(BROKERS)
        .with_cluster_id(codec::wire_str(broker.cluster_id()))
        .with_controller_id(broker.node_id())
        .with_brokers(vec![node])
        .with_cluster_authorized_operations(operations))
}
