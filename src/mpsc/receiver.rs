//! The receiver of a channel. Errors that std has no variant for are skipped, retried, or reported
//! as disconnection.

use std::fmt;
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::thread;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{IntoIter, Iter, RecvError, RecvTimeoutError, TryIter, TryRecvError};
use crate::channel::{self, Slot};
use crate::codec::endpoint;
use crate::ipc::IpcReceiver;
use crate::platform::Wait;
use crate::typed::{self, ReceiveError, Skipped};

/// How long a receiver pauses after the operating system refused to receive, at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The receiver of a channel.
///
/// It can be sent in a message, and then moves together with all values that were not received yet.
/// The copy that stays is empty and disconnected. If that message is not sent, the receiver stays
/// as it was.
///
/// It skips messages that cannot be decoded: see [what differs from std](super#what-differs).
///
/// # Examples
///
/// ```
/// use std::thread;
/// use std::time::Duration;
///
/// use strait::mpsc::{self, RecvTimeoutError};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (sender, receiver) = mpsc::channel();
/// let timeout = Duration::from_millis(1);
/// assert_eq!(receiver.recv_timeout(timeout), Err(RecvTimeoutError::Timeout));
/// let producer = thread::spawn(move || {
///     for number in 1..=3 {
///         sender.send(number).unwrap();
///     }
/// });
/// assert_eq!(receiver.recv()?, 1);
/// assert_eq!(receiver.iter().sum::<i32>(), 2 + 3);
/// # producer.join().unwrap();
/// # Ok(())
/// # }
/// ```
pub struct Receiver<T> {
    slot: Slot,
    /// Returns values, contains none.
    values: PhantomData<fn() -> T>,
}

impl<T> Receiver<T> {
    /// Receives the next value, blocking until one arrives or the channel is disconnected.
    ///
    /// # Errors
    ///
    /// Returns [`RecvError`] if no value will ever arrive:
    ///
    /// - All senders have been dropped, in all processes, and all values were received.
    /// - This receiver was moved into a message, or the operating system permanently refuses to
    ///   receive.
    /// - A value arrived of a type that [cannot be decoded](super#what-differs), whatever the
    ///   value.
    ///
    /// # Examples
    ///
    /// See [`Receiver`].
    pub fn recv(&self) -> Result<T, RecvError>
    where
        T: for<'de> Deserialize<'de>,
    {
        self.receive(Wait::Forever).map_err(|_| RecvError)
    }

    /// Receives the next value if one has arrived. Does not block, except for [a moment in a
    /// rendezvous](crate#what-may-block).
    ///
    /// # Errors
    ///
    /// - [`Empty`](TryRecvError::Empty) if no value has arrived, also after skipping a thousand
    ///   messages that cannot be decoded.
    /// - [`Disconnected`](TryRecvError::Disconnected) if [`recv`](Receiver::recv) would fail.
    ///
    /// # Examples
    ///
    /// See [`Receiver::try_iter`].
    pub fn try_recv(&self) -> Result<T, TryRecvError>
    where
        T: for<'de> Deserialize<'de>,
    {
        self.receive(Wait::Never).map_err(|error| match error {
            RecvTimeoutError::Timeout => TryRecvError::Empty,
            RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
        })
    }

    /// Receives the next value, blocking until one arrives, the channel is disconnected, or
    /// `timeout` has passed.
    ///
    /// Signals do not shorten the wait. A timeout beyond the range of the clock never expires.
    ///
    /// # Errors
    ///
    /// - [`Timeout`](RecvTimeoutError::Timeout) if no value arrived in time.
    /// - [`Disconnected`](RecvTimeoutError::Disconnected) if [`recv`](Receiver::recv) would fail.
    ///
    /// # Examples
    ///
    /// See [`Receiver`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError>
    where
        T: for<'de> Deserialize<'de>,
    {
        self.receive(Wait::at_most(timeout))
    }

    /// Receives the next value, blocking until one arrives, the channel is disconnected, or
    /// `deadline` is reached.
    ///
    /// A value that has arrived is received even if the deadline has passed. In std, this method is
    /// on nightly only.
    ///
    /// # Errors
    ///
    /// Fails with the errors of [`recv_timeout`](Receiver::recv_timeout).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use strait::mpsc::{self, RecvTimeoutError};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (sender, receiver) = mpsc::channel();
    /// let deadline = Instant::now() + Duration::from_millis(50);
    /// sender.send(1)?;
    /// assert_eq!(receiver.recv_deadline(deadline)?, 1);
    /// assert_eq!(receiver.recv_deadline(deadline), Err(RecvTimeoutError::Timeout));
    /// # Ok(())
    /// # }
    /// ```
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError>
    where
        T: for<'de> Deserialize<'de>,
    {
        self.receive(Wait::Until(deadline))
    }

    /// Returns a blocking iterator over the values. It ends when [`recv`](Receiver::recv) would
    /// fail.
    ///
    /// # Examples
    ///
    /// See [`Receiver`].
    pub fn iter(&self) -> Iter<'_, T>
    where
        T: for<'de> Deserialize<'de>,
    {
        Iter::new(self)
    }

    /// Returns an iterator over the values that have arrived. It blocks no longer than
    /// [`try_recv`](Receiver::try_recv).
    ///
    /// # Examples
    ///
    /// ```
    /// use strait::mpsc::{self, TryRecvError};
    ///
    /// let (sender, receiver) = mpsc::channel();
    /// sender.send(1).unwrap();
    /// sender.send(2).unwrap();
    /// assert_eq!(receiver.try_iter().collect::<Vec<i32>>(), [1, 2]);
    /// assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    /// ```
    pub fn try_iter(&self) -> TryIter<'_, T>
    where
        T: for<'de> Deserialize<'de>,
    {
        TryIter::new(self)
    }

    fn receive(&self, wait: Wait) -> Result<T, RecvTimeoutError>
    where
        T: for<'de> Deserialize<'de>,
    {
        let mut skipped = Skipped::default();
        let mut pause = FIRST_PAUSE;
        loop {
            match typed::receive(&self.slot, wait) {
                Ok(value) => return Ok(value),
                // The next value could not be decoded either, and the caller would block for ever.
                Err(ReceiveError::Undecodable(error)) if error.is_of_type() => {
                    return Err(RecvTimeoutError::Disconnected);
                }
                Err(
                    ReceiveError::Undecodable(_)
                    | ReceiveError::NoMessage(channel::RecvError::Lost(_)),
                ) => {
                    // A sender of nothing but such messages must not prolong the wait.
                    let is_over = match wait {
                        Wait::Never => skipped.is_enough_after(&self.slot),
                        wait => wait.is_over(),
                    };
                    if is_over {
                        return Err(RecvTimeoutError::Timeout);
                    }
                }
                // Lack of memory, for example. No message is lost, and only time can help.
                Err(ReceiveError::NoMessage(channel::RecvError::Io(_))) => {
                    if wait.is_over() {
                        return Err(RecvTimeoutError::Timeout);
                    }
                    thread::sleep(wait.remaining().map_or(pause, |remaining| pause.min(remaining)));
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(ReceiveError::NoMessage(
                    channel::RecvError::Empty | channel::RecvError::BudgetSpent,
                )) => {
                    return Err(RecvTimeoutError::Timeout);
                }
                Err(ReceiveError::NoMessage(
                    channel::RecvError::Disconnected | channel::RecvError::Broken(_),
                )) => {
                    return Err(RecvTimeoutError::Disconnected);
                }
            }
        }
    }
}

impl<T> From<Slot> for Receiver<T> {
    fn from(slot: Slot) -> Receiver<T> {
        Receiver { slot, values: PhantomData }
    }
}

/// Returns the same endpoint, with the methods and errors of `ipc`.
impl<T> From<Receiver<T>> for IpcReceiver<T> {
    fn from(receiver: Receiver<T>) -> IpcReceiver<T> {
        IpcReceiver::from(receiver.slot)
    }
}

/// Returns the same endpoint, with the methods and errors of `std::sync::mpsc`.
impl<T> From<IpcReceiver<T>> for Receiver<T> {
    fn from(receiver: IpcReceiver<T>) -> Receiver<T> {
        Receiver::from(receiver.into_slot())
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

/// After a panic a message is either received or not received, nothing in between, which is so in
/// std as well.
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

impl<T> Serialize for Receiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        endpoint::serialize_receiver(&self.slot, serializer)
    }
}

impl<'de, T> Deserialize<'de> for Receiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        endpoint::deserialize_receiver(deserializer).map(Receiver::from)
    }
}

impl<T: DeserializeOwned> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter::new(self)
    }
}

impl<'a, T: DeserializeOwned> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}
