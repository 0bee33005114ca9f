//! Topic settings. Each falls back on the broker setting that it names.

use super::{
    super::setting::{Check, Setting, boolean, double, int, list, long, string},
    NO_CLEANER, NO_REPLICAS, NO_SEGMENTS, NO_TIERS, ONE_FLUSH,
};

/// The compression names of `compression.type`.
pub(super) const COMPRESSIONS: &[&str] =
    &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
/// Why the level of LZ4 changes nothing.
pub(super) const ONE_LEVEL: &str =
    "the server's LZ4 has one level, the fast one, which is Kafka's default";

#[rustfmt::skip]
pub(super) const TOPIC: &[Setting] = &[
    list("cleanup.policy").or("delete").check(Check::Items(&["compact", "delete"])).broker("log.cleanup.policy")
        .doc("What happens to old records: `delete` removes them by retention; `compact` is accepted, and keeps every record until compaction is there."),
    int("compression.gzip.level").or("-1").check(Check::BetweenOr(1, 9, -1)).broker("compression.gzip.level")
        .doc("Level for gzip where the broker compresses; -1 is 6."),
    int("compression.lz4.level").or("9").check(Check::Between(1, 17)).broker("compression.lz4.level").kept(ONE_LEVEL)
        .doc("Level for lz4 where the broker compresses."),
    string("compression.type").or("producer").check(Check::OneOf(COMPRESSIONS)).broker("compression.type")
        .doc("Codec of stored batches; `producer` keeps each producer's, any other compresses batches in another codec anew."),
    int("compression.zstd.level").or("3").check(Check::Between(-131_072, 22)).broker("compression.zstd.level")
        .doc("Level for zstd where the broker compresses; above 9 each takes a multiple of the time."),
    long("delete.retention.ms").or("86400000").min(0).broker("log.cleaner.delete.retention.ms").kept(NO_CLEANER)
        .doc("How long a compacted topic keeps delete markers."),
    long("file.delete.delay.ms").or("60000").min(0).broker("log.segment.delete.delay.ms").kept(NO_SEGMENTS)
        .doc("How long a removed file waits before it is unlinked."),
    long("flush.messages").or("9223372036854775807").min(1).unit_is("records").broker("log.flush.interval.messages").kept(ONE_FLUSH)
        .doc("Records between two forced flushes of a partition."),
    long("flush.ms").or("9223372036854775807").min(0).broker("log.flush.interval.ms").kept(ONE_FLUSH)
        .doc("Time between two forced flushes of a partition."),
    list("follower.replication.throttled.replicas").or("").check(Check::ThrottledReplicas).kept(NO_REPLICAS)
        .doc("Follower replicas whose replication is throttled."),
    int("index.interval.bytes").or("4096").min(0).broker("log.index.interval.bytes").kept(NO_SEGMENTS)
        .doc("Bytes of log between two entries of a segment's index."),
    int("internal.segment.bytes").internal().kept(NO_SEGMENTS)
        .doc("Segment size for Kafka's own tests."),
    list("leader.replication.throttled.replicas").or("").check(Check::ThrottledReplicas).kept(NO_REPLICAS)
        .doc("Leader replicas whose replication is throttled."),
    long("local.retention.bytes").or("-2").min(-2).broker("log.local.retention.bytes").kept(NO_TIERS)
        .doc("Bytes of a partition that stay on the broker with tiered storage."),
    long("local.retention.ms").or("-2").min(-2).broker("log.local.retention.ms").kept(NO_TIERS)
        .doc("How long records stay on the broker with tiered storage."),
    long("max.compaction.lag.ms").or("9223372036854775807").min(1).broker("log.cleaner.max.compaction.lag.ms").kept(NO_CLEANER)
        .doc("Longest time that a record may wait for compaction."),
    int("max.message.bytes").or("1048588").min(0).broker("message.max.bytes")
        .doc("Largest record batch that a producer may append, as sent and as stored."),
    long("message.timestamp.after.max.ms").or("3600000").min(0).broker("log.message.timestamp.after.max.ms")
        .doc("How far a batch's timestamps may lie in the future; beyond it the batch is refused (INVALID_TIMESTAMP)."),
    long("message.timestamp.before.max.ms").or("9223372036854775807").min(0).broker("log.message.timestamp.before.max.ms")
        .doc("How far a batch's timestamps may lie in the past; beyond it the batch is refused (INVALID_TIMESTAMP)."),
    string("message.timestamp.type").or("CreateTime").check(Check::OneOf(&["CreateTime", "LogAppendTime"])).broker("log.message.timestamp.type")
        .doc("Whether records carry the producer's time or the time of the append."),
    double("min.cleanable.dirty.ratio").or("0.5").check(Check::Ratio(0.0, 1.0)).broker("log.cleaner.min.cleanable.ratio").kept(NO_CLEANER)
        .doc("Share of uncompacted bytes at which compaction starts."),
    long("min.compaction.lag.ms").or("0").min(0).broker("log.cleaner.min.compaction.lag.ms").kept(NO_CLEANER)
        .doc("Time that a record stays uncompacted at least."),
    int("min.insync.replicas").or("1").min(1).unit_is("replicas").broker("min.insync.replicas").kept(NO_REPLICAS)
        .doc("Replicas that must have a batch before acks=all answers."),
    boolean("preallocate").or("false").broker("log.preallocate").kept(NO_SEGMENTS)
        .doc("Whether a new segment's file is allocated at once."),
    boolean("remote.log.copy.disable").or("false").kept(NO_TIERS)
        .doc("Whether tiered storage takes no more records of the topic."),
    boolean("remote.log.delete.on.disable").or("false").kept(NO_TIERS)
        .doc("Whether switching tiered storage off deletes what it holds."),
    boolean("remote.storage.enable").or("false").only("false", NO_TIERS)
        .doc("Whether the topic uses tiered storage."),
    long("retention.bytes").or("-1").broker("log.retention.bytes")
        .doc("Bytes that a partition keeps at most, in the batches as they are stored; -1 for no limit. The oldest leave first, if `cleanup.policy` has `delete`."),
    long("retention.ms").or("604800000").min(-1).broker("log.retention.ms")
        .doc("How long a partition keeps records; -1 for ever. Applies if `cleanup.policy` has `delete`."),
    int("segment.bytes").or("1073741824").min(1_048_576).broker("log.segment.bytes").kept(NO_SEGMENTS)
        .doc("Size at which a partition's log goes on in a new segment."),
    int("segment.index.bytes").or("10485760").min(4).broker("log.index.size.max.bytes").kept(NO_SEGMENTS)
        .doc("Largest size of a segment's index."),
    long("segment.jitter.ms").or("0").min(0).broker("log.roll.jitter.ms").kept(NO_SEGMENTS)
        .doc("Random time that a segment's roll is put off by."),
    long("segment.ms").or("604800000").min(1).broker("log.roll.ms").kept(NO_SEGMENTS)
        .doc("Age at which a partition's log goes on in a new segment."),
    boolean("unclean.leader.election.enable").or("false").broker("unclean.leader.election.enable").kept(NO_REPLICAS)
        .doc("Whether a replica that lags may become leader."),
];
