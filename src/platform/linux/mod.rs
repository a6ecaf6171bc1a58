//! What the backend for Unix sockets has on Linux alone: the flavour that `platform/unix` selects.
//!
//! Shared memory is in sealed memfds, permits are eventfds, and the file descriptor that is polled
//! for a receiver is an epoll instance. The kernel reports identities of sockets and processes.
//! `/proc` shows namespaces.
//!
//! Another Unix has a folder or file with the same names. What it cannot do is an error of kind
//! `Unsupported` there, or `None`.

mod advice;
mod clock;
mod closing;
mod event;
mod exit;
mod memory;
mod peer;
mod permits;
mod pollable;
mod ring_memory;
mod semaphore;
mod socket;
mod spool;
mod thread;
mod unique_id;

pub use clock::{clock_domain, now, roughly_now};
pub use exit::wait_for_exit;
pub use memory::{Memory, MemoryReader, MemoryWriter};
pub use peer::{Peer, peer_process};
pub use permits::{PermitIssuer, PermitTaker, permits};
pub use ring_memory::{RingMemory, RingPart};
pub use spool::{Spool, SpoolWriter};
pub use thread::stack;
pub use unique_id::unique_id;

pub(super) use advice::wipe_on_fork;
pub(super) use closing::is_closed_at_once;
pub(super) use event::{Event, always_readable};
pub(super) use memory::Shared;
pub(super) use peer::is_ambiguous;
pub(super) use permits::is_place;
pub(super) use pollable::PollableFd;
pub(super) use socket::{
    EXTRA_CONTROL_BYTES, HANG_UP, OTHER_DESCRIPTORS, abstract_address, cookie, enlarge_queue,
    peek_at_the_start, queued,
};
pub(super) use thread::is_only_thread;

/// The maximum size of a received packet. It fits into a socket buffer, 208 KiB by default, less
/// the kernel's own overhead.
pub const MAX_RECEIVED_PACKET_BYTES: usize = 200 * 1024;

/// The maximum size of a sent packet. The kernel takes one more of them when its queue is
/// almost full. A larger one would then leave no room for a few small ones, as
/// `send_past_limit` sends them, and takes up more memory than it has bytes.
pub const MAX_SENT_PACKET_BYTES: usize = 64 * 1024;

/// The maximum number of file descriptors in one packet: the kernel's `SCM_MAX_FD`.
pub const MAX_PACKET_ATTACHMENTS: usize = 253;
