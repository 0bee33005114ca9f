//! docs/configuration.md lists our own settings: rendered here, compared, and
//! written anew with `UPDATE_DOCS=1`.

use std::fmt::Write;

use millrace_broker::testing::check_settings_page;

use super::TABLE;

#[test]
fn the_page_is_current() {
    check_settings_page("the server's settings", &table());
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
