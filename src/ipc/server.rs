//! Servers for many clients.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{IpcReceiver, IpcSender};
use crate::channel::server::{self, Connection};
use crate::channel::{Server, Slot};
use crate::codec;
use crate::error::{IpcError, TryRecvError};
use crate::platform::{Peer, ServerName, Wait};

/// A server with a name that any number of clients connect to. Each client gets a channel in each
/// direction: the server sends `Out` to it and receives `In`.
///
/// A client is accepted when its [`connect`] has returned, or a little before; what it sends until
/// then is not lost, even if it ends meanwhile. Connections that stay silent, break the protocol or
/// close are not accepted, and delay no client: the server keeps some 64 silent connections, and
/// drops the oldest for the next.
///
/// A server can also be [a member of a set](super::IpcReceiverSet::add_server), and with the
/// feature `async` a stream.
///
/// # The name
///
/// A [name](ServerName) belongs to one server at a time. The next server takes over the name of one
/// that was killed; it asks the operating system whether the owner is alive. The name disappears
/// when the server is dropped. Clients that have been accepted keep their channels.
///
/// # Bounds
///
/// A connection has no bound: messages that are sent and not received take up memory of the side
/// that sends. For a connection with bounds, each side makes a channel with a bound and sends its
/// receiver as the first message:
///
/// ```
/// use strait::ipc::{self, IpcReceiver, IpcServer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("bounded-{}", std::process::id());
/// # let name = name.as_str();
/// let mut server = IpcServer::<IpcReceiver<u64>, IpcReceiver<u32>>::bind(name)?;
///
/// // The client waits when eight of its numbers were not received yet.
/// let (numbers, receiver) = ipc::sync_channel::<u32>(8)?;
/// let (to_server, from_server) = ipc::connect::<IpcReceiver<u32>, IpcReceiver<u64>>(name)?;
/// to_server.send(receiver)?;
/// numbers.send(21)?;
///
/// let (to_client, from_client) = server.accept()?.split();
/// let numbers = from_client.recv()?;
/// let (answers, receiver) = ipc::sync_channel::<u64>(8)?;
/// to_client.send(receiver)?;
/// answers.send(2 * u64::from(numbers.recv()?))?;
///
/// assert_eq!(from_server.recv()?.recv()?, 42);
/// # Ok(())
/// # }
/// ```
///
/// # Platform
///
/// Only processes of this user and of root are accepted, however many can connect: `set_filter` in
/// [`os`](crate::os) changes that, and tells which process it is. A server that runs as the
/// overflow uid in a user namespace accepts no client at a path or an abstract name without a
/// filter, because it cannot tell users apart. On Linux other users may be able to connect to a
/// path or an abstract name, but not to a private name.
///
/// On Linux a server has three file descriptors, and one more for the lock of a name in the file
/// system. Each client has two. See [the table of costs](crate#costs).
///
/// After a `fork` a server belongs to the parent. The child must not use it, and shares the name
/// with it: until both have ended or dropped it, or the child has called `exec`, the name counts as
/// in use if the parent was killed.
///
/// # Examples
///
/// ```
/// use std::thread;
/// use strait::ipc::{self, IpcServer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("doubling-{}", std::process::id());
/// # let name = name.as_str();
/// // "doubling", say:
/// let mut server = IpcServer::<u64, u32>::bind(name)?;
/// let service = thread::spawn(move || -> Result<(), strait::IpcError> {
///     for client in server.incoming() {
///         let (sender, receiver) = client?.split();
///         thread::spawn(move || {
///             for number in receiver {
///                 if sender.send(2 * u64::from(number)).is_err() {
///                     break;
///                 }
///             }
///         });
/// #       break;
///     }
///     Ok(())
/// });
///
/// // In as many other processes as you like:
/// let (sender, receiver) = ipc::connect::<u32, u64>(name)?;
/// sender.send(21)?;
/// assert_eq!(receiver.recv()?, 42);
/// # service.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
pub struct IpcServer<Out, In> {
    server: Server,
    values: PhantomData<fn() -> (Out, In)>,
}

impl<Out, In> IpcServer<Out, In>
where
    Out: for<'de> Deserialize<'de> + Serialize,
    In: for<'de> Deserialize<'de> + Serialize,
{
    /// Makes a server with this name.
    ///
    /// # Errors
    ///
    /// - [`AddrInUse`](io::ErrorKind::AddrInUse): a server that is alive has the name.
    /// - [`AlreadyExists`](io::ErrorKind::AlreadyExists): there is something else at that path. It
    ///   is left alone.
    /// - [`PermissionDenied`](io::ErrorKind::PermissionDenied): the directory for private names is
    ///   not this user's alone.
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput): it cannot be a name.
    /// - Others of the operating system.
    pub fn bind(name: impl Into<ServerName>) -> Result<IpcServer<Out, In>, io::Error> {
        Server::bind(name.into(), codec::introduction::<Out, In>()).map(IpcServer::from)
    }

    /// Returns the name that clients connect to.
    pub fn name(&self) -> &ServerName {
        self.server.name()
    }

    /// Returns the next client, and blocks until one connects.
    ///
    /// # Errors
    ///
    /// - [`SerializationError`](IpcError::SerializationError) if a client speaks another version of
    ///   strait's protocol, or has another codec. The error names those of both processes, and the
    ///   client's first [`recv`](IpcReceiver::recv) returns it as well. The next call returns the
    ///   next client.
    /// - [`Io`](IpcError::Io) if the operating system refused, for want of handles, say. The client
    ///   waits until the next call.
    pub fn accept(&mut self) -> Result<IpcConnection<Out, In>, IpcError> {
        // Without a limit `Empty` does not happen.
        self.accept_within(Wait::Forever).map_err(|error| match error {
            TryRecvError::IpcError(error) => error,
            TryRecvError::Empty => IpcError::Io(io::ErrorKind::WouldBlock.into()),
        })
    }

    /// Returns the next client if there is one. Never blocks.
    ///
    /// # Errors
    ///
    /// [`Empty`](TryRecvError::Empty) if there is none; else as [`accept`](IpcServer::accept).
    pub fn try_accept(&mut self) -> Result<IpcConnection<Out, In>, TryRecvError> {
        self.accept_within(Wait::Never)
    }

    /// Returns the next client, and blocks until one connects, for at most `duration`.
    ///
    /// # Errors
    ///
    /// [`Empty`](TryRecvError::Empty) if none came in time; else as [`accept`](IpcServer::accept).
    pub fn accept_timeout(
        &mut self,
        duration: Duration,
    ) -> Result<IpcConnection<Out, In>, TryRecvError> {
        self.accept_within(Wait::at_most(duration))
    }

    /// Returns an iterator over the clients, which blocks until each connects. It never ends; after
    /// an error it can be used again.
    pub fn incoming(&mut self) -> Incoming<'_, Out, In> {
        Incoming { server: self }
    }

    fn accept_within(&mut self, wait: Wait) -> Result<IpcConnection<Out, In>, TryRecvError> {
        Ok(IpcConnection::from(self.server.accept(wait)?))
    }
}

impl<Out, In> IpcServer<Out, In> {
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn core(&mut self) -> &mut Server {
        &mut self.server
    }

    pub(crate) fn into_core(self) -> Server {
        self.server
    }
}

impl<Out, In> From<Server> for IpcServer<Out, In> {
    fn from(server: Server) -> IpcServer<Out, In> {
        IpcServer { server, values: PhantomData }
    }
}

impl<Out, In> fmt::Debug for IpcServer<Out, In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IpcServer").field(&self.server).finish()
    }
}

/// The iterator that [`IpcServer::incoming`] returns.
///
/// # Examples
///
/// See [`IpcServer`].
pub struct Incoming<'a, Out, In> {
    server: &'a mut IpcServer<Out, In>,
}

impl<Out, In> Iterator for Incoming<'_, Out, In>
where
    Out: for<'de> Deserialize<'de> + Serialize,
    In: for<'de> Deserialize<'de> + Serialize,
{
    type Item = Result<IpcConnection<Out, In>, IpcError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.server.accept())
    }
}

impl<Out, In> fmt::Debug for Incoming<'_, Out, In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("server", &self.server).finish()
    }
}

/// The connection of a server to a client: a channel in each direction.
///
/// After the client has ended or dropped its ends, the receiver delivers what the client has sent,
/// and then returns [`Disconnected`](IpcError::Disconnected). Drop both ends to disconnect a
/// client.
///
/// # Examples
///
/// See [`IpcServer`] and [`IpcReceiverSet::add_server`](super::IpcReceiverSet::add_server).
pub struct IpcConnection<Out, In> {
    /// To the client.
    pub sender: IpcSender<Out>,
    /// From the client.
    pub receiver: IpcReceiver<In>,
}

impl<Out, In> IpcConnection<Out, In> {
    /// Returns both ends.
    pub fn split(self) -> (IpcSender<Out>, IpcReceiver<In>) {
        (self.sender, self.receiver)
    }
}

impl<Out, In> fmt::Debug for IpcConnection<Out, In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("IpcConnection");
        fields.field("sender", &self.sender).field("receiver", &self.receiver).finish()
    }
}

impl<Out, In> From<Connection> for IpcConnection<Out, In> {
    fn from((sender, receiver): Connection) -> IpcConnection<Out, In> {
        IpcConnection {
            sender: IpcSender::from(sender),
            receiver: IpcReceiver::from(Slot::from(receiver)),
        }
    }
}

/// As the pair of its ends.
impl<Out, In> Serialize for IpcConnection<Out, In> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.sender, &self.receiver).serialize(serializer)
    }
}

impl<'de, Out, In> Deserialize<'de> for IpcConnection<Out, In> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (sender, receiver) = Deserialize::deserialize(deserializer)?;
        Ok(IpcConnection { sender, receiver })
    }
}

/// Connects to the [`IpcServer`] of that name, and returns a sender to it and a receiver from it.
///
/// It does not block until the server accepts the client, and messages can be sent at once. While
/// very many clients wait to be accepted, it blocks until it is this client's turn. A server that
/// refuses this process drops its messages, and its ends return
/// [`Disconnected`](IpcError::Disconnected).
///
/// A server that speaks another version of strait's protocol, or has another codec, does not accept
/// this process. The first [`recv`](IpcReceiver::recv) then returns a
/// [`SerializationError`](IpcError::SerializationError) that names the versions and codecs of both
/// processes, and `send` returns `Disconnected` from then on.
///
/// # Errors
///
/// - [`NotFound`](io::ErrorKind::NotFound): there is no such server.
/// - [`ConnectionRefused`](io::ErrorKind::ConnectionRefused): the server was killed, and left its
///   name behind.
/// - [`PermissionDenied`](io::ErrorKind::PermissionDenied) if the file system does not let this
///   process connect; or if the name is private or abstract, and the server runs as another user
///   than this process, and not as root.
/// - [`ConnectionReset`](io::ErrorKind::ConnectionReset) if the server refuses this process.
/// - [`InvalidInput`](io::ErrorKind::InvalidInput): it is not the name of a server.
/// - Others of the operating system.
///
/// # Examples
///
/// See [`IpcServer`].
pub fn connect<Out, In>(
    name: impl Into<ServerName>,
) -> Result<(IpcSender<Out>, IpcReceiver<In>), io::Error>
where
    Out: for<'de> Deserialize<'de> + Serialize,
    In: for<'de> Deserialize<'de> + Serialize,
{
    connect_within(&name.into(), Wait::Forever)
}

/// As [`connect`], and blocks for at most `duration` while too many clients wait to be accepted.
///
/// # Errors
///
/// [`TimedOut`](io::ErrorKind::TimedOut) if it was not its turn in time; otherwise as [`connect`].
///
/// # Examples
///
/// ```
/// use std::io::ErrorKind;
/// use std::time::Duration;
///
/// use strait::ipc;
///
/// let seconds = Duration::from_secs(5);
/// let error = ipc::connect_timeout::<u32, u64>("not-running", seconds).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// ```
pub fn connect_timeout<Out, In>(
    name: impl Into<ServerName>,
    duration: Duration,
) -> Result<(IpcSender<Out>, IpcReceiver<In>), io::Error>
where
    Out: for<'de> Deserialize<'de> + Serialize,
    In: for<'de> Deserialize<'de> + Serialize,
{
    connect_within(&name.into(), Wait::at_most(duration))
}

fn connect_within<Out, In>(
    name: &ServerName,
    wait: Wait,
) -> io::Result<(IpcSender<Out>, IpcReceiver<In>)> {
    connect_if_trusted(name, wait, |peer| match name {
        // Which processes may make a file at a path is for its owner to say.
        ServerName::Path(_) => true,
        // No other user can enter their directory.
        ServerName::Private(_) => peer.shows_as_same_user(),
        ServerName::Abstract(_) => peer.is_same_user(),
    })
}

pub(crate) fn connect_if_trusted<Out, In>(
    name: &ServerName,
    wait: Wait,
    is_trusted: impl FnMut(&Peer) -> bool,
) -> io::Result<(IpcSender<Out>, IpcReceiver<In>)> {
    let introduction = codec::introduction::<Out, In>();
    Ok(IpcConnection::from(server::connect(name, &introduction, wait, is_trusted)?).split())
}
