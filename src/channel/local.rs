//! A channel that has not left its process: a queue in memory.
//!
//! It has no handle, and nothing is asked of the operating system but to sleep and to wake who sleeps. When one of its ends is to leave,
//! or to be watched by the operating system, it is *promoted*: whoever wants that makes the platform's channel, takes one end of it and
//! leaves the other here. From then on nothing is put into the queue, and what is in it comes before all that comes by the platform's channel.
//!
//! A fork would split it into two channels, so in a forked child it is an error.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use super::frame::Malformed;
use super::message::{Packed, Problem, Purpose, RecvError};
use super::options::Options;
use super::permits::{self, Issuer, Permits};
use super::queue::Queue;
use super::spin::{Seen, Spin};
use super::table::Capabilities;
use crate::platform::{Attachment, PacketReceiver, PacketSender, SendError, Wait, process_mark};

/// What the ends of the channel share.
#[derive(Debug)]
pub(super) struct Local {
    /// The process whose memory it is in.
    process: u64,
    state: Mutex<State>,
    /// Counts what a receiver may be waiting for.
    changes: AtomicU64,
    /// A receiver sleeps here, ...
    news: Condvar,
    /// ... and senders that wait for room.
    room: Condvar,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// How many messages it may have; zero is a rendezvous.
    bound: Option<usize>,
    has_receiver: bool,
    has_senders: bool,
    /// The receiver waits, and takes what comes. With a bound of zero, what comes is one message.
    is_receiving: bool,
    is_asleep: bool,
    waiting_senders: usize,
    promoted: Option<Ends>,
}

/// The platform's channel, as far as nobody has fetched it.
#[derive(Debug)]
struct Ends {
    sender: Option<Way>,
    receiver: Option<(PacketReceiver, Option<Issuer>)>,
}

/// What is sent with once the channel is the platform's.
#[derive(Debug)]
pub(super) struct Way {
    /// What the backend sends with.
    pub(super) packets: Arc<PacketSender>,
    /// What has to be taken before something is sent, if the channel is bounded.
    pub(super) permits: Option<Permits>,
    /// What the channel can do.
    pub(super) capabilities: Capabilities,
}

impl Way {
    /// Into a channel of this machine.
    pub(super) fn new(packets: Arc<PacketSender>, permits: Option<Permits>) -> Way {
        Way { packets, permits, capabilities: Capabilities::ALL }
    }
}

/// What became of a message.
#[derive(Debug)]
pub(super) enum Sent {
    /// It is in the queue.
    Here,
    /// It has to go by the platform's channel, with these attachments.
    Promoted(Vec<Attachment>),
}

/// Makes a channel; `bound` is how many messages it may have.
pub(super) fn local(options: Options, bound: Option<usize>) -> (Arc<Local>, LocalReceiver) {
    let shared = Arc::new(Local {
        process: process_mark(),
        state: Mutex::new(State {
            queue: Queue::default(),
            bound,
            has_receiver: true,
            has_senders: true,
            is_receiving: false,
            is_asleep: false,
            waiting_senders: 0,
            promoted: None,
        }),
        changes: AtomicU64::new(0),
        news: Condvar::new(),
        room: Condvar::new(),
    });
    let mut receiver = LocalReceiver {
        shared: Arc::clone(&shared),
        taken: Queue::default(),
        options: Options::default(),
        spin: Spin::new(0),
    };
    receiver.set_options(options);
    (shared, receiver)
}

impl Local {
    /// Sends a message; if there is no room, waits for it.
    pub(super) fn send(
        &self,
        body: &[u8],
        attachments: Vec<Attachment>,
        wait: Wait,
    ) -> Result<Sent, (SendError, Vec<Attachment>)> {
        if self.is_foreign() {
            return Err((SendError::Io(forked()), attachments));
        }
        let mut state = self.lock();
        loop {
            if state.promoted.is_some() {
                return Ok(Sent::Promoted(attachments));
            }
            if !state.has_receiver {
                return Err((SendError::Closed, attachments));
            }
            if state.has_room() {
                break;
            }
            if wait.is_over() {
                return Err((SendError::Full, attachments));
            }
            state.waiting_senders += 1;
            state = sleep(&self.room, state, wait);
            state.waiting_senders -= 1;
            if state.waiting_senders == 0 && state.is_receiving {
                self.tell_receiver(&mut state);
            }
        }
        state.queue.push(body, attachments);
        if state.bound == Some(0) {
            state.is_receiving = false;
        }
        self.changed();
        if mem::take(&mut state.is_asleep) {
            drop(state);
            self.news.notify_one();
        }
        Ok(Sent::Here)
    }

    /// Whether a message could be sent without waiting, if nobody else sends one.
    pub(super) fn has_room(&self) -> bool {
        if self.is_foreign() {
            return true;
        }
        let state = self.lock();
        state.promoted.is_some() || !state.has_receiver || state.has_room()
    }

    /// Whether the receiver is gone. A forked child cannot know.
    pub(super) fn is_closed(&self) -> bool {
        if self.is_foreign() {
            return false;
        }
        let state = self.lock();
        match &state.promoted {
            Some(ends) => ends.sender.as_ref().is_some_and(|way| way.packets.is_closed()),
            None => !state.has_receiver,
        }
    }

    /// What is sent with from now on, which `way` gets.
    ///
    /// # Errors
    ///
    /// The operating system's, and that this is a forked child.
    pub(super) fn promote<'a>(&self, way: &'a OnceLock<Way>) -> io::Result<&'a Way> {
        if self.is_foreign() {
            return Err(forked());
        }
        let mut state = self.lock();
        if let Some(way) = way.get() {
            return Ok(way);
        }
        let sender = match &mut state.promoted {
            Some(ends) => ends.sender.take().ok_or_else(used_up)?,
            None => {
                let (sender, receiver, issuer) = state.make()?;
                let receiver = state.has_receiver.then_some((receiver, issuer));
                state.promoted = Some(Ends { sender: None, receiver });
                sender
            }
        };
        self.tell_receiver(&mut state);
        self.room.notify_all();
        Ok(way.get_or_init(|| sender))
    }

    /// The last sender is gone.
    pub(super) fn disconnect(self: &Arc<Local>) {
        if self.is_foreign() {
            return self.leave_alone();
        }
        let mut state = self.lock();
        state.has_senders = false;
        let unused = state.promoted.as_mut().and_then(|ends| ends.sender.take());
        self.tell_receiver(&mut state);
        drop(state);
        drop(unused);
    }

    /// Keeps a forked child from dropping what is in it. A thread that is not in the child may have been changing it at the fork, and
    /// would have released the lock.
    fn leave_alone(self: &Arc<Local>) {
        let _ = Arc::into_raw(Arc::clone(self));
    }

    fn is_foreign(&self) -> bool {
        self.process != process_mark()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        // Only told under the lock, and those who look without it look again with it.
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    fn tell_receiver(&self, state: &mut State) {
        self.changed();
        if mem::take(&mut state.is_asleep) {
            self.news.notify_one();
        }
    }
}

impl State {
    fn has_room(&self) -> bool {
        match self.bound {
            None => true,
            Some(0) => self.is_receiving && self.queue.is_empty(),
            Some(bound) => self.queue.len() < bound,
        }
    }

    /// Makes the platform's channel.
    fn make(&self) -> io::Result<(Way, PacketReceiver, Option<Issuer>)> {
        let (packets, receiver) = crate::platform::channel()?;
        let bounded = self.bound.map(|bound| permits::permits(bound, self.queue.len()));
        let (permits, issuer) = bounded.transpose()?.unzip();
        Ok((Way::new(Arc::new(packets), permits), receiver, issuer))
    }
}

/// The end that messages come out of.
#[derive(Debug)]
pub(super) struct LocalReceiver {
    shared: Arc<Local>,
    /// What was taken from the queue in one go, if it has no bound.
    taken: Queue,
    options: Options,
    spin: Spin,
}

/// What a receiver has when the channel becomes the platform's.
#[derive(Debug)]
pub(super) struct Promoted {
    /// What the backend receives with.
    pub(super) packets: PacketReceiver,
    /// Who lets senders send, if the channel is bounded.
    pub(super) issuer: Option<Issuer>,
    /// What was sent before, in order.
    pub(super) backlog: Vec<(Vec<u8>, Vec<Attachment>)>,
}

impl LocalReceiver {
    /// How it behaves.
    pub(super) fn options(&self) -> Options {
        self.options
    }

    /// From now on, behaves like this.
    pub(super) fn set_options(&mut self, options: Options) {
        self.options = options.clamped();
        self.spin = Spin::new(self.options.spin_nanos);
    }

    /// Receives the next message, with `buffer` to receive in; `None` if the channel is the platform's from now on.
    pub(super) fn receive(
        &mut self,
        buffer: &mut Vec<u8>,
        purpose: Purpose,
        wait: Wait,
    ) -> Result<Option<Packed>, RecvError> {
        if let Some(message) = self.taken.pop(buffer, purpose) {
            return self.check(message, buffer);
        }
        if self.shared.is_foreign() {
            return Err(RecvError::Broken(forked()));
        }
        let shared = Arc::clone(&self.shared);
        let mut may_spin = true;
        let mut state = shared.lock();
        loop {
            // Before anything that is left is taken: for that, permits are to be issued.
            if state.promoted.is_some() {
                state.is_receiving = false;
                return Ok(None);
            }
            if !state.queue.is_empty() {
                let message = if state.bound.is_some() {
                    state.queue.pop(buffer, purpose)
                } else {
                    mem::swap(&mut self.taken, &mut state.queue);
                    None
                };
                state.is_receiving = false;
                let is_awaited = state.waiting_senders > 0;
                drop(state);
                if is_awaited {
                    shared.room.notify_one();
                }
                let message = message.or_else(|| self.taken.pop(buffer, purpose));
                return message.map_or(Ok(None), |message| self.check(message, buffer));
            }
            let may_wait = match wait {
                // With somebody who is about to send, a rendezvous is not to be missed.
                Wait::Never => state.bound == Some(0) && state.waiting_senders > 0,
                wait => !wait.is_over(),
            };
            if !state.has_senders || !may_wait {
                state.is_receiving = false;
                let is_over = !state.has_senders;
                return Err(if is_over { RecvError::Disconnected } else { RecvError::Empty });
            }
            if !mem::replace(&mut state.is_receiving, true) && state.bound == Some(0) {
                shared.room.notify_one();
            }
            if mem::take(&mut may_spin) {
                let seen = shared.changes.load(Ordering::Relaxed);
                drop(state);
                let look = || match shared.changes.load(Ordering::Relaxed) {
                    changes if changes == seen => Seen::Nothing,
                    _ => Seen::Something,
                };
                self.spin.spin(if wait == Wait::Never { Wait::Forever } else { wait }, look);
                state = shared.lock();
                continue;
            }
            state.is_asleep = true;
            let wait = if wait == Wait::Never { Wait::Forever } else { wait };
            state = sleep(&shared.news, state, wait);
            state.is_asleep = false;
        }
    }

    /// Takes the receiver's end of the platform's channel, and what was sent before there was one.
    ///
    /// # Errors
    ///
    /// The operating system's, and that this is a forked child. Nothing has changed then.
    pub(super) fn promote(&mut self) -> io::Result<Promoted> {
        if self.shared.is_foreign() {
            return Err(forked());
        }
        let mut state = self.shared.lock();
        let (packets, issuer) = match &mut state.promoted {
            Some(ends) => ends.receiver.take().ok_or_else(used_up)?,
            None => {
                let (sender, receiver, issuer) = state.make()?;
                let sender = state.has_senders.then_some(sender);
                state.promoted = Some(Ends { sender, receiver: None });
                (receiver, issuer)
            }
        };
        let sent = mem::take(&mut state.queue);
        drop(state);
        self.shared.room.notify_all();
        let backlog = mem::take(&mut self.taken).into_messages().chain(sent.into_messages());
        Ok(Promoted { packets, issuer, backlog: backlog.collect() })
    }

    fn check(&self, message: Packed, buffer: &[u8]) -> Result<Option<Packed>, RecvError> {
        let bytes = message.body.bytes(buffer).len();
        if !self.options.limits.admit(bytes as u64, message.attachments.len()) {
            return Err(RecvError::Lost(Problem::Malformed(Malformed::TooLarge)));
        }
        Ok(Some(message))
    }
}

impl Drop for LocalReceiver {
    fn drop(&mut self) {
        if self.shared.is_foreign() {
            return self.shared.leave_alone();
        }
        let mut state = self.shared.lock();
        state.has_receiver = false;
        let unreceived = mem::take(&mut state.queue);
        let unused = state.promoted.as_mut().and_then(|ends| ends.receiver.take());
        drop(state);
        self.shared.room.notify_all();
        // What is in them may be anything, so it is dropped without the lock.
        drop((unreceived, unused));
    }
}

fn sleep<'a>(condvar: &Condvar, state: MutexGuard<'a, State>, wait: Wait) -> MutexGuard<'a, State> {
    match wait.remaining() {
        None => condvar.wait(state).unwrap_or_else(PoisonError::into_inner),
        Some(left) => condvar.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
    }
}

fn forked() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "the channel is in the memory of the process that made it, and this one was forked from it",
    )
}

/// Who asks has had its end already.
fn used_up() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "this end of the channel was taken already")
}
