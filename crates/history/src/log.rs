//! What is known of one log: what is at each offset, and where it began at
//! which time.

use std::collections::{BTreeMap, HashMap};

use crate::names::{Id, NONE};

/// The number of an event.
pub(crate) type No = u32;

const PAGE: i64 = 256;

/// What is known of one offset. Events are the first of their kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) value: Id,
    pub(crate) acked: No,
    pub(crate) read: No,
}

const EMPTY: Cell = Cell { value: NONE, acked: NONE, read: NONE };

impl Cell {
    /// The event that made it known.
    pub(crate) fn known(&self) -> No {
        self.acked.min(self.read)
    }
}

/// Offsets and what is at them: pages, since most logs are dense.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    pages: BTreeMap<i64, Box<[Cell]>>,
}

impl Cells {
    pub(crate) fn at(&mut self, offset: i64) -> Option<&mut Cell> {
        let page = self.pages.entry(offset.div_euclid(PAGE));
        let page = page.or_insert_with(|| vec![EMPTY; 256].into_boxed_slice());
        page.get_mut(usize::try_from(offset.rem_euclid(PAGE)).ok()?)
    }

    pub(crate) fn get(&self, offset: i64) -> Option<Cell> {
        let page = self.pages.get(&offset.div_euclid(PAGE))?;
        let cell = page.get(usize::try_from(offset.rem_euclid(PAGE)).ok()?)?;
        (cell.value != NONE).then_some(*cell)
    }

    /// What is known in `from..to`, in order.
    pub(crate) fn range(&self, from: i64, to: i64) -> impl Iterator<Item = (i64, Cell)> + '_ {
        let pages = from.div_euclid(PAGE)..=to.max(from).div_euclid(PAGE);
        let cells = self
            .pages
            .range(pages)
            .flat_map(|(page, cells)| (page.saturating_mul(PAGE)..).zip(cells.iter().copied()));
        cells.filter(move |(offset, cell)| cell.value != NONE && (from..to).contains(offset))
    }
}

/// The log's start while observations of it said the same.
#[derive(Clone, Copy, Debug)]
struct StartSeen {
    /// The last of them asked for it at or after this event.
    last: No,
    start: i64,
}

/// One partition of one incarnation of a topic.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) topic: Id,
    pub(crate) partition: i32,
    pub(crate) cells: Cells,
    /// The highest offset at which something is known.
    pub(crate) top: Option<i64>,
    /// The highest end that was listed, and by which event.
    pub(crate) end: Option<(i64, No)>,
    /// Records of each process that were sent, in its order.
    pub(crate) sends: HashMap<Id, Vec<Id>>,
    /// When the last full read that ended began, and when it ended.
    pub(crate) full_read: Option<(No, No)>,
    /// Starts that were acknowledged or seen, each higher than the one before.
    starts: Vec<(No, i64)>,
    /// The same as they were observed.
    seen: Vec<StartSeen>,
    /// Starts that were asked for by deletions, as they were invoked.
    asked: Vec<(No, i64)>,
}

impl Log {
    pub(crate) fn new(topic: Id, partition: i32) -> Self {
        Self {
            topic,
            partition,
            cells: Cells::default(),
            top: None,
            end: None,
            sends: HashMap::new(),
            full_read: None,
            starts: Vec::new(),
            seen: Vec::new(),
            asked: Vec::new(),
        }
    }

    /// A deletion of records below `start` is under way.
    pub(crate) fn start_asked(&mut self, event: No, start: i64) {
        if self.asked.last().is_none_or(|(_, last)| *last < start) {
            self.asked.push((event, start));
        }
    }

    /// Who asked at `invoked` learned at `event` where the log starts.
    pub(crate) fn start_seen(&mut self, invoked: No, event: No, start: i64) {
        if self.starts.last().is_none_or(|(_, last)| *last < start) && start > 0 {
            self.starts.push((event, start));
        }
        match self.seen.last_mut() {
            Some(seen) if seen.start == start => seen.last = seen.last.max(invoked),
            last => {
                let last = last.map_or(invoked, |seen| seen.last.max(invoked));
                self.seen.push(StartSeen { last, start });
            }
        }
    }

    /// The start that was known before `event`, and since when.
    pub(crate) fn start_known(&self, event: No) -> Option<(i64, No)> {
        let known = self.starts.partition_point(|(no, _)| *no < event);
        let (no, start) = self.starts.get(known.checked_sub(1)?)?;
        Some((*start, *no))
    }

    /// The highest start that the log may have had at `event`, all told: one
    /// asked for or seen by then, or the next that was seen.
    pub(crate) fn start_possible(&self, event: No) -> i64 {
        let asked = self.asked.partition_point(|(no, _)| *no < event);
        let asked = asked.checked_sub(1).and_then(|last| self.asked.get(last));
        let next = self.seen.partition_point(|seen| seen.last <= event);
        let next = self.seen.get(next).map(|seen| seen.start);
        let known = self.start_known(event).map(|(start, _)| start);
        [asked.map(|(_, start)| *start), next, known].into_iter().flatten().max().unwrap_or(0)
    }
}
