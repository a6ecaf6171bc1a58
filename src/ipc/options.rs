//! Options of a channel.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    IpcBytesReceiver, IpcBytesSender, IpcReceiver, IpcSender, IpcSyncSender, Limits, Ordering,
};
use crate::channel::{self, Options, Receiver, Sender, Slot};

/// The options of a channel: its ordering, its limits, spinning, and shared memory.
///
/// The receiver decides all options. They move with the receiver when it is sent in a message, and
/// apply to all senders in all processes. [`set_options`](IpcReceiver::set_options) changes the
/// options of a receiver that came from a server or in a message.
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
    /// Returns the options of [`ipc::channel`](super::channel): causal ordering, the [default
    /// limits](Limits), 50 µs of spinning, and shared memory for busy channels.
    pub fn new() -> ChannelOptions {
        ChannelOptions::default()
    }

    /// Sets the order in which messages of different senders are received.
    ///
    /// A change while there are unreceived messages discards none of them. Messages that were sent
    /// before the change keep their order.
    ///
    /// # Examples
    ///
    /// See [`ChannelOptions`].
    #[must_use]
    pub fn ordering(mut self, ordering: Ordering) -> ChannelOptions {
        self.options.ordering = ordering;
        self
    }

    /// Sets how much the receiver accepts from its senders. A value above the maximum of a limit
    /// counts as that maximum.
    ///
    /// # Examples
    ///
    /// See [`Limits`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> ChannelOptions {
        self.options.limits = limits;
        self
    }

    /// Sets the maximum time for which the receiver spins before it sleeps: 50 µs by default, at
    /// most 10 ms. Zero disables spinning.
    ///
    /// The default is slightly longer than a sleeping peer takes to wake up and answer. A longer
    /// time reduces the latency of answers from slower peers, and costs processor time.
    ///
    /// The receiver spins only while spinning has been successful lately, and only on a machine
    /// with more than one processor. In a receiver set, the shortest time among the members with
    /// something to spin for applies.
    #[must_use]
    pub fn spin(mut self, limit: Duration) -> ChannelOptions {
        self.options.spin_nanos = nanos(limit);
        self
    }

    /// Sets whether processes that send many or large messages share memory with the receiver. By
    /// default they do, on platforms that have shared memory.
    ///
    /// If disabled, all messages go through the operating system's channel: each message costs a
    /// system call in both processes. [`send`](super::IpcSender#blocking) blocks for up to ten
    /// seconds while that channel is full (on Linux, with some 200 KiB). A sender that has learned
    /// about this does not share memory with this channel again, even if it is enabled later.
    #[must_use]
    pub fn shared_memory(mut self, is_enabled: bool) -> ChannelOptions {
        self.options.shares_memory = is_enabled;
        self
    }

    /// Sets how long idle shared memory is kept: about a second by default, at least a millisecond.
    /// `Duration::MAX` keeps it for as long as the channel exists.
    ///
    /// After that time, a receiver that blocks or is busy stops using the memory. A blocked
    /// receiver wakes up once or twice for that, and a receiver set once a second while it uses
    /// shared memory.
    ///
    /// The sender then uses the operating system's channel, and shares memory again when it sends
    /// many or large messages. The memory is released when its sender has sent again or has been
    /// dropped.
    #[must_use]
    pub fn keep_memory(mut self, duration: Duration) -> ChannelOptions {
        self.options.idle_nanos = nanos(duration);
        self
    }

    /// Sets whether the channel is lazy: whether it stays in the memory of this process until an
    /// endpoint leaves the process. By default it does not: it is an object of the operating system
    /// from the start.
    ///
    /// Creating a lazy channel takes no handle, no system call and a fraction of a microsecond, and
    /// cannot fail. Between threads the channel is as fast as `std::sync::mpsc`. Messages are
    /// encoded and decoded all the same.
    ///
    /// A lazy channel is promoted to a channel of the operating system in these cases:
    ///
    /// - An endpoint is sent in a message.
    /// - The file descriptor of an endpoint is requested.
    /// - The receiver becomes a stream, or a member of a receiver set or a router.
    ///
    /// Promotion can fail if this process has no handles left. Messages that were sent before keep
    /// their order.
    ///
    /// After a `fork`, the endpoints of a lazy channel in the child return errors that say so.
    ///
    /// This option applies to new channels only: [`set_options`](IpcReceiver::set_options) ignores
    /// it.
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
    /// // Now it can be sent to another process.
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

    /// Creates a channel with these options.
    ///
    /// # Errors
    ///
    /// - Any error of [`ipc::channel`](super::channel).
    pub fn channel<T>(&self) -> Result<(IpcSender<T>, IpcReceiver<T>), io::Error>
    where
        T: for<'de> Deserialize<'de> + Serialize,
    {
        let (sender, receiver) = self.make(None)?;
        Ok((IpcSender::from(sender), IpcReceiver::from(Slot::from(receiver))))
    }

    /// Creates a bounded channel with these options, as [`ipc::sync_channel`](super::sync_channel)
    /// does.
    ///
    /// # Errors
    ///
    /// - Any error of [`ipc::channel`](super::channel).
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

    /// Creates a channel for byte messages with these options.
    ///
    /// # Errors
    ///
    /// - Any error of [`ipc::channel`](super::channel).
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

    /// Sets these options for the receiver in `slot`.
    pub(super) fn apply(&self, slot: &Slot) -> io::Result<()> {
        slot.with(|receiver| receiver.set_options(self.options))
    }

    /// The options of the receiver in `slot`.
    pub(super) fn of(slot: &Slot) -> io::Result<ChannelOptions> {
        slot.with(|receiver| ChannelOptions { options: receiver.options(), is_lazy: false })
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
