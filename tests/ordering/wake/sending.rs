//! A sending thread.

use super::scenarios::By;
use super::state::{BELL, NONE, State, Store, ThreadState, buffer, flag_seen, is_drained, push};
use super::{Label, Wake};
use crate::ordering::algorithm::Step;
use crate::ordering::explorer::Move;

/// The outcome of a step.
#[derive(PartialEq, Eq)]
enum Done {
    Unseen,
    Seen,
    SeenInPart,
    Blocked,
}

impl Wake<'_> {
    pub(super) fn sender_move(
        &self,
        state: &State,
        thread: usize,
        moves: &mut Vec<Move<Label, State>>,
    ) {
        if self.has_finished(state, thread) {
            return;
        }
        let mut next = *state;
        let mut taken = None;
        while let Some(&step) = self.algorithm.send.get(next.threads[thread].step as usize) {
            if taken.is_some() && !self.is_idle(&next, thread, step) {
                break;
            }
            match self.send_step(&mut next, thread, step) {
                Done::Unseen => {}
                Done::Seen => taken = Some(step),
                Done::SeenInPart => {
                    taken = Some(step);
                    break;
                }
                Done::Blocked => break,
            }
            let thread = &mut next.threads[thread];
            (thread.step, thread.part) = (thread.step + 1, 0);
        }
        let Some(step) = taken else { return };
        if next.threads[thread].step as usize == self.algorithm.send.len() {
            let ThreadState { send, stores, .. } = next.threads[thread];
            next.returned |= 1 << (self.first[thread] + send as usize);
            next.threads[thread] = ThreadState::at(send + 1, stores);
        }
        moves.push(Move { label: Label::Step(thread, step), state: next, optional: false });
    }

    fn by(&self, state: &State, thread: usize) -> By {
        self.scenario.threads[thread].sends[state.threads[thread].send as usize]
    }

    /// This step would have no effect.
    fn is_idle(&self, state: &State, thread: usize, step: Step) -> bool {
        let by_ring = self.by(state, thread) == By::Ring;
        match step {
            Step::WriteRecord | Step::PublishBySwap | Step::PublishByLoadThenStore => !by_ring,
            Step::RingBellByFlag | Step::RingBellByFenceAndFlag | Step::RingBellBySwapOfFlag => {
                !by_ring
            }
            Step::SendBySocketOtherwise
            | Step::SendBySocketStampedAnew
            | Step::SendBySocketUnstamped => by_ring,
            Step::RingBell => !state.threads[thread].saw_sleeper,
            Step::TakeLock | Step::ReleaseLock => false,
            _ => true,
        }
    }

    fn send_step(&self, state: &mut State, thread: usize, step: Step) -> Done {
        if self.is_idle(state, thread, step) {
            return Done::Unseen;
        }
        let ring = self.scenario.threads[thread].process;
        let message = (self.first[thread] + state.threads[thread].send as usize) as u8;
        let drained = is_drained(&state.threads[thread].stores);
        match step {
            Step::TakeLock => {
                if state.processes[ring].locked || !drained {
                    return Done::Blocked;
                }
                state.processes[ring].locked = true;
            }
            Step::ReleaseLock => {
                if !drained {
                    return Done::Blocked;
                }
                state.processes[ring].locked = false;
            }
            Step::WriteRecord => {
                let slot = state.rings[ring].position;
                state.rings[ring].slots[slot as usize] = message;
                state.threads[thread].slot = slot;
                return Done::Unseen;
            }
            Step::PublishBySwap => {
                if !drained {
                    return Done::Blocked;
                }
                let position = next_position(state, thread, ring);
                state.threads[thread].saw_sleeper = state.rings[ring].asleep;
                let ring = &mut state.rings[ring];
                (ring.tail, ring.asleep, ring.position) = (position, false, position);
            }
            Step::PublishByLoadThenStore => {
                if state.threads[thread].part == 0 {
                    state.threads[thread].saw_sleeper = state.rings[ring].asleep;
                    state.threads[thread].part = 1;
                    return Done::SeenInPart;
                }
                let position = next_position(state, thread, ring);
                state.rings[ring].position = position;
                buffer(&mut state.threads[thread].stores, Store::Tail(ring as u8, position));
            }
            Step::SendBySocketOtherwise
            | Step::SendBySocketStampedAnew
            | Step::SendBySocketUnstamped => {
                if !self.has_room(state) {
                    return Done::Blocked;
                }
                push(&mut state.socket, message);
            }
            Step::RingBell => self.ring(state),
            Step::RingBellByFlag | Step::RingBellByFenceAndFlag | Step::RingBellBySwapOfFlag => {
                return self.ring_by_flag(state, thread, ring, step);
            }
            _ => unreachable!("all other steps are idle"),
        }
        Done::Seen
    }

    fn ring(&self, state: &mut State) {
        if self.has_room(state) {
            push(&mut state.socket, BELL);
        }
    }

    fn ring_by_flag(&self, state: &mut State, thread: usize, ring: usize, step: Step) -> Done {
        let swaps = step == Step::RingBellBySwapOfFlag;
        let part = state.threads[thread].part;
        match part {
            0 => {
                let stores = state.threads[thread].stores;
                if step != Step::RingBellByFlag && !is_drained(&stores) {
                    return Done::Blocked;
                }
                if !flag_seen(state, &stores, ring) {
                    return Done::Seen;
                }
                if swaps {
                    state.rings[ring].flag = false;
                }
            }
            1 => {
                self.ring(state);
                if swaps {
                    return Done::Seen;
                }
            }
            _ => {
                buffer(&mut state.threads[thread].stores, Store::Flag(ring as u8, false));
                return Done::Seen;
            }
        }
        state.threads[thread].part += 1;
        Done::SeenInPart
    }
}

/// Behind the record that was written, if one was.
fn next_position(state: &State, thread: usize, ring: usize) -> u8 {
    let slot = state.threads[thread].slot;
    if slot == NONE { state.rings[ring].position + 1 } else { slot + 1 }
}
