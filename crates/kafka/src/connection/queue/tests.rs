use std::future::pending;

use futures_util::task::noop_waker_ref;

use super::*;
use crate::api;
use crate::codec::ApiKey;
use crate::memory::Use;
use crate::testing::Setup;

/// Memory in use while a request of 1 KB waits for its answer.
async fn memory_while_waiting(wait: fn(Pending) -> Started) -> usize {
    let setup = Setup::new().await;
    let mut queue = Queue::new(Arc::clone(&setup.broker), Arc::clone(&setup.front.metrics));
    let permit = setup.front.memory.try_take(1024, Use::Other).unwrap();
    let start = Box::pin(async move { Ok(wait(Box::pin(pending()))) });
    let now = std::time::Instant::now();
    let trace = Trace::begun(now, now, 1024);
    queue.begin(api::find(ApiKey::OffsetCommit as i16).unwrap(), 8, start, permit, trace);
    let mut task = Task::from_waker(noop_waker_ref());
    assert!(queue.poll(&mut task, &mut Send::default()).unwrap());
    setup.front.memory.used()
}

#[tokio::test]
async fn a_request_that_is_kept_for_its_answer_is_accounted_until_then() {
    assert_eq!(memory_while_waiting(Started::Waiting).await, 0);
    assert_eq!(memory_while_waiting(Started::Keeping).await, 1024);
}
