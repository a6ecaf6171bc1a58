//! What is received of a packet, and why one was not sent or received.

use std::io;

/// The buffers that a packet is received into, so that it need not be copied once more.
#[derive(Debug)]
pub struct ReceiveBuffers<'a> {
    /// Takes the first bytes.
    pub head: &'a mut [u8],
    /// The bytes that follow are appended here. A backend may limit them to the spare capacity.
    pub body: &'a mut Vec<u8>,
    /// All further bytes are appended here.
    pub rest: &'a mut Vec<u8>,
}

/// What is known of a received packet, besides its attachments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedPacket {
    /// How many bytes the packet has.
    pub len: usize,
    /// The packet was longer than any that strait sends; its rest was discarded.
    pub truncated: bool,
    /// At least one attachment could not be received, because this process has no handle left or
    /// may not have that one.
    pub attachments_lost: bool,
}

/// Why a packet was not sent.
#[derive(Debug)]
pub enum SendError {
    /// The receiver has been dropped.
    Closed,
    /// There is no room for the packet until the receiver has received some.
    Full,
    /// The user has as many handles in packets that were not received, of whatever channels, as the
    /// system allows.
    TooManyInFlight,
    /// This channel takes only smaller packets.
    TooLarge,
    /// The operating system refused.
    Io(io::Error),
}

/// Why no packet was received.
#[derive(Debug)]
pub enum RecvError {
    /// No packet arrived in time.
    Empty,
    /// No packet will ever arrive.
    Closed,
    /// The operating system refused this time.
    Io(io::Error),
    /// The operating system refused, and will do so every time.
    Broken(io::Error),
}
