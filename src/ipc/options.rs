//! The behaviour of a channel.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    IpcBytesReceiver, IpcBytesSender, IpcReceiver, IpcSender, IpcSyncSender, Limits, Ordering,
};
use crate::channel::{self, Options, Receiver, Sender, Slot};

/// The behaviour of a channel.
///
/// The receiver decides all options. They move with it when it is sent in a message, and hold for
/// all senders in all processes. [`set_options`](IpcReceiver::set_options) changes those of a
/// receiver that came from a server or a peer.
///
/// # Examples
///
/// ```
/// use strait::ipc::{ChannelOptions, Ordering};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let options = ChannelOptions::new().ordering(Ordering::PerSender);
/// let (sender, receiver) = options.channel()?;
/// sender.send(1)?;
/// assert_eq!(receiver.recv()?, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelOptions {
    options: Options,
    is_lazy: bool,
}

impl ChannelOptions {
    /// Returns the options of [`ipc::channel`](super::channel): causal order, the [default
    /// limits](Limits), 50 µs of spinning, and shared memory for channels that are busy.
    pub fn new() -> ChannelOptions {
        ChannelOptions::default()
    }

    /// Sets the order in which messages of different senders arrive.
    ///
    /// A change while messages are on their way loses none of them, and messages that were sent
    /// before it keep their order.
    ///
    /// # Examples
    ///
    /// See [`ChannelOptions`].
    #[must_use]
    pub fn ordering(mut self, ordering: Ordering) -> ChannelOptions {
        self.options.ordering = ordering;
        self
    }

    /// Sets how much the receiver takes from its senders. Values above the largest of a limit count
    /// as that.
    ///
    /// # Examples
    ///
    /// See [`Limits`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> ChannelOptions {
        self.options.limits = limits;
        self
    }

    /// Sets the longest time for which the receiver polls for a message before it sleeps: 50 µs by
    /// default, 10 ms at most. With zero it sleeps at once.
    ///
    /// The default is a little more than a sleeping peer takes to wake up and answer. A longer time
    /// makes answers from slower peers arrive sooner, and costs processor time. The receiver polls
    /// only while that has been successful lately, and only on a machine with more than one
    /// processor. In a set, the shortest time among the members with something to poll for holds.
    #[must_use]
    pub fn spin(mut self, limit: Duration) -> ChannelOptions {
        self.options.spin_nanos = nanos(limit);
        self
    }

    /// Sets whether processes that send much, or large messages, share memory with the receiver. By
    /// default they do, where the platform has it.
    ///
    /// Without shared memory all messages go through the operating system's channel: each costs a
    /// system call on both sides, and [`send`](super::IpcSender#blocking) blocks for up to ten
    /// seconds while it is full (on Linux, with some 200 KiB). Senders that have been told so do
    /// not share memory with this channel again, even if it is allowed later.
    #[must_use]
    pub fn shared_memory(mut self, is_used: bool) -> ChannelOptions {
        self.options.shares_memory = is_used;
        self
    }

    /// Sets how long unused shared memory is kept: about a second by default, at least a
    /// millisecond. `Duration::MAX` keeps it for as long as the channel exists.
    ///
    /// After that time, receivers that block or are busy stop using it; a blocked one wakes once or
    /// twice for that, and a set once a second while there is some. The sender goes on with the
    /// operating system's channel, and gets shared memory again when it sends much. The memory is
    /// free when its sender has sent again or has been dropped.
    #[must_use]
    pub fn keep_memory(mut self, duration: Duration) -> ChannelOptions {
        self.options.idle_nanos = nanos(duration);
        self
    }

    /// Sets whether the channel stays in the memory of this process until one of its ends leaves
    /// it. By default it does not: it is an object of the operating system from the start.
    ///
    /// Such a channel costs no handle and no system call: making it takes a fraction of a
    /// microsecond, and cannot fail. Between threads it is as fast as `std::sync::mpsc`. Messages
    /// are encoded and decoded all the same. It becomes an object of the operating system when an
    /// end is sent in a message, when its descriptor is asked for, and when the receiver becomes a
    /// stream or a member of a set or a router. That can fail if this process has no handle left.
    /// Messages that were sent before keep their place.
    ///
    /// After a `fork` the ends of such a channel in the child return errors that say so.
    ///
    /// This option is for new channels: [`set_options`](IpcReceiver::set_options) ignores it.
    ///
    /// # Examples
    ///
    /// ```
    /// use strait::ipc::{self, ChannelOptions};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (sender, receiver) = ChannelOptions::new().lazy(true).channel()?;
    /// sender.send(1)?;
    ///
    /// // Now it may go to another process.
    /// let (carrier, elsewhere) = ipc::channel()?;
    /// carrier.send(receiver)?;
    /// sender.send(2)?;
    /// let receiver = elsewhere.recv()?;
    /// assert_eq!([receiver.recv()?, receiver.recv()?], [1, 2]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn lazy(mut self, is_lazy: bool) -> ChannelOptions {
        self.is_lazy = is_lazy;
        self
    }

    /// Makes a channel with these options.
    ///
    /// # Errors
    ///
    /// As [`ipc::channel`](super::channel).
    pub fn channel<T>(&self) -> Result<(IpcSender<T>, IpcReceiver<T>), io::Error>
    where
        T: for<'de> Deserialize<'de> + Serialize,
    {
        let (sender, receiver) = self.make(None)?;
        Ok((IpcSender::from(sender), IpcReceiver::from(Slot::from(receiver))))
    }

    /// Makes a channel with a bound, with these options. As
    /// [`ipc::sync_channel`](super::sync_channel).
    ///
    /// # Errors
    ///
    /// As [`ipc::channel`](super::channel).
    pub fn sync_channel<T>(
        &self,
        bound: usize,
    ) -> Result<(IpcSyncSender<T>, IpcReceiver<T>), io::Error>
    where
        T: for<'de> Deserialize<'de> + Serialize,
    {
        let (sender, receiver) = self.make(Some(bound))?;
        Ok((IpcSyncSender::from(sender), IpcReceiver::from(Slot::from(receiver))))
    }

    /// Makes a channel for bytes, with these options.
    ///
    /// # Errors
    ///
    /// As [`ipc::channel`](super::channel).
    pub fn bytes_channel(&self) -> Result<(IpcBytesSender, IpcBytesReceiver), io::Error> {
        let (sender, receiver) = self.make(None)?;
        Ok((IpcBytesSender::from(sender), IpcBytesReceiver::from(Slot::from(receiver))))
    }

    fn make(&self, bound: Option<usize>) -> io::Result<(Sender, Receiver)> {
        match bound {
            bound if self.is_lazy => Ok(channel::local_channel(self.options, bound)),
            None => channel::channel(self.options),
            Some(bound) => channel::bounded_channel(self.options, bound),
        }
    }

    /// Makes the receiver in `slot` behave like this.
    pub(super) fn apply(&self, slot: &Slot) -> io::Result<()> {
        slot.with(|receiver| receiver.set_options(self.options))
    }

    /// How the receiver in `slot` behaves.
    pub(super) fn of(slot: &Slot) -> io::Result<ChannelOptions> {
        slot.with(|receiver| ChannelOptions { options: receiver.options(), is_lazy: false })
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
