//! Names of servers.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The maximum number of characters of a private name. There is room for them in any directory.
const MAX_PRIVATE_LEN: usize = 64;

/// The maximum number of bytes of an abstract name: the capacity of a socket address.
const MAX_ABSTRACT_LEN: usize = 107;

/// The name of an [`IpcServer`](crate::ipc::IpcServer), to which clients connect.
///
/// A string converts to a [`Private`](ServerName::Private) name, a path to a
/// [`Path`](ServerName::Path).
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
    /// A private name, to which only processes of this user can connect. It consists of 1 to 64
    /// ASCII letters, digits, dots, hyphens and underscores, and is neither `.` nor `..`.
    ///
    /// # Platform
    ///
    /// On Linux the name is that of a socket in a directory that only this user can enter:
    ///
    /// - `strait` in `$XDG_RUNTIME_DIR`, if `$XDG_RUNTIME_DIR` belongs to this user alone.
    /// - Otherwise `strait-<uid>` in the directory for temporary files.
    /// - If another user has created that one first, `strait-<uid>-` and random digits.
    ///
    /// So server and clients need the same `XDG_RUNTIME_DIR`, or none, and the same `TMPDIR`.
    Private(String),
    /// A path in the file system. The permissions of the file, and the filter of the server, decide
    /// which processes can connect.
    ///
    /// # Platform
    ///
    /// On Linux it is the path of a socket. As an absolute path it has at most 107 bytes. A file
    /// whose name has `.lock` appended is next to it. On other systems it is a name like the
    /// others.
    Path(PathBuf),
    /// A name outside the file system. It disappears with its server, even if the server is killed.
    ///
    /// The first process that binds the name owns it, whichever user that process runs as. So
    /// clients check the user of the server before they send anything.
    ///
    /// # Platform
    ///
    /// On Linux it is an address in the abstract namespace of this network namespace, of 1 to 107
    /// bytes without a zero byte. On other systems it is a name like the others.
    Abstract(String),
}

impl ServerName {
    /// Checks that the name is valid.
    pub(super) fn check(&self) -> io::Result<()> {
        let problem = match self {
            ServerName::Private(name) if name == "." || name == ".." => "is a directory",
            ServerName::Private(name) if !(1..=MAX_PRIVATE_LEN).contains(&name.len()) => {
                "does not have 1 to 64 characters"
            }
            ServerName::Private(name) if !name.bytes().all(may_be_private) => {
                "has characters other than letters, digits, `.`, `-` and `_`"
            }
            ServerName::Path(path) if path.file_name().is_none() => "does not end in a file name",
            ServerName::Abstract(name) if !(1..=MAX_ABSTRACT_LEN).contains(&name.len()) => {
                "does not have 1 to 107 bytes"
            }
            ServerName::Abstract(name) if name.contains('\0') => "contains a zero byte",
            _ => return Ok(()),
        };
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("invalid server name: {self} {problem}"),
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
