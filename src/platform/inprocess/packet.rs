//! Packets in a queue.

use std::io;
use std::sync::Arc;

use super::Attachment;
use super::poller::Interest;
use super::queue::{Consumer, Producer, queue};
use super::rendezvous;
use crate::platform::{Arrival, Landing, RecvError, SendError, Wait};

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

    /// Sends one packet made of `head` and `body`.
    pub fn send(
        &self,
        head: &[u8],
        body: &[u8],
        attachments: Vec<Attachment>,
    ) -> Result<(), (SendError, Vec<Attachment>)> {
        let packet = Packet { bytes: [head, body].concat(), attachments };
        self.packets.push(packet).map_err(|packet| (SendError::Closed, packet.attachments))
    }
}

/// How many attachments may wait in unfinished messages: objects are only memory.
pub fn max_waiting_attachments() -> usize {
    usize::MAX
}

/// What stays behind of a receiver that left: nothing.
pub type Remains = ();

/// The end that packets come out of.
#[derive(Debug)]
pub struct PacketReceiver {
    packets: Consumer<Packet>,
}

impl PacketReceiver {
    /// Receives one packet and adds its attachments to `attachments`.
    pub fn recv(
        &self,
        landing: Landing<'_>,
        attachments: &mut Vec<Attachment>,
        wait: Wait,
    ) -> Result<Arrival, RecvError> {
        let mut packet = self.packets.pop(wait)?;
        let (head, body) = packet.bytes.split_at(packet.bytes.len().min(landing.head.len()));
        landing.head[..head.len()].copy_from_slice(head);
        landing.body.reserve_exact(body.len());
        landing.body.extend_from_slice(body);
        attachments.append(&mut packet.attachments);
        Ok(Arrival { len: packet.bytes.len(), truncated: false, attachments_lost: false })
    }

    /// How many bytes of packets are waiting that may be something else than whole messages: none ever are.
    pub fn backlog(&self) -> usize {
        0
    }

    /// Splits the receiver into what can travel and what has to stay.
    pub fn depart(self) -> Result<(PacketReceiver, Remains), (io::Error, PacketReceiver)> {
        Ok((self, ()))
    }

    pub(super) fn observe(&self, interest: Option<Arc<Interest>>) {
        self.packets.observe(interest);
    }
}
