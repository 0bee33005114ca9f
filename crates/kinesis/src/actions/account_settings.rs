//! DescribeAccountSettings and UpdateAccountSettings: the commitment to a
//! minimum of throughput. Nothing is billed; what it allows at AWS (warm
//! throughput) it allows here.

use serde::{Deserialize, Serialize};

use millrace_types::Timestamp;

use super::Answer;
use crate::call::Call;
use crate::error::Error;
use crate::input::Input;
use crate::stream::KEEPER;
use crate::value::{Members, Value};

/// Under this name the commitment is kept, as JSON.
const COMMITMENT: &str = "account.commitment";
/// A commitment holds for as long, in milliseconds.
const COMMITTED_MS: i64 = 24 * 60 * 60 * 1000;

pub(super) fn describe(call: &Call<'_>) -> Answer {
    show(&kept(call), call.now())
}

pub(super) async fn update(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let asked = input.member("MinimumThroughputBillingCommitment");
    let enable = asked.and_then(|asked| asked.text("Status")) == Some("ENABLED");
    let now = call.now();
    let changed = call.broker.change_kept(KEEPER, move |kept| {
        let mut commitment = Commitment::parse(kept.get(COMMITMENT).map(String::as_str));
        if enable {
            commitment.enable(now);
        } else {
            commitment.disable(now);
        }
        let text = serde_json::to_string(&commitment)
            .map_err(|error| Error::internal(format!("The setting was not kept: {error}.")))?;
        kept.insert(COMMITMENT.to_owned(), text);
        Ok(commitment)
    });
    Ok(show(&changed.await?, now))
}

/// Whether the commitment holds now.
pub(super) fn is_committed(call: &Call<'_>) -> bool {
    kept(call).status(call.now()) != Status::Disabled
}

fn kept(call: &Call<'_>) -> Commitment {
    Commitment::parse(call.broker.kept(KEEPER).get(COMMITMENT).map(String::as_str))
}

/// The last commitment, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Commitment {
    /// Absent where there never was one.
    started_ms: Option<i64>,
    /// Absent while no end was asked for.
    ends_ms: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Disabled,
    Enabled,
    /// An end was asked for before one is allowed.
    Ending,
}

impl Commitment {
    fn parse(text: Option<&str>) -> Self {
        let parse = |text| {
            serde_json::from_str(text).unwrap_or_else(|error| {
                tracing::error!(%error, "the stored account settings are malformed: defaults hold");
                Self::default()
            })
        };
        text.map_or_else(Self::default, parse)
    }

    fn status(&self, now: Timestamp) -> Status {
        match (self.started_ms, self.ends_ms) {
            (None, _) => Status::Disabled,
            (Some(_), None) => Status::Enabled,
            (Some(_), Some(end)) if end <= now.0 => Status::Disabled,
            (Some(_), Some(_)) => Status::Ending,
        }
    }

    fn enable(&mut self, now: Timestamp) {
        if self.status(now) == Status::Disabled {
            self.started_ms = Some(now.0);
        }
        self.ends_ms = None;
    }

    fn disable(&mut self, now: Timestamp) {
        if self.status(now) == Status::Enabled {
            self.ends_ms = self.earliest_end().map(|earliest| earliest.max(now.0));
        }
    }

    fn earliest_end(&self) -> Option<i64> {
        self.started_ms.map(|started| started.saturating_add(COMMITTED_MS))
    }
}

/// What both operations answer.
fn show(commitment: &Commitment, now: Timestamp) -> Answer {
    let status = commitment.status(now);
    let name = match status {
        Status::Disabled => "DISABLED",
        Status::Enabled => "ENABLED",
        Status::Ending => "ENABLED_UNTIL_EARLIEST_ALLOWED_END",
    };
    let time = |ms: Option<i64>| ms.map(|ms| Value::Time(Timestamp(ms)));
    let over = status == Status::Disabled;
    let shown = Members::new()
        .text("Status", name)
        .maybe("StartedAt", time(commitment.started_ms))
        .maybe("EndedAt", time(commitment.ends_ms.filter(|_| over)))
        .maybe("EarliestAllowedEndAt", time(commitment.earliest_end().filter(|_| !over)));
    Members::new().with("MinimumThroughputBillingCommitment", shown.done()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commitment_holds_for_a_day_at_least() {
        let at = |hours: i64| Timestamp(hours * 3_600_000);
        let mut commitment = Commitment::default();
        commitment.disable(at(0));
        assert_eq!(commitment, Commitment::default(), "there was none");
        commitment.enable(at(1));
        commitment.disable(at(2));
        assert_eq!(commitment.status(at(24)), Status::Ending);
        assert_eq!(commitment.status(at(25)), Status::Disabled, "24 hours after its start");
        commitment.enable(at(3));
        assert_eq!(commitment.status(at(99)), Status::Enabled, "it goes on");
        assert_eq!(commitment.started_ms, Some(at(1).0));
        commitment.disable(at(99));
        assert_eq!(commitment.status(at(99)), Status::Disabled, "at once, after a day");
        commitment.enable(at(100));
        assert_eq!(commitment.started_ms, Some(at(100).0), "a new one");
    }
}
