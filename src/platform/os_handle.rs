//! The operating system's own handles, as `std` names them: what `handle::Handle` can carry.

use std::io;

#[cfg(unix)]
pub use std::os::fd::{AsFd as AsOsHandle, OwnedFd as OsHandle};
#[cfg(windows)]
pub use std::os::windows::io::{AsHandle as AsOsHandle, OwnedHandle as OsHandle};

/// A handle, where the operating system has none.
#[cfg(not(any(unix, windows)))]
#[derive(Debug)]
pub enum OsHandle {}

/// What has a handle: nothing.
#[cfg(not(any(unix, windows)))]
pub trait AsOsHandle {
    /// Makes a second handle to the same object.
    fn duplicate(&self) -> io::Result<OsHandle>;
}

/// Makes a second handle to the same object.
pub fn duplicate(object: &impl AsOsHandle) -> io::Result<OsHandle> {
    #[cfg(unix)]
    return object.as_fd().try_clone_to_owned();
    #[cfg(windows)]
    return object.as_handle().try_clone_to_owned();
    #[cfg(not(any(unix, windows)))]
    return object.duplicate();
}
