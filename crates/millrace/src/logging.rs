//! The log on standard error: text for people, JSON for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::settings::LogFormat;

/// Starts logging.
///
/// # Errors
/// A level that is none, as text for the person who set `log_level`.
pub(crate) fn start(format: LogFormat, level: &str) -> Result<(), String> {
    let filter = filter(level)?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).init(),
        LogFormat::Text => log.with_ansi(coloured()).init(),
    }
    Ok(())
}

/// What is logged.
///
/// # Errors
/// As [`start`].
pub(crate) fn filter(level: &str) -> Result<EnvFilter, String> {
    let filter = EnvFilter::builder().parse(level);
    filter.map_err(|why| format!("setting log_level: {level:?}: {why}"))
}

/// Colours only on a terminal, and not against <https://no-color.org>.
fn coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}
