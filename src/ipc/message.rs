//! Received messages that have not been decoded yet.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;

use super::IpcConnection;
use crate::channel::server::Connection;
use crate::channel::table::{Entry, EntryKind};
use crate::codec::{self, Fate};
use crate::error::SerDeError;
use crate::platform::Attachment;

/// The maximum number of bytes that `Debug` shows.
const SHOWN_BYTES: usize = 256;

/// A message that has been received and not decoded. Receiver sets and routers return such
/// messages.
///
/// [`to`](IpcMessage::to) decodes the message into a value. Dropping the message closes the
/// endpoints and handles in it.
///
/// # Examples
///
/// See [`to`](IpcMessage::to).
pub struct IpcMessage {
    /// An error if the receiver received something that is not a message.
    content: Result<Content, SerDeError>,
}

/// The numbers of endpoints, shared memories and handles in a [message](IpcMessage::entry_counts).
///
/// Each one counts once, even if the value contains it several times.
///
/// # Examples
///
/// See [`IpcMessage::entry_counts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryCounts {
    /// The number of senders.
    pub senders: usize,
    /// The number of receivers.
    pub receivers: usize,
    /// The number of shared memories, including readers and writers of shared memory.
    pub memories: usize,
    /// The number of operating system handles.
    pub os_handles: usize,
}

struct Content {
    bytes: Vec<u8>,
    entries: Vec<Entry<Attachment>>,
    /// The sender's name of the type, if the sender has announced it.
    sent_type: Option<Arc<str>>,
}

impl IpcMessage {
    /// Creates a message from `data`: the encoded form of a value without endpoints and handles, or
    /// the bytes of a message of a [channel of bytes](super::bytes_channel).
    ///
    /// # Examples
    ///
    /// ```
    /// use strait::ipc::IpcMessage;
    ///
    /// # fn main() -> Result<(), strait::SerDeError> {
    /// let message = IpcMessage::from_data(vec![1, 2, 3]);
    /// assert_eq!(message.into_bytes()?, [1, 2, 3]);
    /// assert!(IpcMessage::from_data(Vec::new()).to::<u8>().is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_data(data: Vec<u8>) -> IpcMessage {
        IpcMessage::new(data, Vec::new())
    }

    pub(crate) fn new(bytes: Vec<u8>, entries: Vec<Entry<Attachment>>) -> IpcMessage {
        IpcMessage { content: Ok(Content { bytes, entries, sent_type: None }) }
    }

    /// Stores the sender's name of the type.
    pub(crate) fn sent_as(mut self, sent_type: Option<Arc<str>>) -> IpcMessage {
        if let Ok(content) = &mut self.content {
            content.sent_type = sent_type;
        }
        self
    }

    /// Creates a message from a client that has connected to a server.
    pub(crate) fn of_client(client: Connection) -> IpcMessage {
        let mut bytes = Vec::new();
        match codec::encode(&IpcConnection::<(), ()>::from(client), Fate::Dropped, &mut bytes) {
            Ok(encoded) => IpcMessage::new(bytes, encoded.unwrap_or_default().entries),
            Err(error) => IpcMessage::lost(error),
        }
    }

    /// Creates a message that consists of an error only.
    pub(crate) fn lost(error: SerDeError) -> IpcMessage {
        IpcMessage { content: Err(error) }
    }

    /// Returns the numbers of endpoints, shared memories and handles in the message. All are zero
    /// if the message is malformed.
    ///
    /// This needs no type, so a program that routes messages can refuse some of them before it
    /// decodes them. The [`Limits`](super::Limits) of a receiver refuse messages before the
    /// receiver returns them.
    ///
    /// # Examples
    ///
    /// ```
    /// use strait::ipc::{self, IpcReceiverSet};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (requests, inbox) = ipc::channel()?;
    /// let mut set = IpcReceiverSet::new()?;
    /// set.add(inbox)?;
    /// let (reply, _answers) = ipc::channel::<u32>()?;
    /// requests.send(("a request".to_string(), reply))?;
    ///
    /// for event in set.select()? {
    ///     let (_, message) = event.unwrap();
    ///     let counts = message.entry_counts();
    ///     assert_eq!((counts.senders, counts.receivers, counts.os_handles), (1, 0, 0));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn entry_counts(&self) -> EntryCounts {
        let mut counts = EntryCounts::default();
        for entry in self.content.iter().flat_map(|content| &content.entries) {
            *match entry.kind() {
                EntryKind::Sender => &mut counts.senders,
                EntryKind::Receiver => &mut counts.receivers,
                EntryKind::Memory => &mut counts.memories,
                EntryKind::Handle => &mut counts.os_handles,
            } += 1;
        }
        counts
    }

    /// Decodes the message into a `T`.
    ///
    /// # Errors
    ///
    /// - [`SerDeError`] if the message is malformed or is not a `T`.
    ///
    /// # Examples
    ///
    /// ```
    /// use strait::ipc::{self, IpcMessage, IpcReceiverSet};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (numbers, receiver) = ipc::channel::<u32>()?;
    /// let mut set = IpcReceiverSet::new()?;
    /// let numbers_id = set.add(receiver)?;
    /// numbers.send(7)?;
    /// for result in set.select()? {
    ///     let (id, message): (u64, IpcMessage) = result.unwrap();
    ///     assert_eq!(id, numbers_id);
    ///     assert_eq!(message.to::<u32>()?, 7);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn to<T>(self) -> Result<T, SerDeError>
    where
        T: for<'de> Deserialize<'de>,
    {
        let Content { bytes, entries, sent_type } = self.content?;
        codec::decode(&bytes, entries).map_err(|error| error.sent_as(sent_type.as_ref()))
    }

    /// Returns the bytes of a message of a [channel of bytes](super::bytes_channel).
    ///
    /// # Errors
    ///
    /// - [`SerDeError`] if the message is malformed.
    pub fn into_bytes(self) -> Result<Vec<u8>, SerDeError> {
        Ok(self.content?.bytes)
    }
}

impl fmt::Debug for IpcMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.content {
            Ok(Content { bytes, .. }) => {
                let shown = &bytes[..bytes.len().min(SHOWN_BYTES)];
                let mut f = f.debug_struct("IpcMessage");
                f.field("len", &bytes.len());
                match std::str::from_utf8(shown) {
                    Ok(text) => f.field("bytes", &text),
                    Err(_) => f.field("bytes", &shown),
                };
                f.field("entries", &self.entry_counts()).finish()
            }
            Err(error) => f.debug_tuple("IpcMessage").field(error).finish(),
        }
    }
}
