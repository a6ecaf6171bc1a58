//! What the receiver does.

use super::Merge;
use super::label::{Deed, Label};
use super::state::{
    ANNOUNCES, FRAMES, MESSAGES, NONE, Pass, RINGS, RingState, State, Wrong, contains, push, remove,
};
use crate::ordering::algorithm::Step;
use crate::ordering::explorer::Move;

/// So many waiting messages are enough for [`Step::ReadSocketUntilFull`].
const FULL: usize = 2;

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
            match self.receive_step(&mut next) {
                Some(Looked::Nowhere) => next.receiver.step += 1,
                Some(Looked::At(deed)) => {
                    if let (Deed::LoadsA(ring, _), true) =
                        (deed, self.algorithm.has(Step::ScanSomeOfA))
                    {
                        let mut passed_over = next;
                        passed_over.rings[ring].a = passed_over.rings[ring].head;
                        self.settle(passed_over, Label::new(Deed::PassesOver(ring)), moves);
                    }
                    self.settle(next, Label::new(deed), moves);
                    return;
                }
                None => {
                    self.decide(next, Label::new(Deed::Decides), moves);
                    return;
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

    /// Goes on until something shared is to be looked at.
    fn settle(&self, mut state: State, label: Label, moves: &mut Vec<Move<Label, State>>) {
        loop {
            let mut looking = state;
            match self.receive_step(&mut looking) {
                Some(Looked::Nowhere) => {
                    looking.receiver.step += 1;
                    state = looking;
                }
                Some(Looked::At(_)) => {
                    moves.push(Move { label, state, optional: false });
                    return;
                }
                None => {
                    self.decide(state, label, moves);
                    return;
                }
            }
        }
    }

    /// One look at what is shared, or none in this step. `None` when it is time to decide.
    fn receive_step(&self, state: &mut State) -> Option<Looked> {
        let step = *self.algorithm.receive.get(state.receiver.step as usize)?;
        let pass = state.receiver.pass;
        match step {
            Step::ScanA | Step::ScanSomeOfA if pass == Pass::Fresh => Some(self.scan(state, step)),
            Step::ScanB if !matches!(pass, Pass::Refill | Pass::Ahead) => {
                Some(self.scan(state, step))
            }
            Step::LookAhead if pass == Pass::Fresh && waiting(state) == 0 => {
                Some(self.scan(state, step))
            }
            Step::LookAhead => Some(Looked::Nowhere),
            Step::ScanA | Step::ScanSomeOfA | Step::NothingInA | Step::ScanB => {
                Some(Looked::Nowhere)
            }
            Step::ReadSocketUntilData
            | Step::ReadSocketAndClock
            | Step::ReadSocketAsOfA
            | Step::ReadAllOfSocket
            | Step::ReadAllOfSocketAsOfA
            | Step::ReadSocketUntilFull
            | Step::ReadOneFrame => Some(self.read_socket(state, step)),
            _ => None,
        }
    }

    fn scan(&self, state: &mut State, step: Step) -> Looked {
        while (state.receiver.ring as usize) < RINGS {
            let index = state.receiver.ring as usize;
            let ring = &mut state.rings[index];
            state.receiver.ring += 1;
            let is_drained = ring.head == ring.end;
            let is_new = step == Step::ScanB && !ring.in_a;
            if !ring.attached || is_drained || is_new && !self.algorithm.has(Step::ScanNewRings) {
                continue;
            }
            let tail = if ring.end == NONE { ring.tail } else { ring.end };
            if step == Step::LookAhead {
                ring.b = tail;
                return Looked::At(Deed::LooksAhead(index, tail));
            }
            if step == Step::ScanB {
                ring.b = tail;
                return Looked::At(Deed::LoadsB(index, tail));
            }
            (ring.a, ring.in_a) = (tail, true);
            return Looked::At(Deed::LoadsA(index, tail));
        }
        state.receiver.ring = 0;
        if step == Step::LookAhead && state.rings.iter().any(|ring| ring.head < ring.b) {
            state.receiver.pass = Pass::Ahead;
        }
        Looked::Nowhere
    }

    fn read_socket(&self, state: &mut State, step: Step) -> Looked {
        let most = match step {
            Step::ReadAllOfSocket | Step::ReadAllOfSocketAsOfA => FRAMES,
            Step::ReadSocketUntilFull => FULL,
            _ => 1,
        };
        let counts = matches!(step, Step::ReadSocketAsOfA | Step::ReadAllOfSocketAsOfA);
        if state.receiver.pass == Pass::Ahead {
            return Looked::Nowhere;
        }
        let is_filled = waiting(state) >= most;
        if state.receiver.end_read || is_filled || state.receiver.allowance == 0 {
            state.receiver.allowance = NONE;
            state.receiver.all_read = state.receiver.end_read;
            return Looked::Nowhere;
        }
        if counts && state.receiver.allowance == NONE {
            let queued = state.socket.iter().filter(|&&frame| frame != NONE).count();
            // At least one, to learn of the end.
            state.receiver.allowance = queued.max(1) as u8;
            return Looked::At(Deed::Counts(queued));
        }
        if step == Step::ReadOneFrame {
            state.receiver.allowance = 1;
        }
        if state.receiver.allowance != NONE {
            state.receiver.allowance -= 1;
        }
        if state.socket[0] == NONE {
            if state.processes[..self.processes].iter().all(|process| process.gone) {
                state.receiver.end_read = true;
                return Looked::At(Deed::ReadsEnd);
            }
            state.receiver.allowance = NONE;
            state.receiver.all_read = true;
            state.receiver.step += 1;
            return Looked::At(Deed::ReadsNothing);
        }
        let frame = remove(&mut state.socket, 0);
        if frame & ANNOUNCES != 0 {
            let ring = (frame & !ANNOUNCES) as usize;
            state.rings[ring].attached = true;
            return Looked::At(Deed::ReadsAnnouncement(ring));
        }
        let stamp = &mut state.stamps[frame as usize];
        if step == Step::ReadSocketAndClock && *stamp > state.clock {
            state.clock += 1;
            *stamp = state.clock;
        }
        push(&mut state.receiver.waiting, frame);
        Looked::At(Deed::Reads(frame as usize))
    }

    /// All looks are taken: delivers what can be, and begins the next pass.
    fn decide(&self, mut state: State, label: Label, moves: &mut Vec<Move<Label, State>>) {
        let has = |step| self.algorithm.has(step);
        let knows_a = has(Step::ScanA) || has(Step::ScanSomeOfA) || has(Step::NothingInA);
        let knows_b = has(Step::ScanB) || state.receiver.pass == Pass::Ahead;
        for ring in &mut state.rings {
            if !knows_b {
                ring.b = ring.a;
            }
            if !knows_a {
                ring.a = ring.b;
            }
        }
        let ahead = waiting(&state);
        if state.receiver.end_read && !self.algorithm.has(Step::EofNeedsEmptyB) && ahead == 0 {
            self.disconnect(state, label, moves);
            return;
        }
        // By ring, then those that wait.
        let stamp = |place: usize| -> Option<u8> {
            let message = if place < RINGS {
                let ring = &state.rings[place];
                (ring.head < ring.b).then(|| ring.slots[ring.head as usize])?
            } else {
                state.receiver.waiting[place - RINGS]
            };
            // What was never written will be found out when it is delivered.
            Some(state.stamps.get(message as usize).copied().unwrap_or(0))
        };
        let places = RINGS + ahead;
        let Some(least) = (0..places).filter_map(stamp).min() else {
            if state.receiver.end_read {
                self.disconnect(state, label, moves);
            } else {
                self.begin(state, Pass::Fresh, label, moves);
            }
            return;
        };
        for place in 0..places {
            match stamp(place) {
                Some(stamp) if stamp == least || !self.algorithm.has(Step::PickLeast) => {
                    self.take(state, place, label, moves);
                }
                _ => {}
            }
        }
    }

    fn take(
        &self,
        mut state: State,
        place: usize,
        mut label: Label,
        moves: &mut Vec<Move<Label, State>>,
    ) {
        let next = if place < RINGS {
            let ring = &mut state.rings[place];
            let front = ring.slots[ring.head as usize];
            let marked = state.marked & 1_u8.checked_shl(front.into()).unwrap_or(0) != 0;
            let confirms = self.algorithm.has(Step::ConfirmNewArrival)
                || marked && self.algorithm.has(Step::ConfirmMarked);
            if ring.head >= ring.a && confirms {
                Some(Pass::Again)
            } else {
                let slot = &mut ring.slots[ring.head as usize];
                let message = *slot;
                *slot = NONE;
                ring.head += 1;
                self.deliver(&mut state, message, &mut label);
                None
            }
        } else {
            let message = remove(&mut state.receiver.waiting, place - RINGS);
            self.deliver(&mut state, message, &mut label);
            let all_read = state.receiver.all_read;
            if self.algorithm.has(Step::RecheckAfterLookAhead)
                || self.algorithm.has(Step::RecheckUnlessAllRead) && !all_read
            {
                Some(Pass::Again)
            } else {
                self.algorithm.has(Step::RefillLookAhead).then_some(Pass::Refill)
            }
        };
        match next {
            _ if state.wrong != Wrong::Nothing => {
                moves.push(Move { label, state, optional: false });
            }
            Some(pass) => self.begin(state, pass, label, moves),
            None => self.decide(state, label, moves),
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
        // What was delivered plays no part any more: states that differ in it only are the same.
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

    fn begin(
        &self,
        mut state: State,
        pass: Pass,
        label: Label,
        moves: &mut Vec<Move<Label, State>>,
    ) {
        for ring in &mut state.rings {
            match pass {
                Pass::Fresh => (ring.a, ring.b, ring.in_a) = (ring.head, ring.head, false),
                Pass::Again => (ring.a, ring.in_a) = (ring.b, ring.attached),
                Pass::Refill | Pass::Ahead => {}
            }
            if pass == Pass::Again {
                ring.b = ring.head;
            }
        }
        state.receiver.pass = pass;
        state.receiver.all_read = false;
        state.receiver.step = 0;
        state.receiver.ring = 0;
        moves.push(Move { label, state, optional: false });
        if pass == Pass::Fresh && self.algorithm.receive[0] == Step::LookAhead {
            // The socket has its turn.
            state.receiver.step = 1;
            moves.push(Move { label, state, optional: false });
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

/// How many wait that came by socket.
fn waiting(state: &State) -> usize {
    state.receiver.waiting.iter().take_while(|&&message| message != NONE).count()
}

enum Looked {
    Nowhere,
    At(Deed),
}
