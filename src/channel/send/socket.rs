//! The socket of a channel, as the senders of a process use it, and how long a message waits for
//! room in it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::channel::frame::Head;
use crate::channel::limits::SEND_PATIENCE;
use crate::platform::contract::PacketSender as _;
use crate::platform::{Attachment, PacketSender, SendError, Wait};

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

    /// Sends a packet, blocking until there is room. `wait` is that of `patience` for all packets of
    /// a message: it begins anew where only the receiver is waited for.
    pub(super) fn send(
        &self,
        head: &Head,
        body: &[u8],
        mut attachments: Vec<Attachment>,
        patience: Patience,
        wait: &mut Wait,
    ) -> Result<(), (SendError, Vec<Attachment>)> {
        if attachments.is_empty() {
            *wait = patience.wait();
        }
        loop {
            match self.packets.send(head.as_bytes(), body, attachments, *wait) {
                Err((SendError::Full, unsent)) if patience == Patience::Bounded => {
                    attachments = unsent;
                    *wait = patience.wait();
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
pub(super) enum Patience {
    /// As the caller says.
    Caller(Wait),
    /// For [`SEND_PATIENCE`], from when it has to wait.
    Limited,
    /// In a bounded channel: for as long as the receiver exists. If it is not this channel that is
    /// full, but this user has too many file descriptors in flight, for [`SEND_PATIENCE`].
    Bounded,
}

impl Patience {
    /// Returns how long a caller that waits like this waits in an unbounded channel.
    #[inline]
    pub(super) fn unbounded(wait: Wait) -> Patience {
        match wait {
            Wait::Forever => Patience::Limited,
            wait => Patience::Caller(wait),
        }
    }

    /// Returns how long a caller that waits like this waits in a bounded channel, with a permit.
    pub(super) fn bounded(wait: Wait) -> Patience {
        match wait {
            Wait::Forever => Patience::Bounded,
            wait => Patience::Caller(wait),
        }
    }

    /// Starts the time if it is not running.
    pub(super) fn begin(self) -> Patience {
        match self {
            Patience::Limited => Patience::Caller(Wait::at_most(SEND_PATIENCE)),
            patience => patience,
        }
    }

    /// Returns how long the next wait of this kind is.
    pub(super) fn wait(self) -> Wait {
        match self {
            Patience::Caller(wait) => wait,
            Patience::Limited | Patience::Bounded => Wait::at_most(SEND_PATIENCE),
        }
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
    let seconds = SEND_PATIENCE.as_secs();
    SendError::Io(io::Error::new(
        io::ErrorKind::TimedOut,
        format!("the message was not sent within {seconds} seconds: {reason}"),
    ))
}
