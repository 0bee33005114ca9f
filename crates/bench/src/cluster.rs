//! The topic of a run and who leads its partitions.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::wire::{Malformed, Reader, put_compact_str};

/// A topic by both its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) id: [u8; 16],
}

impl Topic {
    /// Appends its id, or its name in versions before ids.
    pub(crate) fn put(&self, out: &mut Vec<u8>, by_id: bool) {
        if by_id {
            out.extend_from_slice(&self.id);
        } else {
            put_compact_str(out, &self.name);
        }
    }

    /// Passes over the topic of an answer: there is only one.
    pub(crate) fn skip(reader: &mut Reader<'_>, by_id: bool) -> Result<(), Malformed> {
        if by_id { reader.uuid().map(drop) } else { reader.compact_bytes().map(drop) }
    }
}

/// Who leads what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Routes {
    pub(crate) addresses: BTreeMap<i32, SocketAddr>,
    /// The leader of each partition; negative where there is none.
    pub(crate) leaders: Vec<i32>,
}
