//! The backend for Unix sockets: one `SOCK_SEQPACKET` socket pair per channel, handles by
//! `SCM_RIGHTS`, shared memory by sealed memfds, and readiness by mio. Names are sockets in
//! directories that only their owner can enter, at paths, or in no directory.
//!
//! The socket pair decides identity, liveness and order. It is `SEQPACKET`, because a stream
//! interleaves the parts of concurrent senders' messages. `O_NONBLOCK` is never used: it belongs to
//! the open file description, which peers share. `MSG_DONTWAIT` and `poll` are used instead, and a
//! peer that sets `O_NONBLOCK` changes nothing.

mod attachment;
mod beacon;
mod claim;
mod clock;
mod closing;
mod control;
mod directory;
mod exit;
mod inherit;
mod limits;
mod mapping;
mod memory;
mod peer;
mod permits;
mod poller;
mod process;
mod received;
mod rendezvous;
mod ring_memory;
mod semaphore;
mod socket;
mod spare;
mod spool;
mod stack;
mod unique_id;

use std::io;
use std::ops::Range;
use std::process::{Child, Command, ExitStatus};

use uuid::Uuid;

use super::contract::Backend;
use super::{ServerName, Wait};

pub use attachment::Attachment;
pub use clock::{clock_domain, now, roughly_now};
pub use exit::wait_for_exit;
pub use inherit::{inherited, spawn_with};
pub use memory::{Memory, MemoryReader, MemoryWriter};
pub use peer::{Peer, peer_process};
pub use permits::{PermitIssuer, PermitTaker, permits};
pub use poller::{PollWaker, Poller, Registry};
pub use process::mark as process_mark;
pub use rendezvous::{Listener, connect, connect_to};
pub use ring_memory::{RingMemory, RingPart};
pub use socket::{
    PacketReceiver, PacketSender, Remains, channel, max_waiting_attachments, placeholder,
};
pub use spool::{Spool, SpoolWriter};
pub use stack::stack;
pub use unique_id::unique_id;

/// The maximum size of a received packet. It fits into a socket buffer, 208 KiB by default, less
/// the kernel's own overhead.
pub const MAX_PACKET_BYTES: usize = 200 * 1024;

/// The maximum size of a sent packet. The kernel takes one more of them when its queue is almost
/// full. A larger one would then leave no room for a few small ones, as `send_past_limit` sends them,
/// and takes up more memory than it has bytes.
pub const PACKET_BYTES: usize = 64 * 1024;

/// The capacity that a buffer needs to receive packets.
pub const RECEIVE_BYTES: usize = MAX_PACKET_BYTES;

/// The maximum number of file descriptors in one packet: the kernel's `SCM_MAX_FD`.
pub const MAX_PACKET_ATTACHMENTS: usize = 253;

/// Returns how many clients of a server may be connected without having sent anything. Each has a
/// file descriptor of this process.
pub fn max_silent_clients() -> usize {
    64
}

/// Unix sockets.
#[derive(Debug)]
pub enum Unix {}

impl Backend for Unix {
    const MAX_PACKET_BYTES: usize = MAX_PACKET_BYTES;
    const PACKET_BYTES: usize = PACKET_BYTES;
    const MAX_PACKET_ATTACHMENTS: usize = MAX_PACKET_ATTACHMENTS;
    const RECEIVE_BYTES: usize = RECEIVE_BYTES;

    type PacketSender = PacketSender;
    type PacketReceiver = PacketReceiver;
    type Remains = Remains;
    type Attachment = Attachment;
    type Memory = Memory;
    type MemoryWriter = MemoryWriter;
    type MemoryReader = MemoryReader;
    type RingMemory = RingMemory;
    type RingPart = RingPart;
    type SpoolWriter = SpoolWriter;
    type Spool = Spool;
    type PermitTaker = PermitTaker;
    type PermitIssuer = PermitIssuer;
    type Poller = Poller;
    type Registry = Registry;
    type PollWaker = PollWaker;
    type Listener = Listener;
    type Peer = Peer;

    fn channel() -> io::Result<(PacketSender, PacketReceiver)> {
        channel()
    }

    fn connect(name: &str) -> io::Result<PacketSender> {
        connect(name)
    }

    fn connect_to(name: &ServerName, wait: Wait) -> io::Result<PacketSender> {
        connect_to(name, wait)
    }

    fn unique_id() -> io::Result<Uuid> {
        unique_id()
    }

    fn permits(count: usize) -> io::Result<(PermitTaker, PermitIssuer)> {
        permits(count)
    }

    fn now() -> u64 {
        now()
    }

    fn roughly_now() -> u64 {
        roughly_now()
    }

    fn clock_domain() -> Option<u64> {
        clock_domain()
    }

    fn max_waiting_attachments() -> usize {
        max_waiting_attachments()
    }

    fn max_silent_clients() -> usize {
        max_silent_clients()
    }

    fn spawn_with(command: &mut Command, receiver: PacketReceiver) -> io::Result<Child> {
        spawn_with(command, receiver)
    }

    fn inherited() -> io::Result<PacketReceiver> {
        inherited()
    }

    fn wait_for_exit(child: &mut Child, wait: Wait) -> io::Result<Option<ExitStatus>> {
        wait_for_exit(child, wait)
    }

    fn process_mark() -> u64 {
        process_mark()
    }

    fn stack() -> Option<Range<usize>> {
        stack()
    }
}
