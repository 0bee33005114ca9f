//! ApiVersions (18): what is served, from the table. A version that is not
//! served is answered in version 0 with UNSUPPORTED_VERSION and the range of
//! this API (KIP-511); [`unsupported`] is called by the connection for that.

use crate::api::{Api, Refusal, TABLE};
use crate::codec::api_versions_request::ApiVersionsRequestData;
use crate::codec::api_versions_response::{ApiVersion, ApiVersionsResponseData};
use crate::codec::{self, CodecError, ErrorCode};
use crate::context::Call;
use crate::response::Response;

/// Answers the whole table.
pub(super) fn handle(
    call: &Call,
    request: ApiVersionsRequestData,
) -> Result<ApiVersionsResponseData, Refusal> {
    let response = ApiVersionsResponseData::default();
    let named = |text: &str| is_software_text(text);
    if call.version >= 3
        && !(named(request.client_software_name.as_str())
            && named(request.client_software_version.as_str()))
    {
        return Ok(response.with_error_code(ErrorCode::InvalidRequest.code()));
    }
    Ok(response.with_api_keys(TABLE.iter().map(range).collect()))
}

/// The answer to a version of ApiVersions that is not served.
///
/// # Errors
/// None in practice: version 0 can say all of it.
pub(crate) fn unsupported(correlation_id: i32) -> Result<Response, CodecError> {
    let own = TABLE.iter().filter(|api| api.key == codec::ApiKey::ApiVersions);
    let body = ApiVersionsResponseData::default()
        .with_error_code(ErrorCode::UnsupportedVersion.code())
        .with_api_keys(own.map(range).collect());
    codec::encode_response(codec::ApiKey::ApiVersions as i16, 0, correlation_id, &body)
}

fn range(api: &Api) -> ApiVersion {
    ApiVersion::default()
        .with_api_key(api.key as i16)
        .with_min_version(api.advertised_min)
        .with_max_version(api.max)
}

/// Kafka's rule: `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`.
fn is_software_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(b))
}
