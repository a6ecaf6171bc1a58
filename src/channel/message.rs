//! Messages as the core sees them, and why there may be none.

use std::io;

use super::frame::Malformed;
use super::ring::Poisoned;
use crate::platform::Attachment;

/// A message that arrived.
#[derive(Debug)]
pub(crate) struct Message {
    /// Its bytes.
    pub(crate) body: Body,
    /// Its attachments.
    pub(crate) attachments: Vec<Attachment>,
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
    /// The bytes, given the buffer the message was received with.
    pub(crate) fn bytes<'a>(&'a self, buffer: &'a [u8]) -> &'a [u8] {
        match self {
            Body::Buffered => buffer,
            Body::Owned(bytes) => bytes,
        }
    }

    /// The bytes as a vector that is as large as they are.
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
    /// To be looked at: its bytes may stay in the buffer.
    Look,
    /// To be kept: its bytes are better put where they can stay.
    Keep,
}

/// Why no message was received.
#[derive(Debug)]
pub(crate) enum RecvError {
    /// None came in time.
    Empty,
    /// None came, but packets did, and there may be more: the caller was to be asked whether to go on.
    Unfinished,
    /// None will ever come.
    Disconnected,
    /// One came, and it is lost. The channel goes on.
    Lost(Problem),
    /// The operating system refused this time.
    Io(io::Error),
    /// The operating system refused, and will do so every time.
    Broken(io::Error),
}

/// What was wrong with a message that arrived.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// It breaks the protocol.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Its sender breaks the rules of shared memory, and all that was in there is lost with it.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// Memory that its sender shares could not be used.
    #[error("shared memory of a sender cannot be used, and messages in it are lost: {0}")]
    NoRing(io::Error),
    /// Handles in it could not be received.
    #[error(
        "handles in a message could not be received: this process may not have (so many of) them"
    )]
    AttachmentsLost,
    /// The operating system lets nothing be received any more.
    #[error("the operating system refused to receive from the channel: {0}")]
    Broken(io::Error),
}
