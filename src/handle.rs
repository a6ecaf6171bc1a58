//! Handles of the operating system inside messages: files, sockets, pipes and whatever else is one.
//!
//! Wrapped in a [`Handle`], or as a field with `#[serde(with = "strait::handle")]`:
//!
//! ```
//! # #[cfg(unix)]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::fs::File;
//! use std::io::Read;
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Job {
//!     #[serde(with = "strait::handle")]
//!     input: File,
//!     name: String,
//! }
//!
//! let (sender, receiver) = strait::ipc::channel()?;
//! sender.send(Job { input: File::open("Cargo.toml")?, name: "manifest".into() })?;
//! let mut job: Job = receiver.recv()?;
//! let mut text = String::new();
//! job.input.read_to_string(&mut text)?;
//! assert!(text.contains("[package]"));
//! # Ok(())
//! # }
//! # #[cfg(not(unix))]
//! # fn main() {}
//! ```
//!
//! Sending a handle duplicates it, as the message is sent; what is received is the same open file, with the same position. No
//! check is made that it is what the type says: a peer that is not trusted may have sent a pipe for a file. Nor is one made of what
//! closing it does: the last copy of a TCP socket with `SO_LINGER`, or of a file on a file system that the peer runs itself (FUSE), can
//! hold up whoever drops it. Handles that the type of a message has no place for are closed by strait, sockets without lingering.
//!
//! # Platform
//!
//! On Unix, whatever is [`AsFd`](std::os::fd::AsFd) can be sent and received as whatever is `From<OwnedFd>`. On Windows it
//! is `AsHandle` and `From<OwnedHandle>`, within one process so far. Elsewhere there are no such types.

use std::ops::{Deref, DerefMut};

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::endpoint;
use crate::platform::{self, AsOsHandle, Attachment, OsHandle};

/// An object with a handle of the operating system, to be sent in a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Handle<T>(pub T);

impl<T> Handle<T> {
    /// Takes the object out.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> From<T> for Handle<T> {
    fn from(object: T) -> Handle<T> {
        Handle(object)
    }
}

impl<T> Deref for Handle<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Handle<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: AsOsHandle> Serialize for Handle<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(&self.0, serializer)
    }
}

impl<'de, T: From<OsHandle>> Deserialize<'de> for Handle<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(deserializer).map(Handle)
    }
}

/// Puts the handle of `object` into the message that is being sent: the half of `#[serde(with = "strait::handle")]` that
/// sends.
///
/// # Errors
///
/// No message is being sent on this thread, or this process can have no more handles.
pub fn serialize<T: AsOsHandle, S: Serializer>(
    object: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    // A duplicate, because `object` may be gone before the message is.
    let handle = platform::duplicate(object).map_err(S::Error::custom)?;
    endpoint::serialize_attachment(Attachment::from_handle(handle), serializer)
}

/// Takes a handle out of the message that is being received: the half of `#[serde(with = "strait::handle")]` that receives.
///
/// # Errors
///
/// No message is being received on this thread, or it has no such handle.
pub fn deserialize<'de, T: From<OsHandle>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let handle = endpoint::deserialize_attachment(deserializer)?.into_handle();
    handle.map(T::from).map_err(D::Error::custom)
}
