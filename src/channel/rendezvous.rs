//! How two processes meet: a name that one listens on, and the first message that comes through it.

use std::io;

use super::lobby::{Greeting, Lobby};
use super::message::{Message, RecvError};
use super::receiver::Receiver;
use crate::platform::{Listener, Peer, Wait};

/// A server for one client.
#[derive(Debug)]
pub(crate) struct OneShotServer {
    lobby: Lobby,
}

impl OneShotServer {
    /// Makes a server and its name.
    pub(crate) fn new() -> io::Result<(OneShotServer, String)> {
        let (listener, name) = Listener::bind()?;
        Ok((OneShotServer { lobby: Lobby::new(listener, Greeting::Message)? }, name))
    }

    /// Waits for the first message of the first client that sends one, with `buffer` to receive it in. Clients that `may_enter`
    /// refuses, that say nothing, break the protocol or leave do not disturb those that come after them.
    pub(crate) fn accept(
        mut self,
        buffer: &mut Vec<u8>,
        wait: Wait,
        mut may_enter: impl FnMut(&Peer) -> bool,
    ) -> Result<(Receiver, Message), RecvError> {
        self.lobby.hear_next(buffer, wait, &mut may_enter)
    }
}
