//! How a channel is to behave.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    IpcBytesReceiver, IpcBytesSender, IpcReceiver, IpcSender, IpcSyncSender, Limits, Ordering,
};
use crate::channel::{self, Options, Receiver, Sender, Slot};

/// How a channel is to behave, where the usual way is not the best.
///
/// Everything here is the receiver's to decide, goes with it when it is sent in a message, and holds for all senders, in whatever
/// process they are. A receiver that was made elsewhere, by a server or a peer, is told with
/// [`set_options`](IpcReceiver::set_options).
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
    /// Those of [`ipc::channel`](super::channel): causal order, the [usual limits](Limits), 50 µs of waiting without going to sleep,
    /// and shared memory where a channel is busy.
    pub fn new() -> ChannelOptions {
        ChannelOptions::default()
    }

    /// In which order messages from different senders arrive.
    ///
    /// If it is changed while messages are on their way, none of them is lost, and what was sent before the change keeps its order.
    #[must_use]
    pub fn ordering(mut self, ordering: Ordering) -> ChannelOptions {
        self.options.ordering = ordering;
        self
    }

    /// How much the receiver takes. What is beyond the largest value of a limit counts as that.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> ChannelOptions {
        self.options.limits = limits;
        self
    }

    /// How long the receiver looks for a message before it goes to sleep, at most; 50 µs by default, not more than 10 ms, and none
    /// is 0.
    ///
    /// The default is some more than a peer that slept takes to wake up and answer. A longer time makes answers from a slower peer come sooner, at the price of
    /// processor time, and no time makes the receiver sleep whenever there is nothing. However long it is, it only looks while that has
    /// been worth it lately, and where there is more than one processor. A receiver in a set looks for as long as the least patient of
    /// those that have something to look at.
    #[must_use]
    pub fn spin(mut self, limit: Duration) -> ChannelOptions {
        self.options.spin_nanos = nanos(limit);
        self
    }

    /// Whether processes that send much, or large messages, share memory with the receiver; they do by default, where the platform has it.
    ///
    /// Without, everything goes by the operating system's channel: each message costs a system call on both sides and none any memory,
    /// and `send` waits while that is full (on Linux, with some 200 KiB). Senders that have found this out do not
    /// share memory with this channel again, even if it is allowed later.
    #[must_use]
    pub fn shared_memory(mut self, is_used: bool) -> ChannelOptions {
        self.options.shares_memory = is_used;
        self
    }

    /// How long shared memory is kept that nothing comes through, about: a second by default, not less than a millisecond, and
    /// `Duration::MAX` is for as long as the channel exists.
    ///
    /// It is given back by receivers that wait, which wake once or twice for it, by sets that wait, which look once a second as long as there is
    /// some, and by those that are busy. Its sender goes on
    /// with the operating system's channel, and gets shared memory again as soon as it sends much.
    #[must_use]
    pub fn keep_memory(mut self, duration: Duration) -> ChannelOptions {
        self.options.idle_nanos = nanos(duration);
        self
    }

    /// Whether the channel stays in the memory of this process until one of its ends leaves it; by default it does not, and is an object of
    /// the operating system from the start.
    ///
    /// Such a channel costs no handle, and nothing is asked of the operating system to make it: it takes a fraction of a microsecond, and cannot fail. Between
    /// threads it is as fast as std's. What is sent goes through the codec all the same, so nothing depends on where the other end is. It becomes
    /// the operating system's when an end is sent in a message, its descriptor is asked for, or the receiver is added to a set or a
    /// router or made a stream; what was sent before keeps its place. For want of handles that can fail.
    ///
    /// A forked child has no part in a channel that is in its parent's memory. There, its ends return errors that say so.
    ///
    /// This is for making channels only: [`set_options`](IpcReceiver::set_options) does not heed it.
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

    /// Makes a channel that behaves like this.
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

    /// Makes a channel with a bound that behaves like this. As [`ipc::sync_channel`](super::sync_channel).
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

    /// Makes a channel for bytes that behaves like this.
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
