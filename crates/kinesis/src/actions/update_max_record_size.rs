//! UpdateMaxRecordSize: how large a record may be that is put from now on.

use super::Answer;
use crate::call::Call;
use crate::error::Error;
use crate::input::Input;

pub(super) async fn run(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let stream = call.stream(input)?;
    let kib = input.int("MaxRecordSizeInKiB").and_then(|kib| u32::try_from(kib).ok());
    let changed = call.change(&stream.topic, move |state| {
        state.max_record_kib = kib;
        Ok(())
    });
    changed.await?;
    Ok(Answer::Empty)
}
