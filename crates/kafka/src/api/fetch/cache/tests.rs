use super::*;
use crate::codec::fetch_request::{FetchPartition, FetchTopic};
use crate::codec::wire_str;
use crate::settings::Settings;
use crate::testing::Setup;

fn session(partitions: i32) -> Box<Session> {
    let part = |index| FetchPartition::default().with_partition(index);
    let partitions = (0..partitions).map(part).collect();
    let topic = FetchTopic::default().with_topic(wire_str("t")).with_partitions(partitions);
    let mut session = Box::<Session>::default();
    session.update(&[topic], false);
    session
}

/// As if everything in the cache had been made and used so long ago.
fn age(sessions: &Sessions, created: Duration, used: Duration) {
    for entry in sessions.entries.lock().values_mut() {
        entry.created -= created;
        entry.used -= used;
    }
}

/// Puts a session with this id into the cache.
fn insert(setup: &Setup, partitions: i32, id: u64) -> Option<i32> {
    setup.front.sessions.insert(session(partitions), false, &setup.broker, || id << 32)
}

async fn setup(sessions: usize) -> Setup {
    Setup::with(Settings { fetch_sessions_max: sessions, ..Settings::default() }).await
}

const OLD: Duration = Duration::from_secs(121);
const YOUNG: Duration = Duration::ZERO;

#[tokio::test]
async fn a_full_cache_keeps_its_young_sessions() {
    let setup = setup(2).await;
    assert_eq!(insert(&setup, 5, 1), Some(1));
    assert_eq!(insert(&setup, 5, 2), Some(2));
    assert_eq!(insert(&setup, 50, 3), None);
    assert_eq!(setup.front.sessions.len(), 2);
}

#[tokio::test]
async fn an_unused_session_gives_way_to_any() {
    let setup = setup(1).await;
    insert(&setup, 50, 1);
    age(&setup.front.sessions, OLD, OLD);
    assert_eq!(insert(&setup, 1, 2), Some(2));
    assert_eq!(setup.front.sessions.len(), 1);
}

#[tokio::test]
async fn an_old_session_in_use_gives_way_to_a_larger_one_only() {
    let setup = setup(1).await;
    insert(&setup, 10, 1);
    age(&setup.front.sessions, OLD, YOUNG);
    assert_eq!(insert(&setup, 9, 2), None);
    assert_eq!(insert(&setup, 11, 3), Some(3));
}

#[tokio::test]
async fn a_session_is_in_one_pair_of_hands_and_comes_back() {
    let setup = setup(1).await;
    let id = insert(&setup, 1, 1).unwrap();
    let take = |epoch| Sessions::take(&setup.front, &setup.broker, id, epoch, false);
    let taken = take(1).unwrap();
    assert_eq!(take(2).err(), Some(ErrorCode::InvalidFetchSessionEpoch));
    taken.give_back();
    let taken = take(2).unwrap();
    assert_eq!(taken.session.len(), 1);
    taken.give_back();
    // One that had to give way meanwhile does not come back.
    let taken = take(3).unwrap();
    setup.front.sessions.remove(id);
    taken.give_back();
    assert!(setup.front.sessions.is_empty());
}

#[tokio::test]
async fn a_session_of_an_earlier_incarnation_is_unknown() {
    let setup = setup(1).await;
    let id = insert(&setup, 1, 1).unwrap();
    let next = Setup::new().await.broker;
    let taken = Sessions::take(&setup.front, &next, id, 1, false);
    assert_eq!(taken.err(), Some(ErrorCode::FetchSessionIdNotFound));
}
