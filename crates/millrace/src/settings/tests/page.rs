//! docs/configuration.md lists our own settings: rendered here, compared, and
//! written anew with `UPDATE_DOCS=1 cargo test -p millrace page`.

use std::{fmt::Write, fs, path::Path};

use super::TABLE;

const BEGIN: &str = "<!-- begin of the server's settings: written by a test -->\n";
const END: &str = "<!-- end of the server's settings -->\n";

#[test]
fn the_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has the begin mark");
    let (_, after) = rest.split_once(END).expect("the page has the end mark");
    let current = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &current).unwrap();
        return;
    }
    assert!(
        current == page,
        "docs/configuration.md is not current: UPDATE_DOCS=1 cargo test -p millrace page"
    );
}

fn table() -> String {
    let mut out =
        String::from("\n| setting | default | value | what it does | when to change it |\n");
    out.push_str("|---|---|---|---|---|\n");
    for setting in TABLE {
        let (name, default, unit) = (setting.name, setting.default, setting.unit);
        let (doc, when) = (setting.doc, setting.when);
        writeln!(out, "| `{name}` | {default} | {unit} | {doc} | {when} |").unwrap();
    }
    out
}
