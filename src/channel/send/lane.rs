//! The sending half of rings: the state that the senders of one process share for one channel.
//!
//! A busy channel gets a ring, by itself. Until then, and where there is no memory for a ring, its
//! messages go by socket. Messages with attachments always do. All get their stamps here, under one
//! lock, so that a ring has one writer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::{hint, io, mem, thread};

use crate::channel::frame::{Head, Kind};
use crate::channel::ring::{self, FRAGMENT_BYTES, Producer, PushError, Pushed, State};
use crate::channel::rings::{AFTER_SOCKET, order};
use crate::channel::spin::{Seen, Spin, Spun};
use crate::platform::{self, Attachment, PacketSender, RingMemory, SendError, Wait};

/// A ring is worth it for so many messages ...
const HOT_MESSAGES: u32 = 64;

/// ... within so many nanoseconds.
const HOT_NANOS: u64 = 10_000_000;

/// How often a sender checks the state that the receiver gives its ring, in nanoseconds.
const LOOK_NANOS: u64 = 1_000_000;

/// How long one `send` spins in all for a receiver that is making room, in nanoseconds. Staying in
/// memory that is in the cache is worth as much. No receiver prolongs it.
const PATIENCE_NANOS: u64 = 50_000;

/// ... and so many nanoseconds more for each byte of the message: a receiver that takes longer is
/// slower than new memory.
const PATIENCE_NANOS_PER_BYTE: u64 = 1;

/// How often a sender tries to wake a receiver while the kernel has no memory for it. After that the
/// receiver checks its rings when they have been idle (`ChannelOptions::keep_memory`).
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

/// Whether something was sent by socket since the last record. It is set after such a send, and not
/// under the lock of the lane. What a thread has sent by socket shows in its next record at the
/// latest.
#[derive(Debug, Default)]
pub(super) struct SocketUse(AtomicBool);

impl SocketUse {
    /// Notes that something was sent by socket.
    #[inline]
    pub(super) fn note(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Returns whether something was sent by socket since the last call.
    #[inline]
    fn take(&self) -> bool {
        // In most cases the flag is not set, and is only read.
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Acquire)
    }
}

/// The state that the senders of one process share for one channel.
#[derive(Debug, Default)]
pub(super) struct Lane {
    last_stamp: u64,
    /// A flag for the stamp of the next record: whether something was sent by socket before.
    mark: u64,
    link: Option<Link>,
    /// Since when messages are counted, and how many there were.
    counted_since: u64,
    count: u32,
    /// When a ring may be tried again.
    not_before: u64,
    backoff: u64,
}

/// A ring that was offered to the receiver.
#[derive(Debug)]
struct Link {
    ring: Producer<RingMemory>,
    /// The process that owns the ring.
    owner: u64,
    /// The receiver was told that the ring has messages, so it reads them whether it keeps the ring
    /// or not.
    is_announced: bool,
    /// Messages are written to the ring.
    is_used: bool,
    /// The receiver reads the ring.
    is_accepted: bool,
    /// ... and does not compare it with others.
    is_alone: bool,
    /// Controls spinning for a receiver that makes room.
    spin: Spin,
    /// For how many nanoseconds the current `send` may still spin.
    patience: u64,
    /// When the ring was last full, ...
    was_full: u64,
    /// ... and the position that the receiver had consumed up to then.
    consumed: u64,
    /// The length of its longest segment.
    largest: u32,
    /// A wake-up is still to be sent.
    owes_bell: bool,
    /// When to check the state of the ring next.
    next_look: u64,
    /// The offer had been received at the last check, but not answered.
    is_overdue: bool,
}

/// Why a message is not in the ring.
#[derive(Debug)]
enum Unsent {
    /// The receiver no longer reads the ring.
    Retired,
    /// The receiver has been dropped.
    Gone,
    /// The ring cannot grow any more.
    Exhausted,
    /// The system has no memory for a longer ring.
    NoMemory,
}

impl Lane {
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
    fn stamp_record(&mut self, socket_use: &SocketUse) -> u64 {
        if socket_use.take() {
            self.mark = AFTER_SOCKET;
        }
        let is_alone = self.link.as_ref().is_some_and(|link| link.is_alone);
        let is_rough = is_alone && self.mark == 0;
        self.stamp_at(if is_rough { platform::roughly_now() } else { platform::now() })
    }

    #[inline]
    fn stamp_at(&mut self, now: u64) -> u64 {
        self.last_stamp = now.max(self.last_stamp + 1);
        self.last_stamp
    }

    /// Sends a message without attachments by the ring, if there is one that is read.
    #[inline]
    pub(super) fn send(
        &mut self,
        packets: &PacketSender,
        socket_use: &SocketUse,
        body: &[u8],
    ) -> Result<Routed, SendError> {
        let stamp = self.stamp_record(socket_use);
        if let Some(link) = &mut self.link {
            // Until the ring is read, only the socket shows whether the receiver exists.
            if stamp >= link.next_look || (link.is_used && !link.is_accepted) {
                self.look(packets, stamp)?;
            }
        }
        match &mut self.link {
            Some(link) => {
                if link.is_ready() {
                    return self.push(packets, body, stamp);
                }
            }
            None => self.warm_up(packets, stamp),
        }
        Ok(Routed::BySocket { stamp })
    }

    /// Sends a message that the socket has no room for by the ring, whether the receiver has
    /// accepted the ring or not.
    pub(super) fn send_past_socket(
        &mut self,
        packets: &PacketSender,
        socket_use: &SocketUse,
        body: &[u8],
    ) -> Result<Routed, SendError> {
        let mut stamp = self.stamp_record(socket_use);
        // A ring that was offered before may turn out to be retired already.
        for _ in 0..2 {
            if self.link.is_none() {
                self.attach(packets, stamp, true);
            }
            let Some(link) = &mut self.link else { break };
            if !link.is_ready() && !link.announce(packets, stamp) {
                break;
            }
            match self.push(packets, body, stamp)? {
                Routed::BySocket { stamp: exact } if self.link.is_none() => stamp = exact,
                routed => return Ok(routed),
            }
        }
        Ok(Routed::BySocket { stamp })
    }

    /// Counts a message, and offers a ring if there are many.
    fn warm_up(&mut self, packets: &PacketSender, stamp: u64) {
        if stamp.saturating_sub(self.counted_since) > HOT_NANOS {
            self.counted_since = stamp;
            self.count = 0;
        }
        self.count += 1;
        if self.count >= HOT_MESSAGES {
            self.count = 0;
            self.attach(packets, stamp, false);
        }
    }

    /// Makes a ring and offers it to the receiver. If that fails, everything goes by socket.
    fn attach(&mut self, packets: &PacketSender, stamp: u64, is_used: bool) {
        // A sender that would otherwise have to block tries again, unless the receiver has been
        // dropped or wants no ring.
        if stamp < self.not_before && (!is_used || self.not_before == u64::MAX) {
            return;
        }
        let memory = RingMemory::new().ok().filter(|memory| is_used || memory.is_affordable());
        let ring = memory.and_then(|memory| Producer::new(memory).ok());
        let offered = ring.filter(|ring| offer(ring, packets, stamp, is_used));
        match offered {
            Some(ring) => {
                // The offer went by socket, as may have done earlier messages; or these are in
                // another ring.
                self.mark = AFTER_SOCKET;
                self.link = Some(Link {
                    largest: ring.len(),
                    ring,
                    owner: platform::process_mark(),
                    is_announced: is_used,
                    is_used,
                    is_accepted: false,
                    is_alone: false,
                    spin: Spin::new(PATIENCE_NANOS),
                    patience: 0,
                    was_full: stamp,
                    consumed: 0,
                    owes_bell: false,
                    next_look: stamp + LOOK_NANOS,
                    is_overdue: false,
                });
            }
            None => self.give_up(stamp),
        }
    }

    /// Sends everything by socket from now on: the receiver has been dropped, which the socket
    /// shows, or wants no ring.
    pub(super) fn leave(&mut self) {
        self.link = None;
        self.not_before = u64::MAX;
    }

    /// Stops using the ring, and tries no other one for speed for a while.
    fn give_up(&mut self, stamp: u64) {
        self.link = None;
        self.back_off(stamp);
    }

    fn back_off(&mut self, stamp: u64) {
        self.backoff = (2 * self.backoff).clamp(MIN_BACKOFF_NANOS, MAX_BACKOFF_NANOS);
        self.not_before = stamp + self.backoff;
    }

    /// Checks the state that the receiver gives the ring, and whether the receiver still exists.
    fn look(&mut self, packets: &PacketSender, stamp: u64) -> Result<(), SendError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let is_due = stamp >= link.next_look;
        if is_due {
            link.next_look = stamp + LOOK_NANOS;
        }
        if packets.is_closed() {
            return Err(SendError::Closed);
        }
        if stamp.saturating_sub(link.was_full) > SETTLE_NANOS && link.largest > WORKING_SET {
            if link.largest <= LARGEST_KEPT {
                link.ring.settle();
                link.largest = link.ring.len();
            } else if link.ring.is_empty() {
                // If the channel is busy, it soon has a new ring.
                self.link = None;
                return Ok(());
            }
        }
        if link.is_accepted {
            return Ok(());
        }
        match link.ring.state() {
            state @ (State::Accepted | State::AcceptedAlone) => {
                link.is_accepted = true;
                link.is_alone = state == State::AcceptedAlone;
                self.backoff = 0;
            }
            State::Unwanted => self.leave(),
            _ if !is_due => {}
            // The ring has messages. If it is retired, the next push shows that. If the offer was
            // discarded, which no honest receiver does, it is repeated from time to time. A
            // receiver that has the ring already does not take it twice.
            _ if link.is_used => {
                let is_overdue = mem::replace(&mut link.is_overdue, packets.is_drained());
                if is_overdue && stamp >= self.not_before {
                    offer(&link.ring, packets, stamp, true);
                    self.back_off(stamp);
                }
            }
            // After the offer was received, the answer takes a moment. If there is none by the next
            // check, the receiver had no handle left.
            State::Offered if !mem::replace(&mut link.is_overdue, packets.is_drained()) => {}
            State::Offered | State::Refused => self.give_up(stamp),
        }
        Ok(())
    }

    #[inline]
    fn push(
        &mut self,
        packets: &PacketSender,
        body: &[u8],
        stamp: u64,
    ) -> Result<Routed, SendError> {
        let Some(link) = &mut self.link else { return Ok(Routed::BySocket { stamp }) };
        match link.push(packets, body, stamp | self.mark) {
            Ok(()) => {
                self.mark = 0;
                leave_tick(stamp);
                Ok(Routed::Sent)
            }
            Err(unsent) => self.push_elsewhere(packets, body, unsent),
        }
    }

    /// Finds another path for a message that the ring has not taken. If some fragments of it are in
    /// the ring, the receiver will discard them.
    #[cold]
    fn push_elsewhere(
        &mut self,
        packets: &PacketSender,
        body: &[u8],
        unsent: Unsent,
    ) -> Result<Routed, SendError> {
        let stamp = self.stamp();
        let Some(link) = &mut self.link else { return Ok(Routed::BySocket { stamp }) };
        match unsent {
            Unsent::Gone => return Err(SendError::Closed),
            Unsent::NoMemory => {}
            Unsent::Retired => {
                match link.ring.state() {
                    State::Unwanted => self.leave(),
                    // The receiver has no room for another ring at the moment.
                    State::Refused => self.give_up(stamp),
                    _ => self.link = None,
                }
                self.count = 0;
            }
            Unsent::Exhausted => {
                // The receiver reads what is in the ring, and continues with the next one, whose
                // stamps are later.
                self.link = None;
                self.attach(packets, stamp, true);
                let stamp = self.stamp();
                if let Some(link) = &mut self.link {
                    if link.push(packets, body, stamp | self.mark).is_ok() {
                        self.mark = 0;
                        leave_tick(stamp);
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
pub(super) fn leave_tick(stamp: u64) {
    if platform::clock_tick() > 0 {
        while platform::now() <= stamp {
            hint::spin_loop();
        }
    }
}

/// Sends the memory of a ring to the receiver. Does not block.
fn offer(ring: &Producer<RingMemory>, packets: &PacketSender, stamp: u64, is_used: bool) -> bool {
    let Some(clock_domain) = platform::clock_domain() else { return false };
    let head = Head::new(Kind::Attach { clock_domain, is_used }, 1, 0).stamped(stamp);
    let memory = Attachment::from_shared_ring(ring.memory());
    packets.send_past_limit(head.as_bytes(), &[], vec![memory]).is_ok()
}

impl Link {
    /// Returns whether messages are to be written to the ring: the receiver reads it, or was told
    /// that there are some.
    #[inline]
    fn is_ready(&mut self) -> bool {
        if !self.is_used {
            self.is_used = matches!(self.ring.state(), State::Accepted | State::AcceptedAlone);
        }
        self.is_used
    }

    /// Tells the receiver that the ring has messages from now on. Returns whether it was told.
    fn announce(&mut self, packets: &PacketSender, stamp: u64) -> bool {
        self.is_announced = self.is_announced || offer(&self.ring, packets, stamp, true);
        self.is_used = self.is_announced;
        self.is_used
    }

    #[inline]
    fn push(&mut self, packets: &PacketSender, body: &[u8], stamp: u64) -> Result<(), Unsent> {
        self.patience = PATIENCE_NANOS + PATIENCE_NANOS_PER_BYTE * body.len() as u64;
        if body.len() <= FRAGMENT_BYTES {
            return self.publish(packets, ring::Kind::Message, stamp, [body, &[]]);
        }
        let total = (body.len() as u64).to_le_bytes();
        let (first, mut rest) = body.split_at(FRAGMENT_BYTES);
        self.publish(packets, ring::Kind::First, stamp, [&total, first])?;
        while rest.len() > FRAGMENT_BYTES {
            let (fragment, after) = rest.split_at(FRAGMENT_BYTES);
            self.publish(packets, ring::Kind::Middle, stamp, [fragment, &[]])?;
            rest = after;
        }
        self.publish(packets, ring::Kind::Last, stamp, [rest, &[]])
    }

    #[inline]
    fn publish(
        &mut self,
        packets: &PacketSender,
        kind: ring::Kind,
        stamp: u64,
        parts: [&[u8]; 2],
    ) -> Result<(), Unsent> {
        loop {
            match self.ring.push(kind, stamp, parts) {
                Ok(Pushed { must_wake }) => {
                    return if must_wake || self.owes_bell { self.wake(packets) } else { Ok(()) };
                }
                Err(PushError::Closed) => return Err(Unsent::Retired),
                Err(PushError::Full) => {
                    self.make_room(packets, stamp, parts[0].len() + parts[1].len())?;
                }
            }
        }
    }

    /// Wakes the receiver, which sleeps on the socket.
    #[cold]
    fn wake(&mut self, packets: &PacketSender) -> Result<(), Unsent> {
        let head = Head::new(Kind::Bell, 0, 0);
        for attempt in 1..=WAKE_ATTEMPTS {
            let sent = packets.send(head.as_bytes(), &[], Vec::new(), Wait::Never);
            self.owes_bell = false;
            match sent {
                // If the socket is full, it has something in it to wake up for.
                Ok(()) | Err((SendError::Full, _)) => break,
                Err((SendError::Closed, _)) => return Err(Unsent::Gone),
                // The message counts as sent, and no other message may follow it. `send` must not
                // block for a wake-up.
                Err(_) if attempt < WAKE_ATTEMPTS => thread::yield_now(),
                // The wake-up is sent with the next message.
                Err(_) => self.owes_bell = true,
            }
        }
        Ok(())
    }

    /// Spins a little for a receiver that is working, or makes the ring larger.
    #[cold]
    fn make_room(&mut self, packets: &PacketSender, stamp: u64, need: usize) -> Result<(), Unsent> {
        self.was_full = order(stamp);
        let consumed = self.ring.consumed();
        let is_moving = consumed != self.consumed;
        self.consumed = consumed;
        if is_moving && self.ring.len() >= WORKING_SET && self.wait_for_progress() {
            return Ok(());
        }
        if packets.is_closed() {
            return Err(Unsent::Gone);
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
        if self.patience == 0 {
            return false;
        }
        let begun = platform::now();
        let (ring, consumed) = (&self.ring, self.consumed);
        let look = || if ring.consumed() != consumed { Seen::Something } else { Seen::Nothing };
        self.spin.limit(self.patience.min(PATIENCE_NANOS));
        let has_moved = self.spin.spin(Wait::Forever, look) == Spun::Found
            // It may be waiting for this very processor.
            || (0..YIELDS).any(|_| {
                thread::yield_now();
                ring.consumed() != consumed
            });
        self.patience = self.patience.saturating_sub(platform::now().saturating_sub(begun));
        has_moved
    }
}

/// Retires the ring, so that the receiver need not keep a place for it.
impl Drop for Link {
    fn drop(&mut self) {
        // A forked child has no copy of its parent's ring.
        if self.owner == platform::process_mark() {
            self.ring.retire();
        }
    }
}
