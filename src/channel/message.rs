//! Messages as the core sees them, and why none was received.

use std::io;

use super::frame::Malformed;
use super::hello::Hello;
use super::limits::Limits;
use super::ring::Poisoned;
use super::table::{self, Entry, TableError};
use crate::platform::Attachment;

/// A message that arrived whole, with its [table](super::table) still among its bytes.
#[derive(Debug)]
pub(crate) struct Packed {
    /// The user's bytes, and the table if there are attachments.
    pub(crate) body: Body,
    /// Its attachments.
    pub(crate) attachments: Vec<Attachment>,
}

/// A message that is delivered.
#[derive(Debug)]
pub(crate) struct Message {
    /// The user's bytes.
    pub(crate) body: Body,
    /// Its attachments, which the user's bytes name by number.
    pub(crate) entries: Vec<Entry<Attachment>>,
}

impl Packed {
    /// Reads the table and removes it from the bytes: those in `buffer`, unless the message owns
    /// them.
    ///
    /// # Errors
    ///
    /// Fails if the table is missing or exceeds the limits.
    #[inline]
    pub(crate) fn unpack(
        self,
        buffer: &mut Vec<u8>,
        limits: &Limits,
    ) -> Result<Message, RecvError> {
        let Packed { body, attachments } = self;
        if attachments.is_empty() {
            return Ok(Message { body, entries: Vec::new() });
        }
        unpack(body, attachments, buffer, limits).map_err(|error| RecvError::Lost(error.into()))
    }
}

fn unpack(
    mut body: Body,
    attachments: Vec<Attachment>,
    buffer: &mut Vec<u8>,
    limits: &Limits,
) -> Result<Message, TableError> {
    let bytes = match &mut body {
        Body::Buffered => buffer,
        Body::Owned(bytes) => bytes,
    };
    let (len, entries) = table::read(bytes, attachments, limits)?;
    bytes.truncate(len);
    Ok(Message { body, entries })
}

/// Where the bytes of a message are.
#[derive(Debug)]
pub(crate) enum Body {
    /// In the buffer it was received with, which has nothing else in it.
    Buffered,
    /// In a vector of their own.
    Owned(Vec<u8>),
}

impl Body {
    /// Returns the bytes, given the buffer the message was received with.
    pub(crate) fn bytes<'a>(&'a self, buffer: &'a [u8]) -> &'a [u8] {
        match self {
            Body::Buffered => buffer,
            Body::Owned(bytes) => bytes,
        }
    }

    /// Returns the bytes as a vector that is as large as they are.
    pub(crate) fn into_vec(self, buffer: &[u8]) -> Vec<u8> {
        match self {
            Body::Buffered => buffer.to_vec(),
            Body::Owned(bytes) => bytes,
        }
    }
}

/// What a message is received for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be decoded: its bytes may stay in the buffer.
    Look,
    /// To be kept: its bytes are better received into memory of their own.
    Keep,
}

/// Why no message was received.
#[derive(Debug)]
pub(crate) enum RecvError {
    /// No message arrived in time.
    Empty,
    /// No message arrived, but packets did, and there may be more. The caller decides whether to
    /// continue.
    BudgetSpent,
    /// No message will ever arrive.
    Disconnected,
    /// A message arrived and was discarded. The channel goes on.
    Lost(Problem),
    /// The operating system refused this time.
    Io(io::Error),
    /// The operating system refused, and will do so every time.
    Broken(io::Error),
}

/// A peer with another protocol version or codec sends nothing that could be received.
impl From<Hello> for RecvError {
    fn from(hello: Hello) -> RecvError {
        RecvError::Lost(Problem::Foreign(Box::new(hello)))
    }
}

/// What was wrong with a message that arrived.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// It breaks the protocol.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Its attachments are not what it says, or more than is wanted.
    #[error(transparent)]
    Table(#[from] TableError),
    /// It is not a message: its sender has another protocol version or codec.
    #[error("the peer has another protocol version or codec")]
    Foreign(Box<Hello>),
    /// Its sender breaks the rules of shared memory, and everything in that memory is lost.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// Memory that its sender shares could not be used.
    #[error(
        "the shared memory of a sender cannot be used, and the messages in it are discarded: {0}"
    )]
    NoRing(io::Error),
    /// Handles in it could not be received.
    #[error(
        "handles in a message could not be received: \
         this process has none left, or may not have these"
    )]
    AttachmentsLost,
    /// The operating system permanently refuses to receive.
    #[error("the operating system refused to receive from the channel: {0}")]
    Broken(io::Error),
}
