//! The limit of open files: each connection and each log file in use is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Fewer than this and thousands of connections won't fit.
const FEW: u64 = 16_384;

/// Raises the soft limit to the hard one and says so if that is little.
pub(crate) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    // None means that there is no limit.
    if let Some(limit) = limit.filter(|limit| *limit < FEW) {
        tracing::warn!(
            limit,
            "few files may be open: raise the hard limit (ulimit -Hn, LimitNOFILE=) for more connections"
        );
    }
}
