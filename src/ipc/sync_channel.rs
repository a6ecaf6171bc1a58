//! Channels with a bound: whoever sends more than is received has to wait.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ChannelOptions, IpcReceiver};
use crate::channel::Sender;
use crate::codec::{self, Fate, endpoint};
use crate::error::{IpcError, TrySendError};
use crate::platform::Wait;

/// Makes a channel in which at most `bound` messages wait to be received, whichever processes they are from.
///
/// Who sends one more waits until there is room. With a bound of zero there never is: each message is handed over to somebody who
/// is just receiving, which is called a rendezvous.
///
/// The bound is kept between senders that keep to the rules. A process that is hostile can send more than that, and what it sends waits in its own
/// memory, as in a [channel without a bound](super::channel). Nor can it keep others from sending: if senders died, or took leave to send and
/// did not send, it is given anew after some tenths of a second; what is sent late all the same is then beyond the bound.
///
/// # Errors
///
/// As [`ipc::channel`](super::channel).
///
/// # Platform
///
/// On Linux each side has one descriptor more than without a bound, and the receiver another, and to send and to receive a message costs
/// a system call more. A bound can be up to 1,044,480 there, or less if the system is configured so, or 4096 while this user has more than
/// 1024 pipes; a larger one is as that.
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
/// As an [`IpcSender`](super::IpcSender), it can be cloned and sent in messages. The bound is for all of them together.
pub struct IpcSyncSender<T> {
    sender: Sender,
    values: PhantomData<fn() -> T>,
}

impl<T: Serialize> IpcSyncSender<T> {
    /// Sends a value, waiting until there is room for it.
    ///
    /// It waits for the receiver in any case: for as long as that lives and receives nothing. With a bound of zero it returns once
    /// somebody takes the value.
    ///
    /// # Errors
    ///
    /// As [`IpcSender::send`](super::IpcSender::send).
    pub fn send(&self, data: T) -> Result<(), IpcError> {
        codec::send(&self.sender, &data, Fate::Dropped, Wait::Forever).map_err(IpcError::from)
    }

    /// Sends a value without taking it. As [`send`](IpcSyncSender::send) and [`IpcSender::send_ref`](super::IpcSender::send_ref).
    ///
    /// # Errors
    ///
    /// As [`IpcSender::send`](super::IpcSender::send).
    pub fn send_ref(&self, data: &T) -> Result<(), IpcError> {
        self.send_within(data, Wait::Forever).map_err(IpcError::from)
    }

    /// Sends a value if there is room for it. With a bound of zero, there is if somebody waits for a message at this moment.
    ///
    /// # Errors
    ///
    /// [`Full`](TrySendError::Full) if there is no room; else as [`send`](IpcSyncSender::send).
    pub fn try_send(&self, data: &T) -> Result<(), TrySendError> {
        self.send_within(data, Wait::Never)
    }

    /// Sends a value, waiting for room for at most `timeout`. A duration beyond what the clock can express is no limit.
    ///
    /// # Errors
    ///
    /// [`Full`](TrySendError::Full) if there was no room in time; else as [`send`](IpcSyncSender::send).
    pub fn send_timeout(&self, data: &T, timeout: Duration) -> Result<(), TrySendError> {
        self.send_within(data, Wait::at_most(timeout))
    }

    /// Sends a value, waiting for room until `deadline`.
    ///
    /// # Errors
    ///
    /// [`Full`](TrySendError::Full) if there was no room in time; else as [`send`](IpcSyncSender::send).
    pub fn send_deadline(&self, data: &T, deadline: Instant) -> Result<(), TrySendError> {
        self.send_within(data, Wait::Until(deadline))
    }

    fn send_within(&self, data: &T, wait: Wait) -> Result<(), TrySendError> {
        codec::send(&self.sender, data, Fate::Kept, wait)
    }
}

impl<T> IpcSyncSender<T> {
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
        endpoint::serialize_bounded_sender(&self.sender, serializer)
    }
}

impl<'de, T> Deserialize<'de> for IpcSyncSender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        endpoint::deserialize_bounded_sender(deserializer).map(IpcSyncSender::from)
    }
}
