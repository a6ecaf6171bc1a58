//! The ways in which a peer can break the rules of a ring.

use std::{error, fmt};

/// The error if the peer has broken the rules of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poisoned(pub Why);

/// Which rule of a ring a peer has broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The position up to which records are published is impossible.
    Tail,
    /// There is no such kind of record.
    Record(u8),
    /// A record is longer than what was published or than its segment, or of a length that its kind
    /// does not have.
    Length,
    /// A fragment does not fit into its message.
    Fragment,
    /// A JUMP leads to where no segment can be.
    Jump,
    /// A JUMP leads to where there is no memory, or none that this process can map.
    Memory,
    /// A message is longer than the limit.
    TooLarge,
    /// This process has no memory for a message.
    NoMemory,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Tail => "the position of its tail is impossible",
            Why::Record(kind) => return write!(f, "a record has the unknown kind {kind}"),
            Why::Length => "a record has an impossible length",
            Why::Fragment => "a fragment does not fit into its message",
            Why::Jump => "a jump leads to an impossible segment",
            Why::Memory => "a jump leads to a segment without memory that this process can map",
            Why::TooLarge => "a message exceeds the limits",
            Why::NoMemory => "there is no memory for a message",
        })
    }
}

impl fmt::Display for Poisoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the receiver abandoned a ring: {}", self.0)
    }
}

impl error::Error for Poisoned {}
