//! The backlog of a server: clients that have connected and have not sent their first message yet.
//!
//! A server cannot know which clients will send. So it accepts all connections and serves each as
//! soon as its first message arrives. Clients that send nothing, break the protocol or disconnect
//! do not block the others. Their number is limited: beyond it, the oldest is dropped. Before a
//! client is dropped, the server makes its further sends fail and then receives from it once more.
//! So no client is told that its message was sent if that message was then discarded.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::io;
use std::marker::PhantomData;

use super::hello::Hello;
use super::limits::CLIENTS_PER_TURN;
use super::message::{Message, Problem, Purpose, RecvError};
use super::receive::{Inbound, Receiver};
use super::table::TableError;
use crate::platform::contract::{Listener as _, PacketReceiver as _, Poller as _};
use crate::platform::{self, Attachment, Listener, PacketReceiver, Peer, Poller, Wait};

/// The listener's id in the poller; the ids of clients count from one.
const LISTENER_ID: u64 = 0;

/// The first message that is expected of clients.
pub(super) trait FirstMessage: Debug {
    /// The content of the message.
    type Content;

    /// Whether the message has a handle. Then the server keeps a handle free for it, and a message
    /// that cannot be received is the client's fault.
    const HAS_HANDLE: bool;

    /// Receives the message if it has arrived.
    fn receive(client: &mut Inbound, buffer: &mut Vec<u8>) -> Result<Self::Content, RecvError>;
}

/// Any message, after a HELLO or without one.
#[derive(Debug)]
pub(super) enum AnyMessage {}

impl FirstMessage for AnyMessage {
    type Content = Message;

    const HAS_HANDLE: bool = false;

    fn receive(client: &mut Inbound, buffer: &mut Vec<u8>) -> Result<Message, RecvError> {
        let packed = client.receive(buffer, Purpose::Look, Wait::Never)?;
        packed.unpack(buffer, &client.options().limits)
    }
}

/// A HELLO with one handle, and nothing before it.
#[derive(Debug)]
pub(super) enum WithHandle {}

impl FirstMessage for WithHandle {
    type Content = (Hello, Vec<Attachment>);

    const HAS_HANDLE: bool = true;

    fn receive(client: &mut Inbound, buffer: &mut Vec<u8>) -> Result<Self::Content, RecvError> {
        client.receive_hello(buffer, Wait::Never)
    }
}

/// A listener and its backlog.
#[derive(Debug)]
pub(super) struct Backlog<G: FirstMessage> {
    listener: Listener,
    /// Made with the listener: when a client connects there may be no handle left for it.
    poller: Poller,
    /// Clients that have sent nothing yet.
    silent: BTreeMap<u64, Inbound>,
    last_id: u64,
    /// Ids that may have something to receive, the listener's included.
    ready: VecDeque<u64>,
    first_message: PhantomData<fn() -> G>,
}

/// The first message of a client, if there is one, and the channel that it arrived on.
type Received<G> = Option<(Receiver, <G as FirstMessage>::Content)>;

impl<G: FirstMessage> Backlog<G> {
    pub(super) fn new(listener: Listener) -> io::Result<Backlog<G>> {
        let poller = Poller::new()?;
        poller.add_listener(&listener, LISTENER_ID)?;
        let (silent, ready) = (BTreeMap::new(), VecDeque::new());
        Ok(Backlog { listener, poller, silent, last_id: 0, ready, first_message: PhantomData })
    }

    /// Returns a poller that is ready when a client connects or sends something.
    pub(super) fn poller(&self) -> &Poller {
        &self.poller
    }

    /// Waits for the first message of a client that `filter` accepts, with `buffer` to receive
    /// it in. After `Empty`, the poller becomes ready when there is one. `BudgetSpent` means
    /// that a call that must not block has more to do.
    pub(super) fn receive_next(
        &mut self,
        buffer: &mut Vec<u8>,
        wait: Wait,
        filter: &mut dyn FnMut(&Peer) -> bool,
    ) -> Result<(Receiver, G::Content), RecvError> {
        loop {
            let wait_now = if self.ready.is_empty() { wait } else { Wait::Never };
            self.poller.wait(wait_now, &mut self.ready).map_err(RecvError::Io)?;
            if self.ready.is_empty() && wait.is_over() {
                return Err(RecvError::Empty);
            }
            for _ in 0..self.ready.len() {
                let Some(id) = self.ready.pop_front() else { break };
                let received = if id == LISTENER_ID {
                    self.accept_waiting(buffer, filter)?
                } else {
                    self.receive_first(id, buffer)?
                };
                if let Some(first) = received {
                    return Ok(first);
                }
                // Each may take a while, and there may be very many.
                if wait != Wait::Never && wait.is_over() {
                    return Err(RecvError::BudgetSpent);
                }
            }
            if wait.is_over() {
                return Err(RecvError::BudgetSpent);
            }
        }
    }

    /// Accepts waiting connections for which `filter` returns true, and receives from each at
    /// once: a client that has sent its message must not count as silent.
    fn accept_waiting(
        &mut self,
        buffer: &mut Vec<u8>,
        filter: &mut dyn FnMut(&Peer) -> bool,
    ) -> Result<Received<G>, RecvError> {
        // The listener stays ready until no client is found, however this ends: the poller would
        // not report it again.
        self.ready.push_back(LISTENER_ID);
        for _ in 0..CLIENTS_PER_TURN {
            let received = match self.listener.accept(Wait::Never) {
                Ok((packets, peer)) if filter(&peer) => self.add_client(packets, buffer)?,
                Ok(_) => None,
                Err(platform::RecvError::Empty) => {
                    self.ready.retain(|&id| id != LISTENER_ID);
                    return Ok(None);
                }
                // Silent clients may be using up the handles.
                Err(platform::RecvError::Io(_)) if !self.silent.is_empty() => {
                    self.drop_oldest_client(buffer)?
                }
                Err(error) => return Err(error.into()),
            };
            if received.is_some() {
                return Ok(received);
            }
        }
        Ok(None)
    }

    fn add_client(
        &mut self,
        packets: PacketReceiver,
        buffer: &mut Vec<u8>,
    ) -> Result<Received<G>, RecvError> {
        let receiver = Inbound::from(packets);
        self.last_id += 1;
        let id = self.last_id;
        let watched = self.poller.add(receiver.watch(), id);
        self.silent.insert(id, receiver);
        if let Err(error) = watched {
            // The poller may have too many members. It does not watch this client, so the client
            // must have sent something by now.
            return match self.drop_client(id, buffer)? {
                None if self.silent.is_empty() => Err(RecvError::Io(error)),
                None => self.drop_oldest_client(buffer),
                received => Ok(received),
            };
        }
        let received = self.receive_first(id, buffer)?;
        if received.is_none() && self.silent.len() > platform::max_silent_clients() {
            return self.drop_oldest_client(buffer);
        }
        Ok(received)
    }

    fn drop_oldest_client(&mut self, buffer: &mut Vec<u8>) -> Result<Received<G>, RecvError> {
        match self.silent.first_key_value() {
            Some((&id, _)) => self.drop_client(id, buffer),
            None => Ok(None),
        }
    }

    /// Drops a client, unless a message arrives that was sent before its sends began to fail.
    fn drop_client(&mut self, id: u64, buffer: &mut Vec<u8>) -> Result<Received<G>, RecvError> {
        let received = self.receive_first(id, buffer)?;
        let Some(client) = self.silent.get(&id) else { return Ok(received) };
        client.packets().refuse();
        let received = self.receive_first(id, buffer);
        let has_sent_nothing =
            |client: &Inbound| received.is_ok() || client.packets().queued_bytes() == 0;
        if self.silent.get(&id).is_some_and(has_sent_nothing) {
            self.silent.remove(&id);
            return Ok(None);
        }
        received
    }

    /// Makes sure that a handle is free for the one that client `id` may send. Silent clients may
    /// be using them up.
    fn make_room(&mut self, id: u64) -> io::Result<()> {
        let mut others: Option<VecDeque<u64>> = None;
        while let Err(error) = self.listener.reserve() {
            let silent = &self.silent;
            let others = others.get_or_insert_with(|| silent.keys().copied().collect());
            let Some(other) = others.pop_front() else { return Err(error) };
            let Some(client) = self.silent.get(&other).filter(|_| other != id) else { continue };
            if client.packets().queued_bytes() > 0 {
                continue;
            }
            client.packets().refuse();
            if client.packets().queued_bytes() == 0 {
                self.silent.remove(&other);
            }
        }
        Ok(())
    }

    /// Receives from one client. If that fails with an error of this process, the client is tried
    /// again.
    fn receive_first(&mut self, id: u64, buffer: &mut Vec<u8>) -> Result<Received<G>, RecvError> {
        if G::HAS_HANDLE && self.silent.contains_key(&id) {
            if let Err(error) = self.make_room(id) {
                // It was here before those that come later.
                self.ready.push_front(id);
                return Err(RecvError::Io(error));
            }
            self.listener.release();
        }
        let Some(client) = self.silent.get_mut(&id) else { return Ok(None) };
        let received = G::receive(client, buffer);
        if G::HAS_HANDLE {
            // If no handle is left, that shows when one is needed next.
            let _ = self.listener.reserve();
        }
        match received {
            Ok(content) => {
                let receiver = self.silent.remove(&id).ok_or(RecvError::Disconnected)?;
                let _ = self.poller.remove(receiver.packets());
                return Ok(Some((Receiver::new(receiver, None), content)));
            }
            Err(RecvError::Empty) => {}
            Err(RecvError::BudgetSpent) => self.ready.push_back(id),
            Err(RecvError::Disconnected | RecvError::Lost(Problem::Malformed(_))) => {
                self.silent.remove(&id);
            }
            // There was room for everything that it should have sent.
            Err(RecvError::Lost(_)) if G::HAS_HANDLE => {
                self.silent.remove(&id);
            }
            // The client keeps to the protocol, but has another version or codec, and no
            // channel to report that to it.
            Err(
                error @ RecvError::Lost(
                    Problem::Foreign(_) | Problem::Table(TableError::Foreign(_)),
                ),
            ) => {
                self.silent.remove(&id);
                return Err(error);
            }
            Err(RecvError::Lost(Problem::Table(_))) => {
                self.silent.remove(&id);
            }
            // Not the client's fault.
            Err(error @ (RecvError::Lost(_) | RecvError::Io(_))) => {
                self.ready.push_front(id);
                return Err(error);
            }
            Err(error @ RecvError::Broken(_)) => {
                self.silent.remove(&id);
                return Err(error);
            }
        }
        Ok(None)
    }
}
