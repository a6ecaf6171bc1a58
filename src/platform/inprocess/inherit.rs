//! Child processes, which inherit nothing in this backend.

use std::io;
use std::process::{Child, Command};

use super::PacketReceiver;
use crate::platform::{Wait, contract};

pub use crate::platform::poll_for_exit as wait_for_exit;

/// Fails: starts no process.
pub fn spawn_with(
    _command: &mut Command,
    _receiver: PacketReceiver,
) -> io::Result<(Child, Bequest)> {
    Err(stays_here())
}

/// There is none, since no child is started with a receiver.
#[derive(Debug)]
pub enum Bequest {}

impl contract::Bequest for Bequest {
    fn hand_over(&mut self, _: &mut Child, _: Wait) -> io::Result<bool> {
        match *self {}
    }
}

/// Fails: there is no inherited receiver.
pub fn inherited() -> io::Result<PacketReceiver> {
    Err(stays_here())
}

fn stays_here() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "channels do not leave the process on this platform")
}
