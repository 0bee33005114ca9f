//! Changing settings: of topics, of the broker, of groups and client metrics
//! subscriptions.
//!
//! Invariant: the look at the settings that stand, the check of what would
//! stand and the change are one step, whichever front asks: of two changes at
//! once neither is lost. The catalog changes first, memory after it, in a task
//! that goes on when the caller leaves.

use std::sync::Arc;

use millrace_store::catalog::ConfigScope;
use millrace_types::TopicId;

use crate::{
    Broker, SetConfigError,
    broker::dynamic,
    config::{self, Change, Overrides, Scope, TopicConfig},
};

/// Whose settings change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Configured {
    /// A topic's.
    Topic(TopicId),
    /// Those of a broker, by its id, or of all brokers, by no name; of a group
    /// or a client metrics subscription, by its name.
    Named(Scope, String),
}

/// How the settings that stand become those that will stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    /// All others go.
    Replace(Overrides),
    /// These alone change.
    Apply(Vec<Change>),
}

impl ConfigChange {
    /// What will stand, checked.
    fn next(
        self,
        scope: Scope,
        standing: &Overrides,
        broker: &config::BrokerConfig,
    ) -> Result<Overrides, config::ConfigError> {
        match self {
            Self::Replace(next) => config::check(scope, &next, broker).map(|()| next),
            Self::Apply(changes) => config::apply(scope, standing, &changes, broker),
        }
    }
}

impl Broker {
    /// Changes settings, all of `change` or nothing; with `validate_only`,
    /// checks alone. Whether anything is different now.
    ///
    /// # Errors
    /// See [`SetConfigError`].
    pub async fn change_config(
        &self,
        what: Configured,
        change: ConfigChange,
        validate_only: bool,
    ) -> Result<bool, SetConfigError> {
        let broker = self.me.upgrade().ok_or(SetConfigError::Ended)?;
        let work = async move {
            let _one_at_a_time = broker.admin.lock().await;
            match what {
                Configured::Topic(id) => broker.change_topic(id, change, validate_only).await,
                Configured::Named(scope, name) => {
                    broker.change_named(scope, &name, change, validate_only).await
                }
            }
        };
        self.detached("change config", work).await.unwrap_or(Err(SetConfigError::Ended))
    }

    async fn change_topic(
        &self,
        id: TopicId,
        change: ConfigChange,
        validate_only: bool,
    ) -> Result<bool, SetConfigError> {
        let topic = self.topic_by_id(id).ok_or(SetConfigError::NotFound)?;
        let standing = topic.config();
        let next = change.next(Scope::Topic, standing.overrides(), &self.config())?;
        if validate_only || next == *standing.overrides() {
            return Ok(false);
        }
        let resolved = TopicConfig::resolve(&next, &self.config())?;
        self.catalog
            .set_topic_config(id, next)
            .await
            .map_err(|error| SetConfigError::Unavailable(self.catalog_failed(&error)))?;
        topic.set_config(Arc::new(resolved));
        Ok(true)
    }

    /// Settings of the broker take effect at once, for topics too.
    async fn change_named(
        &self,
        scope: Scope,
        name: &str,
        change: ConfigChange,
        validate_only: bool,
    ) -> Result<bool, SetConfigError> {
        let at = ConfigScope::new(scope.key(), name);
        let mut configs = self.configs.read().clone();
        let standing = configs.get(&at).cloned().unwrap_or_default();
        let next = change.next(scope, &standing, &self.config())?;
        if validate_only || next == standing {
            return Ok(false);
        }
        if next.is_empty() {
            configs.remove(&at);
        } else {
            configs.insert(at.clone(), next.clone());
        }
        let config = dynamic(&self.config(), &configs, self.node_id());
        self.catalog
            .set_config(at, next)
            .await
            .map_err(|error| SetConfigError::Unavailable(self.catalog_failed(&error)))?;
        *self.configs.write() = configs;
        for topic in self.topics() {
            let (resolved, _) = TopicConfig::resolve_stored(topic.config().overrides(), &config);
            topic.set_config(Arc::new(resolved));
        }
        self.groups.set_config(&config);
        self.config.store(Arc::new(config));
        Ok(true)
    }

    /// The settings of something that is not a topic.
    #[must_use]
    pub fn config_overrides(&self, scope: &ConfigScope) -> Overrides {
        self.configs.read().get(scope).cloned().unwrap_or_default()
    }

    /// All things with settings of their own, besides topics.
    #[must_use]
    pub fn config_scopes(&self) -> Vec<ConfigScope> {
        self.configs.read().keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use millrace_types::TopicName;

    use super::*;
    use crate::{NewTopic, config::Operation};

    fn set(name: &str, value: u32) -> ConfigChange {
        let (name, value) = (name.to_owned(), value.to_string());
        ConfigChange::Apply(vec![Change { name, operation: Operation::Set, value }])
    }

    fn wait<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    #[test]
    fn of_changes_at_once_none_is_lost() {
        let broker = Broker::in_memory();
        let name = TopicName::new("t").unwrap();
        let new = NewTopic::plain(name, 1, Overrides::new());
        let topic = wait(broker.create_topic(new, false)).unwrap();
        let settings = ["retention.ms", "retention.bytes", "flush.ms", "segment.ms"];
        std::thread::scope(|scope| {
            for name in settings {
                let (broker, topic) = (&broker, &topic);
                scope.spawn(move || {
                    for value in 1..200 {
                        let of = Configured::Topic(topic.id);
                        wait(broker.change_config(of, set(name, value), false)).unwrap();
                        let stands = topic.config().overrides().get(name).cloned();
                        assert_eq!(stands, Some(value.to_string()), "{name}");
                    }
                });
            }
        });
        assert_eq!(topic.config().overrides().len(), settings.len());
    }

    #[test]
    fn a_change_that_changes_nothing_says_so() {
        let broker = Broker::in_memory();
        let of = || Configured::Named(Scope::Broker, String::new());
        let change = |value, only| wait(broker.change_config(of(), value, only)).unwrap();
        assert!(!change(set("message.max.bytes", 5000), true));
        assert!(change(set("message.max.bytes", 5000), false));
        assert!(!change(set("message.max.bytes", 5000), false));
        assert!(change(ConfigChange::Replace(Overrides::new()), false));
        assert_eq!(broker.config_scopes(), []);
    }
}
