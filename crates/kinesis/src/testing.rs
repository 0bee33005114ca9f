//! A front on a broker in memory, asked as a client would ask it.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use millrace_broker::Broker;
use serde_json::Value as Json;

use crate::{Body, Front, Settings};

/// A front with a broker of its own.
pub(crate) struct Server {
    pub(crate) broker: Arc<Broker>,
    pub(crate) front: Arc<Front>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::on(Broker::in_memory()).await
    }

    pub(crate) async fn on(broker: Arc<Broker>) -> Self {
        Self::with(broker, Settings::default()).await
    }

    pub(crate) async fn with(broker: Arc<Broker>, settings: Settings) -> Self {
        let brokers = Arc::clone(&broker);
        let brokers = Arc::new(move || Arc::clone(&brokers));
        let front = Front::start(brokers, settings).await.unwrap();
        Self { broker, front }
    }

    /// The status and the body of an answer to a request in JSON.
    pub(crate) async fn ask(&self, operation: &str, input: Json) -> (StatusCode, Json) {
        let (status, body) = self.send(request(operation, &input)).await;
        let body =
            if body.is_empty() { Json::Null } else { serde_json::from_slice(&body).unwrap() };
        (status, body)
    }

    /// The answer to a request that must succeed.
    pub(crate) async fn ok(&self, operation: &str, input: Json) -> Json {
        let (status, body) = self.ask(operation, input).await;
        assert_eq!(status, StatusCode::OK, "{operation}: {body}");
        body
    }

    /// The error that answers a request: its type and its message.
    pub(crate) async fn refused(&self, operation: &str, input: Json) -> (String, String) {
        let (status, body) = self.ask(operation, input).await;
        assert_ne!(status, StatusCode::OK, "{operation}: {body}");
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        (text("__type"), text("message") + &text("Message"))
    }

    /// The body of an answer that has no end yet.
    pub(crate) async fn open(&self, operation: &str, input: Json) -> Body {
        let answer = self.front.answer(request(operation, &input)).await;
        assert_eq!(answer.status(), StatusCode::OK, "{operation}");
        answer.into_body()
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> (StatusCode, Bytes) {
        let answer = self.front.answer(request).await;
        assert!(answer.headers().contains_key("x-amzn-requestid"));
        let status = answer.status();
        (status, answer.into_body().collect().await.unwrap().to_bytes())
    }
}

/// A request in JSON.
fn request(operation: &str, input: &Json) -> Request<Full<Bytes>> {
    Request::post("/")
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", format!("Kinesis_20131202.{operation}"))
        .body(Full::new(Bytes::from(input.to_string())))
        .unwrap()
}
