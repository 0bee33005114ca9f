//! Access keys, and where their secrets are: in a file or in a variable,
//! never in a setting, which is shown and logged.

use std::ffi::OsString;
use std::path::PathBuf;

use millrace_cli::suggest::{did_you_mean, nearest};
use millrace_kinesis::{Credentials, Secret};

use super::layers::VARIABLE;
use super::{SettingsError, Value};

/// The members of one credential.
const MEMBERS: [&str; 3] = ["access_key_id", "secret_file", "secret_env"];
/// Longest access key's id, as AWS has it.
const ID_CHARS_MAX: usize = 128;

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In this file, alone.
    File(PathBuf),
    /// In this variable of the environment.
    Variable(String),
}

/// An access key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyRef {
    pub(crate) id: String,
    pub(crate) secret: Place,
}

/// All access keys, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyRefs(pub(crate) Vec<KeyRef>);

impl Value for KeyRefs {
    /// Parses a list of tables in TOML's form.
    fn parse(text: &str) -> Result<Self, String> {
        let form = "write [{access_key_id = \"ID\", secret_file = \"PATH\"}]";
        let parsed: Result<toml::Table, _> = format!("keys = {text}").parse();
        let Some(toml::Value::Array(items)) = parsed.ok().as_mut().and_then(|it| it.remove("keys"))
        else {
            return Err(format!("not a list of tables; {form}"));
        };
        let mut keys: Vec<KeyRef> = Vec::new();
        for item in items {
            let toml::Value::Table(members) = item else {
                return Err(format!("not a list of tables; {form}"));
            };
            let key = KeyRef::read(members)?;
            if keys.iter().any(|known| known.id == key.id) {
                return Err(format!("access key {} is there twice", key.id));
            }
            keys.push(key);
        }
        Ok(Self(keys))
    }
}

impl KeyRef {
    fn read(members: toml::Table) -> Result<Self, String> {
        let mut given = [None, None, None];
        for (name, value) in members {
            let place = MEMBERS.iter().zip(&mut given).find(|(known, _)| **known == name);
            let Some((_, place)) = place else { return Err(unknown(&name)) };
            let toml::Value::String(text) = value else {
                return Err(format!("{name} is not a text"));
            };
            *place = Some(text);
        }
        let [Some(id), file, variable] = given else {
            return Err("a credential has no access_key_id".to_owned());
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if id.is_empty() || id.len() > ID_CHARS_MAX || !id.chars().all(plain) {
            return Err(format!(
                "access_key_id {id:?} is not 1 to {ID_CHARS_MAX} letters and digits"
            ));
        }
        let secret = match (file, variable) {
            (Some(path), None) => Place::File(path.into()),
            (None, Some(name)) if name.starts_with(VARIABLE) => {
                return Err(format!(
                    "secret_env {name}: variables that begin with {VARIABLE} are settings, which are \
                     shown; use another name"
                ));
            }
            (None, Some(name)) => Place::Variable(name),
            _ => return Err(format!("access key {id} needs either secret_file or secret_env")),
        };
        Ok(Self { id, secret })
    }

    fn load(&self, variable: impl Fn(&str) -> Option<OsString>) -> Result<Secret, String> {
        let text = match &self.secret {
            Place::File(path) => {
                let text = std::fs::read_to_string(path);
                text.map_err(|why| format!("the file {}: {why}", path.display()))?
            }
            Place::Variable(name) => {
                let value = variable(name).ok_or(format!("the variable {name} is not set"))?;
                let text = value.into_string();
                text.map_err(|_| format!("the variable {name} is not valid UTF-8"))?
            }
        };
        match text.trim() {
            "" => Err("it is empty".to_owned()),
            secret => Ok(Secret::new(secret)),
        }
    }
}

fn unknown(name: &str) -> String {
    if name.contains("secret") && !name.contains("file") && !name.contains("env") {
        return format!(
            "{name:?}: a secret is not written here; name its file as secret_file or its variable as \
             secret_env"
        );
    }
    let guess = did_you_mean(nearest(name, MEMBERS));
    format!("a credential has no {name:?}{guess}")
}

impl KeyRefs {
    /// Reads the secrets.
    ///
    /// # Errors
    /// The first that can't be read.
    pub(crate) fn load(&self) -> Result<Credentials, SettingsError> {
        let read = |key: &KeyRef| match key.load(|name| std::env::var_os(name)) {
            Ok(secret) => Ok((key.id.clone(), secret)),
            Err(why) => Err(SettingsError::Secret { id: key.id.clone(), why }),
        };
        self.0.iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        KeyRefs::parse(text).unwrap_err()
    }

    #[test]
    fn keys_name_where_their_secrets_are() {
        let keys = KeyRefs::parse(
            "[{access_key_id = \"A\", secret_file = \"/run/a\"}, {access_key_id = \"B\", secret_env = \"B_SECRET\"}]",
        )
        .unwrap();
        let file = KeyRef { id: "A".to_owned(), secret: Place::File("/run/a".into()) };
        let variable = KeyRef { id: "B".to_owned(), secret: Place::Variable("B_SECRET".into()) };
        assert_eq!(keys.0, [file, variable]);
        assert_eq!(KeyRefs::parse("[]").unwrap().0, []);
    }

    #[test]
    fn what_is_no_key_is_refused_with_what_helps() {
        for (text, part) in [
            ("", "write [{access_key_id"),
            ("A", "write [{access_key_id"),
            ("[\"A\"]", "not a list of tables"),
            ("[{}]", "no access_key_id"),
            ("[{access_key_id = \"A\"}]", "needs either secret_file or secret_env"),
            ("[{access_key_id = 1}]", "access_key_id is not a text"),
            ("[{access_key_id = \"a/b\", secret_env = \"B\"}]", "is not 1 to 128 letters"),
            ("[{access_key = \"A\"}]", "no \"access_key\"; did you mean \"access_key_id\"?"),
            ("[{secret_access_key = \"A\"}]", "a secret is not written here"),
            ("[{secret_fle = \"A\"}]", "name its file as secret_file"),
            ("[{access_key_id = \"A\", secret_env = \"MILLRACE_A\"}]", "use another name"),
        ] {
            assert!(refused(text).contains(part), "{text}: {}", refused(text));
        }
        let one = "{access_key_id = \"A\", secret_env = \"S\"}";
        assert!(refused(&format!("[{one}, {one}]")).contains("A is there twice"));
    }

    #[test]
    fn a_secret_is_read_without_the_end_of_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let key = KeyRef { id: "A".to_owned(), secret: Place::File(path.clone()) };
        let none = |_: &str| None;
        assert!(key.load(none).unwrap_err().contains("secret: "));
        std::fs::write(&path, "\n").unwrap();
        assert_eq!(key.load(none).unwrap_err(), "it is empty");
        std::fs::write(&path, "s3cret\n").unwrap();
        assert!(key.load(none).is_ok());
        let key = KeyRef { id: "A".to_owned(), secret: Place::Variable("V".to_owned()) };
        assert!(key.load(|name| (name == "V").then(|| "s".into())).is_ok());
        assert_eq!(key.load(none).unwrap_err(), "the variable V is not set");
    }
}
