//! The sending end: a message goes into the ring, or becomes one packet or several.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::frame::{Head, Kind, MAX_HEAD_BYTES, Position};
use super::known::{self, Entry};
use super::lane::{Lane, Routed, SocketUse};
use super::limits::{MAX_MESSAGE_ATTACHMENTS, MAX_MESSAGE_BYTES};
use crate::platform::{
    self, Attachment, MAX_PACKET_ATTACHMENTS, PACKET_BYTES, PacketSender, PerProcess, SendError,
};

/// The most bytes of a message in one packet.
const MAX_BODY_BYTES: usize = PACKET_BYTES - MAX_HEAD_BYTES;

/// A channel that does not even take parts of this size takes none.
const MIN_PART_BYTES: usize = 256;

/// Sends messages. Clones send into the same channel.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    shared: Arc<Shared>,
}

/// What the clones of a sender share.
#[derive(Debug)]
pub(super) struct Shared {
    packets: Arc<PacketSender>,
    /// Under which it is found when it arrives in a message.
    pub(super) entry: Entry,
    /// A forked child begins anew: the ring is its parent's, and so may be the lock.
    lane: PerProcess<Mutex<Lane>>,
    socket_use: SocketUse,
}

/// A message that was not sent, with those of its attachments that did not leave.
#[derive(Debug)]
pub(crate) struct SendFailure {
    /// What was wrong.
    pub(crate) error: SendError,
    /// What can be put back. Empty if some of the attachments left.
    pub(crate) attachments: Vec<Attachment>,
}

impl From<PacketSender> for Sender {
    fn from(packets: PacketSender) -> Sender {
        Sender::from(Arc::new(packets))
    }
}

impl From<Arc<PacketSender>> for Sender {
    fn from(packets: Arc<PacketSender>) -> Sender {
        Sender { shared: Arc::new(Shared::new(packets, Entry::default())) }
    }
}

impl Shared {
    pub(super) fn new(packets: Arc<PacketSender>, entry: Entry) -> Shared {
        Shared { packets, entry, lane: PerProcess::default(), socket_use: SocketUse::default() }
    }

    pub(super) fn packets(&self) -> &Arc<PacketSender> {
        &self.packets
    }
}

impl Sender {
    /// Connects to the listener of that name.
    pub(crate) fn connect(name: &str) -> io::Result<Sender> {
        PacketSender::connect(name).map(Sender::from)
    }

    /// Takes an attachment of a message as a sender: as the one that this process has already, if there is one.
    pub(crate) fn from_attachment(attachment: Attachment) -> io::Result<Sender> {
        let shared = known::find_or_add(attachment.into_sender()?);
        Ok(Sender { shared })
    }

    /// Makes an attachment that is one more sender of the channel.
    pub(crate) fn to_attachment(&self) -> Attachment {
        // So that it is found if it comes back.
        known::add(&self.shared);
        Attachment::from_sender(Arc::clone(self.packets()))
    }

    /// What the backend sends with.
    pub(crate) fn packets(&self) -> &Arc<PacketSender> {
        &self.shared.packets
    }

    #[inline]
    fn lane(&self) -> MutexGuard<'_, Lane> {
        self.shared.lane.get().lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message. When it returns `Ok`, the message survives this process.
    #[inline]
    pub(crate) fn send(
        &self,
        body: &[u8],
        attachments: Vec<Attachment>,
    ) -> Result<(), SendFailure> {
        if body.len() > MAX_MESSAGE_BYTES || attachments.len() > MAX_MESSAGE_ATTACHMENTS {
            let error = SendError::Io(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "a message of {} bytes with {} handles exceeds the limits",
                    body.len(),
                    attachments.len()
                ),
            ));
            return Err(SendFailure { error, attachments });
        }
        let sent = self.send_message(body, attachments);
        if let Err(SendFailure { error: SendError::Closed, .. }) = &sent {
            // A ring would take what comes all the same.
            self.lane().leave();
        }
        sent
    }

    /// Has all messages go by socket, as far as this process sends them.
    pub(crate) fn share_no_memory(&self) {
        self.lane().leave();
    }

    #[inline]
    fn send_message(&self, body: &[u8], attachments: Vec<Attachment>) -> Result<(), SendFailure> {
        let is_large = body.len() > MAX_BODY_BYTES || attachments.len() > MAX_PACKET_ATTACHMENTS;
        let stamp = match self.route(body, &attachments, is_large) {
            Ok(Routed::Sent) => return Ok(()),
            Ok(Routed::BySocket { stamp }) => stamp,
            Err(error) => return Err(SendFailure { error, attachments }),
        };
        let sent = self.send_by_socket(body, attachments, stamp, is_large);
        self.shared.socket_use.note();
        sent
    }

    fn send_by_socket(
        &self,
        body: &[u8],
        attachments: Vec<Attachment>,
        stamp: u64,
        is_large: bool,
    ) -> Result<(), SendFailure> {
        if is_large {
            return self.send_parts(body, attachments, stamp, MAX_BODY_BYTES);
        }
        let kind = Kind::Message;
        let head = Head::new(kind, attachments.len() as u16, body.len() as u32).stamped(stamp);
        let (error, attachments) = match self.packets().send(head.as_bytes(), body, attachments) {
            Ok(()) => return Ok(()),
            Err(unsent) => unsent,
        };
        match error {
            SendError::Full | SendError::TooLarge => {}
            error => return Err(SendFailure { error, attachments }),
        }
        let stamp = match self.route(body, &attachments, true) {
            Ok(Routed::Sent) => return Ok(()),
            Ok(Routed::BySocket { stamp }) => stamp,
            Err(error) => return Err(SendFailure { error, attachments }),
        };
        let head = head.stamped(stamp);
        match self.send_packet(&head, body, attachments) {
            Ok(()) => Ok(()),
            Err((SendError::TooLarge, attachments)) => {
                let part_bytes = (body.len() / 2).max(MIN_PART_BYTES);
                self.send_parts(body, attachments, stamp, part_bytes)
            }
            Err((error, attachments)) => Err(SendFailure { error, attachments }),
        }
    }

    /// Sends the message by the ring, if it may go there: `at_once` if the socket cannot take it.
    #[inline]
    fn route(
        &self,
        body: &[u8],
        attachments: &[Attachment],
        at_once: bool,
    ) -> Result<Routed, SendError> {
        let mut lane = self.lane();
        if !attachments.is_empty() {
            return Ok(Routed::BySocket { stamp: lane.stamp() });
        }
        if at_once {
            lane.send_past_socket(self.packets(), &self.shared.socket_use, body)
        } else {
            lane.send(self.packets(), &self.shared.socket_use, body)
        }
    }

    /// Sends a packet, and waits for room if there is none.
    fn send_packet(
        &self,
        head: &Head,
        body: &[u8],
        mut attachments: Vec<Attachment>,
    ) -> Result<(), (SendError, Vec<Attachment>)> {
        loop {
            match self.packets().send(head.as_bytes(), body, attachments) {
                Err((SendError::Full, unsent)) => attachments = unsent,
                sent => return sent,
            }
            if let Err(error) = self.packets().wait_for_room() {
                return Err((SendError::Io(error), attachments));
            }
        }
    }

    fn send_parts(
        &self,
        body: &[u8],
        mut attachments: Vec<Attachment>,
        stamp: u64,
        mut part_bytes: usize,
    ) -> Result<(), SendFailure> {
        // Unguessable, so that no other sender can add to this message; fresh, so that a forked child's differ.
        let id = match platform::unique_id() {
            Ok(id) => id.as_u128(),
            Err(error) => return Err(SendFailure { error: SendError::Io(error), attachments }),
        };
        let mut position =
            Position::First { bytes: body.len() as u64, attachments: attachments.len() as u32 };
        let mut rest = body;
        let mut all_here = true;
        loop {
            let (part, after) = rest.split_at(rest.len().min(part_bytes));
            // With the last parts: until then they can come back, and a sender of this very channel that is among them does
            // not keep the channel connected for a receiver that waits for the rest after we were killed.
            let leaving =
                if after.is_empty() { attachments.len().min(MAX_PACKET_ATTACHMENTS) } else { 0 };
            let later = attachments.split_off(leaving);
            if position == Position::Middle && after.is_empty() && later.is_empty() {
                position = Position::Last;
            }
            let head = Head::new(Kind::Part { id, position }, leaving as u16, part.len() as u32);
            match self.send_packet(&head.stamped(stamp), part, attachments) {
                Ok(()) if position == Position::Last => return Ok(()),
                Ok(()) => {
                    position = Position::Middle;
                    rest = after;
                    all_here &= leaving == 0;
                    attachments = later;
                }
                Err((SendError::TooLarge, unsent)) if part_bytes >= 2 * MIN_PART_BYTES => {
                    part_bytes /= 2;
                    if position == Position::Last {
                        position = Position::Middle;
                    }
                    attachments = unsent;
                    attachments.extend(later);
                }
                Err((error, mut unsent)) => {
                    if !matches!(position, Position::First { .. }) {
                        // The receiver would wait for the rest. If this fails, too, it finds out by itself.
                        let head = Head::new(Kind::Abort { id }, 0, 0);
                        let _ = self.packets().send_past_limit(head.as_bytes(), &[], Vec::new());
                    }
                    if all_here {
                        unsent.extend(later);
                    } else {
                        unsent.clear();
                    }
                    return Err(SendFailure { error, attachments: unsent });
                }
            }
        }
    }
}
