//! One command's connection to a cluster, and the questions that several
//! commands ask.
//!
//! Invariant: no call waits without a bound: ten seconds for a connection,
//! thirty for an answer.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use krafka::admin::{
    AdminClient, ConfigEntry, ConfigResource, DescribeConfigsOptions, DescribeTopicsOptions,
    ListTopicsOptions, TopicDescription,
};
use krafka::{Kafka, KrafkaError};

use super::failure::{Link, failure};
use super::outcome::Outcomes;
use super::profile::{self, Profile};
use crate::Failure;
use crate::suggest::{did_you_mean, nearest};

const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);
const BROKERS: &str = "127.0.0.1:9092";

/// Which cluster.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// Brokers to ask first; the environment's MILLRACE_BROKERS where not said [default: 127.0.0.1:9092]
    #[arg(long, short = 'b', value_name = "HOST:PORT,...")]
    brokers: Option<String>,
    /// Profile of brokers, TLS and SASL; the environment's MILLRACE_PROFILE where not said
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// File of the profiles; the environment's MILLRACE_PROFILES where not said [default:
    /// ~/.config/millrace/profiles.toml]
    #[arg(long, value_name = "FILE")]
    profiles: Option<PathBuf>,
}

impl Connection {
    /// The brokers and how to reach them. What was said on the command line
    /// beats the environment; `--brokers` beats the brokers of a profile.
    fn link(&self) -> Result<(Link, Option<krafka::auth::AuthConfig>), Failure> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let name = self.profile.clone().or_else(|| variable("MILLRACE_PROFILE"));
        let profile = match &name {
            None => Profile::default(),
            Some(name) => {
                let file = || variable("MILLRACE_PROFILES").map(PathBuf::from);
                let path = self.profiles.clone().or_else(file).or_else(profile::default_path);
                let path = path.ok_or_else(|| {
                    let why = "--profile: say --profiles FILE where there is no HOME";
                    Failure::Usage(why.to_owned())
                })?;
                profile::load(&path, name)?
            }
        };
        let of_profile = || profile.brokers.as_ref().map(profile::Brokers::joined);
        let brokers = match (&self.brokers, &self.profile) {
            (Some(brokers), _) => Some(brokers.clone()),
            (None, Some(_)) => of_profile().or_else(|| variable("MILLRACE_BROKERS")),
            (None, None) => variable("MILLRACE_BROKERS").or_else(of_profile),
        };
        let security = profile.security(name.as_deref().unwrap_or_default())?;
        let brokers = with_ports(&brokers.unwrap_or_else(|| BROKERS.to_owned()));
        if brokers.is_empty() {
            let why = "no broker is named: say --brokers HOST:PORT, or brokers in the profile";
            return Err(Failure::Usage(why.to_owned()));
        }
        let link = Link { brokers, tls: profile.is_tls(), sasl: profile.is_sasl() };
        Ok((link, security))
    }
}

/// Kafka's usual port where none is said.
fn with_ports(brokers: &str) -> String {
    let with_port = |broker: &str| {
        let broker = broker.trim();
        match broker.matches(':').count() {
            0 => format!("{broker}:9092"),
            1 => broker.to_owned(),
            // An address of IPv6, whose own colons need brackets before a port.
            _ if broker.ends_with(']') => format!("{broker}:9092"),
            _ if broker.contains(']') => broker.to_owned(),
            _ => format!("[{broker}]:9092"),
        }
    };
    brokers.split(',').filter(|b| !b.trim().is_empty()).map(with_port).collect::<Vec<_>>().join(",")
}

/// A cluster that answered.
pub(crate) struct Session {
    pub(crate) kafka: Kafka,
    pub(crate) admin: AdminClient,
    link: Link,
}

impl Session {
    /// Connects, and asks for the cluster's brokers.
    ///
    /// # Errors
    /// No broker answers, or not as a Kafka broker does.
    pub(crate) async fn open(connection: &Connection) -> Result<Self, Failure> {
        let (link, security) = connection.link()?;
        let mut builder = Kafka::builder(&link.brokers)
            .client_id("millrace")
            .connect_timeout(CONNECT)
            .request_timeout(ANSWER);
        if let Some(security) = security {
            builder = builder.security(security);
        }
        // Each of several brokers may take its time: together they may not.
        let connected = tokio::time::timeout(CONNECT + Duration::from_secs(2), builder.connect());
        let kafka = connected
            .await
            .unwrap_or_else(|_| Err(KrafkaError::timeout("connecting")))
            .map_err(|error| failure(&error, &link))?;
        let admin = kafka.admin().default_api_timeout(ANSWER);
        Ok(Self { kafka, admin, link })
    }

    /// What the library's error means, as a sentence.
    pub(crate) fn fail(&self, error: &KrafkaError) -> Failure {
        failure(error, &self.link)
    }

    /// The same, of something that has a name.
    pub(crate) fn fail_of(&self, what: &str, error: &KrafkaError) -> Failure {
        match failure(error, &self.link) {
            Failure::Failed(why) => Failure::Failed(format!("{what}: {why}")),
            other => other,
        }
    }

    /// The names of all topics, in order.
    ///
    /// # Errors
    /// No answer.
    pub(crate) async fn topic_names(&self, internal: bool) -> Result<Vec<String>, Failure> {
        let options = ListTopicsOptions::default().include_internal(internal);
        self.admin.list_topics(options).await.map_err(|error| self.fail(&error))
    }

    /// Describes topics, by name.
    ///
    /// # Errors
    /// No answer, or a topic that went away meanwhile.
    pub(crate) async fn describe(
        &self,
        names: &[String],
    ) -> Result<BTreeMap<String, TopicDescription>, Failure> {
        let answer = self.admin.describe_topics(names, DescribeTopicsOptions::default()).await;
        let mut described = BTreeMap::new();
        for (name, topic) in answer.map_err(|error| self.fail(&error))? {
            let mut topic =
                topic.map_err(|error| self.fail_of(&format!("topic {name}"), &error))?;
            topic.partitions.sort_by_key(|partition| partition.partition);
            described.insert(name, topic);
        }
        Ok(described)
    }

    /// The topic of this name.
    ///
    /// # Errors
    /// There is none: with a guess at what was meant.
    pub(crate) async fn topic(&self, name: &str) -> Result<TopicDescription, Failure> {
        let names = self.topic_names(true).await?;
        if !names.iter().any(|known| known == name) {
            return Err(no_topic(name, &names));
        }
        let described = self.describe(&[name.to_owned()]).await?;
        described.into_values().next().ok_or_else(|| no_topic(name, &names))
    }

    /// A resource's configs in the order of their names.
    ///
    /// # Errors
    /// No answer.
    pub(crate) async fn configs(
        &self,
        resource: ConfigResource,
    ) -> Result<Vec<ConfigEntry>, Failure> {
        let what = resource.name.clone();
        let options =
            DescribeConfigsOptions::default().include_synonyms(true).include_documentation(true);
        let answer = self.admin.describe_configs([resource], options).await;
        let entries = answer.map_err(|error| self.fail(&error))?.into_values().next();
        let mut entries = entries
            .unwrap_or_else(|| Ok(Vec::new()))
            .map_err(|error| self.fail_of(&what, &error))?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// What became of each that was named, from what the brokers answered.
    pub(crate) fn outcomes(
        &self,
        kind: &'static str,
        done: &'static str,
        names: &[String],
        results: &HashMap<String, Result<(), KrafkaError>>,
    ) -> Outcomes {
        let mut outcomes = Outcomes::new(kind, done);
        for name in names {
            let failed = |error| self.fail_of(&format!("{kind} {name}"), error);
            let result = results.get(name).map_or(Ok(&()), Result::as_ref);
            outcomes.add(name, result.map(|()| true).map_err(failed));
        }
        outcomes
    }

    /// Takes leave of the brokers.
    pub(crate) async fn close(self) {
        // It fails only where it was closed before.
        self.admin.close().await.ok();
    }
}

/// There is no such topic.
pub(crate) fn no_topic(name: &str, known: &[String]) -> Failure {
    let guess = did_you_mean(nearest(name, known.iter().map(String::as_str)));
    let help = match guess.is_empty() {
        true if known.is_empty() => "; `millrace topic create` makes one",
        true => "; `millrace topic list` shows those that there are",
        false => "",
    };
    Failure::Failed(format!("there is no topic {name:?}{guess}{help}"))
}

/// `NAME=VALUE` of a flag.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.to_owned()))
        }
        _ => Err(format!("{text:?} is not NAME=VALUE")),
    }
}

/// Appends a guess to an error that a broker gave about configs, from the
/// names that it knows.
pub(crate) fn guess_config<'a>(
    error: Failure,
    asked: impl IntoIterator<Item = &'a str>,
    known: &[ConfigEntry],
) -> Failure {
    let Failure::Failed(said) = &error else { return error };
    if known.is_empty() || said.contains("did you mean") {
        return error;
    }
    let is_known = |name: &str| known.iter().any(|entry| entry.name == name);
    let Some(unknown) = asked.into_iter().find(|name| !is_known(name)) else { return error };
    let guess = did_you_mean(nearest(unknown, known.iter().map(|entry| entry.name.as_str())));
    Failure::Failed(format!("{said}{guess}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_without_a_port_is_on_kafkas() {
        assert_eq!(with_ports("a, b:1,[::1],[::1]:2,"), "a:9092,b:1,[::1]:9092,[::1]:2");
        assert_eq!(with_ports("::1,fe80::2"), "[::1]:9092,[fe80::2]:9092");
    }

    #[test]
    fn a_name_is_not_empty() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(pair("=b").is_err() && pair("a").is_err());
    }
}
