//! Settings of groups and of client metrics subscriptions.

use super::{
    super::setting::{Check, Setting, boolean, int, list, string},
    NO_CONSUMER, NO_SHARE, NO_STREAMS,
};

#[rustfmt::skip]
pub(super) const GROUP: &[Setting] = &[
    int("consumer.assignment.interval.ms")
        .or("1000")
        .min(0)
        .broker("group.consumer.assignment.interval.ms")
        .kept(NO_CONSUMER)
        .doc("Shortest time between two assignments of a consumer group."),
    int("consumer.heartbeat.interval.ms")
        .or("5000")
        .min(1)
        .broker("group.consumer.heartbeat.interval.ms")
        .kept(NO_CONSUMER)
        .doc("Time between two heartbeats of a consumer group's member."),
    int("consumer.session.timeout.ms")
        .or("45000")
        .min(1)
        .broker("group.consumer.session.timeout.ms")
        .kept(NO_CONSUMER)
        .doc("Silence after which a consumer group's member is removed."),
    int("share.assignment.interval.ms")
        .or("1000")
        .min(0)
        .broker("group.share.assignment.interval.ms")
        .kept(NO_SHARE)
        .doc("Shortest time between two assignments of a share group."),
    string("share.auto.offset.reset")
        .or("latest")
        .check(Check::OffsetReset)
        .kept(NO_SHARE)
        .doc("Where a share group starts on a partition that is new to it."),
    int("share.delivery.count.limit")
        .or("5")
        .min(2)
        .unit_is("deliveries")
        .broker("group.share.delivery.count.limit")
        .kept(NO_SHARE)
        .doc("How often a share group delivers one record at most."),
    int("share.heartbeat.interval.ms")
        .or("5000")
        .min(1)
        .broker("group.share.heartbeat.interval.ms")
        .kept(NO_SHARE)
        .doc("Time between two heartbeats of a share group's member."),
    string("share.isolation.level")
        .or("read_uncommitted")
        .check(Check::OneOf(&["read_committed", "read_uncommitted"]))
        .kept(NO_SHARE)
        .doc("Whether a share group sees records of open and aborted transactions."),
    int("share.partition.max.record.locks")
        .or("2000")
        .min(100)
        .unit_is("records")
        .broker("group.share.partition.max.record.locks")
        .kept(NO_SHARE)
        .doc("Records of one partition that a share group may have out at once."),
    int("share.record.lock.duration.ms")
        .or("30000")
        .min(1000)
        .broker("group.share.record.lock.duration.ms")
        .kept(NO_SHARE)
        .doc("How long a share group's member holds a record."),
    boolean("share.renew.acknowledge.enable")
        .or("true")
        .kept(NO_SHARE)
        .doc("Whether members may renew their hold on a record."),
    int("share.session.timeout.ms")
        .or("45000")
        .min(1)
        .broker("group.share.session.timeout.ms")
        .kept(NO_SHARE)
        .doc("Silence after which a share group's member is removed."),
    int("streams.assignment.interval.ms")
        .or("1000")
        .min(0)
        .broker("group.streams.assignment.interval.ms")
        .kept(NO_STREAMS)
        .doc("Shortest time between two assignments of a streams group."),
    int("streams.heartbeat.interval.ms")
        .or("5000")
        .min(1)
        .broker("group.streams.heartbeat.interval.ms")
        .kept(NO_STREAMS)
        .doc("Time between two heartbeats of a streams group's member."),
    int("streams.initial.rebalance.delay.ms")
        .or("3000")
        .min(0)
        .broker("group.streams.initial.rebalance.delay.ms")
        .kept(NO_STREAMS)
        .doc("How long a new streams group waits for more members."),
    int("streams.num.standby.replicas")
        .or("0")
        .min(0)
        .unit_is("replicas")
        .broker("group.streams.num.standby.replicas")
        .kept(NO_STREAMS)
        .doc("Standby replicas of each task of a streams group."),
    int("streams.session.timeout.ms")
        .or("45000")
        .min(1)
        .broker("group.streams.session.timeout.ms")
        .kept(NO_STREAMS)
        .doc("Silence after which a streams group's member is removed."),
];

/// Why settings of client metrics change nothing.
const NO_TELEMETRY: &str = "clients are not asked for their metrics";

#[rustfmt::skip]
pub(super) const CLIENT_METRICS: &[Setting] = &[
    int("interval.ms")
        .or("300000")
        .check(Check::Between(100, 3_600_000))
        .kept(NO_TELEMETRY)
        .doc("Time between two pushes of a client's metrics."),
    list("match")
        .or("")
        .check(Check::Distinct)
        .kept(NO_TELEMETRY)
        .doc("Which clients are meant: `client_id=…` and the like."),
    list("metrics")
        .or("")
        .check(Check::Distinct)
        .kept(NO_TELEMETRY)
        .doc("Prefixes of the metrics that clients push."),
];
