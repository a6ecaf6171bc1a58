//! The operating system's handles, as in `std`. They can be sent in a `handle::Handle`.

use std::io;

#[cfg(unix)]
pub use std::os::fd::{AsFd as AsOsHandle, OwnedFd as OsHandle};
#[cfg(windows)]
pub use std::os::windows::io::{AsHandle as AsOsHandle, OwnedHandle as OsHandle};

/// A handle on systems that have none.
#[cfg(not(any(unix, windows)))]
#[derive(Debug)]
pub enum OsHandle {}

/// Types with a handle. There are none.
#[cfg(not(any(unix, windows)))]
pub trait AsOsHandle {
    /// Creates a second handle to the same object.
    fn duplicate(&self) -> io::Result<OsHandle>;
}

/// Creates a second handle to the same object.
pub fn duplicate(object: &impl AsOsHandle) -> io::Result<OsHandle> {
    #[cfg(unix)]
    return object.as_fd().try_clone_to_owned();
    #[cfg(windows)]
    return object.as_handle().try_clone_to_owned();
    #[cfg(not(any(unix, windows)))]
    return object.duplicate();
}
