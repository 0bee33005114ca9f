//! Broker settings of the log: topics, retention, timestamps, compaction.

use super::{
    super::setting::{Check, Setting, boolean, class, double, int, list, long, string},
    NO_CLEANER, NO_REPLICAS, NO_SEGMENTS, NO_THREADS, NO_TIERS, ONE_FLUSH,
    topic::{COMPRESSIONS, ONE_LEVEL},
};

/// Why class names of policies change nothing.
const NO_CLASSES: &str = "there is no Java to load classes from";
/// Why intervals of retention change nothing.
const OFTEN: &str = "the server looks every five seconds";
/// The flag that decides the data directory.
const DATA_DIR: &str = "data_dir (--data-dir)";

#[rustfmt::skip]
pub(super) const LOG: &[Setting] = &[
    class("alter.config.policy.class.name").kept(NO_CLASSES)
        .doc("Class that judges changes of settings."),
    boolean("auto.create.topics.enable").or("true")
        .doc("Whether a client's Metadata request makes a topic that does not exist."),
    int("compression.gzip.level").or("-1").check(Check::BetweenOr(1, 9, -1)).dynamic()
        .doc("Default of the topics' `compression.gzip.level`."),
    int("compression.lz4.level").or("9").check(Check::Between(1, 17)).dynamic().kept(ONE_LEVEL)
        .doc("Default of the topics' `compression.lz4.level`."),
    string("compression.type").or("producer").check(Check::OneOf(COMPRESSIONS)).dynamic()
        .doc("Default of the topics' `compression.type`."),
    int("compression.zstd.level").or("3").check(Check::Between(-131_072, 22)).dynamic()
        .doc("Default of the topics' `compression.zstd.level`."),
    list("cordoned.log.dirs").or("").check(Check::Distinct).dynamic().kept("there is one data directory")
        .doc("Data directories that take no new partitions."),
    class("create.topic.policy.class.name").kept(NO_CLASSES)
        .doc("Class that judges new topics."),
    int("default.replication.factor").or("1").unit_is("replicas").kept(NO_REPLICAS)
        .doc("Replication factor of topics that are made without one; all are reported with 1."),
    boolean("delete.topic.enable").or("true")
        .doc("Whether DeleteTopics deletes; if not, it answers TOPIC_DELETION_DISABLED."),
    long("log.cleaner.backoff.ms").or("15000").min(0).dynamic().kept(NO_CLEANER)
        .doc("How long the cleaner sleeps when nothing needs it."),
    long("log.cleaner.dedupe.buffer.size").or("134217728").unit_is("bytes").dynamic().kept(NO_CLEANER)
        .doc("Memory of the cleaner for keys."),
    long("log.cleaner.delete.retention.ms").or("86400000").min(0).dynamic().kept(NO_CLEANER)
        .doc("Default of the topics' `delete.retention.ms`."),
    boolean("log.cleaner.enable").or("true").kept(NO_CLEANER)
        .doc("Whether the cleaner runs."),
    double("log.cleaner.io.buffer.load.factor").or("0.9").dynamic().kept(NO_CLEANER)
        .doc("How full the cleaner's memory for keys may get."),
    int("log.cleaner.io.buffer.size").or("524288").min(0).unit_is("bytes").dynamic().kept(NO_CLEANER)
        .doc("Memory of the cleaner for reading and writing."),
    double("log.cleaner.io.max.bytes.per.second").or("1.7976931348623157E308").dynamic().kept(NO_CLEANER)
        .doc("Rate limit of the cleaner."),
    long("log.cleaner.max.compaction.lag.ms").or("9223372036854775807").min(1).dynamic().kept(NO_CLEANER)
        .doc("Default of the topics' `max.compaction.lag.ms`."),
    double("log.cleaner.min.cleanable.ratio").or("0.5").check(Check::Ratio(0.0, 1.0)).dynamic().kept(NO_CLEANER)
        .doc("Default of the topics' `min.cleanable.dirty.ratio`."),
    long("log.cleaner.min.compaction.lag.ms").or("0").min(0).dynamic().kept(NO_CLEANER)
        .doc("Default of the topics' `min.compaction.lag.ms`."),
    int("log.cleaner.threads").or("1").min(0).unit_is("threads").dynamic().kept(NO_CLEANER)
        .doc("Threads of the cleaner."),
    list("log.cleanup.policy").or("delete").check(Check::Items(&["compact", "delete"])).dynamic()
        .doc("Default of the topics' `cleanup.policy`."),
    list("log.dir").or("/tmp/kafka-logs").check(Check::DistinctSome).given(DATA_DIR)
        .doc("Data directory, where `log.dirs` is not set."),
    long("log.dir.failure.timeout.ms").or("30000").min(1).kept("a failed write restarts the log in the same process")
        .doc("How long a broker with a failed directory waits for its controller."),
    list("log.dirs").check(Check::Distinct).given(DATA_DIR)
        .doc("Data directories."),
    long("log.flush.interval.messages").or("9223372036854775807").min(1).unit_is("records").dynamic().kept(ONE_FLUSH)
        .doc("Default of the topics' `flush.messages`."),
    long("log.flush.interval.ms").dynamic().kept(ONE_FLUSH)
        .doc("Default of the topics' `flush.ms`."),
    int("log.flush.offset.checkpoint.interval.ms").or("60000").min(0).kept("checkpoints follow the size of the log")
        .doc("Time between two checkpoints of the recovery point."),
    long("log.flush.scheduler.interval.ms").or("9223372036854775807").kept(ONE_FLUSH)
        .doc("Time between two checks whether a flush is due."),
    int("log.flush.start.offset.checkpoint.interval.ms").or("60000").min(0).kept("log starts are durable at once")
        .doc("Time between two checkpoints of the log starts."),
    int("log.index.interval.bytes").or("4096").min(0).dynamic().kept(NO_SEGMENTS)
        .doc("Default of the topics' `index.interval.bytes`."),
    int("log.index.size.max.bytes").or("10485760").min(4).dynamic().kept(NO_SEGMENTS)
        .doc("Default of the topics' `segment.index.bytes`."),
    long("log.initial.task.delay.ms").or("30000").min(0).internal().kept("retention starts with the server")
        .doc("How long the log's background tasks wait at the start."),
    long("log.local.retention.bytes").or("-2").min(-2).dynamic().kept(NO_TIERS)
        .doc("Default of the topics' `local.retention.bytes`."),
    long("log.local.retention.ms").or("-2").min(-2).dynamic().kept(NO_TIERS)
        .doc("Default of the topics' `local.retention.ms`."),
    long("log.message.timestamp.after.max.ms").or("3600000").min(0).dynamic()
        .doc("Default of the topics' `message.timestamp.after.max.ms`."),
    long("log.message.timestamp.before.max.ms").or("9223372036854775807").min(0).dynamic()
        .doc("Default of the topics' `message.timestamp.before.max.ms`."),
    string("log.message.timestamp.type").or("CreateTime").check(Check::OneOf(&["CreateTime", "LogAppendTime"])).dynamic()
        .doc("Default of the topics' `message.timestamp.type`."),
    boolean("log.preallocate").or("false").dynamic().kept(NO_SEGMENTS)
        .doc("Default of the topics' `preallocate`."),
    long("log.retention.bytes").or("-1").dynamic()
        .doc("Default of the topics' `retention.bytes`."),
    long("log.retention.check.interval.ms").or("300000").min(1).kept(OFTEN)
        .doc("Time between two looks for records whose retention is over."),
    int("log.retention.hours").or("168")
        .doc("Default of the topics' `retention.ms`, in hours; `log.retention.minutes` and `log.retention.ms` come first."),
    int("log.retention.minutes")
        .doc("Default of the topics' `retention.ms`, in minutes; `log.retention.ms` comes first."),
    long("log.retention.ms").dynamic()
        .doc("Default of the topics' `retention.ms`."),
    int("log.roll.hours").or("168").min(1).kept(NO_SEGMENTS)
        .doc("Default of the topics' `segment.ms`, in hours."),
    int("log.roll.jitter.hours").or("0").min(0).kept(NO_SEGMENTS)
        .doc("Default of the topics' `segment.jitter.ms`, in hours."),
    long("log.roll.jitter.ms").dynamic().kept(NO_SEGMENTS)
        .doc("Default of the topics' `segment.jitter.ms`."),
    long("log.roll.ms").dynamic().kept(NO_SEGMENTS)
        .doc("Default of the topics' `segment.ms`."),
    int("log.segment.bytes").or("1073741824").min(1_048_576).dynamic().kept(NO_SEGMENTS)
        .doc("Default of the topics' `segment.bytes`."),
    long("log.segment.delete.delay.ms").or("60000").min(0).dynamic().kept(NO_SEGMENTS)
        .doc("Default of the topics' `file.delete.delay.ms`."),
    int("message.max.bytes").or("1048588").min(0).dynamic()
        .doc("Default of the topics' `max.message.bytes`."),
    int("min.insync.replicas").or("1").min(1).unit_is("replicas").dynamic().kept(NO_REPLICAS)
        .doc("Default of the topics' `min.insync.replicas`."),
    int("num.partitions").or("1").min(1).unit_is("partitions")
        .doc("Partitions of a topic that is made without a number."),
    int("num.recovery.threads.per.data.dir").or("2").min(1).unit_is("threads").dynamic().kept(NO_THREADS)
        .doc("Threads that recover a data directory at the start."),
    int("producer.id.expiration.check.interval.ms").or("600000").min(1).internal().kept(OFTEN)
        .doc("Time between two looks for producer ids that have expired."),
    int("producer.id.expiration.ms").or("86400000").min(1).dynamic()
        .doc("How long a partition remembers a producer id that sends nothing."),
    boolean("unclean.leader.election.enable").or("false").dynamic().kept(NO_REPLICAS)
        .doc("Default of the topics' `unclean.leader.election.enable`."),
];
