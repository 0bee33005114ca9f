use std::{sync::Arc, time::Duration};

use millrace_store::{
    catalog::{Catalog as _, memory::MemoryCatalog},
    disk::memory::Crash,
};
use millrace_types::{Offset, PartitionId, TopicName, TopicPartition};

use crate::{
    groups::{CommitRequest, MemberId, OffsetCommit},
    testing::{Fault, MemDisk, Operation},
    *,
};

#[tokio::test]
async fn a_deletion_that_may_not_be_durable_is_told_to_nobody() {
    let disk = Arc::new(MemDisk::new(1));
    let broker = Broker::in_memory_on(Arc::clone(&disk), &[]);
    let name = millrace_types::TopicName::new("t").unwrap();
    let new = NewTopic::plain(name, 1, Default::default());
    let topic = broker.create_topic(new, false).await.unwrap();
    disk.fail_every(Operation::Sync, Fault::Io);
    for _ in 0..2 {
        assert_eq!(broker.delete_topic(topic.id).await, Err(DeleteTopicError::Ended));
        assert!(broker.topic("t").is_some());
    }
}

#[tokio::test]
async fn offsets_of_a_topic_that_the_catalog_does_not_know_go_at_a_start() {
    let (disk, catalog) = (Arc::new(MemDisk::new(1)), MemoryCatalog::new());
    let supervisor = Supervisor::in_memory_again(Arc::clone(&disk), &catalog);
    let broker = supervisor.current();
    let mut partitions = Vec::new();
    for name in ["gone", "there"] {
        let new = NewTopic::plain(TopicName::new(name).unwrap(), 1, Default::default());
        let topic = broker.create_topic(new, false).await.unwrap();
        partitions.push(TopicPartition::new(topic.id, PartitionId(0)));
    }
    let committing = broker.groups().commit(CommitRequest {
        group: "simple".into(),
        member: MemberId::unknown(),
        instance: None,
        generation: -1,
        retention_ms: None,
        offsets: partitions
            .iter()
            .map(|partition| OffsetCommit {
                partition: *partition,
                offset: Offset(5),
                leader_epoch: None,
                metadata: "".into(),
            })
            .collect(),
    });
    committing.await.unwrap().unwrap();
    // As if a disk that lies had lost what the log says of the deletion.
    catalog.delete_topic(partitions[0].topic).await.unwrap();
    let disk = Arc::new(disk.crash(Crash::Kill));
    let broker = Supervisor::in_memory_again(disk, &catalog).current();
    let committed = broker.groups().committed("simple", &partitions).unwrap();
    let offsets: Vec<_> = committed.iter().map(|it| it.as_ref().map(|it| it.offset)).collect();
    assert_eq!(offsets, [None, Some(Offset(5))]);
}

#[tokio::test]
async fn what_was_shut_down_is_held_by_nobody() {
    let supervisor = Supervisor::in_memory_on(Arc::new(MemDisk::new(1)), &[]);
    let (held, broker) = (Arc::downgrade(&supervisor), Arc::downgrade(&supervisor.current()));
    supervisor.shutdown().await;
    supervisor.shutdown().await;
    drop(supervisor);
    let gone = async {
        while held.upgrade().is_some() || broker.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("a task holds it for ever");
}
