//! Broker settings of connections, requests and identity.

use super::{
    super::setting::{Check, Setting, boolean, class, int, list, long, string},
    NO_QUOTAS, NO_THREADS,
};

/// The flag that decides the listeners.
const LISTEN: &str = "kafka_listen (--kafka-listen)";
/// Why settings of roles and ids change nothing.
const IDENTITY: &str = "the id that the data directory was made with";
/// Why purgatories change nothing.
const NO_PURGATORY: &str = "waiting requests are woken by what they wait for";
/// Why metrics settings change nothing.
const PROMETHEUS: &str = "metrics are on /metrics, for Prometheus";
/// Why security settings change nothing.
const NO_SECURITY: &str = "there is no authentication yet";

#[rustfmt::skip]
pub(super) const NETWORK: &[Setting] = &[
    list("advertised.listeners").check(Check::Distinct).given(LISTEN)
        .doc("Addresses that clients are told to connect to."),
    string("authorizer.class.name").or("").only("", NO_SECURITY)
        .doc("Class that authorizes requests."),
    int("background.threads").or("10").min(1).unit_is("threads").dynamic().kept(NO_THREADS)
        .doc("Threads for background work."),
    int("broker.id").or("-1").given(IDENTITY).doc("The broker's id, by its old name."),
    string("broker.rack").doc("The rack or zone of the broker, told to clients in Metadata."),
    class("client.quota.callback.class").kept(NO_QUOTAS).doc("Class that decides client quotas."),
    int("connection.failed.authentication.delay.ms").or("100").min(0).kept(NO_SECURITY)
        .doc("How long a failed authentication waits for its answer."),
    long("connections.max.idle.ms").or("600000")
        .doc("Time after which a connection that sends nothing is closed; -1 for never."),
    long("connections.max.reauth.ms").or("0").kept(NO_SECURITY)
        .doc("How long an authentication is good for."),
    boolean("controlled.shutdown.enable").or("true").kept("a stop always drains")
        .doc("Whether a stopping broker hands its partitions over first."),
    int("delete.records.purgatory.purge.interval.requests").or("1").unit_is("requests").kept(NO_PURGATORY)
        .doc("Requests between two cleanings of the purgatory of DeleteRecords."),
    int("fetch.max.bytes").or("57671680").min(1024)
        .doc("Most bytes of records in one fetch response."),
    int("fetch.purgatory.purge.interval.requests").or("1000").unit_is("requests").kept(NO_PURGATORY)
        .doc("Requests between two cleanings of the fetch purgatory."),
    string("inter.broker.listener.name").kept("there is one broker")
        .doc("Listener for other brokers."),
    string("listener.security.protocol.map").or("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT").given(LISTEN)
        .doc("Security protocol of each listener name."),
    list("listeners").or("PLAINTEXT://:9092").check(Check::DistinctSome).given(LISTEN)
        .doc("Addresses that the broker listens on."),
    int("max.connection.creation.rate").or("2147483647").min(0).unit_is("connections/s").dynamic().kept(NO_QUOTAS)
        .doc("New connections a second."),
    int("max.connections").or("2147483647").min(0).unit_is("connections")
        .doc("Most connections at once; further clients wait to be accepted."),
    int("max.connections.per.ip").or("2147483647").min(0).unit_is("connections")
        .doc("Most connections at once from one address; further ones are closed."),
    string("max.connections.per.ip.overrides").or("").dynamic().kept("`max.connections.per.ip` holds for all addresses")
        .doc("Exceptions from `max.connections.per.ip`, as `address:number`."),
    int("max.incremental.fetch.session.cache.slots").or("1000").min(0).unit_is("sessions")
        .doc("Incremental fetch sessions kept at once; a fetch beyond them is answered in full."),
    int("max.request.partition.size.limit").or("2000").min(1).unit_is("partitions")
        .doc("Most partitions in one DescribeTopicPartitions response."),
    list("metric.reporters").or("org.apache.kafka.common.metrics.JmxReporter").check(Check::Distinct).dynamic().kept(PROMETHEUS)
        .doc("Classes that report metrics."),
    int("metrics.num.samples").or("2").min(1).unit_is("samples").kept(PROMETHEUS)
        .doc("Samples that a metric is computed from."),
    string("metrics.recording.level").or("INFO").kept(PROMETHEUS)
        .doc("Level of the metrics that are recorded."),
    long("metrics.sample.window.ms").or("30000").min(1).kept(PROMETHEUS)
        .doc("Time that a metric's sample covers."),
    int("node.id").min(0).given(IDENTITY).doc("The broker's id."),
    int("num.io.threads").or("8").min(1).unit_is("threads").dynamic().kept(NO_THREADS)
        .doc("Threads that process requests."),
    int("num.network.threads").or("3").min(1).unit_is("threads").dynamic().kept(NO_THREADS)
        .doc("Threads that serve connections."),
    class("principal.builder.class").or("org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder").kept(NO_SECURITY)
        .doc("Class that names a connection's user."),
    list("process.roles").check(Check::Items(&["broker", "controller"])).kept("one process does both")
        .doc("Roles of the process."),
    int("producer.purgatory.purge.interval.requests").or("1000").unit_is("requests").kept(NO_PURGATORY)
        .doc("Requests between two cleanings of the produce purgatory."),
    long("queued.max.request.bytes").or("-1").kept("the server's pools bound the memory of requests")
        .doc("Most bytes of requests that wait."),
    int("queued.max.requests").or("500").min(1).unit_is("requests").kept("each connection has its own bounded queue")
        .doc("Most requests that wait before connections are read no further."),
    int("quota.window.num").or("11").min(1).unit_is("windows").kept(NO_QUOTAS)
        .doc("Windows that a client quota is measured over."),
    int("quota.window.size.seconds").or("1").min(1).kept(NO_QUOTAS)
        .doc("Length of a client quota's window."),
    int("request.timeout.ms").or("30000").kept("there is no other broker to ask")
        .doc("How long the broker waits for an answer of another."),
    string("security.inter.broker.protocol").or("PLAINTEXT").check(Check::OneOf(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"])).kept("there is one broker")
        .doc("Security protocol between brokers."),
    string("security.providers").kept(NO_SECURITY).doc("Java security providers."),
    long("socket.connection.setup.timeout.max.ms").or("30000").kept("the broker connects to nobody")
        .doc("Longest time for the set-up of a connection to another broker."),
    long("socket.connection.setup.timeout.ms").or("10000").kept("the broker connects to nobody")
        .doc("First time for the set-up of a connection to another broker."),
    int("socket.listen.backlog.size").or("50").min(1).unit_is("connections").kept("the server always asks for 1024")
        .doc("Connections that may wait to be accepted."),
    int("socket.receive.buffer.bytes").or("102400").kept("the operating system sizes socket buffers")
        .doc("Receive buffer of a connection's socket."),
    int("socket.request.max.bytes").or("104857600").min(1)
        .doc("Largest request; a larger one closes its connection."),
    int("socket.send.buffer.bytes").or("102400").kept("the operating system sizes socket buffers")
        .doc("Send buffer of a connection's socket."),
    int("telemetry.max.bytes").or("1048576").min(1).kept("clients are not asked for their metrics")
        .doc("Largest push of client metrics."),
];
