//! What every [`Catalog`] must do, as tests that any driver's suite drives:
//! [`run`] with a function that gives an empty place each time.
#![expect(clippy::unwrap_used, reason = "these are tests, which other crates' tests call")]

use std::{
    future::poll_fn,
    task::{Poll, ready},
};

use millrace_types::{Incarnation, Timestamp, TopicId, TopicName};

use super::{
    Catalog, CatalogError, CatalogState, CatalogTopic, Config, ConfigScope, Identity, TopicChange,
};
use crate::env::BoxFuture;

/// Opens the catalog that is kept in one place, each time anew.
pub type Place = Box<dyn Fn() -> Box<dyn Catalog>>;

/// Runs the whole suite; `empty` gives a place where nothing was kept yet.
///
/// # Panics
/// If the driver does not conform.
pub async fn run(empty: impl Fn() -> Place) {
    a_new_catalog_is_empty(&*empty()()).await;
    an_identity_is_given_once(empty()).await;
    incarnations_are_counted_and_never_repeated(empty()).await;
    incarnations_taken_at_once_differ(&*empty()()).await;
    topics_are_kept_as_created(empty()).await;
    names_and_ids_are_unique(&*empty()()).await;
    a_deleted_topic_leaves_nothing(empty()).await;
    partitions_only_grow(&*empty()()).await;
    a_topics_settings_are_replaced_whole(empty()).await;
    a_topics_attributes_change_with_its_partitions(empty()).await;
    settings_are_kept_by_scope(empty()).await;
    what_is_missing_is_not_found(&*empty()()).await;
    of_two_topics_of_one_name_one_is_created(&*empty()()).await;
}

fn id(number: u8) -> TopicId {
    TopicId([number; 16])
}

fn topic(number: u8, name: &str) -> CatalogTopic {
    CatalogTopic {
        id: id(number),
        name: TopicName::new(name).unwrap(),
        partitions: 3,
        config: config(&[("retention.ms", "1000")]),
        attributes: config(&[("kept", "with it")]),
        created: Timestamp(1_700_000_000_000),
    }
}

fn config(pairs: &[(&str, &str)]) -> Config {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn identity(cluster_id: &str) -> Identity {
    let log_id = std::array::from_fn(|n| u8::try_from(n * 16).unwrap());
    Identity { cluster_id: cluster_id.to_owned(), log_id, format_version: 1 }
}

async fn load(catalog: &dyn Catalog) -> CatalogState {
    catalog.load().await.unwrap()
}

fn is_conflict(outcome: Result<(), CatalogError>) -> bool {
    matches!(outcome, Err(CatalogError::Conflict(_)))
}

/// Drives all futures at once; their values in order.
async fn join<T>(mut futures: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    let mut values: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    poll_fn(|context| {
        let mut all = Poll::Ready(());
        for (future, value) in futures.iter_mut().zip(&mut values) {
            if value.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(ready) => *value = Some(ready),
                    Poll::Pending => all = Poll::Pending,
                }
            }
        }
        ready!(all);
        Poll::Ready(())
    })
    .await;
    values.into_iter().flatten().collect()
}

async fn a_new_catalog_is_empty(catalog: &dyn Catalog) {
    let state = load(catalog).await;
    assert_eq!(state, CatalogState::default());
    assert!(state.is_new());
}

async fn an_identity_is_given_once(place: Place) {
    let catalog = place();
    catalog.establish(identity("first")).await.unwrap();
    assert!(is_conflict(catalog.establish(identity("second")).await));
    assert!(is_conflict(catalog.establish(identity("first")).await), "told, even if the same");
    drop(catalog);
    let state = load(&*place()).await;
    assert_eq!(state.identity, Some(identity("first")));
    assert!(!state.is_new());
}

async fn incarnations_are_counted_and_never_repeated(place: Place) {
    let catalog = place();
    for number in 1..4 {
        assert_eq!(catalog.next_incarnation().await, Ok(Incarnation(number)));
    }
    drop(catalog);
    let catalog = place();
    assert_eq!(load(&*catalog).await.incarnation, Incarnation(3));
    assert_eq!(catalog.next_incarnation().await, Ok(Incarnation(4)));
}

async fn incarnations_taken_at_once_differ(catalog: &dyn Catalog) {
    let taken = join((0..20).map(|_| catalog.next_incarnation()).collect()).await;
    let mut taken: Vec<_> = taken.into_iter().map(|number| number.unwrap().get()).collect();
    taken.sort_unstable();
    assert_eq!(taken, (1..=20).collect::<Vec<_>>());
}

async fn topics_are_kept_as_created(place: Place) {
    let catalog = place();
    let plain = CatalogTopic { config: Config::new(), partitions: u32::MAX, ..topic(1, "plain") };
    let odd = CatalogTopic {
        config: config(&[("a", ""), ("b'; --", "ü\n\u{1f980}")]),
        created: Timestamp(-1),
        ..topic(0xff, &"x".repeat(249))
    };
    for topic in [&odd, &plain] {
        catalog.create_topic(topic.clone()).await.unwrap();
    }
    let expected = [(plain.id, plain), (odd.id, odd)].into();
    assert_eq!(load(&*catalog).await.topics, expected);
    drop(catalog);
    assert_eq!(load(&*place()).await.topics, expected);
}

async fn names_and_ids_are_unique(catalog: &dyn Catalog) {
    catalog.create_topic(topic(1, "a")).await.unwrap();
    let before = load(catalog).await;
    assert!(is_conflict(catalog.create_topic(topic(2, "a")).await));
    assert!(is_conflict(catalog.create_topic(topic(1, "b")).await));
    assert!(is_conflict(catalog.create_topic(topic(1, "a")).await));
    let none = CatalogTopic { partitions: 0, ..topic(3, "c") };
    assert!(is_conflict(catalog.create_topic(none).await));
    assert_eq!(load(catalog).await, before, "a refused mutation changes nothing");
    catalog.create_topic(topic(2, "A")).await.unwrap();
}

async fn a_deleted_topic_leaves_nothing(place: Place) {
    let catalog = place();
    catalog.create_topic(topic(1, "a")).await.unwrap();
    catalog.delete_topic(id(1)).await.unwrap();
    assert_eq!(load(&*catalog).await, CatalogState::default());
    let again = CatalogTopic { config: Config::new(), ..topic(1, "a") };
    catalog.create_topic(again.clone()).await.unwrap();
    drop(catalog);
    assert_eq!(load(&*place()).await.topics, [(again.id, again)].into());
}

async fn partitions_only_grow(catalog: &dyn Catalog) {
    catalog.create_topic(topic(1, "a")).await.unwrap();
    for partitions in [4, 4, 100] {
        catalog.set_partitions(id(1), partitions).await.unwrap();
    }
    assert!(is_conflict(catalog.set_partitions(id(1), 99).await));
    let expected = CatalogTopic { partitions: 100, ..topic(1, "a") };
    assert_eq!(load(catalog).await.topics, [(id(1), expected)].into());
}

async fn a_topics_settings_are_replaced_whole(place: Place) {
    let catalog = place();
    catalog.create_topic(topic(1, "a")).await.unwrap();
    catalog.create_topic(topic(2, "b")).await.unwrap();
    let wanted = config(&[("cleanup.policy", "compact"), ("retention.bytes", "1")]);
    catalog.set_topic_config(id(1), wanted.clone()).await.unwrap();
    drop(catalog);
    let catalog = place();
    let state = load(&*catalog).await;
    let config_of = |state: &CatalogState, topic| state.topics.get(&topic).unwrap().config.clone();
    assert_eq!(config_of(&state, id(1)), wanted);
    assert_eq!(config_of(&state, id(2)), topic(2, "b").config, "another topic's stay");
    catalog.set_topic_config(id(1), Config::new()).await.unwrap();
    assert_eq!(config_of(&load(&*catalog).await, id(1)), Config::new());
}

async fn a_topics_attributes_change_with_its_partitions(place: Place) {
    let catalog = place();
    catalog.create_topic(topic(1, "a")).await.unwrap();
    let value = |text: &str| Some(text.to_owned());
    let attributes = [("kept".to_owned(), None), ("new".to_owned(), value("1"))].into();
    let change = TopicChange { partitions: Some(5), attributes };
    catalog.change_topic(id(1), change).await.unwrap();
    let again = TopicChange {
        attributes: [("new".to_owned(), value("2"))].into(),
        ..TopicChange::default()
    };
    catalog.change_topic(id(1), again.clone()).await.unwrap();
    let fewer = TopicChange { partitions: Some(4), ..again.clone() };
    assert!(is_conflict(catalog.change_topic(id(1), fewer).await));
    assert_eq!(catalog.change_topic(id(2), again).await, Err(CatalogError::NotFound(id(2))),);
    drop(catalog);
    let expected =
        CatalogTopic { partitions: 5, attributes: config(&[("new", "2")]), ..topic(1, "a") };
    assert_eq!(load(&*place()).await.topics, [(id(1), expected)].into());
}

async fn settings_are_kept_by_scope(place: Place) {
    let catalog = place();
    let (broker, all) = (ConfigScope::new("broker", "0"), ConfigScope::new("broker", ""));
    let group = ConfigScope::new("group", "0");
    let wanted = config(&[("a", "1"), ("b", "2")]);
    for scope in [&broker, &all, &group] {
        catalog.set_config(scope.clone(), wanted.clone()).await.unwrap();
    }
    let changed = config(&[("b", "3"), ("c", "4")]);
    catalog.set_config(broker.clone(), changed.clone()).await.unwrap();
    catalog.set_config(group.clone(), Config::new()).await.unwrap();
    catalog.set_config(group, Config::new()).await.unwrap();
    drop(catalog);
    let expected = [(broker, changed), (all, wanted)].into();
    assert_eq!(load(&*place()).await.configs, expected, "without settings a scope is gone");
}

async fn what_is_missing_is_not_found(catalog: &dyn Catalog) {
    let missing = Err(CatalogError::NotFound(id(1)));
    assert_eq!(catalog.delete_topic(id(1)).await, missing);
    assert_eq!(catalog.set_partitions(id(1), 1).await, missing);
    assert_eq!(catalog.set_topic_config(id(1), Config::new()).await, missing);
    assert_eq!(load(catalog).await, CatalogState::default());
}

async fn of_two_topics_of_one_name_one_is_created(catalog: &dyn Catalog) {
    let create = |number| catalog.create_topic(topic(number, "a"));
    let outcomes = join((1..10).map(create).collect()).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(outcomes.into_iter().filter(Result::is_err).all(is_conflict));
    assert_eq!(load(catalog).await.topics.len(), 1);
}
