//! Child processes, which inherit nothing in this backend.

use std::io;
use std::process::{Child, Command};

use super::PacketReceiver;

pub use crate::platform::poll_for_exit as wait_for_exit;

/// Fails: starts no process.
pub fn spawn_with(_command: &mut Command, _receiver: PacketReceiver) -> io::Result<Child> {
    Err(stays_here())
}

/// Fails: there is no inherited receiver.
pub fn inherited() -> io::Result<PacketReceiver> {
    Err(stays_here())
}

fn stays_here() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "channels do not leave the process on this platform")
}
