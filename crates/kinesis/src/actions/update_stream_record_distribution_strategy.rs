//! UpdateStreamRecordDistributionStrategy: who chooses the shard of a record.

use super::Answer;
use crate::call::Call;
use crate::error::Error;
use crate::input::Input;
use crate::stream::{DISTRIBUTION_AUTO, Mode};

pub(super) async fn run(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let stream = call.stream(input)?;
    let strategy = input.required("RecordDistributionStrategy").to_owned();
    let name = stream.name().to_owned();
    let changed = call.change(&stream.topic, move |state| {
        check(&name, state.mode, &strategy)?;
        // A provisioned stream knows one, and keeps nothing.
        state.distribution = (state.mode == Mode::OnDemand).then_some(strategy);
        Ok(())
    });
    changed.await?;
    Ok(Answer::Empty)
}

/// Whether a stream of this mode may have that strategy.
pub(super) fn check(stream: &str, mode: Mode, strategy: &str) -> Result<(), Error> {
    if mode == Mode::Provisioned && strategy == DISTRIBUTION_AUTO {
        return Err(Error::invalid(format!(
            "Stream {stream} is in Provisioned mode, which does not support the \
             RecordDistributionStrategy {DISTRIBUTION_AUTO}."
        )));
    }
    Ok(())
}
