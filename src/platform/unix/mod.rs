//! The backend for Unix sockets: one `SOCK_SEQPACKET` socket pair per channel, handles by
//! `SCM_RIGHTS`, and readiness by mio. Names are sockets in directories that only their owner can
//! enter, at paths, or in no directory.
//!
//! The socket pair decides identity, liveness and order. It is `SEQPACKET`, because a stream
//! interleaves the parts of concurrent senders' messages. `O_NONBLOCK` is never used: it belongs to
//! the open file description, which peers share. `MSG_DONTWAIT` and `poll` are used instead, and a
//! peer that sets `O_NONBLOCK` changes nothing.
//!
//! What Unixes do differently is in the *flavour*, a module beside this one, which is selected
//! here and nowhere else. It has shared memory, permits, file descriptors that are readable on
//! demand, the clock, the wait for the end of a process, and what the kernel reports of sockets
//! and threads. Modules that need no flavour are compiled on every Unix, also where no backend
//! uses them.

#![cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "only a backend uses them, and this Unix has no flavour of it yet")
)]

#[cfg(target_os = "linux")]
use super::linux as flavour;

// Apple's systems have no flags for new sockets.
#[cfg(not(target_vendor = "apple"))]
mod claim;
mod closing;
pub(super) mod limits;
pub(super) mod mapping;
pub(super) mod poll;
mod spawn;

// The others need a flavour.
#[cfg(target_os = "linux")]
mod attachment;
#[cfg(target_os = "linux")]
mod control;
#[cfg(target_os = "linux")]
mod directory;
#[cfg(target_os = "linux")]
mod inherit;
#[cfg(target_os = "linux")]
mod listener;
#[cfg(target_os = "linux")]
mod poller;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
pub(super) mod received;
#[cfg(target_os = "linux")]
mod socket;
#[cfg(target_os = "linux")]
pub(super) mod spare;

#[cfg(target_os = "linux")]
pub use self::{
    attachment::Attachment,
    flavour::{
        MAX_PACKET_ATTACHMENTS, MAX_RECEIVED_PACKET_BYTES, MAX_SENT_PACKET_BYTES, Memory,
        MemoryReader, MemoryWriter, Peer, PermitIssuer, PermitTaker, RingMemory, RingPart, Spool,
        SpoolWriter, clock_domain, now, peer_process, permits, roughly_now, stack, unique_id,
        wait_for_exit,
    },
    inherit::{Bequest, inherited, spawn_with},
    listener::{Listener, connect, connect_named},
    poller::{PollWaker, Poller, Registry},
    process::mark as fork_generation,
    socket::{PacketReceiver, PacketSender, Remainder, channel, max_kept_attachments, placeholder},
};

/// File descriptors can be sent to other processes.
pub const CROSSES_PROCESSES: bool = true;

/// The capacity that a buffer needs to receive packets.
#[cfg(target_os = "linux")]
pub const RECEIVE_BYTES: usize = MAX_RECEIVED_PACKET_BYTES;

/// Returns how many clients of a server may be connected without having sent anything. Each has a
/// file descriptor of this process.
pub fn max_silent_clients() -> usize {
    64
}

/// Unix sockets.
#[derive(Debug)]
pub enum Unix {}

#[cfg(target_os = "linux")]
implement_backend!(Unix);
