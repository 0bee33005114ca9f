//! Broker settings of groups, committed offsets and transactions.

use super::{
    super::setting::{Check, Setting, boolean, int, list, long, short, string},
    NO_CONSUMER, NO_SHARE, NO_STREAMS, NO_THREADS, NO_TRANSACTIONS,
};

/// Why settings of Kafka's internal topics change nothing.
const NO_OFFSETS_TOPIC: &str = "group state lies in a hidden partition of the log, not in a topic";
/// The protocols of groups that Kafka knows.
const PROTOCOLS: &[&str] = &["consumer", "classic", "share", "streams"];
/// Ways to move between the two consumer group protocols.
const MIGRATIONS: &[&str] = &["DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL"];

#[rustfmt::skip]
pub(super) const GROUPS: &[Setting] = &[
    int("add.partitions.to.txn.retry.backoff.max.ms").or("100").min(0).kept(NO_TRANSACTIONS)
        .doc("Longest wait before a partition is added to a transaction again."),
    int("add.partitions.to.txn.retry.backoff.ms").or("20").min(1).kept(NO_TRANSACTIONS)
        .doc("Wait before a partition is added to a transaction again."),
    int("group.consumer.assignment.interval.ms").or("1000").min(0).dynamic().kept(NO_CONSUMER)
        .doc("Shortest time between two assignments of a consumer group."),
    list("group.consumer.assignors").or("uniform,range").kept(NO_CONSUMER)
        .doc("Assignors of consumer groups, the default first."),
    int("group.consumer.heartbeat.interval.ms").or("5000").min(1).kept(NO_CONSUMER)
        .doc("Time between two heartbeats of a consumer group's member."),
    int("group.consumer.max.assignment.interval.ms").or("15000").min(0).kept(NO_CONSUMER)
        .doc("Largest `consumer.assignment.interval.ms` of a group."),
    int("group.consumer.max.heartbeat.interval.ms").or("15000").min(1).kept(NO_CONSUMER)
        .doc("Largest `consumer.heartbeat.interval.ms` of a group."),
    int("group.consumer.max.session.timeout.ms").or("60000").min(1).kept(NO_CONSUMER)
        .doc("Largest `consumer.session.timeout.ms` of a group."),
    int("group.consumer.max.size").or("2147483647").min(1).unit_is("members").kept(NO_CONSUMER)
        .doc("Most members of a consumer group."),
    string("group.consumer.migration.policy").or("bidirectional").check(Check::OneOfAnyCase(MIGRATIONS)).kept(NO_CONSUMER)
        .doc("Which way groups may move between the two protocols."),
    int("group.consumer.min.assignment.interval.ms").or("0").min(0).kept(NO_CONSUMER)
        .doc("Smallest `consumer.assignment.interval.ms` of a group."),
    int("group.consumer.min.heartbeat.interval.ms").or("5000").min(1).kept(NO_CONSUMER)
        .doc("Smallest `consumer.heartbeat.interval.ms` of a group."),
    int("group.consumer.min.session.timeout.ms").or("45000").min(1).kept(NO_CONSUMER)
        .doc("Smallest `consumer.session.timeout.ms` of a group."),
    int("group.consumer.regex.refresh.interval.ms").or("600000").min(10_000).internal().kept(NO_CONSUMER)
        .doc("Time between two resolutions of a group's topic pattern."),
    int("group.consumer.session.timeout.ms").or("45000").min(1).kept(NO_CONSUMER)
        .doc("Silence after which a consumer group's member is removed."),
    int("group.coordinator.append.linger.ms").or("-1").min(-1).kept("group commits gather by themselves")
        .doc("How long the coordinator gathers records before it writes."),
    int("group.coordinator.background.threads").or("2").min(1).unit_is("threads").kept(NO_THREADS)
        .doc("Threads for the coordinator's background work."),
    int("group.coordinator.cached.buffer.max.bytes").or("1048588").min(524_288).dynamic().kept("buffers come from the server's pools")
        .doc("Largest buffer that the coordinator keeps."),
    list("group.coordinator.rebalance.protocols").or("classic,consumer,streams").check(Check::Items(PROTOCOLS)).kept(NO_CONSUMER)
        .doc("Group protocols that are on."),
    int("group.coordinator.threads").or("4").min(1).unit_is("threads").kept(NO_THREADS)
        .doc("Threads of the coordinator."),
    int("group.initial.rebalance.delay.ms").or("3000")
        .doc("How long an empty group waits for more members before its first rebalance."),
    int("group.max.session.timeout.ms").or("1800000")
        .doc("Longest session timeout that a member may ask for."),
    int("group.max.size").or("2147483647").min(1).unit_is("members")
        .doc("Most members of a classic group."),
    int("group.min.session.timeout.ms").or("6000")
        .doc("Shortest session timeout that a member may ask for."),
    int("group.share.assignment.interval.ms").or("1000").min(0).dynamic().kept(NO_SHARE)
        .doc("Shortest time between two assignments of a share group."),
    list("group.share.assignors").or("simple").kept(NO_SHARE)
        .doc("Assignor of share groups."),
    int("group.share.delivery.count.limit").or("5").check(Check::Between(2, 10)).unit_is("deliveries").kept(NO_SHARE)
        .doc("How often a share group delivers one record at most."),
    int("group.share.heartbeat.interval.ms").or("5000").min(1).kept(NO_SHARE)
        .doc("Time between two heartbeats of a share group's member."),
    int("group.share.initialize.retry.interval.ms").or("30000").min(1).internal().kept(NO_SHARE)
        .doc("Time between two attempts to prepare a share partition."),
    int("group.share.max.assignment.interval.ms").or("15000").min(0).kept(NO_SHARE)
        .doc("Largest `share.assignment.interval.ms` of a group."),
    int("group.share.max.delivery.count.limit").or("10").check(Check::Between(5, 25)).unit_is("deliveries").kept(NO_SHARE)
        .doc("Largest `share.delivery.count.limit` of a group."),
    int("group.share.max.heartbeat.interval.ms").or("15000").min(1).kept(NO_SHARE)
        .doc("Largest `share.heartbeat.interval.ms` of a group."),
    int("group.share.max.partition.max.record.locks").or("4000").check(Check::Between(2000, 10_000)).unit_is("records").kept(NO_SHARE)
        .doc("Largest `share.partition.max.record.locks` of a group."),
    int("group.share.max.record.lock.duration.ms").or("60000").check(Check::Between(30_000, 3_600_000)).kept(NO_SHARE)
        .doc("Largest `share.record.lock.duration.ms` of a group."),
    int("group.share.max.session.timeout.ms").or("60000").min(1).kept(NO_SHARE)
        .doc("Largest `share.session.timeout.ms` of a group."),
    int("group.share.max.share.sessions").or("2000").min(1).unit_is("sessions").kept(NO_SHARE)
        .doc("Most share sessions at once."),
    int("group.share.max.size").or("200").check(Check::Between(1, 1000)).unit_is("members").kept(NO_SHARE)
        .doc("Most members of a share group."),
    int("group.share.min.assignment.interval.ms").or("0").min(0).kept(NO_SHARE)
        .doc("Smallest `share.assignment.interval.ms` of a group."),
    int("group.share.min.delivery.count.limit").or("2").check(Check::Between(2, 5)).unit_is("deliveries").kept(NO_SHARE)
        .doc("Smallest `share.delivery.count.limit` of a group."),
    int("group.share.min.heartbeat.interval.ms").or("5000").min(1).kept(NO_SHARE)
        .doc("Smallest `share.heartbeat.interval.ms` of a group."),
    int("group.share.min.partition.max.record.locks").or("100").check(Check::Between(100, 2000)).unit_is("records").kept(NO_SHARE)
        .doc("Smallest `share.partition.max.record.locks` of a group."),
    int("group.share.min.record.lock.duration.ms").or("15000").check(Check::Between(1000, 30_000)).kept(NO_SHARE)
        .doc("Smallest `share.record.lock.duration.ms` of a group."),
    int("group.share.min.session.timeout.ms").or("45000").min(1).kept(NO_SHARE)
        .doc("Smallest `share.session.timeout.ms` of a group."),
    int("group.share.partition.max.record.locks").or("2000").check(Check::Between(100, 10_000)).unit_is("records").kept(NO_SHARE)
        .doc("Records of one partition that a share group may have out at once."),
    string("group.share.persister.class.name").or("org.apache.kafka.server.share.persister.DefaultStatePersister").internal().kept(NO_SHARE)
        .doc("Class that keeps the state of share groups."),
    int("group.share.record.lock.duration.ms").or("30000").check(Check::Between(1000, 3_600_000)).kept(NO_SHARE)
        .doc("How long a share group's member holds a record."),
    int("group.share.session.timeout.ms").or("45000").min(1).kept(NO_SHARE)
        .doc("Silence after which a share group's member is removed."),
    int("group.streams.assignment.interval.ms").or("1000").min(0).dynamic().kept(NO_STREAMS)
        .doc("Shortest time between two assignments of a streams group."),
    int("group.streams.heartbeat.interval.ms").or("5000").min(1).kept(NO_STREAMS)
        .doc("Time between two heartbeats of a streams group's member."),
    int("group.streams.initial.rebalance.delay.ms").or("3000").min(0).kept(NO_STREAMS)
        .doc("How long a new streams group waits for more members."),
    int("group.streams.max.assignment.interval.ms").or("15000").min(0).kept(NO_STREAMS)
        .doc("Largest `streams.assignment.interval.ms` of a group."),
    int("group.streams.max.heartbeat.interval.ms").or("15000").min(1).kept(NO_STREAMS)
        .doc("Largest `streams.heartbeat.interval.ms` of a group."),
    int("group.streams.max.session.timeout.ms").or("60000").min(1).kept(NO_STREAMS)
        .doc("Largest `streams.session.timeout.ms` of a group."),
    int("group.streams.max.size").or("2147483647").min(1).unit_is("members").kept(NO_STREAMS)
        .doc("Most members of a streams group."),
    int("group.streams.max.standby.replicas").or("2").min(0).unit_is("replicas").kept(NO_STREAMS)
        .doc("Largest `streams.num.standby.replicas` of a group."),
    int("group.streams.min.assignment.interval.ms").or("0").min(0).kept(NO_STREAMS)
        .doc("Smallest `streams.assignment.interval.ms` of a group."),
    int("group.streams.min.heartbeat.interval.ms").or("5000").min(1).kept(NO_STREAMS)
        .doc("Smallest `streams.heartbeat.interval.ms` of a group."),
    int("group.streams.min.session.timeout.ms").or("45000").min(1).kept(NO_STREAMS)
        .doc("Smallest `streams.session.timeout.ms` of a group."),
    int("group.streams.num.standby.replicas").or("0").min(0).unit_is("replicas").kept(NO_STREAMS)
        .doc("Standby replicas of each task of a streams group."),
    int("group.streams.session.timeout.ms").or("45000").min(1).kept(NO_STREAMS)
        .doc("Silence after which a streams group's member is removed."),
    int("offset.metadata.max.bytes").or("4096")
        .doc("Largest metadata text of a committed offset."),
    int("offsets.commit.timeout.ms").or("5000").min(1).kept("a commit is answered when it is durable")
        .doc("How long a commit waits for its replicas."),
    int("offsets.load.buffer.size").or("5242880").min(1).unit_is("bytes").kept(NO_OFFSETS_TOPIC)
        .doc("Bytes read at once when offsets are loaded."),
    long("offsets.retention.check.interval.ms").or("600000").min(1)
        .doc("Time between two looks for committed offsets whose retention is over."),
    int("offsets.retention.minutes").or("10080").min(1)
        .doc("How long committed offsets outlive their group's last member, or their last commit where there is no group."),
    int("offsets.topic.compression.codec").or("0").kept(NO_OFFSETS_TOPIC)
        .doc("Compression of the offsets topic."),
    int("offsets.topic.num.partitions").or("50").min(1).unit_is("partitions").kept(NO_OFFSETS_TOPIC)
        .doc("Partitions of the offsets topic."),
    short("offsets.topic.replication.factor").or("3").min(1).unit_is("replicas").kept(NO_OFFSETS_TOPIC)
        .doc("Replication factor of the offsets topic."),
    int("offsets.topic.segment.bytes").or("104857600").min(1).kept(NO_OFFSETS_TOPIC)
        .doc("Segment size of the offsets topic."),
    int("share.coordinator.append.linger.ms").or("-1").min(-1).kept(NO_SHARE)
        .doc("How long the share coordinator gathers records before it writes."),
    int("share.coordinator.cached.buffer.max.bytes").or("1048588").min(524_288).dynamic().kept(NO_SHARE)
        .doc("Largest buffer that the share coordinator keeps."),
    int("share.coordinator.cold.partition.snapshot.interval.ms").or("300000").min(1).internal().kept(NO_SHARE)
        .doc("Time between two snapshots of an idle share partition."),
    int("share.coordinator.load.buffer.size").or("5242880").min(1).unit_is("bytes").kept(NO_SHARE)
        .doc("Bytes read at once when share state is loaded."),
    int("share.coordinator.snapshot.update.records.per.snapshot").or("500").check(Check::Between(0, 500)).unit_is("records").kept(NO_SHARE)
        .doc("Updates between two snapshots of share state."),
    int("share.coordinator.state.topic.compression.codec").or("0").kept(NO_SHARE)
        .doc("Compression of the share state topic."),
    short("share.coordinator.state.topic.min.isr").or("2").min(1).unit_is("replicas").kept(NO_SHARE)
        .doc("Replicas that must have an update of share state."),
    int("share.coordinator.state.topic.num.partitions").or("50").min(1).unit_is("partitions").kept(NO_SHARE)
        .doc("Partitions of the share state topic."),
    int("share.coordinator.state.topic.prune.interval.ms").or("300000").min(1).internal().kept(NO_SHARE)
        .doc("Time between two prunings of the share state topic."),
    short("share.coordinator.state.topic.replication.factor").or("3").min(1).unit_is("replicas").kept(NO_SHARE)
        .doc("Replication factor of the share state topic."),
    int("share.coordinator.state.topic.segment.bytes").or("104857600").min(1).kept(NO_SHARE)
        .doc("Segment size of the share state topic."),
    int("share.coordinator.threads").or("1").min(1).unit_is("threads").kept(NO_SHARE)
        .doc("Threads of the share coordinator."),
    int("share.coordinator.write.timeout.ms").or("5000").min(1).kept(NO_SHARE)
        .doc("How long a write of share state waits for its replicas."),
    int("share.fetch.purgatory.purge.interval.requests").or("1000").unit_is("requests").kept(NO_SHARE)
        .doc("Requests between two cleanings of the share fetch purgatory."),
    int("transaction.abort.timed.out.transaction.cleanup.interval.ms").or("10000").min(1).kept(NO_TRANSACTIONS)
        .doc("Time between two looks for transactions that timed out."),
    int("transaction.max.timeout.ms").or("900000").min(1).kept(NO_TRANSACTIONS)
        .doc("Longest timeout that a transaction may ask for."),
    boolean("transaction.partition.verification.enable").or("true").dynamic().kept(NO_TRANSACTIONS)
        .doc("Whether a partition asks before it takes a transaction's first batch."),
    int("transaction.remove.expired.transaction.cleanup.interval.ms").or("3600000").min(1).kept(NO_TRANSACTIONS)
        .doc("Time between two looks for transactional ids that expired."),
    int("transaction.state.log.load.buffer.size").or("5242880").min(1).unit_is("bytes").kept(NO_TRANSACTIONS)
        .doc("Bytes read at once when transaction state is loaded."),
    int("transaction.state.log.min.isr").or("2").min(1).unit_is("replicas").kept(NO_TRANSACTIONS)
        .doc("Replicas that must have an update of transaction state."),
    int("transaction.state.log.num.partitions").or("50").min(1).unit_is("partitions").kept(NO_TRANSACTIONS)
        .doc("Partitions of the transaction state topic."),
    short("transaction.state.log.replication.factor").or("3").min(1).unit_is("replicas").kept(NO_TRANSACTIONS)
        .doc("Replication factor of the transaction state topic."),
    int("transaction.state.log.segment.bytes").or("104857600").min(1).kept(NO_TRANSACTIONS)
        .doc("Segment size of the transaction state topic."),
    boolean("transaction.two.phase.commit.enable").or("false").kept(NO_TRANSACTIONS)
        .doc("Whether producers may take part in two-phase commits."),
    int("transactional.id.expiration.ms").or("604800000").min(1).kept(NO_TRANSACTIONS)
        .doc("How long an idle transactional id is remembered."),
];
