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

pub(crate) use scope::{Encoded, Fate};

use std::any::type_name;
use std::fmt;

use format::Output;
use reading::Guard;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::channel::frame::Dialect;
use crate::channel::hello::Introduction;
use crate::channel::limits;
use crate::channel::table::Entry;
use crate::error::{FormatError, SerDeError};
use crate::platform::Attachment;

/// The peer has another protocol version or codec.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) dialect: Dialect,
    /// The peer's name for its codec.
    pub(crate) codec: Option<Box<str>>,
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

/// Encodes a value into `buffer`, which is empty. Returns the entries of the message, if it has
/// some. The receivers in the value are moved into the message, unless this fails.
#[inline]
pub(crate) fn encode<T: Serialize + ?Sized>(
    value: &T,
    fate: Fate,
    buffer: &mut Vec<u8>,
) -> Result<Option<Encoded>, SerDeError> {
    let scope = scope::Encoding::begin(fate);
    // If this fails, dropping `scope` returns what was moved into the message.
    write(value, buffer, limits::MAX_MESSAGE_BYTES).map_err(SerDeError::of_encoding::<T>)?;
    Ok(scope.finish())
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

/// Decodes any bytes: for fuzzing.
pub fn decode_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, SerDeError> {
    decode(bytes, Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_holds_for_every_buffer_capacity() {
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
