//! All settings alike, ours and Kafka's: what a person is told of each.

use millrace_broker::config::{self, Meaning, Scope, Update, describe};

use super::{KAFKA, TABLE};

/// What there is to say of a setting that a person may set.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// As in `--set`: `flush`, `kinesis.region`, `kafka.num.partitions`.
    pub(crate) key: String,
    /// `None` where Kafka's default is not to be set.
    pub(crate) default: Option<&'static str>,
    /// What a value is: its unit, or the words that are allowed.
    pub(crate) unit: String,
    pub(crate) doc: String,
    /// When to change it.
    pub(crate) when: String,
    /// Never shown.
    pub(crate) sensitive: bool,
}

/// All of them: ours, then Kafka's.
pub(crate) fn all() -> impl Iterator<Item = Known> {
    let own = TABLE.iter().map(|setting| Known {
        key: setting.name.to_owned(),
        default: Some(setting.default),
        unit: setting.unit.to_owned(),
        doc: setting.doc.to_owned(),
        when: setting.when.to_owned(),
        sensitive: false,
    });
    let kafka = config::settings(Scope::Broker).into_iter();
    let kafka = kafka.filter(|setting| !matches!(setting.meaning, Meaning::Given(_)));
    own.chain(kafka.map(|setting| Known {
        key: format!("{KAFKA}{}", setting.name),
        default: setting.default,
        unit: kafka_unit(setting),
        doc: describe::documentation(setting),
        when: kafka_when(setting).to_owned(),
        sensitive: setting.is_sensitive(),
    }))
}

fn kafka_unit(setting: &config::Setting) -> String {
    let kind = setting.kind.name().to_lowercase();
    let parts = [kind, setting.unit().to_owned(), setting.check.to_string()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

const fn kafka_when(setting: &config::Setting) -> &'static str {
    match (setting.meaning, setting.update) {
        (Meaning::Kept(_) | Meaning::Only(..), _) => "Never: it changes nothing here.",
        (_, Update::Dynamic) => {
            "As with Kafka; also while the server runs: millrace cluster config set."
        }
        (_, Update::ReadOnly) => "As with Kafka; holds from the next start.",
    }
}
