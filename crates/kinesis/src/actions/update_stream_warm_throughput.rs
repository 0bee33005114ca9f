//! UpdateStreamWarmThroughput: what an on-demand stream shall be ready for.
//! The log is ready for anything; the number is kept and shown.

use super::{Answer, account_settings};
use crate::call::Call;
use crate::error::Error;
use crate::input::Input;
use crate::stream::Mode;
use crate::value::{Members, Value};

pub(super) async fn run(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let stream = call.stream(input)?;
    let mibps = asked(input).unwrap_or_default();
    check(call, stream.name(), stream.state.mode)?;
    let provisioned = not_on_demand(call, stream.name());
    let changed = call.change(&stream.topic, move |state| {
        if state.mode == Mode::Provisioned {
            return Err(provisioned);
        }
        state.warm_throughput_mibps = Some(mibps);
        Ok(())
    });
    changed.await?;
    Ok(Members::new()
        .text("StreamARN", call.arn(stream.name()))
        .text("StreamName", stream.name().to_owned())
        .with("WarmThroughput", show(mibps))
        .into())
}

/// What a request asks for, in MiB a second.
pub(super) fn asked(input: Input<'_>) -> Option<u32> {
    input.int("WarmThroughputMiBps").map(|mibps| u32::try_from(mibps).unwrap_or(u32::MAX))
}

/// Whether a stream of this mode may have warm throughput.
///
/// # Errors
/// Not a provisioned one, and none without the account's commitment.
pub(super) fn check(call: &Call<'_>, stream: &str, mode: Mode) -> Result<(), Error> {
    if mode == Mode::Provisioned {
        return Err(not_on_demand(call, stream));
    }
    if !account_settings::is_committed(call) {
        let account = &call.settings.account_id;
        return Err(Error::validation(format!(
            "Request is invalid. Warm throughput needs MinimumThroughputBillingCommitment, which \
             is not enabled for account {account}."
        )));
    }
    Ok(())
}

/// `WarmThroughput`: reached at once.
pub(super) fn show(mibps: u32) -> Value<'static> {
    let mibps = || Value::Int(i64::from(mibps));
    Members::new().with("TargetMiBps", mibps()).with("CurrentMiBps", mibps()).done()
}

fn not_on_demand(call: &Call<'_>, stream: &str) -> Error {
    let account = &call.settings.account_id;
    Error::validation(format!(
        "Request is invalid. Stream {stream} under account {account} is in Provisioned mode."
    ))
}
