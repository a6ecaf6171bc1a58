//! The wire format of values: bincode 2, fixed-width and little-endian. To replace it, replace this
//! file.
//!
//! The limit on the size of a message is enforced where a message grows. When reading, the length
//! of the message itself enforces it: whatever could be larger is read under the control of the
//! [`Guard`](super::reading::Guard). So bincode's own counter is not needed, and costs nothing.

use std::cell::{Cell, RefCell};

use bincode::config::{Configuration, Fixint, LittleEndian, NoLimit};
use bincode::de::read::Reader;
use bincode::enc::write::Writer;
use bincode::error::{DecodeError, EncodeError};
use bincode::serde::OwnedSerdeDecoder;
use serde::de::{DeserializeSeed, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::bounds::{OutOfBounds, most_elements};
use crate::channel::frame::CODEC;
use crate::error::{FormatError, NotSelfDescribing};

/// The number of this format of values, in every packet. A format that writes anything differently
/// has another number, also if it is another version of the same crate. Processes with different
/// numbers do not exchange values.
const ID: u8 = 1;

/// Its name in the texts of errors.
pub(super) const NAME: &str = "bincode";

/// Returns the name of a format.
pub(super) fn name_of(id: u8) -> Option<&'static str> {
    match id {
        ID => Some(NAME),
        2 => Some("postcard"),
        _ => None,
    }
}

const _: () = assert!(ID == CODEC, "the layer below writes another number into packets");

type Config = Configuration<LittleEndian, Fixint, NoLimit>;

const CONFIG: Config = bincode::config::standard().with_fixed_int_encoding();

/// How much a buffer grows at least.
const MIN_GROWTH: usize = 256;

/// Describes an encoding error in words. The format's own errors print as Rust code.
fn encoding_problem(error: EncodeError) -> FormatError {
    use bincode::serde::EncodeError as SerdeError;

    match error {
        EncodeError::Other(text) => text.into(),
        EncodeError::OtherString(text) => text.into(),
        EncodeError::Serde(SerdeError::SequenceMustHaveLength) => {
            "the length of a sequence or map is unknown".into()
        }
        other => other.into(),
    }
}

/// Describes a decoding error in words.
fn decoding_problem(error: DecodeError) -> FormatError {
    use bincode::serde::DecodeError as SerdeError;

    match error {
        DecodeError::Other(text) => text.into(),
        DecodeError::OtherString(text) => text.into(),
        DecodeError::UnexpectedEnd { additional } => {
            format!("the message ends {additional} bytes too early").into()
        }
        DecodeError::InvalidBooleanValue(value) => {
            format!("a `bool` is encoded as {value}, which is neither 0 nor 1").into()
        }
        DecodeError::InvalidCharEncoding(_) => "a `char` is not valid UTF-8".into(),
        DecodeError::UnexpectedVariant { type_name, found, .. } => {
            format!("{type_name} has no variant {found}").into()
        }
        DecodeError::Serde(
            SerdeError::AnyNotSupported
            | SerdeError::IdentifierNotSupported
            | SerdeError::IgnoredAnyNotSupported,
        ) => NotSelfDescribing.into(),
        other => other.into(),
    }
}

/// The unread rest of a message.
#[derive(Debug)]
pub(super) struct Cursor<'de>(Cell<&'de [u8]>);

impl<'de> Cursor<'de> {
    pub(super) fn new(message: &'de [u8]) -> Cursor<'de> {
        Cursor(Cell::new(message))
    }

    /// Decodes a value with a seed that reads from this cursor.
    #[inline]
    pub(super) fn decode<S: DeserializeSeed<'de>>(&self, seed: S) -> Result<S::Value, FormatError> {
        let mut decoder = OwnedSerdeDecoder::from_reader(self, CONFIG);
        seed.deserialize(decoder.as_deserializer()).map_err(decoding_problem)
    }

    /// Takes the next `len` bytes, if there are so many. A `u8` in a sequence is one of them.
    #[inline]
    pub(super) fn take(&self, len: usize) -> Option<&'de [u8]> {
        let (taken, rest) = self.0.get().split_at_checked(len)?;
        self.0.set(rest);
        Some(taken)
    }

    /// Returns the next `len` bytes without taking them, if there are so many.
    #[inline]
    pub(super) fn peek(&self, len: usize) -> Option<&'de [u8]> {
        self.0.get().get(..len)
    }

    /// Returns the elements of the next sequence without taking them, if they are bytes and all
    /// there.
    #[inline]
    pub(super) fn peek_bytes(&self) -> Option<&'de [u8]> {
        let (len, rest) = self.0.get().split_first_chunk()?;
        rest.get(..usize::try_from(u64::from_le_bytes(*len)).ok()?)
    }

    /// Takes the next sequence, whose elements are these.
    #[inline]
    pub(super) fn take_bytes(&self, elements: &'de [u8]) {
        self.take(size_of::<u64>() + elements.len());
    }

    /// Reads the length of a string or byte string, with the deserializer of the string.
    pub(super) fn length<D: Deserializer<'de>>(&self, deserializer: D) -> Result<usize, D::Error> {
        let length = u64::deserialize(deserializer)?;
        usize::try_from(length)
            .map_err(|_| D::Error::custom("a string is longer than the address space"))
    }

    /// Returns whether everything was read.
    #[inline]
    pub(super) fn is_at_end(&self) -> bool {
        self.0.get().is_empty()
    }
}

impl Reader for &Cursor<'_> {
    #[inline]
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), DecodeError> {
        let missing = bytes.len().saturating_sub(self.0.get().len());
        let taken = self.take(bytes.len());
        bytes.copy_from_slice(taken.ok_or(DecodeError::UnexpectedEnd { additional: missing })?);
        Ok(())
    }

    #[inline]
    fn peek_read(&mut self, len: usize) -> Option<&[u8]> {
        self.peek(len)
    }

    #[inline]
    fn consume(&mut self, len: usize) {
        self.take(len);
    }
}

/// A message that is being encoded. It does not grow beyond a limit.
pub(super) struct Output<'b> {
    bytes: RefCell<&'b mut Vec<u8>>,
    limit: usize,
    /// How many elements its sequences and maps have.
    elements: Cell<usize>,
}

impl<'b> Output<'b> {
    /// Makes a message in `bytes`, which is empty, of at most `limit` bytes.
    #[inline]
    pub(super) fn new(bytes: &'b mut Vec<u8>, limit: usize) -> Output<'b> {
        Output { bytes: RefCell::new(bytes), limit, elements: Cell::new(0) }
    }

    /// Encodes a value that writes to this message.
    #[inline]
    pub(super) fn encode<T: Serialize>(&self, value: T) -> Result<(), FormatError> {
        bincode::serde::encode_into_writer(value, self, CONFIG).map_err(encoding_problem)
    }

    /// Counts the elements of a sequence or map.
    #[inline]
    pub(super) fn announce(&self, elements: usize) {
        self.elements.set(self.elements.get().saturating_add(elements));
    }

    /// Returns the number of bytes so far.
    pub(super) fn len(&self) -> usize {
        self.bytes.borrow().len()
    }

    /// Checks that the whole message is one that a receiver accepts.
    #[inline]
    pub(super) fn finish(&self) -> Result<(), FormatError> {
        let len = self.len();
        if len > self.limit {
            return Err(self.too_large().into());
        }
        if self.elements.get() > most_elements(len) {
            return Err(OutOfBounds::Elements.into());
        }
        Ok(())
    }

    /// Encodes a sequence of `len` items that are `u8`, with the serializer of the sequence.
    #[inline]
    pub(super) fn write_bytes<S, I>(
        &self,
        items: I,
        len: usize,
        serializer: S,
    ) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
        I: Iterator<Item: Serialize>,
    {
        let written = serializer.serialize_u64(len as u64)?;
        let mut bytes = self.bytes.borrow_mut();
        if !fits(&bytes, len) {
            self.grow(&mut bytes, len).map_err(S::Error::custom)?;
        }
        let end = bytes.len() + len;
        bytes.extend(items.take(len).map(|item| {
            let mut byte = Byte(0);
            // A `u8` takes one byte, always. Dropping the result unseen could be a call for each.
            match bincode::serde::encode_into_writer(item, &mut byte, CONFIG) {
                Ok(()) => byte.0,
                Err(_) => 0,
            }
        }));
        if bytes.len() == end {
            Ok(written)
        } else {
            Err(S::Error::custom("a sequence has fewer elements than it announced"))
        }
    }

    #[cold]
    fn too_large(&self) -> String {
        format!("the message is larger than {} bytes", self.limit)
    }

    /// Makes room for `len` more bytes. The limit is checked only where the capacity ends, once per
    /// doubling, and in the end.
    #[cold]
    #[inline(never)]
    fn grow(&self, bytes: &mut Vec<u8>, len: usize) -> Result<(), EncodeError> {
        if len > self.limit.saturating_sub(bytes.len()) {
            return Err(EncodeError::OtherString(self.too_large()));
        }
        bytes.reserve(len.max(MIN_GROWTH));
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn write_growing(&self, new: &[u8]) -> Result<(), EncodeError> {
        let mut bytes = self.bytes.borrow_mut();
        self.grow(&mut bytes, new.len())?;
        bytes.extend_from_slice(new);
        Ok(())
    }
}

/// Returns whether `len` more bytes fit without growing.
#[inline]
fn fits(bytes: &Vec<u8>, len: usize) -> bool {
    len <= bytes.capacity() - bytes.len()
}

impl Writer for &Output<'_> {
    #[inline]
    fn write(&mut self, new: &[u8]) -> Result<(), EncodeError> {
        // Usually a few bytes are written, so each instruction counts; rare cases are kept
        // separate.
        {
            let mut bytes = self.bytes.borrow_mut();
            if fits(&bytes, new.len()) {
                bytes.extend_from_slice(new);
                return Ok(());
            }
        }
        self.write_growing(new)
    }
}

/// Takes the encoding of a `u8`, in a register, so that a loop over bytes is a copy.
struct Byte(u8);

impl Writer for Byte {
    #[inline]
    fn write(&mut self, new: &[u8]) -> Result<(), EncodeError> {
        if let [byte] = new {
            self.0 = *byte;
        }
        Ok(())
    }
}
