//! One receiver that sleeps when it has no message, and senders that must wake it: the wake-up,
//! the lock around it, the marks in the tails. Order is not checked here but in `merge`: the
//! receiver takes messages in any order.
//!
//! Plain stores pass through a buffer of the processor and are seen by others some time later;
//! read-modify-writes and fences wait until it is empty. Weaker memory models are for the tests
//! of the ring itself.

mod receiving;
mod scenarios;
mod sending;
mod state;

use std::fmt::{self, Display};

pub(crate) use scenarios::{Scenario, scenarios};
use state::{BELL, MESSAGES, NONE, Phase, State, drain, is_drained};

use super::algorithm::{Algorithm, Step};
use super::explorer::{Model, Move, Verdict};

pub(crate) struct Wake<'a> {
    scenario: &'a Scenario,
    algorithm: &'a Algorithm,
    /// Of every thread, the number of its first message.
    first: Vec<usize>,
    processes: usize,
}

impl<'a> Wake<'a> {
    pub(crate) fn new(scenario: &'a Scenario, algorithm: &'a Algorithm) -> Self {
        let mut first = Vec::new();
        let mut messages = 0;
        for thread in &scenario.threads {
            first.push(messages);
            messages += thread.sends.len();
        }
        assert!(messages <= MESSAGES);
        Self {
            scenario,
            algorithm,
            first,
            processes: 1 + scenario.threads.iter().map(|thread| thread.process).max().unwrap_or(0),
        }
    }

    fn is_at_end(&self, state: &State) -> bool {
        !self.scenario.held_open
            && state.processes[..self.processes].iter().all(|process| process.gone)
    }

    fn has_room(&self, state: &State) -> bool {
        let queued = state.socket.iter().filter(|&&frame| frame != NONE).count();
        queued + usize::from(state.receiver.held != NONE) < self.scenario.room
    }

    fn has_finished(&self, state: &State, thread: usize) -> bool {
        let plan = &self.scenario.threads[thread];
        state.threads[thread].send as usize == plan.sends.len()
            || state.processes[plan.process].gone
    }
}

impl Model for Wake<'_> {
    type State = State;
    type Label = Label;

    fn start(&self) -> State {
        State::new()
    }

    fn moves(&self, state: &State, moves: &mut Vec<Move<Label, State>>) {
        for thread in 0..self.scenario.threads.len() {
            if !is_drained(&state.threads[thread].stores) {
                let mut next = *state;
                drain(&mut next.rings, &mut next.threads[thread].stores);
                moves.push(Move { label: Label::Drains(thread), state: next, optional: false });
            }
            self.sender_move(state, thread, moves);
        }
        for process in 0..self.processes {
            self.process_moves(state, process, moves);
        }
        if !is_drained(&state.receiver.stores) {
            let mut next = *state;
            drain(&mut next.rings, &mut next.receiver.stores);
            moves.push(Move { label: Label::ReceiverDrains, state: next, optional: false });
        }
        self.receiver_move(state, moves);
    }

    fn judge(&self, state: &State) -> Verdict {
        let complete = state.returned & !state.delivered == 0;
        let Phase::Wait(step) = state.receiver.phase else {
            return match (state.receiver.phase, complete) {
                (Phase::Disconnected, true) => Verdict::End,
                (Phase::Disconnected, false) => {
                    Verdict::Wrong("disconnected, and what was sent is not delivered")
                }
                _ => Verdict::Going,
            };
        };
        let blocks = self.algorithm.wait[step as usize] == Step::BlockOnSocket;
        let asleep = blocks && state.socket[0] == NONE && !self.is_at_end(state);
        let quiet = (0..self.scenario.threads.len()).all(|thread| {
            self.has_finished(state, thread) && is_drained(&state.threads[thread].stores)
        });
        if !(asleep && quiet && is_drained(&state.receiver.stores) && self.scenario.held_open) {
            Verdict::Going
        } else if complete {
            Verdict::End
        } else {
            Verdict::Wrong("asleep for good, and what was sent is not delivered")
        }
    }
}

impl Wake<'_> {
    fn process_moves(&self, state: &State, process: usize, moves: &mut Vec<Move<Label, State>>) {
        if state.processes[process].gone {
            return;
        }
        let mut next = *state;
        next.processes[process].gone = true;
        let mut threads = self.scenario.threads.iter().enumerate();
        let finished = threads
            .all(|(index, thread)| thread.process != process || self.has_finished(state, index));
        if finished && !self.scenario.held_open {
            moves.push(Move { label: Label::Leaves(process), state: next, optional: false });
        } else if !finished && self.scenario.mortal.contains(&process) {
            moves.push(Move { label: Label::Dies(process), state: next, optional: true });
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Label {
    Step(usize, Step),
    Drains(usize),
    Leaves(usize),
    Dies(usize),
    Reads,
    HasRead(u8),
    ReadsNothing,
    Loads(usize, u8),
    Arms(usize, Step),
    DoesNotArm(usize),
    Wakes,
    ReceiverDrains,
}

impl Display for Label {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Step(thread, step) => write!(formatter, "thread {thread}: {step:?}"),
            Self::Drains(thread) => write!(formatter, "thread {thread}: a store becomes visible"),
            Self::Leaves(process) => write!(formatter, "process {process} lets go of the channel"),
            Self::Dies(process) => write!(formatter, "process {process} dies"),
            Self::Reads => write!(formatter, "receiver: takes a frame from the socket"),
            Self::HasRead(BELL) => write!(formatter, "receiver: it was a bell"),
            Self::HasRead(_) => write!(formatter, "receiver: it was a message"),
            Self::ReadsNothing => write!(formatter, "receiver: the socket is empty"),
            Self::Loads(ring, tail) => write!(formatter, "receiver: ring {ring} is at {tail}"),
            Self::Arms(ring, step) => write!(formatter, "receiver: {step:?} of ring {ring}"),
            Self::DoesNotArm(ring) => write!(formatter, "receiver: ring {ring} is not armed"),
            Self::Wakes => write!(formatter, "receiver: wakes up"),
            Self::ReceiverDrains => write!(formatter, "receiver: a store becomes visible"),
        }
    }
}
