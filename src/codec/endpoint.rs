//! What is written into a message of the endpoints, handles and memory in it.
//!
//! Only the message's own format has a place for them. A value may write itself, or a part of itself, in another one while it is
//! being sent, and endpoints in that would go into the message all the same, with nobody to take them out. What can be known
//! of another format is whether people can read it; ours cannot be read.

use std::fmt;
use std::io;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::scope;
use crate::channel::assembly::Lost;
use crate::channel::limits::Limits;
use crate::channel::options::{Options, Ordering};
use crate::channel::ring::{ConsumerState, Partial, Place};
use crate::channel::{
    Luggage, MovedIssuer, MovedRing, Receiver, Sender, Slot, Unfinished, Waiting,
};
use crate::platform::{Attachment, Memory};

/// A receiver, in terms of a message: the index of its handle, and what it has received incompletely.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReceiverParts {
    index: u32,
    unfinished: Vec<UnfinishedParts>,
    lost: Vec<LostParts>,
    rings: Vec<RingParts>,
    waiting: Vec<MessageParts>,
    /// If they are not the usual ones.
    options: Option<OptionParts>,
    /// If the channel is bounded.
    issuer: Option<IssuerParts>,
}

/// What a sender into a bounded channel takes permits from.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct PermitParts {
    pub(super) index: u32,
    pub(super) is_rendezvous: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct IssuerParts {
    indices: Vec<u32>,
    bound: u64,
    surplus: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct OptionParts {
    is_per_sender: bool,
    spin_nanos: u64,
    shares_memory: bool,
    idle_nanos: u64,
    /// In the order in which [`Limits`] has them.
    limits: [u64; 5],
}

#[derive(Clone, Serialize, Deserialize)]
struct UnfinishedParts {
    id: u128,
    total_bytes: u64,
    total_attachments: u32,
    #[serde(with = "byte_string")]
    bytes: Vec<u8>,
    attachments: Vec<u32>,
}

#[derive(Clone, Serialize, Deserialize)]
struct MessageParts {
    stamp: u64,
    #[serde(with = "byte_string")]
    bytes: Vec<u8>,
    attachments: Vec<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct RingParts {
    index: u32,
    position: u64,
    base: u64,
    offset: u64,
    len: u32,
    visible: u64,
    is_retired: bool,
    partial: Option<PartialParts>,
}

#[derive(Clone, Serialize, Deserialize)]
struct PartialParts {
    total: u64,
    stamp: u64,
    #[serde(with = "byte_string")]
    bytes: Vec<u8>,
    skipped: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct LostParts {
    id: u128,
    is_told: bool,
}

impl ReceiverParts {
    /// Describes a receiver whose objects get the indices that `attach` gives. What its luggage has no room for stays there.
    pub(super) fn new(
        receiver: Attachment,
        luggage: &mut Luggage,
        mut attach: impl FnMut(Attachment) -> io::Result<u32>,
    ) -> io::Result<ReceiverParts> {
        let index = attach(receiver)?;
        let unfinished = std::mem::take(&mut luggage.carried).into_iter().map(|message| {
            Ok(UnfinishedParts {
                id: message.id,
                total_bytes: message.total_bytes,
                total_attachments: message.total_attachments,
                bytes: message.bytes,
                attachments: message
                    .attachments
                    .into_iter()
                    .map(&mut attach)
                    .collect::<io::Result<_>>()?,
            })
        });
        let unfinished = unfinished.collect::<io::Result<_>>()?;
        let rings = std::mem::take(&mut luggage.rings).into_iter();
        let rings = rings.map(|ring| Ok(RingParts::new(attach(ring.memory)?, ring.state)));
        let rings = rings.collect::<io::Result<_>>()?;
        let waiting = std::mem::take(&mut luggage.waiting).into_iter().map(|message| {
            let attachments = message.attachments.into_iter().map(&mut attach);
            let attachments = attachments.collect::<io::Result<_>>()?;
            Ok(MessageParts { stamp: message.stamp, bytes: message.bytes, attachments })
        });
        let waiting = waiting.collect::<io::Result<_>>()?;
        let left_behind =
            luggage.left_behind.iter().map(|message| LostParts { id: message.id, is_told: false });
        let lost = luggage.lost.iter().map(|lost| LostParts { id: lost.id, is_told: lost.is_told });
        let lost = lost.chain(left_behind).collect();
        let options = luggage.options;
        let options = (options != Options::default()).then(|| OptionParts::from(options));
        let issuer = luggage.issuer.take().map(|issuer| -> io::Result<_> {
            let MovedIssuer { attachments, bound, surplus } = issuer;
            let indices = attachments.into_iter().map(&mut attach).collect::<io::Result<_>>()?;
            Ok(IssuerParts { indices, bound, surplus })
        });
        let issuer = issuer.transpose()?;
        Ok(ReceiverParts { index, unfinished, lost, rings, waiting, options, issuer })
    }

    /// As it may be if somebody else has described it.
    fn of_peer(mut self) -> ReceiverParts {
        let options = self.options.map(|options| Options::from(options).of_peer());
        self.options = options.map(OptionParts::from);
        self
    }

    /// Puts the receiver together from the objects that `detach` gives for the indices, and from what it left behind if it is
    /// still there.
    pub(super) fn assemble(
        self,
        left_behind: Vec<Unfinished>,
        mut detach: impl FnMut(u32) -> io::Result<Attachment>,
    ) -> io::Result<Receiver> {
        let receiver = detach(self.index)?;
        let carried = self.unfinished.into_iter().map(|message| {
            Ok(Unfinished {
                id: message.id,
                total_bytes: message.total_bytes,
                total_attachments: message.total_attachments,
                bytes: message.bytes,
                attachments: message
                    .attachments
                    .into_iter()
                    .map(&mut detach)
                    .collect::<io::Result<_>>()?,
            })
        });
        let carried = carried.collect::<io::Result<_>>()?;
        let is_here = |lost: &LostParts| left_behind.iter().any(|message| message.id == lost.id);
        let lost = self.lost.iter().filter(|lost| !is_here(lost));
        let lost = lost.map(|lost| Lost { id: lost.id, is_told: lost.is_told }).collect();
        let rings = self.rings.into_iter().map(|ring| {
            let memory = detach(ring.index)?;
            Ok(MovedRing { memory, state: ring.into_state() })
        });
        let rings = rings.collect::<io::Result<_>>()?;
        let waiting = self.waiting.into_iter().map(|message| {
            let attachments = message.attachments.into_iter().map(&mut detach);
            let attachments = attachments.collect::<io::Result<_>>()?;
            Ok(Waiting { stamp: message.stamp, bytes: message.bytes, attachments })
        });
        let waiting = waiting.collect::<io::Result<_>>()?;
        let options = self.options.map(Options::from).unwrap_or_default();
        let issuer = self.issuer.map(|IssuerParts { indices, bound, surplus }| -> io::Result<_> {
            let attachments = indices.into_iter().map(&mut detach).collect::<io::Result<_>>()?;
            Ok(MovedIssuer { attachments, bound, surplus })
        });
        let issuer = issuer.transpose()?;
        let luggage = Luggage { carried, left_behind, lost, rings, waiting, options, issuer };
        Receiver::arrive(receiver, luggage)
    }
}

impl From<Options> for OptionParts {
    fn from(options: Options) -> OptionParts {
        let Options { ordering, limits, spin_nanos, shares_memory, idle_nanos } = options;
        let Limits {
            message_bytes,
            message_handles,
            unfinished_bytes,
            unfinished_messages,
            shared_memories,
        } = limits;
        let limits = [
            message_bytes,
            message_handles,
            unfinished_bytes,
            unfinished_messages,
            shared_memories,
        ];
        OptionParts {
            is_per_sender: ordering == Ordering::PerSender,
            spin_nanos,
            shares_memory,
            idle_nanos,
            limits: limits.map(|limit| limit as u64),
        }
    }
}

impl From<OptionParts> for Options {
    fn from(parts: OptionParts) -> Options {
        let OptionParts { is_per_sender, spin_nanos, shares_memory, idle_nanos, limits } = parts;
        let limits = limits.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let [
            message_bytes,
            message_handles,
            unfinished_bytes,
            unfinished_messages,
            shared_memories,
        ] = limits;
        Options {
            ordering: if is_per_sender { Ordering::PerSender } else { Ordering::Causal },
            limits: Limits {
                message_bytes,
                message_handles,
                unfinished_bytes,
                unfinished_messages,
                shared_memories,
            },
            spin_nanos,
            shares_memory,
            idle_nanos,
        }
    }
}

impl RingParts {
    fn new(index: u32, state: ConsumerState) -> RingParts {
        let ConsumerState { position, base, place, visible, partial, is_retired } = state;
        let Place { offset, len } = place;
        let partial = partial.map(|Partial { total, stamp, bytes, skipped }| PartialParts {
            total,
            stamp,
            bytes,
            skipped,
        });
        RingParts { index, position, base, offset, len, visible, is_retired, partial }
    }

    fn into_state(self) -> ConsumerState {
        let RingParts { position, base, offset, len, visible, is_retired, partial, .. } = self;
        let partial = partial.map(|PartialParts { total, stamp, bytes, skipped }| Partial {
            total,
            stamp,
            bytes,
            skipped,
        });
        let place = Place { offset, len };
        ConsumerState { position, base, place, visible, partial, is_retired }
    }
}

/// Numbers only: what a peer sent may be long, and nobody's business.
macro_rules! debug_as_number {
    ($($Parts:ident),*) => {$(
        impl fmt::Debug for $Parts {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut fields = f.debug_struct(stringify!($Parts));
                fields.field("bytes", &self.bytes.len()).finish_non_exhaustive()
            }
        }
    )*};
}

debug_as_number!(UnfinishedParts, MessageParts, PartialParts);

/// Writes a sender.
pub(crate) fn serialize_sender<S: Serializer>(
    sender: &Sender,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    check_written(&serializer)?;
    let index = scope::attach_sender(sender).map_err(S::Error::custom)?;
    serializer.serialize_u32(index)
}

/// Reads a sender.
pub(crate) fn deserialize_sender<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Sender, D::Error> {
    check_read(&deserializer)?;
    let index = u32::deserialize(deserializer)?;
    scope::detach_sender(index).map_err(D::Error::custom)
}

/// Writes a sender into a bounded channel.
pub(crate) fn serialize_bounded_sender<S: Serializer>(
    sender: &Sender,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    check_written(&serializer)?;
    let parts = scope::attach_bounded_sender(sender).map_err(S::Error::custom)?;
    parts.serialize(serializer)
}

/// Reads a sender into a bounded channel.
pub(crate) fn deserialize_bounded_sender<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Sender, D::Error> {
    check_read(&deserializer)?;
    let (index, permits) = <(u32, Option<PermitParts>)>::deserialize(deserializer)?;
    scope::detach_bounded_sender(index, permits).map_err(D::Error::custom)
}

/// Writes a receiver, which leaves its slot.
pub(crate) fn serialize_receiver<S: Serializer>(
    slot: &Slot,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    check_written(&serializer)?;
    let parts = scope::attach_receiver(|room| slot.depart(room)).map_err(S::Error::custom)?;
    parts.serialize(serializer)
}

/// Reads a receiver.
pub(crate) fn deserialize_receiver<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Slot, D::Error> {
    check_read(&deserializer)?;
    let parts = ReceiverParts::deserialize(deserializer)?.of_peer();
    scope::detach_receiver(parts).map(Slot::from).map_err(D::Error::custom)
}

/// Writes shared memory; none is the empty one.
pub(crate) fn serialize_memory<S: Serializer>(
    memory: Option<&Memory>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    check_written(&serializer)?;
    let parts = memory.map(|memory| {
        let index = scope::attach(Attachment::from_memory(memory))?;
        Ok((index, memory.size() as u64))
    });
    let parts: Option<(u32, u64)> =
        parts.transpose().map_err(|error: io::Error| S::Error::custom(error))?;
    parts.serialize(serializer)
}

/// Reads shared memory.
pub(crate) fn deserialize_memory<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Memory>, D::Error> {
    check_read(&deserializer)?;
    let parts = Option::<(u32, u64)>::deserialize(deserializer)?;
    let memory = parts.map(|(index, len)| scope::detach(index)?.into_memory(len));
    memory.transpose().map_err(D::Error::custom)
}

/// Writes any attachment.
pub(crate) fn serialize_attachment<S: Serializer>(
    attachment: Attachment,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    check_written(&serializer)?;
    let index = scope::attach(attachment).map_err(S::Error::custom)?;
    serializer.serialize_u32(index)
}

/// Reads any attachment.
pub(crate) fn deserialize_attachment<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Attachment, D::Error> {
    check_read(&deserializer)?;
    let index = u32::deserialize(deserializer)?;
    scope::detach(index).map_err(D::Error::custom)
}

fn check_written<S: Serializer>(serializer: &S) -> Result<(), S::Error> {
    if serializer.is_human_readable() {
        return Err(S::Error::custom(scope::not_sent()));
    }
    Ok(())
}

fn check_read<'de, D: Deserializer<'de>>(deserializer: &D) -> Result<(), D::Error> {
    if deserializer.is_human_readable() {
        return Err(D::Error::custom(scope::not_received()));
    }
    Ok(())
}

/// Bytes in one piece; a `Vec<u8>` by itself is a sequence of numbers to serde.
mod byte_string {
    use std::fmt;

    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                Ok(bytes.to_vec())
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}
