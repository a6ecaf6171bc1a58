//! The socket of a channel, as the senders of a process use it, and how long a message waits for
//! room in it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::channel::frame::Head;
use crate::channel::limits::SEND_TIMEOUT;
use crate::platform::contract::PacketSender as _;
use crate::platform::{Attachment, PacketSender, SendError, Wait};

/// How often a sender of a bounded channel checks what it waits for: the receiver, or room for
/// handles in flight.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A message that was not sent, with those of its attachments that were not sent either.
#[derive(Debug)]
pub(crate) struct SendFailure {
    /// Why it was not sent.
    pub(crate) error: SendError,
    /// The attachments that can be returned. Empty if some of them were sent.
    pub(crate) attachments: Vec<Attachment>,
}

/// The socket of a channel.
#[derive(Debug)]
pub(super) struct Socket {
    /// The backend's sender.
    pub(super) packets: Arc<PacketSender>,
    /// Whether messages were sent by it since the last record of the ring.
    pub(super) usage: SocketUse,
}

impl Socket {
    /// Makes the socket of this backend's sender.
    pub(super) fn new(packets: Arc<PacketSender>) -> Socket {
        Socket { packets, usage: SocketUse::default() }
    }

    /// Sends a packet, blocking until there is room.
    pub(super) fn send(
        &self,
        head: &Head,
        body: &[u8],
        mut attachments: Vec<Attachment>,
        deadline: &mut Deadline,
    ) -> Result<(), (SendError, Vec<Attachment>)> {
        let is_plain = attachments.is_empty();
        loop {
            let wait = deadline.next_wait(is_plain);
            let sent = self.packets.send(head.as_bytes(), body, attachments, wait);
            match sent {
                // Only the receiver was waited for.
                Err((SendError::Full, unsent)) if deadline.renew() => attachments = unsent,
                Err((SendError::TooManyInFlight, unsent)) if !deadline.is_over() => {
                    attachments = unsent;
                }
                Ok(()) if is_plain => {
                    deadline.renew();
                    return Ok(());
                }
                sent => return sent,
            }
        }
    }
}

/// Whether something was sent by socket since the last record. It is set after such a send, and not
/// under the lock of the send state. What a thread has sent by socket shows in its next record at
/// the latest.
#[derive(Debug, Default)]
pub(super) struct SocketUse(AtomicBool);

impl SocketUse {
    /// Notes that something was sent by socket.
    #[inline]
    pub(super) fn note(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Returns whether something was sent by socket since the last call.
    #[inline]
    pub(super) fn take(&self) -> bool {
        // In most cases the flag is not set, and is only read.
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Acquire)
    }
}

/// How long a message waits for room if neither the ring nor the socket takes it at once. The clock
/// is read only then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timeout {
    /// As the caller says.
    Caller(Wait),
    /// For [`SEND_TIMEOUT`].
    Default,
    /// In a bounded channel: for as long as the receiver exists. If it is not this channel that is
    /// full, but this user has too many file descriptors in flight, for [`SEND_TIMEOUT`].
    Bounded,
}

impl Timeout {
    /// Returns how long a caller that waits like this waits in an unbounded channel.
    #[inline]
    pub(super) fn unbounded(wait: Wait) -> Timeout {
        match wait {
            Wait::Forever => Timeout::Default,
            wait => Timeout::Caller(wait),
        }
    }

    /// Returns how long a caller that waits like this waits in a bounded channel, with a permit.
    pub(super) fn bounded(wait: Wait) -> Timeout {
        match wait {
            Wait::Forever => Timeout::Bounded,
            wait => Timeout::Caller(wait),
        }
    }

    /// Starts the time.
    pub(super) fn start(self) -> Deadline {
        let wait = match self {
            Timeout::Caller(wait) => wait,
            Timeout::Default | Timeout::Bounded => Wait::at_most(SEND_TIMEOUT),
        };
        Deadline { wait, is_renewable: self == Timeout::Bounded }
    }
}

/// Until when a message waits for room: one deadline for all of its packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    wait: Wait,
    /// It begins anew as long as only the receiver is waited for.
    is_renewable: bool,
}

impl Deadline {
    /// Returns how long to wait before it is checked what for. A packet that `is_plain` has no
    /// attachments, and waits for nothing but the receiver.
    fn next_wait(&self, is_plain: bool) -> Wait {
        if is_plain || !self.is_renewable {
            return self.wait;
        }
        let check = Wait::at_most(CHECK_INTERVAL);
        if check.is_before(self.wait) { check } else { self.wait }
    }

    /// Begins anew, or returns `false`.
    fn renew(&mut self) -> bool {
        if self.is_renewable {
            self.wait = Wait::at_most(SEND_TIMEOUT);
        }
        self.is_renewable
    }

    /// Returns whether it has passed.
    fn is_over(&self) -> bool {
        self.wait.is_over()
    }
}

/// Converts the error of a `send` without a timeout of its own, whose time is over.
#[cold]
pub(super) fn overdue(error: SendError) -> SendError {
    let reason = match error {
        SendError::Full => "the receiver has not made room for it",
        SendError::TooManyInFlight => {
            "this user has as many handles in flight as the system allows"
        }
        error => return error,
    };
    let seconds = SEND_TIMEOUT.as_secs();
    SendError::Io(io::Error::new(
        io::ErrorKind::TimedOut,
        format!("the message was not sent within {seconds} seconds: {reason}"),
    ))
}
