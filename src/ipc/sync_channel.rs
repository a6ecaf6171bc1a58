//! Bounded channels, in which senders block while the channel is full.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ChannelOptions, IpcReceiver, OpaqueIpcSyncSender};
use crate::channel::Sender;
use crate::codec::{Fate, endpoint};
use crate::error::{IpcError, TrySendError};
use crate::platform::Wait;
use crate::typed;

/// Creates a bounded channel, which buffers at most `bound` messages of all processes together.
///
/// While the channel is full, `send` blocks until the receiver has received a message
/// (backpressure). With a bound of zero (rendezvous), a message is sent only while the receiver
/// waits for one, and `send` blocks until then.
///
/// The bound is cooperative. A sender needs a permit for each message. A hostile process can send
/// without permits; these messages are buffered in its own memory, as in an [unbounded
/// channel](super::channel).
///
/// A process that takes permits and dies, or does not send, blocks the other senders for about
/// a second at most: then the receiver issues these permits again. If the process sends its
/// message late nevertheless, that message exceeds the bound.
///
/// # Errors
///
/// - Any error of [`ipc::channel`](super::channel).
///
/// # Platform
///
/// On Linux each endpoint has one file descriptor more than without a bound. Sending and receiving
/// a message take one more system call each. The bound is at most 4,294,967,295; a larger one
/// counts as that.
///
/// The receiver uses the kernel's asynchronous I/O (`io_setup`, `io_submit`, `io_getevents`), so
/// that no sender can block it. A process that has used it takes some tens of milliseconds longer
/// to exit. A sandbox can make these calls fail, but must not kill the process for them.
///
/// A process with a sender can block the receiver or other senders by tampering with the permits in
/// two cases: before Linux 5.8, and in a sandbox that makes these calls fail.
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

/// The sender of a [bounded channel](sync_channel).
///
/// It can be cloned and sent in messages, as an [`IpcSender`](super::IpcSender) can. The bound
/// applies to all senders together.
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
    /// Sends a value into the channel, blocking until there is room for it.
    ///
    /// `send` has no timeout: it blocks while the receiver exists and receives nothing. With a
    /// bound of zero it returns when the receiver has taken the value.
    ///
    /// # Errors
    ///
    /// - Any error of [`IpcSender::send`](super::IpcSender::send), except as follows.
    /// - [`TimedOut`](io::ErrorKind::TimedOut) only if, for
    ///   [`SEND_TIMEOUT`](super::SEND_TIMEOUT), this user has had as many handles in unreceived
    ///   messages, of all channels, as the system allows.
    ///
    /// # Examples
    ///
    /// See [`IpcSyncSender`].
    pub fn send(&self, data: T) -> Result<(), IpcError> {
        typed::send(&self.sender, &data, Fate::Dropped, Wait::Forever).map_err(IpcError::from)
    }

    /// Sends a value by reference, blocking until there is room for it.
    ///
    /// Receivers in the value are moved as with
    /// [`IpcSender::send_ref`](super::IpcSender::send_ref).
    ///
    /// # Errors
    ///
    /// - Any error of [`send`](IpcSyncSender::send).
    pub fn send_ref(&self, data: &T) -> Result<(), IpcError> {
        self.send_within(data, Wait::Forever).map_err(IpcError::from)
    }

    /// Sends a value by reference if there is room for it. Never blocks.
    ///
    /// With a bound of zero there is room while the receiver waits for a message. A receiver set, a
    /// stream or a router that waits learns about the sender when `try_send` fails, and takes the
    /// value of the next `try_send`.
    ///
    /// The caller keeps the value, whether it was sent or not. The method of this name in
    /// `std::sync::mpsc` takes the value, and returns it in the error. [`mpsc::SyncSender`] has
    /// that method, and [`From`] converts this sender to one.
    ///
    /// [`mpsc::SyncSender`]: crate::mpsc::SyncSender
    ///
    /// # Errors
    ///
    /// - [`Full`](TrySendError::Full) if there is no room.
    /// - Any error of [`send`](IpcSyncSender::send).
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

    /// Sends a value by reference, blocking for at most `timeout` until there is room for it.
    ///
    /// A timeout beyond the range of the clock counts as none.
    ///
    /// # Errors
    ///
    /// - [`Full`](TrySendError::Full) if there was no room within `timeout`.
    /// - Any error of [`send`](IpcSyncSender::send).
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

    /// Sends a value by reference, blocking until there is room for it, until `deadline` at most.
    ///
    /// # Errors
    ///
    /// - [`Full`](TrySendError::Full) if there was no room before `deadline`.
    /// - Any error of [`send`](IpcSyncSender::send).
    pub fn send_deadline(&self, data: &T, deadline: Instant) -> Result<(), TrySendError> {
        self.send_within(data, Wait::Until(deadline))
    }

    fn send_within(&self, data: &T, wait: Wait) -> Result<(), TrySendError> {
        typed::send(&self.sender, data, Fate::Kept, wait)
    }
}

impl<T> IpcSyncSender<T> {
    /// Returns whether the receiver has been dropped, as
    /// [`IpcSender::is_closed`](super::IpcSender::is_closed) does.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Converts the sender into one for messages of an unknown type.
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
