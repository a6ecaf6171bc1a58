//! Ids that no other process can guess.

use std::io;

use rustix::io::Errno;
use rustix::rand::GetRandomFlags;
use uuid::Uuid;

/// Makes an id that cannot be guessed. A sandbox may forbid even that.
pub fn unique_id() -> io::Result<Uuid> {
    let mut random = [0; 16];
    let mut filled = 0;
    while filled < random.len() {
        match rustix::rand::getrandom(&mut random[filled..], GetRandomFlags::empty()) {
            Ok(len) => filled += len,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(uuid::Builder::from_random_bytes(random).into_uuid())
}
