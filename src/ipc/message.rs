//! Messages that have not been decoded yet.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::IpcConnection;
use crate::channel::server::Connection;
use crate::codec;
use crate::error::SerDeError;
use crate::platform::Attachment;

/// How many bytes `Debug` shows.
const SHOWN_BYTES: usize = 256;

/// A message as it arrived, for [`to`](IpcMessage::to) to make a value of.
///
/// Dropping it closes the endpoints and handles in it.
pub struct IpcMessage {
    /// An error if something arrived that is not a message.
    content: Result<Content, SerDeError>,
}

struct Content {
    bytes: Vec<u8>,
    attachments: Vec<Attachment>,
}

impl IpcMessage {
    /// Makes a message of bytes, which are the encoded form of a value without endpoints or handles.
    pub fn from_data(data: Vec<u8>) -> IpcMessage {
        IpcMessage::new(data, Vec::new())
    }

    pub(crate) fn new(bytes: Vec<u8>, attachments: Vec<Attachment>) -> IpcMessage {
        IpcMessage { content: Ok(Content { bytes, attachments }) }
    }

    /// Makes a message of a client that came to a server.
    pub(crate) fn of_client(client: Connection) -> IpcMessage {
        match codec::pack(&IpcConnection::<(), ()>::from(client)) {
            Ok((bytes, attachments)) => IpcMessage::new(bytes, attachments),
            Err(error) => IpcMessage::lost(error),
        }
    }

    /// Makes a message that is only its error.
    pub(crate) fn lost(error: SerDeError) -> IpcMessage {
        IpcMessage { content: Err(error) }
    }

    /// Makes a value of the message.
    ///
    /// # Errors
    ///
    /// [`SerDeError`] if it was malformed or is not a `T`.
    pub fn to<T>(self) -> Result<T, SerDeError>
    where
        T: for<'de> Deserialize<'de> + Serialize,
    {
        let Content { bytes, attachments } = self.content?;
        codec::decode(&bytes, attachments)
    }

    /// Takes the bytes of a message of a [bytes channel](super::bytes_channel).
    ///
    /// # Errors
    ///
    /// [`SerDeError`] if it was malformed.
    pub fn into_bytes(self) -> Result<Vec<u8>, SerDeError> {
        Ok(self.content?.bytes)
    }
}

impl fmt::Debug for IpcMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.content {
            Ok(Content { bytes, attachments }) => {
                let shown = &bytes[..bytes.len().min(SHOWN_BYTES)];
                let mut f = f.debug_struct("IpcMessage");
                f.field("len", &bytes.len());
                match std::str::from_utf8(shown) {
                    Ok(text) => f.field("bytes", &text),
                    Err(_) => f.field("bytes", &shown),
                };
                f.field("attachments", &attachments.len()).finish()
            }
            Err(error) => f.debug_tuple("IpcMessage").field(error).finish(),
        }
    }
}
