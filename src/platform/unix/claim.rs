//! Claims the paths of servers: one server at a time has a path, and it can be claimed again after
//! its owner has ended.
//!
//! The socket file of a killed process remains, so its existence proves nothing. A server therefore
//! takes the lock on a file next to the path and keeps it as long as it lives. The kernel releases
//! the lock when its holder has ended. If several processes find the same stale socket, one of them
//! gets the lock.
//!
//! The lock holder then asks the kernel whether a process has the socket, because other programs
//! take no locks. It connects a datagram socket. That fails with `ECONNREFUSED` if no socket is
//! bound to the file, and with `EPROTOTYPE` if one is, whether it listens yet or not. A server is
//! not aware of the attempt.
//!
//! The lock's file is removed with the socket. Another process may have opened it just before. It
//! then gets the lock on a file without a name, while a third one makes a new file. So after taking
//! the lock, a process checks that the lock is still on the file of that name.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::platform::fork_generation;

/// A path that this process may listen at. Dropping it removes the path, if it is still the same
/// file.
#[derive(Debug)]
pub(super) struct Claim {
    path: PathBuf,
    /// The identity of the socket, once it was bound.
    socket: Option<FileId>,
    /// The process that made the file, and removes it. A forked child must not.
    process: u64,
    _lock: Lock,
}

impl Claim {
    /// Claims the path, whose address is `address`. Fails if another process has it, or there is
    /// something else.
    pub(super) fn take(path: PathBuf, address: &SocketAddrUnix) -> io::Result<Claim> {
        let lock = Lock::take(&path)?;
        make_way(&path, address)?;
        Ok(Claim { path, socket: None, process: fork_generation(), _lock: lock })
    }

    /// Binds the socket to the path.
    pub(super) fn bind(&mut self, socket: impl AsFd, address: &SocketAddrUnix) -> io::Result<()> {
        rustix::net::bind(socket, address)?;
        self.socket = Some(FileId::of(&fs::symlink_metadata(&self.path)?));
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Another process may have replaced it by force.
        if self.process == fork_generation() && self.socket.is_some_and(|id| id.is_at(&self.path)) {
            // There is no caller to report errors to; at worst a stale name stays.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket file that no process is bound to.
fn make_way(path: &Path, address: &SocketAddrUnix) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => FileId::of(&there),
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{} exists, is not a socket, and is not replaced", path.display()),
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let asking = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    match rustix::net::connect(&asking, address) {
        // Unless it was replaced meanwhile, by a program that takes no locks.
        Err(Errno::CONNREFUSED) if found.is_at(path) => fs::remove_file(path),
        Err(Errno::NOENT) => Ok(()),
        // Whether it is in use stays unknown, so it is left alone, and the error says why.
        Err(errno @ Errno::ACCESS) => Err(errno.into()),
        // Every other result comes from a bound socket: `EPROTOTYPE`, success if it takes
        // datagrams, `EPERM` if it is connected elsewhere.
        _ => Err(in_use(path)),
    }
}

fn in_use(path: &Path) -> io::Error {
    let path = path.display();
    io::Error::new(io::ErrorKind::AddrInUse, format!("a server already has the name: {path}"))
}

/// How often a lock is opened that was replaced meanwhile.
const ATTEMPTS: usize = 64;

/// The lock that belongs to a path.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    file: File,
    process: u64,
}

impl Lock {
    /// Takes the lock of `of`, if no other process has it.
    fn take(of: &Path) -> io::Result<Lock> {
        let mut path = of.as_os_str().to_os_string();
        path.push(".lock");
        let path = PathBuf::from(path);
        for _ in 0..ATTEMPTS {
            let file = open(&path).map_err(|error| {
                let path = path.display();
                io::Error::new(error.kind(), format!("cannot open the lock {path}: {error}"))
            })?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(in_use(of)),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            let metadata = file.metadata()?;
            if !FileId::of(&metadata).is_at(&path) {
                continue;
            }
            // The lock file is removed in the end, so it must be nothing else.
            if !metadata.is_file() || metadata.len() > 0 {
                let path = path.display();
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    format!("{path} exists, is not a lock, and is not replaced"),
                ));
            }
            return Ok(Lock { path, file, process: fork_generation() });
        }
        Err(in_use(of))
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        // Not through a link that another user has put there.
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While the lock is held: no other process can have found it free and be using the file.
        let is_there = |file: Metadata| FileId::of(&file).is_at(&self.path);
        if self.process == fork_generation() && self.file.metadata().is_ok_and(is_there) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The identity of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(metadata: &Metadata) -> FileId {
        FileId { device: metadata.dev(), inode: metadata.ino() }
    }

    /// Returns whether it is the file at `path`.
    fn is_at(self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|there| FileId::of(&there) == self)
    }
}
