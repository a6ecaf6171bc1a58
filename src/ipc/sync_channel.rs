//! Channels with a bound, in which senders wait for the receiver.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ChannelOptions, IpcReceiver, OpaqueIpcSyncSender};
use crate::channel::Sender;
use crate::codec::{self, Fate, endpoint};
use crate::error::{IpcError, TrySendError};
use crate::platform::Wait;

/// Makes a channel in which at most `bound` messages wait to be received, from all processes
/// together.
///
/// While it is full, `send` blocks until the receiver has received a message. With a bound of zero
/// (rendezvous) each message goes to a receiver that is waiting for one at that moment, and `send`
/// blocks until it has taken the message.
///
/// The bound holds for senders that keep to the protocol. A hostile process can send more messages;
/// they wait in its own memory, as in a [channel without a bound](super::channel). It cannot keep
/// others from sending: if senders died, or took a permit to send and did not send, the receiver
/// issues the permit again after some tenths of a second. A message that is sent late nevertheless
/// exceeds the bound.
///
/// # Errors
///
/// As [`ipc::channel`](super::channel).
///
/// # Platform
///
/// On Linux each side has one file descriptor more than without a bound, and sending and receiving
/// a message cost a system call more each. The bound is 4,294,967,295 at most; a larger one counts
/// as that. The receiver uses the kernel's asynchronous I/O (`io_setup`, `io_submit`,
/// `io_getevents`), so that no sender can make it wait; a process that has used it takes some tens
/// of milliseconds longer to exit. A sandbox can make these calls fail, but must not kill for them.
/// There, and before Linux 5.8, a process that has a sender can make the receiver or other senders
/// wait if it tampers with the permits to send.
///
/// # Examples
///
/// ```
/// use strait::TrySendError;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (sender, receiver) = strait::ipc::sync_channel::<u32>(2)?;
/// sender.send(1)?;
/// sender.send(2)?;
/// assert!(matches!(sender.try_send(&3), Err(TrySendError::Full)));
/// assert_eq!(receiver.recv()?, 1);
/// sender.send(3)?;
/// # Ok(())
/// # }
/// ```
pub fn sync_channel<T>(bound: usize) -> Result<(IpcSyncSender<T>, IpcReceiver<T>), io::Error>
where
    T: for<'de> Deserialize<'de> + Serialize,
{
    ChannelOptions::new().sync_channel(bound)
}

/// The sending end of a [channel with a bound](sync_channel).
///
/// As an [`IpcSender`](super::IpcSender), it can be cloned and sent in messages. The bound is for
/// all senders together.
///
/// # Examples
///
/// ```
/// use std::thread;
///
/// use strait::ipc;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (jobs, inbox) = ipc::sync_channel::<u32>(2)?;
/// let producer = thread::spawn(move || -> Result<(), strait::IpcError> {
///     for job in 1..=100 {
///         // Blocks while two jobs have not been received.
///         jobs.send(job)?;
///     }
///     Ok(())
/// });
/// assert_eq!(inbox.iter().sum::<u32>(), 5050);
/// producer.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
pub struct IpcSyncSender<T> {
    sender: Sender,
    values: PhantomData<fn() -> T>,
}

impl<T: Serialize> IpcSyncSender<T> {
    /// Sends a value, and blocks until there is room for it.
    ///
    /// It blocks for as long as the receiver lives and receives nothing. With a bound of zero it
    /// returns when the receiver has taken the value.
    ///
    /// # Errors
    ///
    /// As [`IpcSender::send`](super::IpcSender::send). [`TimedOut`](io::ErrorKind::TimedOut) only
    /// says that this user had as many handles in unreceived messages, of all channels, as the
    /// system allows, for [`SEND_PATIENCE`](super::SEND_PATIENCE).
    ///
    /// # Examples
    ///
    /// See [`IpcSyncSender`].
    pub fn send(&self, data: T) -> Result<(), IpcError> {
        codec::send(&self.sender, &data, Fate::Dropped, Wait::Forever).map_err(IpcError::from)
    }

    /// Sends a value without taking it, and blocks as [`send`](IpcSyncSender::send) does. Receivers
    /// in the value move as with [`IpcSender::send_ref`](super::IpcSender::send_ref).
    ///
    /// # Errors
    ///
    /// As [`IpcSender::send`](super::IpcSender::send).
    pub fn send_ref(&self, data: &T) -> Result<(), IpcError> {
        self.send_within(data, Wait::Forever).map_err(IpcError::from)
    }

    /// Sends a value if there is room for it. Never blocks.
    ///
    /// With a bound of zero there is room while the receiver waits for a message. A set, a stream
    /// or a router that waits learns of the sender by a `try_send` that fails, and takes the value
    /// of the next.
    ///
    /// The value stays with the caller, sent or not. `std::sync::mpsc` has another form of this
    /// method, which takes the value and returns it in the error: that of [`mpsc::SyncSender`],
    /// which [`From`] makes of this sender.
    ///
    /// [`mpsc::SyncSender`]: crate::mpsc::SyncSender
    ///
    /// # Errors
    ///
    /// [`Full`](TrySendError::Full) if there is no room; otherwise as
    /// [`send`](IpcSyncSender::send).
    ///
    /// # Examples
    ///
    /// ```
    /// use strait::{TrySendError, ipc, mpsc};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (sender, receiver) = ipc::sync_channel::<u32>(1)?;
    /// sender.try_send(&1)?;
    /// assert!(matches!(sender.try_send(&2), Err(TrySendError::Full)));
    /// let sender = mpsc::SyncSender::from(sender);
    /// assert_eq!(sender.try_send(2), Err(mpsc::TrySendError::Full(2)));
    /// assert_eq!(receiver.recv()?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_send(&self, data: &T) -> Result<(), TrySendError> {
        self.send_within(data, Wait::Never)
    }

    /// Sends a value without taking it, and blocks until there is room for it, for at most
    /// `timeout`. A duration beyond the range of the clock is no limit.
    ///
    /// # Errors
    ///
    /// - [`Full`](TrySendError::Full) if there was no room in time.
    /// - Otherwise as [`send`](IpcSyncSender::send).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use strait::ipc;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (sender, _receiver) = ipc::sync_channel::<u32>(1)?;
    /// sender.send_timeout(&1, Duration::from_millis(1))?;
    /// assert!(sender.send_timeout(&2, Duration::from_millis(1)).unwrap_err().is_full());
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_timeout(&self, data: &T, timeout: Duration) -> Result<(), TrySendError> {
        self.send_within(data, Wait::at_most(timeout))
    }

    /// Sends a value without taking it, and blocks until there is room for it, until `deadline` at
    /// most.
    ///
    /// # Errors
    ///
    /// As [`send_timeout`](IpcSyncSender::send_timeout).
    pub fn send_deadline(&self, data: &T, deadline: Instant) -> Result<(), TrySendError> {
        self.send_within(data, Wait::Until(deadline))
    }

    fn send_within(&self, data: &T, wait: Wait) -> Result<(), TrySendError> {
        codec::send(&self.sender, data, Fate::Kept, wait)
    }
}

impl<T> IpcSyncSender<T> {
    /// Returns whether the receiver has been dropped. As
    /// [`IpcSender::is_closed`](super::IpcSender::is_closed).
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Makes it a sender of messages of an unknown type.
    ///
    /// # Examples
    ///
    /// See [`OpaqueIpcSyncSender`].
    pub fn to_opaque(self) -> OpaqueIpcSyncSender {
        OpaqueIpcSyncSender::from(self.sender)
    }

    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn core(&self) -> &Sender {
        &self.sender
    }

    pub(crate) fn into_core(self) -> Sender {
        self.sender
    }
}

impl<T> From<Sender> for IpcSyncSender<T> {
    fn from(sender: Sender) -> IpcSyncSender<T> {
        IpcSyncSender { sender, values: PhantomData }
    }
}

impl<T> Clone for IpcSyncSender<T> {
    fn clone(&self) -> IpcSyncSender<T> {
        IpcSyncSender::from(self.sender.clone())
    }
}

impl<T> fmt::Debug for IpcSyncSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IpcSyncSender").field(&self.sender).finish()
    }
}

impl<T> Serialize for IpcSyncSender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        endpoint::serialize_sender(&self.sender, serializer)
    }
}

impl<'de, T> Deserialize<'de> for IpcSyncSender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        endpoint::deserialize_bounded_sender(deserializer).map(IpcSyncSender::from)
    }
}
