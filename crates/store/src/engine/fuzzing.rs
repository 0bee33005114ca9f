//! What the fuzz targets of `crates/fuzz` reach of this module and nobody
//! else does: decoders that are private otherwise. No release has it.

use super::meta::MetaRecord;

/// Decodes a record of the engine's own state and encodes it again; `None`
/// where it is none.
#[must_use]
pub fn recode_meta_record(bytes: &[u8]) -> Option<Vec<u8>> {
    MetaRecord::decode(bytes).map(|record| record.encode())
}
