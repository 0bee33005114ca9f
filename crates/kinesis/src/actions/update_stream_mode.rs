//! UpdateStreamMode: who decides on the number of shards.

use super::{Answer, update_stream_warm_throughput as warm_throughput};
use crate::call::Call;
use crate::error::Error;
use crate::input::Input;
use crate::stream::Mode;

pub(super) async fn run(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let stream = call.stream(input)?;
    let mode = input.member("StreamModeDetails").and_then(|mode| mode.text("StreamMode"));
    let mode = mode.map(Mode::parse).unwrap_or_default();
    let warm = warm_throughput::asked(input);
    if warm.is_some() {
        warm_throughput::check(call, stream.name(), mode)?;
    }
    let changed = call.change(&stream.topic, move |state| {
        state.mode = mode;
        match mode {
            Mode::OnDemand => state.warm_throughput_mibps = warm.or(state.warm_throughput_mibps),
            // These two are of on-demand streams alone.
            Mode::Provisioned => {
                state.warm_throughput_mibps = None;
                state.distribution = None;
            }
        }
        Ok(())
    });
    changed.await?;
    Ok(Answer::Empty)
}
