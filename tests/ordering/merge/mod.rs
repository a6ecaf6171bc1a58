//! Senders in several processes, their rings, the socket that they share, and one receiver that
//! merges all of it. A [`Scenario`] says which messages each sender may send, and when; an
//! [`Algorithm`] is the steps that they execute. The receiver is the merge of the crate: a
//! state of the model has its state, and a move executes it up to its next look at a ring or
//! the socket. Wake-ups and sleep are in `wake`; here the receiver polls.
//!
//! Every load of a tail, every publication and every call of the kernel is a move of its own.
//! What no other process can observe is done along with the move before or after it, so that it
//! constrains most: a call is as late as it can be, and a return as early.
//!
//! The guarantee: a message is delivered once, after all messages whose sends had returned when
//! its own began. If its send has returned, it is delivered before the receiver reports
//! disconnection. If the algorithm is for the order of each sender, only messages of the same
//! process have to precede it.

mod label;
mod receiving;
mod scenario;
mod sending;
mod sources;
mod state;

use label::{Deed, Label};
pub(crate) use scenario::{Clock, Scenario, Send, Thread};
use state::{ACTORS, MESSAGES, Set, State, Wrong};

use super::algorithm::{Algorithm, Step};
use super::explorer::{Model, Move, Verdict};

pub(crate) struct Merge<'a> {
    scenario: &'a Scenario,
    algorithm: &'a Algorithm,
    messages: Vec<Message>,
    /// The messages with honest stamps.
    honest: Set,
    processes: usize,
    /// Only the order of stamps matters, so that they can be replaced by ranks.
    ranks: bool,
}

struct Message {
    thread: usize,
    number: usize,
    send: Send,
    /// The messages after whose return it is sent.
    after: Set,
    /// The messages that have to precede it, if their sends have returned.
    ordered: Set,
}

impl<'a> Merge<'a> {
    pub(crate) fn new(scenario: &'a Scenario, algorithm: &'a Algorithm) -> Self {
        let sends = scenario.threads.iter().enumerate().flat_map(|(thread, plan)| {
            plan.sends.iter().enumerate().map(move |(number, send)| (thread, number, send))
        });
        let sends: Vec<(usize, usize, &Send)> = sends.collect();
        let named = |&named: &(usize, usize)| -> Set {
            let place = sends.iter().position(|&(thread, number, _)| (thread, number) == named);
            1 << place.expect("it waits for a send of the scenario")
        };
        let messages: Vec<Message> = sends
            .iter()
            .map(|&(thread, number, send)| {
                let after = send.after.iter().map(named).sum();
                let process = scenario.threads[thread].process;
                let ordered = sends.iter().enumerate().map(|(index, &(other, _, sent))| {
                    let is_of_sender = scenario.threads[other].process == process;
                    let is_ordered = is_of_sender || !algorithm.is_per_sender;
                    Set::from(is_ordered && sent.false_stamp.is_none()) << index
                });
                Message { thread, number, send: send.clone(), after, ordered: ordered.sum() }
            })
            .collect();
        let honest = messages.iter().enumerate();
        let honest =
            honest.map(|(index, message)| Set::from(message.send.false_stamp.is_none()) << index);
        let processes = scenario.threads.iter().map(|thread| thread.process + 1).max().unwrap_or(0);
        assert!(messages.len() <= MESSAGES && processes <= ACTORS);
        // Between reading the clock and raising the stamp no other thread of the process does
        // so: no stamp is raised.
        let are_readings = algorithm.sends_with(Step::TakeLock, Step::Stamp);
        let honest = honest.sum();
        let ranks = scenario.clock == Clock::Distinct
            && are_readings
            && messages.iter().all(|message| message.send.false_stamp.is_none());
        Self { scenario, algorithm, messages, honest, processes, ranks }
    }
}

impl Model for Merge<'_> {
    type State = State;
    type Label = Label;

    fn start(&self) -> State {
        State::new(self.scenario.attached)
    }

    fn moves(&self, state: &State, moves: &mut Vec<Move<Label, State>>) {
        for thread in 0..self.scenario.threads.len() {
            self.sender_moves(state, thread, moves);
        }
        for process in 0..self.processes {
            self.process_moves(state, process, moves);
        }
        self.receiver_moves(state, moves);
    }

    fn judge(&self, state: &State) -> Verdict {
        match state.wrong {
            Wrong::Nothing if state.receiver.disconnected => Verdict::End,
            Wrong::Nothing => Verdict::Going,
            Wrong::Fifo => Verdict::Wrong("delivered before what the same thread sent before it"),
            Wrong::Causality => {
                Verdict::Wrong("delivered before what was sent when its own send had not begun")
            }
            Wrong::Twice => Verdict::Wrong("delivered twice"),
            Wrong::Garbage => Verdict::Wrong("delivered what was not written"),
            Wrong::Disconnected => {
                Verdict::Wrong("disconnected, and what was sent is not delivered")
            }
        }
    }
}

impl Merge<'_> {
    /// A process that has nothing more to send drops its sender; a process that may die dies
    /// at any time.
    fn process_moves(&self, state: &State, process: usize, moves: &mut Vec<Move<Label, State>>) {
        if state.processes[process].gone {
            return;
        }
        let mut next = *state;
        next.processes[process].gone = true;
        let finished = self.scenario.threads.iter().zip(&state.threads).all(|(plan, thread)| {
            plan.process != process || thread.send as usize == plan.sends.len()
        });
        if finished {
            let label = Label::new(Deed::Leaves(process));
            moves.push(Move { label, state: next, optional: false });
        } else if self.scenario.mortal.contains(&process) {
            let label = Label::new(Deed::Dies(process));
            moves.push(Move { label, state: next, optional: true });
        }
    }
}
