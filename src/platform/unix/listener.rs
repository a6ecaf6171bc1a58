//! Servers' names: a listening socket in a directory that only its owner can enter, at a path, or
//! in the abstract namespace.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::Peer;
use super::Unix;
use super::claim::Claim;
use super::directory::{self, Missing};
use super::flavour;
use super::fork_generation;
use super::poll::poll;
use super::socket::{PacketReceiver, PacketSender};
use super::spare;
use super::unique_id;
use crate::platform::{RecvError, ServerName, Wait, contract};

/// The size of the accept queue.
const BACKLOG: i32 = 128;

/// The shortest timeout that the kernel is given: zero is for ever.
const SHORTEST_WAIT: Duration = Duration::from_micros(1);

/// A name that clients can connect to. Dropping it removes the name.
#[derive(Debug)]
pub struct Listener {
    /// Before the socket: a client must not find a name whose connections are refused.
    _place: Place,
    fd: OwnedFd,
    /// A file descriptor in reserve, to close when there is none left to accept a connection with.
    reserve: Mutex<Option<OwnedFd>>,
}

/// Keeps a name, and removes it on drop.
#[derive(Debug)]
#[allow(dead_code, reason = "what they hold is there to be dropped")]
enum Place {
    Fresh(FreshDirectory),
    Path(Claim),
    /// Removed by the kernel.
    Abstract,
}

impl contract::Listener<Unix> for Listener {
    fn bind() -> io::Result<(Listener, String)> {
        let unique = format!("strait-{}", unique_id()?.simple());
        // A relative path means something else to a client that runs elsewhere.
        let preferred = std::path::absolute(std::env::temp_dir())?;
        let directory = if socket_in(&preferred.join(&unique)).is_ok() {
            preferred.join(&unique)
        } else {
            Path::new(directory::SHORT).join(&unique)
        };
        let fd = listening_socket()?;
        let directory = FreshDirectory::make(directory)?;
        let (path, address) = socket_in(&directory.path)?;
        rustix::net::bind(&fd, &address)?;
        let listener = Listener::listen(fd, Place::Fresh(directory))?;
        let name = path.into_os_string().into_string().map_err(|path| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the temporary directory's name is not Unicode: {path:?}"),
            )
        })?;
        Ok((listener, name))
    }

    fn bind_named(name: &ServerName) -> io::Result<Listener> {
        Listener::try_bind_to(name).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot create the server {name}: {error}"))
        })
    }

    fn reserve(&self) -> io::Result<()> {
        let mut reserve = self.reserved();
        if reserve.is_none() {
            *reserve = Some(self.fd.try_clone()?);
        }
        Ok(())
    }

    fn release(&self) {
        *self.reserved() = None;
    }

    fn accept(&self, wait: Wait) -> Result<(PacketReceiver, Peer), RecvError> {
        loop {
            let seen = poll(self.fd.as_fd(), PollFlags::IN, wait).map_err(RecvError::Io)?;
            if seen.is_empty() {
                return Err(RecvError::Empty);
            }
            match rustix::net::accept_with(&self.fd, SocketFlags::CLOEXEC) {
                Ok(fd) => {
                    let peer = Peer::of(&fd).map_err(RecvError::Io)?;
                    return Ok((PacketReceiver::from(fd), peer));
                }
                Err(Errno::INTR | Errno::CONNABORTED | Errno::AGAIN) => {}
                Err(errno @ (Errno::MFILE | Errno::NFILE)) => {
                    if self.reserved().take().is_none() {
                        return Err(RecvError::Io(errno.into()));
                    }
                }
                Err(errno) => return Err(RecvError::Io(errno.into())),
            }
        }
    }
}

impl Listener {
    fn try_bind_to(name: &ServerName) -> io::Result<Listener> {
        let fd = listening_socket()?;
        let place = match address_of(name, Missing::IsMade)? {
            (address, None) => {
                rustix::net::bind(&fd, &address)?;
                Place::Abstract
            }
            (address, Some(path)) => {
                let mut claim = Claim::take(path, &address)?;
                claim.bind(&fd, &address)?;
                Place::Path(claim)
            }
        };
        Listener::listen(fd, place)
    }

    fn listen(fd: OwnedFd, place: Place) -> io::Result<Listener> {
        rustix::net::listen(&fd, BACKLOG)?;
        let reserve = Mutex::new(Some(fd.try_clone()?));
        // Finding out the credentials of a client takes one more.
        spare::keep();
        Ok(Listener { _place: place, fd, reserve })
    }

    fn reserved(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.reserve.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A directory for one name, which is not known before it exists.
#[derive(Debug)]
struct FreshDirectory {
    path: PathBuf,
    /// The process that made it, and removes it. A forked child must not.
    process: u64,
}

impl FreshDirectory {
    fn make(path: PathBuf) -> io::Result<FreshDirectory> {
        DirBuilder::new().mode(0o700).create(&path).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot create {}: {error}", path.display()))
        })?;
        Ok(FreshDirectory { path, process: fork_generation() })
    }
}

impl Drop for FreshDirectory {
    fn drop(&mut self) {
        if self.process != fork_generation() {
            return;
        }
        // There is no caller to report errors to; at worst an empty directory stays.
        if let Ok((path, _)) = socket_in(&self.path) {
            let _ = std::fs::remove_file(path);
        }
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// Connects to the listener of that name, which `Listener::bind` has made.
pub fn connect(name: &str) -> io::Result<PacketSender> {
    let address = SocketAddrUnix::new(name).map_err(|errno| {
        io::Error::new(io::Error::from(errno).kind(), format!("invalid server name: {name:?}"))
    })?;
    connect_at(&address, Wait::Forever)
        .map(PacketSender::from)
        .map_err(|error| cannot_connect(&format!("{name:?}"), &error))
}

/// Connects to the listener that has this name. Blocks while too many other clients connect.
pub fn connect_named(name: &ServerName, wait: Wait) -> io::Result<PacketSender> {
    address_of(name, Missing::IsAnError)
        .and_then(|(address, _)| connect_at(&address, wait))
        .map(PacketSender::from)
        .map_err(|error| cannot_connect(&name.to_string(), &error))
}

fn cannot_connect(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot connect to the server {name}: {error}"))
}

fn connect_at(address: &SocketAddrUnix, wait: Wait) -> io::Result<OwnedFd> {
    let fd = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    flavour::enlarge_queue(fd.as_fd());
    loop {
        // Not by making the socket non-blocking: the server shares its open file description.
        if let Some(left) = wait.remaining() {
            sockopt::set_socket_timeout(&fd, Timeout::Send, Some(left.max(SHORTEST_WAIT)))?;
        }
        match rustix::net::connect(&fd, address) {
            Ok(()) => break,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if !wait.is_over() => {}
            Err(Errno::AGAIN) => {
                let error = "the server's backlog is full";
                return Err(io::Error::new(io::ErrorKind::TimedOut, error));
            }
            Err(Errno::PROTOTYPE) => {
                let error = "the name belongs to a socket of another type";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    if wait != Wait::Forever {
        sockopt::set_socket_timeout(&fd, Timeout::Send, None)?;
    }
    Ok(fd)
}

fn listening_socket() -> io::Result<OwnedFd> {
    // Only this process has the description, and a client may have disconnected when it is
    // accepted.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Returns the address that a name stands for, and its path if it has one.
fn address_of(
    name: &ServerName,
    missing: Missing,
) -> io::Result<(SocketAddrUnix, Option<PathBuf>)> {
    name.check()?;
    let path = match name {
        ServerName::Abstract(name) => {
            return Ok((flavour::abstract_address(name.as_bytes())?, None));
        }
        // A relative path would mean something else after a change of directory.
        ServerName::Path(path) => std::path::absolute(path)?,
        ServerName::Private(name) => directory::path_of(name, missing)?,
    };
    let address = SocketAddrUnix::new(&path).map_err(|errno| {
        let path = path.display();
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{path} is not a valid socket address: {}", io::Error::from(errno)),
        )
    })?;
    Ok((address, Some(path)))
}

fn socket_in(directory: &Path) -> io::Result<(PathBuf, SocketAddrUnix)> {
    let path = directory.join("socket");
    let address = SocketAddrUnix::new(&path)?;
    Ok((path, address))
}
