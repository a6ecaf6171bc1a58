//! The entries of a message's table: endpoints, handles and shared memory, made of attachments.

use std::fmt;
use std::sync::Arc;

use crate::channel::options::Options;
use crate::channel::ring::ConsumerState;

/// One entry of a message, made of attachments of type `A`.
#[derive(Debug)]
pub(crate) enum Entry<A> {
    /// The sender of a channel.
    Sender(MovedSender<A>),
    /// The receiver of a channel.
    Receiver(Box<MovedReceiver<A>>),
    /// Shared memory.
    Memory(MovedMemory<A>),
    /// A handle of the operating system.
    Handle(A),
}

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// The sender of a channel, bounded or not.
    Sender,
    /// The receiver of a channel.
    Receiver,
    /// Shared memory.
    Memory,
    /// A handle of the operating system.
    Handle,
}

/// A sender in a message.
#[derive(Debug)]
pub(crate) struct MovedSender<A> {
    /// The channel.
    pub(crate) channel: A,
    /// The permits, if the channel is bounded.
    pub(crate) permits: Option<A>,
    /// What the channel can transport.
    pub(crate) capabilities: Capabilities,
}

/// A receiver in a message.
#[derive(Debug)]
pub(crate) struct MovedReceiver<A> {
    /// The channel.
    pub(crate) channel: A,
    /// The messages that it has received and not delivered.
    pub(crate) spool: SpoolPlace<A>,
    /// The attachments of these messages.
    pub(crate) undelivered: Vec<A>,
    /// The rings that it reads. Fragments of an incomplete message that were taken in are in the
    /// spool.
    pub(crate) rings: Vec<MovedRing<A>>,
    /// Its options.
    pub(crate) options: Options,
    /// Issues permits to senders, if the channel is bounded.
    pub(crate) issuer: Option<MovedIssuer<A>>,
    /// The sender's name for the type of its messages. It stays in this process, and is for a
    /// receiver that does.
    pub(crate) sent_type: Option<Arc<str>>,
}

/// A ring that moves to another process.
#[derive(Debug)]
pub(crate) struct MovedRing<A> {
    /// Its memory.
    pub(crate) memory: A,
    /// The position that it was read up to, and more.
    pub(crate) state: ConsumerState,
}

/// An issuer that moves to another process.
#[derive(Debug)]
pub(crate) struct MovedIssuer<A> {
    /// The attachments that it consists of.
    pub(crate) attachments: Vec<A>,
    /// The number of permits.
    pub(crate) bound: u64,
    /// How many permits were issued in place of missing ones.
    pub(crate) surplus: u64,
}

/// Where the spool of a receiver is.
pub(crate) enum SpoolPlace<A> {
    /// In the table.
    Inline(Vec<u8>),
    /// Beside the message.
    Beside(A),
}

/// Shared memory in a message.
#[derive(Debug)]
pub(crate) struct MovedMemory<A> {
    /// The memory.
    pub(crate) memory: A,
    /// Its length.
    pub(crate) bytes: u64,
    /// How it may be accessed.
    pub(crate) access: Access,
}

/// How shared memory may be accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Its content does not change.
    Fixed = 0,
    /// It is written here.
    Write = 1,
    /// It is written elsewhere and read here.
    Read = 2,
}

/// What the channel of a sender can transport, as bits. A channel within one machine can transport
/// everything; a bridge to another machine cannot. Unknown bits are passed on, and ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities(pub(super) u32);

impl Capabilities {
    /// Handles of the operating system.
    pub(super) const HANDLES: u32 = 1;
    /// Memory, shared or, if it cannot be, copied.
    pub(super) const MEMORY: u32 = 2;
    /// Memory stays shared: what one process writes is visible to the other.
    pub(super) const SHARED_MEMORY: u32 = 4;
    /// Senders and receivers.
    pub(super) const ENDPOINTS: u32 = 8;
    /// The order between senders can be kept.
    pub(super) const CAUSAL: u32 = 16;
    /// A send can block until it is received.
    pub(super) const RENDEZVOUS: u32 = 32;
    /// The channel is a rendezvous: its bound is zero.
    pub(super) const IS_RENDEZVOUS: u32 = 1 << 16;

    /// The capabilities of a channel within one machine.
    pub(crate) const ALL: Capabilities = Capabilities(
        Self::HANDLES
            | Self::MEMORY
            | Self::SHARED_MEMORY
            | Self::ENDPOINTS
            | Self::CAUSAL
            | Self::RENDEZVOUS,
    );

    /// Sets or clears the bit for a rendezvous.
    pub(crate) fn of_rendezvous(self, is_rendezvous: bool) -> Capabilities {
        let bit = if is_rendezvous { Self::IS_RENDEZVOUS } else { 0 };
        Capabilities(self.0 & !Self::IS_RENDEZVOUS | bit)
    }

    /// Returns whether the channel is a rendezvous.
    pub(crate) fn is_rendezvous(self) -> bool {
        self.0 & Self::IS_RENDEZVOUS != 0
    }

    /// Returns whether a message with this entry can be sent.
    pub(crate) fn admit<A>(self, entry: &Entry<A>) -> bool {
        let needed = match entry {
            Entry::Sender(_) | Entry::Receiver(_) => Self::ENDPOINTS,
            Entry::Memory(MovedMemory { access: Access::Fixed, .. }) => Self::MEMORY,
            Entry::Memory(_) => Self::SHARED_MEMORY,
            Entry::Handle(_) => Self::HANDLES,
        };
        self.0 & needed == needed
    }
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EntryKind::Sender => "a sender",
            EntryKind::Receiver => "a receiver",
            EntryKind::Memory => "shared memory",
            EntryKind::Handle => "a handle of the operating system",
        })
    }
}

impl EntryKind {
    pub(super) fn plural(self) -> &'static str {
        match self {
            EntryKind::Sender => "senders",
            EntryKind::Receiver => "receivers",
            EntryKind::Memory => "shared memories",
            EntryKind::Handle => "handles of the operating system",
        }
    }
}

impl<A> Entry<A> {
    /// Returns its kind.
    pub(crate) fn kind(&self) -> EntryKind {
        match self {
            Entry::Sender(_) => EntryKind::Sender,
            Entry::Receiver(_) => EntryKind::Receiver,
            Entry::Memory(_) => EntryKind::Memory,
            Entry::Handle(_) => EntryKind::Handle,
        }
    }

    /// Returns the number of its attachments.
    pub(crate) fn attachments(&self) -> usize {
        match self {
            Entry::Sender(sender) => 1 + usize::from(sender.permits.is_some()),
            Entry::Receiver(receiver) => receiver.attachments(),
            Entry::Memory(_) | Entry::Handle(_) => 1,
        }
    }
}

impl<A> MovedReceiver<A> {
    fn attachments(&self) -> usize {
        let spool = usize::from(matches!(self.spool, SpoolPlace::Beside(_)));
        let issuer = self.issuer.as_ref().map_or(0, |issuer| issuer.attachments.len());
        1 + spool + self.rings.len() + issuer + self.undelivered.len()
    }
}

/// Prints numbers only: messages of a peer may be long, and are confidential.
impl<A> fmt::Debug for SpoolPlace<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpoolPlace::Inline(bytes) => f.debug_tuple("Inline").field(&bytes.len()).finish(),
            SpoolPlace::Beside(_) => f.write_str("Beside"),
        }
    }
}
