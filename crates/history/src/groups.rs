//! Groups' offsets: each (group, log) is one register. What a fetch returns
//! must have been written by a commit that no acknowledged later commit had
//! surely overwritten when the fetch began.

use std::collections::{BTreeMap, HashMap};

use crate::log::No;
use crate::names::{Id, NONE};

/// A commit that may be what a fetch returns.
#[derive(Clone, Copy, Debug)]
struct Write {
    offset: Option<i64>,
    invoked: No,
    /// When it surely had its effect, if it ever had; NONE: perhaps later.
    completed: No,
    acked: bool,
    /// When a commit was acknowledged that surely came after it.
    overwritten: No,
}

/// One group's offset in one log. The last writes, in order of invocation.
#[derive(Debug)]
struct Register {
    writes: Vec<Write>,
}

/// What is wrong with an offset that a group returned.
#[derive(Debug)]
pub(crate) enum Wrong {
    /// It is below what was acknowledged, by this event.
    Back { committed: i64, acked: No },
    /// Nobody wrote it.
    Phantom,
}

/// One group.
#[derive(Debug, Default)]
struct Group {
    registers: BTreeMap<Id, Register>,
    /// Fetches under way, by the event that invoked them.
    fetches: Vec<No>,
}

/// All groups. Logs and groups are numbers of names.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: HashMap<Id, Group>,
}

impl Default for Register {
    fn default() -> Self {
        // Before the first commit there is none, since ever.
        let none = Write { offset: None, invoked: 0, completed: 0, acked: true, overwritten: NONE };
        Self { writes: vec![none] }
    }
}

impl Register {
    fn write_of(&mut self, invoked: No) -> Option<&mut Write> {
        let under_way = |write: &&mut Write| write.invoked == invoked && write.completed == NONE;
        self.writes.iter_mut().rev().find(under_way)
    }

    /// The write invoked at `invoked` was acknowledged at `event`.
    fn acknowledge(&mut self, invoked: No, event: No, oldest_fetch: No) {
        let Some(write) = self.write_of(invoked) else { return };
        write.completed = event;
        write.acked = true;
        for write in &mut self.writes {
            if write.completed <= invoked && write.overwritten == NONE {
                write.overwritten = event;
            }
        }
        self.writes.retain(|write| write.overwritten == NONE || write.overwritten > oldest_fetch);
    }

    fn check(&self, offset: Option<i64>, invoked: No, event: No) -> Option<Wrong> {
        let possible = |write: &&Write| {
            write.invoked <= event && (write.overwritten == NONE || write.overwritten > invoked)
        };
        if self.writes.iter().filter(possible).any(|write| write.offset == offset) {
            return None;
        }
        let acked = |write: &&Write| write.acked && write.completed <= invoked;
        let acked = self.writes.iter().filter(possible).filter(acked);
        let last = acked.max_by_key(|write| (write.offset, write.completed))?;
        match (last.offset, offset) {
            (Some(committed), offset) if offset.is_none_or(|offset| offset < committed) => {
                Some(Wrong::Back { committed, acked: last.completed })
            }
            (_, Some(_)) => Some(Wrong::Phantom),
            // None is fetched, and none is the last: only where a commit is
            // under way, and then none is possible.
            (_, None) => None,
        }
    }
}

impl Groups {
    pub(crate) fn commit(&mut self, group: Id, log: Id, offset: Option<i64>, event: No) {
        let register = self.groups.entry(group).or_default().registers.entry(log).or_default();
        register.writes.push(Write {
            offset,
            invoked: event,
            completed: NONE,
            acked: false,
            overwritten: NONE,
        });
    }

    pub(crate) fn committed(&mut self, group: Id, log: Id, invoked: No, event: No) {
        let Some(group) = self.groups.get_mut(&group) else { return };
        let oldest = group.fetches.iter().copied().min().unwrap_or(event);
        if let Some(register) = group.registers.get_mut(&log) {
            register.acknowledge(invoked, event, oldest);
        }
    }

    /// The commit certainly had no effect.
    pub(crate) fn failed(&mut self, group: Id, log: Id, invoked: No) {
        let register = self.groups.get_mut(&group).and_then(|group| group.registers.get_mut(&log));
        if let Some(register) = register {
            register.writes.retain(|write| write.invoked != invoked || write.completed != NONE);
        }
    }

    /// The client gave up on the commit, and the server was killed since: it
    /// has had its effect by now, or never will.
    pub(crate) fn settled(&mut self, group: Id, log: Id, invoked: No, event: No) {
        let register = self.groups.get_mut(&group).and_then(|group| group.registers.get_mut(&log));
        if let Some(write) = register.and_then(|register| register.write_of(invoked)) {
            write.completed = event;
        }
    }

    /// The logs in which the group has offsets.
    pub(crate) fn logs(&self, group: Id) -> Vec<Id> {
        let logs = self.groups.get(&group).map(|group| group.registers.keys().copied().collect());
        logs.unwrap_or_default()
    }

    pub(crate) fn fetch(&mut self, group: Id, event: No) {
        self.groups.entry(group).or_default().fetches.push(event);
    }

    pub(crate) fn fetch_ended(&mut self, group: Id, invoked: No) {
        if let Some(group) = self.groups.get_mut(&group) {
            group.fetches.retain(|fetch| *fetch != invoked);
        }
    }

    /// What is wrong with `offset`, fetched between two events.
    pub(crate) fn check(
        &self,
        group: Id,
        log: Id,
        offset: Option<i64>,
        invoked: No,
        event: No,
    ) -> Option<Wrong> {
        match self.groups.get(&group).and_then(|group| group.registers.get(&log)) {
            Some(register) => register.check(offset, invoked, event),
            None => offset.map(|_| Wrong::Phantom),
        }
    }

    /// The last commit of `offset` that is known of, by its event.
    pub(crate) fn written(&self, group: Id, log: Id, offset: i64) -> Option<No> {
        let register = self.groups.get(&group)?.registers.get(&log)?;
        let same = register.writes.iter().rev().find(|write| write.offset == Some(offset))?;
        Some(if same.completed == NONE { same.invoked } else { same.completed })
    }
}
