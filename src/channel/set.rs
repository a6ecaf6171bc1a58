//! A receiver set, whose members are served in turn.
//!
//! The poller reports which members became ready. A ready member stays in a queue until it was
//! found empty. The memory of empty members that read rings is checked for a moment before the
//! thread sleeps; then their senders are asked to wake it. Each member returns a few messages per
//! turn, and one selection is bounded in messages and bytes. So a flood from one member delays
//! neither the others nor the caller. Senders that wait for a rendezvous meet the set while it
//! waits, those of all members at the same time.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::limits::{
    ATTACHMENTS_PER_SELECT, BYTES_PER_SELECT, MAX_EVENTS_PER_SELECT, MESSAGES_PER_TURN,
};
use super::message::{Problem, Purpose, RecvError};
use super::permits::{RENDEZVOUS_WAIT, STARVATION_TIME, Trust};
use super::receive::Receiver;
use super::server::{Connection, Server};
use super::spin::{SPIN_NANOS, Seen, Spin, Spun};
use super::table::Entry;
use crate::buffers;
use crate::platform::contract::{PollWaker as _, Poller as _};
use crate::platform::{Attachment, PollWaker, Poller, Wait};

/// The maximum number of members whose memory is checked before the thread sleeps.
const SPIN_MEMBERS: usize = 16;

/// How many handles a client of a server takes: a receiver and a sender.
const HANDLES_PER_CLIENT: usize = 2;

/// How often to check whether members still use shared memory.
const SWEEP: Duration = Duration::from_secs(1);

/// Receives from many receivers.
#[derive(Debug)]
pub(crate) struct ReceiverSet {
    poller: Poller,
    members: BTreeMap<u64, Member>,
    servers: BTreeMap<u64, Host>,
    ready: VecDeque<u64>,
    news: VecDeque<u64>,
    /// Members that were found empty and whose senders were not asked to wake the thread.
    unarmed: Vec<u64>,
    /// Members that read shared memory.
    sharing: Vec<u64>,
    /// When to check next whether shared memory is still used.
    sweep_at: Option<Instant>,
    spin: Spin,
    /// How many selections in a row have not called the poller.
    unpolled: u32,
    next_id: u64,
    /// Members that are rendezvous channels with waiting senders: while a selection blocks, each of
    /// them may be offered a permit.
    hosts: Vec<u64>,
    /// Whether to block for those senders in a selection that does not block otherwise, ...
    trust: Trust,
    /// ... and when, if it has something to return.
    next_moment: Option<Instant>,
    /// Wakes users that poll the poller's own file descriptor: they must not miss what is left over
    /// from a selection.
    reminder: OnceLock<PollWaker>,
}

#[derive(Debug)]
struct Member {
    receiver: Receiver,
    is_queued: bool,
    is_unarmed: bool,
    is_sharing: bool,
    is_host: bool,
}

/// A server that is a member.
#[derive(Debug)]
struct Host {
    server: Server,
    is_queued: bool,
}

/// How much one selection has taken.
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
    /// A message arrived. The last field is its sender's name for the type, if it has sent one.
    Message(u64, Vec<u8>, Vec<Entry<Attachment>>, Option<Arc<str>>),
    /// A client connected to a server.
    Client(u64, Box<Connection>),
    /// A message arrived and was discarded.
    Lost(u64, Problem),
    /// All senders have been dropped and everything was received; the receiver is no longer a
    /// member.
    Closed(u64),
}

impl ReceiverSet {
    /// Makes an empty set.
    pub(crate) fn new() -> io::Result<ReceiverSet> {
        Ok(ReceiverSet {
            poller: Poller::new()?,
            members: BTreeMap::new(),
            servers: BTreeMap::new(),
            ready: VecDeque::new(),
            news: VecDeque::new(),
            unarmed: Vec::new(),
            sharing: Vec::new(),
            sweep_at: None,
            spin: Spin::new(SPIN_NANOS),
            unpolled: 0,
            next_id: 0,
            hosts: Vec::new(),
            trust: Trust::default(),
            next_moment: None,
            reminder: OnceLock::new(),
        })
    }

    /// Adds a member and returns its id, which is never used again.
    pub(crate) fn add(&mut self, mut receiver: Receiver) -> io::Result<u64> {
        let id = self.next_id;
        self.poller.add(receiver.promoted_packets()?, id)?;
        self.next_id += 1;
        receiver.set_member(true);
        let is_unarmed = receiver.has_other_sources();
        if is_unarmed {
            self.unarmed.push(id);
            if let Some(reminder) = self.reminder.get() {
                // If this fails, its messages are reported with the next event.
                let _ = reminder.wake();
            }
        }
        let member =
            Member { receiver, is_queued: false, is_unarmed, is_sharing: false, is_host: false };
        self.members.insert(id, member);
        if is_unarmed {
            self.watch_memory(id);
        }
        Ok(id)
    }

    /// Adds a server as a member and returns its id. Its clients are not members.
    pub(crate) fn add_server(&mut self, server: Server) -> io::Result<u64> {
        let id = self.next_id;
        self.poller.add_poller(server.poller(), id)?;
        self.next_id += 1;
        self.servers.insert(id, Host { server, is_queued: false });
        // The server's poller does not report again what it has reported before.
        self.queue(id);
        if let Some(reminder) = self.reminder.get() {
            // If this fails, its clients are reported with the next event.
            let _ = reminder.wake();
        }
        Ok(id)
    }

    /// Removes a server and returns it.
    pub(crate) fn remove_server(&mut self, id: u64) -> Option<Server> {
        let host = self.servers.remove(&id)?;
        let _ = self.poller.remove_poller(host.server.poller());
        Some(host.server)
    }

    /// Removes a member and returns it, with all messages that it has not delivered.
    pub(crate) fn remove(&mut self, id: u64) -> Option<Receiver> {
        let mut member = self.members.remove(&id)?;
        member.receiver.set_member(false);
        // A handle that was moved is no longer watched; a pending event finds no member.
        if let Some(packets) = member.receiver.packets() {
            let _ = self.poller.remove(packets);
        }
        Some(member.receiver)
    }

    /// Returns the number of members.
    pub(crate) fn len(&self) -> usize {
        self.members.len() + self.servers.len()
    }

    /// Returns a handle that makes a blocked `select` return without events.
    pub(crate) fn waker(&self) -> io::Result<PollWaker> {
        self.poller.waker()
    }

    /// Returns what can be polled instead of calling `select`.
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn poller(&self) -> &Poller {
        &self.poller
    }

    /// Keeps the poller ready, from now on, for as long as anything may be left over.
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn remind(&self) -> io::Result<()> {
        if self.reminder.get().is_none() {
            let reminder = self.poller.waker()?;
            if !self.ready.is_empty() || !self.unarmed.is_empty() {
                reminder.wake()?;
            }
            let _ = self.reminder.set(reminder);
        }
        Ok(())
    }

    /// Blocks until there are events, and returns at least one unless the wait was over or
    /// interrupted by the waker.
    pub(crate) fn select(&mut self, wait: Wait) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        let began = if self.hosts.is_empty() { None } else { Some(Instant::now()) };
        loop {
            let mut taken = Taken::default();
            let mut woken = false;
            self.offer_permit();
            match self.spin(wait) {
                Spun::Found if self.unpolled % MESSAGES_PER_TURN as u32 != 0 => {}
                // The other members must have their turn.
                Spun::Found | Spun::Progress => woken = self.poll(Wait::Never)?,
                Spun::InVain => {
                    self.arm();
                    let wait_now = if self.ready.is_empty() { wait } else { Wait::Never };
                    let sweep = self.sweep_at.map(Wait::Until).filter(|at| at.is_before(wait_now));
                    woken = self.poll(sweep.unwrap_or(wait_now))?;
                    self.sweep();
                }
            }
            let mut collected = self.collect(&mut events, &mut taken);
            if collected.is_err() || !events.is_empty() || woken || wait.is_over() {
                if collected.is_ok() && !woken {
                    collected = self.meet(began, wait, &mut events, &mut taken);
                }
                self.withdraw_permit();
                if self.reminder.get().is_some() {
                    self.arm();
                }
                if let (Some(reminder), false) = (self.reminder.get(), self.ready.is_empty()) {
                    // What was received is returned first; the next selection tries again.
                    let _ = reminder.wake();
                }
                return collected.map(|()| events);
            }
        }
    }

    /// Offers permits to senders that wait for a rendezvous, one for each member.
    fn offer_permit(&mut self) {
        for id in &self.hosts {
            if let Some(member) = self.members.get_mut(id) {
                member.receiver.offer_permit();
            }
        }
    }

    /// Takes the permits back: a rendezvous needs a set that waits, not one whose wait
    /// has ended.
    fn withdraw_permit(&mut self) {
        let members = &mut self.members;
        self.hosts.retain(|id| {
            let Some(member) = members.get_mut(id) else { return false };
            member.receiver.withdraw_permit();
            member.is_host = member.receiver.expects_senders();
            member.is_host
        });
    }

    /// Blocks for a moment, for all waiting senders together, if the selection was over before they
    /// could send. This is so in one that does not block, and in one that always finds something.
    fn meet(
        &mut self,
        began: Option<Instant>,
        wait: Wait,
        events: &mut Vec<Event>,
        taken: &mut Taken,
    ) -> io::Result<()> {
        let now = Instant::now();
        // Senders that have a permit by now had none when the selection began.
        let had_time = began.is_some_and(|began| now.duration_since(began) >= RENDEZVOUS_WAIT);
        let is_busy = !events.is_empty() && self.next_moment.is_some_and(|at| now < at);
        let may_wait = wait == Wait::Never || !wait.is_over();
        if self.hosts.is_empty() || had_time || is_busy || !may_wait || !self.trust.is_given() {
            return Ok(());
        }
        let members = &self.members;
        let has_waiting_senders =
            |id: &u64| members.get(id).is_some_and(|m| m.receiver.has_waiting_senders());
        let mut awaited: Vec<u64> =
            self.hosts.iter().copied().filter(has_waiting_senders).collect();
        remove_visited(&mut awaited, events);
        if awaited.is_empty() {
            return Ok(());
        }
        if !events.is_empty() {
            self.next_moment = now.checked_add(STARVATION_TIME);
        }
        self.offer_permit();
        let mut until = Wait::at_most(RENDEZVOUS_WAIT);
        if wait != Wait::Never && wait.is_before(until) {
            until = wait;
        }
        let mut have_any_come = false;
        let mut woken = false;
        while !awaited.is_empty() && !woken && !until.is_over() && !taken.is_enough(events) {
            self.arm();
            let wait_now = if self.ready.is_empty() { until } else { Wait::Never };
            woken = self.poll(wait_now)?;
            let seen = events.len();
            match self.collect(events, taken) {
                Ok(()) => {}
                Err(error) if events.is_empty() => return Err(error),
                Err(_) => break,
            }
            let count = awaited.len();
            remove_visited(&mut awaited, &events[seen..]);
            have_any_come |= awaited.len() < count;
        }
        if !woken {
            self.trust.note(have_any_come);
            for id in awaited {
                if let Some(member) = self.members.get_mut(&id) {
                    member.receiver.stop_expecting_senders();
                }
            }
        }
        Ok(())
    }

    /// Has the rings of a member released when they are idle.
    fn watch_memory(&mut self, id: u64) {
        let is_news =
            |member: &&mut Member| !member.is_sharing && member.receiver.options().idle().is_some();
        let Some(member) = self.members.get_mut(&id).filter(is_news) else { return };
        member.is_sharing = true;
        self.sharing.push(id);
        if self.sweep_at.is_none() {
            self.sweep_at = Instant::now().checked_add(SWEEP);
        }
    }

    /// If it is time, releases idle rings.
    fn sweep(&mut self) {
        let Some(at) = self.sweep_at else { return };
        let now = Instant::now();
        if now < at {
            return;
        }
        let members = &mut self.members;
        self.sharing.retain(|id| {
            let Some(member) = members.get_mut(id) else { return false };
            member.is_sharing = member.receiver.retire_idle();
            member.is_sharing
        });
        self.sweep_at = if self.sharing.is_empty() { None } else { now.checked_add(SWEEP) };
    }

    /// Spins for a moment for the members that were active last. Members that get something become
    /// ready.
    fn spin(&mut self, wait: Wait) -> Spun {
        let is_for_few = (1..=SPIN_MEMBERS).contains(&self.unarmed.len());
        if !self.ready.is_empty() || !is_for_few || wait == Wait::Never {
            return Spun::InVain;
        }
        let ReceiverSet { members, unarmed, spin, .. } = self;
        let patience = unarmed.iter().filter_map(|id| members.get(id));
        let patience = patience.map(|member| member.receiver.options().spin_nanos);
        spin.limit(patience.min().unwrap_or(SPIN_NANOS));
        let mut found = None;
        let mut glance = || {
            let mut seen = Seen::Nothing;
            for (index, id) in unarmed.iter().enumerate() {
                match members.get_mut(id).map_or(Seen::Something, |m| m.receiver.glance()) {
                    Seen::Nothing => {}
                    Seen::Progress => seen = Seen::Progress,
                    Seen::Something => {
                        found = Some(index);
                        return Seen::Something;
                    }
                }
            }
            seen
        };
        let spun = spin.spin(wait, &mut glance);
        if let Some(index) = found {
            let id = self.unarmed.swap_remove(index);
            if let Some(member) = self.members.get_mut(&id) {
                member.is_unarmed = false;
            }
            self.queue(id);
        }
        self.unpolled = self.unpolled.wrapping_add(1);
        spun
    }

    /// Asks the senders of empty members to wake the thread. Members that have something already
    /// become ready.
    fn arm(&mut self) {
        for index in 0..self.unarmed.len() {
            let id = self.unarmed[index];
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.is_unarmed = false;
            if !member.receiver.arm() {
                self.queue(id);
            }
        }
        self.unarmed.clear();
    }

    /// Asks the poller which members are ready. Returns whether it was woken.
    fn poll(&mut self, wait: Wait) -> io::Result<bool> {
        self.poller.wait(wait, &mut self.news)?;
        let mut woken = false;
        while let Some(id) = self.news.pop_front() {
            woken |= !self.queue(id);
        }
        Ok(woken)
    }

    /// Makes a member ready. Returns whether it is a member.
    fn queue(&mut self, id: u64) -> bool {
        let is_queued = match self.members.get_mut(&id) {
            Some(member) => &mut member.is_queued,
            None => match self.servers.get_mut(&id) {
                Some(host) => &mut host.is_queued,
                None => return false,
            },
        };
        if !*is_queued {
            *is_queued = true;
            self.ready.push_back(id);
        }
        true
    }

    /// Receives from the ready members, in turns, until they have nothing more or the limit is
    /// reached.
    fn collect(&mut self, events: &mut Vec<Event>, taken: &mut Taken) -> io::Result<()> {
        buffers::with_receive_buffer(|buffer| {
            loop {
                let before = events.len();
                for _ in 0..self.ready.len() {
                    if taken.is_enough(events) {
                        return Ok(());
                    }
                    let Some(id) = self.ready.pop_front() else {
                        break;
                    };
                    match self.take_turn(id, buffer, events, taken) {
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
            let Some(host) = self.servers.get_mut(&id) else { return Ok(()) };
            let turn = host.turn(id, buffer, events, taken);
            host.is_queued = !matches!(turn, Ok(Turn::Drained));
            if host.is_queued {
                self.ready.push_back(id);
            }
            return turn.map(drop);
        };
        let turn = member.turn(id, buffer, events, taken);
        if !member.is_host && member.receiver.expects_senders() {
            member.is_host = true;
            self.hosts.push(id);
        }
        member.is_queued = !matches!(turn, Ok(Turn::Drained | Turn::Closed));
        if member.is_queued {
            self.ready.push_back(id);
        } else if member.receiver.has_other_sources() && !member.is_unarmed {
            member.is_unarmed = true;
            self.unarmed.push(id);
            self.watch_memory(id);
        }
        if let Turn::Closed = turn? {
            events.push(Event::Closed(id));
            drop(self.remove(id));
        }
        Ok(())
    }
}

/// Removes the members that something has come from.
fn remove_visited(awaited: &mut Vec<u64>, events: &[Event]) {
    for event in events {
        if let Event::Message(id, ..) | Event::Lost(id, _) | Event::Closed(id) = event {
            awaited.retain(|awaited| awaited != id);
        }
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
    /// Receives the messages of a member, up to the limit of its turn.
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
                    taken.attachments +=
                        message.entries.iter().map(Entry::attachments).sum::<usize>();
                    let sent_type = self.receiver.sent_type().cloned();
                    events.push(Event::Message(id, body, message.entries, sent_type));
                }
                Err(RecvError::Empty) => return Ok(Turn::Drained),
                Err(RecvError::BudgetSpent) => break,
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

impl Host {
    /// Accepts the clients of a server, up to the limit of its turn.
    fn turn(
        &mut self,
        id: u64,
        buffer: &mut Vec<u8>,
        events: &mut Vec<Event>,
        taken: &mut Taken,
    ) -> io::Result<Turn> {
        for _ in 0..MESSAGES_PER_TURN {
            match self.server.step(buffer, Wait::Never) {
                Ok(connection) => {
                    taken.attachments += HANDLES_PER_CLIENT;
                    events.push(Event::Client(id, Box::new(connection)));
                }
                Err(RecvError::Empty) => return Ok(Turn::Drained),
                Err(RecvError::Io(error) | RecvError::Broken(error)) => return Err(error),
                Err(RecvError::Lost(problem)) => events.push(Event::Lost(id, problem)),
                Err(RecvError::BudgetSpent | RecvError::Disconnected) => break,
            }
            if taken.is_enough(events) {
                break;
            }
        }
        Ok(Turn::Interrupted)
    }
}
