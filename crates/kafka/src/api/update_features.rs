//! UpdateFeatures (57): there is no feature whose level could be changed.

use super::Refusal;
use crate::codec::update_features_request::UpdateFeaturesRequestData;
use crate::codec::update_features_response::{UpdatableFeatureResult, UpdateFeaturesResponseData};
use crate::codec::{self, ErrorCode};
use crate::context::Call;

/// First version that answers once for all features.
const WHOLE_MIN: i16 = 2;

/// Refuses every change.
pub(super) fn handle(
    call: &Call,
    request: UpdateFeaturesRequestData,
) -> Result<UpdateFeaturesResponseData, Refusal> {
    let response = UpdateFeaturesResponseData::default().with_error_message(None);
    let refusal = |feature: &str, level: i16| {
        format!(
            "Invalid update version {level} for feature {feature}. Features follow from the \
             version of the server; none is set by hand."
        )
    };
    let code = ErrorCode::InvalidUpdateVersion.code();
    if call.version >= WHOLE_MIN {
        let first = request.feature_updates.first();
        return Ok(match first {
            None => response,
            Some(update) => {
                let why = refusal(update.feature.as_str(), update.max_version_level);
                let text = format!(
                    "The update failed for all features since the following feature had an \
                     error: {why}"
                );
                response.with_error_code(code).with_error_message(Some(codec::wire_str(&text)))
            }
        });
    }
    let results = request.feature_updates.into_iter().map(|update| {
        let text = refusal(update.feature.as_str(), update.max_version_level);
        UpdatableFeatureResult::default()
            .with_feature(update.feature)
            .with_error_code(code)
            .with_error_message(Some(codec::wire_str(&text)))
    });
    Ok(response.with_results(results.collect()))
}
