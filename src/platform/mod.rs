//! Platform backends: what strait needs of an operating system, and the one place where the backend
//! is chosen.
//!
//! [`contract`] says what a backend does, function by function, as traits. There are two:
//! [`inprocess`], which compiles on every target, and [`unix`]. Portable code uses the names that
//! are re-exported here from the selected one.

pub mod contract;

mod exit;
mod name;
mod os_handle;
mod packet;
mod per_process;
mod tick;
mod wait;
mod words;

pub use contract::{Permit, WAKE_ID};
pub use exit::{is_status_lost, poll_for_exit};
pub use name::ServerName;
pub use os_handle::{AsOsHandle, OsHandle, duplicate};
pub use packet::{Arrival, Landing, RecvError, SendError};
pub use per_process::PerProcess;
pub use tick::clock_tick;
pub use wait::Wait;

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
    channel, clock_domain, connect, connect_to, inherited, max_silent_clients,
    max_waiting_attachments, now, permits, process_mark, roughly_now, spawn_with, stack, unique_id,
    wait_for_exit,
};

use std::io;
use std::sync::atomic;

/// The error for sending the writer of memory that has a reader.
fn writer_has_readers() -> io::Error {
    let why = "shared memory that has a reader cannot get another writer; send the writer first";
    io::Error::new(io::ErrorKind::Unsupported, why)
}
