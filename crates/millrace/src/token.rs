//! `admin.token`: the secret by which a command of this machine shows that it
//! may read the data directory.
//!
//! Loopback addresses are reached by every user of the machine, and by web
//! pages in their browsers. Invariant: the file is readable by its owner alone
//! from its first byte on, and each server makes a new secret.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::endpoints::remove_file;

/// The file in the data directory.
pub(crate) const NAME: &str = "admin.token";
const UNFINISHED: &str = "admin.token.tmp";

/// A secret of this life of the server.
pub(crate) struct Token(String);

impl Token {
    /// Makes one, and leaves it in `dir` for who may read it.
    ///
    /// # Errors
    /// What the file system, or the source of random numbers, says.
    pub(crate) fn make(dir: &Path) -> io::Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = dir.join(UNFINISHED);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        writeln!(file, "{secret}")?;
        fs::rename(path, dir.join(NAME))?;
        Ok(Self(secret))
    }

    /// The one that a server left in `dir`.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn read(dir: &Path) -> io::Result<Self> {
        Ok(Self(fs::read_to_string(dir.join(NAME))?.trim_end().to_owned()))
    }

    /// The header `Authorization` that shows it.
    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether that header shows it. Takes as long for a good guess as for a
    /// bad one.
    pub(crate) fn is_shown(&self, header: &[u8]) -> bool {
        let wanted = self.header();
        let differ = header.iter().zip(wanted.as_bytes()).fold(0, |all, (a, b)| all | (a ^ b));
        header.len() == wanted.len() && differ == 0
    }
}

/// Removes the file, if there is one.
///
/// # Errors
/// What the file system says.
pub(crate) fn remove(dir: &Path) -> io::Result<()> {
    remove_file(&dir.join(NAME))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_is_its_owners_and_new_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = Token::make(dir.path()).unwrap();
        let mode = fs::metadata(dir.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = Token::read(dir.path()).unwrap();
        assert!(first.is_shown(read.header().as_bytes()));
        let second = Token::make(dir.path()).unwrap();
        assert!(!second.is_shown(first.header().as_bytes()));
        for wrong in ["", "Bearer ", "Bearer 0", &first.header().replace("Bearer", "bearer")] {
            assert!(!first.is_shown(wrong.as_bytes()), "{wrong}");
        }
        remove(dir.path()).unwrap();
        remove(dir.path()).unwrap();
        assert!(Token::read(dir.path()).is_err());
    }
}
