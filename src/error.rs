//! The errors of the `ipc` face: the enums of ipc-channel, variants and all. None is
//! `non_exhaustive`: programs for ipc-channel match them exhaustively. `TrySendError` has the form
//! of `TryRecvError`, so that what can still go wrong becomes an `IpcError`.

use std::any::type_name;
use std::fmt;
use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use thiserror::Error;

use crate::codec::{FormatError, NotSelfDescribing};

/// A value that could not be made into a message, or a message that could not be made into a value.
///
/// It names the type of the value that was sent, or of the value to be received. It names the type
/// that a received message had where it was sent, too, if the sender's process has told it when the
/// two met: a parent and its [child](crate::process), a [server](crate::ipc::IpcServer) and its
/// client, a client of a [one-shot server](crate::ipc::IpcOneShotServer). A receiver that moves to
/// another process does not take that name along.
///
/// Processes that do not speak the same version of strait's protocol, or have different codecs,
/// exchange nothing. The first error then names the version and codec of both.
///
/// [`source`](std::error::Error::source) returns the cause: the error of the format, handles that
/// are missing or of the wrong kind, or a packet that breaks the protocol.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (sender, receiver) = strait::ipc::channel::<u8>()?;
/// sender.send(2)?;
/// let receiver = receiver.to_opaque().to::<bool>();
/// let error = receiver.recv().unwrap_err();
/// assert!(error.to_string().contains("a message is not a valid `bool`"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Error)]
#[error("{stage}: {source}")]
pub struct SerDeError {
    stage: Stage,
    source: FormatError,
}

/// What was being done with a message, with the name of the type of its value.
#[derive(Clone, Debug)]
enum Stage {
    Encoding(&'static str),
    Meeting,
    Receiving,
    Decoding(&'static str),
    /// Decoding, with what the sender calls its type. What is rare is in a box: results have room for an error.
    DecodingOf(Box<(Arc<str>, &'static str)>),
    #[cfg(feature = "postcard")]
    Converting,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stage::Encoding(name) => write!(f, "a `{name}` could not be encoded"),
            Stage::Meeting => f.write_str("the peer cannot be understood"),
            Stage::Receiving => f.write_str("a message could not be received"),
            Stage::Decoding(name) => write!(f, "a message is not a valid `{name}`"),
            Stage::DecodingOf(names) => {
                let (sent, received) = &**names;
                write!(f, "a message, sent as `{sent}`, received as `{received}`, is not valid")
            }
            #[cfg(feature = "postcard")]
            Stage::Converting => f.write_str("a value could not be converted"),
        }
    }
}

/// Nothing that it holds can be left half changed by a panic; as in ipc-channel.
impl UnwindSafe for SerDeError {}
impl RefUnwindSafe for SerDeError {}

impl SerDeError {
    /// A `T` was not made into a message.
    #[cold]
    pub(crate) fn of_encoding<T: ?Sized>(source: FormatError) -> SerDeError {
        SerDeError { stage: Stage::Encoding(type_name::<T>()), source }
    }

    /// A message did not arrive.
    #[cold]
    pub(crate) fn of_receiving(source: FormatError) -> SerDeError {
        SerDeError { stage: Stage::Receiving, source }
    }

    /// No `T` was made of a message.
    #[cold]
    pub(crate) fn of_decoding<T>(source: FormatError) -> SerDeError {
        SerDeError { stage: Stage::Decoding(type_name::<T>()), source }
    }

    /// A peer speaks another protocol, or has another codec.
    #[cold]
    pub(crate) fn of_meeting(source: FormatError) -> SerDeError {
        SerDeError { stage: Stage::Meeting, source }
    }

    /// If a message was not decoded: what its sender calls the type of what it sends.
    #[cold]
    pub(crate) fn sent_as(self, sent: Option<&Arc<str>>) -> SerDeError {
        match (self.stage, sent) {
            (Stage::Decoding(received), Some(sent)) => {
                let names = Box::new((Arc::clone(sent), received));
                SerDeError { stage: Stage::DecodingOf(names), source: self.source }
            }
            (stage, _) => SerDeError { stage, source: self.source },
        }
    }

    /// Whether it is the type that has no values which could be received, whatever the message.
    pub(crate) fn is_of_type(&self) -> bool {
        self.source.is::<NotSelfDescribing>()
    }
}

/// As in ipc-channel, for code that encodes or decodes with postcard beside its channels. Strait
/// itself does not.
///
/// # Examples
///
/// ```
/// use strait::SerDeError;
///
/// fn number(bytes: &[u8]) -> Result<u8, SerDeError> {
///     Ok(postcard::from_bytes(bytes)?)
/// }
///
/// assert_eq!(number(&[7]).unwrap(), 7);
/// assert!(number(&[]).is_err());
/// ```
#[cfg(feature = "postcard")]
impl From<postcard::Error> for SerDeError {
    fn from(error: postcard::Error) -> SerDeError {
        SerDeError { stage: Stage::Converting, source: error.into() }
    }
}

/// The error of an operation on a channel.
///
/// As an [`io::Error`], which `?` makes of it, [`Disconnected`](IpcError::Disconnected) is of kind
/// [`ConnectionReset`](io::ErrorKind::ConnectionReset), and
/// [`SerializationError`](IpcError::SerializationError) of kind
/// [`InvalidData`](io::ErrorKind::InvalidData).
///
/// # Examples
///
/// ```
/// use strait::{IpcError, ipc};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (sender, receiver) = ipc::channel::<u32>()?;
/// sender.send(1)?;
/// drop(sender);
/// let mut sum = 0;
/// loop {
///     match receiver.recv() {
///         Ok(number) => sum += number,
///         // One message is lost; the channel works.
///         Err(IpcError::SerializationError(error)) => eprintln!("{error}"),
///         // All senders have been dropped.
///         Err(IpcError::Disconnected) => break,
///         Err(IpcError::Io(error)) => return Err(error.into()),
///     }
/// }
/// assert_eq!(sum, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Error)]
pub enum IpcError {
    /// The value could not be encoded or decoded, or a message that arrived is malformed. That
    /// message is lost; the channel works on.
    #[error("a value could not be exchanged: {0}")]
    SerializationError(#[from] SerDeError),
    /// The operating system refused.
    #[error("the operating system refused a channel operation: {0}")]
    Io(#[source] io::Error),
    /// All senders have been dropped and all messages were received, or the receiver has been
    /// dropped, in whatever process.
    #[error("the other side of the channel is gone")]
    Disconnected,
}

/// The error of a receive operation that has a limit on its time: `try_recv`, `recv_timeout`,
/// `accept_timeout`.
///
/// # Examples
///
/// ```
/// use strait::{TryRecvError, ipc};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (sender, receiver) = ipc::channel::<u32>()?;
/// assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)));
/// drop(sender);
/// assert!(receiver.try_recv().unwrap_err().is_disconnected());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Error)]
pub enum TryRecvError {
    /// The operation failed.
    #[error("no message could be received: {0}")]
    IpcError(#[from] IpcError),
    /// No message arrived in time.
    #[error("no message came in time")]
    Empty,
}

/// The error of a send operation that has a limit on its time: `try_send`, `send_timeout`,
/// `send_deadline`.
///
/// The value stays with the caller. [`mpsc::TrySendError`](crate::mpsc::TrySendError) gives it
/// back.
///
/// # Examples
///
/// ```
/// use strait::{TrySendError, ipc};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (sender, receiver) = ipc::sync_channel::<u32>(1)?;
/// sender.try_send(&1)?;
/// match sender.try_send(&2) {
///     Err(TrySendError::Full) => {}
///     other => other?,
/// }
/// drop(receiver);
/// assert!(sender.try_send(&2).unwrap_err().is_disconnected());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Error)]
pub enum TrySendError {
    /// The operation failed.
    #[error("no message could be sent: {0}")]
    IpcError(#[from] IpcError),
    /// There was no room in time: the channel has a bound and is full, the operating system's
    /// channel is full, or this user has as many handles in unreceived messages as the system
    /// allows.
    #[error("the channel was full")]
    Full,
}

/// The error of [`IpcReceiverSet::try_select`](crate::ipc::IpcReceiverSet::try_select) and
/// [`try_select_timeout`](crate::ipc::IpcReceiverSet::try_select_timeout).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use strait::TrySelectError;
/// use strait::ipc::{self, IpcReceiverSet};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (_sender, receiver) = ipc::channel::<u32>()?;
/// let mut set = IpcReceiverSet::new()?;
/// set.add(receiver)?;
/// match set.try_select_timeout(Duration::from_millis(1)) {
///     Ok(results) => println!("{} results", results.len()),
///     Err(TrySelectError::Empty) => println!("nothing for a millisecond"),
///     Err(TrySelectError::IoError(error)) => return Err(error.into()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Error)]
pub enum TrySelectError {
    /// The operating system refused.
    #[error("the operating system refused a selection: {0}")]
    IoError(#[from] io::Error),
    /// No member had a message, a client or a disconnection in time.
    #[error("nothing was received and nothing was closed in time")]
    Empty,
}

impl IpcError {
    /// Returns whether it is [`Disconnected`](IpcError::Disconnected).
    pub fn is_disconnected(&self) -> bool {
        matches!(self, IpcError::Disconnected)
    }
}

impl TryRecvError {
    /// Returns whether no message arrived in time.
    pub fn is_empty(&self) -> bool {
        matches!(self, TryRecvError::Empty)
    }

    /// Returns whether all senders have been dropped and all messages were received.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, TryRecvError::IpcError(IpcError::Disconnected))
    }
}

impl TrySendError {
    /// Returns whether there was no room in time.
    pub fn is_full(&self) -> bool {
        matches!(self, TrySendError::Full)
    }

    /// Returns whether the receiver has been dropped.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, TrySendError::IpcError(IpcError::Disconnected))
    }
}

impl TrySelectError {
    /// Returns whether nothing happened in time.
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

/// An error that was made of an [`IpcError`] becomes that again.
impl From<io::Error> for IpcError {
    fn from(error: io::Error) -> IpcError {
        let error = match error.downcast::<SerDeError>() {
            Ok(error) => return IpcError::SerializationError(error),
            Err(error) => error,
        };
        error.downcast().unwrap_or_else(IpcError::Io)
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

/// [`Full`](TrySendError::Full) becomes [`Io`](IpcError::Io) of kind
/// [`WouldBlock`](io::ErrorKind::WouldBlock).
impl From<TrySendError> for IpcError {
    fn from(error: TrySendError) -> IpcError {
        match error {
            TrySendError::IpcError(error) => error,
            TrySendError::Full => IpcError::Io(io::Error::new(io::ErrorKind::WouldBlock, error)),
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
