//! For the fuzz targets alone: decoders that are no part of the interface.

use std::sync::LazyLock;

use crate::model::Encoding;
use crate::puts::Agreement;

static AGREEMENT: LazyLock<Option<Agreement>> = LazyLock::new(|| Agreement::load().ok());

/// Decodes a body of PutRecords with and without a tree. The first byte says in
/// which encoding.
///
/// # Panics
/// Where the two do not agree.
pub fn put_records(bytes: &[u8]) {
    let Some((first, body)) = bytes.split_first() else { return };
    let encoding = if first & 1 == 0 { Encoding::Json } else { Encoding::Cbor };
    if let Some(agreement) = AGREEMENT.as_ref() {
        agreement.check(body, encoding);
    }
}
