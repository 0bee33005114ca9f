//! Who a cluster and its log are.

use millrace_types::TopicId;

/// Names given once, when a catalog is established.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What clients know the cluster by: 22 characters, like Kafka's.
    pub cluster_id: String,
    /// Stands in every log file of the cluster, so that one of another
    /// cluster is told apart.
    pub log_id: [u8; 16],
    /// Version of the formats in the data directory.
    pub format_version: u32,
}

impl Identity {
    /// Names made of random numbers.
    pub fn generate(format_version: u32, mut random: impl FnMut() -> u64) -> Self {
        let mut id = || {
            let bits = u128::from(random()) << 64 | u128::from(random());
            uuid_v4(bits)
        };
        let log_id = id();
        // Like Kafka, no id that a command line takes for an option.
        let cluster_id = loop {
            let text = TopicId(id()).to_string();
            if !text.starts_with('-') {
                break text;
            }
        };
        Self { cluster_id, log_id, format_version }
    }
}

/// The random UUID (version 4) of these bits.
fn uuid_v4(bits: u128) -> [u8; 16] {
    const VERSION: u128 = 0xf << 76;
    const VARIANT: u128 = 0b11 << 62;
    ((bits & !VERSION & !VARIANT) | 4 << 76 | 0b10 << 62).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{Env, testing::TestEnv};

    #[test]
    fn ids_have_kafkas_form_and_differ() {
        let env = TestEnv::new(1);
        for _ in 0..500 {
            let identity = Identity::generate(1, || env.random_u64());
            assert_eq!(identity.cluster_id.len(), 22);
            assert!(!identity.cluster_id.starts_with('-'));
            assert_eq!(identity.log_id[6] >> 4, 4);
            assert_eq!(identity.log_id[8] >> 6, 0b10);
        }
        let draw = || Identity::generate(1, || env.random_u64());
        assert_ne!(draw(), draw());
    }
}
