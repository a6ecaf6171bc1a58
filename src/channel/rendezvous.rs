//! How two processes meet: a name that one listens on, and the first message that comes through it.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use super::incoming::Incoming;
use super::limits::{CLIENTS_PER_TURN, MAX_SILENT_CLIENTS};
use super::message::{Message, Problem, Purpose, RecvError};
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
            let wait_now = if ready.is_empty() { wait } else { Wait::Never };
            self.poller.wait(wait_now, &mut ready).map_err(RecvError::Io)?;
            for _ in 0..ready.len() {
                let Some(id) = ready.pop_front() else { break };
                let heard = if id == LISTENER_ID {
                    self.admit(&mut clients, &mut ready, buffer, &mut may_enter)?
                } else {
                    self.hear(&mut clients, &mut ready, id, buffer)?
                };
                if let Some(first) = heard {
                    return Ok(first);
                }
            }
            if wait.is_over() {
                return Err(RecvError::Empty);
            }
        }
    }

    /// Lets in who are waiting and may enter, and hears each at once: who has spoken must not be taken for silent.
    fn admit(
        &self,
        clients: &mut Clients,
        ready: &mut VecDeque<u64>,
        buffer: &mut Vec<u8>,
        may_enter: &mut impl FnMut(&Peer) -> bool,
    ) -> Result<Option<(Receiver, Message)>, RecvError> {
        for _ in 0..CLIENTS_PER_TURN {
            let receiver = match self.listener.accept(Wait::Never) {
                Ok((packets, peer)) if may_enter(&peer) => Incoming::from(packets),
                Ok(_) => continue,
                Err(platform::RecvError::Empty) => return Ok(None),
                // Those who say nothing may be using up the handles.
                Err(platform::RecvError::Io(_)) if clients.drop_oldest() => continue,
                Err(error) => return Err(error.into()),
            };
            if clients.silent.len() >= MAX_SILENT_CLIENTS {
                clients.drop_oldest();
            }
            clients.last_id += 1;
            let id = clients.last_id;
            while let Err(error) = self.poller.add(receiver.watch(), id) {
                // There may be too many watched.
                if !clients.drop_oldest() {
                    return Err(RecvError::Io(error));
                }
            }
            clients.silent.insert(id, receiver);
            if let Some(first) = self.hear(clients, ready, id, buffer)? {
                return Ok(Some(first));
            }
        }
        ready.push_back(LISTENER_ID);
        Ok(None)
    }

    /// Receives from one client.
    fn hear(
        &self,
        clients: &mut Clients,
        ready: &mut VecDeque<u64>,
        id: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<(Receiver, Message)>, RecvError> {
        let Some(client) = clients.silent.get_mut(&id) else { return Ok(None) };
        match client.receive(buffer, Purpose::Look, Wait::Never) {
            Ok(message) => {
                let receiver = clients.silent.remove(&id).ok_or(RecvError::Disconnected)?;
                let _ = self.poller.remove(receiver.packets());
                return Ok(Some((Receiver::new(receiver, None), message)));
            }
            Err(RecvError::Empty) => {}
            Err(RecvError::Unfinished) => ready.push_back(id),
            Err(RecvError::Disconnected | RecvError::Lost(Problem::Malformed(_))) => {
                clients.silent.remove(&id);
            }
            // Not the client's fault.
            Err(error @ (RecvError::Lost(_) | RecvError::Io(_) | RecvError::Broken(_))) => {
                return Err(error);
            }
        }
        Ok(None)
    }
}

/// Those who have connected and said nothing yet.
#[derive(Default)]
struct Clients {
    silent: BTreeMap<u64, Incoming>,
    last_id: u64,
}

impl Clients {
    fn drop_oldest(&mut self) -> bool {
        self.silent.pop_first().is_some()
    }
}
