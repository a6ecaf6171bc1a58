//! A sending thread.

use std::mem;

use super::Merge;
use super::label::{Deed, Label};
use super::scenario::Clock;
use super::state::{ANNOUNCES, Half, NONE, Outcome, Past, Set, State, ThreadState, contains, push};
use crate::ordering::algorithm::Step;
use crate::ordering::explorer::Move;

/// How far a clock of [`Clock::Apart`] advances, if it does.
const LATER: u8 = 3;

/// Whether other processes can observe a step.
#[derive(PartialEq, Eq)]
enum Done {
    Unseen,
    Seen,
    /// Observed, and the step continues.
    SeenInPart,
    Blocked,
}

impl Merge<'_> {
    pub(super) fn sender_moves(
        &self,
        state: &State,
        thread: usize,
        moves: &mut Vec<Move<Label, State>>,
    ) {
        let plan = &self.scenario.threads[thread];
        let number = state.threads[thread].send as usize;
        if number >= plan.sends.len() || state.processes[plan.process].gone {
            return;
        }
        let mut messages = self.messages.iter();
        let message = messages.position(|one| (one.thread, one.number) == (thread, number));
        let message = message.expect("every send has a message");
        if self.messages[message].after & !state.returned != 0 {
            return;
        }
        for tick in 0..2 {
            let mut next = *state;
            let (label, read_clock) = self.send_on(&mut next, thread, message, tick);
            if let Some(step) = label {
                let stamp = if self.ranks { NONE } else { next.stamps[message] };
                let only_returns = state.threads[thread].step as usize == self.algorithm.send.len();
                let deed = if only_returns {
                    Deed::Returns { thread, message }
                } else {
                    Deed::Sends { thread, step, message, stamp }
                };
                moves.push(Move { label: Label::new(deed), state: next, optional: false });
            }
            if !read_clock || self.scenario.clock == Clock::Distinct {
                break;
            }
        }
    }

    /// Executes steps up to and with the first that other processes can observe, or all.
    /// Returns that step, if there was any, and whether the clock was read.
    fn send_on(
        &self,
        state: &mut State,
        thread: usize,
        message: usize,
        tick: u8,
    ) -> (Option<Step>, bool) {
        let mut done = None;
        let mut read_clock = false;
        if state.threads[thread].is_between_sends() {
            // The call.
            if contains(self.honest, message) {
                state.before[message] =
                    state.returned & !state.delivered & self.messages[message].ordered;
            }
        }
        while (state.threads[thread].step as usize) < self.algorithm.send.len() {
            let index = state.threads[thread].step as usize;
            let seen = done.is_some();
            if seen
                && !self.algorithm.send[index..]
                    .iter()
                    .all(|&step| self.is_idle(state, thread, message, step))
            {
                return (done, read_clock);
            }
            let step = self.algorithm.send[index];
            match self.send_step(state, thread, message, step, tick, &mut read_clock) {
                Done::Unseen => {}
                Done::Seen => done = Some(step),
                Done::SeenInPart => return (Some(step), read_clock),
                Done::Blocked => return (done, read_clock),
            }
            state.threads[thread].step += 1;
        }
        // The return. If equal stamps are possible it matters that a sender can be between
        // publishing and returning.
        if done.is_some() && !self.ranks {
            return (done, read_clock);
        }
        let process = &mut state.processes[self.scenario.threads[thread].process];
        process.returned = process.returned.max(state.threads[thread].published);
        state.returned |= 1 << message;
        state.threads[thread] = ThreadState::at(state.threads[thread].send + 1);
        self.forget_old_stamps(state);
        (done.or(self.algorithm.send.last().copied()), read_clock)
    }

    /// Other processes could not observe this step.
    fn is_idle(&self, state: &State, thread: usize, message: usize, step: Step) -> bool {
        match step {
            Step::ReleaseLock | Step::LeaveClosedRing => true,
            Step::SendBySocketOtherwise
            | Step::SendBySocketStampedAnew
            | Step::SendBySocketUnstamped => !self.goes_by_socket(state, thread, message),
            Step::AnnounceRing => !self.is_to_announce(state, message),
            Step::MarkAgain => self.is_alone(thread) || !self.has_lost_mark(state, thread, message),
            Step::NoteSocketUse => {
                self.is_alone(thread) || !self.goes_by_socket(state, thread, message)
            }
            _ => is_for_waking(step),
        }
    }

    /// The ring that the message is to be written to.
    fn usable_ring(&self, state: &State, thread: usize, message: usize) -> Option<usize> {
        let ring = self.messages[message].send.ring?;
        let pending = state.threads[thread].outcome == Outcome::Pending;
        (pending && !state.rings[ring].left).then_some(ring)
    }

    fn goes_by_socket(&self, state: &State, thread: usize, message: usize) -> bool {
        let left = match self.messages[message].send.ring {
            None => true,
            Some(ring) => state.rings[ring].left,
        };
        match state.threads[thread].outcome {
            Outcome::Pending => left,
            Outcome::Published => false,
            Outcome::RingClosed | Outcome::NoRoom => true,
        }
    }

    fn has_lost_mark(&self, state: &State, thread: usize, message: usize) -> bool {
        contains(state.marked, message) && self.goes_by_socket(state, thread, message)
    }

    /// No other thread of its process sends.
    fn is_alone(&self, thread: usize) -> bool {
        let process = self.scenario.threads[thread].process;
        let siblings = self.scenario.threads.iter().filter(|other| other.process == process);
        siblings.count() == 1
    }

    fn is_to_announce(&self, state: &State, message: usize) -> bool {
        self.messages[message].send.ring.is_some_and(|ring| !state.rings[ring].announced)
    }

    fn send_step(
        &self,
        state: &mut State,
        thread: usize,
        message: usize,
        step: Step,
        tick: u8,
        read_clock: &mut bool,
    ) -> Done {
        let process = self.scenario.threads[thread].process;
        let alone = self.is_alone(thread);
        match step {
            Step::TakeLock => {
                if state.processes[process].locked {
                    return Done::Blocked;
                }
                state.processes[process].locked = true;
            }
            Step::ReleaseLock => {
                state.processes[process].locked = false;
                let rest = &self.algorithm.send[state.threads[thread].step as usize + 1..];
                let is_last = rest.iter().all(|&step| self.is_idle(state, thread, message, step));
                if !(alone || is_last) {
                    return Done::Seen;
                }
            }
            Step::Stamp => {
                *read_clock = true;
                state.stamps[message] = match self.messages[message].send.false_stamp {
                    Some(stamp) => stamp,
                    None => self.read_clock(state, process, message, tick),
                };
                return Done::Seen;
            }
            Step::StampAboveLast => {
                if self.messages[message].send.false_stamp.is_none() {
                    raise_above_last(state, process, message);
                }
            }
            Step::OutlastStamp => {
                // The clock is read until it is past the stamp.
                state.clock = state.clock.max(state.stamps[message] + 1);
                return Done::Seen;
            }
            Step::AnnounceRing => {
                if let Some(ring) = self.messages[message].send.ring {
                    if !state.rings[ring].announced {
                        state.rings[ring].announced = true;
                        push(&mut state.socket, ANNOUNCES | ring as u8);
                        return Done::Seen;
                    }
                }
            }
            Step::WriteRecord => {
                let Some(ring) = self.messages[message].send.ring else { return Done::Unseen };
                let published = state.threads[thread].outcome == Outcome::Published;
                if state.rings[ring].left {
                    return Done::Unseen;
                }
                // Late, in a wrong order of steps: it is written where the receiver
                // already looks.
                let slot = state.rings[ring].position - u8::from(published);
                state.rings[ring].slots[slot as usize] = message as u8;
                state.threads[thread].slot = slot;
                if published || !(alone || state.processes[process].locked) {
                    return Done::Seen;
                }
            }
            Step::PublishBySwap => {
                if let Some(ring) = self.usable_ring(state, thread, message) {
                    if self.messages[message].send.too_large {
                        state.threads[thread].outcome = Outcome::NoRoom;
                        return Done::Unseen;
                    }
                    self.publish(state, thread, message, ring);
                    return Done::Seen;
                }
            }
            Step::PublishByLoadThenStore => {
                if let Some(ring) = self.usable_ring(state, thread, message) {
                    let closed = state.rings[ring].closed;
                    match state.threads[thread].half {
                        Half::RingOpen => {
                            state.rings[ring].closed = false;
                            self.publish(state, thread, message, ring);
                        }
                        Half::RingClosed => state.threads[thread].outcome = Outcome::RingClosed,
                        _ => {
                            let half = if closed { Half::RingClosed } else { Half::RingOpen };
                            state.threads[thread].half = half;
                            return Done::SeenInPart;
                        }
                    }
                    state.threads[thread].half = Half::None;
                    return Done::Seen;
                }
            }
            Step::LeaveClosedRing => {
                if state.threads[thread].outcome == Outcome::RingClosed {
                    if let Some(ring) = self.messages[message].send.ring {
                        state.rings[ring].left = true;
                    }
                }
            }
            Step::SendBySocketOtherwise
            | Step::SendBySocketStampedAnew
            | Step::SendBySocketUnstamped => {
                if self.goes_by_socket(state, thread, message) {
                    let returned_from_ring = state.threads[thread].outcome == Outcome::RingClosed;
                    if returned_from_ring && step == Step::SendBySocketUnstamped {
                        state.stamps[message] = 0;
                    }
                    if returned_from_ring
                        && step == Step::SendBySocketStampedAnew
                        && state.threads[thread].half != Half::Stamped
                    {
                        *read_clock = true;
                        state.stamps[message] = self.read_clock(state, process, message, tick);
                        raise_above_last(state, process, message);
                        state.threads[thread].half = Half::Stamped;
                        return Done::SeenInPart;
                    }
                    push(&mut state.socket, message as u8);
                    state.marked &= !(1 << message);
                    self.note_published(state, thread, message);
                    return Done::Seen;
                }
            }
            Step::TakeMark => {
                if self.usable_ring(state, thread, message).is_some() {
                    let noted = mem::take(&mut state.processes[process].noted);
                    state.marked |= Set::from(noted) << message;
                    if !alone {
                        return Done::Seen;
                    }
                }
            }
            Step::MarkAgain => {
                if self.has_lost_mark(state, thread, message) {
                    state.marked &= !(1 << message);
                    state.processes[process].noted = true;
                    if !alone {
                        return Done::Seen;
                    }
                }
            }
            Step::NoteSocketUse => {
                if self.goes_by_socket(state, thread, message) {
                    state.processes[process].noted = true;
                    if !alone {
                        return Done::Seen;
                    }
                }
            }
            _ => assert!(is_for_waking(step), "{step:?} is not a step of sending"),
        }
        Done::Unseen
    }

    fn publish(&self, state: &mut State, thread: usize, message: usize, ring: usize) {
        let ring = &mut state.rings[ring];
        let slot = state.threads[thread].slot;
        let position = if slot == NONE { ring.position } else { slot } + 1;
        let closed = mem::replace(&mut ring.closed, false);
        (ring.tail, ring.position) = (position, position);
        if closed {
            state.threads[thread].outcome = Outcome::RingClosed;
        } else {
            state.threads[thread].outcome = Outcome::Published;
            self.note_published(state, thread, message);
        }
    }

    /// Notes which stamps the clock has passed when it is read after the return of this send.
    fn note_published(&self, state: &mut State, thread: usize, message: usize) {
        let is_timeless = self.ranks || self.scenario.clock == Clock::Apart;
        if is_timeless || !contains(self.honest, message) {
            return;
        }
        let by_socket = self.goes_by_socket(state, thread, message);
        let process = self.scenario.threads[thread].process;
        let stamp = state.stamps[message];
        state.published = state.published.max(stamp);
        let mut past = Past { elsewhere: state.published, here: 0 };
        if by_socket {
            for (other, sent) in state.processes.iter_mut().enumerate() {
                if other == process {
                    sent.in_socket = sent.in_socket.max(stamp);
                } else {
                    past.here = past.here.max(sent.in_socket);
                }
            }
        }
        state.threads[thread].published = past;
    }

    fn read_clock(&self, state: &mut State, process: usize, message: usize, tick: u8) -> u8 {
        let last = state.processes[process].last;
        if self.scenario.clock == Clock::Apart {
            // As late as has an effect on sends of others in the meantime, or not at all.
            return last + LATER * tick;
        }
        if self.scenario.clock == Clock::Rough && !contains(state.marked, message) && tick == 0 {
            return last;
        }
        let passed = state.processes.iter().enumerate().map(|(other, sent)| {
            if other == process { sent.returned.here } else { sent.returned.elsewhere }
        });
        let passed = passed.max().unwrap_or(0);
        state.clock = match self.scenario.clock {
            Clock::Distinct => (state.clock + 1).max(passed + 1),
            Clock::Ties | Clock::Rough => (state.clock + tick).max(passed + 1),
            Clock::Coarse | Clock::Apart => state.clock + tick,
        };
        state.clock
    }

    fn forget_old_stamps(&self, state: &mut State) {
        let next = state.clock + u8::from(self.scenario.clock == Clock::Distinct);
        let threads = state.threads;
        // A rough reading may be less than the last stamp.
        let is_exceeded = self.scenario.clock != Clock::Rough;
        state.forget_stamps_below(next, |process| {
            let mut threads = self.scenario.threads.iter().zip(&threads);
            is_exceeded
                && threads
                    .all(|(plan, thread)| plan.process != process || thread.is_between_sends())
        });
    }
}

fn is_for_waking(step: Step) -> bool {
    matches!(
        step,
        Step::RingBell
            | Step::RingBellByFlag
            | Step::RingBellByFenceAndFlag
            | Step::RingBellBySwapOfFlag
    )
}

fn raise_above_last(state: &mut State, process: usize, message: usize) {
    let stamp = state.stamps[message].max(state.processes[process].last + 1);
    state.stamps[message] = stamp;
    state.processes[process].last = stamp;
}
