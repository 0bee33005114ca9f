//! Fetch (1): reads partitions, and waits for more by being woken.
//!
//! Invariant: only durable records are answered, whole batches, at least one
//! if there is any; a waiting fetch costs nothing until a partition of its
//! session changes, and holds none of the log's memory. One fetch at a time
//! runs on a connection, and waits no longer once another request does.

mod answer;
mod cache;
mod session;

use std::sync::Arc;

use bytes::Bytes;
use millrace_broker::{Broker, Isolation, Offsets, Partition, ReadError, ReadOptions};
use millrace_types::{LeaderEpoch, Offset};
use tokio::time::{Duration, Instant};

use self::answer::{Answer, Head, TOPIC_IDS};
pub use self::cache::Sessions;
use self::cache::{EPOCH_FULL, EPOCH_NONE, Taken};
use self::session::Session;
use crate::api::{Refusal, Started};
use crate::codec::fetch_request::FetchRequestData;
use crate::codec::{Decode, ErrorCode};
use crate::context::Call;
use crate::errors;
use crate::response::Response;

/// Finds the session in request order; the rest waits beside other requests.
pub(super) async fn start(call: Call, mut body: Bytes) -> Result<Started, Refusal> {
    let request = FetchRequestData::decode(&mut body, call.version)?;
    let wanted = Wanted::new(&call, &request);
    let replica =
        if call.version >= 15 { request.replica_state.replica_id } else { request.replica_id };
    let work = match open(&call, &request) {
        Ok(work) => work,
        Err(error) => return Ok(Started::Done(refuse(&call, error))),
    };
    drop(request);
    Ok(Started::Waiting(Box::pin(async move {
        // There are no replicas here that would fetch as such.
        let refused = (replica >= 0).then_some(ErrorCode::NotLeaderOrFollower);
        let (answers, bytes, starved) = (Vec::new(), 0, false);
        Fetch { call, wanted, refused, work, answers, bytes, starved }.run().await
    })))
}

/// What a request asks for beside its partitions.
struct Wanted {
    deadline: Instant,
    bytes_min: usize,
    bytes_max: usize,
    isolation: Isolation,
}

impl Wanted {
    fn new(call: &Call, request: &FetchRequestData) -> Self {
        let wait = u64::try_from(request.max_wait_ms).unwrap_or(0);
        let bytes_max = usize::try_from(request.max_bytes).unwrap_or(0);
        let bytes_max = bytes_max.min(call.context.front.settings.fetch_max_bytes);
        Self {
            deadline: Instant::now() + Duration::from_millis(wait),
            bytes_min: usize::try_from(request.min_bytes).unwrap_or(0).min(bytes_max),
            bytes_max,
            isolation: if request.isolation_level == 1 {
                Isolation::ReadCommitted
            } else {
                Isolation::ReadUncommitted
            },
        }
    }
}

/// The partitions of a fetch, by what becomes of them afterwards.
enum Work {
    /// Forgotten.
    Once(Box<Session>),
    /// Kept as a new session, if there is room.
    Full(Box<Session>),
    /// Given back to the cache.
    Incremental(Taken),
}

impl Work {
    fn session(&mut self) -> &mut Session {
        match self {
            Self::Once(session) | Self::Full(session) => session,
            Self::Incremental(taken) => &mut taken.session,
        }
    }
}

/// Finds or makes the session that a request speaks of.
fn open(call: &Call, request: &FetchRequestData) -> Result<Work, ErrorCode> {
    let front = &call.context.front;
    let by_id = call.version >= TOPIC_IDS;
    let (id, epoch) = (request.session_id, request.session_epoch);
    if epoch == EPOCH_FULL || epoch == EPOCH_NONE {
        if id != 0 {
            front.sessions.remove(id);
        }
        let mut session = Box::<Session>::default();
        session.update(&request.topics, by_id);
        return Ok(if epoch == EPOCH_FULL { Work::Full(session) } else { Work::Once(session) });
    }
    let mut taken = Sessions::take(front, call.broker(), id, epoch, by_id)?;
    taken.session.forget(&request.forgotten_topics_data, by_id);
    taken.session.update(&request.topics, by_id);
    taken.session.mark_changed();
    // Nothing to keep, or too much. The client learns that it has no session.
    if taken.session.len() == 0 || !front.sessions.grow(&taken) {
        return Ok(Work::Once(taken.end()));
    }
    Ok(Work::Incremental(taken))
}

fn refuse(call: &Call, error: ErrorCode) -> Response {
    let head = Head { error, session: 0, read_committed: false };
    answer::encode(call, &head, Vec::new())
}

/// One fetch under way.
struct Fetch {
    call: Call,
    wanted: Wanted,
    /// Answered for every partition.
    refused: Option<ErrorCode>,
    work: Work,
    answers: Vec<Answer>,
    /// Of records in `answers`.
    bytes: usize,
    /// Waited for memory that did not come: it is not waited for again.
    starved: bool,
}

impl Fetch {
    async fn run(mut self) -> Result<Response, Refusal> {
        let broker = Arc::clone(self.call.broker());
        loop {
            self.look(&broker).await?;
            if self.is_enough() {
                break;
            }
            let session = self.work.session();
            if session.watch(&broker) {
                continue;
            }
            for answer in &mut self.answers {
                answer.let_go();
            }
            tokio::select! {
                () = session.changed() => {}
                () = self.call.context.held_up() => {}
                () = tokio::time::sleep_until(self.wanted.deadline) => {}
            }
        }
        self.read_again(&broker).await?;
        Ok(self.finish(&broker))
    }

    /// Reads anew what was let go.
    async fn read_again(&mut self, broker: &Arc<Broker>) -> Result<(), Refusal> {
        let mut gone = Vec::new();
        for (at, answer) in self.answers.iter_mut().enumerate() {
            if answer.was_let_go() {
                gone.push((at, answer.token));
                self.bytes -= std::mem::take(&mut answer.bytes);
            }
        }
        for (at, token) in gone {
            let found = self.work.session().find(token, broker);
            let anew = self.answer(token, found, broker).await?;
            if let (Some(anew), Some(answer)) = (anew, self.answers.get_mut(at)) {
                self.bytes += anew.bytes;
                *answer = anew;
            }
        }
        Ok(())
    }

    /// Looks at every partition that is ready, as long as there is room.
    async fn look(&mut self, broker: &Arc<Broker>) -> Result<(), Refusal> {
        let everything = !matches!(self.work, Work::Incremental(_));
        while everything || self.bytes < self.wanted.bytes_max || self.bytes == 0 {
            let session = self.work.session();
            let Some(token) = session.next() else { break };
            let found = session.find(token, broker);
            self.withdraw(token);
            if let Some(answer) = self.answer(token, found, broker).await? {
                self.bytes += answer.bytes;
                let at = self.answers.len();
                let session = self.work.session();
                if let Some(member) = session.member(token) {
                    member.answer = Some(at);
                }
                let caught_up = answer.error == ErrorCode::None
                    && answer.diverging.is_none()
                    && answer.bytes == 0
                    && !self.has_more(token, &answer);
                if !caught_up {
                    self.work.session().again(token);
                }
                self.answers.push(answer);
            }
        }
        Ok(())
    }

    /// Whether the partition has records for the client beyond an empty answer.
    fn has_more(&mut self, token: u32, answer: &Answer) -> bool {
        let isolation = self.wanted.isolation;
        let end = answer.offsets.map(|offsets| readable_end(&offsets, isolation));
        let member = self.work.session().member(token);
        member.is_some_and(|member| end.is_some_and(|end| member.offset < end.get()))
    }

    /// Takes back an answer of this fetch, since the partition changed.
    fn withdraw(&mut self, token: u32) {
        let at = self.work.session().member(token).and_then(|member| member.answer.take());
        let Some(at) = at.filter(|at| *at < self.answers.len()) else { return };
        let gone = self.answers.swap_remove(at);
        self.bytes -= gone.bytes;
        if let Some(moved) = self.answers.get(at).map(|answer| answer.token)
            && let Some(member) = self.work.session().member(moved)
        {
            member.answer = Some(at);
        }
    }

    /// What there is to say of one partition now.
    async fn answer(
        &mut self,
        token: u32,
        found: Option<Arc<Partition>>,
        broker: &Broker,
    ) -> Result<Option<Answer>, Refusal> {
        let room = self.wanted.bytes_max.saturating_sub(self.bytes);
        let isolation = self.wanted.isolation;
        let at_least_one = self.bytes == 0 && !self.starved;
        let refused = self.refused;
        let Some(member) = self.work.session().member(token) else { return Ok(None) };
        let mut answer = Answer {
            token,
            topic: member.topic.clone(),
            partition: member.partition,
            error: ErrorCode::None,
            offsets: None,
            diverging: None,
            leader_epoch: LeaderEpoch(-1),
            records: Vec::new(),
            bytes: 0,
        };
        let Some(partition) = found else {
            let by_id =
                answer.topic.name.is_none() && broker.topic_by_id(answer.topic.id).is_none();
            answer.error =
                if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
            return Ok(Some(answer));
        };
        answer.leader_epoch = partition.leader_epoch();
        let fenced = errors::epoch(member.leader_epoch, answer.leader_epoch);
        if let Some(error) = refused.or(fenced) {
            answer.error = error;
            return Ok(Some(answer));
        }
        let offsets = partition.offsets();
        let from = Offset(member.offset);
        if member.fetched_epoch >= 0 {
            match diverging(&partition, LeaderEpoch(member.fetched_epoch), from) {
                Ok(None) => {}
                Ok(diverging) => {
                    answer.diverging = diverging;
                    answer.offsets = Some(offsets);
                    return Ok(Some(answer));
                }
                Err(error) => {
                    answer.error = error;
                    return Ok(Some(answer));
                }
            }
        }
        if from < offsets.log_start || from > offsets.high_watermark {
            answer.error = ErrorCode::OffsetOutOfRange;
            return Ok(Some(answer));
        }
        answer.offsets = Some(offsets);
        if from >= readable_end(&offsets, isolation) || room == 0 && !at_least_one {
            return Ok(Some(answer));
        }
        let bytes_max = member.bytes_max.min(room);
        let options = ReadOptions { bytes_max, at_least_one, isolation };
        match broker.read(&partition, from, &options).await {
            Ok(read) => {
                answer.offsets = Some(read.offsets);
                (answer.bytes, answer.records) = (read.bytes, read.records);
            }
            Err(error) => {
                self.starved |= error == ReadError::NoMemory;
                answer.error = errors::read(&error)?;
                answer.offsets = None;
            }
        }
        Ok(Some(answer))
    }

    /// Whether to answer now. An unknown topic alone does not end the wait of
    /// the others, as in Kafka.
    fn is_enough(&mut self) -> bool {
        let unknown = [ErrorCode::UnknownTopicOrPartition, ErrorCode::UnknownTopicId];
        let telling = |answer: &Answer| {
            answer.diverging.is_some()
                || answer.error != ErrorCode::None && !unknown.contains(&answer.error)
        };
        self.bytes >= self.wanted.bytes_min
            || self.answers.iter().any(telling)
            || Instant::now() >= self.wanted.deadline
            || self.call.context.is_held_up()
            || self.work.session().is_unknown()
    }

    /// The response, and the session to where it belongs.
    fn finish(mut self, broker: &Arc<Broker>) -> Response {
        let incremental = matches!(self.work, Work::Incremental(_));
        let mut answers = std::mem::take(&mut self.answers);
        let session = self.work.session();
        answers.retain(|answer| {
            let Some(member) = session.member(answer.token) else { return false };
            member.answer = None;
            let new = answer.bytes > 0
                || answer.error != ErrorCode::None
                || answer.diverging.is_some()
                || changed(member.told.as_ref(), answer.offsets.as_ref());
            member.told = answer.offsets;
            new || !incremental
        });
        session.settle();
        let front = &self.call.context.front;
        let by_id = self.call.version >= TOPIC_IDS;
        let id = match self.work {
            Work::Once(_) => 0,
            Work::Incremental(taken) => taken.give_back(),
            Work::Full(mut session) => {
                // From here on what changes is told, whenever that happens.
                session.watch(broker);
                // Random, so that an id of an earlier process is nobody else's.
                let random = || broker.env().random_u64();
                front.sessions.insert(session, by_id, broker, random).unwrap_or(0)
            }
        };
        let read_committed = self.wanted.isolation == Isolation::ReadCommitted;
        let head = Head { error: ErrorCode::None, session: id, read_committed };
        answer::encode(&self.call, &head, answers)
    }
}

/// Whether what the client was told of the log's ends is no longer so.
fn changed(told: Option<&Offsets>, now: Option<&Offsets>) -> bool {
    let ends = |o: &Offsets| (o.high_watermark, o.log_start);
    told.map(ends) != now.map(ends)
}

fn readable_end(offsets: &Offsets, isolation: Isolation) -> Offset {
    match isolation {
        Isolation::ReadUncommitted => offsets.high_watermark,
        Isolation::ReadCommitted => offsets.last_stable,
    }
}

/// Where the log of a client whose last record has `epoch`, and which goes on
/// at `from`, parts from ours, if it does (KIP-595).
fn diverging(
    partition: &Partition,
    epoch: LeaderEpoch,
    from: Offset,
) -> Result<Option<(LeaderEpoch, Offset)>, ErrorCode> {
    if epoch > partition.leader_epoch() {
        return Err(ErrorCode::UnknownLeaderEpoch);
    }
    let (found, end) = partition.epoch_end(epoch).ok_or(ErrorCode::OffsetOutOfRange)?;
    Ok((found < epoch || end < from).then_some((found, end)))
}

#[cfg(test)]
mod tests;
