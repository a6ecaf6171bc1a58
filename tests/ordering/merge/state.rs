//! The state of senders, rings, socket and receiver. It is as small as possible, and fields
//! that do not matter any more are reset.

use strait::internals::merge::{Merge, MergeState};
use strait::ipc::Ordering;

use super::sources::Frame;

pub(super) const MESSAGES: usize = 8;
pub(super) const ACTORS: usize = 4;
pub(super) const RINGS: usize = 3;
pub(super) const SLOTS: usize = 4;
pub(super) const FRAMES: usize = 8;

/// For positions and indices: none.
pub(super) const NONE: u8 = u8::MAX;

/// A frame in the socket is a message, or announces a ring.
pub(super) const ANNOUNCES: u8 = 0x40;

/// A set of messages.
pub(super) type Set = u8;

pub(super) fn contains(set: Set, member: usize) -> bool {
    set & (1 << member) != 0
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// The last reading. As all times, 0 if it does not matter any more.
    pub(super) clock: u8,
    /// The greatest stamp that was published.
    pub(super) published: u8,
    /// Of every message in flight: its stamp, and the messages that must be delivered
    /// before it.
    pub(super) stamps: [u8; MESSAGES],
    pub(super) before: [Set; MESSAGES],
    pub(super) returned: Set,
    pub(super) delivered: Set,
    /// Which records have the mark.
    pub(super) marked: Set,
    pub(super) threads: [ThreadState; ACTORS],
    pub(super) processes: [ProcessState; ACTORS],
    pub(super) rings: [RingState; RINGS],
    pub(super) socket: [u8; FRAMES],
    pub(super) receiver: ReceiverState,
    pub(super) wrong: Wrong,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ThreadState {
    pub(super) send: u8,
    pub(super) step: u8,
    /// Where the record was written.
    pub(super) slot: u8,
    pub(super) outcome: Outcome,
    /// The result of the first half of a step in two halves.
    pub(super) half: Half,
    /// The messages that were published when its message was.
    pub(super) published: Past,
}

impl ThreadState {
    pub(super) fn at(send: u8) -> Self {
        let (outcome, half) = (Outcome::Pending, Half::None);
        Self { send, step: 0, slot: NONE, outcome, half, published: Past::default() }
    }

    pub(super) fn is_between_sends(&self) -> bool {
        self.step == 0 && self.half == Half::None
    }
}

/// The stamps that a later reading of the clock has passed.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Past {
    /// The greatest stamp, if it is read in another process.
    pub(super) elsewhere: u8,
    /// The same, if it is read in the same process: of messages of others, in the socket.
    pub(super) here: u8,
}

impl Past {
    pub(super) fn max(self, other: Self) -> Self {
        Self { elsewhere: self.elsewhere.max(other.elsewhere), here: self.here.max(other.here) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    Pending,
    Published,
    RingClosed,
    NoRoom,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Half {
    None,
    RingOpen,
    RingClosed,
    Stamped,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ProcessState {
    pub(super) locked: bool,
    /// The last stamp given out.
    pub(super) last: u8,
    /// The greatest stamp that it has sent by the socket.
    pub(super) in_socket: u8,
    /// The messages that were published before any message whose send has returned.
    pub(super) returned: Past,
    /// Something was sent by the socket since the last record with the mark.
    pub(super) noted: bool,
    pub(super) gone: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RingState {
    // In shared memory. Positions count records; a slot that was received is empty again.
    pub(super) slots: [u8; SLOTS],
    pub(super) tail: u8,
    pub(super) closed: bool,
    // The sender's.
    pub(super) position: u8,
    pub(super) announced: bool,
    pub(super) left: bool,
    // The receiver's.
    pub(super) attached: bool,
    pub(super) head: u8,
    /// Retired: where it ends.
    pub(super) end: u8,
    pub(super) a: u8,
    pub(super) b: u8,
    /// There when A was scanned.
    pub(super) in_a: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ReceiverState {
    pub(super) step: u8,
    /// The next ring of the scan.
    pub(super) ring: u8,
    pub(super) pass: Pass,
    /// What came by socket and is not delivered.
    pub(super) waiting: [u8; FRAMES],
    /// The other state of the merge.
    pub(super) merge: MergeState,
    /// How many frames may still be read in this pass.
    pub(super) allowance: u8,
    /// The ring of which the tail was loaded in order to close it, and the tail.
    pub(super) closing: (u8, u8),
    pub(super) disconnected: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pass {
    Fresh,
    /// With B found by looking ahead, and the socket not read.
    Ahead,
    /// With A known from the pass before.
    Again,
    /// With A and B known from the pass before.
    Refill,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Wrong {
    Nothing,
    Fifo,
    Causality,
    Twice,
    Garbage,
    Disconnected,
}

impl State {
    pub(super) fn new(attached: &[usize]) -> Self {
        let process = ProcessState {
            locked: false,
            last: 0,
            in_socket: 0,
            returned: Past::default(),
            noted: false,
            gone: false,
        };
        let ring = RingState {
            slots: [NONE; SLOTS],
            tail: 0,
            closed: false,
            position: 0,
            announced: false,
            left: false,
            attached: false,
            head: 0,
            end: NONE,
            a: 0,
            b: 0,
            in_a: false,
        };
        let mut state = Self {
            clock: 0,
            published: 0,
            stamps: [0; MESSAGES],
            before: [0; MESSAGES],
            returned: 0,
            delivered: 0,
            marked: 0,
            threads: [ThreadState::at(0); ACTORS],
            processes: [process; ACTORS],
            rings: [ring; RINGS],
            socket: [NONE; FRAMES],
            receiver: ReceiverState {
                step: 0,
                ring: 0,
                pass: Pass::Fresh,
                waiting: [NONE; FRAMES],
                merge: Merge::<Frame>::new(Ordering::Causal).state,
                allowance: NONE,
                closing: (NONE, 0),
                disconnected: false,
            },
            wrong: Wrong::Nothing,
        };
        for &ring in attached {
            state.rings[ring].announced = true;
            state.rings[ring].attached = true;
        }
        state
    }

    /// Begins with the first step again.
    pub(super) fn begin_pass(&mut self, pass: Pass) {
        let receiver = &mut self.receiver;
        (receiver.pass, receiver.step, receiver.ring) = (pass, 0, 0);
        receiver.allowance = NONE;
    }

    /// Replaces the stamps that are left by their ranks.
    pub(super) fn rank_stamps(&mut self) {
        let stamps = self.stamps;
        let rank = |stamp| stamps.iter().filter(|&&other| other != 0 && other <= stamp).count();
        for stamp in &mut self.stamps {
            if *stamp != 0 {
                *stamp = rank(*stamp) as u8;
            }
        }
        self.clock = stamps.iter().filter(|&&stamp| stamp != 0).count() as u8;
        for process in &mut self.processes {
            process.last = 0;
        }
    }

    /// Of stamps below `next`, which the clock exceeds at its next reading, forgets all but
    /// those of messages.
    pub(super) fn forget_stamps_below(
        &mut self,
        next: u8,
        is_between_sends: impl Fn(usize) -> bool,
    ) {
        let forget = |stamp: &mut u8| {
            if *stamp < next {
                *stamp = 0;
            }
        };
        for (index, process) in self.processes.iter_mut().enumerate() {
            forget(&mut process.in_socket);
            forget(&mut process.returned.elsewhere);
            forget(&mut process.returned.here);
            // In the middle of a send the clock may have been read already.
            if is_between_sends(index) {
                forget(&mut process.last);
            }
        }
        for thread in &mut self.threads {
            forget(&mut thread.published.elsewhere);
            forget(&mut thread.published.here);
        }
        forget(&mut self.published);
    }
}

pub(super) fn push(queue: &mut [u8; FRAMES], frame: u8) {
    let place = queue.iter().position(|&slot| slot == NONE);
    queue[place.expect("there is room for all frames of a scenario")] = frame;
}

pub(super) fn remove(queue: &mut [u8; FRAMES], index: usize) -> u8 {
    let frame = queue[index];
    queue.copy_within(index + 1.., index);
    queue[FRAMES - 1] = NONE;
    frame
}
