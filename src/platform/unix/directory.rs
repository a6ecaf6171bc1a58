//! The directory of a user's own names, which no other user can enter.
//!
//! In the directory for temporary files it is `strait-<uid>`. If another user has made something of
//! that name first, it is `strait-<uid>-` and random digits instead, so that it cannot be taken in
//! advance. Servers and clients find it by its owner. Once it is this user's, no other user can
//! replace it, because directories for temporary files are sticky.

use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::net::SocketAddrUnix;

use super::flavour::is_ambiguous;
use super::unique_id;

/// The directory for names if the environment's temporary directory has too long a name for a
/// socket's address.
pub(super) const SHORT: &str = "/tmp";

/// What to do if there is no such directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    IsMade,
    IsAnError,
}

/// By how many characters a directory's name is longer if the usual one is taken.
const SUFFIX_LEN: usize = "-01234567".len();

/// Returns the path of the socket with this name. It depends only on the environment, the user, and
/// which directories exist, so server and clients get the same path.
pub(super) fn path_of(name: &str, missing: Missing) -> io::Result<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let socket = format!("{name}.socket");
    let of_runtime = env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|runtime| runtime.is_absolute() && is_private(runtime, user).is_ok())
        .map(|runtime| runtime.join("strait"));
    if let Some(directory) = of_runtime.filter(|directory| fits(directory, &socket)) {
        if missing == Missing::IsMade {
            make(&directory)?;
        }
        is_private(&directory, user).map_err(|error| about(&directory, &error))?;
        return Ok(directory.join(socket));
    }
    let own = format!("strait-{user}");
    let mut parent = std::path::absolute(env::temp_dir())?;
    if !fits(&parent.join(format!("{own}{}", "-".repeat(SUFFIX_LEN))), &socket) {
        parent = PathBuf::from(SHORT);
    }
    among_temporary(&parent, &own, user, &socket, missing).map(|directory| directory.join(socket))
}

fn fits(directory: &Path, socket: &str) -> bool {
    SocketAddrUnix::new(directory.join(socket)).is_ok()
}

/// Makes the directory, unless there is something of that name.
fn make(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(about(directory, &error)),
        _ => Ok(()),
    }
}

/// Returns the directory of this user among the temporary files, for a socket of that name.
fn among_temporary(
    parent: &Path,
    own: &str,
    user: u32,
    socket: &str,
    missing: Missing,
) -> io::Result<PathBuf> {
    let usual = parent.join(own);
    let Err(problem) = is_private(&usual, user) else { return Ok(usual) };
    if is_of(&usual, user) {
        return Err(about(&usual, &problem));
    }
    let mut found = owned(parent, own, user)?;
    if found.is_empty() {
        if missing == Missing::IsAnError {
            // Without a directory there is no server.
            let problem = io::Error::new(io::ErrorKind::NotFound, problem.to_string());
            return Err(about(&usual, &problem));
        }
        make(&usual)?;
        if is_private(&usual, user).is_ok() {
            return Ok(usual);
        }
        let random = unique_id()?.simple().to_string();
        let made = parent.join(format!("{own}-{}", &random[..SUFFIX_LEN - 1]));
        make(&made)?;
        found = owned(parent, own, user)?;
        if found.first() != Some(&made) {
            let _ = fs::remove_dir(&made);
        }
    }
    // There are two if two servers have made theirs at the same time.
    let found_there = found.iter().position(|directory| directory.join(socket).exists());
    if found.is_empty() {
        return Err(about(&usual, &problem));
    }
    Ok(found.swap_remove(found_there.unwrap_or(0)))
}

/// Returns whether this user has made what is there.
fn is_of(directory: &Path, user: u32) -> bool {
    fs::symlink_metadata(directory).is_ok_and(|there| there.uid() == user && !is_ambiguous(user))
}

/// Returns all directories with such names that only this user may enter, in order.
fn owned(parent: &Path, own: &str, user: u32) -> io::Result<Vec<PathBuf>> {
    let prefix = format!("{own}-");
    let entries = fs::read_dir(parent).map_err(|error| about(parent, &error))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name();
            let is_one = name.as_encoded_bytes().starts_with(prefix.as_bytes());
            is_one && name.len() == own.len() + SUFFIX_LEN
        })
        .map(|entry| entry.path())
        .filter(|directory| is_private(directory, user).is_ok())
        .collect();
    found.sort();
    Ok(found)
}

fn about(directory: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", directory.display()))
}

/// Checks that it is a directory, and that only this user may enter it.
fn is_private(directory: &Path, user: u32) -> io::Result<()> {
    let there = fs::symlink_metadata(directory)?;
    let problem = if !there.is_dir() {
        "the path is not a directory"
    } else if there.uid() != user {
        "the directory belongs to another user"
    } else if there.mode() & 0o077 != 0 {
        "other users may enter the directory"
    } else if is_ambiguous(user) && !may_change_mode(directory) {
        "the directory may belong to another user: this user namespace does not tell them apart"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, problem))
}

/// Returns whether this process owns a directory that only its owner may enter: no other user may
/// change the mode.
fn may_change_mode(directory: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(directory, flags, Mode::empty());
    opened.is_ok_and(|directory| rustix::fs::fchmod(&directory, Mode::RWXU).is_ok())
}
