//! The sender of a channel: a message goes into the ring, becomes one or more packets, or stays in
//! the memory of this process.

mod lane;
mod registry;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::frame::{Head, Kind, MAX_HEAD_BYTES, Position};
use super::hello::Introduction;
use super::limits::{Limits, SEND_PATIENCE};
use super::memory::{Local, Sent, Way};
use super::permits::Permits;
use super::table::{Capabilities, Entry, MovedSender};
use crate::platform::{
    self, Attachment, MAX_PACKET_ATTACHMENTS, PACKET_BYTES, PacketSender, PerProcess, SendError,
    Wait,
};
use lane::{Lane, Routed, SocketUse};

/// The maximum number of bytes of a message in one packet.
const MAX_BODY_BYTES: usize = PACKET_BYTES - MAX_HEAD_BYTES;

/// A channel that does not even take parts of this size takes none.
const MIN_PART_BYTES: usize = 256;

/// Sends messages. Clones send into the same channel.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    shared: Arc<Shared>,
}

/// The state that the clones of a sender share.
#[derive(Debug)]
struct Shared {
    /// The platform's channel, with its permits, after promotion.
    way: OnceLock<Way>,
    /// The channel within this process, until then.
    local: Option<Arc<Local>>,
    /// Registers the sender, so that it is found when it arrives in a message.
    entry: registry::Entry,
    /// A forked child starts with an empty one: the ring is its parent's, and the lock may be taken
    /// for ever.
    lane: PerProcess<Mutex<Lane>>,
    socket_use: SocketUse,
}

/// How long a message waits for room if neither the ring nor the socket takes it at once. The clock
/// is read only then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// As the caller says.
    Caller(Wait),
    /// For [`SEND_PATIENCE`], from when it has to wait.
    Limited,
    /// In a bounded channel: for as long as the receiver exists. If it is not this channel that is
    /// full, but this user has too many file descriptors in flight, for [`SEND_PATIENCE`].
    Bounded,
}

impl Patience {
    /// Starts the time if it is not running.
    fn begin(self) -> Patience {
        match self {
            Patience::Limited => Patience::Caller(Wait::at_most(SEND_PATIENCE)),
            patience => patience,
        }
    }

    fn wait(self) -> Wait {
        match self {
            Patience::Caller(wait) => wait,
            Patience::Limited | Patience::Bounded => Wait::at_most(SEND_PATIENCE),
        }
    }
}

/// A message that was not sent, with those of its attachments that were not sent either.
#[derive(Debug)]
pub(crate) struct SendFailure {
    /// Why it was not sent.
    pub(crate) error: SendError,
    /// The attachments that can be returned. Empty if some of them were sent.
    pub(crate) attachments: Vec<Attachment>,
}

impl Shared {
    /// Makes the state of a sender by this way, registered as `entry`.
    fn new(way: Way, entry: registry::Entry) -> Shared {
        Shared::with(OnceLock::from(way), None, entry)
    }

    fn with(way: OnceLock<Way>, local: Option<Arc<Local>>, entry: registry::Entry) -> Shared {
        let (lane, socket_use) = (PerProcess::default(), SocketUse::default());
        Shared { way, local, entry, lane, socket_use }
    }

    /// Returns whether it sends by this way.
    fn is_by(&self, way: &Way) -> bool {
        self.way.get().is_some_and(|own| {
            let has_same_permits = match (&own.permits, &way.permits) {
                (Some(own), Some(other)) => own.is_same(other),
                (own, other) => own.is_none() && other.is_none(),
            };
            // A peer can combine the channel with other permits, or none, and claim other
            // capabilities.
            has_same_permits
                && own.capabilities == way.capabilities
                && own.packets.is_same(&way.packets)
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

/// Makes a sender into a channel within this process.
impl From<Arc<Local>> for Sender {
    fn from(local: Arc<Local>) -> Sender {
        let shared = Shared::with(OnceLock::new(), Some(local), registry::Entry::default());
        Sender { shared: Arc::new(shared) }
    }
}

impl Sender {
    /// Makes a sender into the platform's channel; `permits` are needed if it is bounded.
    pub(crate) fn new(packets: Arc<PacketSender>, permits: Option<Permits>) -> Sender {
        Sender {
            shared: Arc::new(Shared::new(Way::new(packets, permits), registry::Entry::default())),
        }
    }

    /// Connects to the listener of that name.
    pub(crate) fn connect(name: &str) -> io::Result<Sender> {
        PacketSender::connect(name).map(Sender::from)
    }

    /// Converts an attachment into a sender of an unbounded channel: the registered one, if this
    /// process has it already.
    pub(crate) fn from_attachment(attachment: Attachment) -> io::Result<Sender> {
        let capabilities = Capabilities::ALL;
        Sender::from_entry(MovedSender { channel: attachment, permits: None, capabilities })
    }

    /// Converts an entry of a message into a sender.
    pub(crate) fn from_entry(moved: MovedSender<Attachment>) -> io::Result<Sender> {
        let MovedSender { channel, permits, capabilities } = moved;
        let is_rendezvous = capabilities.is_rendezvous();
        let permits = permits.map(|permits| Permits::from_attachment(permits, is_rendezvous));
        let (packets, permits) = (channel.into_sender()?, permits.transpose()?);
        let capabilities = capabilities.of_rendezvous(false);
        let way = Way { packets, permits, capabilities };
        Ok(Sender { shared: registry::find_or_add(way) })
    }

    /// Makes an entry of a message that is one more sender of the channel.
    ///
    /// # Errors
    ///
    /// The errors of [`to_attachment`](Sender::to_attachment).
    pub(crate) fn to_entry(&self) -> io::Result<MovedSender<Attachment>> {
        let Way { packets, permits, capabilities } = self.way()?;
        let is_rendezvous = permits.as_ref().is_some_and(Permits::is_rendezvous);
        Ok(MovedSender {
            channel: Attachment::from_sender(Arc::clone(packets)),
            permits: permits.as_ref().map(Permits::to_attachment),
            capabilities: capabilities.of_rendezvous(is_rendezvous),
        })
    }

    /// Returns whether the channel is bounded, as far as it was promoted.
    pub(crate) fn is_bounded(&self) -> bool {
        self.shared.way.get().is_some_and(|way| way.permits.is_some())
    }

    /// Returns whether the channel can transport a message with this entry.
    pub(crate) fn admits(&self, entry: &Entry<Attachment>) -> bool {
        self.shared.way.get().is_none_or(|way| way.capabilities.admit(entry))
    }

    /// Registers the sender, so that it is found when it comes back in a message.
    pub(crate) fn remember(&self) {
        if let Some(way) = self.shared.way.get() {
            registry::add(&self.shared, way);
        }
    }

    /// Returns whether other senders share its state.
    pub(crate) fn has_clones(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    /// Makes an attachment that is one more sender of the channel.
    ///
    /// # Errors
    ///
    /// Fails if the channel was not promoted and cannot be.
    pub(crate) fn to_attachment(&self) -> io::Result<Attachment> {
        Ok(Attachment::from_sender(Arc::clone(self.packets()?)))
    }

    /// Returns the backend's sender, and promotes a channel that was in this process only.
    ///
    /// # Errors
    ///
    /// The errors of [`to_attachment`](Sender::to_attachment).
    pub(crate) fn packets(&self) -> io::Result<&Arc<PacketSender>> {
        self.way().map(|way| &way.packets)
    }

    #[inline]
    fn way(&self) -> io::Result<&Way> {
        match (self.shared.way.get(), &self.shared.local) {
            (Some(way), _) => Ok(way),
            (None, Some(local)) => local.promote(&self.shared.way),
            (None, None) => Err(io::Error::other(
                "the sender has neither a local channel nor one of the platform",
            )),
        }
    }

    #[inline]
    fn lane(&self) -> MutexGuard<'_, Lane> {
        self.shared.lane.get().lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the bound of the channel allows sending a message without blocking, if no
    /// other thread sends one.
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

    /// Returns whether the receiver has been dropped.
    pub(crate) fn is_closed(&self) -> bool {
        match (self.shared.way.get(), &self.shared.local) {
            (Some(way), _) => way.packets.is_closed(),
            (None, Some(local)) => local.is_closed(),
            (None, None) => false,
        }
    }

    /// Sends a message. After it returned `Ok`, the message survives this process, unless the
    /// channel was never promoted.
    ///
    /// If the channel is bounded and full, or if the kernel has no room for the message, it blocks
    /// as `wait` says. It fails with [`SendError::Full`] or [`SendError::TooManyInFlight`] if there
    /// was no room in time. [`Wait::Forever`] has no limit only while a bounded channel is full.
    /// Otherwise it fails with [`SendError::Io`] if there was no room within [`SEND_PATIENCE`].
    #[inline]
    pub(crate) fn send(
        &self,
        body: &[u8],
        attachments: Vec<Attachment>,
        wait: Wait,
    ) -> Result<(), SendFailure> {
        let sent = self.send_within(body, attachments, wait);
        match sent {
            Err(SendFailure { error, attachments }) if wait == Wait::Forever => {
                Err(SendFailure { error: overdue(error), attachments })
            }
            sent => sent,
        }
    }

    #[inline]
    fn send_within(
        &self,
        body: &[u8],
        mut attachments: Vec<Attachment>,
        wait: Wait,
    ) -> Result<(), SendFailure> {
        if !Limits::LARGEST.admit(body.len() as u64, attachments.len()) {
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
            None => {
                let patience = match wait {
                    Wait::Forever => Patience::Limited,
                    wait => Patience::Caller(wait),
                };
                self.send_message(&way.packets, body, attachments, patience)
            }
            Some(permits) => self.send_bounded(way, permits, body, attachments, wait),
        };
        if let Err(SendFailure { error: SendError::Closed, .. }) = &sent {
            // A ring would still accept messages.
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
                // The receiver may no longer wait for a thread that was stopped meanwhile.
                Ok(leave) if leave.is_stale() => {}
                Ok(leave) => break leave,
                Err(error) => return Err(SendFailure { error, attachments }),
            }
        };
        let patience = match wait {
            Wait::Forever => Patience::Bounded,
            wait => Patience::Caller(wait),
        };
        let sent = self.send_message(&way.packets, body, attachments, patience);
        if sent.is_err() {
            leave.give_back();
        }
        sent
    }

    /// Sends a HELLO. Blocks for room like [`send`](Sender::send) in an unbounded channel.
    pub(crate) fn say_hello(
        &self,
        introduction: &Introduction,
        attachments: Vec<Attachment>,
        wait: Wait,
    ) -> Result<(), SendError> {
        let fields = introduction.fields();
        let head = Introduction::head(&fields, attachments.len() as u8);
        let patience = match wait {
            Wait::Forever => Patience::Limited,
            wait => Patience::Caller(wait),
        };
        let packets = self.packets().map_err(SendError::Io)?;
        send_packet(packets, &head, &fields, attachments, patience)
            .map_err(|(error, _)| if wait == Wait::Forever { overdue(error) } else { error })
    }

    /// Sends all messages of this process by socket from now on.
    pub(crate) fn share_no_memory(&self) {
        self.lane().leave();
    }

    #[inline]
    fn send_message(
        &self,
        packets: &PacketSender,
        body: &[u8],
        attachments: Vec<Attachment>,
        patience: Patience,
    ) -> Result<(), SendFailure> {
        let is_large = body.len() > MAX_BODY_BYTES || attachments.len() > MAX_PACKET_ATTACHMENTS;
        let stamp = match self.route(packets, body, &attachments, is_large) {
            Ok(Routed::Sent) => return Ok(()),
            Ok(Routed::BySocket { stamp }) => stamp,
            Err(error) => return Err(SendFailure { error, attachments }),
        };
        let sent = if is_large {
            let patience = patience.begin();
            send_parts(packets, body, attachments, stamp, MAX_BODY_BYTES, patience)
        } else {
            match self.send_by_socket(packets, body, attachments, stamp, patience) {
                Ok(Routed::Sent) => return Ok(()),
                sent => sent.map(drop),
            }
        };
        self.shared.socket_use.note();
        if sent.is_ok() && platform::clock_tick() > 0 {
            // It may have got a later stamp than the first, but none that is later than now.
            lane::leave_tick(platform::now());
        }
        sent
    }

    /// Sends a message that one packet has room for, by the ring after all if the socket has no
    /// room. Returns by which of them it was sent.
    fn send_by_socket(
        &self,
        packets: &PacketSender,
        body: &[u8],
        attachments: Vec<Attachment>,
        stamp: u64,
        patience: Patience,
    ) -> Result<Routed, SendFailure> {
        let head = Head::of_message(attachments.len() as u8, body.len() as u32).stamped(stamp);
        let sent = packets.send(head.as_bytes(), body, attachments, Wait::Never);
        let (error, attachments) = match sent {
            Ok(()) => return Ok(Routed::BySocket { stamp }),
            Err(unsent) => unsent,
        };
        match error {
            SendError::Full | SendError::TooManyInFlight | SendError::TooLarge => {}
            error => return Err(SendFailure { error, attachments }),
        }
        let patience = patience.begin();
        let stamp = match self.route(packets, body, &attachments, true) {
            Ok(Routed::Sent) => return Ok(Routed::Sent),
            Ok(Routed::BySocket { stamp }) => stamp,
            Err(error) => return Err(SendFailure { error, attachments }),
        };
        let head = head.stamped(stamp);
        match send_packet(packets, &head, body, attachments, patience) {
            Ok(()) => Ok(Routed::BySocket { stamp }),
            Err((SendError::TooLarge, attachments)) => {
                let part_bytes = (body.len() / 2).max(MIN_PART_BYTES);
                send_parts(packets, body, attachments, stamp, part_bytes, patience)
                    .map(|()| Routed::BySocket { stamp })
            }
            Err((error, attachments)) => Err(SendFailure { error, attachments }),
        }
    }

    /// Sends the message by the ring, if it may go there. If `at_once`, the socket cannot take it:
    /// then the ring is made if there is none, and used before the receiver has accepted it.
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

/// Converts the error of a `send` whose time is over.
#[cold]
fn overdue(error: SendError) -> SendError {
    let reason = match error {
        SendError::Full => "the receiver has not made room for it",
        SendError::TooManyInFlight => {
            "this user has as many handles in flight as the system allows"
        }
        error => return error,
    };
    let seconds = SEND_PATIENCE.as_secs();
    SendError::Io(io::Error::new(
        io::ErrorKind::TimedOut,
        format!("the message was not sent within {seconds} seconds: {reason}"),
    ))
}

/// Sends a packet, blocking until there is room.
fn send_packet(
    packets: &PacketSender,
    head: &Head,
    body: &[u8],
    mut attachments: Vec<Attachment>,
    patience: Patience,
) -> Result<(), (SendError, Vec<Attachment>)> {
    loop {
        match packets.send(head.as_bytes(), body, attachments, patience.wait()) {
            Err((SendError::Full, unsent)) if patience == Patience::Bounded => attachments = unsent,
            sent => return sent,
        }
    }
}

/// Sends a message as several packets. `patience` is for all of them together.
fn send_parts(
    packets: &PacketSender,
    body: &[u8],
    mut attachments: Vec<Attachment>,
    stamp: u64,
    mut part_bytes: usize,
    patience: Patience,
) -> Result<(), SendFailure> {
    // Unguessable, so that no other sender can add to this message; fresh, so that a forked child's
    // ids differ.
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
        // Sent with the last parts. Until then they can be returned. A sender of this very channel
        // may be among them. It must not keep the channel connected if this process is killed and
        // the receiver waits for the rest.
        let leaving =
            if after.is_empty() { attachments.len().min(MAX_PACKET_ATTACHMENTS) } else { 0 };
        let later = attachments.split_off(leaving);
        if position == Position::Middle && after.is_empty() && later.is_empty() {
            position = Position::Last;
        }
        let head = Head::new(Kind::Part { id, position }, leaving as u8, part.len() as u32);
        match send_packet(packets, &head.stamped(stamp), part, attachments, patience) {
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
                    // The receiver would wait for the rest. If this fails, too, the receiver finds
                    // out by itself.
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
