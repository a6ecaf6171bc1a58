//! Platform backends: what strait needs of an operating system, and the one place where it is chosen.
//!
//! # The contract
//!
//! A backend is a module that exports the names listed at the bottom of this file. It moves *packets*: a few bytes and
//! a few attachments that travel together. It knows nothing of what is in them; framing, reassembly, limits and fairness
//! are the channel core's. Of every backend the core expects:
//!
//! - [`channel`](inprocess::channel) makes a connected pair. Packets of one sender arrive in order, whole or not at all, and a
//!   packet that was sent before another send began, anywhere, arrives first.
//! - `PacketSender::send` takes a packet of at most `MAX_PACKET_BYTES`, at best `PACKET_BYTES`, and `MAX_PACKET_ATTACHMENTS`. It hands the
//!   attachments back if it fails. After it returned `Ok` the packet survives the sender. A dead receiver is `SendError::Closed`, a packet
//!   that is too large for this very channel `SendError::TooLarge`. If there is no room, it waits for some as [`Wait`] says, and for
//!   nothing else; `Wait::Never` is one attempt. What had no room in time is `SendError::Full`, or `SendError::TooManyInFlight` if it is not this
//!   channel that is full. A receiver that goes away ends the wait.
//! - `PacketSender::send_past_limit` takes a small packet, a few of which have room where `send` finds none. It never waits.
//! - `PacketSender::is_closed` says whether the receiver is gone, without sending anything.
//! - `PacketSender::identity` is a number by which another sender into the same channel is found in this process, wherever it came
//!   from, or `None` where that cannot be told. Two with the same number are the same if `is_same` says so while both are there;
//!   senders of different channels never are.
//! - `RingMemory` is memory that its maker can make longer, and whoever has received it can map, without the maker being able to
//!   make that fail later. `is_affordable` says whether the process can spare what it takes up, if it is wanted for speed alone.
//!   A backend may have none; then everything goes by packet. `now` is a clock that all processes of a
//!   `clock_domain` share, and `roughly_now` the same one some milliseconds late, if that takes less time.
//! - `PacketReceiver::recv` waits as [`Wait`] says, to the nanosecond and whatever signals arrive. `RecvError::Closed` means
//!   that every sender in every process is gone, those inside undelivered packets included, and that all packets were
//!   received. What a peer sends is reported in [`Arrival`] and never an error, let alone a panic.
//! - `PacketReceiver::backlog` says how many bytes of packets are waiting, for whoever is about to stop half way.
//! - `PacketReceiver::lend` makes the handle that a user polls, where there is such a thing. It is ready when there is a packet, and
//!   while the core says that there is something else. Whoever waits for a change learns of every packet, and of what the core calls
//!   news. It stays what it is until the user has no receiver any more, also if the receiver leaves (`depart`, `come_back`).
//! - `Attachment` is one object in transit: a sender, a receiver, shared memory or an OS handle. It is untyped on some
//!   platforms, so `into_…` checks what the object is before it is used, and dropping it closes it.
//! - [`permits`](inprocess::permits) makes a place with some permits in it. Senders take them from there, one at a time and each permit once, and the
//!   receiver issues further ones. Neither waits for anything that another holder does: not for its memory, not for flags that it sets, not for
//!   room that it has filled. `issue` may leave some of many to later calls. There can be up to `PermitIssuer::capacity` at a time. How many are
//!   unclaimed is an estimate, `None` where it cannot be told. `PermitTaker::wait` returns when there may be one, and when the receiver is gone. That there
//!   will be none, `take` says, or the end of the channel.
//! - `Poller` watches many receivers. An id is reported at least once after its receiver became ready (a packet came, the
//!   last sender left), and may not be reported again before `recv` returned `RecvError::Empty`. The cost of `wait`
//!   depends on the number of ready receivers, not of watched ones. `Registry` adds and removes members from any
//!   thread, `PollWaker` interrupts `wait` from any thread, never blocks, and shows as id [`WAKE_ID`].
//!   A poller can be watched by another one, as a receiver is: it is ready when it has something to report, and need not be
//!   reported again before its own `wait` has found nothing.
//! - `Spool` is bytes that go beside a message, as an attachment: written once, read in order by the receiver, and unchangeable and
//!   whole when they arrive.
//! - `Memory` is shared memory whose content never changes, so that it can be borrowed, and that
//!   no peer can make inaccessible. Received memory is mapped if the operating system guarantees
//!   this, and refused if it does not. A backend whose system cannot guarantee it copies what it
//!   receives.
//! - `MemoryWriter` and `MemoryReader` are shared memory that one side writes while the other
//!   reads. Both copy by `words`, and borrow nothing. Pages are allocated when the memory is made,
//!   so that no read allocates memory or fails. A process that has only a reader cannot write. Once
//!   a writer has a reader, `from_memory_writer` fails with `Unsupported`: Linux seals the memory.
//! - `Listener` is a name that others can connect to; each connection is a new channel, into which its maker may send before it is
//!   accepted, and even be gone then. Either the name is a new one, or it is a [`ServerName`]: one that a listener has is not given
//!   to another (`AddrInUse`), what is no name of a listener is left alone (`AlreadyExists`), and what a crash left behind is in
//!   nobody's way. A name is gone with its listener, and nobody else's is. `connect_to` waits while too many others do. Without
//!   a listener it is `NotFound`, or `ConnectionRefused` if there was one. `Peer` is who is at the other end.
//! - `Listener::reserve` puts a handle by, where they are limited, and `release` gives it up for one that is about to come.
//!   `max_silent_clients` says how many channels are worth having that nothing has come through.
//! - `PacketReceiver::refuse` makes every send fail that begins after it, while every packet that was sent can be received: nobody
//!   is told that a packet was sent, and then it is lost.
//! - `spawn_with` starts a process that inherits one receiver, which it takes by `inherited`. No other process inherits it, whoever else
//!   starts one at that moment, and `inherited` takes nothing that was not made for it, whatever is in the environment.
//! - `wait_for_exit` waits for a child process as [`Wait`] says.
//! - `process_mark` tells a process from its forked children, who have copies of everything in it but not its threads.
//! - `stack` says where the stack of the calling thread is, or nothing.
//! - Every handle is closed on `exec` and on drop, and none is made that the user did not ask for.

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

/// Why a writer of memory that has a reader is not sent.
fn writer_has_readers() -> io::Error {
    let why = "shared memory that has a reader cannot get another writer; send the writer first";
    io::Error::new(io::ErrorKind::Unsupported, why)
}

/// The id under which a [`PollWaker`] shows.
pub const WAKE_ID: u64 = u64::MAX;

/// How long an operation may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    Never,
    /// Until this instant.
    Until(Instant),
    /// Without limit.
    Forever,
}

impl Wait {
    /// Waits for `timeout` from now; a timeout that no clock can express is no limit.
    pub fn at_most(timeout: Duration) -> Wait {
        if timeout.is_zero() {
            return Wait::Never;
        }
        Instant::now().checked_add(timeout).map_or(Wait::Forever, Wait::Until)
    }

    /// What is left of it: zero once it is over, `None` if it has no end.
    pub fn remaining(self) -> Option<Duration> {
        match self {
            Wait::Never => Some(Duration::ZERO),
            Wait::Until(deadline) => Some(deadline.saturating_duration_since(Instant::now())),
            Wait::Forever => None,
        }
    }

    /// Whether it ends earlier than the other.
    pub fn is_before(self, other: Wait) -> bool {
        match (self, other) {
            (Wait::Until(at), Wait::Until(other)) => at < other,
            (Wait::Never, other) => other != Wait::Never,
            (Wait::Until(_), other) => other == Wait::Forever,
            (Wait::Forever, _) => false,
        }
    }

    /// Whether it is over.
    pub fn is_over(self) -> bool {
        self.remaining() == Some(Duration::ZERO)
    }
}

/// Where a packet is received, so that it need not be copied once more.
#[derive(Debug)]
pub struct Landing<'a> {
    /// Where its first bytes go.
    pub head: &'a mut [u8],
    /// What those that follow are appended to. A backend may limit them to what there is capacity for.
    pub body: &'a mut Vec<u8>,
    /// What the others are appended to.
    pub rest: &'a mut Vec<u8>,
}

/// What arrived besides the attachments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// How many bytes the packet has.
    pub len: usize,
    /// The packet was longer than any that strait sends; its rest is gone.
    pub truncated: bool,
    /// At least one attachment could not be received, because this process has no handles left or may not have that one.
    pub attachments_lost: bool,
}

/// Why a packet was not sent.
#[derive(Debug)]
pub enum SendError {
    /// The receiver is gone.
    Closed,
    /// There is no room for it until the receiver has taken some.
    Full,
    /// The user has as many handles in packets that were not received, of whatever channels, as the system allows.
    TooManyInFlight,
    /// This channel takes only smaller packets.
    TooLarge,
    /// The operating system refused.
    Io(io::Error),
}

/// Why no packet was received.
#[derive(Debug)]
pub enum RecvError {
    /// None came in time.
    Empty,
    /// None will ever come.
    Closed,
    /// The operating system refused this time.
    Io(io::Error),
    /// The operating system refused, and will do so every time.
    Broken(io::Error),
}

/// What became of the attempt to take a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// It is taken.
    Taken,
    /// There is none.
    None,
    /// There will never be one.
    Closed,
}
