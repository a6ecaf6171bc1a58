//! Channels with the interface of `std::sync::mpsc`, whose endpoints can move to other processes.
//!
//! A program that uses std's channels changes its `use` line and keeps working:
//!
//! ```
//! use std::thread;
//!
//! use strait::mpsc; // was: use std::sync::mpsc;
//!
//! let (sender, receiver) = mpsc::channel();
//! for number in 0..3 {
//!     let sender = sender.clone();
//!     thread::spawn(move || sender.send(number).unwrap());
//! }
//! drop(sender);
//! assert_eq!(receiver.iter().sum::<i32>(), 3);
//! ```
//!
//! Then a thread can become a process: send its [`Sender`] or [`Receiver`] there in a message of
//! any channel of this crate.
//!
//! # What is the same
//!
//! Names, signatures and trait impls are those of the stable part of `std::sync::mpsc`, and the
//! error types are std's own. The behaviour is the same as well. This covers the order of messages,
//! the meaning of a timeout, when an endpoint is disconnected, and which messages can still be
//! received then.
//!
//! # What differs
//!
//! - Values are encoded with serde. To send, `T: Serialize` is required; to receive, `T:
//!   DeserializeOwned`. Making, cloning, dropping and formatting an endpoint have no bounds. A
//!   crate that derives these traits needs `serde = { version = "1", features = ["derive"] }` among
//!   its dependencies.
//! - The receiver gets a decoded copy, and [`send`](Sender::send) drops the original. The copy
//!   shares nothing (`Rc`, `Arc`) with the original, and `Drop` runs on both. If a message is never
//!   received, its endpoints and handles are closed, and no `Drop` of the copy runs.
//! - The encoding is not self-describing, and serde has to read back what it has written. `tag`,
//!   `untagged`, `flatten`, `skip_serializing_if` and types such as `serde_json::Value` do not work
//!   with such formats. Sending a value with `flatten`, or without a field that
//!   `skip_serializing_if` leaves out, fails. Receiving a value of one of the other types fails as
//!   if the channel were disconnected; [`IpcReceiver`](crate::ipc::IpcReceiver) reports which type
//!   it is.
//! - [`SendError`] can also mean that the value could not be sent. This is so if its `Serialize`
//!   impl failed, it is larger than [the limits](crate#what-is-not-guaranteed), or the operating
//!   system refused. [`Sender::send_ref`] returns the reason.
//! - The receiver skips messages that cannot be decoded, and messages with more handles than this
//!   process has room for. Within a process, only types that serde does not read as it wrote them
//!   have such messages. From another process they can be of another type, or an attack. An
//!   [`IpcReceiver`](crate::ipc::IpcReceiver) made from the receiver returns them as errors.
//! - A receiver that was sent in a message is moved. The copy that stays is empty and disconnected.
//! - If the operating system temporarily refuses to receive, for lack of memory, the call blocks
//!   and tries again. It does not report disconnection.
//! - Between processes, `send` of a message with endpoints or other handles [can
//!   block](crate#what-may-block) until others of them were received, for [ten
//!   seconds](crate::ipc::SEND_TIMEOUT) at most. So a [`Sender`] has
//!   [`try_send`](Sender::try_send) and [`send_timeout`](Sender::send_timeout), too.
//! - The endpoints of a channel are `Send` even if its values are not.
//!
//! An [`IpcSender`](crate::ipc::IpcSender) and an [`IpcReceiver`](crate::ipc::IpcReceiver) have all
//! errors, [sets](crate::ipc::IpcReceiverSet), [routers](crate::router), streams and
//! [options](crate::ipc::ChannelOptions). Convert a [`Sender`] or [`Receiver`] to them, or back,
//! with `From`: the result is an endpoint of the same channel.

mod iter;
mod receiver;
mod sender;
mod sync_sender;

use std::io;

pub use iter::{IntoIter, Iter, TryIter};
pub use receiver::Receiver;
pub use sender::Sender;
pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};
pub use sync_sender::{SendTimeoutError, SyncSender};

use crate::channel::{self, Options, Slot};

/// Makes an unbounded channel.
///
/// The channel stays in the memory of this process, without handles or system calls, until one of
/// its endpoints is sent in a message. Values that were sent before keep their order. So making it
/// takes a fraction of a microsecond and cannot fail. Sending an endpoint can fail, if this process
/// has no handle left: see [`try_channel`].
///
/// After a `fork` the channel belongs to the parent. In the child, sending returns the value in an
/// error, and receiving reports disconnection.
///
/// # Panics
///
/// Panics only if memory allocation fails. No handle of the operating system is needed.
///
/// # Examples
///
/// ```
/// use strait::mpsc::{self, RecvError};
///
/// let (sender, receiver) = mpsc::channel();
/// sender.send("hello".to_string()).unwrap();
/// drop(sender);
/// assert_eq!(receiver.recv(), Ok("hello".to_string()));
/// assert_eq!(receiver.recv(), Err(RecvError));
/// ```
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = channel::local_channel(Options::default(), None);
    (Sender::from(sender), Receiver::from(Slot::from(receiver)))
}

/// Makes a bounded channel: at most `bound` values, from all processes together, can wait to be
/// received.
///
/// While the channel is full, `send` blocks until the receiver has received a value. With a bound
/// of zero (rendezvous), a value is sent only to a receiver that waits for one at that moment.
/// Everything else is the same as for [`channel`]. [`ipc::sync_channel`](crate::ipc::sync_channel)
/// describes bounds between processes.
///
/// # Examples
///
/// ```
/// use std::thread;
///
/// use strait::mpsc::{self, TrySendError};
///
/// let (sender, receiver) = mpsc::sync_channel(1);
/// sender.send(1).unwrap();
/// assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
/// let waiting = thread::spawn(move || sender.send(2).unwrap());
/// assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2]);
/// waiting.join().unwrap();
/// ```
pub fn sync_channel<T>(bound: usize) -> (SyncSender<T>, Receiver<T>) {
    let (sender, receiver) = channel::local_channel(Options::default(), Some(bound));
    (SyncSender::from(sender), Receiver::from(Slot::from(receiver)))
}

/// Makes an unbounded channel that is an object of the operating system from the start.
///
/// Use it if a forked child is to inherit the channel. Use it also if sending an endpoint later
/// must not fail because this process has no handle left to make one. [`channel`] guarantees
/// neither.
///
/// # Errors
///
/// Fails with the error of the operating system, for example if it has no more handles for this
/// process.
///
/// # Platform
///
/// On Linux the channel has two file descriptors. They are closed on `exec`, like all file
/// descriptors of this crate: an endpoint reaches another program in a message.
///
/// # Examples
///
/// ```
/// use strait::mpsc;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (sender, receiver) = mpsc::try_channel()?;
/// sender.send(1)?;
/// assert_eq!(receiver.recv()?, 1);
/// # Ok(())
/// # }
/// ```
pub fn try_channel<T>() -> io::Result<(Sender<T>, Receiver<T>)> {
    let (sender, receiver) = channel::channel(Options::default())?;
    Ok((Sender::from(sender), Receiver::from(Slot::from(receiver))))
}

/// Makes a bounded channel that is an object of the operating system from the start. It combines
/// [`try_channel`] and [`sync_channel`].
///
/// # Errors
///
/// Fails with the errors of [`try_channel`].
///
/// # Examples
///
/// ```
/// use strait::mpsc::{self, TrySendError};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (sender, receiver) = mpsc::try_sync_channel(1)?;
/// sender.send(1)?;
/// assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
/// assert_eq!(receiver.recv()?, 1);
/// # Ok(())
/// # }
/// ```
pub fn try_sync_channel<T>(bound: usize) -> io::Result<(SyncSender<T>, Receiver<T>)> {
    let (sender, receiver) = channel::bounded_channel(Options::default(), bound)?;
    Ok((SyncSender::from(sender), Receiver::from(Slot::from(receiver))))
}
