//! Values become messages and messages become values.
//!
//! What has no bytes, an endpoint or a handle, becomes an entry of the message's [table]: its `Serialize` impl puts it into the message
//! that is being encoded on this thread ([`scope`]) and writes the number that it got; its `Deserialize` impl reads the number and
//! takes the object out of the message that is being decoded. Everything else is the format's business ([`mod@format`]).
//! On the way there, [`reading`] keeps hostile bytes from costing more than they weigh, [`writing`] keeps from being sent what
//! [`reading`] would refuse, by the same [`bounds`], and both pass sequences of [`mod@bytes`] on in one piece.

mod bounds;
mod bytes;
pub(crate) mod endpoint;
mod format;
mod reading;
pub(crate) mod scope;
mod writing;

use std::any::type_name;
use std::fmt;
use std::io;

use scope::Departing;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::channel::frame::{Dialect, Malformed};
use crate::channel::hello::Introduction;
use crate::channel::table::{self, Entry, TableError};
use crate::channel::{Problem, SendFailure, Sender, limits, scratch};
use crate::error::{IpcError, SerDeError, TrySendError};
use crate::platform::{Attachment, SendError, Wait};

/// What goes wrong in the format.
pub(crate) type FormatError = Box<dyn std::error::Error + Send + Sync>;

/// What goes wrong with types that have to be told what is in a message, as serde's `tag`, `untagged` and `flatten` make them.
#[derive(Debug, thiserror::Error)]
#[error("the type has to be told what is in a message, which messages do not say")]
pub(crate) struct NotSelfDescribing;

/// A peer and this process do not understand each other.
#[derive(Debug)]
struct Foreign {
    dialect: Dialect,
    /// What the peer calls its codec.
    codec: Option<Box<str>>,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Dialect { version, codec } = self.dialect;
        let own = Dialect::OWN.version;
        write!(f, "this process speaks protocol {own} with {}, ", format::NAME)?;
        match format::name_of(codec).or(self.codec.as_deref()) {
            Some(name) => write!(f, "the peer protocol {version} with {name}"),
            None => write!(f, "the peer protocol {version} with codec {codec}"),
        }
    }
}

impl std::error::Error for Foreign {}

/// What a process says of itself that sends and expects values of these types.
pub(crate) fn introduction<Sent, Expected>() -> Introduction {
    let (sent, expected) = (type_name::<Sent>(), type_name::<Expected>());
    Introduction { codec: format::NAME, sent: Some(sent), expected: Some(expected) }
}

/// The same of one that only sends.
pub(crate) fn introduction_of_sender<Sent: ?Sized>() -> Introduction {
    Introduction { codec: format::NAME, sent: Some(type_name::<Sent>()), expected: None }
}

/// What becomes of a value that is sent, in the process that sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its owner keeps it.
    Kept,
    /// It is dropped.
    Dropped,
}

/// Sends a value. Waits as [`Sender::send`] does; if the channel is bounded and full, a call that does not wait says so before it
/// encodes anything for nothing.
pub(crate) fn send<T: Serialize + ?Sized>(
    sender: &Sender,
    value: &T,
    fate: Fate,
    wait: Wait,
) -> Result<(), TrySendError> {
    if wait == Wait::Never && !sender.has_room() {
        return Err(TrySendError::Full);
    }
    scratch::with_send_buffer(|buffer| {
        let scope = scope::Encoding::begin(fate);
        // If this fails, what was moved into the message comes back when `scope` is dropped.
        format::encode(value, buffer, limits::MAX_MESSAGE_BYTES)
            .map_err(|error| IpcError::from(SerDeError::of_encoding::<T>(error)))?;
        let Departing { entries, returns, .. } = scope.finish();
        if entries.is_empty() {
            return sender.send(buffer, Vec::new(), wait).map_err(|failure| failure.error.into());
        }
        if let Err(error) = check_entries(sender, &entries) {
            returns.put_back(entries);
            return Err(IpcError::from(SerDeError::of_encoding::<T>(error.into())).into());
        }
        let attachments = table::write(entries, buffer);
        sender.send(buffer, attachments, wait).map_err(|SendFailure { error, attachments }| {
            returns.put_back_from(buffer, attachments);
            error.into()
        })
    })
}

/// Whether the sender's channel can carry them.
fn check_entries(sender: &Sender, entries: &[Entry<Attachment>]) -> Result<(), String> {
    let handles: usize = entries.iter().map(Entry::attachments).sum();
    let most = limits::MAX_MESSAGE_ATTACHMENTS;
    if handles > most {
        return Err(format!("the message has {handles} handles, and may have {most}"));
    }
    match entries.iter().find(|entry| !sender.admits(entry)) {
        Some(entry) => Err(format!("the channel cannot carry {}", entry.kind())),
        None => Ok(()),
    }
}

/// Makes a message of a value that stays in this process. What it takes of the value, and is not kept, is dropped.
pub(crate) fn pack<T: Serialize>(
    value: &T,
) -> Result<(Vec<u8>, Vec<Entry<Attachment>>), SerDeError> {
    let mut bytes = Vec::new();
    let scope = scope::Encoding::begin(Fate::Dropped);
    format::encode(value, &mut bytes, limits::MAX_MESSAGE_BYTES)
        .map_err(SerDeError::of_encoding::<T>)?;
    Ok((bytes, scope.finish().entries))
}

/// Makes a value of a message.
pub(crate) fn decode<T: DeserializeOwned>(
    bytes: &[u8],
    entries: Vec<Entry<Attachment>>,
) -> Result<T, SerDeError> {
    let _scope = scope::Decoding::begin(entries);
    format::decode(bytes).map_err(SerDeError::of_decoding::<T>)
}

impl From<SendError> for TrySendError {
    fn from(error: SendError) -> TrySendError {
        TrySendError::IpcError(match error {
            SendError::Full | SendError::TooManyInFlight => return TrySendError::Full,
            SendError::Closed => IpcError::Disconnected,
            SendError::Io(error) => IpcError::Io(error),
            SendError::TooLarge => IpcError::Io(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the channel's socket buffer is too small for any message",
            )),
        })
    }
}

impl From<Problem> for SerDeError {
    fn from(problem: Problem) -> SerDeError {
        let foreign = match problem {
            Problem::Foreign(hello) => Foreign { dialect: hello.dialect, codec: hello.codec },
            Problem::Malformed(Malformed::Foreign(dialect))
            | Problem::Table(TableError::Foreign(dialect)) => Foreign { dialect, codec: None },
            problem => return SerDeError::of_receiving(Box::new(problem)),
        };
        SerDeError::of_meeting(Box::new(foreign))
    }
}

/// Makes a value of any bytes: for fuzzing.
pub fn decode_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, SerDeError> {
    decode(bytes, Vec::new())
}
