//! The channels of `std::sync::mpsc`, whose ends can go to other processes.
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
//! Then a thread can become a process: [`Sender`] and [`Receiver`] go there in a message of any channel of this crate.
//!
//! # What is the same
//!
//! Names, signatures and trait impls are those of what is stable in `std::sync::mpsc`, and the error types are std's own. So is what they do: the
//! order of messages, what a timeout is, when an end learns that the other side is gone, and what is still received then.
//!
//! # What differs
//!
//! - Values are encoded by serde. To send takes `T: Serialize`, to receive `T: Serialize + DeserializeOwned`; to make, clone, drop or
//!   show an end takes nothing.
//! - The value that is received is another one that equals the one that was sent, which [`send`](Sender::send) drops. What it
//!   shared with others (`Rc`, `Arc`) it does not share there, and what a value does when it is dropped it does on both sides. Of values that
//!   nobody receives, the endpoints and handles in them are closed, and that is all.
//! - Serde has to be able to read what it has written, in a format that does not say of itself what is in it. `untagged`, `flatten`
//!   and `skip_serializing_if` are not for such formats.
//! - [`SendError`] can also mean that the value could not be sent: what implements `Serialize` refused, it is larger than
//!   [the limits](crate#what-is-not-guaranteed), or the operating system refused. [`Sender::send_ref`] says which.
//! - A message that cannot be decoded is passed over, and so is one with more handles than this process has room for. Within a process only a
//!   type that serde does not read as it was written has such messages; from another process it may be of another type, or an attack. To
//!   see what is wrong with them, make an [`IpcReceiver`](crate::ipc::IpcReceiver) of the receiver.
//! - A receiver that was sent in a message has left: the one that stayed behind receives nothing and says that it is disconnected.
//! - Where the operating system refuses to receive for now, for want of memory, that is nothing received yet, and no end.
//! - `send` of a message with endpoints or other handles in it [can wait](crate#what-is-not-guaranteed) until others of them were received.
//! - The ends of a channel are `Send` whether or not its values are.
//!
//! Those who want to know of all errors, or to have [sets](crate::ipc::IpcReceiverSet), [routers](crate::router), streams or
//! [options](crate::ipc::ChannelOptions), make an [`IpcSender`](crate::ipc::IpcSender) of a [`Sender`] and an
//! [`IpcReceiver`](crate::ipc::IpcReceiver) of a [`Receiver`], or the other way round, with `From`: they are the same channels.

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

/// Makes a channel without a limit on how much waits in it.
///
/// It stays in the memory of this process, without handles or system calls, until one of its ends is sent in a message; what was sent
/// before keeps its place. So it takes a fraction of a microsecond and cannot fail, but to send an end can, for want of handles: see
/// [`try_channel`].
///
/// After a fork it is the parent's: in the child, what is sent comes back as an error, and nothing is received.
///
/// # Panics
///
/// As everything, when there is no memory. It takes no handle of the operating system that could be the last.
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

/// Makes a channel in which at most `bound` values wait to be received, whichever processes they are from.
///
/// Who sends one more waits until there is room. With a bound of zero there never is: each value is handed over to somebody who is just
/// receiving, which is called a rendezvous. In all else it is as [`channel`]. What holds of a bound between processes,
/// [`ipc::sync_channel`](crate::ipc::sync_channel) says.
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

/// Makes a channel without a limit on how much waits in it, as an object of the operating system from the start.
///
/// That is what a child needs that this process forks, and that is to have an end without being sent one. And it is all that an
/// end needs in order to be sent, so that [`send`](Sender::send) of it does not fail later because this process has no handle left
/// to make one. [`channel`] promises neither.
///
/// # Errors
///
/// The operating system's, when it has no handle left for this process, say.
///
/// # Platform
///
/// On Linux it has two descriptors. They are closed on `exec`, as everything here is: to reach another program, an end is
/// sent in a message.
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

/// As [`try_channel`], with a bound as that of a [`sync_channel`].
///
/// # Errors
///
/// As [`try_channel`].
pub fn try_sync_channel<T>(bound: usize) -> io::Result<(SyncSender<T>, Receiver<T>)> {
    let (sender, receiver) = channel::bounded_channel(Options::default(), bound)?;
    Ok((SyncSender::from(sender), Receiver::from(Slot::from(receiver))))
}
