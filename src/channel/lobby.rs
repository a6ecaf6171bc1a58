//! Where clients wait that have connected and said nothing yet.
//!
//! Whoever listens cannot know who will speak. So all are let in, each is heard as soon as it says something, and none of those who say
//! nothing, break the protocol or leave disturbs the others. There are at most so many of them: then the one that came first
//! has to go. It is kept from speaking before it is listened to for the last time, so that nobody has said something,
//! and is told so, and was not heard.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use super::incoming::Incoming;
use super::limits::{CLIENTS_PER_TURN, Limits};
use super::message::{Message, Problem, Purpose, RecvError};
use super::options::Options;
use super::receiver::Receiver;
use crate::platform::{self, Listener, PacketReceiver, Peer, Poller, Wait};

/// The listener's id in the poller; clients count from one.
const LISTENER_ID: u64 = 0;

/// The first words of a client, and the channel that they came by.
pub(super) type First = (Receiver, Message);

/// What clients are expected to say first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    /// Any message.
    Message,
    /// A message of at most so many bytes, with one handle. Until one has come, a client gets nothing else here, and what is
    /// wrong with its message is wrong with that client.
    Handle { bytes: usize },
}

/// A listener, and who has come in.
#[derive(Debug)]
pub(super) struct Lobby {
    listener: Listener,
    /// Made with the listener: when a client comes there may be no handle left for it.
    poller: Poller,
    greeting: Greeting,
    /// Those who have said nothing.
    silent: BTreeMap<u64, Incoming>,
    last_id: u64,
    /// Who may have something to say, the listener included.
    ready: VecDeque<u64>,
}

impl Lobby {
    pub(super) fn new(listener: Listener, greeting: Greeting) -> io::Result<Lobby> {
        let poller = Poller::new()?;
        poller.add_listener(&listener, LISTENER_ID)?;
        let (silent, ready) = (BTreeMap::new(), VecDeque::new());
        Ok(Lobby { listener, poller, greeting, silent, last_id: 0, ready })
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
    ) -> Result<First, RecvError> {
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
    ) -> Result<Option<First>, RecvError> {
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
    ) -> Result<Option<First>, RecvError> {
        let mut receiver = Incoming::from(packets);
        if let Greeting::Handle { bytes } = self.greeting {
            receiver.set_options(options_for_stranger(bytes));
        }
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

    fn dismiss_oldest(&mut self, buffer: &mut Vec<u8>) -> Result<Option<First>, RecvError> {
        match self.silent.first_key_value() {
            Some((&id, _)) => self.dismiss(id, buffer),
            None => Ok(None),
        }
    }

    /// Drops a client, unless it has said something before it could not any more.
    fn dismiss(&mut self, id: u64, buffer: &mut Vec<u8>) -> Result<Option<First>, RecvError> {
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
    fn hear(&mut self, id: u64, buffer: &mut Vec<u8>) -> Result<Option<First>, RecvError> {
        let needs_room = self.greeting != Greeting::Message;
        if needs_room && self.silent.contains_key(&id) {
            if let Err(error) = self.make_room(id) {
                // It was here before those that come later.
                self.ready.push_front(id);
                return Err(RecvError::Io(error));
            }
            self.listener.release();
        }
        let Some(client) = self.silent.get_mut(&id) else { return Ok(None) };
        let received = client.receive(buffer, Purpose::Look, Wait::Never);
        if needs_room {
            // If there is none left, that shows when it is needed next.
            let _ = self.listener.reserve();
        }
        match received {
            Ok(message) => {
                let receiver = self.silent.remove(&id).ok_or(RecvError::Disconnected)?;
                let _ = self.poller.remove(receiver.packets());
                return Ok(Some((Receiver::new(receiver, None), message)));
            }
            Err(RecvError::Empty) => {}
            Err(RecvError::Unfinished) => self.ready.push_back(id),
            Err(RecvError::Disconnected | RecvError::Lost(Problem::Malformed(_))) => {
                self.silent.remove(&id);
            }
            // There was room for all that it should have sent.
            Err(RecvError::Lost(_)) if needs_room => {
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

/// What is received from somebody of whom nothing is known yet.
fn options_for_stranger(bytes: usize) -> Options {
    let limits = Limits {
        message_bytes: bytes,
        message_handles: 1,
        unfinished_bytes: bytes,
        unfinished_messages: 1,
        ..Limits::default()
    };
    Options { limits, shares_memory: false, ..Options::default() }
}
