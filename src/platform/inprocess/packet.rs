//! Packets in a queue.

use std::cell::RefCell;
use std::io;
use std::mem::ManuallyDrop;
use std::num::NonZeroU64;
use std::sync::Arc;

use super::Attachment;
use super::InProcess;
use super::listener::Peer;
use crate::platform::contract::PacketReceiver as _;
use crate::platform::ready::{Consumer, Interest, Observe, Producer, queue};
use crate::platform::{ReceiveBuffers, ReceivedPacket, RecvError, SendError, Wait, contract};

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

impl contract::PacketSender<InProcess> for PacketSender {
    fn peer(&self) -> io::Result<Peer> {
        Ok(Peer)
    }

    fn send(
        &self,
        head: &[u8],
        body: &[u8],
        attachments: Vec<Attachment>,
        _: Wait,
    ) -> Result<(), (SendError, Vec<Attachment>)> {
        let packet = Packet { bytes: [head, body].concat(), attachments };
        self.packets.push(packet).map_err(|packet| (SendError::Closed, packet.attachments))
    }

    fn send_past_limit(
        &self,
        head: &[u8],
        body: &[u8],
        attachments: Vec<Attachment>,
    ) -> Result<(), (SendError, Vec<Attachment>)> {
        self.send(head, body, attachments, Wait::Never)
    }

    fn is_closed(&self) -> bool {
        self.packets.is_closed()
    }

    fn identity(&self) -> Option<NonZeroU64> {
        self.packets.identity()
    }

    fn is_same(&self, other: &PacketSender) -> bool {
        self.identity() == other.identity()
    }

    fn is_drained(&self) -> bool {
        false
    }
}

/// Returns how many attachments may wait in incomplete messages: objects are only memory.
pub fn max_kept_attachments() -> usize {
    usize::MAX
}

/// What stays of a receiver that was moved: nothing.
#[derive(Debug, Default)]
pub struct Remainder(());

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

impl contract::PacketReceiver<InProcess> for PacketReceiver {
    fn recv(
        &self,
        buffers: ReceiveBuffers<'_>,
        attachments: &mut Vec<Attachment>,
        wait: Wait,
        _: impl Fn(&[u8]) -> bool,
    ) -> Result<ReceivedPacket, RecvError> {
        let mut packet = self.packets.pop(wait)?;
        let (head, body) = packet.bytes.split_at(packet.bytes.len().min(buffers.head.len()));
        buffers.head[..head.len()].copy_from_slice(head);
        buffers.body.reserve_exact(body.len());
        buffers.body.extend_from_slice(body);
        attachments.append(&mut packet.attachments);
        Ok(ReceivedPacket { len: packet.bytes.len(), truncated: false, attachments_lost: false })
    }

    fn refuse(&self) {
        self.packets.refuse();
    }

    fn queued_bytes(&self) -> usize {
        0
    }

    fn lend(&mut self) -> bool {
        true
    }

    fn is_lent(&self) -> bool {
        false
    }

    fn recall(&mut self) {}

    #[inline]
    fn shows_more(&self) -> bool {
        false
    }

    #[inline]
    fn is_showing(&self) -> bool {
        false
    }

    #[inline]
    fn show(&mut self, _: bool, _: bool) {}

    fn take_apart(self) -> Result<(PacketReceiver, Remainder), (io::Error, PacketReceiver)> {
        Ok((self, Remainder(())))
    }

    fn restore(&mut self, _: Remainder) {}
}

impl Observe for PacketReceiver {
    fn observe(&self, interest: Option<Arc<Interest>>) {
        self.packets.observe(interest);
    }
}
