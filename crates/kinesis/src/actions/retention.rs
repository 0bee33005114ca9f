//! IncreaseStreamRetentionPeriod and DecreaseStreamRetentionPeriod: the
//! topic's `retention.ms`, which is where retention is kept.

use millrace_broker::config::{Change, Operation};
use millrace_broker::{ConfigChange, Configured, SetConfigError};

use super::Answer;
use crate::call::Call;
use crate::error::Error;
use crate::input::Input;
use crate::stream::{RETENTION_HOURS_MAX, RETENTION_HOURS_MIN, Stream, retention_ms};

pub(super) async fn increase(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let stream = call.stream(input)?;
    let hours = asked(input)?;
    let present = stream.retention_hours();
    if hours < present {
        return Err(Error::invalid(format!(
            "Requested retention period ({hours} hours) for stream {} can not be shorter than \
             existing retention period ({present} hours). Use DecreaseRetentionPeriod API.",
            stream.name()
        )));
    }
    set(call, &stream, hours).await
}

pub(super) async fn decrease(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let stream = call.stream(input)?;
    let hours = asked(input)?;
    let present = stream.retention_hours();
    if hours > present {
        return Err(Error::invalid(format!(
            "Requested retention period ({hours} hours) for stream {} can not be longer than \
             existing retention period ({present} hours). Use IncreaseRetentionPeriod API.",
            stream.name()
        )));
    }
    set(call, &stream, hours).await
}

fn asked(input: Input<'_>) -> Result<u64, Error> {
    let hours = input.int("RetentionPeriodHours").unwrap_or(0);
    match u64::try_from(hours) {
        Ok(asked) if asked > RETENTION_HOURS_MAX => Err(Error::invalid(format!(
            "Maximum allowed retention period is {RETENTION_HOURS_MAX} hours. Requested retention \
             period ({hours} hours) is too long."
        ))),
        Ok(asked) if asked >= RETENTION_HOURS_MIN => Ok(asked),
        _ => Err(Error::invalid(format!(
            "Minimum allowed retention period is {RETENTION_HOURS_MIN} hours. Requested retention \
             period ({hours} hours) is too short."
        ))),
    }
}

async fn set(call: &Call<'_>, stream: &Stream, hours: u64) -> Result<Answer, Error> {
    // The same is no change, also where Kafka's setting is not a whole hour.
    if hours == stream.retention_hours() {
        return Ok(Answer::Empty);
    }
    let change = Change {
        name: "retention.ms".to_owned(),
        operation: Operation::Set,
        value: retention_ms(hours),
    };
    let of = Configured::Topic(stream.topic.id);
    match call.broker.change_config(of, ConfigChange::Apply(vec![change]), false).await {
        Ok(_) => Ok(Answer::Empty),
        Err(SetConfigError::NotFound) => Err(call.unknown_stream(stream.name())),
        Err(error) => Err(Error::internal(error.to_string())),
    }
}
