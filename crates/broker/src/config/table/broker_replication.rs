//! Broker settings of replicas, leaders and the controller: shown, since tools
//! and manifests name them, and without effect on one machine.

use super::{
    super::setting::{Check, Setting, boolean, int, list, long, string},
    NO_QUOTAS, NO_REPLICAS, NO_TIERS,
};

/// Why settings of the controller change nothing.
const NO_CONTROLLER: &str = "there is no controller apart from the broker";

#[rustfmt::skip]
pub(super) const REPLICATION: &[Setting] = &[
    int("alter.log.dirs.replication.quota.window.num").or("11").min(1).unit_is("windows").kept(NO_QUOTAS)
        .doc("Windows that moves between directories are measured over."),
    int("alter.log.dirs.replication.quota.window.size.seconds").or("1").min(1).kept(NO_QUOTAS)
        .doc("Length of the window for moves between directories."),
    boolean("auto.leader.rebalance.enable").or("true").kept(NO_REPLICAS)
        .doc("Whether leadership moves back to the preferred replicas by itself."),
    int("broker.heartbeat.interval.ms").or("2000").kept(NO_CONTROLLER)
        .doc("Time between two heartbeats to the controller."),
    int("broker.session.timeout.ms").or("9000").kept(NO_CONTROLLER)
        .doc("Silence after which the controller fences a broker."),
    list("controller.listener.names").check(Check::Distinct).kept(NO_CONTROLLER)
        .doc("Listeners of the controller."),
    list("controller.quorum.bootstrap.servers").or("").check(Check::Distinct).kept(NO_CONTROLLER)
        .doc("Addresses of controllers to start from."),
    list("controller.quorum.voters").or("").check(Check::Distinct).kept(NO_CONTROLLER)
        .doc("Ids and addresses of the controllers that vote."),
    int("controller.quota.window.num").or("11").min(1).unit_is("windows").kept(NO_QUOTAS)
        .doc("Windows that changes of topics are measured over."),
    int("controller.quota.window.size.seconds").or("1").min(1).kept(NO_QUOTAS)
        .doc("Length of the window for changes of topics."),
    int("controller.socket.timeout.ms").or("30000").kept(NO_CONTROLLER)
        .doc("Time-out of connections to the controller."),
    list("early.start.listeners").check(Check::Distinct).kept("all listeners open together")
        .doc("Listeners that open before the authorizer is ready."),
    boolean("follower.fetch.last.tiered.offset.enable").or("false").dynamic().kept(NO_TIERS)
        .doc("Whether a new follower skips what tiered storage holds."),
    long("follower.replication.throttled.rate").or("9223372036854775807").min(0).unit_is("bytes/s").dynamic().kept(NO_REPLICAS)
        .doc("Rate limit of throttled follower replicas."),
    int("initial.broker.registration.timeout.ms").or("60000").kept(NO_CONTROLLER)
        .doc("How long a start waits for the controller to accept the broker."),
    long("leader.imbalance.check.interval.seconds").or("300").min(1).kept(NO_REPLICAS)
        .doc("Time between two looks at where leaders are."),
    long("leader.replication.throttled.rate").or("9223372036854775807").min(0).unit_is("bytes/s").dynamic().kept(NO_REPLICAS)
        .doc("Rate limit of throttled leader replicas."),
    string("metadata.log.dir").kept(NO_CONTROLLER).doc("Directory of the metadata log."),
    long("metadata.log.max.record.bytes.between.snapshots").or("20971520").min(1).unit_is("bytes").kept(NO_CONTROLLER)
        .doc("Bytes of metadata between two snapshots."),
    long("metadata.log.max.snapshot.interval.ms").or("3600000").min(0).kept(NO_CONTROLLER)
        .doc("Time between two snapshots of the metadata."),
    int("metadata.log.segment.bytes").or("1073741824").min(8_388_608).kept(NO_CONTROLLER)
        .doc("Segment size of the metadata log."),
    long("metadata.log.segment.ms").or("604800000").kept(NO_CONTROLLER)
        .doc("Age at which the metadata log goes on in a new segment."),
    int("metadata.max.idle.interval.ms").or("500").min(0).kept(NO_CONTROLLER)
        .doc("Time between two records that keep an idle metadata log moving."),
    long("metadata.max.retention.bytes").or("104857600").kept(NO_CONTROLLER)
        .doc("Bytes of the metadata log that are kept."),
    long("metadata.max.retention.ms").or("604800000").kept(NO_CONTROLLER)
        .doc("How long the metadata log is kept."),
    int("num.replica.alter.log.dirs.threads").unit_is("threads").kept("there is one data directory")
        .doc("Threads that move replicas between directories."),
    int("num.replica.fetchers").or("1").min(1).unit_is("threads").dynamic().kept(NO_REPLICAS)
        .doc("Threads that fetch from each other broker."),
    long("replica.alter.log.dirs.io.max.bytes.per.second").or("9223372036854775807").min(0).dynamic().kept("there is one data directory")
        .doc("Rate limit of moves between directories."),
    int("replica.fetch.backoff.ms").or("1000").min(0).kept(NO_REPLICAS)
        .doc("Wait of a follower after a failed fetch."),
    int("replica.fetch.max.bytes").or("1048576").min(0).kept(NO_REPLICAS)
        .doc("Bytes that a follower asks for in one partition."),
    int("replica.fetch.min.bytes").or("1").kept(NO_REPLICAS)
        .doc("Bytes that a follower waits for."),
    int("replica.fetch.response.max.bytes").or("10485760").min(0).kept(NO_REPLICAS)
        .doc("Bytes that a follower asks for in one fetch."),
    int("replica.fetch.wait.max.ms").or("500").kept(NO_REPLICAS)
        .doc("Longest wait of a follower's fetch."),
    long("replica.high.watermark.checkpoint.interval.ms").or("5000").kept("the high watermark is what is durable")
        .doc("Time between two checkpoints of the high watermarks."),
    long("replica.lag.time.max.ms").or("30000").kept(NO_REPLICAS)
        .doc("Lag after which a follower leaves the in-sync replicas."),
    string("replica.selector.class").kept(NO_REPLICAS)
        .doc("Class that picks the replica to read from."),
    int("replica.socket.receive.buffer.bytes").or("65536").kept(NO_REPLICAS)
        .doc("Receive buffer of a follower's socket."),
    int("replica.socket.timeout.ms").or("30000").kept(NO_REPLICAS)
        .doc("Time-out of a follower's requests."),
    int("replication.quota.window.num").or("11").min(1).unit_is("windows").kept(NO_QUOTAS)
        .doc("Windows that replication is measured over."),
    int("replication.quota.window.size.seconds").or("1").min(1).kept(NO_QUOTAS)
        .doc("Length of the window for replication."),
];
