//! docs/commands has a page for each command, written from its help: compared,
//! and written anew with `UPDATE_DOCS=1`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};

use super::Cli;

/// Columns of the help on a page.
const WIDTH: usize = 120;

#[test]
fn the_pages_are_current() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/commands");
    let mut root = Cli::command().term_width(WIDTH);
    root.build();
    let commands: Vec<&Command> =
        root.get_subcommands().filter(|command| command.get_name() != "help").collect();
    let mut expected = BTreeSet::from([dir.join("README.md")]);
    check(&dir.join("README.md"), &index(&commands));
    for command in commands {
        let path = dir.join(format!("{}.md", command.get_name()));
        check(&path, &page(command));
        expected.insert(path);
    }
    let there: BTreeSet<PathBuf> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(there, expected, "pages of commands that are gone");
}

fn check(path: &Path, current: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, current).unwrap();
    }
    let page = fs::read_to_string(path).unwrap_or_default();
    assert!(
        page == current,
        "{path:?} is not current: UPDATE_DOCS=1 cargo test -p millrace the_pages_are_current"
    );
}

fn index(commands: &[&Command]) -> String {
    let mut text = String::from(
        "# Commands\n\n\
         What `millrace COMMAND --help` says of each, written by a test.\n\n\
         | command | what it does |\n|---|---|\n",
    );
    for command in commands {
        let name = command.get_name();
        text.push_str(&format!("| [`millrace {name}`]({name}.md) | {} |\n", about(command)));
    }
    text.push_str(
        "\nExit codes are the same everywhere: 0 done, 1 failed, 2 asked for something that can't be (usage,\n\
         settings). Answers go to standard output, everything else to standard error. Where `--json` can be said the page\n\
         tells the shape of what it prints; what failed stands in it beside what was done, and the exit code is the same.\n",
    );
    text
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

fn page(command: &Command) -> String {
    let mut text = format!("# millrace {}\n", command.get_name());
    describe(command, &mut text);
    text
}

/// The command's help, and that of those below it.
fn describe(command: &Command, text: &mut String) {
    let mut shown = command.clone().disable_help_subcommand(true).term_width(WIDTH);
    // What the environment of the test holds is nobody's default.
    shown = shown.mut_args(|argument| argument.hide_env_values(true));
    let help = shown.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    text.push_str(&format!("\n```text\n{}\n```\n", help.join("\n").trim_end()));
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        let name = below.get_bin_name().unwrap_or_else(|| below.get_name());
        text.push_str(&format!("\n## {name}\n"));
        describe(below, text);
    }
}
