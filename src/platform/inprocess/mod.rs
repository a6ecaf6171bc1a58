//! The backend whose channels stay within the process: queues of packets, attachments as objects,
//! and a process-wide map of names. It compiles on every target, and is the whole implementation on
//! targets for which strait has no other yet.
//!
//! It does not meet the contract in one case. A receiver that was sent into its own channel, or two
//! into each other's, keep each other alive. It is not noticed that they are unreachable, and their
//! senders go on sending.

mod attachment;
mod inherit;
mod memory;
mod packet;
mod permits;
mod poller;
mod queue;
mod rendezvous;
mod ring_memory;
mod spool;

use std::io;
use std::ops::Range;
use std::process::{Child, Command, ExitStatus};

use uuid::Uuid;

use super::contract::Backend;
use super::{ServerName, Wait};

pub use attachment::Attachment;
pub use inherit::{inherited, spawn_with, wait_for_exit};
pub use memory::{Memory, MemoryReader, MemoryWriter};
pub use packet::{PacketReceiver, PacketSender, Remains, channel, max_waiting_attachments};
pub use permits::{PermitIssuer, PermitTaker, permits};
pub use poller::{PollWaker, Poller, Registry};
pub use rendezvous::{Listener, Peer, connect, connect_to, unique_id};
pub use ring_memory::{RingMemory, RingPart, clock_domain, now, roughly_now};
pub use spool::{Spool, SpoolWriter};

/// Packets are vectors, and as long as memory allows.
pub const MAX_PACKET_BYTES: usize = usize::MAX;

/// There is no reason to send smaller packets.
pub const PACKET_BYTES: usize = MAX_PACKET_BYTES;

/// The capacity that a buffer needs to receive packets: none in advance.
pub const RECEIVE_BYTES: usize = 0;

/// Returns a number that a process and its forked children do not share, for resources that a child
/// must not touch.
pub fn process_mark() -> u64 {
    std::process::id().into()
}

/// Returns the location of this thread's stack: not known, since the system is not asked.
pub fn stack() -> Option<Range<usize>> {
    None
}

/// Attachments are in a vector, too. A header has one byte for their number.
pub const MAX_PACKET_ATTACHMENTS: usize = u8::MAX as usize;

/// Returns how many clients of a server may be connected without having sent anything: within a
/// process there are no hostile clients.
pub fn max_silent_clients() -> usize {
    usize::MAX
}

/// Channels within this process.
#[derive(Debug)]
pub enum InProcess {}

impl Backend for InProcess {
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
