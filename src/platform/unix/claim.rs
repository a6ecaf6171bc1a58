//! Paths that servers have: taken by one at a time, and taken over when their owner is gone.
//!
//! A socket's file outlives a process that was killed, so its being there says nothing. Whoever wants the path takes the lock on a file
//! next to it, which the kernel gives back when its holder is gone, and keeps it for as long as the server lives: of
//! several who find the same stale socket, one goes on. Only then the kernel is asked whether a process has the socket, because other
//! programs take no locks. It is asked by connecting a datagram socket: that fails with `ECONNREFUSED` if no socket is bound to the file, and
//! with `EPROTOTYPE` if one is, whether it listens yet or not. A server never sees it.
//!
//! The lock's file is removed with the socket. Somebody may have opened it just before and get the lock on a file that has no
//! name any more, while the next one makes another: so whoever has got the lock looks whether it is still on the file of that name.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::process_mark;

/// A path that is this process's to listen at. It is removed on drop, if it still is.
#[derive(Debug)]
pub(super) struct Claim {
    path: PathBuf,
    /// The socket, once it was bound.
    socket: Option<FileId>,
    /// The process that made it, and removes it. A forked child must not.
    process: u64,
    _lock: Lock,
}

impl Claim {
    /// Takes the path, whose address is `address`, unless somebody has it, or there is something else.
    pub(super) fn take(path: PathBuf, address: &SocketAddrUnix) -> io::Result<Claim> {
        let lock = Lock::take(&path)?;
        make_way(&path, address)?;
        Ok(Claim { path, socket: None, process: process_mark(), _lock: lock })
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
        // Somebody may have put something else there by force.
        if self.process == process_mark() && self.socket.is_some_and(|id| id.is_at(&self.path)) {
            // Nobody is there to tell; at worst a stale name stays.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket's file that no process is bound to.
fn make_way(path: &Path, address: &SocketAddrUnix) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => FileId::of(&there),
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{} is not a socket, and is left alone", path.display()),
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
        // Everything else comes from a socket that is bound: `EPROTOTYPE`, success if it takes datagrams, `EPERM` if it is
        // connected elsewhere.
        _ => Err(in_use(path)),
    }
}

fn in_use(path: &Path) -> io::Error {
    let path = path.display();
    io::Error::new(io::ErrorKind::AddrInUse, format!("a server has the name already: {path}"))
}

/// The lock that goes with a path.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    file: File,
    process: u64,
}

impl Lock {
    /// Takes the lock of `of`, if nobody has it.
    fn take(of: &Path) -> io::Result<Lock> {
        let mut path = of.as_os_str().to_os_string();
        path.push(".lock");
        let path = PathBuf::from(path);
        loop {
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
            // It is removed in the end, so it had better be nothing else.
            if !metadata.is_file() || metadata.len() > 0 {
                let path = path.display();
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    format!("{path} is not a lock, and is left alone"),
                ));
            }
            return Ok(Lock { path, file, process: process_mark() });
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        // Not through a link that somebody else has put there.
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is held: nobody can have found it free and be using it.
        let is_there = |file: Metadata| FileId::of(&file).is_at(&self.path);
        if self.process == process_mark() && self.file.metadata().is_ok_and(is_there) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What tells a file from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(metadata: &Metadata) -> FileId {
        FileId { device: metadata.dev(), inode: metadata.ino() }
    }

    /// Whether it is the one that is at `path`.
    fn is_at(self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|there| FileId::of(&there) == self)
    }
}
