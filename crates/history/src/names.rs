//! Names and values as small numbers. Histories repeat topics and processes
//! in every line, and hold millions of values: texts are kept once, end to
//! end, and found by a table of numbers.

use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;

/// The number of a name, from 0.
pub(crate) type Id = u32;
/// No name, no event.
pub(crate) const NONE: u32 = u32::MAX;

/// Texts and their numbers.
#[derive(Debug, Default)]
pub(crate) struct Names {
    hasher: RandomState,
    table: HashTable<Id>,
    texts: String,
    ends: Vec<u64>,
}

impl Names {
    /// The text's number; a new one if it is new.
    pub(crate) fn id(&mut self, text: &str) -> Id {
        let hash = self.hasher.hash_one(text);
        let (texts, ends, hasher) = (&self.texts, &self.ends, &self.hasher);
        let same = |id: &Id| slice(texts, ends, *id) == text;
        if let Some(id) = self.table.find(hash, same) {
            return *id;
        }
        // More than this many names need more events than can be counted.
        let id = Id::try_from(self.ends.len()).unwrap_or(NONE);
        self.table.insert_unique(hash, id, |id| hasher.hash_one(slice(texts, ends, *id)));
        self.texts.push_str(text);
        self.ends.push(self.texts.len() as u64);
        id
    }

    pub(crate) fn text(&self, id: Id) -> &str {
        slice(&self.texts, &self.ends, id)
    }
}

fn slice<'a>(texts: &'a str, ends: &[u64], id: Id) -> &'a str {
    let id = id as usize;
    let at = |index: usize| ends.get(index).and_then(|end| usize::try_from(*end).ok());
    let start = id.checked_sub(1).and_then(at).unwrap_or(0);
    at(id).and_then(|end| texts.get(start..end)).unwrap_or_default()
}
