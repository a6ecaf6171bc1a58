//! How two processes meet: a name that one listens on, and the first message that comes through it.

use std::collections::{BTreeMap, VecDeque};
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
    /// Made with the server: when it accepts there may be no handle left for it.
    poller: Poller,
}

impl OneShotServer {
    /// Makes a server and its name.
    pub(crate) fn new() -> io::Result<(OneShotServer, String)> {
        let (listener, name) = Listener::bind()?;
        let poller = Poller::new()?;
        poller.add_listener(&listener, LISTENER_ID)?;
        Ok((OneShotServer { listener, poller }, name))
    }

    /// Waits for the first message of the first client that sends one, with `buffer` to receive it in. Clients that `may_enter`
    /// refuses, that say nothing, break the protocol or leave do not disturb those that come after them.
    pub(crate) fn accept(
        mut self,
        buffer: &mut Vec<u8>,
        wait: Wait,
        mut may_enter: impl FnMut(&Peer) -> bool,
    ) -> Result<(Receiver, Message), RecvError> {
        let mut clients = Clients::default();
        let mut ready = VecDeque::new();
        loop {
            self.poller.wait(wait, &mut ready).map_err(RecvError::Io)?;
            if ready.is_empty() && wait.is_over() {
                return Err(RecvError::Empty);
            }
            while let Some(id) = ready.pop_front() {
                if id == LISTENER_ID {
                    self.admit(&mut clients, &mut may_enter)?;
                } else if let Some(client) = clients.silent.get_mut(&id) {
                    match client.receive(buffer, Purpose::Look, Wait::Never) {
                        Ok(message) => {
                            let receiver = clients.silent.remove(&id);
                            let receiver = receiver.ok_or(RecvError::Disconnected)?;
                            let _ = self.poller.remove(receiver.packets());
                            return Ok((receiver, message));
                        }
                        Err(RecvError::Empty) => {}
                        Err(RecvError::Unfinished) => ready.push_back(id),
                        Err(RecvError::Disconnected | RecvError::Lost(_)) => {
                            clients.silent.remove(&id);
                        }
                        Err(RecvError::Io(error)) => return Err(RecvError::Io(error)),
                    }
                }
            }
        }
    }

    /// Lets all in who are waiting and may enter.
    fn admit(
        &self,
        clients: &mut Clients,
        may_enter: &mut impl FnMut(&Peer) -> bool,
    ) -> Result<(), RecvError> {
        loop {
            let receiver = match self.listener.accept(Wait::Never) {
                Ok((receiver, peer)) if may_enter(&peer) => receiver,
                Ok(_) => continue,
                Err(platform::RecvError::Empty) => return Ok(()),
                // Those who say nothing may be using up the handles.
                Err(platform::RecvError::Io(_)) if clients.drop_oldest() => continue,
                Err(error) => return Err(error.into()),
            };
            if clients.silent.len() >= MAX_SILENT_CLIENTS {
                clients.drop_oldest();
            }
            clients.last_id += 1;
            self.poller.add(&receiver, clients.last_id).map_err(RecvError::Io)?;
            clients.silent.insert(clients.last_id, Receiver::from(receiver));
        }
    }
}

/// Those who have connected and said nothing yet.
#[derive(Default)]
struct Clients {
    silent: BTreeMap<u64, Receiver>,
    last_id: u64,
}

impl Clients {
    fn drop_oldest(&mut self) -> bool {
        self.silent.pop_first().is_some()
    }
}
