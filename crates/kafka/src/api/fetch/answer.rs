//! Fetch responses, written by hand so that records are never copied: pieces
//! of structure, and between them the log's own memory.
//!
//! Invariant: joined, the pieces are what the codec would encode (tests
//! compare, at all versions). Called by the handler.

use bytes::{BufMut, Bytes, BytesMut};
use millrace_broker::Offsets;
use millrace_types::{LeaderEpoch, Offset};

use super::session::Label;
use crate::codec::{self, ErrorCode};
use crate::context::Call;
use crate::response::Response;
use crate::wire::Writer;

/// First version with compact lengths and tagged fields.
const FLEXIBLE: i16 = 12;
/// First version whose topics are named by id.
pub(super) const TOPIC_IDS: i16 = 13;
/// First version that tells the new leader with an error about it.
const LEADERS: i16 = 16;
/// First version with sessions.
const SESSIONS: i16 = 7;

/// The answer for one partition.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) token: u32,
    pub(super) topic: Label,
    pub(super) partition: i32,
    pub(super) error: ErrorCode,
    /// Absent with an error.
    pub(super) offsets: Option<Offsets>,
    /// Where the client's log and ours part.
    pub(super) diverging: Option<(LeaderEpoch, Offset)>,
    /// The partition's epoch, told to clients that have an old one.
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) records: Vec<Bytes>,
    pub(super) bytes: usize,
}

impl Answer {
    /// Lets go of the log's memory; what was read still counts.
    pub(super) fn let_go(&mut self) {
        self.records = Vec::new();
    }

    /// Whether its records must be read anew.
    pub(super) fn was_let_go(&self) -> bool {
        self.bytes > 0 && self.records.is_empty()
    }
}

/// What a response says beside its partitions.
pub(super) struct Head {
    pub(super) error: ErrorCode,
    pub(super) session: i32,
    pub(super) read_committed: bool,
}

/// The response frame with these answers; those of one topic that follow each
/// other are put together.
pub(super) fn encode(call: &Call, head: &Head, answers: Vec<Answer>) -> Response {
    let version = call.version;
    let topics: Vec<usize> =
        answers.chunk_by(|a, b| a.topic == b.topic).map(<[Answer]>::len).collect();
    let mut out = BytesMut::with_capacity(64 + topics.len() * 48 + answers.len() * 64);
    codec::begin_response(&mut out, call.api.key as i16, version, call.correlation_id);
    out.put_i32(0); // Throttle time.
    if version >= SESSIONS {
        out.put_i16(head.error.code());
        out.put_i32(head.session);
    }
    let errors = std::iter::once(head.error).chain(answers.iter().map(|answer| answer.error));
    let error = errors.into_iter().find(|error| *error != ErrorCode::None);
    let leader = answers.iter().any(|answer| answer.error == ErrorCode::FencedLeaderEpoch);
    let mut encoder = Encoder {
        version,
        read_committed: head.read_committed,
        node: call.broker().node_id(),
        writer: Writer::new(out, version >= FLEXIBLE),
        pieces: Vec::with_capacity(1 + 2 * answers.len()),
        bytes: 0,
    };
    encoder.writer.array(topics.len());
    let mut answers = answers.into_iter();
    for len in topics {
        let mut of_topic = answers.by_ref().take(len).peekable();
        if let Some(first) = of_topic.peek() {
            encoder.topic(&first.topic, len);
        }
        of_topic.for_each(|answer| encoder.partition(answer));
        encoder.writer.no_tags();
    }
    if leader && version >= LEADERS {
        encoder.endpoint(call);
    } else {
        encoder.writer.no_tags();
    }
    encoder.finish().with_error(error.map_or(0, |error| error.code()))
}

struct Encoder {
    version: i16,
    read_committed: bool,
    node: i32,
    writer: Writer,
    pieces: Vec<Bytes>,
    /// Of the pieces.
    bytes: usize,
}

impl Encoder {
    fn topic(&mut self, topic: &Label, partitions: usize) {
        if self.version >= TOPIC_IDS {
            self.writer.out.put_slice(&topic.id.0);
        } else {
            self.writer.string(Some(topic.name.as_deref().unwrap_or_default()));
        }
        self.writer.array(partitions);
    }

    fn partition(&mut self, answer: Answer) {
        let offset =
            |of: fn(&Offsets) -> Offset| answer.offsets.as_ref().map_or(-1, |o| of(o).get());
        let (high, stable) = (offset(|o| o.high_watermark), offset(|o| o.last_stable));
        let out = &mut self.writer.out;
        out.put_i32(answer.partition);
        out.put_i16(answer.error.code());
        out.put_i64(high);
        out.put_i64(stable);
        if self.version >= 5 {
            out.put_i64(offset(|o| o.log_start));
        }
        // Null to who reads uncommitted; there are no transactions yet.
        if self.read_committed && answer.offsets.is_some() {
            self.writer.array(0);
        } else {
            self.writer.null_array();
        }
        if self.version >= 11 {
            self.writer.out.put_i32(-1); // No other replica to read from.
        }
        self.writer.bytes_len(answer.bytes);
        if answer.bytes > 0 {
            self.cut();
            self.bytes += answer.bytes;
            self.pieces.extend(answer.records);
        }
        if self.version >= FLEXIBLE {
            self.partition_tags(answer.error, answer.diverging, answer.leader_epoch);
        }
    }

    /// Tagged fields: 0 diverging epoch, 1 current leader.
    fn partition_tags(
        &mut self,
        error: ErrorCode,
        diverging: Option<(LeaderEpoch, Offset)>,
        epoch: LeaderEpoch,
    ) {
        let fenced = self.version >= LEADERS && error == ErrorCode::FencedLeaderEpoch;
        self.writer.varint(u32::from(diverging.is_some()) + u32::from(fenced));
        let node = self.node;
        let mut put = |tag: u8, len: u8, write: &dyn Fn(&mut BytesMut)| {
            self.writer.out.put_slice(&[tag, len]);
            write(&mut self.writer.out);
            self.writer.out.put_u8(0);
        };
        if let Some((epoch, end)) = diverging {
            put(0, 13, &|out| {
                out.put_i32(epoch.get());
                out.put_i64(end.get());
            });
        }
        if fenced {
            put(1, 9, &|out| {
                out.put_i32(node);
                out.put_i32(epoch.get());
            });
        }
    }

    /// Tagged field 0 of the response: the addresses of the leaders told.
    fn endpoint(&mut self, call: &Call) {
        let listener = &call.context.listener;
        let mut field = Writer::new(BytesMut::new(), true);
        field.array(1);
        field.out.put_i32(self.node);
        field.string(Some(&listener.host));
        field.out.put_i32(i32::from(listener.port));
        field.string(None);
        field.no_tags();
        self.writer.varint(1);
        self.writer.varint(0);
        self.writer.varint(u32::try_from(field.out.len()).unwrap_or(u32::MAX));
        self.writer.out.put_slice(&field.out);
    }

    /// Ends a piece of structure: records follow.
    fn cut(&mut self) {
        let piece = self.writer.out.split().freeze();
        self.bytes += piece.len();
        self.pieces.push(piece);
    }

    fn finish(mut self) -> Response {
        self.cut();
        // The length stands in the first piece, which is known only now.
        let mut pieces = self.pieces.into_iter();
        let first = pieces.next().unwrap_or_default();
        let more = self.bytes - first.len();
        let first = match first.try_into_mut() {
            Ok(mut first) => {
                codec::finish_length(&mut first, more);
                first.freeze()
            }
            Err(shared) => {
                let mut first = BytesMut::from(shared.as_ref());
                codec::finish_length(&mut first, more);
                first.freeze()
            }
        };
        Response::from_pieces(first, pieces.collect())
    }
}

#[cfg(test)]
mod tests;
