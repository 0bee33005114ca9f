use std::process::Command;

use tempfile::TempDir;

use super::*;

/// A certificate of its own for localhost, and its key, made by openssl; `None`
/// where there is none.
pub(in crate::http) fn made() -> Option<(TempDir, PathBuf, PathBuf)> {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let config = dir.path().join("config");
    let own = "subjectAltName = DNS:localhost, IP:127.0.0.1\nbasicConstraints = CA:FALSE";
    let sections =
        format!("[req]\ndistinguished_name = name\nx509_extensions = own\n[name]\n[own]\n{own}\n");
    std::fs::write(&config, sections).unwrap();
    let options =
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost";
    let made = Command::new("openssl")
        .args(options.split(' '))
        .arg("-config")
        .arg(&config)
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output();
    match made {
        Ok(made) if made.status.success() => Some((dir, cert, key)),
        _ => {
            eprintln!("openssl is not here: no certificate to try");
            None
        }
    }
}

fn refused(cert: &Path, key: &Path) -> String {
    acceptor(cert, key).map(drop).unwrap_err().to_string()
}

#[test]
fn what_is_wrong_with_the_files_is_said_by_setting_and_file() {
    let Some((dir, cert, key)) = made() else { return };
    assert!(acceptor(&cert, &key).is_ok());
    let none = dir.path().join("none.pem");
    let message = refused(&none, &key);
    assert!(
        message.starts_with("setting tls_cert: ") && message.contains("none.pem: No such file")
    );
    assert!(refused(&cert, &none).starts_with("setting tls_key: "));
    let swapped = refused(&key, &cert);
    assert!(swapped.ends_with("key.pem: there is no certificate in PEM form in it"), "{swapped}");
    let message = refused(&cert, &cert);
    assert!(message.ends_with("cert.pem: there is no private key in PEM form in it"), "{message}");
    let Some((_dir, _, other)) = made() else { return };
    let message = refused(&cert, &other);
    assert!(message.contains("is not that of the first certificate in"), "{message}");
    let broken = dir.path().join("broken.pem");
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .unwrap();
    assert!(refused(&broken, &key).starts_with("settings tls_cert and tls_key: "));
}
