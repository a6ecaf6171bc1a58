//! A channel within one process: a queue in memory.
//!
//! It has no handle, and makes no system call except to sleep and to wake a sleeping thread. When
//! one of its endpoints is moved to another process, or is to be watched by the operating system,
//! the channel is *promoted*. The endpoint that needs this makes the platform's channel, takes its
//! own endpoint of it and leaves the other here. From then on nothing is put into the queue, and
//! the messages in it come before all that arrive by the platform's channel.
//!
//! A fork would split the queue into two channels, so using it in a forked child is an error.

mod queue;

use std::io;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use super::frame::Malformed;
use super::message::{Packed, Problem, Purpose, RecvError};
use super::options::Options;
use super::permits::{self, Issuer, Permits, RENDEZVOUS_WAIT};
use super::spin::{Seen, Spin};
use crate::platform::contract::PacketSender as _;
use crate::platform::{Attachment, PacketReceiver, PacketSender, SendError, Wait, fork_generation};
use queue::Queue;

/// The state that the endpoints of the channel share.
#[derive(Debug)]
pub(super) struct InMemory {
    /// The process that owns the memory.
    process: u64,
    state: Mutex<State>,
    /// Counts the changes that a receiver may be waiting for.
    changes: AtomicU64,
    /// Wakes a sleeping receiver, ...
    receiver_waker: Condvar,
    /// ... and senders that wait for room.
    sender_waker: Condvar,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// The maximum number of messages; zero is a rendezvous.
    bound: Option<usize>,
    has_receiver: bool,
    has_senders: bool,
    /// The receiver waits, and takes the next message. With a bound of zero, there is room for that
    /// one message.
    is_receiving: bool,
    is_asleep: bool,
    waiting_senders: usize,
    promoted: Option<Untaken>,
}

/// The endpoints of the platform's channel that were not taken yet.
#[derive(Debug)]
struct Untaken {
    sender: Option<(PacketSender, Option<Permits>)>,
    receiver: Option<(PacketReceiver, Option<Issuer>)>,
}

/// The endpoints of a new channel of the platform, and what they have of its permits.
type Made = ((PacketSender, PacketReceiver), (Option<Permits>, Option<Issuer>));

/// The outcome of sending a message.
#[derive(Debug)]
pub(super) enum Sent {
    /// The message is in the queue.
    Queued,
    /// The channel was promoted. The message has to go by the platform's channel, with these
    /// attachments.
    Promoted(Vec<Attachment>),
}

/// Makes a channel; `bound` is its maximum number of messages.
pub(super) fn channel(options: Options, bound: Option<usize>) -> (Arc<InMemory>, InMemoryReceiver) {
    let shared = Arc::new(InMemory {
        process: fork_generation(),
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
        receiver_waker: Condvar::new(),
        sender_waker: Condvar::new(),
    });
    let mut receiver = InMemoryReceiver {
        shared: Arc::clone(&shared),
        taken: Queue::default(),
        options: Options::default(),
        spin: Spin::new(0),
    };
    receiver.set_options(options);
    (shared, receiver)
}

impl InMemory {
    /// Sends a message, blocking until there is room, as `wait` says.
    pub(super) fn send(
        &self,
        body: &[u8],
        attachments: Vec<Attachment>,
        wait: Wait,
    ) -> Result<Sent, (SendError, Vec<Attachment>)> {
        if self.is_forked() {
            return Err((SendError::Io(forked()), attachments));
        }
        let mut state = self.lock();
        // 1. Wait until there is room, or never will be.
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
            state = sleep(&self.sender_waker, state, wait);
            state.waiting_senders -= 1;
            // The receiver of a rendezvous that does not block waits only as long as a sender does.
            if state.waiting_senders == 0 && state.is_receiving {
                self.wake_receiver(&mut state);
            }
        }
        // 2. Queue the message. The receiver of a rendezvous takes only one.
        state.queue.push(body, attachments);
        if state.bound == Some(0) {
            state.is_receiving = false;
        }
        // 3. Wake the receiver, without the lock, which it takes at once.
        self.changed();
        if mem::take(&mut state.is_asleep) {
            drop(state);
            self.receiver_waker.notify_one();
        }
        Ok(Sent::Queued)
    }

    /// Returns whether a message could be sent without blocking, if no other thread sends one.
    pub(super) fn has_room(&self) -> bool {
        if self.is_forked() {
            return true;
        }
        let state = self.lock();
        state.promoted.is_some() || !state.has_receiver || state.has_room()
    }

    /// Returns whether the receiver has been dropped. A forked child cannot know.
    pub(super) fn is_closed(&self) -> bool {
        if self.is_forked() {
            return false;
        }
        let state = self.lock();
        match &state.promoted {
            Some(untaken) => {
                untaken.sender.as_ref().is_some_and(|(packets, _)| packets.is_closed())
            }
            None => !state.has_receiver,
        }
    }

    /// Promotes the channel, and stores what `make` makes of the platform's sender in `promoted`,
    /// unless there is one already.
    ///
    /// # Errors
    ///
    /// Those of the operating system, and an error if this is a forked child.
    pub(super) fn promote<'a, S>(
        &self,
        promoted: &'a OnceLock<S>,
        make: impl FnOnce(PacketSender, Option<Permits>) -> S,
    ) -> io::Result<&'a S> {
        if self.is_forked() {
            return Err(forked());
        }
        let mut state = self.lock();
        // Another thread may have done it meanwhile. `promoted` is only set under the lock.
        if let Some(sender) = promoted.get() {
            return Ok(sender);
        }
        let (packets, permits) = match &mut state.promoted {
            Some(untaken) => untaken.sender.take().ok_or_else(already_taken)?,
            None => {
                let ((sender, receiver), (permits, issuer)) = state.make()?;
                let receiver = state.has_receiver.then_some((receiver, issuer));
                state.promoted = Some(Untaken { sender: None, receiver });
                (sender, permits)
            }
        };
        self.wake_receiver(&mut state);
        self.sender_waker.notify_all();
        Ok(promoted.get_or_init(|| make(packets, permits)))
    }

    /// Notes that the last sender was dropped.
    pub(super) fn disconnect(self: &Arc<InMemory>) {
        if self.is_forked() {
            return self.leak();
        }
        let mut state = self.lock();
        state.has_senders = false;
        let unused = state.promoted.as_mut().and_then(|untaken| untaken.sender.take());
        self.wake_receiver(&mut state);
        drop(state);
        drop(unused);
    }

    /// Leaks the state, which keeps a forked child from dropping the content. A thread of the
    /// parent may have been changing it at the fork, and its lock would never be released.
    fn leak(self: &Arc<InMemory>) {
        let _ = Arc::into_raw(Arc::clone(self));
    }

    /// Returns whether this process is a forked child of the one that owns the memory.
    fn is_forked(&self) -> bool {
        self.process != fork_generation()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        // Changed only under the lock. A thread that reads it without the lock checks again with
        // it.
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    fn wake_receiver(&self, state: &mut State) {
        self.changed();
        if mem::take(&mut state.is_asleep) {
            self.receiver_waker.notify_one();
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
    fn make(&self) -> io::Result<Made> {
        let channel = crate::platform::channel()?;
        let bounded = self.bound.map(|bound| permits::permits(bound, self.queue.len()));
        Ok((channel, bounded.transpose()?.unzip()))
    }
}

/// The receiver of a channel within one process.
#[derive(Debug)]
pub(super) struct InMemoryReceiver {
    shared: Arc<InMemory>,
    /// Messages that were taken from the queue at once, if it is unbounded.
    taken: Queue,
    options: Options,
    spin: Spin,
}

/// What a receiver gets when the channel is promoted.
#[derive(Debug)]
pub(super) struct Promoted {
    /// The backend's receiver.
    pub(super) packets: PacketReceiver,
    /// Issues permits to senders, if the channel is bounded.
    pub(super) issuer: Option<Issuer>,
    /// The messages that were sent before, in order.
    pub(super) queued: Vec<(Vec<u8>, Vec<Attachment>)>,
}

impl InMemoryReceiver {
    /// Returns the channel's options.
    pub(super) fn options(&self) -> Options {
        self.options
    }

    /// Sets the channel's options.
    pub(super) fn set_options(&mut self, options: Options) {
        self.options = options.clamped();
        self.spin = Spin::new(self.options.spin_nanos);
    }

    /// Receives the next message, with `buffer` to receive in; `None` if the channel has been
    /// promoted.
    pub(super) fn receive(
        &mut self,
        buffer: &mut Vec<u8>,
        purpose: Purpose,
        wait: Wait,
    ) -> Result<Option<Packed>, RecvError> {
        if let Some(message) = self.taken.pop(buffer, purpose) {
            return self.check(message, buffer);
        }
        if self.shared.is_forked() {
            return Err(RecvError::Broken(forked()));
        }
        let shared = Arc::clone(&self.shared);
        let mut may_spin = true;
        let mut meeting = None;
        let mut state = shared.lock();
        loop {
            // 1. See whether the channel was promoted, before any remaining message is taken: for
            // that one, a permit has to be issued.
            if state.promoted.is_some() {
                state.is_receiving = false;
                return Ok(None);
            }
            // 2. Take a message. Without a bound, take all of them, since no sender waits for room.
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
                    shared.sender_waker.notify_one();
                }
                let message = message.or_else(|| self.taken.pop(buffer, purpose));
                return message.map_or(Ok(None), |message| self.check(message, buffer));
            }
            // 3. There is none: see whether to wait for one.
            let wait = match wait {
                // If a sender is about to send, the rendezvous is not to be missed.
                Wait::Never if state.bound == Some(0) && state.waiting_senders > 0 => {
                    *meeting.get_or_insert_with(|| Wait::at_most(RENDEZVOUS_WAIT))
                }
                wait => wait,
            };
            if !state.has_senders || wait.is_over() {
                state.is_receiving = false;
                let is_over = !state.has_senders;
                return Err(if is_over { RecvError::Disconnected } else { RecvError::Empty });
            }
            // 4. Let one sender of a rendezvous continue.
            if !mem::replace(&mut state.is_receiving, true) && state.bound == Some(0) {
                shared.sender_waker.notify_one();
            }
            // 5. Spin once, without the lock, for a change.
            if mem::take(&mut may_spin) {
                let seen = shared.changes.load(Ordering::Relaxed);
                drop(state);
                let look = || match shared.changes.load(Ordering::Relaxed) {
                    changes if changes == seen => Seen::Nothing,
                    _ => Seen::Something,
                };
                self.spin.spin(wait, look);
                state = shared.lock();
                continue;
            }
            // 6. Sleep until there is one.
            state.is_asleep = true;
            state = sleep(&shared.receiver_waker, state, wait);
            state.is_asleep = false;
        }
    }

    /// Takes the receiver of the platform's channel, and the messages that were sent before
    /// promotion.
    ///
    /// # Errors
    ///
    /// Those of the operating system, and an error if this is a forked child. Nothing has changed
    /// then.
    pub(super) fn promote(&mut self) -> io::Result<Promoted> {
        if self.shared.is_forked() {
            return Err(forked());
        }
        let mut state = self.shared.lock();
        let (packets, issuer) = match &mut state.promoted {
            Some(untaken) => untaken.receiver.take().ok_or_else(already_taken)?,
            None => {
                let ((sender, receiver), (permits, issuer)) = state.make()?;
                let sender = state.has_senders.then_some((sender, permits));
                state.promoted = Some(Untaken { sender, receiver: None });
                (receiver, issuer)
            }
        };
        let sent = mem::take(&mut state.queue);
        drop(state);
        self.shared.sender_waker.notify_all();
        let queued = mem::take(&mut self.taken).into_messages().chain(sent.into_messages());
        Ok(Promoted { packets, issuer, queued: queued.collect() })
    }

    fn check(&self, message: Packed, buffer: &[u8]) -> Result<Option<Packed>, RecvError> {
        let bytes = message.body.bytes(buffer).len();
        if !self.options.limits.admit(bytes as u64, message.attachments.len()) {
            return Err(RecvError::Lost(Problem::Malformed(Malformed::TooLarge)));
        }
        Ok(Some(message))
    }
}

impl Drop for InMemoryReceiver {
    fn drop(&mut self) {
        if self.shared.is_forked() {
            return self.shared.leak();
        }
        let mut state = self.shared.lock();
        state.has_receiver = false;
        let unreceived = mem::take(&mut state.queue);
        let unused = state.promoted.as_mut().and_then(|untaken| untaken.receiver.take());
        drop(state);
        self.shared.sender_waker.notify_all();
        // Dropping them may run anything, so it is done without the lock.
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
        "the channel is in the memory of the process that created it, \
         from which this one was forked",
    )
}

/// The error of an endpoint that was taken already.
fn already_taken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the endpoint was already taken")
}
