//! Many receivers, served in turn.
//!
//! The poller says who became ready; whoever did stays in a queue of the ready until it has been found empty. Each
//! member gives a few messages per turn, and one selection is bounded in messages and bytes, so that a flood from one
//! member delays neither the others nor the caller.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::OnceLock;

use super::limits::{
    ATTACHMENTS_PER_SELECT, BYTES_PER_SELECT, MAX_EVENTS_PER_SELECT, MESSAGES_PER_TURN,
};
use super::message::{Problem, Purpose, RecvError};
use super::receiver::Receiver;
use super::scratch;
use crate::platform::{Attachment, PollWaker, Poller, Wait};

/// Receives from many receivers.
#[derive(Debug)]
pub(crate) struct ReceiverSet {
    poller: Poller,
    members: HashMap<u64, Member>,
    ready: VecDeque<u64>,
    news: VecDeque<u64>,
    next_id: u64,
    /// For those who wait on the poller's own descriptor: they must not miss what is left over from a selection.
    reminder: OnceLock<PollWaker>,
}

#[derive(Debug)]
struct Member {
    receiver: Receiver,
    is_queued: bool,
}

/// What one selection has taken.
#[derive(Debug, Default)]
struct Taken {
    bytes: usize,
    attachments: usize,
}

impl Taken {
    fn is_enough(&self, events: &[Event]) -> bool {
        events.len() >= MAX_EVENTS_PER_SELECT
            || self.bytes >= BYTES_PER_SELECT
            || self.attachments >= ATTACHMENTS_PER_SELECT
    }
}

/// What happened to a member.
#[derive(Debug)]
pub(crate) enum Event {
    /// A message came.
    Message(u64, Vec<u8>, Vec<Attachment>),
    /// A message came and is lost.
    Lost(u64, Problem),
    /// All senders are gone, everything was received; it is a member no more.
    Closed(u64),
}

impl ReceiverSet {
    /// Makes an empty set.
    pub(crate) fn new() -> io::Result<ReceiverSet> {
        Ok(ReceiverSet {
            poller: Poller::new()?,
            members: HashMap::new(),
            ready: VecDeque::new(),
            news: VecDeque::new(),
            next_id: 0,
            reminder: OnceLock::new(),
        })
    }

    /// Adds a member and returns its id, which is never used again.
    pub(crate) fn add(&mut self, receiver: Receiver) -> io::Result<u64> {
        let id = self.next_id;
        self.poller.add(receiver.packets(), id)?;
        self.next_id += 1;
        self.members.insert(id, Member { receiver, is_queued: false });
        Ok(id)
    }

    /// Gives a member back, with all that it has not delivered.
    pub(crate) fn remove(&mut self, id: u64) -> Option<Receiver> {
        let member = self.members.remove(&id)?;
        // It is not watched any more once its handle is elsewhere; an event that is on its way finds no member.
        let _ = self.poller.remove(member.receiver.packets());
        Some(member.receiver)
    }

    /// How many members it has.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// A handle that makes a waiting `select` return without events.
    pub(crate) fn waker(&self) -> io::Result<PollWaker> {
        self.poller.waker()
    }

    /// What can be polled instead of calling `select`.
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn poller(&self) -> &Poller {
        &self.poller
    }

    /// From now on, keeps the poller ready for as long as anything may be left over.
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn remind(&self) -> io::Result<()> {
        if self.reminder.get().is_none() {
            let reminder = self.poller.waker()?;
            if !self.ready.is_empty() {
                reminder.wake()?;
            }
            let _ = self.reminder.set(reminder);
        }
        Ok(())
    }

    /// Waits for events, and returns at least one unless the wait was over or interrupted by the waker.
    pub(crate) fn select(&mut self, wait: Wait) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        loop {
            let wait_now = if self.ready.is_empty() { wait } else { Wait::Never };
            self.poller.wait(wait_now, &mut self.news)?;
            let mut woken = false;
            for id in self.news.drain(..) {
                match self.members.get_mut(&id) {
                    Some(member) if !member.is_queued => {
                        member.is_queued = true;
                        self.ready.push_back(id);
                    }
                    Some(_) => {}
                    None => woken = true,
                }
            }
            let collected = self.collect(&mut events);
            if collected.is_err() || !events.is_empty() || woken || wait.is_over() {
                if let (Some(reminder), false) = (self.reminder.get(), self.ready.is_empty()) {
                    // What was received comes first; the next selection tries again.
                    let _ = reminder.wake();
                }
                return collected.map(|()| events);
            }
        }
    }

    /// Takes what the ready have, in turns, until they have nothing more or it is enough.
    fn collect(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        let mut taken = Taken::default();
        scratch::with_receive_buffer(|buffer| {
            loop {
                let before = events.len();
                for _ in 0..self.ready.len() {
                    if taken.is_enough(events) {
                        return Ok(());
                    }
                    let Some(id) = self.ready.pop_front() else {
                        break;
                    };
                    match self.take_turn(id, buffer, events, &mut taken) {
                        Ok(()) => {}
                        Err(error) if events.is_empty() => return Err(error),
                        // What was collected comes first; the error will be back.
                        Err(_) => return Ok(()),
                    }
                }
                if events.len() == before {
                    return Ok(());
                }
            }
        })
    }

    fn take_turn(
        &mut self,
        id: u64,
        buffer: &mut Vec<u8>,
        events: &mut Vec<Event>,
        taken: &mut Taken,
    ) -> io::Result<()> {
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        let turn = member.turn(id, buffer, events, taken);
        member.is_queued = !matches!(turn, Ok(Turn::Drained | Turn::Closed));
        if member.is_queued {
            self.ready.push_back(id);
        }
        if let Turn::Closed = turn? {
            events.push(Event::Closed(id));
            drop(self.remove(id));
        }
        Ok(())
    }
}

/// How a member's turn ended.
enum Turn {
    /// There may be more.
    Interrupted,
    /// There is no more.
    Drained,
    /// There will never be more.
    Closed,
}

impl Member {
    /// Takes what a member has, up to its turn.
    fn turn(
        &mut self,
        id: u64,
        buffer: &mut Vec<u8>,
        events: &mut Vec<Event>,
        taken: &mut Taken,
    ) -> io::Result<Turn> {
        for _ in 0..MESSAGES_PER_TURN {
            let received = self.receiver.receive(buffer, Purpose::Keep, Wait::Never);
            taken.bytes += self.receiver.taken();
            match received {
                Ok(message) => {
                    let body = message.body.into_vec(buffer);
                    taken.attachments += message.attachments.len();
                    events.push(Event::Message(id, body, message.attachments));
                }
                Err(RecvError::Empty) => return Ok(Turn::Drained),
                Err(RecvError::Unfinished) => break,
                Err(RecvError::Lost(problem)) => events.push(Event::Lost(id, problem)),
                Err(RecvError::Disconnected) => return Ok(Turn::Closed),
                Err(RecvError::Broken(error)) => {
                    events.push(Event::Lost(id, Problem::Broken(error)));
                    return Ok(Turn::Closed);
                }
                Err(RecvError::Io(error)) => return Err(error),
            }
            if taken.is_enough(events) {
                break;
            }
        }
        Ok(Turn::Interrupted)
    }
}
