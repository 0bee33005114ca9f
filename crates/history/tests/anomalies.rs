//! One planted, minimal history for each anomaly, with the evidence that
//! must be told; and beside some of them the legitimate history that looks
//! alike.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use millrace_history::{Assignment, Malformed, What};
use support::{History, TOPIC, at, kinds, only, record};

fn told(text: &str, events: &[u32]) -> (String, Vec<u32>) {
    (text.to_owned(), events.to_vec())
}

/// The history is in order.
fn clean(history: &History) {
    let report = history.check();
    assert!(report.is_clean(), "{report:#?}");
}

fn three_written() -> History {
    let mut history = History::default();
    history.write("p", "a", 0).write("p", "b", 1).write("p", "c", 2);
    history
}

#[test]
fn lost_write() {
    let mut history = three_written();
    history.assigned("c", 0).polled("c", &[(0, "a"), (2, "c")]);
    let expected = "lost-write: b at 1 was acknowledged and read by nobody; c expected 1 and got 2";
    assert_eq!(only(&history), told(expected, &[3, 7]));
}

#[test]
fn what_nobody_passed_is_not_lost() {
    let mut history = three_written();
    history.assigned("c", 2).polled("c", &[(2, "c")]);
    clean(&history);
}

#[test]
fn what_lies_below_the_log_start_is_not_lost() {
    let mut history = three_written();
    history.assigned("c", 0).delete_records("admin", 2).polled("c", &[(2, "c")]);
    clean(&history);

    // Retention, which somebody saw at work only later.
    let mut history = three_written();
    history.assigned("c", 0).polled("c", &[(2, "c")]).listed("admin", Some(2), None);
    clean(&history);
}

#[test]
fn an_earlier_observation_of_the_log_start_excuses_nothing() {
    let mut history = three_written();
    history.assigned("c", 0).polled("c", &[(2, "c")]).listed("admin", Some(0), None);
    history.listed("admin", Some(2), None);
    assert_eq!(kinds(&history.check()), [("lost-write", 2)].into());
}

#[test]
fn unseen() {
    let mut history = three_written();
    history.full_read("r", &[(0, "a"), (1, "b")]);
    let expected = "unseen: c at 2 was acknowledged; a full read ended below it";
    assert_eq!(only(&history), told(expected, &[5, 7]));
}

#[test]
fn unseen_without_an_offset() {
    let mut history = History::default();
    let op = history.send("p", "a");
    history.sent("p", op, None).full_read("r", &[]);
    let expected = "unseen: a was acknowledged, at no known offset; a full read lacks it";
    assert_eq!(only(&history), told(expected, &[1, 3]));
}

#[test]
fn what_is_written_during_a_full_read_may_be_missed() {
    let mut history = three_written();
    history.assigned("r", 0).add("r", What::FullReadBegun { at: at(TOPIC) });
    history.write("p", "d", 3).polled("r", &[(0, "a"), (1, "b"), (2, "c")]);
    history.add("r", What::FullReadEnded { at: at(TOPIC) });
    clean(&history);
}

#[test]
fn vanished() {
    let mut history = three_written();
    history.assigned("c", 0).polled("c", &[(0, "a"), (1, "b"), (2, "c")]);
    history.full_read("r", &[(0, "a"), (2, "c")]);
    let expected = "vanished: b at 1 was read; in a later full read r expected 1 and got 2";
    assert_eq!(only(&history), told(expected, &[7, 9, 10]));
}

#[test]
fn vanished_from_the_end() {
    let mut history = three_written();
    history.assigned("c", 0).polled("c", &[(0, "a"), (1, "b"), (2, "c")]);
    history.full_read("r", &[(0, "a"), (1, "b")]);
    assert_eq!(kinds(&history.check()), [("vanished", 1)].into());
}

#[test]
fn duplicate() {
    let mut history = three_written();
    history.assigned("c", 0).polled("c", &[(0, "a"), (1, "b"), (2, "c"), (3, "a")]);
    assert_eq!(only(&history), told("duplicate: a at 0, and again at 3", &[1, 7]));
}

#[test]
fn duplicates_of_plain_producers_are_counted_and_legitimate() {
    let mut history = History::default();
    let op = history.send_to("p", TOPIC, "a", false);
    history.sent("p", op, 1).assigned("c", 0).polled("c", &[(0, "a"), (1, "a")]);
    clean(&history);
    assert_eq!(history.check().counts.duplicates_allowed, 1);
}

#[test]
fn inconsistent_offset() {
    let mut history = three_written();
    history.send("q", "x");
    history.assigned("c", 0).polled("c", &[(0, "a"), (1, "x"), (2, "c")]);
    let expected = "inconsistent-offset: b at 1, where x was too";
    assert_eq!(only(&history), told(expected, &[3, 8]));
}

#[test]
fn sends_of_one_producer_reordered() {
    let mut history = History::default();
    let (first, second) = (history.send("p", "a"), history.send("p", "b"));
    history.sent("p", first, 1).sent("p", second, 0);
    assert_eq!(only(&history), told("reordered-sends: a at 1 came before b at 0", &[1, 2, 3]));
}

#[test]
fn a_plain_producer_may_reorder_what_is_under_way() {
    let mut history = History::default();
    let first = history.send_to("p", TOPIC, "a", false);
    let second = history.send_to("p", TOPIC, "b", false);
    history.sent("p", first, 1).sent("p", second, 0);
    clean(&history);
}

#[test]
fn sends_of_two_producers_reordered() {
    let mut history = History::default();
    history.write("p", "a", 1).write("q", "b", 0);
    assert_eq!(only(&history), told("reordered-sends: a at 1 came before b at 0", &[1, 2, 3]));
}

#[test]
fn an_unknown_send_that_a_reader_found_must_be_in_order_too() {
    let mut history = History::default();
    history.write("p", "a", 1);
    history.send("q", "b");
    history.assigned("c", 0).polled("c", &[(0, "b"), (1, "a")]);
    assert_eq!(kinds(&history.check()), [("reordered-sends", 1)].into());
}

#[test]
fn sends_that_overlap_may_have_any_order() {
    let mut history = History::default();
    let (first, second) = (history.send("p", "a"), history.send("q", "b"));
    history.sent("p", first, 1).sent("q", second, 0);
    clean(&history);
}

#[test]
fn poll_skip() {
    let mut history = three_written();
    history.assigned("c", 0).polled("c", &[(0, "a"), (1, "b"), (2, "c")]);
    history.assigned("d", 0).polled("d", &[(0, "a")]).polled("d", &[(2, "c")]);
    let expected = "poll-skip: d expected 1 and got 2, leaving out b at 1";
    assert_eq!(only(&history), told(expected, &[7, 9, 10]));
}

#[test]
fn internal_poll_skip() {
    let mut history = three_written();
    history.assigned("c", 0).polled("c", &[(0, "a"), (1, "b"), (2, "c")]);
    history.assigned("d", 0).polled("d", &[(0, "a"), (2, "c")]);
    let expected = "internal-poll-skip: d expected 1 and got 2, leaving out b at 1";
    assert_eq!(only(&history), told(expected, &[7, 9]));
}

#[test]
fn a_position_that_leaves_records_out_is_a_skip() {
    let mut history = three_written();
    history.assigned("c", 0).polled("c", &[(0, "a"), (1, "b"), (2, "c")]).assigned("d", 0);
    let positions = vec![Assignment { at: at(TOPIC), from: Some(3) }];
    let records = vec![record(TOPIC, 0, "a"), record(TOPIC, 1, "b")];
    history.add("d", What::Polled { op: None, records, positions });
    assert_eq!(kinds(&history.check()), [("internal-poll-skip", 1)].into());
}

#[test]
fn a_reader_that_was_sent_elsewhere_may_jump() {
    let jumps: [What<'static>; 4] = [
        What::Seek { at: at(TOPIC), from: Some(2) },
        What::Seek { at: at(TOPIC), from: None },
        What::Subscribed,
        What::Rebalanced {
            assigned: vec![Assignment { at: at(TOPIC), from: None }],
            revoked: Vec::new(),
        },
    ];
    for jump in jumps {
        let mut history = three_written();
        history.assigned("d", 0).polled("d", &[(0, "a"), (1, "b"), (2, "c")]).assigned("c", 0);
        history.polled("c", &[(0, "a")]).add("c", jump).polled("c", &[(2, "c")]);
        clean(&history);
    }
}

#[test]
fn nonmonotonic_poll() {
    let mut history = three_written();
    history.assigned("c", 0).polled("c", &[(0, "a"), (1, "b")]).polled("c", &[(1, "b")]);
    let expected = "nonmonotonic-poll: c expected 2 and got 1";
    assert_eq!(only(&history), told(expected, &[7, 8]));
}

#[test]
fn internal_nonmonotonic_poll() {
    let mut history = three_written();
    history.assigned("c", 0).polled("c", &[(0, "a"), (1, "b"), (0, "a")]);
    let expected = "internal-nonmonotonic-poll: c expected 2 and got 0";
    assert_eq!(only(&history), told(expected, &[7]));
}

#[test]
fn gap() {
    let mut history = History::default();
    history.write("p", "a", 0).write("p", "b", 2);
    history.assigned("c", 0).polled("c", &[(0, "a"), (2, "b")]);
    let expected = "gap: c expected 1 and got 2, and nothing is known between";
    assert_eq!(only(&history), told(expected, &[5]));
    let sparse = support::check(&history.events, millrace_history::Options::default());
    assert!(sparse.is_clean(), "only a dense log has no gaps");
}

#[test]
fn failed_write_visible() {
    let mut history = History::default();
    let op = history.send("p", "a");
    history.add("p", What::Fail { op }).assigned("c", 0).polled("c", &[(0, "a")]);
    let expected = "failed-write-visible: a at 0 was read, and had failed";
    assert_eq!(only(&history), told(expected, &[1, 3]));
}

#[test]
fn an_unknown_write_may_be_visible_or_not() {
    let mut history = History::default();
    let (first, _) = (history.send("p", "a"), history.send("p", "b"));
    history.add("p", What::Info { op: first }).full_read("r", &[(0, "b")]);
    clean(&history);
    assert_eq!(history.check().counts.sends_unknown, 2);
}

#[test]
fn phantom_record() {
    let mut history = History::default();
    history.assigned("c", 0).polled("c", &[(0, "a")]);
    let expected = "phantom-record: a at 0 was read, and sent by nobody before";
    assert_eq!(only(&history), told(expected, &[1]));
}

#[test]
fn a_record_read_before_it_is_sent_is_a_phantom() {
    let mut history = History::default();
    history.assigned("c", 0).polled("c", &[(0, "a")]).write("p", "a", 0);
    assert_eq!(kinds(&history.check()), [("phantom-record", 1)].into());
}

#[test]
fn misplaced_record() {
    let mut history = History::default();
    let op = history.send_to("p", "u#1", "a", true);
    history.sent("p", op, 0).assigned("c", 0).polled("c", &[(0, "a")]);
    let expected = "misplaced-record: a at 0 was read, and sent to u#1/0";
    assert_eq!(only(&history), told(expected, &[0, 3]));
}

#[test]
fn reappeared_record() {
    let mut history = History::default();
    history.topic("t#0", "t");
    let op = history.send_to("p", "t#0", "a", true);
    history.sent("p", op, 0).delete_topic("t#0").topic("t#1", "t");
    history.assigned("c", 0).polled("c", &[(0, "a")]);
    let expected = "reappeared-record: a at 0 was read, and sent to the earlier t#0/0";
    assert_eq!(only(&history), told(expected, &[1, 7]));
}

#[test]
fn deleted_topic_visible() {
    let mut history = three_written();
    history.delete_topic("t#1").assigned("c", 0).polled("c", &[(0, "a")]);
    let expected = "deleted-topic-visible: a at 0 was read after the topic was deleted";
    assert_eq!(only(&history), told(expected, &[7, 9]));
}

#[test]
fn what_was_fetched_before_a_deletion_may_still_be_read() {
    let mut history = three_written();
    history.assigned("c", 0).delete_records("admin", 1).delete_topic("t#1");
    history.polled("c", &[(0, "a"), (1, "b")]);
    clean(&history);
}

#[test]
fn deleted_record_visible() {
    let mut history = three_written();
    history.delete_records("admin", 2).assigned("c", 0).polled("c", &[(1, "b"), (2, "c")]);
    let expected = "deleted-record-visible: b at 1 was read below the log's start, 2";
    assert_eq!(only(&history), told(expected, &[7, 9]));
}

#[test]
fn a_reader_that_holds_nothing_sees_deletions_at_once() {
    let mut history = three_written();
    history.assigned("c", 0).delete_records("admin", 2).add("c", What::Poll { op: 9 });
    let records = vec![record(TOPIC, 1, "b")];
    history.add("c", What::Polled { op: Some(9), records, positions: Vec::new() });
    assert_eq!(kinds(&history.check()), [("deleted-record-visible", 1)].into());
}

#[test]
fn commit_went_back() {
    let mut history = History::default();
    history.committed("c", 5).committed("c", 9).fetched("d", TOPIC, Some(5));
    let expected = "commit-went-back: group g committed 9 and has 5";
    assert_eq!(only(&history), told(expected, &[3, 5]));

    let mut history = History::default();
    history.committed("c", 5).fetched("d", TOPIC, None);
    let expected = "commit-went-back: group g committed 5 and has none";
    assert_eq!(only(&history), told(expected, &[1, 3]));
}

#[test]
fn a_lower_commit_and_a_commit_under_way_are_legitimate() {
    let mut history = History::default();
    history.fetched("d", TOPIC, None).committed("c", 9).committed("c", 5);
    history.fetched("d", TOPIC, Some(5));
    let op = history.commit("c", TOPIC, 7);
    history.fetched("d", TOPIC, Some(5)).fetched("d", TOPIC, Some(7));
    history.add("c", What::Info { op }).fetched("d", TOPIC, Some(5));
    clean(&history);
}

#[test]
fn a_commit_during_the_fetch_may_be_seen_or_not() {
    for offset in [5, 9] {
        let mut history = History::default();
        history.committed("c", 5).add("d", What::FetchCommits { op: 99, group: "g".into() });
        history.committed("c", 9);
        let offsets = vec![millrace_history::Committed { at: at(TOPIC), offset: Some(offset) }];
        history.add("d", What::CommitsFetched { op: 99, offsets });
        clean(&history);
        history.fetched("d", TOPIC, Some(5));
        assert_eq!(kinds(&history.check()), [("commit-went-back", 1)].into());
    }
}

#[test]
fn an_unknown_commit_is_settled_by_a_kill() {
    let mut history = History::default();
    let op = history.commit("c", TOPIC, 3);
    history.add("c", What::Info { op }).add("nemesis", What::ServerKilled);
    history.committed("c", 9).fetched("d", TOPIC, Some(3));
    assert_eq!(kinds(&history.check()), [("commit-went-back", 1)].into());
}

#[test]
fn offsets_of_a_deleted_group_are_none() {
    let mut history = History::default();
    history.committed("c", 5).add("admin", What::DeleteGroup { op: 77, group: "g".into() });
    history.add("admin", What::GroupDeleted { op: 77 }).fetched("d", TOPIC, None);
    clean(&history);
    history.fetched("d", TOPIC, Some(5));
    assert_eq!(kinds(&history.check()), [("phantom-commit", 1)].into());
}

#[test]
fn phantom_commit() {
    let mut history = History::default();
    history.committed("c", 5).fetched("d", TOPIC, Some(8));
    let expected = "phantom-commit: group g has 8, which it never committed";
    assert_eq!(only(&history), told(expected, &[3]));
}

#[test]
fn reappeared_commit() {
    let mut history = History::default();
    history.topic("t#0", "t");
    let op = history.commit("c", "t#0", 5);
    history.add("c", What::Committed { op }).delete_topic("t#0").topic("t#1", "t");
    history.fetched("d", "t#1", Some(5));
    let expected = "reappeared-commit: group g has 5, committed to the earlier t#0/0";
    assert_eq!(only(&history), told(expected, &[2, 7]));
}

#[test]
fn end_went_back() {
    let mut history = three_written();
    history.listed("admin", None, Some(2));
    let expected = "end-went-back: the end is 2, and was known to be 3 or above";
    assert_eq!(only(&history), told(expected, &[5, 7]));

    let mut history = History::default();
    history.listed("admin", None, Some(7)).listed("admin", None, Some(6));
    assert_eq!(kinds(&history.check()), [("end-went-back", 1)].into());
}

#[test]
fn log_start_went_back() {
    let mut history = three_written();
    history.delete_records("admin", 2).listed("admin", Some(1), None);
    let expected = "log-start-went-back: the log's start is 1, and was known to be 2";
    assert_eq!(only(&history), told(expected, &[7, 9]));
}

#[test]
fn a_history_that_is_none_is_refused() {
    let mut checker = millrace_history::Checker::new(millrace_history::Options::default());
    let mut history = History::default();
    let op = history.send("p", "a");
    history.sent("p", op, 0).sent("p", op, 0);
    let mut results = history.events.iter().map(|event| checker.event(event));
    assert_eq!(results.next(), Some(Ok(())));
    assert_eq!(results.next(), Some(Ok(())));
    let unknown = Malformed::OpUnknown { process: "p".to_owned(), op };
    assert_eq!(results.next(), Some(Err(unknown)));
}
