//! Platform backends: what strait needs of an operating system, and the one place where the backend
//! is chosen.
//!
//! # The contract
//!
//! A backend is a module that exports the names in `pub use selected` below, with the signatures of
//! the [`inprocess`] backend. It moves *packets*: bytes and attachments that are sent together. A
//! backend does not interpret their content. Framing, reassembly, limits and fairness are the task
//! of the channel core. The core expects the following of every backend.
//!
//! ## Packets
//!
//! - [`channel`](inprocess::channel) makes a connected sender and receiver. Packets of one sender
//!   arrive in order, and each arrives whole or not at all. A packet that was sent before another
//!   send began, in whatever process, arrives first.
//! - `PacketSender::send` sends a packet of at most `MAX_PACKET_BYTES` and
//!   `MAX_PACKET_ATTACHMENTS`; `PACKET_BYTES` is the best size. On failure it returns the
//!   attachments. After it returned `Ok`, the packet survives the sender. It fails with
//!   `SendError::Closed` if the receiver has been dropped, and with `SendError::TooLarge` if the
//!   packet is too large for this very channel. If there is no room, it blocks until there is, as
//!   [`Wait`] says, and blocks for nothing else. `Wait::Never` is one attempt. If there was no room
//!   in time, it fails with `SendError::Full`, or with `SendError::TooManyInFlight` if it is not
//!   this channel that is full. Dropping the receiver ends the wait.
//! - `PacketSender::send_past_limit` sends a small packet. A few of these have room where `send`
//!   finds none. It does not block.
//! - `PacketSender::is_closed` returns whether the receiver has been dropped, without sending
//!   anything.
//! - `PacketSender::identity` returns a number by which this process finds another sender into the
//!   same channel, wherever that sender came from. It returns `None` where this cannot be
//!   determined. Two senders with the same number are the same if `is_same` returns true while both
//!   exist. Senders of different channels never are.
//! - `PacketReceiver::recv` blocks as [`Wait`] says, to the nanosecond, regardless of signals.
//!   `RecvError::Closed` means that every sender in every process has been dropped, those inside
//!   undelivered packets included, and that all packets were received. What a peer sends is
//!   reported in [`Arrival`]. It never causes an error or a panic. A packet whose first bytes the
//!   last argument recognises must not lose attachments for lack of handles: it stays where it is,
//!   and `recv` fails with `RecvError::Io`. `RECEIVE_BYTES` is the capacity that a buffer needs for
//!   any packet.
//! - `PacketReceiver::backlog` returns how many bytes of packets wait to be received. A caller that
//!   is about to stop half way uses it.
//! - `PacketReceiver::refuse` makes every send fail that begins after it, while every packet that
//!   was sent can be received. No sender learns that its packet was sent if the packet is then
//!   discarded.
//! - `PacketReceiver::lend` makes the handle that a user polls, where the system has such a handle.
//!   It is ready while there is a packet, and while the core says that there is something else. An
//!   edge-triggered poller is notified of every packet, and of every change that the core reports.
//!   The core reports by `show`, if `shows_more` asks for it. The handle stays valid until the user
//!   has no receiver any more, even if the receiver is moved.
//! - `PacketReceiver::depart` splits a receiver that is moved into what is sent and the `Remains`,
//!   such as a lent handle. `come_back` undoes it if the message was not sent.
//! - `max_waiting_attachments` returns how many attachments all receivers of the process together
//!   may keep in incomplete messages.
//! - `unique_id` makes an id that no other process can guess.
//! - `Attachment` is one object of a packet: a sender, a receiver, shared memory, permits or a
//!   handle of the operating system. It is untyped on some platforms, so `into_…` checks what the
//!   object is before it is used. Dropping an attachment closes the object.
//!
//! ## Shared memory
//!
//! - `RingMemory` is memory that its maker can grow. A process that has received it can map it, and
//!   the maker cannot make the mapping fail later. `is_affordable` returns whether the process can
//!   spare the resources for a ring that only serves speed. A backend may have no `RingMemory`;
//!   then everything is sent in packets.
//! - `now` is a clock that all processes of a `clock_domain` share. `roughly_now` is the same
//!   clock, some milliseconds late, if that takes less time.
//! - `Spool` is a sequence of bytes that is sent beside a message, as an attachment. It is written
//!   once and read in order by the receiver. When it arrives, it is complete and cannot be changed.
//! - `Memory` is shared memory whose content never changes, so that it can be borrowed, and that no
//!   peer can make inaccessible. Received memory is mapped if the operating system guarantees this,
//!   and refused if it does not. A backend whose system cannot guarantee it copies what it
//!   receives.
//! - `MemoryWriter` and `MemoryReader` are shared memory that one process writes while the other
//!   reads. Both copy by `words`, and borrow nothing. Pages are allocated when the memory is made,
//!   so no read allocates memory or fails. A process that has only a reader cannot write. Once a
//!   writer has a reader, `from_memory_writer` fails with `Unsupported`: Linux seals the memory.
//!
//! ## Permits
//!
//! - [`permits`](inprocess::permits) makes a semaphore with some permits. Senders take the permits,
//!   one at a time and each permit once, and the receiver issues further ones.
//! - Neither taking nor issuing blocks on another holder: not on its memory, not on flags that it
//!   sets, not on room that it has filled. `issue` may leave some of many permits to later calls.
//!   There can be up to `PermitIssuer::capacity` permits at a time. The number of unclaimed permits
//!   is an estimate, and `None` where it cannot be determined.
//! - `PermitTaker::wait` returns when there may be a permit, and when the receiver has been
//!   dropped. The caller learns from `take`, or from the end of the channel, that there will be
//!   none. In the queue, a permit wakes the sender that has waited longest; outside, it wakes all.
//!
//! ## Readiness
//!
//! - `Poller` watches many receivers. An id is reported at least once after its receiver became
//!   ready: a packet arrived, or the last sender was dropped. It need not be reported again before
//!   `recv` has returned `RecvError::Empty`. The cost of `wait` depends on the number of ready
//!   receivers, not of watched ones.
//! - `Registry` adds and removes members from any thread. `PollWaker` interrupts `wait` from any
//!   thread, does not block, and is reported as id [`WAKE_ID`].
//! - A poller can be watched by another one, like a receiver. It is ready when it has something to
//!   report, and need not be reported again before its own `wait` has found nothing.
//!
//! ## Servers
//!
//! - `Listener` is a name that clients can connect to. Each connection is a new channel. The client
//!   may send into it before the connection is accepted, and may even have exited by then.
//! - The name is either a new one, or a [`ServerName`]. Binding fails with `AddrInUse` if a
//!   listener has the name, and with `AlreadyExists` if something other than a listener has it,
//!   which is left alone. What a crashed process left behind does not prevent binding. The name is
//!   removed with its listener, and no other listener's name ever is.
//! - `connect_to` blocks while too many other clients connect. Without a listener it fails with
//!   `NotFound`, or with `ConnectionRefused` if there was one. `Peer` is the identity of the
//!   process that has connected or listens.
//! - `Listener::reserve` sets a handle aside, where handles are limited, and `release` closes it to
//!   make room for one that is about to arrive. `max_silent_clients` returns how many channels
//!   without a message are worth keeping.
//!
//! ## Processes
//!
//! - `spawn_with` starts a process that inherits one receiver, which it takes by `inherited`. No
//!   other process inherits it, even if another thread starts a process at the same moment.
//!   `inherited` takes nothing that was not made for it, regardless of the environment.
//! - `wait_for_exit` blocks until a child process has ended, as [`Wait`] says.
//! - `process_mark` returns a number by which a process differs from its forked children, which
//!   have copies of all its memory but not its threads.
//! - `stack` returns where the stack of the calling thread is, or nothing.
//! - Every handle is closed on `exec` and on drop. The backend makes none that the core did not ask
//!   for, except one in reserve where the system needs that to receive handles, and one for each
//!   thread in a queue for permits.

mod exit;
mod name;
mod os_handle;
mod per_process;
mod tick;
mod words;

pub use exit::{is_status_lost, poll_for_exit};
pub use name::ServerName;
pub use os_handle::{AsOsHandle, OsHandle, duplicate};
pub use per_process::PerProcess;
pub use tick::clock_tick;

pub mod inprocess;
#[cfg(target_os = "linux")]
pub mod unix;

#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
use unix as selected;

#[cfg(not(all(target_os = "linux", not(feature = "force-inprocess"))))]
use inprocess as selected;

pub use selected::{
    Attachment, Listener, MAX_PACKET_ATTACHMENTS, MAX_PACKET_BYTES, Memory, MemoryReader,
    MemoryWriter, PACKET_BYTES, PacketReceiver, PacketSender, Peer, PermitIssuer, PermitTaker,
    PollWaker, Poller, RECEIVE_BYTES, Registry, Remains, RingMemory, RingPart, Spool, SpoolWriter,
    channel, clock_domain, inherited, max_silent_clients, max_waiting_attachments, now, permits,
    process_mark, roughly_now, spawn_with, stack, unique_id, wait_for_exit,
};

use std::io;
use std::sync::atomic;
use std::time::{Duration, Instant};

/// The error for sending the writer of memory that has a reader.
fn writer_has_readers() -> io::Error {
    let why = "shared memory that has a reader cannot get another writer; send the writer first";
    io::Error::new(io::ErrorKind::Unsupported, why)
}

/// The id that reports a [`PollWaker`].
pub const WAKE_ID: u64 = u64::MAX;

/// How long an operation may block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Does not block.
    Never,
    /// Blocks until this deadline at most.
    Until(Instant),
    /// Blocks without a limit.
    Forever,
}

impl Wait {
    /// Blocks for `timeout` from now; a timeout that no clock can express is no limit.
    pub fn at_most(timeout: Duration) -> Wait {
        if timeout.is_zero() {
            return Wait::Never;
        }
        Instant::now().checked_add(timeout).map_or(Wait::Forever, Wait::Until)
    }

    /// Returns the time that is left: zero once it is over, `None` if there is no limit.
    pub fn remaining(self) -> Option<Duration> {
        match self {
            Wait::Never => Some(Duration::ZERO),
            Wait::Until(deadline) => Some(deadline.saturating_duration_since(Instant::now())),
            Wait::Forever => None,
        }
    }

    /// Returns whether this deadline is earlier than the other.
    pub fn is_before(self, other: Wait) -> bool {
        match (self, other) {
            (Wait::Until(at), Wait::Until(other)) => at < other,
            (Wait::Never, other) => other != Wait::Never,
            (Wait::Until(_), other) => other == Wait::Forever,
            (Wait::Forever, _) => false,
        }
    }

    /// Returns whether the deadline has passed.
    pub fn is_over(self) -> bool {
        self.remaining() == Some(Duration::ZERO)
    }
}

/// The buffers that a packet is received into, so that it need not be copied once more.
#[derive(Debug)]
pub struct Landing<'a> {
    /// Takes the first bytes.
    pub head: &'a mut [u8],
    /// The bytes that follow are appended here. A backend may limit them to the spare capacity.
    pub body: &'a mut Vec<u8>,
    /// All further bytes are appended here.
    pub rest: &'a mut Vec<u8>,
}

/// What is known of a received packet, besides its attachments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// How many bytes the packet has.
    pub len: usize,
    /// The packet was longer than any that strait sends; its rest was discarded.
    pub truncated: bool,
    /// At least one attachment could not be received, because this process has no handle left or
    /// may not have that one.
    pub attachments_lost: bool,
}

/// Why a packet was not sent.
#[derive(Debug)]
pub enum SendError {
    /// The receiver has been dropped.
    Closed,
    /// There is no room for the packet until the receiver has received some.
    Full,
    /// The user has as many handles in packets that were not received, of whatever channels, as the
    /// system allows.
    TooManyInFlight,
    /// This channel takes only smaller packets.
    TooLarge,
    /// The operating system refused.
    Io(io::Error),
}

/// Why no packet was received.
#[derive(Debug)]
pub enum RecvError {
    /// No packet arrived in time.
    Empty,
    /// No packet will ever arrive.
    Closed,
    /// The operating system refused this time.
    Io(io::Error),
    /// The operating system refused, and will do so every time.
    Broken(io::Error),
}

/// The outcome of taking a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// A permit was taken.
    Taken,
    /// There is no permit now.
    None,
    /// There will never be a permit.
    Closed,
}
