//! The attachments of the message that is being encoded or decoded on this thread.
//!
//! Each of the two is a scope that restores what it found: a `Serialize` impl may itself send, and it may fail or panic half
//! way, and neither may leave anything in another message.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::ptr::NonNull;
use std::sync::Arc;

use super::Fate;
use super::endpoint::{PermitParts, ReceiverParts};
use crate::channel::{Departure, Parcel, Receiver, Room, Sender, Unfinished};
use crate::platform::{Attachment, PacketSender};

thread_local! {
    static ENCODING: RefCell<Option<Departing>> = const { RefCell::new(None) };
    static DECODING: RefCell<Option<Vec<Arrived>>> = const { RefCell::new(None) };
}

/// What leaves with a message.
#[derive(Debug, Default)]
pub(crate) struct Departing {
    /// The attachments, in the order of their indices.
    pub(crate) attachments: Vec<Attachment>,
    /// What comes back if the message does not leave.
    pub(crate) returns: Returns,
    /// Which of the attachments are senders.
    senders: Indices,
    /// Which are what senders take permits from.
    permits: Indices,
    /// Whether the value that they belong to is dropped after that.
    is_dropped: bool,
    /// How much receivers may still take along.
    room: Room,
}

/// The senders of a message, each of which has one index however often it is in there. Their addresses say which they are, and belong to
/// nobody else as long as their attachments hold them.
#[derive(Debug, Default)]
struct Indices {
    /// Most messages with senders have one, and many have the same one again.
    last: Option<(NonNull<PacketSender>, u32)>,
    #[expect(clippy::box_collection, reason = "most messages have none, and pay for its size")]
    others: Option<Box<BTreeMap<NonNull<PacketSender>, u32>>>,
}

impl Indices {
    fn get(&self, sender: NonNull<PacketSender>) -> Option<u32> {
        match self.last {
            Some((last, index)) if last == sender => Some(index),
            _ => self.others.as_ref()?.get(&sender).copied(),
        }
    }

    fn add(&mut self, sender: NonNull<PacketSender>, index: u32) {
        if let Some((sender, index)) = self.last.replace((sender, index)) {
            self.others.get_or_insert_default().insert(sender, index);
        }
    }
}

/// The receivers that were moved into a message.
#[derive(Debug, Default)]
pub(crate) struct Returns(Vec<Return>);

/// A receiver that was moved into a message.
#[derive(Debug)]
struct Return {
    /// The way back.
    parcel: Arc<Parcel>,
    /// What was written of it.
    parts: Arc<ReceiverParts>,
    /// What it could not take along.
    left_behind: Vec<Unfinished>,
}

impl Returns {
    /// Gives the receivers back to those who sent them, as far as what they consist of is among `attachments`.
    pub(crate) fn put_back(self, attachments: Vec<Attachment>) {
        if attachments.is_empty() {
            return;
        }
        let mut attachments: Vec<Option<Attachment>> = attachments.into_iter().map(Some).collect();
        for Return { parcel, parts, left_behind } in self.0 {
            let parts = Arc::unwrap_or_clone(parts);
            let receiver = parts.assemble(left_behind, |index| {
                let attachment = attachments.get_mut(index as usize).and_then(Option::take);
                attachment.ok_or_else(|| not_there(index))
            });
            if let Ok(receiver) = receiver {
                parcel.put_back(receiver);
            }
        }
    }
}

/// Encoding a message: until it is dropped, attachments of this thread go into it.
#[derive(Debug)]
pub(crate) struct Encoding {
    outer: Option<Departing>,
}

impl Encoding {
    /// Begins a message.
    #[inline]
    pub(crate) fn begin(fate: Fate) -> Encoding {
        let departing = Departing { is_dropped: fate == Fate::Dropped, ..Departing::default() };
        let outer = ENCODING.try_with(|scope| scope.replace(Some(departing)));
        Encoding { outer: outer.ok().flatten() }
    }

    /// Ends it and takes what it collected.
    #[inline]
    pub(crate) fn finish(self) -> Departing {
        ENCODING.try_with(RefCell::take).ok().flatten().unwrap_or_default()
    }
}

impl Drop for Encoding {
    #[inline]
    fn drop(&mut self) {
        let outer = self.outer.take();
        let unsent = ENCODING.try_with(|scope| scope.replace(outer)).ok().flatten();
        if let Some(Departing { attachments, returns, .. }) = unsent {
            returns.put_back(attachments);
        }
    }
}

/// Puts an attachment into the message that is being encoded, and returns its index.
///
/// # Errors
///
/// None is being encoded on this thread.
pub(crate) fn attach(attachment: Attachment) -> io::Result<u32> {
    with_encoding(|departing| departing.attach(attachment))
}

/// Puts a sender into the message that is being encoded, unless it is there already, and returns its index.
///
/// # Errors
///
/// As [`attach`], or it has no handle and cannot get one.
pub(crate) fn attach_sender(sender: &Sender) -> io::Result<u32> {
    with_encoding(|departing| departing.attach_sender(sender))
}

/// The same for one into a bounded channel, with what is to be written of its permits.
///
/// # Errors
///
/// As [`attach_sender`].
pub(crate) fn attach_bounded_sender(sender: &Sender) -> io::Result<(u32, Option<PermitParts>)> {
    with_encoding(|departing| {
        let index = departing.attach_sender(sender)?;
        let Some(permits) = sender.permits()? else { return Ok((index, None)) };
        let address = NonNull::from(&**sender.packets()?);
        let place = match departing.permits.get(address) {
            Some(place) => place,
            None => {
                let place = departing.attach(permits.to_attachment())?;
                departing.permits.add(address, place);
                place
            }
        };
        let is_rendezvous = permits.is_rendezvous();
        Ok((index, Some(PermitParts { index: place, is_rendezvous })))
    })
}

/// Puts a receiver into the message that is being encoded, and returns what is to be written of it. `depart` is called
/// only if there is a message.
///
/// # Errors
///
/// None is being encoded on this thread, or the receiver cannot leave.
pub(crate) fn attach_receiver(
    depart: impl FnOnce(&mut Room) -> io::Result<Departure>,
) -> io::Result<Arc<ReceiverParts>> {
    with_encoding(|departing| {
        let Departure { attachment, mut luggage, parcel } = depart(&mut departing.room)?;
        let parts = ReceiverParts::new(attachment, &mut luggage, |attachment| {
            departing.attach(attachment)
        })?;
        let parts = Arc::new(parts);
        departing.returns.0.push(Return {
            parcel,
            parts: Arc::clone(&parts),
            left_behind: luggage.left_behind,
        });
        Ok(parts)
    })
}

impl Departing {
    fn attach_sender(&mut self, sender: &Sender) -> io::Result<u32> {
        let address = NonNull::from(&**sender.packets()?);
        if let Some(index) = self.senders.get(address) {
            return Ok(index);
        }
        // Most that leave for good, as one for a reply does, are not worth remembering.
        if !self.is_dropped || sender.has_clones() {
            sender.remember();
        }
        let index = self.attach(sender.to_attachment()?)?;
        self.senders.add(address, index);
        Ok(index)
    }

    fn attach(&mut self, attachment: Attachment) -> io::Result<u32> {
        let index = u32::try_from(self.attachments.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "too many handles"))?;
        self.attachments.push(attachment);
        Ok(index)
    }
}

fn with_encoding<R>(f: impl FnOnce(&mut Departing) -> io::Result<R>) -> io::Result<R> {
    ENCODING
        .try_with(|scope| scope.borrow_mut().as_mut().map(f))
        .ok()
        .flatten()
        .unwrap_or_else(|| Err(not_sent()))
}

/// What came with a message, and what became of it.
#[derive(Debug)]
enum Arrived {
    /// Nobody took it yet.
    Here(Attachment),
    /// It was taken as a sender, and may be taken as that again.
    Sender(Sender),
    /// It was taken.
    Taken,
}

impl Arrived {
    fn take(&mut self) -> Option<Attachment> {
        match mem::replace(self, Arrived::Taken) {
            Arrived::Here(attachment) => Some(attachment),
            taken => {
                *self = taken;
                None
            }
        }
    }
}

/// Decoding a message: until it is dropped, attachments of this thread come out of it. Those that nobody took are closed.
#[derive(Debug)]
pub(crate) struct Decoding {
    outer: Option<Vec<Arrived>>,
}

impl Decoding {
    /// Begins a message with these attachments.
    #[inline]
    pub(crate) fn begin(attachments: Vec<Attachment>) -> Decoding {
        // Most messages have none.
        let attachments = if attachments.is_empty() {
            Vec::new()
        } else {
            attachments.into_iter().map(Arrived::Here).collect()
        };
        let outer = DECODING.try_with(|scope| scope.replace(Some(attachments)));
        Decoding { outer: outer.ok().flatten() }
    }
}

impl Drop for Decoding {
    #[inline]
    fn drop(&mut self) {
        let outer = self.outer.take();
        let left_over = DECODING.try_with(|scope| scope.replace(outer));
        drop(left_over);
    }
}

/// Takes an attachment out of the message that is being decoded.
///
/// # Errors
///
/// None is being decoded on this thread, or the peer named an attachment that is not there or was taken before.
pub(crate) fn detach(index: u32) -> io::Result<Attachment> {
    with_decoding(|arrived| {
        let attachment = arrived.get_mut(index as usize).and_then(Arrived::take);
        attachment.ok_or_else(|| not_there(index))
    })
}

/// Takes a sender out of the message that is being decoded. The same one may be taken any number of times.
///
/// # Errors
///
/// As [`detach`], or it is no sender.
pub(crate) fn detach_sender(index: u32) -> io::Result<Sender> {
    with_decoding(|arrived| take_sender(arrived, index, Sender::from_attachment))
}

/// The same for one into a bounded channel, with what was written of its permits.
///
/// # Errors
///
/// As [`detach_sender`].
pub(crate) fn detach_bounded_sender(
    index: u32,
    permits: Option<PermitParts>,
) -> io::Result<Sender> {
    let Some(PermitParts { index: place, is_rendezvous }) = permits else {
        return detach_sender(index);
    };
    with_decoding(|arrived| {
        let permits = arrived.get_mut(place as usize).and_then(Arrived::take);
        take_sender(arrived, index, |attachment| {
            let permits = permits.ok_or_else(|| not_there(place))?;
            Sender::from_attachments(attachment, permits, is_rendezvous)
        })
    })
}

fn take_sender(
    arrived: &mut [Arrived],
    index: u32,
    make: impl FnOnce(Attachment) -> io::Result<Sender>,
) -> io::Result<Sender> {
    let place = arrived.get_mut(index as usize).ok_or_else(|| not_there(index))?;
    if let Arrived::Sender(sender) = place {
        return Ok(sender.clone());
    }
    let attachment = place.take().ok_or_else(|| not_there(index))?;
    let sender = make(attachment)?;
    *place = Arrived::Sender(sender.clone());
    Ok(sender)
}

/// Takes a receiver out of the message that is being decoded.
///
/// # Errors
///
/// As [`detach`].
pub(crate) fn detach_receiver(parts: ReceiverParts) -> io::Result<Receiver> {
    parts.assemble(Vec::new(), detach)
}

fn with_decoding<R>(f: impl FnOnce(&mut Vec<Arrived>) -> io::Result<R>) -> io::Result<R> {
    DECODING
        .try_with(|scope| scope.borrow_mut().as_mut().map(f))
        .ok()
        .flatten()
        .unwrap_or_else(|| Err(not_received()))
}

/// The peer named an attachment that is not to be had.
fn not_there(index: u32) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the message has no handle {index}, or had it taken already"),
    )
}

/// There is no message that it could be sent in.
pub(super) fn not_sent() -> io::Error {
    outside("sent")
}

/// There is no message that it could be received in.
pub(super) fn not_received() -> io::Error {
    outside("received")
}

fn outside(done: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "channel endpoints, handles and shared memory can only be {done} in messages of a channel"
        ),
    )
}
