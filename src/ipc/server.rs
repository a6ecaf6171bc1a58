//! Servers for many clients, and how clients connect to them.

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
use crate::platform::contract::Peer as _;
use crate::platform::{Peer, ServerName, Wait};

/// A server with a name, which accepts connections from any number of clients.
///
/// Each client gets a channel in each direction: the server sends `Out` to the client and receives
/// `In`.
///
/// [`connect`] sends the client's handshake before it returns. From then on, or shortly before,
/// [`accept`](IpcServer::accept) returns the client. The messages of a client that has ended before
/// it was accepted are received, too.
///
/// The server skips connections that never complete the handshake, break the protocol or are
/// closed. They delay no client: the server keeps some 64 connections without a handshake, and
/// drops the oldest for the next one.
///
/// A server can also be [a member of a receiver set](super::IpcReceiverSet::add_server), and with
/// the feature `async` a stream.
///
/// # The name
///
/// A [name](ServerName) belongs to one server at a time. Another server can bind the name of a
/// server that was killed: it asks the operating system whether the owner is alive. While the owner
/// is alive, `bind` fails with [`AddrInUse`](io::ErrorKind::AddrInUse).
///
/// The name disappears when the server is dropped. The channels of accepted clients stay connected.
///
/// # Bounds
///
/// The channels of a connection are unbounded: messages that are sent and not received take up
/// memory of the sender's process. For a bounded connection, both processes create a bounded
/// channel and send its receiver as the first message:
///
/// ```
/// use strait::ipc::{self, IpcReceiver, IpcServer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("bounded-{}", std::process::id());
/// # let name = name.as_str();
/// let mut server = IpcServer::<IpcReceiver<u64>, IpcReceiver<u32>>::bind(name)?;
///
/// // The client blocks while eight of its numbers have not been received.
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
/// The server accepts only processes of this user and of root, even if other processes can connect.
/// `set_filter` in [`os`](crate::os) changes that, and shows the credentials of the process to the
/// filter. A server that runs as the overflow uid in a user namespace cannot tell users apart.
/// Without a filter it accepts no client at a path or an abstract name.
///
/// On Linux other users may be able to connect to a path or an abstract name, but not to a private
/// name.
///
/// On Linux a server has three file descriptors, and one more for the lock of a name in the file
/// system. Each client takes two. See [the table of costs](crate#costs).
///
/// After a `fork`, a server belongs to the parent. The child must not use it, and shares the name
/// with the parent. If the parent is killed, the name counts as in use until the child has ended,
/// has dropped the server, or has called `exec`.
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
/// // For example "doubling":
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
/// // In any number of other processes:
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
    /// Creates a server with this name.
    ///
    /// # Errors
    ///
    /// - [`AddrInUse`](io::ErrorKind::AddrInUse) if a server that is alive has the name.
    /// - [`AlreadyExists`](io::ErrorKind::AlreadyExists) if the path exists and is not a server's.
    ///   `bind` leaves it unchanged.
    /// - [`PermissionDenied`](io::ErrorKind::PermissionDenied) if the directory for private names
    ///   does not belong to this user alone.
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput) if `name` is not a valid name.
    /// - Any other error of the operating system.
    pub fn bind(name: impl Into<ServerName>) -> Result<IpcServer<Out, In>, io::Error> {
        Server::bind(name.into(), codec::introduction::<Out, In>()).map(IpcServer::from)
    }

    /// Returns the name that clients connect to.
    pub fn name(&self) -> &ServerName {
        self.server.name()
    }

    /// Accepts the next client, blocking until one connects.
    ///
    /// # Errors
    ///
    /// - [`SerializationError`](IpcError::SerializationError) if a client has another version of
    ///   strait's protocol or another codec. The error names the versions and codecs of both
    ///   processes, and the client's first [`recv`](IpcReceiver::recv) fails with it as well. The
    ///   next call returns the next client.
    /// - [`Io`](IpcError::Io) for any error of the operating system, for example if this process
    ///   has no handles left. The client stays in the backlog until the next call.
    pub fn accept(&mut self) -> Result<IpcConnection<Out, In>, IpcError> {
        // Without a timeout `Empty` cannot occur.
        self.accept_within(Wait::Forever).map_err(IpcError::from)
    }

    /// Accepts the next client if one has connected. Never blocks.
    ///
    /// # Errors
    ///
    /// - [`Empty`](TryRecvError::Empty) if no client has connected.
    /// - Any error of [`accept`](IpcServer::accept).
    pub fn try_accept(&mut self) -> Result<IpcConnection<Out, In>, TryRecvError> {
        self.accept_within(Wait::Never)
    }

    /// Accepts the next client, blocking for at most `duration` until one connects.
    ///
    /// # Errors
    ///
    /// - [`Empty`](TryRecvError::Empty) if no client connected within `duration`.
    /// - Any error of [`accept`](IpcServer::accept).
    pub fn accept_timeout(
        &mut self,
        duration: Duration,
    ) -> Result<IpcConnection<Out, In>, TryRecvError> {
        self.accept_within(Wait::at_most(duration))
    }

    /// Returns an iterator over the clients, which blocks until the next one connects.
    ///
    /// The iterator never returns `None`, and can return further clients after an error.
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
/// After the client has ended or dropped its endpoints, the receiver returns the messages that the
/// client has sent, and then fails with [`Disconnected`](IpcError::Disconnected). To disconnect a
/// client, drop both endpoints.
///
/// # Examples
///
/// See [`IpcServer`] and [`IpcReceiverSet::add_server`](super::IpcReceiverSet::add_server).
pub struct IpcConnection<Out, In> {
    /// The sender of the channel to the client.
    pub sender: IpcSender<Out>,
    /// The receiver of the channel from the client.
    pub receiver: IpcReceiver<In>,
}

impl<Out, In> IpcConnection<Out, In> {
    /// Returns both endpoints.
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

/// Serialized like the pair of its endpoints.
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

/// Connects to the [`IpcServer`] with this name, and returns a sender to it and a receiver from it.
/// Blocks only while the server's backlog is full.
///
/// `connect` does not block until the server accepts the client, and messages can be sent at once.
/// If the server rejects this process, its messages are discarded, and its endpoints fail with
/// [`Disconnected`](IpcError::Disconnected).
///
/// A server that has another version of strait's protocol or another codec does not accept this
/// process. The first [`recv`](IpcReceiver::recv) then fails with a
/// [`SerializationError`](IpcError::SerializationError) that names the versions and codecs of both
/// processes. `send` fails with `Disconnected` from then on.
///
/// # Errors
///
/// - [`NotFound`](io::ErrorKind::NotFound) if no server has this name.
/// - [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) if the server was killed and its name
///   was left behind.
/// - [`PermissionDenied`](io::ErrorKind::PermissionDenied) if the file system does not let this
///   process connect.
/// - [`PermissionDenied`](io::ErrorKind::PermissionDenied) if the name is private or abstract, and
///   the server runs neither as the user of this process nor as root.
/// - [`ConnectionReset`](io::ErrorKind::ConnectionReset) if the server rejects this process.
/// - [`InvalidInput`](io::ErrorKind::InvalidInput) if `name` is not the name of a server.
/// - Any other error of the operating system.
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

/// Connects as [`connect`] does, blocking for at most `duration` while the server's backlog is
/// full.
///
/// # Errors
///
/// - [`TimedOut`](io::ErrorKind::TimedOut) if the backlog was full for `duration`.
/// - Any error of [`connect`].
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
        // The owner of the path's directory decides which processes can create a file there.
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
