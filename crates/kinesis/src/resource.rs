//! What a `ResourceARN` names: a stream, or a consumer of one. Both carry tags
//! and a policy.
//!
//! Invariant: a consumer's ARN names one registration of it: the seconds in it
//! are those at which the consumer was registered.

use std::collections::BTreeMap;

use crate::arn::Arn;
use crate::call::Call;
use crate::error::Error;
use crate::input::Input;
use crate::stream::{Stream, StreamState, is_id_of};

/// The resource of a request.
#[derive(Debug)]
pub(crate) struct Resource<'v> {
    /// As the request has it.
    pub(crate) arn: &'v str,
    pub(crate) stream: Stream,
    account: &'v str,
    /// Its consumer, where that is meant.
    consumer: Option<Registration<'v>>,
}

/// One registration of a consumer.
#[derive(Clone, Copy, Debug)]
struct Registration<'v> {
    name: &'v str,
    /// When, in seconds since 1970.
    secs: i64,
}

/// What a resource carries.
pub(crate) struct Labels<'s> {
    pub(crate) tags: &'s mut BTreeMap<String, String>,
    pub(crate) policy: &'s mut Option<String>,
}

impl<'v> Resource<'v> {
    /// The resource that a request names.
    ///
    /// # Errors
    /// There is none of that name.
    pub(crate) fn of(call: &Call<'_>, input: Input<'v>) -> Result<Self, Error> {
        let text = input.required("ResourceARN");
        // Channels and queues: there are none.
        let arn = Arn::parse(text)
            .ok_or_else(|| Error::not_found(format!("Resource {text} not found.")))?;
        call.check_arn(&arn)?;
        let stream = call.stream_named(arn.stream)?;
        if input.text("StreamId").is_some_and(|id| !is_id_of(id, stream.topic.id)) {
            return Err(Error::invalid(
                "ResourceARN and StreamId name different streams; give one of them.",
            ));
        }
        let account = arn.account;
        let consumer = arn.consumer.map(|consumer| {
            let registration = consumer.rsplit_once(':');
            let registration =
                registration.and_then(|(name, secs)| Some((name, secs.parse().ok()?)));
            registration
                .map(|(name, secs)| Registration { name, secs })
                .ok_or_else(|| no_consumer(text, account))
        });
        let resource = Self { arn: text, stream, account, consumer: consumer.transpose()? };
        resource.look(|_| ())?;
        Ok(resource)
    }

    /// What `look` sees of the resource as it was when it was named.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Labels<'_>) -> T) -> Result<T, Error> {
        let mut state = StreamState::clone(&self.stream.state);
        let labels = labels(&mut state, self.consumer);
        labels.map(|labels| look(&labels)).ok_or_else(|| no_consumer(self.arn, self.account))
    }

    /// Changes what the resource carries: durable once this returns.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        call: &Call<'_>,
        change: impl FnOnce(Labels<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let gone = no_consumer(self.arn, self.account);
        let consumer = self.consumer.map(|of| (of.name.to_owned(), of.secs));
        let changed = call.change(&self.stream.topic, move |state| {
            let consumer = consumer.as_ref();
            let consumer = consumer.map(|(name, secs)| Registration { name, secs: *secs });
            change(labels(state, consumer).ok_or(gone)?)
        });
        changed.await
    }
}

/// What the stream, or a consumer of it, carries; none where that registration
/// is not there any more.
fn labels<'s>(
    state: &'s mut StreamState,
    consumer: Option<Registration<'_>>,
) -> Option<Labels<'s>> {
    let Some(Registration { name, secs }) = consumer else {
        return Some(Labels { tags: &mut state.tags, policy: &mut state.policy });
    };
    let consumer = state.consumers.get_mut(name)?;
    let registered = consumer.created_ms.div_euclid(1000) == secs;
    registered.then_some(Labels { tags: &mut consumer.tags, policy: &mut consumer.policy })
}

fn no_consumer(arn: &str, account: &str) -> Error {
    Error::not_found(format!("Consumer {arn}, account {account} not found."))
}
