//! Waiting for sockets and for the next thing that is due.
//!
//! Invariant: a timed wait is exact to the kernel's timers (about 50 µs), so
//! that an open loop of thousands of sends a second keeps its times.
//! `epoll_wait` knows milliseconds only; where less matters the epoll
//! descriptor itself is polled with nanoseconds.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Events taken at once.
const EVENTS_MAX: usize = 256;
/// The longest wait in ns: how late a stop or a new leader is noticed.
pub(crate) const WAIT_MAX: u64 = 50_000_000;

/// One socket that has something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) token: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// The sockets of one thread.
pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Watches a socket, for room to write too if `write`.
    pub(crate) fn add(&self, socket: impl AsFd, token: u64, write: bool) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(token), flags(write))?)
    }

    /// Changes whether room to write is watched for.
    pub(crate) fn change(&self, socket: impl AsFd, token: u64, write: bool) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, socket, EventData::new_u64(token), flags(write))?)
    }

    /// Waits for at most `timeout` ns and appends what is ready.
    pub(crate) fn wait(&mut self, timeout: u64, ready: &mut Vec<Ready>) -> io::Result<()> {
        let timeout = timeout.min(WAIT_MAX);
        let coarse = if timeout == 0 || timeout == WAIT_MAX {
            timeout
        } else {
            let mut fds = [PollFd::new(&self.epoll, PollFlags::IN)];
            match poll(&mut fds, Some(&timespec(timeout))) {
                Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(()),
                Ok(_) => 0,
                Err(error) => return Err(error.into()),
            }
        };
        self.events.clear();
        let spare = spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, spare, Some(&timespec(coarse))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.extend(self.events.drain(..).map(|event| {
            let (flags, data) = (event.flags, event.data);
            let broken = flags.intersects(EventFlags::ERR | EventFlags::HUP);
            Ready {
                token: data.u64(),
                readable: broken || flags.contains(EventFlags::IN),
                writable: broken || flags.contains(EventFlags::OUT),
            }
        }));
        Ok(())
    }
}

fn flags(write: bool) -> EventFlags {
    if write { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN }
}

fn timespec(ns: u64) -> Timespec {
    let ns = i64::try_from(ns).unwrap_or(i64::MAX);
    Timespec { tv_sec: ns / 1_000_000_000, tv_nsec: ns % 1_000_000_000 }
}
