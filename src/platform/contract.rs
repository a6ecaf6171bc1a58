//! The contract: what strait needs of an operating system, as traits.
//!
//! A backend is a module with a type that implements [`Backend`], and with the names that
//! `platform/mod.rs` re-exports of the selected one. It moves *packets*: bytes and attachments that
//! are sent together. A backend does not interpret their content. Framing, reassembly, limits and
//! fairness are the task of the channel core.
//!
//! Portable code names the types of the selected backend, and imports the traits for their
//! methods: `use crate::platform::contract::PacketSender as _`. `tests/contract` runs the same
//! cases on every backend that compiles, which is the meaning of these sentences.
//!
//! What holds for all of them:
//!
//! - What a peer sends never causes a panic, and an error only where a method says so.
//! - A call with a deadline returns no earlier than its deadline, unless it has what it waits
//!   for. It returns later by what the system's timer requires. Signals neither shorten a wait
//!   nor make it fail.
//! - Every handle is closed on `exec` and on drop. A backend makes none that the core did not ask
//!   for, except one in reserve where the system needs that to receive handles, and one for each
//!   thread in a queue for permits.
//! - A forked child's copy of an endpoint works like the original, or every call on it returns an
//!   error.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use uuid::Uuid;

use super::{OsHandle, ReceiveBuffers, ReceivedPacket, RecvError, SendError, ServerName, Wait};

/// A platform: its types, its sizes, and what it does without an object.
///
/// [`PacketSender`] and the other traits have the backend as a parameter, so that a method of one
/// type can name the others.
pub trait Backend: Sized + 'static {
    /// Whether endpoints of a channel can be in other processes.
    const CROSSES_PROCESSES: bool;
    /// The maximum number of bytes of a packet that is received. Longer ones are truncated.
    const MAX_RECEIVED_PACKET_BYTES: usize;
    /// The maximum number of bytes of a packet that strait sends.
    const MAX_SENT_PACKET_BYTES: usize;
    /// The maximum number of attachments in a packet: at most 255, since a header has one byte for
    /// the number. An attachment counts as one, however many objects of the system it consists of.
    const MAX_PACKET_ATTACHMENTS: usize;
    /// The capacity that a buffer needs to receive any packet.
    const RECEIVE_BYTES: usize;

    /// Sends packets.
    type PacketSender: PacketSender<Self>;
    /// Receives packets.
    type PacketReceiver: PacketReceiver<Self>;
    /// What stays in this process of a receiver that was moved, such as a lent handle.
    type Remainder: Debug + Default + Send;
    /// One object in transit.
    type Attachment: Attachment<Self>;
    /// Memory whose content never changes.
    type Memory: Memory;
    /// Memory that this process writes while others read it.
    type MemoryWriter: MemoryWriter<Self>;
    /// Memory that another process writes.
    type MemoryReader: MemoryReader;
    /// The memory of a ring.
    type RingMemory: RingMemory<Self>;
    /// A part of the memory of a ring, made accessible.
    type RingPart: RingPart;
    /// Bytes beside a message, while they are written.
    type SpoolWriter: SpoolWriter;
    /// Bytes beside a message, while they are read.
    type Spool: Spool;
    /// Takes permits, for senders.
    type PermitTaker: PermitTaker<Self>;
    /// Issues permits, for the receiver.
    type PermitIssuer: PermitIssuer;
    /// Watches many receivers.
    type Poller: Poller<Self>;
    /// Adds and removes members of a poller from any thread.
    type Registry: Registry<Self>;
    /// Interrupts the wait of a poller.
    type PollWaker: PollWaker;
    /// A name that clients can connect to.
    type Listener: Listener<Self>;
    /// The identity of a process that has connected or listens.
    type Peer: Peer;
    /// What a process keeps for a child until the child has its receiver.
    type Bequest: Bequest;

    /// Makes a connected sender and receiver.
    ///
    /// Packets of one sender arrive in order, and each arrives whole or not at all. A packet that
    /// was sent before another send began, in whatever process, arrives first.
    fn channel() -> io::Result<(Self::PacketSender, Self::PacketReceiver)>;

    /// Connects to the listener of that name, which [`Listener::bind`] has made.
    fn connect(name: &str) -> io::Result<Self::PacketSender>;

    /// Connects to the listener that has this name, blocking while too many other clients connect.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no listener, `ConnectionRefused` if there was one, `TimedOut` if
    /// others connect for too long.
    fn connect_named(name: &ServerName, wait: Wait) -> io::Result<Self::PacketSender>;

    /// Makes an id that no other process can guess.
    fn unique_id() -> io::Result<Uuid>;

    /// Makes a semaphore with some permits. Senders take the permits, one at a time and each permit
    /// once, and the receiver issues further ones.
    ///
    /// Neither taking nor issuing blocks on another holder: not on its memory, not on flags that it
    /// sets, not on room that it has filled.
    fn permits(count: usize) -> io::Result<(Self::PermitTaker, Self::PermitIssuer)>;

    /// Returns the time in nanoseconds, by a clock that all processes of a
    /// [`clock_domain`](Self::clock_domain) share. It may stand still for a
    /// [`clock_tick`](super::clock_tick), and is less than 2^63.
    fn now() -> u64;

    /// Returns the time of the same clock, some milliseconds late, if that takes less time.
    fn roughly_now() -> u64;

    /// Returns a number that only processes with the same clock have, and that is not zero;
    /// `None` if it is not known. Without it there are no rings.
    fn clock_domain() -> Option<u64>;

    /// Returns how many attachments all receivers of the process together may keep in incomplete
    /// messages.
    fn max_kept_attachments() -> usize;

    /// Returns how many clients of a server that have not sent anything are worth keeping.
    fn max_silent_clients() -> usize;

    /// Starts a process that is to have one receiver, which it takes by
    /// [`inherited`](Self::inherited). Where the system does not let a process inherit it, the
    /// child gets it from this process, by [`Bequest::hand_over`].
    ///
    /// No process gets it that does not have what the child was given, even if another thread
    /// starts a process at the same moment.
    ///
    /// # Errors
    ///
    /// Those of `Command::spawn`; `Unsupported` where channels do not leave the process. The
    /// receiver is dropped with each.
    fn spawn_with(
        command: &mut Command,
        receiver: Self::PacketReceiver,
    ) -> io::Result<(Child, Self::Bequest)>;

    /// Takes the receiver that this process was started with, once. It takes nothing that was not
    /// made for it, regardless of the environment.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none, or if it was taken.
    fn inherited() -> io::Result<Self::PacketReceiver>;

    /// Blocks until a child process has ended, as `wait` says; `None` if it runs.
    fn wait_for_exit(child: &mut Child, wait: Wait) -> io::Result<Option<ExitStatus>>;

    /// Returns a number by which a process differs from its forked children, which have copies of
    /// all its memory but not its threads. It is never zero.
    fn fork_generation() -> u64;

    /// Returns where the stack of the calling thread is; `None` if that is not known.
    fn stack() -> Option<Range<usize>>;
}

/// A receiver that a child process has not taken yet. Where the child inherits it, this process has
/// nothing to keep.
///
/// Dropping it takes back the receiver, which is then dropped, unless the child has it.
pub trait Bequest: Debug + Send + Sized {
    /// Hands the receiver over to the child when the child asks for it, blocking until it has, as
    /// `wait` says.
    ///
    /// Returns true if nothing is left to do: the child has the receiver or inherits it, or has
    /// ended and the receiver was dropped. Returns false if the child runs and has not asked in
    /// time. A process other than the child that asks gets nothing, and does not end the wait.
    ///
    /// # Errors
    ///
    /// Those of the system. The receiver is still kept.
    fn hand_over(&mut self, child: &mut Child, wait: Wait) -> io::Result<bool>;
}

/// Sends packets. All senders of a channel can be used by any thread.
pub trait PacketSender<B: Backend>: Debug + Send + Sync + Sized {
    /// Sends one packet made of `head` and `body`, of at most
    /// [`MAX_RECEIVED_PACKET_BYTES`](Backend::MAX_RECEIVED_PACKET_BYTES) and
    /// [`MAX_PACKET_ATTACHMENTS`](Backend::MAX_PACKET_ATTACHMENTS).
    ///
    /// If there is no room, it blocks until there is, as `wait` says, and blocks for nothing else.
    /// `Wait::Never` is one attempt. Dropping the receiver ends the wait. After it returned `Ok`,
    /// the packet survives the sender and its process; where the system cannot keep an attachment
    /// without its sender, the platform says so.
    ///
    /// # Errors
    ///
    /// The attachments come back with each.
    ///
    /// - `Closed` if the receiver has been dropped.
    /// - `TooLarge` if the packet is too large for this very channel.
    /// - `Full` if there was no room in time.
    /// - `TooManyInFlight` if there was no room in time, and it is not this channel that is full.
    fn send(
        &self,
        head: &[u8],
        body: &[u8],
        attachments: Vec<B::Attachment>,
        wait: Wait,
    ) -> Result<(), (SendError, Vec<B::Attachment>)>;

    /// Sends one small packet, without blocking. A few of these have room where
    /// [`send`](Self::send) finds none.
    ///
    /// # Errors
    ///
    /// As of `send` with `Wait::Never`.
    fn send_past_limit(
        &self,
        head: &[u8],
        body: &[u8],
        attachments: Vec<B::Attachment>,
    ) -> Result<(), (SendError, Vec<B::Attachment>)>;

    /// Returns whether the receiver has been dropped, without sending anything.
    fn is_closed(&self) -> bool;

    /// Returns a number by which this process finds another sender into the same channel, wherever
    /// that sender came from; `None` where this cannot be determined.
    fn identity(&self) -> Option<NonZeroU64>;

    /// Returns whether both send into the same channel. Only senders with the same
    /// [`identity`](Self::identity) are compared, and both exist meanwhile.
    fn is_same(&self, other: &Self) -> bool;

    /// Returns whether everything that was sent is known to have been received.
    fn is_drained(&self) -> bool;

    /// Returns the identity of the process that listens, if the sender was connected by name.
    ///
    /// # Errors
    ///
    /// `Unsupported` where only an answer shows which process listens.
    fn peer(&self) -> io::Result<B::Peer>;
}

/// Receives packets, and is moved.
pub trait PacketReceiver<B: Backend>: Debug + Send + Sized {
    /// Receives one packet and adds all its attachments to `attachments`, blocking as `wait` says.
    ///
    /// What is wrong with a packet is reported in [`ReceivedPacket`]. A packet whose first
    /// bytes `is_vital` recognises must not lose attachments for lack of handles: it stays
    /// where it is, and `recv` fails with `Io`.
    ///
    /// # Errors
    ///
    /// - `Empty` if no packet arrived in time.
    /// - `Closed` if every sender in every process has been dropped, those inside undelivered
    ///   packets included, and all packets were received.
    /// - `Io` if the system refused this time, `Broken` if it will refuse each time.
    fn recv(
        &self,
        buffers: ReceiveBuffers<'_>,
        attachments: &mut Vec<B::Attachment>,
        wait: Wait,
        is_vital: impl Fn(&[u8]) -> bool,
    ) -> Result<ReceivedPacket, RecvError>;

    /// Makes every send fail that begins after it, while every packet that was sent can be
    /// received.
    ///
    /// No sender learns that its packet was sent if the packet is then discarded. A send that
    /// overlaps with it may fail although its packet is received; its attachments then come back,
    /// too.
    fn refuse(&self);

    /// Returns about how many bytes of packets are queued. A call that has to end calls it, and
    /// goes on until it has taken what was queued at that time: a poller is notified of what is
    /// sent later. A backend with other pollers may return zero.
    fn queued_bytes(&self) -> usize;

    /// Makes the handle that a user polls, unless that was done. Returns false if that handle
    /// reports packets and nothing else, and true if the system has no such handles.
    ///
    /// It is ready while there is a packet, and while the core reports something else. An
    /// edge-triggered poller is notified of every packet, and of every change that the core
    /// reports by [`show`](Self::show). The handle stays valid until the user has no receiver
    /// any more, even if the receiver is moved. Where the system has no such handle, it does
    /// nothing.
    fn lend(&mut self) -> bool;

    /// Returns whether a handle was lent out.
    fn is_lent(&self) -> bool;

    /// Notes that the user no longer uses a lent handle.
    fn recall(&mut self);

    /// Returns whether it has to be told what to [show](Self::show).
    fn shows_more(&self) -> bool;

    /// Returns whether the lent handle shows that there are messages besides packets.
    fn is_showing(&self) -> bool;

    /// Sets whether the lent handle shows messages besides packets. If that `is_news`,
    /// edge-triggered pollers wake up, even if it was shown already.
    fn show(&mut self, is_there: bool, is_news: bool);

    /// Splits a receiver that is moved into what is sent and what stays.
    fn take_apart(self) -> Result<(Self, B::Remainder), (io::Error, Self)>;

    /// Undoes [`take_apart`](Self::take_apart), if the message was not sent.
    fn restore(&mut self, remainder: B::Remainder);
}

/// One object of a packet: a sender, a receiver, shared memory, permits or a handle of the
/// operating system. Dropping it closes the object.
///
/// It is untyped on some platforms. So `into_…` checks what the object is before it is used, and
/// fails with `InvalidData` if it is something else.
pub trait Attachment<B: Backend>: Debug + Send + Sized {
    /// Makes an attachment that is one more sender.
    fn from_sender(sender: Arc<B::PacketSender>) -> Self;

    /// Converts it into a sender.
    fn into_sender(self) -> io::Result<Arc<B::PacketSender>>;

    /// Makes an attachment that moves a receiver.
    fn from_receiver(receiver: B::PacketReceiver) -> Self;

    /// Converts it into a receiver.
    fn into_receiver(self) -> io::Result<B::PacketReceiver>;

    /// Makes an attachment that shares memory.
    fn from_memory(memory: &B::Memory) -> Self;

    /// Converts it into shared memory of `len` bytes.
    fn into_memory(self, len: u64) -> io::Result<B::Memory>;

    /// Makes an attachment that shares memory which this process writes.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the memory has a reader.
    fn from_memory_writer(memory: &B::MemoryWriter) -> io::Result<Self>;

    /// Converts it into memory of `len` bytes to write to.
    fn into_memory_writer(self, len: u64) -> io::Result<B::MemoryWriter>;

    /// Makes an attachment that shares memory read-only.
    fn from_memory_reader(memory: &B::MemoryReader) -> Self;

    /// Converts it into memory of `len` bytes that other processes write.
    fn into_memory_reader(self, len: u64) -> io::Result<B::MemoryReader>;

    /// Makes an attachment that shares the memory of a ring with its consumer.
    fn from_shared_ring(memory: &B::RingMemory) -> Self;

    /// Makes an attachment that moves the memory of a ring.
    fn from_ring(memory: B::RingMemory) -> Self;

    /// Converts it into the memory of a ring.
    ///
    /// # Errors
    ///
    /// `InvalidData` if it is something else. With other errors the memory cannot be used now. The
    /// attachment comes back with each.
    fn into_ring(self) -> Result<B::RingMemory, (io::Error, Self)>;

    /// Makes an attachment of bytes beside a message.
    fn from_spool(spool: B::SpoolWriter) -> io::Result<Self>;

    /// Converts it into bytes beside a message.
    fn into_spool(self) -> io::Result<B::Spool>;

    /// Makes an attachment by which another process can take permits.
    fn from_taker(taker: Arc<B::PermitTaker>) -> Self;

    /// Converts it into a taker of permits.
    fn into_taker(self) -> io::Result<Arc<B::PermitTaker>>;

    /// Makes attachments that move an issuer of permits.
    fn from_issuer(issuer: B::PermitIssuer) -> Vec<Self>;

    /// Converts attachments into an issuer of permits.
    fn into_issuer(attachments: Vec<Self>) -> io::Result<B::PermitIssuer>;

    /// Makes an attachment of a handle of the operating system.
    fn from_handle(handle: OsHandle) -> Self;

    /// Converts it into a handle of any kind.
    fn into_handle(self) -> io::Result<OsHandle>;
}

/// Shared memory whose content never changes, so that it can be borrowed. Clones share it. It is
/// never empty.
///
/// No peer can make it inaccessible. Received memory is mapped if the operating system guarantees
/// this, and refused if it does not. A backend whose system cannot guarantee it copies what it
/// receives.
pub trait Memory: Clone + Debug + Send + Sync + Sized {
    /// Makes `len` zeroed bytes. `len` is not zero.
    fn new(len: usize) -> io::Result<Self>;

    /// Makes a copy of `bytes`, which are not empty.
    fn from_bytes(bytes: &[u8]) -> io::Result<Self>;

    /// Makes `len` bytes that are all `byte`. `len` is not zero.
    fn from_byte(byte: u8, len: usize) -> io::Result<Self>;

    /// Returns its length in bytes.
    fn size(&self) -> usize;

    /// Returns its content.
    fn as_slice(&self) -> &[u8];
}

/// Shared memory that this process writes while others read it. Clones share it. It is never empty.
///
/// Bytes are copied in and out, and never borrowed. Pages are allocated when the memory is made, so
/// no read allocates memory or fails. A process that has only a reader cannot write.
pub trait MemoryWriter<B: Backend>: Clone + Debug + Send + Sync + Sized {
    /// Makes `len` zeroed bytes. `len` is not zero.
    fn new(len: usize) -> io::Result<Self>;

    /// Returns its length in bytes.
    fn size(&self) -> usize;

    /// Fills `out` with the bytes that start at `offset`. They are within the memory.
    fn read(&self, offset: usize, out: &mut [u8]);

    /// Copies `bytes` to `offset`. They fit into the memory.
    fn write(&self, offset: usize, bytes: &[u8]);

    /// Returns a reader. From now on, [`Attachment::from_memory_writer`] fails with `Unsupported`:
    /// Linux seals the memory.
    fn reader(&self) -> io::Result<B::MemoryReader>;
}

/// The same memory, read-only. Clones share it.
pub trait MemoryReader: Clone + Debug + Send + Sync + Sized {
    /// Returns its length in bytes.
    fn size(&self) -> usize;

    /// Fills `out` with the bytes that start at `offset`. They are within the memory.
    fn read(&self, offset: usize, out: &mut [u8]);
}

/// Memory that its maker reserves once, and that takes up pages only where it was written. A
/// process that has received it can map it, and the maker cannot make the mapping fail later.
///
/// A backend may have none. Then everything is sent in packets.
pub trait RingMemory<B: Backend>: Debug + Send + Sync + Sized {
    /// Reserves the memory, which is zeroed, and takes up no resources until it is used. It has
    /// room for one unit and one segment at least: 128 KiB.
    ///
    /// # Errors
    ///
    /// `Unsupported` where there is none; those of the system.
    fn new() -> io::Result<Self>;

    /// Returns whether the process can spare the resources for a ring that only serves speed.
    fn is_affordable(&self) -> bool;

    /// Returns the word at a multiple of eight in the first page.
    fn word(&self, at: usize) -> &AtomicU64;

    /// Makes a part accessible. `offset` is a multiple of 64 KiB, and `len` a power of two from
    /// 64 KiB to 64 MiB.
    ///
    /// # Errors
    ///
    /// `StorageFull` if the part is beyond the end of the memory: another ring takes its place
    /// then. With any other error it is tried again later.
    fn part(&self, offset: u64, len: usize) -> io::Result<B::RingPart>;

    /// Releases the pages of a part, whose content is then undefined. A backend may do nothing.
    fn give_back(&self, offset: u64, len: u64);
}

/// A part of the memory of a ring. Bytes are copied in and out, and never borrowed.
pub trait RingPart: Debug + Send + Sync + Sized {
    /// Copies `bytes` to `at`. They fit into the part.
    fn write(&self, at: usize, bytes: &[u8]);

    /// Appends `len` bytes from `at` on to `out`. They are within the part.
    fn read(&self, at: usize, len: usize, out: &mut Vec<u8>);

    /// Returns the `N` bytes from `at` on. They are within the part.
    fn read_array<const N: usize>(&self, at: usize) -> [u8; N];
}

/// A sequence of bytes that is sent beside a message, as an attachment, while it is written.
pub trait SpoolWriter: Debug + Send + Sized {
    /// Makes an empty spool.
    fn new() -> io::Result<Self>;

    /// Appends bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// A spool that has arrived. It is complete, and no process can change it.
pub trait Spool: Debug + Send + Sized {
    /// Returns its length in bytes.
    fn size(&self) -> u64;

    /// Reads the next bytes.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if there are fewer.
    fn read(&mut self, to: &mut [u8]) -> io::Result<()>;
}

/// Takes permits, for senders.
pub trait PermitTaker<B: Backend>: Debug + Send + Sync + Sized {
    /// Takes a permit, if there is one.
    fn take(&self) -> io::Result<Permit>;

    /// Returns whether there is a permit, or it is known that there will be none. It is an
    /// estimate: another sender may take the permit first.
    fn is_any(&self) -> bool;

    /// Returns whether both take permits from the same semaphore.
    fn is_same(&self, other: &Self) -> bool;

    /// Blocks until there may be a permit, or the receiver of `packets` has been dropped, as `wait`
    /// says. The caller learns from [`take`](Self::take), or from the end of the channel, that
    /// there will be none.
    ///
    /// If it `is_in_queue`, a permit wakes only the thread that has waited longest; otherwise
    /// it wakes every waiting thread. A backend may ignore that.
    fn wait(&self, packets: &B::PacketSender, wait: Wait, is_in_queue: bool) -> io::Result<()>;
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

/// Issues permits, for the receiver.
pub trait PermitIssuer: Debug + Send + Sized {
    /// Returns how many permits there can be at a time.
    fn capacity(&self) -> usize;

    /// Issues `count` permits. Returns how many there was no room for: the core issues these later.
    fn issue(&self, count: usize) -> usize;

    /// Returns how many permits no sender has taken. It is an estimate, and `None` where the number
    /// cannot be determined.
    fn unclaimed(&self) -> Option<usize>;

    /// Takes a permit back, and returns whether there was one that no sender had taken.
    fn take_back(&self) -> bool;
}

/// Watches many receivers for readiness, listeners and other pollers too.
///
/// An id is reported at least once after its member became ready: a packet or a client arrived, or
/// the last sender was dropped. It need not be reported again before `recv` has returned `Empty`. A
/// poller is ready when it has something to report, and need not be reported again before its own
/// `wait` has found nothing.
pub trait Poller<B: Backend>: Debug + Send + Sized {
    /// Makes an empty poller.
    fn new() -> io::Result<Self>;

    /// Adds a receiver, which is reported as `id`.
    fn add(&self, receiver: &B::PacketReceiver, id: u64) -> io::Result<()>;

    /// Removes a receiver.
    fn remove(&self, receiver: &B::PacketReceiver) -> io::Result<()>;

    /// Adds a listener, which is reported as `id`.
    fn add_listener(&self, listener: &B::Listener, id: u64) -> io::Result<()>;

    /// Adds another poller, which is reported as `id`.
    fn add_poller(&self, other: &Self, id: u64) -> io::Result<()>;

    /// Removes a poller.
    fn remove_poller(&self, other: &Self) -> io::Result<()>;

    /// Appends the ids of members that became ready to `ready`, blocking until there is one, as
    /// `wait` says. It may report a part of them, and the rest at the next call. Its cost
    /// depends on the number of ready members, not of watched ones.
    fn wait(&mut self, wait: Wait, ready: &mut VecDeque<u64>) -> io::Result<()>;

    /// Returns a handle for adding and removing members from other threads.
    fn registry(&self) -> io::Result<B::Registry>;

    /// Returns a handle for interrupting [`wait`](Self::wait).
    fn waker(&self) -> io::Result<B::PollWaker>;
}

/// Adds and removes members of a [`Poller`] from any thread.
pub trait Registry<B: Backend>: Debug + Send + Sync + Sized {
    /// Adds a receiver, which is reported as `id`.
    fn add(&self, receiver: &B::PacketReceiver, id: u64) -> io::Result<()>;

    /// Removes a receiver.
    fn remove(&self, receiver: &B::PacketReceiver) -> io::Result<()>;

    /// Adds a poller, which is reported as `id`.
    fn add_poller(&self, other: &B::Poller, id: u64) -> io::Result<()>;

    /// Removes a poller.
    fn remove_poller(&self, other: &B::Poller) -> io::Result<()>;
}

/// The id that reports a [`PollWaker`].
pub const WAKE_ID: u64 = u64::MAX;

/// Interrupts the `wait` of a [`Poller`] from any thread.
pub trait PollWaker: Clone + Debug + Send + Sync + Sized {
    /// Makes the current or the next `wait` return, and report [`WAKE_ID`]. Does not
    /// block.
    fn wake(&self) -> io::Result<()>;
}

/// A name that clients can connect to. Dropping it removes the name, and never that of another
/// listener.
///
/// Each connection is a new channel. The client may send into it before the connection is accepted,
/// and may even have exited by then.
pub trait Listener<B: Backend>: Debug + Send + Sync + Sized {
    /// Makes a new name and listens on it.
    fn bind() -> io::Result<(Self, String)>;

    /// Binds this name and listens on it. What a crashed process left behind does not prevent that.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if a listener has the name. `AlreadyExists` if something other than a listener
    /// has it, which is left alone.
    fn bind_named(name: &ServerName) -> io::Result<Self>;

    /// Accepts one connection, blocking as `wait` says. A client that gave up meanwhile is skipped.
    ///
    /// # Errors
    ///
    /// `Empty` if none came in time.
    fn accept(&self, wait: Wait) -> Result<(B::PacketReceiver, B::Peer), RecvError>;

    /// Sets a handle aside, where handles are limited, unless that was done.
    fn reserve(&self) -> io::Result<()>;

    /// Closes the handle that was set aside, to make room for one that is about to arrive.
    fn release(&self);
}

/// The identity of a process, as the system reports it.
pub trait Peer: Copy + Debug + Send + Sync + Sized {
    /// Returns whether it runs as the same user as this process.
    fn is_same_user(&self) -> bool;

    /// Returns whether it may run as the same user: the system shows some users as the same one,
    /// such as those that a user namespace has no number for.
    fn shows_as_same_user(&self) -> bool;
}
