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

/// File descriptors can be sent to other processes.
pub const CROSSES_PROCESSES: bool = true;

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

implement_backend!(Unix);
