//! How two processes meet: a name that one listens on, and the first message that comes through it.

use std::collections::{HashMap, VecDeque};
use std::io;

use super::limits::MAX_SILENT_CLIENTS;
use super::message::{Message, Purpose, RecvError};
use super::receiver::Receiver;
use crate::platform::{self, Listener, Peer, Poller, Wait};

/// The listener's id in the poller; clients count from one.
const LISTENER_ID: u64 = 0;

/// A server for one client.
#[derive(Debug)]
pub(crate) struct OneShotServer {
    listener: Listener,
}

impl OneShotServer {
    /// Makes a server and its name.
    pub(crate) fn new() -> io::Result<(OneShotServer, String)> {
        let (listener, name) = Listener::bind()?;
        Ok((OneShotServer { listener }, name))
    }

    /// Waits for the first message of the first client that sends one, with `buffer` to receive it in. Clients that `may_enter`
    /// refuses, that say nothing, break the protocol or leave do not disturb those that come after them.
    pub(crate) fn accept(
        self,
        buffer: &mut Vec<u8>,
        wait: Wait,
        mut may_enter: impl FnMut(&Peer) -> bool,
    ) -> Result<(Receiver, Message), RecvError> {
        let mut poller = Poller::new().map_err(RecvError::Io)?;
        poller.add_listener(&self.listener, LISTENER_ID).map_err(RecvError::Io)?;
        let mut clients = HashMap::new();
        let mut last_id = LISTENER_ID;
        let mut ready = VecDeque::new();
        loop {
            poller.wait(wait, &mut ready).map_err(RecvError::Io)?;
            if ready.is_empty() && wait.is_over() {
                return Err(RecvError::Empty);
            }
            while let Some(id) = ready.pop_front() {
                if id == LISTENER_ID {
                    loop {
                        let receiver = match self.listener.accept(Wait::Never) {
                            Ok((receiver, peer)) if may_enter(&peer) => receiver,
                            Ok(_) => continue,
                            Err(platform::RecvError::Empty) => break,
                            Err(platform::RecvError::Closed) => {
                                return Err(RecvError::Disconnected);
                            }
                            Err(platform::RecvError::Io(error)) => {
                                return Err(RecvError::Io(error));
                            }
                        };
                        if clients.len() >= MAX_SILENT_CLIENTS {
                            // The one that has been silent longest.
                            let oldest = clients.keys().min().copied();
                            oldest.and_then(|id| clients.remove(&id));
                        }
                        last_id += 1;
                        poller.add(&receiver, last_id).map_err(RecvError::Io)?;
                        clients.insert(last_id, Receiver::from(receiver));
                    }
                } else if let Some(client) = clients.get_mut(&id) {
                    match client.receive(buffer, Purpose::Look, Wait::Never) {
                        Ok(message) => {
                            let receiver = clients.remove(&id).ok_or(RecvError::Disconnected)?;
                            let _ = poller.remove(receiver.packets());
                            return Ok((receiver, message));
                        }
                        Err(RecvError::Empty) => {}
                        Err(RecvError::Unfinished) => ready.push_back(id),
                        Err(RecvError::Disconnected | RecvError::Lost(_) | RecvError::Io(_)) => {
                            clients.remove(&id);
                        }
                    }
                }
            }
        }
    }
}
