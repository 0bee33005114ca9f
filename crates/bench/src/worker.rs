//! One thread that drives many producers or readers over one poller.
//!
//! Invariant: an actor is called when one of its sockets has something, when
//! it asked to be woken, and twenty times a second; it never waits itself.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::error::BenchError;
use crate::poller::{Poller, Ready, WAIT_MAX};
use crate::shared::Shared;

/// A producer or a reader.
pub(crate) trait Actor {
    /// Does what is to be done at `now`; when to call again at the latest.
    fn pump(&mut self, now: u64, shared: &Shared, poller: &Poller) -> Result<u64, BenchError>;
    /// One of its sockets has something.
    fn event(
        &mut self,
        link: usize,
        ready: Ready,
        now: u64,
        shared: &Shared,
        poller: &Poller,
    ) -> Result<(), BenchError>;
    /// Whether it has nothing to do any more.
    fn is_done(&mut self, now: u64, shared: &Shared) -> bool;
}

/// The token of a link of an actor.
pub(crate) fn token(actor: usize, link: usize) -> u64 {
    (crate::numbers::wide(actor) << 32) | crate::numbers::wide(link)
}

fn actor_and_link(token: u64) -> (usize, usize) {
    let part = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    (part(token >> 32), part(token & 0xffff_ffff))
}

/// When an actor wants to be called, and whether it is over.
#[derive(Clone, Copy, Debug)]
struct State {
    wake: u64,
    is_done: bool,
    is_touched: bool,
}

/// Drives the actors until all are done or the run has failed.
pub(crate) fn drive<A: Actor>(actors: &mut [A], shared: &Shared) -> Result<(), BenchError> {
    let mut poller = Poller::new().map_err(BenchError::system("make an epoll descriptor"))?;
    let fresh = State { wake: u64::MAX, is_done: false, is_touched: false };
    let mut states = vec![fresh; actors.len()];
    let mut wakes: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut ready: Vec<Ready> = Vec::new();
    let mut touched: Vec<usize> = Vec::new();
    let mut sweep = 0;
    let mut left = actors.len();
    while left > 0 && !shared.has_failed() {
        let now = shared.clock.now();
        for ready in ready.drain(..) {
            let (place, link) = actor_and_link(ready.token);
            if let (Some(actor), Some(state)) = (actors.get_mut(place), states.get_mut(place)) {
                actor.event(link, ready, now, shared, &poller)?;
                touch(place, state, &mut touched);
            }
        }
        while let Some(&Reverse((at, place))) = wakes.peek().filter(|wake| wake.0.0 <= now) {
            wakes.pop();
            if let Some(state) = states.get_mut(place).filter(|state| state.wake == at) {
                state.wake = u64::MAX;
                touch(place, state, &mut touched);
            }
        }
        if now >= sweep {
            sweep = now.saturating_add(WAIT_MAX);
            for (place, state) in states.iter_mut().enumerate() {
                touch(place, state, &mut touched);
            }
        }
        for place in touched.drain(..) {
            let (Some(actor), Some(state)) = (actors.get_mut(place), states.get_mut(place)) else {
                continue;
            };
            state.is_touched = false;
            let wake = actor.pump(now, shared, &poller)?;
            if wake < u64::MAX && wake != state.wake {
                wakes.push(Reverse((wake, place)));
            }
            state.wake = wake;
            if !state.is_done && actor.is_done(now, shared) {
                state.is_done = true;
                left -= 1;
            }
        }
        if left > 0 {
            let next = wakes.peek().map_or(u64::MAX, |wake| wake.0.0);
            let timeout = next.saturating_sub(shared.clock.now());
            poller.wait(timeout, &mut ready).map_err(BenchError::system("wait for sockets"))?;
        }
    }
    Ok(())
}

fn touch(place: usize, state: &mut State, touched: &mut Vec<usize>) {
    if !std::mem::replace(&mut state.is_touched, true) {
        touched.push(place);
    }
}
