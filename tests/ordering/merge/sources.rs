//! The socket and the rings of the model, as the merge of the crate reads them. Changes of the
//! receiving steps are implemented here: the merge calls its sources in one order, and they
//! look in the order of the list.

use strait::internals::merge::{
    Front, PacketSource, Progress, QueueState, Read, RingSource, Stamped,
};

use super::Merge;
use super::label::Deed;
use super::state::{ANNOUNCES, NONE, Pass, RINGS, State, remove};
use crate::ordering::algorithm::Step;

/// The number of messages read ahead that ends [`Step::ReadSocketUntilFull`].
const FULL: usize = 2;

/// A message that came by socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) message: u8,
    stamp: u64,
}

impl Stamped for Frame {
    fn stamp(&self) -> u64 {
        self.stamp
    }

    fn set_stamp(&mut self, stamp: u64) {
        self.stamp = stamp;
    }
}

/// The receiver reports disconnection, although there may be records in rings.
#[derive(Debug)]
pub(super) struct EndedEarly;

/// The sources that the receiver sees in one step of the merge.
pub(super) struct Sources<'a> {
    pub(super) model: &'a Merge<'a>,
    pub(super) state: &'a mut State,
    /// What the step has looked at.
    pub(super) deed: Option<Deed>,
    /// The place that is picked if several have the least stamp: a ring, or [`SOCKET`].
    picks: usize,
    /// The front of a ring was not in A.
    is_unconfirmed: bool,
}

/// In place of a ring: the messages of the socket.
pub(super) const SOCKET: usize = RINGS;

impl<'a> Sources<'a> {
    pub(super) fn new(model: &'a Merge<'a>, state: &'a mut State, picks: usize) -> Self {
        Self { model, state, deed: None, picks, is_unconfirmed: false }
    }

    /// The places that may be picked: of equal stamps any may be first.
    pub(super) fn places(&mut self) -> impl Iterator<Item = usize> + use<> {
        self.complete_scans();
        let stamps: [Option<u8>; RINGS + 1] = std::array::from_fn(|place| {
            let message = match self.state.rings.get(place) {
                Some(ring) => (ring.head < ring.b).then(|| ring.slots[ring.head as usize]),
                None => Some(self.state.receiver.waiting[0]).filter(|&message| message != NONE),
            };
            message.map(|message| self.stamp(message))
        });
        let least = stamps.iter().flatten().min().copied();
        let is_least = move |&place: &usize| least.is_none() || stamps[place] == least;
        let most = if least.is_none() { 1 } else { RINGS + 1 };
        (0..RINGS + 1).filter(is_least).take(most)
    }

    /// Completes the scans if one of them is not in the list.
    fn complete_scans(&mut self) {
        let knows_a =
            self.has(Step::ScanA) || self.has(Step::ScanSomeOfA) || self.has(Step::NothingInA);
        let knows_b = self.has(Step::ScanB) || self.state.receiver.pass == Pass::Ahead;
        for ring in &mut self.state.rings {
            if !knows_b {
                ring.b = ring.a;
            }
            if !knows_a {
                ring.a = ring.b;
            }
        }
    }

    fn has(&self, step: Step) -> bool {
        self.model.algorithm.has(step)
    }

    /// The next step of the list.
    pub(super) fn next_step(&self) -> Option<Step> {
        self.model.algorithm.receive.get(self.state.receiver.step as usize).copied()
    }

    /// Looks at one ring, in the steps that come before the socket is read, or after that.
    /// `true` if none of them is left.
    fn scan_on(&mut self) -> bool {
        while let Some(step) = self.next_step() {
            let pass = self.state.receiver.pass;
            let scans = match step {
                Step::ScanA | Step::ScanSomeOfA => pass == Pass::Fresh,
                Step::ScanB => !matches!(pass, Pass::Refill | Pass::Ahead),
                Step::LookAhead | Step::NothingInA => false,
                _ => return true,
            };
            if scans && self.scan(step) {
                return false;
            }
            self.state.receiver.step += 1;
        }
        true
    }

    /// Looks at the next ring, unless that was the last.
    fn scan(&mut self, step: Step) -> bool {
        while (self.state.receiver.ring as usize) < RINGS {
            let index = self.state.receiver.ring as usize;
            let finds_new = self.has(Step::ScanNewRings);
            let ring = &mut self.state.rings[index];
            self.state.receiver.ring += 1;
            let is_drained = ring.head == ring.end;
            let is_new = step == Step::ScanB && !ring.in_a;
            if !ring.attached || is_drained || is_new && !finds_new {
                continue;
            }
            let tail = if ring.end == NONE { ring.tail } else { ring.end };
            self.deed = Some(match step {
                Step::LookAhead => {
                    ring.b = tail;
                    Deed::LooksAhead(index, tail)
                }
                Step::ScanB => {
                    ring.b = tail;
                    Deed::LoadsB(index, tail)
                }
                _ => {
                    (ring.a, ring.in_a) = (tail, true);
                    Deed::LoadsA(index, tail)
                }
            });
            return true;
        }
        self.state.receiver.ring = 0;
        false
    }

    /// Executes a part of a step that reads the socket.
    pub(super) fn read_on(&mut self, step: Step, queued: usize) -> Result<Read<Frame>, EndedEarly> {
        let most = match step {
            Step::ReadAllOfSocket | Step::ReadAllOfSocketAsOfA => usize::MAX,
            Step::ReadSocketUntilFull => FULL,
            _ => 1,
        };
        let counts = matches!(step, Step::ReadSocketAsOfA | Step::ReadAllOfSocketAsOfA);
        let receiver = &mut self.state.receiver;
        if queued >= most || receiver.allowance == 0 {
            self.end_reading();
            let rechecks = self.has(Step::RecheckAfterLookAhead)
                || self.has(Step::RecheckUnlessAllRead)
                || self.has(Step::RefillLookAhead);
            // Without these steps, it is as if nothing more was there.
            return Ok(if rechecks && queued > 0 { Read::Full } else { Read::Empty });
        }
        if counts && receiver.allowance == NONE {
            let frames = self.state.socket.iter().filter(|&&frame| frame != NONE).count();
            // At least one frame, to notice the end.
            receiver.allowance = frames.max(1) as u8;
            self.deed = Some(Deed::Counts(frames));
            return Ok(Read::Nothing);
        }
        if step == Step::ReadOneFrame {
            receiver.allowance = 1;
        }
        if receiver.allowance != NONE {
            receiver.allowance -= 1;
        }
        if self.state.socket[0] == NONE {
            self.end_reading();
            let processes = &self.state.processes[..self.model.processes];
            if !processes.iter().all(|process| process.gone) {
                self.deed = Some(Deed::ReadsNothing);
                return Ok(Read::Empty);
            }
            self.deed = Some(Deed::ReadsEnd);
            let is_early = queued == 0 && !self.has(Step::EofNeedsEmptyB);
            return if is_early { Err(EndedEarly) } else { Ok(Read::Disconnected) };
        }
        let frame = remove(&mut self.state.socket, 0);
        if frame & ANNOUNCES != 0 {
            let ring = (frame & !ANNOUNCES) as usize;
            self.state.rings[ring].attached = true;
            self.deed = Some(Deed::ReadsAnnouncement(ring));
            return Ok(Read::Nothing);
        }
        let stamp = &mut self.state.stamps[frame as usize];
        if step == Step::ReadSocketAndClock && *stamp > self.state.clock {
            self.state.clock += 1;
            *stamp = self.state.clock;
        }
        self.deed = Some(Deed::Reads(frame as usize));
        Ok(Read::Message(self.frame(frame, false)))
    }

    fn end_reading(&mut self) {
        self.state.receiver.allowance = NONE;
        self.state.receiver.step += 1;
    }

    /// A message of the socket, the first in its queue or not, with the stamp that it is
    /// picked by.
    pub(super) fn frame(&self, message: u8, is_first: bool) -> Frame {
        let place = if is_first { SOCKET } else { SOCKET + 1 };
        Frame { message, stamp: self.key(message, place) }
    }

    /// The stamp that a message is picked by in a place: twice its stamp, and one more unless
    /// the place is to be picked.
    fn key(&self, message: u8, place: usize) -> u64 {
        2 * u64::from(self.stamp(message)) + u64::from(place != self.picks)
    }

    /// If the least stamp is not picked, all are equal. A record that was never written is
    /// noticed when it is delivered.
    fn stamp(&self, message: u8) -> u8 {
        let stamp = self.state.stamps.get(message as usize).copied();
        stamp.filter(|_| self.has(Step::PickLeast)).unwrap_or(0)
    }
}

fn is_reading(step: Step) -> bool {
    matches!(
        step,
        Step::ReadSocketUntilData
            | Step::ReadSocketAndClock
            | Step::ReadSocketAsOfA
            | Step::ReadAllOfSocket
            | Step::ReadAllOfSocketAsOfA
            | Step::ReadSocketUntilFull
            | Step::ReadOneFrame
    )
}

impl PacketSource for Sources<'_> {
    type Queued = Frame;
    type Error = EndedEarly;

    fn read(&mut self, queue: QueueState) -> Result<Read<Frame>, EndedEarly> {
        if !self.scan_on() {
            return Ok(Read::Nothing);
        }
        match self.next_step() {
            Some(step) if is_reading(step) => self.read_on(step, queue.len),
            _ => Ok(Read::Empty),
        }
    }

    /// The merge believes every stamp: the guarantee does not depend on its checks.
    fn latest_stamp(&self) -> u64 {
        u64::MAX
    }
}

impl RingSource for Sources<'_> {
    type Record = u8;
    type Fault = EndedEarly;

    fn may_look_ahead(&self) -> bool {
        self.has(Step::LookAhead)
    }

    fn look_before(&mut self) -> bool {
        self.scan_on()
    }

    fn look(&mut self) -> bool {
        if self.state.receiver.merge.progress != Progress::Nothing {
            return self.scan_on();
        }
        if self.scan(Step::LookAhead) {
            return false;
        }
        if self.has_more() {
            self.state.receiver.pass = Pass::Ahead;
        }
        true
    }

    fn has_more(&self) -> bool {
        self.state.rings.iter().any(|ring| ring.head < ring.b)
    }

    fn confirm(&mut self) {
        if self.has(Step::RefillLookAhead) && !self.is_unconfirmed {
            self.state.begin_pass(Pass::Refill);
            return;
        }
        for ring in &mut self.state.rings {
            (ring.a, ring.in_a) = (ring.b, ring.attached);
            ring.b = ring.head;
        }
        self.state.begin_pass(Pass::Again);
        // A receiver that did not wait has not read a frame before A.
        if self.next_step() == Some(Step::ReadOneFrame) {
            self.state.receiver.step = 1;
        }
    }

    fn fronts(&mut self, mut visit: impl FnMut(usize, Front)) -> Result<(), EndedEarly> {
        self.complete_scans();
        let confirms_all = self.has(Step::ConfirmNewArrival);
        for (index, ring) in self.state.rings.iter().enumerate() {
            if ring.head < ring.b {
                let message = ring.slots[ring.head as usize];
                let mark = self.state.marked & 1_u8.checked_shl(message.into()).unwrap_or(0);
                let stamp = self.key(message, index);
                let is_after_socket = confirms_all || mark != 0;
                visit(index, Front::Record { stamp, is_after_socket, was_read: true });
            }
        }
        Ok(())
    }

    fn was_before(&mut self, ring: usize) -> Result<bool, EndedEarly> {
        let confirms = self.has(Step::ConfirmNewArrival) || self.has(Step::ConfirmMarked);
        let ring = &self.state.rings[ring];
        self.is_unconfirmed = confirms && ring.head >= ring.a;
        Ok(!self.is_unconfirmed)
    }

    fn take(&mut self, ring: usize) -> Result<u8, EndedEarly> {
        let ring = &mut self.state.rings[ring];
        let slot = &mut ring.slots[ring.head as usize];
        ring.head += 1;
        Ok(std::mem::replace(slot, NONE))
    }
}
