//! Values become messages and messages become values.
//!
//! What has no bytes, an endpoint or a handle, becomes an attachment: its `Serialize` impl puts it into the message that is
//! being encoded on this thread ([`scope`]) and writes the index that it got; its `Deserialize` impl reads the index and
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

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::channel::{Problem, SendFailure, Sender, limits, scratch};
use crate::error::{IpcError, SerDeError, TrySendError};
use crate::platform::{Attachment, SendError, Wait};

/// What goes wrong in the format.
pub(crate) type FormatError = Box<dyn std::error::Error + Send + Sync>;

/// What becomes of a value that is sent, in the process that sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its owner keeps it.
    Kept,
    /// It is dropped.
    Dropped,
}

/// Sends a value. If the channel is bounded and full, waits for room; who does not wait is told so before anything is encoded for nothing.
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
            .map_err(|error| IpcError::from(SerDeError::from_format("encoded", error)))?;
        let departing = scope.finish();
        let handles = departing.attachments.len();
        if handles > limits::MAX_MESSAGE_ATTACHMENTS {
            departing.returns.put_back(departing.attachments);
            let most = limits::MAX_MESSAGE_ATTACHMENTS;
            let error = format!("the message has {handles} handles, and may have {most}");
            return Err(IpcError::from(SerDeError::from_format("encoded", error.into())).into());
        }
        match sender.send(buffer, departing.attachments, wait) {
            Ok(()) => Ok(()),
            Err(SendFailure { error, attachments }) => {
                departing.returns.put_back(attachments);
                Err(error.into())
            }
        }
    })
}

/// Makes a message of a value that stays in this process. What it takes of the value, and is not kept, is dropped.
pub(crate) fn pack<T: Serialize>(value: &T) -> Result<(Vec<u8>, Vec<Attachment>), SerDeError> {
    let mut bytes = Vec::new();
    let scope = scope::Encoding::begin(Fate::Dropped);
    format::encode(value, &mut bytes, limits::MAX_MESSAGE_BYTES)
        .map_err(|error| SerDeError::from_format("encoded", error))?;
    Ok((bytes, scope.finish().attachments))
}

/// Makes a value of a message.
pub(crate) fn decode<T: DeserializeOwned>(
    bytes: &[u8],
    attachments: Vec<Attachment>,
) -> Result<T, SerDeError> {
    let _scope = scope::Decoding::begin(attachments);
    format::decode(bytes).map_err(|error| SerDeError::from_format("decoded", error))
}

impl From<SendError> for TrySendError {
    fn from(error: SendError) -> TrySendError {
        TrySendError::IpcError(match error {
            SendError::Full => return TrySendError::Full,
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
        SerDeError::from_format("received", Box::new(problem))
    }
}

/// Makes a value of any bytes: for fuzzing.
pub fn decode_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, SerDeError> {
    decode(bytes, Vec::new())
}
