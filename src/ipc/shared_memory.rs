//! Shared memory that several processes read and no process modifies.
//!
//! # Safety
//!
//! This file has no unsafe operation. One method is declared `unsafe`, because ipc-channel's is.

#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use serde::de::Deserializer;
use serde::ser::{Error as _, Serializer};
use serde::{Deserialize, Serialize};

use crate::codec::endpoint;
use crate::platform::Memory;
use crate::platform::contract::Memory as _;

/// Bytes in shared memory, which are not copied when they are sent to another process.
///
/// It derefs to its bytes. No process can modify them while they are borrowed. For memory that one
/// process writes while others read it, use [`SharedMemoryWriter`](super::SharedMemoryWriter).
///
/// Clones and received values share the same memory. An empty value takes neither memory nor a
/// handle.
///
/// # Costs
///
/// | what | copies of the bytes |
/// |---|---|
/// | [`from_bytes`](Self::from_bytes) | one |
/// | to clone, send, receive and read it | none |
/// | the first [`make_mut`](Self::make_mut) or [`deref_mut`](Self::deref_mut), and the first after a `clone` | one |
/// | to send it for the first time after that | one |
/// | [`take`](Self::take) | one |
///
/// To share bytes that are yet to be computed, compute them in a `Vec` and call `from_bytes`.
/// Writing them directly to new shared memory would take longer, because of a page fault for each
/// page.
///
/// # Platform
///
/// On Linux it is a memfd that is sealed against writing, growing and shrinking. A received memfd
/// is mapped read-only, and is rejected if it is not sealed. So no peer can modify it, or make an
/// access to it fail. `from_byte(0, length)` allocates no pages: the first process that reads them
/// does, and they count as that process's memory.
///
/// On other systems, and with the feature `force-inprocess`, it is memory of this process.
///
/// # Examples
///
/// ```
/// use strait::ipc::{self, IpcSharedMemory};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (sender, receiver) = ipc::channel()?;
/// sender.send(IpcSharedMemory::try_from_bytes(b"a large table")?)?;
/// assert_eq!(&*receiver.recv()?, b"a large table");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct IpcSharedMemory(Content);

#[derive(Clone)]
enum Content {
    Empty,
    Shared(Memory),
    Own(Arc<Own>),
}

/// Bytes that only this process has, shared by clones.
struct Own {
    bytes: Vec<u8>,
    /// The sealed copy, if the bytes have been sent.
    sent: OnceLock<Memory>,
}

impl IpcSharedMemory {
    /// Creates shared memory with a copy of `bytes`.
    ///
    /// # Panics
    ///
    /// Panics if the operating system has no memory or handles left.
    /// [`try_from_bytes`](IpcSharedMemory::try_from_bytes) returns an error instead.
    pub fn from_bytes(bytes: &[u8]) -> IpcSharedMemory {
        IpcSharedMemory::try_from_bytes(bytes)
            .unwrap_or_else(|error| panic!("cannot create shared memory: {error}"))
    }

    /// Creates shared memory of `length` bytes that are all `byte`.
    ///
    /// # Panics
    ///
    /// Panics if the operating system has no memory or handles left.
    /// [`try_from_byte`](IpcSharedMemory::try_from_byte) returns an error instead.
    pub fn from_byte(byte: u8, length: usize) -> IpcSharedMemory {
        IpcSharedMemory::try_from_byte(byte, length)
            .unwrap_or_else(|error| panic!("cannot create shared memory: {error}"))
    }

    /// Creates shared memory with a copy of `bytes`.
    ///
    /// # Errors
    ///
    /// - Any error of the operating system, if it has no memory or handles left.
    pub fn try_from_bytes(bytes: &[u8]) -> io::Result<IpcSharedMemory> {
        IpcSharedMemory::unless_empty(bytes.len(), || Memory::from_bytes(bytes))
    }

    /// Creates shared memory of `length` bytes that are all `byte`.
    ///
    /// # Errors
    ///
    /// - Any error of the operating system, if it has no memory or handles left.
    pub fn try_from_byte(byte: u8, length: usize) -> io::Result<IpcSharedMemory> {
        IpcSharedMemory::unless_empty(length, || Memory::from_byte(byte, length))
    }

    fn unless_empty(
        length: usize,
        make: impl FnOnce() -> io::Result<Memory>,
    ) -> io::Result<IpcSharedMemory> {
        let content = if length == 0 { Content::Empty } else { Content::Shared(make()?) };
        Ok(IpcSharedMemory(content))
    }

    /// Borrows the bytes mutably, as [`Arc::make_mut`] does.
    ///
    /// Writes affect this value, and later clones and messages of it. Other clones, and values that
    /// other processes have received, are unchanged. The first call copies the bytes: see
    /// [Costs](IpcSharedMemory#costs).
    ///
    /// # Errors
    ///
    /// - `OutOfMemory` if there is no memory for the copy.
    ///
    /// # Examples
    ///
    /// ```
    /// use strait::ipc::IpcSharedMemory;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut memory = IpcSharedMemory::try_from_bytes(b"small")?;
    /// let clone = memory.clone();
    /// memory.make_mut()?[1..3].copy_from_slice(b"ta");
    /// assert_eq!(&*memory, b"stall");
    /// assert_eq!(&*clone, b"small");
    /// # Ok(())
    /// # }
    /// ```
    pub fn make_mut(&mut self) -> io::Result<&mut [u8]> {
        let is_alone = match &mut self.0 {
            Content::Empty => return Ok(&mut []),
            Content::Shared(_) => false,
            Content::Own(own) => Arc::get_mut(own).is_some(),
        };
        if !is_alone {
            let own = Own { bytes: self.try_to_vec()?, sent: OnceLock::new() };
            self.0 = Content::Own(Arc::new(own));
        }
        let own = match &mut self.0 {
            Content::Own(own) => Arc::get_mut(own),
            Content::Empty | Content::Shared(_) => None,
        };
        let own = own.expect("what was just made, or is alone, has no clone");
        // The caller can change the bytes, so the next message needs a new copy.
        own.sent.take();
        Ok(&mut own.bytes)
    }

    /// Borrows the bytes mutably, as [`make_mut`](IpcSharedMemory::make_mut) does.
    ///
    /// ipc-channel requires a single reader or writer, because there the writes can be visible in
    /// clones and in other processes. Code that meets this condition works here too, with copies.
    ///
    /// # Safety
    ///
    /// There are no conditions. The method is `unsafe` because ipc-channel's is.
    ///
    /// # Panics
    ///
    /// Panics if there is no memory for the copy.
    pub unsafe fn deref_mut(&mut self) -> &mut [u8] {
        self.make_mut().unwrap_or_else(|error| panic!("cannot copy shared memory: {error}"))
    }

    /// Returns a copy of the bytes. The result is `Some` on every platform; the `Option` is
    /// ipc-channel's.
    pub fn take(self) -> Option<Vec<u8>> {
        Some(self.to_vec())
    }

    fn try_to_vec(&self) -> io::Result<Vec<u8>> {
        let mut copy = Vec::new();
        copy.try_reserve_exact(self.len()).map_err(|_| io::ErrorKind::OutOfMemory)?;
        copy.extend_from_slice(self);
        Ok(copy)
    }
}

impl Own {
    /// The memory by which the bytes are sent.
    fn memory(&self) -> io::Result<&Memory> {
        if let Some(memory) = self.sent.get() {
            return Ok(memory);
        }
        let memory = Memory::from_bytes(&self.bytes)?;
        // Another thread may have set it meanwhile.
        Ok(self.sent.get_or_init(|| memory))
    }
}

impl Deref for IpcSharedMemory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Content::Empty => &[],
            Content::Shared(memory) => memory.as_slice(),
            Content::Own(own) => &own.bytes,
        }
    }
}

impl PartialEq for IpcSharedMemory {
    fn eq(&self, other: &IpcSharedMemory) -> bool {
        **self == **other
    }
}

impl fmt::Debug for IpcSharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IpcSharedMemory").field("len", &self.len()).finish()
    }
}

impl Serialize for IpcSharedMemory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let memory = match &self.0 {
            Content::Empty => None,
            Content::Shared(memory) => Some(memory),
            Content::Own(own) => Some(own.memory().map_err(S::Error::custom)?),
        };
        endpoint::serialize_memory(memory, serializer)
    }
}

impl<'de> Deserialize<'de> for IpcSharedMemory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let memory = endpoint::deserialize_memory(deserializer)?;
        Ok(IpcSharedMemory(memory.map_or(Content::Empty, Content::Shared)))
    }
}
