//! The scope of the message that is being encoded or decoded on this thread: the entries of its
//! [table].
//!
//! Encoding and decoding each have a scope that restores the previous one. A `Serialize` impl may
//! itself send, and it may fail or panic half way. Neither may leave anything in another message.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::mem::{self, ManuallyDrop};
use std::ptr::NonNull;
use std::sync::Arc;
use std::thread::LocalKey;

use crate::channel::limits::Limits;
use crate::channel::table::{self, Access, Entry, EntryKind, MovedMemory};
use crate::channel::{Incomplete, Receiver, ReturnSlot, Room, Sender, TakenApart, TransferState};
use crate::platform::{Attachment, PacketSender};

thread_local! {
    static ENCODING: Current<Departing> = const { Current::none() };
    static DECODING: Current<Arriving> = const { Current::none() };
}

/// The scope that a thread is in. Most messages have no entries: their scope is two flags, and has
/// no content.
///
/// The content is never dropped in place. A thread-local with a destructor is unavailable while the
/// thread drops its other thread-locals, and these may send and receive, too. Each scope restores
/// the previous one, so at the end of the thread there is nothing to drop.
struct Current<T> {
    flags: Cell<Flags>,
    content: RefCell<ManuallyDrop<Option<Box<T>>>>,
}

/// What is known of a scope without its content.
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    /// A message is being encoded or decoded.
    is_active: bool,
    /// There is content.
    has_content: bool,
    /// The value that is being encoded is dropped after that.
    is_dropped: bool,
}

/// A scope: the one that a thread is in, or one that another has replaced.
#[derive(Debug)]
struct Scope<T> {
    flags: Flags,
    content: Option<Box<T>>,
}

impl<T> Default for Scope<T> {
    fn default() -> Scope<T> {
        Scope { flags: Flags::default(), content: None }
    }
}

impl<T> Current<T> {
    const fn none() -> Current<T> {
        let flags = Flags { is_active: false, has_content: false, is_dropped: false };
        Current { flags: Cell::new(flags), content: RefCell::new(ManuallyDrop::new(None)) }
    }

    /// Enters a scope, or leaves one. Returns the previous one.
    #[inline]
    fn replace(key: &'static LocalKey<Current<T>>, scope: Scope<T>) -> Scope<T> {
        // A target whose thread-locals all have destructors has no scopes at that time.
        let replaced = key.try_with(|current| {
            let Scope { flags, content } = scope;
            let before = current.flags.replace(flags);
            if before.has_content || flags.has_content {
                return current.replace_content(before, content);
            }
            Scope { flags: before, content: None }
        });
        replaced.unwrap_or_default()
    }

    #[cold]
    fn replace_content(&self, flags: Flags, content: Option<Box<T>>) -> Scope<T> {
        let before = self.content.replace(ManuallyDrop::new(content));
        Scope { flags, content: ManuallyDrop::into_inner(before) }
    }

    /// Calls `f` with the content of the scope, if there is a scope. `make` makes the content if
    /// there is none yet.
    fn with<R>(
        key: &'static LocalKey<Current<T>>,
        make: impl FnOnce(Flags) -> T,
        f: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        let called = key.try_with(|current| {
            let flags = current.flags.get();
            if !flags.is_active {
                return None;
            }
            current.flags.set(Flags { has_content: true, ..flags });
            let mut content = current.content.borrow_mut();
            Some(f(content.get_or_insert_with(|| Box::new(make(flags)))))
        });
        called.ok().flatten()
    }
}

/// What happens to a value that is sent, in the sending process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The caller keeps it.
    Kept,
    /// It is dropped.
    Dropped,
}

/// An encoded message, without the bytes of the value.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    /// The entries of the message, in the order of their numbers.
    pub(crate) entries: Vec<Entry<Attachment>>,
    /// What comes back if the message is not sent.
    returns: Returns,
}

impl Encoded {
    /// Returns the receivers in the message to their slots, since it is not sent.
    pub(crate) fn put_back(self) {
        self.returns.put_back(self.entries);
    }

    /// Appends the [table] to the bytes of the value. Returns the attachments of the message, and
    /// what comes back if it is not sent.
    pub(crate) fn append_table(self, bytes: &mut Vec<u8>) -> (Vec<Attachment>, Returns) {
        (table::write(self.entries, bytes), self.returns)
    }
}

/// A message that is being encoded.
#[derive(Debug, Default)]
struct Departing {
    message: Encoded,
    /// Which of the entries are senders.
    senders: Indices,
    /// Whether the value that they belong to is dropped after that.
    is_dropped: bool,
    /// How much may still move with receivers, once there is one.
    room: Option<Box<Room>>,
}

/// The senders of a message, each of which has one entry however often the message contains it.
/// Senders are identified by their addresses, which stay unique as long as their attachments hold
/// the senders.
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
    /// Returns the receiver to its slot.
    return_slot: Arc<ReturnSlot>,
    /// The number of its entry.
    number: u32,
    /// The messages that could not move with it.
    left_behind: Vec<Incomplete>,
    /// The sender's name for the type of its messages, which is not encoded.
    sent_type: Option<Arc<str>>,
}

impl Returns {
    /// Returns the receivers to their slots, from the entries of the message.
    fn put_back(self, entries: Vec<Entry<Attachment>>) {
        let mut entries: Vec<_> = entries.into_iter().map(Some).collect();
        let mut room = Room::default();
        for Return { return_slot, number, left_behind, sent_type } in self.0 {
            let entry = entries.get_mut(number as usize).and_then(Option::take);
            let Some(Entry::Receiver(mut moved)) = entry else { continue };
            moved.sent_type = sent_type;
            if let Ok(receiver) = TransferState::unpack(*moved, left_behind, &mut room) {
                return_slot.put_back(receiver);
            }
        }
    }

    /// Returns the receivers from the message that was not sent and its attachments: all of them,
    /// or none if they were sent.
    pub(crate) fn put_back_from(self, body: &[u8], attachments: Vec<Attachment>) {
        if self.0.is_empty() {
            return;
        }
        // It was encoded here, so it can be decoded, unless its attachments were sent.
        if let Ok((_, entries)) = table::read(body, attachments, &Limits::LARGEST) {
            self.put_back(entries);
        }
    }
}

/// Encoding a message: until this is dropped, attachments of this thread go into it.
#[derive(Debug)]
pub(crate) struct Encoding {
    outer: Scope<Departing>,
}

impl Encoding {
    /// Begins a message.
    #[inline]
    pub(crate) fn begin(fate: Fate) -> Encoding {
        let is_dropped = fate == Fate::Dropped;
        let flags = Flags { is_active: true, has_content: false, is_dropped };
        Encoding { outer: Current::replace(&ENCODING, Scope { flags, content: None }) }
    }

    /// Ends the message and returns its entries, if it has some.
    #[inline]
    pub(crate) fn finish(self) -> Option<Encoded> {
        let departing = Current::replace(&ENCODING, Scope::default()).content?;
        // Something may have failed to become an entry, and its `Serialize` impl gone on.
        Some(departing.message).filter(|message| !message.entries.is_empty())
    }
}

impl Drop for Encoding {
    #[inline]
    fn drop(&mut self) {
        let unsent = Current::replace(&ENCODING, mem::take(&mut self.outer));
        if let Some(departing) = unsent.content {
            departing.message.put_back();
        }
    }
}

/// Puts an entry into the message that is being encoded, and returns its number.
///
/// # Errors
///
/// Fails if no message is being encoded on this thread.
pub(crate) fn attach(entry: Entry<Attachment>) -> io::Result<u32> {
    with_encoding(|departing| departing.attach(entry))
}

/// Puts a sender into the message that is being encoded, unless it is there already, and returns
/// its number.
///
/// # Errors
///
/// The errors of [`attach`], and an error if the sender has no handle and cannot get one.
pub(crate) fn attach_sender(sender: &Sender) -> io::Result<u32> {
    with_encoding(|departing| departing.attach_sender(sender))
}

/// Puts a receiver into the message that is being encoded, and returns its number. `depart` is
/// called only if there is a message.
///
/// # Errors
///
/// Fails if no message is being encoded on this thread, or the receiver cannot be moved.
pub(crate) fn attach_receiver(
    depart: impl FnOnce(&mut Room) -> io::Result<TakenApart>,
) -> io::Result<u32> {
    with_encoding(|departing| {
        let TakenApart { moved, left_behind, return_slot } =
            depart(departing.room.get_or_insert_default())?;
        let sent_type = moved.sent_type.clone();
        let number = departing.attach(Entry::Receiver(Box::new(moved)))?;
        departing.message.returns.0.push(Return { return_slot, number, left_behind, sent_type });
        Ok(number)
    })
}

impl Departing {
    fn attach_sender(&mut self, sender: &Sender) -> io::Result<u32> {
        let address = NonNull::from(&**sender.packets()?);
        if let Some(number) = self.senders.get(address) {
            return Ok(number);
        }
        // Most senders that are moved for good, like one for a reply, are not worth registering.
        if !self.is_dropped || sender.has_clones() {
            sender.remember();
        }
        let number = self.attach(Entry::Sender(sender.to_entry()?))?;
        self.senders.add(address, number);
        Ok(number)
    }

    fn attach(&mut self, entry: Entry<Attachment>) -> io::Result<u32> {
        let number = u32::try_from(self.message.entries.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "too many handles"))?;
        self.message.entries.push(entry);
        Ok(number)
    }
}

fn with_encoding<R>(f: impl FnOnce(&mut Departing) -> io::Result<R>) -> io::Result<R> {
    let make = |flags: Flags| Departing { is_dropped: flags.is_dropped, ..Departing::default() };
    Current::with(&ENCODING, make, f).unwrap_or_else(|| Err(not_sent()))
}

/// An entry of a received message, and whether it was taken.
#[derive(Debug)]
enum ReceivedEntry {
    /// It was not taken yet.
    Here(Entry<Attachment>),
    /// It was taken as a sender, and may be taken as a sender again.
    Sender(Sender),
    /// It was taken.
    Taken,
}

/// The entries of the message that is being decoded.
#[derive(Debug, Default)]
struct Arriving {
    entries: Vec<ReceivedEntry>,
    /// How much may still move with receivers, once there is one: most messages have none, and do
    /// without its size.
    room: Option<Box<Room>>,
}

/// Decoding a message: until this is dropped, its entries are taken out on this thread. Entries
/// that were not taken are closed then.
#[derive(Debug)]
pub(crate) struct Decoding {
    outer: Scope<Arriving>,
}

impl Decoding {
    /// Begins a message with these entries.
    #[inline]
    pub(crate) fn begin(entries: Vec<Entry<Attachment>>) -> Decoding {
        let content = if entries.is_empty() { None } else { Some(Arriving::boxed(entries)) };
        let has_content = content.is_some();
        let flags = Flags { is_active: true, has_content, is_dropped: false };
        Decoding { outer: Current::replace(&DECODING, Scope { flags, content }) }
    }
}

impl Drop for Decoding {
    #[inline]
    fn drop(&mut self) {
        let decoded = Current::replace(&DECODING, mem::take(&mut self.outer));
        if let Some(arriving) = decoded.content {
            close(arriving);
        }
    }
}

/// Separate from messages that have none.
#[inline(never)]
fn close(arriving: Box<Arriving>) {
    drop(arriving);
}

/// Takes the entry of that number out of the message that is being decoded, if it is of the
/// `expected` kind.
///
/// # Errors
///
/// Fails if no message is being decoded on this thread. Also fails if the peer's number is of an
/// entry that is of another kind, does not exist or was taken before.
fn detach(number: u32, expected: EntryKind) -> io::Result<Entry<Attachment>> {
    with_decoding(|arriving| arriving.take(number, expected))
}

/// Takes a sender out of the message that is being decoded. The same one may be taken any number of
/// times.
///
/// # Errors
///
/// Fails if the message has no sender of that number, or no message is being decoded on this
/// thread.
pub(crate) fn detach_sender(number: u32, bound: Bound) -> io::Result<Sender> {
    with_decoding(|arriving| {
        if let Some(ReceivedEntry::Sender(sender)) = arriving.entries.get(number as usize) {
            bound.check(sender.is_bounded())?;
            return Ok(sender.clone());
        }
        let Entry::Sender(moved) = arriving.take(number, EntryKind::Sender)? else {
            return Err(not_there(number));
        };
        bound.check(moved.permits.is_some())?;
        let sender = Sender::from_entry(moved)?;
        arriving.entries[number as usize] = ReceivedEntry::Sender(sender.clone());
        Ok(sender)
    })
}

/// Whether a type allows a bounded channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// The channel is unbounded: a send does not block until messages are received.
    None,
    /// The channel may be bounded.
    Any,
}

impl Bound {
    fn check(self, is_bounded: bool) -> io::Result<()> {
        if is_bounded && self == Bound::None {
            let text = "a sender of a bounded channel was sent, \
                        and cannot be received as one of an unbounded channel";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(())
    }
}

/// Takes a receiver out of the message that is being decoded.
///
/// # Errors
///
/// Fails if the message has no receiver of that number, or no message is being decoded on this
/// thread.
pub(crate) fn detach_receiver(number: u32) -> io::Result<Receiver> {
    with_decoding(|arriving| {
        let Entry::Receiver(mut moved) = arriving.take(number, EntryKind::Receiver)? else {
            return Err(not_there(number));
        };
        moved.options = moved.options.of_peer();
        TransferState::unpack(*moved, Vec::new(), arriving.room.get_or_insert_default())
    })
}

/// Takes shared memory out of the message that is being decoded.
///
/// # Errors
///
/// Fails if the message has no memory of that number and with that `access`, or no message is being
/// decoded on this thread.
pub(crate) fn detach_memory(number: u32, access: Access) -> io::Result<MovedMemory<Attachment>> {
    match detach(number, EntryKind::Memory)? {
        Entry::Memory(memory) if memory.access == access => Ok(memory),
        Entry::Memory(_) => {
            let text = "shared memory was sent as one type, and cannot be received as another";
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
        _ => Err(not_there(number)),
    }
}

/// Takes a handle of the operating system out of the message that is being decoded.
///
/// # Errors
///
/// Fails if the message has no handle of that number, or no message is being decoded on this
/// thread.
pub(crate) fn detach_handle(number: u32) -> io::Result<Attachment> {
    match detach(number, EntryKind::Handle)? {
        Entry::Handle(handle) => Ok(handle),
        _ => Err(not_there(number)),
    }
}

impl Arriving {
    #[cold]
    fn boxed(entries: Vec<Entry<Attachment>>) -> Box<Arriving> {
        let entries = entries.into_iter().map(ReceivedEntry::Here).collect();
        Box::new(Arriving { entries, room: None })
    }

    fn take(&mut self, number: u32, expected: EntryKind) -> io::Result<Entry<Attachment>> {
        let place = self.entries.get_mut(number as usize).ok_or_else(|| not_there(number))?;
        match place {
            ReceivedEntry::Here(entry) if entry.kind() == expected => {}
            ReceivedEntry::Here(entry) => return Err(wrong_kind(number, entry.kind(), expected)),
            ReceivedEntry::Sender(_) if expected != EntryKind::Sender => {
                return Err(wrong_kind(number, EntryKind::Sender, expected));
            }
            ReceivedEntry::Sender(_) | ReceivedEntry::Taken => return Err(not_there(number)),
        }
        match mem::replace(place, ReceivedEntry::Taken) {
            ReceivedEntry::Here(entry) => Ok(entry),
            _ => Err(not_there(number)),
        }
    }
}

fn with_decoding<R>(f: impl FnOnce(&mut Arriving) -> io::Result<R>) -> io::Result<R> {
    Current::with(&DECODING, |_| Arriving::default(), f).unwrap_or_else(|| Err(not_received()))
}

/// The error if the peer's number is of an entry that is not available.
fn not_there(number: u32) -> io::Error {
    let text = format!("the message has no endpoint or handle {number}, or it was already taken");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// The error if the peer's number is of an entry of another kind.
fn wrong_kind(number: u32, sent: EntryKind, expected: EntryKind) -> io::Error {
    let text = format!("attachment {number} of the message is {sent} instead of {expected}");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// The error if no message is being encoded.
pub(super) fn not_sent() -> io::Error {
    outside("sent")
}

/// The error if no message is being decoded.
pub(super) fn not_received() -> io::Error {
    outside("received")
}

fn outside(done: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "channel endpoints, handles and shared memory can only be {done} \
             in messages of a channel"
        ),
    )
}
