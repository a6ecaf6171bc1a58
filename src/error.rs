//! The errors of the `ipc` module: the enums of ipc-channel, with the same variants. None of them
//! is `non_exhaustive`, because programs written for ipc-channel match them exhaustively.
//! `TrySendError` has the form of `TryRecvError`, so that all errors except `Full` become an
//! `IpcError`.

use std::any::type_name;
use std::fmt;
use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use thiserror::Error;

/// An error of the format of values.
pub(crate) type FormatError = Box<dyn std::error::Error + Send + Sync>;

/// The error for types that only a self-describing format can decode, such as those with serde's
/// attributes `tag`, `untagged` and `flatten`.
#[derive(Debug, Error)]
#[error("the type requires a self-describing format, which that of messages is not")]
pub(crate) struct NotSelfDescribing;

/// The error of encoding a value into a message, or of decoding a message into a value.
///
/// The error names the type of the value that was sent, or of the value to be received. For a
/// received message it also names the type in the sender's program, if the two processes exchanged
/// a handshake. Such processes are a parent and its [child](crate::process), a
/// [server](crate::ipc::IpcServer) and its client, and a client of a [one-shot
/// server](crate::ipc::IpcOneShotServer). A receiver that moves to another process does not take
/// that name along.
///
/// Processes that have different versions of strait's protocol or different codecs exchange no
/// messages. The first error then names the versions and codecs of both processes.
///
/// [`source`](std::error::Error::source) returns the cause: an error of the format, handles that
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

/// The operation that failed, with the name of the value's type.
#[derive(Clone, Debug)]
enum Stage {
    Encoding(&'static str),
    Meeting,
    Receiving,
    Decoding(&'static str),
    /// Decoding, with the sender's name of the type. The names are boxed because this is rare, and
    /// because every result has room for an error.
    DecodingOf(Box<(Arc<str>, &'static str)>),
    #[cfg(feature = "postcard")]
    Converting,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stage::Encoding(name) => write!(f, "a `{name}` could not be encoded"),
            Stage::Meeting => f.write_str("the peer is incompatible"),
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

/// A panic cannot leave any part of the error half modified. ipc-channel has these implementations,
/// too.
impl UnwindSafe for SerDeError {}
impl RefUnwindSafe for SerDeError {}

impl SerDeError {
    /// A `T` could not be encoded.
    #[cold]
    pub(crate) fn of_encoding<T: ?Sized>(source: FormatError) -> SerDeError {
        SerDeError { stage: Stage::Encoding(type_name::<T>()), source }
    }

    /// A message could not be received.
    #[cold]
    pub(crate) fn of_receiving(source: FormatError) -> SerDeError {
        SerDeError { stage: Stage::Receiving, source }
    }

    /// A message could not be decoded into a `T`.
    #[cold]
    pub(crate) fn of_decoding<T>(source: FormatError) -> SerDeError {
        SerDeError { stage: Stage::Decoding(type_name::<T>()), source }
    }

    /// A peer has another version of the protocol, or another codec.
    #[cold]
    pub(crate) fn of_meeting(source: FormatError) -> SerDeError {
        SerDeError { stage: Stage::Meeting, source }
    }

    /// Adds the sender's name of the type, if the error is one of decoding.
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

    /// Whether the error is due to the type: no message can be decoded into it.
    pub(crate) fn is_of_type(&self) -> bool {
        self.source.is::<NotSelfDescribing>()
    }
}

/// Converts an error of postcard, as ipc-channel does, for programs that use postcard beside their
/// channels. Strait itself does not use postcard.
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
/// The operator `?` converts it to an [`io::Error`]: [`Disconnected`](IpcError::Disconnected)
/// becomes one of kind [`ConnectionReset`](io::ErrorKind::ConnectionReset), and
/// [`SerializationError`](IpcError::SerializationError) one of kind
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
///         // One message is discarded; the channel stays connected.
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
    /// The value could not be encoded or decoded, or a received message is malformed. That message
    /// is discarded; the channel stays connected.
    #[error("a value could not be sent or received: {0}")]
    SerializationError(#[from] SerDeError),
    /// The operating system reported an error.
    #[error("a channel operation failed: {0}")]
    Io(#[source] io::Error),
    /// All senders have been dropped and all messages have been received, or the receiver has been
    /// dropped, in any process.
    #[error("the channel is disconnected")]
    Disconnected,
}

/// The error of receive operations that do not block, or have a timeout or a deadline: `try_recv`,
/// `recv_timeout`, `accept_timeout`.
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
    /// No message arrived before the timeout or deadline, or none was available.
    #[error("no message arrived in time")]
    Empty,
}

/// The error of send operations that do not block, or have a timeout or a deadline: `try_send`,
/// `send_timeout`, `send_deadline`.
///
/// The caller keeps the value. [`mpsc::TrySendError`](crate::mpsc::TrySendError) returns it.
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
    /// There was no room before the timeout or deadline, for one of these reasons:
    ///
    /// - The channel is bounded and full.
    /// - The operating system's channel is full.
    /// - This user has as many handles in unreceived messages as the system allows.
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
    /// The operating system reported an error.
    #[error("a selection failed: {0}")]
    IoError(#[from] io::Error),
    /// No member had a message, a client or a disconnection before the timeout.
    #[error("no member of the set had a message, a client or a disconnection in time")]
    Empty,
}

impl IpcError {
    /// Returns whether the error is [`Disconnected`](IpcError::Disconnected).
    pub fn is_disconnected(&self) -> bool {
        matches!(self, IpcError::Disconnected)
    }
}

impl TryRecvError {
    /// Returns whether the error is [`Empty`](TryRecvError::Empty): no message arrived in time.
    pub fn is_empty(&self) -> bool {
        matches!(self, TryRecvError::Empty)
    }

    /// Returns whether all senders have been dropped and all messages have been received.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, TryRecvError::IpcError(IpcError::Disconnected))
    }
}

impl TrySendError {
    /// Returns whether the error is [`Full`](TrySendError::Full): there was no room in time.
    pub fn is_full(&self) -> bool {
        matches!(self, TrySendError::Full)
    }

    /// Returns whether the receiver has been dropped.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, TrySendError::IpcError(IpcError::Disconnected))
    }
}

impl TrySelectError {
    /// Returns whether the error is [`Empty`](TrySelectError::Empty): no member had a result in
    /// time.
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

/// An [`io::Error`] that was converted from an [`IpcError`] is converted back to it.
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

/// [`Empty`](TryRecvError::Empty) becomes [`Io`](IpcError::Io) of kind
/// [`WouldBlock`](io::ErrorKind::WouldBlock).
impl From<TryRecvError> for IpcError {
    fn from(error: TryRecvError) -> IpcError {
        match error {
            TryRecvError::IpcError(error) => error,
            TryRecvError::Empty => IpcError::Io(io::Error::new(io::ErrorKind::WouldBlock, error)),
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
