//! How much one call of a receiver may do before it returns, whatever a peer sends: a call that
//! does not block ends, and a call with a deadline reads the clock, after so many packets or
//! looks.

use crate::channel::limits::MAX_PACKETS_PER_STEP;
use crate::channel::message::RecvError;
use crate::platform::contract::PacketReceiver as _;
use crate::platform::{PacketReceiver, Wait};

/// How often a call that does not block takes in parts of messages from rings. It is as often as
/// the largest message needs, and a few times more.
pub(super) const MAX_ROUNDS: u32 = 300;

/// ... and if the receiver is a member of a set, where others have their turn.
pub(super) const MAX_ROUNDS_OF_MEMBER: u32 = 4;

/// A packet that completes no message counts as this many bytes at least: it takes as long to
/// receive as they take to copy.
const PACKET_COST: usize = 4 * 1024;

/// How often a wait with a deadline reads the clock while packets keep coming.
const PACKETS_PER_CLOCK: usize = 64;

/// What one call has taken so far, and when it has to end.
#[derive(Debug)]
pub(super) struct Budget {
    /// How long the call may block.
    pub(super) wait: Wait,
    /// How many packets it has taken.
    pub(super) packets: usize,
    /// From how many packets on a call with a deadline reads the clock again.
    next_clock: usize,
    /// How often rings had something that was no message yet.
    rounds: u32,
    /// It has waited for something in a ring or the socket.
    pub(super) has_waited: bool,
    /// How many bytes of packets and messages it has taken.
    pub(super) bytes: usize,
    /// After how many bytes a call that does not block ends, once it has taken many packets: those
    /// that had arrived at that time. A poller is notified of what arrives later.
    last_byte: Option<usize>,
}

impl Budget {
    pub(super) fn new(wait: Wait) -> Budget {
        Budget {
            wait,
            packets: 0,
            next_clock: PACKETS_PER_CLOCK,
            rounds: 0,
            has_waited: false,
            bytes: 0,
            last_byte: None,
        }
    }

    /// Returns how much the call has taken, in bytes, where a packet that completes no message
    /// has a least cost.
    pub(super) fn taken(&self) -> usize {
        self.bytes.max(self.packets * PACKET_COST)
    }

    /// Ends a call that has taken many packets without completing a message.
    pub(super) fn may_go_on(&mut self, receiver: &PacketReceiver) -> Result<(), RecvError> {
        self.packets += 1;
        match self.wait {
            Wait::Never if self.packets >= MAX_PACKETS_PER_STEP => {
                let bytes = self.bytes;
                let last_byte =
                    self.last_byte.get_or_insert_with(|| bytes + receiver.queued_bytes());
                if bytes >= *last_byte { Err(RecvError::BudgetSpent) } else { Ok(()) }
            }
            Wait::Until(_) if self.packets >= self.next_clock => {
                self.next_clock = self.packets + PACKETS_PER_CLOCK;
                if self.wait.is_over() { Err(RecvError::Empty) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// Ends a call that has taken in parts of messages from rings too often.
    pub(super) fn may_look_again(&mut self, max_rounds: u32) -> Result<(), RecvError> {
        self.rounds += 1;
        match self.wait {
            Wait::Never if self.rounds >= max_rounds => Err(RecvError::BudgetSpent),
            Wait::Until(_) if self.wait.is_over() => Err(RecvError::Empty),
            _ => Ok(()),
        }
    }
}
