//! Descriptors: of endpoints, to poll them or to pass them on by other means, and of who connected.
//!
//! Polling a receiver's descriptor says when to call [`try_recv`](IpcReceiver::try_recv). From the first call of `as_fd` on it is
//! readable while there may be something to receive: a message, wherever that is, an error to be told, the end. It may say so once
//! too often, and then [`try_recv`](IpcReceiver::try_recv) returns [`Empty`](crate::TryRecvError::Empty).
//!
//! - A level-triggered poller (`poll`, `epoll` as it is by default) needs nothing else: one message for each event will do.
//! - An edge-triggered one (`EPOLLET`, mio's `SourceFd`, tokio's `AsyncFd`) tells of changes only. Call
//!   [`try_recv`](IpcReceiver::try_recv) until it returns [`Empty`](crate::TryRecvError::Empty), and then wait for the next.
//!
//! The descriptor is strait's, and for polling only: reading from it, writing to it or changing its flags breaks the receiver. It is
//! not the channel's socket; that is what `OwnedFd::try_from` makes of a receiver. It and another one that it needs last until the
//! receiver is dropped or becomes something else, such as a member of a set.
//!
//! A receiver that is sent in a message leaves the descriptor behind: it is always readable then, and `try_recv` says what
//! happened. It may stay in `epoll`, mio or tokio until then, and be taken out of it after that.
//!
//! If there are no descriptors left for it, the socket is lent instead, and messages come by that as far as possible. Those that came by
//! shared memory all the same, before the first `as_fd` or because the socket was full, do not show in it. So in this case, call
//! `try_recv` until it returns `Empty`, and remove such a receiver from every `epoll` instance before it is sent in a message: the
//! registration would go with the channel, and could not be removed any more. The next `as_fd` tries again.
//!
//! After a fork, one of the two processes goes on with the receiver, and with the descriptor; the other may only drop them.
//!
//! ```
//! use std::os::fd::AsFd;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (sender, receiver) = strait::ipc::channel::<u32>()?;
//! sender.send(1)?;
//! let mut fds = [rustix::event::PollFd::from_borrowed_fd(receiver.as_fd(), rustix::event::PollFlags::IN)];
//! assert_eq!(rustix::event::poll(&mut fds, None)?, 1);
//! assert_eq!(receiver.try_recv()?, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Safety
//!
//! One `borrow_raw` of a receiver's descriptor, which stays open under its number for as long as the receiver lives: one that
//! was lent out stays behind, or is replaced, when the receiver moves into a message.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::channel::{Luggage, Receiver, Sender, Slot};
use crate::error::TryRecvError;
use crate::ipc::{
    IpcBytesReceiver, IpcBytesSender, IpcConnection, IpcOneShotServer, IpcReceiver, IpcReceiverSet,
    IpcSender, IpcServer, IpcSyncSender, OpaqueIpcReceiver, OpaqueIpcSender, ServerName, server,
};
pub use crate::platform::Peer;
use crate::platform::{Attachment, Wait, unix};

macro_rules! sender_fd {
    ($($sender:ident $(<$T:ident>)?),*) => {$(
        impl$(<$T>)? AsFd for $sender$(<$T>)? {
            /// Borrows the descriptor of the socket.
            ///
            /// # Panics
            ///
            /// The channel was in this process only, and there are no descriptors left to change that.
            fn as_fd(&self) -> BorrowedFd<'_> {
                match self.core().packets() {
                    Ok(packets) => packets.as_fd(),
                    Err(error) => stand_in(error),
                }
            }
        }

        /// The number of the borrowed descriptor, for what takes nothing else, as tokio's `AsyncFd`.
        impl$(<$T>)? AsRawFd for $sender$(<$T>)? {
            fn as_raw_fd(&self) -> RawFd {
                self.as_fd().as_raw_fd()
            }
        }

    )*};
}

macro_rules! sender {
    ($($sender:ident $(<$T:ident>)?),*) => {$(
        /// Makes it a sender, after checking that it is a socket of the right kind.
        impl$(<$T>)? TryFrom<OwnedFd> for $sender$(<$T>)? {
            type Error = io::Error;

            fn try_from(fd: OwnedFd) -> io::Result<Self> {
                // With this very descriptor, also if there is a sender of the channel: it was given as one.
                let packets = Attachment::received(fd).into_sender()?;
                Ok($sender::from(Sender::new(packets, None)))
            }
        }

        /// Makes a further descriptor of the sender.
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
            /// Borrows a descriptor to be polled. If the receiver was moved into a message, it is one that is always readable.
            fn as_fd(&self) -> BorrowedFd<'_> {
                receiver_fd(self.slot())
            }
        }

        /// The number of the borrowed descriptor, for what takes nothing else, as tokio's `AsyncFd`.
        impl$(<$T>)? AsRawFd for $receiver$(<$T>)? {
            fn as_raw_fd(&self) -> RawFd {
                self.as_fd().as_raw_fd()
            }
        }

        /// Makes it a receiver, after checking that it is a socket of the right kind.
        impl$(<$T>)? TryFrom<OwnedFd> for $receiver$(<$T>)? {
            type Error = io::Error;

            fn try_from(fd: OwnedFd) -> io::Result<Self> {
                let receiver = Receiver::arrive(Attachment::received(fd), Luggage::default())?;
                Ok($receiver::from(Slot::from(receiver)))
            }
        }

        /// Takes the socket out. It fails, and gives the receiver back, if the receiver was moved into a message, has
        /// received the first part of a large message, or has messages that came by shared memory: receive those first.
        impl$(<$T>)? TryFrom<$receiver$(<$T>)?> for OwnedFd {
            type Error = $receiver$(<$T>)?;

            fn try_from(receiver: $receiver$(<$T>)?) -> Result<OwnedFd, $receiver$(<$T>)?> {
                receiver.into_slot().into_packets().map(unix::PacketReceiver::into_fd).map_err($receiver::from)
            }
        }
    )*};
}

sender_fd!(IpcSender<T>, IpcSyncSender<T>, IpcBytesSender, OpaqueIpcSender);
sender!(IpcSender<T>, IpcBytesSender, OpaqueIpcSender);
receiver!(IpcReceiver<T>, IpcBytesReceiver, OpaqueIpcReceiver);

fn receiver_fd(slot: &Slot) -> BorrowedFd<'_> {
    let lent = slot.with(|receiver| receiver.lend().map(|packets| packets.lent().as_raw_fd()));
    let lent = lent.and_then(|lent| lent).ok();
    let left = || slot.with_remains(|remains| Some(remains.lent()?.as_raw_fd()));
    match lent.or_else(|| left()?) {
        // SAFETY: what is lent out stays open under its number while the slot, which is borrowed, lives: it is kept also of a receiver
        // that leaves, and that comes back.
        Some(fd) => unsafe { BorrowedFd::borrow_raw(fd) },
        None => stand_in(io::Error::other("the receiver was moved")),
    }
}

/// What is lent out of an endpoint that has no descriptor, for this reason: one that is always readable.
fn stand_in(reason: io::Error) -> BorrowedFd<'static> {
    unix::placeholder().unwrap_or_else(|error| {
        panic!("{reason}, and there is no descriptor left to stand for the endpoint: {error}")
    })
}

/// The descriptor becomes readable when a selection may find something. It is made for polling at the first call;
/// from then on a selection that leaves something for the next one keeps it readable.
impl AsFd for IpcReceiverSet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // Without a handle for it, what is left over shows with the next thing that happens.
        let _ = self.core().remind();
        self.core().poller().as_fd()
    }
}

/// The number of the borrowed descriptor, for what takes nothing else, as tokio's `AsyncFd`.
impl AsRawFd for IpcReceiverSet {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// What only Unix servers can: know who connects.
pub trait IpcOneShotServerExt<T>: Sized {
    /// As [`IpcOneShotServer::accept_timeout`], with `may_enter` to decide who is heard, before anything is received from
    /// them; `None` is no limit. Without it, that is whoever runs as this user or as root.
    ///
    /// # Errors
    ///
    /// As [`IpcOneShotServer::accept_timeout`].
    fn accept_if(
        self,
        timeout: Option<Duration>,
        may_enter: impl FnMut(&Peer) -> bool,
    ) -> Result<(IpcReceiver<T>, T), TryRecvError>;
}

impl<T> IpcOneShotServerExt<T> for IpcOneShotServer<T>
where
    T: for<'de> Deserialize<'de> + Serialize,
{
    fn accept_if(
        self,
        timeout: Option<Duration>,
        may_enter: impl FnMut(&Peer) -> bool,
    ) -> Result<(IpcReceiver<T>, T), TryRecvError> {
        let wait = timeout.map_or(Wait::Forever, Wait::at_most);
        self.accept_if_admitted(wait, may_enter)
    }
}

/// What only Unix servers can: choose who gets in.
pub trait IpcServerExt {
    /// From now on, lets in whom `filter` lets in, and drops others before anything is received from them. Without it, that is
    /// whoever runs as this user or as root.
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

/// What only connections between Unix processes know: who the client is.
///
/// Both look at the socket that the receiver has. If the connection did not come from a server of this process, but in a message, they
/// tell the truth about that socket, whosever it is. If the receiver was moved into a message, both fail.
pub trait IpcConnectionExt {
    /// Who connected.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if the receiver was moved into a message; others of the operating system.
    fn peer(&self) -> io::Result<Peer>;

    /// Makes a process descriptor of who connected: to wait for its end, to signal it, or to look at it, without ever getting hold of
    /// another process that has got its number. It is closed on `exec`.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) before Linux 6.5; as [`peer`](IpcConnectionExt::peer); others of the operating
    /// system, if the process has ended and nothing is left of it, say.
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

/// The socket of a receiver that nobody has exchanged for one that has none.
fn socket_of(receiver: &Receiver) -> io::Result<&unix::PacketReceiver> {
    let nobody = || io::Error::new(io::ErrorKind::InvalidInput, "nobody connected to this channel");
    receiver.packets().ok_or_else(nobody)
}

/// As [`ipc::connect_timeout`](crate::ipc::connect_timeout), with `is_trusted` to decide whether to speak to who listens, before
/// anything is sent; `None` is no limit.
///
/// # Errors
///
/// [`PermissionDenied`](io::ErrorKind::PermissionDenied) if it is not trusted; else as
/// [`ipc::connect_timeout`](crate::ipc::connect_timeout).
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
