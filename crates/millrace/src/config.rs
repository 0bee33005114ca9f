//! `millrace config`: what the server would be told, before it is started.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use millrace_cli::suggest::{did_you_mean, nearest};
use millrace_cli::terminal::{Failure, Out, Side, Table, Tone, toned};
use serde::Serialize;

use crate::cli::SettingsArgs;
use crate::serve::{self, ServeError};
use crate::settings::{KAFKA, Known, Layers, Source, environment_name, known};

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say whether the server would start with these settings, and all that is wrong with them
    ///
    /// Takes what `millrace serve` takes: a file, MILLRACE_ variables and flags. Reads the files that
    /// settings name (certificates, secrets); touches no data.
    #[command(after_long_help = "Examples:\n  millrace config check millrace.toml\n  \
        MILLRACE_FLUSH=os millrace config check --set cache_bytes=1073741824")]
    Check(CheckArgs),
    /// Show the settings that the server would have, each with where it comes from
    ///
    /// Without names: those that were given somewhere. What was changed while a server runs (as by
    /// `millrace cluster config set`) is shown by `millrace cluster config get`.
    #[command(after_long_help = "Examples:\n  millrace config show --config millrace.toml\n  \
        millrace config show flush kafka.num.partitions\n  millrace config show --all --json")]
    Show(ShowArgs),
    /// Print every setting with its default, as a TOML file to begin with
    #[command(after_long_help = "Examples:\n  millrace config defaults > millrace.toml\n  \
        millrace config defaults --json")]
    Defaults(DefaultsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// TOML file of settings, as --config names it
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingsArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Settings to show whole: what each does, its unit, its default and when to change it
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    settings: SettingsArgs,
    /// Those with their default too
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DefaultsArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check(args) => check(args),
        ConfigCommand::Show(args) => show(&args),
        ConfigCommand::Defaults(args) => defaults(&args),
    }
}

#[derive(Serialize)]
struct Checked {
    good: bool,
    mistakes: Vec<String>,
}

fn check(mut args: CheckArgs) -> Result<(), Failure> {
    args.settings.config = args.settings.config.or(args.file);
    let checked = args.settings.layers().map_err(ServeError::from);
    let checked = checked.and_then(|layers| serve::prepare(&layers).map(|_| layers));
    let mut out = Out::stdout(args.json);
    if out.is_json() {
        let mistakes = match &checked {
            Ok(_) => Vec::new(),
            Err(ServeError::Settings(mistakes)) => mistakes.each().collect(),
            Err(error) => vec![error.to_string()],
        };
        out.json(&Checked { good: mistakes.is_empty(), mistakes })?;
        out.flush()?;
    }
    let layers = checked?;
    if !out.is_json() {
        let given = known::all().filter(|setting| layers.given(&setting.key).is_some()).count();
        let good = toned(Tone::Good, "good");
        out.line(format!("{good}: the server would start with these settings ({given} given)"))?;
    }
    out.flush()
}

/// A setting with the value that it would have.
#[derive(Serialize)]
struct Shown {
    setting: String,
    /// `None` where it is not set and has no default.
    value: Option<String>,
    /// `default`, `file`, `environment` or `flag`.
    source: &'static str,
    /// The file's path, or the variable's name.
    from: Option<String>,
    default: Option<&'static str>,
    unit: String,
    variable: String,
    does: String,
    change: String,
}

impl Shown {
    fn new(known: Known, layers: &Layers) -> Self {
        let given = layers.given(&known.key);
        let (source, from) = match given {
            None | Some((_, Source::Default)) => ("default", None),
            Some((_, Source::File(path))) => ("file", Some(path.display().to_string())),
            Some((_, Source::Environment(name))) => ("environment", Some(name.clone())),
            Some((_, Source::Flag)) => ("flag", None),
        };
        let value = given.map(|(text, _)| text.to_owned());
        let value = value.map(|text| if known.sensitive { "(hidden)".to_owned() } else { text });
        Self {
            value: value.or_else(|| known.default.map(str::to_owned)),
            source,
            from,
            default: known.default,
            unit: known.unit,
            variable: environment_name(&known.key),
            setting: known.key,
            does: known.doc,
            change: known.when,
        }
    }

    fn origin(&self) -> String {
        match &self.from {
            Some(from) => format!("{} {from}", self.source),
            None => self.source.to_owned(),
        }
    }
}

/// What is not set is said to be so.
fn text_of(value: Option<&str>) -> &str {
    match value {
        None => "(not set)",
        Some("") => "(empty)",
        Some(text) => text,
    }
}

fn show(args: &ShowArgs) -> Result<(), Failure> {
    let layers = args.settings.layers().map_err(ServeError::from)?;
    let mut shown: Vec<Shown> = known::all().map(|known| Shown::new(known, &layers)).collect();
    if !args.names.is_empty() {
        for name in &args.names {
            find(name, &shown)?;
        }
        shown.retain(|shown| args.names.iter().any(|name| is_named(name, shown)));
    } else if !args.all {
        shown.retain(|shown| shown.source != "default");
    }
    let mut out = Out::stdout(args.json);
    if out.is_json() {
        out.json(&shown)?;
    } else if !args.names.is_empty() {
        for shown in &shown {
            details(shown, &mut out)?;
        }
    } else if shown.is_empty() {
        out.line("every setting has its default; --all shows them")?;
    } else {
        let mut table = Table::new([
            ("setting", Side::Left),
            ("value", Side::Left),
            ("source", Side::Left),
            ("default", Side::Left),
        ]);
        for shown in &shown {
            let origin = shown.origin();
            let (value, default) = (text_of(shown.value.as_deref()), text_of(shown.default));
            table.row([shown.setting.as_str(), value, &origin, default]);
        }
        out.table(&table)?;
    }
    out.flush()
}

/// A setting is found by its key, and Kafka's by their own names as well.
fn is_named(name: &str, shown: &Shown) -> bool {
    shown.setting == name || shown.setting.strip_prefix(KAFKA) == Some(name)
}

fn find(name: &str, settings: &[Shown]) -> Result<(), Failure> {
    if settings.iter().any(|shown| is_named(name, shown)) {
        return Ok(());
    }
    let known = settings.iter().map(|shown| shown.setting.as_str());
    let guess = nearest(name, known.clone())
        .or_else(|| nearest(name, known.filter_map(|key| key.strip_prefix(KAFKA))));
    Err(Failure::Usage(format!("there is no setting {name:?}{}", did_you_mean(guess))))
}

fn details(shown: &Shown, out: &mut Out) -> Result<(), Failure> {
    let Shown { setting, unit, variable, does, change, .. } = shown;
    let value = text_of(shown.value.as_deref());
    out.line(toned(Tone::Strong, setting))?;
    out.line(format!("  {does}"))?;
    out.line(format!("  value           {value} ({})", shown.origin()))?;
    out.line(format!("  default         {}", text_of(shown.default)))?;
    out.line(format!("  takes           {unit}"))?;
    out.line(format!("  variable        {variable}"))?;
    out.line(format!("  when to change  {change}"))
}

fn defaults(args: &DefaultsArgs) -> Result<(), Failure> {
    let mut out = Out::stdout(args.json);
    if out.is_json() {
        let nothing = Layers::default();
        let all: Vec<Shown> = known::all().map(|known| Shown::new(known, &nothing)).collect();
        out.json(&all)?;
    } else {
        out.line(template().trim_end())?;
    }
    out.flush()
}

/// A file in which each setting stands with its default, as a comment.
fn template() -> String {
    let mut text = String::from(
        "# Settings of Millrace with their defaults: take the # before a name away where you change its value.\n\
         # millrace config check FILE says whether the server would start with it.\n",
    );
    let mut settings: Vec<Known> = known::all().collect();
    // What stands in no table has to come before the first.
    settings.sort_by_key(|known| (known.key.contains('.'), known.key.starts_with(KAFKA)));
    let mut table = "";
    for known in &settings {
        let (of, name) = table_and_name(&known.key);
        if of != table {
            text.push_str(&format!("\n[{of}]\n"));
            table = of;
        }
        let name = if name.contains('.') { format!("{name:?}") } else { name.to_owned() };
        let value = match known.default {
            Some(text) => toml_value(text),
            None => "\"\" # not set by default".to_owned(),
        };
        let Known { doc, unit, when, .. } = known;
        text.push_str(&format!(
            "\n# {doc}\n# Takes: {unit}. When to change it: {when}\n#{name} = {value}\n"
        ));
    }
    text
}

/// The table of the file in which a setting stands, and its name there.
fn table_and_name(key: &str) -> (&str, &str) {
    key.split_once('.').unwrap_or(("", key))
}

/// As a person would write it in the file.
fn toml_value(text: &str) -> String {
    let bare = text.parse::<i64>().is_ok() || matches!(text, "true" | "false" | "[]");
    if bare { text.to_owned() } else { toml::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The template without the marks before names that have a default.
    fn uncommented() -> String {
        let lines = template();
        let lines = lines.lines().filter(|line| !line.ends_with("# not set by default"));
        let names = lines.map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => rest,
            _ => line,
        });
        names.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_template_says_nothing_until_it_is_changed() {
        let mut layers = Layers::default();
        layers.toml(&template(), Path::new("millrace.toml")).unwrap();
        assert!(known::all().all(|known| layers.given(&known.key).is_none()));
    }

    #[test]
    fn the_template_holds_every_default() {
        let mut layers = Layers::default();
        layers.toml(&uncommented(), Path::new("millrace.toml")).unwrap();
        for Known { key, default, .. } in known::all() {
            let given = layers.given(&key).map(|(text, _)| text);
            assert_eq!(given, default, "{key}");
        }
        serve::prepare(&layers).unwrap();
    }
}
