//! The sender of a bounded channel.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{SendError, TrySendError};
use crate::channel;
use crate::codec::{Fate, endpoint};
use crate::error;
use crate::ipc::IpcSyncSender;
use crate::platform::Wait;
use crate::typed;

/// The sender of a [`sync_channel`](super::sync_channel).
///
/// Like a [`Sender`](super::Sender), it can be cloned and sent in messages. All senders of a
/// channel share one bound.
///
/// # Examples
///
/// See [`sync_channel`](super::sync_channel).
pub struct SyncSender<T> {
    sender: channel::Sender,
    values: PhantomData<fn() -> T>,
}

impl<T: Serialize> SyncSender<T> {
    /// Sends a value into the channel, blocking until there is room for it. With a bound of zero,
    /// it blocks until the receiver has taken the value.
    ///
    /// # Errors
    ///
    /// Returns [`SendError`] with the value if the receiver has been dropped or the value could not
    /// be sent. [`send_ref`](SyncSender::send_ref) returns the reason.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        let sent = typed::send(&self.sender, &value, Fate::Dropped, Wait::Forever);
        sent.map_err(|_| SendError(value))
    }

    /// Sends a value if there is room for it. Does not block. With a bound of zero, there is room
    /// while the receiver waits for a value.
    ///
    /// # Errors
    ///
    /// - [`Full`](TrySendError::Full) if there is no room.
    /// - [`Disconnected`](TrySendError::Disconnected) if the receiver has been dropped, or the
    ///   value could not be sent.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        match self.send_within(&value, Wait::Never) {
            Ok(()) => Ok(()),
            Err(error) if error.is_full() => Err(TrySendError::Full(value)),
            Err(_) => Err(TrySendError::Disconnected(value)),
        }
    }

    /// Sends a value, blocking until there is room for it or `timeout` has passed. A timeout beyond
    /// the range of the clock never expires.
    ///
    /// # Errors
    ///
    /// - [`Timeout`](SendTimeoutError::Timeout) if there was no room in time.
    /// - [`Disconnected`](SendTimeoutError::Disconnected) if the receiver has been dropped, or the
    ///   value could not be sent.
    ///
    /// # Examples
    ///
    /// See [`SendTimeoutError`].
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.send_until(value, Wait::at_most(timeout))
    }

    /// Sends a value, blocking until there is room for it or `deadline` is reached.
    ///
    /// # Errors
    ///
    /// Fails with the errors of [`send_timeout`](SyncSender::send_timeout).
    pub fn send_deadline(&self, value: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.send_until(value, Wait::Until(deadline))
    }

    /// Sends a value without taking ownership of it, blocking until there is room for it. Returns
    /// the reason if it was not sent, like [`Sender::send_ref`](super::Sender::send_ref).
    ///
    /// # Errors
    ///
    /// Fails with the errors of [`IpcSender::send`](crate::ipc::IpcSender::send).
    pub fn send_ref(&self, value: &T) -> Result<(), error::IpcError> {
        self.send_within(value, Wait::Forever).map_err(error::IpcError::from)
    }

    fn send_until(&self, value: T, wait: Wait) -> Result<(), SendTimeoutError<T>> {
        match self.send_within(&value, wait) {
            Ok(()) => Ok(()),
            Err(error) if error.is_full() => Err(SendTimeoutError::Timeout(value)),
            Err(_) => Err(SendTimeoutError::Disconnected(value)),
        }
    }

    fn send_within(&self, value: &T, wait: Wait) -> Result<(), error::TrySendError> {
        typed::send(&self.sender, value, Fate::Kept, wait)
    }
}

impl<T> SyncSender<T> {
    /// Returns whether the receiver has been dropped, like
    /// [`IpcSender::is_closed`](crate::ipc::IpcSender::is_closed).
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(crate) fn into_core(self) -> channel::Sender {
        self.sender
    }
}

impl<T> From<channel::Sender> for SyncSender<T> {
    fn from(sender: channel::Sender) -> SyncSender<T> {
        SyncSender { sender, values: PhantomData }
    }
}

/// Returns the same endpoint, with the methods and errors of `ipc`.
impl<T> From<SyncSender<T>> for IpcSyncSender<T> {
    fn from(sender: SyncSender<T>) -> IpcSyncSender<T> {
        IpcSyncSender::from(sender.into_core())
    }
}

/// Returns the same endpoint, with the methods and errors of `std::sync::mpsc`.
impl<T> From<IpcSyncSender<T>> for SyncSender<T> {
    fn from(sender: IpcSyncSender<T>) -> SyncSender<T> {
        SyncSender::from(sender.into_core())
    }
}

impl<T> Clone for SyncSender<T> {
    fn clone(&self) -> SyncSender<T> {
        SyncSender::from(self.sender.clone())
    }
}

impl<T> fmt::Debug for SyncSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncSender").finish_non_exhaustive()
    }
}

/// After a panic a message is either sent or not sent, nothing in between, which is so in std as
/// well.
impl<T> UnwindSafe for SyncSender<T> {}
impl<T> RefUnwindSafe for SyncSender<T> {}

impl<T> Serialize for SyncSender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        endpoint::serialize_sender(&self.sender, serializer)
    }
}

impl<'de, T> Deserialize<'de> for SyncSender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        endpoint::deserialize_bounded_sender(deserializer).map(SyncSender::from)
    }
}

/// The error of `send_timeout` and `send_deadline`. It contains the value, and mirrors the unstable
/// type of `std::sync::mpsc`.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use strait::mpsc::{self, SendTimeoutError};
///
/// let (sender, receiver) = mpsc::sync_channel(1);
/// sender.send(1).unwrap();
/// let timeout = Duration::from_millis(1);
/// assert_eq!(sender.send_timeout(2, timeout), Err(SendTimeoutError::Timeout(2)));
/// drop(receiver);
/// assert_eq!(sender.send_timeout(2, timeout), Err(SendTimeoutError::Disconnected(2)));
/// ```
// Not `non_exhaustive`: programs match it exhaustively, like std's `TrySendError`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendTimeoutError<T> {
    /// There was no room for the value in time.
    Timeout(T),
    /// The receiver has been dropped, or the value could not be sent.
    Disconnected(T),
}

impl<T> fmt::Debug for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendTimeoutError::Timeout(_) => "Timeout(..)",
            SendTimeoutError::Disconnected(_) => "Disconnected(..)",
        })
    }
}

impl<T> fmt::Display for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendTimeoutError::Timeout(_) => "the channel had no room in time",
            SendTimeoutError::Disconnected(_) => "the receiver has been dropped",
        })
    }
}

impl<T> Error for SendTimeoutError<T> {}

impl<T> From<SendError<T>> for SendTimeoutError<T> {
    fn from(SendError(value): SendError<T>) -> SendTimeoutError<T> {
        SendTimeoutError::Disconnected(value)
    }
}
