//! Memory that several processes see.
//!
//! # Safety
//!
//! Slices are made of the region that the backend keeps mapped for as long as the value lives. That nobody writes while a
//! slice is read is what the one unsafe method here asks of its callers.

#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::ops::Deref;
use std::ptr;
use std::slice;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::endpoint;
use crate::platform::Memory;

/// Memory that is shared with whoever receives it in a message.
///
/// Clones and received copies are the same memory. In one process clones share one mapping and one handle; an empty one
/// has neither. It derefs to its bytes.
///
/// # Platform
///
/// On Linux it is a memfd that is sealed against shrinking before it is mapped, and what arrives in a message is mapped only if
/// it is: no peer can make an access to it fault. Bytes that a hostile peer writes show up in it, at any moment: whoever
/// takes memory from a peer that is not trusted copies what it checks.
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
pub struct IpcSharedMemory {
    /// `None` is the empty one.
    memory: Option<Memory>,
}

impl IpcSharedMemory {
    /// Makes shared memory with a copy of `bytes`.
    ///
    /// # Panics
    ///
    /// If the operating system has no memory or handles for it; see [`try_from_bytes`](IpcSharedMemory::try_from_bytes).
    pub fn from_bytes(bytes: &[u8]) -> IpcSharedMemory {
        IpcSharedMemory::try_from_bytes(bytes)
            .unwrap_or_else(|error| panic!("cannot make shared memory: {error}"))
    }

    /// Makes shared memory of `length` bytes that are all `byte`.
    ///
    /// # Panics
    ///
    /// If the operating system has no memory or handles for it; see [`try_from_byte`](IpcSharedMemory::try_from_byte).
    pub fn from_byte(byte: u8, length: usize) -> IpcSharedMemory {
        IpcSharedMemory::try_from_byte(byte, length)
            .unwrap_or_else(|error| panic!("cannot make shared memory: {error}"))
    }

    /// Makes shared memory with a copy of `bytes`.
    ///
    /// # Errors
    ///
    /// The operating system's, when it has no memory or handles for it.
    pub fn try_from_bytes(bytes: &[u8]) -> io::Result<IpcSharedMemory> {
        IpcSharedMemory::try_new(bytes.len(), |start| {
            // SAFETY: `start` is new memory of the same length that nobody else knows yet.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), start, bytes.len()) }
        })
    }

    /// Makes shared memory of `length` bytes that are all `byte`.
    ///
    /// # Errors
    ///
    /// The operating system's, when it has no memory or handles for it.
    pub fn try_from_byte(byte: u8, length: usize) -> io::Result<IpcSharedMemory> {
        IpcSharedMemory::try_new(length, |start| {
            if byte != 0 {
                // SAFETY: `start` is new memory of `length` bytes that nobody else knows yet.
                unsafe { ptr::write_bytes(start, byte, length) }
            }
        })
    }

    fn try_new(length: usize, fill: impl FnOnce(*mut u8)) -> io::Result<IpcSharedMemory> {
        if length == 0 {
            return Ok(IpcSharedMemory { memory: None });
        }
        let memory = Memory::new(length)?;
        fill(memory.as_ptr());
        Ok(IpcSharedMemory { memory: Some(memory) })
    }

    /// Borrows the bytes for writing. What is written is seen by all who have the memory.
    ///
    /// # Safety
    ///
    /// While the slice lives, nobody else may read or write the memory: no clone of it in this process, and nobody in
    /// another process that it was sent to.
    pub unsafe fn deref_mut(&mut self) -> &mut [u8] {
        match &self.memory {
            // SAFETY: valid for that many bytes while `self` lives; that it is the only access is the caller's promise.
            Some(memory) => unsafe { slice::from_raw_parts_mut(memory.as_ptr(), memory.size()) },
            None => &mut [],
        }
    }

    /// Takes the bytes out, as a copy. `Some` on every platform; the `Option` is ipc-channel's.
    pub fn take(self) -> Option<Vec<u8>> {
        Some(self.to_vec())
    }
}

impl Deref for IpcSharedMemory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.memory {
            // SAFETY: valid for that many bytes while `self` lives; who writes meanwhile broke the promise of `deref_mut`.
            Some(memory) => unsafe { slice::from_raw_parts(memory.as_ptr(), memory.size()) },
            None => &[],
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
        endpoint::serialize_memory(self.memory.as_ref(), serializer)
    }
}

impl<'de> Deserialize<'de> for IpcSharedMemory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        endpoint::deserialize_memory(deserializer).map(|memory| IpcSharedMemory { memory })
    }
}
