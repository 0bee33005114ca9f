use millrace_types::TopicName;

use super::*;
use crate::{NewTopic, Topic};

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn topic(broker: &Broker) -> Arc<Topic> {
    let new = NewTopic::plain(TopicName::new("t").unwrap(), 1, Overrides::new());
    wait(broker.create_topic(new, false)).unwrap()
}

#[test]
fn an_attribute_changes_in_one_step() {
    let broker = Broker::in_memory();
    let topic = topic(&broker);
    let count = |standing: Option<&Attribute>| -> Result<_, ()> {
        let number: u32 = standing.map_or(0, |kept| kept.text().parse().unwrap());
        Ok((Some((number + 1).to_string()), number))
    };
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| wait(broker.change_attribute(topic.id, "count", count)).unwrap());
        }
    });
    let kept = topic.attribute("count").unwrap();
    assert_eq!(*kept.parsed(|text| text.parse::<u32>().unwrap()), 8);
    assert_eq!(*kept.parsed(str::to_owned), "8");
}

#[test]
fn who_refuses_changes_nothing() {
    let broker = Broker::in_memory();
    let topic = topic(&broker);
    let refuse = |_: Option<&Attribute>| -> Result<(Option<String>, ()), &str> { Err("no") };
    let refused = wait(broker.change_attribute(topic.id, "a", refuse));
    assert_eq!(refused, Err(ChangeError::Refused("no")));
    let refused = wait(broker.change_attribute(TopicId([9; 16]), "a", refuse));
    assert_eq!(refused, Err(ChangeError::NotFound));
    assert!(topic.attribute("a").is_none());
}

#[test]
fn what_a_front_keeps_stands_apart() {
    let broker = Broker::in_memory();
    let keep = |kept: &mut Overrides| -> Result<_, ()> {
        kept.insert("a".into(), "1".into());
        Ok(())
    };
    wait(broker.change_kept("front", keep)).unwrap();
    assert_eq!(broker.kept("front").get("a").map(String::as_str), Some("1"));
    assert!(broker.kept("other").is_empty());
}
