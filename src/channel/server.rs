//! A server for many clients, and the handshake with them.
//!
//! The socket by which a client connects is its channel to the server. The first packet that it
//! sends is a HELLO with the sender of a channel for the opposite direction. So the client needs no
//! answer to have both channels, and may continue at once. It has sent the HELLO completely before
//! its `connect` returns, and from the HELLO the server knows that there is a client to accept. The
//! server also sends a HELLO as the first packet in the opposite direction, without blocking.

use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

use super::backlog::{Backlog, WithHandle};
use super::channel;
use super::hello::Introduction;
use super::message::RecvError;
use super::options::Options;
use super::receive::Receiver;
use super::send::Sender;
use crate::buffers;
use crate::platform::contract::{Listener as _, PacketSender as _, Peer as _};
use crate::platform::{self, Attachment, Listener, Peer, Poller, SendError, ServerName, Wait};

/// How often a client tries again that was dropped before it has sent its HELLO. A server that
/// accepts many connections at a time may have taken it for a silent one.
const ATTEMPTS: usize = 64;

/// How many connections without a client behind them a call that does not block skips.
const LOOKS: usize = 64;

/// One endpoint of a channel in each direction.
pub(crate) type Connection = (Sender, Receiver);

/// Decides which peers may connect.
type Filter = Box<dyn FnMut(&Peer) -> bool + Send>;

/// A server for many clients.
pub(crate) struct Server {
    name: ServerName,
    backlog: Backlog<WithHandle>,
    /// The content of the HELLO that clients are sent.
    introduction: Introduction,
    /// A mutex so that the server is `Sync`; never contended.
    filter: Mutex<Filter>,
}

impl Server {
    /// Binds the name. Only processes of this user and of root may connect.
    pub(crate) fn bind(name: ServerName, introduction: Introduction) -> io::Result<Server> {
        let listener = Listener::bind_named(&name)?;
        let backlog = Backlog::new(listener)?;
        // No other user can enter the directory of private names.
        let is_admitted = match &name {
            ServerName::Private(_) => Peer::shows_as_same_user,
            ServerName::Path(_) | ServerName::Abstract(_) => Peer::is_same_user,
        };
        Ok(Server { name, backlog, introduction, filter: Mutex::new(Box::new(is_admitted)) })
    }

    /// Returns its name.
    pub(crate) fn name(&self) -> &ServerName {
        &self.name
    }

    /// Sets the filter that decides which peers may connect.
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn set_filter(&mut self, filter: Filter) {
        self.filter = Mutex::new(filter);
    }

    /// Returns a poller that is ready when a client connects or sends something:
    /// [`step`](Server::step) may find a client.
    pub(crate) fn poller(&self) -> &Poller {
        self.backlog.poller()
    }

    /// Blocks until a client has sent its HELLO, as `wait` says. Fails for a client with another
    /// protocol version or codec.
    pub(crate) fn accept(&mut self, wait: Wait) -> Result<Connection, RecvError> {
        buffers::with_receive_buffer(|buffer| {
            for _ in 0..LOOKS {
                match self.step(buffer, wait) {
                    Err(RecvError::BudgetSpent) if wait == Wait::Never => {}
                    Err(RecvError::BudgetSpent) => return Err(RecvError::Empty),
                    accepted => return accepted,
                }
            }
            Err(RecvError::Empty)
        })
    }

    /// Like [`accept`](Server::accept), with `buffer` to receive in. A call that does not block
    /// ends with `BudgetSpent` after a few connections without a client.
    pub(crate) fn step(
        &mut self,
        buffer: &mut Vec<u8>,
        wait: Wait,
    ) -> Result<Connection, RecvError> {
        let filter = self.filter.get_mut().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (receiver, (hello, attachments)) =
                self.backlog.receive_next(buffer, wait, filter)?;
            if let Some(sender) = way_back(attachments) {
                // Does not block: a client that has no room for it does without. It is for the
                // texts of errors.
                let _ = sender.say_hello(&self.introduction, Vec::new(), Wait::Never);
                return if hello.dialect.is_own() {
                    Ok((sender, receiver))
                } else {
                    Err(hello.into())
                };
            }
            if wait.is_over() {
                return Err(RecvError::BudgetSpent);
            }
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Returns the sender of the opposite direction, if that is what came with a HELLO.
fn way_back(attachments: Vec<Attachment>) -> Option<Sender> {
    let [back] = <[_; 1]>::try_from(attachments).ok()?;
    Sender::from_attachment(back).ok()
}

/// Connects to the server of that name, if it is one that `is_trusted`, and sends a HELLO. Blocks
/// while too many other clients connect.
pub(crate) fn connect(
    name: &ServerName,
    introduction: &Introduction,
    wait: Wait,
    mut is_trusted: impl FnMut(&Peer) -> bool,
) -> io::Result<Connection> {
    let (back, receiver) = channel(Options::default())?;
    for _ in 0..ATTEMPTS {
        let packets = platform::connect_named(name, wait)?;
        if !is_trusted(&packets.peer()?) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("the server {name} is not trusted"),
            ));
        }
        let sender = Sender::from(packets);
        match sender.say_hello(introduction, vec![back.to_attachment()?], wait) {
            Ok(()) => return Ok((sender, receiver)),
            Err(SendError::Closed) => {}
            Err(SendError::Io(error)) => return Err(error),
            Err(SendError::Full | SendError::TooManyInFlight) => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("the handshake was not sent to the server {name} in time"),
                ));
            }
            Err(SendError::TooLarge) => return Err(io::ErrorKind::InvalidInput.into()),
        }
        if wait.is_over() {
            break;
        }
    }
    Err(io::Error::new(
        io::ErrorKind::ConnectionReset,
        format!("the server {name} rejected this process"),
    ))
}
