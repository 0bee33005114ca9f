//! What is known of the offsets that groups commit.

use millrace_history::{Committed, What};
use millrace_types::TopicPartition;

use super::{Book, Promise, log};

impl Book {
    pub(crate) fn commit_asked(
        &self,
        who: &str,
        group: &str,
        at: TopicPartition,
        offset: i64,
    ) -> u64 {
        self.pages.lock().commits(group, at).asked.insert(offset);
        let offsets = vec![Committed { at: log(at), offset: Some(offset) }];
        let group = group.to_owned().into();
        self.tell(who, |op| What::Commit { op, group, offsets })
    }

    pub(crate) fn commit_acked(
        &self,
        who: &str,
        op: u64,
        group: &str,
        at: TopicPartition,
        offset: i64,
    ) {
        self.tell(who, |_| What::Committed { op });
        let mut pages = self.pages.lock();
        pages.counts.commits += 1;
        let commits = pages.commits(group, at);
        commits.known = commits.known.max(Some(offset));
    }

    /// What is known of a group's offset before the server is asked for it.
    pub(crate) fn asking_commit(
        &self,
        who: &str,
        group: &str,
        at: TopicPartition,
    ) -> (u64, Option<i64>) {
        let name = group.to_owned().into();
        let op = self.tell(who, |op| What::FetchCommits { op, group: name });
        (op, self.pages.lock().commits(group, at).known)
    }

    /// A group's offset as the server tells it; `known` before it was asked.
    pub(crate) fn commit_seen(
        &self,
        who: &str,
        group: &str,
        at: TopicPartition,
        (op, known): (u64, Option<i64>),
        offset: Option<i64>,
    ) {
        if !self.is_delete_asked(at.topic) {
            let offsets = vec![Committed { at: log(at), offset }];
            self.tell(who, |_| What::CommitsFetched { op, offsets });
        }
        let asked = {
            let mut pages = self.pages.lock();
            let commits = pages.commits(group, at);
            commits.known = commits.known.max(offset);
            offset.is_none_or(|offset| commits.asked.contains(&offset))
        };
        if offset < known
            && self.promise() < Promise::NothingWrong
            && !self.is_delete_asked(at.topic)
        {
            let what = format!("group {group} has {offset:?} for {at}, and had {known:?}");
            self.violation("commit-went-back", what);
        }
        if !asked {
            let what = format!("group {group} has {offset:?} for {at}, which nobody committed");
            self.violation("phantom-commit", what);
        }
    }
}
