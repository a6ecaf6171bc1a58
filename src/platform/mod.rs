//! Platform backends: what strait needs of an operating system, and the one place where the backend
//! is chosen.
//!
//! [`contract`] says what a backend does, function by function, as traits. There are two:
//! [`inprocess`], which compiles on every target, and [`unix`], with what Linux alone has in
//! `linux`. Portable code uses the names that are re-exported here from the selected one.

pub mod contract;

mod exit;
mod name;
mod os_handle;
mod packet;
mod per_process;
mod ready;
mod tick;
mod wait;
mod words;

pub use contract::{Permit, WAKE_ID};
pub use exit::{is_status_lost, poll_for_exit};
pub use name::ServerName;
pub use os_handle::{AsOsHandle, OsHandle, duplicate};
pub use packet::{ReceiveBuffers, ReceivedPacket, RecvError, SendError};
pub use per_process::PerProcess;
pub use tick::clock_tick;
pub use wait::Wait;

/// Implements `Backend` for the type of a backend by what the calling module exports under the same
/// names.
macro_rules! implement_backend {
    ($backend:ident) => {
        impl $crate::platform::contract::Backend for $backend {
            const CROSSES_PROCESSES: bool = CROSSES_PROCESSES;
            const MAX_RECEIVED_PACKET_BYTES: usize = MAX_RECEIVED_PACKET_BYTES;
            const MAX_SENT_PACKET_BYTES: usize = MAX_SENT_PACKET_BYTES;
            const MAX_PACKET_ATTACHMENTS: usize = MAX_PACKET_ATTACHMENTS;
            const RECEIVE_BYTES: usize = RECEIVE_BYTES;

            type PacketSender = PacketSender;
            type PacketReceiver = PacketReceiver;
            type Remainder = Remainder;
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
            type Bequest = Bequest;

            fn channel() -> std::io::Result<(PacketSender, PacketReceiver)> {
                channel()
            }

            fn connect(name: &str) -> std::io::Result<PacketSender> {
                connect(name)
            }

            fn connect_named(
                name: &$crate::platform::ServerName,
                wait: $crate::platform::Wait,
            ) -> std::io::Result<PacketSender> {
                connect_named(name, wait)
            }

            fn unique_id() -> std::io::Result<uuid::Uuid> {
                unique_id()
            }

            fn permits(count: usize) -> std::io::Result<(PermitTaker, PermitIssuer)> {
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

            fn max_kept_attachments() -> usize {
                max_kept_attachments()
            }

            fn max_silent_clients() -> usize {
                max_silent_clients()
            }

            fn spawn_with(
                command: &mut std::process::Command,
                receiver: PacketReceiver,
            ) -> std::io::Result<(std::process::Child, Bequest)> {
                spawn_with(command, receiver)
            }

            fn inherited() -> std::io::Result<PacketReceiver> {
                inherited()
            }

            fn wait_for_exit(
                child: &mut std::process::Child,
                wait: $crate::platform::Wait,
            ) -> std::io::Result<Option<std::process::ExitStatus>> {
                wait_for_exit(child, wait)
            }

            fn fork_generation() -> u64 {
                fork_generation()
            }

            fn stack() -> Option<std::ops::Range<usize>> {
                stack()
            }
        }
    };
}

pub mod inprocess;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(unix)]
pub mod unix;

#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
use unix as selected;

#[cfg(not(all(target_os = "linux", not(feature = "force-inprocess"))))]
use inprocess as selected;

pub use selected::{
    Attachment, Bequest, CROSSES_PROCESSES, Listener, MAX_PACKET_ATTACHMENTS,
    MAX_RECEIVED_PACKET_BYTES, MAX_SENT_PACKET_BYTES, Memory, MemoryReader, MemoryWriter,
    PacketReceiver, PacketSender, Peer, PermitIssuer, PermitTaker, PollWaker, Poller,
    RECEIVE_BYTES, Registry, Remainder, RingMemory, RingPart, Spool, SpoolWriter, channel,
    clock_domain, connect, connect_named, fork_generation, inherited, max_kept_attachments,
    max_silent_clients, now, permits, roughly_now, spawn_with, stack, unique_id, wait_for_exit,
};

use std::io;
use std::sync::atomic;

/// The error for sending the writer of memory that has a reader.
fn writer_has_readers() -> io::Error {
    let why = "shared memory that has a reader cannot get another writer; send the writer first";
    io::Error::new(io::ErrorKind::Unsupported, why)
}
