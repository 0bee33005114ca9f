//! docs/configuration.md lists the registry: rendered here, compared, and
//! written anew with `UPDATE_DOCS=1`.

use std::{collections::BTreeMap, fmt::Write};

use super::super::*;
use crate::testing::check_settings_page;

const SECTIONS: &[(&str, Scope)] = &[
    ("Broker settings", Scope::Broker),
    ("Topic settings", Scope::Topic),
    ("Group settings", Scope::Group),
    ("Client metrics settings", Scope::ClientMetrics),
];

#[test]
fn the_page_is_current() {
    check_settings_page("Kafka's settings", &tables());
}

fn tables() -> String {
    let mut out = String::new();
    for (title, scope) in SECTIONS {
        let mut settings = settings(*scope);
        settings.sort_by_key(|setting| setting.name);
        settings.retain(|setting| !setting.internal || setting.meaning == Meaning::Used);
        let (kept, used): (Vec<_>, Vec<_>) =
            settings.into_iter().partition(|s| matches!(s.meaning, Meaning::Kept(_)));
        writeln!(out, "\n### {title}\n").unwrap();
        if !used.is_empty() {
            used_table(&mut out, *scope, &used);
        }
        kept_table(&mut out, &kept);
    }
    out
}

fn used_table(out: &mut String, scope: Scope, used: &[&Setting]) {
    writeln!(out, "| setting | default | unit | values | while running | what it does |").unwrap();
    writeln!(out, "|---|---|---|---|---|---|").unwrap();
    for setting in used {
        let changes = match (scope, setting.update, setting.meaning) {
            (_, _, Meaning::Given(_)) => "shown only",
            (Scope::Broker, Update::ReadOnly, _) => "no",
            _ => "yes",
        };
        let (name, unit, values) = (setting.name, unit(setting), cell(&setting.check.to_string()));
        let (default, doc) = (default(setting), cell(&describe::documentation(setting)));
        let synonym = setting.broker.filter(|broker| *broker != name);
        let falls_back = synonym.map(|broker| format!(" Falls back on `{broker}`."));
        let doc = format!("{doc}{}", falls_back.unwrap_or_default());
        writeln!(out, "| `{name}` | {default} | {unit} | {values} | {changes} | {doc} |").unwrap();
    }
}

fn kept_table(out: &mut String, kept: &[&Setting]) {
    writeln!(out, "\nAccepted, kept and shown, without a meaning here:\n").unwrap();
    writeln!(out, "| why | settings, with their defaults |").unwrap();
    writeln!(out, "|---|---|").unwrap();
    let mut reasons = BTreeMap::<&str, Vec<String>>::new();
    for setting in kept {
        let Meaning::Kept(why) = setting.meaning else { continue };
        let unit = unit(setting);
        let unit = if unit.is_empty() { unit.to_owned() } else { format!(" {unit}") };
        let line = format!("`{}` ({}{unit})", setting.name, default(setting));
        reasons.entry(why).or_default().push(line);
    }
    for (why, settings) in reasons {
        writeln!(out, "| {} | {} |", cell(why), settings.join(", ")).unwrap();
    }
}

fn default(setting: &Setting) -> String {
    match setting.default {
        None => "none".into(),
        Some("") => "empty".into(),
        Some(text) => cell(text),
    }
}

/// The unit, where the name does not end with it.
fn unit(setting: &Setting) -> &'static str {
    let unit = setting.unit();
    if setting.name.ends_with(unit) { "" } else { unit }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
