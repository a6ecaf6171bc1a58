//! File descriptors of endpoints, for polling and for passing them to other processes, and
//! credentials of peers.
//!
//! Poll the file descriptor of a receiver to learn when to call
//! [`try_recv`](IpcReceiver::try_recv). After the first call of `as_fd` it is readable while there
//! may be something to receive: a message, an error, or the disconnection. Its readiness can be
//! spurious; then [`try_recv`](IpcReceiver::try_recv) returns
//! [`Empty`](crate::TryRecvError::Empty).
//!
//! - With a level-triggered poller (`poll`, `epoll` by default), receiving one message for each
//!   event is enough.
//! - An edge-triggered poller (`EPOLLET`, mio's `SourceFd`, tokio's `AsyncFd`) reports only changes
//!   of readiness. Call [`try_recv`](IpcReceiver::try_recv) until it returns
//!   [`Empty`](crate::TryRecvError::Empty), and then wait for the next event.
//!
//! Only poll the file descriptor: reading from it, writing to it or changing its flags breaks the
//! receiver. It is not the channel's socket; `OwnedFd::try_from` converts a receiver to that. The
//! polled file descriptor and its eventfd stay open until the receiver is dropped or converted, for
//! example by adding it to a set.
//!
//! When a receiver is sent in a message, its file descriptor stays with the empty receiver. From
//! then on it is always readable, and `try_recv` returns the error. The file descriptor can stay
//! registered in `epoll`, mio or tokio while the receiver is sent, and can be deregistered
//! afterwards.
//!
//! If this process has no file descriptors left, `as_fd` borrows the channel's socket, and messages
//! come through the socket as far as possible. Messages in shared memory do not make the socket
//! readable. There are such messages if they were sent before the first `as_fd`, or if the socket
//! was full.
//!
//! In this case, call `try_recv` until it returns `Empty`. Remove the receiver from all `epoll`
//! instances before it is sent in a message: otherwise the registration stays with the channel, and
//! cannot be removed any more. The next `as_fd` tries again.
//!
//! After a `fork`, one of the two processes can continue to use the receiver and the file
//! descriptor; the other may only drop them.
//!
//! ```
//! use std::os::fd::AsFd;
//!
//! use rustix::event::{PollFd, PollFlags, poll};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (sender, receiver) = strait::ipc::channel::<u32>()?;
//! sender.send(1)?;
//! let mut fds = [PollFd::from_borrowed_fd(receiver.as_fd(), PollFlags::IN)];
//! assert_eq!(poll(&mut fds, None)?, 1);
//! assert_eq!(receiver.try_recv()?, 1);
//! # Ok(())
//! # }
//! ```
//!
//! With tokio, own the `AsyncFd` and use [`readable_mut`]. A receiver is not `Sync`, so a future
//! that holds a `&AsyncFd` across an `.await` is not `Send`, and cannot be spawned. A loop that
//! receives while there are messages blocks the other tasks of its thread, so yield now and then.
//! With the feature `async`, `IpcReceiver::to_stream` does both.
//!
//! ```
//! use strait::{IpcError, TryRecvError};
//! use tokio::io::Interest;
//! use tokio::io::unix::AsyncFd;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (sender, receiver) = strait::ipc::channel::<u32>()?;
//! # for number in 0..1000 {
//! #     sender.send(number)?;
//! # }
//! # drop(sender);
//! let summing = async move {
//!     let mut receiver = AsyncFd::with_interest(receiver, Interest::READABLE)?;
//!     let mut sum = 0;
//!     loop {
//!         let mut readiness = receiver.readable_mut().await?;
//!         for _ in 0..128 {
//!             match readiness.get_inner().try_recv() {
//!                 Ok(number) => sum += number,
//!                 Err(TryRecvError::Empty) => {
//!                     readiness.clear_ready();
//!                     break;
//!                 }
//!                 Err(TryRecvError::IpcError(IpcError::Disconnected)) => return Ok(sum),
//!                 Err(TryRecvError::IpcError(error)) => return Err(error),
//!             }
//!         }
//!         tokio::task::yield_now().await;
//!     }
//! };
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
//! let sum = runtime.block_on(async { tokio::spawn(summing).await })??;
//! assert_eq!(sum, 999 * 1000 / 2);
//! # Ok(())
//! # }
//! ```
//!
//! [`readable_mut`]: https://docs.rs/tokio/latest/tokio/io/unix/struct.AsyncFd.html#method.readable_mut
//!
//! # Safety
//!
//! The one unsafe operation is a `borrow_raw` of a receiver's file descriptor. The file descriptor
//! stays open under its number while the receiver exists: when the receiver is moved into a
//! message, a borrowed file descriptor stays behind, or is replaced.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::channel::{Receiver, Sender, Slot, TransferState};
use crate::error::TryRecvError;
use crate::ipc::{
    IpcBytesReceiver, IpcBytesSender, IpcConnection, IpcOneShotServer, IpcReceiver, IpcReceiverSet,
    IpcSender, IpcServer, IpcSyncSender, OpaqueIpcReceiver, OpaqueIpcSender, OpaqueIpcSyncSender,
    ServerName, server,
};
pub use crate::platform::Peer;
use crate::platform::contract::Attachment as _;
use crate::platform::{Attachment, Wait, unix};
use crate::process::Starting;

macro_rules! sender_fd {
    ($($sender:ident $(<$T:ident>)?),*) => {$(
        impl$(<$T>)? AsFd for $sender$(<$T>)? {
            /// Borrows the file descriptor of the channel's socket.
            ///
            /// # Panics
            ///
            /// Panics if the channel has not left this process, and there are no file descriptors
            /// left to create its socket.
            fn as_fd(&self) -> BorrowedFd<'_> {
                match self.core().packets() {
                    Ok(packets) => packets.as_fd(),
                    Err(error) => stand_in(error),
                }
            }
        }

        /// Returns the number of the borrowed file descriptor, for interfaces that take numbers,
        /// such as tokio's `AsyncFd`.
        impl$(<$T>)? AsRawFd for $sender$(<$T>)? {
            fn as_raw_fd(&self) -> RawFd {
                self.as_fd().as_raw_fd()
            }
        }

    )*};
}

macro_rules! sender {
    ($($sender:ident $(<$T:ident>)?),*) => {$(
        /// Converts a file descriptor to a sender, after checking that it is a socket of the right
        /// kind.
        impl$(<$T>)? TryFrom<OwnedFd> for $sender$(<$T>)? {
            type Error = io::Error;

            fn try_from(fd: OwnedFd) -> io::Result<Self> {
                // With this file descriptor, even if this process has another sender of the
                // channel: the caller passed it as a sender.
                let packets = Attachment::received(fd).into_sender()?;
                Ok($sender::from(Sender::new(packets, None)))
            }
        }

        /// Converts a sender to a duplicate of its file descriptor.
        impl$(<$T>)? TryFrom<$sender$(<$T>)?> for OwnedFd {
            type Error = io::Error;

            fn try_from(sender: $sender$(<$T>)?) -> io::Result<OwnedFd> {
                sender.as_fd().try_clone_to_owned()
            }
        }
    )*};
}

macro_rules! receiver {
    ($($receiver:ident $(<$T:ident>)?),*) => {$(
        impl$(<$T>)? AsFd for $receiver$(<$T>)? {
            /// Borrows a file descriptor for polling. If the receiver was moved into a message, the
            /// file descriptor is always readable.
            fn as_fd(&self) -> BorrowedFd<'_> {
                receiver_fd(self.slot())
            }
        }

        /// Returns the number of the borrowed file descriptor, for interfaces that take numbers,
        /// such as tokio's `AsyncFd`.
        impl$(<$T>)? AsRawFd for $receiver$(<$T>)? {
            fn as_raw_fd(&self) -> RawFd {
                self.as_fd().as_raw_fd()
            }
        }

        /// Converts a file descriptor to a receiver, after checking that it is a socket of the
        /// right kind.
        impl$(<$T>)? TryFrom<OwnedFd> for $receiver$(<$T>)? {
            type Error = io::Error;

            fn try_from(fd: OwnedFd) -> io::Result<Self> {
                let state = TransferState::default();
                let receiver = Receiver::put_together(Attachment::received(fd), state)?;
                Ok($receiver::from(Slot::from(receiver)))
            }
        }

        /// Converts a receiver to its socket. The conversion fails, and returns the receiver, in
        /// these cases:
        ///
        /// - The receiver was moved into a message.
        /// - The receiver has received the first part of a large message.
        /// - The receiver has messages from shared memory. Receive them first.
        impl$(<$T>)? TryFrom<$receiver$(<$T>)?> for OwnedFd {
            type Error = $receiver$(<$T>)?;

            fn try_from(receiver: $receiver$(<$T>)?) -> Result<OwnedFd, $receiver$(<$T>)?> {
                let packets = receiver.into_slot().into_packets();
                packets.map(unix::PacketReceiver::into_fd).map_err($receiver::from)
            }
        }
    )*};
}

sender_fd!(IpcSender<T>, IpcSyncSender<T>, IpcBytesSender, OpaqueIpcSender, OpaqueIpcSyncSender);
sender!(IpcSender<T>, IpcBytesSender, OpaqueIpcSender);
receiver!(IpcReceiver<T>, IpcBytesReceiver, OpaqueIpcReceiver);

fn receiver_fd(slot: &Slot) -> BorrowedFd<'_> {
    let lent = slot.with(|receiver| receiver.lend().map(|packets| packets.lent().as_raw_fd()));
    let lent = lent.and_then(|lent| lent).ok();
    let left = || slot.with_remainder(|remainder| Some(remainder.lent()?.as_raw_fd()));
    match lent.or_else(|| left()?) {
        // SAFETY: the slot is borrowed, and a lent file descriptor stays open under its number
        // while the slot exists. This also holds for a receiver that is moved, or that returns
        // because its message was not sent.
        Some(fd) => unsafe { BorrowedFd::borrow_raw(fd) },
        None => stand_in(io::Error::other("the receiver was moved")),
    }
}

/// Returns a file descriptor that is always readable, for an endpoint that has none for this
/// reason.
fn stand_in(reason: io::Error) -> BorrowedFd<'static> {
    unix::placeholder().unwrap_or_else(|error| {
        panic!("{reason}, and no file descriptor is left to stand in for the endpoint: {error}")
    })
}

/// The file descriptor becomes readable when a selection may return something. The first call
/// creates what it needs. From then on, a selection that leaves results for the next one keeps the
/// file descriptor readable.
impl AsFd for IpcReceiverSet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // Without a handle for it, the remaining results become visible with the next event.
        let _ = self.core().remind();
        self.core().poller().as_fd()
    }
}

/// Returns the number of the borrowed file descriptor, for interfaces that take numbers, such as
/// tokio's `AsyncFd`.
impl AsRawFd for IpcReceiverSet {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// The file descriptor becomes readable when the child has called
/// [`parent`](crate::process::parent), or when it is certain that the child will not.
/// [`wait`](Starting::wait) with a timeout of zero then returns true. The file descriptor is of no
/// use after that.
impl<ToChild, FromChild> AsFd for Starting<ToChild, FromChild> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.called.as_fd()
    }
}

/// Returns the number of the borrowed file descriptor, for interfaces that take numbers, such as
/// tokio's `AsyncFd`.
impl<ToChild, FromChild> AsRawFd for Starting<ToChild, FromChild> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// Extends one-shot servers on Unix: the server can select clients by their credentials.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use strait::ipc::{IpcOneShotServer, IpcSender};
/// use strait::os::unix::IpcOneShotServerExt;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (server, name) = IpcOneShotServer::<u32>::new()?;
/// # let client = std::thread::spawn(move || {
/// // In the child whose process id is `child`:
/// IpcSender::connect(name)?.send(1)
/// # });
/// # let child = std::process::id();
///
/// // Here:
/// let timeout = Some(Duration::from_secs(10));
/// let (_receiver, message) = server.accept_if(timeout, |peer| peer.pid == child)?;
/// assert_eq!(message, 1);
/// # client.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
pub trait IpcOneShotServerExt<T>: Sized {
    /// Accepts a client as [`IpcOneShotServer::accept_timeout`] does, but only if `filter`
    /// returns true for it. `filter` is called before anything is received from the client.
    ///
    /// Without this method, the server accepts clients of this user and of root. `None` means no
    /// timeout.
    ///
    /// # Errors
    ///
    /// - Any error of [`IpcOneShotServer::accept_timeout`].
    fn accept_if(
        self,
        timeout: Option<Duration>,
        filter: impl FnMut(&Peer) -> bool,
    ) -> Result<(IpcReceiver<T>, T), TryRecvError>;
}

impl<T> IpcOneShotServerExt<T> for IpcOneShotServer<T>
where
    T: for<'de> Deserialize<'de>,
{
    fn accept_if(
        self,
        timeout: Option<Duration>,
        filter: impl FnMut(&Peer) -> bool,
    ) -> Result<(IpcReceiver<T>, T), TryRecvError> {
        let wait = timeout.map_or(Wait::Forever, Wait::at_most);
        self.accept_if_admitted(wait, filter)
    }
}

/// Extends servers on Unix: the server can select clients by their credentials.
///
/// # Examples
///
/// See [`set_filter`](IpcServerExt::set_filter).
pub trait IpcServerExt {
    /// Accepts a client from now on only if `filter` returns true for it. Other clients are
    /// disconnected before anything is received from them. Without a filter, the server accepts
    /// clients of this user and of root.
    ///
    /// # Examples
    ///
    /// ```
    /// use strait::ipc::{self, IpcServer};
    /// use strait::os::unix::IpcServerExt;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("filter-{}", std::process::id());
    /// # let name = name.as_str();
    /// let mut server = IpcServer::<(), ()>::bind(name)?;
    /// server.set_filter(|peer| peer.is_same_user() && peer.pid != std::process::id());
    ///
    /// let (_, receiver) = ipc::connect::<(), ()>(name)?;
    /// assert!(server.try_accept().unwrap_err().is_empty());
    /// assert!(receiver.recv().unwrap_err().is_disconnected());
    /// # Ok(())
    /// # }
    /// ```
    fn set_filter(&mut self, filter: impl FnMut(&Peer) -> bool + Send + 'static);
}

impl<Out, In> IpcServerExt for IpcServer<Out, In> {
    fn set_filter(&mut self, filter: impl FnMut(&Peer) -> bool + Send + 'static) {
        self.core().set_filter(Box::new(filter));
    }
}

/// Extends connections on Unix: the server can identify the process of the client.
///
/// Both methods query the socket of the receiver. If the connection was not accepted by a server of
/// this process but received in a message, they describe that socket, whatever it is. If the
/// receiver was moved into a message, both methods fail.
///
/// # Examples
///
/// ```
/// use strait::ipc::{self, IpcServer};
/// use strait::os::unix::IpcConnectionExt;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("peer-{}", std::process::id());
/// # let name = name.as_str();
/// let mut server = IpcServer::<(), ()>::bind(name)?;
/// let client = ipc::connect::<(), ()>(name)?;
/// let peer = server.accept()?.peer()?;
/// // The client is this process, too.
/// assert_eq!(peer.pid, std::process::id());
/// assert!(peer.is_same_user());
/// # drop(client);
/// # Ok(())
/// # }
/// ```
pub trait IpcConnectionExt {
    /// Returns the credentials of the process that connected.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput) if the receiver was moved into a message.
    /// - Any other error of the operating system.
    fn peer(&self) -> io::Result<Peer>;

    /// Opens a process file descriptor (pidfd) of the process that connected: to wait for its end,
    /// to signal it, or to inspect it. The pidfd never refers to another process with the same
    /// process id. It is closed on `exec`.
    ///
    /// # Errors
    ///
    /// - [`Unsupported`](io::ErrorKind::Unsupported) before Linux 6.5.
    /// - Any error of [`peer`](IpcConnectionExt::peer).
    /// - Any other error of the operating system, for example if the process has ended and was
    ///   reaped.
    fn process_handle(&self) -> io::Result<OwnedFd>;
}

impl<Out, In> IpcConnectionExt for IpcConnection<Out, In> {
    fn peer(&self) -> io::Result<Peer> {
        self.receiver.slot().with(|receiver| Peer::of(socket_of(receiver)?))?
    }

    fn process_handle(&self) -> io::Result<OwnedFd> {
        self.receiver.slot().with(|receiver| unix::peer_process(socket_of(receiver)?))?
    }
}

/// The socket of a receiver. An error if the receiver was replaced by one that has no socket.
fn socket_of(receiver: &Receiver) -> io::Result<&unix::PacketReceiver> {
    let no_client =
        || io::Error::new(io::ErrorKind::InvalidInput, "no client connected to this channel");
    receiver.packets().ok_or_else(no_client)
}

/// Connects as [`ipc::connect_timeout`](crate::ipc::connect_timeout) does, but only if `is_trusted`
/// returns true for the server.
///
/// `is_trusted` is called before anything is sent. `None` means no timeout.
///
/// # Errors
///
/// - [`PermissionDenied`](io::ErrorKind::PermissionDenied) if `is_trusted` returned false.
/// - Any error of [`ipc::connect_timeout`](crate::ipc::connect_timeout).
///
/// # Examples
///
/// ```
/// use strait::ipc::IpcServer;
/// use strait::os::unix::connect_if;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("trusted-{}", std::process::id());
/// # let name = name.as_str();
/// let _server = IpcServer::<(), ()>::bind(name)?;
/// let is_root = connect_if::<(), ()>(name, None, |server| server.uid == 0).is_ok();
/// # let uid = rustix::process::geteuid().as_raw();
/// assert_eq!(is_root, uid == 0);
/// # Ok(())
/// # }
/// ```
pub fn connect_if<Out, In>(
    name: impl Into<ServerName>,
    timeout: Option<Duration>,
    is_trusted: impl FnMut(&Peer) -> bool,
) -> io::Result<(IpcSender<Out>, IpcReceiver<In>)>
where
    Out: for<'de> Deserialize<'de> + Serialize,
    In: for<'de> Deserialize<'de> + Serialize,
{
    let wait = timeout.map_or(Wait::Forever, Wait::at_most);
    server::connect_if_trusted(&name.into(), wait, is_trusted)
}
