//! The wire format of values: bincode 2, fixed-width and little-endian. To replace it, replace this file.
//!
//! The limit on the size of a message is enforced where bytes are written and, when reading, by the length of the message
//! itself: strings are borrowed from it before they are copied, sequences are checked by the guard. So bincode's own
//! counter is not needed, and costs nothing.

use bincode::config::{Configuration, Fixint, LittleEndian, NoLimit};
use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use bincode::serde::BorrowedSerdeDecoder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::FormatError;
use super::guard::Guard;

type Config = Configuration<LittleEndian, Fixint, NoLimit>;

const CONFIG: Config = bincode::config::standard().with_fixed_int_encoding();

/// Appends the encoded form of `value` to `buffer`, which does not grow beyond `limit` bytes.
pub(super) fn encode<T: Serialize + ?Sized>(
    value: &T,
    buffer: &mut Vec<u8>,
    limit: usize,
) -> Result<(), FormatError> {
    bincode::serde::encode_into_writer(value, LimitedVec { buffer, limit }, CONFIG)
        .map_err(Box::from)
}

/// Makes a value of exactly these bytes.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FormatError> {
    let guard = Guard::new(bytes.len());
    let mut decoder = BorrowedSerdeDecoder::from_slice(bytes, CONFIG, ());
    let value = T::deserialize(guard.deserializer(decoder.as_deserializer()))?;
    // A message that has more to say is one of another type.
    if u8::deserialize(decoder.as_deserializer()).is_ok() {
        return Err("the message is longer than a value of this type".into());
    }
    Ok(value)
}

struct LimitedVec<'a> {
    buffer: &'a mut Vec<u8>,
    limit: usize,
}

impl Writer for LimitedVec<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        if bytes.len() > self.limit - self.buffer.len() {
            return Err(EncodeError::Other(
                "the message exceeds the limit on its size",
            ));
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }
}
