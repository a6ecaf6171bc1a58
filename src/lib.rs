//! Channels that cross processes.

#![deny(missing_docs, missing_debug_implementations)]

mod channel;
mod codec;
mod error;
mod platform;

#[cfg(feature = "async")]
pub mod asynch;
pub mod handle;
pub mod ipc;
pub mod os;
pub mod router;

pub use error::{IpcError, SerDeError, TryRecvError, TrySelectError};

/// What the tests and fuzz targets of this crate need to reach. Not part of the API: it may change at any time.
#[doc(hidden)]
pub mod internals {
    pub use crate::channel::{assembly, frame, limits};
    pub use crate::codec::decode_bytes;
    pub use crate::platform::*;
}
