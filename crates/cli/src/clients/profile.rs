//! Profiles: how to reach a cluster, by a name, in a TOML file. A password is
//! never in it: it stands in a file of its own or in a variable.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use krafka::auth::{AuthConfig, TlsConfig};
use serde::Deserialize;

use crate::Failure;
use crate::suggest::{did_you_mean, nearest};

/// A table of the file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    pub(crate) brokers: Option<Brokers>,
    #[serde(default)]
    tls: bool,
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    sasl_mechanism: Option<Mechanism>,
    sasl_user: Option<String>,
    sasl_password_file: Option<PathBuf>,
    sasl_password_env: Option<String>,
}

/// One text with commas, or a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Brokers {
    Text(String),
    List(Vec<String>),
}

impl Brokers {
    pub(crate) fn joined(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::List(list) => list.join(","),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Mechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    #[serde(rename = "OAUTHBEARER")]
    OauthBearer,
}

/// Where the file is unless `--profiles` says another place.
pub(crate) fn default_path() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".config"));
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home)?;
    Some(config.join("millrace/profiles.toml"))
}

/// The profile of this name.
///
/// # Errors
/// A file that can't be read or holds something else, a name that isn't there.
pub(crate) fn load(path: &Path, name: &str) -> Result<Profile, Failure> {
    let said = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::Usage(format!(
            "profile {name:?}: can't read {said}: {error}; --profiles names another file"
        ))
    })?;
    let profiles: BTreeMap<String, Profile> = toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map(|before| format!(", line {}", before.matches('\n').count() + 1));
        Failure::Usage(format!("{said}{}: {}", line.unwrap_or_default(), error.message()))
    })?;
    profiles.get(name).cloned().ok_or_else(|| {
        let guess = did_you_mean(nearest(name, profiles.keys().map(String::as_str)));
        Failure::Usage(format!("{said} has no profile {name:?}{guess}"))
    })
}

impl Profile {
    /// TLS and SASL, as the client library takes them; `None` for neither.
    ///
    /// # Errors
    /// Settings that don't go together, a password that can't be read.
    pub(crate) fn security(&self, name: &str) -> Result<Option<AuthConfig>, Failure> {
        let wrong = |why: &str| Failure::Usage(format!("profile {name:?}: {why}"));
        let tls = self.tls.then(|| self.tls_config()).transpose().map_err(|why| wrong(&why))?;
        if !self.tls && (self.ca_file.is_some() || self.cert_file.is_some()) {
            return Err(wrong("ca_file and cert_file need tls = true"));
        }
        let sasl = match self.sasl_mechanism {
            Some(mechanism) => Some(self.sasl(mechanism).map_err(|why| wrong(&why))?),
            None if self.sasl_user.is_some() => {
                return Err(wrong("sasl_user needs sasl_mechanism, such as \"SCRAM-SHA-512\""));
            }
            None => None,
        };
        Ok(match (sasl, tls) {
            (Some(sasl), Some(tls)) => Some(sasl.with_tls(tls)),
            (Some(sasl), None) => Some(sasl),
            (None, Some(tls)) => Some(AuthConfig::ssl(tls)),
            (None, None) => None,
        })
    }

    /// Whether connections are encrypted.
    pub(crate) const fn is_tls(&self) -> bool {
        self.tls
    }

    /// Whether somebody is named.
    pub(crate) const fn is_sasl(&self) -> bool {
        self.sasl_mechanism.is_some()
    }

    fn tls_config(&self) -> Result<TlsConfig, String> {
        let text = |path: &Path| {
            let text = path.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()))?;
            std::fs::metadata(path).map_err(|error| format!("can't read {text}: {error}"))?;
            Ok::<_, String>(text.to_owned())
        };
        let mut tls = TlsConfig::new();
        if let Some(ca) = &self.ca_file {
            tls = tls.with_ca_cert(text(ca)?);
        }
        match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => Ok(tls.with_client_cert(text(cert)?, text(key)?)),
            (None, None) => Ok(tls),
            _ => Err("cert_file and key_file go together".to_owned()),
        }
    }

    fn sasl(&self, mechanism: Mechanism) -> Result<AuthConfig, String> {
        let password = match (&self.sasl_password_file, &self.sasl_password_env) {
            (Some(file), None) => std::fs::read_to_string(file)
                .map_err(|error| {
                    format!("sasl_password_file: can't read {}: {error}", file.display())
                })?
                .trim_end_matches(['\r', '\n'])
                .to_owned(),
            (None, Some(variable)) => std::env::var(variable)
                .map_err(|_| format!("sasl_password_env: the variable {variable} is not set"))?,
            _ => return Err("say either sasl_password_file or sasl_password_env".to_owned()),
        };
        let user = || self.sasl_user.clone().ok_or_else(|| "sasl_user is missing".to_owned());
        Ok(match mechanism {
            Mechanism::Plain => AuthConfig::sasl_plain(user()?, password),
            Mechanism::ScramSha256 => AuthConfig::sasl_scram_sha256(user()?, password),
            Mechanism::ScramSha512 => AuthConfig::sasl_scram_sha512(user()?, password),
            Mechanism::OauthBearer => AuthConfig::sasl_oauthbearer(password),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn refusal(text: &str, name: &str) -> String {
        let file = file(text);
        let loaded = load(file.path(), name);
        let refused = loaded.and_then(|profile| profile.security(name).map(drop)).unwrap_err();
        assert_eq!(refused.exit_code(), 2);
        refused.to_string()
    }

    #[test]
    fn a_profile_names_brokers_tls_and_a_password_beside_it() {
        let password = file("hunter2\n");
        let text = format!(
            "[prod]\nbrokers = [\"a:9093\", \"b:9093\"]\ntls = true\nsasl_mechanism = \"SCRAM-SHA-512\"\n\
             sasl_user = \"app\"\nsasl_password_file = {:?}\n[dev]\nbrokers = \"c:9092\"\n",
            password.path()
        );
        let profiles = file(&text);
        let prod = load(profiles.path(), "prod").unwrap();
        assert_eq!(prod.brokers.as_ref().unwrap().joined(), "a:9093,b:9093");
        let security = prod.security("prod").unwrap().unwrap();
        assert!(security.requires_tls() && security.requires_sasl());
        assert_eq!(security.scram_credentials().unwrap().password, "hunter2");
        let dev = load(profiles.path(), "dev").unwrap();
        assert!(dev.security("dev").unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(
            refusal("[prod]\n", "prd").ends_with("has no profile \"prd\"; did you mean \"prod\"?")
        );
        assert!(refusal("[a]\nbroker = 1\n", "a").contains("unknown field `broker`"));
        let said = refusal("[a]\nsasl_mechanism = \"PLAIN\"\nsasl_user = \"u\"\n", "a");
        assert!(said.ends_with("say either sasl_password_file or sasl_password_env"), "{said}");
        assert!(
            refusal("[a]\ntls = true\nca_file = \"/nowhere\"\n", "a")
                .contains("can't read /nowhere")
        );
        assert!(refusal("[a]\nca_file = \"/nowhere\"\n", "a").contains("need tls = true"));
    }
}
