use std::sync::Arc;

use millrace_broker::{AppendOptions, Broker, Compression};
use millrace_types::PartitionId;

use super::*;
use crate::codec::ApiKey;
use crate::codec::describe_quorum_request::{PartitionData as Wanted, TopicData as WantedTopic};
use crate::testing::{self, batch};

fn describe(broker: &Arc<Broker>, version: i16, topic: &str) -> DescribeQuorumResponseData {
    let topic = WantedTopic::default()
        .with_topic_name(codec::wire_str(topic))
        .with_partitions(vec![Wanted::default()]);
    let request = DescribeQuorumRequestData::default().with_topics(vec![topic]);
    let call = testing::call(broker, ApiKey::DescribeQuorum, version);
    testing::over_the_wire(&call, &handle(&call, request).unwrap())
}

#[tokio::test]
async fn the_quorum_is_this_broker_and_as_far_as_its_log() {
    let broker = Broker::in_memory();
    testing::topic(&broker, "t", 1).await;
    let partition = broker.topic("t").unwrap().partition(PartitionId(0)).unwrap();
    let mut before = 0;
    for version in 0..=2 {
        let options = AppendOptions { compression_max: Compression::Zstd };
        let lsn = broker.append(&partition, &batch(&["a"]), &options).await.unwrap().lsn;
        broker.durable(lsn).await.unwrap();
        let answer = describe(&broker, version, METADATA.0);
        let quorum = &answer.topics[0].partitions[0];
        let [voter] = quorum.current_voters.as_slice() else { panic!("{quorum:?}") };
        assert_eq!((quorum.leader_id, voter.replica_id), (broker.node_id(), broker.node_id()));
        assert!(quorum.leader_epoch > 0);
        assert_eq!(quorum.high_watermark, voter.log_end_offset);
        assert!(quorum.high_watermark > before, "it grows with the log");
        before = quorum.high_watermark;
        assert_eq!(answer.nodes.len(), usize::from(version >= NODES_MIN));
    }
}

#[tokio::test]
async fn no_other_partition_has_a_quorum() {
    let broker = Broker::in_memory();
    for version in 0..=2 {
        let answer = describe(&broker, version, "t");
        assert_eq!(answer.topics[0].partitions[0].error_code, 3);
    }
}
