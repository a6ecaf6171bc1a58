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

/// Makes a connected pair.
pub fn channel() -> io::Result<(PacketSender, PacketReceiver)> {
    let (producer, consumer) = queue();
    Ok((PacketSender { packets: producer }, PacketReceiver { packets: consumer }))
}

/// The end that packets go into. All senders of a channel share it.
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

    /// Who listens: this process.
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
    /// Sends one small packet although there is no room.
    pub fn send_past_limit(
        &self,
        head: &[u8],
        body: &[u8],
        attachments: Vec<Attachment>,
    ) -> Result<(), (SendError, Vec<Attachment>)> {
        self.send(head, body, attachments, Wait::Never)
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.packets.is_closed()
    }

    /// What its queue is known by.
    pub fn identity(&self) -> Option<NonZeroU64> {
        self.packets.identity()
    }

    /// Whether one with the same identity is the same: as long as both are there, they are.
    pub fn is_same(&self, other: &PacketSender) -> bool {
        self.identity() == other.identity()
    }

    /// Whether everything that was sent was received, as far as is known.
    pub fn is_drained(&self) -> bool {
        false
    }
}

/// How many attachments may wait in unfinished messages: objects are only memory.
pub fn max_waiting_attachments() -> usize {
    usize::MAX
}

/// What stays behind of a receiver that left: nothing.
#[derive(Debug, Default)]
pub struct Remains(());

/// The end that packets come out of.
#[derive(Debug)]
pub struct PacketReceiver {
    packets: Consumer<Packet>,
}

thread_local! {
    /// What is still to be dropped of what undelivered packets carried, while this thread is dropping such.
    ///
    /// Never dropped where it stands, so that it is there while a thread that is ending drops its other thread-locals; it is empty then.
    static DROPPING: RefCell<ManuallyDrop<Option<Vec<Attachment>>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
}

/// Receivers may be in packets of receivers that are in packets, and so on: one after another instead of one within another, so that
/// their number is not limited by the stack.
impl Drop for PacketReceiver {
    fn drop(&mut self) {
        while let Ok(Packet { attachments, .. }) = self.packets.pop(Wait::Never) {
            drop_in_turn(attachments);
        }
    }
}

fn drop_in_turn(attachments: Vec<Attachment>) {
    // Where all thread-locals have destructors, a thread that is ending may have lost the list; then there is still the stack.
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
    /// Receives one packet and adds its attachments to `attachments`, all of them.
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

    /// Has all that is sent from now on fail, as if the receiver were gone. What was sent stays to be received.
    pub fn refuse(&self) {
        self.packets.refuse();
    }

    /// How many bytes of packets are waiting that may be something else than whole messages: none ever are.
    pub fn backlog(&self) -> usize {
        0
    }

    /// Makes what can be lent out to be polled: there are no handles for that.
    pub fn lend(&mut self) -> bool {
        true
    }

    /// Whether something was lent out.
    pub fn is_lent(&self) -> bool {
        false
    }

    /// Nobody has anything any more that was lent out.
    pub fn recall(&mut self) {}

    /// Whether it has to be told what to show.
    #[inline]
    pub fn shows_more(&self) -> bool {
        false
    }

    /// Whether it is shown that there is something besides packets.
    #[inline]
    pub fn is_showing(&self) -> bool {
        false
    }

    /// Lets what was lent out show whether there is something besides packets.
    #[inline]
    pub fn show(&mut self, _: bool, _: bool) {}

    /// Splits the receiver into what can travel and what has to stay.
    pub fn depart(self) -> Result<(PacketReceiver, Remains), (io::Error, PacketReceiver)> {
        Ok((self, Remains(())))
    }

    /// Undoes [`depart`](PacketReceiver::depart).
    pub fn come_back(&mut self, _: Remains) {}

    pub(super) fn observe(&self, interest: Option<Arc<Interest>>) {
        self.packets.observe(interest);
    }
}
