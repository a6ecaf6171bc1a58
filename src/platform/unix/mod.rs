//! The backend for Unix sockets: one `SOCK_SEQPACKET` socket pair per channel, handles by `SCM_RIGHTS`, shared memory by
//! sealed memfds, readiness by mio, names as sockets in directories that only their owner can enter.
//!
//! The socket pair is the truth for identity, liveness and order. `SEQPACKET`, because a stream interleaves the parts of
//! concurrent senders' messages. Never `O_NONBLOCK`: it belongs to the open file description, which peers share, so
//! `MSG_DONTWAIT` and `poll` are used instead, and a peer that sets it changes nothing.

mod attachment;
mod control;
mod limits;
mod memory;
mod poller;
mod process;
mod rendezvous;
mod socket;

pub use attachment::Attachment;
pub use memory::Memory;
pub use poller::{PollWaker, Poller, Registry};
pub use process::mark as process_mark;
pub use rendezvous::{Listener, Peer, unique_id};
pub use socket::{
    PacketReceiver, PacketSender, Remains, channel, max_waiting_attachments, placeholder,
};

/// The largest packet that is sent. It has to fit into the sender's
/// socket buffer, 208 KiB by default on Linux, less the kernel's own overhead.
pub const MAX_PACKET_BYTES: usize = 200 * 1024;

/// What a buffer that packets are received in needs.
pub const RECEIVE_BYTES: usize = MAX_PACKET_BYTES;

/// The most descriptors that one packet carries: the kernel's `SCM_MAX_FD`.
pub const MAX_PACKET_ATTACHMENTS: usize = 253;
