//! File descriptors that a peer sent, until they are used.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::closing;
use super::flavour::is_closed_at_once;

/// A file descriptor that a peer sent, and that was not used yet. Dropping it does not block,
/// [whatever it refers to](closing).
#[derive(Debug)]
pub(in crate::platform) struct Received(Option<OwnedFd>);

impl Received {
    /// Takes the file descriptor, to use it as the expected kind of object.
    pub(in crate::platform) fn accept(mut self) -> OwnedFd {
        self.0.take().expect(IT_IS_THERE)
    }
}

const IT_IS_THERE: &str = "the descriptor is there until it is accepted, which takes the whole";

impl From<OwnedFd> for Received {
    fn from(fd: OwnedFd) -> Received {
        Received(Some(fd))
    }
}

impl AsFd for Received {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_ref().expect(IT_IS_THERE).as_fd()
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if let Some(fd) = self.0.take() {
            if !is_closed_at_once(&fd) {
                closing::close(fd);
            }
        }
    }
}
