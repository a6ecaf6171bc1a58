//! Which way a message goes: by the ring, or by the socket, in one packet or in several parts.
//!
//! The senders of a process share one [`SendPath`] for a channel. Only here it is decided which way
//! a message goes. A message is *large* if one packet has no room for its bytes or its attachments.
//!
//! - A small message goes by the ring if the receiver reads one, else by the socket. If the socket
//!   is full, it goes by the ring after all, which is made if there is none. If there can be no
//!   ring, it blocks until the socket has room.
//! - A large message goes by the ring, which is made if there is none. If there can be no ring, it
//!   goes by the socket in parts, and blocks until there is room for each.
//! - A message with attachments always goes by the socket, in parts if it is large. It blocks until
//!   there is room.
//!
//! The reasons, and what keeps the messages in order:
//!
//! - A ring saves system calls, and grows instead of blocking the sender. But it costs memory and a
//!   file descriptor on both sides. So a channel gets one only if it is busy, or if a message would
//!   have to block otherwise.
//! - Every message gets its stamp under the lock of the [`SendState`], after `send` was called and
//!   before anything of it is published. A record is published under the same lock, so a ring has
//!   one writer, and its stamps increase.
//! - Nothing blocks with the state locked. So packets of messages are sent without the lock, and
//!   two threads may send them in another order than that of their stamps. Their calls of `send`
//!   are concurrent then, and have no order.
//! - After a message was sent by socket, [`SocketUse`](super::socket::SocketUse) notes it. The next
//!   record is marked, so that the receiver reads the socket before it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::parts::{self, MIN_PART_BYTES};
use super::socket::{SendFailure, Socket, Timeout};
use super::state::{Routed, SendState, spin_past};
use crate::channel::frame::{Head, MAX_HEAD_BYTES};
use crate::platform::contract::PacketSender as _;
use crate::platform::{
    self, Attachment, MAX_PACKET_ATTACHMENTS, MAX_SENT_PACKET_BYTES, PacketSender, PerProcess,
    SendError, Wait,
};

/// The maximum number of bytes of a message in one packet.
const MAX_BODY_BYTES: usize = MAX_SENT_PACKET_BYTES - MAX_HEAD_BYTES;

/// The ways into a channel of the platform, which the senders of a process share.
#[derive(Debug)]
pub(super) struct SendPath {
    socket: Socket,
    /// A forked child starts with an empty one: the ring is its parent's, and the lock may be taken
    /// for ever.
    state: PerProcess<Mutex<SendState>>,
}

/// Which ring a message may go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RingUse {
    /// One that the receiver is known to read.
    IfReady,
    /// Any: it is made if there is none, and the receiver is told to read it.
    AtOnce,
}

impl SendPath {
    /// Makes the path by this backend's sender.
    pub(super) fn new(packets: Arc<PacketSender>) -> SendPath {
        SendPath { socket: Socket::new(packets), state: PerProcess::default() }
    }

    /// Returns the socket.
    #[inline]
    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Sends everything by socket from now on: the receiver has been dropped, which the socket
    /// shows, or wants no ring.
    pub(super) fn disable_ring(&self) {
        self.state().disable_ring();
    }

    /// Sends a message, blocking for at most `timeout` until there is room.
    #[inline]
    pub(super) fn send(
        &self,
        body: &[u8],
        attachments: Vec<Attachment>,
        timeout: Timeout,
    ) -> Result<(), SendFailure> {
        let is_large = body.len() > MAX_BODY_BYTES || attachments.len() > MAX_PACKET_ATTACHMENTS;
        // 1. Take a stamp, and try the ring.
        let ring = if is_large { RingUse::AtOnce } else { RingUse::IfReady };
        let stamp = match self.try_ring(body, &attachments, ring) {
            Ok(Routed::Sent) => return Ok(()),
            Ok(Routed::BySocket { stamp }) => stamp,
            Err(error) => return Err(SendFailure { error, attachments }),
        };
        // 2. Send it by socket, in parts or in one packet.
        let sent = if is_large {
            let deadline = timeout.start();
            parts::send(&self.socket, body, attachments, stamp, MAX_BODY_BYTES, deadline)
        } else {
            match self.send_packet(body, attachments, stamp, timeout) {
                // The socket was full, and the ring took it.
                Ok(Routed::Sent) => return Ok(()),
                sent => sent.map(drop),
            }
        };
        // 3. Have the next record marked, even if not everything was sent.
        self.socket.usage.note();
        if sent.is_ok() && platform::clock_tick() > 0 {
            // It may have got a later stamp than the first, but none that is later than now.
            spin_past(platform::now());
        }
        sent
    }

    /// Sends a small message by socket, or by the ring after all if the socket has no room. Returns
    /// by which of them it was sent.
    #[inline]
    fn send_packet(
        &self,
        body: &[u8],
        attachments: Vec<Attachment>,
        stamp: u64,
        timeout: Timeout,
    ) -> Result<Routed, SendFailure> {
        let head = Head::of_message(attachments.len() as u8, body.len() as u32).stamped(stamp);
        match self.socket.packets.send(head.as_bytes(), body, attachments, Wait::Never) {
            Ok(()) => Ok(Routed::BySocket { stamp }),
            Err((
                SendError::Full | SendError::TooManyInFlight | SendError::TooLarge,
                attachments,
            )) => self.send_without_room(&head, body, attachments, timeout),
            Err((error, attachments)) => Err(SendFailure { error, attachments }),
        }
    }

    /// Sends a small message, with this head, that the socket has no room for.
    #[cold]
    fn send_without_room(
        &self,
        head: &Head,
        body: &[u8],
        attachments: Vec<Attachment>,
        timeout: Timeout,
    ) -> Result<Routed, SendFailure> {
        // 1. From here on it would have to block, and the time for that begins. Try any ring.
        let mut deadline = timeout.start();
        let stamp = match self.try_ring(body, &attachments, RingUse::AtOnce) {
            Ok(Routed::Sent) => return Ok(Routed::Sent),
            Ok(Routed::BySocket { stamp }) => stamp,
            Err(error) => return Err(SendFailure { error, attachments }),
        };
        // 2. Block until the socket has room.
        match self.socket.send(&head.stamped(stamp), body, attachments, &mut deadline) {
            Ok(()) => Ok(Routed::BySocket { stamp }),
            // 3. The socket is smaller than this packet: send it in parts.
            Err((SendError::TooLarge, attachments)) => {
                let part_bytes = (body.len() / 2).max(MIN_PART_BYTES);
                parts::send(&self.socket, body, attachments, stamp, part_bytes, deadline)
                    .map(|()| Routed::BySocket { stamp })
            }
            Err((error, attachments)) => Err(SendFailure { error, attachments }),
        }
    }

    /// Takes a stamp for a message, and sends it by the ring if it may go there.
    #[inline]
    fn try_ring(
        &self,
        body: &[u8],
        attachments: &[Attachment],
        ring: RingUse,
    ) -> Result<Routed, SendError> {
        let mut state = self.state();
        if !attachments.is_empty() {
            return Ok(Routed::BySocket { stamp: state.stamp() });
        }
        match ring {
            RingUse::IfReady => state.send_if_ready(&self.socket, body),
            RingUse::AtOnce => state.send_at_once(&self.socket, body),
        }
    }

    #[inline]
    fn state(&self) -> MutexGuard<'_, SendState> {
        self.state.get().lock().unwrap_or_else(PoisonError::into_inner)
    }
}
