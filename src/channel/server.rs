//! A server for many clients, and how they come to it.
//!
//! The socket that a client connects by is its channel to the server. Before anything else it sends a HELLO with the sender of a
//! channel for the way back through it. So it needs no answer to have both, and may go on at once; and the server knows by the
//! HELLO, which the client has finished sending before its `connect` returns, whom there is to be accepted. The server says HELLO
//! on the way back, too, before anything else and without waiting.

use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

use super::hello::Introduction;
use super::lobby::{Lobby, WithHandle};
use super::message::RecvError;
use super::options::Options;
use super::receiver::Receiver;
use super::sender::Sender;
use super::{channel, scratch};
use crate::platform::{
    Attachment, Listener, PacketSender, Peer, Poller, SendError, ServerName, Wait,
};

/// How often a client that is turned out before it has said hello tries again: a server that lets in many at a time may have taken
/// it for one that has nothing to say.
const ATTEMPTS: usize = 64;

/// How often a call that does not wait looks for a client behind others who are none.
const LOOKS: usize = 64;

/// A channel in each direction, from one side.
pub(crate) type Connection = (Sender, Receiver);

/// Who is let in.
type Filter = Box<dyn FnMut(&Peer) -> bool + Send>;

/// A server for many clients.
pub(crate) struct Server {
    name: ServerName,
    lobby: Lobby<WithHandle>,
    /// What clients are told.
    introduction: Introduction,
    /// A mutex so that the server is `Sync`; never contended.
    filter: Mutex<Filter>,
}

impl Server {
    /// Takes the name. Only processes of this user and of root are let in.
    pub(crate) fn bind(name: ServerName, introduction: Introduction) -> io::Result<Server> {
        let listener = Listener::bind_to(&name)?;
        let lobby = Lobby::new(listener)?;
        // No other user can enter the directory of private names.
        let is_admitted = match &name {
            ServerName::Private(_) => Peer::shows_as_same_user,
            ServerName::Path(_) | ServerName::Abstract(_) => Peer::is_same_user,
        };
        Ok(Server { name, lobby, introduction, filter: Mutex::new(Box::new(is_admitted)) })
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &ServerName {
        &self.name
    }

    /// From now on, lets in whom `filter` lets in.
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn set_filter(&mut self, filter: Filter) {
        self.filter = Mutex::new(filter);
    }

    /// Is ready when somebody comes or says something: [`step`](Server::step) may find a client.
    pub(crate) fn poller(&self) -> &Poller {
        self.lobby.poller()
    }

    /// Waits for a client that has said hello. One that speaks another dialect is an error.
    pub(crate) fn accept(&mut self, wait: Wait) -> Result<Connection, RecvError> {
        scratch::with_receive_buffer(|buffer| {
            for _ in 0..LOOKS {
                match self.step(buffer, wait) {
                    Err(RecvError::Unfinished) => {}
                    accepted => return accepted,
                }
            }
            Err(RecvError::Empty)
        })
    }

    /// As [`accept`](Server::accept), with `buffer` to receive in; a call that does not wait ends with `Unfinished` when it has looked at
    /// a few who are no clients.
    pub(crate) fn step(
        &mut self,
        buffer: &mut Vec<u8>,
        wait: Wait,
    ) -> Result<Connection, RecvError> {
        let filter = self.filter.get_mut().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (receiver, (hello, attachments)) = self.lobby.hear_next(buffer, wait, filter)?;
            if let Some(sender) = way_back(attachments) {
                // Without waiting: a client that has no room for it has to do without. It is for the texts of errors.
                let _ = sender.say_hello(&self.introduction, Vec::new(), Wait::Never);
                return if hello.dialect.is_own() {
                    Ok((sender, receiver))
                } else {
                    Err(hello.into())
                };
            }
            if wait.is_over() {
                return Err(RecvError::Unfinished);
            }
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The way back, if that is what came with a HELLO.
fn way_back(attachments: Vec<Attachment>) -> Option<Sender> {
    let [back] = <[_; 1]>::try_from(attachments).ok()?;
    Sender::from_attachment(back).ok()
}

/// Connects to the server of that name, if it is one that `is_trusted`, and says hello. It waits while many others are doing so.
pub(crate) fn connect(
    name: &ServerName,
    introduction: &Introduction,
    wait: Wait,
    mut is_trusted: impl FnMut(&Peer) -> bool,
) -> io::Result<Connection> {
    let (back, receiver) = channel(Options::default())?;
    for _ in 0..ATTEMPTS {
        let packets = PacketSender::connect_to(name, wait)?;
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
                    format!("the server {name} was not told in time that this process wants in"),
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
        format!("the server {name} does not let this process in"),
    ))
}
