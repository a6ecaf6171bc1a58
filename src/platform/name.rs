//! What servers are called.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The most characters of a private name. Whatever directory it is in, there is room for so many.
const MAX_PRIVATE_LEN: usize = 64;

/// The most bytes of an abstract name: what a socket's address has room for.
const MAX_ABSTRACT_LEN: usize = 107;

/// The name of a server: what both sides know beforehand.
///
/// A string is a [`Private`](ServerName::Private) name, a path is a [`Path`](ServerName::Path).
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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServerName {
    /// A name among those of this user: 1 to 64 letters, digits, dots, hyphens and underscores of ASCII, but neither `.` nor `..`.
    ///
    /// # Platform
    ///
    /// On Linux that is a socket in a directory that only this user can enter: `strait` in `$XDG_RUNTIME_DIR`, if that is this user's
    /// alone, else `strait-<uid>` in the directory for temporary files. So both sides need the same `XDG_RUNTIME_DIR`, or
    /// neither has one, and the same `TMPDIR`.
    Private(String),
    /// A path in the file system. Who may connect is for the permissions there to say, and for the server's filter.
    ///
    /// # Platform
    ///
    /// On Linux it is that of a socket, and has 107 bytes at most when it is made absolute; a file with `.lock` appended to
    /// the name stands next to it. Elsewhere it is a name like others.
    Path(PathBuf),
    /// A name that is in no file system. It vanishes with its server, whatever becomes of that.
    ///
    /// Whoever comes first has it, of all users, so clients look who it is before they say anything.
    ///
    /// # Platform
    ///
    /// On Linux it is an address in the abstract namespace of this network namespace, of 1 to 107 bytes without a zero among them.
    /// Elsewhere it is a name like others.
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
