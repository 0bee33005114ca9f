//! The front: one HTTP request in, one answer out.
//!
//! The order of checks: method and content type, the signature (before
//! anything of the body is decoded), the operation, the body, the model, the
//! action. AWS's is the same but for bodies that can't be decoded, which it
//! tells whoever sent them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::USER_AGENT;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body as HttpBody;
use millrace_broker::metrics::{Answered, Metrics, NO_ERROR, Spent};
use millrace_broker::{Broker, ChangeError};
use millrace_types::Timestamp;

use crate::actions::{self, Answer, PUT_RECORDS};
use crate::auth::{self, Credentials};
use crate::call::{Call, Waits};
use crate::error::{Code, Error};
use crate::http::{
    Body, BodyError, ContentType, Memory, ReadBody, RequestId, RequestIds, content_type, discard,
    encode, named, read_body, respond, respond_error, respond_events, respond_xml,
};
use crate::input::Input;
use crate::keys::hex;
use crate::limits::Limits;
use crate::model::{Encoding, Model, ShapeId, conform, validate};
use crate::puts;
use crate::stream::{KEEPER, KafkasAlone};
use crate::subscriptions::Subscriptions;
use crate::token::TokenKey;
use crate::value::{Encoded, Value, cbor, json};

/// What the front is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The account of every stream: twelve digits.
    pub account_id: String,
    /// The region of clients that don't sign for one.
    pub region: String,
    /// The access keys that requests have to be signed by. Where there are
    /// none, all requests are taken.
    pub credentials: Credentials,
    /// Whether AWS's limits of rates hold.
    pub enforce_limits: bool,
    /// How long GetRecords waits where there is nothing to read.
    pub get_records_wait: Duration,
    /// Bytes that requests may take at once, answers beside them, and, half as
    /// many, events of subscriptions.
    pub memory_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            account_id: "123456789012".to_owned(),
            region: "us-east-1".to_owned(),
            credentials: Credentials::default(),
            enforce_limits: false,
            get_records_wait: Duration::ZERO,
            memory_bytes: 64 << 20,
        }
    }
}

/// The incarnation of the broker that serves now.
pub type Brokers = Arc<dyn Fn() -> Arc<Broker> + Send + Sync>;

/// Why the front did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The build is broken.
    #[error(transparent)]
    Model(#[from] crate::model::ModelError),
    /// The key of tokens could not be stored.
    #[error("the key of Kinesis' tokens cannot be stored: {0}")]
    Key(#[from] ChangeError<()>),
}

/// Serves Kinesis' clients.
pub struct Front {
    model: Model,
    tokens: TokenKey,
    settings: Settings,
    brokers: Brokers,
    requests: Memory,
    answers: Memory,
    events: Memory,
    subscriptions: Subscriptions,
    kafkas_alone: KafkasAlone,
    limits: Limits,
    ids: RequestIds,
    metrics: Arc<Metrics>,
}

/// As metrics name it.
const FRONT: &str = "kinesis";
/// Under this name the key of tokens is kept.
const TOKEN_KEY: &str = "token.key";
/// What clients call the service, before the dot of their target.
const SERVICE: &str = "Kinesis_20131202";

impl Front {
    /// Prepares the front: makes the key of its tokens where there is none yet.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(brokers: Brokers, settings: Settings) -> Result<Arc<Self>, StartError> {
        let broker = brokers();
        let random: Vec<u8> =
            (0..4).flat_map(|_| broker.env().random_u64().to_be_bytes()).collect();
        let keep = move |kept: &mut std::collections::BTreeMap<String, String>| {
            Ok(kept.entry(TOKEN_KEY.to_owned()).or_insert_with(|| hex(&random)).clone())
        };
        let key = broker.change_kept(KEEPER, keep).await?;
        let metrics = Arc::clone(broker.metrics());
        let kafkas_alone = KafkasAlone::default();
        kafkas_alone.leave_out(broker.topics()).for_each(drop);
        Ok(Arc::new(Self {
            model: Model::load()?,
            tokens: TokenKey::new(key.as_bytes()),
            requests: Memory::new(settings.memory_bytes, "kinesis_requests", &metrics),
            answers: Memory::new(settings.memory_bytes, "kinesis_answers", &metrics),
            events: Memory::new(settings.memory_bytes / 2, "kinesis_events", &metrics),
            subscriptions: Subscriptions::default(),
            kafkas_alone,
            limits: Limits::new(settings.enforce_limits),
            ids: RequestIds::new(|| broker.env().random_u64()),
            metrics,
            settings,
            brokers,
        }))
    }

    /// Answers one request.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes>,
    {
        let broker = (self.brokers)();
        let id = self.ids.next();
        let (head, body) = request.into_parts();
        let target = target(&head.headers);
        if head.method != Method::POST {
            return respond_xml(Code::AccessDenied, Some(UNDETERMINED), &id);
        }
        let ContentType::Known(encoding) = content_type(&head.headers) else {
            return match target {
                Some(_) => respond_xml(Code::UnknownOperation, None, &id),
                None => respond_xml(Code::AccessDenied, Some(UNDETERMINED), &id),
            };
        };
        let env = Arc::clone(broker.env());
        let operation = target.and_then(|name| self.model.operation(name));
        let arrived = env.wall();
        let read = self.read(&head, body, arrived).await;
        let begun = env.monotonic();
        let waits = Waits::default();
        let (queue, request_bytes) = match &read {
            Ok((_, body)) => (body.waited, body.bytes.len()),
            Err(_) => (Duration::ZERO, 0),
        };
        let answered = match read {
            Ok((region, body)) => {
                let call = Call {
                    settings: &self.settings,
                    tokens: &self.tokens,
                    answers: &self.answers,
                    events: &self.events,
                    subscriptions: &self.subscriptions,
                    kafkas_alone: &self.kafkas_alone,
                    limits: &self.limits,
                    encoding,
                    broker,
                    region,
                    waits: &waits,
                };
                self.perform(operation, body, encoding, call, &id).await
            }
            Err(failed) => Err(failed),
        };
        let failed = answered.as_ref().err().map_or(NO_ERROR, Failed::name);
        let took = env.monotonic().saturating_sub(begun);
        let name = operation.map_or("unknown", |(name, _)| name);
        self.metrics.request(FRONT, name, 0, failed, took);
        let (log, asked) = (waits.log(), waits.asked());
        let work = took.saturating_sub(log + asked);
        let agent = head.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        let request = Answered {
            front: FRONT,
            api: name,
            version: 0,
            client: agent.unwrap_or_default(),
            peer: &"-",
            error: failed,
            request_bytes,
            response_bytes: 0,
        };
        self.metrics.spent(&request, &Spent { queue, work, log, asked, ..Spent::default() });
        answered.unwrap_or_else(|error| match error {
            Failed::Error(error) => respond_error(&error, encoding, &id),
            Failed::TooLarge => {
                respond(StatusCode::PAYLOAD_TOO_LARGE, None, Encoded::default(), &id, None)
            }
        })
    }

    /// Reads the body of a request whose signature is right; with the region
    /// that it was signed for.
    async fn read<B>(
        &self,
        head: &Parts,
        body: B,
        arrived: Timestamp,
    ) -> Result<(String, ReadBody), Failed>
    where
        B: HttpBody<Data = Bytes>,
    {
        if self.settings.credentials.is_empty() {
            let named = auth::region_named(head);
            let region = named.unwrap_or_else(|| self.settings.region.clone());
            return Ok((region, read_body(&head.headers, body, &self.requests).await?));
        }
        let signed = match self.settings.credentials.admit(head, arrived) {
            Ok(signed) => signed,
            Err(error) => {
                // Takes no memory for who is not known.
                discard(body).await;
                return Err(error.into());
            }
        };
        let body = read_body(&head.headers, body, &self.requests).await?;
        signed.check(head, &body.bytes)?;
        Ok((signed.region, body))
    }

    async fn perform(
        &self,
        operation: Option<(&'static str, ShapeId)>,
        body: ReadBody,
        encoding: Encoding,
        call: Call<'_>,
        id: &RequestId,
    ) -> Result<Response<Body>, Failed> {
        let Some((operation, shape)) = operation else {
            return Err(Error { code: Code::UnknownOperation, message: None }.into());
        };
        let ReadBody { bytes, memory, .. } = body.unpacked()?;
        let plain = (operation == PUT_RECORDS)
            .then(|| puts::decode(&self.model, shape, &bytes, encoding))
            .flatten();
        let answer = match plain {
            Some(input) => actions::put_records(&call, input).await?,
            None => self.perform_by_tree((operation, shape), &bytes, &call).await?,
        };
        drop((bytes, memory));
        let (body, held) = match answer {
            Answer::Empty => (Encoded::default(), None),
            Answer::Value(answer) => (encode(&answer, encoding), None),
            Answer::Encoded(answer, held) => (answer, held),
            Answer::Events(body) => return Ok(respond_events(body, id)),
        };
        Ok(respond(StatusCode::OK, Some(named(encoding)), body, id, held))
    }

    /// Decodes a body, whatever it is, and performs what it asks for if the
    /// model lets it pass.
    async fn perform_by_tree(
        &self,
        (operation, shape): (&'static str, ShapeId),
        bytes: &[u8],
        call: &Call<'_>,
    ) -> Result<Answer, Error> {
        let decoded = match call.encoding {
            Encoding::Json => json::decode(bytes),
            Encoding::Cbor => cbor::decode(bytes),
        };
        let malformed = || Error { code: Code::Serialization, message: None };
        let value = decoded.map_err(|_| malformed())?;
        if !matches!(value, Value::Map(_)) {
            return Err(malformed());
        }
        let value = conform(&self.model, shape, value, call.encoding)
            .map_err(|error| Error::new(Code::Serialization, error.0))?;
        validate(&self.model, shape, &value).map_err(Error::validation)?;
        let (account, now) = (&self.settings.account_id, call.broker.env().monotonic());
        self.limits.call(operation, Input(&value), account, now)?;
        actions::run(operation, call, &value).await
    }
}

/// Said where a request does not say what it wants.
const UNDETERMINED: &str = "Unable to determine service/operation name to be authorized";

/// Why a request has no answer of its action.
enum Failed {
    Error(Error),
    TooLarge,
}

impl Failed {
    /// As metrics name it.
    const fn name(&self) -> &'static str {
        match self {
            Self::Error(error) => error.code.name(),
            Self::TooLarge => "RequestEntityTooLarge",
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<BodyError> for Failed {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::TooLarge,
            BodyError::Gone => Self::Error(Error::internal("The request ended early.")),
            BodyError::Malformed => Self::Error(Error { code: Code::Serialization, message: None }),
            BodyError::Stopping(error) => Self::Error(error),
        }
    }
}

/// The operation that a request names, if it names our service.
fn target(headers: &HeaderMap) -> Option<&str> {
    let (service, operation) = headers.get("x-amz-target")?.to_str().ok()?.split_once('.')?;
    (service == SERVICE).then_some(operation)
}

#[cfg(test)]
mod generated;
#[cfg(test)]
mod tests;
