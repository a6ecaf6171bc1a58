//! The channels of `std::sync::mpsc`, with ends that can move to other processes.
//!
//! A program that uses std's channels changes its `use` line and runs as before:
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
//! Then a thread can become a process: [`Sender`] and [`Receiver`] go there in a message of any
//! channel of this crate.
//!
//! # What is the same
//!
//! Names, signatures and trait impls are those of the stable part of `std::sync::mpsc`, and the
//! error types are std's own. So is the behaviour: the order of messages, the meaning of a timeout,
//! when an end learns that the other side has been dropped, and what is still received then.
//!
//! # What differs
//!
//! - Serde encodes the values. Sending takes `T: Serialize`, receiving `T: DeserializeOwned`;
//!   making, cloning, dropping and showing an end take nothing. A crate that derives them needs
//!   `serde = { version = "1", features = ["derive"] }` among its dependencies.
//! - The received value is a copy, and [`send`](Sender::send) drops the one that was sent. The copy
//!   shares nothing (`Rc`, `Arc`) with the original, and both run their `Drop`. Of values that are
//!   never received, strait closes the endpoints and handles; it does not run their `Drop` again.
//! - Serde has to read back what it has written, in a format that does not describe itself. `tag`,
//!   `untagged`, `flatten`, `skip_serializing_if` and types such as `serde_json::Value` do not work
//!   with such formats. Sending a value with `flatten`, or without a field that
//!   `skip_serializing_if` leaves out, is an error. Receiving a value of one of the other types is
//!   an error as if the channel were disconnected;
//!   [`IpcReceiver`](crate::ipc::IpcReceiver) reports which type it is.
//! - [`SendError`] can also mean that the value could not be sent: its `Serialize` impl failed, it
//!   is larger than [the limits](crate#what-is-not-guaranteed), or the operating system refused.
//!   [`Sender::send_ref`] returns the reason.
//! - The receiver skips messages that cannot be decoded, and messages with more handles than this
//!   process has room for. Within a process, only types that serde does not read as it wrote them
//!   have such messages. From another process they can be of another type, or an attack. An
//!   [`IpcReceiver`](crate::ipc::IpcReceiver) made of the receiver returns them as errors.
//! - A receiver that was sent in a message has left: the one that stays behind receives nothing,
//!   and reports that it is disconnected.
//! - If the operating system refuses to receive, for want of memory, the call waits and tries
//!   again; it does not report the end of the channel.
//! - Between processes, `send` of a message with endpoints or other handles [can
//!   block](crate#what-may-block) until others of them were received, for [ten
//!   seconds](crate::ipc::SEND_PATIENCE) at most. So a [`Sender`] has
//!   [`try_send`](Sender::try_send) and [`send_timeout`](Sender::send_timeout), too.
//! - The ends of a channel are `Send` even if its values are not.
//!
//! For all errors, [sets](crate::ipc::IpcReceiverSet), [routers](crate::router), streams and
//! [options](crate::ipc::ChannelOptions), make an [`IpcSender`](crate::ipc::IpcSender) of a
//! [`Sender`] and an [`IpcReceiver`](crate::ipc::IpcReceiver) of a [`Receiver`], or the other way
//! round, with `From`: they are ends of the same channel.

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

/// Makes a channel without a bound.
///
/// The channel stays in the memory of this process, without handles or system calls, until one of
/// its ends is sent in a message; values that were sent before keep their place. So making it takes
/// a fraction of a microsecond and cannot fail. Sending an end can fail, if this process has no
/// handle left: see [`try_channel`].
///
/// After a `fork` the channel belongs to the parent: in the child, sending returns the value in an
/// error, and receiving reports disconnection.
///
/// # Panics
///
/// If there is no memory, as everything in Rust. It takes no handle of the operating system.
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

/// Makes a channel in which at most `bound` values wait to be received, from all processes
/// together.
///
/// While it is full, `send` blocks until the receiver has received a value. With a bound of zero
/// (rendezvous) each value goes to a receiver that is waiting for one at that moment. Otherwise it
/// is as [`channel`]. [`ipc::sync_channel`](crate::ipc::sync_channel) describes bounds between
/// processes.
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

/// Makes a channel without a bound, as an object of the operating system from the start.
///
/// A forked child inherits such a channel. And sending one of its ends cannot fail because this
/// process has no handle left to make one. [`channel`] promises neither.
///
/// # Errors
///
/// Those of the operating system, if it has no more handles for this process, say.
///
/// # Platform
///
/// On Linux it has two file descriptors, which are closed on `exec`, as all of this crate: an end
/// reaches another program in a message.
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

/// Makes a channel with a bound, as an object of the operating system from the start. As
/// [`try_channel`] and [`sync_channel`].
///
/// # Errors
///
/// As [`try_channel`].
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
