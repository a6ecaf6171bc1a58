//! The errors of the `ipc` face: the enums of ipc-channel, variants and all, because users match them exhaustively.

use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};

use thiserror::Error;

use crate::codec::FormatError;

/// A value that could not be made into a message, or a message that could not be made into a value.
///
/// [`source`](std::error::Error::source) says why: the format's own error, handles that are missing or of the wrong kind, or a
/// packet that breaks the protocol.
#[derive(Debug, Error)]
#[error("a message could not be {done}: {source}")]
pub struct SerDeError {
    done: &'static str,
    source: FormatError,
}

/// Nothing that it holds can be left half changed by a panic; as in ipc-channel.
impl UnwindSafe for SerDeError {}
impl RefUnwindSafe for SerDeError {}

impl SerDeError {
    pub(crate) fn from_format(done: &'static str, source: FormatError) -> SerDeError {
        SerDeError { done, source }
    }
}

/// Why a channel operation failed.
#[derive(Debug, Error)]
pub enum IpcError {
    /// The value could not be encoded or decoded, or a message that arrived was malformed. That message is lost; the channel
    /// goes on.
    #[error("a value could not be exchanged: {0}")]
    SerializationError(#[from] SerDeError),
    /// The operating system refused.
    #[error("the operating system refused a channel operation: {0}")]
    Io(#[from] io::Error),
    /// The other side is gone: no sender is left and everything was received, or no receiver is left.
    #[error("the other side of the channel is gone")]
    Disconnected,
}

/// Why an operation that does not wait for ever returned without a message.
#[derive(Debug, Error)]
pub enum TryRecvError {
    /// It failed.
    #[error("no message could be received: {0}")]
    IpcError(#[from] IpcError),
    /// No message came in time.
    #[error("no message came in time")]
    Empty,
}

/// Why a value was not sent into a channel with a bound, by an operation that does not wait for ever.
#[derive(Debug, Error)]
pub enum TrySendError {
    /// It failed.
    #[error("no message could be sent: {0}")]
    IpcError(#[from] IpcError),
    /// There was no room in time.
    #[error("the channel was full")]
    Full,
}

/// Why a selection that does not wait for ever returned without events.
#[derive(Debug, Error)]
pub enum TrySelectError {
    /// It failed.
    #[error("the operating system refused a selection: {0}")]
    IoError(#[from] io::Error),
    /// Nothing happened in time.
    #[error("nothing was received and nothing was closed in time")]
    Empty,
}

impl IpcError {
    /// Whether the other side is gone.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, IpcError::Disconnected)
    }
}

impl TryRecvError {
    /// Whether no message came in time.
    pub fn is_empty(&self) -> bool {
        matches!(self, TryRecvError::Empty)
    }

    /// Whether the other side is gone.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, TryRecvError::IpcError(IpcError::Disconnected))
    }
}

impl TrySendError {
    /// Whether there was no room in time.
    pub fn is_full(&self) -> bool {
        matches!(self, TrySendError::Full)
    }

    /// Whether the other side is gone.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, TrySendError::IpcError(IpcError::Disconnected))
    }
}

impl TrySelectError {
    /// Whether nothing happened in time.
    pub fn is_empty(&self) -> bool {
        matches!(self, TrySelectError::Empty)
    }
}

impl From<SerDeError> for io::Error {
    fn from(error: SerDeError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

impl From<IpcError> for io::Error {
    fn from(error: IpcError) -> io::Error {
        match error {
            IpcError::Io(error) => error,
            IpcError::SerializationError(error) => error.into(),
            IpcError::Disconnected => io::Error::new(io::ErrorKind::ConnectionReset, error),
        }
    }
}

impl From<TryRecvError> for io::Error {
    fn from(error: TryRecvError) -> io::Error {
        match error {
            TryRecvError::IpcError(error) => error.into(),
            TryRecvError::Empty => io::Error::new(io::ErrorKind::WouldBlock, error),
        }
    }
}

/// Where there is no limit to how long it waits, a channel is never full.
impl From<TrySendError> for IpcError {
    fn from(error: TrySendError) -> IpcError {
        match error {
            TrySendError::IpcError(error) => error,
            TrySendError::Full => IpcError::Io(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl From<TrySendError> for io::Error {
    fn from(error: TrySendError) -> io::Error {
        match error {
            TrySendError::IpcError(error) => error.into(),
            TrySendError::Full => io::Error::new(io::ErrorKind::WouldBlock, error),
        }
    }
}

impl From<TrySelectError> for io::Error {
    fn from(error: TrySelectError) -> io::Error {
        match error {
            TrySelectError::IoError(error) => error,
            TrySelectError::Empty => io::Error::new(io::ErrorKind::WouldBlock, error),
        }
    }
}
