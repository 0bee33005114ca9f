//! The registry: every setting that Kafka 4.3.1 has and that means something
//! for a broker without replicas, one table a scope.
//!
//! Invariant: names, types and defaults are Kafka's (`golden.tsv` holds what
//! Kafka itself prints; a test compares). What is left out on purpose (TLS,
//! SASL, delegation tokens, quorum, tiered storage) is unknown everywhere
//! alike: in the file, in CreateTopics, in AlterConfigs.

mod broker_groups;
mod broker_log;
mod broker_network;
mod broker_replication;
mod group;
mod topic;

use super::{
    error::{ConfigError, Scope},
    setting::Setting,
    suggest::nearest,
};

/// Why settings of replication change nothing.
const NO_REPLICAS: &str = "every partition has one durable copy";
/// Why settings of segments change nothing.
const NO_SEGMENTS: &str = "all partitions share one log, which has no segments per topic";
/// Why settings of the log cleaner change nothing.
const NO_CLEANER: &str = "compaction is not there yet; a compacted topic keeps every record";
/// Why settings of tiered storage change nothing.
const NO_TIERS: &str = "there is no tiered storage";
/// Why flush settings change nothing.
const ONE_FLUSH: &str =
    "every acknowledged batch is flushed; the server's `flush` decides for all topics";
/// Why thread counts change nothing.
const NO_THREADS: &str = "the server sizes its threads itself";
/// Why settings of share groups change nothing.
const NO_SHARE: &str = "there are no share groups yet";
/// Why settings of streams groups change nothing.
const NO_STREAMS: &str = "there are no streams groups yet";
/// Why settings of KIP-848 groups change nothing.
const NO_CONSUMER: &str = "there is only the classic group protocol yet";
/// Why settings of transactions change nothing.
const NO_TRANSACTIONS: &str = "there are no transactions yet";
/// Why quota settings change nothing.
const NO_QUOTAS: &str = "there are no quotas yet";

/// The tables of `scope`; rows stand in the order of their names.
const fn tables(scope: Scope) -> &'static [&'static [Setting]] {
    match scope {
        Scope::Topic => &[topic::TOPIC],
        Scope::Broker => &[
            broker_log::LOG,
            broker_network::NETWORK,
            broker_groups::GROUPS,
            broker_replication::REPLICATION,
        ],
        Scope::Group => &[group::GROUP],
        Scope::ClientMetrics => &[group::CLIENT_METRICS],
    }
}

/// All settings of `scope`.
pub(super) fn all(scope: Scope) -> impl Iterator<Item = &'static Setting> + Clone {
    tables(scope).iter().copied().flatten()
}

/// The setting `name` of `scope`.
///
/// # Errors
/// [`ConfigError::Unknown`], with the nearest name that exists.
pub(super) fn find(scope: Scope, name: &str) -> Result<&'static Setting, ConfigError> {
    let found = tables(scope).iter().find_map(|table| {
        let row = table.binary_search_by(|setting| setting.name.cmp(name)).ok()?;
        table.get(row)
    });
    found.ok_or_else(|| {
        let suggestion = nearest(name, all(scope).map(|setting| setting.name));
        ConfigError::Unknown { scope, name: name.into(), suggestion: suggestion.map(Into::into) }
    })
}
