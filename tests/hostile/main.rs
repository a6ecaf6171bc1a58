//! A hostile peer can lose its own messages, and nothing else (C7): raw frames, noise,
//! descriptors of every wrong kind.

#![cfg(all(target_os = "linux", not(feature = "force-inprocess")))]

#[path = "../harness/mod.rs"]
mod harness;

mod attachments;
mod budgets;
mod clients;
mod closing;
mod descriptors;
mod floods;
mod frames;
mod moves;
mod parts;
mod permits;
mod rings;
mod sockets;

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};
use strait::ipc::{self, IpcError};

/// Checks that a message is one error.
#[track_caller]
fn assert_refused<T>(received: Result<T, IpcError>) {
    match received {
        Err(IpcError::SerializationError(_)) => {}
        Err(error) => panic!("another error: {error:?}"),
        Ok(_) => panic!("it was accepted"),
    }
}

/// A pair of sockets, as a channel has them.
fn packet_pair() -> (OwnedFd, OwnedFd) {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .unwrap()
}

/// Returns what is received if a peer writes these bytes and sends these file descriptors
/// with them.
fn send_one_of<T>(body: &[u8], fds: &[BorrowedFd<'_>]) -> Result<T, IpcError>
where
    T: Serialize + for<'de> Deserialize<'de>,
{
    let (sender, receiver) = ipc::channel::<T>().unwrap();
    let message = harness::raw::message(fds.len() as u8, body);
    harness::raw::send(&sender, &message, fds).unwrap();
    receiver.recv()
}
