//! The first connection between two processes.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Deserialize;

use super::IpcReceiver;
use crate::channel::Slot;
use crate::channel::one_shot::OneShotServer;
use crate::error::{IpcError, TryRecvError};
use crate::platform::contract::Peer as _;
use crate::platform::{Peer, Wait};
use crate::typed;

/// A server with a name, which accepts one client and receives its first message. That message
/// usually contains the sender of another channel.
///
/// Pass the name to the client by its command line, its environment or a pipe. The name disappears
/// when the server has accepted a client or is dropped.
///
/// # Platform
///
/// On Linux the name is the path of a socket in the directory for temporary files. The socket is in
/// a new directory there, which only this user can enter. The server refuses clients of other
/// users, except root.
///
/// # Examples
///
/// ```
/// use strait::ipc::{IpcOneShotServer, IpcSender};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (server, name) = IpcOneShotServer::<String>::new()?;
/// // Usually in another process, which has received the name.
/// let client = std::thread::spawn(move || -> Result<(), strait::IpcError> {
///     let sender = IpcSender::connect(name)?;
///     sender.send("hello".to_string())
/// });
/// let (_receiver, greeting) = server.accept()?;
/// assert_eq!(greeting, "hello");
/// client.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
pub struct IpcOneShotServer<T> {
    server: OneShotServer,
    values: PhantomData<fn() -> T>,
}

impl<T> IpcOneShotServer<T> {
    /// Creates a server, and returns it with its name.
    ///
    /// # Errors
    ///
    /// - Any error of the operating system, for example if the directory for temporary files does
    ///   not exist.
    pub fn new() -> Result<(IpcOneShotServer<T>, String), io::Error>
    where
        T: for<'de> Deserialize<'de>,
    {
        let (server, name) = OneShotServer::new()?;
        Ok((IpcOneShotServer { server, values: PhantomData }, name))
    }

    /// Accepts a client, blocking until one has connected and sent its first message. Returns the
    /// message, and a receiver for the following ones.
    ///
    /// The server skips clients that send nothing, disconnect, or send something that is not a
    /// message, and continues to wait.
    ///
    /// # Errors
    ///
    /// - [`SerializationError`](IpcError::SerializationError) if the message is not a `T`. The
    ///   error names both types.
    /// - [`SerializationError`](IpcError::SerializationError) if the client has another version of
    ///   strait's protocol or another codec. The error names the versions and codecs of both
    ///   processes.
    /// - [`Io`](IpcError::Io) for any error of the operating system.
    pub fn accept(self) -> Result<(IpcReceiver<T>, T), IpcError>
    where
        T: for<'de> Deserialize<'de>,
    {
        // Without a timeout `Empty` cannot occur.
        self.accept_if_admitted(Wait::Forever, Peer::shows_as_same_user).map_err(IpcError::from)
    }

    /// Accepts a client as [`accept`](IpcOneShotServer::accept) does, blocking for at most
    /// `duration`.
    ///
    /// # Errors
    ///
    /// - [`Empty`](TryRecvError::Empty) if no client has sent a message within `duration`.
    /// - Any error of [`accept`](IpcOneShotServer::accept).
    pub fn accept_timeout(self, duration: Duration) -> Result<(IpcReceiver<T>, T), TryRecvError>
    where
        T: for<'de> Deserialize<'de>,
    {
        self.accept_if_admitted(Wait::at_most(duration), Peer::shows_as_same_user)
    }

    pub(crate) fn accept_if_admitted(
        self,
        wait: Wait,
        filter: impl FnMut(&Peer) -> bool,
    ) -> Result<(IpcReceiver<T>, T), TryRecvError>
    where
        T: for<'de> Deserialize<'de>,
    {
        let (receiver, value) = typed::accept(self.server, wait, filter)?;
        Ok((IpcReceiver::from(Slot::from(receiver)), value))
    }
}

impl<T> fmt::Debug for IpcOneShotServer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IpcOneShotServer").field(&self.server).finish()
    }
}
