//! What was given up by repairs: it alone may be missing.

use millrace_types::TopicPartition;

use super::{Book, Page};

impl Book {
    /// A repair printed these offsets as given up.
    pub(crate) fn given_up(&self, at: TopicPartition, first: i64, end: i64, ends: bool) {
        self.world.note(format_args!("given up: {at} from {first} to {end}"));
        let mut pages = self.pages.lock();
        pages.own_given_up |= ends || at.topic.is_hidden();
        // Streams and hidden partitions are not read here.
        if let Some(page) = pages.partitions.get_mut(&at) {
            page.given_up.push((first, end));
        }
    }

    /// The offset behind those that were given up at `offset`.
    pub(crate) fn behind_given_up(&self, at: TopicPartition, offset: i64) -> i64 {
        let pages = self.pages.lock();
        pages.partitions.get(&at).map_or(offset, |page| page.behind_given_up(offset))
    }
}

impl Page {
    /// The offset behind those that were given up at `offset`.
    pub(super) fn behind_given_up(&self, mut offset: i64) -> i64 {
        // One may lie behind another.
        while let Some((_, end)) =
            self.given_up.iter().find(|(first, end)| (*first..*end).contains(&offset))
        {
            offset = *end;
        }
        offset
    }
}
