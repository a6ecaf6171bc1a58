//! The format of records.
//!
//! A header of 16 bytes, the body, and padding to a multiple of 16. Numbers are little-endian.
//! Since a segment is a multiple of 16 bytes long, only a body can go over its end, and only one
//! longer than 16 bytes.
//!
//! ```text
//! 0         4       5       6       8         16
//! | len u32 | kind  | flags | pad   | stamp u64 | body, `len` bytes |
//!
//! MSG 1       a whole message
//! FIRST 2     total length u64, then the first bytes of a message
//! MIDDLE 3    more of it
//! LAST 4      the rest of it
//! JUMP 5      offset u64, len u32, pad u32: the next record is at the start of that segment
//! ```
//!
//! All fragments of a message have its stamp and at least one byte of it. A whole message or a
//! first fragment aborts an earlier message that is incomplete: its sender stopped sending it.

use super::memory::{MAX_SEGMENT, Place};

/// The length of a header, and the alignment of everything.
pub(super) const HEADER_BYTES: usize = 16;

/// The length of the total length at the start of a first fragment.
pub(super) const TOTAL_BYTES: usize = 8;

/// The length of a JUMP's body.
pub(super) const JUMP_BODY_BYTES: usize = 16;

/// The length of a whole JUMP record.
pub(super) const JUMP_BYTES: u64 = (HEADER_BYTES + JUMP_BODY_BYTES) as u64;

/// The maximum length of a whole message and of a fragment. Longer messages are sent in fragments,
/// so that the receiver copies out while the sender copies in. So a message of any length goes
/// through a segment of any length.
pub const FRAGMENT_BYTES: usize = 16 << 10;

/// The longest body of any record.
pub(super) const MAX_BODY_BYTES: u64 = MAX_SEGMENT as u64 - HEADER_BYTES as u64 - JUMP_BYTES;

const MESSAGE: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;
const JUMP: u8 = 5;

/// The part of a message that a record has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole message.
    Message,
    /// The length of a message, as `u64` and little-endian, and its first bytes.
    First,
    /// More bytes of the message.
    Middle,
    /// The rest of its bytes.
    Last,
}

/// The kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Carries(Kind),
    Jump,
}

impl Code {
    #[inline]
    fn to_byte(self) -> u8 {
        match self {
            Code::Carries(Kind::Message) => MESSAGE,
            Code::Carries(Kind::First) => FIRST,
            Code::Carries(Kind::Middle) => MIDDLE,
            Code::Carries(Kind::Last) => LAST,
            Code::Jump => JUMP,
        }
    }

    #[inline]
    fn from_byte(byte: u8) -> Option<Code> {
        Some(match byte {
            MESSAGE => Code::Carries(Kind::Message),
            FIRST => Code::Carries(Kind::First),
            MIDDLE => Code::Carries(Kind::Middle),
            LAST => Code::Carries(Kind::Last),
            JUMP => Code::Jump,
            _ => return None,
        })
    }
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) len: u32,
    pub(super) code: Code,
    pub(super) stamp: u64,
}

impl Header {
    #[inline]
    pub(super) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let [l0, l1, l2, l3] = self.len.to_le_bytes();
        let [s0, s1, s2, s3, s4, s5, s6, s7] = self.stamp.to_le_bytes();
        [l0, l1, l2, l3, self.code.to_byte(), 0, 0, 0, s0, s1, s2, s3, s4, s5, s6, s7]
    }

    /// Parses a header. The error is the kind that does not exist.
    #[inline]
    pub(super) fn from_bytes(bytes: [u8; HEADER_BYTES]) -> Result<Header, u8> {
        let [l0, l1, l2, l3, code, _, _, _, s0, s1, s2, s3, s4, s5, s6, s7] = bytes;
        Ok(Header {
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            code: Code::from_byte(code).ok_or(code)?,
            stamp: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
        })
    }
}

/// Returns how much of a segment a record takes up whose body has `len` bytes.
#[inline]
pub(super) fn size(len: u64) -> u64 {
    len.saturating_add(2 * HEADER_BYTES as u64 - 1) & !(HEADER_BYTES as u64 - 1)
}

/// Returns the body of a JUMP to `place`.
pub(super) fn jump_to_bytes(place: Place) -> [u8; JUMP_BODY_BYTES] {
    let mut body = [0; JUMP_BODY_BYTES];
    body[..8].copy_from_slice(&place.offset.to_le_bytes());
    body[8..12].copy_from_slice(&place.len.to_le_bytes());
    body
}

/// Returns the place that a JUMP leads to, unchecked.
pub(super) fn jump_from_bytes(body: [u8; JUMP_BODY_BYTES]) -> Place {
    let [o0, o1, o2, o3, o4, o5, o6, o7, l0, l1, l2, l3, ..] = body;
    Place {
        offset: u64::from_le_bytes([o0, o1, o2, o3, o4, o5, o6, o7]),
        len: u32::from_le_bytes([l0, l1, l2, l3]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_records_are_parsed_back() {
        for kind in [Kind::Message, Kind::First, Kind::Middle, Kind::Last] {
            let header =
                Header { len: 0x0102_0304, code: Code::Carries(kind), stamp: u64::MAX - 0xabc };
            assert_eq!(Header::from_bytes(header.to_bytes()), Ok(header));
        }
        let jump = Header { len: 16, code: Code::Jump, stamp: 0 };
        assert_eq!(Header::from_bytes(jump.to_bytes()), Ok(jump));
        let place = Place { offset: 0x0102_0304_0506_0708, len: 0x090a_0b0c };
        assert_eq!(jump_from_bytes(jump_to_bytes(place)), place);
    }

    #[test]
    fn format_is_stable() {
        let header = Header { len: 0x0102_0304, code: Code::Carries(Kind::Last), stamp: 5 };
        assert_eq!(header.to_bytes(), [4, 3, 2, 1, 4, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        let body = jump_to_bytes(Place { offset: 4096, len: 65536 });
        assert_eq!(body, [0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn unknown_kinds_are_refused() {
        for code in [0, 6, 255] {
            let mut bytes = Header { len: 0, code: Code::Jump, stamp: 0 }.to_bytes();
            bytes[4] = code;
            assert_eq!(Header::from_bytes(bytes), Err(code));
        }
    }

    #[test]
    fn records_are_aligned() {
        for (len, size_of_it) in
            [(0, 16), (1, 32), (16, 32), (17, 48), (MAX_BODY_BYTES, (64 << 20) - 32)]
        {
            assert_eq!(size(len), size_of_it);
        }
        assert_eq!(size(u64::MAX), u64::MAX - 15);
    }
}
