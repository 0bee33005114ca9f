//! Tells the binary which commit it is built from, for `--version` and the
//! metric of the build: `MILLRACE_BUILD_COMMIT` where the builder sets it, else
//! what git says, else nothing (sources without a repository).

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=MILLRACE_BUILD_COMMIT");
    // Written at each commit and checkout, also in a worktree.
    if let Some(log) = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    let set = std::env::var("MILLRACE_BUILD_COMMIT").ok();
    let commit = set.or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    println!("cargo::rustc-env=BUILD_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| output.status.success() && !text.is_empty())
}
