//! What servers are called.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The most characters of a private name. Whatever directory it is in, there is room for so many.
const MAX_PRIVATE_LEN: usize = 64;

/// The most bytes of an abstract name: what a socket's address has room for.
const MAX_ABSTRACT_LEN: usize = 107;

/// The name of an [`IpcServer`](crate::ipc::IpcServer), by which clients connect.
///
/// A string becomes a [`Private`](ServerName::Private) name, a path a [`Path`](ServerName::Path).
///
/// # Examples
///
/// ```
/// use std::path::Path;
/// use strait::ipc::ServerName;
///
/// assert_eq!(ServerName::from("clock"), ServerName::Private("clock".to_string()));
/// assert_eq!(ServerName::from(Path::new("/run/clock")), ServerName::Path("/run/clock".into()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ServerName {
    /// A name that only processes of this user can connect to: 1 to 64 ASCII letters, digits, dots,
    /// hyphens and underscores, but neither `.` nor `..`.
    ///
    /// # Platform
    ///
    /// On Linux it is a socket in a directory that only this user can enter: `strait` in
    /// `$XDG_RUNTIME_DIR` if that directory belongs to this user alone; else `strait-<uid>` in the
    /// directory for temporary files, or `strait-<uid>-` and random digits if another user has made
    /// that one first. So server and clients need the same `XDG_RUNTIME_DIR`, or none, and the same
    /// `TMPDIR`.
    Private(String),
    /// A path in the file system. The permissions of the file, and the filter of the server, decide
    /// which processes can connect.
    ///
    /// # Platform
    ///
    /// On Linux it is the path of a socket, of at most 107 bytes when it is made absolute; a file with
    /// `.lock` appended to its name is next to it. On other systems it is a name like the others.
    Path(PathBuf),
    /// A name outside the file system. It ends with its server, also if that is killed.
    ///
    /// The first process that binds it has it, whichever user it runs as, so clients check the user of
    /// the server before they send anything.
    ///
    /// # Platform
    ///
    /// On Linux it is an address in the abstract namespace of this network namespace, of 1 to 107
    /// bytes without a zero byte. On other systems it is a name like the others.
    Abstract(String),
}

impl ServerName {
    /// Whether it can be a name at all.
    pub(super) fn check(&self) -> io::Result<()> {
        let problem = match self {
            ServerName::Private(name) if name == "." || name == ".." => "is a directory",
            ServerName::Private(name) if !(1..=MAX_PRIVATE_LEN).contains(&name.len()) => {
                "does not have 1 to 64 characters"
            }
            ServerName::Private(name) if !name.bytes().all(may_be_private) => {
                "has other characters than letters, digits, `.`, `-` and `_`"
            }
            ServerName::Path(path) if path.file_name().is_none() => "does not end in a file's name",
            ServerName::Abstract(name) if !(1..=MAX_ABSTRACT_LEN).contains(&name.len()) => {
                "does not have 1 to 107 bytes"
            }
            ServerName::Abstract(name) if name.contains('\0') => "has a zero in it",
            _ => return Ok(()),
        };
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("not a name for a server: {self} {problem}"),
        ))
    }
}

fn may_be_private(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerName::Private(name) => write!(f, "{name:?}"),
            ServerName::Path(path) => write!(f, "{path:?}"),
            ServerName::Abstract(name) => write!(f, "{name:?} (abstract)"),
        }
    }
}

impl From<&str> for ServerName {
    fn from(name: &str) -> ServerName {
        ServerName::Private(name.to_string())
    }
}

impl From<String> for ServerName {
    fn from(name: String) -> ServerName {
        ServerName::Private(name)
    }
}

impl From<&Path> for ServerName {
    fn from(path: &Path) -> ServerName {
        ServerName::Path(path.to_path_buf())
    }
}

impl From<PathBuf> for ServerName {
    fn from(path: PathBuf) -> ServerName {
        ServerName::Path(path)
    }
}

impl From<&ServerName> for ServerName {
    fn from(name: &ServerName) -> ServerName {
        name.clone()
    }
}
