//! What a message carries besides the user's bytes, in terms of attachments.

use std::fmt;
use std::sync::Arc;

use crate::channel::options::Options;
use crate::channel::permits::MovedIssuer;
use crate::channel::rings::MovedRing;

/// Something that a message carries, made of attachments of type `A`.
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

/// What an entry is.
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
    /// What permits are taken from, if the channel is bounded.
    pub(crate) permits: Option<A>,
    /// What the channel can do.
    pub(crate) capabilities: Capabilities,
}

/// A receiver in a message.
#[derive(Debug)]
pub(crate) struct MovedReceiver<A> {
    /// The channel.
    pub(crate) channel: A,
    /// What it has received and not delivered.
    pub(crate) spool: SpoolPlace<A>,
    /// The attachments of that.
    pub(crate) undelivered: Vec<A>,
    /// The rings that it reads. What was taken in of an incomplete message is in the spool.
    pub(crate) rings: Vec<MovedRing<A>>,
    /// How it behaves.
    pub(crate) options: Options,
    /// What lets senders send, if the channel is bounded.
    pub(crate) issuer: Option<MovedIssuer<A>>,
    /// What a sender calls the type that it sends. It stays in this process, and is for a receiver that does.
    pub(crate) sent_type: Option<Arc<str>>,
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
    /// How long it is.
    pub(crate) bytes: u64,
    /// What can be done with it.
    pub(crate) access: Access,
}

/// What can be done with shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It stays as it is.
    Fixed = 0,
    /// It is written here.
    Write = 1,
    /// It is written elsewhere and read here.
    Read = 2,
}

/// What the channel of a sender can do, as bits. A channel within one machine can do everything; a bridge to another machine cannot.
/// Bits that are not known here are passed on, and count for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities(pub(super) u32);

impl Capabilities {
    /// Handles of the operating system.
    pub(super) const HANDLES: u32 = 1;
    /// Memory, shared or, if it cannot be, copied.
    pub(super) const MEMORY: u32 = 2;
    /// Memory stays shared: what is written on one side is seen on the other.
    pub(super) const SHARED_MEMORY: u32 = 4;
    /// Senders and receivers.
    pub(super) const ENDPOINTS: u32 = 8;
    /// The order between senders can be kept.
    pub(super) const CAUSAL: u32 = 16;
    /// A send can wait for its receive.
    pub(super) const RENDEZVOUS: u32 = 32;
    /// The channel is a rendezvous: its bound is zero.
    pub(super) const IS_RENDEZVOUS: u32 = 1 << 16;

    /// Of a channel within one machine.
    pub(crate) const ALL: Capabilities = Capabilities(
        Self::HANDLES
            | Self::MEMORY
            | Self::SHARED_MEMORY
            | Self::ENDPOINTS
            | Self::CAUSAL
            | Self::RENDEZVOUS,
    );

    /// The same of a rendezvous, or not.
    pub(crate) fn of_rendezvous(self, is_rendezvous: bool) -> Capabilities {
        let bit = if is_rendezvous { Self::IS_RENDEZVOUS } else { 0 };
        Capabilities(self.0 & !Self::IS_RENDEZVOUS | bit)
    }

    /// Whether it is of a rendezvous.
    pub(crate) fn is_rendezvous(self) -> bool {
        self.0 & Self::IS_RENDEZVOUS != 0
    }

    /// Whether a message with this entry can be sent.
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
    /// What it is.
    pub(crate) fn kind(&self) -> EntryKind {
        match self {
            Entry::Sender(_) => EntryKind::Sender,
            Entry::Receiver(_) => EntryKind::Receiver,
            Entry::Memory(_) => EntryKind::Memory,
            Entry::Handle(_) => EntryKind::Handle,
        }
    }

    /// Of how many attachments it is made.
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

/// Numbers only: what a peer sent may be long, and is for its receiver alone.
impl<A> fmt::Debug for SpoolPlace<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpoolPlace::Inline(bytes) => f.debug_tuple("Inline").field(&bytes.len()).finish(),
            SpoolPlace::Beside(_) => f.write_str("Beside"),
        }
    }
}
