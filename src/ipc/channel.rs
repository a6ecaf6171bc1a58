//! Channels of typed messages, and their sender.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ChannelOptions, IpcReceiver, OpaqueIpcSender};
use crate::channel::{Sender, one_shot};
use crate::codec::{self, Fate, endpoint};
use crate::error::{IpcError, TrySendError};
use crate::platform::Wait;
use crate::typed;

/// Creates an unbounded channel for messages of type `T`.
///
/// Both endpoints can be sent in messages of other channels, also to other processes. The channel
/// is an object of the operating system from the start, so a forked child inherits it.
///
/// # Errors
///
/// - Any error of the operating system, for example if this process has no handles left.
///
/// # Platform
///
/// On Linux a channel is a pair of sockets: two file descriptors, which are closed on `exec`. A
/// process that sends many or large messages shares memory with the receiver. This takes one more
/// file descriptor in each of the two processes. See [the table of costs](crate#costs).
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (sender, receiver) = strait::ipc::channel()?;
/// sender.send(("answer".to_string(), 42))?;
/// assert_eq!(receiver.recv()?, ("answer".to_string(), 42));
/// # Ok(())
/// # }
/// ```
pub fn channel<T>() -> Result<(IpcSender<T>, IpcReceiver<T>), io::Error>
where
    T: for<'de> Deserialize<'de> + Serialize,
{
    ChannelOptions::new().channel()
}

/// The sender of a [`channel`].
///
/// Clones send into the same channel. Sending a sender in a message clones it, too. The channel is
/// disconnected when all senders in all processes have been dropped. Senders in unreceived
/// messages keep the channel connected.
///
/// # Examples
///
/// ```
/// use std::thread;
///
/// use strait::ipc::{self, IpcSender};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (requests, inbox) = ipc::channel::<(u32, IpcSender<u32>)>()?;
/// let server = thread::spawn(move || {
///     // Ends when the last sender of requests has been dropped.
///     for (number, reply) in inbox {
///         // An error if the client has dropped its receiver.
///         let _ = reply.send(number * number);
///     }
/// });
/// let clients: Vec<_> = (1..=3)
///     .map(|number| {
///         let requests = requests.clone();
///         thread::spawn(move || -> Result<u32, strait::IpcError> {
///             let (reply, answer) = ipc::channel()?;
///             requests.send((number, reply))?;
///             answer.recv()
///         })
///     })
///     .collect();
/// drop(requests);
/// let answers = clients.into_iter().map(|client| client.join().unwrap());
/// assert_eq!(answers.sum::<Result<u32, _>>()?, 1 + 4 + 9);
/// # server.join().unwrap();
/// # Ok(())
/// # }
/// ```
pub struct IpcSender<T> {
    sender: Sender,
    /// Holds no values, and is covariant: a sender of `&'static str` coerces to a sender of `&'a
    /// str`.
    values: PhantomData<fn() -> T>,
}

impl<T> IpcSender<T> {
    /// Connects to the [`IpcOneShotServer`](super::IpcOneShotServer) with this name.
    ///
    /// If the server has another version of strait's protocol or another codec, its `accept`
    /// returns an error that says so. This sender then fails with
    /// [`Disconnected`](IpcError::Disconnected).
    ///
    /// `connect` [can block](crate#what-may-block) while very many clients wait to be accepted.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](io::ErrorKind::NotFound) if no server has this name.
    /// - [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) if the server was killed and its
    ///   name was left behind.
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput) if `name` is not the name of a server.
    /// - Any other error of the operating system.
    ///
    /// # Examples
    ///
    /// See [`IpcOneShotServer`](super::IpcOneShotServer).
    pub fn connect(name: String) -> Result<IpcSender<T>, io::Error>
    where
        T: Serialize,
    {
        let introduction = codec::introduction_of_sender::<T>();
        one_shot::connect(&name, &introduction).map(IpcSender::from)
    }

    /// Sends a value into the channel, without blocking except in [two cases](IpcSender#blocking).
    ///
    /// After `send` has returned `Ok`, the message survives the end of this process. Messages of
    /// one sender arrive in the order in which they were sent. If one `send` returned before
    /// another `send` began, on any two senders of the channel, its message arrives first.
    ///
    /// # Errors
    ///
    /// - [`Disconnected`](IpcError::Disconnected) if the receiver has been dropped. For up to a
    ///   millisecond after the receiver's process was killed, `send` can still [return
    ///   `Ok`](crate#disconnection).
    /// - [`SerializationError`](IpcError::SerializationError) if the value cannot be encoded, is
    ///   larger than [`MAX_MESSAGE_BYTES`](super::MAX_MESSAGE_BYTES), has more than
    ///   [`MAX_MESSAGE_ATTACHMENTS`](super::MAX_MESSAGE_ATTACHMENTS) handles, or is [nested too
    ///   deeply](crate#what-is-not-guaranteed).
    /// - [`Io`](IpcError::Io) of kind [`TimedOut`](io::ErrorKind::TimedOut) if `send` has blocked
    ///   for [`SEND_TIMEOUT`](super::SEND_TIMEOUT), ten seconds, without success.
    /// - [`Io`](IpcError::Io) of another kind for any other error of the operating system.
    ///
    /// # Blocking
    ///
    /// `send` does not block until the receiver receives: unreceived messages are buffered in
    /// memory of this process. There are two exceptions, in which `send` blocks for at most
    /// [`SEND_TIMEOUT`](super::SEND_TIMEOUT):
    ///
    /// - A message with handles (endpoints, files, shared memory) goes through the operating
    ///   system's channel. `send` blocks while that channel is full. It also blocks while this user
    ///   has as many handles in unreceived messages, of all channels, as the system allows.
    /// - If the sender and the receiver share no memory, every message goes through the operating
    ///   system's channel. The receiver decides that with [`ChannelOptions::shared_memory`], and a
    ///   sandbox can forbid shared memory in either process. Another process that has the sender
    ///   can fill the operating system's channel, with the same effect.
    ///
    /// [`try_send`](IpcSender::try_send) never blocks, and
    /// [`send_timeout`](IpcSender::send_timeout) blocks for at most the timeout of its caller. An
    /// asynchronous task must not block the other tasks of its thread. Such a task calls `try_send`
    /// until there is room:
    ///
    /// ```
    /// use futures_lite::future::{block_on, yield_now, zip};
    /// use strait::ipc::{self, IpcSender};
    /// use strait::{IpcError, TryRecvError, TrySendError};
    ///
    /// type Requests = IpcSender<IpcSender<u32>>;
    ///
    /// async fn send(requests: &Requests, reply: IpcSender<u32>) -> Result<(), IpcError> {
    ///     loop {
    ///         match requests.try_send(&reply) {
    ///             Ok(()) => return Ok(()),
    ///             // With tokio: `tokio::task::yield_now`, or `tokio::time::sleep` for one
    ///             // millisecond.
    ///             Err(TrySendError::Full) => yield_now().await,
    ///             Err(TrySendError::IpcError(error)) => return Err(error),
    ///         }
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (requests, inbox) = ipc::channel()?;
    /// let (reply, _answers) = ipc::channel()?;
    /// let sending = async {
    ///     for _ in 0..300 {
    ///         send(&requests, reply.clone()).await?;
    ///     }
    ///     Ok::<(), IpcError>(())
    /// };
    /// // Another task of the same thread; with the feature `async`, a stream.
    /// let receiving = async {
    ///     let mut received = 0;
    ///     while received < 300 {
    ///         match inbox.try_recv() {
    ///             Ok(_) => received += 1,
    ///             Err(TryRecvError::Empty) => yield_now().await,
    ///             Err(TryRecvError::IpcError(error)) => return Err(error),
    ///         }
    ///     }
    ///     Ok(())
    /// };
    /// let (sent, received) = block_on(zip(sending, receiving));
    /// sent?;
    /// received?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Platform
    ///
    /// On Linux the operating system's channel is a socket. It has room for 278 messages with
    /// handles, or for some 200 KiB.
    pub fn send(&self, data: T) -> Result<(), IpcError>
    where
        T: Serialize,
    {
        typed::send(&self.sender, &data, Fate::Dropped, Wait::Forever).map_err(IpcError::from)
    }

    /// Sends a value by reference, and blocks as [`send`](IpcSender#blocking) does.
    ///
    /// Receivers in the value are moved to the process that receives the message. The receivers
    /// that stay in `data` are empty, and every operation on them returns an error. If the message
    /// is not sent, they are unchanged.
    ///
    /// A moved receiver takes along the incomplete messages that it has received, up to 64 MiB of
    /// them. So a message with a receiver can be large.
    ///
    /// # Errors
    ///
    /// - Any error of [`send`](IpcSender::send).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (sender, receiver) = strait::ipc::channel::<Vec<String>>()?;
    /// let words = vec!["several".to_string(), "words".to_string()];
    /// sender.send_ref(&words)?;
    /// assert_eq!(receiver.recv()?, words);
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_ref(&self, data: &T) -> Result<(), IpcError>
    where
        T: Serialize,
    {
        typed::send(&self.sender, data, Fate::Kept, Wait::Forever).map_err(IpcError::from)
    }

    /// Sends a value by reference if there is room for it. Never blocks.
    ///
    /// Receivers in the value are moved as with [`send_ref`](IpcSender::send_ref). If the value is
    /// not sent, they are unchanged.
    ///
    /// # Errors
    ///
    /// - [`Full`](TrySendError::Full) if [`send`](IpcSender#blocking) would block.
    /// - Any error of [`send`](IpcSender::send).
    ///
    /// If the sender and the receiver share no memory, a message that is larger than the capacity
    /// of the operating system's channel is always `Full`. Send such a message with
    /// [`send_timeout`](IpcSender::send_timeout), while the receiver receives.
    ///
    /// # Examples
    ///
    /// ```
    /// use strait::TrySendError;
    /// use strait::ipc::{self, ChannelOptions};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // A client that shares no memory, and receives nothing.
    /// let (reply, answers) = ChannelOptions::new().shared_memory(false).channel::<Vec<u8>>()?;
    /// # if cfg!(target_os = "linux") && !cfg!(feature = "force-inprocess") {
    /// let unsent = loop {
    ///     match reply.try_send(&vec![0; 1000]) {
    ///         Ok(()) => {}
    ///         Err(error) => break error,
    ///     }
    /// };
    /// assert!(unsent.is_full());
    /// # }
    /// # answers.try_recv().ok();
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_send(&self, data: &T) -> Result<(), TrySendError>
    where
        T: Serialize,
    {
        typed::send(&self.sender, data, Fate::Kept, Wait::Never)
    }

    /// Sends a value by reference, and blocks for at most `timeout` where
    /// [`send`](IpcSender#blocking) blocks.
    ///
    /// A timeout beyond the range of the clock counts as none. In this case
    /// [`SEND_TIMEOUT`](super::SEND_TIMEOUT) applies, as in [`send`](IpcSender::send).
    ///
    /// # Errors
    ///
    /// - [`Full`](TrySendError::Full) if the message could not be sent within `timeout`.
    /// - Any error of [`send`](IpcSender::send).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (sender, receiver) = strait::ipc::channel()?;
    /// sender.send_timeout(&"soon".to_string(), Duration::from_millis(100))?;
    /// assert_eq!(receiver.recv()?, "soon");
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_timeout(&self, data: &T, timeout: Duration) -> Result<(), TrySendError>
    where
        T: Serialize,
    {
        typed::send(&self.sender, data, Fate::Kept, Wait::at_most(timeout))
    }

    /// Sends a value by reference, and blocks until `deadline` at most where
    /// [`send`](IpcSender#blocking) blocks.
    ///
    /// [`send_timeout`](IpcSender::send_timeout) describes the rest.
    ///
    /// # Errors
    ///
    /// - [`Full`](TrySendError::Full) if the message could not be sent before `deadline`.
    /// - Any error of [`send`](IpcSender::send).
    pub fn send_deadline(&self, data: &T, deadline: Instant) -> Result<(), TrySendError>
    where
        T: Serialize,
    {
        typed::send(&self.sender, data, Fate::Kept, Wait::Until(deadline))
    }

    /// Returns whether the receiver has been dropped, in whatever process it was. If so, the
    /// channel is disconnected, and messages that are sent from now on do not arrive.
    ///
    /// The receiver can be dropped immediately after this call: only the result of
    /// [`send`](IpcSender::send) is reliable.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (sender, receiver) = strait::ipc::channel::<u32>()?;
    /// assert!(!sender.is_closed());
    /// drop(receiver);
    /// assert!(sender.is_closed());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Converts the sender into one for messages of an unknown type.
    ///
    /// # Examples
    ///
    /// See [`OpaqueIpcSender`].
    pub fn to_opaque(self) -> OpaqueIpcSender {
        OpaqueIpcSender::from(self.sender)
    }

    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn core(&self) -> &Sender {
        &self.sender
    }

    pub(crate) fn into_core(self) -> Sender {
        self.sender
    }
}

impl<T> From<Sender> for IpcSender<T> {
    fn from(sender: Sender) -> IpcSender<T> {
        IpcSender { sender, values: PhantomData }
    }
}

impl<T> Clone for IpcSender<T> {
    fn clone(&self) -> IpcSender<T> {
        IpcSender::from(self.sender.clone())
    }
}

impl<T> fmt::Debug for IpcSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IpcSender").field(&self.sender).finish()
    }
}

impl<T> Serialize for IpcSender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        endpoint::serialize_sender(&self.sender, serializer)
    }
}

impl<'de, T> Deserialize<'de> for IpcSender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        endpoint::deserialize_sender(deserializer).map(IpcSender::from)
    }
}
