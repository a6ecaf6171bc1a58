//! Operating system handles in messages: files, sockets, pipes.
//!
//! A message carries a handle in a [`Handle`], or in a field with `#[serde(with =
//! "strait::handle")]`:
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
//! Sending duplicates the handle before `send` returns. The received handle is the same open file,
//! with the same position. Strait does not check that it is what the type says: a peer that is not
//! trusted can send a pipe for a file.
//!
//! Closing a received handle can block the thread that drops it: the last copy of a TCP socket with
//! `SO_LINGER`, or of a file on a file system that the peer serves (FUSE). Strait closes handles
//! that the type of a message has no place for, and does not block: a thread of its own closes
//! those that could.
//!
//! # Platform
//!
//! On Unix, everything that is [`AsFd`](https://doc.rust-lang.org/std/os/fd/trait.AsFd.html) can be
//! sent, and received as everything that is `From<OwnedFd>`. On Windows it is `AsHandle` and
//! `From<OwnedHandle>`, within one process so far. Other systems have no such types.

use std::ops::{Deref, DerefMut};

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::endpoint;
use crate::platform::{self, AsOsHandle, Attachment, OsHandle};

/// An object with an operating system handle, for a message.
///
/// # Examples
///
/// ```
/// # #[cfg(unix)]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::fs::File;
///
/// use strait::handle::Handle;
/// use strait::ipc;
///
/// let (sender, receiver) = ipc::channel::<Vec<Handle<File>>>()?;
/// sender.send(vec![File::open("Cargo.toml")?.into(), File::open("README.md")?.into()])?;
/// let files = receiver.recv()?;
/// assert_eq!(files.len(), 2);
/// assert!(files[0].metadata()?.is_file());
/// # Ok(())
/// # }
/// # #[cfg(not(unix))]
/// # fn main() {}
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Handle<T>(pub T);

impl<T> Handle<T> {
    /// Returns the object.
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

/// Puts a duplicate of the handle of `object` into the message that is being sent. Serde calls it
/// for a field with `#[serde(with = "strait::handle")]`.
///
/// # Errors
///
/// - No message of a strait channel is being sent on this thread.
/// - This process has no handle left for the duplicate.
///
/// # Examples
///
/// See [the module](self).
pub fn serialize<T: AsOsHandle, S: Serializer>(
    object: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    // A duplicate, because `object` may be gone before the message is.
    let handle = platform::duplicate(object).map_err(S::Error::custom)?;
    endpoint::serialize_handle(Attachment::from_handle(handle), serializer)
}

/// Takes a handle out of the message that is being received. Serde calls it for a field with
/// `#[serde(with = "strait::handle")]`.
///
/// # Errors
///
/// - No message of a strait channel is being received on this thread.
/// - The message has no such handle.
///
/// # Examples
///
/// See [the module](self).
pub fn deserialize<'de, T: From<OsHandle>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let handle = endpoint::deserialize_handle(deserializer)?.into_handle();
    handle.map(T::from).map_err(D::Error::custom)
}
