//! Addresses to listen on and to be told to clients.
//!
//! Invariant: what is open to other machines without authentication is so
//! because somebody wrote `insecure_no_auth`; and a client is never told an address that can't be
//! connected to.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::{Own, SettingsError, Value};

/// The name of the one listener that needs none.
const DEFAULT_NAME: &str = "default";

/// A host (name or IP address) and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    /// Without the brackets of IPv6.
    pub(crate) host: String,
    /// 0 in an address to bind means any free one.
    pub(crate) port: u16,
}

impl HostPort {
    fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Whether it stands for every interface.
    fn is_wildcard(&self) -> bool {
        self.ip().is_some_and(|ip| ip.is_unspecified())
    }

    /// Whether only this machine can reach it. A name counts only if it is
    /// `localhost`: what others resolve to is not ours to promise.
    fn is_loopback(&self) -> bool {
        match self.ip() {
            Some(ip) => ip.to_canonical().is_loopback(),
            None => self.host.eq_ignore_ascii_case("localhost"),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Value for HostPort {
    fn parse(text: &str) -> Result<Self, String> {
        let (host, port) = split(text);
        let Some(port) = port else {
            return Err(format!("{text:?} has no port; write HOST:PORT"));
        };
        Ok(Self { host: host_of(host, text)?, port: port_of(port, text)? })
    }
}

/// Host and port of `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`.
fn split(text: &str) -> (&str, Option<&str>) {
    if text.ends_with(']') {
        return (text, None);
    }
    match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    }
}

fn host_of(host: &str, whole: &str) -> Result<String, String> {
    if let Some(v6) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match v6.parse::<std::net::Ipv6Addr>() {
            Ok(_) => Ok(v6.to_owned()),
            Err(_) => Err(format!("{whole:?}: {v6:?} is not an IPv6 address")),
        };
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match host {
        "" => Err(format!("{whole:?} has no host; write HOST:PORT")),
        _ if host.contains(':') => {
            Err(format!("{whole:?}: write an IPv6 address in brackets, [::1]:9092"))
        }
        _ if host.chars().all(plain) => Ok(host.to_owned()),
        _ => Err(format!("{whole:?}: {host:?} is neither a host name nor an address")),
    }
}

fn port_of(port: &str, whole: &str) -> Result<u16, String> {
    port.parse().map_err(|_| format!("{whole:?}: {port:?} is not a port (0 to 65535)"))
}

/// What clients are told instead of the address that is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Advertised {
    host: String,
    /// The port that was bound where none is given.
    port: Option<u16>,
}

impl Advertised {
    fn parse(text: &str) -> Result<Self, String> {
        let (host, port) = split(text);
        let port = port.map(|port| port_of(port, text)).transpose()?;
        let address = Self { host: host_of(host, text)?, port: port.filter(|port| *port != 0) };
        if address.at(0).is_wildcard() {
            return Err(format!("{text:?} can't be advertised: clients can't connect to it"));
        }
        Ok(address)
    }

    fn at(&self, bound: u16) -> HostPort {
        HostPort { host: self.host.clone(), port: self.port.unwrap_or(bound) }
    }
}

/// One address for Kafka clients: `[NAME=]ADDRESS[@ADVERTISED]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KafkaListen {
    pub(crate) name: String,
    pub(crate) bind: HostPort,
    pub(crate) advertised: Option<Advertised>,
}

impl KafkaListen {
    fn parse(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('=').unwrap_or((DEFAULT_NAME, text));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.is_empty() || !name.chars().all(plain) {
            return Err(format!("{text:?}: a listener is named with letters, digits, - and _"));
        }
        let (bind, advertised) = match rest.split_once('@') {
            Some((bind, advertised)) => (bind, Some(Advertised::parse(advertised)?)),
            None => (rest, None),
        };
        let bind = HostPort::parse(bind)?;
        if bind.is_wildcard() && advertised.is_none() {
            return Err(format!(
                "{text:?} listens on every interface but does not say by which address clients come \
                 back; write --kafka-listen {text}@HOST:{}",
                bind.port
            ));
        }
        Ok(Self { name: name.to_owned(), bind, advertised })
    }

    /// This listener once it is bound.
    pub(crate) fn bound(&self, address: SocketAddr) -> BoundKafka {
        let advertised = match &self.advertised {
            Some(advertised) => advertised.at(address.port()),
            None => HostPort { host: self.bind.host.clone(), port: address.port() },
        };
        BoundKafka { name: self.name.clone(), address, advertised }
    }
}

/// A listener that is bound: what is listened on, and what clients are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BoundKafka {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) advertised: HostPort,
}

/// All addresses for Kafka clients, at least one, with distinct names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KafkaListens(pub(crate) Vec<KafkaListen>);

impl Value for KafkaListens {
    fn parse(text: &str) -> Result<Self, String> {
        let mut all: Vec<KafkaListen> = Vec::new();
        for one in text.split(',').map(str::trim) {
            let one = KafkaListen::parse(one)?;
            if all.iter().any(|known| known.name == one.name) {
                return Err(format!(
                    "two listeners are named {:?}; name them, such as {}={}",
                    one.name, "internal", one.bind
                ));
            }
            all.push(one);
        }
        Ok(Self(all))
    }
}

/// One address for HTTP: `[http://|https://]HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpListen {
    /// Whether it is `https://`.
    pub(crate) tls: bool,
    pub(crate) bind: HostPort,
}

impl HttpListen {
    fn parse(text: &str) -> Result<Self, String> {
        let (tls, rest) = match text.split_once("://") {
            None => (false, text),
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some((other, _)) => {
                return Err(format!("{text:?}: {other:?} is neither http nor https"));
            }
        };
        Ok(Self { tls, bind: HostPort::parse(rest.strip_suffix('/').unwrap_or(rest))? })
    }
}

/// An address for HTTP that is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BoundHttp {
    pub(crate) tls: bool,
    pub(crate) address: SocketAddr,
}

impl fmt::Display for BoundHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.address)
    }
}

/// All addresses for HTTP, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpListens(pub(crate) Vec<HttpListen>);

impl Value for HttpListens {
    fn parse(text: &str) -> Result<Self, String> {
        text.split(',').map(|one| HttpListen::parse(one.trim())).collect::<Result<_, _>>().map(Self)
    }
}

/// Refuses TLS without what it takes, and addresses that others can reach
/// unless they have to say who they are, or somebody asked for it.
pub(super) fn check(own: &Own) -> Result<(), SettingsError> {
    let tls = own.http_listen.0.iter().find(|listen| listen.tls);
    let lacks = |setting| tls.map(|listen| (setting, listen.bind.to_string()));
    let cert = lacks("tls_cert").filter(|_| own.tls_cert.is_none());
    let key = lacks("tls_key").filter(|_| own.tls_key.is_none());
    if let Some((setting, address)) = cert.or(key) {
        return Err(SettingsError::NoTls { setting, address });
    }
    if own.insecure_no_auth {
        return Ok(());
    }
    let open = |setting, address: &HostPort, there, instead| {
        Err(SettingsError::Open { setting, address: address.to_string(), there, instead })
    };
    if let Some(address) = kafka_addresses(own).find(|address| !address.is_loopback()) {
        return open("kafka_listen", &address, "of Kafka's clients yet", "");
    }
    match http_addresses(own).find(|address| !address.is_loopback()) {
        Some(address) if own.kinesis_credentials.0.is_empty() => {
            open("http_listen", address, "without credentials", "set kinesis.credentials, ")
        }
        _ => Ok(()),
    }
}

fn kafka_addresses(own: &Own) -> impl Iterator<Item = HostPort> {
    own.kafka_listen.0.iter().flat_map(|listen| {
        let advertised = listen.advertised.as_ref().map(|address| address.at(listen.bind.port));
        std::iter::once(listen.bind.clone()).chain(advertised)
    })
}

fn http_addresses(own: &Own) -> impl Iterator<Item = &HostPort> {
    own.http_listen.0.iter().map(|listen| &listen.bind)
}

impl Own {
    /// Whether anything is open to other machines without their having to say
    /// who they are: a standing warning.
    pub(crate) fn open_to_others(&self) -> bool {
        kafka_addresses(self).any(|address| !address.is_loopback())
            || (http_addresses(self).any(|address| !address.is_loopback())
                && (self.insecure_no_auth || self.kinesis_credentials.0.is_empty()))
    }
}
