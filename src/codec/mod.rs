//! Encodes values into messages and decodes messages into values.
//!
//! An endpoint, a handle or shared memory has no bytes, and becomes an entry of the message's
//! [table]. Its `Serialize` impl puts it into the message that is being encoded on this thread
//! ([`scope`]) and writes the number of the entry. Its `Deserialize` impl reads the number and
//! takes the object out of the message that is being decoded. The format encodes everything else
//! ([`mod@format`]). [`reading`] limits the time and memory that hostile bytes can cost.
//! [`writing`] refuses to send what [`reading`] would refuse, by the same [`bounds`]. Both pass
//! sequences of [`mod@bytes`] on in one piece.

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

use format::Output;
use reading::Guard;
use scope::Departing;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::buffers;
use crate::channel::frame::{Dialect, Malformed};
use crate::channel::hello::Introduction;
use crate::channel::table::{self, Entry, TableError};
use crate::channel::{Problem, SendFailure, Sender, limits};
use crate::error::{FormatError, IpcError, SerDeError, TrySendError};
use crate::platform::{Attachment, SendError, Wait};

/// The peer has another protocol version or codec.
#[derive(Debug)]
struct Foreign {
    dialect: Dialect,
    /// The peer's name for its codec.
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

/// Returns the introduction of a process that sends and expects values of these types.
pub(crate) fn introduction<Sent, Expected>() -> Introduction {
    let (sent, expected) = (type_name::<Sent>(), type_name::<Expected>());
    Introduction { codec: format::NAME, sent: Some(sent), expected: Some(expected) }
}

/// Returns the introduction of a process that only sends.
pub(crate) fn introduction_of_sender<Sent: ?Sized>() -> Introduction {
    Introduction { codec: format::NAME, sent: Some(type_name::<Sent>()), expected: None }
}

/// What happens to a value that is sent, in the sending process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The caller keeps it.
    Kept,
    /// It is dropped.
    Dropped,
}

/// Sends a value. Blocks like [`Sender::send`]. If the channel is bounded and full, a call that
/// does not block fails before it encodes the value.
pub(crate) fn send<T: Serialize + ?Sized>(
    sender: &Sender,
    value: &T,
    fate: Fate,
    wait: Wait,
) -> Result<(), TrySendError> {
    if wait == Wait::Never && !sender.has_room() {
        return Err(TrySendError::Full);
    }
    buffers::with_send_buffer(|buffer| {
        let scope = scope::Encoding::begin(fate);
        // If this fails, dropping `scope` returns what was moved into the message.
        write(value, buffer, limits::MAX_MESSAGE_BYTES)
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

/// Checks whether the sender's channel can transport the entries.
fn check_entries(sender: &Sender, entries: &[Entry<Attachment>]) -> Result<(), String> {
    let handles: usize = entries.iter().map(Entry::attachments).sum();
    let most = limits::MAX_MESSAGE_ATTACHMENTS;
    if handles > most {
        return Err(format!("the message has {handles} handles, more than the maximum of {most}"));
    }
    match entries.iter().find(|entry| !sender.admits(entry)) {
        Some(entry) => Err(format!("the channel cannot carry {}", entry.kind())),
        None => Ok(()),
    }
}

/// Encodes a value that stays in this process. Endpoints that are moved out of the value, and not
/// kept, are dropped.
pub(crate) fn pack<T: Serialize>(
    value: &T,
) -> Result<(Vec<u8>, Vec<Entry<Attachment>>), SerDeError> {
    let mut bytes = Vec::new();
    let scope = scope::Encoding::begin(Fate::Dropped);
    write(value, &mut bytes, limits::MAX_MESSAGE_BYTES).map_err(SerDeError::of_encoding::<T>)?;
    Ok((bytes, scope.finish().entries))
}

/// Decodes a message.
pub(crate) fn decode<T: DeserializeOwned>(
    bytes: &[u8],
    entries: Vec<Entry<Attachment>>,
) -> Result<T, SerDeError> {
    let _scope = scope::Decoding::begin(entries);
    read(bytes).map_err(SerDeError::of_decoding::<T>)
}

/// Encodes `value` into `buffer`, which is empty, if it has at most `limit` bytes.
fn write<T: Serialize + ?Sized>(
    value: &T,
    buffer: &mut Vec<u8>,
    limit: usize,
) -> Result<(), FormatError> {
    let output = Output::new(buffer, limit);
    output.encode(writing::Whole { value, output: &output })?;
    output.finish()
}

/// Decodes a value of exactly these bytes.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FormatError> {
    let guard = Guard::new(bytes);
    let value = guard.cursor.decode(guard.whole())?;
    // A message with more bytes is one of another type.
    if guard.cursor.is_at_end() {
        Ok(value)
    } else {
        Err("the message is longer than a value of this type".into())
    }
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

/// Decodes any bytes: for fuzzing.
pub fn decode_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, SerDeError> {
    decode(bytes, Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_whatever_the_buffer_has_room_for() {
        for capacity in [0, 16, 17, 1000] {
            for limit in [0, 7, 8, 15, 16, 17, 500] {
                let mut buffer = Vec::with_capacity(capacity);
                let result = write(&(1_u64, 2_u64), &mut buffer, limit);
                assert_eq!(result.is_ok(), limit >= 16, "{capacity} {limit}");
                let mut buffer = Vec::with_capacity(capacity);
                let result = write(&[3_u8; 8][..], &mut buffer, limit);
                let text = format!("the message is larger than {limit} bytes");
                assert_eq!(
                    result.map_err(|e| e.to_string()),
                    if limit < 16 { Err(text) } else { Ok(()) }
                );
            }
        }
    }
}
