//! One request on its way through an action: what it may ask of the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millrace_broker::{Broker, Ended, Topic};
use millrace_types::{Lsn, PartitionId, Timestamp};

use crate::arn::{self, Arn};
use crate::date;
use crate::error::{Code, Error};
use crate::front::Settings;
use crate::http::Memory;
use crate::input::{Input, StreamNames};
use crate::limits::{Limits, ShardName};
use crate::model::Encoding;
use crate::stream::{KEEPER, KafkasAlone, Stream, StreamState, is_id_of};
use crate::subscriptions::Subscriptions;
use crate::token::{BadToken, LIFETIME_MS, PageToken, TokenKey};

/// What an action sees of its request besides the input.
pub(crate) struct Call<'f> {
    pub(crate) settings: &'f Settings,
    pub(crate) tokens: &'f TokenKey,
    /// Memory for answers that are larger than their requests.
    pub(crate) answers: &'f Memory,
    /// Memory for events, which clients may leave unread for long.
    pub(crate) events: &'f Memory,
    pub(crate) subscriptions: &'f Subscriptions,
    pub(crate) kafkas_alone: &'f KafkasAlone,
    pub(crate) limits: &'f Limits,
    /// That of the request, and of its answer.
    pub(crate) encoding: Encoding,
    /// The incarnation that was current when the request came.
    pub(crate) broker: Arc<Broker>,
    /// The region that the client signed for.
    pub(crate) region: String,
    /// What it waited for.
    pub(crate) waits: &'f Waits,
}

/// How long a request waited, in microseconds.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    log: AtomicU64,
    asked: AtomicU64,
}

impl Waits {
    /// For the log to be durable.
    pub(crate) fn log(&self) -> Duration {
        Duration::from_micros(self.log.load(Ordering::Relaxed))
    }

    /// For records to come, since the server's settings let it.
    pub(crate) fn asked(&self) -> Duration {
        Duration::from_micros(self.asked.load(Ordering::Relaxed))
    }
}

/// The lists that go on by a token of [`Call::page`].
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Pages {
    Streams = 2,
    Shards = 3,
    /// Of a stream's consumers.
    Consumers = 4,
}

impl Call<'_> {
    pub(crate) fn now(&self) -> Timestamp {
        self.broker.env().wall()
    }

    /// The time by which limits count.
    pub(crate) fn counted(&self) -> Duration {
        self.broker.env().monotonic()
    }

    /// Waits until the log is durable up to `lsn`.
    pub(crate) async fn durable(&self, lsn: Lsn) -> Result<(), Ended> {
        self.timed(&self.waits.log, self.broker.durable(lsn)).await
    }

    /// Waits for what the client wants to wait for.
    pub(crate) async fn asked_to_wait<T>(&self, event: impl Future<Output = T>) -> T {
        self.timed(&self.waits.asked, event).await
    }

    async fn timed<T>(&self, count: &AtomicU64, wait: impl Future<Output = T>) -> T {
        let env = self.broker.env();
        let began = env.monotonic();
        let done = wait.await;
        let waited = env.monotonic().saturating_sub(began).as_micros();
        count.fetch_add(u64::try_from(waited).unwrap_or(u64::MAX), Ordering::Relaxed);
        done
    }

    /// A shard, as limits know it.
    pub(crate) fn shard_name<'s>(
        &'s self,
        stream: &'s Stream,
        shard: PartitionId,
    ) -> ShardName<'s> {
        let (topic, account) = (stream.topic.id, self.settings.account_id.as_str());
        ShardName { topic, shard, stream: stream.name(), account }
    }

    /// The ARN of a stream.
    pub(crate) fn arn(&self, stream: &str) -> String {
        arn::of_stream(&self.region, &self.settings.account_id, stream)
    }

    /// The stream that a request names by `StreamName`, `StreamARN` or
    /// `StreamId`, which must agree.
    pub(crate) fn stream(&self, input: Input<'_>) -> Result<Stream, Error> {
        self.stream_by(input.stream_names())
    }

    /// The same, of names by themselves.
    pub(crate) fn stream_by(&self, names: StreamNames<'_>) -> Result<Stream, Error> {
        self.stream_named(&self.name_by(names)?)
    }

    /// The name of that stream, which need not be there.
    pub(crate) fn stream_name(&self, input: Input<'_>) -> Result<String, Error> {
        self.name_by(input.stream_names())
    }

    fn name_by(&self, names: StreamNames<'_>) -> Result<String, Error> {
        let StreamNames { name, arn, id } = names;
        let arn = arn.map(|arn| self.stream_of_arn(arn)).transpose()?;
        let id = id.map(|id| self.stream_of_id(id)).transpose()?;
        let mut names = [name, arn].into_iter().flatten().chain(id.as_ref().map(Stream::name));
        let Some(first) = names.next() else {
            return Err(Error::invalid("Either StreamName or StreamARN must be provided."));
        };
        if names.any(|other| other != first) {
            return Err(Error::invalid(
                "StreamName, StreamARN and StreamId name different streams; give one of them.",
            ));
        }
        Ok(first.to_owned())
    }

    /// The stream of this name.
    pub(crate) fn stream_named(&self, name: &str) -> Result<Stream, Error> {
        self.broker.topic(name).and_then(Stream::of).ok_or_else(|| self.unknown_stream(name))
    }

    /// The stream's name in an ARN of this account and region.
    pub(crate) fn stream_of_arn<'a>(&self, text: &'a str) -> Result<&'a str, Error> {
        let arn = Arn::parse(text)
            .filter(|arn| arn.consumer.is_none())
            .ok_or_else(|| Error::invalid(format!("{text} is not the ARN of a stream.")))?;
        self.check_arn(&arn)?;
        Ok(arn.stream)
    }

    /// Refuses an ARN of another account or region.
    pub(crate) fn check_arn(&self, arn: &Arn<'_>) -> Result<(), Error> {
        if arn.account != self.settings.account_id || arn.region != self.region {
            let (account, stream) = (arn.account, arn.stream);
            return Err(Error::not_found(format!(
                "Stream {stream} under account {account} not found."
            )));
        }
        Ok(())
    }

    fn stream_of_id(&self, id: &str) -> Result<Stream, Error> {
        let found = self.broker.topics().into_iter().find(|topic| is_id_of(id, topic.id));
        found
            .and_then(Stream::of)
            .ok_or_else(|| Error::not_found(format!("Stream {id} not found.")))
    }

    pub(crate) fn unknown_stream(&self, name: &str) -> Error {
        let account = &self.settings.account_id;
        Error::not_found(format!("Stream {name} under account {account} not found."))
    }

    /// Changes what is kept of a stream: `change` sees what stands, and
    /// changes it or refuses.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        topic: &Arc<Topic>,
        change: impl FnOnce(&mut StreamState) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let changed = self.broker.change_attribute(topic.id, KEEPER, |standing| {
            let mut state = StreamState::clone(&StreamState::of(standing));
            let answer = change(&mut state)?;
            Ok((state.encode(), answer))
        });
        Ok(changed.await?)
    }

    /// A `DryRun` has passed every check by now.
    pub(crate) fn end_dry_run(&self, input: Input<'_>) -> Result<(), Error> {
        self.end_if_dry(input.flag("DryRun"))
    }

    /// The same, of the flag by itself.
    pub(crate) fn end_if_dry(&self, dry_run: bool) -> Result<(), Error> {
        if dry_run {
            let message = "Request would have succeeded, but DryRun flag is set.";
            return Err(Error::new(Code::DryRunOperation, message));
        }
        Ok(())
    }

    /// The token of the page behind.
    pub(crate) fn page(&self, of: Pages, page: &PageToken) -> String {
        self.tokens.page(of as u8, page, self.now())
    }

    /// What a page's token stands for.
    pub(crate) fn open_page(&self, of: Pages, token: &str) -> Result<PageToken, Error> {
        self.tokens.open_page(of as u8, token, self.now()).map_err(|error| match error {
            BadToken::Invalid => Error::invalid("NextToken is invalid."),
            BadToken::Expired(issued) => Error::new(
                Code::ExpiredNextToken,
                format!(
                    "NextToken has expired: it was given out at {}, and is good for {LIFETIME_MS} \
                     milliseconds.",
                    date::show_long(issued.get().div_euclid(1000)),
                ),
            ),
        })
    }
}
