//! The backend whose channels stay within the process: queues of packets, attachments as objects,
//! and a process-wide map of names. It compiles on every target, and is the whole implementation on
//! targets for which strait has no other yet.
//!
//! It does not meet the contract in one case. A receiver that was sent into its own channel, or two
//! into each other's, keep each other alive. It is not noticed that they are unreachable, and their
//! senders go on sending.

mod attachment;
mod inherit;
mod listener;
mod memory;
mod packet;
mod permits;
mod ring_memory;
mod spool;

pub use crate::platform::ready::PollWaker;
pub use attachment::Attachment;
pub use inherit::{Bequest, inherited, spawn_with, wait_for_exit};
pub use listener::{Listener, Peer, connect, connect_named, unique_id};
pub use memory::{Memory, MemoryReader, MemoryWriter};
pub use packet::{PacketReceiver, PacketSender, Remainder, channel, max_kept_attachments};
pub use permits::{PermitIssuer, PermitTaker, permits};
pub use ring_memory::{RingMemory, RingPart, clock_domain, now, roughly_now};
pub use spool::{Spool, SpoolWriter};

use std::ops::Range;

use crate::platform::ready;

/// Watches many receivers for readiness.
pub type Poller = ready::Poller<InProcess>;

/// Adds and removes members of a [`Poller`] from any thread.
pub type Registry = ready::Registry<InProcess>;

/// Objects of a process mean nothing in others.
pub const CROSSES_PROCESSES: bool = false;

/// Packets are vectors, and as long as memory allows.
pub const MAX_RECEIVED_PACKET_BYTES: usize = usize::MAX;

/// There is no reason to send smaller packets.
pub const MAX_SENT_PACKET_BYTES: usize = MAX_RECEIVED_PACKET_BYTES;

/// The capacity that a buffer needs to receive packets: none in advance.
pub const RECEIVE_BYTES: usize = 0;

/// Returns a number that a process and its forked children do not share, for resources that a child
/// must not touch.
pub fn fork_generation() -> u64 {
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

implement_backend!(InProcess);
