//! Servers for many clients.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{IpcReceiver, IpcSender};
use crate::channel::server::{self, Connection};
use crate::channel::{Server, Slot};
use crate::error::{IpcError, TryRecvError};
use crate::platform::{Peer, ServerName, Wait};

/// A server that clients come to by a name, at any time and as many as like. Each gets a channel of its own in both directions: the
/// server sends it `Out` and receives `In`.
///
/// A client is accepted when its [`connect`] has returned, or a little before; what it sends until then is not lost, even if
/// it ends meanwhile. Clients that connect and say nothing, break the protocol or leave are passed over, and disturb
/// nobody: of those that say nothing, some 64 are kept, and the oldest has to go for the next.
///
/// A server can also be [a member of a set](super::IpcReceiverSet::add_server), and with the feature `async` a stream.
///
/// # The name
///
/// A [name](ServerName) has one server at a time. That of a server which was killed is taken over by the next; whether
/// its owner is alive is asked, not guessed. The name is gone when the server is dropped; clients that have been accepted keep their
/// channels.
///
/// # Platform
///
/// Only processes of this user, and of root, get in, whoever is able to connect: `set_filter` in [`os`](crate::os) changes that, and tells
/// who it is. With a path or an abstract name on Linux, others may be able to connect; with a private name they are not.
///
/// On Linux a server has three descriptors, and one more for the lock of a name in the file system; each client has two.
///
/// After a `fork` a server belongs to the parent. The child must not use it, and shares the name with it: until both have ended or
/// dropped it, or the child has called `exec`, the name counts as in use if the parent was killed.
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
    /// Takes a name, and serves those who connect to it.
    ///
    /// # Errors
    ///
    /// - [`AddrInUse`](io::ErrorKind::AddrInUse): a server that is alive has the name.
    /// - [`AlreadyExists`](io::ErrorKind::AlreadyExists): there is something else at that path. It is left alone.
    /// - [`PermissionDenied`](io::ErrorKind::PermissionDenied): the directory for private names is not this user's alone.
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput): it cannot be a name.
    /// - Others of the operating system.
    pub fn bind(name: impl Into<ServerName>) -> Result<IpcServer<Out, In>, io::Error> {
        Server::bind(name.into()).map(IpcServer::from)
    }

    /// What clients connect to.
    pub fn name(&self) -> &ServerName {
        self.server.name()
    }

    /// Waits for the next client.
    ///
    /// # Errors
    ///
    /// [`Io`](IpcError::Io) if the operating system refused, for want of handles, say. The client waits until the next call.
    pub fn accept(&mut self) -> Result<IpcConnection<Out, In>, IpcError> {
        // Without a limit `Empty` does not happen.
        self.accept_within(Wait::Forever).map_err(|error| match error {
            TryRecvError::IpcError(error) => error,
            TryRecvError::Empty => IpcError::Io(io::ErrorKind::WouldBlock.into()),
        })
    }

    /// Returns the next client if there is one.
    ///
    /// # Errors
    ///
    /// [`Empty`](TryRecvError::Empty) if there is none; else as [`accept`](IpcServer::accept).
    pub fn try_accept(&mut self) -> Result<IpcConnection<Out, In>, TryRecvError> {
        self.accept_within(Wait::Never)
    }

    /// Waits for the next client, for at most `duration`.
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

    /// Iterates over the clients, waiting for each. It never ends by itself; an error need not be the last.
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

/// A client, as its server sees it: a channel in each direction.
///
/// When the client is gone, the receiver says [`Disconnected`](IpcError::Disconnected) after all that the client has sent. To turn a
/// client out, drop both.
pub struct IpcConnection<Out, In> {
    /// To the client.
    pub sender: IpcSender<Out>,
    /// From the client.
    pub receiver: IpcReceiver<In>,
}

impl<Out, In> IpcConnection<Out, In> {
    /// Takes it apart.
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

/// Connects to the [`IpcServer`] of that name, and returns a sender to it and a receiver for what it sends to this client.
///
/// It does not wait until it is accepted, and messages may be sent at once. But while very many are waiting to be accepted, it waits
/// for its turn to do so. A server that does not let this process in drops what it sends, which shows as
/// [`Disconnected`](IpcError::Disconnected).
///
/// # Errors
///
/// - [`NotFound`](io::ErrorKind::NotFound): there is no such server.
/// - [`ConnectionRefused`](io::ErrorKind::ConnectionRefused): the server was killed, and left its name behind.
/// - [`PermissionDenied`](io::ErrorKind::PermissionDenied): the file system does not let this process connect; or the name is private or
///   abstract, and the server somebody else's than this user's or root's.
/// - [`ConnectionReset`](io::ErrorKind::ConnectionReset): the server does not let this process in.
/// - [`InvalidInput`](io::ErrorKind::InvalidInput): it is not the name of a server.
/// - Others of the operating system.
pub fn connect<Out, In>(
    name: impl Into<ServerName>,
) -> Result<(IpcSender<Out>, IpcReceiver<In>), io::Error>
where
    Out: for<'de> Deserialize<'de> + Serialize,
    In: for<'de> Deserialize<'de> + Serialize,
{
    connect_within(&name.into(), Wait::Forever)
}

/// As [`connect`], waiting for at most `duration` while too many others want to be accepted.
///
/// # Errors
///
/// [`TimedOut`](io::ErrorKind::TimedOut) if its turn did not come in time; else as [`connect`].
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
    // Who may make a file at a path is for its owner to say.
    let is_anyones = matches!(name, ServerName::Path(_));
    connect_if_trusted(name, wait, |peer| is_anyones || peer.is_same_user())
}

pub(crate) fn connect_if_trusted<Out, In>(
    name: &ServerName,
    wait: Wait,
    is_trusted: impl FnMut(&Peer) -> bool,
) -> io::Result<(IpcSender<Out>, IpcReceiver<In>)> {
    Ok(IpcConnection::from(server::connect(name, wait, is_trusted)?).split())
}
