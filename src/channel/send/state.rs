//! What the senders of one process share for one channel under a lock: the last stamp, and the ring
//! if there is one.
//!
//! A busy channel gets a ring, by itself: it is offered to the receiver, and used once the receiver
//! has accepted it. A message that the socket has no room for gets one that is used at once.

use std::hint;

use super::ring_link::{RingLink, Settled, Unsent};
use super::socket::{Socket, SocketUse};
use crate::channel::receive::AFTER_SOCKET;
use crate::channel::ring::State;
use crate::platform::contract::PacketSender as _;
use crate::platform::{self, SendError};

/// A ring is worth it for so many messages ...
const HOT_MESSAGES: u32 = 64;

/// ... within so many nanoseconds.
const HOT_NANOS: u64 = 10_000_000;

/// After a ring failed, the next is tried after so many nanoseconds, ...
const MIN_BACKOFF_NANOS: u64 = 100_000_000;

/// ... then twice as many, and so on, up to so many.
const MAX_BACKOFF_NANOS: u64 = 60_000_000_000;

/// The outcome of sending a message by the ring.
#[derive(Debug)]
pub(super) enum Routed {
    /// The message is in the ring.
    Sent,
    /// The message has to go by socket, with this stamp.
    BySocket { stamp: u64 },
}

/// The state that the senders of one process share for one channel.
#[derive(Debug, Default)]
pub(super) struct SendState {
    last_stamp: u64,
    /// A flag for the stamp of the next record: whether something was sent by socket before.
    after_socket: u64,
    link: Option<RingLink>,
    /// Since when messages are counted, and how many there were.
    counted_since: u64,
    count: u32,
    /// When a ring may be tried again; `u64::MAX` is never.
    not_before: u64,
    backoff: u64,
}

impl SendState {
    /// Returns a stamp later than that of the last message: for messages by socket, which need the
    /// exact time.
    #[inline]
    pub(super) fn stamp(&mut self) -> u64 {
        self.stamp_at(platform::now())
    }

    /// Returns a stamp for a record. If the receiver does not compare the ring with others, the
    /// stamp need not be exact, unless it has the flag [`AFTER_SOCKET`]. A record with the flag is
    /// later than everything that was in the socket, from any sender, before the send that the flag
    /// refers to. So the record is not next as long as the receiver has not read that far.
    #[inline]
    fn stamp_record(&mut self, usage: &SocketUse) -> u64 {
        if usage.take() {
            self.after_socket = AFTER_SOCKET;
        }
        let is_alone = self.link.as_ref().is_some_and(RingLink::is_alone);
        let is_rough = is_alone && self.after_socket == 0;
        self.stamp_at(if is_rough { platform::roughly_now() } else { platform::now() })
    }

    #[inline]
    fn stamp_at(&mut self, now: u64) -> u64 {
        self.last_stamp = now.max(self.last_stamp + 1);
        self.last_stamp
    }

    /// Sends a message without attachments by the ring, if there is one that is read.
    #[inline]
    pub(super) fn send_if_ready(
        &mut self,
        socket: &Socket,
        body: &[u8],
    ) -> Result<Routed, SendError> {
        let stamp = self.stamp_record(&socket.usage);
        if self.link.as_ref().is_some_and(|link| link.needs_check(stamp)) {
            self.check_ring(socket, stamp)?;
        }
        match &mut self.link {
            Some(link) => {
                if link.is_ready() {
                    return self.push(socket, body, stamp);
                }
            }
            None => self.count_message(socket, stamp),
        }
        Ok(Routed::BySocket { stamp })
    }

    /// Sends a message that the socket has no room for by the ring, whether the receiver has
    /// accepted the ring or not.
    pub(super) fn send_at_once(
        &mut self,
        socket: &Socket,
        body: &[u8],
    ) -> Result<Routed, SendError> {
        let mut stamp = self.stamp_record(&socket.usage);
        // A ring that was offered before may turn out to be retired already.
        for _ in 0..2 {
            // 1. Make a ring, if there is none.
            if self.link.is_none() {
                self.offer_ring(socket, stamp, true);
            }
            let Some(link) = &mut self.link else { break };
            // 2. Have the receiver read it in any case.
            if !link.is_ready() && !link.announce(socket, stamp) {
                break;
            }
            // 3. Put the message in. The stamp of one that has to go by socket is exact.
            match self.push(socket, body, stamp)? {
                Routed::BySocket { stamp: exact } if self.link.is_none() => stamp = exact,
                routed => return Ok(routed),
            }
        }
        Ok(Routed::BySocket { stamp })
    }

    /// Counts a message, and offers a ring if there are many.
    fn count_message(&mut self, socket: &Socket, stamp: u64) {
        if stamp.saturating_sub(self.counted_since) > HOT_NANOS {
            self.counted_since = stamp;
            self.count = 0;
        }
        self.count += 1;
        if self.count >= HOT_MESSAGES {
            self.count = 0;
            self.offer_ring(socket, stamp, false);
        }
    }

    /// Makes a ring and offers it to the receiver. If that fails, everything goes by socket.
    fn offer_ring(&mut self, socket: &Socket, stamp: u64, has_messages: bool) {
        // A sender that would otherwise have to block tries again, unless the receiver has been
        // dropped or wants no ring.
        if stamp < self.not_before && (!has_messages || self.not_before == u64::MAX) {
            return;
        }
        self.link = RingLink::offer(socket, stamp, has_messages);
        if self.link.is_some() {
            // The offer went by socket, as may have done earlier messages; or these are in another
            // ring.
            self.after_socket = AFTER_SOCKET;
        } else {
            self.back_off(stamp);
        }
    }

    /// Sends everything by socket from now on: the receiver has been dropped, which the socket
    /// shows, or wants no ring.
    pub(super) fn disable_ring(&mut self) {
        self.link = None;
        self.not_before = u64::MAX;
    }

    /// Stops using the ring, and tries no other one for speed for a while.
    fn suspend_ring(&mut self, stamp: u64) {
        self.link = None;
        self.back_off(stamp);
    }

    fn back_off(&mut self, stamp: u64) {
        self.backoff = (2 * self.backoff).clamp(MIN_BACKOFF_NANOS, MAX_BACKOFF_NANOS);
        self.not_before = stamp + self.backoff;
    }

    /// Checks the state that the receiver gives the ring, and whether the receiver still exists.
    fn check_ring(&mut self, socket: &Socket, stamp: u64) -> Result<(), SendError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let is_due = link.take_due(stamp);
        // 1. See whether the receiver still exists: a ring that is not read does not show it.
        if socket.packets.is_closed() {
            return Err(SendError::Closed);
        }
        // 2. Return memory that is no longer needed.
        if link.settle(stamp) == Settled::Replace {
            // If the channel is busy, it soon has a new ring.
            self.link = None;
            return Ok(());
        }
        // 3. See what the receiver has answered to the offer.
        if link.is_accepted() {
            return Ok(());
        }
        match link.state() {
            state @ (State::Accepted | State::AcceptedAlone) => {
                link.note_accepted(state);
                self.backoff = 0;
            }
            State::Unwanted => self.disable_ring(),
            _ if !is_due => {}
            // The ring has messages. If it is retired, the next push shows that. If the offer was
            // discarded, which no honest receiver does, it is repeated from time to time. A
            // receiver that has the ring already does not take it twice.
            _ if link.has_messages() => {
                if link.is_overdue(socket) && stamp >= self.not_before {
                    link.offer_again(socket, stamp);
                    self.back_off(stamp);
                }
            }
            // After the offer was received, the answer takes a moment. If there is none by the next
            // check, the receiver had no handle left.
            State::Offered if !link.is_overdue(socket) => {}
            State::Offered | State::Refused => self.suspend_ring(stamp),
        }
        Ok(())
    }

    #[inline]
    fn push(&mut self, socket: &Socket, body: &[u8], stamp: u64) -> Result<Routed, SendError> {
        let Some(link) = &mut self.link else { return Ok(Routed::BySocket { stamp }) };
        match link.push(socket, body, stamp | self.after_socket) {
            Ok(()) => {
                self.after_socket = 0;
                spin_past(stamp);
                Ok(Routed::Sent)
            }
            Err(unsent) => self.push_elsewhere(socket, body, unsent),
        }
    }

    /// Finds another path for a message that the ring has not taken. If some fragments of it are in
    /// the ring, the receiver will discard them.
    #[cold]
    fn push_elsewhere(
        &mut self,
        socket: &Socket,
        body: &[u8],
        unsent: Unsent,
    ) -> Result<Routed, SendError> {
        let stamp = self.stamp();
        let Some(link) = &mut self.link else { return Ok(Routed::BySocket { stamp }) };
        match unsent {
            Unsent::Disconnected => return Err(SendError::Closed),
            Unsent::NoMemory => {}
            Unsent::Retired => {
                match link.state() {
                    State::Unwanted => self.disable_ring(),
                    // The receiver has no room for another ring at the moment.
                    State::Refused => self.suspend_ring(stamp),
                    _ => self.link = None,
                }
                self.count = 0;
            }
            Unsent::Exhausted => {
                // The receiver reads what is in the ring, and continues with the next one, whose
                // stamps are later.
                self.link = None;
                self.offer_ring(socket, stamp, true);
                let stamp = self.stamp();
                if let Some(link) = &mut self.link {
                    if link.push(socket, body, stamp | self.after_socket).is_ok() {
                        self.after_socket = 0;
                        spin_past(stamp);
                        return Ok(Routed::Sent);
                    }
                }
                return Ok(Routed::BySocket { stamp });
            }
        }
        Ok(Routed::BySocket { stamp })
    }
}

/// Spins until the clock has advanced beyond the stamp of a sent message. This is needed where the
/// clock does not advance for so long that a later message, sent elsewhere, could have the same
/// stamp.
#[inline]
pub(super) fn spin_past(stamp: u64) {
    if platform::clock_tick() > 0 {
        while platform::now() <= stamp {
            hint::spin_loop();
        }
    }
}
