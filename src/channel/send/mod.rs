//! The sender of a channel: into a channel of the platform, with permits if that is bounded, or
//! into one in the memory of this process.

mod parts;
mod path;
mod registry;
mod ring_link;
mod socket;
mod state;

use std::io;
use std::sync::{Arc, OnceLock};

use super::hello::Introduction;
use super::limits::Limits;
use super::memory::{InMemory, Sent};
use super::permits::Permits;
use super::table::{Capabilities, Entry, MovedSender};
use crate::platform::contract::{Attachment as _, PacketSender as _};
use crate::platform::{self, Attachment, PacketSender, SendError, Wait};
use path::SendPath;
use registry::{Registered, Registry, RegistryKey};
pub(crate) use socket::SendFailure;
use socket::{Timeout, overdue};

/// The senders of this process that were in a message.
static SENDERS: Registry<Shared> = Registry::new();

/// Sends messages. Clones send into the same channel.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    shared: Arc<Shared>,
}

/// The state that the clones of a sender share.
#[derive(Debug)]
struct Shared {
    flavor: Flavor,
    /// Registers the sender, so that it is found when it arrives in a message.
    key: RegistryKey,
}

/// Where the channel is.
#[derive(Debug)]
enum Flavor {
    /// It has been a channel of the platform from the start.
    Platform(PlatformSender),
    /// It began in the memory of this process.
    InMemory {
        memory: Arc<InMemory>,
        /// The sender into the platform's channel, after promotion.
        promoted: OnceLock<PlatformSender>,
        /// Whether messages may go by ring then.
        may_use_ring: bool,
    },
}

/// Where messages go at the moment.
enum Place<'a> {
    Platform(&'a PlatformSender),
    Memory(&'a InMemory),
}

/// Sends into a channel of the platform.
#[derive(Debug)]
struct PlatformSender {
    path: SendPath,
    /// The permits that senders have to take, if the channel is bounded.
    permits: Option<Permits>,
    /// What the channel can transport.
    capabilities: Capabilities,
}

impl PlatformSender {
    /// Makes a sender into a channel of this machine.
    fn new(packets: Arc<PacketSender>, permits: Option<Permits>) -> PlatformSender {
        PlatformSender { path: SendPath::new(packets), permits, capabilities: Capabilities::ALL }
    }

    /// Returns the backend's sender.
    #[inline]
    fn packets(&self) -> &Arc<PacketSender> {
        &self.path.socket().packets
    }

    /// Returns whether both send into the same channel, in the same way.
    fn is_same(&self, other: &PlatformSender) -> bool {
        let has_same_permits = match (&self.permits, &other.permits) {
            (Some(own), Some(other)) => own.is_same(other),
            (own, other) => own.is_none() && other.is_none(),
        };
        // A peer can combine the channel with other permits, or none, and claim other capabilities.
        has_same_permits
            && self.capabilities == other.capabilities
            && self.packets().is_same(other.packets())
    }

    #[inline]
    fn send(
        &self,
        body: &[u8],
        attachments: Vec<Attachment>,
        wait: Wait,
    ) -> Result<(), SendFailure> {
        let sent = match &self.permits {
            None => self.path.send(body, attachments, Timeout::unbounded(wait)),
            Some(permits) => self.send_bounded(permits, body, attachments, wait),
        };
        if let Err(SendFailure { error: SendError::Closed, .. }) = &sent {
            // A ring would still accept messages.
            self.path.disable_ring();
        }
        sent
    }

    fn send_bounded(
        &self,
        permits: &Permits,
        body: &[u8],
        attachments: Vec<Attachment>,
        wait: Wait,
    ) -> Result<(), SendFailure> {
        let leave = loop {
            match permits.take(self.packets(), wait) {
                // The receiver may no longer wait for a thread that was stopped meanwhile.
                Ok(leave) if leave.is_stale() => {}
                Ok(leave) => break leave,
                Err(error) => return Err(SendFailure { error, attachments }),
            }
        };
        let sent = self.path.send(body, attachments, Timeout::bounded(wait));
        if sent.is_err() {
            leave.give_back();
        }
        sent
    }
}

impl Shared {
    /// Makes the state of a sender into a channel of the platform, registered by `key`.
    fn new(platform: PlatformSender, key: RegistryKey) -> Shared {
        Shared { flavor: Flavor::Platform(platform), key }
    }

    /// Returns where messages go now. Only a channel in memory can be promoted meanwhile.
    #[inline]
    fn place(&self) -> Place<'_> {
        match &self.flavor {
            Flavor::Platform(platform) => Place::Platform(platform),
            Flavor::InMemory { memory, promoted, .. } => match promoted.get() {
                Some(platform) => Place::Platform(platform),
                None => Place::Memory(memory),
            },
        }
    }

    /// Returns the sender into the platform's channel, if there is one.
    fn platform(&self) -> Option<&PlatformSender> {
        match self.place() {
            Place::Platform(platform) => Some(platform),
            Place::Memory(_) => None,
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Flavor::InMemory { memory, .. } = &self.flavor {
            memory.disconnect();
        }
        SENDERS.remove(&mut self.key);
    }
}

impl From<PacketSender> for Sender {
    fn from(packets: PacketSender) -> Sender {
        Sender::new(Arc::new(packets), None)
    }
}

impl Sender {
    /// Makes a sender into the platform's channel; `permits` are needed if it is bounded.
    pub(crate) fn new(packets: Arc<PacketSender>, permits: Option<Permits>) -> Sender {
        let platform = PlatformSender::new(packets, permits);
        Sender { shared: Arc::new(Shared::new(platform, RegistryKey::default())) }
    }

    /// Makes a sender into a channel in the memory of this process. After promotion its messages go
    /// by ring only if they may.
    pub(super) fn in_memory(memory: Arc<InMemory>, may_use_ring: bool) -> Sender {
        let flavor = Flavor::InMemory { memory, promoted: OnceLock::new(), may_use_ring };
        Sender { shared: Arc::new(Shared { flavor, key: RegistryKey::default() }) }
    }

    /// Connects to the listener of that name.
    pub(crate) fn connect(name: &str) -> io::Result<Sender> {
        platform::connect(name).map(Sender::from)
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
        let platform = PlatformSender { path: SendPath::new(packets), permits, capabilities };
        Ok(Sender { shared: find_or_register(platform) })
    }

    /// Makes an entry of a message that is one more sender of the channel.
    ///
    /// # Errors
    ///
    /// The errors of [`to_attachment`](Sender::to_attachment).
    pub(crate) fn to_entry(&self) -> io::Result<MovedSender<Attachment>> {
        let platform = self.platform()?;
        let PlatformSender { permits, capabilities, .. } = platform;
        let is_rendezvous = permits.as_ref().is_some_and(Permits::is_rendezvous);
        Ok(MovedSender {
            channel: Attachment::from_sender(Arc::clone(platform.packets())),
            permits: permits.as_ref().map(Permits::to_attachment),
            capabilities: capabilities.of_rendezvous(is_rendezvous),
        })
    }

    /// Returns whether the channel is bounded, as far as it was promoted.
    pub(crate) fn is_bounded(&self) -> bool {
        self.shared.platform().is_some_and(|platform| platform.permits.is_some())
    }

    /// Returns whether the channel can transport a message with this entry.
    pub(crate) fn admits(&self, entry: &Entry<Attachment>) -> bool {
        self.shared.platform().is_none_or(|platform| platform.capabilities.admit(entry))
    }

    /// Registers the sender, so that it is found when it comes back in a message.
    pub(crate) fn remember(&self) {
        if let Some(platform) = self.shared.platform() {
            SENDERS.add(&self.shared, &self.shared.key, || platform.packets().identity());
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
        self.platform().map(PlatformSender::packets)
    }

    /// Returns the sender into the platform's channel, and promotes one that is in memory.
    fn platform(&self) -> io::Result<&PlatformSender> {
        match &self.shared.flavor {
            Flavor::Platform(platform) => Ok(platform),
            Flavor::InMemory { memory, promoted, may_use_ring } => match promoted.get() {
                Some(platform) => Ok(platform),
                None => memory.promote(promoted, |packets, permits| {
                    let platform = PlatformSender::new(Arc::new(packets), permits);
                    if !may_use_ring {
                        platform.path.disable_ring();
                    }
                    platform
                }),
            },
        }
    }

    /// Returns whether the bound of the channel allows sending a message without blocking, if no
    /// other thread sends one.
    pub(crate) fn has_room(&self) -> bool {
        match self.shared.place() {
            Place::Platform(platform) => {
                let packets = platform.packets();
                platform.permits.as_ref().is_none_or(|permits| permits.is_any(packets))
                    || packets.is_closed()
            }
            Place::Memory(memory) => memory.has_room(),
        }
    }

    /// Returns whether the receiver has been dropped.
    pub(crate) fn is_closed(&self) -> bool {
        match self.shared.place() {
            Place::Platform(platform) => platform.packets().is_closed(),
            Place::Memory(memory) => memory.is_closed(),
        }
    }

    /// Sends a message. After it returned `Ok`, the message survives this process, unless the
    /// channel was never promoted.
    ///
    /// If the channel is bounded and full, or if the kernel has no room for the message, it blocks
    /// as `wait` says. It fails with [`SendError::Full`] or [`SendError::TooManyInFlight`] if there
    /// was no room in time. [`Wait::Forever`] has no limit only while a bounded channel is full.
    /// Otherwise it fails with [`SendError::Io`] if there was no room within
    /// [`SEND_TIMEOUT`](super::limits::SEND_TIMEOUT).
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
        attachments: Vec<Attachment>,
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
        let (platform, attachments) = match self.shared.place() {
            Place::Platform(platform) => (platform, attachments),
            Place::Memory(memory) => match memory.send(body, attachments, wait) {
                Ok(Sent::Queued) => return Ok(()),
                Ok(Sent::Promoted(attachments)) => match self.platform() {
                    Ok(platform) => (platform, attachments),
                    Err(error) => {
                        return Err(SendFailure { error: SendError::Io(error), attachments });
                    }
                },
                Err((error, attachments)) => return Err(SendFailure { error, attachments }),
            },
        };
        platform.send(body, attachments, wait)
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
        let platform = self.platform().map_err(SendError::Io)?;
        let mut deadline = Timeout::unbounded(wait).start();
        platform
            .path
            .socket()
            .send(&head, &fields, attachments, &mut deadline)
            .map_err(|(error, _)| if wait == Wait::Forever { overdue(error) } else { error })
    }

    /// Sends all messages of this process by socket from now on, unless the channel is in memory.
    pub(super) fn disable_ring(&self) {
        if let Some(platform) = self.shared.platform() {
            platform.path.disable_ring();
        }
    }
}

/// Returns the registered sender that sends like `platform`, or a new one, and registers that.
fn find_or_register(platform: PlatformSender) -> Arc<Shared> {
    let unregistered = |platform| Arc::new(Shared::new(platform, RegistryKey::default()));
    let Some(identity) = platform.packets().identity() else { return unregistered(platform) };
    match SENDERS.get(identity) {
        Registered::Vacant(place) => place.insert(|key| Shared::new(platform, key)),
        Registered::Value(known) => {
            if known.platform().is_some_and(|known| known.is_same(&platform)) {
                known
            } else {
                unregistered(platform)
            }
        }
    }
}
