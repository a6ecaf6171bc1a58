//! The layout of packets, and the check of received ones.
//!
//! ```text
//! header     16 bytes, little-endian:
//!            version u8, kind u8, codec u8, attachments u8, len u32, stamp u64
//!   MESSAGE  and the whole message
//! part head  32 bytes, the totals in FIRST only:
//!            id u128, total bytes u64, total attachments u32, zero u32
//!   FIRST    and the first part of a large message
//!   MIDDLE   and a further part
//!   LAST     and the part that makes it complete
//!   ABORT    and nothing: the sender stopped sending it
//! OFFER      clock domain u64, whether there are messages in it u64, and the memory of a ring
//! WAKE_UP    nothing: there is something in a ring
//! PERMIT     nothing: a sender waits for a permit
//! HELLO      the handshake (`hello`): fields, and sometimes channel endpoints
//! ```
//!
//! All numbers are little-endian and of these widths on every processor: processes with pointers of
//! 32 and of 64 bits can communicate. `version` and `codec` are in every packet. So a packet of a
//! process with another version or codec causes an error that says so, and is never misread. The
//! header, the code of HELLO and the layout of the fields in a HELLO stay the same in every later
//! version.
//!
//! `len` counts the bytes after the header, `attachments` the attachments of this packet. `stamp`
//! orders messages from different sources: those of one process grow, and those of different
//! processes are times of the same clock. Parts of different messages may interleave, parts of one
//! message may not be reordered. The id is random and known only to its sender, so no other sender
//! can add to a message. Nothing here allocates memory.

use std::fmt;

/// The version of the format; the first byte of every packet.
pub const VERSION: u8 = 2;

/// The number of the codec that encodes the values in messages, in every packet. The layer above
/// defines the codecs, and checks that this is the one it has.
pub const CODEC: u8 = 1;

/// The length of the header.
pub const HEADER_BYTES: usize = 16;

/// The length of a header and a part head, which precede the bytes of a part.
pub const MAX_HEAD_BYTES: usize = HEADER_BYTES + 32;

const MESSAGE: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;
const ABORT: u8 = 5;
const OFFER: u8 = 6;
const WAKE_UP: u8 = 7;
const PERMIT: u8 = 8;
const HELLO: u8 = 9;

/// The length of what follows the header of an OFFER.
const OFFER_BYTES: usize = 16;

/// The protocol version and codec of a process. Processes in which they differ cannot communicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The version of the protocol.
    pub version: u8,
    /// The number of the codec.
    pub codec: u8,
}

impl Dialect {
    /// The version and codec of this process.
    pub const OWN: Dialect = Dialect { version: VERSION, codec: CODEC };

    /// Returns whether this process has the same version and codec.
    pub fn is_own(self) -> bool {
        self == Dialect::OWN
    }
}

/// The kind of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole message.
    Message,
    /// A part of a large message.
    Part {
        /// The id of the message.
        id: u128,
        /// The position of the part in the message.
        position: Position,
    },
    /// The message will not be completed.
    Abort {
        /// The id of the message.
        id: u128,
    },
    /// The sender has a ring, whose memory is attached.
    RingOffer {
        /// The domain of processes that read the same clock as the sender.
        clock_domain: u64,
        /// Messages are written to the ring, whether it is read or not.
        has_messages: bool,
    },
    /// A wake-up: there is something in a ring.
    WakeUp,
    /// A sender waits for a permit.
    PermitRequest,
    /// A process introduces itself.
    Hello {
        /// Its version and codec.
        dialect: Dialect,
    },
}

/// The position of a part in its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The first part, which announces the size of the message.
    First {
        /// How many bytes the message has.
        bytes: u64,
        /// How many attachments the message has.
        attachments: u32,
    },
    /// Neither the first part nor the last.
    Middle,
    /// The part that completes the message.
    Last,
}

/// The parsed head of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The kind of the packet.
    pub kind: Kind,
    /// The time at which it was sent.
    pub stamp: u64,
    /// The offset of the message's bytes in the packet.
    pub head_len: usize,
}

/// Returns whether a packet that begins with `start` announces a ring with messages in it. Without
/// the ring's memory, these messages are lost.
pub fn announces_messages(start: &[u8]) -> bool {
    let has_messages = start.get(HEADER_BYTES + 8..HEADER_BYTES + 16);
    start[..start.len().min(3)] == [VERSION, OFFER, CODEC]
        && has_messages == Some(&1_u64.to_le_bytes())
}

/// Why a packet is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It is shorter than a header.
    Short,
    /// It is of another version or another codec.
    Foreign(Dialect),
    /// It is of no known kind.
    Kind(u8),
    /// Its length is not the announced one.
    Length,
    /// The number of its attachments is not the announced one.
    Attachments,
    /// It is a hello that is too long, or ends within a field.
    Hello,
    /// It is a part of a message that has not begun.
    Unknown,
    /// It does not fit into its message.
    Part,
    /// Its message would be larger than the limits allow.
    TooLarge,
    /// Too much of other incomplete messages is held already.
    Quota,
    /// This process has no memory for its message.
    NoMemory,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::Short => "a packet is too short",
            Malformed::Foreign(Dialect { version, codec }) => {
                return write!(
                    f,
                    "a packet has protocol version {version} and codec {codec} instead of \
                     {VERSION} and {CODEC}"
                );
            }
            Malformed::Kind(kind) => return write!(f, "a packet has the unknown kind {kind}"),
            Malformed::Length => "a packet does not have the length that it announces",
            Malformed::Attachments => "a packet does not have the handles that it announces",
            Malformed::Hello => "a handshake packet has invalid fields",
            Malformed::Unknown => "a packet continues a message that has not begun",
            Malformed::Part => "a packet does not fit into the message that it continues",
            Malformed::TooLarge => "a message exceeds the limits",
            Malformed::Quota => "there are too many incomplete messages",
            Malformed::NoMemory => "there is no memory for a message",
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
    /// Writes the head of a packet that is a whole message, as most packets are.
    #[inline]
    pub fn of_message(attachments: u8, body_len: u32) -> Head {
        let mut head = Head { bytes: [0; MAX_HEAD_BYTES], len: HEADER_BYTES };
        head.bytes[..4].copy_from_slice(&[VERSION, MESSAGE, CODEC, attachments]);
        head.bytes[4..8].copy_from_slice(&body_len.to_le_bytes());
        head
    }

    /// Writes the head of a packet with `attachments` attachments and `body_len` bytes of its
    /// message.
    pub fn new(kind: Kind, attachments: u8, body_len: u32) -> Head {
        let mut head = Head { bytes: [0; MAX_HEAD_BYTES], len: HEADER_BYTES };
        let (code, id, bytes, total) = match kind {
            Kind::Message => return Head::of_message(attachments, body_len),
            Kind::WakeUp => (WAKE_UP, None, 0, 0),
            Kind::PermitRequest => (PERMIT, None, 0, 0),
            Kind::Hello { dialect } => return Head::of_hello(dialect, attachments, body_len),
            Kind::RingOffer { clock_domain, has_messages } => {
                head.len += OFFER_BYTES;
                head.bytes[16..24].copy_from_slice(&clock_domain.to_le_bytes());
                head.bytes[24..32].copy_from_slice(&u64::from(has_messages).to_le_bytes());
                (OFFER, None, 0, 0)
            }
            Kind::Abort { id } => (ABORT, Some(id), 0, 0),
            Kind::Part { id, position } => match position {
                Position::First { bytes, attachments } => (FIRST, Some(id), bytes, attachments),
                Position::Middle => (MIDDLE, Some(id), 0, 0),
                Position::Last => (LAST, Some(id), 0, 0),
            },
        };
        if let Some(id) = id {
            head.len = MAX_HEAD_BYTES;
            head.bytes[16..32].copy_from_slice(&id.to_le_bytes());
            head.bytes[32..40].copy_from_slice(&bytes.to_le_bytes());
            head.bytes[40..44].copy_from_slice(&total.to_le_bytes());
        }
        let after_header = (head.len - HEADER_BYTES) as u32 + body_len;
        head.bytes[..4].copy_from_slice(&[VERSION, code, CODEC, attachments]);
        head.bytes[4..8].copy_from_slice(&after_header.to_le_bytes());
        head
    }

    /// Separate from the others, whose version and codec are constants.
    #[cold]
    fn of_hello(dialect: Dialect, attachments: u8, fields_len: u32) -> Head {
        let mut head = Head { bytes: [0; MAX_HEAD_BYTES], len: HEADER_BYTES };
        head.bytes[..4].copy_from_slice(&[dialect.version, HELLO, dialect.codec, attachments]);
        head.bytes[4..8].copy_from_slice(&fields_len.to_le_bytes());
        head
    }

    /// Sets the time at which it is sent.
    #[must_use]
    pub fn stamped(mut self, stamp: u64) -> Head {
        self.bytes[8..16].copy_from_slice(&stamp.to_le_bytes());
        self
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Parses the head of a packet of `len` bytes that arrived with `attachments` attachments. `start`
/// is the begin of the packet: all of it, or at least [`MAX_HEAD_BYTES`].
///
/// # Errors
///
/// [`Malformed`] if anything in it contradicts what arrived.
pub fn parse(start: &[u8], len: usize, attachments: usize) -> Result<Frame, Malformed> {
    let (header, rest) = start.split_first_chunk::<HEADER_BYTES>().ok_or(Malformed::Short)?;
    let [version, code, codec, count, l0, l1, l2, l3, s0, s1, s2, s3, s4, s5, s6, s7] = *header;
    let stamp = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
    let dialect = Dialect { version, codec };
    if !dialect.is_own() && code != HELLO {
        return Err(Malformed::Foreign(dialect));
    }
    let announced = u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
    if len.checked_sub(HEADER_BYTES).map(|len| len as u64) != Some(announced) {
        return Err(Malformed::Length);
    }
    if attachments != usize::from(count) {
        return Err(Malformed::Attachments);
    }
    let whole = |kind| Ok(Frame { kind, stamp, head_len: HEADER_BYTES });
    match code {
        MESSAGE => return whole(Kind::Message),
        WAKE_UP | PERMIT if len > HEADER_BYTES => return Err(Malformed::Length),
        WAKE_UP | PERMIT if attachments > 0 => return Err(Malformed::Attachments),
        WAKE_UP => return whole(Kind::WakeUp),
        PERMIT => return whole(Kind::PermitRequest),
        OFFER if len != HEADER_BYTES + OFFER_BYTES => return Err(Malformed::Length),
        OFFER if attachments != 1 => return Err(Malformed::Attachments),
        OFFER => {
            let (domain, rest) = rest.split_first_chunk().ok_or(Malformed::Short)?;
            let has_messages = rest.first_chunk::<8>().ok_or(Malformed::Short)?;
            return whole(Kind::RingOffer {
                clock_domain: u64::from_le_bytes(*domain),
                has_messages: *has_messages != [0; 8],
            });
        }
        FIRST..=ABORT => {}
        HELLO => return whole(Kind::Hello { dialect }),
        _ => return Err(Malformed::Kind(code)),
    }
    if len < MAX_HEAD_BYTES {
        return Err(Malformed::Short);
    }
    let (id, rest) = rest.split_first_chunk().ok_or(Malformed::Short)?;
    let (bytes, rest) = rest.split_first_chunk().ok_or(Malformed::Short)?;
    let total = rest.first_chunk().ok_or(Malformed::Short)?;
    let id = u128::from_le_bytes(*id);
    let bytes = u64::from_le_bytes(*bytes);
    let position = match code {
        FIRST => Position::First { bytes, attachments: u32::from_le_bytes(*total) },
        MIDDLE => Position::Middle,
        LAST => Position::Last,
        _ => return Ok(Frame { kind: Kind::Abort { id }, stamp, head_len: MAX_HEAD_BYTES }),
    };
    Ok(Frame { kind: Kind::Part { id, position }, stamp, head_len: MAX_HEAD_BYTES })
}

/// Returns how many attachments a packet announces that begins with `start`.
pub fn announced_attachments(start: &[u8]) -> usize {
    start.get(3).map_or(0, |&count| count.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: Kind, attachments: u8, body: &[u8]) -> Vec<u8> {
        let head = Head::new(kind, attachments, body.len() as u32);
        [head.stamped(0x0123_4567_89ab_cdef).as_bytes(), body].concat()
    }

    fn parse_all(packet: &[u8], attachments: usize) -> Result<Frame, Malformed> {
        parse(packet, packet.len(), attachments)
    }

    #[test]
    fn written_frames_are_parsed_back() {
        let id = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;
        let first = Position::First { bytes: 1 << 40, attachments: 300 };
        for kind in [
            Kind::Message,
            Kind::Part { id, position: first },
            Kind::Part { id, position: Position::Middle },
            Kind::Part { id, position: Position::Last },
            Kind::Abort { id },
            Kind::Hello { dialect: Dialect::OWN },
            Kind::Hello { dialect: Dialect { version: 1, codec: 0 } },
            Kind::Hello { dialect: Dialect { version: 255, codec: 255 } },
        ] {
            let bytes = packet(kind, 7, b"body");
            let frame = parse_all(&bytes, 7).unwrap();
            assert_eq!((frame.kind, &bytes[frame.head_len..]), (kind, &b"body"[..]));
            assert_eq!(frame.stamp, 0x0123_4567_89ab_cdef);
            // The rest of the packet need not be there.
            let start = &bytes[..bytes.len().min(MAX_HEAD_BYTES)];
            assert_eq!(parse(start, bytes.len(), 7), Ok(frame));
        }
    }

    #[test]
    fn frames_without_message_are_parsed_back() {
        let attach =
            |has_messages| Kind::RingOffer { clock_domain: 0x0102_0304_0506_0708, has_messages };
        for (kind, attachments) in
            [(attach(false), 1), (attach(true), 1), (Kind::WakeUp, 0), (Kind::PermitRequest, 0)]
        {
            let bytes = packet(kind, attachments, b"");
            assert_eq!(parse_all(&bytes, attachments.into()).unwrap().kind, kind);
        }
    }

    /// Checks the places of the fields that are the same in every version.
    #[test]
    fn a_hello_begins_with_the_same_bytes_in_every_version() {
        let dialect = Dialect { version: 7, codec: 5 };
        let hello = packet(Kind::Hello { dialect }, 3, b"abc");
        assert_eq!(hello[..8], [7, 9, 5, 3, 3, 0, 0, 0]);
        assert_eq!(hello[HEADER_BYTES..], *b"abc");
    }

    #[test]
    fn a_ring_of_another_codec_is_not_announced() {
        let mut attach = packet(Kind::RingOffer { clock_domain: 1, has_messages: true }, 1, b"");
        assert!(announces_messages(&attach));
        attach[2] += 1;
        assert!(!announces_messages(&attach));
    }

    #[test]
    fn malformed_frames_are_refused() {
        let good = packet(Kind::Message, 1, b"body");
        assert_eq!(parse_all(&good[..15], 1), Err(Malformed::Short));
        assert_eq!(parse_all(&[], 0), Err(Malformed::Short));
        assert_eq!(parse_all(&good[..good.len() - 1], 1), Err(Malformed::Length));
        assert_eq!(parse_all(&[&good[..], b"x"].concat(), 1), Err(Malformed::Length));
        assert_eq!(parse_all(&good, 0), Err(Malformed::Attachments));
        for dialect in [
            Dialect { version: VERSION + 1, codec: CODEC },
            Dialect { version: VERSION - 1, codec: CODEC },
            Dialect { version: VERSION, codec: CODEC + 1 },
            Dialect { version: 0, codec: 0 },
        ] {
            for code in (0..=255).filter(|&code| code != HELLO) {
                let mut other = good.clone();
                other[..3].copy_from_slice(&[dialect.version, code, dialect.codec]);
                assert_eq!(parse_all(&other, 1), Err(Malformed::Foreign(dialect)));
            }
            // Its header has to match the packet all the same.
            let hello = packet(Kind::Hello { dialect }, 1, b"body");
            assert_eq!(parse_all(&hello, 0), Err(Malformed::Attachments));
            assert_eq!(parse_all(&hello[..hello.len() - 1], 1), Err(Malformed::Length));
        }
        for code in [0, 10, 255] {
            let mut other = good.clone();
            other[1] = code;
            assert_eq!(parse_all(&other, 1), Err(Malformed::Kind(code)));
        }
        let attach = packet(Kind::RingOffer { clock_domain: 1, has_messages: true }, 1, b"");
        assert_eq!(parse_all(&attach, 0), Err(Malformed::Attachments));
        let two = packet(Kind::RingOffer { clock_domain: 1, has_messages: true }, 2, b"");
        assert_eq!(parse_all(&two, 2), Err(Malformed::Attachments));
        let longer = packet(Kind::RingOffer { clock_domain: 1, has_messages: true }, 1, b"x");
        assert_eq!(parse_all(&longer, 1), Err(Malformed::Length));
        for kind in [Kind::WakeUp, Kind::PermitRequest] {
            assert_eq!(parse_all(&packet(kind, 0, b"x"), 0), Err(Malformed::Length));
            assert_eq!(parse_all(&packet(kind, 1, b""), 1), Err(Malformed::Attachments));
        }
        let mut part_without_id = good;
        part_without_id[1] = FIRST;
        assert_eq!(parse_all(&part_without_id, 1), Err(Malformed::Short));
    }
}
