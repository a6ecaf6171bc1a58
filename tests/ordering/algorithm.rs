//! How several rings and one socket form one channel with causal order, whose receiver can
//! sleep: the four lists of steps of [`Algorithm::whole`], and nothing else.
//! [`Algorithm::per_sender`] has the lists for the order of each sender only. `merge` and
//! `wake` execute them, in this order; the senders and the receiver of a channel do the same,
//! step by step, in the functions of `src/channel` that are named with the steps. For
//! receiving, `merge` executes the crate's own merge, `src/channel/receive/merge.rs`; a changed
//! list changes what that is shown of the rings and the socket.
//!
//! A process that sends much has a ring of its own in memory that it shares with the receiver.
//! It has records, the tail (the position up to which they are published, and two marks:
//! closed, asleep), and the head. All processes share one socket. Every message has a stamp,
//! and the receiver delivers the messages that it sees in the order of stamps. That is not
//! enough, because it cannot see everything at once: while it looks at one place, a message may
//! come into another, and then one that depends on it into the place that it looks at next.
//! Therefore it looks at the rings, at the socket, and at the rings again. If a message was
//! there at the first look (A), all messages before it had been published by then, so the
//! socket and the last look (B) show them.
//!
//! If only the order of each sender is to be kept, a missed message matters only if the same
//! sender has sent it. Its ring is a queue, and it marks a record if it has sent something by
//! socket since the one before. Without the mark, no message of that sender can have been
//! missed, and the record is delivered at once.
//!
//! The lists assume:
//! - a process that reads the clock after a send has returned reads more than the stamps of all
//!   messages published before that one. (If the message is of its own process, only of those
//!   that others had put into the socket before it.) In other words: the clock does not stand
//!   still for as long as a signal takes from one process to another. [`Step::OutlastStamp`] is
//!   for clocks that do;
//! - the socket is one queue: what was sent first is read first, and the end is read only when
//!   nothing else is left;
//! - what a process has published or sent outlives it.

use std::fmt::{self, Display};

/// One step of the algorithm. A change leaves it out, or replaces or moves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    // Sending.
    /// Takes the lock that the senders of one channel in one process share: a ring is for one
    /// writer. `Sender::route`.
    TakeLock,
    /// Reads the clock. It is read after the call begins, so that messages sent before have
    /// lesser stamps, and before anything is published. `SendState::stamp`.
    Stamp,
    /// Raises the stamp above the last one of this process. Two sends within one tick of the
    /// clock would have equal stamps, and one may be in the ring and the other in the socket.
    /// `SendState::stamp`.
    StampAboveLast,
    /// Sends the frame that announces a ring by the socket, once, before the first send into
    /// the ring returns. Until the receiver reads it, everything in the ring has the place of
    /// that frame. `offer` in `ring_link`.
    AnnounceRing,
    /// Writes the record behind the last one. `Producer::push`.
    WriteRecord,
    /// Publishes the record by one read-modify-write of the tail. The old value tells whether
    /// the ring was closed, in which case nothing was published, and whether the receiver
    /// sleeps. `Producer::publish`.
    PublishBySwap,
    /// Sends a small frame by the socket if the swap found the receiver asleep. It need not if
    /// the socket is full, because a full socket wakes the receiver. `Link::wake`.
    RingBell,
    /// Never again touches a ring that was closed: the swap has just removed the mark.
    /// `Producer::close`, `SendState::push`.
    LeaveClosedRing,
    /// After the wake-up. Otherwise a thread of this process could find the mark gone while
    /// another, which may die, has still to send the wake-up. `Sender::route` returns.
    ReleaseLock,
    /// Sends by socket a message that has no ring, or whose ring was closed. It keeps its
    /// stamp. `Sender::send_message`.
    SendBySocketOtherwise,

    // Receiving.
    /// Loads the tails of all rings, one after the other: A. Skipped if A is known from the
    /// pass before. `AttachedRings::look_before`.
    ScanA,
    /// Reads the socket until it is empty or at its end, and deals with frames that are no
    /// message. The messages wait, as if each had a ring of its own, so that one with a false
    /// stamp keeps no other from its place. `Merge::read`.
    ReadAllOfSocket,
    /// Loads the tails of all rings again, after the socket: B. `AttachedRings::look`.
    ScanB,
    /// ... also of the rings that were announced in between, and were added by
    /// `AttachedRings::attach`.
    ScanNewRings,
    /// Of the fronts of the rings as of B and of what waits from the socket, the one with the
    /// least stamp is next. Of equal stamps any may be, whichever the merge takes.
    /// `Merge::pick`.
    PickLeast,
    /// If the next is in a ring and was not in A, B may have missed messages before it: A
    /// becomes B, and the socket is read again. Otherwise it is delivered, and the next is
    /// picked. `Merge::pick` and `confirm`.
    ConfirmNewArrival,
    /// The socket is at its end and nothing is left in B: disconnected. Nothing is left, but
    /// the socket is not at its end: idle. `Merge::pick`, `Inbound::receive_in_order`.
    EofNeedsEmptyB,

    // Retiring a ring.
    /// Marks the tail as closed and learns what was published before, at once. `Consumer::retire`.
    CloseByFetchOr,
    /// Merges the ring up to there. `Consumer::scan`, which looks no more, and
    /// `AttachedRings::sweep`.
    DrainToFinal,

    // Waiting, when idle.
    /// Marks the tail of each ring as asleep, by compare-and-swap from the position up to which
    /// everything was received. `AttachedRings::arm`, `Consumer::arm`.
    ArmByCas,
    /// If it fails there is a message to receive, and the receiver does not sleep.
    /// `Sources::wait`; `receive_in_order` for a receiver that polls; `ReceiverSet::arm`.
    HeedFailedCas,
    /// Unless it fails because the mark is there already, left by a wait that another ring or
    /// the socket ended. `Consumer::arm`.
    MarkedIsArmed,
    /// Blocks until the socket is readable or at its end, then receives. `Sources::wait`,
    /// `ReceiverSet::select`.
    BlockOnSocket,

    // Where only the order of each sender is kept. Sending.
    /// Under the lock, the record that is written next gets the mark if there is a note. The
    /// note is removed. `SocketUse::take`.
    TakeMark,
    /// The note is restored if the record did not get into the ring, still under the lock. The
    /// message itself will be noted, but other threads may send before that. `SendState::push`.
    MarkAgain,
    /// When a message has been sent by socket, notes that for the next record, before the send
    /// returns. `Sender::send_message`.
    NoteSocketUse,

    // ... and receiving.
    /// If no message was read ahead: loads the tails of all rings, as B. If there is a record,
    /// it is picked, and the socket is read later. In the model, that may be at any time.
    /// `Merge::step`.
    LookAhead,
    /// For [`Step::ConfirmNewArrival`]. The same, but only if the next has the mark. `Merge::pick`.
    ConfirmMarked,

    // Alternatives to the above that suffice.
    /// For [`Step::ScanA`]. Takes nothing as seen before: one more pass, and the same order.
    NothingInA,
    /// For [`Step::ScanA`]. Loads the tails of some rings and takes nothing as seen before in
    /// the others.
    ScanSomeOfA,
    /// For [`Step::SendBySocketOtherwise`]. Takes a new stamp for a message whose ring
    /// was closed.
    SendBySocketStampedAnew,
    /// Before anything is published. Waits until the clock has passed the stamp, and so needs
    /// no assumption about clocks. If the socket is not read to its end, it is too late after
    /// publishing: others may already be behind it there.
    OutlastStamp,
    /// For [`Step::ReadAllOfSocket`]. Reads no more frames than were in the socket after A, so
    /// that a flood of the socket delays no other sender. `Sources::read`, which reads as many
    /// as there can be and does not count them.
    ReadAllOfSocketAsOfA,
    /// For [`Step::ReadAllOfSocket`], with [`Step::RecheckUnlessAllRead`]. Stops when enough
    /// wait: here two, which stand for as many handles as a process can spare. A sender with
    /// false stamps can fill that up, and hide what honest senders have put behind it.
    /// `ReadAhead::may_read_more`.
    ReadSocketUntilFull,
    /// When a message of the socket was delivered, and the socket had not been read to its end:
    /// A becomes B, and the socket is read again. `Merge::take_queued`.
    RecheckUnlessAllRead,
    /// For [`Step::ReadAllOfSocket`], with [`Step::RecheckAfterLookAhead`]. Stops at the first
    /// message, the look-ahead.
    ReadSocketUntilData,
    /// As [`Step::ReadSocketUntilData`], but no more frames than were in the socket after A,
    /// also if none was a message.
    ReadSocketAsOfA,
    /// When the look-ahead was delivered: A becomes B, and the socket is read again, because
    /// the frames behind it are unknown.
    RecheckAfterLookAhead,
    /// For [`Step::RingBell`], with a flag. Clears it by a swap after publishing, then sends
    /// the frame if it was set.
    RingBellBySwapOfFlag,
    /// For [`Step::ArmByCas`], with a flag. Sets it for each ring; after a fence, loads the
    /// tail again. Of the steps for a wake-up by flag, only the swap suffices with it.
    ArmByFlagAndFence,

    // Alternatives to the above that do not suffice.
    /// As [`Step::ReadSocketUntilData`], but does not believe a stamp that is later than the
    /// clock when the message is read, and takes the time instead.
    ReadSocketAndClock,
    /// For [`Step::PublishBySwap`]. Looks at the marks, then stores the tail.
    PublishByLoadThenStore,
    /// For [`Step::SendBySocketOtherwise`]. Does not keep the stamp.
    SendBySocketUnstamped,
    /// For [`Step::ReadAllOfSocket`]. One frame of any kind. Before A this is allowed:
    /// `Sources::wait` reads one.
    ReadOneFrame,
    /// For [`Step::RecheckAfterLookAhead`]. Reads the socket again but not the rings.
    RefillLookAhead,
    /// For [`Step::CloseByFetchOr`]. Loads the tail, then stores it with the mark.
    CloseByLoadThenStore,
    /// For [`Step::ArmByCas`]. Loads the tail, then stores it with the mark if it is unchanged.
    ArmByLoadThenStore,
    /// For [`Step::ArmByCas`]. Sets a flag of its own for each ring, then loads the tail again,
    /// without a fence between.
    ArmByFlag,
    /// For [`Step::RingBell`], with a flag. Loads it after publishing, without a fence between;
    /// clears it after the wake-up.
    RingBellByFlag,
    /// For [`Step::RingBell`], with a flag. With a fence before the load; clears it after the
    /// wake-up, even if the receiver has set it again in the meantime.
    RingBellByFenceAndFlag,
}

use Step::*;

/// The lists of steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Algorithm {
    pub(crate) send: Vec<Step>,
    pub(crate) receive: Vec<Step>,
    pub(crate) retire: Vec<Step>,
    pub(crate) wait: Vec<Step>,
    /// Messages of different processes have no order.
    pub(crate) is_per_sender: bool,
    /// All of these steps, by number.
    set: u64,
}

impl Algorithm {
    /// The algorithm.
    pub(crate) fn whole() -> Self {
        let whole = Self {
            send: vec![
                TakeLock,
                Stamp,
                StampAboveLast,
                AnnounceRing,
                WriteRecord,
                PublishBySwap,
                RingBell,
                LeaveClosedRing,
                ReleaseLock,
                SendBySocketOtherwise,
            ],
            receive: vec![
                ScanA,
                ReadAllOfSocket,
                ScanB,
                ScanNewRings,
                PickLeast,
                ConfirmNewArrival,
                EofNeedsEmptyB,
            ],
            retire: vec![CloseByFetchOr, DrainToFinal],
            wait: vec![ArmByCas, HeedFailedCas, MarkedIsArmed, BlockOnSocket],
            is_per_sender: false,
            set: 0,
        };
        whole.numbered()
    }

    /// The algorithm of a receiver that keeps only the order of each sender. A sender is a
    /// process here.
    pub(crate) fn per_sender() -> Self {
        let changes = [
            Change::Before(TakeMark, Stamp),
            Change::Before(MarkAgain, ReleaseLock),
            Change::Before(LookAhead, ScanA),
            Change::Instead(ConfirmNewArrival, ConfirmMarked),
        ];
        let mut whole = changes.into_iter().fold(Self::whole(), Self::with);
        whole.send.push(NoteSocketUse);
        whole.is_per_sender = true;
        whole.numbered()
    }

    fn numbered(mut self) -> Self {
        self.set = self.steps().map(|step| 1 << step as u64).sum();
        self
    }

    pub(crate) fn steps(&self) -> impl Iterator<Item = Step> {
        [&self.send, &self.receive, &self.retire, &self.wait].into_iter().flatten().copied()
    }

    pub(crate) fn has(&self, step: Step) -> bool {
        self.set & 1 << step as u64 != 0
    }

    /// Whether both are steps of sending, the one before the other.
    pub(crate) fn sends_with(&self, step: Step, before: Step) -> bool {
        let place = |step| self.send.iter().position(|&other| other == step);
        matches!((place(step), place(before)), (Some(place), Some(next)) if place < next)
    }

    pub(crate) fn with(mut self, change: Change) -> Self {
        match change {
            Change::Without(step) => {
                let (list, index) = self.find(step);
                list.remove(index);
            }
            Change::Instead(step, other) => {
                let (list, index) = self.find(step);
                list[index] = other;
            }
            Change::Before(step, next) => {
                if self.has(step) {
                    let (list, index) = self.find(step);
                    list.remove(index);
                }
                let (list, index) = self.find(next);
                list.insert(index, step);
            }
            Change::Exchanged(step, other) => {
                let (list, index) = self.find(step);
                let with = list.iter().position(|&step| step == other);
                list.swap(index, with.expect("both are steps of one list"));
            }
        }
        self.numbered()
    }

    fn find(&mut self, step: Step) -> (&mut Vec<Step>, usize) {
        [&mut self.send, &mut self.receive, &mut self.retire, &mut self.wait]
            .into_iter()
            .find_map(|list| {
                let index = list.iter().position(|&other| other == step)?;
                Some((list, index))
            })
            .unwrap_or_else(|| panic!("no step {step:?}"))
    }
}

/// A change of the algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Without(Step),
    /// The second in place of the first.
    Instead(Step, Step),
    /// The first now comes just before the second.
    Before(Step, Step),
    /// Each in the place of the other.
    Exchanged(Step, Step),
}

impl Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Without(step) => write!(formatter, "without {step:?}"),
            Self::Instead(step, other) => write!(formatter, "{other:?} instead of {step:?}"),
            Self::Before(step, next) => write!(formatter, "{step:?} before {next:?}"),
            Self::Exchanged(step, other) => write!(formatter, "{step:?} and {other:?} exchanged"),
        }
    }
}
