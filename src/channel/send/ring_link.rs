//! A ring that was offered to the receiver: writing to it, waking the receiver, and making room.

use std::{io, mem, thread};

use super::socket::Socket;
use crate::channel::frame::{Head, Kind};
use crate::channel::receive::order;
use crate::channel::ring::{self, FRAGMENT_BYTES, Producer, PushError, Pushed, State};
use crate::channel::spin::{Seen, Spin, Spun};
use crate::platform::contract::{Attachment as _, PacketSender as _, RingMemory as _};
use crate::platform::{self, Attachment, RingMemory, SendError, Wait};

/// How often a sender checks the state that the receiver gives its ring, in nanoseconds.
const CHECK_NANOS: u64 = 1_000_000;

/// How long one `send` spins in all for a receiver that is making room, in nanoseconds. Staying in
/// memory that is in the cache is worth as much. No receiver prolongs it.
const SPIN_NANOS: u64 = 50_000;

/// ... and so many nanoseconds more for each byte of the message: a receiver that takes longer is
/// slower than new memory.
const SPIN_NANOS_PER_BYTE: u64 = 1;

/// How often a sender tries to wake a receiver while the kernel has no memory for it. After
/// that the receiver checks its rings when they have been idle (`ChannelOptions::keep_memory`).
const WAKE_ATTEMPTS: u32 = 4;

/// Up to this size a ring grows at once, and stays as large, so that memory that is in the cache is
/// used again.
const WORKING_SET: u32 = 1 << 20;

/// How often a sender yields to other threads before it makes a larger ring larger still.
const YIELDS: usize = 20;

/// How long a ring must have been larger than needed before it becomes small again, in nanoseconds.
const SETTLE_NANOS: u64 = 100_000_000;

/// A ring that has had a segment larger than this is then replaced by a new one: only that returns
/// its memory to the system.
const LARGEST_KEPT: u32 = 4 << 20;

/// A ring that was offered to the receiver.
#[derive(Debug)]
pub(super) struct RingLink {
    ring: Producer<RingMemory>,
    /// The process that owns the ring.
    owner: u64,
    /// The receiver was told that the ring has messages, so it reads them whether it keeps the ring
    /// or not.
    is_announced: bool,
    /// Messages are written to the ring.
    has_messages: bool,
    /// The receiver reads the ring.
    is_accepted: bool,
    /// ... and does not compare it with others.
    is_alone: bool,
    /// Controls spinning for a receiver that makes room.
    spin: Spin,
    /// For how many nanoseconds the current `send` may still spin.
    spin_left: u64,
    /// When the ring was last full, ...
    was_full: u64,
    /// ... and the position that the receiver had consumed up to then.
    consumed: u64,
    /// The length of its longest segment.
    largest: u32,
    /// A wake-up is still to be sent.
    pending_wakeup: bool,
    /// When to check the state of the ring next.
    next_check: u64,
    /// The offer had been received at the last check, but not answered.
    is_overdue: bool,
}

/// Why a message is not in the ring.
#[derive(Debug)]
pub(super) enum Unsent {
    /// The receiver no longer reads the ring.
    Retired,
    /// The receiver has been dropped.
    Disconnected,
    /// The ring cannot grow any more.
    Exhausted,
    /// The system has no memory for a longer ring.
    NoMemory,
}

/// What becomes of a ring that is larger than needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// It is kept.
    Keep,
    /// It has to be replaced by a new one.
    Replace,
}

/// Sends the memory of a ring to the receiver. Does not block.
fn offer(ring: &Producer<RingMemory>, socket: &Socket, stamp: u64, has_messages: bool) -> bool {
    let Some(clock_domain) = platform::clock_domain() else { return false };
    let head = Head::new(Kind::RingOffer { clock_domain, has_messages }, 1, 0).stamped(stamp);
    let memory = Attachment::from_shared_ring(ring.memory());
    socket.packets.send_past_limit(head.as_bytes(), &[], vec![memory]).is_ok()
}

impl RingLink {
    /// Makes a ring and offers it to the receiver, which reads it in any case if it `has_messages`;
    /// `None` if there is no memory for it, or it cannot be offered.
    pub(super) fn offer(socket: &Socket, stamp: u64, has_messages: bool) -> Option<RingLink> {
        let memory =
            RingMemory::new().ok().filter(|memory| has_messages || memory.is_affordable())?;
        let ring = Producer::new(memory).ok()?;
        offer(&ring, socket, stamp, has_messages).then(|| RingLink {
            largest: ring.len(),
            ring,
            owner: platform::fork_generation(),
            is_announced: has_messages,
            has_messages,
            is_accepted: false,
            is_alone: false,
            spin: Spin::new(SPIN_NANOS),
            spin_left: 0,
            was_full: stamp,
            consumed: 0,
            pending_wakeup: false,
            next_check: stamp + CHECK_NANOS,
            is_overdue: false,
        })
    }

    /// Offers the ring, which is used, once more.
    pub(super) fn offer_again(&self, socket: &Socket, stamp: u64) {
        offer(&self.ring, socket, stamp, true);
    }

    /// Returns whether the receiver reads the ring and does not compare it with others.
    #[inline]
    pub(super) fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// Returns whether messages are written to the ring.
    pub(super) fn has_messages(&self) -> bool {
        self.has_messages
    }

    /// Returns whether the receiver reads the ring, as of the last check.
    pub(super) fn is_accepted(&self) -> bool {
        self.is_accepted
    }

    /// Notes that the receiver reads the ring, in this state.
    pub(super) fn note_accepted(&mut self, state: State) {
        self.is_accepted = true;
        self.is_alone = state == State::AcceptedAlone;
    }

    /// Returns the state that the receiver gives the ring.
    pub(super) fn state(&self) -> State {
        self.ring.state()
    }

    /// Returns whether the state of the ring, and the receiver, have to be checked. Until the ring
    /// is read, only the socket shows whether the receiver exists.
    #[inline]
    pub(super) fn needs_check(&self, stamp: u64) -> bool {
        stamp >= self.next_check || (self.has_messages && !self.is_accepted)
    }

    /// Returns whether a regular check is due, and determines the time of the next one.
    pub(super) fn take_due(&mut self, stamp: u64) -> bool {
        let is_due = stamp >= self.next_check;
        if is_due {
            self.next_check = stamp + CHECK_NANOS;
        }
        is_due
    }

    /// Returns whether the offer had been received at the last call, and was not answered since.
    pub(super) fn is_overdue(&mut self, socket: &Socket) -> bool {
        mem::replace(&mut self.is_overdue, socket.packets.is_drained())
    }

    /// Makes the ring small again if it has been larger than needed for long.
    pub(super) fn settle(&mut self, stamp: u64) -> Settled {
        if stamp.saturating_sub(self.was_full) > SETTLE_NANOS && self.largest > WORKING_SET {
            if self.largest <= LARGEST_KEPT {
                self.ring.settle();
                self.largest = self.ring.len();
            } else if self.ring.is_empty() {
                return Settled::Replace;
            }
        }
        Settled::Keep
    }

    /// Returns whether messages are to be written to the ring: the receiver reads it, or was told
    /// that there are some.
    #[inline]
    pub(super) fn is_ready(&mut self) -> bool {
        if !self.has_messages {
            self.has_messages = matches!(self.ring.state(), State::Accepted | State::AcceptedAlone);
        }
        self.has_messages
    }

    /// Tells the receiver that the ring has messages from now on. Returns whether it was told.
    pub(super) fn announce(&mut self, socket: &Socket, stamp: u64) -> bool {
        self.is_announced = self.is_announced || offer(&self.ring, socket, stamp, true);
        self.has_messages = self.is_announced;
        self.has_messages
    }

    /// Writes a message to the ring, and wakes the receiver if it sleeps.
    #[inline]
    pub(super) fn push(&mut self, socket: &Socket, body: &[u8], stamp: u64) -> Result<(), Unsent> {
        self.spin_left = SPIN_NANOS + SPIN_NANOS_PER_BYTE * body.len() as u64;
        if body.len() <= FRAGMENT_BYTES {
            return self.publish(socket, ring::Kind::Message, stamp, [body, &[]]);
        }
        self.push_fragments(socket, body, stamp)
    }

    /// Writes a message that is longer than one record may be. Not inlined, so that `push` is.
    #[inline(never)]
    fn push_fragments(&mut self, socket: &Socket, body: &[u8], stamp: u64) -> Result<(), Unsent> {
        let total = (body.len() as u64).to_le_bytes();
        let (first, mut rest) = body.split_at(FRAGMENT_BYTES);
        self.publish(socket, ring::Kind::First, stamp, [&total, first])?;
        while rest.len() > FRAGMENT_BYTES {
            let (fragment, after) = rest.split_at(FRAGMENT_BYTES);
            self.publish(socket, ring::Kind::Middle, stamp, [fragment, &[]])?;
            rest = after;
        }
        self.publish(socket, ring::Kind::Last, stamp, [rest, &[]])
    }

    #[inline]
    fn publish(
        &mut self,
        socket: &Socket,
        kind: ring::Kind,
        stamp: u64,
        parts: [&[u8]; 2],
    ) -> Result<(), Unsent> {
        loop {
            match self.ring.push(kind, stamp, parts) {
                Ok(Pushed { must_wake }) => {
                    return if must_wake || self.pending_wakeup {
                        self.wake(socket)
                    } else {
                        Ok(())
                    };
                }
                Err(PushError::Closed) => return Err(Unsent::Retired),
                Err(PushError::Full) => {
                    self.make_room(socket, stamp, parts[0].len() + parts[1].len())?;
                }
            }
        }
    }

    /// Wakes the receiver, which sleeps on the socket.
    #[cold]
    fn wake(&mut self, socket: &Socket) -> Result<(), Unsent> {
        let head = Head::new(Kind::WakeUp, 0, 0);
        for attempt in 1..=WAKE_ATTEMPTS {
            let sent = socket.packets.send(head.as_bytes(), &[], Vec::new(), Wait::Never);
            self.pending_wakeup = false;
            match sent {
                // If the socket is full, it has something in it to wake up for.
                Ok(()) | Err((SendError::Full, _)) => break,
                Err((SendError::Closed, _)) => return Err(Unsent::Disconnected),
                // The message counts as sent, and no other message may follow it. `send` must not
                // block for a wake-up.
                Err(_) if attempt < WAKE_ATTEMPTS => thread::yield_now(),
                // The wake-up is sent with the next message.
                Err(_) => self.pending_wakeup = true,
            }
        }
        Ok(())
    }

    /// Spins a little for a receiver that is working, or makes the ring larger.
    #[cold]
    fn make_room(&mut self, socket: &Socket, stamp: u64, need: usize) -> Result<(), Unsent> {
        self.was_full = order(stamp);
        let consumed = self.ring.consumed();
        let is_moving = consumed != self.consumed;
        self.consumed = consumed;
        if is_moving && self.ring.len() >= WORKING_SET && self.wait_for_progress() {
            return Ok(());
        }
        if socket.packets.is_closed() {
            return Err(Unsent::Disconnected);
        }
        let grown = self.ring.grow(need);
        self.largest = self.largest.max(self.ring.len());
        grown.map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull => Unsent::Exhausted,
            _ => Unsent::NoMemory,
        })
    }

    /// Spins for a moment for a receiver that has been making room, as long as there is time left.
    fn wait_for_progress(&mut self) -> bool {
        if self.spin_left == 0 {
            return false;
        }
        let begun = platform::now();
        let (ring, consumed) = (&self.ring, self.consumed);
        let look = || if ring.consumed() != consumed { Seen::Something } else { Seen::Nothing };
        self.spin.limit(self.spin_left.min(SPIN_NANOS));
        let has_moved = self.spin.spin(Wait::Forever, look) == Spun::Found
            // It may be waiting for this very processor.
            || (0..YIELDS).any(|_| {
                thread::yield_now();
                ring.consumed() != consumed
            });
        self.spin_left = self.spin_left.saturating_sub(platform::now().saturating_sub(begun));
        has_moved
    }
}

/// Retires the ring, so that the receiver need not keep a place for it.
impl Drop for RingLink {
    fn drop(&mut self) {
        // A forked child has no copy of its parent's ring.
        if self.owner == platform::fork_generation() {
            self.ring.retire();
        }
    }
}
