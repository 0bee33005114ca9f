use std::sync::Arc;

use crate::{
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
