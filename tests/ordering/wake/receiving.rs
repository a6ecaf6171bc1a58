//! The receiver.

use super::state::{
    BELL, FRAMES, NONE, Phase, RINGS, ReceiverState, RingState, STORES, State, Store, buffer,
    is_drained, tail_seen,
};
use super::{Label, Wake};
use crate::ordering::algorithm::Step;
use crate::ordering::explorer::Move;

impl Wake<'_> {
    pub(super) fn receiver_move(&self, state: &State, moves: &mut Vec<Move<Label, State>>) {
        let mut next = *state;
        let label = match state.receiver.phase {
            Phase::Read => Some(self.read(&mut next)),
            Phase::LookAhead | Phase::Scan => Some(self.scan(&mut next)),
            Phase::Wait(step) => self.wait(&mut next, self.algorithm.wait[step as usize]),
            Phase::Disconnected => None,
        };
        if let Some(label) = label {
            moves.push(Move { label, state: next, optional: false });
        }
    }

    fn read(&self, state: &mut State) -> Label {
        if state.receiver.held != NONE {
            let frame = state.receiver.held;
            state.receiver.held = NONE;
            if frame != BELL {
                state.delivered |= 1 << frame;
                state.receiver.found = true;
            }
            return Label::HasRead(frame);
        }
        if state.socket[0] == NONE {
            state.receiver.end_read = self.is_at_end(state);
            (state.receiver.phase, state.receiver.ring) = (Phase::Scan, 0);
            return Label::ReadsNothing;
        }
        state.receiver.held = state.socket[0];
        state.socket.copy_within(1.., 0);
        state.socket[FRAMES - 1] = NONE;
        Label::Reads
    }

    fn scan(&self, state: &mut State) -> Label {
        let index = state.receiver.ring as usize;
        let tail = tail_seen(state, &state.receiver.stores, index);
        let ring = &mut state.rings[index];
        while ring.head < tail {
            let slot = &mut ring.slots[ring.head as usize];
            if *slot != NONE {
                state.delivered |= 1 << *slot;
            }
            *slot = NONE;
            ring.head += 1;
            state.receiver.found = true;
        }
        state.receiver.ring += 1;
        if state.receiver.ring as usize == RINGS {
            if state.receiver.found {
                self.begin(state);
            } else if state.receiver.phase == Phase::LookAhead {
                (state.receiver.phase, state.receiver.ring) = (Phase::Read, 0);
            } else if state.receiver.end_read {
                state.receiver.phase = Phase::Disconnected;
            } else {
                state.receiver.ring = 0;
                state.receiver.phase = Phase::Wait(0);
                self.skip_rules(state);
            }
        }
        Label::Loads(index, tail)
    }

    /// Skips to the next step of waiting that is more than a rule for another.
    fn skip_rules(&self, state: &mut State) {
        let Phase::Wait(step) = state.receiver.phase else { return };
        let rest = self.algorithm.wait[step as usize..].iter();
        let rules = rest
            .take_while(|step| matches!(step, Step::HeedFailedCas | Step::MarkedIsArmed))
            .count();
        if step as usize + rules == self.algorithm.wait.len() {
            self.begin(state);
        } else {
            state.receiver.phase = Phase::Wait(step + rules as u8);
        }
    }

    fn wait(&self, state: &mut State, step: Step) -> Option<Label> {
        if step == Step::BlockOnSocket {
            if state.socket[0] == NONE && !self.is_at_end(state) {
                return None;
            }
            self.begin(state);
            return Some(Label::Wakes);
        }
        let index = state.receiver.ring as usize;
        let part = state.receiver.part;
        let RingState { tail, asleep, head, .. } = state.rings[index];
        // Whether the receiver takes the ring as armed. `None`: the step has another part.
        let armed = match (step, part) {
            (Step::ArmByCas, _) => {
                let marked = asleep && self.algorithm.has(Step::MarkedIsArmed);
                let armed = tail == head && (!asleep || marked);
                state.rings[index].asleep |= armed;
                Some(armed)
            }
            (Step::ArmByLoadThenStore, 0) => (tail != head).then_some(false),
            (Step::ArmByLoadThenStore, _) => {
                (state.rings[index].tail, state.rings[index].asleep) = (head, true);
                Some(true)
            }
            (Step::ArmByFlag | Step::ArmByFlagAndFence, 0) => {
                if state.receiver.stores[STORES - 1] != Store::Nothing {
                    return None;
                }
                buffer(&mut state.receiver.stores, Store::Flag(index as u8, true));
                None
            }
            (Step::ArmByFlag | Step::ArmByFlagAndFence, _) => {
                if step == Step::ArmByFlagAndFence && !is_drained(&state.receiver.stores) {
                    return None;
                }
                Some(tail_seen(state, &state.receiver.stores, index) == head)
            }
            _ => unreachable!("{step:?} is not a step of waiting"),
        };
        let Some(armed) = armed else {
            state.receiver.part += 1;
            return Some(Label::Arms(index, step));
        };
        state.receiver.part = 0;
        state.receiver.ring += 1;
        if !armed && self.algorithm.has(Step::HeedFailedCas) {
            self.begin(state);
        } else if state.receiver.ring as usize == RINGS {
            if let Phase::Wait(step) = &mut state.receiver.phase {
                *step += 1;
            }
            self.skip_rules(state);
        }
        Some(if armed { Label::Arms(index, step) } else { Label::DoesNotArm(index) })
    }

    /// Begins another pass.
    fn begin(&self, state: &mut State) {
        state.receiver = ReceiverState::at_start(state.receiver.stores);
        if self.algorithm.has(Step::LookAhead) {
            state.receiver.phase = Phase::LookAhead;
        }
    }
}
