//! The receiver: it executes the merge of the crate, one look at a time.

use strait::internals::merge::{
    self, MAX_WITHOUT_SOCKET, MergeState, Next, Progress, Read, SocketRead,
};
use strait::ipc::Ordering;

use super::Merge;
use super::label::{Deed, Label};
use super::sources::{EndedEarly, Frame, SOCKET, Sources};
use super::state::{FRAMES, MESSAGES, NONE, Pass, RingState, State, Wrong, contains, push};
use crate::ordering::algorithm::Step;
use crate::ordering::explorer::Move;

/// The outcome of a step of the merge.
enum Stepped {
    /// It looked at nothing that is shared.
    Unseen,
    /// It looked at this.
    Looked(Deed),
    /// It found a message.
    Delivered(u8),
    /// There is no message.
    Idle,
    /// There is no message, and all senders have been dropped.
    Ended,
}

impl Merge<'_> {
    pub(super) fn receiver_moves(&self, state: &State, moves: &mut Vec<Move<Label, State>>) {
        if state.receiver.disconnected {
            return;
        }
        let (closing, tail) = state.receiver.closing;
        if closing != NONE {
            let ring = closing as usize;
            let mut next = *state;
            next.receiver.closing = (NONE, 0);
            next.rings[ring].tail = tail;
            next.rings[ring].closed = true;
            self.retire(&mut next, ring, tail);
            let label = Label::new(Deed::Retires(ring, tail));
            moves.push(Move { label, state: next, optional: false });
            return;
        }
        for &ring in self.scenario.retired {
            self.retire_moves(state, ring, moves);
        }
        let mut next = *state;
        loop {
            match self.step(&mut next, SOCKET) {
                Stepped::Unseen => {}
                Stepped::Looked(deed) => {
                    if let (Deed::LoadsA(ring, _), true) =
                        (deed, self.algorithm.has(Step::ScanSomeOfA))
                    {
                        let mut passed_over = next;
                        passed_over.rings[ring].a = passed_over.rings[ring].head;
                        self.settle(passed_over, Label::new(Deed::PassesOver(ring)), moves);
                    }
                    return self.settle(next, Label::new(deed), moves);
                }
                Stepped::Delivered(message) => {
                    let mut label = Label::new(Deed::Decides);
                    self.deliver(&mut next, message, &mut label);
                    return self.settle(next, label, moves);
                }
                Stepped::Idle => return self.push(next, Label::new(Deed::Decides), moves),
                Stepped::Ended => {
                    return self.disconnect(next, Label::new(Deed::Decides), moves);
                }
            }
        }
    }

    fn retire_moves(&self, state: &State, ring: usize, moves: &mut Vec<Move<Label, State>>) {
        let RingState { attached, end, tail, .. } = state.rings[ring];
        if !attached || end != NONE {
            return;
        }
        let mut next = *state;
        let deed = if self.algorithm.has(Step::CloseByLoadThenStore) {
            next.receiver.closing = (ring as u8, tail);
            Deed::LooksAtEnd(ring, tail)
        } else {
            next.rings[ring].closed = self.algorithm.has(Step::CloseByFetchOr);
            self.retire(&mut next, ring, tail);
            Deed::Retires(ring, tail)
        };
        moves.push(Move { label: Label::new(deed), state: next, optional: true });
    }

    fn retire(&self, state: &mut State, ring: usize, end: u8) {
        state.rings[ring].end = end;
        if !self.algorithm.has(Step::DrainToFinal) {
            state.rings[ring].head = end;
        }
    }

    /// Executes one step of the merge, in which this place is picked.
    fn step(&self, state: &mut State, picks: usize) -> Stepped {
        let mut merge = self.restored(state, picks);
        let before = merge.state.progress;
        let mut sources = Sources::new(self, state, picks);
        let next = if before == Progress::Nothing && sources.next_step() == Some(Step::ReadOneFrame)
        {
            // A receiver that waited has received the frame that woke it.
            read_before(&mut merge, &mut sources).map(|()| None)
        } else {
            merge.step(&mut sources)
        };
        let deed = sources.deed;
        self.save(&merge, before, state);
        let stepped = match (next, deed) {
            (Err(EndedEarly) | Ok(Some(Next::Nothing(SocketRead::Disconnected))), _) => {
                Stepped::Ended
            }
            (Ok(Some(Next::Record(message))), _) => Stepped::Delivered(message),
            (Ok(Some(Next::Queued(frame))), _) => Stepped::Delivered(frame.message),
            (Ok(Some(Next::Nothing(_))), _) => Stepped::Idle,
            (Ok(None), None) => Stepped::Unseen,
            (Ok(None), Some(deed)) => Stepped::Looked(deed),
            (Ok(Some(_)), _) => unreachable!("no ring has anything else, and nothing moves"),
        };
        if !matches!(stepped, Stepped::Unseen | Stepped::Looked(_)) {
            // The next call begins, as in `Merge::begin`.
            state.receiver.merge.socket = None;
        }
        stepped
    }

    fn restored(&self, state: &mut State, picks: usize) -> merge::Merge<Frame> {
        let is_per_sender = self.algorithm.is_per_sender;
        let ordering = if is_per_sender { Ordering::PerSender } else { Ordering::Causal };
        let mut merge = merge::Merge::new(ordering);
        merge.state = state.receiver.merge;
        let waiting = state.receiver.waiting;
        let sources = Sources::new(self, state, picks);
        let waiting = waiting.iter().take_while(|&&message| message != NONE).enumerate();
        merge.queue.extend(waiting.map(|(index, &message)| sources.frame(message, index == 0)));
        merge
    }

    fn save(&self, merge: &merge::Merge<Frame>, before: Progress, state: &mut State) {
        let mut waiting = [NONE; FRAMES];
        for (place, frame) in waiting.iter_mut().zip(&merge.queue) {
            *place = frame.message;
        }
        state.receiver.waiting = waiting;
        let progress = merge.state.progress;
        // Values that are computed anew are reset, so that states are equal.
        let is_read = matches!(progress, Progress::Read | Progress::Visible);
        let stays = progress == Progress::Nothing && before == Progress::Nothing;
        state.receiver.merge = MergeState {
            socket: merge.state.socket.filter(|_| is_read),
            is_all_read: merge.state.is_all_read && is_read,
            without_socket: if stays { merge.state.without_socket } else { 0 },
            ..merge.state
        };
        if progress == Progress::Nothing && before != Progress::Nothing {
            for ring in &mut state.rings {
                (ring.a, ring.b, ring.in_a) = (ring.head, ring.head, false);
            }
            state.begin_pass(Pass::Fresh);
        }
    }

    /// Continues until the next look at something shared.
    fn settle(&self, mut state: State, label: Label, moves: &mut Vec<Move<Label, State>>) {
        if state.wrong != Wrong::Nothing {
            return self.push(state, label, moves);
        }
        if state.receiver.merge.progress != Progress::Visible {
            return self.settle_by(state, SOCKET, label, moves);
        }
        let places = Sources::new(self, &mut state, SOCKET).places();
        for place in places {
            self.settle_by(state, place, label, moves);
        }
    }

    fn settle_by(
        &self,
        state: State,
        picks: usize,
        mut label: Label,
        moves: &mut Vec<Move<Label, State>>,
    ) {
        let mut next = state;
        match self.step(&mut next, picks) {
            Stepped::Unseen => self.settle(next, label, moves),
            Stepped::Looked(_) => self.push(state, label, moves),
            Stepped::Delivered(message) => {
                self.deliver(&mut next, message, &mut label);
                self.settle(next, label, moves);
            }
            Stepped::Idle => self.push(next, label, moves),
            Stepped::Ended => self.disconnect(next, label, moves),
        }
    }

    fn push(&self, mut state: State, label: Label, moves: &mut Vec<Move<Label, State>>) {
        moves.push(Move { label, state, optional: false });
        let receiver = &mut state.receiver;
        let begins = receiver.merge.progress == Progress::Nothing
            && (receiver.step, receiver.ring) == (0, 0);
        if begins && self.algorithm.receive[0] == Step::LookAhead {
            // It is the socket's turn.
            receiver.merge.without_socket = MAX_WITHOUT_SOCKET;
            moves.push(Move { label, state, optional: false });
        }
    }

    fn deliver(&self, state: &mut State, message: u8, label: &mut Label) {
        push(&mut label.delivered, message);
        let message = message as usize;
        if message >= MESSAGES {
            state.wrong = Wrong::Garbage;
            return;
        }
        if contains(state.delivered, message) {
            state.wrong = Wrong::Twice;
            return;
        }
        let missing = state.before[message] & !state.delivered;
        for other in 0..self.messages.len() {
            if contains(missing, other) {
                let fifo = self.messages[other].thread == self.messages[message].thread;
                state.wrong = if fifo { Wrong::Fifo } else { Wrong::Causality };
            }
        }
        // A delivered message has no further effect: states that differ only in it are equal.
        state.delivered |= 1 << message;
        state.marked &= !(1 << message);
        state.stamps[message] = 0;
        state.before[message] = 0;
        for before in &mut state.before {
            *before &= !(1 << message);
        }
        if self.ranks {
            state.rank_stamps();
        }
    }

    fn disconnect(&self, mut state: State, label: Label, moves: &mut Vec<Move<Label, State>>) {
        state.receiver.disconnected = true;
        if state.returned & self.honest & !state.delivered != 0 {
            state.wrong = Wrong::Disconnected;
        }
        moves.push(Move { label, state, optional: false });
    }
}

/// Reads one frame before anything else is looked at.
fn read_before(
    merge: &mut merge::Merge<Frame>,
    sources: &mut Sources<'_>,
) -> Result<(), EndedEarly> {
    match sources.read_on(Step::ReadOneFrame, merge.queue.len())? {
        Read::Message(frame) => merge.add(frame, u64::MAX),
        Read::Nothing => {}
        // This ended the step.
        _ => return Ok(()),
    }
    sources.state.receiver.allowance = NONE;
    sources.state.receiver.step += 1;
    Ok(())
}
