//! Operating system handles in messages: files, sockets, pipes.
//!
//! A message contains a handle as a [`Handle`], or as a field with `#[serde(with =
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
//! with the same position. Strait does not check that the handle is of the kind that the type
//! implies: a peer that is not trusted can send a pipe instead of a file.
//!
//! Closing a received handle can block the thread that drops it. Examples are the last copy of a
//! TCP socket with `SO_LINGER`, and of a file on a file system that the peer serves (FUSE). Strait
//! itself closes handles for which the type of a message has no place. It does not block for that:
//! a thread of its own closes the handles that could block.
//!
//! # Platform
//!
//! On Unix, every type that implements
//! [`AsFd`](https://doc.rust-lang.org/std/os/fd/trait.AsFd.html) can be sent, and every type that
//! implements `From<OwnedFd>` can be received. On Windows the traits are `AsHandle` and
//! `From<OwnedHandle>`, within one process so far. Other systems have no such types.

use std::ops::{Deref, DerefMut};

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::endpoint;
use crate::platform::contract::Attachment as _;
use crate::platform::{self, AsOsHandle, Attachment, OsHandle};

/// An object with an operating system handle, which can be sent in a message.
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

/// Adds a duplicate of the handle of `object` to the message that is being sent. Serde calls it for
/// a field with `#[serde(with = "strait::handle")]`.
///
/// # Errors
///
/// - An error if no message of a strait channel is being sent on this thread.
/// - An error if this process has no handle left for the duplicate.
///
/// # Examples
///
/// See [the module](self).
pub fn serialize<T: AsOsHandle, S: Serializer>(
    object: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    // A duplicate, because `object` may be dropped before the message is.
    let handle = platform::duplicate(object).map_err(S::Error::custom)?;
    endpoint::serialize_handle(Attachment::from_handle(handle), serializer)
}

/// Removes a handle from the message that is being received. Serde calls it for a field with
/// `#[serde(with = "strait::handle")]`.
///
/// # Errors
///
/// - An error if no message of a strait channel is being received on this thread.
/// - An error if the message has no such handle.
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
