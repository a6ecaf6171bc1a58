//! Where clients wait that have connected and said nothing yet.
//!
//! Whoever listens cannot know who will speak. So all are let in, each is heard as soon as it says something, and none of those who say
//! nothing, break the protocol or leave disturbs the others. There are at most so many of them: then the one that came first
//! has to go. It is kept from speaking before it is listened to for the last time, so that nobody has said something,
//! and is told so, and was not heard.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::io;
use std::marker::PhantomData;

use super::hello::Hello;
use super::incoming::Incoming;
use super::limits::CLIENTS_PER_TURN;
use super::message::{Message, Problem, Purpose, RecvError};
use super::receiver::Receiver;
use super::table::TableError;
use crate::platform::{self, Attachment, Listener, PacketReceiver, Peer, Poller, Wait};

/// The listener's id in the poller; clients count from one.
const LISTENER_ID: u64 = 0;

/// What clients are expected to say first.
pub(super) trait Greeting: Debug {
    /// What they said.
    type Words;

    /// Whether it comes with a handle. Then there is room for that, and what cannot be received is the client's fault.
    const HAS_HANDLE: bool;

    /// Receives it if it is there.
    fn hear(client: &mut Incoming, buffer: &mut Vec<u8>) -> Result<Self::Words, RecvError>;
}

/// Any message, after a HELLO or without one.
#[derive(Debug)]
pub(super) enum AnyMessage {}

impl Greeting for AnyMessage {
    type Words = Message;

    const HAS_HANDLE: bool = false;

    fn hear(client: &mut Incoming, buffer: &mut Vec<u8>) -> Result<Message, RecvError> {
        let packed = client.receive(buffer, Purpose::Look, Wait::Never)?;
        packed.unpack(buffer, &client.options().limits)
    }
}

/// A HELLO with one handle, and nothing before it.
#[derive(Debug)]
pub(super) enum WithHandle {}

impl Greeting for WithHandle {
    type Words = (Hello, Vec<Attachment>);

    const HAS_HANDLE: bool = true;

    fn hear(client: &mut Incoming, buffer: &mut Vec<u8>) -> Result<Self::Words, RecvError> {
        client.receive_hello(buffer, Wait::Never)
    }
}

/// A listener, and who has come in.
#[derive(Debug)]
pub(super) struct Lobby<G: Greeting> {
    listener: Listener,
    /// Made with the listener: when a client comes there may be no handle left for it.
    poller: Poller,
    /// Those who have said nothing.
    silent: BTreeMap<u64, Incoming>,
    last_id: u64,
    /// Who may have something to say, the listener included.
    ready: VecDeque<u64>,
    greeting: PhantomData<fn() -> G>,
}

/// The first words of a client, if there are any, and the channel that they came by.
type Heard<G> = Option<(Receiver, <G as Greeting>::Words)>;

impl<G: Greeting> Lobby<G> {
    pub(super) fn new(listener: Listener) -> io::Result<Lobby<G>> {
        let poller = Poller::new()?;
        poller.add_listener(&listener, LISTENER_ID)?;
        let (silent, ready) = (BTreeMap::new(), VecDeque::new());
        Ok(Lobby { listener, poller, silent, last_id: 0, ready, greeting: PhantomData })
    }

    /// Is ready when somebody comes or says something.
    pub(super) fn poller(&self) -> &Poller {
        &self.poller
    }

    /// Waits for the first message of a client that `may_enter`, with `buffer` to receive it in. If that is `Empty`, the poller will be
    /// ready when there is one; `Unfinished` is a call that was not to wait, and would have had more to do.
    pub(super) fn hear_next(
        &mut self,
        buffer: &mut Vec<u8>,
        wait: Wait,
        may_enter: &mut dyn FnMut(&Peer) -> bool,
    ) -> Result<(Receiver, G::Words), RecvError> {
        loop {
            let wait_now = if self.ready.is_empty() { wait } else { Wait::Never };
            self.poller.wait(wait_now, &mut self.ready).map_err(RecvError::Io)?;
            if self.ready.is_empty() && wait.is_over() {
                return Err(RecvError::Empty);
            }
            for _ in 0..self.ready.len() {
                let Some(id) = self.ready.pop_front() else { break };
                let heard = if id == LISTENER_ID {
                    self.admit(buffer, may_enter)?
                } else {
                    self.hear(id, buffer)?
                };
                if let Some(first) = heard {
                    return Ok(first);
                }
            }
            if wait.is_over() {
                return Err(RecvError::Unfinished);
            }
        }
    }

    /// Lets in who are waiting and may enter, and hears each at once: who has spoken must not be taken for silent.
    fn admit(
        &mut self,
        buffer: &mut Vec<u8>,
        may_enter: &mut dyn FnMut(&Peer) -> bool,
    ) -> Result<Heard<G>, RecvError> {
        // It stays among the ready until nobody is found, however this ends: nobody would say again that there is somebody.
        self.ready.push_back(LISTENER_ID);
        for _ in 0..CLIENTS_PER_TURN {
            let heard = match self.listener.accept(Wait::Never) {
                Ok((packets, peer)) if may_enter(&peer) => self.let_in(packets, buffer)?,
                Ok(_) => None,
                Err(platform::RecvError::Empty) => {
                    self.ready.retain(|&id| id != LISTENER_ID);
                    return Ok(None);
                }
                // Those who say nothing may be using up the handles.
                Err(platform::RecvError::Io(_)) if !self.silent.is_empty() => {
                    self.dismiss_oldest(buffer)?
                }
                Err(error) => return Err(error.into()),
            };
            if heard.is_some() {
                return Ok(heard);
            }
        }
        Ok(None)
    }

    fn let_in(
        &mut self,
        packets: PacketReceiver,
        buffer: &mut Vec<u8>,
    ) -> Result<Heard<G>, RecvError> {
        let receiver = Incoming::from(packets);
        self.last_id += 1;
        let id = self.last_id;
        let watched = self.poller.add(receiver.watch(), id);
        self.silent.insert(id, receiver);
        if let Err(error) = watched {
            // There may be too many watched. This one is not, so it has to have said something by now.
            return match self.dismiss(id, buffer)? {
                None if self.silent.is_empty() => Err(RecvError::Io(error)),
                None => self.dismiss_oldest(buffer),
                heard => Ok(heard),
            };
        }
        let heard = self.hear(id, buffer)?;
        if heard.is_none() && self.silent.len() > platform::max_silent_clients() {
            return self.dismiss_oldest(buffer);
        }
        Ok(heard)
    }

    fn dismiss_oldest(&mut self, buffer: &mut Vec<u8>) -> Result<Heard<G>, RecvError> {
        match self.silent.first_key_value() {
            Some((&id, _)) => self.dismiss(id, buffer),
            None => Ok(None),
        }
    }

    /// Drops a client, unless it has said something before it could not any more.
    fn dismiss(&mut self, id: u64, buffer: &mut Vec<u8>) -> Result<Heard<G>, RecvError> {
        let heard = self.hear(id, buffer)?;
        let Some(client) = self.silent.get(&id) else { return Ok(heard) };
        client.packets().refuse();
        let heard = self.hear(id, buffer);
        let has_said_nothing = |client: &Incoming| heard.is_ok() || client.packets().backlog() == 0;
        if self.silent.get(&id).is_some_and(has_said_nothing) {
            self.silent.remove(&id);
            return Ok(None);
        }
        heard
    }

    /// Makes sure that there is a handle left for the one that client `id` may send. Those who say nothing may be using them up.
    fn make_room(&mut self, id: u64) -> io::Result<()> {
        let mut others: Option<VecDeque<u64>> = None;
        while let Err(error) = self.listener.reserve() {
            let silent = &self.silent;
            let others = others.get_or_insert_with(|| silent.keys().copied().collect());
            let Some(other) = others.pop_front() else { return Err(error) };
            let Some(client) = self.silent.get(&other).filter(|_| other != id) else { continue };
            if client.packets().backlog() > 0 {
                continue;
            }
            client.packets().refuse();
            if client.packets().backlog() == 0 {
                self.silent.remove(&other);
            }
        }
        Ok(())
    }

    /// Receives from one client. If that fails, the client is heard again.
    fn hear(&mut self, id: u64, buffer: &mut Vec<u8>) -> Result<Heard<G>, RecvError> {
        if G::HAS_HANDLE && self.silent.contains_key(&id) {
            if let Err(error) = self.make_room(id) {
                // It was here before those that come later.
                self.ready.push_front(id);
                return Err(RecvError::Io(error));
            }
            self.listener.release();
        }
        let Some(client) = self.silent.get_mut(&id) else { return Ok(None) };
        let received = G::hear(client, buffer);
        if G::HAS_HANDLE {
            // If there is none left, that shows when it is needed next.
            let _ = self.listener.reserve();
        }
        match received {
            Ok(words) => {
                let receiver = self.silent.remove(&id).ok_or(RecvError::Disconnected)?;
                let _ = self.poller.remove(receiver.packets());
                return Ok(Some((Receiver::new(receiver, None), words)));
            }
            Err(RecvError::Empty) => {}
            Err(RecvError::Unfinished) => self.ready.push_back(id),
            Err(RecvError::Disconnected | RecvError::Lost(Problem::Malformed(_))) => {
                self.silent.remove(&id);
            }
            // There was room for all that it should have sent.
            Err(RecvError::Lost(_)) if G::HAS_HANDLE => {
                self.silent.remove(&id);
            }
            // It keeps to the protocol, cannot be understood, and cannot be told.
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
