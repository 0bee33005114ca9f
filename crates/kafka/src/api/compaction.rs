//! Says once that compacted topics keep every record for now.

use millrace_broker::config::TopicConfig;

use crate::context::Call;

/// Logs a line the first time that a topic is to be compacted.
pub(super) fn notice(call: &Call, config: &TopicConfig) {
    static SAID: std::sync::Once = std::sync::Once::new();
    if config.cleanup_policy.compact {
        SAID.call_once(|| {
            tracing::warn!(
                client = call.client_id(),
                "cleanup.policy=compact is accepted, but there is no compaction yet: such topics \
                 keep every record"
            );
        });
    }
}
