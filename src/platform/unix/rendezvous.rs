//! Names: a listening socket in a directory that only its owner can enter.
//!
//! # Safety
//!
//! One `getsockopt`, because rustix's type for credentials has no room for the process id zero, which the kernel reports
//! for a process outside this PID namespace.

#![allow(unsafe_code)]

use std::fs::DirBuilder;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::rand::GetRandomFlags;
use uuid::Uuid;

use super::process_mark;
use super::socket::{self, PacketReceiver};
use crate::platform::{RecvError, Wait};

/// How many clients may be waiting to be accepted.
const BACKLOG: i32 = 128;

/// Where names are made when the environment's temporary directory has too long a name for a socket's address.
const SHORT_DIRECTORY: &str = "/tmp";

/// A name that others can connect to. It disappears on drop.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    directory: PathBuf,
    /// The process that made the name, and removes it. A forked child must not.
    process: u64,
    /// A descriptor to give up when there is none left to accept a connection with.
    reserve: Mutex<Option<OwnedFd>>,
}

impl Listener {
    /// Makes a new name and listens on it.
    pub fn bind() -> io::Result<(Listener, String)> {
        let unique = format!("strait-{}", unique_id()?.simple());
        // A relative one means something else to a client that runs elsewhere.
        let preferred = std::path::absolute(std::env::temp_dir())?;
        let directory = if socket_in(&preferred.join(&unique)).is_ok() {
            preferred.join(&unique)
        } else {
            Path::new(SHORT_DIRECTORY).join(&unique)
        };
        let fd = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            // Only this process has the description, and a client may be gone again when it is accepted.
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        let reserve = Mutex::new(Some(fd.try_clone()?));
        DirBuilder::new().mode(0o700).create(&directory).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot create {}: {error}", directory.display()))
        })?;
        // From here on dropping the listener removes what was made.
        let listener = Listener { fd, directory, process: process_mark(), reserve };
        let (path, address) = socket_in(&listener.directory)?;
        rustix::net::bind(&listener.fd, &address)?;
        rustix::net::listen(&listener.fd, BACKLOG)?;
        let name = path.into_os_string().into_string().map_err(|path| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the temporary directory's name is not Unicode: {path:?}"),
            )
        })?;
        Ok((listener, name))
    }

    /// Accepts one connection; `Empty` when none came in time. A client that gave up meanwhile is passed over.
    pub fn accept(&self, wait: Wait) -> Result<(PacketReceiver, Peer), RecvError> {
        loop {
            let seen = socket::poll(self.fd.as_fd(), PollFlags::IN, wait).map_err(RecvError::Io)?;
            if seen.is_empty() {
                return Err(RecvError::Empty);
            }
            match rustix::net::accept_with(&self.fd, SocketFlags::CLOEXEC) {
                Ok(fd) => {
                    let peer = Peer::of(fd.as_fd()).map_err(RecvError::Io)?;
                    return Ok((PacketReceiver::from(fd), peer));
                }
                Err(Errno::INTR | Errno::CONNABORTED | Errno::AGAIN) => {}
                Err(errno @ (Errno::MFILE | Errno::NFILE)) => {
                    let mut reserve =
                        self.reserve.lock().unwrap_or_else(|locked| locked.into_inner());
                    if reserve.take().is_none() {
                        return Err(RecvError::Io(errno.into()));
                    }
                }
                Err(errno) => return Err(RecvError::Io(errno.into())),
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.process != process_mark() {
            return;
        }
        // Nobody is there to tell; at worst an empty directory stays.
        if let Ok((path, _)) = socket_in(&self.directory) {
            let _ = std::fs::remove_file(path);
        }
        let _ = std::fs::remove_dir(&self.directory);
    }
}

/// Who connected, as the kernel noted it at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The process id; zero if the process cannot be seen from this PID namespace.
    pub pid: u32,
    /// The effective user id.
    pub uid: u32,
    /// The effective group id.
    pub gid: u32,
}

impl Peer {
    fn of(socket: BorrowedFd<'_>) -> io::Result<Peer> {
        let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
        let mut len = mem::size_of::<libc::ucred>() as libc::socklen_t;
        // SAFETY: `credentials` is writable for `len` bytes, and any bytes are a valid `ucred`.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                (&raw mut credentials).cast(),
                &raw mut len,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Peer {
            pid: credentials.pid.try_into().unwrap_or(0),
            uid: credentials.uid,
            gid: credentials.gid,
        })
    }

    /// Whether it runs as the user that this process runs as, or as root.
    pub fn is_same_user(&self) -> bool {
        self.uid == rustix::process::geteuid().as_raw() || self.uid == 0
    }
}

/// Makes an id that nobody can guess. A sandbox may forbid even that.
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

/// Connects to the listener of that name.
pub(super) fn connect(name: &str) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(name).map_err(|errno| {
        io::Error::new(io::Error::from(errno).kind(), format!("not the name of a server: {name:?}"))
    })?;
    let fd = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    loop {
        match rustix::net::connect(&fd, &address) {
            Ok(()) => return Ok(fd),
            Err(Errno::INTR) => {}
            Err(errno) => {
                let error = io::Error::from(errno);
                return Err(io::Error::new(
                    error.kind(),
                    format!("cannot connect to the server {name:?}: {error}"),
                ));
            }
        }
    }
}

fn socket_in(directory: &Path) -> io::Result<(PathBuf, SocketAddrUnix)> {
    let path = directory.join("socket");
    let address = SocketAddrUnix::new(&path)?;
    Ok((path, address))
}
