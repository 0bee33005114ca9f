//! What fronts keep: with a topic (its *attributes*), or for the whole server.
//! The text is the front's own; the broker stores it, hands it back, and
//! orders the changes.
//!
//! Invariant: the look at what stands and the change are one step, and the
//! catalog changes first, memory after it, in a task that goes on when the
//! caller leaves. An attribute goes with its topic.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
};

use millrace_store::catalog::{ConfigScope, TopicChange};
use millrace_types::TopicId;

use crate::{Broker, config::Overrides};

/// One attribute of a topic: text, and what its front made of it.
pub struct Attribute {
    text: String,
    parsed: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Attribute {
    pub(crate) fn new(text: String) -> Arc<Self> {
        Arc::new(Self { text, parsed: OnceLock::new() })
    }

    /// The text, as the front gave it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What `parse` makes of the text, made once. A front asks for one type
    /// alone; of another it gets a value that is made anew.
    pub fn parsed<T: Any + Send + Sync>(&self, parse: impl Fn(&str) -> T) -> Arc<T> {
        let made = self.parsed.get_or_init(|| Arc::new(parse(&self.text)));
        Arc::clone(made).downcast().unwrap_or_else(|_| Arc::new(parse(&self.text)))
    }
}

impl fmt::Debug for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Attribute").field(&self.text).finish()
    }
}

/// The attributes of one topic, by their keeper's name.
pub(crate) type Attributes = BTreeMap<String, Arc<Attribute>>;

/// Why what is kept did not change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError<E> {
    /// No topic has this id.
    #[error("the topic does not exist")]
    NotFound,
    /// The one who asked saw what stands, and refused.
    #[error("refused")]
    Refused(E),
    /// The catalog cannot be written now.
    #[error("{0}")]
    Unavailable(String),
    /// The incarnation is over.
    #[error("the broker's incarnation ended")]
    Ended,
}

impl Broker {
    /// Changes the attribute `key` of a topic: `change` sees the text that
    /// stands, and returns the text that shall stand (`None` for none) with
    /// its answer, or refuses.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn change_attribute<T: Send + 'static, E: Send + 'static>(
        &self,
        topic: TopicId,
        key: &'static str,
        change: impl FnOnce(Option<&Attribute>) -> Result<(Option<String>, T), E> + Send + 'static,
    ) -> Result<T, ChangeError<E>> {
        let broker = self.me.upgrade().ok_or(ChangeError::Ended)?;
        let work = async move {
            let _one_at_a_time = broker.admin.lock().await;
            let topic = broker.topic_by_id(topic).ok_or(ChangeError::NotFound)?;
            let standing = topic.attribute(key);
            let (next, answer) = change(standing.as_deref()).map_err(ChangeError::Refused)?;
            if next.as_deref() == standing.as_ref().map(|standing| standing.text()) {
                return Ok(answer);
            }
            let attributes = [(key.to_owned(), next.clone())].into();
            let row = TopicChange { partitions: None, attributes };
            broker
                .catalog
                .change_topic(topic.id, row)
                .await
                .map_err(|error| ChangeError::Unavailable(broker.catalog_failed(&error)))?;
            topic.set_attribute(key, next);
            Ok(answer)
        };
        self.detached("change attribute", work).await.unwrap_or(Err(ChangeError::Ended))
    }

    /// What the front `keeper` keeps for the whole server.
    #[must_use]
    pub fn kept(&self, keeper: &str) -> Overrides {
        self.config_overrides(&ConfigScope::new(keeper, ""))
    }

    /// Changes what the front `keeper` keeps for the whole server: `change`
    /// gets what stands, and leaves what shall stand, or refuses.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn change_kept<T: Send + 'static, E: Send + 'static>(
        &self,
        keeper: &'static str,
        change: impl FnOnce(&mut Overrides) -> Result<T, E> + Send + 'static,
    ) -> Result<T, ChangeError<E>> {
        let broker = self.me.upgrade().ok_or(ChangeError::Ended)?;
        let work = async move {
            let _one_at_a_time = broker.admin.lock().await;
            let standing = broker.kept(keeper);
            let mut next = standing.clone();
            let answer = change(&mut next).map_err(ChangeError::Refused)?;
            if next == standing {
                return Ok(answer);
            }
            let at = ConfigScope::new(keeper, "");
            broker
                .catalog
                .set_config(at.clone(), next.clone())
                .await
                .map_err(|error| ChangeError::Unavailable(broker.catalog_failed(&error)))?;
            let mut configs = broker.configs.write();
            if next.is_empty() {
                configs.remove(&at);
            } else {
                configs.insert(at, next);
            }
            drop(configs);
            Ok(answer)
        };
        self.detached("change kept", work).await.unwrap_or(Err(ChangeError::Ended))
    }
}

#[cfg(feature = "testing")]
#[cfg(test)]
mod tests;
