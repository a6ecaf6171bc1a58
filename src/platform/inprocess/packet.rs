//! Packets in a queue.

use std::cell::RefCell;
use std::io;
use std::mem::ManuallyDrop;
use std::num::NonZeroU64;
use std::sync::Arc;

use super::Attachment;
use super::poller::Interest;
use super::queue::{Consumer, Producer, queue};
use super::rendezvous::{self, Peer};
use crate::platform::{Arrival, Landing, RecvError, SendError, ServerName, Wait};

#[derive(Debug)]
struct Packet {
    bytes: Vec<u8>,
    attachments: Vec<Attachment>,
}

/// Makes a connected sender and receiver.
pub fn channel() -> io::Result<(PacketSender, PacketReceiver)> {
    let (producer, consumer) = queue();
    Ok((PacketSender { packets: producer }, PacketReceiver { packets: consumer }))
}

/// The sending end. All senders of a channel share it.
#[derive(Debug)]
pub struct PacketSender {
    packets: Producer<Packet>,
}

impl PacketSender {
    /// Connects to the listener of that name.
    pub fn connect(name: &str) -> io::Result<PacketSender> {
        rendezvous::connect(name)
    }

    /// Connects to the listener that has this name. There is always room.
    pub fn connect_to(name: &ServerName, _: Wait) -> io::Result<PacketSender> {
        rendezvous::connect_to(name)
    }

    /// Returns the process that listens: this one.
    pub fn peer(&self) -> io::Result<Peer> {
        Ok(Peer)
    }

    /// Sends one packet made of `head` and `body`. There is always room.
    pub fn send(
        &self,
        head: &[u8],
        body: &[u8],
        attachments: Vec<Attachment>,
        _: Wait,
    ) -> Result<(), (SendError, Vec<Attachment>)> {
        let packet = Packet { bytes: [head, body].concat(), attachments };
        self.packets.push(packet).map_err(|packet| (SendError::Closed, packet.attachments))
    }
}

impl PacketSender {
    /// Sends one small packet, like `send`.
    pub fn send_past_limit(
        &self,
        head: &[u8],
        body: &[u8],
        attachments: Vec<Attachment>,
    ) -> Result<(), (SendError, Vec<Attachment>)> {
        self.send(head, body, attachments, Wait::Never)
    }

    /// Returns whether the receiver has been dropped.
    pub fn is_closed(&self) -> bool {
        self.packets.is_closed()
    }

    /// Returns the identity of its queue.
    pub fn identity(&self) -> Option<NonZeroU64> {
        self.packets.identity()
    }

    /// Returns whether a sender with the same identity is the same: as long as both exist, it is.
    pub fn is_same(&self, other: &PacketSender) -> bool {
        self.identity() == other.identity()
    }

    /// Returns whether everything that was sent was received, as far as is known.
    pub fn is_drained(&self) -> bool {
        false
    }
}

/// Returns how many attachments may wait in incomplete messages: objects are only memory.
pub fn max_waiting_attachments() -> usize {
    usize::MAX
}

/// What stays of a receiver that was moved: nothing.
#[derive(Debug, Default)]
pub struct Remains(());

/// The receiving end.
#[derive(Debug)]
pub struct PacketReceiver {
    packets: Consumer<Packet>,
}

thread_local! {
    /// The attachments of undelivered packets that are still to be dropped, while this thread drops
    /// such packets.
    ///
    /// Never dropped in place, so that it exists while a thread that is ending drops its other
    /// thread-locals; it is empty then.
    static DROPPING: RefCell<ManuallyDrop<Option<Vec<Attachment>>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
}

/// Receivers may be in packets of receivers that are in packets, and so on. They are dropped one
/// after another instead of recursively, so that their number is not limited by the stack.
impl Drop for PacketReceiver {
    fn drop(&mut self) {
        // First: a sender that keeps sending would keep the loop from its end.
        self.refuse();
        while let Ok(Packet { attachments, .. }) = self.packets.pop(Wait::Never) {
            drop_in_turn(attachments);
        }
    }
}

/// A thread that has a sender of a receiver in such a packet can send into it until its turn comes.
fn drop_in_turn(attachments: Vec<Attachment>) {
    for attachment in &attachments {
        if let Attachment::Receiver(receiver) = attachment {
            receiver.refuse();
        }
    }
    // Where all thread-locals have destructors, a thread that is ending may have lost the list.
    // Then it drops recursively.
    let is_first = DROPPING.try_with(|dropping| {
        let mut dropping = dropping.borrow_mut();
        let is_first = dropping.is_none();
        dropping.get_or_insert_default().extend(attachments);
        is_first
    });
    if is_first == Ok(true) {
        while let Some(next) = DROPPING.with_borrow_mut(|dropping| dropping.as_mut()?.pop()) {
            drop(next);
        }
        drop(ManuallyDrop::into_inner(DROPPING.replace(ManuallyDrop::new(None))));
    }
}

impl PacketReceiver {
    /// Receives one packet and adds all its attachments to `attachments`.
    pub fn recv(
        &self,
        landing: Landing<'_>,
        attachments: &mut Vec<Attachment>,
        wait: Wait,
        _: impl Fn(&[u8]) -> bool,
    ) -> Result<Arrival, RecvError> {
        let mut packet = self.packets.pop(wait)?;
        let (head, body) = packet.bytes.split_at(packet.bytes.len().min(landing.head.len()));
        landing.head[..head.len()].copy_from_slice(head);
        landing.body.reserve_exact(body.len());
        landing.body.extend_from_slice(body);
        attachments.append(&mut packet.attachments);
        Ok(Arrival { len: packet.bytes.len(), truncated: false, attachments_lost: false })
    }

    /// Makes all sends fail that begin after it, as if the receiver had been dropped. What was sent
    /// can still be received.
    pub fn refuse(&self) {
        self.packets.refuse();
    }

    /// Returns how many bytes of packets wait that may be something else than whole messages: none
    /// ever are.
    pub fn backlog(&self) -> usize {
        0
    }

    /// Makes a handle to be polled: there are none in this backend.
    pub fn lend(&mut self) -> bool {
        true
    }

    /// Returns whether a handle was lent out.
    pub fn is_lent(&self) -> bool {
        false
    }

    /// Notes that the user no longer uses a lent handle.
    pub fn recall(&mut self) {}

    /// Returns whether it has to be told what to show.
    #[inline]
    pub fn shows_more(&self) -> bool {
        false
    }

    /// Returns whether it shows that there are messages besides packets.
    #[inline]
    pub fn is_showing(&self) -> bool {
        false
    }

    /// Sets whether the lent handle shows messages besides packets.
    #[inline]
    pub fn show(&mut self, _: bool, _: bool) {}

    /// Splits the receiver into what can be moved and what has to stay.
    pub fn depart(self) -> Result<(PacketReceiver, Remains), (io::Error, PacketReceiver)> {
        Ok((self, Remains(())))
    }

    /// Undoes [`depart`](PacketReceiver::depart).
    pub fn come_back(&mut self, _: Remains) {}

    pub(super) fn observe(&self, interest: Option<Arc<Interest>>) {
        self.packets.observe(interest);
    }
}
