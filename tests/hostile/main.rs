//! A hostile peer can lose its own messages, and nothing else (C7): raw frames, noise, descriptors of every wrong kind.

#![cfg(all(target_os = "linux", not(feature = "force-inprocess")))]

#[path = "../harness/mod.rs"]
mod harness;

mod attachments;
mod floods;
mod frames;
mod moves;
mod parts;
mod permits;
mod sockets;
mod strangers;

use strait::ipc::IpcError;

/// A message that is only an error.
#[track_caller]
fn assert_refused<T>(received: Result<T, IpcError>) {
    match received {
        Err(IpcError::SerializationError(_)) => {}
        Err(error) => panic!("another error: {error:?}"),
        Ok(_) => panic!("it was accepted"),
    }
}
