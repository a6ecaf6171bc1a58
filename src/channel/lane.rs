//! The fast way into a channel: what the senders of one process share for it.
//!
//! A channel that is used becomes a ring, by itself. Until then, and wherever there is no memory for one, its messages go by socket;
//! those with attachments always do. All get their stamps here, under one lock, so that a ring has one writer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::{mem, thread};

use super::frame::{Head, Kind};
use super::ring::{self, FRAGMENT_BYTES, Producer, PushError, Pushed, State};
use super::rings::{AFTER_SOCKET, order};
use super::spin::{Seen, Spin};
use crate::platform::{self, Attachment, PacketSender, RingMemory, SendError};

/// So many messages ...
const HOT_MESSAGES: u32 = 64;

/// ... within so many nanoseconds are worth a ring.
const HOT_NANOS: u64 = 10_000_000;

/// How often a sender looks what the receiver makes of its ring, in nanoseconds.
const LOOK_NANOS: u64 = 1_000_000;

/// How long a sender waits for a receiver that is making room, in nanoseconds: to stay in memory that is in the cache is worth as much.
const PATIENCE_NANOS: u64 = 50_000;

/// Up to this size a ring grows at once, and stays as large: what was used before is used again, and that in the cache.
const WORKING_SET: u32 = 1 << 20;

/// How often a sender lets others run before it makes a larger ring larger still.
const YIELDS: usize = 20;

/// How long a ring is large for nothing before it becomes small again, in nanoseconds.
const SETTLE_NANOS: u64 = 100_000_000;

/// After a ring came to nothing, the next is tried after so many nanoseconds, ...
const MIN_BACKOFF_NANOS: u64 = 100_000_000;

/// ... then twice as many, and so on, up to so many.
const MAX_BACKOFF_NANOS: u64 = 60_000_000_000;

/// What became of a message.
#[derive(Debug)]
pub(super) enum Routed {
    /// It is in the ring.
    Sent,
    /// It has to go by socket, with this stamp.
    BySocket { stamp: u64 },
}

/// Whether something was sent by socket since the last record. It is set when that is done, and not under the lock of the lane:
/// what a thread has sent by socket shows in the next record at the latest.
#[derive(Debug, Default)]
pub(super) struct SocketUse(AtomicBool);

impl SocketUse {
    /// Something was sent by socket.
    #[inline]
    pub(super) fn note(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether something was, since this was asked last.
    #[inline]
    fn take(&self) -> bool {
        // Most of the time there is nothing to be taken, and only that is looked at.
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Acquire)
    }
}

/// What the senders of one process share for one channel.
#[derive(Debug, Default)]
pub(super) struct Lane {
    last_stamp: u64,
    /// What to add to the stamp of the next record: whether something went by socket before.
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
    /// There are messages in it, so what comes goes there as well.
    is_used: bool,
    /// The receiver reads it.
    is_accepted: bool,
    /// ... and does not compare it with others.
    is_alone: bool,
    /// How it waits for a receiver that makes room.
    spin: Spin,
    /// When there was no room last, ...
    was_full: u64,
    /// ... and what the receiver had consumed then.
    consumed: u64,
    /// A wake-up is still to be sent.
    owes_bell: bool,
    /// When to look what the receiver makes of it.
    next_look: u64,
    /// The offer was received by then, and nothing had come of it yet.
    is_overdue: bool,
}

/// Why a message is not in the ring.
#[derive(Debug)]
enum Unsent {
    /// The receiver does not read it any more.
    Retired,
    /// The receiver is gone.
    Gone,
    /// There is no memory for more.
    NoRoom,
}

impl Lane {
    /// The time, later than that of the last message: for what goes by socket, exactly.
    #[inline]
    pub(super) fn stamp(&mut self) -> u64 {
        self.stamp_at(platform::now())
    }

    /// The same for what may go into the ring. Where nobody compares it with other rings, it need not be exact, unless it has a
    /// mark: a record with one is later than all that is in the socket before what the mark is about, whoever has sent it, and so
    /// is not next as long as the receiver has not read that far.
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
            // Until it is read, only the socket tells whether anybody is there.
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

    /// Sends a message that the socket has no room for by the ring, whether the receiver knows of it or not.
    pub(super) fn send_past_socket(
        &mut self,
        packets: &PacketSender,
        socket_use: &SocketUse,
        body: &[u8],
    ) -> Result<Routed, SendError> {
        let mut stamp = self.stamp_record(socket_use);
        // One that was offered before may turn out to be retired already.
        for _ in 0..2 {
            if self.link.is_none() {
                self.attach(packets, stamp, true);
            }
            let Some(link) = &mut self.link else { break };
            link.is_used = true;
            match self.push(packets, body, stamp)? {
                Routed::BySocket { stamp: exact } if self.link.is_none() => stamp = exact,
                routed => return Ok(routed),
            }
        }
        Ok(Routed::BySocket { stamp })
    }

    /// Counts a message, and offers a ring if there are many.
    fn warm_up(&mut self, packets: &PacketSender, stamp: u64) {
        if stamp - self.counted_since > HOT_NANOS {
            self.counted_since = stamp;
            self.count = 0;
        }
        self.count += 1;
        if self.count >= HOT_MESSAGES {
            self.count = 0;
            self.attach(packets, stamp, false);
        }
    }

    /// Makes a ring and offers it to the receiver. Without one, everything goes by socket.
    fn attach(&mut self, packets: &PacketSender, stamp: u64, is_used: bool) {
        // Who would have to wait otherwise tries again, unless nobody is there.
        if stamp < self.not_before && (!is_used || self.not_before == u64::MAX) {
            return;
        }
        let memory = RingMemory::new().ok().filter(|memory| is_used || memory.is_affordable());
        let ring = memory.and_then(|memory| Producer::new(memory).ok());
        let offered = ring.filter(|ring| offer(ring, packets, stamp, is_used));
        match offered {
            Some(ring) => {
                self.link = Some(Link {
                    ring,
                    is_used,
                    is_accepted: false,
                    is_alone: false,
                    spin: Spin::new(PATIENCE_NANOS),
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

    /// Leaves everything to the socket: the receiver is gone, which the socket knows, or wants no ring.
    pub(super) fn leave(&mut self) {
        self.link = None;
        self.not_before = u64::MAX;
    }

    /// Leaves the ring alone, and does not try another for a while.
    fn give_up(&mut self, stamp: u64) {
        self.link = None;
        self.back_off(stamp);
    }

    fn back_off(&mut self, stamp: u64) {
        self.backoff = (2 * self.backoff).clamp(MIN_BACKOFF_NANOS, MAX_BACKOFF_NANOS);
        self.not_before = stamp + self.backoff;
    }

    /// Looks what the receiver makes of the ring, and whether it is still there.
    fn look(&mut self, packets: &PacketSender, stamp: u64) -> Result<(), SendError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let is_due = stamp >= link.next_look;
        if is_due {
            link.next_look = stamp + LOOK_NANOS;
        }
        if packets.is_closed() {
            return Err(SendError::Closed);
        }
        if stamp - link.was_full > SETTLE_NANOS && link.ring.len() > WORKING_SET {
            link.ring.settle();
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
            State::Offered if !is_due => {}
            // Once it was received it takes a moment. If nothing has come of it by the next look, its receiver had no handle left.
            State::Offered if !mem::replace(&mut link.is_overdue, packets.is_drained()) => {}
            // What is in there waits for a receiver that can take it. One that has it already will not take it twice.
            State::Offered if link.is_used => {
                if stamp >= self.not_before {
                    offer(&link.ring, packets, stamp, true);
                    self.back_off(stamp);
                }
            }
            State::Offered | State::Refused => self.give_up(stamp),
            State::Unwanted => self.leave(),
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
                Ok(Routed::Sent)
            }
            Err(Unsent::Gone) => Err(SendError::Closed),
            // What is in there without being complete will be forgotten.
            Err(Unsent::NoRoom) => Ok(Routed::BySocket { stamp: self.stamp() }),
            Err(Unsent::Retired) => {
                if link.ring.state() == State::Unwanted {
                    self.leave();
                }
                self.link = None;
                self.count = 0;
                Ok(Routed::BySocket { stamp: self.stamp() })
            }
        }
    }
}

/// Sends the memory of a ring to the receiver.
fn offer(ring: &Producer<RingMemory>, packets: &PacketSender, stamp: u64, is_used: bool) -> bool {
    let Some(clock_domain) = platform::clock_domain() else { return false };
    let head = Head::new(Kind::Attach { clock_domain, is_used }, 1, 0).stamped(stamp);
    let memory = Attachment::from_shared_ring(ring.memory());
    packets.send_past_limit(head.as_bytes(), &[], vec![memory]).is_ok()
}

impl Link {
    /// Whether messages are to go here: the receiver reads it, or there are some already.
    #[inline]
    fn is_ready(&mut self) -> bool {
        if !self.is_used {
            self.is_used = matches!(self.ring.state(), State::Accepted | State::AcceptedAlone);
        }
        self.is_used
    }

    #[inline]
    fn push(&mut self, packets: &PacketSender, body: &[u8], stamp: u64) -> Result<(), Unsent> {
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
        let sent = packets.send(head.as_bytes(), &[], Vec::new());
        self.owes_bell = false;
        match sent {
            // If the socket is full, there is something in it to wake up for.
            Ok(()) | Err((SendError::Full, _)) => {}
            Err((SendError::Closed, _)) => return Err(Unsent::Gone),
            // The message counts as sent, so what is missing is made up for with the next.
            Err(_) => self.owes_bell = true,
        }
        Ok(())
    }

    /// Waits a little for a receiver that is at it, or makes the ring larger.
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
        self.ring.grow(need).map_err(|_| Unsent::NoRoom)
    }

    /// Waits a moment for a receiver that has been making room.
    fn wait_for_progress(&mut self) -> bool {
        let (ring, consumed) = (&self.ring, self.consumed);
        let look = || if ring.consumed() != consumed { Seen::Something } else { Seen::Nothing };
        if self.spin.spin(look) {
            return true;
        }
        // It may be waiting for this very processor.
        (0..YIELDS).any(|_| {
            thread::yield_now();
            ring.consumed() != consumed
        })
    }
}
