//! The sending end: a message goes into the ring, or becomes one packet or several.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::frame::{Head, Kind, MAX_HEAD_BYTES, Position};
use super::known::{self, Entry};
use super::lane::{Lane, Routed, SocketUse};
use super::limits::{MAX_MESSAGE_ATTACHMENTS, MAX_MESSAGE_BYTES};
use super::local::{Local, Sent, Way};
use super::permits::Permits;
use crate::platform::{
    self, Attachment, MAX_PACKET_ATTACHMENTS, PACKET_BYTES, PacketSender, PerProcess, SendError,
    Wait,
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
    /// Where messages go, unless they stay in this process.
    way: OnceLock<Way>,
    /// Where they go until then.
    local: Option<Arc<Local>>,
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

impl Shared {
    /// By this way; it is found under `entry`.
    pub(super) fn new(way: Way, entry: Entry) -> Shared {
        Shared::with(OnceLock::from(way), None, entry)
    }

    fn with(way: OnceLock<Way>, local: Option<Arc<Local>>, entry: Entry) -> Shared {
        let (lane, socket_use) = (PerProcess::default(), SocketUse::default());
        Shared { way, local, entry, lane, socket_use }
    }

    /// Whether this is the way by which it sends.
    pub(super) fn is_by(&self, way: &Way) -> bool {
        self.way.get().is_some_and(|own| {
            let has_same_permits = match (&own.permits, &way.permits) {
                (Some(own), Some(other)) => own.is_same(other),
                (own, other) => own.is_none() && other.is_none(),
            };
            // Whoever sends one can put others' permits with it, which may be none.
            has_same_permits && own.packets.is_same(&way.packets)
        })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(local) = &self.local {
            local.disconnect();
        }
    }
}

impl From<PacketSender> for Sender {
    fn from(packets: PacketSender) -> Sender {
        Sender::new(Arc::new(packets), None)
    }
}

/// Into a channel that has not left this process.
impl From<Arc<Local>> for Sender {
    fn from(local: Arc<Local>) -> Sender {
        let shared = Shared::with(OnceLock::new(), Some(local), Entry::default());
        Sender { shared: Arc::new(shared) }
    }
}

impl Sender {
    /// Into the platform's channel; `permits` are needed if it is bounded.
    pub(crate) fn new(packets: Arc<PacketSender>, permits: Option<Permits>) -> Sender {
        Sender { shared: Arc::new(Shared::new(Way { packets, permits }, Entry::default())) }
    }

    /// Connects to the listener of that name.
    pub(crate) fn connect(name: &str) -> io::Result<Sender> {
        PacketSender::connect(name).map(Sender::from)
    }

    /// Takes an attachment of a message as a sender: as the one that this process has already, if there is one.
    pub(crate) fn from_attachment(attachment: Attachment) -> io::Result<Sender> {
        Sender::from_way(Way { packets: attachment.into_sender()?, permits: None })
    }

    /// Takes attachments as a sender into a bounded channel, a rendezvous perhaps.
    pub(crate) fn from_attachments(
        attachment: Attachment,
        permits: Attachment,
        is_rendezvous: bool,
    ) -> io::Result<Sender> {
        let permits = Some(Permits::from_attachment(permits, is_rendezvous)?);
        Sender::from_way(Way { packets: attachment.into_sender()?, permits })
    }

    fn from_way(way: Way) -> io::Result<Sender> {
        Ok(Sender { shared: known::find_or_add(way) })
    }

    /// Has it found when it comes back in a message.
    pub(crate) fn remember(&self) {
        if let Some(way) = self.shared.way.get() {
            known::add(&self.shared, way);
        }
    }

    /// Whether it is not the only one of those that share everything.
    pub(crate) fn has_clones(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    /// Makes an attachment that is one more sender of the channel.
    ///
    /// # Errors
    ///
    /// There is no platform's channel yet, and it cannot be made.
    pub(crate) fn to_attachment(&self) -> io::Result<Attachment> {
        Ok(Attachment::from_sender(Arc::clone(self.packets()?)))
    }

    /// What a sender into this channel takes before it sends, if it is bounded.
    pub(crate) fn permits(&self) -> io::Result<Option<&Permits>> {
        Ok(self.way()?.permits.as_ref())
    }

    /// What the backend sends with. A channel that has been in this process only is the platform's from now on.
    ///
    /// # Errors
    ///
    /// As [`to_attachment`](Sender::to_attachment).
    pub(crate) fn packets(&self) -> io::Result<&Arc<PacketSender>> {
        self.way().map(|way| &way.packets)
    }

    #[inline]
    fn way(&self) -> io::Result<&Way> {
        match (self.shared.way.get(), &self.shared.local) {
            (Some(way), _) => Ok(way),
            (None, Some(local)) => local.promote(&self.shared.way),
            (None, None) => Err(io::Error::other("a sender has one of the two")),
        }
    }

    #[inline]
    fn lane(&self) -> MutexGuard<'_, Lane> {
        self.shared.lane.get().lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a message could be sent without waiting, as far as the bound of the channel is concerned and if nobody else sends one.
    pub(crate) fn has_room(&self) -> bool {
        match (self.shared.way.get(), &self.shared.local) {
            (Some(way), _) => {
                way.permits.as_ref().is_none_or(|permits| permits.is_any(&way.packets))
                    || way.packets.is_closed()
            }
            (None, Some(local)) => local.has_room(),
            (None, None) => true,
        }
    }

    /// Sends a message. When it returns `Ok`, the message survives this process, unless the channel has never left it. If the channel is bounded and
    /// full, it waits for room, and returns [`SendError::Full`] if there was none in time.
    #[inline]
    pub(crate) fn send(
        &self,
        body: &[u8],
        mut attachments: Vec<Attachment>,
        wait: Wait,
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
        if let (None, Some(local)) = (self.shared.way.get(), &self.shared.local) {
            match local.send(body, attachments, wait) {
                Ok(Sent::Here) => return Ok(()),
                Ok(Sent::Promoted(unsent)) => attachments = unsent,
                Err((error, attachments)) => return Err(SendFailure { error, attachments }),
            }
        }
        let way = match self.way() {
            Ok(way) => way,
            Err(error) => return Err(SendFailure { error: SendError::Io(error), attachments }),
        };
        let sent = match &way.permits {
            None => self.send_message(&way.packets, body, attachments),
            Some(permits) => self.send_bounded(way, permits, body, attachments, wait),
        };
        if let Err(SendFailure { error: SendError::Closed, .. }) = &sent {
            // A ring would take what comes all the same.
            self.lane().leave();
        }
        sent
    }

    fn send_bounded(
        &self,
        way: &Way,
        permits: &Permits,
        body: &[u8],
        attachments: Vec<Attachment>,
        wait: Wait,
    ) -> Result<(), SendFailure> {
        let leave = loop {
            match permits.take(&way.packets, wait) {
                // Who was stopped meanwhile is not waited for any more.
                Ok(leave) if leave.is_stale() => {}
                Ok(leave) => break leave,
                Err(error) => return Err(SendFailure { error, attachments }),
            }
        };
        let sent = self.send_message(&way.packets, body, attachments);
        if sent.is_err() {
            leave.give_back();
        }
        sent
    }

    /// Has all messages go by socket, as far as this process sends them.
    pub(crate) fn share_no_memory(&self) {
        self.lane().leave();
    }

    #[inline]
    fn send_message(
        &self,
        packets: &PacketSender,
        body: &[u8],
        attachments: Vec<Attachment>,
    ) -> Result<(), SendFailure> {
        let is_large = body.len() > MAX_BODY_BYTES || attachments.len() > MAX_PACKET_ATTACHMENTS;
        let stamp = match self.route(packets, body, &attachments, is_large) {
            Ok(Routed::Sent) => return Ok(()),
            Ok(Routed::BySocket { stamp }) => stamp,
            Err(error) => return Err(SendFailure { error, attachments }),
        };
        let sent = self.send_by_socket(packets, body, attachments, stamp, is_large);
        self.shared.socket_use.note();
        sent
    }

    fn send_by_socket(
        &self,
        packets: &PacketSender,
        body: &[u8],
        attachments: Vec<Attachment>,
        stamp: u64,
        is_large: bool,
    ) -> Result<(), SendFailure> {
        if is_large {
            return send_parts(packets, body, attachments, stamp, MAX_BODY_BYTES);
        }
        let kind = Kind::Message;
        let head = Head::new(kind, attachments.len() as u16, body.len() as u32).stamped(stamp);
        let (error, attachments) = match packets.send(head.as_bytes(), body, attachments) {
            Ok(()) => return Ok(()),
            Err(unsent) => unsent,
        };
        match error {
            SendError::Full | SendError::TooLarge => {}
            error => return Err(SendFailure { error, attachments }),
        }
        let stamp = match self.route(packets, body, &attachments, true) {
            Ok(Routed::Sent) => return Ok(()),
            Ok(Routed::BySocket { stamp }) => stamp,
            Err(error) => return Err(SendFailure { error, attachments }),
        };
        let head = head.stamped(stamp);
        match send_packet(packets, &head, body, attachments) {
            Ok(()) => Ok(()),
            Err((SendError::TooLarge, attachments)) => {
                let part_bytes = (body.len() / 2).max(MIN_PART_BYTES);
                send_parts(packets, body, attachments, stamp, part_bytes)
            }
            Err((error, attachments)) => Err(SendFailure { error, attachments }),
        }
    }

    /// Sends the message by the ring, if it may go there: `at_once` if the socket cannot take it.
    #[inline]
    fn route(
        &self,
        packets: &PacketSender,
        body: &[u8],
        attachments: &[Attachment],
        at_once: bool,
    ) -> Result<Routed, SendError> {
        let mut lane = self.lane();
        if !attachments.is_empty() {
            return Ok(Routed::BySocket { stamp: lane.stamp() });
        }
        if at_once {
            lane.send_past_socket(packets, &self.shared.socket_use, body)
        } else {
            lane.send(packets, &self.shared.socket_use, body)
        }
    }
}

/// Sends a packet, and waits for room if there is none.
fn send_packet(
    packets: &PacketSender,
    head: &Head,
    body: &[u8],
    mut attachments: Vec<Attachment>,
) -> Result<(), (SendError, Vec<Attachment>)> {
    loop {
        match packets.send(head.as_bytes(), body, attachments) {
            Err((SendError::Full, unsent)) => attachments = unsent,
            sent => return sent,
        }
        if let Err(error) = packets.wait_for_room() {
            return Err((SendError::Io(error), attachments));
        }
    }
}

fn send_parts(
    packets: &PacketSender,
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
        match send_packet(packets, &head.stamped(stamp), part, attachments) {
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
                    let _ = packets.send_past_limit(head.as_bytes(), &[], Vec::new());
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
