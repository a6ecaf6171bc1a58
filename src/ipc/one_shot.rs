//! The first connection between two processes.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::IpcReceiver;
use crate::channel::Slot;
use crate::channel::rendezvous::OneShotServer;
use crate::channel::scratch;
use crate::codec;
use crate::error::{IpcError, TryRecvError};
use crate::platform::{Peer, Wait};

/// A server that one client connects to by name, to send it the first message: usually the sender of a channel of its own.
///
/// The name goes to the client by command line, environment or pipe. It disappears when the server is dropped or has
/// accepted.
///
/// # Platform
///
/// On Linux the name is the path of a socket in a fresh directory that only this user can enter, in the directory for temporary
/// files. Clients that run as other users, root excepted, are turned away all the same.
///
/// # Examples
///
/// ```
/// use strait::ipc::{IpcOneShotServer, IpcSender};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (server, name) = IpcOneShotServer::<String>::new()?;
/// // Usually in another process, which was told the name.
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

impl<T> IpcOneShotServer<T>
where
    T: for<'de> Deserialize<'de> + Serialize,
{
    /// Makes a server and the name it can be connected to by.
    ///
    /// # Errors
    ///
    /// The operating system's, when the directory for temporary files does not exist, say.
    pub fn new() -> Result<(IpcOneShotServer<T>, String), io::Error> {
        let (server, name) = OneShotServer::new()?;
        Ok((IpcOneShotServer { server, values: PhantomData }, name))
    }

    /// Waits until a client has connected and sent its first message, and returns the message and a receiver for those that
    /// follow.
    ///
    /// Clients that say nothing, leave, or send what is not a message are passed over: it waits for the next one.
    ///
    /// # Errors
    ///
    /// [`SerializationError`](IpcError::SerializationError) if the message is not a `T`; [`Io`](IpcError::Io) if the
    /// operating system refused.
    pub fn accept(self) -> Result<(IpcReceiver<T>, T), IpcError> {
        // Without a limit `Empty` does not happen.
        self.accept_if_admitted(Wait::Forever, Peer::is_same_user).map_err(|error| match error {
            TryRecvError::IpcError(error) => error,
            TryRecvError::Empty => IpcError::Io(io::ErrorKind::WouldBlock.into()),
        })
    }

    /// As [`accept`](IpcOneShotServer::accept), for at most `duration`.
    ///
    /// # Errors
    ///
    /// [`Empty`](TryRecvError::Empty) if no client sent anything in time; else as [`accept`](IpcOneShotServer::accept).
    pub fn accept_timeout(self, duration: Duration) -> Result<(IpcReceiver<T>, T), TryRecvError> {
        self.accept_if_admitted(Wait::at_most(duration), Peer::is_same_user)
    }

    pub(crate) fn accept_if_admitted(
        self,
        wait: Wait,
        may_enter: impl FnMut(&Peer) -> bool,
    ) -> Result<(IpcReceiver<T>, T), TryRecvError> {
        scratch::with_receive_buffer(|buffer| {
            let (receiver, message) = self.server.accept(buffer, wait, may_enter)?;
            let value = codec::decode(message.body.bytes(buffer), message.attachments)
                .map_err(IpcError::SerializationError)?;
            Ok((IpcReceiver::from(Slot::from(receiver)), value))
        })
    }
}

impl<T> fmt::Debug for IpcOneShotServer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IpcOneShotServer").field(&self.server).finish()
    }
}
