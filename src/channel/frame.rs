//! What a packet looks like, and whether one that arrived does.
//!
//! ```text
//! header    version u8, kind u8, attachments u16, len u32, stamp u64              16 bytes, little-endian
//! MESSAGE   the whole message
//! FIRST     id u128, total bytes u64, total attachments u32, zero u32, bytes      the first part of a large message
//! MIDDLE    id u128, bytes
//! LAST      id u128, bytes                                                        makes it complete
//! ABORT     id u128                                                               its sender gave up
//! ```
//!
//! `len` counts what follows the header, `attachments` those of this packet. `stamp` orders packets against sources other
//! than the socket; as long as there is none it is zero, and ignored. Parts of different messages may interleave, those
//! of one message may not be reordered. The id is random and only its sender knows it, so no other sender can add
//! to a message. Nothing here allocates.

use std::fmt;

/// The version of the format; the first byte of every packet.
pub const VERSION: u8 = 1;

/// The length of the header.
pub const HEADER_BYTES: usize = 16;

/// The longest that a header and what precedes the bytes of a part can be.
pub const MAX_HEAD_BYTES: usize = HEADER_BYTES + FIRST_BYTES;

const ID_BYTES: usize = 16;
const FIRST_BYTES: usize = 32;

const MESSAGE: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;
const ABORT: u8 = 5;

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole message.
    Message,
    /// A part of a large message.
    Part {
        /// Which message.
        id: u128,
        /// Which part.
        position: Position,
    },
    /// The message will not be completed.
    Abort {
        /// Which message.
        id: u128,
    },
}

/// Where in its message a part stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// It is the first, and announces the size of the message.
    First {
        /// How many bytes the message has.
        bytes: u64,
        /// How many attachments the message has.
        attachments: u32,
    },
    /// Others precede and follow it.
    Middle,
    /// It completes the message.
    Last,
}

/// A packet, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: Kind,
    /// The bytes of the message in it.
    pub body: &'a [u8],
}

/// Why a packet is not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It is shorter than a header.
    Short,
    /// It has another version.
    Version(u8),
    /// It is of no known kind.
    Kind(u8),
    /// Its length is not the announced one.
    Length,
    /// The number of its attachments is not the announced one.
    Attachments,
    /// It is a part of a message that has not begun.
    Unknown,
    /// It does not fit into its message.
    Part,
    /// Its message would be larger than the limits allow.
    TooLarge,
    /// Too much of other unfinished messages is waiting already.
    Quota,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::Short => "a packet is too short",
            Malformed::Version(version) => {
                return write!(f, "a packet has version {version} instead of {VERSION}");
            }
            Malformed::Kind(kind) => return write!(f, "a packet has the unknown kind {kind}"),
            Malformed::Length => "a packet has not the length that it announces",
            Malformed::Attachments => "a packet has not the handles that it announces",
            Malformed::Unknown => "a packet continues a message that never began",
            Malformed::Part => "a packet does not fit into the message that it continues",
            Malformed::TooLarge => "a message exceeds the limits",
            Malformed::Quota => "too many unfinished messages are waiting",
        })
    }
}

impl std::error::Error for Malformed {}

/// The bytes that precede the body of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    bytes: [u8; MAX_HEAD_BYTES],
    len: usize,
}

impl Head {
    /// Writes the head of a packet with `attachments` attachments and `body_len` bytes of its message.
    pub fn new(kind: Kind, attachments: u16, body_len: u32) -> Head {
        let mut head = Head { bytes: [0; MAX_HEAD_BYTES], len: HEADER_BYTES };
        let code = match kind {
            Kind::Message => MESSAGE,
            Kind::Abort { id } => {
                head.put(&id.to_le_bytes());
                ABORT
            }
            Kind::Part { id, position } => {
                head.put(&id.to_le_bytes());
                match position {
                    Position::First { bytes, attachments } => {
                        head.put(&bytes.to_le_bytes());
                        head.put(&attachments.to_le_bytes());
                        head.put(&[0; 4]);
                        FIRST
                    }
                    Position::Middle => MIDDLE,
                    Position::Last => LAST,
                }
            }
        };
        let after_header = (head.len - HEADER_BYTES) as u32 + body_len;
        head.bytes[0] = VERSION;
        head.bytes[1] = code;
        head.bytes[2..4].copy_from_slice(&attachments.to_le_bytes());
        head.bytes[4..8].copy_from_slice(&after_header.to_le_bytes());
        head
    }

    fn put(&mut self, field: &[u8]) {
        self.bytes[self.len..self.len + field.len()].copy_from_slice(field);
        self.len += field.len();
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Takes a packet apart that arrived with `attachments` attachments.
///
/// # Errors
///
/// [`Malformed`] if anything in it contradicts what arrived.
pub fn parse(packet: &[u8], attachments: usize) -> Result<Frame<'_>, Malformed> {
    let (header, rest) = packet.split_first_chunk::<HEADER_BYTES>().ok_or(Malformed::Short)?;
    let [version, code, a0, a1, l0, l1, l2, l3, ..] = *header;
    if version != VERSION {
        return Err(Malformed::Version(version));
    }
    if rest.len() as u64 != u64::from(u32::from_le_bytes([l0, l1, l2, l3])) {
        return Err(Malformed::Length);
    }
    if attachments != usize::from(u16::from_le_bytes([a0, a1])) {
        return Err(Malformed::Attachments);
    }
    if code == MESSAGE {
        return Ok(Frame { kind: Kind::Message, body: rest });
    }
    if !(FIRST..=ABORT).contains(&code) {
        return Err(Malformed::Kind(code));
    }
    let (id, body) = rest.split_first_chunk::<ID_BYTES>().ok_or(Malformed::Short)?;
    let id = u128::from_le_bytes(*id);
    let (position, body) = match code {
        FIRST => {
            let (bytes, body) = body.split_first_chunk::<8>().ok_or(Malformed::Short)?;
            let (attachments, body) = body.split_first_chunk::<4>().ok_or(Malformed::Short)?;
            let (_zero, body) = body.split_first_chunk::<4>().ok_or(Malformed::Short)?;
            let position = Position::First {
                bytes: u64::from_le_bytes(*bytes),
                attachments: u32::from_le_bytes(*attachments),
            };
            (position, body)
        }
        MIDDLE => (Position::Middle, body),
        LAST => (Position::Last, body),
        _ => {
            return Ok(Frame { kind: Kind::Abort { id }, body: &[] });
        }
    };
    Ok(Frame { kind: Kind::Part { id, position }, body })
}

/// Takes a packet apart of which attachments were lost on the way, so that it is known what they belonged to.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_damaged(packet: &[u8]) -> Result<Frame<'_>, Malformed> {
    let announced = packet.get(2..4).ok_or(Malformed::Short)?;
    parse(packet, usize::from(u16::from_le_bytes([announced[0], announced[1]])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: Kind, attachments: u16, body: &[u8]) -> Vec<u8> {
        let head = Head::new(kind, attachments, body.len() as u32);
        [head.as_bytes(), body].concat()
    }

    #[test]
    fn what_is_written_is_read() {
        let id = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;
        let first = Position::First { bytes: 1 << 40, attachments: 300 };
        for kind in [
            Kind::Message,
            Kind::Part { id, position: first },
            Kind::Part { id, position: Position::Middle },
            Kind::Part { id, position: Position::Last },
        ] {
            let bytes = packet(kind, 7, b"body");
            assert_eq!(parse(&bytes, 7), Ok(Frame { kind, body: b"body" }));
        }
        let bytes = packet(Kind::Abort { id }, 0, b"");
        assert_eq!(parse(&bytes, 0), Ok(Frame { kind: Kind::Abort { id }, body: b"" }));
    }

    #[test]
    fn every_lie_is_noticed() {
        let good = packet(Kind::Message, 1, b"body");
        assert_eq!(parse(&good[..15], 1), Err(Malformed::Short));
        assert_eq!(parse(&[], 0), Err(Malformed::Short));
        assert_eq!(parse(&good[..good.len() - 1], 1), Err(Malformed::Length));
        assert_eq!(parse(&[&good[..], b"x"].concat(), 1), Err(Malformed::Length));
        assert_eq!(parse(&good, 0), Err(Malformed::Attachments));
        let mut other = good.clone();
        other[0] = 9;
        assert_eq!(parse(&other, 1), Err(Malformed::Version(9)));
        for code in [0, 6, 255] {
            let mut other = good.clone();
            other[1] = code;
            assert_eq!(parse(&other, 1), Err(Malformed::Kind(code)));
        }
        let mut part_without_id = good;
        part_without_id[1] = FIRST;
        assert_eq!(parse(&part_without_id, 1), Err(Malformed::Short));
    }
}
